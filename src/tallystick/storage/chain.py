"""Walking back along a chain of signals: a predecessor by its reference, and what stands right behind it, in one look each.

    chain = Chain(store)
    at = chain.find(reference)
    for index, kind, leaf in chain.behind(at): ...

For a story of a thousand signals each look counts. A `Chain` is of one moment for marks, and of one thread.
"""

from collections.abc import Iterator
from typing import Any, Final, Protocol

import apsw

from tallystick.storage.connection import unavailable
from tallystick.storage.postings import POSTED, mark_number

AHEAD: Final = 4  # entries read together with one: most signals have nothing or a finding right behind
MAX_BEHIND: Final = 256

Row = tuple[int, int, bytes]
"""Index, the number of the kind, leaf."""


class Source(Protocol):
    """The connection of the thread that asks (storage/readers.py)."""

    def connection(self) -> apsw.Connection:
        """Raises: Unavailable."""
        ...


class Chain:
    """Looks of one story. Every method raises Unavailable."""

    def __init__(self, source: Source) -> None:
        self._source = source
        (size,) = (self._rows("SELECT size FROM tree") or [(0,)])[0]
        edge = size - size % POSTED  # behind it nothing is posted yet
        self._late: dict[int, list[int]] = {}
        for index, mark in self._rows("SELECT idx, mark FROM entries WHERE idx >= ? AND mark IS NOT NULL ORDER BY idx", (edge,)):
            self._late.setdefault(mark, []).append(index)
        self._near: dict[int, Row] = {}

    def find(self, reference: bytes) -> int | None:
        """The first entry whose signal has the mark of this reference: who asked compares the whole."""
        number = mark_number(reference)
        posted = self._rows("SELECT idx FROM marks WHERE mark = ? LIMIT 1", (number,))
        found = [int(posted[0][0])] if posted else self._late.get(number)
        return found[0] if found else None

    def like(self, prefix: str) -> list[int]:
        """The entries with signals whose reference begins with these hexadecimal digits, as far as 16 of them tell: at most three."""
        digits = prefix[:16]
        low, high = (int.from_bytes(bytes.fromhex(digits.ljust(16, fill)), "big", signed=True) for fill in "0f")
        sql = "SELECT idx FROM marks WHERE mark BETWEEN ? AND ? LIMIT 3"
        posted = [int(index) for (index,) in self._rows(sql, (low, high))]
        late = [index for mark, indices in self._late.items() if low <= mark <= high for index in indices]
        return sorted({*posted, *late})[:3]

    def leaf(self, index: int) -> Row | None:
        """An entry; those right behind it are read with it."""
        row = self._near.get(index)
        if row is None:
            self._read(index, AHEAD)
            row = self._near.get(index)
        return row

    def behind(self, index: int) -> Iterator[Row]:
        """The entries right behind one, rising, at most 256."""
        for at in range(index + 1, index + 1 + MAX_BEHIND):
            if at not in self._near:
                self._read(at, 4 * AHEAD)
            row = self._near.get(at)
            if row is None:
                return
            yield row

    def _read(self, index: int, count: int) -> None:
        sql = "SELECT idx, kind, leaf FROM entries WHERE idx >= ? AND idx < ?"
        for row in self._rows(sql, (index, index + count)):
            self._near[row[0]] = (row[0], row[1], row[2])

    def _rows(self, sql: str, arguments: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._source.connection().execute(sql, arguments).fetchall()
        except apsw.Error as error:
            raise unavailable(error) from error
