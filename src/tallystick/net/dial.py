"""Opening a TCP connection with a house: the client's side (DESIGN 6; the whole scene is drawn in `net.tcp`).

The port is bound before the knock, because the knock names it, and connected when the answer is there. To the client all
modes look alike: connect to the port of the answer.
"""

import asyncio
import contextlib
import errno
import socket
from typing import Final, Self

from tallystick.channel.datagram import Mode
from tallystick.channel.filter import no_reset
from tallystick.errors import Unavailable
from tallystick.net import bpf
from tallystick.net.address import Endpoint
from tallystick.net.stream import (
    CONNECTED,
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
    stream,
    tcp_state,
)

# Seconds before the next attempt after one that was refused: the house may be between two of its own.
REFUSED_GAPS: Final = (0.002, 0.005, 0.010, 0.020, 0.040)
_FENCE_AFTER: Final = 2  # refusals, before the client too ignores RST (mode 1)
FENCED_SECONDS: Final = 0.25  # how long it then waits: with RST ignored, a NAT that rewrites ports is not noticed earlier
_REFUSED: Final = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES})


class ClientPort:
    """A client's TCP port: bound before the knock that names it, opened when the answer is there. One use."""

    def __init__(self, local: Endpoint, sock: socket.socket) -> None:
        """Use `ClientPort.bind`."""
        self._sock = sock
        self._local = local
        self._given = False
        self.number = local.port

    @classmethod
    def bind(cls, local: Endpoint) -> Self:
        """Bind a port on the address the knock leaves from: the knock's own number if it is free, else a random one.

        Args: local: `Knocker.local`. With equal numbers for UDP and TCP the house sees whether a NAT on the way rewrites
            ports: then the port the knock names is not the one it came from.
        bind(0) was refused: under many connections in TIME_WAIT the kernel's own search costs four times as much.
        Raises: Unavailable: no port, or the address is not ours.
        """
        with os_errors(local):
            sock = on_free_port(local, PORTS, lambda fresh: None, prefer=local.port)
        return cls(local.at(int(sock.getsockname()[1])), sock)

    async def open(self, house: Endpoint, *, mode: Mode, md5_key: bytes | None = None, timeout: float = OPEN_SECONDS) -> Opened:
        """Connect to the port the answer named; this port is used up, whatever happens.

        Args: house: its address, with the port of its answer.  mode: as the answer says.  md5_key: in mode 4.  timeout: seconds.
        A refusal is repeated a few times, the house may be between two attempts of its own. Refused for good means in
        mode 1 most likely a NAT that rewrites ports: knock with the next mode.
        Raises: Unavailable: not connected in time, refused, no route.
        """
        check_md5(mode, md5_key)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            with os_errors(house):
                for attempts, gap in enumerate((*REFUSED_GAPS, None), start=1):
                    fenced = mode is Mode.OPEN and attempts > _FENCE_AFTER and self._fence()
                    error = await self._attempt(house, md5_key, min(deadline, loop.time() + FENCED_SECONDS) if fenced else deadline)
                    if not error:
                        if fenced:
                            bpf.detach(self._sock)
                        self._given = True
                        return Opened(sock=self._sock, mode=mode, attempts=attempts)
                    if error not in _REFUSED or gap is None or loop.time() + gap >= deadline:
                        raise no_connection(house, mode, error)
                    await asyncio.sleep(gap)
                    self._sock.close()
                    self._sock = stream(self._local)
                    self._sock.bind(self._local.sockaddr)
            raise AssertionError("the last gap is None and raises")
        except BaseException:
            self.close()
            raise

    def _fence(self) -> bool:
        """Ignore RST from now on, where that is allowed: a firewall before the house may refuse us until the house's SYN has passed."""
        with contextlib.suppress(Unavailable):
            bpf.attach(self._sock, no_reset())
            return True
        return False

    async def _attempt(self, house: Endpoint, md5_key: bytes | None, deadline: float) -> int:
        """Connect once: 0, or the errno it ended with. Raises OSError when the system refuses to begin."""
        if md5_key is not None:
            bpf.set_md5(self._sock, house, md5_key)
        error = self._sock.connect_ex(house.sockaddr)
        if error == errno.ECONNREFUSED:  # on one machine the RST is back before connect returns
            return error
        if error not in PENDING:
            raise OSError(error, errno.errorcode.get(error, str(error)))
        if tcp_state(self._sock) in CONNECTED:  # on one machine it is done when connect returns
            return 0
        while True:
            woken = await ready(self._sock, deadline, write=True)
            state = tcp_state(self._sock)
            if state in CONNECTED:
                return 0
            # Reading the error clears it. While the attempt lives it is an ICMP message: a rumour, not the end.
            error = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or error
            if state not in (SYN_SENT, SYN_RECV):
                return error or errno.ECONNABORTED
            if not woken:
                return error if error not in PENDING else errno.ETIMEDOUT

    def close(self) -> None:
        """Give the port back, unless a connection stands on it: that belongs to who opened it."""
        if not self._given:
            self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
