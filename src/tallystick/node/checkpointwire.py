"""The messages of checkpoint frames (docs/spec/checkpoint.md, section 1; docs/spec/restore.md, section 3).

ask ->   <- show   cosign ->              an ordinary session
ask ->   <- closed                        the house takes no commands, and says why
ask ->   <- follow   cosign ->            it goes on under another name, with other keys, or elsewhere
submit ->  <- told                        a human's statement, to a house that is closed to everything else
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed
from tallystick.node.local import KINDS
from tallystick.tlog.tree import HASH_BYTES, MAX_SIZE

MAX_MESSAGE_BYTES: Final = 61_440
MAX_NOTE_BYTES: Final = 24_576  # of a house; a ledger entry takes no longer one
MAX_ASKED_BYTES: Final = 8_192  # text and the log's own two lines: 3,600 bytes and the origin
MAX_PROOF: Final = 63
MAX_LINKS: Final = 16
MAX_LINK_BYTES: Final = 57_344
MAX_TERMS_BYTES: Final = 8_192
MAX_BUNDLE_BYTES: Final = 49_152
MAX_WORDS: Final = 500
MAX_ROTATIONS: Final = 7
_ASK, _SHOW, _COSIGN, _CLOSED, _FOLLOW, _SUBMIT, _TOLD, _PROVE, _PROOF = 1, 2, 3, 4, 5, 6, 7, 8, 9


class Why(IntEnum):
    """Why a house takes no commands."""

    ROLLED_BACK = 1
    RESTORING = 2
    MOVED = 3
    UNSIGNED = 4
    """The house is open; this pair waits to be signed again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Client: show me your newest checkpoint. `note`: the one seen last (empty for none); `after`: the last link that was followed."""

    note: bytes
    after: int = 0


@dataclass(frozen=True, slots=True)
class Show:
    """House: here it is, and the proof that it continues the one you saw."""

    note: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Cosign:
    """Client: my witness key's line for it."""

    line: str


@dataclass(frozen=True, slots=True)
class Closed:
    """House: I take no commands. `note`: my newest checkpoint; `terms`: what it takes to open me again, for an ADMIN."""

    why: Why
    note: bytes
    terms: bytes | None = None


@dataclass(frozen=True, slots=True)
class Follow:
    """House: I go on like this. `start`: the proof from where the last restoration began, `proof`: from the checkpoint you saw."""

    links: tuple[bytes, ...]
    note: bytes
    start: tuple[bytes, ...]
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Submit:
    """Client: a human's statement."""

    bundle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """House: what became of a statement: its entry, or an error as the door tells it (docs/spec/door.md, section 4)."""

    entry: int
    kind: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Prove:
    """House: I do not know the key of the checkpoint that you showed; was it mine?"""


@dataclass(frozen=True, slots=True)
class Rotations:
    """Client: these are the rotations of your log by which I came to know it."""

    rotations: tuple[bytes, ...] = field(repr=False)


Message = Ask | Show | Cosign | Closed | Follow | Submit | Told | Prove | Rotations


def write_message(message: Message) -> bytes:
    """The body of a frame of type 6."""
    match message:
        case Ask(note=note, after=after):
            return encode([_ASK, note, after])
        case Show(note=note, proof=proof):
            return encode([_SHOW, note, list(proof)])
        case Cosign(line=line):
            return encode([_COSIGN, line])
        case Closed(why=why, note=note, terms=terms):
            return encode([_CLOSED, int(why), note, terms])
        case Follow(links=links, note=note, start=start, proof=proof):
            return encode([_FOLLOW, list(links), note, list(start), list(proof)])
        case Submit(bundle=bundle):
            return encode([_SUBMIT, bundle])
        case Told(entry=entry, kind=kind, message=words, hint=hint):
            return encode([_TOLD, entry, kind, words, hint])
        case Prove():
            return encode([_PROVE])
        case Rotations(rotations=rotations):
            return encode([_PROOF, list(rotations)])


def read_message(raw: bytes) -> Message:
    """Raises: Malformed."""
    value = decode(raw, max_bytes=MAX_MESSAGE_BYTES, max_depth=2, max_items=2 * MAX_PROOF + MAX_LINKS + 8)
    if not isinstance(value, list) or not value or type(value[0]) is not int:
        raise Malformed("not a checkpoint message")  # True equals 1, and is another encoding
    match value:
        case [1, bytes(note), int(after)] if len(note) <= MAX_ASKED_BYTES and type(after) is int and 0 <= after <= MAX_SIZE:
            return Ask(note, after)
        case [2, bytes(note), list(proof)] if len(note) <= MAX_NOTE_BYTES:
            return Show(note, _hashes(proof))
        case [3, str(line)]:
            return Cosign(line)
        case [4, int(why), bytes(note), (bytes() | None) as terms] if type(why) is int and len(note) <= MAX_NOTE_BYTES:
            if why in set(Why) and (terms is None or 0 < len(terms) <= MAX_TERMS_BYTES):
                return Closed(Why(why), note, terms)
        case [5, list(links), bytes(note), list(start), list(proof)] if 1 <= len(links) <= MAX_LINKS and len(note) <= MAX_NOTE_BYTES:
            found = tuple(link for link in links if isinstance(link, bytes) and 0 < len(link) <= MAX_LINK_BYTES)
            if len(found) == len(links):
                return Follow(found, note, _hashes(start), _hashes(proof))
        case [6, bytes(bundle)] if 0 < len(bundle) <= MAX_BUNDLE_BYTES:
            return Submit(bundle)
        case [7, int(entry), str(kind), str(words), str(hint)] if type(entry) is int and 0 <= entry <= MAX_SIZE:
            if max(len(words), len(hint)) <= MAX_WORDS and (not kind or kind in KINDS):
                return Told(entry, kind, words, hint)
        case [8]:
            return Prove()
        case [9, list(rows)] if len(rows) <= MAX_ROTATIONS:
            rotations = tuple(row for row in rows if isinstance(row, bytes) and row)
            if len(rotations) == len(rows):
                return Rotations(rotations)
    raise Malformed("not a checkpoint message")


def _hashes(proof: list[Value]) -> tuple[bytes, ...]:
    hashes = tuple(each for each in proof if isinstance(each, bytes) and len(each) == HASH_BYTES)
    if len(hashes) != len(proof) or len(hashes) > MAX_PROOF:
        raise Malformed("not a checkpoint message")
    return hashes
