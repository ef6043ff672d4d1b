"""What a person said to the gate and what the entry says came of it: every field that differs is named."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, Unproven
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.meaning import SIGNED
from tallystick.ledger.stated import SAID, differing
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.primitives import sha256
from tallystick.storage.audit.rows import replayed
from tallystick.storage.clear import OPENED, clear_value
from tests.audit.scene import Scene
from tests.storage.gatehouse import CAMERA, NOW, judged, place_of, revoked, source
from tests.storage.house import origin, owner_introduced


def said(scene: Scene) -> list[tuple[str, Event, Any]]:
    """Every statement to the gate in the scene's ledger: verb, event, the map that was signed."""
    with Machine.open(load({}, home=scene.home, env={})) as machine:
        events = [row.event for row in machine.store.entries(limit=10_000) if row.event.get("statement") is not None]
    found = [(decode(event.blob("statement"), max_depth=8), event) for event in events]
    return [(str(stated["verb"]), event, stated) for stated, event in found if isinstance(stated, dict) and stated["verb"] in SAID]


OTHER: dict[type, Any] = {bytes: bytes(32), int: 7, str: "0 9 * * *", tuple: ()}


def test_every_field_that_differs_is_named(scene: Scene) -> None:
    """As it was recorded nothing differs; with any one field of the entry changed or left out something does."""
    statements = said(scene)
    assert {verb for verb, _, _ in statements} >= {
        "key.grant",
        "grant.withdraw",
        "fact.add",
        "signal.approve",
        "signal.deny",
        "scope.grant",
    }
    tried = 0
    for verb, event, stated in statements:
        assert list(differing(event, verb, stated)) == []
        compared = {*SAID[verb][1].values(), *{"key.grant": ("subject",), "signal.approve": ("items",)}.get(verb, ())}
        for name in compared & event.fields.keys():
            value = event.fields[name]
            change = {"items": ((1, bytes(32)),), "plan": {"default": ("crypto",)}, "predicate": "zone", "reason": "other"}.get(name)
            other = Event(
                kind=event.kind,
                time_ns=event.time_ns,
                actor=event.actor,
                fields={**event.fields, name: change if change is not None else OTHER[type(value)]},
            )
            if other.fields[name] != value:
                assert list(differing(other, verb, stated)), (verb, name)
                tried += 1
    assert tried > 30 and Kind.GRANT in SIGNED


@pytest.mark.parametrize("field", ["root", "count", "proposals"])
def test_an_approval_is_of_the_root_that_was_signed(scene: Scene, field: str) -> None:
    """Other proposals, another number of them or another root: the entry does not say what was signed."""
    verb, event, stated = next(each for each in said(scene) if each[0] == "signal.approve")
    assert list(differing(event, verb, stated | {field: sha256(b"x") if field == "root" else 5}))


def test_an_entry_that_the_gates_rules_forbid_is_found(tmp_path: Path) -> None:
    """A house that recorded an allowed signal of a revoked key cannot hide it: the replay names the entry."""
    events = (origin(), owner_introduced(), source(CAMERA), judged(CAMERA, 1), revoked(CAMERA), judged(CAMERA, 2))
    leaves = [entry.encode(each) for each in events]
    db, findings = replayed(leaves, len(leaves), tmp_path / "again.sqlite", None)
    db.close()
    assert [finding.entry for finding in findings] == [5] and "does not stand" in findings[0].meaning


OPENINGS = st.builds(lambda salt, value: encode({4: [salt, value]}), st.binary(max_size=40), st.text(max_size=9))


@given(opening=st.binary(max_size=200) | OPENINGS)
def test_any_bytes_for_an_opening(opening: bytes) -> None:
    """Whatever comes instead of an opening is Malformed or Unproven; nothing but the one that was committed to is taken."""
    commitment, right = place_of("hall", 1)
    about = {"subject": bytes(CAMERA.id), "observed": NOW, "commitment": commitment}
    event = Event.of(Kind.SIGHTING, NOW, "gate", **about)
    assert clear_value(event, right) == encode("hall") and event.kind in OPENED
    if opening != right:
        with pytest.raises((Malformed, Unproven)):
            clear_value(event, opening)
