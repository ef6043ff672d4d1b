"""The system calls by which plain files of the storage change, one method each.

Whoever writes files beside the database takes a `Disk`. A test's disk fails at the call it was told, or remembers what was written
and what was synced, so that a full disk and a power cut between any two calls are an argument and not a patch.
"""

import errno
import os
from pathlib import Path
from typing import Final

# What may work again once somebody made room; after any other error nobody knows what the disk holds.
PASSING: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Disk:
    """The real one. Every method raises OSError; descriptors are closed with os.close."""

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        """open(2), with O_CLOEXEC."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def pwrite(self, fd: int, data: bytes | memoryview, at: int) -> int:
        """pwrite(2): how many bytes were written, which may be fewer."""
        return os.pwrite(fd, data, at)

    def fdatasync(self, fd: int) -> None:
        """Make a file's bytes and size durable, fdatasync(2)."""
        os.fdatasync(fd)

    def fsync_folder(self, path: Path) -> None:
        """Make the names in a folder durable."""
        fd = os.open(path, _DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        """Make a folder."""
        os.mkdir(path, mode)

    def chmod(self, fd: int, mode: int) -> None:
        """Give a file its mode, whatever the umask."""
        os.fchmod(fd, mode)

    def replace(self, old: Path, new: Path) -> None:
        """rename(2) within one folder: the name leads to the new file or to the old one, never to nothing."""
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        """Take a file's name away."""
        os.unlink(path)

    def rmdir(self, path: Path) -> None:
        """Take an empty folder away."""
        os.rmdir(path)

    def link(self, old: Path, new: Path) -> None:
        """A second name, which must not exist."""
        os.link(old, new)
