"""The live rows: the state of a house is made again from its entries, in a database of its own, and compared row for row.

The rules are those of the house itself (storage/projection.py): an entry that they forbid is a finding too. Two tables that no entry
brings about are checked elsewhere: `checkpoints` with their notes, `bodies`, `fresh` and `erasing` with the body store.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw

from tallystick.ledger.audit import Finding
from tallystick.storage import schema
from tallystick.storage.audit.database import FILE, Database
from tallystick.storage.book import LEVEL_SHIFT
from tallystick.storage.rebuild import BrokenRule, replay

LIMIT: Final = 200  # findings of one table
NO_ENTRY: Final = frozenset({"ids", "streams"})


def replayed(
    leaves: Iterable[bytes], total: int, target: Path, progress: Callable[[int, int], None] | None
) -> tuple[apsw.Connection, list[Finding]]:
    """A new database at `target` with the state that these entries bring about, as far as the rules allow them."""
    db = apsw.Connection(str(target))
    schema.create(db)
    db.pragma("synchronous", "off")
    db.pragma("journal_mode", "memory")
    try:
        replay(db, leaves, total, progress)
    except BrokenRule as error:
        meaning = f"the rules of the house forbid what it records: {error.message}"
        return db, [Finding(file=FILE, row=f"entries {error.index}", entry=error.index, meaning=meaning)]
    return db, []


def compare_rows(database: Database, right: apsw.Connection) -> Iterator[Finding]:
    """Every projected table of the house against the one made again."""
    yield from _compare_schema(database, right)
    for table in schema.PROJECTED:
        yield from _compare_table(database, right, table)


def _compare_schema(database: Database, right: apsw.Connection) -> Iterator[Finding]:
    sql = "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name"
    ours, theirs = database.all(sql), list(right.execute(sql))
    for row in sorted(set(ours) ^ set(theirs), key=str):
        what = "is not one of a ledger" if row in ours else "was removed or changed"
        yield Finding(file=FILE, row=f"schema {row[1]}", meaning=f"this {row[0]} {what}")


def _compare_table(database: Database, right: apsw.Connection, table: str) -> Iterator[Finding]:
    info = list(right.execute(f"PRAGMA table_info({table})"))
    columns = [str(row[1]) for row in info]
    keys = [place for _, place in sorted((row[5], place) for place, row in enumerate(info) if row[5])]
    order = ", ".join(columns[place] for place in keys)
    # Sorted anew, by the columns and not by an index of the file: the index may be what was changed.
    ours = _rows(database, f"SELECT {', '.join(columns)} FROM {table} NOT INDEXED ORDER BY {order}")
    theirs: Iterator[tuple[Any, ...]] = iter(right.execute(f"SELECT {', '.join(columns)} FROM {table} ORDER BY {order}"))
    a, b = next(ours, None), next(theirs, None)
    found = 0
    while (a is not None or b is not None) and found < LIMIT:
        if a == b:
            a, b = next(ours, None), next(theirs, None)
            continue
        ka, kb = _key(a, keys), _key(b, keys)
        found += 1
        if a is not None and (kb is None or ka < kb):
            yield _finding(table, columns, keys, a, "no entry brings this row about")
            a = next(ours, None)
        elif b is not None and (ka is None or kb < ka):
            yield _finding(table, columns, keys, b, "this row is missing: the entries bring it about")
            b = next(theirs, None)
        elif a is not None and b is not None:
            changed = [columns[place] for place in range(len(columns)) if a[place] != b[place]]
            if not (table == "entries" and changed == ["leaf"]):  # a changed leaf is named by the log's own audit
                yield _finding(table, columns, keys, b, f"{', '.join(changed)}: not what the entries bring about")
            a, b = next(ours, None), next(theirs, None)


def _rows(database: Database, sql: str) -> Iterator[tuple[Any, ...]]:
    try:
        yield from database.db.execute(sql)
    except apsw.Error as error:
        database.damaged(error)
    except UnicodeDecodeError as error:
        database.damaged(apsw.CorruptError(f"text that is not UTF-8: {error.reason}"))


def _key(row: tuple[Any, ...] | None, keys: list[int]) -> Any:
    """What SQLite sorts by: numbers before text before bytes."""
    return None if row is None else tuple((_CLASS.get(type(row[place]), 0), row[place]) for place in keys)


_CLASS: Final = {int: 1, str: 2, bytes: 3}


def _finding(table: str, columns: list[str], keys: list[int], row: tuple[Any, ...], meaning: str) -> Finding:
    name = " ".join(value.hex()[:16] if isinstance(value, bytes) else str(value) for value in (row[place] for place in keys))
    if table == "tiles" and isinstance(row[0], int):
        name = f"{row[0] >> LEVEL_SHIFT}/{row[0] & ((1 << LEVEL_SHIFT) - 1)}"
    return Finding(file=FILE, row=f"{table} {name}", entry=_entry_of(table, columns, row), meaning=meaning)


def _entry_of(table: str, columns: list[str], row: tuple[Any, ...]) -> int | None:
    """The entry that a row comes from, where it names one."""
    for name in ("idx", "entry", "begun", "changed", "ended", "stood", "created"):
        if name in columns and table not in NO_ENTRY and isinstance(value := row[columns.index(name)], int):
            return value
    return None
