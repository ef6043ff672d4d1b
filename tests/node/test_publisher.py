"""The publisher: tiles before checkpoints, nothing signed that contradicts what was, and whatever fails, the ledger goes on."""

import errno
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Grade
from tallystick.node import publisher as module
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher, published_json, published_size
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.storage.connection import connect
from tallystick.storage.disk import Disk
from tallystick.storage.rows import CheckpointRow
from tallystick.storage.tiles import TileFiles
from tallystick.tlog.bundle import read_bundle
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint, verifier
from tallystick.tlog.note import SignatureType, Verifier, VerifierKey
from tallystick.tlog.tile import TILE_WIDTH, Tile, TileTree, check_entries
from tests.tlog.trees import Witness

NOW = 1_800_000_000 * 10**9
PATIENCE_S = 30.0


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Machine]:
    """A house whose ledger holds its origin."""
    made, _ = Machine.create(load({"name": "attic"}, home=tmp_path / "attic", env={}), Role.HOUSE)
    yield made
    made.close()


def grow(house: Machine, entries: int = 3) -> None:
    """More entries, durable."""
    house.store.append(*(Event.of(Kind.STOPPED, NOW, what="ordered") for _ in range(entries))).result()


def log_keys(house: Machine) -> list[Verifier]:
    keys = house.vault.log
    return [
        verifier(VerifierKey(name=house.log_name, type=kind, public=public))
        for kind, public in ((SignatureType.ED25519, keys.ed25519.public.raw), (SignatureType.ML_DSA_44, keys.ml_dsa_44.public.raw))
    ]


def forged(house: Machine, name: str, size: int, root: bytes) -> bytes:
    """A checkpoint that the house's own keys signed, over whatever they were told."""
    keys = house.vault.log
    return sign_checkpoint(
        Checkpoint(origin=name, size=size, root=root),
        ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
        ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
        time_s=1,
    )


def published(house: Machine) -> Checkpoint:
    """What lies in `tiles/`, checked as a stranger would: signatures, every tile, every entry."""
    files = TileFiles(house.home.tiles)
    note = files.checkpoint()
    assert note is not None
    checkpoint = verify_checkpoint(note, log=log_keys(house), origin=house.log_name).checkpoint
    tree = TileTree(checkpoint.size, checkpoint.root, files.read)
    for n in range(-(-checkpoint.size // TILE_WIDTH)):
        hashes = tree.hashes(0, n)
        data = files.get(Tile(-1, n, len(hashes)))
        assert data is not None
        entries = read_bundle(data, len(hashes))
        check_entries(entries, hashes, n * TILE_WIDTH)
        assert list(entries) == [row.leaf for row in house.store.entries(n * TILE_WIDTH, n * TILE_WIDTH + len(hashes), limit=TILE_WIDTH)]
    return checkpoint


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def placed(house: Machine) -> int:
    return published_size(house.home)


class Counting(Disk):
    """Counts files; fails and waits as it is told."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.error: int | None = None
        self.pass_after = 0
        self.gate = threading.Event()
        self.gate.set()
        self.asked = threading.Event()

    def fdatasync(self, fd: int) -> None:
        self.asked.set()
        self.gate.wait()
        if self.error is not None and not self.pass_after:
            raise OSError(self.error, os.strerror(self.error))
        self.pass_after = max(0, self.pass_after - 1)
        super().fdatasync(fd)

    def replace(self, old: Path, new: Path) -> None:
        self.written.append(new.name)
        super().replace(old, new)


def publisher(house: Machine, disk: Disk | None = None) -> Publisher:
    return Publisher(house, TileFiles(house.home.tiles, disk))


# --- What is published ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1,), (1, 2, 3), (255, 256, 257), (700,), (300, 511, 512, 700)])
def test_what_is_published_is_the_ledger(house: Machine, sizes: tuple[int, ...]) -> None:
    """Checkpoint, tiles and bundles, after each growth; the database keeps the same checkpoint."""
    it = publisher(house)
    for size in sizes:
        if size > house.store.size():
            grow(house, size - house.store.size())
        row = it.publish()
        assert published(house).size == row.size == house.store.size() == size
        assert house.store.latest_checkpoint() == row
        assert published_json(it.state()) == {"published": size, "publication": None}
        assert it.figures() == {"ledger_published": size, "ledger_unpublished": 0, "publication_failing": 0}


def test_nothing_new_writes_nothing(house: Machine) -> None:
    """The same size again: no file, no signature. Another publisher, or another process, goes on where the files are."""
    grow(house, 300)
    first, again, later = Counting(), Counting(), Counting()
    row = publisher(house, first).publish()
    it = publisher(house, again)
    assert it.publish() == row
    assert again.written == []
    grow(house, 1)
    assert it.publish().size == row.size + 1
    assert len(again.written) == 3  # entries, level 0, checkpoint
    it = publisher(house, later)
    it.check()
    it.publish()
    assert later.written == []


@pytest.mark.parametrize("what", ["a tile", "a bundle", "the edge", "the checkpoint", "everything", "a torn file"])
def test_what_is_missing_is_made_again_at_a_start(house: Machine, what: str) -> None:
    """The files are a cache of the database."""
    grow(house, 600)
    publisher(house).publish()
    tiles = house.home.tiles
    match what:
        case "a tile":
            (tiles / Tile(0, 1).path).unlink()
        case "a bundle":
            (tiles / Tile(-1, 0).path).unlink()
        case "the edge":
            shutil.rmtree(tiles / "tile/0/002.p")
            shutil.rmtree(tiles / "tile/1")
        case "the checkpoint":
            (tiles / "checkpoint").unlink()
        case "everything":
            shutil.rmtree(tiles)
        case "a torn file":
            torn = tiles / Tile(0, 0).path
            torn.chmod(0o644)
            torn.write_bytes(torn.read_bytes()[:4096])
    it = publisher(house)
    it.check()
    it.publish()
    assert published(house).size == 601


def test_a_checkpoint_has_its_tiles_before_it_is_signed(house: Machine) -> None:
    """Wherever the disk fails before the last tile is synced, nothing new is signed and nothing new is shown."""
    it = publisher(house)
    before = it.publish()
    for good in range(4):
        grow(house, 300)
        disk = Counting()
        disk.error, disk.pass_after = errno.EIO, good
        failing = publisher(house, disk)
        with pytest.raises(Unavailable):
            failing.newest(fresh=True)
        assert house.store.latest_checkpoint() == before
        assert failing.newest() == before
        assert failing.newest_there_is() == before
        assert failing.show(0).note == before.note
        assert published(house).size == before.size


def test_pairs_are_shown_what_is_signed_and_the_file_follows(house: Machine) -> None:
    """`newest` does not wait for cosignatures; `publish` puts them into the file and the database."""
    witness = Witness("witness.test")
    calls: list[int] = []

    def collect(row: CheckpointRow) -> bytes:
        calls.append(row.size)
        return row.note + witness.cosign(read_checkpoint(row.note)[0]).line().encode()

    it = publisher(house)
    it.collect = collect
    row = it.newest(fresh=True)
    assert placed(house) == 0
    assert calls == []
    it.publish()
    assert calls == [row.size]
    assert published(house).size == row.size
    note = (house.home.tiles / "checkpoint").read_bytes()
    assert note == row.note + witness.cosign(read_checkpoint(row.note)[0]).line().encode()
    latest = house.store.latest_checkpoint()
    assert latest is not None
    assert latest.note == note


def test_without_a_demanded_quorum_nothing_is_published(house: Machine) -> None:
    """Signed and shown to pairs all the same; the next time it may go well."""
    it = publisher(house)
    first = it.publish()
    grow(house)

    def closed(_: CheckpointRow) -> bytes:
        raise Unavailable("no quorum")

    it.collect = closed
    with pytest.raises(Unavailable):
        it.publish()
    assert placed(house) == first.size
    assert it.newest().size == first.size + 3
    assert (it.state().failure, it.state().for_good) == ("no quorum", False)
    it.collect = lambda row: row.note
    it.publish()
    assert placed(house) == first.size + 3
    assert it.state().failure == ""


# --- The thread -------------------------------------------------------------------------------------------------------------------


def test_it_follows_the_ledger(house: Machine) -> None:
    """Woken by each append, and once more when it stops."""
    it = publisher(house)
    it.start()
    try:
        until(lambda: placed(house) == house.store.size())
        for entries in (1, 300, 2):
            grow(house, entries)
            until(lambda: placed(house) == house.store.size())
    finally:
        grow(house, 5)
        it.stop()
    assert published(house).size == house.store.size()
    it.stop()


def test_it_signs_once_a_second_at_most(house: Machine) -> None:
    """However often something is appended; the ledger's checkpoints are counted."""
    it = publisher(house)
    begin = time.monotonic()
    it.start()
    try:
        while time.monotonic() < begin + 1.5:
            grow(house, 1)
    finally:
        it.stop()
    db = connect(house.store.path, write=False)
    signed = db.execute("SELECT count(*) FROM checkpoints").fetchone()
    db.close()
    assert signed is not None
    assert 1 <= signed[0] <= time.monotonic() - begin + 2  # at the start, once a second, and at the end


def test_an_append_does_not_wait_for_it(house: Machine) -> None:
    """While a sync of a tile hangs, entries are recorded and acknowledged, and the last checkpoint is shown, with its proof."""
    disk = Counting()
    it = publisher(house, disk)
    first = it.publish()
    disk.gate.clear()
    disk.asked.clear()
    it.start()
    try:
        grow(house)
        until(disk.asked.is_set)
        for _ in range(5):
            grow(house)
        assert house.store.size() == first.size + 18
        assert placed(house) == first.size
        assert it.newest() == first
        assert it.show(0).note == first.note
    finally:
        disk.gate.set()
        it.stop()
    assert published(house).size == house.store.size()


def test_a_full_disk_is_tried_again(house: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger goes on; the state says why; once there is room everything is published."""
    monkeypatch.setattr(module, "RETRY_S", 0.05)
    disk = Counting()
    it = publisher(house, disk)
    first = it.publish()
    disk.error = errno.ENOSPC
    it.start()
    try:
        grow(house)
        until(lambda: it.state().failure != "")
        assert not it.state().for_good
        assert it.state().lag == 3
        assert it.figures()["publication_failing"] == 1
        assert "No space left" in str(published_json(it.state())["publication"])
        grow(house)
        assert it.newest() == first
        disk.error = None
        until(lambda: placed(house) == house.store.size())
        until(lambda: it.state().failure == "")
    finally:
        it.stop()
    published(house)


@pytest.mark.parametrize("after", [0, 2])  # a tile, the checkpoint
def test_after_another_error_nothing_is_published_until_the_next_start(house: Machine, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Nobody knows what the disk holds: a second sync would say nothing. The ledger goes on."""
    monkeypatch.setattr(module, "RETRY_S", 0.02)
    disk = Counting()
    it = publisher(house, disk)
    first = it.publish()
    disk.error, disk.pass_after = errno.EIO, after
    it.start()
    try:
        grow(house)
        until(lambda: it.state().for_good)
        disk.error = None
        disk.asked.clear()
        for _ in range(3):
            grow(house)
            with pytest.raises(Unavailable):
                it.publish()
            assert it.newest().size == first.size + 3 * (after > 0)
        assert not disk.asked.is_set()  # it was not even tried
    finally:
        it.stop()
    assert house.store.size() == first.size + 12
    assert placed(house) == first.size
    assert publisher(house).publish().size == house.store.size()
    published(house)


def test_many_threads_and_two_publishers(house: Machine) -> None:
    """All that is signed is a prefix of all that is signed later, and one size has one root."""
    makers = [publisher(house), publisher(house)]
    seen: list[CheckpointRow] = []
    errors: list[BaseException] = []

    def work(it: Publisher) -> None:
        try:
            for n in range(6):
                grow(house, 50)
                seen.append(it.publish() if n % 2 else it.newest(fresh=True))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(it,)) for it in makers * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for row in seen:
        assert house.store.root_at(row.size) == row.root
    makers[0].publish()
    assert published(house).size == house.store.size() == 1201


LIFE = """
import sys
from pathlib import Path
from tallystick.ledger.event import Event, Kind
from tallystick.node import publisher as module
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load

module.FRESH_S = 0.005
with Machine.open(load({}, home=Path(sys.argv[1]), env={})) as house:
    it = Publisher(house)
    it.check()
    it.start()
    while True:
        house.store.append(*[Event.of(Kind.STOPPED, 1, what="ordered")] * 37).result()
        print(house.store.size(), flush=True)
"""


def test_a_house_that_is_killed_goes_on_where_its_files_are(house: Machine) -> None:
    """kill -9 while it publishes: nothing half-written is ever read, and the next life publishes everything that was acknowledged."""
    home, dice = house.home.path, random.Random(7)
    house.close()
    acknowledged = 1
    for _ in range(5):
        command = [sys.executable, "-c", LIFE, str(home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": os.pathsep.join(sys.path)}) as life:
            assert life.stdout is not None
            for _ in range(dice.randrange(3, 40)):
                acknowledged = int(life.stdout.readline())
            time.sleep(dice.random() / 20)
            life.kill()
        with Machine.open(load({}, home=home, env={})) as risen:
            reached = 0 if TileFiles(risen.home.tiles).checkpoint() is None else published(risen).size
            it = publisher(risen)
            it.check()
            assert it.publish().size == risen.store.size() >= max(acknowledged, reached)
            assert published(risen).size == risen.store.size()
            assert not list(risen.home.tiles.rglob(".new-*"))


# --- Nothing inconsistent ---------------------------------------------------------------------------------------------------------


def test_a_ledger_that_was_rolled_back_does_not_start(house: Machine, tmp_path: Path) -> None:
    """What it published itself it must continue: with fewer entries, or with others."""
    grow(house, 10)
    row = publisher(house).publish()
    tiles = house.home.tiles
    other, _ = Machine.create(load({"name": "other"}, home=tmp_path / "other", env={}), Role.HOUSE)

    def forge(name: str, size: int, root: bytes) -> None:
        note = forged(house, name, size, root)
        (tiles / "checkpoint").unlink()
        (tiles / "checkpoint").write_bytes(note)

    for size, root in ((row.size + 1, row.root), (row.size, bytes(32)), (5, bytes(32))):
        forge(house.log_name, size, root)
        with pytest.raises(Refused, match="does not continue"):
            publisher(house).check()
        with pytest.raises(Refused, match="does not continue"):
            publisher(house).publish()  # nor is anything made over the evidence
    forge(house.log_name, 5, house.store.root_at(5))
    publisher(house).check()
    # Another log's, one that nobody signed and one that is none prove nothing: replaced.
    for note in (
        publisher(other).newest().note,
        (tiles / "checkpoint").read_bytes().replace(b"\n5\n", b"\n50\n"),
        b"junk",
        b"",
    ):
        (tiles / "checkpoint").unlink(missing_ok=True)
        (tiles / "checkpoint").write_bytes(note)
        it = publisher(house)
        it.check()
        it.publish()
        assert published(house).size == row.size
    other.close()


def test_nothing_is_signed_that_contradicts_what_was(house: Machine) -> None:
    """A root in the database that this ledger never had: refused, and still refused after the ledger grew."""
    grow(house, 10)
    db = connect(house.store.path, write=True)
    db.execute("INSERT INTO checkpoints VALUES (5, ?, 1, ?)", (bytes(32), forged(house, house.log_name, 5, bytes(32))))
    db.close()
    it = publisher(house)
    for _ in range(2):
        with pytest.raises(Refused, match="does not continue"):
            it.newest(fresh=True)
        with pytest.raises(TallyError):
            it.publish()
        grow(house)
    assert not (house.home.tiles / "checkpoint").exists()


def test_a_closed_house_signs_nothing(house: Machine) -> None:
    """It shows the newest that it has; one that never signed has none to show."""
    first = publisher(house).publish()
    house.store.append(Event.of(Kind.CLOSED, NOW, "local", reason="restoring")).result()
    it = publisher(house)
    assert it.newest(fresh=True) == first
    assert it.publish() == first
    assert placed(house) == first.size


# --- Receipts ----------------------------------------------------------------------------------------------------------


def test_a_receipt_becomes_included(house: Machine) -> None:
    """Under a signed checkpoint that covers it; at once, if there is none yet."""
    it = publisher(house)
    it.newest()
    receipt = house.store.append(Event.of(Kind.STOPPED, NOW, what="ordered")).result()[0]
    assert receipt.grade is Grade.RECORDED
    included = it.included(receipt)
    assert (included.grade, included.index, included.leaf_hash) == (Grade.INCLUDED, receipt.index, receipt.leaf_hash)
    assert included.tree_size > receipt.index
    grow(house, 100)
    assert it.included(receipt) == included  # what covers it covers it for ever


def test_what_is_published_of_a_house_that_does_not_run(house: Machine) -> None:
    """The size in the file; 0 without one, and for one that cannot be read."""
    assert placed(house) == 0
    publisher(house).publish()
    assert placed(house) == 1
    (house.home.tiles / "checkpoint").unlink()
    (house.home.tiles / "checkpoint").write_bytes(b"junk")
    assert placed(house) == 0
