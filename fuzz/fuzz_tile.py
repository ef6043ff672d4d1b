"""Fuzz the paths of tiles and the tree read from them: Malformed and Unproven, nothing else, and no wrong hash is ever answered.

python fuzz/fuzz_tile.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, Unproven
    from tallystick.tlog.tile import Tile, TileTree, parse_path
    from tallystick.tlog.tree import leaf_hash, perfect_root, root_of

SIZE = 600
LEAVES = [leaf_hash(b"%d" % n) for n in range(SIZE)]
ROOT = root_of(LEAVES)
LEVELS = [LEAVES, [perfect_root(LEAVES[:256]), perfect_root(LEAVES[256:512])]]


def target(data: bytes) -> None:
    """Read the input as a path, alone and behind a level; and as bytes that a source of tiles changes."""
    text = data.decode("utf-8", "replace")
    for path in (text, "tile/0/" + text, "tile/entries/x001/" + text, "tile/1/000.p/" + text):
        with contextlib.suppress(Malformed):
            assert parse_path(path).path == path
    if len(data) < 4:
        return
    at, keep, junk = (data[0] << 8 | data[1]) % 8192, data[2], data[3:]

    def fetch(tile: Tile) -> bytes:
        good = b"".join(LEVELS[tile.level][tile.n * 256 : tile.n * 256 + tile.width])
        return good if (tile.n + tile.level) % 3 == keep % 4 else good[:at] + junk + good[at + len(junk) :]

    with contextlib.suppress(Malformed, Unproven):
        tree = TileTree(SIZE, ROOT, fetch)
        for index in (0, 255, 256, 599):
            assert tree.leaf(index) == LEAVES[index]


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
