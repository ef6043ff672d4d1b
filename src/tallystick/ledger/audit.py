"""An audit: a log recomputed from its leaves, and compared with everything that was ever said about it.

    audit = TreeAudit()
    for leaves in bundles:                      # 256 at a time, in order
        for tile, data in audit.feed(leaves):   # each tile that became full: what its file must hold, byte for byte
            found += compare(file, stored, data, tile)
    found += check_note(file, note, log=..., origin=..., root_at=audit.root_at)

Nothing here raises on bad data: what is wrong becomes a `Finding` that names the file, the byte in it, the entry, and what it means.
What entries mean (their form, signatures, references) is checked by ledger/meaning.py.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import SHA256
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.note import Verifier
from tallystick.tlog.proof import range_hash
from tallystick.tlog.tile import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, tile_at
from tallystick.tlog.tree import EMPTY_ROOT, HASH_BYTES, edge_root, perfect_root, root_of

MAX_FINDINGS: Final = 1_000  # of one file; after them it is enough to know that there are more

_new: Final = SHA256.new


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something that is not as it must be.

    Attributes: file: below what was verified.  offset: of the first wrong byte in it.  row: of a database, its table and key.
        entry, last: the entry it concerns, or the first and last of them.  meaning: one sentence.
    """

    file: str
    meaning: str
    offset: int | None = None
    row: str = ""
    entry: int | None = None
    last: int | None = None

    def __str__(self) -> str:
        where = self.file
        if self.row:
            where += f", {self.row}"
        if self.offset is not None:
            where += f", byte {self.offset}"
        if self.entry is not None:
            where += f", entry {self.entry}" if self.last in (None, self.entry) else f", entries {self.entry} to {self.last}"
        return f"{where}: {self.meaning}"


class TreeAudit:
    """The tree, built again from leaves. Keeps every hash above the leaves of full tiles, and the leaves of the last tile."""

    def __init__(self) -> None:
        self.size = 0
        self._rows: list[list[bytes]] = [[]]  # [level]: the hashes of that level of tiles; level 0 only since the last full tile
        self._leaves: dict[int, bytes] = {}  # full tiles of level 0 that are still at hand
        self.tiles_of: Callable[[int], bytes | None] | None = None

    def feed(self, leaves: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Add leaves, and say which tiles became full. Call it with what completes a tile at a time: it is fastest then."""
        new = _new
        return self.feed_hashes([new(b"\x00" + leaf).digest() for leaf in leaves])

    def feed_hashes(self, hashes: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """The same with the hashes of the leaves."""
        full: list[tuple[Tile, bytes]] = []
        row = self._rows[0]
        row += hashes
        self.size += len(hashes)
        while len(row) >= TILE_WIDTH:
            tile = row[:TILE_WIDTH]
            del row[:TILE_WIDTH]
            self._fill(full, tile)
        return full

    def feed_tile(self, data: bytes, root: bytes) -> list[tuple[Tile, bytes]]:
        """Add a whole tile of level 0 whose hashes and root were computed elsewhere. Only at a multiple of 256."""
        if self._rows[0]:
            raise AssertionError("a whole tile begins where the last one ended")
        full: list[tuple[Tile, bytes]] = []
        self.size += TILE_WIDTH
        self._full(full, 0, self.size // TILE_WIDTH - 1, data, root)
        return full

    def _fill(self, full: list[tuple[Tile, bytes]], tile: list[bytes]) -> None:
        n = (self.size - len(self._rows[0])) // TILE_WIDTH - 1
        self._full(full, 0, n, b"".join(tile), perfect_root(tile))

    def _full(self, full: list[tuple[Tile, bytes]], level: int, n: int, data: bytes, root: bytes) -> None:
        full.append((Tile(level, n), data))
        if level == 0:
            self._leaves[n] = data
            if len(self._leaves) > KEPT_TILES:
                del self._leaves[next(iter(self._leaves))]
        if len(self._rows) == level + 1:
            self._rows.append([])
        row = self._rows[level + 1]
        row.append(root)
        if len(row) % TILE_WIDTH == 0:
            above = row[-TILE_WIDTH:]
            self._full(full, level + 1, len(row) // TILE_WIDTH - 1, b"".join(above), perfect_root(above))

    def partials(self) -> list[tuple[Tile, bytes]]:
        """The incomplete tiles of the tree as it is now: its right edge."""
        found = []
        for level, row in enumerate(self._rows):
            width = len(row) % TILE_WIDTH
            if width:
                count = self.size >> TILE_HEIGHT * level
                found.append((Tile(level, count // TILE_WIDTH, width), b"".join(row[-width:])))
        return found

    def root(self) -> bytes:
        """The root of the tree as it is now."""
        edge: list[bytes] = []
        for row in reversed(self._rows):
            width = len(row) % TILE_WIDTH
            at = len(row) - width
            for bit in range(TILE_HEIGHT - 1, -1, -1):
                if width >> bit & 1:
                    edge.append(perfect_root(row[at : at + (1 << bit)]))
                    at += 1 << bit
        return edge_root(edge)

    def root_at(self, size: int) -> bytes | None:
        """The root of the tree as it was at a size; None when it never was that large or its hashes are no longer at hand."""
        if not 0 <= size <= self.size:
            return None
        if size == self.size:
            return self.root()
        try:
            return range_hash(0, size, self.subtree) if size else EMPTY_ROOT
        except LookupError:
            return None

    def subtree(self, level: int, n: int) -> bytes:
        """The hash over the leaves n * 2**level up to (n + 1) * 2**level, for the provers of tlog/proof.py.

        Raises: LookupError when these leaves were never added or are no longer at hand.
        """
        tiles, inner = divmod(level, TILE_HEIGHT)
        first, count = n << inner, 1 << inner
        if tiles == 0:
            return perfect_root(self._level_0(first, count))
        row = self._rows[tiles] if tiles < len(self._rows) else []
        if first + count > len(row):
            raise LookupError(level, n)
        return perfect_root(row[first : first + count])

    def _level_0(self, first: int, count: int) -> list[bytes]:
        tile, at = divmod(first, TILE_WIDTH)
        here = self.size // TILE_WIDTH
        if tile == here:
            row = self._rows[0][at : at + count]
            if len(row) != count:
                raise LookupError(first)
            return row
        data = self._leaves.get(tile) or (self.tiles_of(tile) if self.tiles_of is not None and tile < here else None)
        if data is None or len(data) != TILE_WIDTH * HASH_BYTES:
            raise LookupError(first)
        hashes = _split(data)
        if tile not in self._leaves and perfect_root(hashes) != self._rows[1][tile]:
            raise LookupError(first)
        return hashes[at : at + count]


KEPT_TILES: Final = 4_096  # full tiles of level 0, 8 KiB each: the last million leaves


def _split(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def first_difference(one: bytes, other: bytes) -> int:
    """The index of the first byte in which two strings differ; the shorter one's length when it begins the other."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def compare(file: str, stored: bytes | None, expected: bytes, tile: Tile) -> Iterator[Finding]:
    """Compare the file of a tile with what it must hold."""
    first, last = span(tile)
    if stored is None:
        yield Finding(file=file, entry=first, last=last, meaning="this tile is missing; the entries prove what it held")
        return
    if stored == expected:
        return
    at = first_difference(stored, expected)
    if len(stored) != len(expected) and at >= min(len(stored), len(expected)):
        yield Finding(
            file=file, offset=at, entry=first, last=last, meaning=f"this tile has {len(stored)} bytes, it must have {len(expected)}"
        )
        return
    count = 0
    for n in range(tile.width):
        here = slice(n * HASH_BYTES, (n + 1) * HASH_BYTES)
        if stored[here] != expected[here]:
            low, high = span(tile, n)
            what = "the entry hashes otherwise" if tile.level == 0 else "the tiles below hash otherwise"
            offset = n * HASH_BYTES + first_difference(stored[here], expected[here])
            yield Finding(file=file, offset=offset, entry=low, last=high, meaning=f"hash {n} of this tile was changed: {what}")
            count += 1
            if count == MAX_FINDINGS:
                return


def span(tile: Tile, n: int | None = None) -> tuple[int, int]:
    """The first and the last entry under a tile, or under one of its hashes."""
    width = 1 << TILE_HEIGHT * max(tile.level, 0)
    first = tile.n * TILE_WIDTH * width
    if n is None:
        return first, first + tile.width * width - 1
    return first + n * width, first + (n + 1) * width - 1


def check_leaves(file: str, leaves: Sequence[bytes], hashes: Sequence[bytes], first: int, offsets: Sequence[int]) -> Iterator[Finding]:
    """Leaves against the hashes that a tile proven otherwise has for them."""
    for n, (leaf, expected) in enumerate(zip(leaves, hashes, strict=False)):
        if _new(b"\x00" + leaf).digest() != expected:
            yield Finding(
                file=file, offset=offsets[n], entry=first + n, meaning="this entry was changed: it does not hash to its leaf in the tree"
            )


def check_note(
    file: str,
    note: bytes,
    *,
    log: Sequence[Verifier],
    witnesses: Sequence[Verifier] = (),
    origin: str,
    root_at: Callable[[int], bytes | None],
    size: int,
    row: str = "",
) -> tuple[Checkpoint | None, list[Finding]]:
    """A signed checkpoint: its form, its log, every signature of the log's keys and of known witnesses, and its root.

    Args: root_at: the root at a size, recomputed.  size: how many entries there are.
    Returns: the checkpoint when all of it holds, and what does not.
    """

    def wrong(meaning: str, entry: int | None = None, last: int | None = None) -> tuple[None, list[Finding]]:
        return None, [Finding(file=file, row=row, entry=entry, last=last, meaning=meaning)]

    try:
        checkpoint, unproven = read_checkpoint(note)
    except Malformed as error:
        return wrong(f"this checkpoint is damaged: {error.message}")
    if unproven.to_bytes() != note:
        return wrong("this checkpoint is not in its one form")
    if checkpoint.origin != origin:
        return wrong(f"this checkpoint is of another log: {checkpoint.origin[:80]}")
    try:
        proven = unproven.verify(list({verifier.key: verifier for verifier in [*log, *witnesses]}.values()))
    except Unproven as error:
        return wrong(f"this checkpoint of {checkpoint.size} entries is not what was signed: {error.message}")
    except Misuse:
        return wrong("two keys are named that nobody can tell apart by a line of this checkpoint: they share their name and id")
    missing = [verifier.key for verifier in log if proven.by(verifier.key) is None]
    if missing:
        return wrong(f"this checkpoint lacks the log's signature of type {int(missing[0].type):#04x}")
    if len({(line.name, line.key_id) for line in unproven.signatures}) != len(unproven.signatures):
        return wrong("this checkpoint has two lines of one key")
    if checkpoint.size > size:
        return wrong(
            f"{checkpoint.size} entries were signed, and {size} are there: the last ones were removed", entry=size, last=checkpoint.size - 1
        )
    root = root_at(checkpoint.size)
    if root is not None and root != checkpoint.root:
        return wrong(
            f"the {checkpoint.size} entries that are there are not those that were signed", entry=0, last=max(checkpoint.size - 1, 0)
        )
    return checkpoint, []


def bundle_offsets(leaves: Sequence[bytes]) -> list[int]:
    """Where each leaf of a bundle begins."""
    at, offsets = 2, []
    for leaf in leaves:
        offsets.append(at)
        at += len(leaf) + 2
    return offsets


def entry_tile(size: int, n: int) -> Tile:
    """The bundle `n` of a log of this size."""
    return tile_at(size, ENTRIES, n)


__all__ = [
    "Finding",
    "TreeAudit",
    "bundle_offsets",
    "check_leaves",
    "check_note",
    "compare",
    "entry_tile",
    "first_difference",
    "root_of",
    "span",
]
