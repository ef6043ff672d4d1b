"""The exact bytes of datagrams and payloads (docs/spec/knock.md, sections 1 to 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel import datagram as wire
from tallystick.channel.datagram import Mode
from tallystick.errors import Misuse
from tallystick.primitives import blake2s_keyed


def test_the_sizes_are_those_of_the_table() -> None:
    """Two sizes in; no answer is longer than what it answers."""
    assert {size for _, size in wire.HOUSE_SHAPES} == {108, 156}
    assert dict(wire.HOUSE_SHAPES) == {1: 108, 2: 156, 3: 108} and dict(wire.CLIENT_SHAPES) == {4: 68, 5: 28}
    assert max(size for _, size in wire.CLIENT_SHAPES) < min(size for _, size in wire.HOUSE_SHAPES)


def test_the_kinds_of_headers() -> None:
    """Type, version 1, mode, zero; a knock asks for mode 1, 2 or 3."""
    assert sorted(wire.KNOCK_HEADERS) == [bytes((1, 1, mode, 0)) for mode in (1, 2, 3)]
    assert sorted(wire.INVITE_HEADERS) == [bytes((2, 1, mode, 0)) for mode in (1, 2, 3)]
    assert (wire.TIME_QUESTION_HEADER, wire.ANSWER_HEADER, wire.TIME_ANSWER_HEADER) == (b"\3\1\0\0", b"\4\1\0\0", b"\5\1\0\0")


@given(st.integers(1, 65_535), st.sampled_from(Mode))
def test_payloads_have_one_form(port: int, mode: Mode) -> None:
    """16 bytes each; what was written is read."""
    assert wire.parse_client_payload(wire.client_payload(port)) == port
    assert wire.parse_house_payload(wire.house_payload(port, mode)) == (port, mode)


@pytest.mark.parametrize(
    "payload", [b"", bytes(15), bytes(17), bytes(16), b"\0\1" + bytes(14), b"\0\1\5" + bytes(13), b"\0\0\1" + bytes(13)]
)
def test_a_house_payload_of_another_form_is_none(payload: bytes) -> None:
    """No port, no mode, a mode 5, another length."""
    assert wire.parse_house_payload(payload) is None


@given(st.binary(min_size=16, max_size=16))
def test_any_payload_is_read_as_it_would_be_written_or_not_at_all(payload: bytes) -> None:
    """Property: one form only."""
    port, parsed = wire.parse_client_payload(payload), wire.parse_house_payload(payload)
    assert port is None or wire.client_payload(port) == payload
    assert parsed is None or wire.house_payload(*parsed) == payload


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_there_is_no_such_port(port: int) -> None:
    """1 to 65,535 on both sides."""
    with pytest.raises(Misuse):
        wire.client_payload(port)
    with pytest.raises(Misuse):
        wire.house_payload(port, Mode.OPEN)


def test_the_tcp_md5_key_belongs_to_one_knock() -> None:
    """Derived from the MAC key and the whole datagram; 32 bytes."""
    assert wire.md5_key(b"k" * 32, b"knock") == blake2s_keyed(b"k" * 32, b"tally tcp md5 v1knock", 32)
    assert wire.md5_key(b"k" * 32, b"other") != wire.md5_key(b"k" * 32, b"knock")
