"""The house's UDP port and the client's: who said what to which of our addresses, and that nothing stops it."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Iterator

import pytest

from tallystick.channel.datagram import HOUSE_SHAPES, KNOCK_BYTES, DatagramType
from tallystick.channel.filter import datagrams_of
from tallystick.errors import Unavailable
from tallystick.net.address import Endpoint
from tallystick.net.udp import BATCH, SLOT_BYTES, Knocker, Origin, UdpPort


@pytest.fixture(params=[None, "127.0.0.1", "::1"])
def port(request: pytest.FixtureRequest) -> Iterator[UdpPort]:
    """A port on all addresses, on one of IPv4, on one of IPv6."""
    opened = UdpPort.open(request.param, 0)
    yield opened
    opened.close()


def hosts(port: UdpPort) -> list[str]:
    """The addresses at which a port of the fixture can be reached."""
    bound = Endpoint.of_sockaddr(port._sock.getsockname()).host
    return ["127.0.0.1", "127.9.9.9", "::1"] if bound == "::" else [bound]


def test_an_answer_leaves_from_the_address_the_knock_came_to(port: UdpPort) -> None:
    """The origin names both ends; a connected client, which hears one address only, hears the answer."""
    for host in hosts(port):
        with Knocker.open(Endpoint.of(host, port.port)) as knocker:
            assert knocker.send(b"knock")
            assert port.receive() == [b"knock"]
            origin = port.origin(0)
            assert origin == Origin(remote=knocker.local, local=Endpoint.of(host, port.port))
            assert port.send(b"answer", origin)
            assert asyncio.run(knocker.receive(1)) == b"answer"


def test_batches_are_bounded_and_in_order(port: UdpPort) -> None:
    """At most 64 at once; each number of a batch keeps its own sender."""
    with Knocker.open(Endpoint.of(hosts(port)[0], port.port)) as one, Knocker.open(Endpoint.of(hosts(port)[-1], port.port)) as two:
        for i in range(100):
            (two if i % 2 else one).send(bytes([i]) * (i + 1))
        first, second = port.receive(), None
        senders = [port.origin(i).remote for i in range(len(first))]
        second = port.receive()
        assert len(first) == BATCH
        assert first + second == [bytes([i]) * (i + 1) for i in range(100)]
        assert senders == [two.local if i % 2 else one.local for i in range(BATCH)]
        assert port.receive() == []
        with pytest.raises(AssertionError):
            port.origin(0)


def test_sizes_at_the_edges(port: UdpPort) -> None:
    """Empty datagrams are there; those that may have been cut are empty."""
    with Knocker.open(Endpoint.of(hosts(port)[0], port.port)) as knocker:
        for size in (0, 1, SLOT_BYTES - 1, SLOT_BYTES, SLOT_BYTES + 1, 60_000):
            knocker.send(bytes(size))
        assert [len(datagram) for datagram in port.receive()] == [0, 1, SLOT_BYTES - 1, 0, 0, 0]


def test_the_prefilter_is_in_place_and_locked() -> None:
    """Of everything sent only the shapes of a knock reach us."""
    port = UdpPort.open(None, 0, program=datagrams_of(HOUSE_SHAPES))
    chance = random.Random(6)
    with Knocker.open(Endpoint.of("127.0.0.1", port.port)) as knocker:
        for _ in range(500):
            knocker.send(chance.randbytes(chance.choice((0, 1, KNOCK_BYTES - 1, KNOCK_BYTES + 1, 600, 1400))))
        knocker.send(bytes([DatagramType.KNOCK]) + bytes(KNOCK_BYTES - 1))
        assert [len(datagram) for datagram in port.receive()] == [KNOCK_BYTES]
    port.close()


def test_an_answer_to_nobody_harms_nothing(port: UdpPort) -> None:
    """The ICMP error an answer to a closed port brings does not stop the next datagram."""
    host = hosts(port)[0]
    with Knocker.open(Endpoint.of(host, port.port)) as gone:
        gone.send(b"1")
        port.receive()
        origin = port.origin(0)
    for _ in range(5):
        port.send(b"lost", origin)
    with Knocker.open(Endpoint.of(host, port.port)) as knocker:
        knocker.send(b"2")
        assert port.receive() == [b"2"]


def test_an_answer_the_network_does_not_take_is_false() -> None:
    """No route, an address that is not ours, too long: False, never an exception."""
    port = UdpPort.open(None, 0)
    here = Endpoint("127.0.0.1", port.port)
    assert not port.send(b"x", Origin(remote=Endpoint("127.0.0.1", 9), local=Endpoint("192.0.2.77", port.port)))
    assert not port.send(bytes(70_000), Origin(remote=Endpoint("127.0.0.1", 9), local=here))
    assert not port.send(b"x", Origin(remote=Endpoint("127.0.0.1", 0), local=here))
    port.close()
    assert not port.send(b"x", Origin(remote=Endpoint("127.0.0.1", 9), local=here))
    assert port.receive() == []


def test_a_taken_port_says_what_to_do() -> None:
    """Two houses on one port: the second is told."""
    port = UdpPort.open("127.0.0.1", 0)
    with pytest.raises(Unavailable, match="in use") as error:
        UdpPort.open("127.0.0.1", port.port)
    assert "tally status" in error.value.hint
    port.close()


def test_a_foreign_address_says_what_to_do() -> None:
    """An address this machine does not have; a route that does not exist."""
    with pytest.raises(Unavailable, match="no address of this machine"):
        UdpPort.open("192.0.2.1", 0)
    with pytest.raises(Unavailable) as error:
        Knocker.open(Endpoint.of("255.255.255.255", 9))
    assert error.value.hint


def test_a_knocker_waits_through_icmp_errors() -> None:
    """A closed port answers ICMP; the client goes on waiting and hears what comes later."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        where = Endpoint.of_sockaddr(sock.getsockname())

    async def scene(knocker: Knocker) -> bytes | None:
        for _ in range(3):
            knocker.send(b"anybody there?")
        waiting = asyncio.create_task(knocker.receive(3))
        await asyncio.sleep(0.02)
        port = UdpPort.open(where.host, where.port)
        knocker.send(b"now?")
        await asyncio.sleep(0.02)
        assert port.receive() == [b"now?"]
        port.send(b"yes", port.origin(0))
        port.close()
        return await waiting

    with Knocker.open(where) as knocker:
        assert asyncio.run(scene(knocker)) == b"yes"


def test_a_knocker_gives_up_in_time() -> None:
    """Silence ends at the timeout; the event loop watches nothing afterwards."""
    port = UdpPort.open("127.0.0.1", 0)
    with Knocker.open(Endpoint("127.0.0.1", port.port)) as knocker:
        start = time.monotonic()
        assert asyncio.run(knocker.receive(0.05)) is None
        assert 0.05 <= time.monotonic() - start < 1
    port.close()


def test_a_flood_is_read_without_growth() -> None:
    """100,000 random datagrams without a prefilter: all are read, none answered, no memory kept."""
    port = UdpPort.open("127.0.0.1", 0)
    junk = [os.urandom(size) for size in (0, 1, 68, 108, 108, 108, 156, 600) for _ in range(8)]
    seen, before = 0, None
    with Knocker.open(Endpoint("127.0.0.1", port.port)) as knocker:
        for round_number in range(100_000 // 640):
            for _ in range(10):
                for datagram in junk:
                    knocker.send(datagram)
            while batch := port.receive():
                seen += len(batch)
            if round_number == 20:
                before = _resident_kib()
        assert seen >= 0.99 * (100_000 // 640) * 640
        assert asyncio.run(knocker.receive(0)) is None
    assert before is not None
    assert _resident_kib() - before < 1024
    port.close()


def _resident_kib() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
