"""Proofs of inclusion and of consistency: made from the hashes of perfect subtrees, checked with nothing but the roots.

Making a proof needs `subtree(level, n)`, the hash over the leaves n * 2**level up to (n + 1) * 2**level: whoever has tiles
answers from them. Checking follows RFC 9162 2.1.3.2 and 2.1.4.2, and for subtrees draft-ietf-plants-merkle-tree-certs 4.
A proof has at most 63 hashes (C2SP tlog-witness), inclusion likewise.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.tlog.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, NODE, check_hash, node_hash

MAX_HASHES: Final = 63
Subtree = Callable[[int, int], bytes]


def inclusion_proof(index: int, size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """The proof that leaf `index` is in the tree of `size` leaves (RFC 9162 2.1.3.1). Raises: Misuse when it cannot be."""
    if not 0 <= index < size <= MAX_SIZE:
        raise Misuse(f"there is no leaf {index} in a tree of {size}")
    low, high = 0, size
    path: list[bytes] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            path.append(range_hash(middle, high, subtree))
            high = middle
        else:
            path.append(range_hash(low, middle, subtree))
            low = middle
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, subtree: Subtree) -> tuple[bytes, ...]:
    """The proof that the tree of `new` leaves begins with the tree of `old` (RFC 9162 2.1.4.1). Raises: Misuse when old > new or 0."""
    if not 0 < old <= new <= MAX_SIZE:
        raise Misuse(f"a tree of {new} leaves does not continue one of {old}")
    low, high, whole = 0, new, True
    path: list[bytes] = []
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            path.append(range_hash(middle, high, subtree))
            high = middle
        else:
            path.append(range_hash(low, middle, subtree))
            low, whole = middle, False
    if not whole:
        path.append(range_hash(low, high, subtree))
    return tuple(reversed(path))


def range_hash(low: int, high: int, subtree: Subtree) -> bytes:
    """The hash over the leaves `low` to `high`, a node of some tree: perfect subtrees, folded from the right."""
    parts: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(subtree(level, low >> level))
        low += 1 << level
    root = parts.pop()
    while parts:
        root = node_hash(parts.pop(), root)
    return root


def verify_inclusion(*, index: int, size: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the leaf with hash `leaf` stands at `index` in the tree with this size and root.

    Raises: Malformed when index, size or the number or length of the hashes cannot be, Unproven when the proof fails.
    Source: RFC 9162 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise Malformed(f"there is no leaf {index} in a tree of {size}")
    # Below `inner` the path has a sibling at every level; above, only where the index has a bit.
    inner = (index ^ (size - 1)).bit_length()
    if len(proof) != inner + (index >> inner).bit_count():
        raise Malformed("the inclusion proof has a wrong number of hashes")
    found, copy = check_hash(leaf), NODE.copy
    lefts = index | -1 << inner  # bit by bit: does the sibling stand on the left?
    for sibling in proof:
        if len(sibling) != HASH_BYTES:
            check_hash(sibling)
        # tlog.tree.node_hash, without its call: whoever checks a ledger comes here for each entry.
        node = copy()
        node.update(sibling + found if lefts & 1 else found + sibling)
        found = node.digest()
        lefts >>= 1
    if found != root:
        raise Unproven("the inclusion proof does not lead to the root")


def verify_consistency(*, old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new` leaves begins with the tree of `old`.

    Raises: Malformed when the sizes or the number or length of the hashes cannot be, or `old` is 0 (which needs no proof and
    proves nothing), Unproven when the proof fails.
    Source: RFC 9162 2.1.4.2.
    """
    if not 0 < old <= new <= MAX_SIZE:
        raise Malformed(f"there is no consistency proof from {old} to {new} leaves")
    if old == new:
        if proof:
            raise Malformed("between equal sizes the proof is empty")
        if old_root != new_root:
            raise Unproven("one size, two roots")
        return
    verify_subtree_consistency(start=0, end=old, size=new, subtree_root=old_root, root=new_root, proof=proof)


def verify_subtree_inclusion(*, index: int, start: int, end: int, leaf: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a leaf stands at `index` in the subtree of the leaves `start` to `end`, which has this root.

    Raises: Malformed, Unproven as `verify_inclusion`.  Source: draft-ietf-plants-merkle-tree-certs 4.3.
    """
    _check_subtree(start, end)
    if index < start:
        raise Malformed(f"leaf {index} lies before the subtree")
    verify_inclusion(index=index - start, size=end - start, leaf=leaf, root=root, proof=proof)


def verify_subtree_consistency(*, start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree of `size` leaves holds the subtree of the leaves `start` to `end`.

    Raises: Malformed, Unproven as `verify_consistency`.  Source: draft-ietf-plants-merkle-tree-certs 4.4.
    """
    if start == end <= size and not proof and subtree_root == EMPTY_ROOT:
        return  # nothing is in every tree
    _check_subtree(start, end)
    if not end <= size <= MAX_SIZE:
        raise Malformed(f"the subtree up to {end} lies outside a tree of {size}")
    if len(proof) > MAX_HASHES:
        raise Malformed("the consistency proof has too many hashes")
    first, last, top = start, end - 1, size - 1
    while first != last and (last == top or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    hashes = list(proof)
    if first == last:
        # The subtree is a node of the tree; skip to where it first has a sibling.
        small = large = subtree_root
    else:
        if not hashes:
            raise Malformed("the consistency proof is too short")
        small = large = check_hash(hashes.pop(0))
    for sibling in hashes:
        check_hash(sibling)
        if top == 0:
            raise Malformed("the consistency proof is too long")
        if last & 1 or last == top:
            if first < last:
                small = node_hash(sibling, small)
            large = node_hash(sibling, large)
            while not last & 1:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            large = node_hash(large, sibling)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top != 0:
        raise Malformed("the consistency proof is too short")
    if small != subtree_root or large != root:
        raise Unproven("the consistency proof does not lead to both roots")


def _check_subtree(start: int, end: int) -> None:
    """A subtree is valid when `start` is a multiple of the smallest power of two that is not below its width."""
    if not 0 <= start < end <= MAX_SIZE or start & ((1 << (end - start - 1).bit_length()) - 1):
        raise Malformed(f"the leaves {start} to {end} are no subtree")


def _split(width: int) -> int:
    """The largest power of two below `width`."""
    return 1 << (width - 1).bit_length() - 1
