"""Networks that are unkind: no IPv6, answers that never end, a client that is not there."""

import asyncio
import threading

import pytest

from tallystick.channel.datagram import Mode
from tallystick.errors import Unavailable
from tallystick.net.address import Endpoint
from tallystick.net.tcp import house_open
from tests.netns.opening import PORT, meet_from, serving
from tests.netns.village import Machine, Village, Wall

pytestmark = pytest.mark.timeout(60)


def test_a_house_without_ipv6() -> None:
    """Where the kernel has no IPv6 addresses, the house serves IPv4."""
    with Village() as v:
        v.house.sysctl(net__ipv6__conf__all__disable_ipv6=1)
        with serving(v.house):
            for mode in Mode:
                assert len(meet_from(v.client, v.house.ip, mode, 3)) == 3


def count_syns(machine: Machine, port: int) -> None:
    """From now on count the SYNs that reach a port."""
    machine.nft(f"table inet seen {{ chain in {{ type filter hook input priority raw; tcp dport {port} tcp flags syn counter\n }}\n}}")


def syns(machine: Machine) -> int:
    words = machine.run(["nft", "list", "table", "inet", "seen"]).stdout.split()
    return int(words[words.index("packets") + 1])


@pytest.mark.parametrize("wall", [Wall.NONE, Wall.REJECT_RESET, Wall.REJECT_ICMP, Wall.REJECT_ADMIN])
@pytest.mark.parametrize("family", [4, 6])
def test_who_refuses_does_not_set_the_pace(wall: Wall, family: int) -> None:
    """RST or ICMP in answer to every SYN of mode 1: the house goes on trying, at its own pace, and ends in time."""
    with Village(client_wall=wall) as v:
        count_syns(v.client, 40_000)
        here, there = (v.house.ip, v.client.ip) if family == 4 else (v.house.ip6, v.client.ip6)
        ready = threading.Event()

        async def attempt() -> None:
            await house_open(Mode.OPEN, Endpoint.of(here, PORT), Endpoint.of(there, 40_000), timeout=1.0, on_ready=lambda _: ready.set())

        with pytest.raises(Unavailable, match="mode 1"):
            v.house.call(lambda: asyncio.run(attempt())).result(10)
        assert ready.is_set()
        assert 1 <= syns(v.client) <= 40
