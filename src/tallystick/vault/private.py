"""Private files in a private directory: 0600 in 0700, ours alone, each change all or nothing (docs/spec/vault.md, section 2).

A file is written under a temporary name, synced, renamed, and the directory synced: after a crash between any two
system calls the old content stands or the new one does. A file is deleted by renaming it to a dying name (from there on
it is gone), then overwriting it with zeros, then unlinking it. What a crash left under a temporary or dying name is
overwritten and unlinked when the directory is next opened.

Overwriting reaches the old bytes on file systems that write in place. It does not on SSDs (wear levelling), on
copy-on-write file systems, in snapshots and in backups: there, only the encryption of the whole disk helps.

Every change holds flock on the directory, so that one process does not sweep what another is writing.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NoReturn

from tallystick.errors import Misuse, Refused, Unavailable

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700
MAX_FILE_BYTES: Final = 1 << 17
MAX_FILES: Final = 1 << 20  # of one directory

_NEW: Final = ".new-"  # being written
_GONE: Final = ".gone-"  # deleted, its bytes not yet overwritten


class Disk:
    """The system calls that change a vault, one method each: the place where tests make the power fail."""

    def open(self, path: Path, flags: int) -> int:
        """open(2), never through a symbolic link, never waiting for the other end of a pipe."""
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)

    def write(self, fd: int, data: bytes) -> int:
        """write(2)."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """fsync(2)."""
        os.fsync(fd)

    def rename(self, old: Path, new: Path) -> None:
        """rename(2)."""
        os.rename(old, new)

    def unlink(self, path: Path) -> None:
        """unlink(2)."""
        os.unlink(path)

    def mkdir(self, path: Path) -> None:
        """mkdir(2)."""
        os.mkdir(path, DIRECTORY_MODE)

    def rmdir(self, path: Path) -> None:
        """rmdir(2)."""
        os.rmdir(path)


@contextmanager
def foreign_errors(path: Path) -> Iterator[None]:
    """Turn the system's errors into ours. Raises: Refused when we may not, Unavailable for all else."""
    try:
        yield
    except OSError as error:
        _raise(error, path)


def _raise(error: OSError, path: Path) -> NoReturn:
    if error.errno in (errno.EACCES, errno.EPERM):
        raise Refused(f"no permission for {path}", "Run this as the user who owns the vault.") from error
    if error.errno == errno.ELOOP:
        raise Refused(f"{path} is a symbolic link", "A vault holds plain files only; put the real file in its place.") from error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise Unavailable(f"no space left for {path}", "Free some space; nothing was changed.") from error
    if error.errno == errno.EROFS:
        raise Unavailable(f"{path} lies on a read-only file system", "Mount it writable; nothing was changed.") from error
    raise Unavailable(f"{path}: {error.strerror or error}", "Check the disk, then try again.") from error


def check_private(path: Path, status: os.stat_result, *, directory: bool) -> None:
    """Raises: Refused, saying how to mend it, unless this is a plain file or directory that only we can touch."""
    us = os.geteuid()
    if not (stat.S_ISDIR if directory else stat.S_ISREG)(status.st_mode):
        raise Refused(f"{path} is not a {'directory' if directory else 'plain file'}", "Remove it, or restore the vault from a backup.")
    if status.st_uid != us:
        # Root is told to become the owner: a vault that was given to root is one that its house cannot open any more.
        hint = f"Run this as its owner, or: chown {us} {path}" if us else f"Run this as that user: sudo -u '#{status.st_uid}' tally ..."
        raise Refused(f"{path} belongs to user {status.st_uid}, we are {us}", hint)
    if status.st_mode & 0o077:
        wanted, found = DIRECTORY_MODE if directory else FILE_MODE, stat.S_IMODE(status.st_mode)
        raise Refused(f"{path} is open to others (mode {found:04o})", f"chmod {wanted:o} {path}, and consider its keys known.")
    if not directory and status.st_nlink > 1:
        raise Refused(f"{path} has another name somewhere (hard link)", "Find and remove the other name; its content may be known.")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold flock on a directory; waits for the other process."""
    with foreign_errors(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with foreign_errors(path):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class PrivateDirectory:
    """One directory of private files. Names are the caller's business: no slash, no leading dot."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk

    def make(self) -> None:
        """Make the directory; its parent must stand. Raises: Refused or Unavailable."""
        with foreign_errors(self.path):
            self._disk.mkdir(self.path)

    def check(self) -> None:
        """Raises: Refused when it is wider than 0700, not ours or no directory; Unavailable when it is not there."""
        with foreign_errors(self.path):
            check_private(self.path, os.lstat(self.path), directory=True)

    def names(self) -> tuple[str, ...]:
        """The names of its files, sorted. Raises: Unavailable when there are more than a million."""
        with foreign_errors(self.path):
            found = sorted(name for name in os.listdir(self.path) if not name.startswith("."))
        if len(found) > MAX_FILES:
            raise Unavailable(f"{self.path} holds more than {MAX_FILES} files")
        return tuple(found)

    def read(self, name: str) -> bytes | None:
        """A file's content, None when there is none. Raises: Refused when others can touch it, Unavailable when too long."""
        path = self.path / name
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            _raise(error, path)
        try:
            with foreign_errors(path):
                check_private(path, os.fstat(fd), directory=False)
                with os.fdopen(fd, "rb", closefd=False) as file:
                    data = file.read(MAX_FILE_BYTES + 1)
        finally:
            os.close(fd)
        if len(data) > MAX_FILE_BYTES:
            raise Unavailable(f"{path} is longer than {MAX_FILE_BYTES} bytes", "This is no vault file; restore it from a backup.")
        return data

    def write(self, name: str, data: bytes) -> None:
        """Put a file in place, durably; the content it replaces is overwritten. Raises: Refused, Unavailable."""
        path, new = self.path / name, self.path / f"{_NEW}{name}"
        with locked(self.path), foreign_errors(path), self._held(path) as old:
            self._scrub(new)  # of a writer that failed or died
            try:
                self._fill(new, data)
                self._disk.rename(new, path)
            except OSError:
                self._scrub(new)
                raise
            self.sync()
            if old is not None:
                self._overwrite(old)

    def delete(self, name: str) -> bool:
        """Destroy a file; False when there was none. Raises: Refused, Unavailable."""
        path, gone = self.path / name, self.path / f"{_GONE}{name}"
        with locked(self.path), foreign_errors(path), self._held(path) as old:
            if old is None:
                return False
            self._scrub(gone)
            self._disk.rename(path, gone)
            self.sync()  # before the first zero is written: a file that comes back comes back whole
            self._overwrite(old)
            self._disk.unlink(gone)
            self.sync()
        return True

    def sweep(self) -> None:
        """Destroy what a crash left half written or half deleted. Raises: Refused, Unavailable."""
        with locked(self.path), foreign_errors(self.path):
            left = [name for name in os.listdir(self.path) if name.startswith((_NEW, _GONE))]
            for name in left:
                self._scrub(self.path / name)
            if left:
                self.sync()

    def sync(self) -> None:
        """Make the names of this directory durable. Raises: Refused, Unavailable."""
        with foreign_errors(self.path):
            fd = self._disk.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self._disk.fsync(fd)
            finally:
                os.close(fd)

    @contextmanager
    def _held(self, path: Path) -> Iterator[int | None]:
        """The file that is about to lose its name, open for overwriting; None when there is none."""
        try:
            fd = self._disk.open(path, os.O_WRONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            check_private(path, os.fstat(fd), directory=False)
            yield fd
        finally:
            os.close(fd)

    def _fill(self, path: Path, data: bytes) -> None:
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            self._write_all(fd, data)
            self._disk.fsync(fd)
        finally:
            os.close(fd)

    def _write_all(self, fd: int, data: bytes) -> None:
        at = 0
        while at < len(data):
            at += self._disk.write(fd, data[at:])

    def _overwrite(self, fd: int) -> None:
        """Zeros over the whole file, synced."""
        os.lseek(fd, 0, os.SEEK_SET)
        self._write_all(fd, bytes(os.fstat(fd).st_size))
        self._disk.fsync(fd)

    def _scrub(self, path: Path) -> None:
        """Overwrite and unlink, if it is there."""
        try:
            plain = stat.S_ISREG(os.lstat(path).st_mode)
        except FileNotFoundError:
            return
        if plain:
            fd = self._disk.open(path, os.O_WRONLY)
            try:
                self._overwrite(fd)
            finally:
                os.close(fd)
        self._disk.unlink(path)


def destroy_tree(path: Path, disk: Disk) -> None:
    """Scrub a directory that was never put in place, with the directories in it. Raises: Refused, Unavailable."""
    directory = PrivateDirectory(path, disk)
    directory.check()
    with foreign_errors(path):
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            if entry.is_dir(follow_symlinks=False):
                destroy_tree(Path(entry.path), disk)
            else:
                directory._scrub(Path(entry.path))
        disk.rmdir(path)


def exists(path: Path) -> bool:
    """Whether anything bears this name, a dangling link included. Raises: Misuse, Refused, Unavailable."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except ValueError as error:
        raise Misuse("a path cannot hold a NUL character") from error
    except OSError as error:
        _raise(error, path)
    return True
