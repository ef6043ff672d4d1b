"""Group commit: whatever was queued while the last group was being synced is the next group.

There is no timer for those who wait: a lone caller pays one sync, a thousand callers share one. What nobody waits for (`later`) joins
the next group, and makes one of its own within 50 ms. The thread that writes is the only one; a group is at most 4,096 entries or
4 MiB; more than 65,536 waiting entries are refused. After the commit all callers of an event loop are woken by one
`call_soon_threadsafe`.

An error of the disk stops the writer for good: after a failed sync nobody knows what the disk holds (Rebello et al., "Can
Applications Recover from fsync Failures?", USENIX ATC 2020), so it is not tried again. A full disk and a busy database only fail
the group.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, Literal

import apsw

from tallystick.errors import TallyError, Unavailable
from tallystick.ledger.event import Event
from tallystick.ledger.receipt import Receipt
from tallystick.storage.book import Book, Request
from tallystick.storage.connection import passing, unavailable
from tallystick.storage.rows import CheckpointRow
from tallystick.storage.targets import STEP

MAX_GROUP_ENTRIES: Final = 4_096
MAX_GROUP_BYTES: Final = 4 << 20
MAX_QUEUED: Final = 65_536
LATER_S: Final = 0.05
SETTLE_BYTES: Final = 262_144  # of bodies in the database, until their files are synced
# Of 4 KiB: when the write-ahead log is brought home. Then it begins anew in the same file. To overwrite a file costs half of what it costs
# to grow it, and what is overwritten soon still lies in the processor's cache: it is kept short.
CHECKPOINT_PAGES: Final = 1_000

Receipts = tuple[Receipt, ...]


class Ticket(Request):
    """A request on its way: who waits for it, and how they are told. `later`: nobody does."""

    __slots__ = ("future", "loop", "size", "waiter")

    def __init__(
        self,
        events: tuple[Event, ...],
        leaves: tuple[bytes, ...],
        openings: tuple[bytes, ...],
        loop: asyncio.AbstractEventLoop | None,
        *,
        later: bool = False,
        checkpoint: CheckpointRow | None = None,
    ) -> None:
        self.events = events
        self.leaves = leaves
        self.openings = openings
        self.outcome = None
        self.checkpoint = checkpoint
        self.size = len(leaves[0]) if len(leaves) == 1 and not openings else sum(map(len, leaves)) + sum(map(len, openings))
        self.loop = loop
        self.future: Future[Receipts] | None = None if loop or later else Future()
        self.waiter: asyncio.Future[Receipts] | None = loop.create_future() if loop else None


class Writer:
    """The thread that owns the writing connection."""

    def __init__(self, book: Book, stopped: Callable[[TallyError], None] | None = None) -> None:
        """`stopped` is called once, from the writing thread, when a disk error has ended the ledger."""
        self._book = book
        self._told = stopped
        self.grown: Callable[[], None] | None = None  # called by this thread after each group that brought entries
        self._queue: deque[Ticket] = deque()
        self._queued = 0  # entries, and bytes
        self._queued_bytes = 0
        self._mutex = threading.Lock()
        # The writer sleeps by taking this lock a second time and is woken by its release. A condition does the same with more of Python
        # around it, and whoever wakes the writer is about to answer somebody.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._sleeping: Literal["", "dozing", "sound"] = ""  # dozing: it looks again by itself, after LATER_S
        self._closing = False
        self._awaited = False  # somebody waits for what is queued
        self._failure: Unavailable | None = None
        self._wal_pages = 0
        book.db.set_wal_hook(self._wal_grew)
        self._thread = threading.Thread(target=self._run, name="tally-ledger", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> Unavailable | None:
        """Why nothing is recorded any more, None while all is well."""
        return self._failure

    def submit(self, ticket: Ticket) -> None:
        """Queue a request. Raises: Unavailable when the writer has stopped or too much is waiting."""
        with self._mutex:
            if self._failure is not None:
                raise self._failure
            if self._closing:
                raise Unavailable("the ledger is closed")
            if self._queued + len(ticket.leaves) > MAX_QUEUED and self._queued:
                raise Unavailable(f"{self._queued} entries are waiting for the disk", "The disk is slow; try again.")
            self._queue.append(ticket)
            self._queued += len(ticket.leaves)
            self._queued_bytes += ticket.size
            if ticket.future is not None or ticket.waiter is not None:
                self._awaited = True
            if self._sleeping and (self._awaited or self._sleeping == "sound"):
                self._wake_up()

    def close(self) -> None:
        """Write what is queued, then end the thread. Idempotent."""
        with self._mutex:
            self._closing = True
            if self._sleeping:
                self._wake_up()
        self._thread.join()

    def _wake_up(self) -> None:
        """Called with the mutex held, while the writer sleeps: once for each sleep."""
        self._sleeping = ""
        self._bell.release()

    def _run(self) -> None:
        while group := self._next_group():
            self._write(group)
            if self._book.fresh_bytes >= SETTLE_BYTES and self._failure is None:
                self._upkeep(self._book.settle_bodies)
            if self._book.tree.size - self._book.indexed >= STEP and self._failure is None:
                self._upkeep(self._book.index_targets)
            if self._wal_pages >= CHECKPOINT_PAGES and self._failure is None:
                self._upkeep(self._bring_home)
        if self._book.fresh_bytes and self._failure is None:
            self._upkeep(self._book.settle_bodies)

    def _next_group(self) -> list[Ticket]:
        """Sleep until there is something to write; nothing is there once the writer closes."""
        doze = True  # what nobody waits for usually follows soon after a group: a dozing writer need not be woken for it
        while True:
            with self._mutex:
                if self._awaited or self._closing:
                    return self._take_group()
                self._sleeping = "dozing" if doze else "sound"
            rung = self._bell.acquire(timeout=LATER_S if doze else -1)
            if not rung:
                with self._mutex:
                    self._sleeping = ""
                    self._bell.acquire(blocking=False)  # it may have been rung in the moment in which it stopped waiting
                    if self._queue or self._closing:
                        return self._take_group()
            doze = rung

    def _take_group(self) -> list[Ticket]:
        """The next group. Called with the mutex held."""
        queue, entries, size = self._queue, 0, 0
        group: list[Ticket] = []
        if self._queued <= MAX_GROUP_ENTRIES and self._queued_bytes <= MAX_GROUP_BYTES:
            group, self._queue = list(queue), deque()
            self._queued = self._queued_bytes = 0
            self._awaited = False
            return group
        while queue:
            ticket = queue[0]
            if group and (entries + len(ticket.leaves) > MAX_GROUP_ENTRIES or size + ticket.size > MAX_GROUP_BYTES):
                break
            group.append(queue.popleft())
            entries += len(ticket.leaves)
            size += ticket.size
        self._queued -= entries
        self._queued_bytes -= size
        self._awaited = bool(queue)
        return group

    def _write(self, group: Sequence[Ticket]) -> None:
        if self._failure is not None:
            _tell(group, self._failure)
            return
        try:
            self._book.write(group)
        except (apsw.FullError, apsw.BusyError, apsw.LockedError) as error:
            _tell(group, unavailable(error))
        except apsw.Error as error:
            self._stop(group, unavailable(error))
        except Unavailable as error:
            if passing(error):
                _tell(group, error)
            else:
                self._stop(group, error)
        except BaseException as error:
            # Our own mistake: nobody may go on as if nothing had happened, and the callers must see it.
            self._stop((), Unavailable("the ledger stopped: an internal error"))
            _tell(group, error)
        else:
            _tell(group, None)
            if self.grown is not None and any(ticket.leaves for ticket in group):
                self.grown()

    def _stop(self, group: Sequence[Ticket], failure: Unavailable) -> None:
        with self._mutex:
            self._failure = failure
        if self._told is not None:
            self._told(failure)
        _tell(group, failure)

    def _wal_grew(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _bring_home(self) -> None:
        """Copy the write-ahead log into the database, so that it can begin anew."""
        self._wal_pages = 0
        self._book.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _upkeep(self, work: Callable[[], None]) -> None:
        """Work of the writer's own, for which nobody waits. Others that hold the database may make it wait for the next time."""
        try:
            work()
        except (apsw.BusyError, apsw.LockedError, apsw.FullError):
            pass
        except apsw.Error as error:
            self._stop((), unavailable(error))
        except Unavailable as error:
            if not passing(error):
                self._stop((), error)


def _tell(group: Sequence[Ticket], failure: BaseException | None) -> None:
    """Wake every caller of the group: futures at once, and each event loop with one callback."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Receipts], object]]] = {}
    last, told = None, list[tuple[asyncio.Future[Receipts], object]]()
    for ticket in group:
        outcome: object = ticket.outcome
        if failure is not None and not isinstance(outcome, TallyError):
            outcome = failure
        if ticket.waiter is not None and ticket.loop is not None:
            if ticket.loop is not last:
                last = ticket.loop
                told = loops.setdefault(last, [])
            told.append((ticket.waiter, outcome))
        elif ticket.future is not None and ticket.future.set_running_or_notify_cancel():
            if isinstance(outcome, BaseException):
                ticket.future.set_exception(outcome)
            elif isinstance(outcome, tuple):
                ticket.future.set_result(outcome)
    for loop, waiters in loops.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_wake, waiters)


def _wake(waiters: Sequence[tuple[asyncio.Future[Receipts], object]]) -> None:
    for waiter, outcome in waiters:
        if waiter.done():
            continue
        if type(outcome) is tuple:
            waiter.set_result(outcome)
        elif isinstance(outcome, BaseException):
            waiter.set_exception(outcome)
