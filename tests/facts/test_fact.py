"""Values and places of facts: one form each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Value, encode
from tallystick.errors import Malformed, Misuse
from tallystick.facts.fact import LATITUDE_E7, LONGITUDE_E7, MAX_RADIUS_M, Point, place_value, read_place, read_value, write_value

VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(min_size=1, max_size=256).filter(str.isprintable)


@given(VALUES)
def test_a_value_is_read_as_written(value: Value) -> None:
    """And with its type: 1 is not true."""
    again = read_value(write_value(value))
    assert again == value and type(again) is type(value)


@pytest.mark.parametrize(
    "value", ["", "x" * 257, "two\nlines", "\u202eturned", None, b"bytes", [1], {1: 1}, 2**63], ids=lambda value: ascii(value)[:12]
)
def test_what_is_no_value(value: Value) -> None:
    """Neither read nor written."""
    with pytest.raises(Malformed):
        read_value(encode(value))
    with pytest.raises(Misuse):
        write_value(value)


@given(st.binary(max_size=40))
def test_any_bytes_are_one_value_or_malformed(raw: bytes) -> None:
    """What is read is written as the same bytes."""
    try:
        value = read_value(raw)
    except Malformed:
        return
    assert write_value(value) == raw


@given(
    st.builds(Point, st.integers(-LATITUDE_E7, LATITUDE_E7), st.integers(-LONGITUDE_E7, LONGITUDE_E7), st.integers(0, MAX_RADIUS_M))
    | st.text(min_size=1, max_size=64).filter(str.isprintable)
)
def test_a_place_is_read_as_written(place: Point | str) -> None:
    """A point or a name."""
    assert read_place(place_value(place)) == place


@pytest.mark.parametrize(
    "value",
    [
        *("", "x" * 65, "a\tb", None, 5, [], [1, 2], [1, 2, 3, 4], [True, 2, 3], [1, 2, "3"], [1, 2, -1]),
        *([LATITUDE_E7 + 1, 0, 0], [0, -LONGITUDE_E7 - 1, 0], [0, 0, MAX_RADIUS_M + 1], [b"1", 2, 3], {0: 1}),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_what_is_no_place(value: Value) -> None:
    """Any other value."""
    with pytest.raises(Malformed):
        read_place(value)
