"""The witness on a TCP port: `POST /add-checkpoint`, `GET /<sha256 of origin>/checkpoint`, `GET /healthz` (C2SP tlog-witness 1.0.0).

It answers everybody who can reach the port, unlike everything else here: what it says is meant for the public. One request a
connection, in ten seconds, of a known length: what more a public service needs (TLS, rates by address) stands in front of it.

Some answers leave before the request has come in whole. To close then would make the kernel send a reset, which may take the answer
from the client before it was read; so this side says that it is done, and reads and discards for a while what still comes (RFC 9112 9.6).
"""

import asyncio
import logging
from typing import Final

from tallystick.errors import Malformed, TallyError, Unavailable
from tallystick.net.address import split
from tallystick.node.httpframing import RequestFraming
from tallystick.node.witnessing import Desk
from tallystick.tlog.witness import MAX_SUBMISSION_BYTES, PATH, TEXT_TYPE, Answer

MAX_CONNECTIONS: Final = 256
REQUEST_S: Final = 10.0
MAX_BYTES: Final = MAX_SUBMISSION_BYTES + 32_768
LINGER_S: Final = 2.0  # how long, and how many bytes, a client may go on after its answer
LINGER_BYTES: Final = 4 << 20
MAX_LINGERING: Final = 2 * MAX_CONNECTIONS  # open connections: above that nobody is waited for
_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    411: "Length Required",
    413: "Content Too Large",
    422: "Unprocessable Content",
    503: "Service Unavailable",
}

log = logging.getLogger("tallystick")


def listen_address(text: str) -> tuple[str, int]:
    """Host and port of `witness_listen`; port 0, or none, takes a free one. Raises: Misuse."""
    host, port = split(text.removesuffix(":0"))
    return host, port or 0


class WitnessServer:
    """Serves one desk."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._server: asyncio.Server | None = None
        self._open = 0

    async def start(self, host: str, port: int) -> int:
        """Listen; the port taken. Raises: Unavailable."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_BYTES, backlog=MAX_CONNECTIONS)
        except OSError as error:
            raise Unavailable(f"cannot listen on {host} port {port}: {error.strerror}", "choose another --listen") from None
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def stop(self) -> None:
        """Close the port; what is being answered is answered."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            async with asyncio.timeout(REQUEST_S):
                answer = Answer(status=503, body=b"too many connections\n") if self._open > MAX_CONNECTIONS else await self._answer(reader)
                if answer is not None:
                    writer.write(_written(answer))
                    await writer.drain()
            if answer is not None and self._open <= MAX_LINGERING:
                async with asyncio.timeout(LINGER_S):
                    writer.write_eof()
                    await _discard(reader)
        except (OSError, TimeoutError):
            pass  # nobody there, or not at it: no answer, or no more of it
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Answer | None:
        framing, message = RequestFraming(), b""
        try:
            while True:
                data = await reader.read(65_536)
                if not data:
                    return None
                piece = framing.accept(data)
                message += piece.passed
                if any(name == b"transfer-encoding" for name, _ in framing.headers):
                    return _say(411, "say the length of the body")
                if piece.ended:
                    break
                if len(message) > MAX_BYTES:
                    return _say(413, f"a submission has at most {MAX_SUBMISSION_BYTES} bytes")
        except Malformed as error:
            return _say(400, error.message)
        body = message.partition(b"\r\n\r\n")[2]
        target = framing.target.decode("ascii").partition("?")[0]
        try:
            return await self._route(framing.method, target, body)
        except TallyError as error:
            log.error("the witness could not answer", extra={"reason": error.message})
            return _say(503, "this witness cannot record anything now")

    async def _route(self, method: bytes, target: str, body: bytes) -> Answer:
        if target == PATH:
            if method != b"POST":
                return _say(405, "POST only")
            return await asyncio.to_thread(self._desk.add_checkpoint, body)
        if method != b"GET":
            return _say(405, "GET only")
        if target == "/healthz":
            return _say(200, "ok")
        match target.split("/"):
            case ["", origin_hash, "checkpoint"]:
                found = await asyncio.to_thread(self._desk.monitored, origin_hash)
                if found is not None:
                    return Answer(status=200, body=found)
        return _say(404, "nothing is here")


async def _discard(reader: asyncio.StreamReader) -> None:
    """Read to the end, or to the limit."""
    left = LINGER_BYTES
    while left > 0 and (data := await reader.read(65_536)):
        left -= len(data)


def _say(status: int, text: str) -> Answer:
    return Answer(status=status, body=text.encode() + b"\n")


def _written(answer: Answer) -> bytes:
    kind = answer.kind if answer.body else TEXT_TYPE
    lines = (
        f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
        f"content-type: {kind}",
        f"content-length: {len(answer.body)}",
        "connection: close",
    )
    return "\r\n".join((*lines, "", "")).encode("ascii") + answer.body
