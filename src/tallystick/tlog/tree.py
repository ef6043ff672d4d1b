"""The Merkle tree of RFC 6962 2.1: how leaves become one hash.

    leaf  SHA-256(0x00 || leaf)        node  SHA-256(0x01 || left || right)        no leaves at all  SHA-256("")

A tree of n leaves splits at the largest power of two below n. Hence it is a row of perfect trees, largest first, one for
each bit of n: its *edge*. The edge and the size are all that is needed to append (ledger/append.py) and to find the root.
"""

from collections.abc import Sequence
from typing import Final

from tallystick.errors import Malformed
from tallystick.primitives import SHA256, sha256

HASH_BYTES: Final = 32
MAX_SIZE: Final = 2**63 - 1  # what an SQLite integer holds; C2SP tlog-cosignature wants sizes below 2**63 as well
EMPTY_ROOT: Final = sha256()

_new: Final = SHA256.new
NODE: Final = _new(b"\x01")
"""Where the hash of every inner node begins: to copy a state costs OpenSSL less than to make one."""


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of a leaf, 32 bytes."""
    return _new(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node, 32 bytes."""
    return _new(b"\x01" + left + right).digest()


def edge_root(edge: Sequence[bytes]) -> bytes:
    """The root of a tree from its edge: the roots of its perfect trees, largest first."""
    if not edge:
        return EMPTY_ROOT
    root = edge[-1]
    for left in reversed(edge[:-1]):
        root = node_hash(left, root)
    return root


def parents(row: Sequence[bytes]) -> list[bytes]:
    """The nodes above a level of an even number of nodes."""
    copy, found = NODE.copy, list[bytes]()
    each = iter(row)
    for left, right in zip(each, each, strict=True):
        node = copy()
        node.update(left + right)
        found.append(node.digest())
    return found


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2**k hashes of one level. Raises: AssertionError when their number is no power of two."""
    if not hashes or len(hashes) & (len(hashes) - 1):
        raise AssertionError("a perfect tree has a power of two of leaves")
    row: Sequence[bytes] = hashes
    while len(row) > 1:
        row = parents(row)
    return row[0]


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over any number of leaf hashes."""
    edge: list[bytes] = []
    start = 0
    for bit in reversed(range(len(hashes).bit_length())):
        if len(hashes) >> bit & 1:
            edge.append(perfect_root(hashes[start : start + (1 << bit)]))
            start += 1 << bit
    return edge_root(edge)


def check_hash(value: bytes) -> bytes:
    """A hash that came from outside. Raises: Malformed when it is not 32 bytes."""
    if len(value) != HASH_BYTES:
        raise Malformed(f"a hash has {HASH_BYTES} bytes, not {len(value)}")
    return value
