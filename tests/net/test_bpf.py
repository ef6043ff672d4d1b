"""The kernel takes our programs and does with them what the interpreter did; TCP-MD5 keys."""

import socket
from collections.abc import Iterator

import pytest

from tallystick.channel.filter import Shape, datagrams_of, no_reset, only_from
from tallystick.errors import Misuse, Unavailable
from tallystick.net import bpf
from tallystick.net.address import Endpoint
from tests.support import missing


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two UDP sockets, the second connected to the first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        here.bind(("127.0.0.1", 0))
        here.setblocking(False)
        there.connect(here.getsockname())
        yield here, there


def test_the_kernel_drops_what_the_program_drops(pair: tuple[socket.socket, socket.socket]) -> None:
    """Only the known shape arrives; the others are counted as dropped."""
    here, there = pair
    bpf.attach(here, datagrams_of([Shape(1, 10)]))
    for datagram in (b"", b"\x01", b"\x02" + bytes(9), b"\x01" + bytes(9), b"\x01" + bytes(10)):
        there.send(datagram)
    assert here.recv(100) == b"\x01" + bytes(9)
    with pytest.raises(BlockingIOError):
        here.recv(100)
    assert bpf.drops(here) == 4


def test_a_filter_comes_off(pair: tuple[socket.socket, socket.socket]) -> None:
    """After `detach` everything arrives; a second `detach` is nothing."""
    here, there = pair
    bpf.attach(here, datagrams_of([Shape(1, 10)]))
    bpf.detach(here)
    bpf.detach(here)
    there.send(b"?")
    assert here.recv(10) == b"?"


def test_a_locked_filter_stays(pair: tuple[socket.socket, socket.socket]) -> None:
    """After `lock` nobody replaces or removes it."""
    here, _ = pair
    bpf.attach(here, datagrams_of([Shape(1, 10)]))
    bpf.lock(here)
    with pytest.raises(Unavailable):
        bpf.detach(here)
    with pytest.raises(Unavailable):
        bpf.attach(here, no_reset())


def test_the_kernel_takes_every_program() -> None:
    """Its own checker accepts each of them, on UDP at least."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        for program in (no_reset(), only_from(bytes(4), 1), only_from(bytes(16)), only_from(bytes(16), 65_535)):
            bpf.attach(sock, program)


def test_the_probes_agree_with_the_attempts() -> None:
    """`capabilities` says what then works."""
    can = bpf.capabilities()
    assert can.filter_udp
    with socket.socket() as sock:

        def filtered() -> None:
            bpf.attach(sock, no_reset())

        def signed() -> None:
            bpf.set_md5(sock, Endpoint("127.0.0.1", 1), b"k")

        for claimed, attempt in ((can.filter_tcp, filtered), (can.tcp_md5, signed)):
            try:
                attempt()
            except Unavailable as error:
                assert not claimed
                assert error.hint
            else:
                assert claimed


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize(("theirs", "connects"), [(b"right", True), (b"wrong", False), (None, False)])
def test_only_the_right_md5_key_connects(host: str, theirs: bytes | None, connects: bool) -> None:
    """A listener with a key hears the same key; another key, or none, meets silence."""
    if not bpf.can_md5():
        missing("this kernel has no TCP-MD5")
    family = Endpoint.of(host, 0).family
    with socket.socket(family) as listener, socket.socket(family) as client:
        bpf.set_md5(listener, Endpoint.of(host, 0), b"right")
        listener.bind((host, 0))
        listener.listen()
        if theirs is not None:
            bpf.set_md5(client, Endpoint.of(host, 0), theirs)
        client.settimeout(0.2)
        if connects:
            client.connect(listener.getsockname()[:2])
        else:
            with pytest.raises(TimeoutError):
                client.connect(listener.getsockname()[:2])


@pytest.mark.parametrize("key", [b"", bytes(81)])
def test_a_key_of_another_length_is_misuse(key: bytes) -> None:
    """1 to 80 bytes."""
    with socket.socket() as sock, pytest.raises(Misuse):
        bpf.set_md5(sock, Endpoint("127.0.0.1", 1), key)


def test_errors_of_a_closed_socket_are_ours() -> None:
    """No OSError escapes."""
    sock = socket.socket()
    sock.close()
    with pytest.raises(Unavailable):
        bpf.attach(sock, no_reset())
    with pytest.raises(Unavailable):
        bpf.lock(sock)
    with pytest.raises(Unavailable):
        bpf.set_md5(sock, Endpoint("::1", 1), b"k")
    bpf.detach(sock)
    assert bpf.drops(sock) == 0
