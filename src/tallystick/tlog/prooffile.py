"""Proof files (C2SP tlog-proof v1): that an entry is in a log, and who has seen that log, in one text to keep and check offline.

c2sp.org/tlog-proof@v1
extra <base64>                  (left out when there is none; nobody vouches for it)
index <n>
<base64 hash>                   the inclusion proof, from the leaf's sibling up
<empty line>
<the signed checkpoint, as it is>
"""

from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import b64, decimal, to_decimal, unb64
from tallystick.errors import Malformed, Misuse
from tallystick.tlog.checkpoint import SignedCheckpoint, read_checkpoint
from tallystick.tlog.note import MAX_NOTE_BYTES
from tallystick.tlog.policy import Policy
from tallystick.tlog.proof import MAX_HASHES, verify_inclusion
from tallystick.tlog.tree import HASH_BYTES, MAX_SIZE

HEADER: Final = "c2sp.org/tlog-proof@v1"
SUFFIX: Final = ".tlog-proof"
MAX_EXTRA_BYTES: Final = 65_536
MAX_PROOF_BYTES: Final = MAX_NOTE_BYTES + 4 * MAX_EXTRA_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofFile:
    """A proof as it was written; nothing is checked yet but its form. `note`: the signed checkpoint."""

    index: int
    hashes: tuple[bytes, ...]
    note: bytes = field(repr=False)
    extra: bytes = b""

    def to_bytes(self) -> bytes:
        """The file. Raises: Misuse when it could not be read back."""
        lines = [HEADER]
        if self.extra:
            lines.append(f"extra {b64(self.extra)}")
        lines.append(f"index {to_decimal(self.index)}")
        lines += map(b64, self.hashes)
        data = "\n".join([*lines, "", ""]).encode() + self.note
        try:
            same = read_proof(data) == self
        except Malformed as error:
            raise Misuse(f"this proof cannot be read: {error}") from None
        if not same:
            raise Misuse("this proof would be read as another")
        return data

    def verify(self, leaf: bytes, policy: Policy) -> SignedCheckpoint:
        """Check that the entry with this leaf hash is in a log of the policy, and that its quorum has seen that log.

        Raises: Malformed; Unproven: signatures, quorum or inclusion do not hold. Misuse: the policy names no log.
        Source: tlog-proof, verification: policy first, then inclusion.
        """
        signed = policy.check(self.note)
        checkpoint = signed.checkpoint
        verify_inclusion(index=self.index, size=checkpoint.size, leaf=leaf, root=checkpoint.root, proof=self.hashes)
        return signed


def read_proof(data: bytes) -> ProofFile:
    """Read a proof file; check nothing but its form. Raises: Malformed."""
    if len(data) > MAX_PROOF_BYTES:
        raise Malformed(f"a proof has at most {MAX_PROOF_BYTES} bytes")
    head, empty, note = data.partition(b"\n\n")
    if not empty:
        raise Malformed("a proof has an empty line before its checkpoint")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Malformed("a proof is ASCII before its checkpoint") from None
    if lines.pop(0) != HEADER:
        raise Malformed(f"a proof begins with {HEADER}")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = unb64(lines.pop(0).removeprefix("extra "), max_bytes=MAX_EXTRA_BYTES)
        if not extra:
            raise Malformed("a proof without extra data has no line for it")
    if not lines or not lines[0].startswith("index "):
        raise Malformed("a proof names the index of its entry")
    index = decimal(lines.pop(0).removeprefix("index "), maximum=MAX_SIZE)
    if len(lines) > MAX_HASHES:
        raise Malformed(f"a proof has at most {MAX_HASHES} hashes")
    hashes = tuple(unb64(line, max_bytes=HASH_BYTES) for line in lines)
    if any(len(each) != HASH_BYTES for each in hashes):
        raise Malformed(f"each hash of a proof has {HASH_BYTES} bytes")
    checkpoint, _ = read_checkpoint(note)
    if index >= checkpoint.size:
        raise Malformed(f"there is no entry {index} in a log of {checkpoint.size}")
    return ProofFile(index=index, hashes=hashes, note=note, extra=extra)
