"""Making the state again from the entries: the proof that it is nothing but a projection (`tally rebuild`).

The new database is written beside the old one from the old one's leaves, in order, through the same rules. Signed checkpoints and
the places of bodies are taken over, because no entry holds them. Where the database is lost, the published bundles hold the leaves
up to the last checkpoint, and each body's record says by its tag to which entry it belongs (`from_bundles`).

`swap` puts the new one into place: at every moment, also of a crash, `house.sqlite` is either the whole old one or the whole new one.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

import apsw

from tallystick.errors import Misuse, TallyError, Unavailable
from tallystick.ledger import entry
from tallystick.storage import schema
from tallystick.storage.bodies import TAG_BYTES, Bodies
from tallystick.storage.book import Book, Request
from tallystick.storage.clear import refill
from tallystick.storage.connection import connect, make_file, unavailable
from tallystick.storage.leftovers import REBUILT
from tallystick.storage.rows import CheckpointRow
from tallystick.tlog.tree import leaf_hash

BATCH = 4_096  # entries in a transaction
NEW: Final = REBUILT
BEFORE: Final = ".before"
_BESIDE: Final = ("-wal", "-shm")


def rebuild(source: Path, target: Path, progress: Callable[[int, int], None] | None = None) -> int:
    """Write `target` from the entries of `source`; how many there were. The source is only read; nobody may write to it meanwhile.

    Args: progress: called with (entries done, entries in all).
    Raises: Refused when the target exists; Unavailable when an entry cannot be read or the rules of today forbid what it records,
        with its index.
    """
    make_file(target)
    try:
        old, new = connect(source, write=False), connect(target, write=True)
        try:
            schema.create(new)
            new.pragma("synchronous", "off")  # nobody relies on it yet; the caller's last act makes it durable
            total = old.execute("SELECT count(*) FROM entries").get
            replay(new, _leaves(old), total, progress)
            for table in schema.KEPT:
                if old.table_exists(None, table):
                    rows = list(old.execute(f"SELECT * FROM {table}"))
                    if rows:
                        new.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
            _refill(new, source.parent / "bodies")
            new.pragma("synchronous", "full")
            new.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            row = new.execute("SELECT coalesce(max(idx) + 1, 0) FROM entries").fetchone()
            return int(row[0]) if row else 0
        finally:
            old.close()
            new.close()
    except apsw.Error as error:
        raise unavailable(error) from error


def _refill(new: apsw.Connection, folder: Path) -> None:
    """What stands in clear beside the state, from the bodies that survive. Raises: apsw.Error, Unavailable."""
    if folder.is_dir():
        bodies = Bodies(folder)
        try:
            refill(new, bodies)
        finally:
            bodies.close()


class BrokenRule(Unavailable):
    """An entry that is none, or that the rules of today forbid. `index`: which."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message, "Run `tally verify`.")
        self.index = index


def _leaves(old: apsw.Connection) -> Iterator[bytes]:
    """The leaves of a database, without a gap. Raises: Unavailable."""
    done = 0
    while rows := list(old.execute("SELECT idx, leaf FROM entries WHERE idx >= ? ORDER BY idx LIMIT ?", (done, BATCH))):
        for at, (index, leaf) in enumerate(rows):
            if index != done + at:
                raise Unavailable(f"entry {done + at} is missing", "Run `tally verify`.")
            yield leaf
        done += len(rows)


def replay(new: apsw.Connection, leaves: Iterable[bytes], total: int, progress: Callable[[int, int], None] | None = None) -> int:
    """Bring about in an empty database what these leaves bring about; how many there were.

    Raises: BrokenRule: what was before it is kept.  What reading the leaves raises.
    """
    book = Book(new)
    done = 0
    source = iter(leaves)
    while batch := list(islice(source, BATCH)):
        requests: list[Request] = []
        for at, leaf in enumerate(batch):
            try:
                requests.append(Request((entry.decode(leaf),), (leaf,)))
            except TallyError as error:
                book.write(requests)
                raise BrokenRule(done + at, f"entry {done + at} cannot be read: {error}") from error
        book.write(requests)
        for at, request in enumerate(requests):
            if isinstance(request.outcome, TallyError):
                raise BrokenRule(done + at, f"entry {done + at} breaks a rule: {request.outcome}") from request.outcome
        done += len(batch)
        if progress is not None:
            progress(done, total)
    return done


def from_bundles(
    leaves: Iterable[bytes], total: int, target: Path, bodies: Path, signed: CheckpointRow, progress: Callable[[int, int], None]
) -> int:
    """Write `target` from published leaves that were verified, with the bodies that lie there; how many of them belong to an entry.

    Args: signed: the checkpoint that covers the leaves; the only one that is known.
    Raises: Refused when the target exists; Unavailable.
    """
    make_file(target)
    store = Bodies(bodies)
    try:
        slots = {tag: slot for slot in range(store.count()) if (tag := store.tag_of(slot)) is not None}
    finally:
        store.close()
    places: list[tuple[int, int]] = []

    def told() -> Iterator[bytes]:
        for index, leaf in enumerate(leaves):
            if slots and (slot := slots.pop(leaf_hash(leaf)[:TAG_BYTES], None)) is not None:
                places.append((index, slot))
            yield leaf

    try:
        db = connect(target, write=True)
        try:
            schema.create(db)
            db.pragma("synchronous", "off")
            replay(db, told(), total, progress)
            db.executemany("INSERT INTO bodies VALUES (?, ?)", places)
            _refill(db, bodies)
            db.execute("INSERT INTO checkpoints VALUES (?, ?, ?, ?)", (signed.size, signed.root, signed.time_ns, signed.note))
            db.pragma("synchronous", "full")
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            db.close()
    except apsw.Error as error:
        raise unavailable(error) from error
    return len(places)


def bring_home(path: Path) -> None:
    """Bring a database's write-ahead log into its file, so that the file alone is whole. Raises: Unavailable."""
    try:
        db = connect(path, write=True)
        try:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            db.close()  # the last one: SQLite takes the log away
    except apsw.Error as error:
        raise unavailable(error) from error
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size:
        raise Unavailable(f"{wal.name} could not be brought home", "Is another process using the ledger?")


def clear(path: Path) -> None:
    """Take away what an earlier rebuild that died has left. Raises: Unavailable."""
    try:
        for ending in ("", *_BESIDE):
            path.with_name(path.name + NEW + ending).unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"cannot clear {path.name}{NEW}: {error.strerror}", "Check the owner of the home.") from error


def swap(path: Path) -> Path | None:
    """Put the rebuilt database into the place of the old one; durable on return. Where the old one is kept, if there was one.

    The old file keeps a second name until the caller has seen the new one work. Nobody may have either open.
    Raises: Unavailable; then the old one stands as it was, or the new one does.
    """
    new, before = path.with_name(path.name + NEW), path.with_name(path.name + BEFORE)
    try:
        _sync(new)
        kept = path.exists()
        if kept:
            before.unlink(missing_ok=True)
            os.link(path, before)
        # A log that belongs to the old file must never be read with the new one.
        for ending in _BESIDE:
            beside = path.with_name(path.name + ending)
            if beside.exists():
                os.replace(beside, before.with_name(before.name + ending))
        _sync(path.parent)
        os.replace(new, path)
        _sync(path.parent)
    except OSError as error:
        raise Unavailable(f"the rebuilt ledger could not be put in place: {error.strerror}", "Nothing was lost; try again.") from error
    return before if kept else None


def forget(before: Path) -> None:
    """Take the old database away, once the new one was seen to work."""
    for ending in ("", *_BESIDE):
        with suppress(OSError):
            before.with_name(before.name + ending).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def differences(one: Path, other: Path, *, limit: int = 20) -> tuple[str, ...]:
    """Where two databases hold other rows, table by table; empty when they are the same, row for row.

    Raises: Misuse when they have different schemas, Unavailable.
    """
    found: list[str] = []
    try:
        db, compared = connect(one, write=False), connect(other, write=False)
        try:
            if schema.version_of(db) != schema.version_of(compared):
                raise Misuse("the two databases have different schemas")
            for table in (*schema.PROJECTED, *schema.KEPT, *schema.FILLED):
                columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
                order = ", ".join(str(place + 1) for place in range(len(columns)))
                left = db.execute(f"SELECT * FROM {table} ORDER BY {order}")
                right = compared.execute(f"SELECT * FROM {table} ORDER BY {order}")
                while len(found) < limit:
                    a, b = left.fetchone(), right.fetchone()
                    if a != b:
                        found.append(f"{table}: {_shown(columns, a)} | {_shown(columns, b)}")
                    if a is None or b is None:
                        break
        finally:
            db.close()
            compared.close()
    except apsw.Error as error:
        raise unavailable(error) from error
    return tuple(found)


def _shown(columns: list[str], row: tuple[object, ...] | None) -> str:
    if row is None:
        return "no row"
    return " ".join(
        f"{name}={value.hex()[:16] if isinstance(value, bytes) else value}"
        for name, value in zip(columns, row, strict=True)
        if value is not None
    )
