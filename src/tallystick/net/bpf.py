"""Handing a classic BPF program to a socket, and giving a TCP socket a TCP-MD5 key.

Linux only. A filter on a UDP socket needs no privilege; on a TCP socket some kernels ask for CAP_NET_ADMIN, so a house
probes instead of guessing (`capabilities`). TCP-MD5 (RFC 2385) needs no privilege but CONFIG_TCP_MD5SIG; it stands in
for the filter of mode 1: a reset without the right MD5 option is dropped by the kernel, and so is everything else a
stranger sends. It covers both addresses and ports, so it does not survive a NAT, and it is a fence, not the lock: the
stream inside authenticates itself. Programs are made in `channel.filter`.
"""

import ctypes
import errno
import platform
import socket
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from tallystick.channel.filter import Program, assemble, no_reset
from tallystick.errors import Misuse, Unavailable
from tallystick.net.address import Endpoint

# asm-generic/socket.h; Python names none of them.
_SO_ATTACH_FILTER: Final = 26
_SO_DETACH_FILTER: Final = 27
_SO_LOCK_FILTER: Final = 44
_SO_MEMINFO: Final = 55
_SK_MEMINFO_DROPS: Final = 8  # linux/sock_diag.h: index of u32
_SK_MEMINFO_VARS: Final = 9
_TCP_MD5SIG: Final = 14  # linux/tcp.h
_TCP_MD5SIG_MAXKEYLEN: Final = 80  # linux/tcp.h, bytes
_LINUX: Final = platform.system() == "Linux"
_NO_PERMISSION: Final = "give the process CAP_NET_ADMIN (the systemd unit does), or let it use TCP-MD5 and mode 3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What this process may do here and now: for `tally doctor`, `tally status` and the choice of a mode."""

    filter_udp: bool
    filter_tcp: bool
    tcp_md5: bool


def _need_linux() -> None:
    # Elsewhere the same numbers mean other options: trying would not fail but do something else.
    if not _LINUX:
        raise Unavailable("socket filters and TCP-MD5 need Linux", "this machine can be a client without them")


@lru_cache(64)
def _loaded(program: Program) -> tuple[object, bytes]:
    """A program's bytes, and the struct sock_fprog that points to them: good for as long as both are kept."""
    code = assemble(program)
    buffer = ctypes.create_string_buffer(code, len(code))
    return buffer, struct.pack("@HP", len(program), ctypes.addressof(buffer))


def attach(sock: socket.socket, program: Program) -> None:
    """Let the kernel run `program` on everything the socket receives; it replaces an earlier one.

    Raises: Unavailable: the kernel does not allow it, or the filter is locked.
    """
    _need_linux()
    _, fprog = _loaded(program)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    except OSError as error:
        raise Unavailable(f"the kernel refused a socket filter: {error.strerror}", _NO_PERMISSION) from error


def detach(sock: socket.socket) -> None:
    """Take the filter off. No filter, or one already gone, is fine.

    Raises: Unavailable: the filter is locked.
    """
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.EBADF):
            raise Unavailable(f"the kernel kept a socket filter: {error.strerror}", "close the connection") from error


def lock(sock: socket.socket) -> None:
    """From now on nobody, whoever gets hold of the socket, can replace or remove its filter."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_LOCK_FILTER, 1)
    except OSError as error:
        raise Unavailable(f"the kernel could not lock a socket filter: {error.strerror}", "Linux 3.9 or later") from error


def drops(sock: socket.socket) -> int:
    """How many packets the kernel dropped at this socket since it was made: by its filter, MD5 or a full buffer.

    In mode 1 this is how the house learns that a reset came in although the filter ate it (net.tcp). 0 where unknown.
    """
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 4 * _SK_MEMINFO_VARS)
    except OSError:
        return 0
    return int(struct.unpack_from("=I", raw, 4 * _SK_MEMINFO_DROPS)[0]) if len(raw) > 4 * _SK_MEMINFO_DROPS else 0


def set_md5(sock: socket.socket, peer: Endpoint, key: bytes) -> None:
    """Demand and send RFC 2385 signatures on all segments to and from `peer` (its port does not matter).

    Args: key: 1 to 80 bytes; both ends set the same, before connect, and keep it for the connection's life.
    Raises: Misuse: a key of another length.  Unavailable: the kernel has no TCP-MD5.
    """
    if not 1 <= len(key) <= _TCP_MD5SIG_MAXKEYLEN:
        raise Misuse(f"a TCP-MD5 key has 1 to {_TCP_MD5SIG_MAXKEYLEN} bytes")
    _need_linux()
    if peer.family == socket.AF_INET6:
        # struct sockaddr_in6: family, port, flow, address, scope
        address = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, peer.packed, peer.scope)
    else:
        address = struct.pack("=HH4s", socket.AF_INET, 0, peer.packed)
    # struct tcp_md5sig: sockaddr_storage, flags, prefixlen, keylen, ifindex, key
    option = struct.pack("=128sBBHi80s", address, 0, 0, len(key), 0, key)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, option)
    except OSError as error:
        hint = "the kernel needs CONFIG_TCP_MD5SIG; without it use mode 3"
        raise Unavailable(f"the kernel refused a TCP-MD5 key: {error.strerror}", hint) from error


def _can(kind: socket.SocketKind, *, md5: bool) -> bool:
    try:
        with socket.socket(socket.AF_INET, kind) as sock:
            if md5:
                set_md5(sock, Endpoint("192.0.2.1", 0), b"probe")  # TEST-NET-1, RFC 5737
            else:
                attach(sock, no_reset())
    except (Unavailable, OSError):
        return False
    return True


def can_filter_tcp() -> bool:
    """Whether this process may put a filter on a TCP socket: tried on a socket of its own, three system calls."""
    return _can(socket.SOCK_STREAM, md5=False)


def can_md5() -> bool:
    """Whether this kernel knows TCP-MD5."""
    return _can(socket.SOCK_STREAM, md5=True)


def capabilities() -> Capabilities:
    """All probes at once. Raises: nothing."""
    return Capabilities(filter_udp=_can(socket.SOCK_DGRAM, md5=False), filter_tcp=can_filter_tcp(), tcp_md5=can_md5())
