"""Clocks that are wrong, dead, or jump, at either end (docs/spec/knock.md, section 4)."""

import asyncio
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.raw import RawSession, Request, answers_to, knock_of
from tests.e2e.support import Client, House, until, wrong_clock

HOUR_NS = 3_600 * 10**9
SOON_NS = 5 * 10**9
CENTURY_2100_NS = 4_102_444_800 * 10**9


class Clock:
    """The system clock of a running house."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.set("+0")

    def set(self, text: str) -> None:
        """From now on it says this (faketime's words)."""
        new = self._file.with_suffix(".new")
        new.write_text(text + "\n")
        new.replace(self._file)

    @property
    def env(self) -> dict[str, str]:
        """For the house's process."""
        return {**wrong_clock(), "FAKETIME_TIMESTAMP_FILE": str(self._file)}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose clock is right."""
    with House(tmp_path_factory.mktemp("clocks")) as made:
        yield made


@pytest.fixture(scope="module")
def laptop(house: House) -> Client:
    """A machine of it, with a file there."""
    made = house.machine("laptop", timeout_s=20)
    made.put(b"content", "a.txt")
    return made


def in_order(house: House) -> list[int]:
    """The times of all entries: they do not go back, but for answers that join a later group."""
    times: list[int] = [entry["time_ns"] for entry in house.log()]
    assert all(later > earlier - SOON_NS for earlier, later in itertools.pairwise(times)), times
    return times


@pytest.mark.parametrize("clock", ["@1970-01-02 00:00:00", "@2100-01-01 00:00:00", "-90s", "+70s"])
def test_a_machine_with_a_wrong_clock(house: House, laptop: Client, clock: str) -> None:
    """A machine whose clock is dead, or wrong by more than the house takes, asks for the time and gets in; its requests count as fresh,
    and do so when the clock is right again."""
    env = {**wrong_clock(), "FAKETIME": clock}
    target = house.folder / "got"
    laptop.json("get", "/a.txt", str(target), env=env)
    assert target.read_bytes() == b"content"
    target.unlink()
    for _ in range(3):
        laptop.ping()
    asked = [entry["fields"] for entry in house.log("signal", pair="laptop")[-4:]]
    assert [fields["verdict"] for fields in asked] == ["allow"] * 4
    times = in_order(house)
    assert abs(times[-1] - time.time_ns()) < HOUR_NS


def test_pairing_with_a_dead_clock(house: House) -> None:
    """A machine whose clock stands in 1970 can be paired, works, and still does when somebody has set its clock."""
    client = house.client("fridge", timeout_s=20)
    env = {**wrong_clock(), "FAKETIME": "@1970-01-02 00:00:00"}
    invite = house.owner.invite("INPUT", label="fridge", approve=True, ttl_s=60)
    assert client.json("pair", invite, env=env)["state"] == "standing"
    assert client.json("ping", env=env)["house"] == "attic"
    client.ping()


def test_an_owner_with_a_wrong_clock(house: House) -> None:
    """The owner's machine is an hour off: its statements are taken all the same, for it knows the house's time."""
    env = {**wrong_clock(), "FAKETIME": "-1h"}
    house.machine("downgraded")
    house.owner.json("ping", env=env)
    house.owner.json("downgrade", "downgraded", "USER", secret=True, env=env)
    assert house.row("downgraded")["type"] == "USER"
    house.owner.ping()


@pytest.mark.parametrize("jump", ["-10d", "+2h", "@2100-01-01 00:00:00"])
def test_a_house_whose_clock_jumps(tmp_path: Path, jump: str) -> None:
    """Live sessions go on, everybody gets in, during the jump and after it, as often as before; pair time never goes back; the jump is
    in the ledger; and so it is after a restart with the right clock."""
    house = House(tmp_path).init()
    clock = Clock(tmp_path)
    try:
        house.serve(env=clock.env)
        house.genesis(house.owner)
        client = house.machine("laptop", timeout_s=20)

        async def live() -> None:
            with client.open() as machine:
                async with RawSession.open(machine) as raw:
                    assert (await raw.ask(Request())).status == 200
                    clock.set(jump)
                    await asyncio.to_thread(until, lambda: len(house.log("clock-jumped")) == 1, "the jump is recorded")
                    now_ns = house.log("clock-jumped")[0]["time_ns"] if not jump.startswith("-") else time.time_ns()
                    assert (await raw.ask(Request(claims={"issued_at_ns": now_ns}))).status == 200
                    client.ping()
                    clock.set("+0")
                    await asyncio.to_thread(until, lambda: len(house.log("clock-jumped")) == 2, "the jump back is recorded")
                    assert (await raw.ask(Request(claims={"issued_at_ns": now_ns}))).status == 200

        asyncio.run(live())
        client.ping()
        with client.open() as machine:
            (pair,) = machine.store.pairs()
            first = house.log("clock-jumped")[-1]["time_ns"]
            answers_to([knock_of(machine, pair, time_ns=first + number) for number in range(80)], house.port, seconds=0.1)
        client.ping()  # the pair's turns have been used up, and come again: pair time does not stand still
        said = [entry["fields"]["what"] for entry in house.log("clock-jumped")]
        assert said == (["backwards", "forwards"] if jump.startswith("-") else ["forwards", "backwards"])
        assert house.stop() == 0
        house.serve()
        client.ping()
        house.owner.ping()
        times = in_order(house)
        assert (times[-1] >= CENTURY_2100_NS) == jump.startswith("@2100")
        assert house.stop() == 0
        house.check_log()
    finally:
        house.kill()
