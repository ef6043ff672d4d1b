"""HTTP/1.1 inside the sealed stream, the client's side (docs/spec/http.md).

One request after the other on one session. Bodies stream both ways, at the same time if the application answers early. The
diode holds here: bytes that are not the answer to a question are Malformed, and the session is to be severed.

    client = HttpClient(wire)                      # the session's reader calls client.feed(data), which may raise Malformed
    response = await client.request("GET", "/v1/stat/a", [("host", HOST)])
    body = await response.read(65_536)
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Final, Self

from tallystick.canonical import decimal
from tallystick.errors import Malformed, Misuse, TallyError, Unavailable
from tallystick.node.httpanswer import AnswerReader
from tallystick.node.httpframing import request_head
from tallystick.node.httpwire import Wire

HOST: Final = "house"  # there is one host at the other end; applications that care are told their own name
PIECE_BYTES: Final = 65_536
_HIGH_BYTES: Final = 262_144
_LOW_BYTES: Final = 131_072
_LAST_CHUNK: Final = b"0\r\n\r\n"
_OURS: Final = frozenset({b"content-length", b"transfer-encoding", b"connection"})

Headers = Iterable[tuple[str, str]]
Body = bytes | AsyncIterator[bytes] | None


class Response:
    """An answer whose head has come. Read it to its end, or close it: until then the session takes no other request."""

    def __init__(self, client: "HttpClient", status: int, headers: tuple[tuple[str, str], ...]) -> None:
        self.status = status
        self.headers = headers
        self._client = client

    def header(self, name: str) -> str | None:
        """The first header of that name (lower case), or None."""
        return next((value for other, value in self.headers if other == name), None)

    @property
    def entry(self) -> int | None:
        """The entry of the house's ledger under which the request is recorded, None when it says none. Raises: Malformed."""
        said = self.header("tally-entry")
        return None if said is None else decimal(said)

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """The body, as it comes. Raises: Malformed (not an answer: sever), Unavailable (the session ended), Misuse."""
        while (piece := await self._client.next_piece(self)) is not None:
            yield piece

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises: Malformed when it is longer than `limit` bytes, and as `aiter_bytes`."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.aiter_bytes():
            size += len(piece)
            if size > limit:
                await self.aclose()
                raise Malformed(f"the answer is longer than {limit} bytes")
            pieces.append(piece)
        return b"".join(pieces)

    async def aclose(self) -> None:
        """Give the rest up. An answer that has not come to its end takes its session with it."""
        self._client.give_up(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()


class HttpClient:
    """One session's HTTP, seen from the client. No method but `feed` raises in the session's face."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._answer = AnswerReader(self._body)
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._reading = True
        self._writable = asyncio.Event()
        self._writable.set()
        self._news = asyncio.Event()
        self._response: Response | None = None
        self._busy = False
        self._sender: asyncio.Task[None] | None = None
        self._error: BaseException | None = None

    # Called by the session below.

    def feed(self, data: bytes) -> None:
        """Plaintext arrived. Raises: Malformed when it is not (a part of) the answer that was asked for: sever the session."""
        if self._error is not None:
            return
        try:
            self._answer.feed(data)
        except Malformed as error:
            raise self._broken(error) from error.__cause__
        self._news.set()
        if self._buffered > _HIGH_BYTES and self._reading:
            self._reading = False
            self._wire.pause_reading()

    def _body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._buffered += len(piece)

    def end_of_input(self) -> None:
        """The house's end frame came."""
        if self._error is None:
            self._broken(Unavailable("the house closed the session", "connect again"))
            self._wire.end(None)

    def lost(self, error: TallyError | None = None) -> None:
        """The stream below is gone."""
        if self._error is None:
            self._broken(error or Unavailable("the session was cut", "connect again"))

    def pause_writing(self) -> None:
        """The wire has enough: senders wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The wire wants more."""
        self._writable.set()

    def _broken(self, error: TallyError) -> TallyError:
        self._error = error
        self._news.set()
        self._writable.set()
        if self._sender is not None:
            self._sender.cancel()
        return error

    # Called by the user above.

    @property
    def usable(self) -> bool:
        """Whether the session can take another request, now or after the answer under way."""
        return self._error is None

    @property
    def busy(self) -> bool:
        """Whether an answer is awaited, or has not been read to its end."""
        return self._busy

    async def request(self, method: str, target: str, headers: Headers = (), body: Body = None) -> Response:
        """Ask, and return when the head of the answer has come.

        `headers` are sent as given, plus `host: house` unless given, plus what frames the body: nothing else is added, so a
        signal can commit to them. An iterator's body goes out chunked and is given up when the answer says 4xx or 5xx.

        Raises: Misuse (an answer is still being read; headers, method or target that cannot be sent), Unavailable (the
        session ended), Malformed (the house broke the protocol). What the iterator raises ends the session and comes through.
        """
        first = _request_head(method, target, headers, body)
        self._begin(method)
        try:
            self._send_first(first, body)
            await self._until(lambda: self._answer.head is not None)
        except BaseException as error:
            self._void(error)
            raise
        head = self._answer.head
        if head is None:
            raise AssertionError("no head after all")
        if head.status >= 400 and self._sender is not None and not isinstance(body, bytes):
            self._sender.cancel()
        self._response = Response(self, head.status, head.headers)
        return self._response

    def _begin(self, method: str) -> None:
        if self._error is not None:
            raise self._told()
        if self._busy:
            raise Misuse("the answer before this request has not been read to its end", "read it, or use another session")
        if self._answer.last:
            raise self._broken(Unavailable("the house closed the session after its last answer", "connect again"))
        self._answer.expect(method)
        self._busy, self._response, self._sender = True, None, None

    def _told(self) -> BaseException:
        """The reason the session ended, as a fresh error: one exception object has one traceback."""
        error = self._error
        if isinstance(error, TallyError):
            return type(error)(error.message, error.hint)
        return Unavailable("the session ended", "connect again")

    def _send_first(self, head: bytes, body: Body) -> None:
        """Head and, when it is short, body leave together: one frame. Longer bodies are sent by a task of their own."""
        if body is None:
            self._wire.send(head)
        elif isinstance(body, bytes) and len(body) <= PIECE_BYTES:
            self._wire.send(head + body)
        else:
            self._wire.send(head)
            sending = self._send_length(body) if isinstance(body, bytes) else self._send_chunked(body)
            self._sender = asyncio.get_running_loop().create_task(sending)
            self._sender.add_done_callback(self._sent)

    async def _send(self, data: bytes) -> None:
        await self._writable.wait()
        if self._error is None:
            self._wire.send(data)

    async def _send_length(self, body: bytes) -> None:
        for start in range(0, len(body), PIECE_BYTES):
            await self._send(body[start : start + PIECE_BYTES])

    async def _send_chunked(self, body: AsyncIterator[bytes]) -> None:
        """Chunks, and the last one: when the answer has said no, that is what is left to send of the message."""
        try:
            async for piece in body:
                for start in range(0, len(piece), PIECE_BYTES):
                    chunk = piece[start : start + PIECE_BYTES]
                    await self._send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        except asyncio.CancelledError:
            if self._error is None:
                self._wire.send(_LAST_CHUNK)
            raise
        await self._send(_LAST_CHUNK)

    def _sent(self, sender: asyncio.Task[None]) -> None:
        """The body is out, or given up, or its source has failed: then the message must not look whole."""
        error = None if sender.cancelled() else sender.exception()
        if error is not None:
            self._void(error)
        self._news.set()

    def _void(self, error: BaseException) -> None:
        """A message cannot be finished: the session goes with it, and whoever waits is told."""
        if self._error is None:
            # A cancelled wait is the waiter's own affair; whoever comes later learns that the session is over.
            self._error = error if isinstance(error, Exception) else Unavailable("a request was given up", "connect again")
            self._wire.abort()
        if self._sender is not None:
            self._sender.cancel()
        self._news.set()

    async def _until(self, found: Callable[[], bool]) -> None:
        while not found():
            if self._error is not None:
                raise self._told() if isinstance(self._error, TallyError) else self._error
            self._news.clear()
            await self._news.wait()

    async def next_piece(self, response: Response) -> bytes | None:
        """The next bytes of the body, None at its end. For `Response`."""
        if self._response is not response:
            return None
        try:
            await self._until(lambda: bool(self._pieces) or (self._answer.complete and (self._sender is None or self._sender.done())))
        except BaseException as error:
            self._void(error)
            raise
        if not self._pieces:
            self._response, self._busy = None, False
            return None
        piece = self._pieces.popleft()
        self._taken(len(piece))
        return piece

    def _taken(self, size: int) -> None:
        self._buffered -= size
        if not self._reading and self._buffered < _LOW_BYTES:
            self._reading = True
            self._wire.resume_reading()

    def give_up(self, response: Response) -> None:
        """The rest of an answer is not wanted. For `Response`."""
        if self._response is not response:
            return
        self._response = None
        if self._answer.complete and (self._sender is None or self._sender.done()):
            self._busy = False
            self._pieces.clear()
            self._taken(self._buffered)
        else:
            self._void(Unavailable("an answer was given up before its end", "connect again"))

    def close(self) -> None:
        """End the session in order: nothing more will be asked."""
        if self._error is None:
            self._broken(Unavailable("the session was closed", "connect again"))
            self._wire.end(None)


def _request_head(method: str, target: str, headers: Headers, body: Body) -> bytes:
    """The head of a request, by the rules the house will hold it to. Raises: Misuse."""
    try:
        fields = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers]
        verb, path = method.encode("ascii"), target.encode("ascii")
        if any(name in _OURS for name, _ in fields):
            raise Misuse("what frames the body is said by the client itself", "leave content-length, transfer-encoding and connection out")
        if not any(name == b"host" for name, _ in fields):
            fields.insert(0, (b"host", HOST.encode()))
        if isinstance(body, bytes):
            fields.append((b"content-length", b"%d" % len(body)))
        elif body is not None:
            fields.append((b"transfer-encoding", b"chunked"))
        return request_head(verb, path, fields)
    except Malformed as error:
        raise Misuse(error.message, error.hint) from error
    except UnicodeEncodeError as error:
        raise Misuse("the request cannot be sent", "method, target and headers are ASCII, headers NAME: VALUE") from error
