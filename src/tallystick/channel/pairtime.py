"""Pair time: a clock that never goes backwards and never runs far ahead (docs/spec/knock.md, section 4).

The client's side: it adds what the house taught it (its offset) to the system clock and never gives the same nanosecond twice, so a
retry is always a later knock. The house's side reads two clocks and lies in the shell: node/houseclock.py.

Nothing here reads a clock: `system_ns` comes in, the next value goes out, the shell stores it now and then.
"""

from dataclasses import dataclass, replace
from typing import Final, Self

from tallystick.channel.datagram import SECOND_NS

FUTURE_NS: Final = 60 * SECOND_NS  # DESIGN 6: at most 60 s in the future is accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientPairTime:
    """One pair's time as the client knows it.

    `offset_ns`: the house's pair time minus the system clock.  `latest_ns`: the last time given; the next is greater.
    """

    offset_ns: int = 0
    latest_ns: int = 0

    def next(self, system_ns: int) -> tuple[int, Self]:
        """The time for the next knock and the value after it: the system clock plus the offset, and always a new nanosecond."""
        time_ns = max(system_ns + self.offset_ns, self.latest_ns + 1)
        return time_ns, replace(self, latest_ns=time_ns)

    def taught(self, house_ns: int, *, sent_system_ns: int, received_system_ns: int) -> Self:
        """The value after the house named its pair time in answer to something sent and received at these system times.

        The house wrote the time somewhere between the two; the middle is taken. A time earlier than the last one given is
        believed too: the proof lies in the MAC or the sealed frame that brought it, and a client that once had a clock
        far ahead would be refused for ever otherwise.
        """
        middle = sent_system_ns + max(received_system_ns - sent_system_ns, 0) // 2
        offset = house_ns - middle
        ahead = self.latest_ns - (received_system_ns + offset)
        return replace(self, offset_ns=offset, latest_ns=self.latest_ns if ahead < FUTURE_NS else house_ns)
