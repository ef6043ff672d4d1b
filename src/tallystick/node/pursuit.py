"""A client follows its house: to a new log name, new keys, another machine (docs/spec/restore.md, section 5).

Each link must follow from what this machine knew before; then the checkpoint must hold under the newest name and keys. Only then
everything is recorded, in one transaction, and the checkpoint is cosigned.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tallystick.errors import Unproven
from tallystick.gate.signal import parse_signal
from tallystick.gate.statement import ProvenStatement
from tallystick.keys import KeyId, PublicKey, parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.node.checkpoints import Witness, alone
from tallystick.node.checkpointwire import Ask, Cosign, Follow
from tallystick.node.dialling import forget_keys, keep_addresses
from tallystick.node.links import Link, migrate_of, read_link, restore_of, rotation_of, trusted_by
from tallystick.node.machine import Machine, log_name_of
from tallystick.node.rotation import Rotation, Use
from tallystick.node.terms import times_of
from tallystick.pair.pairing import PairType
from tallystick.passage.house import log_keys_of
from tallystick.primitives import sha256
from tallystick.storage.rows import PairRow
from tallystick.tlog.checkpoint import Checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import log_verifiers
from tallystick.tlog.proof import verify_consistency


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What this machine knows of its house at one point of the way. `start`: size and root of the last restoration."""

    log_name: str
    log_keys: tuple[tuple[int, bytes], ...]
    static: bytes
    signing: PublicKey
    witness: bytes
    followed: int
    start: tuple[int, bytes] | None = None
    addresses: tuple[tuple[str, int], ...] = ()
    left_keys: tuple[tuple[int, bytes], ...] = ()
    """Of the log on the machine that the house has left, while nothing newer is known."""


class Follower:
    """One pair's way after its house."""

    def __init__(self, machine: Machine, pair: PairRow) -> None:
        """`pair`: one in which the other side is the house."""
        self._machine = machine
        self._pair = pair

    def take(self, follow: Follow, now_ns: int) -> tuple[Cosign, Ask]:
        """Check every link and the checkpoint, record them, and only then cosign; then ask again, for this pair may have to wait.

        Raises: Unproven: a human key that is not known here, a wrong signature, a history that does not continue.  Malformed, Unavailable.
        """
        store = self._machine.store
        with alone(self._machine.home.path / "witness.lock"):
            pair = store.pair(self._pair.pairing)
            if pair is None or pair.house is None:
                raise AssertionError("a pair's row does not go away")
            known = Known(
                log_name=pair.log_name,
                log_keys=pair.log_keys,
                static=pair.static_key,
                signing=pair.signing_key,
                witness=pair.witness_key,
                followed=pair.followed or 0,
            )
            events: list[Event] = []
            trusted = self._trusted(pair)
            for link in map(read_link, follow.links):
                # One that was followed before changes nothing; whether the way leads to the house is seen at its end, by the checkpoint.
                if (step := self._step(pair, known, link, trusted)) is not None:
                    known, event = step
                    events.append(event)
            checkpoint = self._check(pair, known, follow)
            recorded, cosign = Witness(self._machine, pair).sign(checkpoint, follow.note, now_ns)
            store.append(*events, recorded).result()
        if known.addresses:
            keep_addresses(self._machine, pair.pairing, known.addresses)
        forget_keys(self._machine, pair.pairing)
        fresh = store.pair(pair.pairing) or pair
        return cosign, Witness(self._machine, fresh).question()

    def _trusted(self, pair: PairRow) -> Mapping[bytes, bytes]:
        own = [bytes(key.key_id) for key in self._machine.vault.humans()] if pair.pair_type is PairType.ADMIN else []
        return trusted_by(self._machine.store, pair.created, pair.stood, pair.pairing, own)

    def _step(self, pair: PairRow, known: Known, link: Link, trusted: Mapping[bytes, bytes]) -> tuple[Known, Event] | None:
        house = bytes(pair.house or b"")
        if link.rotation is not None:
            return _rotated(pair, known, link, rotation_of(link))
        if link.moved:
            proven, statement, key = migrate_of(link.chain, trusted, house)
            _check_approval(trusted, key)
            if statement.static == known.static:
                return None
            if statement.origin != sha256(known.log_name.encode()):
                raise Unproven("the house moved under another name than the one known here")
            event = Event.of(
                Kind.MIGRATED,
                time.time_ns(),
                "pair",
                pair=pair.pairing,
                entry=link.entry,
                predecessor=(statement.origin, 0, bytes(32)),
                successor=statement.signing.cose_key(),
                static_key=statement.static,
                witness_key=statement.witness.raw,
                log_keys=log_keys_of(statement.log),
                **_signed(proven, key),
            )
            after = replace(
                known,
                log_keys=log_keys_of(statement.log),
                static=statement.static,
                signing=statement.signing,
                witness=statement.witness.raw,
                followed=link.entry,
                addresses=statement.addresses,
                left_keys=known.log_keys,
            )
            return after, event
        proven, restore, key = restore_of(link.chain, trusted, house)
        _check_approval(trusted, key)
        first = log_name_of(KeyId(house))
        if times_of(restore.log, first) <= times_of(known.log_name, first):
            return None  # an old one: the house goes by a later name already
        event = Event.of(
            Kind.RESTORED,
            time.time_ns(),
            "pair",
            pair=pair.pairing,
            entry=link.entry,
            seen=restore.seen,
            predecessor=(restore.origin, restore.size, restore.root),
            log_name=restore.log,
            **_signed(proven, key),
        )
        return replace(known, log_name=restore.log, followed=link.entry, start=(restore.size, restore.root)), event

    def _check(self, pair: PairRow, known: Known, follow: Follow) -> Checkpoint:
        """The note holds under the newest name and keys, and continues what it must. Raises: Unproven, Malformed."""
        try:
            checkpoint = _verified(follow.note, known.log_name, known.log_keys)
        except Unproven:
            if not known.left_keys:
                raise
            # The machine that was left signs what it hands over with the keys that it had: it has no others.
            checkpoint = _verified(follow.note, known.log_name, known.left_keys)
        if known.start is not None:
            size, root = known.start
            if checkpoint.size <= size:
                raise Unproven("the house shows less than its owner signed for")
            verify_consistency(old=size, new=checkpoint.size, old_root=root, new_root=checkpoint.root, proof=follow.start)
        seen = pair.seen
        if seen is not None and (known.start is None or seen.size <= known.start[0]):
            if checkpoint.size < seen.size or (checkpoint.size == seen.size and checkpoint.root != seen.root):
                raise Unproven("what the house shows does not continue what this machine saw")
            if checkpoint.size > seen.size:
                verify_consistency(old=seen.size, new=checkpoint.size, old_root=seen.root, new_root=checkpoint.root, proof=follow.proof)
        return checkpoint


def _verified(note: bytes, name: str, log_keys: tuple[tuple[int, bytes], ...]) -> Checkpoint:
    return verify_checkpoint(note, log=log_verifiers(name, log_keys), origin=name).checkpoint


def _rotated(pair: PairRow, known: Known, link: Link, rotation: Rotation) -> tuple[Known, Event] | None:
    """A house's own keys gave way to others; None when they are not the ones known here. Raises: Unproven."""
    if rotation.machine != bytes(pair.house or b""):
        raise Unproven("a rotation of another house's keys")
    common: dict[str, Any] = {"pair": pair.pairing, "entry": link.entry, "statement": link.rotation}
    expected, after, event = known, known, None
    match rotation.use:
        case Use.LOG:
            expected = replace(known, log_keys=log_keys_of((rotation.old[0], rotation.old[1])))
            after = replace(known, log_keys=log_keys_of((rotation.new[0], rotation.new[1])), followed=link.entry)
            event = Event.of(
                Kind.KEY_ROTATED, time.time_ns(), "pair", use="log", successor=rotation.new[0], log_keys=after.log_keys, **common
            )
        case Use.MACHINE:
            expected = replace(known, static=rotation.old[0], signing=parse_cose_key(rotation.old[1]))
            after = replace(known, static=rotation.new[0], signing=parse_cose_key(rotation.new[1]), followed=link.entry)
            event = Event.of(
                Kind.KEY_ROTATED, time.time_ns(), "pair", use="signing", successor=rotation.new[1], static_key=rotation.new[0], **common
            )
        case Use.WITNESS:
            expected = replace(known, witness=rotation.old[0])
            after = replace(known, witness=rotation.new[0], followed=link.entry)
            event = Event.of(Kind.KEY_ROTATED, time.time_ns(), "pair", use="witness", successor=rotation.new[0], **common)
    return (after, event) if expected == known else None


def _signed(proven: ProvenStatement, key: PublicKey) -> dict[str, Any]:
    body = proven.opening.body
    if body is None:
        raise AssertionError("a statement's opening has its body")
    return {"key": bytes(key.key_id), "signal": proven.signal.raw, "statement": proven.body, "statement_salt": body.salt}


def _check_approval(trusted: Mapping[bytes, bytes], key: PublicKey) -> None:
    """The signal behind this pair's approval was shown to us before its key was: now it must hold. Raises: Unproven, Malformed."""
    signal = trusted.get(bytes(key.key_id))
    if signal:
        parse_signal(signal).prove(key)
