"""The `time?` of a client with a dead clock, and what pair time is (docs/spec/knock.md, section 4)."""

import random

import pytest

from tallystick.channel import datagram as wire
from tallystick.channel.knock import SILENCE, Admit, Check, TimeAnswer
from tallystick.channel.knocker import TimeCounters, ask_time, read_time
from tallystick.channel.pairtime import ClientPairTime
from tallystick.errors import Misuse
from tallystick.primitives import blake2s_keyed
from tests.channel.scene import ADDRESS, NOW, SECOND, House


def asked(house: House, counter: int, now_ns: int = NOW) -> TimeAnswer:
    outcome = house.hears(ask_time(house.client.keys, counter), now_ns)
    assert isinstance(outcome, TimeAnswer), house.keeper.counts
    return outcome


def test_a_client_with_a_dead_clock_learns_the_pair_time() -> None:
    """It asks, gets the time under a MAC, and its next knock is admitted."""
    house = House()
    client = house.client
    clock = ClientPairTime()
    dead = 1_000 * SECOND  # 1970
    time_ns, clock = clock.next(dead)
    assert house.hears(client.knock(time_ns).datagram) is SILENCE
    answer = asked(house, 0)
    assert (answer.pair, answer.next_counter, answer.address, len(answer.answer)) == (1, 1, ADDRESS, 28)
    house_ns = read_time(client.keys, 0, answer.answer)
    assert house_ns == NOW
    clock = clock.taught(house_ns, sent_system_ns=dead + 10, received_system_ns=dead + 30)
    time_ns, clock = clock.next(dead + SECOND)
    assert isinstance(house.hears(client.knock(time_ns).datagram, NOW + SECOND), Admit)


def test_the_question_has_the_size_of_a_knock_and_the_answer_is_shorter() -> None:
    """108 bytes in, 28 out; tag from the counter, zeros, MAC."""
    house = House()
    keys = house.client.keys.to_house
    data = ask_time(house.client.keys, 7)
    assert len(data) == 108 and data[:4] == bytes((3, 1, 0, 0)) and data[20:92] == bytes(72)
    assert data[4:20] == blake2s_keyed(keys.tag, b"time" + (7).to_bytes(8, "big"), 16)
    assert data[92:] == blake2s_keyed(keys.mac, data[:92], 16)


def test_the_house_knows_the_next_two_counters_and_burns_them() -> None:
    """c and c+1 are known; an accepted one is burned with all below it."""
    house = House()
    keys = house.client.keys
    assert house.hears(ask_time(keys, 2)) is SILENCE
    asked(house, 1)
    for burned in (0, 1):
        assert house.hears(ask_time(keys, burned)) is SILENCE
    asked(house, 2)
    asked(house, 4)
    for burned in (2, 3, 4):
        assert house.hears(ask_time(keys, burned)) is SILENCE
    assert house.keeper.counts[Check.TAG] == 6


def test_burned_counters_stay_burned_after_a_restart() -> None:
    """The shell stored `next_counter` before it sent the answer."""
    house = House()
    stored = asked(house, 0).next_counter
    restarted = House(pairs=0, start_ns=NOW + SECOND)
    restarted.add(house.client, next_counter=stored)
    assert restarted.hears(ask_time(house.client.keys, 0), NOW + SECOND) is SILENCE
    assert isinstance(restarted.hears(ask_time(house.client.keys, 1), NOW + SECOND), TimeAnswer)


def test_every_byte_of_a_question_cut_or_flipped_is_silence() -> None:
    """And the counter is not burned by any of them."""
    house = House()
    data = ask_time(house.client.keys, 0)
    before = house.memory()
    for at in range(len(data)):
        assert house.hears(data[:at]) is SILENCE
        for bit in (1, 0x80):
            changed = bytearray(data)
            changed[at] ^= bit
            assert house.hears(bytes(changed)) is SILENCE
    assert house.memory() == before
    asked(house, 0)


def test_a_question_with_padding_that_is_not_zero_is_silence() -> None:
    """One form of the bytes, even under a MAC that fits."""
    house = House()
    body = ask_time(house.client.keys, 0)[:91] + b"\1"
    assert house.hears(body + blake2s_keyed(house.client.keys.to_house.mac, body, 16)) is SILENCE


def test_questions_count_for_the_rate_of_the_pair() -> None:
    """The 65th in one instant is refused and not burned."""
    house = House()
    for counter in range(64):
        asked(house, counter)
    assert house.hears(ask_time(house.client.keys, 64)) is SILENCE
    assert house.keeper.counts[Check.RATE] == 1
    asked(house, 64, NOW + SECOND)


def test_a_removed_pair_is_not_told_the_time() -> None:
    """Severed is silent here too."""
    house = House()
    asked(house, 0)
    house.keeper.remove_pair(1)
    for counter in range(4):
        assert house.hears(ask_time(house.client.keys, counter)) is SILENCE


def test_the_answer_is_for_that_pair_and_that_question_alone() -> None:
    """Another pair, another counter, a flipped or cut byte: no time."""
    house = House(pairs=2)
    answer = asked(house, 0).answer
    keys = house.client.keys
    assert read_time(house.clients[1].keys, 0, answer) is None
    assert read_time(keys, 1, answer) is None
    for at in range(len(answer)):
        changed = bytearray(answer)
        changed[at] ^= 1
        assert read_time(keys, 0, bytes(changed)) is None and read_time(keys, 0, answer[:at]) is None
    assert read_time(keys, 0, answer) == NOW
    assert NOW.to_bytes(8, "big") not in answer


def test_lost_datagrams_never_lock_a_client_out() -> None:
    """Whatever is lost on either way, the client's sweep meets one of the two counters the house knows."""
    dice = random.Random(6)
    for loss in (0.2, 0.5, 0.7):
        house = House()
        client, counters = house.client, TimeCounters()
        for turn in range(60):
            now_ns = NOW + turn * 1000 * SECOND
            for _ in range(2_000):
                counter, counters = counters.next()
                assert counters.sent >= counter  # it was to be stored before sending
                if dice.random() < loss:
                    continue
                outcome = house.hears(ask_time(client.keys, counter), now_ns)
                now_ns += SECOND // 10
                if isinstance(outcome, TimeAnswer) and dice.random() > loss:
                    counters = counters.answered(counter)
                    break
            else:
                raise AssertionError(f"locked out at {loss}")
            if turn % 7 == 0:  # a restart of the client: the place in the sweep is not stored
                counters = TimeCounters(first=counters.first, sent=counters.sent)


def test_the_sweep_of_the_counters() -> None:
    """first ... sent + 1, then from first again; an answer moves first."""
    counters, seen = TimeCounters(), []
    for _ in range(6):
        counter, counters = counters.next()
        seen.append(counter)
    assert seen == [0, 0, 1, 0, 1, 2]
    counters = counters.answered(1)
    assert (counters.first, counters.sent) == (2, 2)
    assert counters.next()[0] == 2


def test_a_counter_is_a_u64() -> None:
    """Others are our caller's fault."""
    keys = House().client.keys
    for counter in (-1, 2**64):
        with pytest.raises(Misuse):
            ask_time(keys, counter)


def test_a_client_never_knocks_twice_with_the_same_nanosecond() -> None:
    """A clock that stands still or goes back still gives later times."""
    clock = ClientPairTime(offset_ns=5)
    times = []
    for system in (100, 100, 90, 200):
        time_ns, clock = clock.next(system)
        times.append(time_ns)
    assert times == [105, 106, 107, 205]


def test_sessions_teach_the_client_its_offset() -> None:
    """The middle of sending and receiving is when the house wrote its time."""
    clock = ClientPairTime().taught(1_000, sent_system_ns=10, received_system_ns=30)
    assert clock.offset_ns == 980
    assert clock.next(40)[0] == 1_020


def test_a_client_that_was_far_ahead_comes_back() -> None:
    """Taught the real time, it does not stay at the wrong one only because it was later."""
    far = 4_102_444_800 * SECOND
    _, clock = ClientPairTime().next(far)
    clock = clock.taught(NOW, sent_system_ns=far, received_system_ns=far)
    time_ns, clock = clock.next(far + SECOND)
    assert time_ns == NOW + SECOND
    near = ClientPairTime(latest_ns=NOW + 5).taught(NOW, sent_system_ns=NOW, received_system_ns=NOW)
    assert near.next(NOW)[0] == NOW + 6  # a little ahead stays: still later than every knock before


def test_the_mask_hides_the_time_and_comes_off_again() -> None:
    """XOR with a keyed hash of the seed; both ways."""
    masked = wire.mask_time(bytes(32), b"e" * 32, NOW)
    assert masked != NOW.to_bytes(8, "big") and wire.unmask_time(bytes(32), b"e" * 32, masked) == NOW
