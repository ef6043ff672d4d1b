"""A house that sends anything but answers and telemetry loses the session, and the client records it (DESIGN 9)."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from typing import Final

import pytest

from tallystick.canonical import encode
from tallystick.channel.frame import FrameType
from tallystick.channel.session import severed_record
from tallystick.errors import Malformed, Refused, TallyError, Unavailable
from tallystick.node.client import HouseSession
from tallystick.node.commands.where import the_house
from tests.e2e.hostile import ANSWER, Evil, Guest, Script, hostile
from tests.e2e.support import Client, House

REQUEST: Final = b"GET /v1/ping HTTP/1.1\r\nhost: laptop\r\n\r\n"


@pytest.fixture(scope="module")
def village(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[House, Client]]:
    """A house that is good between the tests, and a machine."""
    with House(tmp_path_factory.mktemp("diode")) as house:
        yield house, house.machine("laptop")


def data(*words: bytes, answered: bool) -> Evil:
    """Plaintext of the house's own accord: before any request, or behind an answer."""

    async def evil(guest: Guest) -> None:
        if answered:
            await guest.answer(ANSWER + words[0])
        for word in words[answered:]:
            guest.say(word)

    return evil


def frame(kind: int, body: bytes) -> Evil:
    """One frame."""

    async def evil(guest: Guest) -> None:
        guest.frame(kind, body)

    return evil


def telemetry(value: object) -> Evil:
    """One telemetry record."""
    return frame(FrameType.TELEMETRY, encode(value))  # type: ignore[arg-type]


async def many_checkpoints(guest: Guest) -> None:
    """More checkpoints than anybody needs."""
    for _ in range(64):
        guest.frame(FrameType.CHECKPOINT, encode([2, b"x", []]))


EVIL: Final[dict[str, Evil]] = {
    "a request": data(REQUEST, answered=False),
    "a request behind an answer": data(REQUEST, answered=True),
    "two answers at once": data(ANSWER + ANSWER, answered=False),
    "two answers to one question": data(ANSWER, answered=True),
    "an upgrade": data(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: shell\r\nconnection: upgrade\r\n\r\n", answered=False),
    "one byte": data(b"\x00", answered=False),
    "telemetry of an unknown kind": telemetry({1: 1, 2: 99}),
    "telemetry of another version": telemetry({1: 2, 2: 4, 3: 1, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}),
    "telemetry with a field too many": telemetry({1: 1, 2: 4, 3: 1, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0, 9: 0}),
    "telemetry with a field too few": telemetry({1: 1, 2: 4, 3: 1, 4: 0, 5: 0, 6: 0, 7: 0}),
    "telemetry with a text": telemetry({1: 1, 2: 4, 3: "rm -rf /", 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}),
    "telemetry with a number out of range": telemetry({1: 1, 2: 4, 3: 4, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0}),
    "telemetry that is no map": telemetry([1, 4]),
    "telemetry that is not canonical": frame(FrameType.TELEMETRY, b"\xbf\x01\x01\x02\x01\xff"),
    "telemetry that is empty": frame(FrameType.TELEMETRY, b""),
    "telemetry that is too long": frame(FrameType.TELEMETRY, b"\x40" * 20_000),
    "a frame of type 7": frame(7, b"run this"),
    "a frame of type 255": frame(255, b"run this"),
    "a pairing frame": frame(FrameType.PAIRING, b"\x80"),
    "an empty pairing frame": frame(FrameType.PAIRING, b""),
    "an empty data frame": frame(FrameType.DATA, b""),
    "an end with a body": frame(FrameType.END, b"x"),
    "a ping with a body": frame(FrameType.PING, b"xxx"),
    "a rekey of its own accord": frame(FrameType.HANDSHAKE, bytes(48)),
    "a switch of its own accord": frame(FrameType.HANDSHAKE, b""),
    "a checkpoint that is none": frame(FrameType.CHECKPOINT, b"\x80"),
    "a question for our checkpoint": frame(FrameType.CHECKPOINT, encode([1, 0])),
    "a cosignature": frame(FrameType.CHECKPOINT, encode([3, "line\n"])),
    "many checkpoints": many_checkpoints,
}


@pytest.fixture(scope="module")
def under_evil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Script, Client]]:
    """A machine whose house is hostile all the time."""
    with House(tmp_path_factory.mktemp("evil")) as house:
        client = house.machine("laptop")
        with hostile(house, many_checkpoints) as script:
            yield script, client


@pytest.mark.parametrize("name", EVIL)
def test_a_breach_ends_the_session(under_evil: tuple[Script, Client], name: str) -> None:
    """The client cuts the session, records the breach, and ends with exit code 5."""
    script, client = under_evil
    script.evil = EVIL[name]
    before = len(client.log("diode-breach"))
    error = client.fails(Malformed, client.ping, count=3)
    assert error.exit_code == 5
    assert len(client.log("diode-breach")) == before + 1


def test_the_exit_code(under_evil: tuple[Script, Client]) -> None:
    """`tally ping` at a house that sends a request: two lines on stderr, exit code 5."""
    script, client = under_evil
    script.evil = EVIL["a request"]
    done = client.cli("ping", code=5)
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_an_answer_that_nobody_asked_for(village: tuple[House, Client]) -> None:
    """An answer in an idle session ends it; the next request says why."""
    house, client = village
    before = len(client.log("diode-breach"))

    async def late(guest: Guest) -> None:
        await asyncio.sleep(0.3)
        guest.say(ANSWER)

    async def idle() -> None:
        with client.open() as machine:
            async with await HouseSession.open(machine, the_house(machine, "")) as session:
                await asyncio.wait_for(session.stream.connection.closed, 5)
                with pytest.raises(Malformed):
                    await session.get_json("/v1/ping", verb="pair.ping")

    with hostile(house, late), contextlib.suppress(Malformed):
        client.do(asyncio.run, idle())
    assert len(client.log("diode-breach")) == before + 1


def test_a_house_that_does_not_answer(village: tuple[House, Client]) -> None:
    """A house that lives and says nothing does not hold `tally ping` for ever."""
    house, client = village

    async def mute(guest: Guest) -> None:
        await asyncio.sleep(20)

    with hostile(house, mute):
        house.fails(Unavailable, client.ping, timeout_s=2)


def test_bytes_that_nobody_sealed(village: tuple[House, Client]) -> None:
    """Bytes that do not verify are not the house's: the session is cut, and no breach is laid at its door."""
    house, client = village
    before = len(client.log("diode-breach"))

    async def noise(guest: Guest) -> None:
        guest.garbage(b"\x00\x20" + bytes(32))

    with hostile(house, noise):
        house.fails(Unavailable, client.ping)
    assert len(client.log("diode-breach")) == before


def test_what_a_house_may_say(village: tuple[House, Client]) -> None:
    """Telemetry of the schema is no breach; a severance of another pairing ends nothing."""
    house, client = village
    before = len(client.log("diode-breach"))

    async def good(guest: Guest) -> None:
        guest.frame(FrameType.TELEMETRY, encode({1: 1, 2: 4, 3: 1, 4: 7, 5: 7, 6: 1, 7: 1, 8: 0}))
        guest.frame(FrameType.TELEMETRY, encode({1: 1, 2: 5, 3: 7, 4: 1, 5: 3, 6: 9}))
        guest.frame(FrameType.TELEMETRY, severed_record(bytes(32)))
        guest.frame(FrameType.PING, b"")
        await guest.answer()

    with hostile(house, good):
        assert len(client.ping()["answers"]) == 1
    assert len(client.log("diode-breach")) == before
    client.ping()


def test_a_hostile_house_can_sever_its_pair(village: tuple[House, Client]) -> None:
    """`severed` of this pairing ends it at the client: that much a house may always do."""
    house, _ = village
    client = house.machine("cast-off")
    pairing = bytes.fromhex(client.pairs()[0]["pairing"])

    async def severed(guest: Guest) -> None:
        guest.frame(FrameType.TELEMETRY, severed_record(pairing))

    with hostile(house, severed):
        house.fails(Refused, client.ping)
    assert [row["state"] for row in client.pairs()] == ["severed"]


def test_a_rewritten_history(village: tuple[House, Client]) -> None:
    """A house that was put back as a whole learns it from its pair, keeps both signed checkpoints and closes; from then on every pair is
    refused and told why."""
    house, _ = village
    client = house.machine("witness")
    client.ping()
    house.stop()
    kept = house.folder / "kept"
    shutil.copytree(house.path, kept)
    house.serve()
    client.ping(count=3)
    house.stop()
    shutil.rmtree(house.path)
    kept.rename(house.path)
    house.serve()
    with contextlib.suppress(TallyError):
        client.ping()  # whose checkpoint it is that the house does not have
    error = client.fails(Refused, client.ping)
    assert "rolled back" in error.message
    assert house.kinds().count("fork-found") == 1
    assert "closed" in house.kinds()
