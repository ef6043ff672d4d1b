"""Numbers: a connection's machine signals have no gap, and no number is taken twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.gate.stream import Numbering, StreamBook, machine_stream
from tallystick.primitives import sha256
from tests.gate.world import HUMAN, MACHINE, proven, seed, signal

H = seed("handshake")
BOOK = StreamBook.of(machine=MACHINE.public.key_id, handshake_hash=H)
STREAM = machine_stream(H)


def test_the_machine_stream_follows_from_the_first_handshake() -> None:
    """16 bytes of SHA-256 with its label; another connection is another stream."""
    assert sha256(b"tally stream v1" + H)[:16] == STREAM == BOOK.stream
    assert machine_stream(seed("another")) != STREAM


def test_numbers_count_from_zero_without_gap() -> None:
    """0, 1, 2; a number again, one too many or another stream is a gap, and the book stays where it was."""
    book = BOOK
    for n in range(3):
        for wrong in (n + 1, n + 2, n - 1):
            if wrong >= 0:
                same, numbering = book.take(proven(signal(stream=STREAM, n=wrong)), None)
                assert (same, numbering) == (book, Numbering.GAP)
        same, numbering = book.take(proven(signal(stream=seed("x")[:16], n=n)), None)
        assert (same, numbering) == (book, Numbering.GAP)
        book, numbering = book.take(proven(signal(stream=STREAM, n=n)), None)
        assert numbering is Numbering.NEW
        assert book.next_n == n + 1


def test_a_number_that_is_taken_is_a_replay_or_a_fork() -> None:
    """The same statement again is a replay; another statement under the number is a fork."""
    first = proven(signal(stream=STREAM))
    other = proven(signal(stream=STREAM, verb="archive.rm"))
    assert BOOK.take(first, first.structure_hash) == (BOOK, Numbering.REPLAY)
    assert BOOK.take(other, first.structure_hash) == (BOOK, Numbering.FORK)


def test_the_same_statement_signed_twice_is_no_fork() -> None:
    """A fork is judged by what was signed, not by signature bytes: a second signature over the same statement is a replay."""
    one, two = proven(signal(stream=STREAM), HUMAN), proven(signal(stream=STREAM), HUMAN)
    assert one.structure_hash == two.structure_hash
    assert BOOK.take(two, one.structure_hash)[1] is Numbering.REPLAY


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=5))
def test_other_keys_come_out_of_order(numbers: list[int]) -> None:
    """A human's or a camera's signals over the same pair may have any number and stream, once each."""
    for n in numbers:
        for claims in (signal(signal_class="human", n=n), signal(n=n)):
            assert BOOK.take(proven(claims, HUMAN), None) == (BOOK, Numbering.NEW)


@pytest.mark.parametrize("signal_class", ["human", "sensor", "cron"])
def test_the_machines_key_may_sign_for_other_classes(signal_class: str) -> None:
    """Whether it may is for the matrix; its numbers are only gapless in class machine."""
    assert BOOK.take(proven(signal(signal_class=signal_class, n=9)), None) == (BOOK, Numbering.NEW)
