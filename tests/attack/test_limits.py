"""What one pair may ask is bounded, and nobody else pays for it (docs/spec/door.md, section 4)."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tallystick.ledger.event import Event, Kind
from tallystick.node.client import HouseSession, TooOften
from tallystick.node.rates import BURST_S, LONG_S, QUIET_S, Burst, Rates
from tallystick.node.remote import HouseClient
from tallystick.node.turns import AT_ONCE, Turns
from tallystick.pair.pairing import PairType
from tests.attack.rogue import Rogue
from tests.node.village import Village, village

A, B = b"a" * 32, b"b" * 32
RATES = {PairType.ADMIN: 0, PairType.INPUT: 10, PairType.USER: 4, PairType.INTERFACE: 1}


@dataclass
class Clock:
    """A clock that goes when it is told to."""

    now: float = 0.0

    def seconds(self) -> float:
        return self.now

    def ns(self) -> int:
        return int(self.now * 1e9)


def rates() -> tuple[Rates, Clock]:
    clock = Clock()
    return Rates(RATES, clock.ns, clock.seconds), clock


def taken(found: Rates, pair: bytes, cap: PairType, asked: int) -> int:
    """How many of so many commands are taken at once."""
    return sum(found.take(pair, cap) == 0 for _ in range(asked))


@pytest.mark.parametrize("cap", [PairType.INPUT, PairType.USER, PairType.INTERFACE])
def test_a_bucket_is_so_deep_and_fills_so_fast(cap: PairType) -> None:
    """Twenty seconds' worth at once, then the rate; what comes too early is told when to come again."""
    found, clock = rates()
    rate = RATES[cap]
    assert taken(found, A, cap, 1_000) == rate * BURST_S
    assert 0 < found.take(A, cap) <= 1 / rate
    for _ in range(5):
        clock.now += 1.0
        assert taken(found, A, cap, 100) == rate
    clock.now += 10 * BURST_S
    assert taken(found, A, cap, 1_000) == rate * BURST_S
    assert taken(found, B, cap, 1) == 1


def test_no_limit_keeps_nothing() -> None:
    """A rate of 0 takes all, and of a pair that was quiet nothing is kept."""
    found, clock = rates()
    assert taken(found, A, PairType.ADMIN, 10_000) == 10_000 and not found._buckets
    taken(found, B, PairType.USER, 3)
    clock.now += 3 * BURST_S
    assert not found.bursts() and not found._buckets


def test_a_burst_is_told_once_when_it_is_over() -> None:
    """One entry for a burst, however many were refused; while it lasts, one now and then; at a stop at once."""
    found, clock = rates()
    taken(found, A, PairType.INTERFACE, 20)
    clock.now = 0.5
    assert taken(found, A, PairType.INTERFACE, 50) == 0
    assert found.bursts() == ()
    clock.now = 0.5 + QUIET_S
    assert found.bursts() == (Burst(pair=A, refused=50, first_ns=500_000_000, last_ns=500_000_000),)
    assert found.bursts() == ()
    told: list[Burst] = []
    for _ in range(int(2 * LONG_S) + 10):
        clock.now += 1.0
        taken(found, A, PairType.INTERFACE, 50)
        told += found.bursts()
    assert len(told) == 2
    taken(found, A, PairType.INTERFACE, 1)
    assert len(found.bursts(all_of_them=True)) == 1 and found.bursts(all_of_them=True) == ()


def entries(found: Village, kind: Kind, pair: bytes) -> list[Event]:
    return [row.event for row in found.machine.store.entries(kinds=(kind,), pair=pair, limit=10_000)]


def test_pings_of_an_interface_pair_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Past its rate nothing of a pair is recorded but one entry for all of it; its number stays free; another pair asks as before; and
    further sessions of it are entries as little as further commands."""

    async def scene() -> None:
        async with village(tmp_path, rate_interface=1) as found:
            spy = await found.join("spy", PairType.INTERFACE)
            await found.join("laptop")
            rogue = await Rogue.open(found.member("spy"), spy)
            allowed = refused = 0
            for _ in range(200):
                status, body = await rogue.ask("GET", "/v1/ping", verb="pair.ping")
                if status == 429:
                    rogue.n -= 1  # not taken: the number is still free
                    refused += 1
                    assert b"unavailable" in body
                else:
                    assert status == 200
                    allowed += 1
            assert allowed >= BURST_S - 1 and refused > 100
            with pytest.raises(ConnectionResetError):
                await Rogue.open(found.member("spy"), spy)
            async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as session:
                await session.get_json("/v1/ping", verb="pair.ping")
            rogue.close()
            await asyncio.sleep(0.2)
            assert len(entries(found, Kind.SIGNAL, spy.pairing)) == allowed
            assert len(entries(found, Kind.SESSION, spy.pairing)) == 1
            assert entries(found, Kind.LIMITS, spy.pairing) == []
            await found.house.stop()
            (told,) = entries(found, Kind.LIMITS, spy.pairing)
            counts = told.get("counts")
            assert isinstance(counts, Mapping) and refused <= counts["commands-not-taken"] <= refused + 3
            assert told.number("observed") <= told.number("until")

    asyncio.run(scene())


def test_a_program_of_ours_waits_and_goes_on(tmp_path: Path) -> None:
    """A client that is told to come again comes again; by hand it is Unavailable and says when."""

    async def scene() -> None:
        async with village(tmp_path, rate_input=2) as found:
            laptop = await found.join("laptop")
            async with await HouseClient.open(found.member("laptop"), laptop) as client:
                for _ in range(int(2 * BURST_S) + 1):
                    await client.ping()
                assert (await client.put("a", b"content"))["size"] == 7
                with pytest.raises(TooOften, match="more often") as caught:
                    for _ in range(20):
                        await client.session.get_json("/v1/ping", verb="pair.ping")
                assert caught.value.after_s == 1
                assert await client.read("a") == b"content"

    asyncio.run(scene())


def test_turns_are_a_few_for_each_pair() -> None:
    """Of one pair so many are inside and the others in line, first come first served; another pair enters at once."""

    async def scene() -> None:
        turns, who = Turns(), [object() for _ in range(AT_ONCE + 3)]
        waits = [turns.enter(one, A) for one in who]
        assert [wait is None for wait in waits] == [True] * AT_ONCE + [False] * 3
        other = object()
        assert turns.enter(other, B) is None
        turns.leave(who[0])
        turns.leave(who[0])  # any number of times
        first, second, third = waits[AT_ONCE:]
        assert first is not None and second is not None and third is not None
        assert first.done() and not second.done()
        leaving = asyncio.create_task(turns.wait(who[AT_ONCE + 1], second))
        await asyncio.sleep(0)
        leaving.cancel()  # its client has left: it is in nobody's way
        await asyncio.gather(leaving, return_exceptions=True)
        turns.leave(who[1])
        assert third.done()
        cancelled = asyncio.create_task(turns.wait(who[AT_ONCE + 2], third))
        await asyncio.sleep(0)
        await asyncio.gather(cancelled, return_exceptions=True)
        for one in (*who, other):
            turns.leave(one)
        assert not turns._held and not turns._inside and not turns._lines

    asyncio.run(scene())


def test_a_turn_that_was_handed_to_one_who_left_goes_on() -> None:
    """Cancelled in the moment in which the turn came, it goes to the next in line."""

    async def scene() -> None:
        turns = Turns(at_once=1)
        first, second, third = object(), object(), object()
        assert turns.enter(first, A) is None
        waits = turns.enter(second, A), turns.enter(third, A)
        assert waits[0] is not None and waits[1] is not None
        leaving = asyncio.create_task(turns.wait(second, waits[0]))
        await asyncio.sleep(0)
        turns.leave(first)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert waits[1].done()
        turns.leave(third)
        assert not turns._held and not turns._inside

    asyncio.run(scene())


HAMMERS = 24
ASKED = 40


def test_many_sessions_of_one_pair_are_served_like_one_of_another(tmp_path: Path) -> None:
    """A pair that hammers over two dozen sessions puts a handful of its commands between two of another pair's, not two dozen.

    Counted in the ledger, between the entries of the quiet pair's commands: how long anything took does not matter.
    """

    async def hammer(rogue: Rogue, over: asyncio.Event) -> None:
        while not over.is_set():
            status, _ = await rogue.ask("GET", "/v1/ping", verb="pair.ping")
            assert status == 200

    async def scene() -> list[int]:
        async with village(tmp_path, rate_user=0, rate_input=0) as found:
            spy = await found.join("spy", PairType.USER)
            quiet = await found.join("quiet")
            rogues = [await Rogue.open(found.member("spy"), spy) for _ in range(HAMMERS)]
            over = asyncio.Event()
            hammers = [asyncio.create_task(hammer(rogue, over)) for rogue in rogues]
            async with await HouseSession.open(found.member("quiet"), quiet) as session:
                first = found.machine.store.size()
                for _ in range(ASKED):
                    await session.get_json("/v1/ping", verb="pair.ping")
                    await asyncio.sleep(0)
            over.set()
            await asyncio.gather(*hammers)
            for rogue in rogues:
                rogue.close()
            rows = found.machine.store.entries(first, kinds=(Kind.SIGNAL,), limit=10_000)
            between, gaps = 0, []
            for row in rows:
                if row.event.blob("pairing") == quiet.pairing:
                    gaps.append(between)
                    between = 0
                else:
                    between += 1
            return gaps

    gaps = sorted(asyncio.run(scene())[1:])
    assert gaps[len(gaps) // 2] <= HAMMERS // 2
