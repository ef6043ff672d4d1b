"""The same HTTP server on plain TCP: uvicorn, a small file read for each request, and one record that is synced before it is answered.

Both happen beside the event loop, in one turn of a thread: a server that syncs inside its loop serves nobody else meanwhile.

    python -m bench.peers.plain_http FILE JOURNAL      serves until it is ended; its port is the first line it prints
"""

import asyncio
import os
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop

from tallystick.node.httpclient import HttpClient

RECORD: Final = os.urandom(700)  # as long as the entry of a read with its signal
_Message = MutableMapping[str, Any]


async def serve(file: Path, journal: Path) -> None:
    """uvicorn as we use it, on a listening socket."""
    records = os.open(journal, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)

    def recorded() -> bytes:
        os.write(records, RECORD)
        os.fdatasync(records)
        return file.read_bytes()

    async def application(scope: _Message, receive: Callable[[], Awaitable[_Message]], send: Callable[[_Message], Awaitable[None]]) -> None:
        body = await asyncio.to_thread(recorded)
        headers = [(b"content-type", b"application/octet-stream"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(
        application, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False, date_header=False
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        await uvicorn.Server(config).serve(sockets=[listener])


class PlainWire(asyncio.Protocol):
    """Our HTTP client on a plain TCP connection: the client is the same on both sides of the comparison."""

    def __init__(self) -> None:
        self.http = HttpClient(self)

    @classmethod
    async def connect(cls, port: int) -> "PlainWire":
        """A connection of its own."""
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        _, made = await asyncio.get_running_loop().create_connection(cls, sock=sock)
        return made

    async def get(self, target: str) -> bytes:
        """One read."""
        response = await self.http.request("GET", target)
        if response.status != 200:
            raise AssertionError(f"the plain server answered {response.status}")
        return await response.read(65_536)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.http.feed(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.http.lost()

    def send(self, plaintext: bytes) -> None:
        """As `Wire.send`, without a seal."""
        self._transport.write(plaintext)

    def pause_reading(self) -> None:
        """See `Wire`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Wire`."""
        self._transport.resume_reading()

    def end(self, error: object) -> None:
        """Close."""
        self._transport.close()

    def abort(self) -> None:
        """Close."""
        self._transport.abort()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))
