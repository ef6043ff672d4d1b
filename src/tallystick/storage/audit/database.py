"""Reading a house's database as an auditor does: nothing in its folder is changed, and bad pages are findings, not crashes.

Where there is no write-ahead log the file is opened as immutable, so that not even the files that readers share are made beside it.
"""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import apsw

from tallystick.errors import TallyError, Unavailable
from tallystick.ledger.audit import Finding
from tallystick.storage import schema
from tallystick.storage.book import LEVEL_SHIFT
from tallystick.storage.connection import BUSY_MS, unavailable
from tallystick.tlog.tile import TILE_WIDTH

FILE: Final = "house.sqlite"
MAX_INTEGRITY: Final = 100
SLACK: Final = 4_096  # entries that may be missing before the last one


class Database:
    """An open database that is only read."""

    def __init__(self, path: Path) -> None:
        """Raises: Unavailable: it cannot be opened."""
        self.path = path
        self.flaws: list[Finding] = []
        wal = path.with_name(path.name + "-wal")
        self.immutable = not (wal.exists() and wal.stat().st_size)
        try:
            flags = apsw.SQLITE_OPEN_READONLY
            if self.immutable:
                self.db = apsw.Connection(f"file:{quote(str(path))}?immutable=1", flags=flags | apsw.SQLITE_OPEN_URI)
            else:
                self.db = apsw.Connection(str(path), flags=flags)
            self.db.set_busy_timeout(BUSY_MS)
            self.db.pragma("query_only", True)
            self.db.pragma("cache_size", -16_384)
            self.db.pragma("temp_store", "memory")
            self.db.execute("BEGIN")  # all of it is of one moment, also of a house that runs
            self.db.execute("SELECT 1 FROM sqlite_master").fetchone()
        except apsw.Error as error:
            raise unavailable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.db.close()

    def damaged(self, error: apsw.Error) -> None:
        """A page that cannot be read."""
        finding = Finding(file=FILE, meaning=f"the database cannot be read here: {error}")
        if finding not in self.flaws:
            self.flaws.append(finding)

    def all(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """Every row, as far as the pages can be read."""
        rows: list[tuple[Any, ...]] = []
        try:
            rows += self.db.execute(sql, arguments)
        except (apsw.Error, UnicodeDecodeError) as error:
            self.damaged(error if isinstance(error, apsw.Error) else apsw.CorruptError(f"text that is not UTF-8: {error.reason}"))
        return rows

    def size(self) -> int:
        """One more than the last entry. A number far beyond how many there are is not believed; the rows' own comparison names it."""
        rows = self.all(f"SELECT max(idx) + 1 FROM entries WHERE idx < (SELECT count(*) + {SLACK} FROM entries)")
        return next((row[0] for row in rows if isinstance(row[0], int)), 0)

    def leaves(self, n: int) -> dict[int, bytes]:
        """The leaves of a block of 256, by entry."""
        first = n * TILE_WIDTH
        rows = self.all("SELECT idx, leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx", (first, first + TILE_WIDTH))
        return {row[0]: row[1] for row in rows if isinstance(row[1], bytes) and len(row[1]) < 65_536}

    def tile(self, n: int) -> tuple[bytes, bytes] | None:
        """Hashes and root of a full tile of level 0, as the table has them."""
        rows = self.all("SELECT hashes, root FROM tiles WHERE id = ?", (0 << LEVEL_SHIFT | n,))
        match rows:
            case [(bytes(hashes), bytes(root))]:
                return hashes, root
        return None

    def checkpoints(self) -> Iterator[tuple[Any, ...]]:
        """Rows of size, root, time and note."""
        yield from self.all("SELECT size, root, time_ns, note FROM checkpoints ORDER BY size")

    def structure(self) -> list[Finding]:
        """The file's own order: pages, indexes, schema. What SQLite's integrity check says."""
        found = [*self.flaws]
        try:
            if schema.version_of(self.db) != schema.SCHEMA_VERSION:
                found.append(Finding(file=FILE, offset=60, meaning="its schema has another version than this program's"))
            if self.db.pragma("application_id") != schema.APPLICATION_ID:
                found.append(Finding(file=FILE, offset=68, meaning="its application id is not a ledger's"))
            for (text,) in self.db.execute(f"PRAGMA integrity_check({MAX_INTEGRITY})"):
                if text != "ok":
                    found.append(Finding(file=FILE, meaning=f"the database is damaged: {' '.join(str(text).split())[:300]}"))
        except (apsw.Error, UnicodeDecodeError) as error:
            found.append(Finding(file=FILE, meaning=f"the database is damaged: {error}"))
        except TallyError as error:
            found.append(Finding(file=FILE, meaning=error.message))
        return found


def open_database(path: Path) -> tuple[Database | None, list[Finding]]:
    """The database, or why there is none to look at."""
    if not path.exists():
        return None, [Finding(file=FILE, meaning="it is missing; `tally rebuild --from-tiles` brings back what was published")]
    try:
        return Database(path), []
    except Unavailable as error:
        return None, [Finding(file=FILE, meaning=f"it cannot be opened: {error.message}")]
