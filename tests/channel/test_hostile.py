"""Hostile datagrams in numbers: no answer, no change, no memory (docs/spec/knock.md, sections 5 and 6)."""

import gc
import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel.knock import SILENCE, Admit, Check
from tests.channel.scene import NOW, SECOND, House, seeded


@given(st.one_of(st.binary(max_size=200), st.binary(min_size=108, max_size=108), st.binary(min_size=156, max_size=156)))
def test_any_bytes_are_silence(data: bytes) -> None:
    """Property: whatever is not made with a key of the house changes nothing."""
    house = House()
    before = house.memory()
    for head in (b"", bytes((1, 1, 1, 0)), bytes((2, 1, 2, 0)), bytes((3, 1, 0, 0)), bytes((4, 1, 0, 0))):
        assert house.hears(head + data[len(head) :]) is SILENCE
    assert house.memory() == before


@given(st.integers(-(2**70), 2**70))
def test_any_time_is_survived(now_ns: int) -> None:
    """A clock that jumps anywhere raises nothing, and the house goes on with the latest time it saw."""
    house = House()
    house.hears(house.client.knock().datagram, max(0, min(now_ns, 2**64)))
    house.keeper.tick(max(0, min(now_ns, 2**64)))
    assert house.keeper.now_ns >= NOW


@pytest.mark.slow
def test_a_million_hostile_datagrams_leave_no_trace() -> None:
    """Random, cut, flipped, oversized and replayed datagrams: zero answers, no state, no memory, no Diffie-Hellman."""
    house = House(pairs=4)
    house.add_invite(seeded("invite")[:16])
    dice = random.Random(1)
    genuine = [client.knock(NOW + i).datagram for i, client in enumerate(house.clients)]
    for knock in genuine:
        house.keeper.ended(house.admits(knock).ticket)
    hostile: list[bytes] = []
    for i in range(10_000):
        data = bytearray(genuine[i % 4])
        match i % 10:
            case 0 | 1:
                data = bytearray(dice.randbytes(dice.choice((108, 156, dice.randrange(1500)))))
            case 2 | 3:
                data[4:] = dice.randbytes(104)
            case 4:
                data[20:] = dice.randbytes(88)
            case 5:
                del data[dice.randrange(108) :]
            case 6:
                data += dice.randbytes(dice.randrange(1, 1400))
            case 7:
                data[dice.randrange(108)] ^= 1 << dice.randrange(8)
            case 8:
                data = bytearray((dice.choice((2, 3)), 1, dice.choice((0, 1)), 0)) + data[4:] + bytes(dice.choice((0, 48)))
            case _:
                pass  # replayed as it was
        hostile.append(bytes(data))
    hear, address = house.keeper.receive, ("203.0.113.1", 4)
    for junk in hostile:
        assert hear(junk, address, NOW) is SILENCE
    before = house.memory()
    gc.collect()
    blocks = sys.getallocatedblocks()
    for turn in range(100):
        for junk in hostile:
            if hear(junk, address, NOW + turn) is not SILENCE:
                raise AssertionError(junk.hex())
    gc.collect()
    assert sys.getallocatedblocks() - blocks < 50
    assert house.keeper.counts[Check.HANDSHAKE] == 0 and sum(house.keeper.counts.values()) == 1_010_000
    assert house.keeper.now_ns == NOW + 99
    assert house.memory()[:-1] == before[:-1]
    assert isinstance(house.hears(house.client.knock(NOW + SECOND).datagram, NOW + SECOND), Admit)
