"""The whole client through real networks: it pairs, finds the mode that works, and remembers it (docs/spec/knock.md, section 7)."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.netns.village import Nat, Village, Wall

pytestmark = pytest.mark.timeout(120)


def meet(v: Village, folder: Path, hosts: list[str], times: int = 3) -> dict[str, Any]:
    """A house at one end, a laptop at the other: what the laptop says of its sessions."""
    program = [sys.executable, "-m", "tests.netns.dialling"]
    house = v.house.popen([*program, "house", str(folder / "house"), *hosts])
    assert house.stdout is not None and house.stdin is not None
    invite = house.stdout.readline().strip()
    assert invite.startswith("tally1"), invite + house.stdout.read()
    done = v.client.run([*program, "laptop", str(folder / "laptop"), invite, str(times)], timeout=60)
    house.stdin.close()
    house.wait(20)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        ({}, 1),
        ({"nat": Nat.PRESERVING}, 1),
        ({"nat": Nat.RANDOM}, 2),
        ({"nat": Nat.FULLY_RANDOM, "router_silent": True}, 2),
        ({"house_wall": Wall.DROP}, 1),
        ({"client_wall": Wall.REJECT_RESET}, 1),
        ({"house_wall": Wall.DROP, "client_wall": Wall.DROP}, 1),
        ({"delay_ms": 150}, 1),
    ],
    ids=["direct", "NAT-keeps-ports", "NAT-rewrites-ports", "NAT-at-random", "house-wall", "client-wall", "both-walls", "300-ms-away"],
)
def test_the_mode_that_works_is_found_and_remembered(options: Mapping[str, Any], mode: int, tmp_path: Path) -> None:
    """Pairing and sessions come about in the least visible mode that the network lets through; from the second on at once."""
    with Village(**options) as v:
        told = meet(v, tmp_path, [v.house.ip])
        assert told.get("state") == "standing", told
        assert [found for found, _ in told["sessions"]] == [mode] * 3
        assert all(seconds < 0.5 + 8 * 0.001 * options.get("delay_ms", 0) for _, seconds in told["sessions"][1:]), told


def test_ipv6_and_a_first_address_where_nobody_lives(tmp_path: Path) -> None:
    """An invite names several addresses; the one that answers is used, over IPv6 as well."""
    with Village() as v:
        told = meet(v, tmp_path, ["198.51.100.99", v.house.ip6])
        assert told.get("state") == "standing", told
        assert [found for found, _ in told["sessions"]] == [1, 1, 1]


def test_where_nothing_gets_through_the_error_says_so(tmp_path: Path) -> None:
    """A NAT that rewrites ports before a house whose firewall drops: knocks are answered, and the hint speaks of firewalls."""
    with Village(nat=Nat.RANDOM, house_wall=Wall.DROP) as v:
        told = meet(v, tmp_path, [v.house.ip])
        assert "no connection opens" in told["error"] and "firewall" in told["hint"]
