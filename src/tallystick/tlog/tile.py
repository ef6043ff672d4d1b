"""Tiles (C2SP tlog-tiles v0.1.0): the hashes of a tree in files of 256, so that whoever has files can prove and check.

    tile/0/x001/234.p/5         level 0, number 1234, the first 5 hashes of it
    tile/entries/x001/234       the entries under tile 1234 of level 0 (tlog/bundle.py)

Hash i of tile n at level l is the hash over the leaves (n * 256 + i) * 256**l up to (n * 256 + i + 1) * 256**l. Only full tiles have
a hash in the level above; the partial tiles of all levels together are the tree's right edge. A number is written in groups of three
digits, each but the last behind an `x`. One coordinate has one path, and no path names a tile that no tree can have.

`TileTree` answers from tiles alone what the provers of tlog/proof.py ask, and trusts none: the right edge must hash to the root, every
other tile to its hash in the tile above.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.canonical import decimal
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.tlog.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, edge_root, leaf_hash, perfect_root

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8  # levels of the tree in one level of tiles
ENTRIES: Final = -1  # the level of entry bundles
MAX_LEVEL: Final = 7  # the specification ends at 63; a tree below 2**63 leaves has no hash above level 7
MAX_PATH: Final = 64
CACHED_TILES: Final = 64

_PATH: Final = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?\Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """Where a tile stands. `level`: 0 to 7, or ENTRIES.  `n`: its number in the level.  `width`: how many of its 256 there are."""

    level: int
    n: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        """Raises: Misuse: no tree has such a tile."""
        if not (ENTRIES <= self.level <= MAX_LEVEL and 0 <= self.n <= MAX_SIZE and 1 <= self.width <= TILE_WIDTH and self._fits()):
            raise Misuse(f"no tree has the tile {self.level}/{self.n}/{self.width}")

    def _fits(self) -> bool:
        return self.n * TILE_WIDTH + self.width <= count_at(MAX_SIZE, self.level)

    @property
    def full(self) -> bool:
        """Whether it has all of its 256, and so will never change."""
        return self.width == TILE_WIDTH

    @property
    def whole(self) -> "Tile":
        """The same tile when it is full. Raises: Misuse when no tree can fill it."""
        return Tile(self.level, self.n)

    @property
    def first(self) -> int:
        """The first leaf under it."""
        return self.n * TILE_WIDTH << TILE_HEIGHT * max(self.level, 0)

    @property
    def hash_bytes(self) -> int:
        """The length of its file, if it is one of hashes."""
        return self.width * HASH_BYTES

    @property
    def path(self) -> str:
        """Its path below the log's prefix."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        number, groups = self.n, []
        while True:
            number, rest = divmod(number, 1000)
            groups.append(f"{rest:03d}")
            if not number:
                break
        name = "".join(f"x{group}/" for group in reversed(groups[1:])) + groups[0]
        return f"tile/{level}/{name}" + ("" if self.full else f".p/{self.width}")


def parse_path(path: str) -> Tile:
    """Read a path below the log's prefix. Raises: Malformed for any that `Tile.path` does not write."""
    match = _PATH.match(path) if len(path) <= MAX_PATH else None
    if match is None:
        raise Malformed("not the path of a tile")
    level, groups, partial = match[1], match[2], match[3]
    digits = groups.replace("/", "").replace("x", "")
    try:
        tile = Tile(
            ENTRIES if level == "entries" else decimal(level),
            decimal(digits.lstrip("0") or "0", maximum=MAX_SIZE),
            TILE_WIDTH if partial is None else decimal(partial, maximum=TILE_WIDTH - 1),
        )
    except Misuse as error:
        raise Malformed(error.message) from None
    if tile.path != path:
        raise Malformed("not the one path of a tile")
    return tile


def count_at(size: int, level: int) -> int:
    """How many hashes (or entries) a tree of `size` leaves has at a level of tiles."""
    return size >> TILE_HEIGHT * max(level, 0)


def tile_at(size: int, level: int, n: int) -> Tile:
    """Tile `n` of a level as it is in a tree of `size` leaves. Raises: Misuse when that tree has none."""
    return Tile(level, n, min(TILE_WIDTH, count_at(size, level) - n * TILE_WIDTH))


def growth(old: int, new: int) -> Iterator[Tile]:
    """What a tree of `new` leaves has that one of `old` leaves had not: tiles and bundles, in the order in which to write them.

    Entries first, then the levels from below, each from the left. Raises: Misuse when new < old.
    """
    if not 0 <= old <= new <= MAX_SIZE:
        raise Misuse(f"a tree of {new} leaves does not continue one of {old}")
    for level in range(ENTRIES, MAX_LEVEL + 1):
        have, want = count_at(old, level), count_at(new, level)
        if want == have:
            if level >= 0:
                return  # then nothing changed above either
            continue
        for n in range(have // TILE_WIDTH, -(-want // TILE_WIDTH)):
            yield Tile(level, n, min(TILE_WIDTH, want - n * TILE_WIDTH))


def edge_tiles(size: int) -> tuple[Tile, ...]:
    """The partial tiles of hashes of a tree, the highest level first: its right edge."""
    found = []
    for level in range(MAX_LEVEL, -1, -1):
        n, width = divmod(count_at(size, level), TILE_WIDTH)
        if width:
            found.append(Tile(level, n, width))
    return tuple(found)


def hashes_of(tile: Tile, data: bytes) -> tuple[bytes, ...]:
    """The hashes in a tile's file. Raises: Malformed when its length is not the tile's, Misuse for a bundle."""
    if tile.level == ENTRIES:
        raise Misuse("a bundle holds entries, not hashes")
    if len(data) != tile.hash_bytes:
        raise Malformed(f"{tile.path} has {len(data)} bytes, not {tile.hash_bytes}")
    return tuple(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def check_tile(tile: Tile, hashes: Sequence[bytes], parent: bytes) -> None:
    """Check a full tile against its hash in the level above. Raises: Unproven; Misuse for a partial one, which has none."""
    if not tile.full or len(hashes) != TILE_WIDTH:
        raise Misuse("only a full tile has a hash in the level above")
    if perfect_root(hashes) != parent:
        raise Unproven(f"{tile.path} is not the tile that the level above names")


def check_entries(entries: Sequence[bytes], hashes: Sequence[bytes], first: int) -> None:
    """Check entries against the hashes of level 0. Raises: Unproven, naming the entry; Malformed when their numbers differ."""
    if len(entries) != len(hashes):
        raise Malformed(f"{len(entries)} entries, but {len(hashes)} hashes")
    for at, (entry, expected) in enumerate(zip(entries, hashes, strict=True)):
        if leaf_hash(entry) != expected:
            raise Unproven(f"entry {first + at} is not the one in the tree")


def edge_of(tile: Tile, hashes: Sequence[bytes]) -> list[bytes]:
    """The roots of the perfect trees in a partial tile, largest first."""
    edge, at = [], 0
    for bit in range(TILE_HEIGHT - 1, -1, -1):
        if tile.width >> bit & 1:
            edge.append(perfect_root(hashes[at : at + (1 << bit)]))
            at += 1 << bit
    return edge


Fetch = Callable[[Tile], bytes]


class TileTree:
    """A tree of a known size and root, read from tiles that nobody needs to trust. Not for two threads at once.

    `subtree` is what `inclusion_proof` and `consistency_proof` ask for.
    """

    def __init__(self, size: int, root: bytes, fetch: Fetch) -> None:
        """Read and check the right edge.

        Args: fetch: the file of a tile, exactly as long as the tile says.
        Raises: Malformed, Unproven when the edge does not hash to the root; what `fetch` raises. Misuse: no such size.
        """
        if not 0 <= size <= MAX_SIZE:
            raise Misuse(f"no tree has {size} leaves")
        self.size = size
        self.root = root
        self._fetch = fetch
        self._cache: OrderedDict[Tile, tuple[bytes, ...]] = OrderedDict()
        self._edge: dict[Tile, tuple[bytes, ...]] = {}
        edge: list[bytes] = []
        for tile in edge_tiles(size):
            hashes = hashes_of(tile, fetch(tile))
            self._edge[tile] = hashes
            edge += edge_of(tile, hashes)
        if (edge_root(edge) if edge else EMPTY_ROOT) != root:
            raise Unproven(f"the tiles of the right edge do not lead to the root of {size} entries")

    def hashes(self, level: int, n: int) -> tuple[bytes, ...]:
        """The hashes of a tile, checked. Raises: Misuse: this tree has none; Malformed, Unproven; what the fetching raises."""
        tile = tile_at(self.size, level, n)
        found = self._edge.get(tile) or self._cache.get(tile)
        if found is not None:
            return found
        # From the tile up to one that is known; then down again, each checked by the one above it.
        missing: list[Tile] = []
        while found is None:
            missing.append(tile)
            tile = tile_at(self.size, tile.level + 1, tile.n // TILE_WIDTH)
            found = self._edge.get(tile) or self._cache.get(tile)
        for below in reversed(missing):
            hashes = hashes_of(below, self._fetch(below))
            check_tile(below, hashes, found[below.n % TILE_WIDTH])
            self._cache[below] = found = hashes
        while len(self._cache) > CACHED_TILES:
            self._cache.popitem(last=False)
        return found

    def subtree(self, level: int, n: int) -> bytes:
        """The hash over the leaves n * 2**level up to (n + 1) * 2**level. Raises: as `hashes`."""
        tiles, inner = divmod(level, TILE_HEIGHT)
        first = n << inner
        hashes = self.hashes(tiles, first // TILE_WIDTH)
        at = first % TILE_WIDTH
        if at + (1 << inner) > len(hashes):
            raise Misuse(f"a tree of {self.size} leaves has no node {n} at level {level}")
        return perfect_root(hashes[at : at + (1 << inner)])

    def leaf(self, index: int) -> bytes:
        """The hash of a leaf. Raises: as `hashes`."""
        if not 0 <= index < self.size:
            raise Misuse(f"there is no leaf {index} in a tree of {self.size}")
        return self.hashes(0, index // TILE_WIDTH)[index % TILE_WIDTH]
