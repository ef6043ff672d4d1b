"""The words of a story: nouns for verbs, sentences for layers, and foreign values as short texts.

Verbs, rules and layers are open lists; what is not in these tables is told as it is written.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from tallystick.ledger.event import Event
from tallystick.ledger.said import Said

MAX_QUOTED: Final = 80  # characters of a clear value
_PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")  # what no line of ours holds
AS_IS: Final = re.compile(r"[!-~]{1,200}")

# What a verb's last word is called, and what one does. Verbs are an open list: others are told as they are.
_NOUNS: Final[Mapping[str, tuple[str, str]]] = {
    "rm": ("deletion", "deleted"),
    "delete": ("deletion", "deleted"),
    "put": ("write", "wrote"),
    "commit": ("write", "wrote"),
    "write": ("write", "wrote"),
    "mv": ("move", "moved"),
    "get": ("read", "read"),
    "read": ("read", "read"),
    "ls": ("listing", "listed"),
    "classify": ("classification", "classified"),
    "observe": ("sensor data", "observed"),
    "report": ("report", "reported"),
    "summarize": ("summary", "summarized"),
    "call": ("call", "called"),
    "send": ("message", "sent"),
    "fetch": ("fetch", "fetched"),
    "terminate": ("termination", "terminated"),
    "override": ("override", "overrode"),
    "run": ("run", "ran"),
    "plan": ("plan", "planned"),
    "approve": ("approval", "approved"),
    "deny": ("denial", "denied"),
    "grant": ("grant", "granted"),
    "revoke": ("revocation", "revoked"),
    "sever": ("severance", "severed"),
    "withdraw": ("withdrawal", "withdrew"),
    "finding": ("finding", "found something in"),
}
_SENSES: Final[Mapping[str, tuple[str, str]]] = {"sensor": ("sensor data", "observed"), "feed": ("feed data", "reported")}
_LAYERS: Final[Mapping[str, str]] = {
    "crypto": "Crypto auth",
    "sensory": "Sensory auth",
    "deterministic": "Deterministic auth",
    "probabilistic": "Probabilistic auth",
}
PHRASES: Final[Mapping[str, str]] = {
    "liveness": "liveness failure",
    "liveness-contradiction": "liveness failure",
    "revoked": "a revoked key",
    "expired": "an expired key",
    "suspended": "a suspended key",
    "compromised": "a compromised key",
    "class": "a class its key may not speak as",
    "signature": "a signature that does not hold",
    "unknown-key": "an unknown key",
    "revoked-or-expired": "a revoked or expired key",
    "class-not-allowed": "a class its key may not speak as",
    "outside-schedule": "a time outside the key's schedule",
    "outside-place": "a place where the key may not be",
    "two-places": "two places at once",
}


def utc(time_ns: int) -> str:
    """2026-11-22 07:08:09 UTC. Source: H. Hinnant, chrono-compatible low-level date algorithms, civil_from_days."""
    days, second = divmod(time_ns // 10**9, 86_400)
    era, day_of_era = divmod(days + 719_468, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted = (5 * day_of_year + 2) // 153
    day, month = day_of_year - (153 * shifted + 2) // 5 + 1, shifted + 3 if shifted < 10 else shifted - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04}-{month:02}-{day:02} {second // 3_600:02}:{second // 60 % 60:02}:{second % 60:02} UTC"


def words_of(said: Said | None, event: Event) -> tuple[str, str]:
    """What a step is called, and what its signer did: ("deletion", "deleted")."""
    if said is None:
        name = event.kind.name.lower().replace("_", " ")
        return name, "recorded"
    base = said.signal_class.partition("/")[0]
    found = _NOUNS.get(said.verb.rpartition(".")[2])
    if found is None or (base in _SENSES and found[1] in ("read", "observed", "reported")):
        found = _SENSES.get(base, found)
    return found or (f"signal {said.verb}", f"said {said.verb} about")


def quoted(text: str, limit: int = MAX_QUOTED) -> str:
    """A foreign text that may be any: a plain word as it is, everything else in quotes and cut."""
    if _PLAIN.fullmatch(text):
        return text
    short = text if len(text) <= limit else text[: limit - 3] + "..."
    escaped = short.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'


def layer_sentence(layer: str, outcome: str, what: str) -> str:
    """`Sensory auth noted liveness failure`, without a full stop."""
    name = _LAYERS.get(layer, f"The layer {layer}")
    match outcome:
        case "pass":
            return f"{name} passed it" + (f" ({what})" if what else "")
        case "reject":
            return f"{name} noted {what} and rejected it" if what else f"{name} rejected it"
        case "noted":
            return f"{name} noted {what or 'something'}"
        case "low":
            return f"{name} was not confident: {what}" if what else f"{name} was not confident"
        case "abstain":
            return f"{name} abstained" + (f": {what}" if what else "")
        case "unavailable":
            return f"{name} could not judge" + (f": {what}" if what else "")
        case _:
            return f"{name} said {outcome}" + (f": {what}" if what else "")


def plain_value(value: object) -> Sequence[str]:
    """A clear value as short texts: a text or number as it is, bytes as hexadecimal, lists and maps by their parts."""
    match value:
        case None:
            return ()
        case bool():
            return ("yes" if value else "no",)
        case str():
            return (value,)
        case int():
            return (str(value),)
        case bytes():
            return (value.hex()[:32],)
        case list():
            return tuple(text for each in value[:8] for text in plain_value(each))
        case dict():
            return tuple(f"{name}={' '.join(plain_value(each))}" for name, each in list(value.items())[:8])
        case _:
            return ()
