"""The strict form of HTTP/1.1 inside the sealed stream, followed byte by byte (docs/spec/http.md, section 2).

Two parsers that read the same bytes differently are how requests are smuggled. So before llhttp (house) or h11 (client)
sees a byte, this module has found where each message begins and ends, by rules with one reading only; what it lets pass,
the parsers behind it can only agree with. It holds a head back until the head is whole and checked.

Pure: bytes in, bytes out. Raises only Malformed.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from tallystick.errors import Malformed

MAX_HEAD_BYTES: Final = 16_384  # DESIGN section 6
MAX_HEADERS: Final = 128  # docs/spec/signal.md, section 2
METHODS: Final = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

# RFC 9112 3, origin-form only (3.2.1), in the characters of RFC 3986; "//" would read as an authority elsewhere.
_REQUEST_LINE: Final = re.compile(rb"([A-Z]+) (/(?!/)[A-Za-z0-9\-._~!$&'()*+,;=:@/?%]*) HTTP/1\.1")
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# RFC 9112 5 without folding. The value is judged elsewhere: a dot is three times as fast as a set.
_FIELD: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):(.*)\r\n")
_LENGTH: Final = re.compile(rb"0|[1-9][0-9]{0,15}")
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) [\t\x20-\x7e\x80-\xff]*")
_CHUNK: Final = re.compile(rb"0|[1-9A-Fa-f][0-9A-Fa-f]{0,7}")
_MAX_CHUNK_LINE: Final = 10  # eight digits and CR LF
# 0x80 and above is obs-text (RFC 9110 5.5): in answers only, for a commitment needs text with one reading.
_PRINTABLE: Final = b"\t\r\n" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 0x100))
# Between two ends of one sealed stream there is no hop to speak to; each of these changes how the message is read.
_REFUSED: Final = frozenset({b"expect", b"upgrade", b"te", b"trailer", b"http2-settings", b"proxy-connection", b"keep-alive"})
# Fields that are lists by definition and may be given in several lines; any other name stands at most once in a request.
_LISTS: Final = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"accept-language",
        b"cache-control",
        b"cookie",
        b"forwarded",
        b"if-match",
        b"if-none-match",
        b"link",
        b"pragma",
        b"prefer",
        b"vary",
        b"via",
        b"warning",
        b"x-forwarded-for",
    }
)
_CHUNKED: Final = -1

_State = Literal["head", "length", "chunk", "chunk-data", "chunk-end", "last", "closed"]


class Piece(NamedTuple):
    """Bytes that may go on, bytes that belong to the next message, and whether this message has ended."""

    passed: bytes
    rest: bytes
    ended: bool


class Framing(ABC):
    """One direction of one connection. After the first Malformed nothing passes any more."""

    def __init__(self) -> None:
        self._state: _State = "head"
        self._kept = b""  # bytes of a head or of a chunk line that is not whole yet
        self._left = 0

    @property
    def between(self) -> bool:
        """Whether the last message is complete and no byte of the next has come."""
        return self._state == "head" and not self._kept

    def accept(self, data: bytes) -> Piece:
        """Follow `data` up to the end of the message it belongs to. Raises: Malformed."""
        try:
            return self._accept(self._kept + data if self._kept else data)
        except Malformed:
            self._state, self._kept = "closed", b""
            raise

    def _accept(self, data: bytes) -> Piece:
        self._kept = b""
        position = 0
        if self._state == "head":
            position = self._head(data)
            if position == 0:
                self._kept = data
                return Piece(b"", b"", False)
        while self._state != "head":
            if self._state in ("length", "chunk-data"):
                if position == len(data):
                    break
                stop = min(len(data), position + self._left)
                self._left -= stop - position
                position = stop
                if self._left == 0:
                    self._state = "head" if self._state == "length" else "chunk-end"
                continue
            end = self._line(data, position)
            if end < 0:
                self._kept = data[position:]
                return Piece(data[:position], b"", False)
            position = end
        if position == len(data):
            return Piece(data, b"", self._state == "head")
        return Piece(data[:position], data[position:], True)

    def _head(self, data: bytes) -> int:
        """Check a whole head and return its length; 0 when more bytes are needed."""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            if len(data) >= MAX_HEAD_BYTES:
                raise Malformed(f"the head is longer than {MAX_HEAD_BYTES} bytes")
            _complain(data)
            return 0
        first, _, block = data[: end + 2].partition(b"\r\n")
        length = self._begin(first, block)
        if length == _CHUNKED:
            self._state = "chunk"
        elif length:
            self._state, self._left = "length", length
        return end + 4

    @abstractmethod
    def _begin(self, first: bytes, block: bytes) -> int:
        """Check a head: its first line and its block of header lines. Returns the length of the body, or _CHUNKED."""

    def _line(self, data: bytes, start: int) -> int:
        """A line of the chunked coding: a size, the end of a chunk, the end of the body. Returns where it ends, -1 for more."""
        if self._state == "closed":
            raise Malformed("the connection was closed for an error")
        end = data.find(b"\r\n", start, start + _MAX_CHUNK_LINE)
        if end < 0 and len(data) - start < _MAX_CHUNK_LINE and b"\n" not in data[start:]:
            return -1
        line = data[start:end] if end >= 0 else b"?"
        if self._state == "chunk" and _CHUNK.fullmatch(line):
            self._left = int(line, 16)
            self._state = "chunk-data" if self._left else "last"
        elif self._state == "chunk-end" and not line:
            self._state = "chunk"
        elif self._state == "last" and not line:
            self._state = "head"
        else:
            raise Malformed("the chunked body is not in its one form", "no extensions, no leading zeros, no trailers, CR LF")
        return end + 2


class RequestFraming(Framing):
    """What a client may send. `method`, `target` and `headers` are those of the last head; `bare`: nothing comes after it."""

    def __init__(self) -> None:
        super().__init__()
        self.bare = False
        self.method = self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def _begin(self, first: bytes, block: bytes) -> int:
        line = _REQUEST_LINE.fullmatch(first)
        if line is None or _BAD_ESCAPE.search(line[2]):
            raise Malformed("the request line is not METHOD /PATH HTTP/1.1", "paths are percent-encoded (RFC 3986)")
        if line[1] not in METHODS:
            raise Malformed("the request method is not one of this protocol", "use GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS")
        headers = _fields(block)
        names = dict(headers)
        if len(names) != len(headers):
            _only_lists_twice(headers)
        if not block.isascii():
            raise Malformed("a header value is not ASCII", "encode it (RFC 8187)")
        if not _REFUSED.isdisjoint(names):
            raise Malformed("the request has a header that is for one hop only", "leave expect, upgrade, te, trailer and their like out")
        if names.get(b"connection", b"close") not in (b"close", b"keep-alive"):
            raise Malformed("the Connection header says more than close or keep-alive")
        if not names.get(b"host"):
            raise Malformed("the request does not name its host in one Host header")
        if any(name.startswith((b"tally_", b"tally-")) and b"_" in name for name in names):
            raise Malformed("a header looks like a Tally- header", "write it with hyphens")
        length = _body_length(headers)
        self.method, self.target, self.headers, self.bare = line[1], line[2], headers, not length
        return length or 0


class ResponseFraming(Framing):
    """What a house may answer, and only when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self._method = ""

    def expect(self, method: str) -> None:
        """A request of this method was sent: one answer may come. Raises: Malformed when bytes came before it."""
        if not self.between:
            raise Malformed("the house spoke without being asked")
        self._method = method

    def _accept(self, data: bytes) -> Piece:
        if data and self._state == "head" and not self._method:
            raise Malformed("the house spoke without being asked")
        piece = super()._accept(data)
        if piece.ended:
            self._method = ""
        return piece

    def _begin(self, first: bytes, block: bytes) -> int:
        match = _STATUS_LINE.fullmatch(first)
        if match is None:
            raise Malformed("the answer does not begin with a final HTTP/1.1 status line")
        headers = _fields(block)
        names = [name for name, _ in headers]
        if b"upgrade" in names or b"trailer" in names or any(names.count(name) > 1 for name in names if name.startswith(b"tally-")):
            raise Malformed("the answer has a header this protocol does not know, or one of ours twice")
        length = _body_length(headers)
        if self._method == "HEAD" or match[1] in (b"204", b"304"):
            return 0
        if length is None:
            raise Malformed("the answer has no length", "bodies that end with the connection are refused")
        return length


def request_head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Write a request head, names in lower case. Written, read again by the house's rules, compared: nothing can be slipped in.

    Raises: Malformed for what the house would refuse or read differently.
    """
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join([b"%b: %b\r\n" % field for field in headers]))
    reader = RequestFraming()
    if not reader.accept(head).passed or (reader.method, reader.target, reader.headers) != (method, target, list(headers)):
        raise Malformed("a header is not NAME: VALUE on one line", "no line breaks, no surrounding spaces, names are tokens")
    return head


def _fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Names in lower case and values without surrounding space. A folded line has no name, so it is refused with the rest."""
    raw: list[tuple[bytes, bytes]] = _FIELD.findall(block)
    # findall skips what does not match: only when the pieces add up to the whole was every byte part of a header line.
    whole = sum([len(name) + len(value) for name, value in raw]) + 3 * len(raw) == len(block)
    if not whole or block.count(b"\r") != len(raw) or block.translate(None, _PRINTABLE):
        raise Malformed("a header line is not NAME: VALUE", "no folded lines, no space before the colon, CR LF at the end")
    if len(raw) > MAX_HEADERS:
        raise Malformed(f"there are more than {MAX_HEADERS} headers")
    return [(name.lower(), value.strip(b" \t")) for name, value in raw]


def _only_lists_twice(headers: list[tuple[bytes, bytes]]) -> None:
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name not in _LISTS:
            raise Malformed("a header stands twice that may stand once", "join list values with commas")
        seen.add(name)


def _body_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """The length of the body, _CHUNKED, or None when nothing is said."""
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        raise Malformed("the length of the body is said twice")
    if codings:
        if codings[0] != b"chunked":
            raise Malformed("the transfer coding is not chunked")
        return _CHUNKED
    if lengths:
        if not _LENGTH.fullmatch(lengths[0]):
            raise Malformed("the Content-Length is not a plain decimal number")
        return int(lengths[0])
    return None


def _complain(begun: bytes) -> None:
    """Refuse early what can never become a head: control characters, bare CR or LF, an empty first line. Raises: Malformed."""
    if begun.translate(None, _PRINTABLE):
        raise Malformed("the head contains control characters")
    whole = begun.removesuffix(b"\r")
    pairs = whole.count(b"\r\n")
    if whole.count(b"\n") != pairs or whole.count(b"\r") != pairs or begun.startswith(b"\r"):
        raise Malformed("the head contains a bare CR or LF, or an empty line")
