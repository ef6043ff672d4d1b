"""Many leaves, one proof: the hashes of all that lies between them, in the order of the tree.

To find the root over the leaves `low` to `high`: where none of them is proven, take the next hash; where it is one leaf, its own hash;
else split at the largest power of two below the width (RFC 6962 2.1) and put the two halves together. All hashes must be used.
For a single leaf these are the hashes of its inclusion proof; for all leaves there are none.
"""

from collections.abc import Iterator, Mapping, Sequence

from tallystick.errors import Malformed, Misuse
from tallystick.tlog.proof import Subtree, range_hash
from tallystick.tlog.tree import EMPTY_ROOT, MAX_SIZE, check_hash, node_hash


def multiproof(indexes: Sequence[int], size: int, subtree: Subtree) -> tuple[bytes, ...]:
    """The proof that these leaves, ascending, are in the tree of `size` leaves. Raises: Misuse when they cannot be."""
    if not 0 <= size <= MAX_SIZE or list(indexes) != sorted(set(indexes)) or (indexes and not 0 <= indexes[0] <= indexes[-1] < size):
        raise Misuse("the leaves of a proof are ascending and in the tree")

    def walk(low: int, high: int, first: int, last: int) -> Iterator[bytes]:
        if first == last:
            yield range_hash(low, high, subtree)
        elif last - first < high - low:  # where every leaf is proven nothing else is needed
            middle = low + (1 << (high - low - 1).bit_length() - 1)
            cut = _at(indexes, middle, first, last)
            yield from walk(low, middle, first, cut)
            yield from walk(middle, high, cut, last)

    return tuple(walk(0, size, 0, len(indexes))) if size else ()


def multiproof_root(leaves: Mapping[int, bytes], size: int, proof: Sequence[bytes]) -> bytes:
    """The root to which these leaf hashes (by index) and this proof lead.

    Raises: Malformed when they cannot be those of a tree of `size` leaves, or a hash is left over.
    """
    indexes = sorted(leaves)
    if not 0 <= size <= MAX_SIZE or (indexes and not 0 <= indexes[0] <= indexes[-1] < size):
        raise Malformed(f"these are no leaves of a tree of {size}")
    rest = iter(proof)

    def walk(low: int, high: int, first: int, last: int) -> bytes:
        if first == last:
            found = next(rest, None)
            if found is None:
                raise Malformed("the proof has too few hashes")
            return check_hash(found)
        if high - low == 1:
            return check_hash(leaves[low])
        middle = low + (1 << (high - low - 1).bit_length() - 1)
        cut = _at(indexes, middle, first, last)
        left = walk(low, middle, first, cut)
        return node_hash(left, walk(middle, high, cut, last))

    root = walk(0, size, 0, len(indexes)) if size else EMPTY_ROOT
    if next(rest, None) is not None:
        raise Malformed("the proof has hashes left over")
    return root


def _at(indexes: Sequence[int], value: int, first: int, last: int) -> int:
    """Where in the ascending `indexes[first:last]` the first one stands that is not below `value`."""
    while first < last:
        middle = (first + last) // 2
        first, last = (middle + 1, last) if indexes[middle] < value else (first, middle)
    return first
