"""Rows and scopes: what each refinement lets through, and that nothing but a human's word ever raises a verdict."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.facts.fact import KnownKey
from tallystick.keys import KeyId
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass
from tallystick.rights.grant import Grant, covers_class, covers_target
from tallystick.rights.matrix import CAP, LOCAL_CAP, SOURCE_ROW, UNKNOWN_RIGHTS, Rights, judge, rights_of
from tallystick.rights.scope import UNKNOWN, Request, Scope, Terms, covers
from tallystick.rights.verdict import Source, Verdict

R, H, A = Verdict.REFUSE, Verdict.HOLD, Verdict.ALLOW
KEYS = [KeyId(bytes((n,)) * 32) for n in range(1, 5)]
SIGNER, OTHER = KEYS[0], KEYS[1]
WIDTHS = (PairType.INTERFACE, PairType.USER, PairType.INPUT, PairType.ADMIN)
NOON = 100
WRITE = frozenset((ActionClass.WRITE,))


def within(schedule: str, at_ns: int) -> bool:
    """A schedule that names its one moment."""
    return int(schedule) == at_ns


def request(**changes: object) -> Request:
    """A camera writes a picture."""
    asked = Request(
        key=SIGNER,
        signal_class="sensor/camera",
        action=ActionClass.WRITE,
        verb="archive.put",
        target="PUT /cam/1.jpg",
        body=bytes(32),
        behind=(),
        now_ns=NOON,
    )
    return replace(asked, **changes)  # type: ignore[arg-type]


def rights(*grants: Grant, key: KeyId = SIGNER, halted: str = "") -> Rights:
    """The rows of a key."""
    return Rights(key=key, subject=f"#{key[0]}", grants=grants, halted=halted)


@pytest.mark.parametrize(
    ("granted", "wanted", "covered"),
    [
        ("sensor", "sensor", True),
        ("sensor", "sensor/camera", True),
        ("sensor", "sensor/camera/front", True),
        ("sensor/camera", "sensor/camera", True),
        ("sensor/camera", "sensor", False),
        ("sensor/camera", "sensor/cameras", False),
        ("sensor", "sensors", False),
        ("sensor", "sens", False),
        ("cron", "sensor", False),
    ],
)
def test_classes_inherit(granted: str, wanted: str, covered: bool) -> None:
    """A class covers itself and what is below it, by whole words."""
    assert covers_class(granted, wanted) is covered
    assert Grant(classes=("a", granted), actions=WRITE).takes_class(wanted) is covered


@pytest.mark.parametrize(
    ("pattern", "target", "covered"),
    [
        ("PUT /a", "PUT /a", True),
        ("PUT /a", "PUT /a/b", False),
        ("PUT /a*", "PUT /a/b", True),
        ("PUT /a/*", "PUT /a/", True),
        ("PUT /a/*", "PUT /a", False),
        ("*", "", True),
        ("PUT /a/*", "DELETE /a/b", False),
        ("PUT /a/*", "PUT /A/b", False),
        ("PUT /a?", "PUT /ab", False),
    ],
)
def test_targets_match_as_text(pattern: str, target: str, covered: bool) -> None:
    """Exact, or by a beginning; no other wildcard, no case folding."""
    assert covers_target(pattern, target) is covered
    assert Grant(targets=("x", pattern), actions=WRITE).takes_target(target) is covered


REFINED = {
    "": Grant(classes=("sensor",), actions=WRITE, targets=("PUT /cam/*",), schedule="100", expires_ns=NOON + 1),
    "class": Grant(classes=("sensor/door",), actions=WRITE),
    "action": Grant(actions=SOURCE_ROW),
    "target": Grant(actions=WRITE, targets=("PUT /cam", "DELETE /cam/*")),
    "expired": Grant(actions=WRITE, expires_ns=NOON),
    "schedule": Grant(actions=WRITE, schedule="99"),
}


@pytest.mark.parametrize("why", REFINED)
def test_each_refinement_says_no_by_itself(why: str) -> None:
    """A row lets through what every refinement lets through, and says which did not."""
    row = REFINED[why]
    asked = {"signal_class": "sensor/camera", "target": "PUT /cam/1.jpg", "now_ns": NOON, "within": within}
    assert row.misses(ActionClass.WRITE, **asked) == why  # type: ignore[arg-type]
    assert row.allows(ActionClass.WRITE, **asked) is (why == "")  # type: ignore[arg-type]
    assert judge(LOCAL_CAP, [rights(row)], ActionClass.WRITE, request=request(), within=within).verdict is (
        A if not why else H if why == "action" else R
    )


def test_rows_with_refinements_let_nothing_through_for_who_cannot_tell() -> None:
    """No request, no target, no clock, no calendar: only rows without that refinement count."""
    targeted, timed, hourly = REFINED["target"], REFINED["expired"], REFINED["schedule"]
    for row in (targeted, timed, hourly):
        assert judge(LOCAL_CAP, [rights(row)], ActionClass.WRITE).verdict in (R, A if row is hourly else R)
    assert judge(LOCAL_CAP, [rights(targeted)], ActionClass.WRITE, request=request(target=None)).verdict is R
    assert judge(LOCAL_CAP, [rights(replace(hourly, schedule="100"))], ActionClass.WRITE, request=request()).verdict is R


def test_a_key_behind_the_signal_is_asked_for_action_and_target_only() -> None:
    """What it signed was judged when it came: its class and its hours are not those of the signal it is behind."""
    signer = rights(Grant(actions=frozenset(ActionClass)))
    behind = Grant(classes=("feed",), actions=WRITE, schedule="99", targets=("PUT /cam/*",))
    found = judge(LOCAL_CAP, [signer, rights(behind, key=OTHER)], ActionClass.WRITE, request=request(behind=(OTHER,)), within=within)
    assert found.verdict is A
    found = judge(
        LOCAL_CAP,
        [signer, rights(behind, key=OTHER)],
        ActionClass.WRITE,
        request=request(behind=(OTHER,), target="PUT /etc/passwd"),
        within=within,
    )
    assert found.verdict is R
    over = Grant(actions=SOURCE_ROW, expires_ns=NOON)
    found = judge(LOCAL_CAP, [signer, rights(over, key=OTHER)], ActionClass.READ, request=request(action=ActionClass.READ), within=within)
    assert found.verdict is H


@pytest.mark.parametrize(("state", "verdict"), [("suspended", H), ("retired", H), ("replaced", H), ("compromised", R)])
def test_a_key_that_does_not_stand_has_no_row(state: str, verdict: Verdict) -> None:
    """Behind a signal it makes it wait, or, when it is compromised, refuses it; no scope lifts it."""
    halted = rights(Grant(actions=frozenset(ActionClass)), key=OTHER, halted=state)
    signer = rights(Grant(actions=frozenset(ActionClass)))
    for action in (ActionClass.METADATA, ActionClass.WRITE):
        scope = Scope(scope=bytes(32), subject=SIGNER, terms=Terms(verb="archive.put", origins=(OTHER,), until_ns=NOON + 1))
        found = judge(LOCAL_CAP, [signer, halted], action, request=request(action=action, behind=(OTHER,)), scopes=[scope])
        assert found.verdict is verdict
        assert [reason.why for reason in found.deciding] == [f"the key is {state}"]


def test_what_is_remembered_has_a_bound() -> None:
    """A key that signs as a thousand classes fills no memory, and each gets its answer."""
    key = rights(Grant(classes=("sensor",), actions=WRITE))
    for number in range(1_000):
        asked = request(signal_class=f"sensor/c{number}")
        assert judge(LOCAL_CAP, [key], ActionClass.WRITE, request=asked).verdict is A
        assert judge(LOCAL_CAP, [key], ActionClass.WRITE, request=replace(asked, signal_class=f"feed/c{number}")).verdict is R
    assert len(key._said) <= 64


def test_what_the_store_knows_becomes_rows() -> None:
    """The row of introduction and the grants; a source without actions has those of a source; the house's own key has all."""
    known = KnownKey(
        key_id=SIGNER, number=12, kind="source", state="standing", classes=("sensor/camera",), actions=(), introduced=40, schedule="100"
    )
    found = rights_of(known)
    assert (found.subject, found.halted) == ("#12", "")
    assert found.grants == (Grant(entry=40, classes=("sensor/camera",), actions=SOURCE_ROW, schedule="100"),)
    assert rights_of(replace(known, state="suspended")).halted == "suspended"
    assert rights_of(replace(known, kind="witness")).grants[0].actions == frozenset()
    assert rights_of(replace(known, kind="machine"), house=True).grants == (Grant(actions=frozenset(ActionClass)),)
    more = rights_of(known, [_Signed(actions=("write",), targets=("PUT /cam/*",)), _Signed(actions=(), targets=())])
    assert [row.actions for row in more.grants] == [SOURCE_ROW, WRITE, SOURCE_ROW]


class _Signed:
    """A grant as the store reads it."""

    def __init__(self, *, actions: tuple[str, ...], targets: tuple[str, ...]) -> None:
        self.entry, self.classes, self.actions, self.targets = 41, ("sensor",), actions, targets
        self.schedule, self.expires_ns = "", None


def test_the_unknown_predecessor() -> None:
    """metadata, read and propose; the rest waits for a human."""
    signer = rights(Grant(actions=frozenset(ActionClass)))
    for action in ActionClass:
        found = judge(
            PairType.ADMIN, [signer, UNKNOWN_RIGHTS], action, request=request(action=action, behind=(UNKNOWN,)), human_signed=True
        )
        assert found.verdict is (A if action in SOURCE_ROW else H)


ROWS = {
    "source": (Grant(actions=SOURCE_ROW),),
    "none": (),
    "reads": (Grant(actions=frozenset((ActionClass.METADATA, ActionClass.READ))),),
    "writes to /cam": (Grant(actions=SOURCE_ROW), Grant(actions=WRITE, targets=("PUT /cam/*",))),
    "writes elsewhere": (Grant(actions=SOURCE_ROW), Grant(actions=WRITE, targets=("PUT /elsewhere",))),
    "all, as a sensor": (Grant(classes=("sensor",), actions=frozenset(ActionClass)),),
    "all, as a feed": (Grant(classes=("feed",), actions=frozenset(ActionClass)),),
}
SOURCES = {"metadata": A, "read": A, "egress": H, "propose": A, "write": H, "admin": H}
NOTHING = dict.fromkeys(SOURCES, R)
# What each of these keys may with an ADMIN cap and without a human's signature, action by action.
UNCAPPED = {
    "source": SOURCES,
    "none": NOTHING,
    "reads": {**NOTHING, "metadata": A, "read": A},
    "writes to /cam": {**SOURCES, "write": A},
    "writes elsewhere": SOURCES,
    "all, as a sensor": {**dict.fromkeys(SOURCES, A), "admin": H},
    "all, as a feed": NOTHING,
}


@pytest.mark.parametrize(("cap", "row", "action"), list(product(PairType, ROWS, ActionClass)))
def test_every_cap_with_every_row_and_every_action(cap: PairType, row: str, action: ActionClass) -> None:
    """Caps x rows x actions, cell by cell: outside the cap refused, without propose in it never held, else as the rows say."""
    found = judge(cap, [rights(*ROWS[row])], action, request=request(action=action), within=within)
    wanted = UNCAPPED[row][action.value] if action in CAP[cap] else R
    assert found.verdict is (R if wanted is H and ActionClass.PROPOSE not in CAP[cap] else wanted)


TERMS = Terms(verb="archive.put", targets=("PUT /cam/*",), body=bytes(32), origins=(OTHER,), uses=2, until_ns=NOON + 1)
SCOPE = Scope(scope=bytes(32), subject=SIGNER, terms=TERMS, uses_left=1, entry=9)
ASKED = request(behind=(OTHER,))


@pytest.mark.parametrize(
    ("scope", "asked"),
    [
        (SCOPE, replace(ASKED, key=OTHER)),
        (SCOPE, replace(ASKED, verb="archive.rm")),
        (SCOPE, replace(ASKED, target="PUT /etc/passwd")),
        (SCOPE, replace(ASKED, target=None)),
        (SCOPE, replace(ASKED, body=b"\x01" * 32)),
        (SCOPE, replace(ASKED, body=None)),
        (SCOPE, replace(ASKED, behind=(OTHER, KEYS[2]))),
        (SCOPE, replace(ASKED, behind=(UNKNOWN,))),
        (SCOPE, replace(ASKED, now_ns=NOON + 1)),
        (replace(SCOPE, uses_left=0), ASKED),
        (SCOPE, replace(ASKED, action=ActionClass.ADMIN)),
    ],
)
def test_a_scope_covers_exactly_what_it_names(scope: Scope, asked: Request) -> None:
    """Another key, verb, target, body, origin, time, one use too many, or admin: not covered."""
    assert covers(SCOPE, ASKED)
    assert covers(SCOPE, replace(ASKED, behind=()))
    assert not covers(scope, asked)


def test_a_scope_lifts_the_rows_it_names_and_no_cap() -> None:
    """Its subject's and its origins'; a third key, a cap, a layer, low confidence or admin stay as they are."""
    signer, other = rights(Grant(actions=SOURCE_ROW)), rights(Grant(actions=SOURCE_ROW), key=OTHER)
    third = rights(Grant(actions=SOURCE_ROW), key=KEYS[2])
    found = judge(LOCAL_CAP, [signer, other], ActionClass.WRITE, request=ASKED, scopes=[SCOPE])
    assert (found.verdict, found.scope) == (A, SCOPE.scope)
    assert [reason.source for reason in found.reasons] == [Source.CAP, Source.SCOPE, Source.SCOPE]
    assert judge(LOCAL_CAP, [signer, other, third], ActionClass.WRITE, request=ASKED, scopes=[SCOPE]).verdict is H
    open_to_all = replace(SCOPE, terms=replace(TERMS, origins=None))
    assert judge(LOCAL_CAP, [signer, other], ActionClass.WRITE, request=ASKED, scopes=[open_to_all]).verdict is H
    assert judge(LOCAL_CAP, [signer], ActionClass.WRITE, request=ASKED, scopes=[open_to_all]).verdict is A
    assert judge(PairType.USER, [signer, other], ActionClass.WRITE, request=ASKED, scopes=[SCOPE]).verdict is R
    assert judge(LOCAL_CAP, [signer, other], ActionClass.WRITE, request=ASKED, scopes=[SCOPE], low_confidence=True).verdict is H
    assert judge(LOCAL_CAP, [signer, other], ActionClass.WRITE, request=ASKED, scopes=[SCOPE], failed=("deterministic", "x")).verdict is R
    admin = replace(ASKED, action=ActionClass.ADMIN)
    assert judge(PairType.ADMIN, [signer, other], ActionClass.ADMIN, request=admin, scopes=[SCOPE]).verdict is H


def test_no_scope_is_used_where_none_is_needed() -> None:
    """Uses are not spent on what the rows let through anyway; of several the first that suffices is taken."""
    writer = rights(Grant(actions=WRITE))
    assert judge(LOCAL_CAP, [writer], ActionClass.WRITE, request=ASKED, scopes=[SCOPE]).scope is None
    source = rights(Grant(actions=SOURCE_ROW))
    others = replace(SCOPE, scope=b"\x01" * 32, terms=replace(TERMS, verb="archive.rm"))
    assert judge(LOCAL_CAP, [source], ActionClass.WRITE, request=ASKED, scopes=[others, SCOPE]).scope == SCOPE.scope
    assert judge(LOCAL_CAP, [source], ActionClass.WRITE, request=ASKED, scopes=[others]).scope is None


actions = st.sampled_from(ActionClass)
grants = st.builds(
    Grant,
    entry=st.just(0),
    classes=st.sampled_from(((), ("sensor",), ("sensor/camera", "tool"), ("feed",))),
    actions=st.frozensets(actions),
    targets=st.sampled_from(((), ("PUT /cam/*",), ("PUT /cam/1.jpg",), ("GET /x",))),
    schedule=st.sampled_from(("", "100", "99")),
    expires_ns=st.sampled_from((None, NOON, NOON + 1)),
)
owners = st.builds(
    Rights,
    key=st.sampled_from([*KEYS, UNKNOWN]),
    subject=st.just("k"),
    grants=st.lists(grants, max_size=3).map(tuple),
    halted=st.sampled_from(("", "", "", "suspended", "compromised")),
)
requests = st.builds(
    Request,
    key=st.just(SIGNER),
    signal_class=st.sampled_from(("sensor", "sensor/camera", "tool", "llm")),
    action=actions,
    verb=st.just("archive.put"),
    target=st.sampled_from((None, "PUT /cam/1.jpg", "GET /x")),
    body=st.sampled_from((None, bytes(32))),
    behind=st.just(()),
    now_ns=st.just(NOON),
)
scopes = st.builds(
    Scope,
    scope=st.just(bytes(32)),
    subject=st.sampled_from(KEYS[:2]),
    terms=st.builds(
        Terms,
        verb=st.just("archive.put"),
        targets=st.sampled_from(((), ("PUT /cam/*",))),
        origins=st.sampled_from((None, (), tuple(KEYS), (OTHER,))),
        until_ns=st.sampled_from((NOON, NOON + 1)),
    ),
    uses_left=st.sampled_from((None, 0, 1)),
)
said = st.fixed_dictionaries({"human_signed": st.booleans(), "low_confidence": st.booleans()})


@given(st.sampled_from(PairType), st.lists(owners, max_size=4), owners, requests, st.lists(scopes, max_size=2), said)
def test_one_more_key_never_raises_the_verdict(
    cap: PairType, keys: list[Rights], more: Rights, asked: Request, lifted: list[Scope], voices: Any
) -> None:
    """Adding a key to the provenance, with whatever rows, even with scopes about."""
    if not keys:
        return
    before = request_of(asked, keys)
    after = request_of(asked, [*keys, more])
    first = judge(cap, keys, asked.action, request=before, scopes=lifted, within=within, **voices)
    assert judge(cap, [*keys, more], asked.action, request=after, scopes=lifted, within=within, **voices).verdict <= first.verdict


@given(st.sampled_from(PairType), st.lists(owners, min_size=1, max_size=4), requests, st.lists(scopes, max_size=2), said)
def test_less_is_never_more(cap: PairType, keys: list[Rights], asked: Request, lifted: list[Scope], voices: Any) -> None:
    """A narrower cap, low confidence, a layer that rejects, no human, a row or a scope less: the verdict is the same or lower."""
    asked = request_of(asked, keys)
    found = judge(cap, keys, asked.action, request=asked, scopes=lifted, within=within, **voices).verdict
    for narrower in WIDTHS[: WIDTHS.index(cap)]:
        assert judge(narrower, keys, asked.action, request=asked, scopes=lifted, within=within, **voices).verdict <= found
    for change in ({"low_confidence": True}, {"human_signed": False}):
        assert judge(cap, keys, asked.action, request=asked, scopes=lifted, within=within, **{**voices, **change}).verdict <= found
    assert judge(cap, keys, asked.action, request=asked, scopes=lifted[1:], within=within, **voices).verdict <= found
    assert judge(cap, keys, asked.action, request=asked, scopes=lifted, within=within, failed=("crypto", "x"), **voices).verdict is R
    for at, key in enumerate(keys):
        for gone in range(len(key.grants)):
            fewer = Rights(key=key.key, subject="k", grants=key.grants[:gone] + key.grants[gone + 1 :], halted=key.halted)
            less = [*keys[:at], fewer, *keys[at + 1 :]]
            assert judge(cap, less, asked.action, request=asked, scopes=lifted, within=within, **voices).verdict <= found


@given(st.sampled_from(PairType), st.lists(owners, min_size=1, max_size=4), requests, st.lists(scopes, min_size=1, max_size=2), said)
def test_a_scope_raises_only_what_it_names(cap: PairType, keys: list[Rights], asked: Request, lifted: list[Scope], voices: Any) -> None:
    """Where scopes change the verdict, they cover the request and name every key that did not allow it, and the cap includes it."""
    asked = request_of(asked, keys)
    bare = judge(cap, keys, asked.action, request=asked, within=within, **voices)
    found = judge(cap, keys, asked.action, request=asked, scopes=lifted, within=within, **voices)
    if found.verdict is bare.verdict:
        assert found == bare
        return
    (used,) = [scope for scope in lifted if found.scope is not None and covers(scope, asked)][:1]
    assert found.verdict is A
    assert asked.action in CAP[cap]
    assert asked.action is not ActionClass.ADMIN
    assert {reason.source for reason in bare.deciding} == {Source.KEY}
    for key in keys:
        alone = judge(cap, [key], asked.action, request=asked, within=within, human_signed=True)
        assert alone.verdict is A or (any(scope.lifts(key.key) for scope in lifted) and not key.halted)
    assert used.subject == SIGNER


@given(st.sampled_from(PairType), st.lists(owners, min_size=1, max_size=4), requests, said)
def test_prepared_rows_say_what_the_rows_say(cap: PairType, keys: list[Rights], asked: Request, voices: Any) -> None:
    """What is remembered between judgements is what a first look gives, asked in any order."""
    asked = request_of(asked, keys)
    fresh = [Rights(key=each.key, subject="k", grants=each.grants, halted=each.halted) for each in keys]
    for action in ActionClass:
        judge(cap, keys, action, request=replace(asked, action=action), within=within, **voices)
    assert judge(cap, keys, asked.action, request=asked, within=within, **voices) == judge(
        cap, fresh, asked.action, request=asked, within=within, **voices
    )
    for key in keys:
        if key.key == asked.key and not key.halted:
            allowed = any(
                row.allows(asked.action, signal_class=asked.signal_class, target=asked.target, now_ns=NOON, within=within)
                for row in key.grants
            )
            assert (key.voice(asked.action, asked, within, True).verdict is A) is allowed
            if key.plainly_allows(asked.action, asked.signal_class):
                assert allowed


def request_of(asked: Request, keys: list[Rights]) -> Request:
    """The same, with these keys behind it."""
    return replace(asked, behind=tuple(key.key for key in keys if key.key != asked.key))
