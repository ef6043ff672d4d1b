"""What both ends of a TCP connection share while it opens: modes, ports, waiting, and what an error means.

The house's side is `net.tcp`, the client's `net.dial`; how they meet is told in `net.tcp`.
"""

import asyncio
import contextlib
import errno
import secrets
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tallystick.channel.datagram import Mode
from tallystick.errors import Misuse, Unavailable
from tallystick.net import bpf
from tallystick.net.address import Endpoint

PORTS: Final = range(32_768, 61_000)  # the ephemeral ports of Linux (net.ipv4.ip_local_port_range): ours look like any other's
# Where the house listens in modes 2 and 3: few ports, so that a firewall or a router can let just them in (net.firewall).
LISTEN_PORTS: Final = range(51_878, 52_390)
OPEN_SECONDS: Final = 3.0  # DESIGN 6: a pending connect lives 3 s
_PORT_TRIES: Final = 64
# linux/tcp_states.h
SYN_SENT: Final = 2
SYN_RECV: Final = 3
_CLOSED: Final = 7
CONNECTED: Final = frozenset({1, 8})  # ESTABLISHED; CLOSE_WAIT: it connected, spoke and closed before we looked
PENDING: Final = frozenset({0, errno.EINPROGRESS, errno.EALREADY})
_TAKEN: Final = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})  # the port; the 4-tuple, while TIME_WAIT holds it
_TCP_INFO: Final = 11  # linux/tcp.h; Python names it on Linux only


VISIBLE: Final = {
    Mode.OPEN: "nobody: no port was open",
    Mode.FILTERED: "whoever shares the client's address, until it connected; a scanner elsewhere saw a silent port",
    Mode.MOMENTARY: "anybody who scanned that port in the moment of the knock",
    Mode.SIGNED: "nobody: no port was open",
}
"""For `tally status`: who could have seen an open port."""


@dataclass(slots=True, kw_only=True)
class Opened:
    """A connected, non-blocking socket. Call `settle` after the first frame that verifies; close it yourself."""

    sock: socket.socket
    mode: Mode
    attempts: int = 1
    fenced: bool = False
    local: Endpoint = field(init=False)
    remote: Endpoint = field(init=False)

    def __post_init__(self) -> None:
        try:
            self.local = Endpoint.of_sockaddr(self.sock.getsockname())
            self.remote = Endpoint.of_sockaddr(self.sock.getpeername())
        except OSError as error:
            self.sock.close()
            raise Unavailable("the connection was closed while it opened", "try again") from error

    def settle(self) -> None:
        """Take the fence down: from here on a reset is heard again. A second call is nothing. TCP-MD5 stays for life."""
        if self.fenced:
            bpf.detach(self.sock)
            self.fenced = False

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


def check_md5(mode: Mode, md5_key: bytes | None) -> None:
    """A key belongs to the signed mode and to no other. Raises: Misuse."""
    if (mode is Mode.SIGNED) is not (md5_key is not None):
        raise Misuse("a TCP-MD5 key belongs to mode 4, and mode 4 needs one")


def pick_port(ports: range = PORTS, but: int = 0) -> int:
    """A random port of `ports`, another than `but`: on one machine equal ports at equal addresses would meet themselves."""
    choice = ports[secrets.randbelow(len(ports))]
    if choice != but or len(ports) == 1:
        return choice
    return ports[(ports.index(choice) + 1) % len(ports)]


def stream(local: Endpoint) -> socket.socket:
    """A TCP socket of the family of `local`, unbound, non-blocking. Raises OSError."""
    sock = socket.socket(local.family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT at one peer must not block the port for others
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if local.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock


def on_free_port(local: Endpoint, ports: range, start: Callable[[socket.socket], None], *, but: int = 0, prefer: int = 0) -> socket.socket:
    """A socket bound to a random port of `local`, on which `start` worked. Raises OSError when none does, and what `start` raises.

    Args: ports: to choose from.  but: a port not to take.  prefer: the port to try first; 0 for none.
    Varying the port is also the answer to TIME_WAIT: connect says EADDRNOTAVAIL when the four numbers are still in use.
    """
    last = OSError(errno.EADDRINUSE, "all ports tried are taken")
    for attempt in range(_PORT_TRIES):
        sock = stream(local)
        try:
            sock.bind(local.at(prefer if prefer and not attempt else pick_port(ports, but)).sockaddr)
            start(sock)
        except OSError as error:
            sock.close()
            if error.errno not in _TAKEN or not _is_ours(local):
                raise
            last = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise last


def _is_ours(local: Endpoint) -> bool:
    """Whether an address can be bound at all: EADDRNOTAVAIL may mean the address and not the port."""
    with socket.socket(local.family, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(local.at(0).sockaddr)
        except OSError as error:
            return error.errno not in (errno.EADDRNOTAVAIL, errno.ENODEV)
    return True


def tcp_state(sock: socket.socket) -> int:
    """The TCP state: first byte of struct tcp_info (linux/tcp.h). Elsewhere (client only) what other calls reveal."""
    if hasattr(socket, "TCP_INFO"):
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]
    with contextlib.suppress(OSError):
        sock.getpeername()
        return min(CONNECTED)
    return _CLOSED if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) else SYN_SENT


async def ready(sock: socket.socket, until: float, *, write: bool) -> bool:
    """Wait until the socket is writable (or readable) or has failed, or until a time of the loop's clock. True: it was woken."""
    loop = asyncio.get_running_loop()
    woken: asyncio.Future[bool] = loop.create_future()

    def wake(result: bool) -> None:
        if not woken.done():
            woken.set_result(result)

    fd = sock.fileno()
    timer = loop.call_at(until, wake, False)
    if write:
        loop.add_writer(fd, wake, True)
    else:
        loop.add_reader(fd, wake, True)
    try:
        return await woken
    finally:
        timer.cancel()
        if write:
            loop.remove_writer(fd)
        else:
            loop.remove_reader(fd)


def no_connection(peer: Endpoint, mode: Mode, error: int) -> Unavailable:
    """The error for a mode that did not work, with the reason the kernel gave (an errno, or 0)."""
    why = f" ({errno.errorcode.get(error, error)})" if error else ""
    if mode in (Mode.OPEN, Mode.SIGNED):
        hint = "a NAT that rewrites ports prevents mode 1; modes 2 and 3 do without: see `tally doctor`"
    else:
        hint = "a firewall may drop the connection: let the house's TCP ports in, see `tally doctor --firewall`"
    return Unavailable(f"no connection with {peer} in mode {mode.value}{why}", hint)


@contextlib.contextmanager
def os_errors(peer: Endpoint) -> Iterator[None]:
    """Whatever the system says about a connection to `peer`, said as Unavailable with what to do."""
    try:
        yield
    except OSError as error:
        raise _unavailable(error, peer) from error


def _unavailable(error: OSError, peer: Endpoint) -> Unavailable:
    match error.errno:
        case errno.EMFILE | errno.ENFILE:
            return Unavailable("no more open files allowed", "raise the limit of open files (LimitNOFILE=, ulimit -n)")
        case errno.ENETUNREACH | errno.EHOSTUNREACH:
            return Unavailable(f"no route to {peer.host}", "check that this machine is connected and has that address family")
        case errno.EADDRNOTAVAIL | errno.EADDRINUSE:
            return Unavailable(f"no free port towards {peer}", "wait a minute for old connections to leave, or check the local address")
        case errno.EACCES | errno.EPERM:
            return Unavailable(f"no permission to connect to {peer}", "a firewall on this machine forbids it: see `nft list ruleset`")
    return Unavailable(f"TCP {peer}: {error.strerror}", "check the network of this machine")
