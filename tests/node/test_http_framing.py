"""The strict form of HTTP/1.1: what passes, what is refused, and that llhttp can only agree."""

import contextlib
from dataclasses import dataclass, field

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed
from tallystick.node.httpanswer import AnswerReader
from tallystick.node.httpframing import MAX_HEAD_BYTES, Framing, RequestFraming, ResponseFraming, request_head

HEAD = b"GET /v1/files/a HTTP/1.1\r\nhost: house\r\n"


def run(framing: Framing, data: bytes, step: int = 0) -> tuple[bytes, int]:
    """Everything that passes, and how many messages ended; `step` bytes at a time, 0 for all at once."""
    passed, ended = b"", 0
    for start in range(0, len(data), step or max(1, len(data))):
        rest = data[start : start + step] if step else data
        while rest:
            piece = framing.accept(rest)
            passed, rest, ended = passed + piece.passed, piece.rest, ended + piece.ended
    return passed, ended


@dataclass
class Seen:
    """What llhttp makes of bytes."""

    targets: list[bytes] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    complete: int = 0
    versions: list[str] = field(default_factory=list)

    def parse(self, data: bytes) -> "Seen":
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
        self.parser.feed_data(data)
        return self

    def on_url(self, url: bytes) -> None:
        self.targets.append(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        self.versions.append(self.parser.get_http_version())
        httptools.parse_url(self.targets[-1])

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete += 1


GOOD = {
    "no body": HEAD + b"\r\n",
    "length": b"PUT /a HTTP/1.1\r\nhost: house\r\ncontent-length: 5\r\n\r\nhello",
    "length zero": b"POST /a HTTP/1.1\r\nhost: house\r\ncontent-length: 0\r\n\r\n",
    "chunked": b"PUT /a HTTP/1.1\r\nhost: house\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
    "chunked, empty": b"PUT /a HTTP/1.1\r\nhost: house\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "query": b"GET /v1/list/a%20b?cursor=&limit=5 HTTP/1.1\r\nHost: house\r\nTally-Signal: x\r\nTally-Opening: y\r\n\r\n",
    "list twice": HEAD + b"accept: a\r\naccept: b\r\n\r\n",
    "spaces around a value": HEAD + b"x: \t a b \t\r\n\r\n",
    "empty value": HEAD + b"x:\r\n\r\n",
    "close": HEAD + b"connection: close\r\n\r\n",
    "two": HEAD + b"\r\nPUT /b HTTP/1.1\r\nhost: house\r\ncontent-length: 2\r\n\r\nhi",
    "value like a head": b"PUT /a HTTP/1.1\r\nhost: house\r\ncontent-length: 24\r\n\r\nGET / HTTP/1.1\r\nx: y\r\n\r\n",
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("step", [0, 1, 2, 3, 7])
def test_what_is_strict_passes_unchanged(name: str, step: int) -> None:
    """However the bytes are cut, the same bytes pass, and every message ends where it ends."""
    framing = RequestFraming()
    assert run(framing, GOOD[name], step) == (GOOD[name], 2 if name == "two" else 1)
    assert framing.between


@pytest.mark.parametrize("name", GOOD)
def test_llhttp_agrees(name: str) -> None:
    """The parser behind finds as many messages as we did."""
    assert Seen().parse(GOOD[name]).complete == (2 if name == "two" else 1)


def test_a_head_passes_whole_or_not_at_all() -> None:
    """Nothing of a request reaches the parser before its head is checked."""
    framing = RequestFraming()
    for byte in GOOD["length"][:-6]:
        assert framing.accept(bytes((byte,))).passed == b""
    assert framing.accept(GOOD["length"][-6:-5]).passed == GOOD["length"][:-5]


def test_the_next_message_is_given_back() -> None:
    """A piece never reaches into the next message."""
    piece = RequestFraming().accept(GOOD["two"])
    assert piece.ended
    assert piece.passed + piece.rest == GOOD["two"]
    assert piece.rest.startswith(b"PUT")


CHUNKED = b"PUT /a HTTP/1.1\r\nhost: house\r\ntransfer-encoding: chunked\r\n\r\n"
BAD = {
    # the request line
    "HTTP/1.0": b"GET / HTTP/1.0\r\nhost: house\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nhost: house\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /\r\nhost: house\r\n\r\n",
    "lower case method": b"get / HTTP/1.1\r\nhost: house\r\n\r\n",
    "CONNECT": b"CONNECT house:443 HTTP/1.1\r\nhost: house\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\nhost: house\r\n\r\n",
    "unknown method": b"FROB / HTTP/1.1\r\nhost: house\r\n\r\n",
    "absolute form": b"GET http://elsewhere/a HTTP/1.1\r\nhost: house\r\n\r\n",
    "asterisk form": b"OPTIONS * HTTP/1.1\r\nhost: house\r\n\r\n",
    "authority form": b"GET house HTTP/1.1\r\nhost: house\r\n\r\n",
    "two slashes": b"GET //elsewhere/a HTTP/1.1\r\nhost: house\r\n\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\nhost: house\r\n\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\nhost: house\r\n\r\n",
    "tab": b"GET\t/ HTTP/1.1\r\nhost: house\r\n\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\nhost: house\r\n\r\n",
    "trailing space": b"GET / HTTP/1.1 \r\nhost: house\r\n\r\n",
    "bad escape": b"GET /%zz HTTP/1.1\r\nhost: house\r\n\r\n",
    "short escape": b"GET /a% HTTP/1.1\r\nhost: house\r\n\r\n",
    "backslash": b"GET /a\\b HTTP/1.1\r\nhost: house\r\n\r\n",
    "raw UTF-8": "GET /ü HTTP/1.1\r\nhost: house\r\n\r\n".encode(),
    "empty line first": b"\r\n" + HEAD + b"\r\n",
    # lines
    "bare LF": b"GET / HTTP/1.1\nhost: house\n\n",
    "one bare LF": b"GET / HTTP/1.1\r\nhost: house\nx: y\r\n\r\n",
    "bare CR": b"GET / HTTP/1.1\r\nhost: house\rx: y\r\n\r\n",
    "CR before CRLF": b"GET / HTTP/1.1\r\nhost: house\r\r\n\r\n",
    "NUL": HEAD + b"x: a\0b\r\n\r\n",
    "DEL": HEAD + b"x: a\x7fb\r\n\r\n",
    "fold": HEAD + b"x: a\r\n b\r\n\r\n",
    "fold by tab": HEAD + b"x: a\r\n\tb\r\n\r\n",
    "first line folded": b"GET / HTTP/1.1\r\n host: house\r\n\r\n",
    "space before colon": HEAD + b"x : a\r\n\r\n",
    "no colon": HEAD + b"xyz\r\n\r\n",
    "no name": HEAD + b": a\r\n\r\n",
    "name not a token": HEAD + b"x(y): a\r\n\r\n",
    "value not ASCII": HEAD + b"x: \xfc\r\n\r\n",
    # headers
    "no host": b"GET / HTTP/1.1\r\nx: y\r\n\r\n",
    "empty host": b"GET / HTTP/1.1\r\nhost: \r\n\r\n",
    "two hosts": HEAD + b"Host: other\r\n\r\n",
    "two Tally-Signals": HEAD + b"tally-signal: a\r\nTally-Signal: b\r\n\r\n",
    "two equal Tally-Openings": HEAD + b"tally-opening: a\r\ntally-opening: a\r\n\r\n",
    "Tally_Signal": HEAD + b"Tally_Signal: a\r\n\r\n",
    "two ranges": HEAD + b"range: bytes=0-1\r\nrange: bytes=2-3\r\n\r\n",
    "expect": HEAD + b"expect: 100-continue\r\ncontent-length: 1\r\n\r\n",
    "upgrade": HEAD + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n",
    "upgrade alone": HEAD + b"upgrade: h2c\r\n\r\n",
    "connection names a header": HEAD + b"connection: close, tally-signal\r\n\r\n",
    "te": HEAD + b"te: trailers\r\n\r\n",
    "trailer": HEAD + b"trailer: x\r\n\r\n",
    "too many headers": HEAD + b"".join(b"x%d: y\r\n" % number for number in range(128)) + b"\r\n",
    # lengths
    "two lengths": HEAD + b"content-length: 1\r\ncontent-length: 1\r\n\r\na",
    "length list": HEAD + b"content-length: 1, 1\r\n\r\na",
    "length and chunked": HEAD + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "length +1": HEAD + b"content-length: +1\r\n\r\na",
    "length 01": HEAD + b"content-length: 01\r\n\r\na",
    "length 0x1": HEAD + b"content-length: 0x1\r\n\r\na",
    "length 1_0": HEAD + b"content-length: 1_0\r\n\r\na",
    "length empty": HEAD + b"content-length:\r\n\r\na",
    "length negative": HEAD + b"content-length: -1\r\n\r\na",
    "length huge": HEAD + b"content-length: 18446744073709551617\r\n\r\na",
    "two codings": HEAD + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip, chunked": HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity": HEAD + b"transfer-encoding: identity\r\n\r\n",
    "Chunked": HEAD + b"transfer-encoding: Chunked\r\n\r\n0\r\n\r\n",
    # chunks
    "chunk extension": CHUNKED + b"1;x=y\r\na\r\n0\r\n\r\n",
    "chunk space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "chunk zeros": CHUNKED + b"01\r\na\r\n0\r\n\r\n",
    "last chunk zeros": CHUNKED + b"00\r\n\r\n",
    "chunk LF": CHUNKED + b"1\na\n0\n\n",
    "chunk 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "chunk minus": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "chunk empty": CHUNKED + b"\r\na\r\n0\r\n\r\n",
    "chunk huge": CHUNKED + b"111111111\r\na",
    "chunk too short": CHUNKED + b"2\r\na\r\n0\r\n\r\n",
    "chunk too long": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "trailers": CHUNKED + b"0\r\nx: y\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_not_strict_is_malformed(name: str, step: int) -> None:
    """Each of these is refused, and a bad head is refused before a byte of it passes."""
    framing = RequestFraming()
    with pytest.raises(Malformed):
        run(framing, BAD[name], step)
    with pytest.raises(Malformed):
        framing.accept(GOOD["no body"])


def test_a_head_has_a_limit() -> None:
    """16 KiB pass, one byte more does not, and an endless head is cut at the limit."""
    filler = MAX_HEAD_BYTES - len(HEAD) - len(b"x: \r\n\r\n")
    assert run(RequestFraming(), HEAD + b"x: " + b"a" * filler + b"\r\n\r\n")[1] == 1
    with pytest.raises(Malformed, match="longer than"):
        run(RequestFraming(), HEAD + b"x: " + b"a" * (filler + 1) + b"\r\n\r\n")
    framing = RequestFraming()
    with pytest.raises(Malformed, match="longer than"):
        for _ in range(MAX_HEAD_BYTES):
            framing.accept(b"GET")


def answer(data: bytes, method: str = "GET", step: int = 0) -> tuple[bytes, int]:
    framing = ResponseFraming()
    framing.expect(method)
    return run(framing, data, step)


GOOD_ANSWERS = {
    "length": ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
    "chunked": ("GET", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"),
    "HEAD": ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n"),
    "204": ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
    "304": ("GET", b"HTTP/1.1 304 Not Modified\r\ncontent-length: 2\r\n\r\n"),
    "no reason": ("GET", b"HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"),
    "two cookies": ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n"),
}


@pytest.mark.parametrize("name", GOOD_ANSWERS)
@pytest.mark.parametrize("step", [0, 1, 3])
def test_answers_pass(name: str, step: int) -> None:
    """An answer with a length passes unchanged."""
    method, data = GOOD_ANSWERS[name]
    assert answer(data, method, step) == (data, 1)


BAD_ANSWERS = {
    "close-delimited": b"HTTP/1.1 200 OK\r\n\r\nhi",
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
    "100": b"HTTP/1.1 100 Continue\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
    "103": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "600": b"HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n",
    "status +20": b"HTTP/1.1 +20 OK\r\ncontent-length: 0\r\n\r\n",
    "no space after status": b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
    "trailers": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
    "trailer header": b"HTTP/1.1 200 OK\r\ntrailer: x\r\ncontent-length: 0\r\n\r\n",
    "both": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 0\r\n\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
    "two Tally-Entries": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ntally-entry: 1\r\ntally-entry: 2\r\n\r\n",
    "a request": GOOD["no body"],
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "folded": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx: a\r\n b\r\n\r\n",
    "two answers": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "one byte more": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_not_an_answer_is_malformed(name: str, step: int) -> None:
    """The client severs on anything but one well-formed answer to one question."""
    with pytest.raises(Malformed):
        answer(BAD_ANSWERS[name], step=step)


def test_a_house_does_not_speak_first() -> None:
    """Not a byte before a question, and none between an answer and the next question."""
    with pytest.raises(Malformed, match="without being asked"):
        ResponseFraming().accept(b"H")
    framing = ResponseFraming()
    framing.expect("GET")
    run(framing, GOOD_ANSWERS["length"][1])
    with pytest.raises(Malformed, match="without being asked"):
        framing.accept(b"H")


@given(st.sampled_from(sorted(GOOD)), st.lists(st.integers(1, 40), max_size=20))
def test_cuts_make_no_difference(name: str, cuts: list[int]) -> None:
    """Any way of cutting the same bytes lets the same bytes pass."""
    framing, passed, position = RequestFraming(), b"", 0
    for cut in [*cuts, len(GOOD[name])]:
        rest = GOOD[name][position : position + cut]
        position += cut
        while rest:
            piece = framing.accept(rest)
            passed, rest = passed + piece.passed, piece.rest
    assert passed == GOOD[name]


BITS = (
    *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"0", b"1", b"a", b";", b"+", b"\0", b"\r\n\r\n", b"abc"),
    *(b"GET / HTTP/1.1\r\n", b"host: house\r\n", b"connection: close\r\n"),
    *(b"content-length: 3\r\n", b"transfer-encoding: chunked\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n"),
)
FRAGMENTS = st.sampled_from(BITS)


@given(st.one_of(st.sampled_from(sorted(GOOD.values())), st.lists(FRAGMENTS, max_size=14).map(b"".join)), st.data())
def test_what_passes_llhttp_reads_the_same_way(message: bytes, data: st.DataObject) -> None:
    """Bytes changed, cut and put in at random: what still passes, llhttp accepts, with as many messages as we counted."""
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(message)))
        message = message[:at] + data.draw(st.one_of(FRAGMENTS, st.binary(max_size=3))) + message[at + data.draw(st.integers(0, 2)) :]
    framing = RequestFraming()
    try:
        passed, ended = run(framing, message)
    except Malformed:
        return
    seen = Seen().parse(passed)
    assert seen.complete == ended
    assert all(version == "1.1" for version in seen.versions)


def test_h11_reads_our_requests_and_we_read_its_answers() -> None:
    """The foreign peer: heads we write mean the same to h11, and what h11 writes as a server passes."""
    headers = [(b"host", b"house"), (b"tally-signal", b"a" * 700), (b"x", b"1, 2"), (b"transfer-encoding", b"chunked")]
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(request_head(b"POST", b"/v1/commit?a=%20", headers))
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    assert (event.method, event.target, list(event.headers)) == (b"POST", b"/v1/commit?a=%20", headers)
    peer.receive_data(b"5\r\nhello\r\n0\r\n\r\n")
    assert isinstance(peer.next_event(), h11.Data)
    assert isinstance(peer.next_event(), h11.EndOfMessage)
    said = peer.send(h11.Response(status_code=200, headers=[("transfer-encoding", "chunked")])) or b""
    said += (peer.send(h11.Data(data=b"hello")) or b"") + (peer.send(h11.EndOfMessage()) or b"")
    pieces: list[bytes] = []
    reader = AnswerReader(pieces.append)
    reader.expect("POST")
    reader.feed(said)
    assert reader.head is not None
    assert (reader.head.status, b"".join(pieces), reader.complete) == (200, b"hello", True)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x", b"a\r\ny: b")],
        [(b"x: y", b"a")],
        [(b"x", b" a")],
        [(b"x", b"a ")],
        [(b"X", b"a")],
        [(b"", b"a")],
        [(b"x", b"a\r\n\r\nGET / HTTP/1.1")],
        [(b"x\r\ny", b"a")],
    ],
)
def test_a_head_that_would_be_read_differently_is_not_written(headers: list[tuple[bytes, bytes]]) -> None:
    """Written, read, compared: no header can smuggle another one or a second request."""
    with pytest.raises(Malformed):
        request_head(b"GET", b"/", [(b"host", b"house"), *headers])


@given(st.binary(max_size=300), st.sampled_from(["GET", "HEAD"]))
def test_an_answer_reader_raises_malformed_and_nothing_else(data: bytes, method: str) -> None:
    """Whatever a house sends: an answer, a part of one, or Malformed."""
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"):
        reader = AnswerReader(lambda piece: None)
        reader.expect(method)
        with contextlib.suppress(Malformed):
            reader.feed(prefix + data)
