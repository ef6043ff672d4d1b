"""A ledger made large quickly, and real in every table.

Its first 2,048 entries go in by the front door (`Store.append`); then SQL copies the second half of them, its rows, postings and hashes,
to all the places behind it, and the upper levels, the root and the edge are computed from them. The result opens like any ledger
(its tail is recomputed and held against tiles and root), and its sizes and the depth of its trees are those of so many entries of 256
bytes. What is not like life: the same events come again and again, at the same times.
"""

import os
import random
from pathlib import Path

import apsw

from bench.ledger_scene import history, origin
from tallystick.ledger.append import Tree
from tallystick.storage.book import LEVEL_SHIFT, TILE
from tallystick.storage.postings import POSTED
from tallystick.storage.sqlite import Store
from tallystick.tlog.tree import perfect_root

BYTES_EACH = 450  # of the database, for each entry
_ENTRY = "leaf, time_ns, kind, pairing, key, about, action, verdict, mark"


def make(path: Path, entries: int, pairs: int) -> None:
    """A ledger of so many entries, rounded to whole spans of postings."""
    spans = entries // POSTED
    dice = random.Random(3)
    with Store.open(path, create=True) as store:
        store.append(origin(), *history(1, POSTED - 1, pairs, dice)).result(60)
        store.append(*history(POSTED, POSTED, pairs, dice)).result(60)
    db = apsw.Connection(str(path))
    db.pragma("journal_mode", "delete")
    for name, value in (("synchronous", "off"), ("journal_mode", "off"), ("cache_size", -262_144), ("locking_mode", "exclusive")):
        db.pragma(name, value)
    db.execute("BEGIN")
    db.execute("CREATE TEMP TABLE span (n INTEGER PRIMARY KEY)")
    db.execute("WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c LIMIT ?) INSERT INTO span SELECT n FROM c", (spans - 2,))
    db.execute(f"CREATE TEMP TABLE pattern AS SELECT idx - {POSTED} AS at, {_ENTRY} FROM entries WHERE idx >= {POSTED} ORDER BY idx")
    db.execute(f"INSERT INTO entries SELECT n * {POSTED} + at, {_ENTRY} FROM span CROSS JOIN pattern ORDER BY n, pattern.rowid")
    # In the order of the table: whatever is inserted there grows at its end.
    db.execute("CREATE TEMP TABLE old AS SELECT * FROM postings")
    db.execute("DELETE FROM postings")
    db.execute(
        "INSERT INTO postings SELECT * FROM old WHERE span = 0 UNION ALL SELECT col, value, 1, places FROM old WHERE span = 1"
        " UNION ALL SELECT col, value, n, places FROM old CROSS JOIN span WHERE old.span = 1 ORDER BY 1, 2, 3"
    )
    _tiles(db, spans)
    db.execute("COMMIT")
    db.close()
    os.sync()


def _tiles(db: apsw.Connection, spans: int) -> None:
    """The tiles of every level, and the tree."""
    each = POSTED // TILE
    pattern = list(db.execute("SELECT root, low_ns, high_ns, hashes FROM tiles WHERE id >= ? AND id < ? ORDER BY id", (each, 2 * each)))
    rows = ((n, *pattern[n % each]) for n in range(2 * each, spans * each))
    db.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?, ?)", rows)
    first = [root for (root,) in db.execute("SELECT root FROM tiles WHERE id < ? ORDER BY id", (each,))]
    roots = first + [row[0] for row in pattern] * (spans - 1)
    edge = Tree().append(roots).edge
    level = 1
    while len(roots) >= TILE:
        tiles = [roots[at : at + TILE] for at in range(0, len(roots) - len(roots) % TILE, TILE)]
        roots = [perfect_root(tile) for tile in tiles]
        rows_above = [
            (level << LEVEL_SHIFT | n, root, None, None, b"".join(tile)) for n, (root, tile) in enumerate(zip(roots, tiles, strict=True))
        ]
        db.executemany("INSERT INTO tiles VALUES (?, ?, ?, ?, ?)", rows_above)
        level += 1
    tree = Tree(spans * POSTED, edge)
    db.execute("INSERT OR REPLACE INTO tree VALUES (1, ?, ?, ?)", (tree.size, tree.root(), tree.to_bytes()))
