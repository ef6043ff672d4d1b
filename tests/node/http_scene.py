"""HTTP over a real sealed connection on loopback TCP, and over a pipe in memory for what needs a steady hand."""

import asyncio
import socket
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tallystick.channel.datagram import Mode
from tallystick.channel.event import Data, End, Event
from tallystick.errors import Malformed, TallyError, Unavailable
from tallystick.net.stream import Opened
from tallystick.node.connection import Connection
from tallystick.node.http import Application, HttpServer, ServerStream
from tallystick.node.httpclient import HttpClient
from tallystick.pair.pairing import Suite
from tests.channel.scene import NOW, stream


@dataclass
class Served:
    """Stands between a connection and HTTP, on either side."""

    connection: Connection
    http: ServerStream | HttpClient | None = None
    reasons: list[str] = field(default_factory=list)
    breaches: list[Malformed] = field(default_factory=list)

    def on_event(self, event: Event) -> None:
        assert self.http is not None
        if isinstance(event, Data):
            try:
                self.http.feed(event.data)
            except Malformed as error:
                self.breaches.append(error)
                self.connection.cut("malformed")
        elif isinstance(event, End):
            self.http.end_of_input()

    def pause_writing(self) -> None:
        if self.http is not None:
            self.http.pause_writing()

    def resume_writing(self) -> None:
        if self.http is not None:
            self.http.resume_writing()

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        if self.http is not None:
            self.http.lost(Unavailable("the session was cut"))


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a TCP connection on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        house, _ = listener.accept()
    for end in (client, house):
        end.setblocking(False)
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client, house


@dataclass
class Sealed:
    """Both ends of one sealed connection."""

    client: HttpClient
    house: ServerStream
    client_side: Served
    house_side: Served


@asynccontextmanager
async def sealed(application: Application, suite: Suite = Suite.CHACHAPOLY, session: Any = "the session") -> AsyncIterator[Sealed]:
    """An application behind a real session, and a client in front of it."""
    pair, (at_client, at_house) = stream(suite), tcp_pair()
    started = time.monotonic_ns()

    def clock() -> int:
        return NOW + time.monotonic_ns() - started

    client_side = Served(Connection(pair.client, Opened(sock=at_client, mode=Mode.OPEN), clock))
    house_side = Served(Connection(pair.house, Opened(sock=at_house, mode=Mode.OPEN), clock))
    client = client_side.http = HttpClient(client_side.connection)
    house = house_side.http = HttpServer(application).open(house_side.connection, session, ("192.0.2.7", 4000))
    await client_side.connection.start(client_side)
    await house_side.connection.start(house_side)
    try:
        yield Sealed(client, house, client_side, house_side)
    finally:
        client_side.connection.abort()
        house_side.connection.abort()


@dataclass
class Pipe:
    """A `Wire` in memory: what is sent is handed over in a later turn of the loop, and kept while the other side pauses."""

    limit: int = 1 << 20
    other: "Pipe | None" = None
    above: Any = None
    inbox: deque[bytes] = field(default_factory=deque)
    waiting: int = 0
    peak: int = 0
    reading: bool = True
    full: bool = False
    ended: list[TallyError | None] = field(default_factory=list)
    aborted: bool = False
    on_breach: Callable[[Malformed], None] | None = None
    sent: bytes = b""
    frames: int = 0

    def send(self, plaintext: bytes) -> None:
        self.sent = (self.sent + plaintext)[-100_000:]
        self.frames += 1
        if self.other is not None:
            self.other.arrive(plaintext)

    def arrive(self, data: bytes) -> None:
        self.inbox.append(data)
        self.waiting += len(data)
        self.peak = max(self.peak, self.waiting)
        if self.waiting > self.limit and self.other is not None and not self.full:
            self.full = True
            self.other.above.pause_writing()
        asyncio.get_running_loop().call_soon(self.deliver)

    def deliver(self) -> None:
        while self.inbox and self.reading and not self.aborted:
            data = self.inbox.popleft()
            self.waiting -= len(data)
            if self.full and self.waiting < self.limit // 2 and self.other is not None:
                self.full = False
                self.other.above.resume_writing()
            try:
                self.above.feed(data)
            except Malformed as error:
                if self.on_breach is None:
                    raise
                self.on_breach(error)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True
        asyncio.get_running_loop().call_soon(self.deliver)

    def end(self, error: TallyError | None) -> None:
        self.ended.append(error)
        if self.other is not None:
            asyncio.get_running_loop().call_soon(self.other.above.end_of_input)

    def abort(self) -> None:
        self.aborted = True
        if self.other is not None:
            asyncio.get_running_loop().call_soon(self.other.above.lost)


def piped(application: Application, session: Any = "the session") -> tuple[HttpClient, ServerStream, Pipe, Pipe]:
    """Client and house joined by two pipes."""
    below_client, below_house = Pipe(), Pipe()
    below_client.other, below_house.other = below_house, below_client
    client = below_client.above = HttpClient(below_client)
    house = below_house.above = HttpServer(application).open(below_house, session)
    return client, house, below_client, below_house


def raw(application: Application, session: Any = "the session") -> tuple[ServerStream, Pipe]:
    """A house whose client is the test itself: what it answers is in `Pipe.sent`."""
    wire = Pipe()
    house = wire.above = HttpServer(application).open(wire, session)
    return house, wire
