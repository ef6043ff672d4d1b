"""The index of the entries' columns: for each value, and each span of 1,024 entries, which of them have it (docs/spec/state.md, section 2).

A commit touches no page of it: it is written when a span is whole, one row for each value that occurs there, and whoever asks
looks at the entries behind the last whole span itself. Few places are written as their numbers in the span, many as a bit for each
entry: 1,024 answers of one pair are one row of 128 bytes. Marks are nearly all different, so each has a row of its own in `marks`.
"""

import heapq
import struct
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

POSTED: Final = 1024  # entries in a span
# The columns of `entries` that are indexed, and their numbers in `postings`.
COLUMNS: Final = {"kind": 1, "pairing": 2, "key": 3, "about": 4, "action": 5, "verdict": 6}
INDEXED: Final = "kind, pairing, key, about, action, verdict, mark"  # in this order in the rows that `post` takes
_BITMAP_BYTES: Final = POSTED // 8
_SPARSE: Final = _BITMAP_BYTES // 2  # from so many places on a bit for each entry is shorter
_ALL: Final = b"\xff" * _BITMAP_BYTES
_VERDICT: Final = COLUMNS["verdict"]

Filter = Sequence[tuple[int, Any]]
"""Column and value, any of which will do."""


def mark_number(signature_hash: bytes) -> int:
    """The short form under which a signal is indexed: 8 bytes, as a signed number."""
    return int.from_bytes(signature_hash[:8], "big", signed=True)


def post(db: apsw.Connection, span: int, rows: Sequence[Sequence[Any]]) -> None:
    """Index a whole span: the columns `INDEXED` of its 1,024 entries."""
    *columns, marks = zip(*rows, strict=True)
    found: list[tuple[int, Any, int, bytes]] = []
    for col, column in enumerate(columns, 1):
        values = set(column)
        if len(values) == 1:
            places = {values.pop(): _ALL}
        else:
            lists: dict[Any, list[int]] = {value: [] for value in values}
            for at, value in enumerate(column):
                lists[value].append(at)
            places = {value: _pack(ats) for value, ats in lists.items()}
        # Nearly every verdict is `allow`, and nobody looks for it by the index.
        found += [(col, value, span, places[value]) for value in places if value is not None and (col != _VERDICT or value != "allow")]
    found.sort(key=lambda row: row[:2])
    db.executemany("INSERT INTO postings VALUES (?, ?, ?, ?)", found)
    first = span * POSTED
    if signals := [(mark, first + at) for at, mark in enumerate(marks) if mark is not None]:
        db.executemany("INSERT INTO marks VALUES (?, ?)", sorted(signals))


def find(db: apsw.Connection, filters: Sequence[Filter], first: int, last: int, *, newest_first: bool = False) -> Iterator[int]:
    """The entries from `first` up to `last`, both in whole spans, that agree with every filter. Raises: apsw.Error."""
    order = "DESC" if newest_first else "ASC"
    low, high = first // POSTED, -(-last // POSTED)
    sql = f"SELECT span, places FROM postings WHERE col = ? AND value = ? AND span >= ? AND span < ? ORDER BY span {order}"
    walks = [db.execute(sql, (col, value, low, high)) for col, value in filters[0]]
    here, mask = -1, 0
    for span, places in heapq.merge(*walks, key=lambda row: row[0], reverse=newest_first):
        if span != here:
            yield from _entries(db, filters[1:], here, mask, first, last, newest_first)
            here, mask = span, 0
        mask |= _mask(places)
    yield from _entries(db, filters[1:], here, mask, first, last, newest_first)


def _entries(
    db: apsw.Connection, filters: Sequence[Filter], span: int, mask: int, first: int, last: int, newest_first: bool
) -> Iterator[int]:
    for choices in filters:
        if not mask:
            return
        other = 0
        for col, value in choices:
            row = db.execute("SELECT places FROM postings WHERE col = ? AND value = ? AND span = ?", (col, value, span)).fetchone()
            other |= _mask(row[0]) if row is not None else 0
        mask &= other
    start = span * POSTED
    places: list[int] = []
    while mask:
        lowest = mask & -mask
        at = start + lowest.bit_length() - 1
        if first <= at < last:
            places.append(at)
        mask ^= lowest
    yield from reversed(places) if newest_first else places


def _pack(places: list[int]) -> bytes:
    if len(places) < _SPARSE:
        return struct.pack(f">{len(places)}H", *places)
    mask = bytearray(_BITMAP_BYTES)
    for at in places:
        mask[at >> 3] |= 1 << (at & 7)
    return bytes(mask)


def _mask(packed: bytes) -> int:
    if len(packed) == _BITMAP_BYTES:
        return int.from_bytes(packed, "little")
    mask = 0
    for at in struct.unpack(f">{len(packed) // 2}H", packed):
        mask |= 1 << at
    return mask
