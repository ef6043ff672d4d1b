"""Retention: what has had its time goes, by the ledger's own times, and no clock makes it go sooner."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Misuse
from tallystick.ledger.erasure import covered
from tallystick.ledger.event import Event, Kind
from tallystick.node import erasing
from tallystick.node.house import House
from tallystick.node.machine import Machine
from tallystick.node.retention import AT_START_NS, AT_SWEEP_NS, HOUR_NS, Retention, parse_rules, rules_of
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.storage.rebuild import differences, rebuild

DAY_NS = 24 * HOUR_NS


class Clock:
    """Pair time, moved by hand."""

    def __init__(self) -> None:
        self.ns = time.time_ns()

    def __call__(self) -> int:
        return self.ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    machine, _ = Machine.create(load({"name": "attic"}, home=tmp_path / "attic", env={}), Role.HOUSE)
    machine.close()
    yield tmp_path / "attic"


def opened(home: Path, rules: str) -> Machine:
    return Machine.open(load({"retention": rules}, home=home, env={}))


def answers(machine: Machine, clock: Clock, count: int = 1, kind: Kind = Kind.ANSWER) -> list[int]:
    """Entries with openings, of now."""
    fields: dict[str, Any] = {"status": 200} if kind is Kind.ANSWER else {"digest": bytes(32)}
    events = [Event.of(kind, clock.ns + at, **fields) for at in range(count)]
    return [receipt.index for receipt in machine.store.append(*events, openings=[b"opening"] * count).result()]


def living(machine: Machine) -> list[int]:
    return machine.store.bodied(0, machine.store.size())


def run(machine: Machine, clock: Clock, hours: int) -> Retention:
    """The house runs for hours on an honest clock; the sweeps of half a day are one."""
    retention = Retention(machine, clock)
    retention.sweep(AT_START_NS)
    while hours:
        step = min(hours, 12)
        clock.ns += step * HOUR_NS
        retention.sweep(AT_SWEEP_NS)
        hours -= step
    return retention


def test_what_has_had_its_time_goes_and_nothing_else(home: Path, clock: Clock) -> None:
    """Openings of a kind with a rule go when they are as old as it says; younger ones and other kinds stay."""
    with opened(home, "answer=2d query=9d") as machine:
        old = answers(machine, clock, 3)
        asked = answers(machine, clock, 2, Kind.QUERY)
        run(machine, clock, 47)
        assert living(machine) == [*old, *asked]
        young = answers(machine, clock, 2)
        run(machine, clock, 2)
        assert living(machine) == [*asked, *young]
        assert machine.store.opening(old[0]) is None and machine.store.opening(young[0]) == b"opening"
        run(machine, clock, 24 * 7)
        assert living(machine) == []


def test_an_erasure_shows_that_it_was_due(home: Path, clock: Clock, tmp_path: Path) -> None:
    """Anybody with the ledger can see, for each entry whose opening went, that its age had come at `until`; a rebuild agrees."""
    with opened(home, "answer=3h") as machine:
        for _ in range(6):
            answers(machine, clock, 2)
            answers(machine, clock, 1, Kind.QUERY)
            run(machine, clock, 1)
        run(machine, clock, 3)
        rules, _ = rules_of(machine.store)
        gone = 0
        for row in machine.store.entries(kinds=[Kind.BODY_ERASED]):
            event = row.event
            assert event.text("reason") == "retention" and event.actor == "house"
            for first, last in covered(event):
                for entry in machine.store.entries(first, last + 1):
                    if entry.event.kind in rules:
                        assert entry.event.time_ns + rules[entry.event.kind] * 10**9 <= event.number("until") <= row.event.time_ns
                        gone += 1
        assert gone == 12 and len(living(machine)) == 6
    rebuild(home / "house.sqlite", tmp_path / "again.sqlite")
    assert differences(home / "house.sqlite", tmp_path / "again.sqlite") == ()


def test_rules_are_recorded_when_they_change(home: Path, clock: Clock) -> None:
    """A rule is an entry before it has any effect; the same rules again are none; one that is taken back is kept for ever (0)."""

    def tables() -> list[object]:
        return [row.event.get("retention") for row in machine.store.entries(kinds=[Kind.RETENTION])]

    with opened(home, "answer=2d query=30d") as machine:
        Retention(machine, clock).sweep(AT_START_NS)
        Retention(machine, clock).sweep(AT_START_NS)
        assert tables() == [{"answer": 172_800, "query": 2_592_000}]
    with opened(home, "answer=1w") as machine:
        Retention(machine, clock).sweep(AT_START_NS)
        assert tables()[1:] == [{"answer": 604_800, "query": 0}]
        assert rules_of(machine.store)[0] == {Kind.ANSWER: 604_800}
    with opened(home, "") as machine:
        answers(machine, clock)
        Retention(machine, clock).sweep(AT_START_NS)
        assert tables()[2:] == [{"answer": 0}]
        clock.ns += 400 * DAY_NS
        assert Retention(machine, clock).sweep(AT_SWEEP_NS) == 0 and len(living(machine)) == 1


def test_a_clock_that_jumps_ahead_erases_a_day_an_hour_at_most(home: Path, clock: Clock) -> None:
    """Ten years ahead, nothing goes at the next sweep but what a day makes due; starting again and again makes it no faster."""
    with opened(home, "answer=30d") as machine:
        for _ in range(40):
            answers(machine, clock)
            run(machine, clock, 24)
        left = len(living(machine))
        assert 29 <= left <= 31
        clock.ns += 3650 * DAY_NS
        for _ in range(20):
            Retention(machine, clock).sweep(AT_START_NS)
        assert len(living(machine)) >= left - 1
        retention = Retention(machine, clock)
        for hour in range(1, 8):
            retention.sweep(AT_SWEEP_NS)
            assert left - 2 - hour <= len(living(machine)) <= left + 1 - hour
        # The clock is put right again: what is there stays its whole time.
        clock.ns -= 3650 * DAY_NS
        before = living(machine)
        assert Retention(machine, clock).sweep(AT_SWEEP_NS) == 0 and living(machine) == before


def test_a_house_that_was_off_catches_up(home: Path, clock: Clock) -> None:
    """After a month without power what has had its time is gone within a few sweeps, a day's worth each."""
    with opened(home, "answer=2d") as machine:
        answers(machine, clock, 5)
        run(machine, clock, 1)
    clock.ns += 30 * DAY_NS
    with opened(home, "answer=2d") as machine:
        assert len(living(machine)) == 5
        run(machine, clock, 24)
        assert living(machine) == []


def test_many_are_erased_in_batches(home: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one batch, each an entry of its own; openings between that stay are in no range."""
    monkeypatch.setattr(erasing, "BATCH", 512)
    with opened(home, "answer=1h") as machine:
        kept = []
        for _ in range(4):
            answers(machine, clock, 300)
            kept += answers(machine, clock, 1, Kind.QUERY)
        run(machine, clock, 3)
        assert living(machine) == kept
        assert len(machine.store.entries(kinds=[Kind.BODY_ERASED])) >= 3


@pytest.mark.parametrize("text", ["answer", "answer=5", "answer=0d", "nothing=3d", "answer=3d answer=4d", "answer=-3d", "answer=3m", "=3d"])
def test_a_rule_is_written_in_one_way(home: Path, text: str) -> None:
    """What is no rule keeps the house from starting, and erases nothing."""
    with pytest.raises(Misuse):
        parse_rules(text)
    with opened(home, text) as machine, pytest.raises(Misuse):
        House(machine)
