"""The published files: whole or not there, whatever call fails and wherever the process dies; made again by whoever comes next."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tallystick.errors import Malformed, TallyError, Unavailable
from tallystick.storage.disk import Disk
from tallystick.storage.tiles import NEW, TileFiles
from tallystick.tlog.bundle import read_bundle, write_bundle
from tallystick.tlog.tile import ENTRIES, TILE_WIDTH, Tile, TileTree, check_entries, edge_tiles, growth
from tests.tlog.trees import Tree

TREE = Tree(600)
SIZES = (1, 200, 255, 256, 300, 513, 600)
CALLS = ("open", "chmod", "pwrite", "fdatasync", "replace", "fsync_folder", "mkdir", "unlink", "rmdir")


class Killed(BaseException):
    """The process died here."""


class FailingDisk(Disk):
    """The real one, until the nth call of one kind: then it fails before or after it was done, or the process dies there."""

    def __init__(self, call: str = "", nth: int = 0, error: int | None = None, *, before: bool = True, again: bool = False) -> None:
        self.call, self.nth, self.error, self.before, self.again = call, nth, error, before, again
        self.seen = dict.fromkeys(CALLS, 0)
        self.failed = 0

    def _meet(self, call: str, work: Callable[[], int | None]) -> int:
        self.seen[call] += 1
        due = call == self.call and (self.seen[call] == self.nth or (self.again and self.seen[call] > self.nth))
        if due and self.before:
            self._fail()
        done = work()
        if due:
            if call == "open" and isinstance(done, int):
                os.close(done)
            self._fail()
        return done or 0

    def _fail(self) -> None:
        self.failed += 1
        if self.error is None:
            raise Killed
        raise OSError(self.error, os.strerror(self.error))

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        return self._meet("open", lambda: super(FailingDisk, self).open(path, flags, mode))

    def chmod(self, fd: int, mode: int) -> None:
        self._meet("chmod", lambda: super(FailingDisk, self).chmod(fd, mode))

    def pwrite(self, fd: int, data: bytes | memoryview, at: int) -> int:
        # A failing write has written half of it first, as a full disk does.
        half = data[: len(data) // 2] if self.call == "pwrite" and self.seen["pwrite"] + 1 == self.nth else data
        return self._meet("pwrite", lambda: super(FailingDisk, self).pwrite(fd, half, at))

    def fdatasync(self, fd: int) -> None:
        self._meet("fdatasync", lambda: super(FailingDisk, self).fdatasync(fd))

    def fsync_folder(self, path: Path) -> None:
        self._meet("fsync_folder", lambda: super(FailingDisk, self).fsync_folder(path))

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        self._meet("mkdir", lambda: super(FailingDisk, self).mkdir(path, mode))

    def replace(self, old: Path, new: Path) -> None:
        self._meet("replace", lambda: super(FailingDisk, self).replace(old, new))

    def unlink(self, path: Path) -> None:
        self._meet("unlink", lambda: super(FailingDisk, self).unlink(path))

    def rmdir(self, path: Path) -> None:
        self._meet("rmdir", lambda: super(FailingDisk, self).rmdir(path))


def data_of(tile: Tile) -> bytes:
    if tile.level == ENTRIES:
        first = tile.n * TILE_WIDTH
        return write_bundle([b"%d" % n for n in range(first, first + tile.width)])
    return TREE.fetch(tile)


def publish(files: TileFiles, old: int, new: int) -> int:
    """One publication as the publisher does it."""
    with files.alone():
        written = files.put((tile, data_of(tile)) for tile in growth(old, new))
        files.put_checkpoint(b"%d" % new)
        files.tidy(growth(old, new))
    return written


def published(files: TileFiles) -> int:
    """The size of the checkpoint in place, after everything that it promises was read from the files and held."""
    note = files.checkpoint()
    if note is None:
        return 0
    size = int(note)
    assert size in SIZES
    tree = TileTree(size, TREE.root(size), files.read)
    for n in range(-(-size // TILE_WIDTH)):
        hashes = tree.hashes(0, n)
        entries = read_bundle(whole_or_part(files, n, len(hashes)), len(hashes))
        check_entries(entries, hashes, n * TILE_WIDTH)
    return size


def whole_or_part(files: TileFiles, n: int, width: int) -> bytes:
    """A bundle of `width`; cut from the full one, where the partial one was tidied away before the checkpoint moved on."""
    data = files.get(Tile(ENTRIES, n, width))
    if data is None:
        data = write_bundle(read_bundle(files.read(Tile(ENTRIES, n)), TILE_WIDTH)[:width])
    return data


def nothing_half_written(folder: Path) -> None:
    """Under every name of the log lies the whole file, read-only."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith(NEW) and path.name != "checkpoint":
            tile = next(tile for size in SIZES for tile in growth(0, size) if folder / tile.path == path)
            assert path.read_bytes() == data_of(tile)
            assert stat.S_IMODE(path.stat().st_mode) == 0o444


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the real syncs of hundreds of trials would wear a disk, and prove nothing here."""
    shared = Path("/dev/shm")
    folder = shared / f"tally-tiles-{os.getpid()}" if os.access(shared, os.W_OK) else tmp_path / "trials"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def files(tmp_path: Path) -> TileFiles:
    return TileFiles(tmp_path / "tiles")


# --- What lies there ------------------------------------------------------------------------------------------------------------


def test_a_log_is_published_step_by_step(files: TileFiles, tmp_path: Path) -> None:
    """After each growth everything of the checkpoint is there; partials stay for the checkpoints that need them, until the tile is full."""
    old = os.umask(0o077)
    try:
        before = 0
        for size in SIZES:
            publish(files, before, size)
            assert published(files) == size
            before = size
    finally:
        os.umask(old)
    nothing_half_written(files.folder)
    tiles = {name for name in names(files.folder) if (files.folder / name).is_file()}
    assert tiles == {"checkpoint"} | {tile.path for tile in growth(0, 600)} | {"tile/1/000.p/1", "tile/0/002.p/1", "tile/entries/002.p/1"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o755 for path in [files.folder, *files.folder.rglob("*")] if path.is_dir())
    assert stat.S_IMODE((files.folder / "checkpoint").stat().st_mode) == 0o444


def test_publishing_again_writes_nothing(files: TileFiles) -> None:
    """It is idempotent; a file that is missing or was changed is made again."""
    assert publish(files, 0, 600) == len(list(growth(0, 600)))
    assert publish(files, 0, 600) == 0
    tile, other = files.folder / Tile(0, 1).path, files.folder / Tile(ENTRIES, 0).path
    tile.unlink()
    other.chmod(0o644)
    other.write_bytes(b"junk")
    assert publish(files, 0, 600) == 2
    assert published(files) == 600


def test_what_is_lacking_is_named(files: TileFiles) -> None:
    """Missing files, and those that cannot be what they are by length or kind."""
    publish(files, 0, 600)
    assert list(files.lacks(growth(0, 600))) == []
    (files.folder / Tile(0, 1).path).unlink()
    bundle = files.folder / Tile(ENTRIES, 0).path
    bundle.unlink()
    bundle.mkdir()
    short = files.folder / Tile(1, 0, 2).path
    short.chmod(0o644)
    short.write_bytes(b"x")
    assert list(files.lacks(growth(0, 600))) == [Tile(ENTRIES, 0), Tile(0, 1), Tile(1, 0, 2)]


def test_reading_what_is_not_there(files: TileFiles) -> None:
    """Nothing published: no checkpoint, no tile; a partial tile that was tidied away is cut from the full one, a bundle is not."""
    assert files.checkpoint() is None
    assert files.get(Tile(0, 0)) is None
    with pytest.raises(Unavailable):
        files.read(Tile(0, 0))
    publish(files, 0, 600)
    assert files.read(Tile(0, 0, 17)) == TREE.fetch(Tile(0, 0, 17))
    for tile in (Tile(0, 2, 89), Tile(ENTRIES, 0, 17), Tile(5, 0, 1)):
        with pytest.raises(Unavailable):
            files.read(tile)


@pytest.mark.parametrize("change", ["short", "long", "folder", "link", "pipe"])
def test_what_cannot_be_a_tile_is_not_read(files: TileFiles, change: str) -> None:
    """Another length is malformed; folders, links and pipes are no files, and nobody waits for them."""
    publish(files, 0, 600)
    for tile in (Tile(0, 1), Tile(0, 2, 88)):
        path = files.folder / tile.path
        path.unlink()
        match change:
            case "short":
                path.write_bytes(bytes(tile.hash_bytes - 1))
            case "long":
                path.write_bytes(bytes(tile.hash_bytes + 1))
            case "folder":
                path.mkdir()
            case "link":
                path.symlink_to(files.folder / Tile(0, 0).path)
            case "pipe":
                os.mkfifo(path)
        with pytest.raises((Malformed, Unavailable)):
            files.read(tile)
        assert list(files.lacks([tile])) == [tile]
    (files.folder / "checkpoint").chmod(0o644)
    (files.folder / "checkpoint").write_bytes(b"x" * 1_000_001)
    with pytest.raises(Malformed):
        files.checkpoint()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A file stands in its place."""
    (tmp_path / "tiles").write_text("mine")
    files = TileFiles(tmp_path / "tiles")
    with pytest.raises(Unavailable), files.alone():
        raise AssertionError("it was opened")
    assert files.checkpoint() is None


def test_leftovers_are_tidied(files: TileFiles) -> None:
    """Unfinished files go, partials of full tiles go, everything else stays."""
    publish(files, 0, 300)
    before = names(files.folder)
    for place in ("", "tile/0", "tile/0/001.p", "tile/entries"):
        (files.folder / place / f"{NEW}1-2-3").write_bytes(b"half")
    gone = files.folder / "tile/0/000.p"
    gone.mkdir()
    (gone / "7").write_bytes(b"x")
    (files.folder / "README").write_text("not a file of the log")
    files.mend(300)
    assert names(files.folder) == before | {"README"}


def test_what_lies_beyond_the_log_goes_away(files: TileFiles) -> None:
    """Of a longer history that is no more: its tiles, bundles and partials; what the shorter one has stays."""
    publish(files, 0, 300)
    before = names(files.folder)
    publish(files, 300, 600)
    publish(files, 0, 300)
    files.mend(300)
    assert names(files.folder) == before
    assert published(files) == 300


# --- Every call fails -------------------------------------------------------------------------------------------------------------


def runs(folder: Path, disk: Disk) -> int:
    """A log grows and is published; the size that was reached when a call failed."""
    files, before = TileFiles(folder, disk), 0
    with files.alone():
        files.mend(0)
    for size in SIZES:
        publish(files, before, size)
        before = size
    return before


def count(memory: Path) -> dict[str, int]:
    """How often a publication makes each call."""
    disk = FailingDisk()
    runs(memory / "count", disk)
    shutil.rmtree(memory / "count")
    return disk.seen


def places(calls: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Every call; of those that are made very often, the first dozens and then some."""
    for call, times in calls.items():
        assert times, f"nothing was ever done by {call}"
        yield from ((call, nth) for nth in range(1, times + 1) if nth <= 24 or nth % 5 == 0)


def recovers(folder: Path) -> None:
    """A new process finds nothing half-written, and publishes everything."""
    files = TileFiles(folder)
    reached = published(files)
    nothing_half_written(folder) if folder.exists() else None
    with files.alone():
        files.mend(600)
        files.put((tile, data_of(tile)) for tile in files.lacks(growth(0, reached)))
    publish(files, reached, 600)
    assert published(files) == 600
    assert set(names(folder)) >= {tile.path for tile in growth(0, 600)}
    assert not [name for name in names(folder) if NEW in name]


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_any_call_may_fail(memory: Path, error: int) -> None:
    """EIO or ENOSPC at each call: Unavailable, nothing half-written under any name, and the same process publishes it the next time."""
    trials = 0
    for call, nth in places(count(memory)):
        folder = memory / f"{call}-{nth}"
        disk = FailingDisk(call, nth, error)
        with pytest.raises(Unavailable) as caught:
            runs(folder, disk)
        assert ("Make room" in caught.value.hint) == (error == errno.ENOSPC)
        assert disk.failed == 1
        recovers(folder)
        trials += 1
    assert trials > 100


def test_a_process_may_die_at_any_call(memory: Path) -> None:
    """Before it and after it: the next one reads whole files only, takes away what was unfinished, and goes on."""
    trials = 0
    for before in (True, False):
        for call, nth in places(count(memory)):
            folder = memory / f"{call}-{nth}-{before}"
            with pytest.raises(Killed):
                runs(folder, FailingDisk(call, nth, before=before))
            recovers(folder)
            trials += 1
    assert trials > 200


def test_a_process_may_die_while_another_mends(memory: Path) -> None:
    """Twice, at every call of the mending."""
    for nth in range(1, 14):
        folder = memory / str(nth)
        with pytest.raises(Killed):
            runs(folder, FailingDisk("replace", 14))
        for call in ("unlink", "fsync_folder", "replace", "open", "rmdir"):
            files = TileFiles(folder, FailingDisk(call, nth))
            with suppress(Killed):
                reached = published(files)
                with files.alone():
                    files.mend(600)
                publish(files, reached, 600)
        recovers(folder)


def test_a_disk_that_stays_full_fails_every_time(tmp_path: Path) -> None:
    """And what is published stays readable."""
    folder = tmp_path / "tiles"
    publish(TileFiles(folder), 0, 300)
    full = TileFiles(folder, FailingDisk("pwrite", 1, errno.ENOSPC, again=True))
    for _ in range(3):
        with pytest.raises(Unavailable):
            publish(full, 300, 600)
        assert published(full) == 300
        assert not [name for name in names(folder) if NEW in name]


def test_a_folder_is_synced_although_its_files_lie_there(tmp_path: Path) -> None:
    """Who put them there may have died before it did; the folders above them as well."""
    folder = tmp_path / "tiles"
    with pytest.raises(Killed):
        runs(folder, FailingDisk("fsync_folder", 1))
    disk = FailingDisk()
    publish(TileFiles(folder, disk), 0, 1)
    assert disk.seen["pwrite"] == 1  # the checkpoint alone
    assert disk.seen["fsync_folder"] >= 7  # tiles, tile, tile/0, tile/0/000.p, tile/entries, tile/entries/000.p and the home


def test_a_full_tile_is_on_the_disk_before_its_partials_go(tmp_path: Path) -> None:
    """Whoever renamed it may have died before its name was synced; then the mending does that first."""
    done: list[tuple[str, Path]] = []

    class Noting(Disk):
        def fsync_folder(self, path: Path) -> None:
            super().fsync_folder(path)
            done.append(("sync", path))

        def unlink(self, path: Path) -> None:
            super().unlink(path)
            done.append(("unlink", path.parent.parent))

    folder = tmp_path / "tiles"
    publish(TileFiles(folder), 0, 200)
    with pytest.raises(Killed), (files := TileFiles(folder, FailingDisk("fsync_folder", 1))).alone():
        files.put((tile, data_of(tile)) for tile in growth(200, 300))
    TileFiles(folder, Noting()).mend(300)
    gone = [at for at, (what, _) in enumerate(done) if what == "unlink"]
    assert {done[at][1] for at in gone} == {folder / "tile/0", folder / "tile/entries"}
    assert all(("sync", done[at][1]) in done[:at] for at in gone)


def test_errors_are_declared(tmp_path: Path) -> None:
    """Whatever the system says."""
    for call in CALLS:
        for error in (errno.EACCES, errno.EROFS, errno.EMFILE, errno.EDQUOT, errno.ENAMETOOLONG):
            with pytest.raises(TallyError):
                runs(tmp_path / f"{call}-{error}", FailingDisk(call, 1, error))


def test_the_right_edge_is_there_for_every_size() -> None:
    """The tiles that a reader of a checkpoint asks for first are among those that were made for it."""
    for size in range(1, 600):
        assert set(edge_tiles(size)) <= set(growth(0, size))
