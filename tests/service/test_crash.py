"""The process dies between any two system calls; another program plants links while we walk.

A `DyingDisk` raises `Died`, which is no Exception: no handler of ours runs after it, as after SIGKILL. Then a new process
opens the same directory and completes what the ledger says was begun.
"""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable
from tallystick.service import disk
from tallystick.service.archive import Archive, ArchiveSettings
from tallystick.service.disk import Disk
from tallystick.service.names import SafePath
from tallystick.service.uploads import UploadLimits
from tests.service.test_archive import OWNER, SMALL, FailingDisk, read, store, visible
from tests.support import abandoned


@pytest.fixture(autouse=True)
def _killed() -> Iterator[None]:
    """A machine that died here holds no descriptor."""
    with abandoned():
        yield


class Died(BaseException):
    """The process is gone."""


class DyingDisk(Disk):
    """Dies ahead of call number `at`."""

    def __init__(self, at: int) -> None:
        super().__init__()
        self.at = at
        self.calls: list[str] = []

    def before(self, call: str) -> None:
        self.calls.append(call)
        if self.at >= 0 and len(self.calls) > self.at:
            raise Died


Scene = Callable[[Archive], None]
Act = Callable[[Archive], object]


def _nothing(archive: Archive) -> None:
    """An empty archive."""


def _old(archive: Archive) -> None:
    store(archive, "d/e/a", b"old", 1)


def _one(archive: Archive) -> None:
    store(archive, "a", b"old", 1)


def _two(archive: Archive) -> None:
    store(archive, "a", b"old", 1)
    store(archive, "b/c", b"other", 2)


def _folder(archive: Archive) -> None:
    store(archive, "d/a", b"1", 1)
    store(archive, "d/e/b", b"2", 2)


CASES: dict[str, tuple[Scene, Act, dict[str, bytes], dict[str, bytes]]] = {
    "put": (_nothing, lambda archive: store(archive, "d/e/a", b"new", 9), {}, {"d/e/a": b"new"}),
    "put over": (_old, lambda archive: store(archive, "d/e/a", b"new", 9), {"d/e/a": b"old"}, {"d/e/a": b"new"}),
    "rm": (_one, lambda archive: archive.remove(SafePath("a"), entry=9), {"a": b"old"}, {}),
    "mv": (_one, lambda archive: archive.move(SafePath("a"), SafePath("x/y"), entry=9), {"a": b"old"}, {"x/y": b"old"}),
    "mv over": (
        _two,
        lambda archive: archive.move(SafePath("a"), SafePath("b/c"), entry=9, overwrite=True),
        {"a": b"old", "b/c": b"other"},
        {"b/c": b"old"},
    ),
    "mv folder": (
        _folder,
        lambda archive: archive.move(SafePath("d"), SafePath("x"), entry=9),
        {"d/a": b"1", "d/e/b": b"2"},
        {"x/a": b"1", "x/e/b": b"2"},
    ),
}


def _versions(archive: Archive, paths: set[str]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for path in sorted(paths):
        for version in archive.versions(SafePath(path)):
            with archive.get_version(SafePath(path), version.kept_at) as file:
                found.setdefault(path, []).append(b"".join(file.chunks()))
    return found


@pytest.mark.parametrize("name", CASES)
def test_a_change_is_whole_wherever_the_process_dies(name: str, tmp_path: Path) -> None:
    """Before the journal names it: nothing happened. After: `complete` finishes it, twice if it dies again, and then never more."""
    scene, act, before, after = CASES[name]
    for at in range(200):
        root = tmp_path / f"{at}"
        archive = Archive.open(root, SMALL)
        scene(archive)
        contents = set(before.values()) | {b"new"}
        archive.close()
        fate = DyingDisk(-1)
        dying = Archive.open(root, SMALL, fate)
        fate.calls, fate.at = [], at
        try:
            act(dying)
        except Died:
            pass
        else:
            assert visible(root) == after
            assert dying.open_entries() == ()
            dying.close()
            break
        assert visible(root) in (before, after), at
        # The next process dies too, at every later step of the completion, until one lives long enough.
        for again in range(60):
            fate = DyingDisk(-1)
            second = Archive.open(root, SMALL, fate)
            begun = 9 in second.open_entries()
            fate.calls, fate.at = [], again
            try:
                done = second.complete(9)
            except Died:
                continue
            finally:
                second.close()
            assert (done is not None) == begun
            break
        else:
            raise AssertionError("a completion has more than sixty calls")
        final = Archive.open(root, SMALL)
        assert visible(root) in (before, after)
        if visible(root) == after and after != before:
            for path, content in after.items():
                assert read(final, path) == content
        assert final.complete(9) is None
        assert final.open_entries() == ()
        kept = _versions(final, set(before) | set(after))
        assert {content for pieces in kept.values() for content in pieces} <= contents
        if visible(root) == after:
            lost = set(before.values()) - set(after.values()) - {content for pieces in kept.values() for content in pieces}
            assert not lost, "a content was lost"
        left = [path for path in (root / ".tally" / "journal").iterdir() if path.suffix != ".tmp"]
        assert left == []
        final.close()
        shutil.rmtree(root)
    else:
        raise AssertionError("a change has more than two hundred calls")
    assert at > 5


@pytest.mark.parametrize("name", CASES)
def test_a_change_can_be_abandoned_wherever_the_process_died(name: str, tmp_path: Path) -> None:
    """`abandon` leaves the old or the new state whole, and the archive usable."""
    scene, act, before, after = CASES[name]
    for at in range(200):
        root = tmp_path / f"{at}"
        archive = Archive.open(root, SMALL)
        scene(archive)
        archive.close()
        fate = DyingDisk(-1)
        dying = Archive.open(root, SMALL, fate)
        fate.calls, fate.at = [], at
        try:
            act(dying)
        except Died:
            pass
        else:
            break
        final = Archive.open(root, SMALL)
        final.abandon(9)
        assert final.open_entries() == ()
        assert visible(root) in (before, after)
        assert store(final, "afterwards", b"fine", 10).entry == 10
        final.close()
        shutil.rmtree(root)


@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "for ever"])
@pytest.mark.parametrize("name", CASES)
def test_a_change_whose_disk_fails_is_whole(name: str, for_ever: bool, tmp_path: Path) -> None:
    """Whichever call fails: Unavailable and the old state, or an open entry that `complete` brings to the new one."""
    scene, act, before, after = CASES[name]
    for at in range(200):
        root = tmp_path / f"{at}"
        fate = FailingDisk()
        archive = Archive.open(root, SMALL, fate)
        scene(archive)
        fate.arm(at, errno.EIO, for_ever=for_ever)
        failed = False
        try:
            act(archive)
        except Unavailable:
            failed = True
        calls = len(fate.calls)
        fate.arm(-1, 0, for_ever=False)
        begun = archive.open_entries() == (9,)
        if begun:
            assert failed
            archive.complete(9)
        assert visible(root) == (before if failed and not begun else after)
        if visible(root) == before:
            assert _versions(archive, set(before) | set(after)) == {}
        assert archive.open_entries() == ()
        archive.close()
        if at >= calls:
            break
    else:
        raise AssertionError("a change has more than two hundred calls")


class PowerDisk(DyingDisk):
    """A disk that loses power: what was written to a file and not synced is gone, and so may be every name since the last sync.

    After each fsync the tree is kept as it is, by hard links (inodes and times stay). File systems with an ordered journal
    (ext4, XFS, btrfs) may come back with any state from the last sync to the end: both ends are tried.
    """

    def __init__(self, root: Path, snapshot: Path) -> None:
        super().__init__(-1)
        self._root = root
        self._snapshot = snapshot
        # Each inode with a descriptor that keeps its number from being given to another file.
        self._dirty: dict[int, int] = {}

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        super().write(fd, data, offset)
        inode = os.fstat(fd).st_ino
        if inode not in self._dirty:
            self._dirty[inode] = os.dup(fd)

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        held = self._dirty.pop(os.fstat(fd).st_ino, None)
        if held is not None:
            os.close(held)
        self.keep()

    def keep(self) -> None:
        shutil.rmtree(self._snapshot, ignore_errors=True)
        shutil.copytree(self._root, self._snapshot, copy_function=os.link)

    def lose_power(self, *, names_too: bool) -> None:
        if names_too:
            shutil.rmtree(self._root)
            self._snapshot.rename(self._root)
        for path in self._root.rglob("*"):
            if path.is_file() and path.stat().st_ino in self._dirty:
                os.truncate(path, 0)
        for held in self._dirty.values():
            os.close(held)
        self._dirty.clear()


@pytest.mark.parametrize("names_too", [False, True], ids=["all names kept", "names since the last sync lost"])
@pytest.mark.parametrize("name", CASES)
def test_a_change_is_whole_after_a_power_failure(name: str, names_too: bool, tmp_path: Path) -> None:
    """Wherever the power fails: after `complete` the path shows the old or the new content, each as whole as it was."""
    scene, act, before, after = CASES[name]
    for at in range(200):
        root = tmp_path / f"{at}"
        archive = Archive.open(root, SMALL)
        scene(archive)
        archive.close()
        fate = PowerDisk(root, tmp_path / f"{at}.kept")
        dying = Archive.open(root, SMALL, fate)
        fate.keep()
        fate.calls, fate.at = [], at
        alive = True
        try:
            act(dying)
        except Died:
            alive = False
        dying.close()
        fate.lose_power(names_too=names_too)
        final = Archive.open(root, SMALL)
        for entry in final.open_entries():
            final.complete(entry)
        assert visible(root) == after if alive else visible(root) in (before, after)
        kept = {content for pieces in _versions(final, set(before) | set(after)).values() for content in pieces}
        assert kept <= set(before.values())
        assert set(before.values()) <= set(visible(root).values()) | kept, "a content was lost"
        assert final.open_entries() == ()
        final.close()
        if alive:
            break
        shutil.rmtree(root)
    else:
        raise AssertionError("a change has more than two hundred calls")


def test_a_completion_does_not_undo_what_came_after(tmp_path: Path) -> None:
    """A put that was done, forgotten by a crash, and followed by somebody else's write, is only forgotten."""
    for at in range(100):
        root = tmp_path / f"{at}"
        fate = DyingDisk(-1)
        archive = Archive.open(root, SMALL, fate)
        fate.calls, fate.at = [], at
        try:
            store(archive, "a", b"new", 9)
        except Died:
            pass
        else:
            break
        if visible(root) == {"a": b"new"}:
            (root / "a").write_bytes(b"somebody else")
            second = Archive.open(root, SMALL)
            second.complete(9)
            assert visible(root) == {"a": b"somebody else"}
            assert second.open_entries() == ()
            second.close()


def test_a_half_written_upload_resumes_after_a_crash(tmp_path: Path) -> None:
    """The offset is what is in the file; the client goes on from there."""
    fate = DyingDisk(-1)
    archive = Archive.open(tmp_path, SMALL, fate)
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"12345")
    fate.calls, fate.at = [], 0
    with pytest.raises(Died):
        writer.write(b"67890")
    second = Archive.open(tmp_path, SMALL)
    assert second.offset(writer.upload_id, OWNER) == 5
    with second.resume(writer.upload_id, OWNER, 5) as more:
        more.write(b"67890")
    sha256 = hashlib.sha256(b"1234567890").digest()
    second.commit(writer.upload_id, owner=OWNER, length=10, sha256=sha256, path=SafePath("a"), entry=1)
    assert visible(tmp_path) == {"a": b"1234567890"}


@pytest.mark.parametrize("target", ["outside", "outside/secret", ".", "..", "/etc", "nowhere", ".tally"])
def test_links_lead_nowhere(tmp_path: Path, target: str) -> None:
    """A symlink as the file, as a directory on the way, or as the target of a change: refused, and what it points to untouched."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    archive = Archive.open(root, SMALL)
    store(archive, "real", b"ours", 1)
    goal = str(tmp_path / target) if target.startswith("outside") else target
    (root / "link").symlink_to(goal)
    (root / "d").mkdir()
    (root / "d" / "link").symlink_to(goal)
    for path in ("link", "link/secret", "d/link", "d/link/secret", "link/a/b", "link/passwd", "link/real"):
        with pytest.raises(Refused):
            archive.get(SafePath(path))
        with pytest.raises(Refused):
            archive.stat(SafePath(path), digest=True)
        with pytest.raises(Refused):
            archive.ls(SafePath(path))
        with pytest.raises(Refused):
            archive.remove(SafePath(path), entry=2)
        for overwrite in (False, True):
            with pytest.raises(Refused):
                archive.move(SafePath("real"), SafePath(path), entry=3, overwrite=overwrite)
        with pytest.raises(Refused):
            archive.move(SafePath(path), SafePath("elsewhere"), entry=4)
        with pytest.raises(Refused):
            store(archive, path, b"overwritten", 5)
        archive.give_up(next(iter(archive._uploads._uploads)), OWNER)
    assert [entry.name for entry in archive.ls().entries] == ["d", "real"]
    assert archive.ls(SafePath("d")).entries == ()
    assert archive.summary().files == 1
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"
    assert archive.open_entries() == ()
    archive.close()


def test_other_kinds_of_files_are_not_served(tmp_path: Path) -> None:
    """A FIFO does not make us wait for its writer; sockets and devices are no files."""
    archive = Archive.open(tmp_path, SMALL)
    os.mkfifo(tmp_path / "fifo")
    if os.geteuid() == 0:
        try:
            os.mknod(tmp_path / "null", 0o600 | 0o020000, os.makedev(1, 3))
        except OSError as error:
            assert error.errno in (errno.EPERM, errno.EINVAL)
    for name in ("fifo", "null"):
        with pytest.raises(Refused, match="no such file"):
            archive.get(SafePath(name))
    assert archive.ls().entries == ()
    archive.close()


def test_a_race_of_links_never_leads_outside(tmp_path: Path) -> None:
    """Another program swaps a directory and a link as fast as it can; reads and writes end inside the root, or are refused."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    exchange = disk.renameat2
    if exchange is None:
        pytest.skip("the C library has no renameat2")
    archive = Archive.open(root, ArchiveSettings(versions_per_path=0, uploads=SMALL.uploads))
    store(archive, "d/file", b"ours", 1)
    (root / "link").symlink_to(outside)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            assert exchange(-100, os.fsencode(root / "d"), -100, os.fsencode(root / "link"), 2) == 0  # AT_FDCWD, RENAME_EXCHANGE

    swapper = threading.Thread(target=swap)
    swapper.start()
    refused = served = 0
    try:
        for entry in range(2, 400):
            try:
                with archive.get(SafePath("d/file")) as file:
                    assert b"".join(file.chunks()) != b"secret"
                    served += 1
            except Refused:
                refused += 1
            try:
                store(archive, "d/file", b"ours again", entry)
            except (Refused, Unavailable):
                for upload in list(archive._uploads._uploads):
                    archive.give_up(upload, OWNER)
                for left in archive.open_entries():
                    archive.abandon(left)
    finally:
        stop.set()
        swapper.join()
    assert served and refused
    assert sorted(path.name for path in outside.iterdir()) == ["file"]
    assert (outside / "file").read_bytes() == b"secret"
    archive.close()


NASTY = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["..", ".", "", "link", "link/secret", "d", "d/..", ".tally", ".tally/journal", "a\0", "../outside/secret", "/etc"]),
    st.lists(st.sampled_from(["..", ".", "link", "d", "a", "secret", "", "\u2215", "\\"]), max_size=5).map("/".join),
)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["get", "put", "ls", "stat", "rm", "mv"]), NASTY, NASTY), max_size=8))
def test_no_text_reaches_a_file_outside_the_root(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]) -> None:
    """Whatever names a client sends, in whatever order: what lies outside is neither read, changed, nor listed."""
    base = tmp_path_factory.mktemp("escape")
    outside, root = base / "outside", base / "root"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    archive = Archive.open(root, ArchiveSettings(versions_per_path=2, uploads=UploadLimits(reserve_bytes=0)))
    store(archive, "d/a", b"ours", 1)
    (root / "link").symlink_to(outside)
    (root / "d" / "up").symlink_to("../..")
    for entry, (what, one, other) in enumerate(steps, 2):
        try:
            if what == "get":
                with archive.get(SafePath(one)) as file:
                    assert b"".join(file.chunks()) != b"secret"
            elif what == "put":
                store(archive, one, b"put", entry)
            elif what == "ls":
                assert "secret" not in [found.name for found in archive.ls(SafePath(one)).entries if found.size == 6]
            elif what == "stat":
                assert archive.stat(SafePath(one), digest=True).sha256 != hashlib.sha256(b"secret").digest()
            elif what == "rm":
                archive.remove(SafePath(one), entry=entry)
            else:
                archive.move(SafePath(one), SafePath(other), entry=entry, overwrite=entry % 2 == 0)
        except (Malformed, Misuse, Refused):
            pass
        except TallyError as error:
            raise AssertionError(f"{what} {one!r} {other!r}: {error}") from error
    assert [path.name for path in sorted(base.iterdir())] == ["outside", "root"]
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"secret": b"secret"}
    for path in root.rglob("*"):
        if not path.is_symlink():
            assert os.path.realpath(path).startswith(os.path.realpath(root) + "/")
    assert archive.open_entries() == ()
    archive.close()
    shutil.rmtree(base)
