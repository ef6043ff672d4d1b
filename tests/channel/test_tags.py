"""The tag tables: who is found, what a turn of the window costs, what a million pairs weigh (docs/spec/knock.md, section 5)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel import knock
from tallystick.channel.datagram import WINDOW_NS, window_tag
from tallystick.channel.knock import FILL_BUDGET, SILENCE, Admit, Check
from tallystick.channel.tags import TagTable, Windows, find
from tests.channel.scene import NOW, Client, House, seeded


@given(st.dictionaries(st.binary(min_size=16, max_size=16), st.integers(1, 2**32 - 1), max_size=300), st.integers(0, 400))
def test_a_table_finds_what_was_entered_and_nothing_else(content: dict[bytes, int], expected: int) -> None:
    """Like a dict, through all its growing."""
    table = TagTable(expected)
    for tag, number in content.items():
        table.insert(tag, number)
    assert table.count == len(content)
    for tag, number in content.items():
        assert find(tag, (table.view,)) == (number, 0)
        other = bytes((tag[0] ^ 1,)) + tag[1:]
        assert find(other, (TagTable().view, table.view)) == ((content[other], 1) if other in content else None)


def test_tags_that_share_a_place_are_all_found() -> None:
    """Equal low words, different high words: linear probing compares all 128 bits."""
    table = TagTable()
    for number in range(1, 40):
        table.insert(bytes(8) + number.to_bytes(8, "little"), number)
    found = [find(bytes(8) + number.to_bytes(8, "little"), (table.view,)) for number in range(1, 41)]
    assert found == [*((number, 0) for number in range(1, 40)), None]


def test_every_pair_is_found_while_the_windows_turn() -> None:
    """2,000 pairs, ten windows, small slices of work, pairs that come and go: each knock finds its pair."""
    dice = random.Random(9)
    house = House(pairs=300)
    gone: set[int] = set()
    now = NOW
    for step in range(60):
        now += WINDOW_NS // 6
        while house.keeper.tick(now, 64):
            pass
        newcomer = Client(1_000 + step, house.static.public)
        house.clients.append(newcomer)
        house.add(newcomer)
        leaver = dice.choice(house.clients)
        gone.add(leaver.number)
        house.keeper.remove_pair(leaver.number)
        for client in (*dice.sample(house.clients, 5), newcomer, leaver):
            outcome = house.hears(client.knock(now + dice.randrange(1000)).datagram, now)
            assert isinstance(outcome, Admit) is (client.number not in gone)
            if isinstance(outcome, Admit):
                house.keeper.ended(outcome.ticket)


def test_the_order_forgets_those_who_left() -> None:
    """Hundreds of pairs come and go: what is kept is in proportion to those who stand."""
    house = House(pairs=3)
    for number in range(10, 600):
        client = Client(number, house.static.public)
        house.keeper.add_pair(
            number,
            keys=house.client.keys,
            client_static=house.client.static.public,
            pair_type=client.pair_type,
            suite=client.suite,
        )
        house.keeper.remove_pair(number)
    assert len(house.keeper._order) < 200
    house.admits(house.clients[2].knock().datagram)


def test_tags_are_computed_ahead_in_slices() -> None:
    """A call of `tick` computes at most its budget; when the window turns the current and the next tags are there already."""
    house = House(pairs=0)
    made: list[tuple[int, int]] = []

    def make(number: int, window: int) -> bytes:
        made.append((number, window))
        return seeded(number, window)[:16]

    windows = Windows(range(1, 1001), make, NOW)
    while windows.fill(FILL_BUDGET) == 0:
        assert len(made) % FILL_BUDGET == 0
    assert len(made) == 4000
    now = windows.turn_ns
    windows.turn(now)
    before = len(made)
    for window in (now // WINDOW_NS - 1, now // WINDOW_NS, now // WINDOW_NS + 1):
        assert windows.find(seeded(777, window)[:16]) == (777, window)
    assert len(made) == before  # nothing had to be computed at the turn
    assert windows.fill(2000) == 1000
    assert house.keeper.tick(NOW) is False


def test_after_a_long_sleep_the_tags_of_now_come_first() -> None:
    """A house that slept through many windows serves the current one after the first slice."""
    house = House(pairs=FILL_BUDGET)
    now = NOW + 1000 * WINDOW_NS
    assert house.hears(b"", now) is SILENCE
    house.admits(house.clients[-1].knock(now).datagram, now)
    assert house.keeper.tick(now) is True


def test_activity_is_forgotten_when_its_windows_are_over() -> None:
    """What a pair did lately is dropped once no window would let it in again; replays stay refused."""
    house = House(pairs=50)
    knocks = [client.knock().datagram for client in house.clients]
    for data in knocks:
        house.keeper.ended(house.admits(data).ticket)
    assert len(house.keeper._active) == 50
    house.keeper.tick(NOW + 4 * WINDOW_NS)
    while house.keeper.tick(NOW + 4 * WINDOW_NS):
        pass
    house.keeper.tick(NOW + 4 * WINDOW_NS)
    assert len(house.keeper._active) == 0
    assert all(house.hears(data, NOW + 4 * WINDOW_NS) is SILENCE for data in knocks)
    assert house.keeper.counts[Check.TAG] == 50


def test_the_tag_of_a_window_depends_on_key_and_window() -> None:
    """Another key or window, another tag: nobody without the key can link two windows of one pair."""
    keys, windows = [seeded("tag", i) for i in range(20)], range(20)
    assert len({window_tag(key, window) for key in keys for window in windows}) == 400


def test_prepared_handshakes_are_kept_for_the_pairs_used_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bounded number; a pair whose state was dropped is answered all the same."""
    monkeypatch.setattr(knock, "PREPARED_STATES", 3)
    house = House(pairs=5)
    for turn in range(2):
        for client in house.clients:
            now = NOW + turn
            house.keeper.ended(house.admits(client.knock(now).datagram, now).ticket)
            assert len(house.keeper._prepared) <= 3
    assert list(house.keeper._prepared) == [3, 4, 5]
