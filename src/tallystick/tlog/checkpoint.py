"""Checkpoints (C2SP tlog-checkpoint v1.0.0): the size and root of a log as the text of a signed note.

    example.com/log
    70000
    o5IPun8jmgcam9EHIfE0Gt3vuu3ttBx+JEN6nRa98Ao=

The log signs with an Ed25519 key (0x01) over the text and with an ML-DSA-44 key (0x06) as a cosignature of its own. Extension
lines are read and kept, never written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.canonical import b64, decimal, to_decimal, unb64
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import sha256
from tallystick.tlog.note import Note, UnprovenNote, Verifier, check_name, parse
from tallystick.tlog.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE

MAX_EXTENSIONS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log commits to. `origin` is its name, which outlives its keys."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The note's text. Raises: Misuse when it could not be read back."""
        text = f"{self.origin}\n{to_decimal(self.size)}\n{b64(self.root)}\n" + "".join(line + "\n" for line in self.extensions)
        try:
            same = parse_text(text) == self
        except Malformed as error:
            raise Misuse(f"this checkpoint cannot be read: {error}") from None
        if not same:
            raise Misuse("this checkpoint would be read as another")
        return text

    @property
    def origin_hash(self) -> bytes:
        """SHA-256 of the origin: how other logs name this one."""
        return sha256(self.origin.encode("utf-8"))


def parse_text(text: str) -> Checkpoint:
    """Read a checkpoint's text. Raises: Malformed for sizes, roots or origins that are not in their one form."""
    lines = text.split("\n")
    if lines.pop() != "" or not 3 <= len(lines) <= 3 + MAX_EXTENSIONS:
        raise Malformed("a checkpoint has an origin, a size and a root, each on a line of its own")
    origin, size_text, root_text, *extensions = lines
    if not origin or any(not line for line in extensions):
        raise Malformed("a checkpoint has no empty lines")
    size = decimal(size_text, maximum=MAX_SIZE)
    root = unb64(root_text, max_bytes=HASH_BYTES)
    if len(root) != HASH_BYTES:
        raise Malformed(f"a checkpoint's root has {HASH_BYTES} bytes")
    if size == 0 and root != EMPTY_ROOT:
        raise Malformed("an empty log has the root of the empty tree")
    return Checkpoint(origin=check_name(origin), size=size, root=root, extensions=tuple(extensions))


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint under signatures that hold. Made by `verify_checkpoint`."""

    checkpoint: Checkpoint
    note: Note


def read_checkpoint(data: bytes) -> tuple[Checkpoint, UnprovenNote]:
    """Read a signed checkpoint; check no signature. Raises: Malformed."""
    note = parse(data)
    return parse_text(note.text), note


def verify_checkpoint(
    data: bytes, *, log: Sequence[Verifier], witnesses: Sequence[Verifier] = (), origin: str | None = None
) -> SignedCheckpoint:
    """Read a signed checkpoint and check it: every key in `log` must have signed, known witnesses' lines must hold.

    Args: origin: what the first line must say; else the name of the log's keys.
    Raises: Malformed; Unproven when a signature is missing or wrong, Misuse when no key of the log is given.
    """
    if not log:
        raise Misuse("a checkpoint is checked with a key of its log")
    checkpoint, unproven = read_checkpoint(data)
    if checkpoint.origin != (origin if origin is not None else log[0].key.name):
        raise Malformed(f"this checkpoint is of another log: {checkpoint.origin[:64]}")
    note = unproven.verify([*log, *witnesses])
    missing = [verifier.key for verifier in log if note.by(verifier.key) is None]
    if missing:
        raise Unproven(f"this checkpoint lacks the signature of type {missing[0].type:#04x} by {missing[0].name}")
    return SignedCheckpoint(checkpoint=checkpoint, note=note)
