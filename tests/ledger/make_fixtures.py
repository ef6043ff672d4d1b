"""Writes tests/fixtures/ledger once: `python -m tests.ledger.make_fixtures`. It never overwrites: old leaves must stay readable.

NNN-kind.bin is a leaf with every field of its kind, NNN-kind.min.bin one with the fields it must have. log.checkpoint is signed
with Ed25519 and ML-DSA-44 over the tree of the leaves that log.leaves names; log.vkeys says under which keys.
"""

from pathlib import Path

from tallystick.ledger import entry
from tallystick.ledger.append import Tree
from tallystick.ledger.event import Kind
from tallystick.primitives import Ed25519KeyPair, MLDSA44KeyPair, sha256
from tallystick.tlog.checkpoint import Checkpoint
from tallystick.tlog.cosignature import sign_checkpoint
from tallystick.tlog.note import SignatureType, VerifierKey
from tallystick.tlog.tree import leaf_hash
from tests.ledger.samples import full, least
from tests.support import PROJECT

FOLDER = PROJECT / "tests" / "fixtures" / "ledger"
ORIGIN = "tally.test/fixtures"


def keep(path: Path, data: bytes) -> None:
    if not path.exists():
        path.write_bytes(data)


def main() -> None:
    for kind in Kind:
        name = f"{int(kind):03d}-{kind.name.lower().replace('_', '-')}"
        keep(FOLDER / f"{name}.bin", entry.encode(full(kind)))
        keep(FOLDER / f"{name}.min.bin", entry.encode(least(kind)))
    if (FOLDER / "log.checkpoint").exists():
        return
    ed25519, ml_dsa_44 = (
        Ed25519KeyPair.from_private(sha256(b"fixture log ed25519")),
        MLDSA44KeyPair.from_private(sha256(b"fixture log ml-dsa-44")),
    )
    paths = sorted(FOLDER.glob("*.bin"))
    tree = Tree().append([leaf_hash(path.read_bytes()) for path in paths])
    note = sign_checkpoint(
        Checkpoint(origin=ORIGIN, size=tree.size, root=tree.root()),
        ed25519=(ed25519.public, ed25519.sign),
        ml_dsa_44=(ml_dsa_44.public, ml_dsa_44.sign),
        time_s=1_750_000_000,
    )
    keep(FOLDER / "log.checkpoint", note)
    keys = [
        VerifierKey(name=ORIGIN, type=SignatureType.ED25519, public=ed25519.public),
        VerifierKey(name=ORIGIN, type=SignatureType.ML_DSA_44, public=ml_dsa_44.public),
    ]
    keep(FOLDER / "log.vkeys", "".join(f"{key}\n" for key in keys).encode())
    keep(FOLDER / "log.leaves", "".join(f"{path.name}\n" for path in paths).encode())


if __name__ == "__main__":
    main()
