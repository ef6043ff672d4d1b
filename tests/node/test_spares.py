"""What a client keeps ready for its next knock: used once, by the process that made it, and given back when nobody wants it."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from tallystick.channel.datagram import Mode
from tallystick.net.address import Endpoint
from tallystick.net.udp import Knocker as UdpKnocker
from tallystick.node import spares
from tallystick.node.client import HouseSession
from tallystick.node.dialling import forget_keys, prepare
from tallystick.node.machine import Machine
from tallystick.node.spares import Spare
from tests.node.village import Village, village


async def visit(found: Village) -> HouseSession:
    """Open a session, end it, and let the loop do what it does while nobody waits."""
    session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
    await session.close()
    await asyncio.sleep(0.01)
    return session


def kept(found: Village) -> Spare:
    """The spare of the laptop."""
    return found.member("laptop").spares._kept[found.pair_of("laptop").pairing][0]


def is_open(kept_by: Spare) -> bool:
    """Whether its sockets are."""
    return kept_by.udp._sock.fileno() >= 0 and kept_by.port._sock.fileno() >= 0


def test_the_next_session_uses_it_and_leaves_another(tmp_path: Path) -> None:
    """The port, the ephemeral key and the sockets of the spare are those of the next knock, and of no other."""

    async def play() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await visit(found)
            first = kept(found)
            session = await visit(found)
            assert session.dialled.opened.local.port == first.port.number == first.draft.tcp_port
            assert session.mode is Mode.OPEN
            second = kept(found)
            assert second.draft._message[:32] != first.draft._message[:32]
            assert is_open(second) and not is_open(first)
            assert first.draft._state is None

    asyncio.run(play())


def test_an_address_that_this_machine_has_left_costs_half_a_second(tmp_path: Path) -> None:
    """The spare's knock reaches nobody: the next one leaves from a socket of its own."""

    async def play() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await visit(found)
            old = kept(found)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody:
                nobody.bind(("127.0.0.1", 0))
                old.udp._sock.connect(nobody.getsockname())
                session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
            assert session.dialled.opened.local.port != old.port.number
            assert not is_open(old)
            await session.close()

    asyncio.run(play())


def test_it_is_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody wants it for a while, when the pair's keys are made anew, when the machine closes; then none is made any more."""

    async def play() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            laptop, pairing = found.member("laptop"), found.pair_of("laptop").pairing
            monkeypatch.setattr(spares, "KEPT_S", 0.05)
            await visit(found)
            lapsed = kept(found)
            await asyncio.sleep(0.1)
            assert not laptop.spares.has(pairing) and not is_open(lapsed)
            monkeypatch.undo()
            await visit(found)
            dropped = kept(found)
            prepare(laptop, pairing, dropped.house)
            assert kept(found) is dropped  # one is enough
            forget_keys(laptop, pairing)
            assert not laptop.spares.has(pairing) and not is_open(dropped)
            prepare(laptop, pairing, dropped.house)  # whose keys are not known
            assert not laptop.spares.has(pairing)
            await visit(found)
            last = kept(found)
            laptop.spares.close()
            assert not is_open(last)
            prepare(laptop, pairing, last.house)
            assert laptop.spares._kept == {}

    asyncio.run(play())


async def made(found: Village) -> tuple[Machine, bytes, Spare]:
    """The laptop, its pair, and its spare."""
    await found.join("laptop")
    await visit(found)
    return found.member("laptop"), found.pair_of("laptop").pairing, kept(found)


def test_it_is_for_one_address(tmp_path: Path) -> None:
    """Whoever knocks elsewhere makes his own."""

    async def play() -> None:
        async with village(tmp_path) as found:
            laptop, pairing, old = await made(found)
            assert laptop.spares.take(pairing, Endpoint("192.0.2.1", old.house.port)) is None
            assert not is_open(old)
            assert laptop.spares.take(pairing, old.house) is None

    asyncio.run(play())


def test_a_fork_makes_its_own(tmp_path: Path) -> None:
    """Two processes with one draft would knock with one ephemeral key."""

    async def play() -> None:
        async with village(tmp_path) as found:
            laptop, pairing, old = await made(found)
            child = os.fork()
            if child == 0:
                os._exit(0 if laptop.spares.take(pairing, old.house) is None else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert laptop.spares.take(pairing, old.house) is old
            old.close()

    asyncio.run(play())


def test_sockets_that_cannot_be_had_are_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No port: the UDP socket does not stay, and nobody hears of it before he knocks."""

    async def play() -> None:
        async with village(tmp_path) as found:
            laptop, pairing, old = await made(found)
            laptop.spares.drop(pairing)
            opened: list[UdpKnocker] = []
            open_it = UdpKnocker.open.__func__  # type: ignore[attr-defined]

            def remember(cls: type[UdpKnocker], /, *args: object, **kwargs: object) -> UdpKnocker:
                opened.append(open_it(cls, *args, **kwargs))
                opened[-1].local = Endpoint("192.0.2.1", 1)  # no address of this machine
                return opened[-1]

            monkeypatch.setattr(UdpKnocker, "open", classmethod(remember))
            prepare(laptop, pairing, old.house)
            assert not laptop.spares.has(pairing)
            assert opened[0]._sock.fileno() < 0

    asyncio.run(play())
