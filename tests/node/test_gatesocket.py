"""gate.sock: one form of every frame, five errors, and nothing a peer sends reaches more than its keys may."""

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable
from tallystick.ledger.event import Kind
from tallystick.node.contexts import Contexts
from tallystick.node.gateframe import (
    MAX_FRAME_BYTES,
    Admit,
    AskDecision,
    BeginContext,
    Deliver,
    EndContext,
    Request,
    read_decided,
    read_entry,
    read_request,
    read_verdict,
    write_decided,
    write_entry,
    write_error,
    write_request,
    write_verdict,
)
from tallystick.node.gatesocket import GateClient, GateServer
from tallystick.node.gatewords import Decided, Verdict
from tests.gate.world import seed
from tests.node.gate_scene import GateScene, Signed, gate_scene, run

ID = seed("id")
ids = st.binary(min_size=32, max_size=32)
requests: st.SearchStrategy[Request] = st.one_of(
    st.builds(
        Admit,
        signal=st.binary(max_size=60),
        opening=st.binary(max_size=60),
        body=st.none() | st.binary(max_size=60),
        deliver_to=st.lists(ids, max_size=4, unique=True).map(tuple),
    ),
    st.builds(AskDecision, proposal=st.integers(0, 2**63 - 1)),
    st.builds(BeginContext, key=ids),
    st.builds(EndContext, key=ids),
    st.builds(Deliver, key=ids, references=st.lists(ids, min_size=1, max_size=4, unique=True).map(tuple)),
)


@given(requests)
def test_a_request_is_read_as_it_was_written(request: Request) -> None:
    assert read_request(write_request(request)) == request


@settings(max_examples=200)
@given(st.binary(max_size=80) | requests.map(write_request), st.data())
def test_foreign_bytes_are_malformed_or_the_one_form(raw: bytes, data: st.DataObject) -> None:
    """Whatever comes is a request that is written back as it came, or Malformed; answers raise the five errors only."""
    changed = bytearray(raw)
    if changed and data.draw(st.booleans()):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    foreign = bytes(changed)
    with suppress(Malformed):
        assert write_request(read_request(foreign)) == foreign
    for reader in (read_verdict, read_decided, read_entry):
        with pytest.raises(TallyError):
            reader(foreign)


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [0],
        [6, ID],
        [True, b"", b"", None, []],
        [1, b"", b"", None],
        [1, b"", b"", None, [], 0],
        [1, b"", b"", "", []],
        [1, b"", b"", None, [b""]],
        [1, b"", b"", None, [ID, ID]],
        [1, b"", b"", None, [seed(str(number)) for number in range(65)]],
        [1, bytes(16_385), b"", None, []],
        [1, b"", bytes(32_769), None, []],
        [1, b"", b"", bytes(1_000_001), []],
        [2, True],
        [2, -1],
        [2, 2**63],
        [3, b"short"],
        [4, None],
        [5, ID, []],
        [5, ID, [ID, b""]],
        {"1": 1},
        "admit",
    ],
)
def test_what_is_no_request(fields: Any) -> None:
    with pytest.raises(Malformed):
        read_request(encode(fields))


@pytest.mark.parametrize(
    "raw", [b"", b"\x85\x01", b"\x9f\xff", b"\x82\x02\x18\x01", b"\x82\x02\x01\x00", b"\x81" * 40, b"\xd8\x18\x41\x00"]
)
def test_what_is_no_canonical_cbor(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_request(raw)


def test_answers_are_read_as_they_were_written() -> None:
    for verdict in (Verdict(word="allowed", entry=3), Verdict(word="refused"), Verdict(word="held", entry=1, proposal=2, reduced=True)):
        assert read_verdict(write_verdict(verdict)) == verdict
    assert read_decided(write_decided(Decided(reason="released", entry=9))) == Decided(reason="released", entry=9)
    assert read_entry(write_entry(2**63 - 1)) == 2**63 - 1
    for kind in (Malformed, Misuse, Refused, Unavailable):
        with pytest.raises(kind) as caught:
            read_entry(write_error(kind("a message", "a hint")))
        assert (caught.value.message, caught.value.hint) == ("a message", "a hint")


@pytest.mark.parametrize(
    "fields",
    [
        {"verdict": "yes"},
        {"verdict": "allowed", "entry": -1},
        {"verdict": "allowed", "why": "x"},
        {"verdict": "held", "reduced": False},
        {},
        [],
    ],
)
def test_what_is_no_verdict(fields: Any) -> None:
    with pytest.raises(Malformed):
        read_verdict(encode(fields))


def test_a_request_that_cannot_be_is_misuse() -> None:
    with pytest.raises(Misuse):
        write_request(BeginContext(key=b"short"))


# --- The socket ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        yield found


def served(scene: GateScene, work: Callable[[Path, GateServer], Awaitable[None]]) -> None:
    """Run the house's gate and what talks to it."""

    async def all_of_it() -> None:
        path = scene.machine.home.path / "gate.sock"
        server = GateServer(path, scene.keeper(), Contexts(scene.machine.store, scene.clock))
        await server.start()
        try:
            await work(path, server)
        finally:
            await server.stop()
        assert not path.exists()

    run(all_of_it())


def admit(signed: Signed, **more: Any) -> Admit:
    return Admit(signal=signed.raw, opening=signed.opening, **more)


def test_a_program_hands_signals_in(scene: GateScene) -> None:
    scene.introduce("camera", "sensor")
    scene.introduce("agent", "llm")

    async def work(path: Path, server: GateServer) -> None:
        assert path.stat().st_mode & 0o777 == 0o600
        client = await GateClient.connect(path)
        frame = scene.sign("camera")
        seen = await client.admit(admit(frame))
        assert seen.allowed
        assert (await client.admit(admit(frame))).refused
        begun = await client.context(BeginContext(key=scene.kid("agent")))
        delivered = await client.context(Deliver(key=scene.kid("agent"), references=(frame.reference,)))
        assert delivered > begun
        asked = scene.sign("agent", "llm", "write", "archive.rm")
        verdict = await client.admit(admit(asked))
        assert verdict.held
        event = scene.machine.store.entry(verdict.entry or 0)
        assert event is not None and event.event.get("signers") == (bytes(scene.kid("camera")),)
        assert (await client.context(EndContext(key=scene.kid("agent")))) > 0
        with pytest.raises(Refused):
            await client.context(EndContext(key=scene.kid("agent")))
        assert server.connections == 1
        await client.close()

    served(scene, work)


def test_bytes_that_are_no_frame_end_the_connection(scene: GateScene) -> None:
    scene.introduce("camera", "sensor")
    good = write_request(admit(scene.sign("camera")))

    async def work(path: Path, server: GateServer) -> None:
        for foreign in (
            struct.pack(">I", 0),
            struct.pack(">I", MAX_FRAME_BYTES + 1),
            struct.pack(">I", 2**32 - 1),
            struct.pack(">I", 4) + b"\xff" * 4,
            struct.pack(">I", len(good) + 1) + good + b"\0",
            struct.pack(">I", 3) + encode([3])[:1] + b"\x03\x03",
        ):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(foreign)
            head = await reader.readexactly(4)
            answer = await reader.readexactly(struct.unpack(">I", head)[0])
            with pytest.raises(Malformed):
                read_verdict(answer)
            assert await reader.read() == b""
            writer.close()
        client = await GateClient.connect(path)
        assert (await client.admit(admit(scene.sign("camera")))).allowed
        await client.close()

    served(scene, work)
    assert not scene.events(Kind.REFUSED)


def test_a_bad_signal_of_a_known_key_is_told_and_the_connection_lives(scene: GateScene) -> None:
    """Unlike a frame that is none: here the frame was right. What claims a known key is in the record, each with its word."""
    scene.introduce("camera", "sensor")

    async def work(path: Path, server: GateServer) -> None:
        client = await GateClient.connect(path)
        forged = bytearray(scene.sign("camera").raw)
        forged[-1] ^= 1
        assert (await client.admit(Admit(signal=bytes(forged), opening=b"\xa0"))).refused
        assert (await client.admit(admit(scene.sign("camera", "human")))).refused
        assert (await client.admit(admit(scene.sign("stranger")))).entry is None
        assert (await client.admit(admit(scene.sign("camera")))).allowed
        await client.close()

    served(scene, work)
    assert [event.text("reason") for event in scene.events(Kind.REFUSED)] == ["unproven", "class"]
    for event in (*scene.events(Kind.REFUSED), *scene.events(Kind.SIGNAL)):
        assert event.get("ext") == {"sender": b"uid %d" % os.getuid()}


def test_two_hundred_bring_the_same_signal_and_one_wins(scene: GateScene) -> None:
    scene.introduce("camera", "sensor")
    signed = scene.sign("camera")

    async def work(path: Path, server: GateServer) -> None:
        clients = [await GateClient.connect(path) for _ in range(20)]

        async def bring(client: GateClient) -> list[Verdict]:
            return [await client.admit(admit(signed)) for _ in range(10)]

        verdicts = [verdict for each in await asyncio.gather(*map(bring, clients)) for verdict in each]
        assert sum(verdict.allowed for verdict in verdicts) == 1
        assert sum(verdict.refused for verdict in verdicts) == 199
        for client in clients:
            await client.close()

    served(scene, work)
    assert len(scene.events(Kind.SIGNAL)) == 1


def test_a_program_waits_for_a_human_and_may_leave(scene: GateScene) -> None:
    scene.introduce("agent", "feed")

    async def work(path: Path, server: GateServer) -> None:
        client, other = await GateClient.connect(path), await GateClient.connect(path)
        held = await client.admit(admit(scene.sign("agent", "feed", "write", "archive.rm")))
        assert held.held and held.proposal is not None
        waiting = asyncio.ensure_future(client.decision(held.proposal))
        leaving = asyncio.ensure_future(other.decision(held.proposal))
        await asyncio.sleep(0.05)
        leaving.cancel()
        scene.end(held.proposal, "expired")
        assert (await asyncio.wait_for(waiting, 5)).reason == "expired"
        with pytest.raises(Refused):
            await client.decision(0)
        await client.close()

    served(scene, work)


def test_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        run(GateClient.connect(tmp_path / "gate.sock"))


def test_on_a_full_disk_nothing_is_taken(scene: GateScene) -> None:
    scene.introduce("camera", "sensor")
    full = [True]

    async def work() -> None:
        path = scene.machine.home.path / "gate.sock"
        server = GateServer(path, scene.keeper(), Contexts(scene.machine.store, scene.clock), full=lambda: full[0])
        await server.start()
        client = await GateClient.connect(path)
        signed = scene.sign("camera")
        with pytest.raises(Unavailable):
            await client.admit(admit(signed))
        full[0] = False
        assert (await client.admit(admit(signed))).allowed
        await client.close()
        await server.stop()

    run(work())
