"""The `Range` header of a get (RFC 9110 14.2), one range of bytes only."""

import re
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Malformed, Misuse

_RANGE: Final = re.compile(r"bytes=(0|[1-9][0-9]{0,17})?-(0|[1-9][0-9]{0,17})?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """Bytes `start` to `stop` of `size` (`stop` excluded); never empty unless the file is."""

    start: int
    stop: int
    size: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """The value of `Content-Range` in a 206 answer."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


def whole(size: int) -> ByteRange:
    """The range of a whole file."""
    return ByteRange(start=0, stop=size, size=size)


def parse_range(header: str, size: int) -> ByteRange:
    """Read `bytes=a-b`, `bytes=a-` or `bytes=-n` against a file of `size` bytes.

    Raises: Malformed for any other text (RFC 9110 would ignore it: a client that asked for a part must not get the whole),
    Misuse when no byte of the file lies in the range (416).
    """
    match = _RANGE.fullmatch(header)
    if match is None or (match[1] is None and match[2] is None):
        raise Malformed("the Range header is not one range of bytes", "write bytes=FIRST-LAST")
    if match[1] is None:
        length = min(int(match[2]), size)
        start, stop = size - length, size
    else:
        start = int(match[1])
        last = size - 1 if match[2] is None else int(match[2])
        if match[2] is not None and last < start:
            raise Malformed("the Range header ends before it begins", "write bytes=FIRST-LAST")
        stop = min(last + 1, size)
    if start >= stop:
        raise Misuse("the range lies outside the file", f"the file has {size} bytes")
    return ByteRange(start=start, stop=stop, size=size)
