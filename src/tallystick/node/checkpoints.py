"""Checkpoints between the ends of a pair: shown, checked against the last one seen, cosigned (docs/spec/checkpoint.md).

Every pair is a witness: each session brings the house's newest checkpoint; the client proves that it continues the one it saw
last, cosigns it with its witness key and keeps it. A house whose history was rewritten or rolled back is refused for good, with the
two signed checkpoints as evidence.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from tallystick.errors import Malformed, Unavailable, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.node.checkpointwire import MAX_ASKED_BYTES, MAX_ROTATIONS, Ask, Closed, Cosign, Show, write_message
from tallystick.node.machine import Machine, log_name_of
from tallystick.node.terms import times_of
from tallystick.pair.outcome import Half
from tallystick.passage.house import log_keys_of
from tallystick.storage.rows import PairRow, SeenCheckpoint
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import cosign, log_verifiers
from tallystick.tlog.note import Signature, SignatureType, Verifier, VerifierKey, write
from tallystick.tlog.proof import verify_consistency

WITNESS_LOCK: Final = "witness.lock"  # of a machine: whoever cosigns with its key, in sessions and for others, holds it


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
        "log_keys": log_keys_of((welcome.log.raw, welcome.log_pq.raw)),
        "recovery_key": welcome.recovery.cose_key(),
    }


class Witness:
    """A client's side for one pair: what it saw last, and what it does with what it is shown."""

    def __init__(self, machine: Machine, pair: PairRow) -> None:
        """`pair`: one in which the other side is the house."""
        self._machine = machine
        self._pair = pair

    def log(self) -> tuple[str, list[Verifier]]:
        """Name and keys of the house's log, as far as this machine has followed it."""
        return self._pair.log_name, log_verifiers(self._pair.log_name, self._pair.log_keys)

    def ask(self) -> bytes:
        """What to send at the start of a session."""
        return write_message(self.question())

    def question(self) -> Ask:
        """The same as a message."""
        return Ask(b"" if self._pair.seen is None else own_lines(self._pair.seen.note), self._pair.followed or 0)

    def take(self, show: Show, now_ns: int) -> Cosign | Ask:
        """Judge what the house shows, record it, and only then cosign; one after the other for all sessions of this machine.

        Two sessions that judged side by side against the same old checkpoint could cosign two histories that both continue it.
        Returns: the cosignature; or a new question when another session has seen another checkpoint since this one asked.
        Raises: ForkError, Unproven, Malformed, Unavailable.
        """
        store = self._machine.store
        with alone(self._machine.home.path / WITNESS_LOCK):
            fresh = store.pair(self._pair.pairing)
            if fresh is None:
                raise AssertionError("a pair's row does not go away")
            if fresh.seen != self._pair.seen:
                self._pair = fresh
                return self.question()
            event, cosign = self.judge(show, now_ns)
            if event is not None:
                store.append(event).result()
                self._pair = store.pair(self._pair.pairing) or fresh
        return cosign

    def _signed_before(self, origin: str, note: bytes) -> bool:
        """Whether it is signed by a key that the log gave up, as far as we followed. Raises: Unproven: by none that we know.  Malformed."""
        keys = [self._pair.log_keys]
        rows = self._machine.store.entries(kinds=(Kind.KEY_ROTATED, Kind.MIGRATED, Kind.PAIRING_PROPOSED), pair=self._pair.pairing)
        for row in rows:
            before = row.event.get("log_keys")
            if isinstance(before, tuple) and before not in keys:
                keys.append(before)
        failure: Unproven | None = None
        for log_keys in keys:
            try:
                verify_checkpoint(note, log=log_verifiers(origin, log_keys), origin=origin)
            except Unproven as error:
                failure = failure or error
            else:
                return log_keys != self._pair.log_keys
        raise failure or Unproven("a checkpoint by keys that we do not know")

    def rotations(self) -> tuple[bytes, ...]:
        """The rotations of the house's log that this machine has followed, the newest of them. Raises: Unavailable."""
        rows = self._machine.store.entries(kinds=(Kind.KEY_ROTATED,), pair=self._pair.pairing, newest_first=True)
        found = [row.event.blob("statement") for row in rows if row.event.text("use") == "log"]
        return tuple(reversed(found[:MAX_ROTATIONS]))

    def check_closed(self, closed: Closed) -> None:
        """A house that takes no commands shows what it has left.

        Raises: ForkError: less than we saw, and we have not kept this evidence yet.  Unproven, Malformed: not signed by its log.
        """
        if not closed.note:
            return
        checkpoint, _ = read_checkpoint(closed.note)
        first = log_name_of(self._pair.house or self._pair.subject)
        earlier = times_of(checkpoint.origin, first) < times_of(self._pair.log_name, first)
        given_up = self._signed_before(checkpoint.origin, closed.note)
        seen = self._pair.seen
        kept = self._machine.store.entries(kinds=(Kind.FORK_FOUND,), pair=self._pair.pairing, newest_first=True, limit=1)
        if seen is not None and not (kept and kept[0].event.blob("other_checkpoint") == closed.note):
            if given_up:
                raise ForkError("it signs with a key that it gave up", seen.note, closed.note)
            if earlier:
                raise ForkError("it goes by a name that it had before a restoration we know of", seen.note, closed.note)
            _check_not_less(checkpoint, closed.note, seen)

    def judge(self, show: Show, now_ns: int) -> tuple[Event | None, Cosign]:
        """Check what the house shows. Returns: the event to record (None when nothing is new) and the cosignature to send.

        Raises: ForkError, Unproven, Malformed.
        """
        origin, log = self.log()
        checkpoint = verify_checkpoint(show.note, log=log, origin=origin).checkpoint
        seen = self._pair.seen
        if seen is not None:
            _check_not_less(checkpoint, show.note, seen)
            if checkpoint.size > seen.size:
                try:
                    verify_consistency(old=seen.size, new=checkpoint.size, old_root=seen.root, new_root=checkpoint.root, proof=show.proof)
                except (Unproven, Malformed):
                    raise ForkError(f"no proof that it continues the {seen.size} entries we saw", seen.note, show.note) from None
        event, cosign = self.sign(checkpoint, show.note, now_ns)
        return (None if seen is not None and checkpoint.size == seen.size else event), cosign

    def sign(self, checkpoint: Checkpoint, note: bytes, now_ns: int) -> tuple[Event, Cosign]:
        """The entry and the cosignature of a checkpoint that was judged."""
        signature = cosign_as(self._machine, checkpoint, now_ns)
        event = Event.of(
            Kind.CHECKPOINT_COSIGNED,
            now_ns,
            "pair",
            pairing=self._pair.pairing,
            pair=self._pair.pairing,
            origin_hash=checkpoint.origin_hash,
            size=checkpoint.size,
            root=checkpoint.root,
            cosigner=signature.name,
            checkpoint=note,
            by="local",
        )
        return event, Cosign(signature.line())


def witness_key(machine: Machine) -> VerifierKey:
    """The key that this machine cosigns with, as logs and auditors name it."""
    return VerifierKey(name=log_name_of(machine.house_id), type=SignatureType.COSIGNATURE, public=machine.vault.witness.public.raw)


def cosign_as(machine: Machine, checkpoint: Checkpoint, now_ns: int) -> Signature:
    """This machine's cosignature. The caller has judged the checkpoint."""
    key = witness_key(machine)
    return cosign(checkpoint, name=key.name, ed25519=(key.public, machine.vault.witness.sign), time_s=now_ns // 10**9)


def _check_not_less(checkpoint: Checkpoint, note: bytes, seen: SeenCheckpoint) -> None:
    """Raises: ForkError: it is smaller than what we saw, or another history of the same size."""
    if checkpoint.size < seen.size:
        raise ForkError(f"it shows {checkpoint.size} entries, we saw {seen.size}", seen.note, note)
    if checkpoint.size == seen.size and checkpoint.root != seen.root:
        raise ForkError(f"two histories of {seen.size} entries", seen.note, note)


@lru_cache(64)
def own_lines(note: bytes) -> bytes:
    """A checkpoint with the lines of its own log alone: what a house needs to know it again. Empty when it is too long for `ask`."""
    checkpoint, signed = read_checkpoint(note)
    short = write(signed.text, [line for line in signed.signatures if line.name == checkpoint.origin])
    return short if len(short) <= MAX_ASKED_BYTES else b""


def size_of(note: bytes) -> int:
    """How many entries a checkpoint is of; 0 for none. Raises: Malformed."""
    return read_checkpoint(note)[0].size if note else 0


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
