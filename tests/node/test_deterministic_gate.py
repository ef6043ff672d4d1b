"""Layer 3 in a house on a disk: sightings, rows and facts of the ledger rule out, and the record names them."""

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Malformed, Unavailable
from tallystick.facts.fact import write_value
from tallystick.facts.rulefile import read_rules
from tallystick.gate.deterministic import Deterministic
from tallystick.gate.question import Layer
from tallystick.ledger.event import Event, Kind
from tallystick.node.effects import Effects, NoDoors
from tallystick.node.gatehouse import open_gate
from tallystick.node.gatewords import Verdict
from tallystick.primitives import sha256
from tallystick.rights.verdict import Verdict as Word
from tests.evidence.stores import reasoning
from tests.node.gate_scene import SECOND, GateScene, gate_scene, run

BERLIN, TOKYO = [525_200_000, 134_050_000, 20], [356_800_000, 1_397_700_000, 20]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        yield found


def grant(scene: GateScene, name: str, **row: Any) -> int:
    """The human signs one more row of the matrix."""
    return scene.record(
        Event.of(
            Kind.GRANT,
            scene.now_ns,
            "pair",
            key=bytes(scene.human.public.key_id),
            subject=bytes(scene.kid(name)),
            actions=("metadata", "read", "propose"),
            **row,
        )
    )


def fact(scene: GateScene, name: str, predicate: str, value: Any) -> int:
    """The human states a fact about a key."""
    return scene.record(
        Event.of(
            Kind.FACT_ADDED,
            scene.now_ns,
            "pair",
            key=bytes(scene.human.public.key_id),
            subject=bytes(scene.kid(name)),
            predicate=predicate,
            value=write_value(value),
        )
    )


def admit(scene: GateScene, *args: Any, rules: bytes = b"", **kwargs: Any) -> Verdict:
    signed = scene.sign(*args, **kwargs)
    keeper = scene.keeper(layers={Layer.DETERMINISTIC: Deterministic(rules=read_rules(rules))})
    verdict: Verdict = run(keeper.admit(signed.raw, signed.opening))
    return verdict


def found(scene: GateScene) -> tuple[str, str, tuple[int, ...]]:
    """Outcome, rule and facts of the last finding."""
    event = scene.events(Kind.FINDING)[-1]
    facts: Any = event.get("facts") or ()
    return event.text("outcome"), event.text("rule"), tuple(facts)


def test_an_impossible_transit_is_refused_with_the_sighting(scene: GateScene) -> None:
    """Berlin, and a minute later Tokyo; a day later Tokyo is possible."""
    scene.introduce("camera", "sensor")
    assert admit(scene, "camera", place=BERLIN).allowed
    (sighting,) = scene.machine.store.entries(kinds=(Kind.SIGHTING,), limit=9)
    scene.now_ns += 60 * SECOND
    assert admit(scene, "camera", place=TOKYO).refused
    assert found(scene) == ("reject", "impossible-transit", (sighting.index,))
    assert admit(scene, "camera", place=BERLIN).allowed
    scene.now_ns += 86_400 * SECOND
    assert admit(scene, "camera", place=TOKYO).allowed


def test_a_slower_limit_is_a_fact(scene: GateScene) -> None:
    """And is named beside the sighting."""
    scene.introduce("camera", "sensor")
    slow = fact(scene, "camera", "speed-limit", 5)
    assert admit(scene, "camera", place=BERLIN).allowed
    scene.now_ns += 3600 * SECOND
    near = [BERLIN[0] + 1_000_000, *BERLIN[1:]]  # 11 km
    assert admit(scene, "camera", place=near).refused
    outcome, rule, facts = found(scene)
    assert (outcome, rule) == ("reject", "impossible-transit") and slow in facts and len(facts) == 2


def test_a_later_grant_adds_a_class_and_hours(scene: GateScene) -> None:
    """Layer 3 rules out what no row of the key lets through, and nothing else."""
    scene.introduce("job", "cron", schedule="0 6 30 12 *")
    assert admit(scene, "job", "cron").refused
    assert found(scene)[:2] == ("reject", "outside-schedule")
    grant(scene, "job", classes=("feed",), schedule="0 7 30 12 *")
    assert admit(scene, "job", "feed").refused
    assert found(scene)[:2] == ("reject", "outside-schedule")
    grant(scene, "job", classes=("cron", "feed"))
    assert admit(scene, "job", "cron").allowed and admit(scene, "job", "feed").allowed


def test_a_job_may_sign_a_minute_after_its_time(scene: GateScene) -> None:
    """By the time of issue, for the rows too, so that a release at noon finds the job of the morning in its hours."""
    scene.now_ns -= scene.now_ns % (60 * SECOND)
    time = datetime.fromtimestamp(scene.now_ns // SECOND, UTC)
    scene.introduce("job", "cron", schedule=f"{time.minute} {time.hour} * * *", actions=("metadata", "read", "propose", "write"))
    scene.now_ns += 119 * SECOND
    assert admit(scene, "job", "cron", "write").allowed
    late = scene.sign("job", "cron", "write")
    keeper = scene.keeper()
    assert keeper.judge(late.raw, late.opening, now_ns=scene.now_ns + 200 * SECOND).verdict is Word.ALLOW
    scene.now_ns += SECOND
    assert admit(scene, "job", "cron", "write").refused


def test_three_sightings_and_a_search(scene: GateScene) -> None:
    """With the search what no two sightings show is refused, and both sightings are named; without it, it is not seen."""
    reasoning("reasoning")
    searching = importlib.import_module("tallystick.node.searching")
    scene.introduce("camera", "sensor")
    fact(scene, "camera", "clock-uncertainty", 60)
    for east, north in ((190, 0), (0, 103)):
        assert admit(scene, "camera", place=[round(north / 111.195 * 1e7), round(east / 111.195 * 1e7), 0]).allowed
        scene.now_ns += 600 * SECOND
    signed = scene.sign("camera", place=[0, round(-190 / 111.195 * 1e7), 0])
    keeper = scene.keeper()
    assert keeper.judge(signed.raw, signed.opening).verdict is Word.ALLOW
    keeper.search = searching.searched
    assert run(keeper.admit(signed.raw, signed.opening)).refused
    sightings = tuple(row.index for row in scene.machine.store.entries(kinds=(Kind.SIGHTING,), limit=9))
    assert found(scene) == ("reject", "impossible-transit", sightings)
    nowhere = scene.sign("camera")
    assert keeper.judge(nowhere.raw, nowhere.opening).verdict is Word.ALLOW


def test_the_setting_that_searches(scene: GateScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reason = true` gives the gate its search; without clingo the start says so."""
    reasoning("reasoning")
    effects = Effects(scene.machine.store, scene.machine.vault, NoDoors(), scene.machine.reserve)
    assert open_gate(scene.machine, effects, scene.clock).keeper.search is None
    scene.machine.settings = replace(scene.machine.settings, reason=True)
    assert open_gate(scene.machine, effects, scene.clock).keeper.search is not None
    for name in [name for name in sys.modules if name.startswith(("tallystick.evidence.", "tallystick.node.searching"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "clingo", None)
    with pytest.raises(Unavailable, match="clingo is not installed"):
        open_gate(scene.machine, effects, scene.clock)


def test_the_rule_file_of_the_home(scene: GateScene) -> None:
    """`gate.rules` is in force from the start on; with a mistake in it there is no start, and line and column are told."""
    effects = Effects(scene.machine.store, scene.machine.vault, NoDoors(), scene.machine.reserve)
    file = scene.machine.home.path / "gate.rules"
    scene.introduce("camera", "sensor")
    signed = scene.sign("camera")
    assert open_gate(scene.machine, effects, scene.clock).keeper.judge(signed.raw, signed.opening).verdict is Word.ALLOW
    file.write_bytes(b"refuse cameras when class is sensor\n")
    decision = open_gate(scene.machine, effects, scene.clock).keeper.judge(signed.raw, signed.opening)
    assert decision.verdict is Word.REFUSE and decision.seen.findings[-1].rule == "owner/cameras"
    file.write_bytes(b"refuse cameras when class is sensor\nhold late when\n hour in 22..25\n")
    with pytest.raises(Malformed, match="line 3, column 14: 25 is out of range"):
        open_gate(scene.machine, effects, scene.clock)


def test_other_rules_are_an_entry(scene: GateScene) -> None:
    """Whoever is shown a rule file can compare it with what the ledger says was in force; the same rules are no second entry."""
    effects = Effects(scene.machine.store, scene.machine.vault, NoDoors(), scene.machine.reserve)
    store, file = scene.machine.store, scene.machine.home.path / "gate.rules"

    def entries() -> list[bytes]:
        open_gate(scene.machine, effects, scene.clock)
        return [row.event.blob("digest") for row in store.entries(kinds=(Kind.SETTINGS,)) if row.event.get("what") == "gate.rules"]

    assert entries() == []
    file.write_bytes(b"refuse cameras when class is sensor  # by night\n")
    first = sha256(read_rules(file.read_bytes()).text().encode())
    assert entries() == entries() == [first]
    file.write_bytes(b"# the same rule\n\nrefuse cameras\n  when class is sensor\n")
    assert entries() == [first]
    file.unlink()
    assert entries() == [first, sha256(read_rules(b"").text().encode())]


def test_the_owners_rules(scene: GateScene) -> None:
    """One refuses by a fact and names it, one holds what is more than reading."""
    scene.introduce("agent", "llm", actions=("metadata", "read", "propose", "write"))
    assert admit(scene, "agent", "llm", "propose").allowed
    rules = b'refuse red when fact zone is "red"\nhold slow when class is llm'
    assert admit(scene, "agent", "llm", "read", rules=rules).allowed
    assert found(scene) == ("low", "owner/slow", ())
    assert admit(scene, "agent", "llm", "write", rules=rules).held
    zone = fact(scene, "agent", "zone", "red")
    scene.now_ns += SECOND
    assert admit(scene, "agent", "llm", "read", rules=rules).refused
    assert found(scene) == ("reject", "owner/red", (zone,))
