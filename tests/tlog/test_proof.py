"""Inclusion and consistency proofs: foreign vectors, good and bad, and our own trees of every small size."""

import binascii
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.ledger.append import Tree
from tallystick.tlog.proof import (
    consistency_proof,
    inclusion_proof,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from tallystick.tlog.tree import EMPTY_ROOT, edge_root, leaf_hash, node_hash, perfect_root, root_of
from tests.support import vectors

LEAVES = [leaf_hash(b"leaf %d" % n) for n in range(70)]


def subtree_of(leaves: list[bytes]) -> Callable[[int, int], bytes]:
    def subtree(level: int, n: int) -> bytes:
        return perfect_root(leaves[n << level : (n + 1) << level])

    return subtree


def cases(kind: str) -> list[tuple[Path, dict[str, Any]]]:
    files = sorted(vectors("tlog", "merkle", "testdata", kind).rglob("*.json"))
    return [(path, json.loads(path.read_text())) for path in files]


def raw(text: str) -> bytes:
    return binascii.a2b_base64(text) if text else b""


def judge(case: dict[str, Any], check: Callable[[], None], path: Path) -> None:
    try:
        check()
    except (Malformed, Unproven):
        assert case["wantErr"], path
    else:
        assert not case["wantErr"], path


def test_foreign_inclusion_vectors() -> None:
    """Every inclusion vector of transparency-dev/merkle is accepted or refused as it says."""
    found = cases("inclusion")
    assert len(found) >= 90
    for path, case in found:
        proof = [raw(item) for item in case["proof"] or []]
        judge(
            case,
            lambda case=case, proof=proof: verify_inclusion(  # type: ignore[misc]
                index=case["leafIdx"], size=case["treeSize"], leaf=raw(case["leafHash"]), root=raw(case["root"]), proof=proof
            ),
            path,
        )


def test_foreign_consistency_vectors() -> None:
    """Every consistency vector is accepted or refused as it says; from nothing there is no proof."""
    found = cases("consistency")
    assert len(found) >= 90
    for path, case in found:
        proof = [raw(item) for item in case["proof"] or []]
        judge(
            case,
            lambda case=case, proof=proof: verify_consistency(  # type: ignore[misc]
                old=case["size1"], new=case["size2"], old_root=raw(case["root1"]), new_root=raw(case["root2"]), proof=proof
            ),
            path,
        )


def test_foreign_subtree_vectors() -> None:
    """Every subtree inclusion and consistency vector is accepted or refused as it says."""
    inclusion, consistency = cases("subtreeinclusion"), cases("subtreeconsistency")
    assert (len(inclusion), len(consistency)) >= (200, 110)
    for path, case in inclusion:
        proof = [raw(item) for item in case["proof"] or []]
        judge(
            case,
            lambda case=case, proof=proof: verify_subtree_inclusion(  # type: ignore[misc]
                index=case["leafIdx"],
                start=case.get("start", 0),
                end=case["end"],
                leaf=raw(case["leafHash"]),
                root=raw(case["root"]),
                proof=proof,
            ),
            path,
        )
    for path, case in consistency:
        proof = [raw(item) for item in case["proof"] or []]
        judge(
            case,
            lambda case=case, proof=proof: verify_subtree_consistency(  # type: ignore[misc]
                start=case.get("start", 0),
                end=case["end"],
                size=case["size"],
                subtree_root=raw(case["root1"]),
                root=raw(case["root2"]),
                proof=proof,
            ),
            path,
        )


def test_every_leaf_of_every_small_tree_is_included() -> None:
    """Whatever we prove we also verify, for each leaf of each tree up to 40 leaves, and for no other leaf or index."""
    subtree = subtree_of(LEAVES)
    for size in range(1, 41):
        root = root_of(LEAVES[:size])
        for index in range(size):
            proof = inclusion_proof(index, size, subtree)
            verify_inclusion(index=index, size=size, leaf=LEAVES[index], root=root, proof=proof)
            with pytest.raises(Unproven):
                verify_inclusion(index=index, size=size, leaf=LEAVES[-1], root=root, proof=proof)
            with pytest.raises(Malformed):
                verify_inclusion(index=index, size=size, leaf=LEAVES[index], root=root, proof=(*proof, root))


def test_every_pair_of_small_trees_is_consistent() -> None:
    """Whatever we prove we also verify, for each pair of sizes up to 40, and not under another old root."""
    subtree = subtree_of(LEAVES)
    roots = [root_of(LEAVES[:size]) for size in range(41)]
    for new in range(1, 41):
        for old in range(1, new + 1):
            proof = consistency_proof(old, new, subtree)
            verify_consistency(old=old, new=new, old_root=roots[old], new_root=roots[new], proof=proof)
            with pytest.raises(Unproven):
                verify_consistency(old=old, new=new, old_root=roots[old - 1], new_root=roots[new], proof=proof)


@given(st.lists(st.integers(min_value=0, max_value=17), max_size=12))
def test_appending_in_any_groups_gives_the_same_tree(groups: list[int]) -> None:
    """However leaves are grouped, size, edge and root are those of RFC 6962, and survive being stored."""
    tree = Tree()
    at = 0
    for count in groups:
        chunk = [LEAVES[n % 70] for n in range(at, at + count)]
        tree = tree.append(chunk)
        at += count
    whole = [LEAVES[n % 70] for n in range(at)]
    assert tree.size == at
    assert tree.root() == root_of(whole) == edge_root(tree.edge)
    assert Tree.from_bytes(tree.size, tree.to_bytes()) == tree


@given(st.lists(st.sampled_from([0, 1, 1, 1, 2, 3, 8, 31]), max_size=30), st.integers(min_value=0, max_value=5))
def test_a_growing_tree_gives_its_tiles_their_roots(groups: list[int], level: int) -> None:
    """Every perfect tree of 2**level leaves, once, in order, from the group that made it whole."""
    tree, roots, at = Tree(), list[bytes](), 0
    for count in groups:
        tree, found = tree.grow([LEAVES[n % 70] for n in range(at, at + count)], level)
        at += count
        roots += found
        assert len(roots) == at >> level
    whole = [LEAVES[n % 70] for n in range(at)]
    assert roots == [perfect_root(whole[n << level : n + 1 << level]) for n in range(at >> level)]
    assert tree.root() == root_of(whole)


def test_known_roots() -> None:
    """The empty tree and a tree of two leaves hash as RFC 6962 2.1 says."""
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Tree().root() == EMPTY_ROOT == root_of([])
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of([leaf_hash(b""), leaf_hash(b"\x00")]) == node_hash(leaf_hash(b""), leaf_hash(b"\x00"))


def test_what_cannot_be_proven_is_misuse_and_what_cannot_be_read_is_malformed() -> None:
    """Impossible indexes and sizes, short hashes and edges of the wrong length are refused."""
    subtree = subtree_of(LEAVES)
    for index, size in ((0, 0), (5, 5), (-1, 3)):
        with pytest.raises(Misuse):
            inclusion_proof(index, size, subtree)
        with pytest.raises(Malformed):
            verify_inclusion(index=index, size=size, leaf=LEAVES[0], root=LEAVES[0], proof=())
    for old, new in ((0, 3), (4, 3), (0, 0)):
        with pytest.raises(Misuse):
            consistency_proof(old, new, subtree)
        with pytest.raises(Malformed):
            verify_consistency(old=old, new=new, old_root=LEAVES[0], new_root=LEAVES[0], proof=())
    with pytest.raises(Malformed):
        verify_inclusion(index=0, size=2, leaf=LEAVES[0], root=LEAVES[0], proof=(b"short",))
    with pytest.raises(Malformed):
        verify_consistency(old=3, new=5, old_root=LEAVES[0], new_root=LEAVES[0], proof=(b"x" * 32,) * 64)
    for size, edge in ((1, b""), (0, b"x" * 32), (3, b"x" * 63), (-1, b"")):
        with pytest.raises(Malformed):
            Tree.from_bytes(size, edge)
    with pytest.raises(AssertionError):
        perfect_root(LEAVES[:3])
