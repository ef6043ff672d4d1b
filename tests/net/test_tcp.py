"""Opening on one machine: all modes, both families, both event loops; cancellation, limits, errors, and no socket left."""

import asyncio
import contextlib
import errno
import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
import uvloop

from tallystick.channel.datagram import Mode
from tallystick.errors import Misuse, Unavailable
from tallystick.net import bpf, stream, tcp
from tallystick.net.address import Endpoint
from tallystick.net.dial import ClientPort
from tallystick.net.stream import LISTEN_PORTS, PORTS, Opened, on_free_port, pick_port
from tallystick.net.tcp import house_open
from tests.support import missing

T = TypeVar("T")
KEY = b"a key for TCP-MD5"
LOOPBACK = Endpoint("127.0.0.1", 0)
NOBODY = Endpoint("127.0.0.1", 1)

pytestmark = pytest.mark.timeout(60)


def run(scene: Coroutine[Any, Any, T], factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop) -> T:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(scene)


def key_for(mode: Mode) -> bytes | None:
    return KEY if mode is Mode.SIGNED else None


def possible(mode: Mode) -> None:
    """Skip where this kernel or process cannot do a mode."""
    if mode in (Mode.OPEN, Mode.FILTERED) and not bpf.can_filter_tcp():
        missing("no filter on TCP sockets (needs CAP_NET_ADMIN here)")
    if mode is Mode.SIGNED and not bpf.can_md5():
        missing("this kernel has no TCP-MD5")


async def opened(mode: Mode, here: Endpoint = LOOPBACK) -> tuple[Opened, Opened]:
    """(house's end, client's end) of a new connection; the client has said `!`."""
    port = ClientPort.bind(here)
    ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    house = asyncio.create_task(house_open(mode, here, here.at(port.number), md5_key=key_for(mode), on_ready=ready.set_result))
    client = await port.open(here.at(await ready), mode=mode, md5_key=key_for(mode))
    client.sock.send(b"!")
    return await house, client


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("mode", list(Mode))
def test_a_connection_opens_in_each_mode(mode: Mode, host: str, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """The two ends name each other, and what is said at one end is heard at the other."""
    possible(mode)

    async def scene() -> None:
        for _ in range(20):
            house, client = await opened(mode, Endpoint.of(host, 0))
            assert (house.local, house.remote) == (client.remote, client.local)
            assert house.local.port in (LISTEN_PORTS if mode in (Mode.FILTERED, Mode.MOMENTARY) else PORTS)
            assert house.sock.recv(10) == b"!"
            house.settle()
            house.settle()
            house.sock.send(b"?")
            assert await asyncio.get_running_loop().sock_recv(client.sock, 10) == b"?"
            assert house.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            house.close()
            client.close()

    run(scene(), factory)


def reset(sock: socket.socket) -> None:
    """Close with RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_a_reset_is_heard_only_after_settling() -> None:
    """Mode 1: before `settle` the fence eats a client's RST, after it the house hears it."""
    possible(Mode.OPEN)

    async def scene() -> None:
        for settled in (False, True):
            house, client = await opened(Mode.OPEN)
            assert house.sock.recv(10) == b"!"
            if settled:
                house.settle()
            reset(client.sock)
            await asyncio.sleep(0.01)
            with pytest.raises(ConnectionResetError if settled else BlockingIOError):
                house.sock.recv(1)
            house.close()

    run(scene())


@pytest.mark.parametrize("mode", list(Mode))
def test_without_a_client_it_ends_in_time(mode: Mode) -> None:
    """Nobody comes: Unavailable after the timeout, with a hint, and no socket is left."""
    possible(mode)

    async def scene() -> None:
        before = descriptors()
        start = time.monotonic()
        with pytest.raises(Unavailable, match=f"mode {mode.value}") as error:
            await house_open(mode, LOOPBACK, NOBODY, md5_key=key_for(mode), timeout=0.15, on_ready=lambda port: None)
        assert 0.14 <= time.monotonic() - start < 1
        assert error.value.hint
        assert descriptors() == before

    run(scene())


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_thousand_aborted_openings_leave_no_socket() -> None:
    """Cancelled at every stage, on both sides and in all modes: as many descriptors afterwards as before."""
    modes = [mode for mode in Mode if mode is Mode.MOMENTARY or (bpf.can_md5() if mode is Mode.SIGNED else bpf.can_filter_tcp())]

    async def scene() -> int:
        await opened_and_closed()
        before = descriptors()
        for i in range(250):
            mode = modes[i % len(modes)]
            ports = [ClientPort.bind(LOOPBACK) for _ in range(2)]
            tasks: list[asyncio.Task[Opened]] = [
                asyncio.create_task(house_open(mode, LOOPBACK, LOOPBACK.at(port.number), md5_key=key_for(mode), on_ready=lambda _: None))
                for port in ports
            ]
            tasks += [asyncio.create_task(port.open(NOBODY, mode=mode, md5_key=key_for(mode))) for port in ports]
            for _ in range(i % 4):
                await asyncio.sleep(0 if i % 3 else 0.0005)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(result, asyncio.CancelledError | Unavailable), result
            for port in ports:
                port.close()  # a task cancelled before its first step never had it
        return descriptors() - before

    async def opened_and_closed() -> None:
        for end in await opened(Mode.MOMENTARY):
            end.close()

    assert run(scene()) == 0


def test_what_the_callback_raises_passes_and_nothing_is_left() -> None:
    """`on_ready` belongs to the caller, its errors too, even an OSError."""

    async def scene() -> None:
        before = descriptors()
        for error in (OSError(errno.EPIPE, "mine"), ZeroDivisionError()):

            def fail(_: int, error: Exception = error) -> None:
                raise error

            with pytest.raises(type(error)) as caught:
                await house_open(Mode.MOMENTARY, LOOPBACK, NOBODY, on_ready=fail)
            assert caught.value is error
        assert descriptors() == before

    run(scene())


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("mode", list(Mode))
def test_the_answer_cannot_overtake(mode: Mode, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """When `on_ready` runs, the house's SYN has left or it listens: a connect at that very moment succeeds."""
    possible(mode)
    client = on_free_port(LOOPBACK, PORTS, lambda sock: None)
    client.settimeout(1)
    here = Endpoint.of_sockaddr(client.getsockname())
    if mode is Mode.SIGNED:
        bpf.set_md5(client, here, KEY)

    def answered(ours: int) -> None:
        client.connect(("127.0.0.1", ours))
        client.send(b"!")

    async def scene() -> None:
        house = await house_open(mode, LOOPBACK, here, md5_key=key_for(mode), timeout=1, on_ready=answered)
        assert house.sock.recv(1) == b"!"
        house.close()

    with client:
        run(scene(), factory)


def test_a_momentary_listener_admits_only_the_port_that_knocked() -> None:
    """With a port that holds, another port of the same address is sent away and the listener waits on."""

    async def scene() -> None:
        port = ClientPort.bind(LOOPBACK)
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        house = asyncio.create_task(house_open(Mode.MOMENTARY, LOOPBACK, LOOPBACK.at(port.number), on_ready=ready.set_result))
        ours = await ready
        with socket.create_connection(("127.0.0.1", ours), timeout=2) as thief:
            thief.send(b"me!")
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.to_thread(thief.recv, 1) == b""
        assert not house.done()
        client = await port.open(LOOPBACK.at(ours), mode=Mode.MOMENTARY)
        client.sock.send(b"!")
        end = await house
        assert end.sock.recv(1) == b"!"
        end.close()
        client.close()

    run(scene())


def test_who_connects_and_vanishes_does_not_end_the_waiting() -> None:
    """Mode 3: a stranger that connects, speaks and resets before it is accepted changes nothing for the client."""

    async def scene() -> None:
        port = ClientPort.bind(LOOPBACK)
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def vanish(ours: int) -> None:
            for _ in range(3):
                thief = socket.create_connection(("127.0.0.1", ours), timeout=2)
                thief.send(b"me!")
                reset(thief)
            ready.set_result(ours)

        house = asyncio.create_task(house_open(Mode.MOMENTARY, LOOPBACK, LOOPBACK.at(port.number), on_ready=vanish))
        client = await port.open(LOOPBACK.at(await ready), mode=Mode.MOMENTARY)
        client.sock.send(b"!")
        end = await house
        assert end.sock.recv(1) == b"!"
        end.close()
        client.close()

    run(scene())


def test_a_refused_client_gives_up_soon() -> None:
    """A closed port refuses each attempt: Unavailable long before the timeout."""

    async def scene() -> None:
        start = time.monotonic()
        with pytest.raises(Unavailable, match=r"ECONNREFUSED|ETIMEDOUT"):
            await ClientPort.bind(LOOPBACK).open(NOBODY, mode=Mode.OPEN)
        assert time.monotonic() - start < 2
        start = time.monotonic()
        with pytest.raises(Unavailable, match="ECONNREFUSED") as error:
            await ClientPort.bind(LOOPBACK).open(NOBODY, mode=Mode.FILTERED)
        assert time.monotonic() - start < 1
        assert "firewall" in error.value.hint

    run(scene())


def test_a_client_that_is_early_or_late_is_waited_for() -> None:
    """Mode 1 connects whenever the client comes, and when the house comes shortly after it."""
    possible(Mode.OPEN)

    async def late(seconds: float) -> None:
        port = ClientPort.bind(LOOPBACK)
        ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        house = asyncio.create_task(house_open(Mode.OPEN, LOOPBACK, LOOPBACK.at(port.number), on_ready=ready.set_result))
        ours = await ready
        await asyncio.sleep(seconds)
        client = await port.open(LOOPBACK.at(ours), mode=Mode.OPEN)
        end = await house
        client.close()
        end.close()

    for seconds in (0, 0.0005, 0.002, 0.01, 0.03, 0.1):
        run(late(seconds))


def test_an_attempt_that_comes_to_life_is_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that connects in the very moment in which the house finds its attempt dead gets a connection and no reset."""
    possible(Mode.OPEN)
    met = 0

    async def scene() -> None:
        nonlocal met
        client = on_free_port(LOOPBACK, PORTS, lambda fresh: None)
        remote = Endpoint.of_sockaddr(client.getsockname())
        house = LOOPBACK

        def found(port: int) -> None:
            nonlocal house
            house = LOOPBACK.at(port)

        look = stream.tcp_state

        def late(sock: socket.socket) -> int:
            """The client's SYN is on its way between the look and what follows it."""
            nonlocal met
            state = look(sock)
            if state == stream.SYN_SENT and sock.getsockname()[1] == house.port and met < 2:
                met += 1
                if met == 2:  # the second look: at an attempt that is about to be replaced
                    assert client.connect_ex(house.sockaddr) in stream.PENDING
            return state

        monkeypatch.setattr(tcp, "tcp_state", late)
        opened = await house_open(Mode.OPEN, LOOPBACK, remote, on_ready=found)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(client, b"first")
        assert await asyncio.wait_for(loop.sock_recv(opened.sock, 16), 5) == b"first"
        await loop.sock_sendall(opened.sock, b"second")
        assert await asyncio.wait_for(loop.sock_recv(client, 16), 5) == b"second"
        opened.close()
        client.close()

    asyncio.run(scene())
    assert met == 2


def test_time_wait_blocks_nobody() -> None:
    """Where the four numbers are still in use, the house takes another port; a client port can be used again at once."""
    possible(Mode.OPEN)

    async def scene() -> None:
        numbers = []
        port = ClientPort.bind(LOOPBACK)
        for _ in range(30):
            ready: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            house = asyncio.create_task(house_open(Mode.OPEN, LOOPBACK, LOOPBACK.at(port.number), on_ready=ready.set_result))
            client = await port.open(LOOPBACK.at(await ready), mode=Mode.OPEN)
            end = await house
            numbers.append(client.local.port)
            client.close()
            end.close()
            port = ClientPort.bind(LOOPBACK.at(numbers[0]))
        assert set(numbers) == {numbers[0]}

    run(scene())


def test_a_port_in_use_is_passed_over() -> None:
    """Of two ports one is taken by a listener: the other is found; if both are, the error names the cause."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        one.listen()
        taken = one.getsockname()[1]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            spare = free.getsockname()[1]
        ports = range(min(taken, spare), max(taken, spare) + 1, abs(taken - spare))
        for _ in range(10):
            with on_free_port(LOOPBACK, ports, lambda sock: None) as sock:
                assert sock.getsockname()[1] == spare
        two.bind(("127.0.0.1", spare))
        two.listen()
        with pytest.raises(OSError) as error:
            on_free_port(LOOPBACK, ports, lambda sock: None)
        assert error.value.errno == errno.EADDRINUSE


def test_pick_port_avoids_one() -> None:
    """Never the port that is not to be taken, in the smallest range too."""
    assert {pick_port(range(5, 7), 5) for _ in range(50)} == {6}
    assert {pick_port(range(5, 8), 7) for _ in range(100)} == {5, 6}
    assert all(pick_port() in PORTS for _ in range(100))


def test_errors_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is not ours, no route, no descriptors left: Unavailable with a hint, no OSError."""

    async def failing(attempt: Callable[[], Awaitable[object]]) -> Unavailable:
        with pytest.raises(Unavailable) as error:
            await attempt()
        assert error.value.hint
        return error.value

    foreign = Endpoint("192.0.2.1", 0)
    for mode in (Mode.MOMENTARY, Mode.SIGNED):
        possible(mode)
        run(failing(lambda mode=mode: house_open(mode, foreign, NOBODY, md5_key=key_for(mode), on_ready=lambda _: None)))  # type: ignore[misc]
    with pytest.raises(Unavailable):
        ClientPort.bind(foreign)

    def no_more(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(stream, "stream", no_more)
    error = run(failing(lambda: house_open(Mode.MOMENTARY, LOOPBACK, NOBODY, on_ready=lambda _: None)))
    assert "LimitNOFILE" in error.hint


@pytest.mark.parametrize(
    ("mode", "key", "port"), [(Mode.OPEN, KEY, 1), (Mode.SIGNED, None, 1), (Mode.FILTERED, KEY, 1), (Mode.OPEN, None, 0)]
)
def test_a_key_belongs_to_mode_4_and_a_port_to_modes_1_and_4(mode: Mode, key: bytes | None, port: int) -> None:
    """Anything else is Misuse, before any socket is made."""
    with pytest.raises(Misuse):
        run(house_open(mode, LOOPBACK, LOOPBACK.at(port), md5_key=key, on_ready=lambda _: None))
