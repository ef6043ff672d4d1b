"""Many datagrams, fast: `flood.py HOST PORT COUNT SIZES [KIND]` sends COUNT random datagrams of the given sizes (`108,156`).

64 for one system call (sendmmsg), from a small pool of random payloads; KIND sets their first byte. Prints the seconds it took.
With `@FILE` in the place of SIZES the payloads are the file's lines, in hexadecimal; then KIND is how many leave in a second.
"""

import ctypes
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any, Final

from tallystick.net.udp import _Iovec, _Mmsghdr, _Msghdr

_BATCH: Final = 64


def random_payloads(sizes: list[int], kind: int | None = None) -> list[bytes]:
    """A pool of random datagrams."""
    payloads = [os.urandom(sizes[i % len(sizes)]) for i in range(_BATCH)]
    return payloads if kind is None else [bytes([kind]) + payload[1:] if payload else payload for payload in payloads]


def flood(host: str, port: int, count: int, payloads: list[bytes], rate: int = 0) -> float:
    """Send `count` datagrams, the payloads in turn, at most `rate` in a second; seconds. What the network does not take is repeated."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    libc: Any = ctypes.CDLL(None, use_errno=True)
    pool = len(payloads)
    buffers = [ctypes.create_string_buffer(payload, len(payload) + 1) for payload in payloads]
    iovecs = (_Iovec * pool)(*(_Iovec(ctypes.addressof(b), len(p)) for b, p in zip(buffers, payloads, strict=True)))
    headers = (_Mmsghdr * pool)()
    for i in range(pool):
        headers[i].header = _Msghdr(iov=ctypes.addressof(iovecs) + i * ctypes.sizeof(_Iovec), iovlen=1)
    start = time.monotonic()
    done = 0
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((host, port))
        while done < count:
            at = done % pool
            first = ctypes.byref(headers, at * ctypes.sizeof(_Mmsghdr))
            sent = libc.sendmmsg(sock.fileno(), first, min(count - done, pool - at, _BATCH), 0)
            done += max(0, sent)  # an ICMP error from an earlier datagram costs one try
            if rate and (early := done / rate - (time.monotonic() - start)) > 0.001:
                time.sleep(early)
    return time.monotonic() - start


if __name__ == "__main__":
    host, port, count, what, *more = sys.argv[1:]
    number = int(more[0]) if more else None
    if what.startswith("@"):
        lines = Path(what[1:]).read_text("ascii").splitlines()
        print(flood(host, int(port), int(count), [bytes.fromhex(line) for line in lines], number or 0))
    else:
        print(flood(host, int(port), int(count), random_payloads([int(size) for size in what.split(",")], number)))
