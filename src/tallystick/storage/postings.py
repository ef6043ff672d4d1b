"""The index of the entries' columns: for each value, and each span of 1,024 entries, which of them have it (docs/spec/state.md, section 2).

A commit touches no page of it: it is written when a span is whole, one row for each value that occurs there, and whoever asks
looks at the entries behind the last whole span itself. Few places are written as their numbers in the span, many as a bit for each
entry: 1,024 answers of one pair are one row of 128 bytes. Marks are nearly all different, so each has a row of its own in `marks`.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import apsw

from tallystick.errors import Unavailable

POSTED: Final = 1024  # entries in a span
# The columns of `entries` that are indexed, and their numbers in `postings`.
COLUMNS: Final = {"kind": 1, "pairing": 2, "key": 3, "about": 4, "action": 5, "verdict": 6}
INDEXED: Final = "kind, pairing, key, about, action, verdict, mark"  # in this order in the rows that `post` takes
_BITMAP_BYTES: Final = POSTED // 8
_SPARSE: Final = _BITMAP_BYTES // 2  # from so many places on a bit for each entry is shorter
_ALL: Final = b"\xff" * _BITMAP_BYTES
_NUMBERS: Final = [struct.Struct(f">{count}H").unpack for count in range(_SPARSE)]
_BIT: Final = [1 << at for at in range(POSTED)].__getitem__
_VERDICT: Final = COLUMNS["verdict"]
_WINDOW: Final = 64  # spans looked at together, to begin with
_ROWS: Final = "SELECT span, places FROM postings WHERE col = ? AND value = ? AND span >= ? AND span < ?"

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
    """The entries from `first` up to `last`, both in whole spans, that agree with every filter. Raises: apsw.Error, Unavailable."""
    low, high = first // POSTED, -(-last // POSTED)
    window = _WINDOW
    while low < high:  # a few spans for who finds a page in them, ever more for who finds nothing
        if newest_first:
            some = max(low, high - window), high
            high = some[0]
        else:
            some = low, min(high, low + window)
            low = some[1]
        window *= 2
        masks = _masks(db, filters[0], some, None)
        for choices in filters[1:]:
            others = _masks(db, choices, some, masks)
            masks = {span: mask & others[span] for span, mask in masks.items() if span in others}
        for span in sorted(masks, reverse=newest_first):
            mask, start = masks[span], span * POSTED
            places: list[int] = []
            while mask:
                lowest = mask & -mask
                places.append(start + lowest.bit_length() - 1)
                mask ^= lowest
            yield from (at for at in (reversed(places) if newest_first else places) if first <= at < last)


def _masks(db: apsw.Connection, choices: Filter, spans: tuple[int, int], among: Mapping[int, int] | None) -> dict[int, int]:
    """For each span the places where a column has one of these values, a bit for each. `among`: only these spans.

    Raises: apsw.Error; Unavailable when a row of the index is damaged.
    """
    masks: dict[int, int] = {}
    for col, value in choices:
        for span, packed in db.execute(_ROWS, (col, value, *spans)):
            if among is None or span in among:
                try:
                    mask = (
                        int.from_bytes(packed, "little")
                        if len(packed) == _BITMAP_BYTES
                        else sum(map(_BIT, _NUMBERS[len(packed) >> 1](packed)))
                    )
                except (IndexError, struct.error):
                    raise Unavailable("the ledger's index is damaged", "Run `tally verify`; `tally rebuild` may mend it.") from None
                masks[span] = masks[span] | mask if span in masks else mask
    return masks


def _pack(places: list[int]) -> bytes:
    if len(places) < _SPARSE:
        return struct.pack(f">{len(places)}H", *places)
    mask = bytearray(_BITMAP_BYTES)
    for at in places:
        mask[at >> 3] |= 1 << (at & 7)
    return bytes(mask)
