"""A real file store behind the pair (docs/spec/archive.md).

The root is an ordinary directory: its owner sees ordinary files, and may put some there by hand. Everything of ours lies in
`.tally` below it, on the same file system, so that every change is a rename: `uploads` (bytes that arrived), `journal`
(changes that began, named by the index of their ledger entry), `versions` (previous contents), `known` (hashes).

All calls block and may come from many threads. Changes are made one at a time; reads need no lock, for a file in place is
never written to.
"""

import os
import stat
import threading
from bisect import insort
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.errors import Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.service.changes import Change, Changes
from tallystick.service.disk import FOLDER_MODE, Disk, telling
from tallystick.service.names import RESERVED, SafePath, is_safe_name
from tallystick.service.reading import Entry, OpenFile, Page, Stat, Summary, hash_of
from tallystick.service.records import Journal, Known, Record, unlink_quietly
from tallystick.service.tree import Tree, walk
from tallystick.service.uploads import Sealed, Unfinished, UploadLimits, Uploads, Writer
from tallystick.service.versions import Version, Versions

MAX_PAGE: Final = 1000
MAX_COUNTED: Final = 1_000_000
_AREAS: Final = ("uploads", "journal", "versions", "known")

OnlyIf = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """`versions_per_path`: previous contents kept for each path, 0 for none."""

    versions_per_path: int = 16
    uploads: UploadLimits = field(default_factory=UploadLimits)


class Archive:
    """One root. `Archive.open` is the only way to make one; `close` gives its descriptors back."""

    def __init__(self, fds: dict[str, int], settings: ArchiveSettings, disk: Disk) -> None:
        self._fds = fds
        self._disk = disk
        self._lock = threading.Lock()
        self._tree = Tree(fds["root"], disk)
        self._journal = Journal(fds["journal"], fds["known"], disk)
        self._known = Known(fds["known"], disk)
        self._versions = Versions(fds["versions"], settings.versions_per_path, disk)
        self._uploads = Uploads(fds["uploads"], settings.uploads, disk)
        self._changes = Changes(
            tree=self._tree, journal=self._journal, known=self._known, versions=self._versions, uploads=self._uploads, disk=disk
        )

    @classmethod
    def open(cls, root: Path, settings: ArchiveSettings | None = None, disk: Disk | None = None) -> "Archive":
        """Open the archive at `root`, making the directory if needed. One process at a time (the caller holds house.lock).

        Raises: Unavailable.
        """
        disk = disk or Disk()
        fds: dict[str, int] = {}
        try:
            with telling("open the archive's directory"):
                for parent in reversed(root.absolute().parents):
                    if not parent.exists():
                        parent.mkdir(mode=FOLDER_MODE, exist_ok=True)
                root.mkdir(mode=0o700, exist_ok=True)
                # The root itself may be a link: its owner chose it. Nothing below it may.
                fds["root"] = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fds["own"] = _make(RESERVED, fds["root"], disk)
                for area in _AREAS:
                    fds[area] = _make(area, fds["own"], disk)
                for area in ("journal", "known"):
                    for name in os.listdir(fds[area]):
                        if name.endswith(".tmp"):
                            unlink_quietly(disk, name, fds[area])
                return cls(fds, settings or ArchiveSettings(), disk)
        except BaseException as error:
            for fd in fds.values():
                os.close(fd)
            if isinstance(error, Refused):
                raise Unavailable("the archive's directory cannot be opened", "its root and .tally below it must be directories") from error
            raise

    def close(self) -> None:
        """Close all descriptors. Open files stay readable."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()

    # Uploads: bytes arrive, nothing is visible yet.

    def begin(self, path: SafePath, owner: bytes) -> Writer:
        """Begin an upload for `path` by the pairing `owner`. Raises: Refused, Unavailable."""
        return self._uploads.begin(path.text, owner)

    def resume(self, upload: str, owner: bytes, offset: int) -> Writer:
        """Continue an upload at `offset`. Raises: Misuse when it stands elsewhere, Refused, Unavailable."""
        return self._uploads.resume(upload, owner, offset)

    def offset(self, upload: str, owner: bytes) -> int:
        """Where an upload stands. Raises: Refused."""
        return self._uploads.offset(upload, owner)

    def uploads(self, owner: bytes) -> tuple[Unfinished, ...]:
        """The unfinished uploads of the pairing `owner`, the one with the oldest last byte first. Raises: Unavailable."""
        with telling("list the uploads"):
            return self._uploads.of(owner)

    def give_up(self, upload: str, owner: bytes) -> str:
        """Remove an upload; the path it was for. Raises: Refused, Misuse when it is being committed, Unavailable."""
        return self._uploads.give_up(upload, owner)

    def expire(self, before_ns: int) -> int:
        """Remove uploads without a byte since `before_ns`; returns how many. Raises: Unavailable."""
        return self._uploads.expire(before_ns)

    def keep_uploads(self, owners: Collection[bytes]) -> int:
        """Remove the uploads of all pairings but these; returns how many. Raises: Unavailable."""
        return self._uploads.keep(owners)

    # Changes: each is the effect of one ledger entry. `only_if` is asked when no other change can come in between any more, and raises
    # what keeps this one from happening.

    def commit(
        self, upload: str, *, owner: bytes, length: int, sha256: bytes, path: SafePath, entry: int, only_if: OnlyIf | None = None
    ) -> Change:
        """Put a finished upload in its place, atomically; what stood there becomes a version.

        Raises: Misuse (bytes are missing, or another path), Unproven (the bytes are not those of `sha256`; the upload is
        removed), Refused (something that is not a file stands there), Unavailable. After any of these the path shows what it
        showed before, unless `open_entries()` still names the entry: then `complete` or `abandon` decides.
        """
        sealed = self._uploads.seal(upload, owner)
        try:
            self._compare(sealed, owner=owner, length=length, sha256=sha256, path=path)
            with self._lock:
                _still(only_if)
                return self._changes.put(sealed, entry)
        except TallyError:
            self._uploads.unseal(upload)
            raise

    def _compare(self, sealed: Sealed, *, owner: bytes, length: int, sha256: bytes, path: SafePath) -> None:
        if sealed.path != path.text:
            raise Misuse("the upload was begun for another path", "commit it to the path it was begun for")
        if sealed.size != length:
            raise Misuse(f"the upload stands at {sealed.size} and not at {length}", "send the missing bytes, then commit again")
        if sealed.sha256 != sha256:
            self._uploads.remove(sealed.upload, owner)
            raise Unproven("the bytes that arrived are not the bytes announced", "upload the file again")

    def remove(self, path: SafePath, *, entry: int, only_if: OnlyIf | None = None) -> Change:
        """Take a file away; its content becomes a version. An empty directory is removed.

        Raises: Refused (no such file, or a directory that is not empty), Unavailable.
        """
        with self._lock:
            _still(only_if)
            return self._changes.remove(path, entry)

    def move(self, source: SafePath, target: SafePath, *, entry: int, overwrite: bool = False, only_if: OnlyIf | None = None) -> Change:
        """Move a file or a directory, atomically. Only with `overwrite` is a file replaced; it becomes a version of `target`.

        Raises: Misuse (a path and itself, or a directory into itself), Refused (no such file, or the target exists), Unavailable.
        """
        with self._lock:
            _still(only_if)
            return self._changes.move(source, target, entry, overwrite)

    def open_entries(self) -> tuple[int, ...]:
        """The entries whose change began and is not known to be finished, oldest first. Raises: Unavailable."""
        return self._journal.open_entries()

    def complete(self, entry: int) -> Change | None:
        """Finish the change of an entry after a crash. None when it never began or was finished before: nothing happens.

        Raises: Refused (what stands there now forbids it), Unavailable.
        """
        with self._lock:
            return self._changes.complete(entry)

    def abandon(self, entry: int) -> None:
        """Drop a change that is not to happen; a staged file is removed. What already happened stays. Raises: Unavailable."""
        with self._lock:
            self._changes.abandon(entry)

    # Reads.

    def get(self, path: SafePath) -> OpenFile:
        """Open a file for reading. What was opened stays readable whatever happens to the path.

        Raises: Refused (`no such file`, also for links and anything that is not a regular file), Unavailable.
        """
        with telling("open the file"), self._tree.parent(path) as parent:
            fd = self._disk.open_file(path.name, parent)
            try:
                return OpenFile(fd, self._described(path, os.fstat(fd)))
            except BaseException:
                os.close(fd)
                raise

    def get_version(self, path: SafePath, kept_at: int) -> OpenFile:
        """Open a previous content of `path`. Raises: Refused, Unavailable."""
        fd, kept = self._versions.open(path.text, kept_at)
        described = Stat(path=path.text, directory=False, size=kept.size, mtime_ns=kept.mtime_ns, sha256=kept.sha256, version=kept.version)
        return OpenFile(fd, described)

    def versions(self, path: SafePath) -> tuple[Version, ...]:
        """The previous contents of `path`, newest first. Raises: Unavailable."""
        return self._versions.list(path.text)

    def stat(self, path: SafePath, *, digest: bool = False) -> Stat:
        """Size, time, hash and version. A hash that is not known (a file put there by hand) is computed with `digest`.

        Raises: Refused, Unavailable.
        """
        with telling("look at the file"), self._tree.parent(path) as parent:
            described = self._described(path, self._changes.look_at(path, parent))
        if not digest or described.directory or described.sha256 is not None:
            return described
        with self.get(path) as file:
            sha256 = hash_of(file, lambda: bool(self._fds))
            self._learn(path, file.stat, sha256)
            return file.stat.with_hash(sha256)

    def _learn(self, path: SafePath, known: Stat, sha256: bytes) -> None:
        """Remember a computed hash, unless the file was changed meanwhile. Raises: Unavailable."""
        record = Record(op="put", entry=0, path=path.text, size=known.size, mtime_ns=known.mtime_ns, sha256=sha256.hex())
        with self._lock, telling("keep a hash"), self._tree.parent(path) as parent:
            found = self._disk.look(path.name, parent)
            if found is not None and record.describes(found):
                self._known.learn(record)

    def ls(self, path: SafePath | None = None, *, after: str = "", limit: int = MAX_PAGE) -> Page:
        """One page of a directory (None: the root), sorted by name; `after` is the last name of the page before.

        Names the archive cannot speak (links, devices, unsafe names) are not shown. Memory is bounded by `limit`.
        Raises: Misuse (limit), Refused (no such directory), Unavailable.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Misuse(f"a page has 1 to {MAX_PAGE} names")
        first: list[str] = []
        with telling("list the directory"), self._tree.directory(() if path is None else path.segments) as fd:
            with os.scandir(fd) as names:
                for found in names:
                    name = found.name
                    if name <= after or (len(first) > limit and name > first[-1]):
                        continue
                    if is_safe_name(name) and (found.is_file(follow_symlinks=False) or found.is_dir(follow_symlinks=False)):
                        insort(first, name)
                        del first[limit + 1 :]
            entries = tuple(entry for name in first[:limit] if (entry := self._entry(name, fd)) is not None)
        return Page(entries=entries, after=first[limit - 1] if len(first) > limit else None)

    def _entry(self, name: str, fd: int) -> Entry | None:
        found = self._disk.look(name, fd)
        if found is None:
            return None
        directory = stat.S_ISDIR(found.st_mode)
        return Entry(name=name, directory=directory, size=0 if directory else found.st_size, mtime_ns=found.st_mtime_ns)

    def summary(self) -> Summary:
        """Counts and sizes, no name: all that an INTERFACE pair may see. Stops counting at a million files. Raises: Unavailable."""
        files = size = 0
        with telling("count the files"):
            for _, found in walk(self._fds["root"], self._disk, MAX_COUNTED):
                files, size = files + 1, size + found.st_size
                if files >= MAX_COUNTED:
                    break
            versions, version_bytes = self._versions.totals(MAX_COUNTED)
            uploads, upload_bytes = self._uploads.totals()
        return Summary(files=files, bytes=size, versions=versions, version_bytes=version_bytes, uploads=uploads, upload_bytes=upload_bytes)

    def _described(self, path: SafePath, found: os.stat_result) -> Stat:
        directory = stat.S_ISDIR(found.st_mode)
        known = None if directory else self._known.of(path.text, found)
        return Stat(
            path=path.text,
            directory=directory,
            size=0 if directory else found.st_size,
            mtime_ns=found.st_mtime_ns,
            sha256=bytes.fromhex(known.sha256) if known and known.sha256 else None,
            version=known.version if known else None,
        )


def _still(only_if: OnlyIf | None) -> None:
    if only_if is not None:
        only_if()


def _make(name: str, at: int, disk: Disk) -> int:
    """Open a directory of ours, making it (0700) if needed. Raises: OSError."""
    try:
        return disk.open_directory(name, at)
    except FileNotFoundError:
        disk.mkdir(name, at, 0o700)
        disk.fsync(at)
        return disk.open_directory(name, at)
