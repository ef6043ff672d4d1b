"""What a house does with the checkpoints that its pairs show: it finds its own roll-back, and closes (docs/spec/restore.md, section 2).

A house puts each checkpoint into its database before anybody sees it. So a pair that shows one which is signed by the house's own log and
which the house's ledger does not continue proves that the ledger lost entries. Nothing that the house would do from there on could be
relied on: it keeps the evidence, closes, and a person decides.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from tallystick.errors import TallyError, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.node.checkpoints import size_of
from tallystick.node.checkpointwire import Ask, Closed, Follow, Message, Prove, Show, Why
from tallystick.node.links import links_after, newest_link, write_link
from tallystick.node.machine import Machine
from tallystick.node.rotation import Use, read_rotation
from tallystick.node.terms import terms_of, times_of, write_terms
from tallystick.node.view import reason_of
from tallystick.pair.pairing import PairType
from tallystick.passage.house import log_keys_of
from tallystick.storage.rows import HouseRow, PairRow
from tallystick.storage.rules.house import ROLLED_BACK
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import log_verifiers
from tallystick.tlog.note import UnknownSignerError

log = logging.getLogger("tallystick")


LogKeys = tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A checkpoint of this house's log that a pair has seen. `times`: how often the house had been restored then."""

    checkpoint: Checkpoint
    note: bytes
    times: int
    later: bool = False
    """It is signed by a key that our history does not know yet."""


def why_of(house: HouseRow) -> Why:
    """The same as a word of the protocol."""
    if house.state == "moved":
        return Why.MOVED
    return Why.ROLLED_BACK if house.why == ROLLED_BACK else Why.RESTORING


class Closing:
    """One house's answers to `ask`. Any thread."""

    def __init__(self, machine: Machine, show: Callable[[int], Show], shut: Callable[[Closed], None]) -> None:
        """`show(size)`: the newest checkpoint and the proof from a size.  `shut`: told, in the event loop, once the house is closed."""
        self._machine = machine
        self._show = show
        self._shut = shut
        self._loop: asyncio.AbstractEventLoop | None = None
        self.reason = ""
        """Why the house takes no commands; empty while it does."""
        self.moved = False
        self._last_link: int | None = None  # its entry; known after `look`, which comes after each that is made while the house runs

    def look(self) -> bool:
        """In the event loop: take the state from the ledger, and have everybody feel it. Returns: whether the house is closed."""
        self._loop = asyncio.get_running_loop()
        house = self._machine.store.house()
        before, self.reason, self.moved = self.reason, reason_of(house), house.state == "moved"
        self._last_link = newest_link(self._machine.store)
        if self.reason and not before:
            self._shut(Closed(why_of(house), self._newest()))
        return bool(self.reason)

    def unsigned(self) -> Closed:
        """What a pair is told that waits to be signed again."""
        return Closed(Why.UNSIGNED, self._newest())

    def _feel(self) -> None:
        """From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.look)

    def answer(self, pair: PairRow, ask: Ask, now_ns: int, rotations: tuple[bytes, ...] | None = None) -> Message:
        """What to answer a pair that shows what it saw.

        Args: rotations: by which it knows the key of its note; None while nobody has asked for them.
        Raises: Malformed, Unproven: that is no checkpoint of ours.  Unavailable.
        """
        store = self._machine.store
        try:
            asked = self._read(ask.note, rotations or ()) if ask.note else None
        except UnknownSignerError:
            if rotations is not None:
                raise
            return Prove()
        house = store.house()
        if asked is not None and house.state != "moved" and self._beyond(house, asked):
            self._found(house, pair, asked, now_ns)
            house = store.house()
        followed = self._links(pair, ask, asked, house)
        if followed is not None:
            return followed
        if not house.is_open:
            return Closed(why_of(house), self._newest(), self._terms(pair, house))
        if pair.state == "restored":
            return self.unsigned()
        return self._show(0 if asked is None or asked.times != house.restored else asked.checkpoint.size)

    def _read(self, note: bytes, rotations: tuple[bytes, ...]) -> Asked:
        """Raises: Malformed, Unproven: no checkpoint that this house's log signed."""
        checkpoint, _ = read_checkpoint(note)
        house = self._machine.store.house()
        times = times_of(checkpoint.origin, house.first_name)
        if times == house.restored and self._has(checkpoint):
            return Asked(checkpoint=checkpoint, note=note, times=times)  # nothing follows from it, whoever signed it
        if checkpoint.origin == self._machine.log_name and self._signed(checkpoint):
            # What nearly every session brings: it says what we have signed, and whether its signatures hold proves nothing more.
            return Asked(checkpoint=checkpoint, note=note, times=times)
        failure: TallyError = UnknownSignerError("a checkpoint that this house's log did not sign")
        own = self._machine.log_keys_ever()
        for keys in (*own, *self._later_keys(own, rotations)):
            try:
                verify_checkpoint(note, log=log_verifiers(checkpoint.origin, keys), origin=checkpoint.origin)
            except UnknownSignerError:
                continue
            except Unproven as error:
                failure = error
            else:
                return Asked(checkpoint=checkpoint, note=note, times=times, later=keys not in own)
        raise failure

    def _later_keys(self, own: tuple[LogKeys, ...], rotations: tuple[bytes, ...]) -> tuple[LogKeys, ...]:
        """Keys that this log was given after the history that we have. Raises: Malformed, Unproven."""
        later: list[LogKeys] = []
        for rotation in map(read_rotation, rotations):
            if rotation.machine != bytes(self._machine.house_id) or rotation.use is not Use.LOG:
                raise Unproven("a rotation of other keys")
            if log_keys_of((rotation.old[0], rotation.old[1])) in (*own, *later):
                later.append(log_keys_of((rotation.new[0], rotation.new[1])))
        return tuple(later)

    def _beyond(self, house: HouseRow, asked: Asked) -> bool:
        """Does it show that this ledger lost entries that were signed?"""
        if asked.later:
            return True
        if asked.times != house.restored:
            return asked.times > house.restored
        if self._signed(asked.checkpoint):
            return False
        return not self._has(asked.checkpoint)

    def _has(self, checkpoint: Checkpoint) -> bool:
        """Is it of this very tree?"""
        store = self._machine.store
        return checkpoint.size <= store.size() and store.root_at(checkpoint.size) == checkpoint.root

    def _signed(self, checkpoint: Checkpoint) -> bool:
        row = self._machine.store.checkpoint_of(checkpoint.size)
        return row is not None and row.root == checkpoint.root

    def _found(self, house: HouseRow, pair: PairRow, asked: Asked, now_ns: int) -> None:
        """Keep the evidence, once for each pair and checkpoint, and close. Raises: Unavailable."""
        store, checkpoint = self._machine.store, asked.checkpoint
        known = store.pair(pair.pairing)
        showed = None if known is None else known.showed
        if not house.is_open and showed is not None and (showed.size, showed.root) == (checkpoint.size, checkpoint.root):
            return
        evidence = Event.of(
            Kind.FORK_FOUND,
            now_ns,
            "pair",
            pairing=pair.pairing,
            pair=pair.pairing,
            origin_hash=checkpoint.origin_hash,
            checkpoint=self._newest() or b"none",
            other_checkpoint=asked.note,
            size=checkpoint.size,
            root=checkpoint.root,
        )
        if not house.is_open:
            store.append(evidence).result()
            return
        store.append(Event.of(Kind.CLOSED, now_ns, "house", pair=pair.pairing, reason=ROLLED_BACK), evidence).result()
        log.error(
            "this house was rolled back: a pair shows a checkpoint that we signed and do not have; the house is closed",
            extra={"pair": pair.label, "entries": store.size(), "entries_shown": checkpoint.size, "next": "tally restore"},
        )
        self._feel()

    def _newest(self) -> bytes:
        newest = self._machine.store.latest_checkpoint()
        return b"" if newest is None else newest.note

    def _links(self, pair: PairRow, ask: Ask, asked: Asked | None, house: HouseRow) -> Follow | None:
        """What this pair has not followed yet; None when it knows everything, or the house is closed. Raises: Unavailable."""
        if house.state == "closed":
            return None
        store = self._machine.store
        # What it followed is an entry of the history it saw: where that is not ours, we begin at its pairing.
        same = asked is not None and asked.times == house.restored
        after = max(ask.after if same else 0, pair.stood or 0)
        if self._last_link is not None and after >= self._last_link:
            return None
        links = links_after(store, after)
        if not links:
            return None
        note = self._newest() if house.state == "moved" else self._show(0).note
        size = size_of(note)
        restored = [row.event for link in links if link.chain and not link.moved and (row := store.entry(link.entry)) is not None]
        start = _predecessor(restored[-1]) if restored else 0
        least = min(map(_predecessor, restored), default=size)
        old = 0 if asked is None else asked.checkpoint.size
        return Follow(
            tuple(map(write_link, links)),
            note,
            store.consistency(start, size) if 0 < start < size else (),
            store.consistency(old, size) if 0 < old <= least and old < size else (),
        )

    def _terms(self, pair: PairRow, house: HouseRow) -> bytes | None:
        """What a statement must say that opens the house; for an ADMIN, who may carry it."""
        if house.state != "closed" or house.owner is None or pair.effective is not PairType.ADMIN:
            return None
        return write_terms(terms_of(self._machine, house), house.owner)


def _predecessor(event: Event) -> int:
    """The size of the tree that a restoration goes on from."""
    match event.get("predecessor"):
        case (bytes(), int(size), bytes()):
            return size
    raise AssertionError("a restoration names the tree it goes on from")


def closed_event(reason: str, owner: bytes | None) -> Event:
    """The house takes no commands from here on, said at the house itself."""
    return Event.of(Kind.CLOSED, time.time_ns(), "local", reason=reason, owner=owner)
