"""Forgetting: which openings go, and the entries that say so (docs/house.md, "Forgetting").

An opening holds what an entry only commits to: the target, the headers, the filter of a query, and the salts without which nobody can
guess them. Erasing destroys it and nothing else: the entry stays, and every proof with it. What the archive keeps is not touched.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.ledger.erasure import MAX_RANGES, ranges
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.field import WORD
from tallystick.node.records import filters_of, whole_number
from tallystick.storage.bodies import UnfinishedErasureError
from tallystick.storage.sqlite import Store

BATCH: Final = 16_384  # openings of one turn of the writer
MAX_ASKED: Final = 1_000  # entries and spans that are named one by one
ASKED: Final = "asked"
_PAGE: Final = 10_000
_WORD: Final = re.compile(WORD)


@dataclass(frozen=True, slots=True)
class Erased:
    """What was forgotten: how many openings, of which entries, and the last entry that says so."""

    count: int
    first: int | None
    last: int | None
    entry: int | None

    @classmethod
    def of(cls, entries: Sequence[int], entry: int | None) -> Self:
        """What is or would be erased of these entries (rising)."""
        return cls(len(entries), entries[0] if entries else None, entries[-1] if entries else None, entry)


def found_json(erased: Erased, reason: str) -> dict[str, Any]:
    """In the shape of `tally erase --json`."""
    return {"erased": erased.count, "first": erased.first, "last": erased.last, "entry": erased.entry, "reason": reason}


def erase_here(store: Store, entries: Sequence[int], now_ns: int, reason: str) -> dict[str, Any]:
    """Erase at the machine itself. Raises: as `erase`."""
    return found_json(erase(store, entries, now_ns, "local", reason), reason)


def chosen(store: Store, args: Mapping[str, Any]) -> list[int]:
    """The entries whose openings are meant, rising.

    Args: args: `spans` ([first, last] pairs), `pair`, `key`, `before_ns`; what is given must all be true of an entry.
    Raises: Misuse: nothing was chosen. Refused: a named entry has no opening.
    """
    given = {name: args[name] for name in ("pair", "key") if args.get(name)}
    spans, before = _spans(args.get("spans") or ()), args.get("before_ns")
    if not spans and not given and before is None:
        raise Misuse("nothing was chosen", "name entries, or --pair, --key or --before")
    until = {} if before is None else {"until_ns": whole_number(before) - 1}
    if not spans:
        return _with_the_same(store, _filtered(store, 0, store.size() - 1, filters_of(store, given) | until))
    found: set[int] = set()
    for first, last in spans:
        there = store.bodied(first, last) if not given and not until else _filtered(store, first, last, filters_of(store, given) | until)
        if first == last and not there:
            raise Refused(f"entry {first} has no opening, or it was erased", "`tally log` lists the entries")
        found.update(there)
    return _with_the_same(store, found)


def _with_the_same(store: Store, entries: Iterable[int]) -> list[int]:
    """Where a key was seen stands in the opening of its signal and in that of the sighting, and what it would have written in that of its
    proposal, each time it waited: who forgets the one forgets the other."""
    found = set(entries)
    return sorted({*found, *store.gate.sightings_behind(found), *store.gate.contents_behind(found)})


def belonging(store: Store, *spans: tuple[int, int]) -> list[int]:
    """What must go with these (first, count) and is not among them: what `chosen` adds to what is named at the machine itself."""
    named = {entry for first, count in spans for entry in store.bodied(first, min(first + count, store.size()) - 1)}
    return [entry for entry in _with_the_same(store, named) if entry not in named]


def _filtered(store: Store, first: int, last: int, filters: Mapping[str, Any]) -> list[int]:
    found: list[int] = []
    while first <= last:
        rows = store.entries(first, last + 1, limit=_PAGE, **filters)
        if not rows:
            break
        there = set(store.bodied(rows[0].index, rows[-1].index))
        found += [row.index for row in rows if row.index in there]
        first = rows[-1].index + 1
    return found


def _spans(given: Any) -> list[tuple[int, int]]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > MAX_ASKED:
        raise Misuse(f"at most {MAX_ASKED} entries and spans are named", "a span is written 40-60")
    spans: list[tuple[int, int]] = []
    for span in given:
        if not isinstance(span, Sequence) or len(span) != 2:
            raise Misuse("a span is its first and its last entry")
        first, last = (whole_number(end) for end in span)
        if last < first:
            raise Misuse(f"{first}-{last} holds no entry", "the smaller number comes first")
        spans.append((first, last))
    return spans


def word_of(reason: object) -> str:
    """A reason as the ledger takes it. Raises: Misuse."""
    text = str(reason or ASKED)
    if not _WORD.fullmatch(text):
        raise Misuse(f"{text[:40]!r} is not a word", "a reason has small letters, digits, dots, dashes, slashes; at most 64")
    return text


def events(store: Store, entries: Sequence[int], now_ns: int, actor: str, reason: str, **more: Any) -> tuple[Event, ...]:
    """The events that erase these entries' openings: as few as can name them."""
    meant = set(entries)
    found = ranges((entry, entry in meant) for entry in _with(store.bodied(entries[0], entries[-1]), entries))
    made = []
    for at in range(0, len(found), MAX_RANGES):
        (first, count), *others = found[at : at + MAX_RANGES]
        if count > 1:
            others = [(first + 1, count - 1), *others]
        made.append(Event.of(Kind.BODY_ERASED, now_ns, actor, entry=first, erased=tuple(others) or None, reason=reason, **more))
    return tuple(made)


def check_erasable(store: Store, *spans: tuple[int, int]) -> None:
    """Each of these (first, count) holds an opening, and no turn of the writer gets too long. Raises: Refused."""
    openings = 0
    for first, count in spans:
        found = len(store.bodied(first, min(first + count, store.size()) - 1)) if first < store.size() else 0
        if not found:
            raise Refused(f"entry {first} has no opening, or it was erased", "`tally log` lists the entries")
        openings += found
    if openings > BATCH:
        raise Refused(f"these are {openings} openings; one statement erases {BATCH} at most", "make it several")


def _with(there: Iterable[int], goes: Sequence[int]) -> list[int]:
    """What was erased by somebody else in the meantime is named all the same."""
    return sorted({*there, *goes})


def erase(store: Store, entries: Sequence[int], now_ns: int, actor: str, reason: str, **more: Any) -> Erased:
    """Erase, batch by batch; each is durable and destroyed before the next. Blocks.

    Raises: Unavailable: how far it came, the ledger says; Refused.
    """
    last: int | None = None
    late: Unavailable | None = None
    for at in range(0, len(entries), BATCH):
        try:
            last = store.append(*events(store, entries[at : at + BATCH], now_ns, actor, reason, **more)).result()[-1].index
        except UnfinishedErasureError as error:
            if store.failure is not None:
                raise
            late = error  # it is recorded, and will be finished; the others may as well go now
    if late is not None:
        raise late
    return Erased.of(entries, last)
