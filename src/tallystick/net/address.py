"""Where a peer is: an IP address, a port, and for link-local IPv6 the interface.

One form for each address: plain IPv4 is never written as IPv4-mapped IPv6, and IPv6 text is RFC 5952. Names are
resolved here and nowhere else, and only on the client side: a house never looks anything up.
"""

import asyncio
import contextlib
import ipaddress
import re
import socket
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from tallystick.errors import Misuse, Unavailable

DEFAULT_PORT: Final = 51_877  # DESIGN 6
_HOST_BYTES: Final = 253  # RFC 1035 section 2.3.4, as text without the last dot
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")  # RFC 1123 section 2.1, and _

Sockaddr = tuple[str, int] | tuple[str, int, int, int]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port. `scope` is the interface index of a link-local IPv6 address, otherwise 0.

    Make one with `Endpoint.of`, which brings the address into its one form.
    """

    host: str
    port: int
    scope: int = 0

    @classmethod
    def of(cls, host: str, port: int, scope: int = 0) -> Self:
        """From text the system or a person gave: IPv4-mapped becomes IPv4, `%eth0` becomes a scope.

        Raises: Misuse: not an IP address, or no such port.
        """
        if not 0 <= port <= 65_535:
            raise Misuse(f"no port {port}", "ports are 1 to 65535")
        text, _, zone = host.partition("%")
        try:
            address = ipaddress.ip_address(text)
            if zone:
                scope = int(zone) if zone.isascii() and zone.isdigit() else socket.if_nametoindex(zone)
        except (ValueError, OSError) as error:
            raise Misuse(f"not an IP address: {host[:64]!r}") from error
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                return cls(str(address.ipv4_mapped), port)
            return cls(str(address), port, scope if address.is_link_local else 0)
        return cls(str(address), port)

    @classmethod
    def of_sockaddr(cls, sockaddr: object) -> Self:
        """From what `getsockname`, `getpeername`, `accept` and `recvfrom` return."""
        if isinstance(sockaddr, tuple) and len(sockaddr) == 2:
            return cls(*sockaddr)  # the kernel writes IPv4 in its one form
        if isinstance(sockaddr, tuple) and len(sockaddr) == 4:
            return cls.of(sockaddr[0], sockaddr[1], sockaddr[3])
        raise AssertionError("not an address of AF_INET or AF_INET6")

    @property
    def family(self) -> socket.AddressFamily:
        """AF_INET or AF_INET6."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def packed(self) -> bytes:
        """The address alone, 4 or 16 bytes in network order."""
        return socket.inet_pton(self.family, self.host)

    @property
    def sockaddr(self) -> Sockaddr:
        """For bind, connect and sendto on a socket of the same family."""
        return (self.host, self.port, 0, self.scope) if ":" in self.host else (self.host, self.port)

    def at(self, port: int) -> Self:
        """The same address with another port."""
        return type(self)(self.host, port, self.scope)

    def __str__(self) -> str:
        """`192.0.2.1:51877`, `[2001:db8::1]:51877`, `[fe80::1%2]:51877`."""
        if ":" not in self.host:
            return f"{self.host}:{self.port}"
        return f"[{self.host}%{self.scope}]:{self.port}" if self.scope else f"[{self.host}]:{self.port}"


def split(text: str, default_port: int = DEFAULT_PORT) -> tuple[str, int]:
    """`host`, `host:port`, `[v6]:port`, bare `v6` -> host and port. The host is an IP address or a name, not looked up.

    Raises: Misuse: neither, or a port that is not 1 to 65535 in plain decimals.
    """
    hint = "write HOST, HOST:PORT or [IPV6]:PORT"
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")) or ":" not in host:
            raise Misuse(f"not an address: {text[:64]!r}", hint)
        port_text = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    else:
        host, port_text = text, None
    if port_text is not None and not re.fullmatch(r"[1-9][0-9]{0,4}", port_text):
        raise Misuse(f"not a port: {port_text[:16]!r}", hint)
    port = default_port if port_text is None else int(port_text)
    if ":" in host:
        Endpoint.of(host, port)
    elif len(host) > _HOST_BYTES or not _NAME.fullmatch(host) or port > 65_535:
        raise Misuse(f"not an address: {text[:64]!r}", hint)
    return host, port


@lru_cache(256)
def _literal(host: str, port: int) -> tuple[Endpoint, ...]:
    return (Endpoint.of(host, port),)


async def resolve(host: str, port: int) -> tuple[Endpoint, ...]:
    """All addresses of a name in the order of preference of the system (RFC 6724), at most 16; an IP address is itself.

    Raises: Unavailable: the name has no address, or no resolver answers.
    """
    with contextlib.suppress(Misuse):
        return _literal(host, port)  # an IP address: nobody is asked, no thread is woken
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except (OSError, UnicodeError) as error:
        raise Unavailable(f"no address found for {host[:64]!r}", "check the name and the network, or use the IP address") from error
    return tuple(dict.fromkeys(Endpoint.of_sockaddr(entry[4]) for entry in found[:16]))
