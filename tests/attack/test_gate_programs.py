"""Named programs asked for at the gate: what runs for an hour, what runs without what was signed for it."""

import asyncio
from pathlib import Path

import pytest

from tallystick.gate.opening import BodyDigest
from tallystick.ledger.event import Kind
from tallystick.node import gatesocket
from tallystick.node.acts import PROGRAMS_AT_ONCE
from tallystick.node.gateframe import Admit
from tallystick.node.gatesocket import GateClient
from tests.node.release_scene import Desk, digest, with_desk


def test_programs_that_run_for_long_hold_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as one user's signals are judged at once: its others are judged all the same. And sources keep no owner from a program."""
    monkeypatch.setattr(gatesocket, "AT_ONCE", PROGRAMS_AT_ONCE)

    async def act(desk: Desk) -> None:
        trusted = desk.introduce("trusted", "sensor", actions=("metadata", "read", "propose", "write"))
        camera = desk.introduce("camera", "sensor")
        path = desk.here.estate.house.settings.gate_socket
        clients = [await GateClient.connect(path) for _ in range(PROGRAMS_AT_ONCE + 1)]
        running = []
        for client in clients[:-1]:
            slow = trusted.sign("sensor", "write", "verb.slow", target=("POST", "/v1/verbs/slow"))
            running.append(asyncio.create_task(client.admit(Admit(signal=slow.raw, opening=slow.opening))))
        try:
            while len([each for each in desk.events(Kind.SIGNAL) if each.text("verdict") == "allow"]) < PROGRAMS_AT_ONCE:
                await asyncio.sleep(0.05)
            quick = camera.sign("sensor", "read", "camera.frame")
            async with asyncio.timeout(30):
                assert (await clients[-1].admit(Admit(signal=quick.raw, opening=quick.opening))).allowed
                more = trusted.sign("sensor", "write", "verb.greet", target=("POST", "/v1/verbs/greet"))
                while len(desk.events(Kind.EFFECT_BEGUN)) < PROGRAMS_AT_ONCE:
                    await asyncio.sleep(0.05)
                assert (await clients[-1].admit(Admit(signal=more.raw, opening=more.opening))).status == 503
                held = await desk.ask(camera.sign("sensor", "write", "verb.greet", target=("POST", "/v1/verbs/greet")))
                assert held.proposal is not None
                await desk.approve(held.proposal)
                assert desk.state(held.proposal) == ("ended", "released")
                assert (tmp_path / "greeted").exists()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for client in clients:
                await client.close()

    with_desk(tmp_path, act)


def test_a_program_does_not_run_without_the_input_that_was_signed(tmp_path: Path) -> None:
    """A body that stays with its sender is not an empty one: what a human let go was the program with this input."""

    async def act(desk: Desk) -> None:
        trusted = desk.introduce("trusted", "sensor", actions=("metadata", "read", "propose", "write"))
        signed = trusted.sign("sensor", "write", "verb.greet", target=("POST", "/v1/verbs/greet"), body=b"hello")
        opening = desk.here.house.gate.keeper.judge(signed.raw, signed.opening).opening
        assert opening.read_body() == BodyDigest(length=5, sha256=digest(b"hello"))
        verdict = await desk.here.house.gate.keeper.admit(signed.raw, signed.opening, None)
        assert (verdict.allowed, verdict.status) == (True, 403)
        assert not (tmp_path / "greeted").exists()

    with_desk(tmp_path, act)


def test_a_target_has_one_form(tmp_path: Path) -> None:
    """An empty query names the same file in other words, and slips past a rule that names it."""

    async def act(desk: Desk) -> None:
        trusted = desk.introduce("trusted", "sensor", actions=("metadata", "read", "propose", "write"))
        for path in (
            "note.txt?",
            "note.txt?a",
            "/note.txt",
            "./note.txt",
            "a/../note.txt",
            "note%2Etxt",
            "%6eote.txt",
            "note.txt#",
            "note.txt/",
        ):
            signed = trusted.sign("sensor", "write", "archive.put", target=("PUT", f"/v1/files/{path}"), body=b"x")
            assert (await desk.ask(signed)).status == 400, path
        assert desk.file() is None

    with_desk(tmp_path, act)


def test_other_users_keep_no_proxy_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four of the group may hold every connection there is; the house's own user, who feeds the models, still gets in."""
    monkeypatch.setattr(gatesocket, "MAX_CONNECTIONS", 0)

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera", "sensor")
        client = await GateClient.connect(desk.here.estate.house.settings.gate_socket)
        signed = camera.sign("sensor", "read", "camera.frame")
        assert (await client.admit(Admit(signal=signed.raw, opening=signed.opening))).allowed
        await client.close()

    with_desk(tmp_path, act)
