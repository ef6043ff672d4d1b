"""Knocking, modes, lost datagrams, dead clocks: the client's side of docs/spec/knock.md."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tallystick.channel.datagram import Mode
from tallystick.errors import Refused, Unavailable
from tallystick.node.client import HouseSession
from tallystick.node.dialling import addresses_of, dial, keep_addresses
from tallystick.node.memory import Memory
from tallystick.node.pairclock import InviteClock, PairClock
from tallystick.passage.effect import secret_name
from tests.node.bare_house import BareHouse
from tests.node.village import Village, village

DAY_NS = 24 * 3600 * 10**9


def with_house(tmp_path: Path, house: Callable[[int], BareHouse], scene: Callable[[Village, BareHouse], Awaitable[None]]) -> None:
    """Pair a laptop with a real house, put a bare one in its place, and play."""

    async def play() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.house.stop()
            bare = house(found.house.port)
            async with bare.open(found, "laptop"):
                await scene(found, bare)

    asyncio.run(play())


async def greet(found: Village) -> HouseSession:
    """Open a session and ask something."""
    session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
    assert await session.get_json("/v1/ping", verb="pair.ping") == {}
    await session.close()
    return session


def test_an_answer_that_does_not_open_is_nothing(tmp_path: Path) -> None:
    """Forged answers before the genuine one change nothing, and reading goes on."""

    async def scene(found: Village, house: BareHouse) -> None:
        await greet(found)
        assert house.knocks == {Mode.OPEN: 1}

    with_house(tmp_path, lambda port: BareHouse(port, forgeries=20), scene)


def test_a_lost_datagram_costs_another_knock_in_the_same_mode(tmp_path: Path) -> None:
    """Two lost knocks are repaired within the 500 ms of the first mode."""

    async def scene(found: Village, house: BareHouse) -> None:
        began = time.monotonic()
        session = await greet(found)
        assert time.monotonic() - began < 0.6
        assert house.knocks == {Mode.OPEN: 3}
        assert session.mode is Mode.OPEN

    with_house(tmp_path, lambda port: BareHouse(port, lose=2), scene)


def test_unconfirmed_the_client_knocks_with_the_next_mode_and_remembers_it(tmp_path: Path) -> None:
    """Deaf to modes 1 and 2, the house is reached in mode 3; from this network mode 3 is then tried first."""

    async def scene(found: Village, house: BareHouse) -> None:
        began = time.monotonic()
        assert (await greet(found)).mode is Mode.MOMENTARY
        assert 0.9 < time.monotonic() - began < 2
        house.knocks.clear()
        assert (await greet(found)).mode is Mode.MOMENTARY
        assert house.knocks == {Mode.MOMENTARY: 1}

    with_house(tmp_path, lambda port: BareHouse(port, deaf_to=frozenset({Mode.OPEN, Mode.FILTERED})), scene)


def test_an_answer_without_a_connection_goes_on_to_the_next_mode(tmp_path: Path) -> None:
    """Mode 1 is answered but refused on TCP, as behind a NAT that rewrites ports: mode 2 follows."""

    async def scene(found: Village, house: BareHouse) -> None:
        assert (await greet(found)).mode is Mode.FILTERED

    with_house(tmp_path, lambda port: BareHouse(port, walled=frozenset({Mode.OPEN})), scene)


def test_the_house_may_answer_with_the_signed_mode(tmp_path: Path) -> None:
    """A house without the capability takes mode 4 on a knock of mode 1: the connection opens under a TCP-MD5 key."""

    async def scene(found: Village, house: BareHouse) -> None:
        session = await greet(found)
        assert (session.mode, session.dialled.asked) == (Mode.SIGNED, Mode.OPEN)
        assert session.visibility == "nobody: no port was open"

    with_house(tmp_path, lambda port: BareHouse(port, signed=True), scene)


def test_walls_in_every_mode_are_told_apart_from_silence(tmp_path: Path) -> None:
    """When the house answers and no connection opens, the hint speaks of firewalls and not of a pair that is gone."""

    async def scene(found: Village, house: BareHouse) -> None:
        with pytest.raises(Unavailable) as caught:
            await dial(found.member("laptop"), found.pair_of("laptop"), timeout_s=1.5)
        assert "answers" in caught.value.message
        assert "firewall" in caught.value.hint

    with_house(tmp_path, lambda port: BareHouse(port, walled=frozenset(Mode)), scene)


def test_silence_says_what_it_may_mean(tmp_path: Path) -> None:
    """A house that answers nothing: after the time allowed one error, whose hint names the three reasons."""

    async def scene(found: Village, house: BareHouse) -> None:
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            await dial(found.member("laptop"), found.pair_of("laptop"), timeout_s=1)
        assert 0.9 < time.monotonic() - began < 1.5
        assert "attic" in caught.value.message and "off" in caught.value.hint and "stand" in caught.value.hint

    with_house(tmp_path, lambda port: BareHouse(port, deaf_to=frozenset(Mode)), scene)


@pytest.mark.parametrize("ahead_ns", [400 * DAY_NS, -400 * DAY_NS], ids=["dead clock", "clock in the future"])
def test_a_dead_clock_asks_for_the_time_and_knocks_again(ahead_ns: int, tmp_path: Path) -> None:
    """Nothing answers a client a year off; it asks for the pair's time, learns its offset, and the next session needs no question."""

    async def scene(found: Village, house: BareHouse) -> None:
        await greet(found)
        assert house.questions == 1
        assert abs(PairClock(found.member("laptop").memory, found.pair_of("laptop").pairing).offset_ns - ahead_ns) < 5 * 10**9
        await greet(found)
        assert house.questions == 1

    with_house(tmp_path, lambda port: BareHouse(port, ahead_ns=ahead_ns), scene)


def test_lost_time_answers_lock_nobody_out(tmp_path: Path) -> None:
    """Each question's counter is stored before it leaves; when answers are lost, a later question finds the counter the house knows."""

    async def scene(found: Village, house: BareHouse) -> None:
        await greet(found)
        assert house.questions == 3
        row = found.member("laptop").memory.get(f"asked/{found.pair_of('laptop').pairing.hex()}")
        assert row == [3, 2]

    with_house(tmp_path, lambda port: BareHouse(port, ahead_ns=30 * DAY_NS, lose_times=2), scene)


def test_a_pong_teaches_a_small_offset_too(tmp_path: Path) -> None:
    """A house 30 s ahead answers at once; the pong of the session corrects the clock."""

    async def scene(found: Village, house: BareHouse) -> None:
        await greet(found)
        assert house.questions == 0
        clock = PairClock(found.member("laptop").memory, found.pair_of("laptop").pairing)
        assert abs(clock.offset_ns - 30 * 10**9) < 2 * 10**9

    with_house(tmp_path, lambda port: BareHouse(port, ahead_ns=30 * 10**9), scene)


def test_the_first_address_that_connects_wins_and_is_remembered(tmp_path: Path) -> None:
    """An address where nobody lives costs a quarter of a second, once."""

    async def scene(found: Village, house: BareHouse) -> None:
        laptop, pair = found.member("laptop"), found.pair_of("laptop")
        keep_addresses(laptop, pair.pairing, [("127.0.0.9", 9), ("127.0.0.1", house.port)])
        began = time.monotonic()
        await greet(found)
        assert 0.2 < time.monotonic() - began < 0.6
        assert addresses_of(laptop, pair.pairing)[0] == ("127.0.0.1", house.port)
        began = time.monotonic()
        await greet(found)
        assert time.monotonic() - began < 0.2

    with_house(tmp_path, lambda port: BareHouse(port), scene)


def test_a_fixed_mode_is_the_only_one(tmp_path: Path) -> None:
    """`mode = 2` knocks with 2 and with nothing else."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop", mode="2")
            session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
            assert session.dialled.asked is Mode.FILTERED
            await session.close()

    asyncio.run(scene())


def test_a_pair_whose_secret_is_gone_is_broken_and_recorded(tmp_path: Path) -> None:
    """Without its secret a pair cannot knock; that is recorded, and said."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop")
            laptop = found.member("laptop")
            laptop.vault.delete_secret(secret_name(pair.pairing))
            with pytest.raises(Refused):
                await dial(laptop, pair)
            assert found.pair_of("laptop").state == "broken"

    asyncio.run(scene())


def test_a_cancelled_dial_leaves_no_socket_open(tmp_path: Path) -> None:
    """Giving up in the middle closes every port and socket."""

    async def scene(found: Village, house: BareHouse) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for pause in (0.0, 0.01, 0.2, 0.7):
            task = asyncio.create_task(dial(found.member("laptop"), found.pair_of("laptop")))
            await asyncio.sleep(pause)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(os.listdir("/proc/self/fd")) <= before

    with_house(tmp_path, lambda port: BareHouse(port, deaf_to=frozenset(Mode)), scene)


# --- The clock of one pair -------------------------------------------------------------------------------------------------


def test_no_nanosecond_is_given_twice(tmp_path: Path) -> None:
    """Eight threads with a clock each, as eight processes would have: every time is new, and later ones are greater."""
    times: list[int] = []

    def knock() -> None:
        clock = PairClock(Memory(tmp_path / "memory"), bytes(32))
        for _ in range(50):
            times.append(clock.next_ns())

    threads = [threading.Thread(target=knock) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(times)) == 400


def test_a_clock_set_back_still_gives_later_times(tmp_path: Path) -> None:
    """What was given before is in the memory: a process that starts with an earlier clock goes on after it."""
    memory = Memory(tmp_path / "memory")
    future = time.time_ns() + DAY_NS
    memory.times.change(bytes(32), lambda _: future)
    assert PairClock(memory, bytes(32)).next_ns() == future + 1


def test_counters_are_shared_and_never_fall(tmp_path: Path) -> None:
    """Two clocks of one pair ask with first, first + 1, ... up to sent + 1; what one of them learned the other goes on from."""
    memory = Memory(tmp_path / "memory")
    one, two = PairClock(memory, bytes(32)), PairClock(memory, bytes(32))
    assert [one.question(), two.question(), one.question(), one.question()] == [0, 0, 0, 1]
    one.answered(1)
    assert two.question() == 2
    assert PairClock(memory, bytes(32)).question() == 2


def test_an_invite_is_tried_at_several_times_when_the_clock_is_dead() -> None:
    """A right clock gives its own time; one outside the invite's life gives times that cover it, each of them new."""
    now = time.time_ns()
    assert len(InviteClock(now + 300 * 10**9).times()) == 1
    dead = InviteClock(now + DAY_NS)
    first, second = dead.times(), dead.times()
    assert len(first) > 1
    assert not set(first) & set(second)
