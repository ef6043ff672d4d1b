"""A house that lost entries finds it out from any pair, keeps the evidence, closes, and stays closed (docs/spec/restore.md, section 2)."""

import asyncio
from pathlib import Path

import pytest

from tallystick.errors import Malformed, Refused, Unavailable, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.node import commands
from tallystick.node.checkpointwire import Ask, Closed, Show, Why
from tallystick.node.client import HouseSession
from tallystick.node.closing import Closing
from tallystick.node.commands.state import status
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.terms import times_of
from tallystick.tlog.checkpoint import Checkpoint, read_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint
from tests.node.estate import Estate
from tests.node.test_checkpoints import forged, grow, meet
from tests.node.village import Village, village


async def refused(found: Village, name: str) -> str:
    """A session in which a request is refused because the house is closed; what the person reads."""
    with pytest.raises(Refused) as caught:
        async with await HouseSession.open(found.member(name), found.pair_of(name)) as session:
            for _ in range(200):  # no request waits for the checkpoint to be judged
                await session.get_json("/v1/ping", verb="pair.ping")
                await asyncio.sleep(0.01)
    return caught.value.message


def kept(machine: Machine) -> list[Event]:
    """The forks in a ledger."""
    return [row.event for row in machine.store.entries(kinds=(Kind.FORK_FOUND,))]


def test_a_roll_back_of_the_whole_home_is_found_by_any_pair_at_both_ends(tmp_path: Path) -> None:
    """The state directory of last week comes back: the next session of any machine that was there since closes the house.

    Both ends hold both signed checkpoints. The house refuses everybody from then on, also after a restart, and says why.
    """

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.meet("laptop")
            await found.keep("last week")
            await found.join("phone")
            size = await found.meet("laptop")
            await found.travel("last week")
            # Until somebody shows what is lost, it cannot know.
            assert found.house.healthy() and found.machine.store.size() < size
            assert "rolled back" in await refused(found, "laptop")
            for _ in range(100):
                if found.house.closing.reason:
                    break
                await asyncio.sleep(0.01)
            (ours,), (theirs,) = kept(found.machine), kept(found.member("laptop"))
            assert read_checkpoint(ours.blob("other_checkpoint"))[0].size == size == ours.number("size")
            assert read_checkpoint(theirs.blob("checkpoint"))[0].size == size
            assert read_checkpoint(theirs.blob("other_checkpoint"))[0].size < size
            with pytest.raises(Unavailable, match="rolled back"):
                found.house.healthy()
            assert "rolled back" in await refused(found, "owner")
            await found.rest()
            await found.rise()
            assert "rolled back" in await refused(found, "laptop")
            before = len(kept(found.member("laptop")))
            assert "rolled back" in await refused(found, "laptop") and "rolled back" in await refused(found, "owner")
            # Once for each pair that saw more, and not again.
            assert len(kept(found.machine)) == 2 and len(kept(found.member("laptop"))) == before
            assert "rolled back" in str(status(found.machine.settings)["closed"])
            since = [row.event for row in found.machine.store.entries(found.machine.store.house().size)]
            assert not {event.kind for event in since} & {Kind.EFFECT_BEGUN, Kind.PAIRING_APPROVED, Kind.INVITE_CREATED}
            # A command that was under way when it closed is on record as refused.
            assert {event.text("verdict") for event in since if event.kind is Kind.SIGNAL} <= {"refuse"}

    asyncio.run(scene())


def test_live_sessions_are_told_and_cut(tmp_path: Path) -> None:
    """A machine that is connected when another one's checkpoint closes the house is refused in the middle of its session."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.keep("last week")
            await found.meet("laptop")
            await found.travel("last week")
            async with await HouseSession.open(found.member("owner"), found.pair_of("owner")) as session:
                await session.get_json("/v1/ping", verb="pair.ping")
                await refused(found, "laptop")
                with pytest.raises(Refused, match="rolled back"):
                    for _ in range(100):
                        await session.get_json("/v1/ping", verb="pair.ping")
                        await asyncio.sleep(0.01)

    asyncio.run(scene())


def test_what_a_pair_shows_is_judged_by_the_houses_own_keys(tmp_path: Path) -> None:
    """Only a note that this log signed closes the house; everything else ends the session of whoever showed it."""
    estate = Estate.at(tmp_path)
    try:
        closing = Closing(estate.house, Publisher(estate.house).show, lambda _: None)
        row = estate.pair("laptop")
        newest = meet(estate)
        assert closing.answer(row, Ask(newest.note), 1) == Show(newest.note, ())
        assert isinstance(closing.answer(row, Ask(b""), 1), Show)
        grow(estate.house)
        note = newest.note
        for wrong in (b"x", note[:-1], note + note, note.replace(b"tallystick/", b"tallystick/0"), note.replace(b"\n\n", b"/0\n\n")):
            with pytest.raises((Malformed, Unproven)):
                closing.answer(row, Ask(wrong), 1, ())
        lines = note.split(b"\n")
        with pytest.raises(Unproven):
            closing.answer(row, Ask(b"\n".join([*lines[:1], b"999999", *lines[2:]])), 1)
        assert estate.house.store.house().is_open and not kept(estate.house)
        # Another history of a size that it has; and then more than it has.
        answer = closing.answer(row, Ask(forged(estate.house, newest.size, bytes(32))), 1)
        assert isinstance(answer, Closed) and answer.why is Why.ROLLED_BACK and answer.terms is None
        assert not estate.house.store.house().is_open
        for _ in range(3):
            closing.answer(row, Ask(forged(estate.house, 10_000, bytes(32))), 1)
        assert [event.number("size") for event in kept(estate.house)] == [newest.size, 10_000]
        assert estate.at_house("laptop").showed is not None
    finally:
        estate.close()


def test_a_later_name_of_the_log_is_a_roll_back_too(tmp_path: Path) -> None:
    """Whoever saw the house after a restoration that it does not know has seen its future."""
    estate = Estate.at(tmp_path)
    try:
        closing = Closing(estate.house, Publisher(estate.house).show, lambda _: None)
        row, keys = estate.pair("laptop"), estate.house.vault.log
        size, root = estate.house.store.head()
        note = sign_checkpoint(
            Checkpoint(origin=f"{estate.house.log_name}/1", size=size, root=root),
            ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
            ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
            time_s=1,
        )
        assert isinstance(closing.answer(row, Ask(note), 1), Closed)
        assert estate.house.store.house().why == "rolled-back"
    finally:
        estate.close()


@pytest.mark.parametrize(("name", "times"), [("a/b", 0), ("a/b/1", 1), ("a/b/12", 12)])
def test_a_name_says_how_often_it_was_restored(name: str, times: int) -> None:
    """The first name, and that name with a number from 1 in its one form."""
    assert times_of(name, "a/b") == times


@pytest.mark.parametrize("name", ["a", "a/b/", "a/b/0", "a/b/01", "a/b/+1", "a/b/1/1", "a/c/1", "a/b1", "a/b/9999999", "/1", ""])
def test_any_other_name_is_of_another_log(name: str) -> None:
    """No second way to write a number, and no further level."""
    with pytest.raises(Unproven):
        times_of(name, "a/b")


def test_a_roll_back_behind_a_new_log_key_is_found_too(tmp_path: Path) -> None:
    """The home of before the rotation does not know the key that signed what the pair saw: the pair shows how it came to know it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.meet("laptop")
            await found.keep("last week")
            await found.rest()
            commands.key_rotate(found.machine.settings, use="log")
            await found.rise()
            for _ in range(3):
                await found.meet("laptop")
            assert found.pair_of("laptop").followed is not None
            await found.travel("last week")
            assert "rolled back" in await refused(found, "laptop")
            assert [event.number("size") for event in kept(found.machine)] and kept(found.member("laptop"))

    asyncio.run(scene())
