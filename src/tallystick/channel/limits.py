"""How much one pair may ask of the house (docs/spec/knock.md, section 5, "Limits").

Rate: 20 knocks a second with a burst of 64, kept as one number: the time at which the next knock would be on schedule
(the virtual scheduling form of a leaky bucket, ITU-T I.371 annex A, GCRA). Pending connects: tickets with a deadline.
Both are counted for pairs and open invites only; a stranger never gets this far.
"""

from collections import OrderedDict
from typing import Final

from tallystick.channel.datagram import SECOND_NS
from tallystick.channel.replay import Replay

RATE_PER_S: Final = 20
BURST: Final = 64
PENDING_PER_PAIR: Final = 4
PENDING_ALL: Final = 256
PENDING_NS: Final = 3 * SECOND_NS
_INTERVAL_NS: Final = SECOND_NS // RATE_PER_S
_TOLERANCE_NS: Final = (BURST - 1) * _INTERVAL_NS


class Activity:
    """What the house remembers of a pair or invite that knocked lately."""

    __slots__ = ("_scheduled_ns", "last_ns", "pending", "replay")

    def __init__(self) -> None:
        self.replay = Replay()
        self.pending = 0
        self.last_ns = 0
        self._scheduled_ns = 0

    def take_turn(self, now_ns: int) -> bool:
        """Use one turn of the rate; False, and nothing used, when there is none."""
        scheduled = max(self._scheduled_ns, now_ns)
        if scheduled - now_ns > _TOLERANCE_NS:
            return False
        self._scheduled_ns = scheduled + _INTERVAL_NS
        return True


class Pending:
    """The connects under way, of all pairs."""

    __slots__ = ("_next", "_tickets")

    def __init__(self) -> None:
        self._tickets: OrderedDict[int, tuple[Activity, int]] = OrderedDict()  # in the order of their deadlines
        self._next = 1

    def __len__(self) -> int:
        return len(self._tickets)

    def expire(self, now_ns: int) -> None:
        """End those whose 3 s are over."""
        while self._tickets:
            ticket, (_, deadline_ns) = next(iter(self._tickets.items()))
            if deadline_ns > now_ns:
                return
            self.end(ticket)

    def has_room(self, activity: Activity) -> bool:
        """May this pair have one more?"""
        return activity.pending < PENDING_PER_PAIR and len(self._tickets) < PENDING_ALL

    def begin(self, activity: Activity, now_ns: int) -> int:
        """One more is under way; the ticket ends it."""
        ticket = self._next
        self._next += 1
        self._tickets[ticket] = (activity, now_ns + PENDING_NS)
        activity.pending += 1
        return ticket

    def end(self, ticket: int) -> None:
        """It succeeded, failed or was given up; ending it twice does nothing."""
        entry = self._tickets.pop(ticket, None)
        if entry is not None:
            entry[0].pending -= 1
