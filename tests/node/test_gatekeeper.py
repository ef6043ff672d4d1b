"""The gatekeeper: what is believed, what is recorded of it, and what its sender learns."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.gate.crypto import Unbelieved
from tallystick.ledger.event import Kind
from tests.gate.world import Key
from tests.node.gate_scene import SECOND, GateScene, gate_scene, run


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        yield found


def test_a_known_source_is_admitted_and_recorded(scene: GateScene) -> None:
    scene.introduce("camera", "sensor")
    signed = scene.sign("camera", "sensor/camera")
    verdict = run(scene.keeper().admit(signed.raw, signed.opening))
    assert verdict.allowed and not verdict.reduced and verdict.proposal is None
    row = scene.machine.store.entry(verdict.entry)
    assert row is not None
    event = row.event
    assert (event.kind, event.actor, event.text("verdict"), event.blob("signal")) == (Kind.SIGNAL, "gate", "allow", signed.raw)
    assert event.blob("key") == scene.kid("camera")


def test_a_write_without_the_right_is_held_with_its_body(scene: GateScene) -> None:
    scene.introduce("agent", "llm")
    signed = scene.sign("agent", "llm", "write", "archive.put", body=b"new content")
    verdict = run(scene.keeper().admit(signed.raw, signed.opening, b"new content"))
    assert verdict.held and verdict.proposal == verdict.entry + 1
    assert scene.machine.store.opening(verdict.proposal) == b"new content"


def test_an_unknown_key_is_only_counted(scene: GateScene) -> None:
    keeper, size = scene.keeper(), scene.machine.store.size()
    signed = scene.sign("stranger")
    verdict = run(keeper.admit(signed.raw, signed.opening))
    assert verdict.refused and verdict.entry is None
    assert (scene.machine.store.size(), keeper.rates.unknown) == (size, 1)


def _words(scene: GateScene) -> list[str]:
    return [event.text("reason") for event in scene.events(Kind.REFUSED)]


def test_what_nobody_believes_names_key_and_word(scene: GateScene) -> None:
    """Each lie of a known key has its word in the record; its sender learns only that it was refused, and where."""
    scene.introduce("camera", "sensor")
    scene.introduce("gone", "sensor")
    scene.introduce("old", "sensor", expires=scene.now_ns - 1)
    keeper = scene.keeper()
    good = scene.sign("camera")
    assert run(keeper.admit(good.raw, good.opening)).allowed
    scene.revoke("gone")
    lies = [
        (scene.sign("camera", by=_Forger(scene.key("camera"))), "unproven"),
        (scene.sign("camera", aud=bytes(32)), "audience"),
        (scene.sign("camera", issued_at_ns=scene.now_ns - 61 * SECOND), "age"),
        (scene.sign("camera", issued_at_ns=scene.now_ns + 61 * SECOND), "age"),
        (scene.sign("camera", expires_ns=scene.now_ns), "age"),
        (scene.sign("camera", "human"), "class"),
        (scene.sign("camera", "feed"), "class"),
        (scene.sign("camera", "sensors"), "class"),
        (scene.sign("camera", "machine"), "class"),
        (scene.sign("camera", "finding"), "class"),
        (scene.sign("gone"), "revoked"),
        (scene.sign("old"), "expired"),
        (good, "replay"),
    ]
    for signed, word in lies:
        verdict = run(keeper.admit(signed.raw, signed.opening))
        assert verdict.refused and verdict.entry is not None, word
        row = scene.machine.store.entry(verdict.entry)
        assert row is not None and (row.event.kind, row.event.text("reason")) == (Kind.REFUSED, word)
        assert row.event.blob("subject") in (scene.kid("camera"), scene.kid("gone"), scene.kid("old"))


def test_judging_records_nothing(scene: GateScene) -> None:
    scene.introduce("camera", "sensor")
    keeper, size = scene.keeper(), scene.machine.store.size()
    signed = scene.sign("camera")
    assert keeper.judge(signed.raw, signed.opening).allowed
    with pytest.raises(Unbelieved) as caught:
        keeper.judge(scene.sign("camera", "human").raw, signed.opening)
    assert caught.value.word == "class"
    assert scene.machine.store.size() == size


class _Forger(Key):
    """Names another's key and signs with its own."""

    def __init__(self, victim: Key) -> None:
        super().__init__("a forger")
        self.public = victim.public
