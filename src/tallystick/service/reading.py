"""What reads of the archive give back."""

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from tallystick.errors import Misuse, Unavailable
from tallystick.service.disk import telling
from tallystick.service.ranges import ByteRange, whole

CHUNK_BYTES: Final = 262_144


@dataclass(frozen=True, slots=True, kw_only=True)
class Stat:
    """A file or directory. `sha256` and `version` (the entry that wrote it) are None where the archive does not know them."""

    path: str
    directory: bool
    size: int
    mtime_ns: int
    sha256: bytes | None
    version: int | None

    def with_hash(self, sha256: bytes) -> "Stat":
        return replace(self, sha256=sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name of a directory."""

    name: str
    directory: bool
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Names in order; `after` asks for the next page, None on the last."""

    entries: tuple[Entry, ...]
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Counts and sizes in bytes."""

    files: int
    bytes: int
    versions: int
    version_bytes: int
    uploads: int
    upload_bytes: int


class OpenFile:
    """A file held open: its content and `stat` stay what they were, whatever becomes of the path."""

    def __init__(self, fd: int, stat: Stat) -> None:
        self._fd = fd
        self.stat = stat

    def read(self, offset: int, length: int) -> bytes:
        """1 to `length` bytes at `offset`; none only at the end. Raises: Misuse after `close`, Unavailable, also when another
        program cut the file short: whoever reads until he has `stat.size` bytes would read for ever.
        """
        if self._fd < 0:
            raise Misuse("the file is closed")
        with telling("read the file"):
            piece = os.pread(self._fd, length, offset)
        if not piece and length > 0 and offset < self.stat.size:
            raise Unavailable("the file became shorter while it was read", "another program writes to it: get it again")
        return piece

    def chunks(self, span: ByteRange | None = None, size: int = CHUNK_BYTES) -> Iterator[bytes]:
        """The bytes of a range (default: all), in pieces. Raises: as `read`."""
        span = span or whole(self.stat.size)
        position = span.start
        while position < span.stop:
            piece = self.read(position, min(size, span.stop - position))
            position += len(piece)
            yield piece

    def close(self) -> None:
        """Any number of times."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        # A generator that was never started runs no `finally`: the descriptor of an answer nobody fetched is closed here.
        self.close()

    def __enter__(self) -> "OpenFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hash_of(file: OpenFile, going: Callable[[], bool]) -> bytes:
    """SHA-256 of the whole file. `going`: False once nobody wants it any more. Raises: Unavailable."""
    digest = hashlib.sha256()
    for piece in file.chunks():
        if not going():
            raise Unavailable("the archive was closed", "try again later")
        digest.update(piece)
    return digest.digest()
