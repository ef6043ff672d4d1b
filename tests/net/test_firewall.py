"""The text of the preset; what it does is tested in tests/netns/test_scan.py."""

import pytest

from tallystick.errors import Misuse
from tallystick.net.address import DEFAULT_PORT
from tallystick.net.firewall import preset
from tallystick.net.stream import LISTEN_PORTS


def rules(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]


def test_the_preset_lets_in_the_knock_and_drops_the_rest() -> None:
    """Default drop, the UDP port, and no TCP port at all."""
    lines = rules(preset())
    assert "type filter hook input priority filter; policy drop;" in lines
    assert f"udp dport {DEFAULT_PORT} accept" in lines
    assert not [line for line in lines if line.startswith("tcp")]
    assert "udp dport 4000 accept" in rules(preset(4000))


def test_listening_is_two_more_rules() -> None:
    """With `listen` the lines for modes 2 and 3 are in force; nothing else changes."""
    ports = f"{LISTEN_PORTS[0]}-{LISTEN_PORTS[-1]}"
    more = [line for line in rules(preset(listen=True)) if line not in rules(preset())]
    assert [line.split(ports)[0] for line in more] == ["tcp dport ", "tcp sport "]


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_does_not_exist_is_misuse(port: int) -> None:
    """1 to 65535."""
    with pytest.raises(Misuse):
        preset(port)
