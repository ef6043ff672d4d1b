"""The three changes an archive knows (put, remove, move), their undoing and their completion after a crash.

A change runs in this order: the journal says what is meant (synced), the previous content gets a second name among the
versions (synced), one rename does it, the directory is synced, the journal's record becomes what is known. Before the
rename a failure is undone; after it, or after a crash anywhere, `complete(entry)` finishes it, any number of times.

One change at a time: the caller holds the archive's lock.
"""

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.service.disk import NO_SUCH_FILE, Disk, telling
from tallystick.service.names import SafePath
from tallystick.service.records import Journal, Known, Operation, Record, unlink_quietly
from tallystick.service.tree import Tree, walk
from tallystick.service.uploads import Sealed, Uploads
from tallystick.service.versions import Versions

MAX_MOVED: Final = 100_000
_TAKEN: Final = frozenset({errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR})


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change that is done: what `entry` brought about. For a removal size and hash are those of what was removed."""

    op: Operation
    entry: int
    path: str
    size: int
    sha256: bytes | None
    source: str | None = None

    @classmethod
    def of(cls, record: Record) -> "Change":
        return cls(
            op=record.op,
            entry=record.entry,
            path=record.path,
            size=record.size,
            sha256=None if record.sha256 is None else bytes.fromhex(record.sha256),
            source=record.source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """The parts of an open archive that a change touches."""

    tree: Tree
    journal: Journal
    known: Known
    versions: Versions
    uploads: Uploads
    disk: Disk

    def put(self, sealed: Sealed, entry: int) -> Change:
        """Put a sealed upload in its place. Raises: Refused, Unavailable."""
        record = Record(
            op="put",
            entry=entry,
            path=sealed.path,
            size=sealed.size,
            mtime_ns=sealed.mtime_ns,
            inode=sealed.inode,
            sha256=sealed.sha256.hex(),
            version=entry,
            upload=sealed.upload,
        )
        data = Journal.data_name(entry)
        handed_over = False
        try:
            with telling("store the file"):
                self.journal.begin(record)
                self.uploads.hand_over(sealed.upload, data, self.journal.fd)
                handed_over = True
                self.journal.sync()
                self._place(record)
        except TallyError:
            # Undo what can be undone; where even that fails, the journal still names the entry.
            with suppress(OSError):
                if self.disk.look(data, self.journal.fd) is not None:
                    self.versions.drop(record)
                    self.uploads.take_back(sealed.upload, data, self.journal.fd)
                    self.journal.forget(entry)
                elif not handed_over:
                    self.journal.forget(entry)
            raise
        return Change.of(record)

    def _place(self, record: Record) -> None:
        """The rename of a put, with what goes before and after it. Raises: Refused, Unavailable, OSError."""
        path = SafePath(record.path)
        with self.tree.parent(path, create=True) as parent:
            current = self.disk.look(path.name, parent)
            if current is not None and current.st_ino == record.inode:
                # Half of a rename survived a power failure: two names of one file, for which rename(2) would do nothing.
                self.disk.unlink(Journal.data_name(record.entry), self.journal.fd)
            else:
                if current is not None:
                    _only_files(current)
                    self.versions.keep_copy(record, self.known.of(path.text, current), path.name, parent)
                self.disk.rename(Journal.data_name(record.entry), self.journal.fd, path.name, parent)
            self.disk.fsync(parent)
        self._finish_put(record)

    def _finish_put(self, record: Record) -> None:
        self.journal.become_known(record)
        self._tidy(record)

    def _tidy(self, record: Record) -> None:
        """What is left over when a change is done. A failure here does not undo it: the next change or start tidies again."""
        with suppress(OSError):
            if record.upload is not None:
                self.uploads.settle(record.upload)
            self.versions.prune(record.path)

    def remove(self, path: SafePath, entry: int) -> Change:
        """Move a file to the versions, or remove an empty directory. Raises: Refused, Unavailable."""
        with telling("remove the file"), self.tree.parent(path) as parent:
            record = self._record("rm", path, entry, path, self.look_at(path, parent))
            try:
                self.journal.begin(record)
                self.journal.sync()
                self._take(record, path, parent)
            except OSError as error:
                if self.disk.look(path.name, parent) is not None:
                    self.journal.forget(entry)
                if error.errno in _TAKEN:
                    raise Refused("the directory is not empty", "remove its files first") from error
                raise
            return Change.of(record)

    def _take(self, record: Record, path: SafePath, parent: int) -> None:
        """The rename of a removal and what belongs to it. Raises: OSError."""
        if record.directory:
            self.disk.rmdir(path.name, parent)
        else:
            self.versions.take(record, record, path.name, parent)
        self.disk.fsync(parent)
        self._finish_remove(record)

    def _finish_remove(self, record: Record) -> None:
        self.known.forget(record.path)
        self.journal.forget(record.entry)
        self._tidy(record)

    def move(self, source: SafePath, target: SafePath, entry: int, overwrite: bool) -> Change:
        """Rename a file or directory. Raises: Misuse, Refused, Unavailable."""
        if source == target or target.below(source):
            raise Misuse("a path cannot be moved to itself or into itself", "choose another target")
        with telling("move the file"), self.tree.parent(source) as source_at, self.tree.parent(target, create=True) as target_at:
            record = self._record("mv", target, entry, source, self.look_at(source, source_at), overwrite=overwrite)
            self._may_replace(record, target, target_at)
            try:
                self.journal.begin(record)
                self.journal.sync()
                self._shift(record, source, source_at, target, target_at)
            except OSError as error:
                if self.disk.look(source.name, source_at) is not None:
                    self.versions.drop(record)
                    self.journal.forget(entry)
                if error.errno in _TAKEN:
                    raise _exists() from error
                raise
            return Change.of(record)

    def _may_replace(self, record: Record, target: SafePath, target_at: int) -> None:
        there = self.disk.look(target.name, target_at)
        if there is None:
            return
        if not record.overwrite or record.directory:
            raise _exists()
        _only_files(there)

    def _shift(self, record: Record, source: SafePath, source_at: int, target: SafePath, target_at: int) -> None:
        """The rename of a move and what belongs to it. Raises: OSError."""
        there = self.disk.look(target.name, target_at)
        if record.overwrite and not record.directory and there is not None:
            self.versions.keep_copy(record, self.known.of(target.text, there), target.name, target_at)
            self.disk.rename(source.name, source_at, target.name, target_at)
        else:
            self.disk.rename_new(source.name, source_at, target.name, target_at)
        self._finish_move(record, source, source_at, target, target_at)

    def _finish_move(self, record: Record, source: SafePath, source_at: int, target: SafePath, target_at: int) -> None:
        self.disk.fsync(target_at)
        self.disk.fsync(source_at)
        if record.directory:
            self._move_known(source, target, target_at)
            self.journal.forget(record.entry)
        elif record.sha256 is None:
            self.known.forget(target.text)
            self.journal.forget(record.entry)
        else:
            self.known.forget(source.text)
            self.journal.become_known(record)
        self._tidy(record)

    def _move_known(self, source: SafePath, target: SafePath, target_at: int) -> None:
        """What was known of a moved directory's files follows them; of more than MAX_MOVED, hashes are computed anew."""
        moved = self.disk.open_directory(target.name, target_at)
        try:
            for count, (below, _) in enumerate(walk(moved, self.disk, MAX_MOVED)):
                if count >= MAX_MOVED:
                    break
                self.known.move(f"{source}/{below}", f"{target}/{below}")
        finally:
            os.close(moved)

    def complete(self, entry: int) -> Change | None:
        """Finish the change of an entry; None when there is nothing to finish. Raises: Refused, Unavailable."""
        record = self.journal.load(entry)
        if record is None:
            return None
        with telling("complete a change"):
            if record.op == "put":
                self._complete_put(record)
            elif record.op == "rm":
                self._complete_remove(record)
            else:
                self._complete_move(record)
        return Change.of(record)

    def _complete_put(self, record: Record) -> None:
        data = Journal.data_name(record.entry)
        if self.disk.look(data, self.journal.fd) is None and record.upload is not None:
            with suppress(FileNotFoundError):
                self.uploads.hand_over(record.upload, data, self.journal.fd)
        staged = self.disk.look(data, self.journal.fd)
        if staged is not None:
            if not record.describes(staged):
                raise Unavailable("a staged file is not what the journal says", "abandon the change; the client uploads again")
            self.journal.sync()
            self._place(record)
            return
        path = SafePath(record.path)
        current = None
        with suppress(Refused), self.tree.parent(path) as parent:  # no such folder: it was never placed, and its upload is lost
            current = self.disk.look(path.name, parent)
            self.disk.fsync(parent)
        if current is not None and record.describes(current):
            self._finish_put(record)
        else:
            self.journal.forget(record.entry)  # it was never placed, or was done and somebody changed the file since

    def _complete_remove(self, record: Record) -> None:
        path = SafePath(record.path)
        with self.tree.parent(path) as parent:
            current = self.disk.look(path.name, parent)
            if current is not None and current.st_ino == record.inode:
                self._take(record, path, parent)
                return
            self.disk.fsync(parent)
        self._finish_remove(record)

    def _complete_move(self, record: Record) -> None:
        source, target = SafePath(record.source or ""), SafePath(record.path)
        with self.tree.parent(source) as source_at, self.tree.parent(target, create=True) as target_at:
            there = self.disk.look(target.name, target_at)
            here = self.disk.look(source.name, source_at)
            if there is not None and there.st_ino == record.inode:
                self._finish_move(record, source, source_at, target, target_at)
            elif here is not None and here.st_ino == record.inode:
                self._may_replace(record, target, target_at)
                self._shift(record, source, source_at, target, target_at)
            else:
                self.journal.forget(record.entry)

    def abandon(self, entry: int) -> None:
        """Drop a change that is not to happen. Raises: Unavailable."""
        with telling("abandon a change"):
            unlink_quietly(self.disk, Journal.data_name(entry), self.journal.fd)
            self.journal.forget(entry)

    def look_at(self, path: SafePath, parent: int) -> os.stat_result:
        """lstat of a regular file or directory. Raises: Refused, OSError."""
        found = self.disk.look(path.name, parent)
        if found is None or not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
            raise Refused(NO_SUCH_FILE)
        return found

    def _record(
        self, op: Operation, path: SafePath, entry: int, subject: SafePath, found: os.stat_result, *, overwrite: bool = False
    ) -> Record:
        """The record of a change to the existing `subject`, with what is known of it. Raises: OSError."""
        directory = stat.S_ISDIR(found.st_mode)
        known = None if directory else self.known.of(subject.text, found)
        return Record(
            op=op,
            entry=entry,
            path=path.text,
            size=0 if directory else found.st_size,
            mtime_ns=found.st_mtime_ns,
            inode=found.st_ino,
            sha256=known.sha256 if known else None,
            version=known.version if known else None,
            source=None if subject == path else subject.text,
            overwrite=overwrite,
            directory=directory,
        )


def _only_files(found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise Refused("something that is not a file stands at this path", "choose another path")


def _exists() -> Refused:
    return Refused("a file of that name exists", "ask to overwrite it, or choose another name")
