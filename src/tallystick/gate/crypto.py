"""Layer 1: is it signed by a key that stands, for this house, now, and as a class that this key may speak as? (docs/spec/gate.md, 3)

Everything that does not need the mathematics comes first, and the class before all that depends on it: a feed that claims to be a
human is refused before anybody asks which plan judges humans. What is refused here is believed by nobody: the record names the key
it claims, and the word.
"""

from collections.abc import Collection
from typing import Final

from tallystick.errors import Unproven
from tallystick.facts.fact import KnownKey
from tallystick.facts.rule import covers
from tallystick.gate.signal import MAX_AGE_NS, MAX_AHEAD_NS, UNKNOWN_CLASS_AGE_NS, ProvenSignal, Signal, UnprovenSignal
from tallystick.keys import PublicKey

SOURCE: Final = "source"
HUMAN: Final = "human"
# Classes that no key is given: a machine speaks through its pair, findings are the house's own, statements have their own way in.
RESERVED: Final = frozenset(("human", "machine", "finding"))
STANDING: Final = "standing"

# The words of `refused` (docs/spec/gate.md, section 3).
WORDS: Final = ("malformed", "unproven", "replay", "audience", "age", "class", "revoked", "expired", "suspended", "limits")
_HINTS: Final = {
    "unproven": "Is it signed with the key it names?",
    "replay": "A signal counts once; sign a new one, with the next number.",
    "audience": "A signal is good for one house only: sign for this one.",
    "age": "Check the clock of the machine that signed it.",
    "class": "`tally key show` at the house says what this key may speak as.",
    "revoked": "A key that was revoked does not come back; introduce a new one.",
    "expired": "A human can introduce another key: `tally grant`.",
    "suspended": "A human can let it go on: `tally key resume`.",
}


class Unbelieved(Unproven):
    """A signal that nobody believes. `word`: the ledger's word for why."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(f"signal: {message}", _HINTS.get(word, ""))
        self.word = word


def may_speak_as(kind: str, classes: Collection[str], signal_class: str) -> bool:
    """Whether a key of this kind with these classes may sign as a class.

    A human key is `human` and nothing else, whatever its row says; no other key is ever `human`.
    """
    base = signal_class.partition("/")[0]
    if kind == HUMAN:
        return signal_class == HUMAN
    if kind != SOURCE or base in RESERVED:
        return False
    return signal_class in classes or any(covers(granted, signal_class) for granted in classes)


def check_key(key: KnownKey, now_ns: int) -> None:
    """Does the key stand at this moment? Raises: Unbelieved."""
    if key.state != STANDING:
        if key.state == "suspended":
            raise Unbelieved("suspended", "its key is suspended")
        raise Unbelieved("revoked", f"its key is {key.state}")
    if key.expires_ns is not None and key.expires_ns <= now_ns:
        raise Unbelieved("expired", "its key has expired")


def check_class(key: KnownKey, signal_class: str, *, allowed: bool) -> None:
    """May it speak as this class? `allowed`: of `may_speak_as`. Raises: Unbelieved."""
    if not allowed:
        raise Unbelieved("class", f"#{key.number} may not speak as {signal_class}")


def check_claims(claims: Signal, house_id: bytes, now_ns: int) -> None:
    """Is it for this house, and of this time? `now_ns`: pair time, UTC. Raises: Unbelieved."""
    if claims.aud != house_id:
        raise Unbelieved("audience", "signed for another house")
    issued, signal_class = claims.issued_at_ns, claims.signal_class
    oldest = MAX_AGE_NS.get(signal_class)
    if oldest is None:
        oldest = MAX_AGE_NS.get(signal_class.partition("/")[0], UNKNOWN_CLASS_AGE_NS)
    if now_ns - issued > oldest:
        raise Unbelieved("age", "too old for its class")
    if issued - now_ns > MAX_AHEAD_NS:
        raise Unbelieved("age", "issued in the future")
    if claims.expires_ns is not None and claims.expires_ns <= now_ns:
        raise Unbelieved("age", "it has expired")


def prove(unproven: UnprovenSignal, public: PublicKey) -> ProvenSignal:
    """The last of layer 1: the signature. Raises: Unbelieved."""
    try:
        return unproven.prove(public)
    except Unproven:
        raise Unbelieved("unproven", "its signature does not hold") from None
