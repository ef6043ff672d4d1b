"""Small classic BPF programs: what the kernel may throw away before anybody here wakes.

A program is a tuple of instructions `(code, jt, jf, k)`: the load/jump/return machine of McCanne and Jacobson, "The BSD
Packet Filter" (USENIX 1993), with the Linux extension that `k = NET + n` reads byte n of the IP header, wherever the packet
begins (Documentation/networking/filter.rst, section "BPF engine and instruction set"). On a UDP or TCP socket byte 0 is the
first byte of the UDP or TCP header. A load outside the packet ends the program with "drop". `assemble` gives the bytes
that SO_ATTACH_FILTER takes; attaching is the business of `net.bpf`.

Three programs, one per place (docs/spec/net.md):
- `datagrams_of(shapes)`: the house's UDP socket. Only datagrams of a known type *and* its size reach Python.
- `no_reset()`: mode 1. A reset cannot end the attempt to connect. Classic BPF has no state: the caller detaches it.
  `nothing()` for the moment in which a dead attempt is replaced.
- `only_from(address, port)`: modes 2 and 3. Packets of all others vanish unanswered, as if no listener existed.

What it does not do: authenticate. A filter saves work and hides a port from scanners; the knock decides who enters.
"""

import struct
from collections.abc import Iterable
from typing import Final, NamedTuple

from tallystick.errors import Misuse

# Instruction codes: linux/bpf_common.h and linux/filter.h, named as in the kernel without the BPF_ prefix.
LD_W_ABS: Final = 0x20
LD_H_ABS: Final = 0x28
LD_B_ABS: Final = 0x30
LD_W_LEN: Final = 0x80
AND_K: Final = 0x54
JEQ_K: Final = 0x15
JSET_K: Final = 0x45
RET_K: Final = 0x06

NET: Final = 0xFFF00000  # SKF_NET_OFF = -0x100000, linux/filter.h, as u32: loads count from the IP header
KEEP: Final = 0xFFFFFFFF  # bytes of the packet to keep: all
DROP: Final = 0

MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS, linux/bpf_common.h
_MAX_JUMP: Final = 255  # jt and jf are one byte
_UDP_HEADER_BYTES: Final = 8  # RFC 768
_TCP_FLAGS: Final = 13  # byte of the TCP header that holds CWR ECE URG ACK PSH RST SYN FIN, RFC 9293 section 3.1
_RST: Final = 0x04
_IPV4_SOURCE: Final = 12  # RFC 791 section 3.1
_IPV6_SOURCE: Final = 8  # RFC 8200 section 3


class Instruction(NamedTuple):
    """One `struct sock_filter`: on a conditional jump `jt` and `jf` count the instructions to skip."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]


class Shape(NamedTuple):
    """One kind of datagram: its first byte, and its exact size in bytes (without the UDP header)."""

    kind: int
    size: int


def assemble(program: Program) -> bytes:
    """The bytes of an array of `struct sock_filter` (8 bytes each, in this machine's byte order).

    Raises: Misuse: empty or longer than the kernel takes.
    """
    if not 0 < len(program) <= MAX_INSTRUCTIONS:
        raise Misuse(f"a filter has 1 to {MAX_INSTRUCTIONS} instructions, not {len(program)}")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def datagrams_of(shapes: Iterable[tuple[int, int]]) -> Program:
    """For a UDP socket: keep a datagram when its first byte and size are those of one shape, drop all others.

    Args: shapes: (first byte, size in bytes), as in `channel.datagram.HOUSE_SHAPES`; a `Shape` is one.
    Raises: Misuse: no shape, too many, or one that no datagram can have.
    """
    body: list[Instruction] = []
    wanted = sorted(set(shapes))
    if not wanted:
        raise Misuse("a datagram filter needs at least one shape")
    if len(wanted) > MAX_INSTRUCTIONS // 6:
        raise Misuse("too many shapes for one filter")
    for kind, size in wanted:
        if not 0 <= kind <= 255 or not 1 <= size <= 65_507:
            raise Misuse(f"no datagram has type {kind} and {size} bytes")
        # Length first: an empty datagram has no first byte to load, and that load would end the whole program.
        body += [
            Instruction(LD_W_LEN, 0, 0, 0),
            Instruction(JEQ_K, 0, 3, size + _UDP_HEADER_BYTES),
            Instruction(LD_B_ABS, 0, 0, _UDP_HEADER_BYTES),
            Instruction(JEQ_K, 0, 1, kind),
            Instruction(RET_K, 0, 0, KEEP),
        ]
    return (*body, Instruction(RET_K, 0, 0, DROP))


_NO_RESET: Final = (
    Instruction(LD_B_ABS, 0, 0, _TCP_FLAGS),
    Instruction(JSET_K, 0, 1, _RST),
    Instruction(RET_K, 0, 0, DROP),
    Instruction(RET_K, 0, 0, KEEP),
)


def no_reset() -> Program:
    """For a TCP socket in SYN_SENT (mode 1): drop every segment that has RST set, keep all others.

    The closed port at the other end answers our SYN with RST before its owner has connected. Without this program that
    ends the attempt. Take it off after the first frame that verifies, or a real reset would go unheard.
    """
    return _NO_RESET


def nothing() -> Program:
    """For any socket: drop everything. What a socket is does not change while one looks at it."""
    return (Instruction(RET_K, 0, 0, DROP),)


def only_from(address: bytes, port: int | None = None) -> Program:
    """For a TCP listener (modes 2 and 3): keep packets from one source address, and one source port where it is given.

    Args: address: 4 bytes (IPv4) or 16 (IPv6), network order.  port: 1 to 65535; None where a NAT rewrites ports.
    The version of the IP header is compared too: a listener of two families must not take one for the other.
    Raises: Misuse: another length, or a port that does not exist.
    """
    if len(address) not in (4, 16):
        raise Misuse(f"an address has 4 or 16 bytes, not {len(address)}")
    if port is not None and not 1 <= port <= 65_535:
        raise Misuse(f"no port {port}")
    version, source = (4, _IPV4_SOURCE) if len(address) == 4 else (6, _IPV6_SOURCE)
    # Each pair (load, value it must equal). The mask belongs to the first only.
    words = struct.unpack(f">{len(address) // 4}I", address)
    tests = [(Instruction(LD_W_ABS, 0, 0, NET + source + 4 * i), word) for i, word in enumerate(words)]
    if port is not None:
        tests.append((Instruction(LD_H_ABS, 0, 0, 0), port))
    body = [Instruction(LD_B_ABS, 0, 0, NET), Instruction(AND_K, 0, 0, 0xF0), Instruction(JEQ_K, 0, 0, version << 4)]
    for load, value in tests:
        body += [load, Instruction(JEQ_K, 0, 0, value)]
    drop_at = len(body) + 1
    if drop_at > _MAX_JUMP:
        raise AssertionError("filter outgrew its jumps")
    aimed = [step._replace(jf=drop_at - i - 1) if step.code == JEQ_K else step for i, step in enumerate(body)]
    return (*aimed, Instruction(RET_K, 0, 0, KEEP), Instruction(RET_K, 0, 0, DROP))
