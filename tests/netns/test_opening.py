"""Which mode opens a connection in which network: the table of docs/spec/net.md, with real NATs and firewalls."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

from tallystick.channel.datagram import Mode
from tallystick.errors import TallyError
from tests.netns.opening import Met, meet_from, serving
from tests.netns.village import Nat, Village, Wall

pytestmark = pytest.mark.timeout(120)

OPEN, FILTERED, MOMENTARY, SIGNED = Mode.OPEN, Mode.FILTERED, Mode.MOMENTARY, Mode.SIGNED
ALL: Final = frozenset(Mode)
LISTENING: Final = frozenset({FILTERED, MOMENTARY})
CONNECTING: Final = frozenset({OPEN, SIGNED})


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network, and the modes that work in it, over IPv4 and IPv6 alike."""

    name: str
    works: frozenset[Mode]
    options: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1  # of the house in mode 1, at least


NETWORKS: Final = (
    Network(name="direct", works=ALL),
    Network(name="NAT that keeps ports", works=LISTENING | {OPEN}, options={"nat": Nat.PRESERVING}),
    Network(name="NAT that keeps ports, silent router", works=LISTENING | {OPEN}, options={"nat": Nat.PRESERVING, "router_silent": True}),
    Network(name="NAT that rewrites ports", works=LISTENING, options={"nat": Nat.RANDOM}),
    Network(name="NAT that rewrites ports fully at random", works=LISTENING, options={"nat": Nat.FULLY_RANDOM, "router_silent": True}),
    Network(name="house's firewall drops", works=CONNECTING, options={"house_wall": Wall.DROP}, attempts=2),
    Network(name="house's firewall resets", works=CONNECTING, options={"house_wall": Wall.REJECT_RESET}, attempts=2),
    Network(name="house's firewall says unreachable", works=CONNECTING, options={"house_wall": Wall.REJECT_ICMP}, attempts=2),
    Network(name="client's firewall drops", works=ALL, options={"client_wall": Wall.DROP}),
    Network(name="client's firewall resets", works=ALL, options={"client_wall": Wall.REJECT_RESET}),
    Network(name="client's firewall says unreachable", works=ALL, options={"client_wall": Wall.REJECT_ICMP}),
    Network(name="client's firewall says prohibited", works=ALL, options={"client_wall": Wall.REJECT_ADMIN}),
    Network(name="both firewalls drop", works=CONNECTING, options={"house_wall": Wall.DROP, "client_wall": Wall.DROP}),
    Network(
        name="NAT that keeps ports, house's firewall drops",
        works=frozenset({OPEN}),
        options={"nat": Nat.PRESERVING, "house_wall": Wall.DROP},
        attempts=2,
    ),
    Network(name="60 ms away", works=ALL, options={"delay_ms": 30}),
    Network(name="60 ms away, house's firewall drops", works=CONNECTING, options={"delay_ms": 30, "house_wall": Wall.DROP}, attempts=2),
    Network(name="60 ms away, client's firewall says unreachable", works=ALL, options={"delay_ms": 30, "client_wall": Wall.REJECT_ICMP}),
)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name.replace(" ", "-"))
def test_modes_in_networks(network: Network) -> None:
    """Each mode opens where the table says so, every time, and nowhere else."""
    times = 2 if "delay_ms" in network.options else 5
    with Village(**network.options) as v, serving(v.house) as house:
        for host in (v.house.ip, v.house.ip6):
            for mode in Mode:
                if mode in network.works:
                    met = meet_from(v.client, host, mode, times)
                    assert mode is not OPEN or max(one.house_attempts for one in met) >= network.attempts
                else:
                    with pytest.raises(TallyError):
                        meet_from(v.client, host, mode, timeout=0.5)
        if network.works == ALL:
            assert house.errors == []


def test_loopback() -> None:
    """A machine opens connections with itself in all modes."""
    with Village() as v, serving(v.house):
        for host in ("127.0.0.1", "::1", v.house.ip, v.house.ip6):
            for mode in Mode:
                assert len(meet_from(v.house, host, mode, 5)) == 5


def test_from_one_lan() -> None:
    """House and client on one switch, no router between."""
    with Village() as v, serving(v.house):
        for mode in Mode:
            assert len(meet_from(v.stranger, v.house.ip, mode, 5)) == 5


def test_many_at_once() -> None:
    """Two clients behind one NAT open at the same time, and none takes the other's connection."""
    with Village(nat=Nat.PRESERVING) as v, serving(v.house) as house:
        for mode in (OPEN, FILTERED, MOMENTARY):
            futures = [machine.call(meet_from, machine, v.house.ip, mode, 20) for machine in (v.client, v.neighbour) for _ in range(2)]
            met: list[Met] = [one for future in futures for one in future.result(60)]
            assert len(met) == 80
        assert house.errors == []


def program(*args: str) -> list[str]:
    return [sys.executable, "-m", "tests.netns.opening", *args]


def test_without_the_capability() -> None:
    """A house without CAP_NET_ADMIN opens by TCP-MD5 and by the momentary listener; where filters are refused, so are their modes."""
    with Village() as v:
        probe = "from tallystick.net.bpf import capabilities as c; print(c().filter_udp, c().filter_tcp, c().tcp_md5)"
        udp, tcp, md5 = v.house.python(probe, without=["net_admin"]).stdout.split()
        assert (udp, md5) == ("True", "True")
        house = v.house.popen(program("house"), without=["net_admin"])
        assert house.stdout is not None
        assert house.stdout.readline() == "ready\n"
        for mode in Mode:
            done = v.client.run(program("client", v.house.ip, str(mode.value), "1"), without=["net_admin"])
            assert isinstance(json.loads(done.stdout)[0], float) is (mode in (SIGNED, MOMENTARY) or tcp == "True")


def test_a_client_needs_no_capability() -> None:
    """With no capability at all one is a client as good as any."""
    with Village() as v, serving(v.house):
        for mode in Mode:
            done = v.client.run(program("client", v.house.ip, str(mode.value), "3"), without=["all"])
            assert all(isinstance(one, float) for one in json.loads(done.stdout)), done.stdout
