"""Making the state again from the entries: the proof that it is nothing but a projection (`tally rebuild`).

The new database is written beside the old one from the old one's leaves, in order, through the same rules. Signed checkpoints and
the places of bodies are taken over, because no entry holds them.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

import apsw

from tallystick.errors import Misuse, TallyError, Unavailable
from tallystick.ledger import entry
from tallystick.storage import schema
from tallystick.storage.book import Book, Request, connect, make_file, unavailable

BATCH = 4_096  # entries in a transaction


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
            new.pragma("synchronous", "full")
            new.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            row = new.execute("SELECT coalesce(max(idx) + 1, 0) FROM entries").fetchone()
            return int(row[0]) if row else 0
        finally:
            old.close()
            new.close()
    except apsw.Error as error:
        raise unavailable(error) from error


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
            for table in (*schema.PROJECTED, *schema.KEPT):
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
