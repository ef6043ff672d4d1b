"""The index of targets: which entries ask for a path (docs/spec/state.md, section 5).

A target stands in clear only in an opening (docs/spec/signal.md, section 2), so this table is a cache of the bodies that survive: it
is filled behind the writer's back, 256 entries and more at a time, and a query opens the bodies of the entries behind it itself.
An erasure deletes the row in its event's own transaction. A rebuild begins it anew.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apsw

from tallystick import canonical
from tallystick.errors import Malformed, TallyError
from tallystick.storage.bodies import TAG_BYTES, Bodies
from tallystick.tlog.tree import leaf_hash

STEP: Final = 256  # entries the index may lag behind before it is filled
MAX_STEP: Final = 4_096  # entries of one transaction
MAX_OPENING_BYTES: Final = 32_768  # of a signal; bigger bodies are none

Rows = Callable[[str, tuple[Any, ...]], list[tuple[Any, ...]]]
"""Runs a query on whatever connection the caller reads with."""


def target_in(opening: bytes) -> str | None:
    """The path of a signal's target without its query; None when this body is no opening of a target."""
    if len(opening) > MAX_OPENING_BYTES:
        return None
    try:
        value = canonical.decode(opening)
    except Malformed:
        return None
    match value:
        case {1: [bytes(), [str(), str(path)]]}:
            return path.partition("?")[0]
    return None


def fill(db: apsw.Connection, bodies: Bodies, known: int, size: int) -> int:
    """Index a step of the entries below `size` that are not indexed yet, in a transaction of its own; up to where all are now.

    Below `known` there is nothing to find; a step in which there is nothing costs no sync, but one in sixteen. A body that cannot be
    read is passed over: `tally verify` is who tells of it. Raises: apsw.Error.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        row = db.execute("SELECT size FROM indexed").fetchone()
        stored = int(row[0]) if row is not None and isinstance(row[0], int) else 0
        first = max(stored, known)
        stop = min(size, first + MAX_STEP)
        found = list(_opened(_rows(db), bodies, first, stop))
        if not found and stop - stored < 16 * STEP:
            db.execute("ROLLBACK")
            return max(first, stop)
        db.executemany("INSERT OR REPLACE INTO targets VALUES (?, ?)", found)
        db.execute("INSERT OR REPLACE INTO indexed VALUES (1, ?)", (max(first, stop),))
        db.execute("COMMIT")
        return max(first, stop)
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def scrub(db: apsw.Connection) -> None:
    """Write the tables anew that hold clear text or keys of bodies, so that no page remembers a row that is gone.

    `secure_delete` overwrites what is deleted where it lies. But when SQLite moves rows from one page to another (a page was full, or
    nearly empty), the old page keeps their bytes in its unused part, and no later delete finds them there. A page that is freed is
    overwritten whole: so all pages of these tables are freed. A million targets take about three seconds. Raises: apsw.Error.
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if db.execute("SELECT 1 FROM fresh LIMIT 1").get is None:
            db.execute("DELETE FROM fresh")  # without a condition: its last page too
        if db.execute("SELECT 1 FROM clear LIMIT 1").get is not None:
            db.execute("CREATE TEMP TABLE kept AS SELECT entry, value FROM clear ORDER BY entry")
            db.execute("DELETE FROM clear")
            db.execute("INSERT INTO clear SELECT entry, value FROM temp.kept")
            db.execute("DROP TABLE temp.kept")
        if db.execute("SELECT 1 FROM targets LIMIT 1").get is not None:
            sql = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'targets_by'").get
            db.execute("CREATE TEMP TABLE kept AS SELECT entry, target FROM targets ORDER BY entry")
            db.execute("DROP INDEX targets_by")
            db.execute("DELETE FROM targets")
            db.execute("INSERT INTO targets SELECT entry, target FROM temp.kept")
            db.execute("DROP TABLE temp.kept")
            db.execute(sql)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def clause(patterns: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """The condition on `target`, and its values. A pattern that ends with `*` means everything that begins so."""
    conditions: list[str] = []
    values: list[str] = []
    for pattern in patterns:
        if pattern.endswith("*"):
            conditions.append("(target >= ? AND target < ?)")
            values += [pattern[:-1], pattern[:-1] + "\x7f"]  # a path is printable ASCII
        else:
            conditions.append("target = ?")
            values.append(pattern)
    return f"({' OR '.join(conditions)})", tuple(values)


def behind(rows: Rows, bodies: Bodies, patterns: Sequence[str], first: int, stop: int) -> frozenset[int]:
    """Which entries of a span that is not indexed yet have such a target."""
    return frozenset(entry for entry, target in _opened(rows, bodies, first, stop) if _fits(target, patterns))


def _fits(target: str, patterns: Sequence[str]) -> bool:
    return any(target.startswith(pattern[:-1]) if pattern.endswith("*") else target == pattern for pattern in patterns)


def _opened(rows: Rows, bodies: Bodies, first: int, stop: int) -> Iterator[tuple[int, str]]:
    """Entry and target of every opening that survives in a span of entries."""
    sql = "SELECT entry, slot, leaf FROM bodies JOIN entries ON idx = entry WHERE entry >= ? AND entry < ? ORDER BY entry"
    for entry, slot, leaf in rows(sql, (first, stop)):
        try:
            target = target_in(bodies.get(slot, leaf_hash(leaf)[:TAG_BYTES]))
        except TallyError:
            continue
        if target is not None:
            yield entry, target


def _rows(db: apsw.Connection) -> Rows:
    return lambda sql, arguments: list(db.execute(sql, arguments))
