"""Fuzz the strict framing of HTTP/1.1, both directions, against llhttp.

Invariant: Malformed, or bytes in which llhttp sees as many messages as the framing counted; and cutting the input anywhere changes nothing.

python fuzz/fuzz_http.py -runs=100000
"""

import contextlib
import sys

import atheris
import httptools

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.node.httpanswer import AnswerReader
    from tallystick.node.httpframing import Framing, RequestFraming


class Counted:
    """How many requests llhttp finds."""

    def __init__(self) -> None:
        self.complete = 0
        self.target = b""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def on_message_begin(self) -> None:
        self.target = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers_complete(self) -> None:
        assert self.parser.get_http_version() == "1.1"
        httptools.parse_url(self.target)

    def on_message_complete(self) -> None:
        self.complete += 1


def follow(framing: Framing, parts: list[bytes]) -> tuple[bytes, int]:
    """What passes, and how many messages end."""
    passed, ended = b"", 0
    for part in parts:
        while part:
            piece = framing.accept(part)
            passed, part, ended = passed + piece.passed, piece.rest, ended + piece.ended
    return passed, ended


def target(data: bytes) -> None:
    """The first byte says where to cut; the rest is what a client, and a house, says."""
    cut, said = data[:1], data[1:]
    at = cut[0] if cut else 0
    try:
        whole = follow(RequestFraming(), [said])
    except Malformed:
        try:
            follow(RequestFraming(), [said[:at], said[at:]])
        except Malformed:
            pass
        else:
            raise AssertionError("cut in two it passes")
    else:
        assert follow(RequestFraming(), [said[:at], said[at:]]) == whole
        counted = Counted()
        counted.parser.feed_data(whole[0])
        assert counted.complete == whole[1]
    for method in ("GET", "HEAD"):
        reader = AnswerReader(lambda piece: None)
        reader.expect(method)
        with contextlib.suppress(Malformed):
            reader.feed(said)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
