"""Provenance: one step further than the rows of the predecessors; within its limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.gate.provenance import MAX_DEPTH, MAX_SIGNERS, OUT_OF_NOWHERE, UNKNOWN, Link, Unlinked, check_reference, link
from tallystick.gate.signal import EntryRef
from tests.gate.world import seed

HOUSE, OWN, ORIGIN = seed("the house"), seed("own"), seed("origin")


class Row:
    def __init__(self, key: bytes, signers: tuple[bytes, ...] = (), depth: int = 0) -> None:
        self.key, self.signers, self.depth = key, signers, depth


def test_a_step_takes_all_that_is_behind() -> None:
    a, b, c = sorted(seed(name) for name in "abc")
    assert link(OWN, [Row(a, (b, c), 4), Row(b), Row(OWN, (a,), 2)], HOUSE) == Link((a, b, c), 5)
    assert link(OWN, [], HOUSE) == Link()


def test_the_house_is_a_link_and_no_signer() -> None:
    assert link(OWN, [Row(HOUSE, (seed("a"),), 1)], HOUSE) == Link((seed("a"),), 2)


def test_what_the_house_completes_counts_with_what_the_sender_names() -> None:
    found = link(OWN, [Row(seed("a"))], HOUSE, OUT_OF_NOWHERE)
    assert found.unknown and set(found.signers) == {UNKNOWN, seed("a")}
    assert not link(OWN, [Row(seed("a"))], HOUSE).unknown


def test_what_nobody_recorded_is_refused() -> None:
    with pytest.raises(Unlinked) as caught:
        link(OWN, [Row(seed("a")), None], HOUSE)
    assert caught.value.word == "unknown-predecessor"


@pytest.mark.parametrize(
    "reference", [EntryRef(ORIGIN, 10), EntryRef(ORIGIN, 2**63 - 1), EntryRef(seed("another log"), 0), EntryRef(bytes(32), 3)]
)
def test_entries_of_the_future_and_of_other_logs_are_refused(reference: EntryRef) -> None:
    with pytest.raises(Unlinked):
        check_reference(reference, origin=ORIGIN, size=10)
    check_reference(EntryRef(ORIGIN, 9), origin=ORIGIN, size=10)
    check_reference(seed("a signal"), origin=ORIGIN, size=0)


def test_breadth_and_depth_have_limits() -> None:
    keys = [seed(f"key {number}") for number in range(MAX_SIGNERS + 1)]
    assert len(link(OWN, [Row(key) for key in keys[:-1]], HOUSE).signers) == MAX_SIGNERS
    for too_much in ([Row(key) for key in keys], [Row(keys[0], (), MAX_DEPTH)]):
        with pytest.raises(Unlinked) as caught:
            link(OWN, too_much, HOUSE)
        assert caught.value.word == "limits"
    assert link(OWN, [Row(keys[0], (), MAX_DEPTH - 1)], HOUSE).depth == MAX_DEPTH


names = st.sampled_from([seed(name) for name in "abcdef"] + [OWN, HOUSE, UNKNOWN])


@given(st.lists(st.tuples(names, st.sets(names), st.integers(0, MAX_DEPTH - 1)), max_size=8))
def test_signers_are_all_others_ascending_and_once(rows: list[tuple[bytes, set[bytes], int]]) -> None:
    found = link(OWN, [Row(key, tuple(sorted(signers)), depth) for key, signers, depth in rows], HOUSE)
    everyone = {key for key, _, _ in rows} | {each for _, signers, _ in rows for each in signers}
    assert found.signers == tuple(sorted(everyone - {OWN, HOUSE}))
    assert found.depth == max((depth + 1 for _, _, depth in rows), default=0)
