"""Tiles and bundles from the database: what the public files are made of, and made again (docs/spec/tiles.md).

It reads with a connection of its own, so that whoever publishes never waits for whoever reads, and the writer waits for neither.
Entries and full tiles never change, so no transaction is needed: what is below the size that was asked for stays as it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw

from tallystick.errors import Unavailable
from tallystick.storage.book import LEVEL_SHIFT
from tallystick.storage.connection import connect, unavailable
from tallystick.tlog.bundle import write_bundle
from tallystick.tlog.tile import ENTRIES, TILE_WIDTH, Tile
from tallystick.tlog.tree import leaf_hash


class TileSource:
    """Makes the files of a log from its database. Not for two threads at once."""

    def __init__(self, path: Path, vfs: str | None = None) -> None:
        """`path`: of the database."""
        self._path = path
        self._vfs = vfs
        self._db: apsw.Connection | None = None

    def close(self) -> None:
        """Close the connection; the next question opens it again."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(apsw.Error):  # it only read
                db.close()

    def sizes(self) -> tuple[int, int]:
        """How many entries there are, and how many the newest signed checkpoint covers, 0 for none. Raises: Unavailable."""
        (found,) = self._all("SELECT coalesce((SELECT size FROM tree), 0), coalesce((SELECT max(size) FROM checkpoints), 0)", ())
        return int(found[0]), int(found[1])

    def get(self, tile: Tile) -> bytes:
        """The file of a tile or bundle. Raises: Unavailable: the ledger has not so many entries, or cannot be read."""
        if tile.level == ENTRIES:
            return write_bundle(self._leaves(tile))
        row = self._all("SELECT hashes FROM tiles WHERE id = ?", (tile.level << LEVEL_SHIFT | tile.n,))
        if row:
            return bytes(row[0][0][: tile.hash_bytes])
        if tile.level == 0:
            return b"".join(map(leaf_hash, self._leaves(tile)))
        low = tile.level - 1 << LEVEL_SHIFT | tile.n * TILE_WIDTH
        roots = self._all("SELECT root FROM tiles WHERE id BETWEEN ? AND ? ORDER BY id", (low, low + tile.width - 1))
        return b"".join(root for (root,) in self._whole(tile, roots))

    def files(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, bytes]]:
        """Each tile with its file. Raises: as `get`."""
        for tile in tiles:
            yield tile, self.get(tile)

    def _leaves(self, tile: Tile) -> list[bytes]:
        first = tile.n * TILE_WIDTH
        rows = self._all("SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx", (first, first + tile.width))
        return [leaf for (leaf,) in self._whole(tile, rows)]

    def _whole(self, tile: Tile, rows: list[Any]) -> list[Any]:
        if len(rows) != tile.width:
            raise Unavailable(f"the ledger lacks entries below {tile.path}", "Run `tally verify`.")
        return rows

    def _all(self, sql: str, arguments: tuple[int, ...]) -> list[Any]:
        try:
            if self._db is None:
                self._db = connect(self._path, write=False, vfs=self._vfs)
            return list(self._db.execute(sql, arguments))
        except apsw.Error as error:
            raise unavailable(error) from error
