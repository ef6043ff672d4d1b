"""Reading the ledger: by everything it is indexed by, without losing one entry, and itself on record."""

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from tallystick import canonical
from tallystick.errors import Misuse
from tallystick.ledger.event import Event, Kind
from tallystick.node import commands
from tallystick.node.answers import Entry
from tallystick.node.commands.where import the_house
from tallystick.node.remote import HouseClient
from tests.e2e.support import Client, House, until

FILES = ("papers/a.pdf", "papers/old/b.pdf", "paper", "photos/ä 1.jpg")


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Client]]:
    """A house with a machine that has put and read some files, often enough that a tile of the ledger is full."""
    with House(tmp_path_factory.mktemp("reading")) as house:
        laptop = house.machine("laptop")
        for name in FILES:
            laptop.put(name.encode(), name)
        laptop.ping(120)
        for name in FILES:
            laptop.get(name)
        yield house, laptop


def read(home: Client | House, place: str = "", **query: str | int) -> list[dict[str, object]]:
    """`tally log`."""
    return list(commands.log(home.settings(), house=place, query=query, follow=False))


def verbs(entries: list[dict[str, object]]) -> list[str]:
    return [entry["fields"]["signal"]["verb"] for entry in entries]  # type: ignore[index]


@pytest.mark.parametrize("where", ["house", "owner"])
@pytest.mark.parametrize(
    ("target", "files"),
    [
        ("/papers/a.pdf", 1),
        ("/papers/*", 2),
        ("/paper*", 3),
        ("/paper", 1),
        ("/photos/ä 1.jpg", 1),
        ("/v1/files/papers/a.pdf", 1),
        ("/nothing", 0),
        ("/papers", 0),
    ],
)
def test_by_target(village: tuple[House, Client], where: str, target: str, files: int) -> None:
    """A path finds each command for it, whether its tile is full or not; a star finds all below."""
    house, _ = village
    found = read(house, target=target) if where == "house" else read(house.owner, "attic", target=target)
    assert verbs(found) == ["archive.put"] * files + ["archive.get"] * files
    assert [entry["index"] for entry in found] == sorted(entry["index"] for entry in found)  # type: ignore[type-var]


def test_filters_join(village: tuple[House, Client]) -> None:
    """All filters hold at once: class of action, verdict, pair, kind, time."""
    house, laptop = village
    assert verbs(read(house, target="/papers/*", action="read")) == ["archive.get"] * 2
    assert verbs(read(house, target="/papers/*", action="write", pair="laptop", kind="signal")) == ["archive.put"] * 2
    assert read(house, target="/papers/*", pair="owner") == []
    assert read(house, target="/papers/*", verdict="refuse") == []
    puts = read(house, target="/papers/*", action="write")
    first, last = (int(entry["time_ns"]) for entry in (puts[0], puts[-1]))  # type: ignore[call-overload]
    assert read(house, target="/papers/*", until_ns=first) == puts[:1]
    assert read(house, target="/papers/*", action="write", since_ns=last) == puts[-1:]
    assert verbs(read(laptop, "attic", target="/papers/a.pdf")) == ["archive.put", "archive.get"]
    for wrong in ("*", "/" + "x" * 9000):
        house.fails(Misuse, read, house, target=wrong)


def test_nothing_is_cut_off(village: tuple[House, Client]) -> None:
    """A page of the door holds 200 entries; a list holds as many as were asked for, and with a time all since then."""
    house, _ = village
    whole = house.log()
    assert len(whole) > 400
    for reader, place in ((house, ""), (house.owner, "attic")):
        since = read(reader, place, since_ns=1)
        assert [entry["index"] for entry in since[: len(whole)]] == list(range(len(whole)))
        assert len(read(reader, place)) == 50
        assert len(read(reader, place, limit=333)) == 333


def test_reading_is_an_entry(village: tuple[House, Client]) -> None:
    """One for each list, with a salted digest of what was asked for; the question itself can be forgotten."""
    house, _ = village
    for reader, place, actor in ((house, "", "local"), (house.owner, "attic", "pair")):
        before = house.log("query")
        found = read(reader, place, target="/papers/a.pdf")
        (own,) = house.log("query")[len(before) :]
        assert own["fields"]["actor"] == actor
        assert (own["fields"]["first"], own["fields"]["count"], own["fields"]["what"]) == (found[0]["index"], 2, "log")
        with house.open() as machine:
            opening = machine.store.opening(own["index"])
            assert opening is not None
            assert canonical.decode(opening)[1]["target"] == "/papers/a.pdf"  # type: ignore[index,call-overload]
    again = [entry["fields"]["digest"] for entry in house.log("query")]
    assert len(set(again)) == len(again)


@pytest.mark.parametrize("where", ["house", "owner"])
def test_following(village: tuple[House, Client], where: str) -> None:
    """What happens is shown as it happens, each entry once, and nothing of the follower's own question."""
    house, laptop = village
    reader, place, questions = (house, [], 1) if where == "house" else (house.owner, ["attic"], 2)
    before = len(house.log("query"))
    argv = reader.argv("log", "--follow", "--json", "--limit", "3", *place)
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=reader.environment())
    lines: list[dict[str, object]] = []
    assert process.stdout is not None
    source = process.stdout
    threading.Thread(target=lambda: lines.extend(json.loads(line) for line in source), daemon=True).start()
    try:
        # Over a pair the list is one question, and following another.
        own = until(lambda: house.log("query")[before + questions - 1 :], "its question is recorded")[0]
        for name in ("follow-1.txt", "follow-2.txt"):
            laptop.put(b"x", name)
        until(lambda: [each["kind"] for each in lines].count("effect-done") >= 2, "both puts are shown")
    finally:
        process.terminate()
        process.wait(10)
        source.close()
    later = [each["index"] for each in lines[3:]]
    assert later == sorted(set(later))  # type: ignore[type-var]
    assert own["index"] not in later
    assert len(house.log("query")) == before + questions
    if where == "owner":
        assert own["fields"]["session"] not in {each["fields"].get("session") for each in lines[3:]}  # type: ignore[attr-defined]
    laptop.ping()


def test_following_ends(village: tuple[House, Client]) -> None:
    """When the house stops it does not wait for a follower, and a follower whose pair was narrowed sees nothing more."""
    house, _ = village
    second = house.machine("second", "ADMIN")

    async def follow(act: Callable[[], object]) -> list[Entry]:
        with second.open() as machine:
            async with await HouseClient.open(machine, the_house(machine, "")) as client:
                acting = asyncio.create_task(asyncio.to_thread(act))
                found = [entry async for entry in client.follow()]
                await acting
                return found

    def narrow() -> None:
        house.owner.downgrade("second", "USER")
        house.owner.ping(3)

    seen = second.do(asyncio.run, follow(narrow))
    assert "pair.ping" not in [entry["fields"].get("signal", {}).get("verb") for entry in seen]
    second.do(asyncio.run, follow(lambda: house.stop(8)))
    house.serve()


def test_what_is_erased_is_found_no_more(village: tuple[House, Client]) -> None:
    """The row of the index goes with the body, whichever side of the index the entry lies on."""
    house, laptop = village
    laptop.put(b"late", "secret/late.txt")
    entries = [read(house, target=f"/{name}")[0]["index"] for name in (FILES[1], "secret/late.txt")]
    house.stop()
    with house.open() as machine:
        for index in entries:
            machine.store.append(Event.of(Kind.BODY_ERASED, 1, entry=index, reason="asked")).result()
    house.serve()
    assert verbs(read(house, target=f"/{FILES[1]}")) == ["archive.get"]
    assert read(house, target="/secret/late.txt") == []
