"""The archive on a real directory: put, get, ls, stat, rm, mv, versions, summary."""

import contextlib
import errno
import gc
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.errors import Malformed, Misuse, Refused, Unavailable, Unproven
from tallystick.service.archive import Archive, ArchiveSettings
from tallystick.service.changes import Change
from tallystick.service.disk import Disk
from tallystick.service.names import SafePath
from tallystick.service.ranges import parse_range
from tallystick.service.uploads import UploadLimits

OWNER = b"\x01" * 32
OTHER = b"\x02" * 32
SMALL = ArchiveSettings(
    versions_per_path=3, uploads=UploadLimits(reserve_bytes=0, max_uploads_per_owner=4, max_uploads=6, max_file_bytes=1 << 30)
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def archive(root: Path) -> Iterator[Archive]:
    opened = Archive.open(root, SMALL)
    yield opened
    opened.close()


def store(archive: Archive, path: str, content: bytes, entry: int, owner: bytes = OWNER) -> Change:
    """Upload and commit in one go."""
    writer = archive.begin(SafePath(path), owner)
    writer.write(content)
    writer.close()
    sha256 = hashlib.sha256(content).digest()
    return archive.commit(writer.upload_id, owner=owner, length=len(content), sha256=sha256, path=SafePath(path), entry=entry)


def read(archive: Archive, path: str) -> bytes:
    with archive.get(SafePath(path)) as file:
        return b"".join(file.chunks())


def names(archive: Archive, path: str | None = None) -> list[str]:
    return [entry.name for entry in archive.ls(SafePath(path) if path else None).entries]


def visible(root: Path) -> dict[str, bytes]:
    """Every file outside our own directory."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.is_symlink() and ".tally" not in path.parts
    }


def test_a_file_is_put_and_read_back(archive: Archive, root: Path) -> None:
    """What was committed is there, byte for byte, as an ordinary file."""
    change = store(archive, "notes/a.txt", b"hello", 7)
    assert (change.op, change.entry, change.path, change.size) == ("put", 7, "notes/a.txt", 5)
    assert change.sha256 == hashlib.sha256(b"hello").digest()
    assert (root / "notes" / "a.txt").read_bytes() == b"hello"
    assert read(archive, "notes/a.txt") == b"hello"


def test_stat_tells_size_time_hash_and_version(archive: Archive, root: Path) -> None:
    """The version of a file is the entry that wrote it; its hash is known without reading it."""
    store(archive, "a", b"hello", 7)
    found = archive.stat(SafePath("a"))
    assert (found.size, found.version, found.sha256) == (5, 7, hashlib.sha256(b"hello").digest())
    assert found.mtime_ns == (root / "a").stat().st_mtime_ns


def test_nothing_is_visible_before_the_commit(archive: Archive, root: Path) -> None:
    """An upload without its commit shows nowhere but in the counts."""
    with archive.begin(SafePath("a"), OWNER) as writer:
        writer.write(b"half")
        assert visible(root) == {}
        assert names(archive) == []
        with pytest.raises(Refused, match="no such file"):
            archive.get(SafePath("a"))
        summary = archive.summary()
        assert (summary.files, summary.uploads, summary.upload_bytes) == (0, 1, 4)


def test_an_upload_survives_a_restart_and_continues(root: Path) -> None:
    """Upload id and offset are enough to go on after the process died; the hash covers both halves."""
    first = Archive.open(root, SMALL)
    writer = first.begin(SafePath("big"), OWNER)
    writer.write(b"first half, ")
    second = Archive.open(root, SMALL)
    assert second.offset(writer.upload_id, OWNER) == 12
    with second.resume(writer.upload_id, OWNER, 12) as more:
        assert more.path == "big"
        more.write(b"second half")
    whole = b"first half, second half"
    second.commit(writer.upload_id, owner=OWNER, length=23, sha256=hashlib.sha256(whole).digest(), path=SafePath("big"), entry=1)
    assert read(second, "big") == whole
    first.close()
    second.close()


def test_a_resume_elsewhere_than_the_offset_is_misuse(archive: Archive) -> None:
    """A gap or an overlap is never written."""
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"1234")
    for offset in (0, 3, 5, 1 << 60):
        with pytest.raises(Misuse, match="stands at 4"):
            archive.resume(writer.upload_id, OWNER, offset)


def test_a_new_connection_takes_an_upload_over(archive: Archive) -> None:
    """The client that roamed continues; its dead connection can write nothing more."""
    old = archive.begin(SafePath("a"), OWNER)
    old.write(b"1234")
    new = archive.resume(old.upload_id, OWNER, 4)
    with pytest.raises(Misuse, match="another connection"):
        old.write(b"5678")
    old.close()
    assert new.write(b"abcd") == 8


def test_an_upload_belongs_to_one_pairing(archive: Archive) -> None:
    """Another pair can neither see, continue, commit nor remove it, and cannot tell it from one that does not exist."""
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"x")
    said = set()
    for upload in (writer.upload_id, "0" * 32, "../../etc/passwd", ""):
        with pytest.raises(Refused) as seen:
            archive.offset(upload, OTHER)
        said.add((seen.value.message, seen.value.hint))
        with pytest.raises(Refused):
            archive.resume(upload, OTHER, 1)
        with pytest.raises(Refused):
            archive.commit(upload, owner=OTHER, length=1, sha256=hashlib.sha256(b"x").digest(), path=SafePath("a"), entry=1)
        with pytest.raises(Refused):
            archive.give_up(upload, OTHER)
    assert len(said) == 1


def test_a_commit_names_what_arrived(archive: Archive, root: Path) -> None:
    """Another path, missing bytes or another hash: nothing appears."""
    sha256 = hashlib.sha256(b"abc").digest()
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"abc")
    with pytest.raises(Misuse, match="another path"):
        archive.commit(writer.upload_id, owner=OWNER, length=3, sha256=sha256, path=SafePath("b"), entry=1)
    for length in (0, 2, 4):
        with pytest.raises(Misuse, match="stands at 3"):
            archive.commit(writer.upload_id, owner=OWNER, length=length, sha256=sha256, path=SafePath("a"), entry=1)
    assert archive.offset(writer.upload_id, OWNER) == 3
    with pytest.raises(Unproven, match="not the bytes announced"):
        archive.commit(writer.upload_id, owner=OWNER, length=3, sha256=bytes(32), path=SafePath("a"), entry=1)
    with pytest.raises(Refused):
        archive.offset(writer.upload_id, OWNER)
    assert visible(root) == {}
    assert archive.open_entries() == ()


def test_a_committed_upload_is_spent(archive: Archive) -> None:
    """The same upload cannot be committed or continued a second time."""
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"abc")
    sha256 = hashlib.sha256(b"abc").digest()
    archive.commit(writer.upload_id, owner=OWNER, length=3, sha256=sha256, path=SafePath("a"), entry=1)
    with pytest.raises(Misuse, match="finished"):
        writer.write(b"d")
    with pytest.raises(Refused):
        archive.resume(writer.upload_id, OWNER, 3)
    with pytest.raises(Refused):
        archive.commit(writer.upload_id, owner=OWNER, length=3, sha256=sha256, path=SafePath("a"), entry=2)


def test_replacing_keeps_the_previous_content(archive: Archive) -> None:
    """Each replaced content becomes a version, newest first, readable, bounded in number."""
    for entry in range(1, 7):
        store(archive, "a", b"content %d" % entry, entry)
    kept = archive.versions(SafePath("a"))
    assert [(version.kept_at, version.version) for version in kept] == [(6, 5), (5, 4), (4, 3)]
    with archive.get_version(SafePath("a"), 5) as file:
        assert b"".join(file.chunks()) == b"content 4"
        assert file.stat.sha256 == hashlib.sha256(b"content 4").digest()
    with pytest.raises(Refused, match="no such version"):
        archive.get_version(SafePath("a"), 2)
    assert archive.summary().versions == 3


def test_no_versions_when_the_settings_keep_none(root: Path) -> None:
    """versions_per_path = 0: a replaced or removed content is gone."""
    archive = Archive.open(root, ArchiveSettings(versions_per_path=0, uploads=SMALL.uploads))
    store(archive, "a", b"1", 1)
    store(archive, "a", b"2", 2)
    archive.remove(SafePath("a"), entry=3)
    assert archive.versions(SafePath("a")) == ()
    assert archive.summary() == archive.summary().__class__(files=0, bytes=0, versions=0, version_bytes=0, uploads=0, upload_bytes=0)
    archive.close()


def test_a_removed_file_becomes_a_version(archive: Archive, root: Path) -> None:
    """rm hides nothing for good: the content can still be read as a version."""
    store(archive, "d/a", b"precious", 1)
    change = archive.remove(SafePath("d/a"), entry=2)
    assert (change.op, change.size, change.sha256) == ("rm", 8, hashlib.sha256(b"precious").digest())
    assert visible(root) == {}
    with archive.get_version(SafePath("d/a"), 2) as file:
        assert b"".join(file.chunks()) == b"precious"
    with pytest.raises(Refused, match="no such file"):
        archive.remove(SafePath("d/a"), entry=3)


def test_a_directory_is_removed_only_when_empty(archive: Archive) -> None:
    """rm never takes more than the one thing it names."""
    store(archive, "d/e/a", b"1", 1)
    with pytest.raises(Refused, match="not empty"):
        archive.remove(SafePath("d"), entry=2)
    archive.remove(SafePath("d/e/a"), entry=3)
    archive.remove(SafePath("d/e"), entry=4)
    assert names(archive, "d") == []
    assert archive.open_entries() == ()


def test_a_moved_file_keeps_its_hash_and_version(archive: Archive, root: Path) -> None:
    """mv changes the name and nothing else."""
    store(archive, "a", b"hello", 1)
    change = archive.move(SafePath("a"), SafePath("new/b"), entry=2)
    assert (change.op, change.source, change.path) == ("mv", "a", "new/b")
    assert visible(root) == {"new/b": b"hello"}
    found = archive.stat(SafePath("new/b"))
    assert (found.version, found.sha256) == (1, hashlib.sha256(b"hello").digest())


def test_a_move_does_not_overwrite_unless_asked(archive: Archive, root: Path) -> None:
    """The target is safe by default; when asked for, its content becomes a version."""
    store(archive, "a", b"new", 1)
    store(archive, "b", b"old", 2)
    with pytest.raises(Refused, match="exists"):
        archive.move(SafePath("a"), SafePath("b"), entry=3)
    assert visible(root) == {"a": b"new", "b": b"old"}
    archive.move(SafePath("a"), SafePath("b"), entry=4, overwrite=True)
    assert visible(root) == {"b": b"new"}
    assert [(version.kept_at, version.version) for version in archive.versions(SafePath("b"))] == [(4, 2)]
    assert archive.stat(SafePath("b")).version == 1
    assert archive.open_entries() == ()


def test_a_moved_directory_takes_what_is_known_along(archive: Archive, root: Path) -> None:
    """Hashes and versions follow the files of a moved directory."""
    store(archive, "d/e/a", b"1", 1)
    store(archive, "d/b", b"2", 2)
    archive.move(SafePath("d"), SafePath("x/y"), entry=3)
    assert visible(root) == {"x/y/b": b"2", "x/y/e/a": b"1"}
    assert archive.stat(SafePath("x/y/e/a")).version == 1
    assert archive.stat(SafePath("x/y/b")).version == 2


@pytest.mark.parametrize(("source", "target"), [("d", "d"), ("d", "d/e"), ("d/a", "d/a")])
def test_a_move_into_itself_is_misuse(archive: Archive, source: str, target: str) -> None:
    """A directory cannot swallow itself."""
    store(archive, "d/a", b"1", 1)
    with pytest.raises(Misuse):
        archive.move(SafePath(source), SafePath(target), entry=2)


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_move_never_replaces_a_directory(archive: Archive, root: Path, overwrite: bool) -> None:
    """Neither a file nor a directory takes the place of a directory."""
    store(archive, "d/a", b"1", 1)
    store(archive, "e/b", b"2", 2)
    store(archive, "f", b"3", 3)
    for source, target in (("d", "e"), ("f", "d"), ("d", "f"), ("nothing", "g")):
        with pytest.raises(Refused):
            archive.move(SafePath(source), SafePath(target), entry=4, overwrite=overwrite)
    assert visible(root) == {"d/a": b"1", "e/b": b"2", "f": b"3"}
    assert archive.open_entries() == ()


def test_a_put_does_not_replace_a_directory(archive: Archive, root: Path) -> None:
    """A directory in the place of the file, or a file in the place of a directory: refused, and the upload stays."""
    store(archive, "d/a", b"1", 1)
    for path in ("d", "d/a/b"):
        writer = archive.begin(SafePath(path), OWNER)
        writer.write(b"x")
        with pytest.raises(Refused):
            archive.commit(writer.upload_id, owner=OWNER, length=1, sha256=hashlib.sha256(b"x").digest(), path=SafePath(path), entry=2)
        assert archive.offset(writer.upload_id, OWNER) == 1
    assert visible(root) == {"d/a": b"1"}
    assert archive.open_entries() == ()


def test_ls_pages_in_order(archive: Archive, root: Path) -> None:
    """Pages are sorted, complete, without overlap, and bounded."""
    (root / "many").mkdir()
    wanted = [*sorted(f"file {number}" for number in range(25)), "ü", "日本"]
    for name in wanted:
        (root / "many" / name).write_bytes(b"x")
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = archive.ls(SafePath("many"), after=after, limit=4)
        assert len(page.entries) <= 4
        seen += [entry.name for entry in page.entries]
        after = page.after
    assert seen == wanted
    for limit in (0, -1, 1001):
        with pytest.raises(Misuse):
            archive.ls(None, limit=limit)
    with pytest.raises(Refused):
        archive.ls(SafePath("nowhere"))
    with pytest.raises(Refused):
        archive.ls(SafePath("many/file 1"))


def test_a_hand_written_file_is_served(archive: Archive, root: Path) -> None:
    """The root is an ordinary directory: what its owner puts there is there; its hash is computed on request, once."""
    (root / "by hand").write_bytes(b"hello")
    assert archive.stat(SafePath("by hand")).sha256 is None
    found = archive.stat(SafePath("by hand"), digest=True)
    assert (found.sha256, found.version) == (hashlib.sha256(b"hello").digest(), None)
    assert archive.stat(SafePath("by hand")).sha256 == found.sha256


def test_a_file_changed_by_hand_is_not_taken_for_the_old_one(archive: Archive, root: Path) -> None:
    """What was known of a file is forgotten the moment somebody else writes it."""
    store(archive, "a", b"ours", 1)
    (root / "a").write_bytes(b"his!")
    found = archive.stat(SafePath("a"))
    assert (found.sha256, found.version) == (None, None)
    store(archive, "a", b"ours again", 2)
    assert [(version.kept_at, version.version, version.sha256) for version in archive.versions(SafePath("a"))] == [(2, None, None)]


def test_ranges_are_read(archive: Archive) -> None:
    """Any range gives exactly its bytes."""
    store(archive, "a", bytes(range(256)) * 10, 1)
    with archive.get(SafePath("a")) as file:
        for header, expected in (("bytes=0-0", b"\0"), ("bytes=10-12", b"\x0a\x0b\x0c"), ("bytes=-2", b"\xfe\xff")):
            span = parse_range(header, file.stat.size)
            assert b"".join(file.chunks(span, 2)) == expected


def test_a_get_survives_rm_and_replacement(archive: Archive) -> None:
    """What was opened is read to its end, whatever happens to the path meanwhile."""
    content = os.urandom(1_000_000)
    store(archive, "a", content, 1)
    with archive.get(SafePath("a")) as file:
        pieces = file.chunks()
        first = next(pieces)
        store(archive, "a", b"other", 2)
        archive.remove(SafePath("a"), entry=3)
        assert first + b"".join(pieces) == content


def test_a_file_cut_short_while_it_is_read_is_said_so(archive: Archive, root: Path) -> None:
    """A short read is an error, never a silently shorter answer."""
    store(archive, "a", bytes(1000), 1)
    with archive.get(SafePath("a")) as file:
        os.truncate(root / "a", 100)
        with pytest.raises(Unavailable, match="shorter"):
            list(file.chunks())


def test_reading_a_closed_file_is_misuse(archive: Archive) -> None:
    """A closed handle reads nothing, above all not another file that took its descriptor."""
    store(archive, "a", b"1", 1)
    file = archive.get(SafePath("a"))
    file.close()
    file.close()
    with pytest.raises(Misuse):
        file.read(0, 1)


def test_two_commits_on_one_path_leave_one_whole_content(archive: Archive) -> None:
    """Of parallel commits one wins, the others are versions; no content is lost or mixed."""
    writers = []
    for number in range(4):
        writer = archive.begin(SafePath("a"), OWNER)
        writer.write(b"%d" % number * 50_000)
        writer.close()
        writers.append((number, writer.upload_id))
    start = threading.Barrier(4)

    def commit(number: int, upload: str) -> None:
        start.wait()
        content = b"%d" % number * 50_000
        sha256 = hashlib.sha256(content).digest()
        archive.commit(upload, owner=OWNER, length=50_000, sha256=sha256, path=SafePath("a"), entry=number + 1)

    threads = [threading.Thread(target=commit, args=args) for args in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    contents = [read(archive, "a")]
    for version in archive.versions(SafePath("a")):
        with archive.get_version(SafePath("a"), version.kept_at) as file:
            contents.append(b"".join(file.chunks()))
    assert sorted(contents) == [b"%d" % number * 50_000 for number in range(4)]


def test_one_upload_committed_twice_at_once_is_committed_once(archive: Archive) -> None:
    """Two commits racing for one upload: exactly one change."""
    for round_number in range(20):
        writer = archive.begin(SafePath("a"), OWNER)
        writer.write(b"x" * 1000)
        writer.close()
        start = threading.Barrier(2)
        done: list[int] = []

        def commit(entry: int, upload: str = writer.upload_id, start: threading.Barrier = start, done: list[int] = done) -> None:
            start.wait()
            try:
                sha256 = hashlib.sha256(b"x" * 1000).digest()
                archive.commit(upload, owner=OWNER, length=1000, sha256=sha256, path=SafePath("a"), entry=entry)
            except (Refused, Misuse):
                return
            done.append(entry)

        threads = [threading.Thread(target=commit, args=(2 * round_number + side,)) for side in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 1
        assert archive.stat(SafePath("a")).version == done[0]
        assert archive.open_entries() == ()


def test_uploads_are_bounded_and_expire(archive: Archive) -> None:
    """One pairing cannot take all places; what nobody continues is removed."""
    mine = [archive.begin(SafePath(f"a{number}"), OWNER) for number in range(4)]
    with pytest.raises(Refused, match="too many"):
        archive.begin(SafePath("b"), OWNER)
    archive.begin(SafePath("b"), OTHER)
    archive.begin(SafePath("c"), OTHER)
    with pytest.raises(Refused, match="too many"):
        archive.begin(SafePath("d"), b"\x03" * 32)
    assert archive.expire(0) == 0
    archive.give_up(mine[0].upload_id, OWNER)
    assert archive.expire(1 << 62) == 5
    with pytest.raises(Misuse, match="removed"):
        mine[1].write(b"x")
    assert archive.summary().uploads == 0


def test_a_file_too_large_is_refused(root: Path) -> None:
    """The limit holds for the sum of all writes."""
    archive = Archive.open(root, ArchiveSettings(uploads=UploadLimits(reserve_bytes=0, max_file_bytes=10)))
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"12345")
    with pytest.raises(Refused, match="larger"):
        writer.write(b"678901")
    assert writer.write(b"67890") == 10
    with pytest.raises(Misuse, match="at once"):
        writer.write(bytes(16 * 1024 * 1024 + 1))
    archive.close()


def test_the_reserve_is_never_touched(root: Path) -> None:
    """A client cannot fill the disk the ledger needs."""

    class SmallDisk(Disk):
        free = 1000

        def free_bytes(self, fd: int) -> int:
            return self.free

    disk = SmallDisk()
    archive = Archive.open(root, ArchiveSettings(uploads=UploadLimits(reserve_bytes=900)), disk)
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(bytes(100))
    disk.free = 900
    with pytest.raises(Unavailable, match="disk is full"):
        writer.write(b"x")
    with pytest.raises(Unavailable, match="disk is full"):
        archive.begin(SafePath("b"), OWNER)
    assert archive.offset(writer.upload_id, OWNER) == 100
    archive.close()


class FailingDisk(Disk):
    """A disk whose n-th call from `arm(n)` on fails with an errno, once or for ever."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._at = -1
        self._code = 0
        self._for_ever = False

    def arm(self, at: int, code: int, *, for_ever: bool) -> None:
        self.calls, self._at, self._code, self._for_ever = [], at, code, for_ever

    def before(self, call: str) -> None:
        self.calls.append(call)
        now = len(self.calls) - 1
        if self._at >= 0 and (now == self._at or (self._for_ever and now > self._at)):
            raise OSError(self._code, os.strerror(self._code))


@pytest.mark.parametrize("for_ever", [False, True])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES])
def test_a_failing_disk_leaves_the_old_or_the_new_content(root: Path, code: int, for_ever: bool) -> None:
    """Whichever call of a commit fails: Unavailable, and the path shows the old or the new content whole, as `complete` says."""
    for at in range(100):
        case = root / f"{at}"
        disk = FailingDisk()
        archive = Archive.open(case, SMALL, disk)
        store(archive, "a", b"old", 1)
        writer = archive.begin(SafePath("a"), OWNER)
        writer.write(b"new")
        disk.arm(at, code, for_ever=for_ever)
        sha256 = hashlib.sha256(b"new").digest()
        failed = False
        try:
            archive.commit(writer.upload_id, owner=OWNER, length=3, sha256=sha256, path=SafePath("a"), entry=2)
        except Unavailable as error:
            failed = True
            assert str(root) not in error.message + error.hint
        calls = len(disk.calls)
        disk.arm(-1, 0, for_ever=False)
        if failed and not archive.open_entries():
            assert visible(case) == {"a": b"old"}
            assert archive.versions(SafePath("a")) == ()
        else:
            assert (archive.complete(2) is not None) == failed
            assert visible(case) == {"a": b"new"}
        assert archive.open_entries() == ()
        archive.close()
        if at >= calls:
            break  # nothing failed: every call has had its turn
    else:
        raise AssertionError("a commit has more than a hundred calls")


def test_a_full_disk_takes_nothing_of_a_write(root: Path) -> None:
    """After ENOSPC the upload stands where it stood and can be continued when there is room."""
    disk = FailingDisk()
    archive = Archive.open(root, SMALL, disk)
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"1234")
    disk.arm(0, errno.ENOSPC, for_ever=False)
    with pytest.raises(Unavailable, match="disk is full"):
        writer.write(b"5678")
    assert archive.offset(writer.upload_id, OWNER) == 4
    assert writer.write(b"5678") == 8
    sha256 = hashlib.sha256(b"12345678").digest()
    archive.commit(writer.upload_id, owner=OWNER, length=8, sha256=sha256, path=SafePath("a"), entry=1)
    archive.close()


def test_a_failed_fsync_of_the_content_destroys_the_upload(root: Path) -> None:
    """The kernel would call the second fsync a success: the client has to send the bytes again."""
    disk = FailingDisk()
    archive = Archive.open(root, SMALL, disk)
    writer = archive.begin(SafePath("a"), OWNER)
    writer.write(b"1234")
    disk.arm(0, errno.EIO, for_ever=False)
    with pytest.raises(Unavailable):
        sha256 = hashlib.sha256(b"1234").digest()
        archive.commit(writer.upload_id, owner=OWNER, length=4, sha256=sha256, path=SafePath("a"), entry=1)
    assert disk.calls[0] == "fsync"
    with pytest.raises(Refused):
        archive.offset(writer.upload_id, OWNER)
    archive.close()


def test_a_root_that_is_a_file_is_unavailable(tmp_path: Path) -> None:
    """The archive says what is wrong instead of failing with a foreign exception."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        Archive.open(tmp_path / "file")
    with pytest.raises(Unavailable):
        Archive.open(tmp_path / "file" / "below")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / ".tally").symlink_to("/tmp")
    with pytest.raises(Unavailable):
        Archive.open(tmp_path / "root")


def test_what_a_crash_left_in_our_own_directories_is_cleaned(root: Path) -> None:
    """Temporary files, data without a record and records without data go at the next start."""
    archive = Archive.open(root, SMALL)
    store(archive, "a", b"1", 1)
    archive.close()
    own = root / ".tally"
    for name in ("journal/0.tmp", "known/1.tmp", "uploads/2.tmp", f"uploads/{'3' * 32}.data", f"uploads/{'4' * 32}.json"):
        (own / name).write_bytes(b"{}")
    archive = Archive.open(root, SMALL)
    left = sorted(str(path.relative_to(own)) for path in own.rglob("*") if path.is_file())
    assert [name.split("/")[0] for name in left] == ["known"]
    archive.close()


def test_a_damaged_journal_is_unavailable(archive: Archive, root: Path) -> None:
    """A record that cannot be read is not guessed at."""
    (root / ".tally" / "journal" / f"{9:020d}.json").write_bytes(b"{")
    assert archive.open_entries() == (9,)
    with pytest.raises(Unavailable, match="damaged"):
        archive.complete(9)
    archive.abandon(9)
    assert archive.open_entries() == ()


def test_a_name_the_file_system_cannot_take_is_malformed(root: Path) -> None:
    """ENAMETOOLONG is the client's doing."""

    class Short(Disk):
        def mkdir(self, name: str, at: int, mode: int = 0o750) -> None:
            if len(name) > 10:
                raise OSError(errno.ENAMETOOLONG, "")
            super().mkdir(name, at, mode)

    archive = Archive.open(root, ArchiveSettings(versions_per_path=0, uploads=SMALL.uploads), Short())
    with pytest.raises(Malformed, match="no name that long"):
        store(archive, "x" * 20 + "/a", b"1", 1)
    archive.close()


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_move_never_overwrites_with_or_without_help_of_the_kernel(root: Path, exclusive: bool) -> None:
    """Where the kernel cannot rename without replacing, we look first."""
    archive = Archive.open(root, SMALL, Disk(exclusive_rename=exclusive))
    store(archive, "a", b"1", 1)
    store(archive, "b", b"2", 2)
    with pytest.raises(Refused, match="exists"):
        archive.move(SafePath("a"), SafePath("b"), entry=3)
    with pytest.raises(OSError, match="exists"):
        archive._disk.rename_new("a", archive._fds["root"], "b", archive._fds["root"])
    archive.move(SafePath("a"), SafePath("c"), entry=4)
    assert visible(root) == {"b": b"2", "c": b"1"}
    archive.close()


def test_another_file_system_inside_the_archive_is_said_so(root: Path) -> None:
    """EXDEV: a mount the owner made; the change is undone and the hint says why."""

    class Mounted(Disk):
        def rename(self, source: str, source_at: int, target: str, target_at: int) -> None:
            if target == "a":
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            super().rename(source, source_at, target, target_at)

    archive = Archive.open(root, SMALL, Mounted())
    with pytest.raises(Unavailable, match="another file system"):
        store(archive, "a", b"1", 1)
    assert archive.summary().uploads == 1
    assert archive.open_entries() == ()
    archive.close()


def test_an_upload_is_read_back_when_its_hash_is_not_at_hand(root: Path) -> None:
    """After a restart the hash is computed from the file, in pieces."""
    content = os.urandom(3_000_000)
    archive = Archive.open(root, SMALL)
    with archive.begin(SafePath("a"), OWNER) as writer:
        writer.write(content)
    archive.close()
    archive = Archive.open(root, SMALL)
    sha256 = hashlib.sha256(content).digest()
    archive.commit(writer.upload_id, owner=OWNER, length=len(content), sha256=sha256, path=SafePath("a"), entry=1)
    assert read(archive, "a") == content
    archive.close()


def test_a_handle_nobody_closed_gives_its_descriptor_back(archive: Archive) -> None:
    """An answer that is never streamed leaks nothing."""
    store(archive, "a", b"1", 1)
    gc.collect()  # what other tests left is not ours to count

    def handles() -> int:
        links = (os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}"))
        return sum(link.endswith("/a") for link in links)

    before = handles()
    for _ in range(10):
        archive.get(SafePath("a"))
    gc.collect()
    assert handles() == before


def test_no_call_leaks_a_descriptor(archive: Archive, root: Path) -> None:
    """Whatever a client asks, and however it is refused, the descriptors are the same afterwards."""
    store(archive, "d/a", b"1", 1)
    (root / "link").symlink_to("/etc")
    before = len(os.listdir("/proc/self/fd"))
    for path in ("d/a", "d", "link", "link/a", "nothing", "d/a/b", "d/nothing"):
        for call in (
            lambda path=path: archive.get(SafePath(path)).close(),
            lambda path=path: archive.stat(SafePath(path), digest=True),
            lambda path=path: archive.ls(SafePath(path)),
            lambda path=path: archive.versions(SafePath(path)),
            lambda path=path: archive.get_version(SafePath(path), 3).close(),
            lambda path=path: archive.move(SafePath(path), SafePath("d/a"), entry=5),
            lambda path=path: store(archive, path + "/x/y", b"1", 6) if path != "d" else None,
            lambda path=path: archive.remove(SafePath(path), entry=7) if path != "d/a" else None,
        ):
            with contextlib.suppress(Refused, Misuse):
                call()
        archive.expire(1 << 62)
    archive.summary()
    assert len(os.listdir("/proc/self/fd")) == before


def test_knowledge_that_cannot_be_read_is_no_knowledge(archive: Archive, root: Path) -> None:
    """A damaged cache costs a hash, not the file."""
    store(archive, "a", b"hello", 1)
    for path in (root / ".tally" / "known").iterdir():
        path.write_bytes(b"{")
    assert archive.stat(SafePath("a")).sha256 is None
    assert archive.stat(SafePath("a"), digest=True).sha256 == hashlib.sha256(b"hello").digest()
    assert read(archive, "a") == b"hello"
