"""From a tag to the pair that made it: a million pairs, four windows, no pause (docs/spec/knock.md, section 5).

`TagTable` is a hash table with linear probing over two flat buffers: 20 bytes for each place, half of them filled. A `dict` of
the same content takes 106 bytes for each tag and halts the house for some 50 ms when it grows or is thrown away; the
buffers cost 40 bytes a pair and are released at once. A tag is 128 bits of BLAKE2s under a key that strangers lack: nobody
can choose where it falls, so the probes stay short whatever is sent.

`Windows` keeps four tables: the windows -1, 0, +1, and the one after, filled ahead in slices.
"""

import struct
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

from tallystick.channel.datagram import WINDOW_NS

_WORDS: Final = struct.Struct("=QQ")
_MIN_PLACES: Final = 1 << 6
MAX_PAIR_NUMBER: Final = 2**32 - 1


class TagTable:
    """Tags of 16 bytes to pair numbers, 1 to 2^32 - 1."""

    __slots__ = ("_limit", "_mask", "_numbers", "_words", "count")

    def __init__(self, expected: int = 0) -> None:
        """`expected`: how many tags to make room for; the table grows by itself past that, at the cost of a pause."""
        self._allocate(max(_MIN_PLACES, 1 << (2 * expected - 1).bit_length() if expected else 0))

    def _allocate(self, places: int) -> None:
        self._mask = places - 1
        self._limit = places * 3 // 4
        self._words = memoryview(bytearray(16 * places)).cast("Q")
        self._numbers = memoryview(bytearray(4 * places)).cast("I")
        self.count = 0

    @property
    def view(self) -> tuple[int, memoryview, memoryview]:
        """Mask, numbers and words, for `find`; good until the table grows."""
        return self._mask, self._numbers, self._words

    def insert(self, tag: bytes, number: int) -> None:
        """Enter one tag."""
        if self.count >= self._limit:
            self._grow()
        low, high = _WORDS.unpack(tag)
        self._put(low, high, number)

    def _put(self, low: int, high: int, number: int) -> None:
        mask, numbers = self._mask, self._numbers
        place = low & mask
        while numbers[place]:
            place = (place + 1) & mask
        numbers[place] = number
        self._words[2 * place] = low
        self._words[2 * place + 1] = high
        self.count += 1

    def _grow(self) -> None:
        words, numbers = self._words, self._numbers
        self._allocate(2 * len(numbers))
        for place, number in enumerate(numbers):
            if number:
                self._put(words[2 * place], words[2 * place + 1], number)


def find(tag: bytes, views: Iterable[tuple[int, memoryview, memoryview]]) -> tuple[int, int] | None:
    """The pair number with this tag and the place of its table in `views`, or None.

    The one loop every stranger's datagram runs through, hence over plain views: a method call for each table costs as much
    as the look-up.
    """
    low, high = _WORDS.unpack(tag)
    for table, (mask, numbers, words) in enumerate(views):
        place = low & mask
        while number := numbers[place]:
            if words[2 * place] == low and words[2 * place + 1] == high:
                return number, table
            place = (place + 1) & mask
    return None


class _Window:
    """The tags of one window: those of the first `done` members of the order are in the table."""

    __slots__ = ("done", "number", "table")

    def __init__(self, number: int, expected: int) -> None:
        self.number = number
        self.table = TagTable(expected)
        self.done = 0


class Windows:
    """The tags of all pairs in the windows around now.

    `order` lists the pair numbers (the owner appends; a number that left is skipped). `make_tag(number, window)` gives the tag
    of a pair, or None when the pair is gone.
    """

    __slots__ = ("_make_tag", "_order", "_views", "_windows", "turn_ns")

    def __init__(self, order: Sequence[int], make_tag: Callable[[int, int], bytes | None], now_ns: int) -> None:
        self._order = order
        self._make_tag = make_tag
        window = now_ns // WINDOW_NS
        self.turn_ns = (window + 1) * WINDOW_NS
        self._windows = tuple(_Window(window + step, len(order)) for step in (-1, 0, 1, 2))
        self._look()

    @property
    def oldest_ns(self) -> int:
        """When the oldest window that is still open began, ns."""
        return self._windows[0].number * WINDOW_NS

    def turn(self, now_ns: int) -> None:
        """Enter the window of `now_ns`; tables that still serve are kept, whatever is missing is filled by `fill`."""
        window = now_ns // WINDOW_NS
        kept = {entry.number: entry for entry in self._windows}
        self._windows = tuple(kept.get(window + step) or _Window(window + step, len(self._order)) for step in (-1, 0, 1, 2))
        self.turn_ns = (window + 1) * WINDOW_NS
        self._look()

    def sweep(self, order: list[int], standing: Collection[int]) -> None:
        """Strike from the order those that left, once they are more than half of it and nothing is half done."""
        total = len(order)
        if total < max(_MIN_PLACES, 2 * len(standing)) or any(entry.done != total for entry in self._windows):
            return
        order[:] = [number for number in order if number in standing]
        for entry in self._windows:
            entry.done = len(order)

    def fill(self, budget: int) -> int:
        """Compute at most `budget` tags, those that are needed first: the windows 0, -1, +1, then the one ahead.

        Returns: how much of the budget is left; 0 may mean that more is to be done.
        """
        order = self._order
        total = len(order)
        before, current, after, ahead = self._windows
        for entry in (current, before, after, ahead):
            done = entry.done
            if done == total:
                continue
            table, number, make_tag = entry.table, entry.number, self._make_tag
            stop = min(total, done + budget)
            budget -= stop - done
            for pair in order[done:stop]:
                tag = make_tag(pair, number)
                if tag is not None:
                    table.insert(tag, pair)
            entry.done = stop
            if budget == 0:
                break
        self._look()
        return budget

    def find(self, tag: bytes) -> tuple[int, int] | None:
        """The pair number and the window of a tag, or None."""
        found = find(tag, self._views)
        return None if found is None else (found[0], self._windows[(1, 0, 2)[found[1]]].number)

    def _look(self) -> None:
        """Renew the views of the open windows, the current one first."""
        before, current, after, _ = self._windows
        self._views = (current.table.view, before.table.view, after.table.view)
