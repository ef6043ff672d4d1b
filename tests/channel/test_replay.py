"""The memory of accepted knocks and the limits of a pair (docs/spec/knock.md, section 5)."""

import random

from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel.limits import BURST, PENDING_ALL, PENDING_NS, PENDING_PER_PAIR, Activity, Pending
from tallystick.channel.replay import CAPACITY, Replay
from tests.channel.scene import NOW, SECOND, seeded


def mac(number: int) -> bytes:
    return seeded("mac", number)[:16]


def test_a_remembered_knock_is_not_admitted() -> None:
    """By its MAC; another MAC of the same time is."""
    memory = Replay()
    assert memory.admits(mac(1), 5)
    memory.remember(mac(1), 5)
    assert not memory.admits(mac(1), 5) and memory.admits(mac(2), 5)


def test_the_oldest_leaves_and_its_time_becomes_the_floor() -> None:
    """Oldest by time, in whatever order they came."""
    memory = Replay()
    for number in (3, 1, 2, *range(4, CAPACITY + 1)):
        memory.remember(mac(number), number)
    assert memory.floor_ns == -1 and len(memory) == CAPACITY
    memory.remember(mac(900), 900)
    assert memory.floor_ns == 1 and len(memory) == CAPACITY
    assert not memory.admits(mac(1), 1) and not memory.admits(mac(901), 1) and memory.admits(mac(902), 2)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 600)), max_size=700))
def test_nothing_is_ever_admitted_twice(knocks: list[tuple[int, int]]) -> None:
    """Whatever the order and the times, and however long ago; and the memory stays bounded."""
    memory = Replay()
    accepted: set[tuple[bytes, int]] = set()
    for number, time_ns in knocks:
        name = mac(number * 1000 + time_ns)  # a MAC covers the time: one MAC, one time
        if memory.admits(name, time_ns):
            assert (name, time_ns) not in accepted
            accepted.add((name, time_ns))
            memory.remember(name, time_ns)
    assert len(memory) <= CAPACITY


def test_the_rate_recovers_one_turn_each_50_ms() -> None:
    """After the burst exactly 20 a second."""
    activity = Activity()
    assert sum(activity.take_turn(NOW) for _ in range(100)) == BURST
    assert sum(activity.take_turn(NOW + i * SECOND // 1000) for i in range(1, 10_001)) == 200
    assert sum(activity.take_turn(NOW + 100 * SECOND) for _ in range(100)) == BURST


def test_a_clock_that_stands_still_gives_no_turns() -> None:
    """A refused turn costs nothing and changes nothing."""
    activity = Activity()
    while activity.take_turn(NOW):
        pass
    assert not any(activity.take_turn(NOW) for _ in range(10))
    assert activity.take_turn(NOW + SECOND // 20)


def test_pending_connects_are_counted_and_end_by_themselves() -> None:
    """Random begins and ends: never more than allowed, and nothing is left after 3 s."""
    dice = random.Random(3)
    pending, activities, tickets = Pending(), [Activity() for _ in range(100)], []
    now = NOW
    for _ in range(5_000):
        now += dice.randrange(PENDING_NS // 200)
        pending.expire(now)
        activity = dice.choice(activities)
        if pending.has_room(activity):
            tickets.append(pending.begin(activity, now))
        if tickets and dice.random() < 0.3:
            pending.end(tickets.pop(dice.randrange(len(tickets))))
        assert len(pending) <= PENDING_ALL and all(0 <= each.pending <= PENDING_PER_PAIR for each in activities)
        assert sum(each.pending for each in activities) == len(pending)
    pending.expire(now + PENDING_NS)
    assert len(pending) == 0 and not any(each.pending for each in activities)
