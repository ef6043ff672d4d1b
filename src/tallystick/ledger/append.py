"""Appending: the tree as a value of its size and right edge. A step returns the next tree.

The edge holds the roots of the tree's perfect subtrees, largest first, one for each bit of the size. Appending costs about one
node hash per leaf, whatever the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from tallystick.errors import Malformed
from tallystick.tlog.tree import HASH_BYTES, MAX_SIZE, edge_root, node_hash, parents


@dataclass(frozen=True, slots=True)
class Tree:
    """A ledger's tree: how many leaves, and the edge that is needed to go on."""

    size: int = 0
    edge: tuple[bytes, ...] = ()

    def append(self, leaf_hashes: Sequence[bytes]) -> Self:
        """The tree with more leaves, given their hashes (tlog.tree.leaf_hash), in order."""
        return self.grow(leaf_hashes, MAX_SIZE.bit_length())[0]

    def grow(self, leaf_hashes: Sequence[bytes], level: int) -> tuple[Self, list[bytes]]:
        """`append`, and the roots of the perfect trees of 2**level leaves that it made whole, in order: those of tiles."""
        size = self.size + len(leaf_hashes)
        if size > MAX_SIZE:
            raise AssertionError("a tree has less than 2**63 leaves")
        left, roots, bits = list(self.edge), list[bytes](), self.size
        if len(leaf_hashes) == 1:  # one caller, who waits
            node = leaf_hashes[0]
            while bits & 1 and level:
                node = node_hash(left.pop(), node)
                bits >>= 1
                level -= 1
            if level == 0:
                roots.append(node)
                while bits & 1:
                    node = node_hash(left.pop(), node)
                    bits >>= 1
            return type(self)(size, (*left, node)), roots
        edge, row = list[bytes](), list(leaf_hashes)
        while row:  # the nodes of one level that are new, from the leaves upwards
            if level == 0:
                roots = row[:]
            if bits & 1:
                row.insert(0, left.pop())
            if len(row) & 1:
                edge.append(row.pop())
            row = parents(row)
            bits >>= 1
            level -= 1
        return type(self)(size, (*left, *reversed(edge))), roots

    def root(self) -> bytes:
        """The root, 32 bytes."""
        return edge_root(self.edge)

    def to_bytes(self) -> bytes:
        """The edge, one hash behind the other."""
        return b"".join(self.edge)

    @classmethod
    def from_bytes(cls, size: int, edge: bytes) -> Self:
        """Read what `to_bytes` wrote. Raises: Malformed when the edge does not belong to such a size."""
        if not 0 <= size <= MAX_SIZE or len(edge) != size.bit_count() * HASH_BYTES:
            raise Malformed(f"a tree of {size} leaves has no edge of {len(edge)} bytes")
        return cls(size, tuple(edge[at : at + HASH_BYTES] for at in range(0, len(edge), HASH_BYTES)))
