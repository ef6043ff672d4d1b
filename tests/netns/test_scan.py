"""What a stranger with a port scanner sees: silence, closed ports, and under the preset one picture for all ports."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Self

import pytest

from tallystick.channel.datagram import HOUSE_SHAPES, Mode
from tallystick.channel.filter import datagrams_of
from tallystick.errors import Unavailable
from tallystick.net.address import Endpoint
from tallystick.net.firewall import preset
from tallystick.net.stream import LISTEN_PORTS
from tallystick.net.tcp import house_open
from tallystick.net.udp import UdpPort
from tests.netns.opening import meet_from, serving
from tests.netns.village import Machine, Nat, Port, Village

pytestmark = pytest.mark.timeout(120)

PORT = 51_877
CLOSED = Port("closed", "reset")
SILENT = Port("filtered", "no-response")
UDP_SILENT = Port("open|filtered", "no-response")
TCP_KEY = b"a key for TCP-MD5"


class Pending:
    """A house with one opening under way, until the end of the block, towards a client that never comes."""

    def __init__(self, machine: Machine, mode: Mode, client: Endpoint) -> None:
        self.port = 0
        self._ready = threading.Event()
        self._mode, self._client = mode, client
        self._local = Endpoint.of(machine.ip6 if ":" in client.host else machine.ip, PORT)
        self._ended = machine.call(lambda: asyncio.run(self._open()))

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        key = TCP_KEY if self._mode is Mode.SIGNED else None
        opening = house_open(self._mode, self._local, self._client, md5_key=key, timeout=60, on_ready=self._note)
        self._task = asyncio.create_task(opening)
        with contextlib.suppress(asyncio.CancelledError):
            (await self._task).close()

    def _note(self, port: int) -> None:
        self.port = port
        self._ready.set()

    def __enter__(self) -> Self:
        assert self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._ended.result(5)


@pytest.mark.parametrize("mode", [Mode.OPEN, Mode.SIGNED])
def test_a_pending_connect_looks_closed(mode: Mode) -> None:
    """While the house waits for its client, the port answers RST as its closed neighbours do: to strangers, to the client's
    own address from other ports, and to the client's neighbour."""
    with Village() as v, Pending(v.house, mode, Endpoint.of(v.client.ip, 40_000)) as pending:
        ports = [pending.port, pending.port + 1]
        for machine in (v.stranger, v.client, v.neighbour):
            assert machine.scan(v.house.ip, ports) == dict.fromkeys(ports, CLOSED)
        assert v.stranger.scan(v.house.ip, ports, source_port=40_000) == dict.fromkeys(ports, CLOSED)


def test_a_filtered_listener_is_silent_to_all_but_one_address() -> None:
    """Mode 2: a stranger's SYN gets no answer; the one address finds an open port, from the one source port if it holds."""
    with Village() as v:
        with Pending(v.house, Mode.FILTERED, Endpoint.of(v.client.ip, 0)) as pending:
            assert v.stranger.scan(v.house.ip, [pending.port])[pending.port] == SILENT
            assert v.neighbour.scan(v.house.ip, [pending.port])[pending.port] == SILENT
            assert v.client.scan(v.house.ip, [pending.port])[pending.port].state == "open"
        with Pending(v.house, Mode.FILTERED, Endpoint.of(v.client.ip, 40_000)) as exact:
            assert v.client.scan(v.house.ip, [exact.port])[exact.port] == SILENT
            assert v.client.scan(v.house.ip, [exact.port], source_port=40_000)[exact.port].state == "open"


def test_a_filtered_listener_is_silent_over_ipv6() -> None:
    """Mode 2 over IPv6: the same."""
    with Village() as v, Pending(v.house, Mode.FILTERED, Endpoint.of(v.client.ip6, 0)) as pending:
        assert v.stranger.scan(v.house.ip6, [pending.port])[pending.port] == SILENT
        assert v.client.scan(v.house.ip6, [pending.port])[pending.port].state == "open"


def test_a_momentary_listener_is_open_for_its_moment_only() -> None:
    """Mode 3: open to all while it lasts, a connection from elsewhere is sent away, and afterwards the port is closed."""
    with Village() as v:
        with Pending(v.house, Mode.MOMENTARY, Endpoint.of(v.client.ip, 0)) as pending:
            assert v.stranger.scan(v.house.ip, [pending.port])[pending.port].state == "open"
            talk = f"import socket; s = socket.create_connection(('{v.house.ip}', {pending.port})); s.sendall(b'hi'); print(s.recv(1))"
            assert "ConnectionResetError" in v.stranger.python(talk, check=False).stderr
        assert v.stranger.scan(v.house.ip, [pending.port])[pending.port] == CLOSED


def with_port(machine: Machine, body: Callable[[UdpPort], None]) -> None:
    """Run `body` with the house's UDP port open on `machine`, in a thread there."""

    def work() -> None:
        port = UdpPort.open(None, PORT, program=datagrams_of(HOUSE_SHAPES))
        try:
            body(port)
        finally:
            port.close()

    machine.call(work).result(90)


def test_the_udp_port_never_answers_a_scan() -> None:
    """nmap's own payloads and empty datagrams: no answer, nothing reaches Python."""

    def scanned(port: UdpPort) -> None:
        assert v.stranger.scan(v.house.ip, [PORT], udp=True)[PORT] == UDP_SILENT
        assert v.stranger.scan(v.house.ip6, [PORT], udp=True)[PORT] == UDP_SILENT
        assert port.receive() == []

    with Village() as v:
        with_port(v.house, scanned)


@pytest.mark.parametrize("listen", [False, True])
def test_under_the_preset_all_ports_look_alike(listen: bool) -> None:
    """One state and one reason for every port of either protocol: the knocked one, a pending one, a listening one, closed ones."""

    def scanned(port: UdpPort) -> None:
        for host, client in ((v.house.ip, v.client.ip), (v.house.ip6, v.client.ip6)):
            with (
                Pending(v.house, Mode.OPEN, Endpoint.of(client, 40_000)) as pending,
                Pending(v.house, Mode.FILTERED, Endpoint.of(client, 0)) as listening,
            ):
                tcp = [1, 22, 443, PORT, pending.port, listening.port, LISTEN_PORTS[0], LISTEN_PORTS[-1]]
                assert set(v.stranger.scan(host, tcp).values()) == {SILENT}
                assert set(v.neighbour.scan(host, tcp).values()) == {SILENT}
            assert set(v.stranger.scan(host, [1, 53, PORT, PORT + 1, LISTEN_PORTS[0]], udp=True).values()) == {UDP_SILENT}

    with Village() as v:
        v.house.nft(preset(PORT, listen=listen))
        with_port(v.house, scanned)
        probe = v.client.run(["nmap", "-n", "-sn", "-PE", "-PS22,443", "-PA80", "-PU53", v.house.ip]).stdout
        assert "0 hosts up" in probe


def test_under_the_preset_the_paired_come_in() -> None:
    """Mode 1 opens through the preset as printed; modes 2 and 3 with their lines in force, also behind a NAT that rewrites ports."""
    with Village(nat=Nat.RANDOM) as v:
        v.house.nft(preset(PORT, listen=True))
        with serving(v.house):
            for mode in (Mode.FILTERED, Mode.MOMENTARY):
                assert len(meet_from(v.client, v.house.ip, mode, 5)) == 5
    with Village() as v:
        v.house.nft(preset(PORT))
        with serving(v.house):
            for host in (v.house.ip, v.house.ip6):
                assert len(meet_from(v.client, host, Mode.OPEN, 5)) == 5
            with pytest.raises(Unavailable):
                meet_from(v.client, v.house.ip, Mode.MOMENTARY, timeout=0.5)


def test_the_preset_loads_twice() -> None:
    """Loading it again replaces it."""
    with Village() as v:
        v.house.nft(preset(PORT))
        once = v.house.run(["nft", "list", "ruleset"]).stdout
        v.house.nft(preset(PORT))
        assert v.house.run(["nft", "list", "ruleset"]).stdout == once
