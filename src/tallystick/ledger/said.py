"""What a signal in the ledger says of itself, for a story: its words, commitments and predecessors (docs/spec/signal.cddl).

Also what else is recomputed from signed bytes: which entries were written with a signal, whether a person approved exactly this one, and
the root over what was delivered to a key.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick import canonical
from tallystick.errors import Malformed, TallyError
from tallystick.keys.cose import UnprovenSign1, parse_sign1
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.tlog.tree import HASH_BYTES, leaf_hash, root_of

BODY_TAG: Final = b"tally body v1"

_PLAIN: Final = re.compile(
    rb"\xaa\x01\x01\x02\x58\x20.{32}\x03([\x61-\x77])([ -~]{1,23})\x04([\x61-\x77])([ -~]{1,23})\x05([\x61-\x77])([ -~]{1,23})"
    rb"\x06([\xa0-\xa5])(?:\x01\x58\x20(.{32}))?(?:\x02\x58\x20(.{32}))?(?:\x03\x58\x20(.{32}))?(?:\x04\x58\x20(.{32}))?"
    rb"(?:\x05([\x81-\x90])((?:\x58\x20.{32}){1,16}))?"
    rb"\x07\x1b([\x01-\x7f].{7})\x08\x50.{16}\x09(?:[\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff].|\x1a[\x01-\xff].{3})"
    rb"\x0a([\x80-\x97])((?:\x58\x20.{32}){0,23})",
    re.DOTALL,
)
"""The payload of nearly every signal: ten fields, short words, hashes of 32 bytes. A story reads each of its signals, so this pays."""
_HASH: Final = 34  # bytes of a hash with its head

EntryRef = tuple[bytes, int]
"""The hash of a log's origin, and an entry in it."""
Reference = bytes | EntryRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a signal's own bytes say. As a value it proves nothing: `Step.signature` tells whether the key signed it.

    `reason`: why, in the words of whoever signed (the extension `reason`, docs/approvals.md).
    """

    key: bytes
    reference: bytes
    signal_class: str
    action: str
    verb: str
    issued_at_ns: int
    prev: tuple[Reference, ...]
    commitments: Mapping[int | str, canonical.Value] = field(repr=False)
    sign1: UnprovenSign1 = field(repr=False)
    reason: str = ""


def read_said(cose: bytes) -> Said:
    """The places of a signal that a story needs. Raises: Malformed when it is no signal of version 1."""
    sign1 = parse_sign1(cose)
    plain = _read_plain(sign1.payload)
    signal_class, action, verb, commitments, issued_at_ns, prev = plain or _read_any(sign1.payload)
    return Said(
        key=bytes(sign1.kid),
        reference=sha256(sign1.signature),
        signal_class=signal_class,
        action=action,
        verb=verb,
        issued_at_ns=issued_at_ns,
        prev=prev,
        commitments=commitments,
        sign1=sign1,
        reason="" if plain else _reason(sign1.payload),
    )


def _read_plain(raw: bytes) -> tuple[str, str, str, dict[int | str, canonical.Value], int, tuple[Reference, ...]] | None:
    """The commonest payload in one pass; None for every other one, good or bad. The tests compare it with `_read_any`."""
    found = _PLAIN.fullmatch(raw)
    if found is None:
        return None
    class_head, signal_class, action_head, action, verb_head, verb, count, *hashes, seen, observations, time, named, prev = found.groups()
    commitments: dict[int | str, canonical.Value] = {number: each for number, each in enumerate(hashes, 1) if each is not None}
    if observations is not None:
        commitments[5] = [observations[at + 2 : at + _HASH] for at in range(0, len(observations), _HASH)]
    if (
        class_head[0] - 0x60 != len(signal_class)
        or action_head[0] - 0x60 != len(action)
        or verb_head[0] - 0x60 != len(verb)
        or count[0] - 0xA0 != len(commitments)
        or (observations is not None and (seen[0] - 0x80) * _HASH != len(observations))
        or (named[0] - 0x80) * _HASH != len(prev)
    ):
        return None
    references = tuple(prev[at + 2 : at + _HASH] for at in range(0, len(prev), _HASH))
    words = signal_class.decode("ascii"), action.decode("ascii"), verb.decode("ascii")
    return *words, commitments, int.from_bytes(time, "big"), references


def _read_any(raw: bytes) -> tuple[str, str, str, dict[int | str, canonical.Value], int, tuple[Reference, ...]]:
    """Any payload. Raises: Malformed."""
    payload = canonical.decode(raw)
    if not isinstance(payload, dict):
        raise Malformed("a signal's payload is a map")
    match payload.get(3), payload.get(4), payload.get(5), payload.get(6), payload.get(7), payload.get(10):
        case str(signal_class), str(action), str(verb), dict(commitments), int(issued_at_ns), list(prev):
            return signal_class, action, verb, commitments, issued_at_ns, tuple(_reference(each) for each in prev)
        case _:
            raise Malformed("a signal names its class, action, verb, commitments, time and predecessors")


def _reason(raw: bytes) -> str:
    payload = canonical.decode(raw)
    ext = payload.get(16) if isinstance(payload, dict) else None
    reason = ext.get("reason") if isinstance(ext, dict) else None
    try:
        return reason.decode("utf-8") if isinstance(reason, bytes) else ""
    except UnicodeDecodeError:
        return ""


def _reference(value: object) -> Reference:
    match value:
        case bytes(hashed) if len(hashed) == HASH_BYTES:
            return hashed
        case [bytes(origin), int(index)] if len(origin) == HASH_BYTES and index >= 0 and index is not True and index is not False:
            return origin, index
        case _:
            raise Malformed("a predecessor is a hash, or an origin's hash and an entry")


def context_root(references: Sequence[bytes]) -> bytes:
    """The Merkle root over the references that were delivered (RFC 6962), as it stands in `context`."""
    return root_of([leaf_hash(reference) for reference in references])


def belongs(entry: int, reference: bytes, event: Event) -> bool:
    """Whether an entry right behind a signal's was written with it: a finding, the proposal, a sighting, a delivery, a noted fact."""
    match event.kind:
        case Kind.FINDING | Kind.SIGHTING | Kind.DELIVERED:
            return event.blob("signal_hash") == reference
        case Kind.PROPOSAL:
            return event.get("cause") in (None, entry)
        case Kind.FACT_ADDED | Kind.SCOPE_ENDED:
            return event.get("cause") == entry
        case _:
            return False


def approval_flaw(event: Event, proposals: Mapping[int, Event]) -> str:
    """Why an approval in the ledger does not prove that a person signed exactly these proposals; empty when it does.

    Its signature is checked elsewhere. Here: the statement in clear is what was signed, its root is over the items of the entry, and
    each item of ours is of the very signal that was held.
    """
    try:
        said = read_said(event.blob("signal"))
        body, items = event.blob("statement"), event.get("items")
        committed = sha256(BODY_TAG, event.blob("statement_salt"), canonical.encode([len(body), sha256(body)]))
        stated = canonical.decode(body, max_depth=8)
    except TallyError as error:
        return error.message
    if said.commitments.get(3) != committed or not isinstance(stated, dict) or not isinstance(items, tuple):
        return "the statement in clear is not the one that was signed"
    if said.signal_class != "human" or stated.get("verb") != said.verb:
        return "its signal is not a person's statement"
    if stated.get("root") != root_of([leaf_hash(canonical.encode(list(item))) for item in items]):
        return "the items of the entry are not those that were signed"
    mine = {entry: signal_hash for entry, signal_hash in items if entry in proposals}
    if not mine or any(proposals[entry].blob("signal_hash") != signal_hash for entry, signal_hash in mine.items()):
        return "it names another signal than the one that was held"
    return ""
