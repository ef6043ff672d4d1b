"""The system calls of the archive, one method each, relative to open directories (openat(2) and its family).

Every name is a single segment resolved in a directory that is already open, and no symbolic link is followed: a link that
another program plants under the root leads nowhere. `before` is called ahead of every call that changes the disk; a test's
disk raises there, so a crash or a full disk between any two calls is an argument, not a patch.
"""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tallystick.errors import Malformed, Refused, TallyError, Unavailable

NO_SUCH_FILE: Final = "no such file"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO somebody planted must not wait for its writer.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FILE_MODE: Final = 0o640  # of what the archive makes; a narrower umask narrows them
FOLDER_MODE: Final = 0o750
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE: Final = 1  # linux/fs.h; renameat2(2)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ABSENT: Final = frozenset({errno.ENOENT, errno.ELOOP, errno.ENOTDIR})


def told(error: OSError, doing: str) -> TallyError:
    """The error of ours that an OSError means. Paths of this computer are left out: a paired machine may read the text."""
    if error.errno in _FULL:
        return Unavailable(f"could not {doing}: the disk is full", "free space on the archive's file system")
    if error.errno in _DENIED:
        return Unavailable(f"could not {doing}: permission denied", "the archive's directory must belong to the house's user")
    if error.errno == errno.EXDEV:
        return Unavailable(f"could not {doing}: another file system is mounted there", "an archive is one file system")
    if error.errno == errno.ENAMETOOLONG:
        return Malformed(f"could not {doing}: the file system takes no name that long", "shorten the name")
    if error.errno in _ABSENT:
        return Refused(NO_SUCH_FILE)
    return Unavailable(f"could not {doing}: {os.strerror(error.errno or errno.EIO)}", "look at the house's disk")


@contextmanager
def telling(doing: str) -> Iterator[None]:
    """Let no OSError escape: say what could not be done. Raises: Refused (no such file), Unavailable, Malformed."""
    try:
        yield
    except OSError as error:
        raise told(error, doing) from error


class Disk:
    """The real disk. All methods raise OSError; their callers stand inside `telling`.

    `exclusive_rename` says whether the kernel can rename without replacing; macOS and old C libraries cannot.
    """

    def __init__(self, *, exclusive_rename: bool = True) -> None:
        self._renameat2 = renameat2 if exclusive_rename else None

    def before(self, call: str) -> None:
        """Called ahead of each call that changes the disk."""

    def open_directory(self, name: str, at: int | None) -> int:
        return os.open(name, _DIRECTORY, dir_fd=at)

    def open_file(self, name: str, at: int) -> int:
        """Open a regular file for reading; anything else is ELOOP, as a link would be."""
        fd = os.open(name, _READ, dir_fd=at)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return fd

    def create(self, name: str, at: int) -> int:
        """Create a file that did not exist: for its owner and whoever is in the group, never for all, whatever the umask."""
        self.before("create")
        return os.open(name, _CREATE, FILE_MODE, dir_fd=at)

    def reopen(self, name: str, at: int) -> int:
        return os.open(name, _APPEND, dir_fd=at)

    def write(self, fd: int, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`."""
        self.before("write")
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, fd: int, size: int) -> None:
        self.before("truncate")
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        self.before("fsync")
        os.fsync(fd)

    def mkdir(self, name: str, at: int, mode: int = FOLDER_MODE) -> None:
        self.before("mkdir")
        os.mkdir(name, mode, dir_fd=at)

    def rename(self, source: str, source_at: int, target: str, target_at: int) -> None:
        """Atomic replace, rename(2)."""
        self.before("rename")
        os.rename(source, target, src_dir_fd=source_at, dst_dir_fd=target_at)

    def rename_new(self, source: str, source_at: int, target: str, target_at: int) -> None:
        """Rename that fails with EEXIST when the target exists: renameat2(RENAME_NOREPLACE).

        Where the C library or the file system has no such call, look first: our own threads hold a lock, so only another
        program writing the same name in the same instant could slip between.
        """
        self.before("rename")
        if self._renameat2 is not None:
            if self._renameat2(source_at, os.fsencode(source), target_at, os.fsencode(target), _RENAME_NOREPLACE) == 0:
                return
            code = ctypes.get_errno()
            if code not in (errno.EINVAL, errno.ENOSYS):
                raise OSError(code, os.strerror(code))
        if self.look(target, target_at) is not None:
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(source, target, src_dir_fd=source_at, dst_dir_fd=target_at)

    def link(self, source: str, source_at: int, target: str, target_at: int) -> None:
        """A second name for the same file, never for what a link points to."""
        self.before("link")
        os.link(source, target, src_dir_fd=source_at, dst_dir_fd=target_at, follow_symlinks=False)

    def unlink(self, name: str, at: int) -> None:
        self.before("unlink")
        os.unlink(name, dir_fd=at)

    def rmdir(self, name: str, at: int) -> None:
        self.before("rmdir")
        os.rmdir(name, dir_fd=at)

    def look(self, name: str, at: int) -> os.stat_result | None:
        """lstat; None when there is nothing of that name."""
        try:
            return os.stat(name, dir_fd=at, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def free_bytes(self, fd: int) -> int:
        """What a process without privileges may still write."""
        found = os.fstatvfs(fd)
        return found.f_bavail * found.f_frsize


def _load_renameat2() -> "ctypes._NamedFuncPointer | None":
    """glibc >= 2.28 and musl have it; macOS has not."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int
    return function


renameat2: Final = _load_renameat2()
