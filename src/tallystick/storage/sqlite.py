"""The house's store: the ledger, the state that follows from it, and the bodies, in one folder (docs/spec/state.md).

    store = Store.open(home / "house.sqlite", create=True)
    receipt, = store.append(Event.of(Kind.ORIGIN, now_ns, ...)).result()      # from any thread
    receipt, = await store.record(Event.of(Kind.SEVERED, now_ns, ...))        # from an event loop

The events of one call stand together or not at all. A future that has a receipt means: durable. Refused and Unproven mean: a rule
of the projection forbade it, and nothing of the call was kept (but a fork of signals is kept as the event it is). Unavailable
means: not recorded, or, after a disk error, unknown until the next start; the store then refuses everything that follows.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

import apsw

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.storage import schema
from tallystick.storage.bodies import MAX_OPENING_BYTES, TAG_BYTES, Bodies
from tallystick.storage.book import LEVEL_SHIFT, TILE, Book
from tallystick.storage.connection import connect, unavailable
from tallystick.storage.disk import Disk
from tallystick.storage.founding import found
from tallystick.storage.leftovers import clear_copies
from tallystick.storage.readers import Readers
from tallystick.storage.rebuild import NEW, bring_home, clear, forget, rebuild, swap
from tallystick.storage.rows import CheckpointRow
from tallystick.storage.writer import MAX_GROUP_BYTES, MAX_GROUP_ENTRIES, Ticket, Writer
from tallystick.tlog.tree import HASH_BYTES, leaf_hash, perfect_root

TAIL_ENTRIES: Final = 1_000  # recomputed at each start, and everything since the last signed checkpoint up to TAIL_MAX
TAIL_MAX: Final = 100_000

Anchor = tuple[int, bytes]  # size and root of a checkpoint that was signed


class Store(Readers):
    """One open ledger. Every method may be called from any thread; readers are in storage/readers.py."""

    def __init__(self, path: Path, book: Book, bodies: Bodies, lock: int, vfs: str | None) -> None:
        super().__init__(path, bodies, vfs)
        self.path = path
        self._book = book
        self._lock_file = lock
        self._writer: Writer | None = None

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        create: bool = False,
        shared: bool = False,
        anchors: Sequence[Anchor] = (),
        stopped: Callable[[TallyError], None] | None = None,
        sweep: bool = True,
        vfs: str | None = None,
        disk: Disk | None = None,
    ) -> Self:
        """Open a ledger, or make an empty one.

        Args: create: make it; it must not exist.  shared: other processes may have it open too, all of them shared.
            anchors: checkpoints signed for this ledger that are known from elsewhere (the published one, the pairs').
            stopped: called from the writing thread when a disk error ends the store.  sweep: tidy up after a crash; a process that
            has it open already did, and on a full disk nobody else can.  vfs, disk: an apsw VFS and the calls that write bodies, for
            tests.
        Raises: Refused when it exists (create) or is not the continuation of what was signed; Unavailable when it is not there,
            in use, damaged or newer than this program.
        """
        path = Path(path)
        lock = hold(path, shared=shared and not create)
        try:
            if create:
                found(path, disk or Disk(), vfs)
                if shared:
                    fcntl.flock(lock, fcntl.LOCK_SH)
            elif not path.exists():
                raise Unavailable(f"there is no ledger at {path}", "`tally init` makes one.")
            db = connect(path, write=True, vfs=vfs)
            try:
                if schema.needs_rebuild(db):
                    db.close()
                    _renew(path, lock, shared=shared)
                    db = connect(path, write=True, vfs=vfs)
            except apsw.Error as error:
                raise unavailable(error) from error
            store = cls(path, Book(db, Bodies(path.parent / "bodies", disk)), Bodies(path.parent / "bodies", disk), lock, vfs)
        except BaseException:
            os.close(lock)
            raise
        try:
            with store.moment():
                store._check_tail(anchors)
            if sweep:
                store._sweep()
        except BaseException:
            store.close()
            raise
        store._writer = Writer(store._book, stopped)
        return store

    def close(self) -> None:
        """Write what is queued and close. Idempotent."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        super().close()
        if self._lock_file >= 0:
            if writer is not None and writer.failure is not None:
                # The disk failed: no parting checkpoint may sync again what it could not sync before.
                self._book.db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            with suppress(apsw.Error):  # what was acknowledged lies in the write-ahead log
                self._book.db.close()
            self._bodies.close()
            if self._book.bodies is not None:
                self._book.bodies.close()
            os.close(self._lock_file)
            self._lock_file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def failure(self) -> Unavailable | None:
        """Why nothing is recorded any more; None while all is well."""
        return self._writer.failure if self._writer else Unavailable("the ledger is closed")

    # Writing.

    def append(self, *events: Event, openings: Sequence[bytes] = ()) -> Future[tuple[Receipt, ...]]:
        """Record events together; the future has a receipt for each once they are durable.

        Args: openings: none, or one for each event: what may be erased later (empty for an event without one).
        Raises: Misuse, Unavailable when it was not even queued. The future raises Refused, Unproven, Malformed or Unavailable.
        """
        ticket = _ticket(events, openings, None)
        self._submit(ticket)
        if ticket.future is None:
            raise AssertionError("a ticket without a loop has a future")
        return ticket.future

    async def record(self, *events: Event, openings: Sequence[bytes] = ()) -> tuple[Receipt, ...]:
        """`append` for an event loop: returns the receipts, raises what the future would. Being cancelled undoes nothing."""
        return await self._waiting(events, openings)

    def recording(self, *events: Event, openings: Sequence[bytes] = ()) -> asyncio.Future[tuple[Receipt, ...]]:
        """`record` for one who has something else to do while the disk writes. Raises: as `append`."""
        return self._waiting(events, openings)

    def _waiting(self, events: tuple[Event, ...], openings: Sequence[bytes]) -> asyncio.Future[tuple[Receipt, ...]]:
        ticket = _ticket(events, openings, asyncio.get_running_loop())
        if self._writer is None:
            raise Unavailable("the ledger is closed")
        self._writer.submit(ticket)
        if ticket.waiter is None:
            raise AssertionError("a ticket with a loop has a waiter")
        return ticket.waiter

    def later(self, *events: Event) -> None:
        """Record events with some later group, nobody waits for it. Lost when the process dies at once. Raises: as `append`."""
        self._submit(_ticket(events, (), None, later=True))

    def _submit(self, ticket: Ticket) -> None:
        if self._writer is None:
            raise Unavailable("the ledger is closed")
        self._writer.submit(ticket)

    def settle_open_effects(self, now_ns: int, *, completed: Sequence[int] = ()) -> tuple[Receipt, ...]:
        """At a start: what was begun and never ended becomes `unknown`, and is never repeated.

        Args: completed: entries of effects that the caller found done or has completed; they become `done`.
        """
        done = set(completed)
        receipts: list[Receipt] = []
        events = [
            Event.of(Kind.EFFECT_DONE if effect.begun in done else Kind.EFFECT_UNKNOWN, now_ns, entry=effect.begun, reason="restart")
            for effect in self.open_effects()
        ]
        for at in range(0, len(events), MAX_GROUP_ENTRIES):
            receipts += self.append(*events[at : at + MAX_GROUP_ENTRIES]).result()
        return tuple(receipts)

    def put_checkpoint(self, size: int, root: bytes, note: bytes, now_ns: int) -> None:
        """Keep a checkpoint that this log has signed, before anybody sees it. One size has one root for ever.

        Raises: Refused when it is not of this ledger or contradicts one that was signed, Unavailable.
        """
        if not 0 < size <= self.size() or self.root_at(size) != root:
            raise Refused("this checkpoint is not of this ledger")
        ticket = Ticket((), (), (), None, checkpoint=CheckpointRow(size=size, root=root, time_ns=now_ns, note=note))
        self._submit(ticket)
        if ticket.future is None:
            raise AssertionError("a ticket without a loop has a future")
        ticket.future.result()

    def when_grown(self, told: Callable[[], None] | None) -> None:
        """From now on `told` is called, by the writing thread, after each group of entries; it must not wait for anything."""
        if self._writer is None:
            raise Unavailable("the ledger is closed")
        self._writer.grown = told

    def opening(self, index: int, leaf: bytes | None = None) -> bytes | None:
        """The opening of an entry; None when it has none or it was erased. `leaf`: of the entry, where it is at hand.

        Raises: Unavailable, Unproven when it was changed.
        """
        slot = self.body_slot(index)
        if slot is None:
            return None
        if leaf is None:
            row = self.entry(index)
            leaf = None if row is None else row.leaf
        return None if leaf is None else self._bodies.get(slot, leaf_hash(leaf)[:TAG_BYTES])

    # Opening.

    def _check_tail(self, anchors: Sequence[Anchor]) -> None:
        """The tree is recomputed over the tail, and must continue everything that was signed. Raises: Refused, Unavailable."""
        size, root = self.head()
        signed = self.latest_checkpoint()
        known = [*anchors, *([(signed.size, signed.root)] if signed else [])]
        for at, expected in known:
            if at > size:
                raise Refused(f"this ledger has {size} entries, but {at} were signed", "It was rolled back. See `tally restore`.")
            if self.root_at(at) != expected:
                raise Refused(f"this ledger is not the one that was signed at {at} entries", "Its history was changed. See `tally verify`.")
        start = max(min(signed.size if signed else 0, size - TAIL_ENTRIES), size - TAIL_MAX, 0) // TILE * TILE
        for first in range(start, size, TILE):
            self._check_tile(first, min(first + TILE, size))
        cached = self._book.tree
        if (size and self.root_at(size) != root) or self.root_at(cached.size) != cached.root():
            raise Unavailable("the ledger's tree and its entries differ", "Run `tally verify`.")
        if self._one("SELECT 1 FROM entries WHERE idx >= ? LIMIT 1", (size,)) is not None:
            raise Unavailable("the ledger has entries beyond its tree", "Run `tally verify`.")

    def _check_tile(self, first: int, stop: int) -> None:
        hashes = [
            leaf_hash(leaf) for (leaf,) in self._all("SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx", (first, stop))
        ]
        tile = self._one("SELECT hashes, root FROM tiles WHERE id = ?", (0 << LEVEL_SHIFT | first // TILE,))
        whole = stop - first == TILE
        if len(hashes) != stop - first or whole != bool(tile) or (tile and tile != (b"".join(hashes), perfect_root(hashes))):
            bad = next((at for at, found in enumerate(hashes) if tile and tile[0][at * HASH_BYTES : (at + 1) * HASH_BYTES] != found), 0)
            raise Unavailable(f"the ledger's tree and its entries differ near entry {first + bad}", "Run `tally verify`.")

    def _sweep(self) -> None:
        try:
            # After a failed sync the log may hold frames that only the page cache knows; recovery would stop at them and lose what was
            # acknowledged behind them. So it is brought home and begun anew before anything is appended.
            with suppress(apsw.BusyError):
                self._book.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            self._book.sweep()
            clear_copies(self.path)
        except apsw.Error as error:
            raise unavailable(error) from error


def _ticket(events: tuple[Event, ...], openings: Sequence[bytes], loop: asyncio.AbstractEventLoop | None, *, later: bool = False) -> Ticket:
    if not events or len(events) > MAX_GROUP_ENTRIES:
        raise Misuse(f"1 to {MAX_GROUP_ENTRIES} events are recorded together")
    if openings and (len(openings) != len(events) or max(map(len, openings)) > MAX_OPENING_BYTES):
        raise Misuse(f"there is one opening for each event, of at most {MAX_OPENING_BYTES} bytes")
    if len(events) == 1 and not openings:  # a leaf alone is never too much
        return Ticket(events, (entry.encode(events[0]),), (), loop, later=later)
    leaves = tuple(map(entry.encode, events))
    ticket = Ticket(events, leaves, tuple(openings), loop, later=later)
    if ticket.size > MAX_GROUP_BYTES:
        raise Misuse(f"events recorded together have at most {MAX_GROUP_BYTES} bytes")
    return ticket


def _renew(path: Path, lock: int, *, shared: bool) -> None:
    """Bring a ledger of an older schema up to date: made again from its leaves, then put into its place. Raises: Unavailable."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Unavailable(
            "this ledger has an older schema, and another process has it open", "Stop the house and start it again."
        ) from None
    clear(path)
    bring_home(path)
    rebuild(path, path.with_name(path.name + NEW))
    before = swap(path)
    if before is not None:
        forget(before)
    if shared:
        fcntl.flock(lock, fcntl.LOCK_SH)


def hold(path: Path, *, shared: bool) -> int:
    """Hold the ledger: alone, or with others that share it. Raises: Unavailable."""
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BaseException:
            os.close(lock)
            raise
    except BlockingIOError:
        raise Unavailable("this ledger is open already", "Another process holds it; is a second house running?") from None
    except OSError as error:
        raise Unavailable(f"cannot open {path.parent}: {error.strerror}", "Check the owner and mode of the state directory.") from error
    return lock
