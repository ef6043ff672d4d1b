"""Layer 3 as the gate runs it: it asks for a slice, and its finding names rule and facts."""

from dataclasses import replace
from typing import Any

import pytest

from tallystick.facts.fact import Fact, KnownKey, Place, Point, Sighting, Slice
from tallystick.facts.rulefile import read_rules
from tallystick.gate.deterministic import Deterministic, claim_of
from tallystick.gate.opening import Opening, Target, commitments_of, make_opening
from tallystick.gate.question import Candidate, Evidence, Finding, GateLayer, Layer, Outcome, SliceQuestion
from tests.gate.world import MACHINE, NOW_NS, SALTS, Key, proven, signal

S = 10**9
BERLIN, TOKYO = Point(525_200_000, 134_050_000, 20), Point(356_800_000, 1_397_700_000, 20)
CAMERA = Key("camera")
KNOWN = KnownKey(
    key_id=CAMERA.public.key_id, number=12, kind="source", state="standing", classes=("sensor",), actions=("propose",), introduced=5
)


def candidate(place: Place | None = None, notes: tuple[Fact, ...] = (), **change: Any) -> Candidate:
    """The camera's signal, as layer 1 let it pass."""
    value = [place.latitude_e7, place.longitude_e7, place.radius_m] if isinstance(place, Point) else place
    opening = make_opening(SALTS, target=Target(method="POST", path="/v1/signals?x=1"), place=value)  # type: ignore[arg-type]
    claims = signal(opening, **{"signal_class": "sensor/camera", "action": "propose", "verb": "sensor.frame"} | change)
    return Candidate(signal=proven(claims, CAMERA), opening=opening, key=KNOWN, place=place, now_ns=NOW_NS + S, notes=notes)


def weigh(layer: Deterministic, of: Candidate, **known: Any) -> Finding:
    """The finding on a slice with these facts."""
    return layer.weigh(of, Evidence(slice=Slice(**{"key": KNOWN} | known)))


def test_it_is_a_layer_of_the_gate() -> None:
    """By its protocol and its name."""
    layer: GateLayer = Deterministic()
    assert layer.layer is Layer.DETERMINISTIC


def test_it_asks_for_the_facts_its_rules_read() -> None:
    """Around the moment of issue; the owner's words too, each once."""
    of = candidate(issued_at_ns=NOW_NS - 7)
    asked = Deterministic().ask(of)
    assert asked == SliceQuestion(
        around_ns=NOW_NS - 7,
        predicates=("clock-uncertainty", "liveness", "place-overlap", "schedule-tolerance", "speed-limit"),
    )
    rules = read_rules(b'refuse a when fact zone is "red" hold b when fact liveness is absent and fact armed is true')
    assert Deterministic(rules=rules).ask(of).predicates == (
        *("armed", "clock-uncertainty", "liveness", "place-overlap", "schedule-tolerance", "speed-limit", "zone"),
    )


def test_what_nothing_speaks_against_passes() -> None:
    """Without a rule or a fact in the finding."""
    assert weigh(Deterministic(), candidate()) == Finding(layer=Layer.DETERMINISTIC, outcome=Outcome.PASS)


def test_a_rejection_names_rule_and_facts() -> None:
    """And says how many rules more there would have been."""
    seen = Sighting(entry=20, observed_ns=NOW_NS - 3600 * S, place=TOKYO)
    found = weigh(Deterministic(), candidate(BERLIN), sightings=(seen,))
    assert (found.outcome, found.rule, found.facts) == (Outcome.REJECT, "impossible-transit", (20,))
    assert found.why == "no way between the sightings is fast enough"
    found = weigh(Deterministic(), candidate(BERLIN), sightings=(seen,), key=replace(KNOWN, state="retired", changed=40))
    assert (found.outcome, found.rule, found.facts) == (Outcome.REJECT, "revoked-or-expired", (40,))
    assert found.why == "the key is retired, and 1 more"


def test_the_owners_rules_reject_or_lower_confidence() -> None:
    """A `hold` rule leaves metadata and read; the rules of the house come first."""
    layer = Deterministic(rules=read_rules(b'refuse red when fact zone is "red"\nhold slow when target is "POST /v1/signals*"'))
    found = weigh(layer, candidate())
    assert (found.outcome, found.rule, found.facts) == (Outcome.LOW, "owner/slow", ())
    zone = Fact(entry=31, predicate="zone", subject=None, value="red", observed_ns=NOW_NS - S)
    found = weigh(layer, candidate(), facts=(zone,))
    assert (found.outcome, found.rule, found.facts) == (Outcome.REJECT, "owner/red", (31,))
    assert weigh(layer, candidate(signal_class="feed"), facts=(zone,)).rule == "class-not-allowed"


def test_a_conflict_that_a_search_found_rejects() -> None:
    """By the sightings it names; where the rules see one by themselves theirs stands alone."""
    layer, of = Deterministic(), candidate(BERLIN)
    found = layer.weigh(of, Evidence(slice=Slice(key=KNOWN), conflict=(20, 21)))
    assert (found.outcome, found.rule, found.facts) == (Outcome.REJECT, "impossible-transit", (20, 21))
    assert found.why == "no places and times within their uncertainty fit together"
    seen = Sighting(entry=20, observed_ns=NOW_NS, place=TOKYO)
    found = layer.weigh(of, Evidence(slice=Slice(key=KNOWN, sightings=(seen,)), conflict=(20,)))
    assert (found.rule, found.why) == ("two-places", "the key was seen at another place at the same time")


def test_what_the_senses_noted_of_this_signal_counts() -> None:
    """A note has no entry yet, so none is named."""
    note = Fact(entry=0, predicate="liveness", subject=CAMERA.public.key_id, value="failed", observed_ns=NOW_NS)
    found = weigh(Deterministic(), candidate(notes=(note,)))
    assert (found.outcome, found.rule, found.facts) == (Outcome.REJECT, "liveness-contradiction", ())


def test_without_an_answer_it_is_unavailable() -> None:
    """Less confidence, never more."""
    for evidence in (None, Evidence()):
        assert Deterministic().weigh(candidate(), evidence).outcome is Outcome.UNAVAILABLE


def test_a_slice_of_another_key_is_our_own_mistake() -> None:
    """Not a reason to refuse a stranger."""
    with pytest.raises(AssertionError):
        weigh(Deterministic(), candidate(), key=replace(KNOWN, key_id=MACHINE.public.key_id))


def test_a_recorded_signal_is_judged_again_without_its_own_sighting() -> None:
    """Its reference is that of its sighting."""
    of = candidate(BERLIN)
    own = Sighting(entry=20, observed_ns=NOW_NS, place=TOKYO, signal=of.signal.reference)
    assert weigh(Deterministic(), of, sightings=(own,)).outcome is Outcome.PASS
    assert weigh(Deterministic(), of, sightings=(replace(own, signal=bytes(32)),)).rule == "two-places"


def test_a_claim_is_what_was_signed() -> None:
    """Path, place, times and reference; no target where none was committed to."""
    of = candidate("hall")
    claim = claim_of(of)
    assert (claim.target, claim.place, claim.reference) == ("POST /v1/signals?x=1", "hall", of.signal.reference)
    assert (claim.issued_at_ns, claim.now_ns) == (NOW_NS, NOW_NS + S)
    assert commitments_of(Opening())[0].target is None and claim_of(of._replace(opening=Opening())).target == ""
