"""What a put reads from: bytes, a file, or a stream that cannot be read twice, hashed once whatever is sent again.

A transfer that was cut goes on at the offset the house names. A file is read again from there. Of a stream the last bytes are kept
in memory, more than can be under way in buffers between two machines; a house that lost more than that cannot be helped.
"""

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO, Final

from tallystick.errors import Malformed, Unavailable

CHUNK_BYTES: Final = 1_048_576
KEPT_BYTES: Final = 33_554_432

Progress = Callable[[int, int | None], object]
"""Bytes done, bytes in all (None while unknown). Called often; it returns at once."""

Source = bytes | Path | BinaryIO | AsyncIterator[bytes]


class Reader:
    """One source of one put. `size` is None until it is known."""

    def __init__(self, source: Source) -> None:
        """Raises: Unavailable: the file cannot be read."""
        self.size: int | None = None
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._file: BinaryIO | None = None
        self._owned = False
        self._stream: AsyncIterator[bytes] | None = None
        self._memory: bytes | None = None
        self._kept: deque[tuple[int, bytes]] = deque()
        self._next: asyncio.Future[bytes | None] | None = None
        self._base = 0
        try:
            if isinstance(source, bytes):
                self._memory, self.size = source, len(source)
            elif isinstance(source, Path):
                self._file, self._owned = source.open("rb"), True
            elif isinstance(source, AsyncIterator):
                self._stream = source
            else:
                self._file = source
            if self._file is not None:
                self._base = self._file.tell() if self._file.seekable() else 0
                self.size = self._file.seek(0, os.SEEK_END) - self._base if self._file.seekable() else None
        except OSError as error:
            raise Unavailable(f"cannot read what is to be stored: {error.strerror}") from error

    @property
    def sha256(self) -> str:
        """The hash of everything read so far, in hexadecimal."""
        return self._hash.hexdigest()

    @property
    def read(self) -> int:
        """How many bytes of the source have been read and hashed."""
        return self._hashed

    async def chunks(self, offset: int, progress: Progress | None) -> AsyncIterator[bytes]:
        """The bytes from `offset` on, to the end. Raises: Unavailable: they cannot be read (again). Malformed: nobody can want them yet."""
        if offset > self._hashed:
            raise Malformed("the house has more bytes than were sent", "put the file again under another name")
        if self._stream is not None:
            async for piece in self._of_stream(self._stream, offset, progress):
                yield piece
            return
        while piece := await asyncio.to_thread(self._at, offset):
            offset += len(piece)
            if progress is not None:
                progress(offset, self.size)
            yield piece
        self.size = offset

    def _at(self, offset: int) -> bytes:
        if self._memory is not None:
            piece = self._memory[offset : offset + CHUNK_BYTES]
        elif self._file is not None:
            try:
                self._file.seek(self._base + offset)
                piece = self._file.read(CHUNK_BYTES)
            except (OSError, ValueError) as error:
                raise Unavailable(f"cannot read what is to be stored: {error}") from error
        else:
            raise AssertionError("a stream is read elsewhere")
        self._take(offset, piece)
        return piece

    def _take(self, offset: int, piece: bytes) -> None:
        """Hash what was not hashed before: what is sent again is hashed once."""
        fresh = piece[self._hashed - offset :]
        self._hash.update(fresh)
        self._hashed += len(fresh)

    async def _of_stream(self, stream: AsyncIterator[bytes], offset: int, progress: Progress | None) -> AsyncIterator[bytes]:
        if offset < self._hashed and (not self._kept or offset < self._kept[0][0]):
            raise Unavailable("the house lost more than can be sent again", "put it again from the beginning")
        for start, piece in list(self._kept):
            if offset < start + len(piece):
                yield piece[max(offset - start, 0) :]
        while (fresh := await self._next_of(stream)) is not None:
            if not fresh:
                continue
            self._kept.append((self._hashed, fresh))
            self._take(self._hashed, fresh)
            while self._hashed - self._kept[0][0] - len(self._kept[0][1]) > KEPT_BYTES:
                self._kept.popleft()
            if progress is not None:
                progress(self._hashed, None)
            yield fresh
        self.size = self._hashed

    async def _next_of(self, stream: AsyncIterator[bytes]) -> bytes | None:
        """The stream's next piece, None at its end. A transfer that is cut meanwhile leaves the waiting to the next one: cancelling an
        asynchronous generator would end it, and a file would be stored without its rest.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(_piece_of(stream))
        piece = await asyncio.shield(self._next)
        self._next = None
        return piece

    def close(self) -> None:
        """Close a file that was opened here; stop waiting for a stream."""
        if self._next is not None:
            self._next.cancel()
        if self._owned and self._file is not None:
            self._file.close()


async def _piece_of(stream: AsyncIterator[bytes]) -> bytes | None:
    try:
        return await anext(stream)
    except StopAsyncIteration:
        return None
