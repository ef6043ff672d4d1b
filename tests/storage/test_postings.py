"""The index by spans: it finds what a look at every entry finds, in both orders, from few places and from many."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Unavailable
from tallystick.storage import schema
from tallystick.storage.postings import COLUMNS, POSTED, find, mark_number, post

SPANS: Final = 3
COUNTS: Final = (1, 2, 30, 63, 64, 65, 500, 1023)  # how many of a span have the value: below 64 they are numbered


def life() -> list[tuple[Any, ...]]:
    """Columns of three spans: some values once, some everywhere, some at the border between the two ways to write them."""
    dice = random.Random(5)
    rows: list[list[Any]] = [[31, None, None, None, None, "allow", None] for _ in range(SPANS * POSTED)]
    for span in range(SPANS):
        for number, count in enumerate(COUNTS):
            for at in dice.sample(range(POSTED), count):
                rows[span * POSTED + at][number % 5] = (32, number, number, number, f"verb.{number}")[number % 5]
        for at in dice.sample(range(POSTED), 9):
            rows[span * POSTED + at][5:] = ["refuse", dice.randrange(-(2**63), 2**63)]
    return [tuple(row) for row in rows]


LIFE: Final = life()
VALUES: Final = [(col, value) for name, col in COLUMNS.items() for value in {row[col - 1] for row in LIFE} - {None, "allow"}]


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[apsw.Connection]:
    """A database with the index of that life."""
    path: Path = tmp_path_factory.mktemp("postings") / "x.sqlite"
    made = apsw.Connection(str(path))
    schema.create(made)
    for span in range(SPANS):
        post(made, span, LIFE[span * POSTED : (span + 1) * POSTED])
    yield made
    made.close()


choices = st.lists(st.sampled_from(VALUES), min_size=1, max_size=3)


@settings(max_examples=150)
@given(
    filters=st.lists(choices, min_size=1, max_size=3),
    bounds=st.tuples(st.integers(0, SPANS * POSTED), st.integers(0, SPANS * POSTED)),
    newest=st.booleans(),
)
def test_the_index_finds_what_a_look_at_every_entry_finds(
    db: apsw.Connection, filters: list[list[tuple[int, Any]]], bounds: tuple[int, int], newest: bool
) -> None:
    """Any of these values, and any of those, between two entries."""
    first, last = sorted(bounds)
    expected = [at for at in range(first, last) if all(any(LIFE[at][col - 1] == value for col, value in some) for some in filters)]
    if newest:
        expected.reverse()
    assert list(find(db, filters, first, last, newest_first=newest)) == expected


def test_few_places_are_numbers_and_many_are_bits(db: apsw.Connection) -> None:
    """As docs/spec/state.md says; a value that every entry of the span has is 128 bytes of ones. `allow` and nothing are not indexed."""
    rows = list(db.execute("SELECT col, value, span, places FROM postings"))
    for col, value, span, places in rows:
        at = [at for at, row in enumerate(LIFE[span * POSTED : (span + 1) * POSTED]) if row[col - 1] == value]
        if len(at) < 64:
            assert places == b"".join(place.to_bytes(2, "big") for place in at)
        else:
            assert places == sum(1 << place for place in at).to_bytes(128, "little")
    assert {(col, value) for col, value, _, _ in rows} == set(VALUES)


@pytest.mark.parametrize("places", [b"\0", bytes(127), bytes(129), b"\x04\0", bytes(5_000)])
def test_a_damaged_row_is_named(tmp_path: Path, places: bytes) -> None:
    """Places that cannot be: an odd length, a length between the two forms, a place outside the span."""
    db = apsw.Connection(str(tmp_path / "x.sqlite"))
    schema.create(db)
    db.execute("INSERT INTO postings VALUES (1, 31, 0, ?)", (places,))
    with pytest.raises(Unavailable, match="damaged"):
        list(find(db, [[(1, 31)]], 0, POSTED))
    db.close()


def test_marks_have_rows_of_their_own(db: apsw.Connection) -> None:
    """One for each signal, whatever others have the same mark."""
    assert sorted(db.execute("SELECT mark, idx FROM marks")) == sorted((row[6], at) for at, row in enumerate(LIFE) if row[6] is not None)


@given(st.binary(min_size=32, max_size=32))
def test_a_mark_is_the_beginning_of_a_hash(signature_hash: bytes) -> None:
    """Eight bytes as a number that SQLite can hold."""
    number = mark_number(signature_hash)
    assert -(2**63) <= number < 2**63
    assert number.to_bytes(8, "big", signed=True) == signature_hash[:8]
