"""What a client keeps ready for its next knock, from the end of one session to the beginning of the next.

A spare is a UDP socket towards one house, a TCP port, and a knock that names the port and lacks only the time. It is made when nobody
waits, taken once, and closed when it is not taken within `KEPT_S`: a machine that moves to another network meanwhile knocks anew, and
what the sockets hold is not much.
"""

import asyncio
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # a command that never knocks loads no sockets
    from tallystick.channel.knocker import Draft
    from tallystick.net.address import Endpoint
    from tallystick.net.dial import ClientPort
    from tallystick.net.udp import Knocker

KEPT_S: Final = 10.0
MOST: Final = 64


class Spare:
    """Sockets and a draft, towards `house`."""

    __slots__ = ("draft", "house", "port", "udp")

    def __init__(self, house: "Endpoint", udp: "Knocker", port: "ClientPort", draft: "Draft") -> None:
        self.house = house
        self.udp = udp
        self.port = port
        self.draft = draft

    def close(self) -> None:
        """Give the sockets back."""
        self.udp.close()
        self.port.close()


class Spares:
    """One for each pair at most."""

    def __init__(self) -> None:
        self._kept: dict[bytes, tuple[Spare, asyncio.TimerHandle]] = {}
        self._maker = os.getpid()
        self._closed = False

    def has(self, pairing: bytes) -> bool:
        """Whether nothing is to be made for this pair: it has one, or there are enough, or nobody will knock any more."""
        return self._closed or pairing in self._kept or len(self._kept) >= MOST

    def keep(self, pairing: bytes, spare: Spare) -> None:
        """Keep it for a while. To be called from a running event loop."""
        self.drop(pairing)
        self._maker = os.getpid()
        self._kept[pairing] = spare, asyncio.get_running_loop().call_later(KEPT_S, self.drop, pairing)

    def take(self, pairing: bytes, house: "Endpoint") -> Spare | None:
        """The pair's spare, for whoever knocks now; None where there is none for this address."""
        kept = self._kept.pop(pairing, None)
        if kept is None:
            return None
        spare, timer = kept
        timer.cancel()
        # A forked process has the same one, and both would use its key: it belongs to the one that made it.
        if spare.house != house or self._maker != os.getpid():
            spare.close()
            return None
        return spare

    def drop(self, pairing: bytes) -> None:
        """Close the pair's spare, if it has one."""
        spare, timer = self._kept.pop(pairing, (None, None))
        if spare is not None and timer is not None:
            timer.cancel()
            spare.close()

    def close(self) -> None:
        """Close all of them, and keep no more."""
        self._closed = True
        for pairing in list(self._kept):
            self.drop(pairing)
