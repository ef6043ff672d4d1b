"""One connection that writes: a group of requests becomes one transaction of entries, tree and state.

Each request is all or nothing: a rule that refuses one of its events undoes the request and nothing else. The cached tree is
loaded anew whenever another process has written. Nothing here starts a thread; storage/writer.py does, and `rebuild` needs none.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Final

import apsw

from tallystick.errors import Malformed, TallyError, Unavailable
from tallystick.ledger import entry
from tallystick.ledger.append import Tree
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Grade, Receipt
from tallystick.ledger.signed import SignalMark
from tallystick.ledger.table import KINDS
from tallystick.primitives import SHA256
from tallystick.storage.bodies import SEGMENT_UNITS, TAG_BYTES, Bodies, Sealed, UnfinishedErasureError
from tallystick.storage.clear import OPENED, clear_value
from tallystick.storage.connection import passing, unavailable
from tallystick.storage.leftovers import clear_copies
from tallystick.storage.postings import INDEXED, POSTED, mark_number, post
from tallystick.storage.projection import PLAIN, RIGHTS, project
from tallystick.storage.rows import CheckpointRow
from tallystick.storage.rules.house import CHANGES, OPEN
from tallystick.storage.rules.state import ENDLESS, Cell, SignalFork
from tallystick.storage.targets import fill, scrub
from tallystick.tlog.tree import leaf_hash, perfect_root

TILE_LEVEL: Final = 8
TILE: Final = 1 << TILE_LEVEL  # C2SP tlog-tiles: hashes in a full tile
LEVEL_SHIFT: Final = 56  # tiles.id = level << 56 | n
MAX_CACHED_IDS: Final = 65_536

_ROW: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
# So many rows at once: every step of a statement lets go of the interpreter's lock, and whoever appends takes it.
_INSERT: Final = {rows: f"INSERT INTO entries VALUES {', '.join([_ROW] * rows)}" for rows in (64, 32, 16, 8, 4, 2, 1)}
_SET_TREE: Final = "INSERT OR REPLACE INTO tree VALUES (1, ?, ?, ?)"
_KEEP: Final = "INSERT INTO checkpoints VALUES (?, ?, ?, ?) ON CONFLICT (size) DO UPDATE SET time_ns = ?3, note = ?4 WHERE root = ?2"


def _about(kind: int) -> tuple[str, ...]:
    """Whom an event is about: the first of these fields that it has."""
    shape = {int(known): shape for known, shape in KINDS.items()}.get(kind)
    named = () if shape is None else (*shape.required, *shape.optional)
    return tuple(name for name in ("pair", "subject", "invite", "token", "scope", "origin_hash") if name in named)


# By the number of a kind: a list is found by it, where a dict would ask the enumeration for a hash, in Python, for each entry.
_ABOUT: Final = [_about(kind) for kind in range(max(Kind) + 1)]
_PLAIN: Final = [kind in map(int, PLAIN) for kind in range(max(Kind) + 1)]
_TURNS: Final = [kind in (*CHANGES, *RIGHTS, Kind.BODY_ERASED) for kind in range(max(Kind) + 1)]
_OPENED: Final = [kind in OPENED for kind in range(max(Kind) + 1)]


@dataclass(slots=True)
class Request:
    """What one caller wants recorded together. `openings` stand beside the events; an empty one means none.

    `checkpoint`: one that was signed over entries that are durable; it is kept, and is no entry itself.
    """

    events: tuple[Event, ...]
    leaves: tuple[bytes, ...]
    openings: tuple[bytes, ...] = ()
    outcome: tuple[Receipt, ...] | TallyError | None = None
    checkpoint: CheckpointRow | None = None


# An event that was taken in this transaction: its leaf, its opening or nothing, the marks of its signal.
_Pending = tuple[Event, bytes, bytes, SignalMark | None]


class Book:
    """The writing connection and its cached tree."""

    def __init__(self, db: apsw.Connection, bodies: Bodies | None = None) -> None:
        """Raises: Unavailable when the stored tree cannot be read."""
        self.db = db
        self.bodies = bodies
        self.tree = Tree()
        self._partial: list[bytes] = []  # hashes and times of the incomplete tile at level 0
        self._times: list[int] = []
        self._span: list[tuple[Cell, ...]] = []  # the indexed columns of the entries that are in no posting yet
        self._ids: dict[bytes, int] = {}
        self._pending: list[_Pending] = []
        self._sealed: tuple[int, ...] = ()  # the slots that the group at hand has written
        self._accepted: list[Request] = []
        self._erases = False  # whether the group at hand erases bodies
        self.fresh_bytes = 0  # of bodies that this process has written and not yet synced
        self.indexed = 0  # below it every target is indexed, as far as this process knows
        self._unsure = True  # whether the files hold what was written: a crash or a failed sync may have taken it
        self._data_version: object = None
        self._shut: str | None = None
        self._standing: dict[bytes, int] = {}  # until when a key stands; -1: not at all
        self._caps: dict[bytes, str] = {}
        try:
            self.db.execute("BEGIN")  # size and entries of one moment: another process may be appending
            try:
                self._reload_if_changed()
            finally:
                self.db.execute("COMMIT")
        except apsw.Error as error:
            raise unavailable(error) from error

    # The tables as the projection sees them (rules.state.State).

    def one(self, sql: str, arguments: Sequence[Cell] = ()) -> tuple[Cell, ...] | None:
        """The first row, or None."""
        row: tuple[Cell, ...] | None = self.db.execute(sql, tuple(arguments)).fetchone()
        return row

    def all(self, sql: str, arguments: Sequence[Cell] = ()) -> list[tuple[Cell, ...]]:
        """Every row."""
        return list(self.db.execute(sql, tuple(arguments)))

    def run(self, sql: str, arguments: Sequence[Cell] = ()) -> int:
        """Change rows; how many were changed."""
        self.db.execute(sql, tuple(arguments))
        return self.db.changes()

    @property
    def shut(self) -> str:
        """Whether the house is `open`, `closed` or `moved`."""
        if self._shut is None:
            row = self.one("SELECT state FROM house")
            self._shut = str(row[0]) if row is not None else OPEN
        return self._shut

    def stands(self, key: bytes, time_ns: int) -> bool:
        """Whether this key is known, stands and has not expired at this time."""
        until = self._standing.get(key)
        if until is None:
            row = self.one("SELECT coalesce(expires_ns, ?) FROM keys WHERE key_id = ? AND state = 'standing'", (ENDLESS, key))
            until = row[0] if row is not None and isinstance(row[0], int) else -1
            if len(self._standing) >= MAX_CACHED_IDS:
                self._standing.clear()
            self._standing[key] = until
        return time_ns < until

    def cap(self, pairing: bytes) -> str:
        """The effective type of a pair that stands; empty for any other."""
        cap = self._caps.get(pairing)
        if cap is None:
            row = self.one("SELECT effective FROM pairs WHERE pairing = ? AND state = 'standing'", (pairing,))
            cap = self._caps[pairing] = str(row[0]) if row is not None else ""
        return cap

    def _turn(self, kind: Kind) -> None:
        """What this kind has changed is not what was kept of it."""
        if kind in CHANGES:
            self._shut = None
        if kind in RIGHTS:
            self._forget_rights()
        if kind is Kind.BODY_ERASED:
            self._erases = True

    def _forget_rights(self) -> None:
        """Who may do what has changed, or may not have: ask again."""
        self._standing.clear()
        self._caps.clear()

    def event_at(self, index: int) -> Event | None:
        """An event of this ledger, also one of the group that is being written."""
        offset = index - self.tree.size
        if 0 <= offset < len(self._pending):
            return self._pending[offset][0]
        row = self.one("SELECT leaf FROM entries WHERE idx = ?", (index,))
        return entry.decode(row[0]) if row is not None and isinstance(row[0], bytes) else None

    def write(self, requests: Sequence[Request]) -> None:
        """One transaction for all of them, durable on return; afterwards each has its outcome.

        Raises: apsw.Error, or Unavailable from the bodies, when the transaction failed: then nothing of it is kept, unless the
        disk failed in the commit itself, which only the next start can tell.
        """
        self._pending, self._accepted, self._sealed, self._erases = [], [], (), False
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self._reload_if_changed()
            begun = self.tree.size > 0
            for request in requests:
                event = request.events[0] if len(request.events) == 1 and not request.openings else None
                if event is not None and begun and self._shut == OPEN and _PLAIN[event.kind] and "signal" not in event.fields:
                    self._pending.append((event, request.leaves[0], b"", None))  # as `_take` would take it: the commonest request
                    self._accepted.append(request)
                else:
                    self._take(request)
                if request.checkpoint is not None:
                    self._keep(request.checkpoint)
            if self._pending:
                self._store_bodies()
                tree, hashes = self._store_entries()
            else:
                tree, hashes = self.tree, []
            self.db.execute("COMMIT")
        except BaseException as error:
            self._data_version = self._shut = None  # whatever was cached, load it again
            self._forget_rights()
            self._ids.clear()
            with contextlib.suppress(apsw.Error):
                if self.db.in_transaction:
                    self.db.execute("ROLLBACK")
            if passing(error):  # after an error of the disk the next start does it
                with contextlib.suppress(apsw.Error, Unavailable):
                    self._drop_sealed()
            raise
        index, size, recorded = self.tree.size, tree.size, Grade.RECORDED
        receipts = [Receipt(at, digest, recorded, size) for at, digest in enumerate(hashes, index)]
        at = 0
        for request in self._accepted:
            count = len(request.events)
            request.outcome = (receipts[at],) if count == 1 else tuple(receipts[at : at + count])
            at += count
        self.tree = tree
        if self._erases:
            self._finish_erasures()

    def _keep(self, row: CheckpointRow) -> None:
        """A signed checkpoint; again with more signatures, never with another root: `Store.put_checkpoint` has looked."""
        self.db.execute(_KEEP, (row.size, row.root, row.time_ns, row.note))

    def _take(self, request: Request) -> bool:
        """Project a request's events; True when all of them may happen, else its outcome says why not."""
        kept = len(self._pending)
        first = self.tree.size + kept
        if first > 0 and (self._shut or self.shut) == OPEN:
            for event in request.events:
                if not _PLAIN[event.kind] or "signal" in event.fields:
                    break
            else:  # no rule has anything to say about any of them
                self._pending += zip(request.events, request.leaves, request.openings or repeat(b""), repeat(None), strict=False)
                self._accepted.append(request)
                return True
        self.db.execute("SAVEPOINT request")
        try:
            for offset, event in enumerate(request.events):
                mark = project(self, event, first + offset, self.event_at)
                if _TURNS[event.kind]:
                    self._turn(event.kind)
                opening = request.openings[offset] if request.openings else b""
                if opening and _OPENED[event.kind] and (clear := clear_value(event, opening)) is not None:
                    self.run("INSERT INTO clear VALUES (?, ?)", (first + offset, clear))
                self._pending.append((event, request.leaves[offset], opening, mark))
        except TallyError as error:
            self.db.execute("ROLLBACK TO request")
            self.db.execute("RELEASE request")
            self._shut = None
            self._forget_rights()
            time_ns = request.events[len(self._pending) - kept].time_ns
            del self._pending[kept:]
            request.outcome = error
            if isinstance(error, SignalFork):
                self._take_fork(error, time_ns)
            return False
        self.db.execute("RELEASE request")
        self._accepted.append(request)
        return True

    def _take_fork(self, fork: SignalFork, time_ns: int) -> None:
        """A fork is recorded although its request is refused: the first entry, the second signal whole, the key suspended."""
        mark = fork.mark
        event = Event.of(
            Kind.SIGNAL_FORK, time_ns, subject=mark.key, stream=mark.stream, n=mark.n, fork=(fork.first, fork.signal), reason="fork"
        )
        if not self._take(Request((event,), (entry.encode(event),))):
            raise AssertionError("a fork could not be recorded")

    def _drop_sealed(self) -> None:
        """Destroy the bodies of a group that was not kept: no later erasure could name them. Raises: apsw.Error, Unavailable."""
        if not self._sealed or self.bodies is None:
            return
        self.db.execute("BEGIN IMMEDIATE")  # their slots may be another process's by now
        try:
            first, last = min(self._sealed), max(self._sealed)
            taken = {slot for (slot,) in self.db.execute("SELECT slot FROM bodies WHERE slot BETWEEN ? AND ?", (first, last))}
            self.bodies.erase(slot for slot in self._sealed if slot not in taken)
        finally:
            self.db.execute("ROLLBACK")

    def _store_bodies(self) -> None:
        """Put the openings where they can be erased. This transaction makes them durable; their files are synced later, many at once."""
        first = self.tree.size
        wanted = [(at, leaf, opening) for at, (_, leaf, opening, _) in enumerate(self._pending, first) if opening]
        if not wanted:
            return
        if self.bodies is None:
            raise AssertionError("openings were given to a ledger without a body store")
        bodies = self.bodies.seal([(leaf_hash(leaf)[:TAG_BYTES], opening) for _, leaf, opening in wanted])
        self._sealed = tuple(body.slot for body in bodies)
        self.bodies.write(bodies)
        self.db.executemany("INSERT INTO bodies VALUES (?, ?)", [(at, body.slot) for (at, _, _), body in zip(wanted, bodies, strict=True)])
        self.db.executemany("INSERT INTO fresh VALUES (?, ?, ?, ?)", bodies)
        self.fresh_bytes += sum(len(body.sealed) for body in bodies)

    def settle_bodies(self) -> None:
        """Sync the files of bodies, written again where they may be lost; from then on the database need not keep them.

        Raises: apsw.Error, Unavailable.
        """
        self.fresh_bytes = 0
        rows: list[tuple[int, int]] = list(self.db.execute("SELECT slot, unit FROM fresh"))
        if self.bodies is None:
            return
        if rows:
            if self._unsure:
                self._write_fresh(self.bodies)
            self._unsure = True  # the pages of a failed sync count as clean: a second sync would say nothing
            self.bodies.sync({unit // SEGMENT_UNITS for _, unit in rows})
            self.db.execute("DELETE FROM fresh WHERE slot <= ?", (max(slot for slot, _ in rows),))
        self._unsure = False

    def _write_fresh(self, bodies: Bodies) -> None:
        """Held by the write lock: what another process erases meanwhile must not come back."""
        begun = not self.db.in_transaction
        if begun:
            self.db.execute("BEGIN IMMEDIATE")
        try:
            bodies.write(Sealed(*row) for row in self.db.execute("SELECT slot, unit, record, sealed FROM fresh"))
        finally:
            if begun:
                self.db.execute("ROLLBACK")

    def index_targets(self) -> None:
        """Bring the index of targets a step further. Raises: apsw.Error."""
        self.indexed = self.tree.size if self.bodies is None else fill(self.db, self.bodies, self.indexed, self.tree.size)

    def _store_entries(self) -> tuple[Tree, list[bytes]]:
        """Write the rows of the group, its tiles and the tree that follows; the new tree and the leaves' hashes."""
        index = self.tree.size
        rows: list[tuple[Cell, ...]] = []
        known, number, sha256 = self._ids, self._number, SHA256.new
        for event, leaf, _, mark in self._pending:
            fields, kind = event.fields, int(event.kind)  # an enumeration is slow to hash
            pairing, key, about = fields.get("pairing"), fields.get("key"), None
            for name in _ABOUT[kind]:
                if name in fields:
                    about = fields[name]
                    break
            if mark is None:
                action = signal = None
            else:
                key, action, signal = key or mark.key, mark.action, mark_number(mark.signature_hash)
            rows.append(
                (
                    index,
                    leaf,
                    event.time_ns,
                    kind,
                    pairing and (known.get(pairing) or number(pairing)),  # type: ignore[arg-type, call-overload]
                    key and (known.get(key) or number(key)),  # type: ignore[arg-type, call-overload]
                    about and (known.get(about) or number(about)),  # type: ignore[arg-type, call-overload]
                    action,
                    fields.get("verdict"),
                    signal,
                )
            )
            index += 1
        hashes = [sha256(b"\0" + row[1]).digest() for row in rows]  # type: ignore[operator]  # tlog.tree.leaf_hash, without its call
        tree, roots = self.tree.grow(hashes, TILE_LEVEL)
        at = 0
        for count, sql in _INSERT.items():
            while len(rows) - at >= count:
                self.db.execute(sql, tuple(chain.from_iterable(rows[at : at + count])))
                at += count
        self.db.execute(_SET_TREE, (tree.size, tree.root(), tree.to_bytes()))
        self._store_tiles(hashes, roots, rows)
        return tree, hashes

    def _number(self, identity: bytes) -> int:
        """The short number of a 32-byte identity in the entries' index columns; numbers begin at 1."""
        row = self.one("SELECT no FROM ids WHERE id = ?", (identity,))
        if row is None:
            self.db.execute("INSERT INTO ids (id) VALUES (?)", (identity,))
            number = self.db.last_insert_rowid()
        elif isinstance(row[0], int):
            number = row[0]
        else:
            raise AssertionError("ids.no is a number")
        if len(self._ids) >= MAX_CACHED_IDS:
            self._ids.clear()
        self._ids[identity] = number
        return number

    def _store_tiles(self, hashes: Sequence[bytes], roots: Sequence[bytes], rows: Sequence[tuple[Cell, ...]]) -> None:
        """Write each tile that became full, at every level (`roots`: those of level 0), and the postings of whole spans."""
        partial, times, span = self._partial, self._times, self._span
        partial += hashes
        times += [row[2] for row in rows]  # type: ignore[misc]
        span += [row[3:] for row in rows]
        n = self.tree.size // TILE
        for root in roots:
            self._store_tile(0, n, partial[:TILE], root, min(times[:TILE]), max(times[:TILE]))
            del partial[:TILE], times[:TILE]
            n += 1
            if n * TILE % POSTED == 0:
                post(self.db, n * TILE // POSTED - 1, span[:POSTED])
                del span[:POSTED]

    def _store_tile(self, level: int, n: int, hashes: Sequence[bytes], root: bytes, low_ns: int | None, high_ns: int | None) -> None:
        self.db.execute("INSERT INTO tiles VALUES (?, ?, ?, ?, ?)", (level << LEVEL_SHIFT | n, root, low_ns, high_ns, b"".join(hashes)))
        if n % TILE == TILE - 1:
            low = level << LEVEL_SHIFT | n - (TILE - 1)
            roots = [
                root for (root,) in self.db.execute("SELECT root FROM tiles WHERE id BETWEEN ? AND ? ORDER BY id", (low, low + TILE - 1))
            ]
            self._store_tile(level + 1, n // TILE, roots, perfect_root(roots), None, None)

    def _reload_if_changed(self) -> None:
        """Another process may have appended: then the cached tree is read again."""
        version = self.one("PRAGMA data_version")  # not `db.pragma`, which prepares a statement anew each time
        if version == self._data_version:
            return
        row = self.one("SELECT size, edge FROM tree")
        size, edge = row if row is not None else (0, b"")
        if not isinstance(size, int) or not isinstance(edge, bytes):
            raise AssertionError("the tree is a size and an edge")
        try:
            self.tree = Tree.from_bytes(size, edge)
        except Malformed as error:
            raise Unavailable(f"the ledger's tree is damaged: {error}", "Run `tally verify`.") from error
        low = size - size % TILE
        rows = list(self.db.execute("SELECT leaf, time_ns FROM entries WHERE idx >= ? ORDER BY idx", (low,)))
        if len(rows) != size - low:
            raise Unavailable("the ledger's entries and its tree differ", "Run `tally verify`.")
        self._partial = [leaf_hash(leaf) for leaf, _ in rows]
        self._times = [time_ns for _, time_ns in rows]
        self._span = list(self.db.execute(f"SELECT {INDEXED} FROM entries WHERE idx >= ? ORDER BY idx", (size - size % POSTED,)))
        self._ids.clear()
        self._shut = None
        self._forget_rights()
        self._data_version = version

    def _finish_erasures(self) -> None:
        """An erasure is told as done when nothing of it is left on the disk, the write-ahead log included."""
        try:
            self.destroy_erased()
        except (apsw.Error, Unavailable) as error:
            if not passing(error):
                raise
            why = "a reader still holds the old bytes" if isinstance(error, (apsw.BusyError, apsw.LockedError)) else "the disk is full"
            late = UnfinishedErasureError(f"recorded, but {why}", "It is finished with the next erasure or start.")
            for request in self._accepted:
                if any(event.kind is Kind.BODY_ERASED for event in request.events):
                    request.outcome = late

    def destroy_erased(self) -> None:
        """Finish every erasure: destroy the slot, forget the row, empty the write-ahead log. Raises: apsw.Error, Unavailable."""
        slots = [slot for (slot,) in self.db.execute("SELECT slot FROM erasing")]
        if slots and self.bodies is not None:
            self.bodies.erase(slots)
            self.settle_bodies()
            scrub(self.db)
            clear_copies(Path(self.db.filename))
        self.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        with self.db:
            self.db.executemany("DELETE FROM erasing WHERE slot = ?", [(slot,) for slot in slots])

    def sweep(self) -> None:
        """At a start: write bodies again that a crash may have taken, destroy those never committed, finish erasures.

        Raises: apsw.Error, Unavailable.
        """
        if self.bodies is None:
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            self.settle_bodies()
            row = self.one("SELECT coalesce(max(slot), -1) FROM bodies")
            last = row[0] if row is not None else -1
            if not isinstance(last, int):
                raise AssertionError("a slot is a number")
            self.bodies.erase(self.bodies.living(last + 1))
        finally:
            self.db.execute("COMMIT")
        if self.one("SELECT 1 FROM erasing") is not None:
            self.destroy_erased()
