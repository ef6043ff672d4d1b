"""Where the parts of the gate meet: what one takes for looked at by another."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Refused
from tallystick.gate.finding import sign_finding
from tallystick.gate.gate import Seen
from tallystick.gate.provenance import MAX_SIGNERS, UNKNOWN, Link
from tallystick.gate.question import Finding, Layer, Outcome
from tallystick.keys import sign1
from tallystick.ledger.event import Event, Kind
from tallystick.node.contexts import Contexts
from tallystick.node.rightswhy import why_view
from tallystick.passage.admission import admission
from tallystick.passage.effect import Record
from tallystick.primitives import sha256
from tests.node.gate_scene import GateScene, gate_scene, run


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        yield found


def test_rubbish_does_not_look_at_the_ledger_for_those_behind_it(scene: GateScene) -> None:
    """The first of a turn reads what changed, for all of them. What cannot be read is no first: a withdrawn right would go on."""
    scene.introduce("agent", "sensor")
    granted = scene.record(
        Event.of(
            Kind.GRANT, scene.now_ns, "pair", key=bytes(scene.human.public.key_id), subject=bytes(scene.kid("agent")), actions=("write",)
        )
    )
    keeper = scene.keeper()
    first, second = (scene.sign("agent", "sensor", "write", "door.open") for _ in range(2))
    assert run(keeper.admit(first.raw, first.opening)).allowed
    scene.record(Event.of(Kind.GRANT_WITHDRAWN, scene.now_ns, "local", entry=granted))
    rubbish = sign1(scene.key("agent"), b"\xa0")

    async def together() -> Any:
        return await asyncio.gather(keeper.admit(rubbish, b""), keeper.admit(second.raw, second.opening), return_exceptions=True)

    assert run(together())[1].held


def test_who_may_speak_as_a_model_is_completed_whatever_it_speaks_as(scene: GateScene) -> None:
    """A key with the classes llm and sensor does not shed what it heard by calling itself a sensor."""
    scene.introduce("feed", "feed", actions=("metadata", "read", "propose"))
    scene.introduce("agent", "llm", "sensor", actions=("metadata", "read", "propose", "write"))
    keeper, kid = scene.keeper(), bytes(scene.kid("agent"))
    for word in ("llm", "sensor"):
        signed = scene.sign("agent", word, "write", "door.open")
        assert run(keeper.admit(signed.raw, signed.opening)).held, word
    scene.record(Event.of(Kind.CONTEXT_BEGUN, scene.now_ns, "gate", subject=kid))
    signed = scene.sign("agent", "sensor", "write", "door.open")
    assert run(keeper.admit(signed.raw, signed.opening)).allowed
    heard = scene.sign("feed", "feed", "read", "news.item")
    assert run(keeper.admit(heard.raw, heard.opening, deliver_to=(kid,))).allowed
    signed = scene.sign("agent", "sensor", "write", "door.open")
    verdict = run(keeper.admit(signed.raw, signed.opening))
    row = scene.machine.store.entry(verdict.entry)
    assert verdict.held and row is not None
    assert row.event.get("signers") == (bytes(scene.kid("feed")),)


def test_a_finding_too_wide_for_its_entry_hides_nobody(scene: GateScene) -> None:
    """256 keys behind a signal and its own are one more than an entry holds. Whoever cites the finding has no fewer behind it."""
    scene.introduce("agent", "sensor")
    signed = scene.sign("agent", "sensor", "read")
    decision = scene.keeper().judge(signed.raw, signed.opening)
    keys = tuple(sorted(sha256(b"key %d" % number) for number in range(MAX_SIGNERS)))
    noted = Finding(layer=Layer.DETERMINISTIC, outcome=Outcome.NOTED, rule="seen-before")
    decision.link, decision.seen = Link(keys, 3), Seen(findings=(noted,))
    vault = scene.machine.vault.machine.signing
    finding = sign_finding(
        vault, decision.signal.reference, house_id=scene.machine.house_id, now_ns=scene.now_ns, stream=b"stream of tests.", n=1
    )
    asked = next(admission(decision, signed_findings=[finding]))
    assert isinstance(asked, Record)
    behind = asked.events[1].get("signers")
    assert isinstance(behind, tuple) and len(behind) == MAX_SIGNERS
    assert behind[0] == UNKNOWN


def test_a_key_that_was_granted_to_be_a_model_has_contexts(scene: GateScene) -> None:
    """What it hears is behind all it signs from then on; so what is given to it must have a place to be counted."""
    scene.introduce("agent", "sensor", actions=("metadata", "read", "propose", "write"))
    kid = bytes(scene.kid("agent"))
    signed = [scene.sign("agent", "sensor", "write", "door.open") for _ in range(3)]
    keeper, contexts = scene.keeper(), Contexts(scene.machine.store, scene.clock)
    assert run(keeper.admit(signed[0].raw, signed[0].opening)).allowed
    with pytest.raises(Refused, match="speaks as none"):
        run(contexts.begin(kid))
    owner = bytes(scene.human.public.key_id)
    scene.record(Event.of(Kind.GRANT, scene.now_ns, "pair", key=owner, subject=kid, classes=("llm",), actions=("read",)))
    assert run(keeper.admit(signed[1].raw, signed[1].opening)).held
    query = {"key": kid.hex(), "action": "write", "class": "sensor"}
    assert why_view(scene.machine.store, scene.machine.house_id, query, scene.now_ns)["verdict"] == "hold"
    run(contexts.begin(kid))
    assert run(keeper.admit(signed[2].raw, signed[2].opening)).allowed
    assert why_view(scene.machine.store, scene.machine.house_id, query, scene.now_ns)["verdict"] == "allow"


def test_a_gate_that_knows_no_programs_holds_none_of_a_lesser_class(scene: GateScene) -> None:
    """A program of the SDK that holds the gate does not read [verbs]: reboot is not to wait there as a write, to be approved later."""
    scene.introduce("agent", "sensor")
    for action, reason in (("read", "malformed"), ("write", "malformed"), ("admin", "rights")):
        signed = scene.sign("agent", "sensor", action, "verb.reboot")
        verdict = run(scene.keeper().admit(signed.raw, signed.opening))
        row = scene.machine.store.entry(verdict.entry)
        assert verdict.refused and row is not None and row.event.text("reason") == reason
