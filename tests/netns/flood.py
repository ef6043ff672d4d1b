"""Many datagrams, fast: `flood.py HOST PORT COUNT SIZES [KIND]` sends COUNT random datagrams of the given sizes (`108,156`).

64 for one system call (sendmmsg), from a small pool of random payloads; KIND sets their first byte. Prints the seconds it took.
"""

import ctypes
import os
import socket
import sys
import time
from typing import Any, Final

from tallystick.net.udp import _Iovec, _Mmsghdr, _Msghdr

_BATCH: Final = 64


def flood(host: str, port: int, count: int, sizes: list[int], kind: int | None = None) -> float:
    """Send `count` datagrams; seconds. What the network does not take is repeated."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    libc: Any = ctypes.CDLL(None, use_errno=True)
    payloads = [os.urandom(sizes[i % len(sizes)]) for i in range(_BATCH)]
    if kind is not None:
        payloads = [bytes([kind]) + payload[1:] if payload else payload for payload in payloads]
    buffers = [ctypes.create_string_buffer(payload, len(payload) + 1) for payload in payloads]
    iovecs = (_Iovec * _BATCH)(*(_Iovec(ctypes.addressof(b), len(p)) for b, p in zip(buffers, payloads, strict=True)))
    headers = (_Mmsghdr * _BATCH)()
    for i in range(_BATCH):
        headers[i].header = _Msghdr(iov=ctypes.addressof(iovecs) + i * ctypes.sizeof(_Iovec), iovlen=1)
    start = time.monotonic()
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        while count > 0:
            sent = libc.sendmmsg(sock.fileno(), headers, min(count, _BATCH), 0)
            count -= max(0, sent)  # an ICMP error from an earlier datagram costs one try
    return time.monotonic() - start


if __name__ == "__main__":
    sizes = [int(size) for size in sys.argv[4].split(",")]
    print(flood(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sizes, int(sys.argv[5]) if len(sys.argv) > 5 else None))
