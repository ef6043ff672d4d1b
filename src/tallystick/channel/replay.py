"""Which knocks were accepted already (docs/spec/knock.md, section 5, "Replay").

Per pair the MACs of accepted knocks, at most 256. When full, the one with the lowest time leaves and its time becomes the
floor: whatever is timed at or below it is refused, so a MAC that was forgotten can never come back.

    memory = Replay()
    if memory.admits(mac, time_ns): ...; memory.remember(mac, time_ns)     # after everything else held

Mutable, for the sake of one allocation per pair instead of one per knock: `remember` is the only method that changes
anything, and it is called once the whole knock is proven.
"""

from typing import Final

CAPACITY: Final = 256  # MACs per pair, DESIGN 6


class Replay:
    """The accepted knocks of one pair."""

    __slots__ = ("_macs", "_order", "floor_ns")

    def __init__(self) -> None:
        self.floor_ns = -1
        self._macs: set[bytes] = set()
        self._order: list[tuple[int, bytes]] = []  # by time; knocks come nearly in order, so this is an append

    def __len__(self) -> int:
        return len(self._macs)

    def admits(self, mac: bytes, time_ns: int) -> bool:
        """Is this knock new? Changes nothing."""
        return time_ns > self.floor_ns and mac not in self._macs

    def remember(self, mac: bytes, time_ns: int) -> None:
        """This knock was accepted: it and, when the memory is full, everything up to the oldest time are refused from now on."""
        order = self._order
        if len(order) >= CAPACITY:
            self.floor_ns, oldest = order.pop(0)
            self._macs.discard(oldest)
        place = len(order)
        while place and order[place - 1][0] > time_ns:
            place -= 1
        order.insert(place, (time_ns, mac))
        self._macs.add(mac)
