"""The published files of a log, as they lie on the disk: which there are, and whether they hold what the entries prove."""

import os
from collections.abc import Iterator
from pathlib import Path

from tallystick.errors import Malformed, TallyError
from tallystick.ledger.audit import Finding, compare, first_difference, span
from tallystick.storage.tiles import CHECKPOINT, NEW, TileFiles
from tallystick.tlog.tile import ENTRIES, TILE_WIDTH, Tile, growth, parse_path


class Published:
    """A folder of published files: a house's `tiles/`, or a copy of it."""

    def __init__(self, folder: Path, prefix: str) -> None:
        """`prefix`: how findings name the folder, with its slash, or nothing."""
        self.folder = folder
        self.prefix = prefix
        self.flaws: list[Finding] = []
        self.unfinished = 0
        self._files = TileFiles(folder)
        self._there: dict[tuple[int, int], list[Tile]] = {}
        # The checkpoint first: what a house publishes meanwhile is then more than it covers, never less.
        self.note = self._checkpoint()
        self._walk()

    def _walk(self) -> None:
        for base, folders, names in os.walk(self.folder, followlinks=False):
            folders.sort()
            for name in sorted(names):
                path = (Path(base) / name).relative_to(self.folder).as_posix()
                if path == CHECKPOINT:
                    continue
                if name.startswith(NEW):
                    self.unfinished += 1
                    continue
                try:
                    tile = parse_path(path)
                except Malformed:
                    self.flaws.append(Finding(file=self.prefix + path, meaning="no log has a file of this name; it was put here"))
                    continue
                self._there.setdefault((tile.level, tile.n), []).append(tile)

    def file(self, tile: Tile) -> str:
        """How findings name it."""
        return self.prefix + tile.path

    def _checkpoint(self) -> bytes | None:
        """The published checkpoint, if there is one."""
        try:
            return self._files.checkpoint()
        except TallyError as error:
            self.flaws.append(Finding(file=self.prefix + CHECKPOINT, meaning=error.message))
            return None

    def tiles(self, level: int, n: int) -> list[Tile]:
        """The forms in which a tile or bundle lies there: full, partial, or both; the widest first."""
        return sorted(self._there.get((level, n), ()), key=lambda tile: -tile.width)

    def blocks(self) -> int:
        """How many bundles there are, counted to the last one."""
        return max((n + 1 for level, n in self._there if level == ENTRIES), default=0)

    def get(self, tile: Tile) -> bytes | None:
        """The bytes of a file; None when it cannot be read, which becomes a finding."""
        try:
            return self._files.get(tile)
        except TallyError as error:
            first, last = span(tile)
            self.flaws.append(Finding(file=self.file(tile), entry=first, last=last, meaning=error.message))
            return None

    def leaves(self, n: int) -> dict[int, bytes]:
        """The leaves of the widest form of a bundle, by entry, as far as it can be read."""
        there = self.tiles(ENTRIES, n)
        data = self.get(there[0]) if there else None
        return dict(enumerate(leaves_of(data), n * TILE_WIDTH)) if data is not None else {}

    def check_tile(self, tile: Tile, data: bytes) -> Iterator[Finding]:
        """Every form of a tile of hashes against what it must hold; `data` is of the widest that the log has."""
        for there in self.tiles(tile.level, tile.n):
            if there.width > tile.width:
                continue  # see check_levels
            stored = self.get(there)
            if stored is not None:
                yield from compare(self.file(there), stored, data[: there.hash_bytes], there)

    def check_bundle(self, tile: Tile, expected: bytes, ends: list[int]) -> Iterator[Finding]:
        """Every form of a bundle against the one it must be. `ends`: where each entry of it ends."""
        for there in self.tiles(ENTRIES, tile.n):
            first = there.n * TILE_WIDTH
            if there.width > tile.width:
                continue
            stored = self.get(there)
            whole = expected[: ends[there.width - 1]]
            if stored is None or stored == whole:
                continue
            at = first_difference(stored, whole)
            n = next((n for n, end in enumerate(ends) if at < end), there.width - 1)
            what = (
                f"it has {len(stored)} bytes instead of {len(whole)}"
                if len(stored) != len(whole)
                else "this entry was changed in the bundle"
            )
            yield Finding(file=self.file(there), offset=at, entry=first + min(n, there.width - 1), meaning=what)

    def check_complete(self, size: int) -> Iterator[Finding]:
        """What a log of this size must have published, and has not."""
        for tile in growth(0, size):
            if not any(there.full or there == tile for there in self._there.get((tile.level, tile.n), ())):
                first, last = span(tile) if tile.level >= 0 else (tile.n * TILE_WIDTH, tile.n * TILE_WIDTH + tile.width - 1)
                what = "these entries were" if tile.level == ENTRIES else "this tile was"
                yield Finding(file=self.file(tile), entry=first, last=last, meaning=f"it is missing: {what} published and taken away")

    def check_levels(self, size: int) -> Iterator[Finding]:
        """Tiles and bundles that no tree of this size has."""
        for (level, n), forms in sorted(self._there.items()):
            for tile in forms:
                if n * TILE_WIDTH + tile.width > size >> 8 * max(level, 0):
                    yield Finding(
                        file=self.file(tile), entry=size, meaning="it goes beyond the entries that are there: the last ones were removed"
                    )


def leaves_of(data: bytes) -> tuple[bytes, ...]:
    """The leaves of a bundle, as far as it can be read."""
    leaves: list[bytes] = []
    at = 0
    while at + 2 <= len(data) and len(leaves) < TILE_WIDTH:
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if stop > len(data):
            break
        leaves.append(data[at + 2 : stop])
        at = stop
    return tuple(leaves)
