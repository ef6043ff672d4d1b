"""HTTP/1.1 inside the sealed stream, the house's side (docs/spec/http.md).

The session below hands over plaintext (`ServerStream.feed`) and takes plaintext (`Wire.send`). Between the two stand the
strict framing of `httpframing`, then uvicorn's own protocol class on an `asyncio.Transport` that has no socket, then any
ASGI application. One request at a time: the head of the next one waits until the answer before it is complete.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, cast
from urllib.parse import unquote

from starlette.requests import ClientDisconnect
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tallystick.errors import Malformed, TallyError
from tallystick.node.httpframing import MAX_HEAD_BYTES, RequestFraming
from tallystick.node.httpwire import Wire

COALESCE_BYTES: Final = 65_536
_IDLE_S: Final = 10 * 365 * 86_400  # idle sessions are the session's business
_NOT_FOR_APPLICATIONS: Final = frozenset({b"transfer-encoding", b"upgrade", b"trailer", b"keep-alive", b"te", b"proxy-connection"})

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class SealedTransport(asyncio.Transport):
    """An `asyncio.Transport` over a `Wire`. Writes of one turn of the loop leave as one: a small answer is one frame."""

    def __init__(self, wire: Wire, extra: dict[str, Any], loop: asyncio.AbstractEventLoop, on_reading: Callable[[], None]) -> None:
        """`on_reading` is called whenever the protocol above has changed its mind about `is_reading`."""
        super().__init__(extra)
        self._wire = wire
        self._loop = loop
        self._protocol: asyncio.BaseProtocol | None = None
        self._out: list[bytes] = []
        self._out_bytes = 0
        self._flush_later: asyncio.Handle | None = None
        self._closing = False
        self._reading = True
        self._on_reading = on_reading

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        self._out.append(bytes(data))
        self._out_bytes += len(data)
        if self._out_bytes >= COALESCE_BYTES:
            self.flush()
        elif self._flush_later is None:
            self._flush_later = self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Hand what was written to the wire."""
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None
        if self._out:
            out, self._out, self._out_bytes = self._out, [], 0
            self._wire.send(out[0] if len(out) == 1 else b"".join(out))

    def close(self) -> None:
        self.close_for(None)

    def close_for(self, error: TallyError | None) -> None:
        """Close in order; `error` is what the other side did wrong."""
        if not self._closing:
            self.flush()
            self._closing = True
            self._wire.end(error)

    def abort(self) -> None:
        if not self._closing:
            self.lost()
            self._wire.abort()

    def lost(self) -> None:
        """The wire is gone: nothing can be written any more."""
        self._closing = True
        self._out.clear()
        if self._flush_later is not None:
            self._flush_later.cancel()
            self._flush_later = None

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._on_reading()

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._on_reading()

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def can_write_eof(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return self._out_bytes

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are the wire's."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        if self._protocol is None:
            raise AssertionError("the transport has no protocol yet")
        return self._protocol


class _Http(HttpToolsProtocol):
    """uvicorn's protocol, told who is at the other end and telling when an answer is complete.

    It speaks ASGI 2.4 where uvicorn says 2.3: `send` raises OSError once the other side is gone. With 2.3 Starlette would
    listen for a disconnect beside every streamed answer and eat the body of a request that is still being read.
    """

    def __init__(self, config: Config, state: ServerState, session: Any, idle: Callable[[], None]) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.access_log = False  # paths belong to the ledger's openings, not to a log file
        self._application = self.app
        self.app = self._run
        self._session = session
        self._idle = idle
        self._gone = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._sealed = cast(SealedTransport, transport)
        super().connection_made(transport)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["asgi"] = {"version": "3.0", "spec_version": "2.4"}
        self.scope["tally"] = self._session  # type: ignore[typeddict-unknown-key]

    def take_bare(self, framing: RequestFraming) -> None:
        """A request without a body, as the framing has read it: llhttp would only read it again.

        The same scope and the same exchange as `on_headers_complete` makes of what llhttp says; the tests compare them.
        """
        path, _, query = framing.target.partition(b"?")
        text = path.decode("ascii")
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "root_path": "",
            "headers": framing.headers,
            "state": {},
            "method": framing.method.decode("ascii"),
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "tally": self._session,  # type: ignore[typeddict-unknown-key]
            "tally.target": framing.target.decode("ascii"),
        }
        self.cycle = RequestResponseCycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=(b"connection", b"close") not in framing.headers,
            on_response=self.on_response_complete,
        )
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self._start_asgi_task(self.cycle, self.app)

    def on_headers_complete(self) -> None:
        # uvicorn's scope cannot tell "/a" from "/a?"; the signal can.
        self.scope["tally.target"] = self.url.decode("ascii")  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        # Not uvicorn's: no request waits behind this one (`ServerStream` holds it back), and an idle session has no timer here.
        self.server_state.total_requests += 1
        if not self.transport.is_closing():
            self.flow.resume_reading()
        self._sealed.flush()  # now: what else there is to do about this request is not to make its answer late
        self._idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True
        super().connection_lost(exc)

    async def _run(self, scope: Any, receive: Any, send: Any) -> None:
        """The application, with what it answers looked at before a byte leaves."""

        async def send_checked(message: Message) -> None:
            if self._gone:
                raise ConnectionResetError("the other side is gone")
            if message["type"] == "http.response.start":
                _check_answer(message)
            await send(message)

        try:
            await self._application(scope, receive, send_checked)
        except (ClientDisconnect, ConnectionResetError, asyncio.CancelledError):
            # Nobody waits for the answer; a house that stops cancels what still works for one who left.
            if not self._gone:
                raise

    @property
    def answered(self) -> bool:
        """Whether no request is waiting for (the rest of) its answer."""
        cycle = cast(RequestResponseCycle | None, self.cycle)  # None before the first request
        return cycle is None or cycle.response_complete

    @property
    def answer_begun(self) -> bool:
        """Whether a part of an answer has been written that is not complete."""
        return not self.answered and self.cycle.response_started


class ServerStream:
    """One session's HTTP. The session calls these methods from the event loop's thread."""

    def __init__(self, config: Config, state: ServerState, wire: Wire, session: Any, peer: tuple[str, int] | None) -> None:
        self._wire = wire
        self._framing = RequestFraming()
        self._held: list[bytes] = []
        self._holding_back = False
        self._ended = False
        self._lost = False
        self._pumping = False
        self.transport = SealedTransport(wire, {"tally": session, "peername": peer}, asyncio.get_running_loop(), self._pump)
        self._http = _Http(config, state, session, self._pump)
        self.transport.set_protocol(self._http)
        self._http.connection_made(self.transport)

    def feed(self, data: bytes) -> None:
        """Plaintext arrived. What breaks the protocol is answered 400 and ends the session (`Wire.end` gets the error)."""
        if self.transport.is_closing():
            return
        if data:
            self._held.append(data)
        self._pump()

    def _ready(self) -> bool:
        """Whether the next held bytes may go on: never a second request before the first is answered."""
        return self.transport.is_reading() and (not self._framing.between or self._http.answered)

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._held and self._ready():
                data = self._held[0] if len(self._held) == 1 else b"".join(self._held)
                piece = self._framing.accept(data)
                self._held = [piece.rest] if piece.rest else []
                if piece.ended and self._framing.bare:
                    self._http.take_bare(self._framing)
                elif piece.passed:
                    self._http.data_received(piece.passed)
        except Malformed as error:
            self._refuse(error)
        finally:
            self._pumping = False
        self._steer()

    def _steer(self) -> None:
        """Ask the wire for more or for less, and close when the other side has ended and everything is answered."""
        if self.transport.is_closing():
            return
        wanted = not self._held and self.transport.is_reading()
        if self._holding_back and wanted:
            self._holding_back = False
            self._wire.resume_reading()
        elif not self._holding_back and not wanted:
            self._holding_back = True
            self._wire.pause_reading()
        if self._ended and not self._held and self._http.answered:
            self.transport.close()

    def _refuse(self, error: Malformed) -> None:
        """400 where no answer has begun yet, then the end of the session."""
        if not self._http.answer_begun:
            body = json.dumps({"error": {"kind": "malformed", "message": error.message, "hint": error.hint}}).encode()
            head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(head % len(body) + body)
        self.transport.close_for(error)
        self._disconnect(error)

    def end_of_input(self) -> None:
        """The other side's end frame came: answer what was asked, then close. In the middle of a request it is an error."""
        self._ended = True
        if not self._framing.between and not self.transport.is_closing():
            self._refuse(Malformed("the stream ended in the middle of a request"))
        self._steer()

    def lost(self, error: TallyError | None = None) -> None:
        """The stream below is gone. The application is told `http.disconnect`. Any number of times."""
        self.transport.lost()
        self._disconnect(error)

    def _disconnect(self, error: TallyError | None) -> None:
        self._held.clear()
        if not self._lost:
            self._lost = True
            self._http.connection_lost(error)

    def pause_writing(self) -> None:
        """The wire has enough; the application waits in `send`."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """The wire wants more."""
        self._http.resume_writing()

    def shutdown(self) -> None:
        """Finish the answer under way, then close."""
        self._http.shutdown()


class HttpServer:
    """One application for all sessions of a house.

    The application finds the session in `scope["tally"]` and the raw request target in `scope["tally.target"]`. An answer
    without a length is sent chunked; an answer that no client of ours may accept (1xx, its own Transfer-Encoding, an
    oversized head) becomes a 500 here, in the house, where its author sees it.
    """

    def __init__(self, application: Application) -> None:
        self._config = Config(
            application,
            http=_Http,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            interface="asgi3",
            timeout_keep_alive=_IDLE_S,
        )
        self._config.load()
        self._state = ServerState()

    def open(self, wire: Wire, session: Any, peer: tuple[str, int] | None = None) -> ServerStream:
        """HTTP for one confirmed session. `peer` becomes `scope["client"]`."""
        return ServerStream(self._config, self._state, wire, session, peer)

    @property
    def tasks(self) -> int:
        """How many requests are being answered."""
        return len(self._state.tasks)

    async def drain(self) -> None:
        """Wait until every request under way is answered (the caller bounds the time)."""
        while self._state.tasks:
            await asyncio.wait(list(self._state.tasks))


def _check_answer(message: Message) -> None:
    """Our application's mistake is a crash, not something for the client to judge. Raises: AssertionError."""
    if not 200 <= message["status"] <= 599:
        raise AssertionError("an application answers with a final status")
    size = lengths = 0
    for name, value in message.get("headers", ()):
        size += len(name) + len(value) + 4
        lower = name.lower()
        lengths += lower == b"content-length"
        if lower in _NOT_FOR_APPLICATIONS or (lower == b"connection" and value != b"close"):
            raise AssertionError("an application does not say how its answer is framed")
    if lengths > 1 or size > MAX_HEAD_BYTES - 256:
        raise AssertionError("the head of the answer is too large or says its length twice")
