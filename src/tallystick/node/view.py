"""Rows and events as people and programs read them: the JSON of the door, of `house.sock` and of `--json`."""

from collections.abc import Mapping
from typing import Any

from tallystick.errors import Malformed, Misuse
from tallystick.gate.signal import parse_signal
from tallystick.ledger.event import Event, Kind
from tallystick.pair.pairing import Role
from tallystick.storage.rows import EntryRow, HouseRow, PairRow
from tallystick.storage.rules.house import WORDS

KIND_WORDS: Mapping[Kind, str] = {kind: kind.name.lower().replace("_", "-") for kind in Kind}
KINDS_BY_WORD: Mapping[str, Kind] = {word: kind for kind, word in KIND_WORDS.items()}
_STATES: Mapping[str, str] = {"pending": "waiting"}
_GONE = frozenset({"denied", "expired"})


def kind_of(word: str) -> Kind:
    """The event kind of a word as `tally log` shows it. Raises: Misuse."""
    kind = KINDS_BY_WORD.get(word.lower())
    if kind is None:
        raise Misuse(f"no kind of entry is called {word[:40]!r}", "kinds are, for example: " + ", ".join(sorted(KINDS_BY_WORD)[:12]))
    return kind


def plain(value: object) -> Any:
    """A field's value in JSON's types: bytes as hexadecimal."""
    match value:
        case bytes():
            return value.hex()
        case tuple() | list():
            return [plain(each) for each in value]
        case dict() | Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case _:
            return value


def entry_json(row: EntryRow, names: Mapping[bytes, str], *, reader: bytes | None = None) -> dict[str, Any]:
    """An entry: index, time, kind, who, and its fields. Of a signal: what it asks, not its bytes.

    Args: names: what this machine calls its pairs and keys, by their ids.  reader: the pair that reads, if it may see only what concerns
        itself; of a statement that came through another pair it learns what was said and by which key, not by which pair and session.
    """
    event = row.event
    hidden = {"pairing", "key"}
    pair = event.blob("pairing") or event.blob("pair")
    if reader is not None and pair != reader:
        pair = event.blob("pair")
        hidden.add("session")
    fields = {name: _field(event, name) for name in event.fields if name not in hidden}
    key = event.blob("key") or event.blob("subject")
    if key != event.blob("subject") and (about := names.get(event.blob("subject"))):
        fields["about"] = about
    return {
        "index": row.index,
        "time_ns": event.time_ns,
        "kind": KIND_WORDS[event.kind],
        "name": names.get(pair) or names.get(key) or None,
        "pair": pair.hex() or None,
        "key": key.hex() or None,
        "fields": {"actor": event.actor, **fields},
    }


def _field(event: Event, name: str) -> Any:
    if name != "signal":
        return plain(event.fields[name])
    try:
        claims = parse_signal(event.blob("signal")).claims
    except Malformed:
        return plain(event.fields[name])
    return {"verb": claims.verb, "action": claims.action, "class": claims.signal_class, "n": claims.n, "issued_at_ns": claims.issued_at_ns}


def reason_of(house: HouseRow) -> str:
    """Why it takes no commands; empty while it does."""
    return "" if house.is_open else WORDS.get(house.why, f"this house is {house.state}")


def is_shown(row: PairRow) -> bool:
    """Whether there is a pair to show: of a proposal that was denied or has lapsed only the ledger tells (docs/spec/pairing.md, 6)."""
    return row.state not in _GONE


def pair_json(row: PairRow, key_class: str, live: Mapping[str, Any]) -> dict[str, Any]:
    """A pair as `tally status` shows it. `live`: what is not in the ledger (last knock, address, bytes, mode)."""
    return {
        "name": row.label or row.pairing.hex()[:8],
        "label": row.label,
        "role": (Role.CLIENT if row.role is Role.HOUSE else Role.HOUSE).value,
        "type": row.effective.value,
        "state": _STATES.get(row.state, row.state),
        "pairing": row.pairing.hex(),
        "key": str(row.subject),
        "key_class": key_class,
        "suite": row.suite.value,
        "since_ns": row.created_ns,
        "last_knock_ns": live.get("last_knock_ns"),
        "address": live.get("address"),
        "received_bytes": int(live.get("received_bytes") or 0),
        "sent_bytes": int(live.get("sent_bytes") or 0),
        "sessions": int(live.get("sessions") or 0),
        "mode": live.get("mode"),
        "visibility": live.get("visibility"),
    }


def proposal_json(row: PairRow, event: Event, address: str | None) -> dict[str, Any]:
    """A pairing that waits, with the words both sides must show. `event` is its proposal's."""
    ext = event.get("ext")
    shown = ext if isinstance(ext, Mapping) else {}
    facts = dict(line.split("=", 1) for line in shown.get("facts", b"").decode().split("\n") if "=" in line)
    return {
        "id": row.pairing.hex()[:8],
        "label": row.label,
        "type": row.pair_type.value,
        "key": str(row.subject),
        "key_class": facts.get("key_class", ""),
        "words": shown.get("words", b"").decode().split(" "),
        "digits": shown.get("digits", b"").decode(),
        "address": address,
        "since_ns": row.created_ns,
        "expires_ns": row.expires_ns or 0,
        "facts": facts,
    }
