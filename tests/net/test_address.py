"""Addresses have one form; what is not an address is Misuse."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Misuse, Unavailable
from tallystick.net.address import DEFAULT_PORT, Endpoint, resolve, split


@pytest.mark.parametrize(
    ("host", "written"),
    [
        ("192.0.2.1", "192.0.2.1:7"),
        ("::ffff:192.0.2.1", "192.0.2.1:7"),
        ("2001:DB8:0:0::1", "[2001:db8::1]:7"),
        ("fe80::1%3", "[fe80::1%3]:7"),
        ("2001:db8::1%3", "[2001:db8::1]:7"),
    ],
)
def test_an_address_has_one_form(host: str, written: str) -> None:
    """Mapped IPv4 is IPv4, IPv6 is short and lower case, only link-local addresses keep a scope."""
    endpoint = Endpoint.of(host, 7)
    assert str(endpoint) == written
    assert Endpoint.of_sockaddr(endpoint.sockaddr) == endpoint
    assert endpoint.family == (socket.AF_INET6 if "[" in written else socket.AF_INET)
    assert len(endpoint.packed) == (16 if "[" in written else 4)


def test_an_interface_name_becomes_a_scope() -> None:
    """`fe80::1%lo` means the interface `lo`."""
    assert Endpoint.of("fe80::1%lo", 1).scope == socket.if_nametoindex("lo")


@pytest.mark.parametrize("host", ["", "x", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "::g", "fe80::1%nonesuch", "1.2.3.4%1x", "[::1]"])
def test_what_is_no_address_is_misuse(host: str) -> None:
    """Names, halves and look-alikes."""
    with pytest.raises(Misuse):
        Endpoint.of(host, 1)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("192.0.2.1", "192.0.2.1", DEFAULT_PORT),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("house.example:65535", "house.example", 65535),
        ("house.example.", "house.example.", DEFAULT_PORT),
        ("::1", "::1", DEFAULT_PORT),
        ("[::1]", "::1", DEFAULT_PORT),
        ("[fe80::1%1]:9", "fe80::1%1", 9),
    ],
)
def test_what_people_write(text: str, host: str, port: int) -> None:
    """Host, host and port, IPv6 bare or in brackets."""
    assert split(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":1", "a:", "a:0", "a:65536", "a:01", "a:+1", "a: 1", "a:1_0", "a:١", "a b", "-a", "a..b", ".a", "a/b", "a\n", "\x00"),
        *("[::1", "[::1]1", "[::1]:", "[a]:1", "[1.2.3.4]:1", "::1:2:3:4:5:6:7:8:9", "a" * 64, ".".join(["a" * 60] * 5)),
    ],
)
def test_what_nobody_should_write(text: str) -> None:
    """One hint, no guessing."""
    with pytest.raises(Misuse) as error:
        split(text)
    assert error.value.message


@given(st.text(max_size=40))
def test_split_takes_any_text(text: str) -> None:
    """It answers or it is Misuse."""
    try:
        host, port = split(text)
    except Misuse:
        return
    assert host
    assert 1 <= port <= 65_535


def test_an_ip_address_resolves_to_itself() -> None:
    """No resolver is asked for an address."""
    assert asyncio.run(resolve("::1", 5)) == (Endpoint("::1", 5),)
    assert asyncio.run(resolve("127.0.0.1", 5)) == (Endpoint("127.0.0.1", 5),)


def test_a_name_without_address_is_unavailable() -> None:
    """A name of the reserved zone `invalid` (RFC 2606) and one no encoding takes."""
    for name in ("nowhere.invalid", "a" * 64):
        with pytest.raises(Unavailable) as error:
            asyncio.run(resolve(name, 1))
        assert error.value.hint
