"""What the gate finds once and keeps says what asking each time would say."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.facts.fact import Fact, KnownKey, Point, Sighting, Slice
from tallystick.facts.rulefile import read_rules
from tallystick.facts.schedule import within
from tallystick.gate.crypto import may_speak_as
from tallystick.gate.deterministic import Deterministic
from tallystick.gate.opening import Opening
from tallystick.gate.question import Candidate, Evidence, Outcome
from tallystick.keys import KeyId
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass
from tallystick.rights.grant import Grant
from tallystick.rights.matrix import Rights, judge, plainly_allowed
from tallystick.rights.scope import Request
from tallystick.rights.verdict import Verdict
from tests.gate.world import EMPTY, MACHINE, NOW_NS, Key, proven, seed, signal

CAMERA = Key("camera of shortcuts")
HOURS = 3_600 * 10**9
actions = st.sampled_from(list(ActionClass))
class_words = st.sampled_from(["sensor", "sensor/camera", "feed", "llm", "sensors"])
grants = st.builds(
    Grant,
    classes=st.lists(class_words, max_size=2).map(tuple),
    actions=st.frozensets(actions, max_size=4),
    targets=st.lists(st.sampled_from(["PUT /a", "PUT /*"]), max_size=1).map(tuple),
    schedule=st.sampled_from(["", "* * * * *", "0 0 29 2 *"]),
    expires_ns=st.none() | st.sampled_from([NOW_NS - 1, NOW_NS + HOURS]),
)


def rights(name: str) -> st.SearchStrategy[Rights]:
    key = KeyId(seed(name))
    halted = st.sampled_from(["", "", "", "suspended", "retired", "compromised"])
    return st.builds(Rights, key=st.just(key), subject=st.just(name), grants=st.lists(grants, max_size=3).map(tuple), halted=halted)


@settings(max_examples=300)
@given(
    st.sampled_from(list(PairType)),
    rights("own"),
    st.lists(rights("other"), max_size=2),
    actions,
    class_words,
    st.sampled_from(["PUT /a", "GET /b", None]),
)
def test_what_is_plainly_allowed_is_allowed(
    cap: PairType, own: Rights, behind: list[Rights], action: ActionClass, signal_class: str, target: str | None
) -> None:
    """Never a yes where `judge` says anything else, whatever the target and the time; and a yes where nothing is refined."""
    plainly = plainly_allowed(cap, own, behind, action, signal_class)
    for now_ns in (NOW_NS, NOW_NS + 2 * HOURS):
        request = Request(
            key=own.key,
            signal_class=signal_class,
            action=action,
            verb="a.b",
            target=target,
            behind=[each.key for each in behind],
            now_ns=now_ns,
        )
        verdict = judge(cap, [own, *behind], action, request=request, within=within).verdict
        if plainly:
            assert verdict is Verdict.ALLOW
        elif verdict is Verdict.ALLOW:
            assert action is ActionClass.ADMIN or any(not row.plain for each in (own, *behind) for row in each.grants)


facts = st.builds(
    Fact,
    entry=st.integers(1, 99),
    predicate=st.sampled_from(["liveness", "speed-limit", "attested", "schedule-tolerance"]),
    subject=st.sampled_from([CAMERA.public.key_id, None]),
    value=st.sampled_from(["ok", "failed", 5]),
    observed_ns=st.just(NOW_NS - HOURS),
)
keys = st.builds(
    KnownKey,
    key_id=st.just(CAMERA.public.key_id),
    number=st.just(7),
    kind=st.just("source"),
    state=st.sampled_from(["standing", "standing", "standing", "suspended"]),
    classes=st.lists(class_words, max_size=3).map(tuple),
    actions=st.just(()),
    schedule=st.sampled_from(["", "", "0 0 29 2 *"]),
    expires_ns=st.sampled_from([None, None, NOW_NS]),
    place=st.sampled_from([None, Point(0, 0, 5)]),
)
sightings = st.lists(st.builds(Sighting, entry=st.just(3), observed_ns=st.just(NOW_NS - HOURS), place=st.just(Point(0, 0, 5))), max_size=2)


@settings(max_examples=300)
@given(keys, st.lists(facts, max_size=3), sightings, class_words, st.booleans(), st.integers(0, 3))
def test_where_a_layer_is_silent_it_passes(
    key: KnownKey, known: list[Fact], seen: list[Sighting], signal_class: str, ruled: bool, hours: int
) -> None:
    """Silent means: no signal of a class the key may speak as, without a place, meets an objection, now or later."""
    layer = Deterministic(rules=read_rules(b"refuse all when action is read\n")) if ruled else Deterministic()
    evidence = Evidence(slice=Slice(key=key, sightings=tuple(seen), facts=tuple(known)))
    if not layer.silent(evidence) or not may_speak_as(key.kind, key.classes, signal_class):
        return
    claims = replace(signal(), commitments=EMPTY, signal_class=signal_class, action="read", issued_at_ns=NOW_NS + hours * HOURS)
    candidate = Candidate(signal=proven(claims, CAMERA), opening=Opening(), key=key, place=None, now_ns=NOW_NS + hours * HOURS)
    assert layer.weigh(candidate, evidence).outcome is Outcome.PASS


def test_silence_is_found_where_there_is_nothing_to_say() -> None:
    """Otherwise nothing above would be tested."""
    plain = KnownKey(key_id=CAMERA.public.key_id, number=1, kind="source", state="standing", classes=("sensor",), actions=())
    assert Deterministic().silent(Evidence(slice=Slice(key=plain)))
    assert not Deterministic().silent(Evidence(slice=Slice(key=replace(plain, schedule="* * * * *"))))
    assert plainly_allowed(
        PairType.INPUT,
        Rights(key=MACHINE.public.key_id, subject="#1", grants=(Grant(actions=frozenset((ActionClass.READ,))),)),
        (),
        ActionClass.READ,
        "sensor",
    )
