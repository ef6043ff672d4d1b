"""The one UDP port of a house, and the UDP socket a client knocks with.

House: one socket for both families. Strangers are the normal case, so nothing is made for a datagram before somebody
wants it: `receive` fetches up to 64 with one system call (recvmmsg) into buffers that exist already and returns their
bytes; `origin(i)` works out who sent number i to which of our addresses, and only the few that pass the doorkeeper are
asked. The answer leaves from the address the knock came to (IPV6_PKTINFO, RFC 3542 section 6.1), which matters on machines
with several. A filter in the kernel (`channel.filter.datagrams_of`) drops wrong sizes and types before any of this.

Nothing a stranger or a router sends can stop the port: errors that ICMP brings are skipped, a failed answer is a lost
datagram, and truncated datagrams are nothing. asyncio's own DatagramProtocol was refused: one system call, one tuple and
one callback per datagram cost ten times as much (docs/spec/net.md).
"""

import asyncio
import contextlib
import ctypes
import errno
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Any, Final, Self

from tallystick.channel.filter import Program
from tallystick.errors import Unavailable
from tallystick.net import bpf
from tallystick.net.address import DEFAULT_PORT, Endpoint

BATCH: Final = 64  # datagrams per wake, so that a flood cannot hold the event loop
SLOT_BYTES: Final = 2048  # a datagram that fills its slot may have been cut and counts as empty
BUFFER_BYTES: Final = 4 << 20  # receive buffer asked for: about 5,000 small datagrams
_CONTROL_BYTES: Final = 64  # room for one IPV6_PKTINFO (40) or IP_PKTINFO (32)
_NAME_BYTES: Final = 28  # struct sockaddr_in6
_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h: past net.core.rmem_max, with CAP_NET_ADMIN
_IP_PKTINFO: Final = 8  # linux/in.h
_IPV6_RECVPKTINFO: Final = 49  # linux/in6.h, RFC 3542
_IPV6_PKTINFO: Final = 50
_MAPPED: Final = bytes(10) + b"\xff\xff"  # RFC 4291 section 2.5.5.2
_ANY_FREE: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


class _Iovec(ctypes.Structure):
    """struct iovec (recvmsg(2))."""

    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    """struct msghdr (recvmsg(2))."""

    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint32),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    """struct mmsghdr (recvmmsg(2)): the header, and how many bytes came."""

    _fields_ = [("header", _Msghdr), ("received", ctypes.c_uint32)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a datagram came from, and which of our addresses it was sent to (with our UDP port)."""

    remote: Endpoint
    local: Endpoint


class UdpPort:
    """The house's UDP port. Not for several threads. Give it to `loop.add_reader`, then call `receive` on each wake."""

    def __init__(self, sock: socket.socket) -> None:
        """Takes a bound, non-blocking socket; use `UdpPort.open`."""
        self._sock = sock
        self._fd = sock.fileno()
        self.port = int(sock.getsockname()[1])
        self._mapped = sock.family == socket.AF_INET6
        library: Any = ctypes.CDLL(None)
        self._recvmmsg = library.recvmmsg
        self._recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        self._data = ctypes.create_string_buffer(BATCH * SLOT_BYTES)
        self._names = ctypes.create_string_buffer(BATCH * _NAME_BYTES)
        self._controls = ctypes.create_string_buffer(BATCH * _CONTROL_BYTES)
        self._iovecs = (_Iovec * BATCH)()
        self._headers = (_Mmsghdr * BATCH)()
        for i in range(BATCH):
            self._iovecs[i] = _Iovec(ctypes.addressof(self._data) + i * SLOT_BYTES, SLOT_BYTES)
            self._headers[i].header = _Msghdr(
                name=ctypes.addressof(self._names) + i * _NAME_BYTES,
                namelen=_NAME_BYTES,
                iov=ctypes.addressof(self._iovecs) + i * ctypes.sizeof(_Iovec),
                iovlen=1,
                control=ctypes.addressof(self._controls) + i * _CONTROL_BYTES,
                controllen=_CONTROL_BYTES,
            )
        self._headers_at = ctypes.addressof(self._headers)
        # The kernel overwrites lengths and flags in the headers; a copy puts them back before the next call.
        self._pristine = bytes(self._headers)
        self._used = 0
        data = memoryview(self._data).cast("B")
        self._slots = [data[i * SLOT_BYTES : (i + 1) * SLOT_BYTES] for i in range(BATCH)]
        # All fields `received` as one strided view: one slice reads a batch of lengths.
        words = memoryview(self._headers).cast("B").cast("I")
        self._lengths = words[_Mmsghdr.received.offset // 4 :: ctypes.sizeof(_Mmsghdr) // 4]

    @classmethod
    def open(cls, host: str | None = None, port: int = DEFAULT_PORT, *, program: Program | None = None) -> Self:
        """Bind the port on all addresses of both families, or on one address.

        Args: program: the prefilter, in place and locked before the first datagram can arrive.
        Raises: Unavailable: no Linux, the port is taken or not allowed, the address is not ours.
        """
        if sys.platform != "linux":
            raise Unavailable("a house needs Linux", "run the house on Linux; this machine can be a client")
        endpoint = Endpoint.of("::" if host is None else host, port)
        try:
            try:
                sock = _bound(endpoint, program)
            except OSError as error:
                if host is not None or error.errno not in _ANY_FREE:
                    raise
                sock = _bound(Endpoint("0.0.0.0", port), program)  # a kernel without IPv6
        except OSError as error:
            raise _unavailable(error, endpoint) from error
        return cls(sock)

    def fileno(self) -> int:
        """For `loop.add_reader` and select."""
        return self._sock.fileno()

    def receive(self) -> list[bytes]:
        """Up to 64 waiting datagrams, oldest first; empty when there is none. Number i belongs to `origin(i)`.

        A datagram of 2,048 bytes or more is given as b"". Raises: nothing.
        """
        if self._used:
            ctypes.memmove(self._headers_at, self._pristine, self._used * ctypes.sizeof(_Mmsghdr))
        count = self._recvmmsg(self._fd, self._headers_at, BATCH, socket.MSG_DONTWAIT, None)
        if count <= 0:  # nothing there, or an error that ICMP brought: reading it cleared it
            self._used = 0
            return []
        self._used = count
        return [bytes(slot[:size]) if size < SLOT_BYTES else b"" for slot, size in zip(self._slots, self._lengths[:count], strict=False)]

    def origin(self, index: int) -> Origin:
        """Who sent datagram `index` of the last `receive`, and to which of our addresses."""
        if not 0 <= index < self._used:
            raise AssertionError("no such datagram in the last batch")
        name = self._names.raw[index * _NAME_BYTES : (index + 1) * _NAME_BYTES]
        control = self._controls.raw[index * _CONTROL_BYTES : (index + 1) * _CONTROL_BYTES]
        control = control[: self._headers[index].header.controllen]
        (port,) = struct.unpack_from(">H", name, 2)
        if self._mapped:
            remote = _endpoint(name[8:24], port, int.from_bytes(name[24:28], sys.byteorder))
        else:
            remote = _endpoint(name[4:8], port, 0)
        return Origin(remote=remote, local=self._local(control))

    def _local(self, control: bytes) -> Endpoint:
        """The address a datagram was sent to, from its control messages (struct cmsghdr: length, level, type)."""
        offset = 0
        while offset + 16 <= len(control):
            length, level, kind = struct.unpack_from("@Nii", control, offset)
            body = control[offset + 16 : offset + length]
            if (level, kind) == (socket.IPPROTO_IPV6, _IPV6_PKTINFO) and len(body) == 20:
                return _endpoint(body[:16], self.port, int.from_bytes(body[16:], sys.byteorder))
            if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO) and len(body) == 12:
                return _endpoint(body[4:8], self.port, 0)  # ipi_spec_dst: ours, even for a broadcast
            offset += max(16, (length + 7) & ~7)
        raise AssertionError("the kernel did not say which address a datagram was sent to")

    def send(self, datagram: bytes, origin: Origin) -> bool:
        """Answer to where a datagram came from, from the address it was sent to. False: the network did not take it."""
        source, remote = origin.local, origin.remote
        if self._mapped:
            mapped = source.packed if ":" in source.host else _MAPPED + source.packed
            control = (socket.IPPROTO_IPV6, _IPV6_PKTINFO, struct.pack("=16sI", mapped, source.scope))
            to: object = remote.sockaddr if ":" in remote.host else (f"::ffff:{remote.host}", remote.port, 0, 0)
        else:
            control = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("=i4s4s", 0, source.packed, bytes(4)))
            to = remote.sockaddr
        try:
            return self._sock.sendmsg([datagram], [control], 0, to) == len(datagram)  # type: ignore[arg-type]
        except OSError:
            return False

    def close(self) -> None:
        """Close the port; take it out of the event loop first."""
        self._sock.close()


class Knocker:
    """A client's UDP socket: speaks to one house and hears nobody else (a connected socket)."""

    def __init__(self, sock: socket.socket, house: Endpoint) -> None:
        """Takes a non-blocking socket that is connected to `house`; use `Knocker.open`."""
        self._sock = sock
        self.local = Endpoint.of_sockaddr(sock.getsockname())
        self.remote = house

    @classmethod
    def open(cls, house: Endpoint, *, program: Program | None = None) -> Self:
        """Choose the local address the route to the house asks for, and a free port.

        Args: program: a prefilter (of `channel.datagram.CLIENT_SHAPES`); where the kernel has none it is left out.
        Raises: Unavailable: no route, or the family is not there.
        """
        try:
            sock = socket.socket(house.family, socket.SOCK_DGRAM)
        except OSError as error:
            raise _unavailable(error, house) from error
        try:
            sock.setblocking(False)
            if program is not None:
                with contextlib.suppress(Unavailable):
                    bpf.attach(sock, program)
            sock.connect(house.sockaddr)
            return cls(sock, house)
        except OSError as error:
            sock.close()
            raise _unavailable(error, house) from error

    def send(self, datagram: bytes) -> bool:
        """False: the network did not take it. An error that ICMP left from an earlier datagram is skipped once."""
        for _ in range(2):
            with contextlib.suppress(OSError):
                return self._sock.send(datagram) == len(datagram)
        return False

    async def receive(self, timeout: float) -> bytes | None:
        """The next datagram from the house, or None after `timeout` seconds. ICMP errors are no reason to stop waiting."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            with contextlib.suppress(OSError):
                return self._sock.recv(SLOT_BYTES)
            if loop.time() >= deadline:
                return None
            woken: asyncio.Future[None] = loop.create_future()
            loop.add_reader(self._sock, _wake, woken)
            timer = loop.call_at(deadline, _wake, woken)
            try:
                await woken
            finally:
                timer.cancel()
                loop.remove_reader(self._sock)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _wake(woken: asyncio.Future[None]) -> None:
    if not woken.done():
        woken.set_result(None)


def _endpoint(packed: bytes, port: int, scope: int) -> Endpoint:
    if packed[:12] == _MAPPED:
        packed = packed[12:]
    if len(packed) == 4:
        return Endpoint(socket.inet_ntop(socket.AF_INET, packed), port)
    # Only link-local addresses (fe80::/10) need their interface; elsewhere routing decides.
    local = packed[0] == 0xFE and packed[1] & 0xC0 == 0x80
    return Endpoint(socket.inet_ntop(socket.AF_INET6, packed), port, scope if local else 0)


def _bound(endpoint: Endpoint, program: Program | None) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if endpoint.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if endpoint.host == "::" else 1)
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVPKTINFO, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER_BYTES)
        except OSError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        if program is not None:
            bpf.attach(sock, program)
            bpf.lock(sock)
        sock.bind(endpoint.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _unavailable(error: OSError, endpoint: Endpoint) -> Unavailable:
    match error.errno:
        case errno.EADDRINUSE:
            return Unavailable(
                f"UDP port {endpoint.port} is in use", "is another house running? see `tally status`, or choose another port"
            )
        case errno.EACCES | errno.EPERM:
            return Unavailable(f"no permission for UDP {endpoint}", "ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one")
        case errno.EADDRNOTAVAIL:
            return Unavailable(f"{endpoint.host} is no address of this machine", "`ip address` lists them; leave it out to listen on all")
        case errno.ENETUNREACH | errno.EHOSTUNREACH:
            return Unavailable(f"no route to {endpoint.host}", "check that this machine is connected and has that address family")
        case errno.EMFILE | errno.ENFILE:
            return Unavailable("no more open files allowed", "raise the limit of open files (LimitNOFILE=, ulimit -n)")
    return Unavailable(f"UDP {endpoint}: {error.strerror}", "check the network of this machine")
