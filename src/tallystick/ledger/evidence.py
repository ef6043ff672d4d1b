"""Evidence: some entries of a log, and everything that proves them, in one file to keep and check offline (docs/spec/evidence.md).

A tar of nine members in a fixed order and form, so that one evidence has one file and a changed byte is found wherever it lies. Who
checks it needs nothing from the house but its log key: `tally verify FILE`, or the stand-alone `tally-verify FILE`.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.ledger import entry
from tallystick.ledger.audit import Finding, check_note
from tallystick.ledger.meaning import Meaning, check
from tallystick.primitives import sha256
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.multiproof import multiproof_root
from tallystick.tlog.note import VerifierKey, parse_verifier_key
from tallystick.tlog.tree import HASH_BYTES, leaf_hash

MAX_EVIDENCE_BYTES: Final = 1 << 31
BLOCK: Final = 512  # of a tar (POSIX ustar)
NAMES: Final = ("README.txt", "checkpoint", "vkeys", "selection", "leaves", "hashes", "proof", "openings", "SHA256SUMS")
HEADER: Final = "tallystick evidence v1"
README: Final = """\
Evidence from a tallystick ledger. It proves, without trust in the one who gave it to you, that these entries stand in the log that
signed the checkpoint, what they say, and which keys signed the commands and statements in them.

Check it:   tally-verify FILE --key VKEY          (one Python file; needs only the package cryptography)
Get VKEY, the key of the log, from somebody you trust; `vkeys` is what the file itself says it is.

checkpoint  the signed size and root of the log, with the cosignatures of those who saw it
vkeys       the keys of the log and of its witnesses
selection   what was asked for; entries under `support` are here only because they introduce keys
leaves      each entry: u64 index, u16 length, bytes (deterministic CBOR)
hashes      SHA-256(0x00 || leaf) of each entry
proof       what joins them to the root
openings    what the signed commitments hold, where it was not erased: u64 index, u32 length, bytes
SHA256SUMS  of the members before it (sha256sum -c)

What it does not prove: that nothing else happened, or that the house recorded everything. Times are the house's own.
"""
_ENTRY: Final = struct.Struct(">QH")
_OPENING: Final = struct.Struct(">QI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What an evidence file holds. `selection`: lines of words.  `proof`: see tlog/multiproof.py."""

    checkpoint: bytes
    log: tuple[VerifierKey, ...]
    witnesses: tuple[VerifierKey, ...]
    selection: tuple[str, ...]
    support: tuple[int, ...]
    leaves: Mapping[int, bytes] = field(repr=False)
    hashes: tuple[bytes, ...] = field(repr=False)
    proof: tuple[bytes, ...] = field(repr=False)
    openings: Mapping[int, bytes] = field(repr=False)

    def to_bytes(self) -> bytes:
        """The file."""
        members = {
            "README.txt": README.encode(),
            "checkpoint": self.checkpoint,
            "vkeys": "".join([f"log {key}\n" for key in self.log] + [f"witness {key}\n" for key in self.witnesses]).encode(),
            "selection": "\n".join([HEADER, *self.selection, " ".join(["support", *map(str, self.support)]), ""]).encode(),
            "leaves": b"".join(_ENTRY.pack(index, len(leaf)) + leaf for index, leaf in sorted(self.leaves.items())),
            "hashes": b"".join(self.hashes),
            "proof": b"".join(self.proof),
            "openings": b"".join(_OPENING.pack(index, len(opening)) + opening for index, opening in sorted(self.openings.items())),
        }
        members["SHA256SUMS"] = _sums(members)
        return write_tar(members)


def write_tar(members: Mapping[str, bytes]) -> bytes:
    """A ustar of plain files in this order: owner 0, time 0, mode 0444. Raises: Misuse: a name or size that does not fit."""
    parts: list[bytes] = []
    for name, data in members.items():
        raw = name.encode("ascii")
        if not 0 < len(raw) <= 100 or len(data) >= 8**11:
            raise Misuse(f"{name} does not fit into a tar")
        fields = (raw.ljust(100, b"\0"), b"0000444\0", b"0000000\0" * 2, b"%011o\0" % len(data), b"00000000000\0")
        tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(64) + b"0000000\0" * 2
        head = b"".join((*fields, b" " * 8, tail)).ljust(BLOCK, b"\0")
        head = head[:148] + b"%06o\0 " % sum(head) + head[156:]
        parts += [head, data, bytes(-len(data) % BLOCK)]
    return b"".join([*parts, bytes(2 * BLOCK)])


def places(data: bytes) -> dict[str, tuple[int, int]]:
    """Where each member lies: the first byte of its content and its length. Raises: Malformed for any other tar."""
    found: dict[str, tuple[int, int]] = {}
    at = 0
    for name in NAMES:
        head = data[at : at + BLOCK]
        digits = head[124:135]
        if len(head) < BLOCK or not digits.isdigit() or set(digits) - set(b"01234567"):
            raise Malformed(f"the header of {name}, at byte {at}, is damaged")
        size = int(digits, 8)
        start = at + BLOCK
        if start + size > len(data):
            raise Malformed(f"{name}, at byte {start}, is cut short")
        if write_tar({name: data[start : start + size]})[: -2 * BLOCK] != data[at : start + size + -size % BLOCK]:
            raise Malformed(f"the header or filling of {name}, at byte {at}, is not in its one form")
        found[name] = (start, size)
        at = start + size + -size % BLOCK
    if data[at:] != bytes(2 * BLOCK):
        raise Malformed(f"the end, at byte {at}, is not in its one form")
    return found


def read_evidence(data: bytes) -> Evidence:
    """Read the one form of an evidence file; prove nothing. Raises: Malformed."""
    members = {name: data[start : start + size] for name, (start, size) in places(data).items()}
    log: list[VerifierKey] = []
    witnesses: list[VerifierKey] = []
    for line in _lines(members["vkeys"], "vkeys"):
        word, _, key = line.partition(" ")
        if word not in ("log", "witness"):
            raise Malformed("vkeys: a line is of the log or of a witness")
        (log if word == "log" else witnesses).append(parse_verifier_key(key))
    head, *selection = _lines(members["selection"], "selection") or [""]
    words = selection.pop().split(" ") if selection else []
    if head != HEADER or not words or words[0] != "support" or not all(word.isascii() and word.isdigit() for word in words[1:]):
        raise Malformed("selection: not what was asked for, in its one form")
    leaves = _records(members["leaves"], _ENTRY, "leaves")
    evidence = Evidence(
        checkpoint=members["checkpoint"],
        log=tuple(log),
        witnesses=tuple(witnesses),
        selection=tuple(selection),
        support=tuple(int(word) for word in words[1:] if len(word) < 20),
        leaves=leaves,
        hashes=_hashes(members["hashes"], "hashes"),
        proof=_hashes(members["proof"], "proof"),
        openings=_records(members["openings"], _OPENING, "openings"),
    )
    if evidence.to_bytes() != data:
        raise Malformed("this evidence is not in its one form")
    return evidence


def _sums(members: Mapping[str, bytes]) -> bytes:
    return "".join(f"{sha256(data).hex()}  {name}\n" for name, data in members.items()).encode()


def _lines(data: bytes, name: str) -> list[str]:
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed(f"{name}: not plain text") from None
    lines = text.split("\n")
    if lines.pop() != "":
        raise Malformed(f"{name}: its last line has no end")
    return lines


def _records(data: bytes, head: struct.Struct, name: str) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at, last = 0, -1
    while at < len(data):
        if at + head.size > len(data):
            raise Malformed(f"{name}: cut short at byte {at}")
        index, size = head.unpack_from(data, at)
        at += head.size
        if index <= last or at + size > len(data):
            raise Malformed(f"{name}: out of order or cut short at byte {at}, entry {index}")
        found[index] = data[at : at + size]
        at, last = at + size, index
    return found


def _hashes(data: bytes, name: str) -> tuple[bytes, ...]:
    if len(data) % HASH_BYTES:
        raise Malformed(f"{name}: not a row of hashes")
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def audit_evidence(file: str, data: bytes) -> tuple[Evidence | None, list[Finding]]:
    """Verify a file; what does not hold, each with its byte and entry. Openings are for the one who knows signals."""
    try:
        spots = places(data)
    except Malformed as error:
        return None, [Finding(file=file, meaning=error.message)]
    found = list(_check_sums(file, data, spots))
    try:
        evidence = read_evidence(data)
    except Malformed as error:
        return None, found or [Finding(file=file, meaning=error.message)]
    found += _check_leaves(file, evidence, spots)
    hashes = dict(zip(sorted(evidence.leaves), evidence.hashes, strict=False))

    def root_at(size: int) -> bytes | None:
        try:
            return multiproof_root(hashes, size, evidence.proof)
        except Malformed:
            return b""

    meaning = Meaning(lambda _: None, whole=False)
    for index, leaf in sorted(evidence.leaves.items()):
        offset = spots["leaves"][0]
        try:
            flaws = meaning.take(index, entry.decode(leaf))
        except TallyError as error:
            found.append(Finding(file=file, offset=offset, entry=index, meaning=error.message))
            continue
        found += [Finding(file=file, entry=flaw.entry, meaning=flaw.meaning) for flaw in flaws if flaw.grave]
    found += [Finding(file=file, entry=flaw.entry, meaning=flaw.meaning) for flaw in check(meaning.claims_made())]
    size = max(evidence.leaves, default=0) + 1
    if not evidence.log or not meaning.eras:
        found.append(Finding(file=file, offset=spots["vkeys"][0], meaning="it names no log, or has no origin"))
        return evidence, found
    if set(evidence.log) not in [{each.key for each in era.log} for era in meaning.eras]:
        found.append(Finding(file=file, offset=spots["vkeys"][0], meaning="the origin names other keys of the log"))
    if len({*evidence.log, *evidence.witnesses}) != len(evidence.log) + len(evidence.witnesses):
        found.append(Finding(file=file, offset=spots["vkeys"][0], meaning="it names a key twice"))
    known = {witness.key for witness in meaning.witnesses_known()}
    found += [
        Finding(file=file, offset=spots["vkeys"][0], meaning=f"no entry here names the witness key {key.name}")
        for key in evidence.witnesses
        if key not in known and key.name.startswith("tallystick/")
    ]
    checkpoint, wrong = check_note(
        file,
        evidence.checkpoint,
        log=[verifier(key) for key in evidence.log],
        witnesses=[verifier(key) for key in evidence.witnesses],
        origin=evidence.log[0].name,
        root_at=root_at,
        size=2**63 - 1,
        row="checkpoint",
    )
    if checkpoint is not None:
        if size > checkpoint.size:
            wrong.append(Finding(file=file, entry=checkpoint.size, last=size - 1, meaning="the checkpoint does not cover these entries"))
        # Each line of a key that is named was verified with the note; a key without a line has seen nothing.
        lines = {(line.name, line.key_id) for line in read_checkpoint(evidence.checkpoint)[1].signatures}
        wrong += [
            Finding(file=file, offset=spots["vkeys"][0], meaning=f"the witness {key.name} has not signed this checkpoint")
            for key in evidence.witnesses
            if (key.name, key.key_id) not in lines
        ]
    return evidence, found + wrong


def _check_sums(file: str, data: bytes, spots: Mapping[str, tuple[int, int]]) -> list[Finding]:
    members = {name: data[start : start + size] for name, (start, size) in spots.items()}
    lines = members.pop("SHA256SUMS").splitlines(keepends=True)
    found = []
    for number, (name, content) in enumerate(members.items()):
        right = f"{sha256(content).hex()}  {name}\n".encode()
        if number >= len(lines) or lines[number] != right:
            start, size = spots[name]
            meaning = f"{name} (bytes {start} to {start + size}) was changed, or its sum in SHA256SUMS was (byte {spots['SHA256SUMS'][0]})"
            found.append(Finding(file=file, offset=start, meaning=meaning))
    return found


def _check_leaves(file: str, evidence: Evidence, spots: Mapping[str, tuple[int, int]]) -> list[Finding]:
    at = spots["leaves"][0]
    found = []
    if len(evidence.hashes) != len(evidence.leaves):
        found.append(Finding(file=file, offset=spots["hashes"][0], meaning="it has not one hash for each entry"))
    for (index, leaf), digest in zip(sorted(evidence.leaves.items()), evidence.hashes, strict=False):
        if leaf_hash(leaf) != digest:
            found.append(Finding(file=file, offset=at + _ENTRY.size, entry=index, meaning="this entry was changed, or its hash was"))
        at += _ENTRY.size + len(leaf)
    found += [
        Finding(file=file, entry=index, meaning="an opening without its entry")
        for index in evidence.openings
        if index not in evidence.leaves
    ]
    return found
