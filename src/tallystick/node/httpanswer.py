"""Reading one answer after the other: the strict framing in front, llhttp behind it, as on the house's side.

Why not h11 (docs/adr/0011): it reads by rules of its own that the framing would have to repeat, and costs more than all the
rest of a small exchange. In the tests it is the foreign peer that must agree.
"""

from collections.abc import Callable
from dataclasses import dataclass

import httptools

from tallystick.errors import Malformed
from tallystick.node.httpframing import ResponseFraming


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]


class AnswerReader:
    """Bytes of answers go in; the head, the body piece by piece and the end come out. After a Malformed nothing does."""

    def __init__(self, on_body: Callable[[bytes], None]) -> None:
        self.on_body = on_body  # llhttp's name for the callback, and ours
        self.head: Head | None = None
        self.complete = False
        self.last = False
        self._framing = ResponseFraming()
        self._parser: httptools.HttpResponseParser | None = None
        self._fields: list[tuple[str, str]] = []

    def expect(self, method: str) -> None:
        """A request of this method is about to be sent. Raises: Malformed when a byte of an answer came before it."""
        self._framing.expect(method)
        self.head, self.complete = None, False
        # A parser for each answer: it cannot know where an answer to HEAD ends. We do.
        self._parser = httptools.HttpResponseParser(self)
        self._fields = []

    def feed(self, data: bytes) -> None:
        """Raises: Malformed for anything but the answer asked for."""
        while data:
            piece = self._framing.accept(data)
            data = piece.rest
            if piece.passed:
                self._read(piece.passed)
            self.complete = self.complete or piece.ended

    def _read(self, data: bytes) -> None:
        if self._parser is None:
            raise AssertionError("the framing let an answer pass that nobody asked for")
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise Malformed("the answer is not HTTP/1.1") from error

    # Called by llhttp.

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields.append((name.decode("ascii").lower(), value.decode("latin-1").strip(" \t")))

    def on_headers_complete(self) -> None:
        if self._parser is None:
            raise AssertionError("llhttp reads without a parser")
        self.head = Head(self._parser.get_status_code(), tuple(self._fields))
        self.last = ("connection", "close") in self._fields
