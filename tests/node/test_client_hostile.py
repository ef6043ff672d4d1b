"""A house that breaks the rules, seen from the client: the diode, rewritten histories, cuts (docs/spec/telemetry.md, stream.md)."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.canonical import encode
from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event
from tallystick.channel.frame import FrameType
from tallystick.diode.telemetry import Health, HealthState, Progress, ProgressState, Severed, encode_telemetry
from tallystick.errors import Malformed, Refused, TallyError, Unavailable, Unproven
from tallystick.ledger.event import Kind
from tallystick.node.checkpointwire import Ask, Cosign, Show, write_message
from tallystick.node.client import HouseSession
from tallystick.passage.effect import secret_name
from tallystick.tlog.checkpoint import read_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint
from tests.node.bare_house import GOOD, BareHouse, Side, polite
from tests.node.village import Village, village

Script = Callable[[Side, Event], None]


def play(tmp_path: Path, script: Script, scene: Callable[[Village, BareHouse], Awaitable[None]], mode: str = "auto") -> None:
    """A laptop that is paired, and a house with the real one's keys that follows a script."""

    async def run() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop", mode=mode)
            await found.house.stop()
            house = BareHouse(found.house.port, script)
            async with house.open(found, "laptop"):
                await scene(found, house)

    asyncio.run(run())


def kinds(found: Village) -> list[str]:
    return [row.event.kind.name for row in found.member("laptop").store.entries()]


async def meet(found: Village, *, ask: bool = True) -> TallyError | None:
    """Open a session, ask something or wait, close. Returns: what it was told, the first time."""
    told: TallyError | None = None
    try:
        session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
    except TallyError as error:
        return error  # it came with the confirmation
    try:
        if ask:
            await session.get_json("/v1/ping", verb="pair.ping")
        else:
            await asyncio.wait_for(asyncio.shield(session.stream.connection.closed), 3)
    except TallyError as error:
        told = error
    try:
        await session.close()
    except TallyError as error:
        told = told or error
    return told


def on(kind: type[Event], act: Callable[[Side], None]) -> Script:
    """Be polite, and do something besides when an event of this kind comes."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, kind):
            act(side)
        polite(side, event)

    return script


NOT_ANSWERS: dict[str, Callable[[Side], None]] = {
    "an answer nobody asked for": lambda side: side.say(GOOD),
    "a request": lambda side: side.say(b"GET / HTTP/1.1\r\nhost: you\r\n\r\n"),
    "one byte": lambda side: side.say(b"\x00"),
    "telemetry that is no map": lambda side: side.tell(b"\x00"),
    "telemetry of version 2": lambda side: side.tell(encode({1: 2, 2: 4, 3: 1, 4: 0, 5: 0, 6: 0, 7: 0, 8: 0})),
    "telemetry of an unknown kind": lambda side: side.tell(encode({1: 1, 2: 6, 3: 1})),
    "telemetry with a further field": lambda side: side.tell(encode({1: 1, 2: 1, 3: bytes(32), 4: 0})),
    "telemetry with text": lambda side: side.tell(encode({1: 1, 2: 1, 3: "rm -rf"})),
    "a message of the ceremony": lambda side: side.seal(FrameType.PAIRING, b"\x80"),
    "an empty checkpoint": lambda side: side.seal(FrameType.CHECKPOINT, b""),
    "a question for a checkpoint": lambda side: side.seal(FrameType.CHECKPOINT, write_message(Ask(b""))),
    "a cosignature": lambda side: side.seal(FrameType.CHECKPOINT, write_message(Cosign("x"))),
    "no checkpoint message": lambda side: side.seal(FrameType.CHECKPOINT, b"\xff"),
}


@pytest.mark.parametrize("what", NOT_ANSWERS)
def test_what_is_neither_answer_nor_telemetry_is_recorded_and_cuts_the_session(what: str, tmp_path: Path) -> None:
    """The diode: recorded as a breach with the bytes' hash, the session gone, the caller told, the pair still standing."""

    async def scene(found: Village, house: BareHouse) -> None:
        told = await meet(found, ask=False)
        assert isinstance(told, Malformed)
        assert kinds(found)[-4:].count("DIODE_BREACH") == 1
        assert kinds(found).count("SESSION") == kinds(found).count("SESSION_ENDED") == 1
        assert found.pair_of("laptop").stands

    play(tmp_path, on(Confirmed, NOT_ANSWERS[what]), scene)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        GOOD + GOOD,
        GOOD + b"GET / HTTP/1.1\r\nhost: you\r\n\r\n",
        os.urandom(40),
    ],
    ids=["no length", "interim", "two lengths", "old version", "two answers", "answer and request", "noise"],
)
def test_an_answer_in_another_form_cuts_the_session(answer: bytes, tmp_path: Path) -> None:
    """Only the one strict form of an answer passes; everything else is a breach."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Data):
            side.say(answer)
        else:
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        assert isinstance(await meet(found), Malformed)
        assert "DIODE_BREACH" in kinds(found)

    play(tmp_path, script, scene)


def test_data_after_our_end_is_a_breach_too(tmp_path: Path) -> None:
    """A house that goes on talking when nothing more is asked is cut while the session closes."""

    async def scene(found: Village, house: BareHouse) -> None:
        assert isinstance(await meet(found), Malformed)
        assert "DIODE_BREACH" in kinds(found)

    play(tmp_path, on(End, lambda side: side.say(GOOD)), scene)


def test_telemetry_of_version_1_disturbs_nothing(tmp_path: Path) -> None:
    """Health, progress and the severance of another pairing come and go; the session lives."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Data):
            side.tell(encode_telemetry(Health(state=HealthState.OK, uptime_s=1, entries=2, pairs=3, sessions=4, held=5)))
            side.tell(encode_telemetry(Progress(entry=1, state=ProgressState.RUNNING, done=1, total=2)))
            side.tell(encode_telemetry(Severed(pairing_id=bytes(32))))
        polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        assert await meet(found) is None
        assert found.pair_of("laptop").stands

    play(tmp_path, script, scene)


def test_a_severance_ends_the_pair_at_this_end_too(tmp_path: Path) -> None:
    """Told of the end of this pairing, the client records it, destroys its secret, and is refused from then on."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Data):
            side.tell(encode_telemetry(Severed(pairing_id=side.house._row.pairing)))
        else:
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        laptop, pairing = found.member("laptop"), found.pair_of("laptop").pairing
        told = await meet(found)
        assert isinstance(told, Refused) and "severed" in told.message
        row = found.pair_of("laptop")
        assert row.state == "severed"
        event = laptop.store.entry(row.ended or 0)
        assert event is not None and (event.event.text("by"), event.event.text("reason")) == ("peer", "severed")
        assert laptop.vault.get_secret(secret_name(pairing)) is None
        assert laptop.memory.get(f"address/{pairing.hex()}") is None
        with pytest.raises(Refused):
            await HouseSession.open(laptop, row)

    play(tmp_path, script, scene)


# --- Checkpoints -----------------------------------------------------------------------------------------------------------


def forged(side: Side, size: int | None = None, root: bytes | None = None) -> bytes:
    """A checkpoint that the house's own log keys have signed, over whatever it likes."""
    publisher = side.house.publisher
    true, _ = read_checkpoint(publisher.newest(fresh=True).note)
    keys = publisher._machine.vault.log
    return sign_checkpoint(
        replace(true, size=true.size if size is None else size, root=true.root if root is None else root),
        ed25519=(keys.ed25519.public.raw, keys.ed25519.sign),
        ml_dsa_44=(keys.ml_dsa_44.public.raw, keys.ml_dsa_44.sign),
        time_s=1_800_000_000,
    )


@pytest.mark.parametrize(
    ("size", "root", "proof"),
    [(1, None, ()), (None, bytes(32), ()), (10_000, bytes(32), ()), (10_000, bytes(32), (bytes(32),) * 5)],
    ids=["rolled back", "rewritten at the same size", "no proof", "a proof of something else"],
)
def test_a_rewritten_history_is_refused_with_both_checkpoints_kept(
    size: int | None, root: bytes | None, proof: tuple[bytes, ...], tmp_path: Path
) -> None:
    """What does not continue the checkpoint we saw is recorded with both signed notes; the session goes, and nothing is cosigned."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Checkpoint):
            side.connection.write(side.session.send_checkpoint(write_message(Show(forged(side, size, root), proof))))
        else:
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        seen = found.pair_of("laptop").seen
        assert seen is not None
        if size is None:
            # The same size as the one that was seen.
            house.script = lambda side, event: (
                side.connection.write(side.session.send_checkpoint(write_message(Show(forged(side, seen.size, root), proof))))
                if isinstance(event, Checkpoint)
                else polite(side, event)
            )
        told = await meet(found)
        assert isinstance(told, Unproven)
        row = next(row for row in found.member("laptop").store.entries() if row.event.kind is Kind.FORK_FOUND)
        assert row.event.blob("checkpoint") == seen.note
        assert row.event.blob("other_checkpoint").startswith(b"tallystick/")
        assert found.pair_of("laptop").seen == seen
        assert not any(isinstance(event, Checkpoint) for event in house.sides[-1].events[2:])

    play(tmp_path, script, scene)


def test_a_checkpoint_by_another_log_is_not_believed(tmp_path: Path) -> None:
    """A note that the log keys of this pairing did not sign is Unproven; there is no fork to record, for it proves nothing."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Checkpoint):
            note = forged(side)
            at = note.rindex(b" ") + 40
            side.connection.write(
                side.session.send_checkpoint(
                    write_message(Show(note[:at] + (b"A" if note[at : at + 1] != b"A" else b"B") + note[at + 1 :], ()))
                )
            )
        else:
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        assert isinstance(await meet(found), Unproven | Malformed)
        assert "FORK_FOUND" not in kinds(found)

    play(tmp_path, script, scene)


def test_too_many_checkpoints_are_a_breach(tmp_path: Path) -> None:
    """A house shows one checkpoint for each session; seventeen are an attack on our disk."""

    def flood(side: Side) -> None:
        for _ in range(17):
            side.connection.write(side.session.send_checkpoint(write_message(side.house.publisher.show(0))))

    async def scene(found: Village, house: BareHouse) -> None:
        assert isinstance(await meet(found, ask=False), Malformed)
        assert "DIODE_BREACH" in kinds(found)

    play(tmp_path, on(Confirmed, flood), scene)


# --- Cuts ------------------------------------------------------------------------------------------------------------------


def test_a_session_cut_in_the_middle_is_unavailable_and_its_stream_void(tmp_path: Path) -> None:
    """Half an answer, then nothing: the caller is told, and the ledger says that the signal's answer never came whole."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Data):
            side.say(GOOD[:-1])
            asyncio.get_running_loop().call_later(0.05, side.connection.abort)
        else:
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        told = await meet(found)
        assert isinstance(told, Unavailable) and told.hint
        assert kinds(found)[-2:] == ["STREAM_VOIDED", "SESSION_ENDED"]

    play(tmp_path, script, scene)


def test_a_house_that_never_proves_itself_is_left(tmp_path: Path) -> None:
    """A connection that opens and stays mute for 3 s is no session: nothing is recorded for it."""

    async def scene(found: Village, house: BareHouse) -> None:
        house.mute = True
        with pytest.raises(Unavailable):
            await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
        assert "SESSION" not in kinds(found)

    play(tmp_path, polite, scene, mode="1")


def test_an_unanswered_close_ends_within_its_second(tmp_path: Path) -> None:
    """A house that never says `end` does not hold us for longer than a second."""

    def script(side: Side, event: Event) -> None:
        if not isinstance(event, End):
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        began = asyncio.get_running_loop().time()
        await meet(found)
        assert asyncio.get_running_loop().time() - began < 2
        row = found.member("laptop").store.entries()[-1]
        assert (row.event.kind, row.event.text("reason")) == (Kind.SESSION_ENDED, "no-end")

    play(tmp_path, script, scene)


def test_an_error_answer_is_one_of_the_five(tmp_path: Path) -> None:
    """What the house says went wrong is raised here with its words; nonsense is Malformed, and the session lives on."""
    bodies = [
        (b'{"error":{"kind":"refused","message":"no such file","hint":"see ls"}}', Refused, "no such file"),
        (b'{"error":{"kind":"unavailable","message":"disk full","hint":""}}', Unavailable, "disk full"),
        (b'{"error":{"kind":"quux","message":"what","hint":""}}', Malformed, "what"),
        (b'{"error":5}', Malformed, ""),
        (b"[]", Malformed, ""),
        (b"nonsense", Malformed, ""),
    ]
    left = list(bodies)

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Data):
            body = left.pop(0)[0] if left else b"{}"
            status = b"403 Forbidden" if left or body != b"{}" else b"200 OK"
            side.say(b"HTTP/1.1 " + status + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        else:
            polite(side, event)

    async def scene(found: Village, house: BareHouse) -> None:
        session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
        for _, wanted, words in bodies:
            with pytest.raises(wanted) as caught:
                await session.get_json("/v1/ping", verb="pair.ping")
            assert words in caught.value.message
        assert await session.get_json("/v1/ping", verb="pair.ping") == {}
        await session.close()

    play(tmp_path, script, scene)
