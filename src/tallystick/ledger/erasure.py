"""Which entries an erasure is about: one, or ranges of them besides (docs/spec/state.md, section 4)."""

from collections.abc import Iterable, Iterator
from typing import Final

from tallystick.ledger.event import Event

MAX_RANGES: Final = 1_000

Range = tuple[int, int]
"""The first entry and how many there are."""


def ranges_of(event: Event) -> tuple[Range, ...]:
    """The entries whose openings a `body-erased` event says are gone; some of them may never have had one."""
    more = event.get("erased")
    others = [(int(first), int(count)) for first, count in more if count] if isinstance(more, tuple) else []
    return ((event.number("entry"), 1), *others)


def covered(event: Event) -> Iterator[tuple[int, int]]:
    """The same as first and last entry of each range."""
    for first, count in ranges_of(event):
        yield first, first + count - 1


def ranges(bodies: Iterable[tuple[int, bool]]) -> tuple[Range, ...]:
    """The fewest ranges that hold the entries whose openings go and none whose openings stay.

    Args: bodies: rising, every entry that has an opening, and whether it goes. Entries without one may lie in a range.
    """
    found: list[Range] = []
    apart = True
    for entry, goes in bodies:
        if goes and not apart:
            found[-1] = (found[-1][0], entry - found[-1][0] + 1)
        elif goes:
            found.append((entry, 1))
        apart = not goes
    return tuple(found)


class Spans:
    """Entries in ranges that may overlap, however many they hold."""

    def __init__(self, spans: Iterable[tuple[int, int]]) -> None:
        """Args: spans: first and last entry of each."""
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        for first, last in sorted(spans):
            if self._lasts and first <= self._lasts[-1] + 1:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, entry: int) -> bool:
        low, high = 0, len(self._firsts)
        while low < high:
            middle = (low + high) // 2
            if self._firsts[middle] <= entry:
                low = middle + 1
            else:
                high = middle
        return low > 0 and entry <= self._lasts[low - 1]
