"""What an owner reads of keys and rights: the same as the gate judges by, row by row."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Misuse, Refused
from tallystick.facts.fact import Point
from tallystick.gate.opening import Target
from tallystick.keys import KeyId
from tallystick.ledger.event import Event, Kind
from tallystick.node.commands.granting import read_a_place
from tallystick.node.rightsview import facts_view, find_key, key_view, keys_view, place_text
from tallystick.node.rightswhy import matrix_view, plan_view, why_view
from tallystick.node.settings import load
from tallystick.rights.action import ActionClass
from tests.node.gate_scene import SECOND, GateScene, gate_scene, run

WRITE = {"actions": ("metadata", "read", "propose", "write")}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        yield found


def why(scene: GateScene, key: str, action: str, **query: str) -> dict[str, Any]:
    """Asked at the house."""
    machine = scene.machine
    own = machine.vault.machine.signing.public.key_id
    return why_view(machine.store, own, {"key": key, "action": action, **query}, scene.now_ns)


def grant(scene: GateScene, name: str, *actions: str, **more: Any) -> int:
    """One more row."""
    fields = {
        "subject": bytes(scene.kid(name)),
        "classes": ("sensor",),
        "actions": actions,
        "key": bytes(scene.human.public.key_id),
        **more,
    }
    return scene.record(Event.of(Kind.GRANT, scene.now_ns, "pair", **fields))


def test_a_key_is_found_by_number_name_and_id(scene: GateScene) -> None:
    """And by nothing that could mean two."""
    scene.introduce("front", "sensor/camera")
    for name in ("other", "third"):
        scene.adopt("twice", scene.key(name).public, "sensor/camera")
    store, kid = scene.machine.store, scene.kid("front")
    number = store.key(kid).number  # type: ignore[union-attr]
    for text in (f"#{number}", str(number), "front", str(kid), str(kid).upper(), kid.hex(), f" #{number} "):
        assert find_key(store, text).key_id == kid
    for text in ("", "#", "999", "nobody", "twice", "key-", kid.hex()[:-1], "é", "0" * 64):
        with pytest.raises(Refused):
            find_key(store, text)
    scene.revoke("third")
    assert find_key(store, "twice").key_id == scene.kid("other")


def test_every_verdict_is_the_gates_own(scene: GateScene) -> None:
    """What `rights why --signal` says of a recorded signal is what the gate said of it, for each action and with each key behind it."""
    scene.introduce("camera", "sensor")
    scene.introduce("writer", "sensor", **WRITE)
    scene.introduce("reader", "sensor", actions=("metadata", "read"))
    keeper = scene.keeper()
    words = {"allowed": "allow", "held": "hold", "refused": "refuse"}
    for name in ("camera", "writer", "reader"):
        first = scene.sign(name, action="metadata")
        assert run(keeper.admit(first.raw, first.opening)).allowed
        for other in ("camera", "writer", "reader"):
            for action in ("metadata", "read", "egress", "propose", "write"):
                asked = scene.sign(other, action=action, prev=(first.reference,), target=Target(method="PUT", path="/x"))
                verdict = run(keeper.admit(asked.raw, asked.opening))
                found = why(scene, _number(scene, other), action, signal=str(verdict.entry))
                assert found["verdict"] == words[verdict.word], (name, other, action)
                assert (found["signal"], found["target"], found["class"]) == (verdict.entry, "PUT /x", "sensor")
                assert len([voice for voice in found["voices"] if voice["source"] == "key"]) == len({name, other})


def test_a_row_says_what_it_does_not_let_through(scene: GateScene) -> None:
    """Class, action, target, schedule, expiry, or the state of the key."""
    scene.introduce("camera", "sensor")
    rows = {
        grant(scene, "camera", "write", targets=("PUT /cam/*",)): "target",
        grant(scene, "camera", "write", classes=("feed",)): "class",
        grant(scene, "camera", "write", schedule="0 0 29 feb *"): "schedule",
        grant(scene, "camera", "write", expires=scene.now_ns): "expired",
        grant(scene, "camera", "egress"): "action",
    }
    number = _number(scene, "camera")
    found = why(scene, number, "write", target="PUT /etc/passwd")
    assert found["verdict"] == "hold"
    assert {row["entry"]: row["misses"] for row in found["rows"][1:]} == rows
    found = why(scene, number, "write", target="PUT /cam/1.jpg")
    assert (found["verdict"], [row["allows"] for row in found["rows"]]) == ("allow", [False, True, False, False, False, False])
    scene.revoke("camera")
    found = why(scene, number, "read")
    assert {row["misses"] for row in found["rows"]} == {"retired"}
    assert not any(row["allows"] for row in found["rows"])


def test_who_acts_upon_a_signal_has_its_keys_behind(scene: GateScene) -> None:
    """An agent without a context has the unknown behind it; with one what was delivered; a machine only what it names."""
    scene.introduce("camera", "sensor")
    scene.introduce("agent", "llm", **WRITE)
    keeper = scene.keeper()
    frame = scene.sign("camera", action="metadata")
    entry = run(keeper.admit(frame.raw, frame.opening)).entry
    assert {voice["subject"] for voice in why(scene, "agent", "write")["voices"]} == {"INPUT", "unknown", _number(scene, "agent")}
    upon = why(scene, "agent", "write", signal=str(entry))
    assert {voice["subject"] for voice in upon["voices"]} == {"INPUT", "unknown", _number(scene, "agent"), _number(scene, "camera")}
    assert upon["verdict"] == "hold"
    scene.record(Event.of(Kind.CONTEXT_BEGUN, scene.now_ns, "gate", subject=bytes(scene.kid("agent"))))
    assert why(scene, "agent", "write")["verdict"] == "allow"
    by_reference = why(scene, "agent", "write", signal=frame.reference.hex())
    assert (by_reference["signal"], by_reference["verdict"]) == (entry, "hold")


def test_questions_that_cannot_be_answered(scene: GateScene) -> None:
    """No such key, action or signal."""
    scene.introduce("front", "sensor")
    for query in ({"action": "wirte"}, {"signal": "x"}, {"signal": "-1"}, {"signal": "é" * 64}):
        with pytest.raises(Misuse):
            why(scene, "front", query.pop("action", "read"), **query)
    for signal in ("0", "99999", "0" * 64):
        with pytest.raises(Refused):
            why(scene, "front", "read", signal=signal)
    with pytest.raises(Refused):
        why(scene, "nobody", "read")


def test_a_schedule_is_looked_at_by_the_time_of_issue(scene: GateScene) -> None:
    """A nightly job's signal of the night is judged as of the night; what it would sign now is judged as of now."""
    night = scene.now_ns - scene.now_ns % (86_400 * SECOND)
    scene.now_ns = night
    scene.introduce("nightly", "cron", schedule="0 0 * * *", **WRITE)
    signed = scene.sign("nightly", "cron", "write")
    verdict = run(scene.keeper().admit(signed.raw, signed.opening))
    assert verdict.allowed
    scene.now_ns = night + 12 * 3_600 * SECOND
    assert why(scene, "nightly", "write", signal=str(verdict.entry))["verdict"] == "allow"
    now = why(scene, "nightly", "write")
    assert (now["verdict"], [row["misses"] for row in now["rows"]]) == ("refuse", ["schedule"])


def test_the_matrix_has_a_row_for_each_key_that_asks(scene: GateScene) -> None:
    """yes, some, ask and no; what is over is no row."""
    scene.introduce("camera", "sensor")
    scene.introduce("feed", "feed", actions=("metadata",))
    grant(scene, "camera", "write", targets=("PUT /cam/*",))
    grant(scene, "camera", "egress", expires=scene.now_ns)
    house = scene.machine.vault.machine.signing.public.key_id
    cells = {row["label"]: row for row in matrix_view(scene.machine.store, house, scene.now_ns)["keys"]}
    assert set(cells) == {"owner", "camera", "feed"}
    assert [cells["camera"][action.value] for action in ActionClass] == ["yes", "yes", "ask", "yes", "some", "ask"]
    assert [cells["feed"][action.value] for action in ActionClass] == ["yes", "no", "no", "no", "no", "no"]
    assert {cells["owner"][action.value] for action in ActionClass} == {"yes"}
    scene.revoke("camera")
    cells = {row["label"]: row for row in matrix_view(scene.machine.store, house, scene.now_ns)["keys"]}
    assert {cells["camera"][action.value] for action in ActionClass} == {"ask"}


def test_a_key_is_shown_with_all_that_is_known_of_it(scene: GateScene) -> None:
    """Rows, facts, what happened to it and by whom."""
    scene.introduce("front", "sensor", schedule="0 6 * * *")
    row = grant(scene, "front", "write", targets=("PUT /cam/*",))
    found = key_view(scene.machine.store, "front")
    owner = _number(scene, None)
    assert (found["introduced_by"], found["schedule"], found["place"], found["place_erased"]) == (owner, "0 6 * * *", None, False)
    assert [(each["entry"], each["targets"], each["by"]) for each in found["grants"]] == [(row, ["PUT /cam/*"], owner)]
    assert [(each["kind"], each["by"]) for each in found["changes"]] == [("key-introduced", owner), ("grant", owner)]
    assert (found["sightings"], found["context"], found["facts"], found["scopes"]) == (0, None, [], [])
    assert [each["label"] for each in keys_view(scene.machine.store)["keys"]][-1] == "front"
    assert facts_view(scene.machine.store, {"key": "front"}) == {"facts": []}
    with pytest.raises(Refused):
        facts_view(scene.machine.store, {"key": "nobody"})


def test_the_plan_tells_where_each_class_has_its_layers_from(scene: GateScene, tmp_path: Path) -> None:
    """The default, an entry, a parent, and what settings say beside it: the same, stronger, or not taken."""
    scene.introduce("camera", "sensor/camera")
    store = scene.machine.store

    def said(**env: str) -> dict[str, str]:
        settings = load(home=tmp_path / "house", env={"HOME": str(tmp_path), **env})
        return {row["class"]: row["why"] for row in plan_view(store, settings)["classes"]}

    assert said() == {"default": "the default", "sensor/camera": "as default"}
    full = ("crypto", "deterministic")
    entry = scene.record(Event.of(Kind.PLAN, scene.now_ns, plan={"default": full, "sensor": full}))
    assert said() == {"default": f"entry {entry}", "sensor": f"entry {entry}", "sensor/camera": "as sensor"}
    assert said(AUTH_LAYERS_SENSOR="crypto,deterministic")["sensor"] == f"entry {entry}; AUTH_LAYERS_SENSOR says the same"
    assert "not taken" in said(AUTH_LAYERS_SENSOR="crypto")["sensor"]
    signed = {"weakened": True, "key": bytes(scene.human.public.key_id)}
    scene.record(Event.of(Kind.PLAN, scene.now_ns, "pair", plan={"default": full, "sensor": ("crypto",)}, **signed))
    assert "from the next start on" in said(AUTH_LAYERS_SENSOR="crypto,deterministic", AUTH_LAYERS_DEFAULT="crypto,deterministic")["sensor"]


def test_places_are_written_as_people_do() -> None:
    """Degrees without needless zeros; names as they are."""
    for text in ("48.1374,11.5755,50", "-0.5,-179.9999999,0", "0,0,0", "Berlin", "the attic, left"):
        assert place_text(read_a_place(text)) == text
    assert read_a_place("48.1, 11.5") == Point(481000000, 115000000, 0)
    for wrong in ("91,0", "0,181", "0,0,99999999", "", "x" * 65, "a\x1bb"):
        with pytest.raises(Misuse):
            read_a_place(wrong)


def _number(scene: GateScene, name: str | None) -> str:
    kid = KeyId(bytes(scene.human.public.key_id)) if name is None else scene.kid(name)
    row = scene.machine.store.key(kid)
    assert row is not None
    return f"#{row.number}"
