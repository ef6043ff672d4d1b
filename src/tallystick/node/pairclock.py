"""One pair's time as this machine knows it, kept in the machine's memory and times (docs/spec/knock.md, section 4).

Every process of this machine shares the rows: the latest time given is stored before its knock leaves, so that no two knocks ever
name one nanosecond, and a `time?` counter is on the disk before its question leaves.
"""

import time
from dataclasses import replace

from tallystick.canonical import Encodable, Value
from tallystick.channel.knocker import TimeCounters, invite_times
from tallystick.channel.pairtime import ClientPairTime
from tallystick.node.memory import Memory

_KEPT_NS = 10**9  # an offset that moved by less than a second is not worth a write


class PairClock:
    """The clock of the knocks and signals of one pair."""

    def __init__(self, memory: Memory, pairing: bytes) -> None:
        self._memory = memory
        self._pairing = pairing
        self._offset_row = f"offset/{pairing.hex()}"
        self._asked_row = f"asked/{pairing.hex()}"
        self._counters = TimeCounters()
        self.offset_ns = self._offset()

    def _offset(self) -> int:
        row = self._memory.get(self._offset_row)
        return row if isinstance(row, int) else 0

    def now_ns(self) -> int:
        """The house's pair time as far as we know it."""
        return max(time.time_ns() + self.offset_ns, 0)

    def next_ns(self) -> int:
        """The time for one knock, never given again. Raises: Unavailable."""
        self.offset_ns = self._offset()

        def step(latest_ns: int) -> int:
            return ClientPairTime(offset_ns=self.offset_ns, latest_ns=latest_ns).next(time.time_ns())[0]

        return self._memory.times.change(self._pairing, step)

    def taught(self, house_ns: int, *, sent_ns: int, received_ns: int) -> None:
        """The house named its pair time, in answer to what was sent and received at these times of the system clock."""

        def learned(latest_ns: int) -> ClientPairTime:
            return ClientPairTime(latest_ns=latest_ns).taught(house_ns, sent_system_ns=sent_ns, received_system_ns=received_ns)

        offset_ns = learned(0).offset_ns
        if abs(offset_ns - self.offset_ns) >= _KEPT_NS:
            self._memory.times.change(self._pairing, lambda latest_ns: learned(latest_ns).latest_ns)
            self._memory.change(self._offset_row, lambda _: (offset_ns, None))
            self.offset_ns = offset_ns

    def question(self) -> int:
        """The counter of the next `time?`, on the disk when this returns. Raises: Unavailable."""

        def step(row: Value) -> tuple[Encodable, tuple[int, TimeCounters]]:
            stored = _counters(row)
            now = replace(self._counters, first=max(self._counters.first, stored.first), sent=max(self._counters.sent, stored.sent))
            counter, after = now.next()
            return [after.first, after.sent], (counter, after)

        counter, self._counters = self._memory.change(self._asked_row, step, durable=True)
        return counter

    def answered(self, counter: int) -> None:
        """The question with this counter was answered. Raises: Unavailable."""

        def step(row: Value) -> tuple[Encodable, TimeCounters]:
            after = _counters(row).answered(counter)
            return [after.first, after.sent], after

        self._counters = self._memory.change(self._asked_row, step)


class InviteClock:
    """The times to knock with for an invite: also a machine whose clock is dead can be paired."""

    def __init__(self, expires_ns: int) -> None:
        self._expires_ns = expires_ns
        self._given = 0

    def times(self) -> tuple[int, ...]:
        """The times to try now, each of which needs a knock of its own; none is given twice."""
        self._given += 1
        return tuple(time_ns + self._given for time_ns in invite_times(time.time_ns(), self._expires_ns))


def _counters(row: Value) -> TimeCounters:
    match row:
        case [int(first), int(sent)]:
            return TimeCounters(first=first, sent=sent)
    return TimeCounters()
