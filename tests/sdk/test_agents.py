"""docs/agents.md runs; and what a program sees of a house is what the gate says."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

import tallystick
from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.keys import KeyId
from tallystick.ledger.event import Event, Kind
from tallystick.node.dispatcher import AUTHENTICATION
from tallystick.node.localhouse import LocalHouse
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tests.node.gate_scene import GateScene, gate_scene
from tests.support import PROJECT

PAGE: Final = PROJECT / "docs" / "agents.md"
EXAMPLE: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def introduce(scene: GateScene, label: str, *classes: str) -> KeyId:
    """A key in the house's vault, signed into existence."""
    key = scene.machine.vault.new_source(label, now_ns=scene.now_ns)
    scene.adopt(label, key.public, *classes)
    return key.key_id


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A house at rest that knows a camera and an agent."""
    path = tmp_path / "house"
    with gate_scene(path) as scene:
        introduce(scene, "camera", "sensor/camera")
        introduce(scene, "agent", "llm")
    yield path


def events(home: Path, kind: Kind) -> list[Event]:
    with Machine.open(load(home=home)) as machine:
        return [row.event for row in machine.store.entries(kinds=(kind,), limit=1_000)]


def test_every_example_runs(home: Path, tmp_path: Path) -> None:
    """Copied from the page into a file, each example does what the text around it says; the loop has twenty lines."""
    examples = EXAMPLE.findall(PAGE.read_text("utf-8"))
    assert len([line for line in examples[0].splitlines() if line.strip()]) <= 22
    outputs = []
    for number, example in enumerate(examples):
        program = tmp_path / f"example_{number}.py"
        program.write_text(example, "utf-8")
        environment = {**os.environ, "TALLY_HOME": str(home), "PYTHONPATH": str(PROJECT / "src")}
        done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert re.fullmatch(r"held [0-9]+\n", outputs[0])
    assert outputs[1].splitlines()[:3] == ["seen: day", "allowed True ", "allowed False not at night"]
    (proposal,) = events(home, Kind.PROPOSAL)
    wish = next(event for event in events(home, Kind.SIGNAL) if event.text("verdict") == "hold")
    assert wish.get("context") is not None and proposal.text("what") == "rights"


def test_the_second_program_speaks_to_the_first(home: Path) -> None:
    """One holds the home; another gets the same verdicts through its socket, and the same errors."""

    async def both() -> None:
        async with tallystick.open(home) as first, tallystick.open(home) as second:
            assert type(first._gate) is not type(second._gate)
            camera = second.source("camera")
            signal = camera.sign("sensor/camera", "metadata", "camera.frame", body=b"x")
            assert (await second.admit(signal)).allowed
            assert (await first.admit(signal)).refused
            for house in (first, second):
                with pytest.raises(Refused):
                    await house.begin_context(camera.key_id)
                with pytest.raises(Refused):
                    await house.decision(0)
                with pytest.raises(Malformed):
                    await house.admit(camera.sign("sensor/camera", "metadata", "camera.frame", body=b"x").raw, b"\xa0")
        async with tallystick.open(home, socket=None) as again:
            assert (await again.admit(again.source("camera").sign("sensor/camera", "read", "camera.frame"))).allowed

    asyncio.run(both())


def test_a_program_that_knows_the_socket_only(home: Path, tmp_path: Path) -> None:
    key_file = tmp_path / "feed.key"
    key_id = tallystick.SignalSource.make_file(key_file, "feed")
    with pytest.raises(Refused):
        tallystick.SignalSource.make_file(key_file, "feed")

    async def talk() -> None:
        async with tallystick.open(home) as holder, tallystick.open(socket=home / "gate.sock", house=holder.house_id) as house:
            source = tallystick.SignalSource.read(key_file, house.house_id)
            assert source.key_id == key_id
            verdict = await house.admit(source.sign("feed", "read", "feed.item"))
            assert verdict.refused and verdict.entry is None
            with pytest.raises(Misuse):
                house.source("camera")
        async with contextless(home) as nobody:
            with pytest.raises(Misuse):
                _ = nobody.house_id

    asyncio.run(talk())


def contextless(home: Path) -> Any:
    class _Open:
        async def __aenter__(self) -> LocalHouse:
            self.holder = tallystick.open(home)
            await self.holder.__aenter__()
            self.inner = tallystick.open(socket=home / "gate.sock")
            return await self.inner.__aenter__()

        async def __aexit__(self, *error: Any) -> None:
            await self.inner.__aexit__(None, None, None)
            await self.holder.__aexit__(None, None, None)

    return _Open()


def test_streams_are_kept_right(home: Path) -> None:
    """Numbers rise in one process; another process of the same key has another stream, also one that was forked."""
    with Machine.open(load(home=home)) as machine:
        one = tallystick.SignalSource.load(machine, "camera")
        other = tallystick.SignalSource.load(machine, str(one.key_id))
        first, second = one.sign("sensor", "read", "a.b"), one.sign("sensor", "read", "a.b")
        assert (first.claims.n, second.claims.n, first.claims.stream) == (0, 1, second.claims.stream)
        assert other.sign("sensor", "read", "a.b").claims.stream != first.claims.stream
        one._process += 1  # as after fork(2)
        third = one.sign("sensor", "read", "a.b")
        assert third.claims.n == 0 and third.claims.stream != first.claims.stream
        with pytest.raises(Misuse):
            tallystick.SignalSource.load(machine, "nobody")


def test_the_blocking_twin(home: Path) -> None:
    with tallystick.open_blocking(home) as house:
        camera, agent = house.source("camera"), house.source("agent")
        house.begin_context(agent.key_id)
        seen = camera.sign("sensor/camera", "metadata", "camera.frame")
        assert house.admit(seen).allowed
        house.deliver(agent.key_id, [seen])
        asked = house.admit(agent.sign("llm", "write", "door.close"))
        assert asked.held
        house.end_context(agent.key_id)
        with pytest.raises(Refused):
            house.decision(house.house_id[0] % 2)
    with pytest.raises(Misuse):
        house.admit(seen)


def test_where_there_is_no_house(tmp_path: Path) -> None:
    async def nowhere(**where: Any) -> None:
        async with tallystick.open(**where):
            raise AssertionError("there is no house")

    with pytest.raises(Misuse):
        asyncio.run(nowhere(home=tmp_path / "empty"))
    with pytest.raises(Unavailable):
        asyncio.run(nowhere(socket=tmp_path / "gate.sock"))


# --- The dispatcher --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("priority", [AUTHENTICATION, AUTHENTICATION + 1, 10**9, -1, True, 500.0, "500", None])
def test_nothing_stands_beside_or_before_authentication(home: Path, priority: Any) -> None:
    async def register() -> None:
        async with tallystick.open(home) as house:
            dispatcher = tallystick.Dispatcher(house)
            with pytest.raises(Misuse):
                dispatcher.gate(priority, lambda signal, verdict: None)
            assert [(gate.vector, gate.priority) for gate in dispatcher.gates] == [(0, AUTHENTICATION)]

    asyncio.run(register())


def test_the_order_of_gates_and_what_they_see(home: Path) -> None:
    """Authentication, then the application's by priority, then the body's type, then the handler; refused signals reach none."""
    seen: list[str] = []

    def gate(name: str, stops: str | None = None) -> Any:
        def check(signal: Any, verdict: Any) -> str | None:
            assert verdict.allowed
            seen.append(name)
            return stops

        return check

    async def late(signal: Any, verdict: Any) -> None:
        seen.append("late")

    def parse(body: bytes) -> int:
        seen.append("parse")
        return int(body)

    async def work() -> None:
        async with tallystick.open(home) as house:
            camera, agent = house.source("camera"), house.source("agent")
            dispatcher = tallystick.Dispatcher(house)
            dispatcher.gate(0, late)
            dispatcher.gate(699, gate("first"))
            dispatcher.gate(500, gate("second"))
            dispatcher.gate(500, gate("third"))
            dispatcher.on("camera.count", lambda signal, count: count + 1, action="read", parse=parse)
            with pytest.raises(Misuse):
                dispatcher.on("camera.count", lambda signal, count: None)
            done = await dispatcher.dispatch(camera.sign("sensor/camera", "read", "camera.count", body=b"41"))
            assert (done.value, done.handled) == (42, True)
            assert seen == ["first", "second", "third", "late", "parse"]
            seen.clear()
            for signal in (
                camera.sign("human", "read", "camera.count", body=b"1"),
                agent.sign("llm", "write", "camera.count", body=b"1"),
            ):
                assert not (await dispatcher.dispatch(signal)).handled
            assert seen == []
            with pytest.raises(ValueError, match="invalid literal"):
                await dispatcher.dispatch(camera.sign("sensor/camera", "read", "camera.count", body=b"many"))
            assert not (await dispatcher.dispatch(camera.sign("sensor/camera", "read", "camera.other"))).handled
            dispatcher.gate(600, gate("stop", "enough"))
            seen.clear()
            stopped = await dispatcher.dispatch(camera.sign("sensor/camera", "read", "camera.count", body=b"1"))
            assert (stopped.why, seen) == ("enough", ["first", "stop"])
            assert stopped.stopped_by is not None and stopped.stopped_by.priority == 600

    asyncio.run(work())


def test_the_dispatcher_waits_for_a_human(home: Path) -> None:
    async def work() -> None:
        async with tallystick.open(home) as house:
            dispatcher = tallystick.Dispatcher(house)
            dispatcher.on("door.close", lambda signal, body: "closed")
            waiting = asyncio.create_task(dispatcher.dispatch(house.source("agent").sign("llm", "write", "door.close"), wait=True))
            machine = house._machine
            assert machine is not None
            while not (held := machine.store.gate.proposals("held")):
                await asyncio.sleep(0.01)
            await machine.store.record(Event.of(Kind.PROPOSAL_ENDED, held[0].time_ns, entry=held[0].entry, reason="void"))
            outcome = await asyncio.wait_for(waiting, 10)
            assert (outcome.handled, outcome.why) == (False, "void")

    asyncio.run(work())
