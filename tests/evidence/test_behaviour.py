"""The behaviour profile: what is usual for a key, what it learns, what it forgets, and the one form of it."""

import struct
import sys
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse
from tallystick.evidence import behaviour
from tallystick.evidence.behaviour import MAX_BYTES, MIN_SIGNALS, THRESHOLD, UNIT, WINDOW, Peers, Profile, parse, word

OWN = [(word("verb", f"own.{n % 9}"), word("hour", str(n % 3))) for n in range(WINDOW)]
OTHER = [(word("verb", f"other.{n % 9}"), word("hour", str(4 + n % 3))) for n in range(WINDOW)]


def among_peers() -> Profile:
    """A key that was seen for five windows, in a house where another key does other things."""
    peers = Peers()
    stranger, profile = Profile(peers), Profile(peers)
    for _ in range(5):
        for own, other in zip(OWN, OTHER, strict=True):
            stranger.observe(other)
            profile.observe(own)
    return profile


def test_its_own_ways_are_usual_and_those_of_a_peer_are_not() -> None:
    """A window of its own passes; a window of somebody else is low, and teaches nothing."""
    profile = among_peers()
    mine = [profile.observe(each) for each in OWN][-1]
    assert mine.closed and not mine.low and mine.confidence_ppm > 900_000
    before = dict(profile.counts)
    theirs = [profile.observe(each) for each in OTHER][-1]
    assert theirs.closed and theirs.low and theirs.confidence_ppm < 100_000
    assert profile.counts == before
    assert profile.coverage_ppm is not None and profile.coverage_ppm < UNIT


def test_a_new_key_abstains() -> None:
    """Under 200 signals nothing it does is low, however odd; from then on it is judged."""
    profile = Profile(Peers())
    for n in range(MIN_SIGNALS):
        assert profile.abstains
        assert not profile.observe((word("verb", f"v.{n}"),)).low
    assert not profile.abstains
    assert profile.coverage_ppm is None


def test_a_window_moves_a_profile_by_a_twentieth() -> None:
    """What passed is learned at a bounded rate: nothing that was known shrinks by more than 3 %, and a window brings at most one window."""
    profile = among_peers()
    before = dict(profile.counts)
    for each in OWN[:50] + OTHER[:50]:
        profile.observe(each, threshold=2**60)
    assert all(profile.counts[each] >= count * 97 // 100 for each, count in before.items())
    assert sum(profile.counts.values()) <= sum(before.values()) + 2 * WINDOW * UNIT
    assert any(each in profile.counts for words in OTHER[:50] for each in words)


def test_what_a_human_approves_is_learned_fully() -> None:
    """The same window passes afterwards; one that a human denies makes the next one suspect."""
    profile = among_peers()
    assert [profile.observe(each) for each in OTHER][-1].low
    profile.approve(OTHER)
    assert not [profile.observe(each) for each in OTHER][-1].low
    calm = profile.score(OWN[0]).odds
    profile.deny()
    assert profile.score(OWN[0]).odds > calm


def test_what_was_held_is_evidence_and_no_lesson() -> None:
    """A signal that took no effect counts in its window; its words are not learned."""
    profile = among_peers()
    for each in OWN[:-1]:
        profile.observe(each)
    profile.observe(OTHER[0], learn=False)
    assert not set(OTHER[0]) & set(profile.counts)
    assert profile.window_signals == 0


def test_scoring_changes_nothing() -> None:
    """`score` says what `observe` then says."""
    profile = among_peers()
    raw = profile.encode()
    score = profile.score(OTHER[0])
    assert profile.encode() == raw
    assert profile.observe(OTHER[0]) == score


def test_forgetting_leaves_a_new_key_and_the_peers() -> None:
    """Nothing of it is left in it, or among its peers."""
    peers = Peers()
    one, other = Profile(peers), Profile(peers)
    for own, theirs in zip(OWN * 3, OTHER * 3, strict=True):
        one.observe(own)
        other.observe(theirs)
    one.forget()
    assert one.abstains and one.encode() == Profile(Peers()).encode()
    assert peers.counts == other.counts and peers.totals == other.totals


def test_a_profile_takes_64_kilobytes() -> None:
    """Whatever a key sends: words without end in every signal."""
    profile = Profile(Peers())
    for n in range(40 * WINDOW):
        profile.observe(tuple(word(channel, str(n)) for channel in behaviour.CHANNELS), threshold=2**60)
    profile.observe(tuple(word(channel, "x") for channel in behaviour.CHANNELS))
    assert memory_bytes(profile) <= 65_536
    assert len(profile.encode()) <= MAX_BYTES


def memory_bytes(profile: Profile) -> int:
    """Everything a profile holds, its numbers too. Its peers are the house's."""
    held: list[object] = [profile]
    for name in Profile.__slots__:
        value = getattr(profile, name)
        if name == "_peers":
            continue
        held.append(value)
        if isinstance(value, dict):
            held += [*value, *value.values()]
        elif isinstance(value, list):
            held += value
    return sum(sys.getsizeof(each) for each in held)


def test_what_no_signal_has() -> None:
    """Our own callers are told."""
    with pytest.raises(Misuse, match="no channel"):
        word("colour", "red")
    with pytest.raises(Misuse, match="at most 16 words"):
        Profile(Peers()).observe(range(17))
    with pytest.raises(Misuse, match="at most 100 signals"):
        Profile(Peers()).train([(1,)] * 101)


signals = st.lists(st.lists(st.integers(0, 2**32 - 1), max_size=16, unique=True), max_size=40)


@given(st.lists(st.tuples(signals, st.sampled_from(["observe", "held", "approve", "deny"])), max_size=20))
def test_a_profile_has_one_form(said: Sequence[tuple[list[list[int]], str]]) -> None:
    """What was written is read again, goes on in the same way, and the peers know it: after any history."""
    peers = Peers()
    profile = Profile(peers)
    for each, what in said:
        if what == "approve":
            profile.approve(each)
        elif what == "deny":
            profile.deny()
        else:
            for words in each:
                profile.observe(words, learn=what == "observe")
    raw = profile.encode()
    again = parse(raw, other := Peers())
    assert again.encode() == raw
    assert other.counts == peers.counts and other.totals == peers.totals
    assert again.score([1, 2, 3]) == profile.score([1, 2, 3])


def good() -> bytes:
    """A profile with something in every part."""
    profile = among_peers()
    for each in OWN * 9 + OWN[:30]:
        profile.observe(each)
    return profile.encode()


def test_no_other_bytes_are_a_profile() -> None:
    """Cut anywhere, or longer: Malformed, and the peers are as before."""
    raw, peers = good(), Peers()
    assert parse(raw, Peers()).history and parse(raw, Peers()).window
    for size in range(len(raw)):
        with pytest.raises(Malformed):
            parse(raw[:size], peers)
    with pytest.raises(Malformed):
        parse(raw + b"\0", peers)
    assert not peers.counts


HEAD = struct.calcsize(">16sQQiqHHHHQB")


@pytest.mark.parametrize(
    ("at", "new"),
    [
        (0, b"T"),
        (16, b"\0" * 8),  # fewer signals than in its window
        (32, struct.pack(">i", 30 * UNIT + 1)),
        (36, struct.pack(">q", 2**53 + 1)),
        (44, b"\0\x64"),  # a full window is closed
        (HEAD - 1, b"\x41"),
        (HEAD - 9, b"\x80"),  # a window passed that was not looked at
        (HEAD + 4, bytes(8)),
        (HEAD + 4, struct.pack(">Q", 2**40 + 1)),
        (HEAD, b"\xff\xff\xff\xff"),
    ],
)
def test_a_number_no_profile_has(at: int, new: bytes) -> None:
    """One of them is enough."""
    raw = good()
    with pytest.raises(Malformed):
        parse(raw[:at] + new + raw[at + len(new) :], Peers())


def test_a_word_twice_is_malformed() -> None:
    """Words stand once, ascending."""
    raw = good()
    first = raw[HEAD : HEAD + 12]
    with pytest.raises(Malformed):
        parse(raw[:HEAD] + first + first + raw[HEAD + 24 :], Peers())


def test_a_confidence_is_a_half_at_the_threshold() -> None:
    """And falls as the odds rise."""
    confidence = [behaviour.Score(odds, False).confidence_ppm for odds in (-30 * UNIT, 0, THRESHOLD, 30 * UNIT)]
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[2] == 500_000
