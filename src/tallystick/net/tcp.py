"""Opening a TCP connection that nobody else is offered: the house's side (DESIGN 6, docs/spec/net.md).

    house                                              client (net.dial)
                                                       port = ClientPort.bind(knocker.local); knock (says port.number)
    Opening(...)
      mode 1: fence, connect        -- SYN ->          RST back, eaten by the fence
    UDP answer (says its port p)  ------------------>  port.open(house address with port p)
                                    <- SYN --
                  -- SYN,ACK ->  <- ACK --             simultaneous open, RFC 9293 section 3.5, figure 7
    opened() returns Opened                            returns Opened; the client speaks first
      first frame verified: opened.settle()

Mode 1 (and its variant 4) has no listening socket. A house in SYN_SENT refuses every stranger as a closed port does; its
fence (a BPF program, or in mode 4 a TCP-MD5 key) only keeps the client's kernel from ending the attempt with the RST that a
closed port owes. Mode 2 listens behind a program that admits one source; mode 3 listens for the moment of the knock. The
order of calls is the contract: by the time `Opening` is made the SYN has left or the listener listens, so the answer cannot
overtake it. `loop.sock_connect` was refused for that reason: under uvloop its SYN leaves some turns of the loop later.

Connecting again, exactly when the last attempt is known to be dead. A stateful firewall on the house's side forgets the
attempt when it sees the RST pass; an ICMP error kills the socket. Both are visible without guessing at round-trip times: a
dropped RST counts in SO_MEMINFO, a dead socket is CLOSED. Only then does the house connect anew, on the same socket and ports;
an attempt that may still be answered is left alone, since a new SYN brings a new sequence number, which breaks it.
"""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Callable
from typing import Any, Final

from tallystick.channel.datagram import Mode
from tallystick.channel.filter import no_reset, nothing, only_from
from tallystick.errors import Misuse, Unavailable
from tallystick.net import bpf
from tallystick.net.address import Endpoint
from tallystick.net.stream import (
    CONNECTED,
    LISTEN_PORTS,
    OPEN_SECONDS,
    PENDING,
    PORTS,
    SYN_RECV,
    SYN_SENT,
    Opened,
    check_md5,
    no_connection,
    on_free_port,
    os_errors,
    ready,
    tcp_state,
)

# Seconds after the first connect at which the house looks whether it is dead: DESIGN 6 (10, 20, 40 ms), two earlier looks
# for short paths, and one each 40 ms after, for long ones.
LOOKS: Final = (0.001, 0.003, 0.010, 0.020, 0.040)
LOOK_EVERY: Final = 0.040
_QUICK_RETRIES: Final = 5  # ICMP errors answered at once; after that the looks set the pace, not a router
_BACKLOG: Final = 8
_TCP_DEFER_ACCEPT: Final = 9  # linux/tcp.h: seconds; a scanner that connects and says nothing never reaches accept()
_UNSPECIFIED: Final = struct.pack("=H14x", socket.AF_UNSPEC)
_OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EBADF, errno.EINVAL})
_DEAD_AT_ONCE: Final = frozenset({errno.ECONNREFUSED, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH})

_libc: Any = ctypes.CDLL(None, use_errno=True)


class Opening:
    """A connection for the client that knocked, and for nobody else: begun, so that the client may connect, and not open yet.

    Call `opened` once, or `close`.
    """

    __slots__ = ("_deadline", "_mode", "_remote", "_sock", "port")

    def __init__(
        self, mode: Mode, local: Endpoint, remote: Endpoint, *, md5_key: bytes | None = None, timeout: float = OPEN_SECONDS
    ) -> None:
        """By the time this returns the SYN has left or the listener listens. `port` is ours, for the answer.

        Args: local: the address the knock came to (`Origin.local`; its port is not used).  remote: the address the knock came
            from, with the TCP port it named; 0 in modes 2 and 3 when that port does not hold (a NAT that rewrites ports).
            md5_key: in mode 4, for the TCP-MD5 fence that replaces BPF.  timeout: seconds.
        Raises: Unavailable: no capability, no port.
        """
        check_md5(mode, md5_key)
        connecting = mode in (Mode.OPEN, Mode.SIGNED)
        if connecting and not remote.port:
            raise Misuse("modes 1 and 4 need the client's TCP port")
        self._mode = mode
        self._remote = remote
        self._deadline = asyncio.get_running_loop().time() + timeout
        with os_errors(remote):
            if connecting:
                self._sock = on_free_port(local, PORTS, lambda fresh: _fence_and_connect(fresh, remote, md5_key), but=remote.port)
            else:
                self._sock = on_free_port(local, LISTEN_PORTS, lambda fresh: _fence_and_listen(fresh, mode, remote))
        self.port = int(self._sock.getsockname()[1])

    async def opened(self) -> Opened:
        """Wait for the client. Raises: Unavailable: no such connection within the time. Cancelled or failed, it leaves no socket open."""
        sock, mode, remote = self._sock, self._mode, self._remote
        try:
            with os_errors(remote):
                if mode in (Mode.OPEN, Mode.SIGNED):
                    attempts = await _connected(sock, mode, remote, self._deadline)
                    return Opened(sock=sock, mode=mode, attempts=attempts, fenced=mode is Mode.OPEN)
                opened = await _accepted(sock, mode, remote, self._deadline)
        except BaseException:
            sock.close()
            raise
        sock.close()
        return opened

    def close(self) -> None:
        """Give it up."""
        self._sock.close()


async def house_open(
    mode: Mode,
    local: Endpoint,
    remote: Endpoint,
    *,
    md5_key: bytes | None = None,
    timeout: float = OPEN_SECONDS,
    on_ready: Callable[[int], None],
) -> Opened:
    """`Opening` from its beginning to its end.

    Args: as `Opening`.  on_ready: called once with our TCP port, when the client may connect: send the answer here.
    Raises: as `Opening`. What `on_ready` raises passes. Cancelled or failed, it leaves no socket open.
    """
    opening = Opening(mode, local, remote, md5_key=md5_key, timeout=timeout)
    try:
        on_ready(opening.port)
    except BaseException:
        opening.close()
        raise
    return await opening.opened()


def _fence_and_connect(sock: socket.socket, remote: Endpoint, md5_key: bytes | None) -> None:
    # The fence comes before connect: nothing can reach the socket earlier.
    if md5_key is not None:
        bpf.set_md5(sock, remote, md5_key)
    else:
        bpf.attach(sock, no_reset())
    error = sock.connect_ex(remote.sockaddr)
    if error not in PENDING and error != errno.ECONNREFUSED:  # on one machine an ICMP error is back before connect returns
        raise OSError(error, errno.errorcode.get(error, str(error)))


def _fence_and_listen(sock: socket.socket, mode: Mode, remote: Endpoint) -> None:
    # The program comes before listen: no SYN of a stranger ever meets an open door.
    if mode is Mode.FILTERED:
        bpf.attach(sock, only_from(remote.packed, remote.port or None))
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_DEFER_ACCEPT, int(OPEN_SECONDS))
    sock.listen(_BACKLOG)


async def _connected(sock: socket.socket, mode: Mode, remote: Endpoint, deadline: float) -> int:
    """Wait for mode 1 or 4 to connect, and begin again whenever the last attempt has died. How many attempts it took."""
    loop = asyncio.get_running_loop()
    start, attempts, failures, looks = loop.time(), 1, 0, 0
    dropped, receiving, last_error = 0, False, 0
    while True:
        look_at = start + (LOOKS[looks] if looks < len(LOOKS) else LOOKS[-1] + LOOK_EVERY * (looks - len(LOOKS) + 1))
        woken = await ready(sock, min(look_at, deadline), write=True)
        state = tcp_state(sock)
        if state in CONNECTED:
            return attempts
        if loop.time() >= deadline:
            raise no_connection(remote, mode, last_error)
        # Reading the error clears it. Some kernels report an ICMP message and let the attempt live: the state decides.
        last_error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or last_error
        if state in (SYN_SENT, SYN_RECV):
            if woken:
                continue
            looks += 1
            if state == SYN_RECV and not receiving:
                # A handshake under way. The RST that preceded it must not break it: only one that comes from now on may.
                dropped = bpf.drops(sock)
            receiving = state == SYN_RECV
            dead = bpf.drops(sock) != dropped
        else:
            dead = True
            failures += 1
            if failures > _QUICK_RETRIES:
                await asyncio.sleep(min(look_at, deadline) - loop.time())
                looks += 1
        if dead and _dissolve(sock, state, fenced=mode is Mode.OPEN):
            attempts += 1
            dropped, receiving = bpf.drops(sock), False  # before the next SYN: on a short path its RST is back before connect returns
            _connect(sock, remote)


def _dissolve(sock: socket.socket, state: int, *, fenced: bool) -> bool:
    """Drop the attempt; the socket keeps its ports and its fence. False: it has left `state`, so it lives.

    connect(2) with AF_UNSPEC dissolves the association; Python's connect cannot say it. On an attempt that has just come to life it
    would send a reset, to a client that is speaking already: so no packet may arrive between the last look and the end. The SYN that
    is lost this way meets ours, which follows at once. Without filters (mode 4) a moment stays open.
    Raises: OSError, Unavailable.
    """
    if fenced:
        bpf.attach(sock, nothing())
    try:
        if tcp_state(sock) != state:
            return False
        if _libc.connect(sock.fileno(), _UNSPECIFIED, len(_UNSPECIFIED)) != 0:
            raise OSError(ctypes.get_errno(), "could not dissolve a pending connect")
    finally:
        if fenced:
            bpf.attach(sock, no_reset())
    return True


def _connect(sock: socket.socket, remote: Endpoint) -> None:
    """Begin an attempt. Raises: OSError."""
    error = sock.connect_ex(remote.sockaddr)
    # A cached "unreachable" may come back at once: one more dead attempt, not the end.
    if error not in PENDING and error not in _DEAD_AT_ONCE:
        raise OSError(error, errno.errorcode.get(error, str(error)))


async def _accepted(listener: socket.socket, mode: Mode, remote: Endpoint, deadline: float) -> Opened:
    """Wait at a listener for the one client; whoever else comes (mode 3) is sent away."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError as error:
            if error.errno in _OURS:
                raise
            # Nobody there, or a network error of the one who was: accept(2), "Error handling".
            if asyncio.get_running_loop().time() >= deadline:
                raise no_connection(remote, mode, 0) from None
            await ready(listener, deadline, write=False)
            continue
        sock.setblocking(False)
        with contextlib.suppress(Unavailable):  # gone again already: not our client's doing, and no reason to stop waiting
            opened = Opened(sock=sock, mode=mode, fenced=mode is Mode.FILTERED)
            if opened.remote.host == remote.host and remote.port in (0, opened.remote.port):
                return opened
        sock.close()
