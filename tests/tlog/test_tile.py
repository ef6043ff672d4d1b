"""Tiles: one path for each coordinate, the files of a growth are those of the tree, and proofs come from tiles that nobody trusts."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, TallyError, Unavailable, Unproven
from tallystick.tlog.proof import consistency_proof, inclusion_proof, verify_consistency, verify_inclusion
from tallystick.tlog.tile import (
    CACHED_TILES,
    ENTRIES,
    MAX_LEVEL,
    TILE_WIDTH,
    Fetch,
    Tile,
    TileTree,
    check_entries,
    check_tile,
    count_at,
    edge_tiles,
    growth,
    hashes_of,
    parse_path,
    tile_at,
)
from tallystick.tlog.tree import EMPTY_ROOT, MAX_SIZE, leaf_hash
from tests.tlog.trees import Tree

TREE = Tree(70_000)  # the specification's example


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1_234_067), "tile/0/x001/x234/067"),  # the specification's example
        (Tile(0, 0), "tile/0/000"),
        (Tile(0, 0, 1), "tile/0/000.p/1"),
        (Tile(1, 999, 255), "tile/1/999.p/255"),
        (Tile(2, 1_000), "tile/2/x001/000"),
        (Tile(ENTRIES, 5, 17), "tile/entries/005.p/17"),
        (Tile(MAX_LEVEL, 0, 127), "tile/7/000.p/127"),
        (Tile(0, (MAX_SIZE >> 8) - 1), "tile/0/x036/x028/x797/x018/x963/966"),
    ],
)
def test_a_coordinate_has_its_path(tile: Tile, path: str) -> None:
    """Numbers stand in groups of three digits, each but the last behind an x; a partial tile says how wide it is."""
    assert tile.path == path
    assert parse_path(path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/001",  # a leading group of nothing
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/X001/002",
        "tile/00/001",
        "tile/8/000",  # no tree below 2**63 entries has it
        "tile/63/000",
        "tile/-1/000",
        "tile/+0/000",
        "tile/Entries/000",
        "tile/entries/",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/00",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/+1",
        "tile/0/000.p/1/",
        "tile/0/000/",
        "tile/0/000\n",
        "/tile/0/000",
        "tile//0/000",
        "tile/0/٠٠١",  # Arabic digits
        "tile/0/000.p/٣",
        "tile/0/0_0",
        "tile/0/../000",
        "tile/0/x" + "999/x" * 6 + "999",  # beyond 2**63
        "tile/0/x036/x028/x797/x018/x963/968",  # the first tile that no tree has
        "tile/7/000",  # 256 hashes of level 7 would be 2**64 entries
        "tile/7/000.p/128",
        "tile/6/128",
        "tile/0/" + "x001/" * 20 + "001",
        "tile/0/000.p/5.p/5",
    ],
)
def test_what_is_no_path_of_a_tile_is_malformed(path: str) -> None:
    """Other digits, groups, levels and widths, and whatever no tree can have."""
    with pytest.raises(Malformed):
        parse_path(path)


tiles = st.builds(
    lambda level, n, width: (level, n % max(1, count_at(MAX_SIZE, level) // TILE_WIDTH), width),
    st.integers(ENTRIES, MAX_LEVEL - 1),
    st.integers(0, MAX_SIZE),
    st.integers(1, TILE_WIDTH),
)


@given(tiles)
def test_every_coordinate_is_read_from_its_path(coordinate: tuple[int, int, int]) -> None:
    """Whatever the level, number and width."""
    tile = Tile(*coordinate)
    assert parse_path(tile.path) == tile
    assert tile.whole.full
    assert tile.first <= MAX_SIZE


@given(st.text(alphabet="tile/entrsx.p0123456789", max_size=40) | st.text(max_size=40))
def test_any_text_is_the_path_of_one_tile_or_malformed(text: str) -> None:
    """What is read is written as it was."""
    for path in (text, "tile/0/" + text, "tile/entries/x001/" + text):
        try:
            tile = parse_path(path)
        except Malformed:
            continue
        assert tile.path == path


@pytest.mark.parametrize(
    ("level", "n", "width"), [(-2, 0, 1), (8, 0, 1), (0, -1, 1), (0, 0, 0), (0, 0, 257), (7, 0, 128), (0, MAX_SIZE, 1), (6, 128, 1)]
)
def test_a_tile_that_no_tree_has_is_misuse(level: int, n: int, width: int) -> None:
    """Levels, numbers and widths outside of what 2**63 - 1 entries need."""
    with pytest.raises(Misuse):
        Tile(level, n, width)


def naive(size: int) -> set[Tile]:
    """Every file of a tree, by the specification's words."""
    found = set()
    for level in range(ENTRIES, 4):
        count = size // 256 ** max(level, 0)
        found |= {Tile(level, n) for n in range(count // 256)}
        if count % 256:
            found.add(Tile(level, count // 256, count % 256))
    return found


@settings(max_examples=60)
@given(st.lists(st.sampled_from([0, 1, 2, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000, 131_072]), min_size=2, max_size=2))
def test_a_growth_makes_what_the_larger_tree_has_and_the_smaller_had_not(sizes: list[int]) -> None:
    """Nothing is missing, nothing is made twice, nothing is made that was there; entries come first, then the levels from below."""
    old, new = sorted(sizes)
    made = list(growth(old, new))
    assert len(set(made)) == len(made)
    assert set(made) == naive(new) - naive(old)
    assert made == sorted(made)


def test_the_tree_of_the_specification() -> None:
    """70,000 entries: 273 full tiles and one of 112 at level 0, one full and one of 17 at level 1, one of 1 at level 2."""
    made = list(growth(0, 70_000))
    hashes = [tile for tile in made if tile.level >= 0]
    assert [sum(tile.level == level and tile.full for tile in hashes) for level in range(3)] == [273, 1, 0]
    assert [tile for tile in hashes if not tile.full] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert edge_tiles(70_000) == (Tile(2, 0, 1), Tile(1, 1, 17), Tile(0, 273, 112))
    assert list(growth(0, 256)) == [Tile(ENTRIES, 0), Tile(0, 0), Tile(1, 0, 1)]
    assert list(growth(70_000, 70_000)) == []
    with pytest.raises(Misuse):
        list(growth(2, 1))
    assert sum(1 for _ in growth(MAX_SIZE - 300, MAX_SIZE)) < 30


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 300, 512, 65_535, 65_536, 65_537, 70_000])
def test_proofs_come_from_tiles_alone(size: int) -> None:
    """Inclusion of leaves and consistency from older sizes, made from tiles, hold under the roots; tiles are fetched once."""
    tree = TileTree(size, TREE.root(size), Tree(size).fetch if size < 1000 else _cut(size))
    for index in {0, 1, size // 2, size - 1} & set(range(size)):
        assert tree.leaf(index) == TREE.leaves[index]
        verify_inclusion(index=index, size=size, leaf=TREE.leaves[index], root=tree.root, proof=inclusion_proof(index, size, tree.subtree))
    for old in {1, 2, 255, 256, size // 2, size - 1, size} & set(range(1, size + 1)):
        proof = consistency_proof(old, size, tree.subtree)
        verify_consistency(old=old, new=size, old_root=TREE.root(old), new_root=tree.root, proof=proof)


def _cut(size: int) -> Fetch:
    """The large tree's tiles, as they were at a smaller size."""

    def fetch(tile: Tile) -> bytes:
        assert tile == tile_at(size, tile.level, tile.n)
        return TREE.fetch(tile)

    return fetch


def test_an_empty_tree_has_no_tiles() -> None:
    """Its root is that of nothing; every question is misuse."""
    tree = TileTree(0, EMPTY_ROOT, TREE.fetch)
    for ask in (lambda: tree.leaf(0), lambda: tree.subtree(0, 0), lambda: tree.hashes(0, 0)):
        with pytest.raises(Misuse):
            ask()
    with pytest.raises(Unproven):
        TileTree(0, bytes(32), TREE.fetch)


def test_what_a_tree_has_not_is_misuse() -> None:
    """Leaves, nodes and tiles beyond it; negative ones too."""
    tree = TileTree(300, TREE.root(300), Tree(300).fetch)
    for ask in (
        lambda: tree.leaf(300),
        lambda: tree.leaf(-1),
        lambda: tree.subtree(2, 75),
        lambda: tree.subtree(9, 0),
        lambda: tree.subtree(0, 300),
        lambda: tree.hashes(0, 2),
        lambda: tree.hashes(2, 0),
    ):
        with pytest.raises(Misuse):
            ask()
    with pytest.raises(Misuse):
        TileTree(-1, bytes(32), TREE.fetch)


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 8191, 4000])
def test_a_flipped_bit_in_any_tile_is_unproven(level: int, place: int) -> None:
    """In the right edge when the tree is opened, in a full tile when it is read; never is a wrong hash answered."""
    size = 70_000
    bad = {0: Tile(0, 100), 1: Tile(1, 0), 2: Tile(2, 0, 1)}[level]

    def fetch(tile: Tile) -> bytes:
        data = TREE.fetch(tile)
        if tile != bad:
            return data
        at = place % len(data)
        return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]

    if level == 2:
        with pytest.raises(Unproven):
            TileTree(size, TREE.root(), fetch)
        return
    tree = TileTree(size, TREE.root(), fetch)
    with pytest.raises(Unproven, match=re.escape(bad.path)):
        tree.leaf(100 * 256)
    with pytest.raises(Unproven):
        inclusion_proof(100 * 256, size, tree.subtree)


def test_swapped_and_shortened_tiles_are_found() -> None:
    """A tile in another's place is unproven; one of another length is malformed; a missing one is what the reading says."""
    swap = {Tile(0, 7): Tile(0, 8)}
    tree = TileTree(70_000, TREE.root(), lambda tile: TREE.fetch(swap.get(tile, tile)))
    with pytest.raises(Unproven):
        tree.leaf(7 * 256)
    for length in (0, 31, 8191, 8193, 8224):

        def other(tile: Tile, length: int = length) -> bytes:
            return (TREE.fetch(tile) * 2)[:length] if tile.full else TREE.fetch(tile)

        tree = TileTree(70_000, TREE.root(), other)
        with pytest.raises(Malformed):
            tree.leaf(0)
    with pytest.raises(Unproven):
        TileTree(70_000, TREE.root(69_999), TREE.fetch)
    with pytest.raises(Unavailable):
        TileTree(70_001, TREE.root(), TREE.fetch)


def test_tiles_are_kept_and_not_without_end() -> None:
    """A second question fetches nothing; what is kept is bounded."""
    tree_files = Tree(70_000)
    tree = TileTree(70_000, TREE.root(), tree_files.fetch)
    for _ in range(2):
        tree.leaf(0)
    assert len(tree_files.asked) == len(set(tree_files.asked))
    for n in range(0, 70_000, 256):
        tree.leaf(n)
    assert len(tree._cache) <= CACHED_TILES


def test_a_tile_is_checked_against_the_level_above() -> None:
    """The right parent holds, another does not, a partial tile has none."""
    hashes = hashes_of(Tile(0, 3), TREE.fetch(Tile(0, 3)))
    check_tile(Tile(0, 3), hashes, TREE.levels[1][3])
    with pytest.raises(Unproven):
        check_tile(Tile(0, 3), hashes, TREE.levels[1][4])
    for tile in (Tile(0, 3, 255), Tile(0, 3)):
        with pytest.raises(Misuse):
            check_tile(tile, hashes[:255], TREE.levels[1][3])
    with pytest.raises(Misuse):
        hashes_of(Tile(ENTRIES, 0), b"")


def test_entries_are_checked_against_their_hashes() -> None:
    """The first that differs is named by its index; another number of them is malformed."""
    entries = [b"%d" % n for n in range(4)]
    hashes = [leaf_hash(entry) for entry in entries]
    check_entries(entries, hashes, 0)
    with pytest.raises(Unproven, match="entry 258 "):
        check_entries([*entries[:2], b"x", entries[3]], hashes, 256)
    with pytest.raises(Malformed):
        check_entries(entries[:3], hashes, 0)


@given(st.binary(max_size=600), st.integers(1, 600))
def test_any_bytes_for_tiles_raise_declared_errors_only(data: bytes, size: int) -> None:
    """A hostile source of tiles makes a tree refuse, whatever it sends."""
    try:
        tree = TileTree(size, TREE.root(size), lambda tile: data[: tile.hash_bytes])
        inclusion_proof(0, size, tree.subtree)
    except TallyError:
        return
    raise AssertionError("a tree of junk was believed")
