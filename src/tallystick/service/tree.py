"""The directory tree under the root, walked segment by segment (openat, O_NOFOLLOW)."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Final

from tallystick.errors import Refused
from tallystick.service.disk import Disk, telling
from tallystick.service.names import MAX_DEPTH, SafePath, is_safe_name

_NOT_A_DIRECTORY: Final = frozenset({errno.ENOTDIR, errno.ELOOP})


class Tree:
    """An open root. Every descriptor it lends is closed by the `with` that borrowed it."""

    def __init__(self, root: int, disk: Disk) -> None:
        self.root = root
        self._disk = disk

    @contextmanager
    def directory(self, segments: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
        """The descriptor of the directory named by `segments`; with `create`, missing ones are made and synced.

        Raises: Refused (absent, or a file or link stands in the way), Unavailable.
        """
        fd = os.dup(self.root)
        try:
            for segment in segments:
                inner = self._step(fd, segment, create)
                os.close(fd)
                fd = inner
            yield fd
        finally:
            os.close(fd)

    def _step(self, fd: int, segment: str, create: bool) -> int:
        with telling("open a directory of the archive"):
            try:
                return self._disk.open_directory(segment, fd)
            except FileNotFoundError:
                if not create:
                    raise
            except OSError as error:
                if create and error.errno in _NOT_A_DIRECTORY:
                    raise Refused("a file stands where the path needs a directory", "choose another path") from error
                raise
            try:
                self._disk.mkdir(segment, fd)
                self._disk.fsync(fd)
            except FileExistsError:
                pass  # another program was faster; what it made is opened, and refused if it is a link
            return self._disk.open_directory(segment, fd)

    @contextmanager
    def parent(self, path: SafePath, *, create: bool = False) -> Iterator[int]:
        """The directory that holds `path`."""
        with self.directory(path.segments[:-1], create=create) as fd:
            yield fd


def walk(fd: int, disk: Disk, limit: int, *, depth: int = MAX_DEPTH) -> Iterator[tuple[str, os.stat_result]]:
    """Regular files the archive shows below an open directory: (path relative to it, lstat), in no order.

    No link is followed, no reserved name entered, one descriptor held for each level. Looks at no more than `limit` names
    of one directory and `depth` levels; the caller counts the files. Raises: OSError.
    """
    inner: list[str] = []
    with os.scandir(fd) as entries:
        for entry in islice(entries, limit):
            found = disk.look(entry.name, fd) if is_safe_name(entry.name) else None
            if found is None:
                continue
            if stat.S_ISREG(found.st_mode):
                yield entry.name, found
            elif stat.S_ISDIR(found.st_mode) and depth > 1:
                inner.append(entry.name)
    for name in inner:
        try:
            below = disk.open_directory(name, fd)
        except (FileNotFoundError, NotADirectoryError):
            continue  # it went away while we looked
        try:
            for path, found in walk(below, disk, limit, depth=depth - 1):
                yield f"{name}/{path}", found
        finally:
            os.close(below)
