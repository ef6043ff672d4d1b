"""A cable with a length: carries every frame between two interfaces of a namespace after a delay. Usage: delay.py IF IF MS

Not every kernel has netem. The virtio header (PACKET_VNET_HDR) goes along, because it says which checksums and segments
the sender left to the hardware.
"""

import select
import socket
import sys
import time
from collections import deque
from typing import Final

_ETH_P_ALL: Final = 3  # linux/if_ether.h
_SOL_PACKET: Final = 263  # linux/socket.h
_PACKET_VNET_HDR: Final = 15  # linux/if_packet.h
_PACKET_IGNORE_OUTGOING: Final = 23
_FRAME_BYTES: Final = 1 << 17


def end_of(interface: str) -> socket.socket:
    """A raw socket that hears what comes in at `interface` and nothing that we sent."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    sock.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
    sock.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    sock.bind((interface, _ETH_P_ALL))
    return sock


def carry(one: socket.socket, other: socket.socket, delay: float) -> None:
    """For ever: frames of each end come out of the other, `delay` seconds later, in order."""
    waiting: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        due = waiting[0][0] - time.monotonic() if waiting else None
        heard = select.select([one, other], [], [], max(0.0, due) if due is not None else None)[0]
        now = time.monotonic()
        waiting.extend((now + delay, other if end is one else one, end.recv(_FRAME_BYTES)) for end in heard)
        while waiting and waiting[0][0] <= now:
            _, out, frame = waiting.popleft()
            out.send(frame)


if __name__ == "__main__":
    ends = end_of(sys.argv[1]), end_of(sys.argv[2])
    print("ready", flush=True)
    carry(*ends, float(sys.argv[3]) / 1000)
