"""Which entries an erasure is about."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tallystick.ledger.erasure import Spans, covered, ranges, ranges_of
from tallystick.ledger.event import Event, Kind


def test_an_erasure_names_one_entry_and_ranges_besides() -> None:
    """The entry itself comes first; a range without entries says nothing."""
    event = Event.of(Kind.BODY_ERASED, 1, entry=7, erased=((9, 3), (20, 0), (30, 1)), reason="asked")
    assert ranges_of(event) == ((7, 1), (9, 3), (30, 1))
    assert list(covered(event)) == [(7, 7), (9, 11), (30, 30)]
    assert ranges_of(Event.of(Kind.BODY_ERASED, 1, entry=7, reason="asked")) == ((7, 1),)


@given(st.dictionaries(st.integers(0, 200), st.booleans(), max_size=60))
def test_ranges_hold_what_goes_and_nothing_that_stays(bodies: dict[int, bool]) -> None:
    """Every opening that goes lies in a range, none that stays does, and two ranges have one that stays between them."""
    found = ranges(sorted(bodies.items()))
    spans = Spans((first, first + count - 1) for first, count in found)
    assert all((entry in spans) == goes for entry, goes in bodies.items())
    for (first, count), (following, _) in pairwise(found):
        assert any(first + count <= entry < following and not goes for entry, goes in bodies.items())


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 30)), max_size=20), st.integers(-1, 140))
def test_spans_may_overlap(found: list[tuple[int, int]], entry: int) -> None:
    """An entry is in them when it is in one of them."""
    spans = [(first, first + length) for first, length in found]
    assert (entry in Spans(spans)) == any(first <= entry <= last for first, last in spans)
