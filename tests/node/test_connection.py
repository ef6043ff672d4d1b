"""A sealed session on a real socket: events in their order, one end, and no waiting for those who do not read."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop

from tallystick.channel.datagram import Mode
from tallystick.channel.event import Confirmed, CutReason, Data, End, Event
from tallystick.channel.session import FIRST_FRAME_NS, Session
from tallystick.errors import Malformed, Unavailable
from tallystick.ledger.field import Word
from tallystick.net.stream import Opened
from tallystick.node import connection
from tallystick.node.connection import HIGH_WATER_BYTES, MAX_UNREAD_BYTES, Connection
from tests.channel.scene import NOW, SECOND, stream
from tests.node.http_scene import tcp_pair

LOOPS = pytest.mark.parametrize("on", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
Runner = Callable[[Awaitable[Any]], Any]


@dataclass
class Ear:
    """What stands above: it writes down what it is told."""

    events: list[Event] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)
    on: Callable[[Event], None] = lambda event: None

    def on_event(self, event: Event) -> None:
        assert not self.reasons, "nothing comes after the end"
        self.events.append(event)
        self.on(event)

    def pause_writing(self) -> None:
        self.waits.append("pause")

    def resume_writing(self) -> None:
        self.waits.append("resume")

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)

    @property
    def data(self) -> bytes:
        return b"".join(event.data for event in self.events if isinstance(event, Data))


@dataclass
class Line:
    """A house's connection; at the other end of its socket a session without one, moved by hand."""

    house: Connection
    ear: Ear
    client: Session
    socket: socket.socket

    async def say(self, frames: bytes, piece: int | None = None) -> None:
        """Bytes on their way to the house; `piece` by piece."""
        loop = asyncio.get_running_loop()
        for at in range(0, len(frames), piece or len(frames) or 1):
            await loop.sock_sendall(self.socket, frames[at : at + (piece or len(frames))])
            if piece is not None:
                await asyncio.sleep(0)

    async def hear(self, seconds: float = 5.0) -> list[Event]:
        """Everything until the house closes, as the client's session reads it."""
        loop, events = asyncio.get_running_loop(), []
        with suppress(ConnectionError):
            while data := await asyncio.wait_for(loop.sock_recv(self.socket, 262_144), seconds):
                events += self.client.receive(data, NOW)
        return events

    async def until(self, true: Callable[[], bool]) -> None:
        for _ in range(1000):
            if true():
                return
            await asyncio.sleep(0.005)
        raise AssertionError(f"never came: {self.ear}")


@asynccontextmanager
async def line(*, confirmed: bool = True, ahead_ns: int = 0, start: bool = True) -> AsyncIterator[Line]:
    """`ahead_ns`: how much later than its session the connection's clock is."""
    pair, (at_client, at_house) = stream(confirmed=confirmed), tcp_pair()
    began = time.monotonic_ns()
    house = Connection(pair.house, Opened(sock=at_house, mode=Mode.OPEN), lambda: NOW + ahead_ns + time.monotonic_ns() - began)
    made = Line(house, Ear(), pair.client, at_client)
    try:
        if start:
            await house.start(made.ear)
        yield made
    finally:
        house.abort()
        at_client.close()
        await asyncio.sleep(0.01)


@LOOPS
@pytest.mark.parametrize("piece", [None, 1, 7])
def test_what_comes_is_told_in_its_order(on: Runner, piece: int | None) -> None:
    """Whole or byte by byte: confirmed, the data, the end; told once and in order."""

    async def scene() -> None:
        async with line(confirmed=False) as found:
            frames = found.client.start() + bytes(found.client.send_data(b"one")) + bytes(found.client.send_data(b"two"))
            frames += bytes(found.client.send_end())
            await found.say(frames, piece)
            await found.until(lambda: len(found.ear.events) == 4)
            assert found.ear.events == [Confirmed(), Data(b"one"), Data(b"two"), End()]
            assert found.house.bytes_in == len(frames)
            found.house.end(None)
            assert isinstance((await found.hear())[-1], End)
            assert found.ear.reasons == ["end"]
            assert found.house.over and found.house.closed.done()

    on(scene())


@LOOPS
def test_an_end_that_was_not_said_voids(on: Runner) -> None:
    """The socket closes without `end`: whatever was unfinished is void."""

    async def scene() -> None:
        async with line() as found:
            await found.say(bytes(found.client.send_data(b"half")))
            await found.until(lambda: found.ear.data == b"half")
            found.socket.shutdown(socket.SHUT_WR)
            await asyncio.wait_for(found.house.closed, 5)
            assert found.ear.reasons == ["void"]

    on(scene())


@LOOPS
def test_a_reset_is_an_end_without_a_word(on: Runner) -> None:
    """A reset of a confirmed session voids like every other loss."""

    async def scene() -> None:
        async with line() as found:
            found.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            found.socket.close()
            await asyncio.wait_for(found.house.closed, 5)
            assert found.ear.reasons in (["void"], ["lost"])

    on(scene())


@LOOPS
@pytest.mark.parametrize(
    ("junk", "reason"), [(b"\x00\x20" + bytes(32), "unproven"), (b"\xff\xff" + bytes(70_000), "malformed"), (b"\x00\x00", "malformed")]
)
def test_what_does_not_verify_cuts(on: Runner, junk: bytes, reason: str) -> None:
    """One bad frame: the word of why, once, and no more events."""

    async def scene() -> None:
        async with line() as found:
            with suppress(ConnectionError):
                await found.say(junk + bytes(found.client.send_data(b"after")))
            await asyncio.wait_for(found.house.closed, 5)
            assert found.ear.reasons[0] in (reason, "malformed", "unproven")
            assert (len(found.ear.reasons), found.ear.data) == (1, b"")

    on(scene())


@LOOPS
def test_who_never_proves_itself_is_not_waited_for(on: Runner) -> None:
    """No first frame within three seconds of pair time."""

    async def scene() -> None:
        async with line(confirmed=False, ahead_ns=FIRST_FRAME_NS + SECOND) as found:
            await asyncio.wait_for(found.house.closed, 2)
            assert (found.ear.events, found.ear.reasons) == ([], ["unconfirmed"])

    on(scene())


def test_every_reason_is_a_word_of_the_ledger() -> None:
    """What a connection says of its end can be recorded."""
    for reason in (*(each.value.replace(" ", "-") for each in CutReason), "end", "void", "lost", "aborted", "limits", "malformed"):
        assert Word().check(reason) == reason


@LOOPS
def test_a_cut_lets_leave_what_was_queued(on: Runner) -> None:
    """An answer that was given, and why the session ends, still arrive; then the socket closes without `end`."""

    async def scene() -> None:
        async with line() as found:
            content = bytes(range(256)) * 4000
            found.house.send(content)
            found.house.cut("severed")
            assert found.ear.reasons == ["severed"]
            found.house.send(b"too late")
            events = await found.hear()
            assert b"".join(event.data for event in events if isinstance(event, Data)) == content
            assert not any(isinstance(event, End) for event in events)

    on(scene())


@LOOPS
def test_a_cut_that_waits_for_nobody(on: Runner) -> None:
    """`unread=False` where the other side does not read: closed at once, nothing of the rest arrives whole."""

    async def scene() -> None:
        async with line() as found:
            found.house.send(bytes(32 << 20))
            await asyncio.sleep(0.05)
            assert found.house.unread_bytes > 0
            found.house.cut("severed", unread=False)
            assert found.ear.reasons == ["severed"]
            got = sum(len(event.data) for event in await found.hear() if isinstance(event, Data))
            assert got < 32 << 20

    on(scene())


@LOOPS
def test_who_reads_slowly_makes_the_writer_wait(on: Runner) -> None:
    """Above the high water it is told to wait, below to go on."""

    async def scene() -> None:
        async with line() as found:
            sent = 0
            while not found.ear.waits and sent < 64 << 20:
                found.house.send(bytes(65_000))
                sent += 65_000
                await asyncio.sleep(0)
            assert found.ear.waits == ["pause"]
            assert found.house.unread_bytes > HIGH_WATER_BYTES // 2
            hearing = asyncio.create_task(found.hear())
            await found.until(lambda: found.ear.waits == ["pause", "resume"])
            found.house.cut("stopped")
            got = sum(len(event.data) for event in await hearing if isinstance(event, Data))
            assert got == sent

    on(scene())


@LOOPS
def test_who_never_reads_is_let_go(on: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """A closed connection whose other side takes no byte does not stay open for ever."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)

    async def scene() -> None:
        async with line() as found:
            found.house.send(bytes(32 << 20))
            found.house.cut("stopped")
            await asyncio.sleep(0.5)
            assert sum(len(event.data) for event in await found.hear() if isinstance(event, Data)) < 32 << 20

    on(scene())


@LOOPS
def test_pings_without_reading_end(on: Runner) -> None:
    """Pongs are not answers: who asks for more of them than it reads is cut."""

    async def scene() -> None:
        async with line() as found:
            found.house.send(bytes(MAX_UNREAD_BYTES + (16 << 20)))
            await found.say(bytes(found.client.send_ping(NOW)))
            await asyncio.wait_for(found.house.closed, 5)
            assert found.ear.reasons == ["limits"]

    on(scene())


@LOOPS
def test_reading_can_wait(on: Runner) -> None:
    """Paused, nothing more is told; resumed, everything is there. Paused or resumed twice is the same."""

    async def scene() -> None:
        async with line() as found:
            found.house.pause_reading()
            found.house.pause_reading()
            await found.say(bytes(found.client.send_data(b"later")))
            await asyncio.sleep(0.05)
            assert found.ear.data == b""
            found.house.resume_reading()
            found.house.resume_reading()
            await found.until(lambda: found.ear.data == b"later")

    on(scene())


@LOOPS
def test_an_end_waits_for_the_others_end(on: Runner) -> None:
    """Ours is said; what the other side still had to say is told; its end closes the connection."""

    async def scene() -> None:
        async with line() as found:
            found.house.end(None)
            found.house.end(None)
            assert not found.house.over
            found.house.send(b"after our end nothing is said")
            await found.say(bytes(found.client.send_data(b"last words")) + bytes(found.client.send_end()))
            await asyncio.wait_for(found.house.closed, 5)
            assert (found.ear.data, found.ear.reasons) == (b"last words", ["end"])
            assert [type(event) for event in await found.hear()] == [End]

    on(scene())


@LOOPS
def test_an_end_that_is_never_answered(on: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it is over all the same."""
    monkeypatch.setattr(connection, "LINGER_S", 0.05)

    async def scene() -> None:
        async with line() as found:
            found.house.end(None)
            await asyncio.wait_for(found.house.closed, 2)
            assert found.ear.reasons == ["end"]

    on(scene())


@LOOPS
def test_an_end_for_a_fault_of_theirs(on: Runner) -> None:
    """`end`, the word `malformed`, and no waiting."""

    async def scene() -> None:
        async with line() as found:
            found.house.end(Malformed("what was that"))
            assert found.ear.reasons == ["malformed"]
            assert [type(event) for event in await found.hear()] == [End]

    on(scene())


@LOOPS
def test_after_the_end_nothing_happens(on: Runner) -> None:
    """Every call on a connection that is over is nothing, and `lost` is told once."""

    async def scene() -> None:
        async with line() as found:
            found.house.abort()
            for act in (
                found.house.abort,
                lambda: found.house.cut("again"),
                lambda: found.house.end(None),
                lambda: found.house.end(Malformed("x")),
                lambda: found.house.send(b"x"),
                lambda: found.house.write(b"x"),
                found.house.flush,
                found.house.pause_reading,
                found.house.resume_reading,
            ):
                act()
            await asyncio.sleep(0.02)
            assert found.ear.reasons == ["aborted"]

    on(scene())


@LOOPS
@pytest.mark.parametrize("act", [lambda house: house.abort(), lambda house: house.cut("stopped")])
def test_a_connection_may_end_before_it_began(on: Runner, act: Callable[[Connection], None]) -> None:
    """Cut between its making and its start: the socket is closed, and starting it then brings no event."""

    async def scene() -> None:
        async with line(start=False) as found:
            act(found.house)
            assert await found.hear() == []
            await asyncio.wait_for(found.house.start(found.ear), 5)
            assert found.house.over
            assert found.ear.events == []

    on(scene())


@LOOPS
def test_a_socket_that_was_closed_meanwhile(on: Runner) -> None:
    """It is lost like every other; no error comes out."""

    async def scene() -> None:
        async with line(start=False) as found:
            found.house._opened.sock.close()
            await asyncio.wait_for(found.house.start(found.ear), 5)
            assert found.ear.reasons == ["lost"]

    on(scene())


@LOOPS
def test_what_is_cut_from_above_is_told_no_more(on: Runner) -> None:
    """An event makes the one above cut: the events behind it, of the same bytes, are not told."""

    async def scene() -> None:
        async with line() as found:
            found.ear.on = lambda event: found.house.cut("peer")
            await found.say(b"".join(bytes(found.client.send_data(b"%d" % number)) for number in range(5)))
            await asyncio.wait_for(found.house.closed, 5)
            assert (found.ear.data, found.ear.reasons) == (b"0", ["peer"])

    on(scene())


def test_a_socket_without_an_other_side_is_no_connection() -> None:
    """It was closed while it opened."""
    with pytest.raises(Unavailable):
        Opened(sock=socket.socket(), mode=Mode.OPEN)
