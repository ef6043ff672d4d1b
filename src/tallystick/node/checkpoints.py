"""Checkpoints between the ends of a pair: shown, checked against the last one seen, cosigned (docs/spec/checkpoint.md).

Every pair is a witness: each session brings the house's newest checkpoint; the client proves that it continues the one it saw
last, cosigns it with its witness key and keeps it. A house whose history was rewritten or rolled back is refused for good, with the
two signed checkpoints as evidence.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, Unavailable, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import ED25519_TYPE, ML_DSA_44_TYPE, Machine, log_name_of
from tallystick.pair.outcome import Half
from tallystick.storage.rows import PairRow
from tallystick.tlog.checkpoint import read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import cosign, verifier
from tallystick.tlog.note import SignatureType, Verifier, VerifierKey
from tallystick.tlog.proof import verify_consistency
from tallystick.tlog.tree import HASH_BYTES, MAX_SIZE

MAX_MESSAGE_BYTES: Final = 24_576
MAX_PROOF: Final = 63
FRESH_NS: Final = 10**9
_ASK, _SHOW, _COSIGN = 1, 2, 3


@dataclass(frozen=True, slots=True)
class Ask:
    """Client: show me your newest checkpoint; I saw one of this size last (0 for none)."""

    size: int


@dataclass(frozen=True, slots=True)
class Show:
    """House: here it is, and the proof that it continues the one you saw."""

    note: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Cosign:
    """Client: my witness key's line for it."""

    line: str


Message = Ask | Show | Cosign


def write_message(message: Message) -> bytes:
    """The body of a frame of type 6."""
    match message:
        case Ask(size=size):
            return encode([_ASK, size])
        case Show(note=note, proof=proof):
            return encode([_SHOW, note, list(proof)])
        case Cosign(line=line):
            return encode([_COSIGN, line])


def read_message(raw: bytes) -> Message:
    """Raises: Malformed."""
    value = decode(raw, max_bytes=MAX_MESSAGE_BYTES, max_depth=2, max_items=MAX_PROOF + 8)
    if not isinstance(value, list) or not value or type(value[0]) is not int:
        raise Malformed("not a checkpoint message")  # True equals 1, and is another encoding
    match value:
        case [1, int(size)] if not isinstance(size, bool) and 0 <= size <= MAX_SIZE:
            return Ask(size)
        case [2, bytes(note), list(proof)] if len(proof) <= MAX_PROOF:
            hashes = tuple(each for each in proof if isinstance(each, bytes) and len(each) == HASH_BYTES)
            if len(hashes) == len(proof):
                return Show(note, hashes)
        case [3, str(line)]:
            return Cosign(line)
    raise Malformed("not a checkpoint message")


class ForkError(Unproven):
    """The house's history does not continue the one we saw. `first` and `second` are the two signed checkpoints."""

    def __init__(self, why: str, first: bytes, second: bytes) -> None:
        super().__init__(f"the house's ledger was rewritten or rolled back: {why}", "both signed checkpoints are kept; ask its owner")
        self.first = first
        self.second = second


def house_log_keys(half: Half) -> dict[str, object]:
    """The fields of a client's proposal that name the house's log."""
    welcome = half.welcome
    return {
        "log_name": welcome.log_name,
        "log_keys": ((ED25519_TYPE, welcome.log.raw), (ML_DSA_44_TYPE, welcome.log_pq.raw)),
        "recovery_key": welcome.recovery.cose_key(),
    }


class Witness:
    """A client's side for one pair: what it saw last, and what it does with what it is shown."""

    def __init__(self, machine: Machine, pair: PairRow) -> None:
        """`pair`: one in which the other side is the house."""
        self._machine = machine
        self._pair = pair

    def log(self) -> tuple[str, list[Verifier]]:
        """Name and keys of the house's log, from the pair's proposal. Read when a checkpoint has come: no connection waits for it."""
        proposal = self._machine.store.entry(self._pair.created)
        if proposal is None:
            raise AssertionError("a pair's proposal is in the ledger")
        name, keys = proposal.event.text("log_name"), proposal.event.get("log_keys")
        kinds = keys if isinstance(keys, tuple) else ()
        return name, [verifier(VerifierKey(name=name, type=SignatureType(kind), public=public)) for kind, public in kinds]

    def ask(self) -> bytes:
        """What to send at the start of a session."""
        return write_message(self._question())

    def _question(self) -> Ask:
        return Ask(0 if self._pair.seen is None else self._pair.seen.size)

    def take(self, show: Show, now_ns: int) -> Cosign | Ask:
        """Judge what the house shows, record it, and only then cosign; one after the other for all sessions of this machine.

        Two sessions that judged side by side against the same old checkpoint could cosign two histories that both continue it.
        Returns: the cosignature; or a new question when another session has seen another checkpoint since this one asked.
        Raises: ForkError, Unproven, Malformed, Unavailable.
        """
        store = self._machine.store
        with alone(self._machine.home.path / "witness.lock"):
            fresh = store.pair(self._pair.pairing)
            if fresh is None:
                raise AssertionError("a pair's row does not go away")
            if fresh.seen != self._pair.seen:
                self._pair = fresh
                return self._question()
            event, cosign = self.judge(show, now_ns)
            if event is not None:
                store.append(event).result()
                self._pair = store.pair(self._pair.pairing) or fresh
        return cosign

    def judge(self, show: Show, now_ns: int) -> tuple[Event | None, Cosign]:
        """Check what the house shows. Returns: the event to record (None when nothing is new) and the cosignature to send.

        Raises: ForkError, Unproven, Malformed.
        """
        origin, log = self.log()
        signed = verify_checkpoint(show.note, log=log, origin=origin)
        checkpoint = signed.checkpoint
        seen = self._pair.seen
        if seen is not None:
            if checkpoint.size < seen.size:
                raise ForkError(f"it shows {checkpoint.size} entries, we saw {seen.size}", seen.note, show.note)
            if checkpoint.size == seen.size and checkpoint.root != seen.root:
                raise ForkError(f"two histories of {seen.size} entries", seen.note, show.note)
            if checkpoint.size > seen.size:
                try:
                    verify_consistency(old=seen.size, new=checkpoint.size, old_root=seen.root, new_root=checkpoint.root, proof=show.proof)
                except (Unproven, Malformed):
                    raise ForkError(f"no proof that it continues the {seen.size} entries we saw", seen.note, show.note) from None
        witness = self._machine.vault.witness
        name = log_name_of(self._machine.house_id)
        line = cosign(checkpoint, name=name, ed25519=(witness.public.raw, witness.sign), time_s=now_ns // 10**9).line()
        if seen is not None and checkpoint.size == seen.size:
            return None, Cosign(line)
        event = Event.of(
            Kind.CHECKPOINT_COSIGNED,
            now_ns,
            "pair",
            pairing=self._pair.pairing,
            pair=self._pair.pairing,
            origin_hash=checkpoint.origin_hash,
            size=checkpoint.size,
            root=checkpoint.root,
            cosigner=name,
            checkpoint=show.note,
            by="local",
        )
        return event, Cosign(line)


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock of this machine, across threads and processes. Raises: Unavailable."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot lock {path.name}: {error.strerror}", "check the owner and mode of the home") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def fork_event(pair: PairRow, fork: ForkError, now_ns: int) -> Event:
    """The record of a fork, with both signed checkpoints."""
    checkpoint, _ = read_checkpoint(fork.second)
    return Event.of(
        Kind.FORK_FOUND,
        now_ns,
        "pair",
        pairing=pair.pairing,
        pair=pair.pairing,
        origin_hash=checkpoint.origin_hash,
        checkpoint=fork.first,
        other_checkpoint=fork.second,
    )
