"""A machine as a witness for logs it is not paired with (C2SP tlog-witness 1.0.0): `tally witness serve` (docs/witness.md).

The rules are `tlog.witness.decide`. What was cosigned last is what the ledger says: a checkpoint is recorded, durable, before its
cosignature leaves, under one lock of the machine for all threads and processes. The house of a pair is witnessed in the pair's own
sessions, by the same key; it is not served here, or the two could cosign different histories of one log.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from tallystick.errors import Malformed, Misuse, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.node.checkpoints import WITNESS_LOCK, alone, cosign_as
from tallystick.node.machine import Machine, log_name_of
from tallystick.pair.pairing import Role
from tallystick.primitives import sha256
from tallystick.storage.rows import EntryRow
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import SignatureType, Verifier, VerifierKey
from tallystick.tlog.policy import Policy, read_policy
from tallystick.tlog.witness import Answer, Seen, accepted, decide, with_cosignatures

_KINDS: Final = (Kind.CHECKPOINT_COSIGNED,)


def log_keys(machine: Machine) -> tuple[VerifierKey, ...]:
    """The keys that this machine's own log signs with."""
    keys = machine.vault.log
    found = ((SignatureType.ED25519, keys.ed25519), (SignatureType.ML_DSA_44, keys.ml_dsa_44))
    return tuple(VerifierKey(name=machine.log_name, type=kind, public=key.public.raw) for kind, key in found)


def read_policy_file(path: Path) -> Policy:
    """A file in the syntax of tlog-policy. Raises: Misuse: there is none, or it is no policy.  Unavailable."""
    try:
        return read_policy(path.read_bytes())
    except FileNotFoundError:
        raise Misuse(
            f"there is no file {path}", "it has a line `log VKEY` or `witness NAME VKEY URL` for each (c2sp.org/tlog-policy)"
        ) from None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    except Malformed as error:
        raise Misuse(f"{path}: {error.message}", error.hint) from error


class Desk:
    """Takes submissions and answers them. Any thread; one after the other."""

    def __init__(self, machine: Machine, logs: Policy) -> None:
        """`logs`: whose checkpoints are cosigned. Raises: Misuse: no log is named, or one is this machine's own."""
        self._machine = machine
        self._logs: dict[str, list[Verifier]] = {}
        for log in logs.logs:
            self._logs.setdefault(log.key.name, []).append(verifier(log.key))
        if not self._logs:
            raise Misuse("no log is named", "add a line to the file: log VKEY")
        if machine.log_name in self._logs:
            raise Misuse("a machine is no witness of its own log", "take its line out of the file")

    @property
    def origins(self) -> tuple[str, ...]:
        """The logs that are served."""
        return tuple(self._logs)

    def add_checkpoint(self, data: bytes) -> Answer:
        """Judge a submission; cosigned only when it is durable. Raises: Unavailable."""
        with alone(self._machine.home.path / WITNESS_LOCK):
            paired = paired_logs(self.origins, self._machine)
            served = {origin: keys for origin, keys in self._logs.items() if origin not in paired}
            last = {origin: seen for origin in served if (seen := self.last(origin)) is not None}
            outcome = decide(data, served, last)
            if isinstance(outcome, Answer):
                if outcome.suspect is not None:
                    self._suspect(*outcome.suspect)
                return outcome
            checkpoint, now_ns = outcome.checkpoint, time.time_ns()
            seen = last.get(checkpoint.origin)
            if seen is None or seen.size < checkpoint.size:
                event = Event.of(
                    Kind.CHECKPOINT_COSIGNED,
                    now_ns,
                    "local",
                    origin_hash=checkpoint.origin_hash,
                    size=checkpoint.size,
                    root=checkpoint.root,
                    cosigner=log_name_of(self._machine.house_id),
                    checkpoint=outcome.seen.note,
                    by="local",
                )
                self._machine.store.append(event).result()
            return accepted((cosign_as(self._machine, checkpoint, now_ns),))

    def last(self, origin: str) -> Seen | None:
        """What was cosigned last of a log that is served here. Raises: Unavailable."""
        row = self._newest(origin)
        if row is None:
            return None
        event = row.event
        return Seen(size=event.number("size"), root=event.blob("root"), note=event.blob("checkpoint"))

    def monitored(self, origin_hash: str) -> bytes | None:
        """The newest checkpoint of a log, by SHA-256 of its origin in hexadecimal, with our cosignature. Raises: Unavailable."""
        origin = next((each for each in self._logs if sha256(each.encode("utf-8")).hex() == origin_hash), None)
        row = None if origin is None else self._newest(origin)
        if row is None:
            return None
        note = row.event.blob("checkpoint")
        return with_cosignatures(note, (cosign_as(self._machine, read_checkpoint(note)[0], row.event.time_ns),))

    def _newest(self, origin: str) -> EntryRow | None:
        rows = self._machine.store.entries(key=sha256(origin.encode("utf-8")), kinds=_KINDS, newest_first=True, limit=1)
        return rows[0] if rows else None

    def _suspect(self, first: bytes, second: bytes) -> None:
        """Two signed checkpoints that exclude each other: evidence, kept whole and once."""
        checkpoint, _ = read_checkpoint(second)
        known = self._machine.store.entries(key=checkpoint.origin_hash, kinds=(Kind.FORK_FOUND,), newest_first=True, limit=1)
        if known and known[0].event.blob("other_checkpoint") == second:
            return
        self._machine.record_local(Kind.FORK_FOUND, origin_hash=checkpoint.origin_hash, checkpoint=first, other_checkpoint=second)


def paired_logs(origins: Iterable[str], machine: Machine) -> Mapping[str, str]:
    """Which of these logs belong to houses that this machine is paired with: what it calls them, by origin."""
    houses = {log_name_of(row.subject): row.label for row in machine.store.pairs() if row.role is Role.CLIENT and row.stands}
    return {origin: label for origin in origins for name, label in houses.items() if origin == name or origin.startswith(name + "/")}
