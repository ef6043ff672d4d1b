"""Others read what a house publishes: the Go team's checksum-database code and aics-tlog agree on every hash, entry and proof."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.tlog.note import SignatureType, VerifierKey
from tests.node.foreign import run
from tests.support import missing, require

GOPATH: Final = Path("/usr/share/gocode")
SIZES: Final = (1, 2, 3, 200, 255, 256, 257, 511, 512, 513, 700, 1100)


@dataclass(frozen=True)
class Published:
    """A real house's `tiles/`, its log's key, and every checkpoint that it has signed."""

    folder: Path
    vkey: str
    older: tuple[Path, ...]
    size: int


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    """Entries of every length that a group brings, published at many sizes."""
    root = tmp_path_factory.mktemp("published")
    house, _ = Machine.create(load({"name": "attic"}, home=root / "attic", env={}), Role.HOUSE)
    publisher = Publisher(house)
    older = []
    for size in SIZES:
        while lacking := size - house.store.size():
            events = (Event.of(Kind.STOPPED, n * 10**9, what="ordered", ext={"n": bytes(n % 512 + 1)}) for n in range(min(lacking, 200)))
            house.store.append(*events).result()
        path = root / f"{size}.checkpoint"
        path.write_bytes(publisher.publish().note)
        older.append(path)
    vkey = str(VerifierKey(name=house.log_name, type=SignatureType.ED25519, public=house.vault.log.ed25519.public.raw))
    house.close()
    yield Published(house.home.tiles, vkey, tuple(older), SIZES[-1])


# --- Go -----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def go_verify(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/tlog/go/verify.go, built in GOPATH mode: no module is fetched."""
    go = require("go")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        missing("Go packages not found: golang.org/x/mod (Debian: golang-golang-x-mod-dev)")
    folder = tmp_path_factory.mktemp("go")
    environment = {
        "PATH": os.environ["PATH"],
        "GO111MODULE": "off",
        "GOPATH": str(GOPATH),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "",
        "CGO_ENABLED": "0",
        "HOME": str(folder),
    }
    program = folder / "verify"
    source = Path(__file__).parent / "go" / "verify.go"
    subprocess.run([go, "build", "-o", str(program), str(source)], env=environment, check=True, timeout=110)
    return program


def verified(program: Path, log: Published) -> subprocess.CompletedProcess[str]:
    command = [str(program), str(log.folder), log.vkey, *map(str, log.older)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_go_agrees_on_everything(go_verify: Path, published: Published) -> None:
    """The checkpoint's signature, the inclusion of every entry, and consistency from every older signed checkpoint."""
    found = verified(go_verify, published)
    assert (found.returncode, found.stdout) == (0, f"{published.size} entries, {len(SIZES)} older checkpoints\n"), found.stderr


@pytest.mark.parametrize(
    "name", ["checkpoint", "tile/0/001", "tile/entries/002", "tile/1/000.p/4", "tile/0/004.p/76", "tile/entries/004.p/76"]
)
def test_go_finds_a_flipped_bit(go_verify: Path, published: Published, name: str, tmp_path: Path) -> None:
    """In the checkpoint, a tile, a bundle, the right edge: so the judge above is one."""
    copy = tmp_path / "tiles"
    subprocess.run(["cp", "-r", str(published.folder), str(copy)], check=True)
    path = copy / name
    data = bytearray(path.read_bytes())
    data[90 if name == "checkpoint" else len(data) // 3] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    found = verified(go_verify, Published(copy, published.vkey, published.older, published.size))
    assert found.returncode == 1
    assert found.stdout


# --- aics-tlog ----------------------------------------------------------------------------------------------------------------

AUDIT: Final = """
import sys
from pathlib import Path
from aics_tlog import *
folder, vkey, *older = sys.argv[1:]
key = parse_vkey(vkey)


def opened(path):
    found = verify_checkpoint(parse_note(path.read_bytes()), key)
    assert found.ok and found.log_ok, found.error
    return found


point = opened(Path(folder) / "checkpoint")
reader = FileSystemTileReader(Path(folder))
report = audit_tiles(reader, point.size, point.root)
for path in older:
    old = opened(Path(path))
    proof = consistency_proof_from_tiles(reader, old.size, point.size)
    assert verify_consistency(old.size, point.size, old.root, point.root, proof)
for index in (0, 255, 256, point.size - 1):
    proof = inclusion_proof_from_tiles(reader, index, point.size)
    leaf = read_entry(reader, index, point.size)
    assert verify_leaf_inclusion(leaf, index, point.size, proof, point.root)
print(report.size, report.tiles, report.bundles)
"""


def test_aics_tlog_agrees(published: Published) -> None:
    """Its audit of every tile and bundle, and its proofs of inclusion and consistency, made from our tiles."""
    found = run(AUDIT, str(published.folder), published.vkey, *map(str, published.older))
    assert (found.returncode, found.stdout) == (0, "1100 6 5\n"), found.stderr


def test_aics_tlog_finds_a_flipped_bit(published: Published, tmp_path: Path) -> None:
    """In a tile in the middle: so the judge above is one."""
    copy = tmp_path / "tiles"
    subprocess.run(["cp", "-r", str(published.folder), str(copy)], check=True)
    path = copy / "tile/entries/001"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    assert run(AUDIT, str(copy), published.vkey).returncode == 1
