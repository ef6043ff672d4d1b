"""Previous contents of files: set aside by a rename or a link, never copied, bounded in number per path.

`.tally/versions/<hash of the path>/` holds one file for each kept content, named
`<entry that set it aside>.<entry that wrote it, or x>.<SHA-256, or x>`, and `path`, the path in clear for whoever must find
a file by hand.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Refused
from tallystick.service.disk import Disk, telling
from tallystick.service.records import Record, key_of, unlink_quietly, write_small

_NAME: Final = re.compile(r"([0-9]{20})\.(x|[0-9]{1,20})\.(x|[0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A content a path once had. `kept_at` is the entry whose effect set it aside, `version` the entry that wrote it, where known."""

    kept_at: int
    version: int | None
    sha256: bytes | None
    size: int
    mtime_ns: int

    @property
    def file_name(self) -> str:
        wrote = "x" if self.version is None else str(self.version)
        return f"{self.kept_at:020d}.{wrote}.{'x' if self.sha256 is None else self.sha256.hex()}"


class Versions:
    """The versions area. `keep` is how many contents a path keeps; 0 keeps none."""

    def __init__(self, fd: int, keep: int, disk: Disk) -> None:
        self._fd = fd
        self._keep = keep
        self._disk = disk

    @contextmanager
    def _place(self, path: str) -> Iterator[int]:
        """The directory of a path's versions, made if needed. Raises: OSError."""
        key = key_of(path)
        try:
            fd = self._disk.open_directory(key, self._fd)
        except FileNotFoundError:
            with suppress(FileExistsError):
                self._disk.mkdir(key, self._fd, 0o700)
            fd = self._disk.open_directory(key, self._fd)
            write_small(self._disk, "path", fd, path.encode(), sync=False)
            self._disk.fsync(self._fd)
        try:
            yield fd
        finally:
            os.close(fd)

    def _named(self, record: Record, known: Record | None) -> str:
        version = Version(
            kept_at=record.entry,
            version=known.version if known else None,
            sha256=bytes.fromhex(known.sha256) if known and known.sha256 else None,
            size=0,
            mtime_ns=0,
        )
        return version.file_name

    def keep_copy(self, record: Record, known: Record | None, name: str, at: int) -> None:
        """Before `name` is replaced: give its content a second name here, durably. Raises: OSError."""
        if self._keep == 0:
            return
        with self._place(record.path) as place:
            with suppress(FileExistsError):  # linked before a crash, perhaps not yet synced
                self._disk.link(name, at, self._named(record, known), place)
            self._disk.fsync(place)

    def take(self, record: Record, known: Record | None, name: str, at: int) -> None:
        """Instead of removing `name`: move it here, durably. Raises: OSError."""
        if self._keep == 0:
            self._disk.unlink(name, at)
            return
        with self._place(record.path) as place:
            self._disk.rename(name, at, self._named(record, known), place)
            self._disk.fsync(place)

    def drop(self, record: Record) -> None:
        """Undo `keep_copy` of a change that did not happen. Raises: OSError."""
        for version in self._list(record.path):
            if version.kept_at == record.entry:
                self._remove(record.path, version)

    def prune(self, path: str) -> None:
        """Remove the oldest contents above the limit. Raises: OSError."""
        for version in self._list(path)[self._keep :]:
            self._remove(path, version)

    def _remove(self, path: str, version: Version) -> None:
        with self._place(path) as place:
            unlink_quietly(self._disk, version.file_name, place)

    def _list(self, path: str) -> tuple[Version, ...]:
        try:
            fd = self._disk.open_directory(key_of(path), self._fd)
        except FileNotFoundError:
            return ()
        try:
            return tuple(sorted(_versions_in(fd, self._disk), key=lambda version: -version.kept_at))
        finally:
            os.close(fd)

    def list(self, path: str) -> tuple[Version, ...]:
        """The kept contents of a path, newest first. Raises: Unavailable."""
        with telling("list versions"):
            return self._list(path)

    def open(self, path: str, kept_at: int) -> tuple[int, Version]:
        """A descriptor of one kept content. Raises: Refused when there is none, Unavailable."""
        with telling("open a version"):
            for version in self._list(path):
                if version.kept_at == kept_at:
                    with self._place(path) as place:
                        return self._disk.open_file(version.file_name, place), version
        raise Refused("no such version", "list the versions of the file")

    def totals(self, limit: int) -> tuple[int, int]:
        """How many contents are kept, and their bytes; stops after `limit`. Raises: OSError."""
        count = size = 0
        for key in os.listdir(self._fd):
            try:
                fd = self._disk.open_directory(key, self._fd)
            except (FileNotFoundError, NotADirectoryError):
                continue
            try:
                for version in _versions_in(fd, self._disk):
                    count, size = count + 1, size + version.size
            finally:
                os.close(fd)
            if count >= limit:
                break
        return count, size


def _versions_in(fd: int, disk: Disk) -> Iterator[Version]:
    for name in os.listdir(fd):
        match = _NAME.fullmatch(name)
        found = disk.look(name, fd) if match else None
        if match is None or found is None:
            continue
        yield Version(
            kept_at=int(match[1]),
            version=None if match[2] == "x" else int(match[2]),
            sha256=None if match[3] == "x" else bytes.fromhex(match[3]),
            size=found.st_size,
            mtime_ns=found.st_mtime_ns,
        )
