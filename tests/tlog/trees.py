"""A small log in memory for tests: leaves, every tile of its tree, keys of a log and of witnesses, signed checkpoints."""

from collections.abc import Sequence

from tallystick.errors import Unavailable
from tallystick.primitives import Ed25519KeyPair, MLDSA44KeyPair, sha256
from tallystick.tlog.checkpoint import Checkpoint
from tallystick.tlog.cosignature import cosign, sign_checkpoint, subtree_message, with_time
from tallystick.tlog.note import Signature, SignatureType, VerifierKey, key_id
from tallystick.tlog.tile import TILE_WIDTH, Tile
from tallystick.tlog.tree import leaf_hash, perfect_root, root_of

ORIGIN = "tally.test/log"
LOG = Ed25519KeyPair.from_private(sha256(b"log"))
PQ = MLDSA44KeyPair.from_private(sha256(b"log pq"))
LOG_KEY = VerifierKey(name=ORIGIN, type=SignatureType.ED25519, public=LOG.public)
PQ_KEY = VerifierKey(name=ORIGIN, type=SignatureType.ML_DSA_44, public=PQ.public)
TIME_S = 1_800_000_000


class Tree:
    """A tree over `size` leaves, and how to get each of its tiles."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.leaves = [leaf_hash(b"%d" % n) for n in range(size)]
        self.levels = [self.leaves]
        while len(self.levels[-1]) >= TILE_WIDTH:
            row = self.levels[-1]
            full = len(row) // TILE_WIDTH * TILE_WIDTH
            self.levels.append([perfect_root(row[at : at + TILE_WIDTH]) for at in range(0, full, TILE_WIDTH)])
        self.asked: list[Tile] = []

    def root(self, size: int | None = None) -> bytes:
        return root_of(self.leaves[: self.size if size is None else size])

    def fetch(self, tile: Tile) -> bytes:
        """As a folder of files would: a tile is there when the tree has it."""
        self.asked.append(tile)
        row = self.levels[tile.level] if tile.level < len(self.levels) else []
        hashes = row[tile.n * TILE_WIDTH : tile.n * TILE_WIDTH + tile.width]
        if len(hashes) != tile.width:
            raise Unavailable(f"there is no {tile.path}")
        return b"".join(hashes)


class Witness:
    """A key that cosigns with a time."""

    def __init__(self, name: str, *, pq: bool = False) -> None:
        seed = sha256(name.encode())
        self.name = name
        self._pair: Ed25519KeyPair | MLDSA44KeyPair = MLDSA44KeyPair.from_private(seed) if pq else Ed25519KeyPair.from_private(seed)
        kind = SignatureType.ML_DSA_44 if pq else SignatureType.COSIGNATURE
        self.key = VerifierKey(name=name, type=kind, public=self._pair.public)

    def cosign(self, point: Checkpoint, time_s: int = TIME_S) -> Signature:
        if self.key.type is SignatureType.COSIGNATURE:
            return cosign(point, name=self.name, ed25519=(self._pair.public, self._pair.sign), time_s=time_s)
        message = subtree_message(self.name, time_s, point.origin, 0, point.size, point.root)
        identity = key_id(self.name, self.key.type, self.key.public)
        return Signature(name=self.name, key_id=identity, signature=with_time(time_s, self._pair.sign(message)))


def signed(point: Checkpoint, cosigners: Sequence[Witness] = ()) -> bytes:
    """A checkpoint under both of the log's signatures, and these witnesses'."""
    note = sign_checkpoint(point, ed25519=(LOG.public, LOG.sign), ml_dsa_44=(PQ.public, PQ.sign), time_s=TIME_S)
    return note + "".join(witness.cosign(point).line() for witness in cosigners).encode()
