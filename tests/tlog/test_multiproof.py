"""Many leaves, one proof: any selection of any tree leads to its root, and to no other."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse
from tallystick.tlog.multiproof import multiproof, multiproof_root
from tallystick.tlog.proof import inclusion_proof
from tallystick.tlog.tree import leaf_hash, perfect_root, root_of

LEAVES = [leaf_hash(b"%d" % n) for n in range(80)]


def subtree(level: int, n: int) -> bytes:
    return perfect_root(LEAVES[n << level : (n + 1) << level])


@given(size=st.integers(1, 80), data=st.data())
def test_any_selection_leads_to_the_root(size: int, data: st.DataObject) -> None:
    """From none to all of the leaves."""
    chosen = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    proof = multiproof(chosen, size, subtree)
    assert multiproof_root({n: LEAVES[n] for n in chosen}, size, proof) == root_of(LEAVES[:size])


@given(size=st.integers(2, 80), data=st.data())
def test_one_leaf_needs_the_hashes_of_its_inclusion_proof(size: int, data: st.DataObject) -> None:
    """In the order of the tree instead of from the leaf up."""
    index = data.draw(st.integers(0, size - 1))
    assert sorted(multiproof([index], size, subtree)) == sorted(inclusion_proof(index, size, subtree))


def test_other_leaves_other_places_and_other_proofs_fail() -> None:
    """A hash too many or too few is Malformed; anything changed leads elsewhere."""
    chosen = [3, 4, 40, 79]
    proof = multiproof(chosen, 80, subtree)
    leaves, root = {n: LEAVES[n] for n in chosen}, root_of(LEAVES)
    for wrong in (proof[:-1], (*proof, proof[0]), (*proof[:-1], b"short")):
        with pytest.raises(Malformed):
            multiproof_root(leaves, 80, wrong)
    dice = random.Random(1)
    for _ in range(50):
        changed = list(proof)
        changed[dice.randrange(len(changed))] = dice.randbytes(32)
        assert multiproof_root(leaves, 80, changed) != root
        assert multiproof_root(leaves | {dice.choice(chosen): dice.randbytes(32)}, 80, proof) != root
    with pytest.raises(Malformed):
        multiproof_root({80: LEAVES[0]}, 80, ())
    for bad in ([4, 3], [1, 1], [80], [-1]):
        with pytest.raises(Misuse):
            multiproof(bad, 80, subtree)
