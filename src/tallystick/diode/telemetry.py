"""Telemetry v1: what a house reports, in a closed schema (docs/spec/telemetry.md, section 2).

A map of integers: 1 version, 2 kind, then exactly the fields of the kind. No field is text. Anything else is Malformed,
and the receiver severs the session.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Final, TypeAlias, TypeVar

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.diode.flow import check_telemetry_direction, sees_records
from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.pair.pairing import PairType, Role

TELEMETRY_VERSION: Final = 1
MAX_TELEMETRY_BYTES: Final = 12_288
MAX_CHECKPOINT_BYTES: Final = 10_000
_INT63: Final = 2**63 - 1


class ApprovalState(IntEnum):
    """What became of a proposal."""

    HELD = 1
    APPROVED = 2
    DENIED = 3
    EXPIRED = 4
    VOID = 5


class HealthState(IntEnum):
    """How the house is."""

    OK = 1
    DEGRADED = 2
    CLOSING = 3


class ProgressState(IntEnum):
    """How a long command is."""

    RUNNING = 1
    DONE = 2
    FAILED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Severed:
    """The pairing with this id (32 bytes) has ended; it says nothing about another pairing of the same machines."""

    pairing_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A signed note, 1 to 10,000 bytes."""

    note: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """What became of the proposal with this entry index."""

    proposal: int
    state: ApprovalState


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Counts of the house; `uptime_s` in seconds."""

    state: HealthState
    uptime_s: int
    entries: int
    pairs: int
    sessions: int
    held: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the command with this entry index is; `total` 0: unknown. Units are the command's."""

    entry: int
    state: ProgressState
    done: int
    total: int


Telemetry: TypeAlias = Severed | Checkpoint | Approval | Health | Progress

KIND_NAMES: Final[dict[type[Telemetry], str]] = {
    Severed: "severed",
    Checkpoint: "checkpoint",
    Approval: "approval",
    Health: "health",
    Progress: "progress",
}
_CODES: Final[dict[type[Telemetry], int]] = {kind: code for code, kind in enumerate(KIND_NAMES, 1)}


def encode_telemetry(record: Telemetry) -> bytes:
    """Write a record in its one form. Raises: Misuse when a field is out of range: it was made here."""
    raw = encode({1: TELEMETRY_VERSION, 2: _CODES[type(record)], **dict(enumerate(_fields(record), 3))})
    try:
        _parse(raw)
    except TallyError as error:
        raise Misuse(error.message) from None
    return raw


def parse_telemetry(raw: bytes, *, receiver: Role) -> Telemetry:
    """Read what the other side reports. Raises: Malformed for any other bytes, and for a kind that is not theirs to send."""
    record = _parse(raw)
    check_telemetry_direction(receiver, KIND_NAMES[type(record)])
    return record


def sanitise(record: Telemetry, pair_type: PairType) -> Telemetry | None:
    """What a pair of this type may see of a record, None for nothing. INTERFACE sees counts, states, checkpoints: never a record."""
    if sees_records(pair_type):
        return record
    match record:
        case Severed() | Checkpoint() | Health():
            return record
        case Progress():
            return replace(record, entry=0)
        case Approval():
            return None


def _fields(record: Telemetry) -> list[Encodable]:
    match record:
        case Severed(pairing_id=pairing_id):
            return [pairing_id]
        case Checkpoint(note=note):
            return [note]
        case Approval() as r:
            return [r.proposal, r.state.value]
        case Health() as r:
            return [r.state.value, r.uptime_s, r.entries, r.pairs, r.sessions, r.held]
        case Progress() as r:
            return [r.entry, r.state.value, r.done, r.total]


def _progress(v: list[Value]) -> Progress:
    record = Progress(entry=_uint(v[0]), state=_state(ProgressState, v[1]), done=_uint(v[2]), total=_uint(v[3]))
    if record.total and record.done > record.total:
        raise Malformed("telemetry: more done than there is")
    return record


_READERS: Final[dict[int, tuple[int, Callable[[list[Value]], Telemetry]]]] = {
    1: (1, lambda v: Severed(pairing_id=_octets(v[0], 32, 32))),
    2: (1, lambda v: Checkpoint(note=_octets(v[0], 1, MAX_CHECKPOINT_BYTES))),
    3: (2, lambda v: Approval(proposal=_uint(v[0]), state=_state(ApprovalState, v[1]))),
    4: (
        6,
        lambda v: Health(
            state=_state(HealthState, v[0]),
            uptime_s=_uint(v[1]),
            entries=_uint(v[2]),
            pairs=_uint(v[3]),
            sessions=_uint(v[4]),
            held=_uint(v[5]),
        ),
    ),
    5: (4, _progress),
}


def _parse(raw: bytes) -> Telemetry:
    fields = decode(raw, max_bytes=MAX_TELEMETRY_BYTES, max_depth=1, max_items=32)
    if not isinstance(fields, dict) or type(fields.get(1)) is not int or fields[1] != TELEMETRY_VERSION:
        raise Malformed("telemetry: not of version 1")
    code = fields.get(2)
    if type(code) is not int or code not in _READERS:
        raise Malformed("telemetry: a kind that version 1 does not have")
    count, read = _READERS[code]
    if fields.keys() != set(range(1, count + 3)):
        raise Malformed("telemetry: not exactly the fields of its kind")
    return read([fields[number] for number in range(3, count + 3)])


def _octets(value: Value, least: int, most: int) -> bytes:
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise Malformed(f"telemetry: {least} to {most} bytes are missing")
    return value


def _uint(value: Value) -> int:
    if type(value) is not int or not 0 <= value <= _INT63:
        raise Malformed("telemetry: a number from 0 to 2^63-1 is missing")
    return value


_State = TypeVar("_State", ApprovalState, HealthState, ProgressState)


def _state(states: type[_State], value: Value) -> _State:
    if type(value) is not int:
        raise Malformed("telemetry: a state is missing")
    for state in states:
        if state.value == value:
            return state
    raise Malformed("telemetry: a state that version 1 does not have")
