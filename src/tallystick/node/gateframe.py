"""What is said over gate.sock: requests and answers as canonical CBOR (docs/spec/gate.md, section 7)."""

import struct
from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.gate.opening import MAX_OPENING_BYTES
from tallystick.gate.signal import INT63, MAX_SIGNAL_BYTES
from tallystick.node.gatewords import Decided, Verdict
from tallystick.node.local import error_body, error_from_body
from tallystick.passage.admission import MAX_BODY_BYTES, MAX_DELIVERIES

MAX_FRAME_BYTES: Final = 1_100_000
MAX_ANSWER_BYTES: Final = 8_192
LENGTH: Final = struct.Struct(">I")
ADMIT, DECISION, BEGIN, END, DELIVER = 1, 2, 3, 4, 5
_ID_BYTES: Final = 32
_WORDS: Final = ("allowed", "held", "refused")
_REASONS: Final = ("released", "denied", "expired", "edited", "changed", "void")


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """A signal is handed in. `body`: what its body commitment names, None: it stays with the sender."""

    signal: bytes
    opening: bytes = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    deliver_to: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AskDecision:
    """Tell me when this proposal is over."""

    proposal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginContext:
    """From now on what is delivered to this key is behind what it signs."""

    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class EndContext:
    """What was delivered to this key is forgotten: its program was."""

    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver:
    """These signals are given to a key now. `references`: of recorded signals."""

    key: bytes
    references: tuple[bytes, ...]


Request = Admit | AskDecision | BeginContext | EndContext | Deliver


def read_request(raw: bytes) -> Request:
    """Read a frame's bytes. Raises: Malformed for any that are not one of the five requests."""
    match decode(raw, max_bytes=MAX_FRAME_BYTES, max_depth=2, max_items=256):
        case [1, bytes(signal), bytes(opening), (bytes() | None) as body, list(listed)] if raw[1] == ADMIT:
            if len(signal) > MAX_SIGNAL_BYTES or len(opening) > MAX_OPENING_BYTES or len(body or b"") > MAX_BODY_BYTES:
                raise Malformed("gate: a signal, opening or body that is too long")
            return Admit(signal=signal, opening=opening, body=body, deliver_to=_ids(listed, 0, MAX_DELIVERIES))
        case [2, int(proposal)] if raw[1] == DECISION and type(proposal) is int and 0 <= proposal <= INT63:
            return AskDecision(proposal=proposal)
        case [3, bytes(key)] if raw[1] == BEGIN:
            return BeginContext(key=_id(key))
        case [4, bytes(key)] if raw[1] == END:
            return EndContext(key=_id(key))
        case [5, bytes(key), list(listed)] if raw[1] == DELIVER:
            return Deliver(key=_id(key), references=_ids(listed, 1, MAX_DELIVERIES))
    raise Malformed("gate: not a request", "docs/spec/gate.md, section 7, says what they look like.")


def write_request(request: Request) -> bytes:
    """The bytes of a request. Raises: Misuse when it cannot be one: it was made here."""
    fields: Encodable
    match request:
        case Admit(signal=signal, opening=opening, body=body, deliver_to=deliver_to):
            fields = [ADMIT, signal, opening, body, list(deliver_to)]
        case AskDecision(proposal=proposal):
            fields = [DECISION, proposal]
        case BeginContext(key=key):
            fields = [BEGIN, key]
        case EndContext(key=key):
            fields = [END, key]
        case Deliver(key=key, references=references):
            fields = [DELIVER, key, list(references)]
    raw = encode(fields)
    try:
        read_request(raw)
    except TallyError as error:
        raise Misuse(error.message, error.hint) from None
    return raw


def write_verdict(verdict: Verdict) -> bytes:
    """The answer to `Admit`."""
    fields: dict[str, Encodable] = {"verdict": verdict.word}
    if verdict.entry is not None:
        fields["entry"] = verdict.entry
    if verdict.reduced:
        fields["reduced"] = True
    if verdict.proposal is not None:
        fields["proposal"] = verdict.proposal
    if verdict.status is not None:
        fields["status"] = verdict.status
    return encode(fields)


def write_decided(decided: Decided) -> bytes:
    """The answer to `AskDecision`."""
    return encode({"reason": decided.reason, "entry": decided.entry})


def write_entry(entry: int) -> bytes:
    """The answer to the others."""
    return encode({"entry": entry})


def write_error(error: TallyError) -> bytes:
    """An error, as JSON has it elsewhere."""
    body = error_body(error)
    return encode({"error": {name: text[:1_000] for name, text in body.items()}})


def read_verdict(raw: bytes) -> Verdict:
    """The house's answer to `Admit`. Raises: the error it holds; Malformed for any other bytes."""
    match _answer(raw):
        case {"verdict": str(word), **rest} if word in _WORDS and rest.keys() <= {"entry", "reduced", "proposal", "status"}:
            numbers = {name: _index(rest.get(name)) for name in ("entry", "proposal", "status")}
            return Verdict(word=word, reduced=_flag(rest.get("reduced")), **numbers)
    raise Malformed("gate: the answer is no verdict")


def read_decided(raw: bytes) -> Decided:
    """The house's answer to `AskDecision`. Raises: as `read_verdict`."""
    match _answer(raw):
        case {"reason": str(reason), "entry": entry, **rest} if not rest and reason in _REASONS and (found := _index(entry)) is not None:
            return Decided(reason=reason, entry=found)
    raise Malformed("gate: the answer is no decision")


def read_entry(raw: bytes) -> int:
    """The house's answer to the others. Raises: as `read_verdict`."""
    match _answer(raw):
        case {"entry": entry, **rest} if not rest and (found := _index(entry)) is not None:
            return found
    raise Malformed("gate: the answer names no entry")


def _answer(raw: bytes) -> dict[int | str, Value]:
    found = decode(raw, max_bytes=MAX_ANSWER_BYTES, max_depth=2, max_items=32)
    if not isinstance(found, dict):
        raise Malformed("gate: the answer is no map")
    if "error" in found:
        raise error_from_body(found["error"])
    return found


def _index(value: Value) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= INT63:
        raise Malformed("gate: an entry is a number")
    return value


def _flag(value: Value) -> bool:
    if value is not None and value is not True:
        raise Malformed("gate: a flag is true or left out")
    return value is True


def _id(value: Value) -> bytes:
    if not isinstance(value, bytes) or len(value) != _ID_BYTES:
        raise Malformed("gate: an id has 32 bytes")
    return value


def _ids(values: list[Value], least: int, most: int) -> tuple[bytes, ...]:
    if not least <= len(values) <= most:
        raise Malformed(f"gate: {least} to {most} ids")
    found = tuple(map(_id, values))
    if len(set(found)) != len(found):
        raise Malformed("gate: one id twice")
    return found
