"""Words that a source chooses and somebody else takes for theirs: the class of a verb, the target of a scope."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import tallystick
from tallystick.errors import Malformed, Misuse
from tallystick.node.held import Held, Wider, scope_of
from tests.node.gate_scene import gate_scene
from tests.node.test_held import proven, signed


def test_a_handler_that_writes_is_not_reached_by_asking_to_read(tmp_path: Path) -> None:
    """Every source may read. What a verb of an application is, the application says, not who asks for it."""
    home, done = tmp_path / "house", []
    with gate_scene(home) as scene:
        scene.adopt("camera", scene.machine.vault.new_source("camera", now_ns=scene.now_ns).public, "sensor")

    async def work() -> None:
        async with tallystick.open(home) as house:
            camera = house.source("camera")
            dispatcher = tallystick.Dispatcher(house)
            dispatcher.on("door.open", lambda signal, body: done.append("open"))
            dispatcher.on("door.look", lambda signal, body: done.append("look"), action="read")
            with pytest.raises(Misuse, match="no class"):
                dispatcher.on("door.close", lambda signal, body: None, action="anything")
            for action in ("metadata", "read", "propose"):
                outcome = await dispatcher.dispatch(camera.sign("sensor", action, "door.open"))
                assert outcome.verdict.allowed and not outcome.handled and "write" in outcome.why
            assert not (await dispatcher.dispatch(camera.sign("sensor", "metadata", "door.look"))).handled
            assert (await dispatcher.dispatch(camera.sign("sensor", "write", "door.open"))).verdict.held
            assert (await dispatcher.dispatch(camera.sign("sensor", "read", "door.look"))).handled
            seen = camera.sign("sensor", "read", "door.look")
            with pytest.raises(Malformed, match="its bytes"):
                await dispatcher.dispatch(replace(seen, claims=replace(seen.claims, verb="door.open", action="write")))

    asyncio.run(work())
    assert done == ["look"]


def _wider(**more: Any) -> Wider:
    return Wider(times=1, until_ns=9, only_target=True, **more)


def test_exactly_this_target_is_no_pattern_of_a_sources_making() -> None:
    """A file called `*` may be written; a scope for it would be for every file."""
    for target in (("PUT", "/v1/files/*"), ("PUT", "/v1/files/reports/*"), ("POST", "/*")):
        with pytest.raises(Malformed, match="ends in"):
            scope_of([proven(signed("archive.put", target, b"x"))], _wider())


def test_the_target_of_a_rename_is_in_its_content() -> None:
    """Every rename has the target POST /v1/move."""
    body = json.dumps({"from": "a", "to": "b"}).encode()
    held: Held = proven(signed("archive.mv", ("POST", "/v1/move"), body))
    with pytest.raises(Malformed, match="content"):
        scope_of([held], _wider())
    assert scope_of([held], _wider(only_body=True)).body is not None
