"""The rules of the gate's state: what two callers at once could break, and what a revocation takes with it."""

from collections.abc import Mapping
from typing import Any

import pytest

from tallystick.errors import Malformed, Refused, TallyError, Unproven
from tallystick.facts.fact import Point
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage.gaterows import UNKNOWN
from tallystick.storage.sqlite import Store
from tallystick.tlog.tree import leaf_hash, root_of
from tests.storage.gatehouse import (
    AGENT,
    CAMERA,
    FEED,
    NOW,
    SECOND_HUMAN,
    approval,
    by,
    fact,
    held,
    human,
    judged,
    personal,
    place_of,
    put,
    reference,
    revoked,
    scope_granted,
    seen,
    source,
    spoken,
    terms,
    waits,
)
from tests.storage.house import OTHER, OWNER, SECOND, Key, approved, invite_consumed, invite_created, paired, proposed


def refused(store: Store, *events: Event, by: type[TallyError] = Refused, openings: tuple[bytes, ...] = ()) -> str:
    """The events are refused and leave no trace; why."""
    before = store.head(), store.gate.epochs()
    with pytest.raises(by) as caught:
        store.append(*events, openings=openings).result(30)
    assert (store.head(), store.gate.epochs()) == before
    return caught.value.message


def granted(key: Key, *, signer: Key = OWNER, **more: Any) -> Event:
    return Event.of(
        Kind.GRANT, NOW, "pair", subject=bytes(key.id), **{"classes": (), "actions": ("read",), "targets": (), **by(signer), **more}
    )


def withdrawn(kind: Kind, at: int, *, signer: Key = OWNER, **more: Any) -> Event:
    return Event.of(kind, NOW, "pair", entry=at, **by(signer), **more)


@pytest.fixture
def gate(store: Store) -> Store:
    """A house whose owner has let in a camera and an agent."""
    put(store, source(CAMERA, classes=("sensor",)), source(AGENT, classes=("llm",)))
    return store


# --- Keys and the matrix ---------------------------------------------------------------------------------------------------------


def test_a_key_is_known_with_its_place(store: Store) -> None:
    """A source comes in with a row and a place; the place is read in clear from its opening."""
    commitment, opening = place_of([473_000_000, 85_000_000, 50], "camera")
    entry = put(store, source(CAMERA, actions=("read", "propose"), targets=("/a*",), place=commitment, label="porch"), openings=(opening,))
    row = store.gate.known_key(CAMERA.id)
    assert row is not None and row.stands and row.public == CAMERA.public and row.pairing is None
    known = row.known
    assert (known.kind, known.classes, known.actions, known.targets) == ("source", ("sensor",), ("read", "propose"), ("/a*",))
    assert known.place == Point(473_000_000, 85_000_000, 50) and known.label == "porch" and known.introduced == entry
    assert store.gate.known_key(OTHER.id) is None


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(place_of("hall", 2)[1], Unproven), (personal("hall", 1)[1], Malformed), (b"\xa0", Malformed), (b"junk", Malformed)],
)
def test_another_opening_is_not_taken(store: Store, wrong: bytes, error: type[TallyError]) -> None:
    """What stands in clear is what was committed to, or the call is refused."""
    refused(store, source(CAMERA, place=place_of("hall", 1)[0]), openings=(wrong,), by=error)


def test_rows_are_granted_and_withdrawn_once(gate: Store) -> None:
    """Further rows of a known key need a standing human key with admin; a withdrawn one stays withdrawn."""
    refused(gate, granted(CAMERA, signer=OTHER), by=Unproven)
    refused(gate, granted(CAMERA, signer=CAMERA), by=Unproven)
    refused(gate, granted(OTHER))
    before = gate.gate.rights_epoch()
    commitment, opening = place_of("hall", 5)
    one = put(gate, granted(CAMERA, actions=("write",), targets=("/porch/*",), place=commitment, expires=NOW + SECOND), openings=(opening,))
    two = put(gate, granted(CAMERA))
    assert gate.gate.rights_epoch() == two > before
    rows = gate.gate.grants(CAMERA.id)
    assert [(row.entry, row.actions, row.place, row.by) for row in rows] == [
        (one, ("write",), "hall", OWNER.id),
        (two, ("read",), None, OWNER.id),
    ]
    assert [row.entry for row in gate.gate.rows(CAMERA.id)] == [2, one, two]
    refused(gate, withdrawn(Kind.GRANT_WITHDRAWN, one, subject=bytes(AGENT.id)))
    refused(gate, withdrawn(Kind.GRANT_WITHDRAWN, one, signer=OTHER), by=Unproven)
    put(gate, withdrawn(Kind.GRANT_WITHDRAWN, one, subject=bytes(CAMERA.id)))
    refused(gate, withdrawn(Kind.GRANT_WITHDRAWN, one))
    refused(gate, withdrawn(Kind.GRANT_WITHDRAWN, 2))
    assert [row.entry for row in gate.gate.grants(CAMERA.id)] == [two]
    put(gate, revoked(CAMERA))
    assert "retired" in refused(gate, granted(CAMERA))


# --- A signal finds what the gate saw --------------------------------------------------------------------------------------------


def test_a_revocation_holds_at_its_very_entry(gate: Store) -> None:
    """No allowed signal of a key that does not stand is recorded, nor one with such a key behind it; held and refused ones are."""
    put(gate, judged(CAMERA, 1), judged(AGENT, 1, signers=(bytes(UNKNOWN), bytes(CAMERA.id)), depth=1))
    put(gate, revoked(CAMERA))
    refused(gate, judged(CAMERA, 2))
    refused(gate, judged(AGENT, 2, signers=(bytes(CAMERA.id),), depth=1))
    refused(gate, judged(OTHER, 1))
    refused(gate, judged(FEED, 2), source(FEED))
    put(gate, judged(AGENT, 3, signers=(bytes(CAMERA.id),), depth=1, verdict="hold"), judged(CAMERA, 3, verdict="refuse"))


def test_a_key_that_has_expired_does_not_stand(store: Store) -> None:
    """Its expiry counts at the time of the entry."""
    put(store, source(CAMERA, expires=NOW + SECOND))
    put(store, judged(CAMERA, 1, time_ns=NOW + SECOND - 1))
    refused(store, judged(CAMERA, 2, time_ns=NOW + SECOND))


def test_a_revocation_in_the_same_group_counts(gate: Store) -> None:
    """Whatever lies between in one transaction: the order of the entries decides."""
    refused(gate, revoked(CAMERA), judged(CAMERA, 1))
    put(gate, judged(CAMERA, 1), revoked(CAMERA))


def test_signals_over_a_pair_need_the_pair(gate: Store) -> None:
    """A judged signal that a pair carried needs that pair to stand, and its effective type to include the action."""
    laptop = Key.named("laptop")
    pairing = paired(gate, laptop, "laptop")

    def carried(n: int, action: str) -> Event:
        raw = spoken(laptop, n, signal_class="machine", action=action)
        return Event.of(Kind.SIGNAL, NOW, "pair", signal=raw, verdict="allow", key=bytes(laptop.id), pairing=pairing, depth=0)

    put(gate, carried(1, "write"))
    put(gate, Event.of(Kind.DOWNGRADED, NOW, "local", pair=pairing, pair_type="USER", by="local"))
    refused(gate, carried(2, "write"))
    put(gate, carried(3, "read"))
    put(gate, Event.of(Kind.SEVERED, NOW, "local", pair=pairing, by="local"))
    refused(gate, carried(4, "read"))


# --- Facts and sightings -----------------------------------------------------------------------------------------------------------


def test_facts_are_added_and_withdrawn_once(gate: Store) -> None:
    """In clear or personal; by the house itself or with a human's signature; withdrawn for ever."""
    refused(gate, fact("liveness", actor="pair"), by=Unproven)
    refused(gate, fact("liveness", actor="pair", key=bytes(CAMERA.id)), by=Unproven)
    refused(gate, Event.of(Kind.FACT_ADDED, NOW, "gate", predicate="liveness"), by=Malformed)
    refused(gate, Event.of(Kind.FACT_ADDED, NOW, "gate", predicate="liveness", value=b"ok"), by=Malformed)
    refused(gate, fact("liveness", observed=NOW, until=NOW), by=Malformed)
    one = put(gate, fact("liveness", subject=CAMERA, until=NOW + SECOND))
    commitment, opening = personal("asleep", 1)
    about = {"predicate": "state", "subject": bytes(AGENT.id), "commitment": commitment}
    two = put(gate, Event.of(Kind.FACT_ADDED, NOW, "pair", **about, **by()), openings=(opening,))
    assert [(row.fact.entry, row.fact.value, row.personal, row.by) for row in gate.gate.facts()] == [
        (two, "asleep", True, OWNER.id),
        (one, "ok", False, None),
    ]
    assert gate.gate.facts(subject=CAMERA.id)[0].fact.until_ns == NOW + SECOND
    put(gate, withdrawn(Kind.FACT_WITHDRAWN, two))
    refused(gate, withdrawn(Kind.FACT_WITHDRAWN, two))
    refused(gate, withdrawn(Kind.FACT_WITHDRAWN, 1))
    assert [row.state for row in gate.gate.facts(state=None)] == ["withdrawn", "standing"]
    assert gate.gate.fact(two) is not None and gate.gate.fact(1) is None


def test_a_slice_holds_what_stands_at_the_moment(gate: Store) -> None:
    """Eight sightings before and after, the facts of the asked words about the key or about all, of their time."""
    for n in range(20):
        events, openings = seen(CAMERA, n, f"place {n}", observed_ns=NOW + n * SECOND)
        put(gate, *events, openings=openings)
    put(gate, fact("liveness", "past", subject=CAMERA, observed=1, until=NOW + 5 * SECOND))
    now = put(gate, fact("liveness", "now", subject=CAMERA, observed=NOW + SECOND, until=NOW + 20 * SECOND))
    put(gate, fact("liveness", "future", subject=CAMERA, observed=NOW + 15 * SECOND))
    for_all = put(gate, fact("speed-limit", 50))
    put(gate, fact("liveness", subject=AGENT), fact("other", subject=CAMERA))
    found = gate.gate.slice(CAMERA.id, NOW + 10 * SECOND, ("liveness", "speed-limit"))
    assert found is not None and found.key.key_id == CAMERA.id
    assert [sighting.place for sighting in found.sightings] == [f"place {n}" for n in range(3, 19)]
    assert [(each.entry, each.value) for each in found.facts] == [(now, "now"), (for_all, 50)]
    near = gate.gate.sightings_near(CAMERA.id, NOW, before=8, after=1)
    assert near[0].observed_ns == NOW and len(near) == 2
    row = gate.gate.signal(near[0].signal or b"")
    assert row is not None and row.key == CAMERA.id and row.entry == near[0].entry - 1
    assert gate.gate.slice(OTHER.id, NOW, ()) is None
    empty = gate.gate.slice(AGENT.id, NOW, ())
    assert empty is not None and (empty.sightings, empty.facts) == ((), ())


def test_the_sightings_behind_signals_are_found(gate: Store) -> None:
    """Each with its own signal, as long as its place is there: who erases the one erases the other."""
    places = []
    for n in range(3):
        events, openings = seen(CAMERA, n, "hall")
        places.append(put(gate, events[0], fact("mismatch", "face"), events[1], openings=(openings[0], b"", openings[1])))
        put(gate, judged(CAMERA, 100 + n))
    assert gate.gate.sightings_behind([]) == []
    assert gate.gate.sightings_behind({places[0], places[2], places[1] + 3}) == [places[0] + 2, places[2] + 2]
    put(gate, Event.of(Kind.BODY_ERASED, NOW, "local", entry=places[0] + 2, reason="asked"))
    assert gate.gate.sightings_behind(range(gate.size())) == [places[1] + 2, places[2] + 2]


def test_a_slice_has_at_most_256_facts(gate: Store) -> None:
    """Of more, those without end and the newest."""
    first = put(gate, *(fact("liveness", n, subject=CAMERA, until=NOW + 9 * SECOND if n % 2 else None) for n in range(600)))
    found = gate.gate.slice(CAMERA.id, NOW + SECOND, ("liveness",))
    assert found is not None
    assert [each.value for each in found.facts] == list(range(600 - 512, 600, 2)) and found.facts[0].entry == first + 88


# --- Contexts ------------------------------------------------------------------------------------------------------------------------


def begun(whose: Key, actor: str = "gate", **more: Any) -> Event:
    return Event.of(Kind.CONTEXT_BEGUN, NOW, actor, subject=bytes(whose.id), **more)


def delivered(key: Key, raw: bytes, **more: Any) -> Event:
    return Event.of(Kind.DELIVERED, NOW, "gate", subject=bytes(key.id), signal_hash=reference(raw), **more)


def test_a_context_gathers_what_is_delivered(gate: Store) -> None:
    """Begun by the proxy or a human; then every reference, every key behind, the greatest depth; ended with exactly that."""
    refused(gate, begun(AGENT, "pair"), by=Unproven)
    refused(gate, begun(OTHER))
    one, two, three = spoken(CAMERA, 1), spoken(CAMERA, 2), spoken(CAMERA, 3)
    put(gate, judged(CAMERA, 1, raw=one), delivered(AGENT, one))
    assert gate.gate.context(AGENT.id) is None
    start = put(gate, begun(AGENT))
    refused(gate, begun(AGENT))
    empty = gate.gate.context(AGENT.id)
    assert empty is not None and empty.field == (start, start, root_of([])) and (empty.count, empty.signers) == (0, ())
    # In the call of its signal, though findings and sightings stand between; later by its entry.
    put(gate, source(FEED, classes=("feed",)))
    at = put(gate, judged(CAMERA, 2, raw=two, signers=(bytes(FEED.id),), depth=3), fact("mismatch", "face"), delivered(AGENT, two))
    refused(gate, delivered(AGENT, three, entry=at))
    row = gate.gate.context(AGENT.id)
    assert row is not None and row.signers == tuple(sorted((CAMERA.id, FEED.id))) and (row.depth, row.has_unknown) == (3, False)
    last = put(gate, delivered(AGENT, three))
    row = gate.gate.context(AGENT.id)
    assert row is not None and row.has_unknown and UNKNOWN in row.signers
    assert row.field == (start, last, root_of([leaf_hash(reference(raw)) for raw in (two, three)])) and row.count == 2
    # A signal says its context as it is now, whatever its verdict.
    for verdict in ("allow", "hold", "refuse"):
        refused(gate, judged(AGENT, 1, verdict=verdict, context=(start, at + 2, root_of([leaf_hash(reference(two))]))))
    put(gate, judged(AGENT, 1, context=row.field))
    refused(gate, judged(CAMERA, 9, context=row.field))
    refused(gate, Event.of(Kind.CONTEXT_ENDED, NOW, "gate", subject=bytes(AGENT.id), context=(start, at, row.root)))
    put(gate, Event.of(Kind.CONTEXT_ENDED, NOW, "gate", subject=bytes(AGENT.id), context=row.field))
    assert gate.gate.context(AGENT.id) is None
    refused(gate, judged(AGENT, 2, context=row.field))
    put(gate, begun(AGENT, "pair", **by()))


def test_a_context_has_at_most_256_keys_behind_it(gate: Store) -> None:
    """One more is refused: the context is ended and another one begun."""
    put(gate, begun(AGENT))
    many = tuple(sorted(sha256(b"%d" % n) for n in range(255)))
    raw = spoken(CAMERA, 1)
    put(gate, judged(CAMERA, 1, raw=raw, signers=many, verdict="hold"), delivered(AGENT, raw))
    other = spoken(FEED, 1)
    refused(gate, source(FEED), judged(FEED, 1, raw=other), delivered(AGENT, other))
    again = spoken(CAMERA, 2)
    put(gate, judged(CAMERA, 2, raw=again), delivered(AGENT, again))


# --- Proposals and scopes --------------------------------------------------------------------------------------------------------------


def test_a_proposal_knows_its_signal(gate: Store) -> None:
    """It stands behind its signal, or names its entry; one signal waits once."""
    signal, proposal = held(CAMERA, 1, body=sha256(b"body"), preconditions=sha256(b"version"), replaces=2)
    at = put(gate, signal, fact("mismatch", "face"), proposal, openings=(b"", b"", b"body"))
    row = gate.gate.proposal(at + 2)
    assert row is not None and gate.gate.proposals() == (row,)
    assert (row.state, row.signal_entry, row.key, row.risk, row.body, row.replaces) == ("held", at, CAMERA.id, "medium", sha256(b"body"), 2)
    assert gate.opening(at + 2) == b"body"
    again = Event.of(Kind.PROPOSAL, NOW, "gate", signal_hash=row.signal_hash, cause=at)
    refused(gate, again)
    refused(gate, Event.of(Kind.PROPOSAL, NOW, "gate", signal_hash=sha256(b"x"), cause=at))
    refused(gate, Event.of(Kind.PROPOSAL, NOW, "gate", signal_hash=row.signal_hash, cause=at + 1))
    put(gate, Event.of(Kind.PROPOSAL_ENDED, NOW, entry=at + 2, reason="changed"))
    assert put(gate, again) == gate.gate.proposals()[0].entry
    ended = gate.gate.proposal(at + 2)
    assert ended is not None and (ended.state, ended.reason) == ("ended", "changed")


def begins(at: int, **more: Any) -> Event:
    return Event.of(Kind.EFFECT_BEGUN, more.pop("time_ns", NOW), effect="archive.put", entry=at, **more)


def ended(at: int, reason: str = "released") -> Event:
    return Event.of(Kind.PROPOSAL_ENDED, NOW, entry=at, reason=reason)


def denied(at: int) -> Event:
    return Event.of(Kind.PROPOSAL_DENIED, NOW, "pair", entry=at, reason="denied", **by())


STATES = {
    # From each state: which of approve, deny, release (its effect begins), end as released, end as expired may happen.
    "held": ("approve", "deny", "expire"),
    "approved": ("begin", "release", "expire"),
    "begun": ("release", "expire"),
    "denied": (),
    "ended": (),
    "void": (),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("step", ["approve", "deny", "begin", "release", "expire"])
def test_the_states_of_a_proposal(gate: Store, state: str, step: str) -> None:
    """Every step from every state: decided once, released once, over once."""
    item = waits(gate, CAMERA, 1)
    at = item[0]
    steps = {
        "approve": approval(item),
        "deny": (denied(at),),
        "begin": (begins(at),),
        "release": (ended(at),),
        "expire": (ended(at, "expired"),),
    }
    ways: dict[str, tuple[str, ...]] = {"approved": ("approve",), "begun": ("approve", "begin"), "denied": ("deny",), "ended": ("expire",)}
    for way in ways.get(state, ()):
        put(gate, *(approval(item) if way == "approve" else steps[way]))
    if state == "void":
        put(gate, revoked(CAMERA))
    row = gate.gate.proposal(at)
    assert row is not None and row.state == state
    if step in STATES[state]:
        put(gate, *steps[step])
    else:
        refused(gate, *steps[step])


def test_an_approval_names_exactly_what_waits(gate: Store) -> None:
    """Another hash, an expired or unknown proposal, another key's signature: nothing of it counts; else all of it at once."""
    one, two = waits(gate, CAMERA, 1), waits(gate, AGENT, 1, expires_ns=NOW)
    three = waits(gate, AGENT, 2)
    refused(gate, *approval((one[0], sha256(b"other"))), by=Unproven)
    refused(gate, *approval((1, one[1])), by=Unproven)
    assert "expired" in refused(gate, *approval(one, two))
    refused(gate, *approval(one, signer=CAMERA), by=Unproven)
    refused(gate, *approval(one, expires=NOW))
    at = put(gate, *approval(one, three))
    rows = gate.gate.proposals("approved")
    assert [(row.approved, row.approved_by) for row in rows] == [(at, OWNER.id)] * 2


def test_a_release_finds_keys_and_approval_as_they_are_now(gate: Store) -> None:
    """The effect of an approved proposal does not begin when a key behind it was revoked or the approval is over."""
    raw = spoken(AGENT, 1, action="write")
    signal = judged(AGENT, 1, verdict="hold", raw=raw, signers=(bytes(CAMERA.id),), depth=1)
    at = put(gate, signal, Event.of(Kind.PROPOSAL, NOW, "gate", signal_hash=sha256(raw))) + 1
    put(gate, *approval((at, sha256(raw))))
    assert "expired" in refused(gate, begins(at, time_ns=NOW + 61 * SECOND))
    put(gate, revoked(CAMERA))
    refused(gate, begins(at))
    put(gate, ended(at, "changed"))


def test_a_scope_stands_by_its_statement(gate: Store) -> None:
    """Its name is the hash of the statement, its terms are the statement's, its signer a human with admin."""
    scope = scope_granted(CAMERA, terms(uses=2, targets=("/a", "/b*"), origins=(AGENT.id,), body=sha256(b"x")))
    for name, value in {"scope": bytes(32), "subject": bytes(AGENT.id), "uses": 3, "targets": ("/a",), "expires": NOW + 1}.items():
        changed = Event.of(Kind.SCOPE, NOW, "pair", **{**scope.fields, name: value})
        refused(gate, changed, by=Malformed)
    refused(gate, scope_granted(CAMERA, terms(), signer=AGENT), by=Unproven)
    refused(gate, Event.of(Kind.SCOPE, NOW, "house", scope=bytes(32), subject=bytes(CAMERA.id), expires=NOW + 1), by=Unproven)
    at = put(gate, scope)
    (row,) = gate.gate.scopes(CAMERA.id)
    assert row == gate.gate.scope(scope.blob("scope")) and gate.gate.all_scopes() == (row,)
    assert (row.entry, row.state, row.verb, row.targets, row.origins) == (at, "open", "camera.frame", ("/a", "/b*"), (AGENT.id,))
    assert (row.body, row.uses, row.uses_left, row.by) == (sha256(b"x"), 2, 2, OWNER.id)
    again = Event.of(Kind.SCOPE, NOW, "pair", **{**scope.fields, "signal": scope_granted(CAMERA, terms()).blob("signal")})
    refused(gate, again)
    named: dict[str, Any] = {"scope": scope.blob("scope")}
    refused(gate, judged(AGENT, 1, **named))
    refused(gate, judged(CAMERA, 1, scope=bytes(32)))
    put(gate, judged(CAMERA, 1, **named), judged(CAMERA, 2, verdict="hold", **named))
    assert gate.gate.scopes(CAMERA.id)[0].uses_left == 1
    put(gate, judged(CAMERA, 3, **named))
    refused(gate, judged(CAMERA, 4, **named))
    assert gate.gate.scopes(CAMERA.id) == () and gate.gate.scopes(CAMERA.id, state="used")[0].uses_left == 0
    put(gate, Event.of(Kind.SCOPE_ENDED, NOW, "pair", reason="withdrawn", **named, **by()))
    refused(gate, Event.of(Kind.SCOPE_ENDED, NOW, "pair", reason="withdrawn", **named, **by()))


def test_a_scope_ends_with_its_time_or_its_withdrawal(gate: Store) -> None:
    """Expired or withdrawn, it is not used any more."""
    short, long = scope_granted(CAMERA, terms(until_ns=NOW + 1)), scope_granted(CAMERA, terms())
    put(gate, short, long)
    put(gate, judged(CAMERA, 1, scope=short.blob("scope")))
    refused(gate, judged(CAMERA, 2, scope=short.blob("scope"), time_ns=NOW + 1))
    put(gate, Event.of(Kind.SCOPE_ENDED, NOW, "pair", scope=long.blob("scope"), reason="withdrawn", **by()))
    refused(gate, judged(CAMERA, 2, scope=long.blob("scope")))


def test_an_approval_may_give_a_scope(gate: Store) -> None:
    """Right behind it, named by its statement, for a key whose proposal it approves."""
    item = waits(gate, CAMERA, 1)
    approved_, scope = approval(item, key=CAMERA, what=terms(uses=5))
    refused(gate, scope, by=Unproven)
    refused(gate, *approval(item, key=AGENT, what=terms(uses=5)), by=Unproven)
    refused(gate, approved_, Event.of(Kind.SCOPE, NOW, "pair", **{**scope.fields, "uses": 6}), by=Malformed)
    put(gate, approved_, scope)
    assert gate.gate.scopes(CAMERA.id)[0].uses_left == 5


# --- The plan --------------------------------------------------------------------------------------------------------------------------


def test_a_weaker_plan_is_signed(gate: Store) -> None:
    """A layer that a class loses, also by what it inherits, needs a human; more layers need nobody."""

    def planned(plan: Mapping[str, tuple[str, ...]], **more: Any) -> Event:
        return Event.of(Kind.PLAN, NOW, "house", plan=plan, **more)

    first: dict[str, tuple[str, ...]] = {"default": ("crypto", "deterministic"), "sensor": ("crypto", "sensory", "deterministic")}
    at = put(gate, planned(first))
    assert gate.gate.plan() == (at, first)
    put(gate, planned(first | {"cron": ("crypto", "deterministic", "probabilistic")}))
    weaker: Mapping[str, tuple[str, ...]]
    for weaker in (
        {"default": ("crypto",)},
        first | {"sensor/camera": ("crypto", "deterministic")},
        {"default": ("crypto", "deterministic")},
        first,
    ):
        refused(gate, planned(weaker), by=Unproven)
        refused(gate, planned(weaker, **by(CAMERA)), by=Unproven)
    refused(gate, planned(first | {"cron": ("crypto", "deterministic", "probabilistic")}, weakened=True), by=Unproven)
    put(gate, planned({"default": ("crypto",)}, weakened=True, **by()))


# --- What falls with a compromised key -------------------------------------------------------------------------------------------------


def test_a_compromised_key_takes_along_what_it_signed_since(store: Store) -> None:
    """From the entry named on: keys, what those signed, rows, facts, scopes, approvals and pairs; nothing of before or of others."""
    third = Key.named("third human")
    put(store, human(SECOND_HUMAN), source(CAMERA))
    early_grant = put(store, granted(CAMERA, signer=SECOND_HUMAN))
    since = store.size()
    put(store, source(AGENT, signer=SECOND_HUMAN), human(third, signer=SECOND_HUMAN))
    late_grant = put(store, granted(CAMERA, signer=SECOND_HUMAN))
    deep_grant = put(store, granted(CAMERA, signer=third))
    put(store, source(FEED, signer=third))
    owners = put(store, granted(CAMERA))
    bad = put(store, Event.of(Kind.FACT_ADDED, NOW, "pair", predicate="speed-limit", value=b"\x01", **by(SECOND_HUMAN)))
    scope = scope_granted(CAMERA, terms(), signer=SECOND_HUMAN)
    at_scope = put(store, scope)
    one, two = waits(store, CAMERA, 1), waits(store, CAMERA, 2)
    put(store, *approval(one, signer=SECOND_HUMAN))
    put(store, *approval(two))
    laptop, tablet = Key.named("laptop"), Key.named("tablet")
    tag, pairing = sha256(b"tag"), sha256(b"pair of laptop")
    put(store, invite_created(tag, label="laptop"), invite_consumed(tag), proposed(laptop, pairing, invite=tag))
    put(store, approved(pairing, by=SECOND_HUMAN))
    ready, promised = sha256(b"ready"), sha256(b"pair of tablet")
    put(
        store, invite_created(ready, preapproved=True, **by(SECOND_HUMAN)), invite_consumed(ready), proposed(tablet, promised, invite=ready)
    )
    put(store, Event.of(Kind.PAIRING_APPROVED, NOW, "local", pair=promised, pair_type="INPUT", by="policy"))
    waiting = sha256(b"waiting")
    put(store, invite_created(waiting, **by(SECOND_HUMAN)))

    cause = put(store, revoked(SECOND_HUMAN, how="compromised", since=since))

    suspended = {(row.kind, bytes(row.identity) or row.entry) for row in store.gate.suspended()}
    assert suspended == {
        ("key", bytes(AGENT.id)),
        ("key", bytes(third.id)),
        ("key", bytes(FEED.id)),
        ("grant", late_grant),
        ("grant", deep_grant),
        ("fact", bad),
        ("scope", scope.blob("scope")),
        ("pair", pairing),
        ("pair", promised),
    }
    assert {row.cause for row in store.gate.suspended()} == {cause} and at_scope in {row.entry for row in store.gate.suspended()}
    assert [row.entry for row in store.gate.grants(CAMERA.id)] == [early_grant, owners]
    assert [row.entry for row in store.gate.proposals("held")] == [one[0]]
    assert [row.entry for row in store.gate.proposals("approved")] == [two[0]]
    first, other = store.pair(pairing), store.invite(waiting)
    assert first is not None and first.state == "restored" and other is not None and other.state == "void"
    for key in (laptop, tablet):
        row = store.key(key.id)
        assert row is not None and row.state == "suspended"
    # Each is resumed or let go.
    put(store, Event.of(Kind.KEY_RESUMED, NOW, "pair", subject=bytes(AGENT.id), **by()))
    put(store, withdrawn(Kind.GRANT_WITHDRAWN, late_grant), withdrawn(Kind.FACT_WITHDRAWN, bad))
    put(store, Event.of(Kind.PAIRING_RESIGNED, NOW, "pair", pair=pairing, pair_type="INPUT", **by()))
    put(store, Event.of(Kind.SCOPE_ENDED, NOW, "pair", scope=scope.blob("scope"), reason="withdrawn", **by()))
    assert {row.kind for row in store.gate.suspended()} == {"key", "grant", "pair"}


def test_what_the_house_took_from_a_compromised_source_falls_with_it(gate: Store) -> None:
    """A fact noted about a signal stands as long as nobody doubts the key that signed that signal."""
    early = put(gate, judged(CAMERA, 1), fact("mismatch", "face", subject=AGENT, cause=4))
    late = put(gate, judged(CAMERA, 2), fact("mismatch", "voice", subject=AGENT, cause=6))
    assert [row.by for row in gate.gate.facts()] == [CAMERA.id] * 2
    put(gate, revoked(CAMERA, how="compromised", since=late))
    assert [row.fact.entry for row in gate.gate.facts()] == [early + 1]
    # It was in doubt for longer than was known; never for less.
    refused(gate, revoked(CAMERA, how="compromised", since=late))
    put(gate, revoked(CAMERA, how="compromised", since=early))
    assert gate.gate.facts() == ()


def test_a_retired_key_takes_only_its_own_proposals(gate: Store) -> None:
    """They become void; what it signed before stands."""
    put(gate, human(SECOND_HUMAN))
    grant = put(gate, granted(CAMERA, signer=SECOND_HUMAN))
    item, other = waits(gate, CAMERA, 1), waits(gate, AGENT, 1)
    put(gate, revoked(SECOND_HUMAN))
    assert [row.entry for row in gate.gate.grants(CAMERA.id)] == [grant]
    put(gate, revoked(CAMERA))
    assert [(row.entry, row.state) for row in gate.gate.proposals(None)] == [(item[0], "void"), (other[0], "held")]


def test_a_revocation_does_not_lock_everybody_out(store: Store) -> None:
    """If all human keys with admin were signed in by the compromised one, nobody would be left: only the recovery key replaces them."""
    put(store, human(SECOND_HUMAN))
    refused(store, revoked(OWNER, how="compromised", since=0, signer=SECOND_HUMAN))
    put(store, revoked(OWNER, how="compromised", signer=SECOND_HUMAN))


# --- The whole house -------------------------------------------------------------------------------------------------------------------


def test_a_restored_house_forgets_what_was_promised(gate: Store) -> None:
    """Scopes, proposals and contexts are void after a restore; keys wait for a human, facts and rows stand."""
    scope = scope_granted(CAMERA, terms())
    grant = put(gate, scope, granted(CAMERA), begun(AGENT), fact("speed-limit", 5)) + 1
    item = waits(gate, CAMERA, 1)
    put(gate, Event.of(Kind.CLOSED, NOW, "local", reason="restoring", owner=bytes(OWNER.id)))
    refused(gate, begun(CAMERA))
    fields = {"seen": (), "predecessor": (bytes(32), 1, bytes(32)), "log_name": "tally.test/house/1"}
    put(gate, Event.of(Kind.RESTORED, NOW, "pair", **fields, **by()))
    row = gate.gate.proposal(item[0])
    assert row is not None and row.state == "void" and gate.gate.context(AGENT.id) is None
    assert [scope.state for scope in gate.gate.all_scopes(state=None)] == ["void"]
    assert [row.entry for row in gate.gate.grants(CAMERA.id)] == [grant] and len(gate.gate.facts()) == 1
    refused(gate, judged(CAMERA, 7))
    assert {row.kind for row in gate.gate.suspended()} == {"key"}


def test_epochs_change_with_what_they_are_of(gate: Store) -> None:
    """A plain entry changes none; a sighting the state; what humans decide both."""
    before = gate.gate.epochs()
    put(gate, Event.of(Kind.ANSWER, NOW, status=200), judged(CAMERA, 1))
    assert gate.gate.epochs() == before
    events, openings = seen(CAMERA, 2, "hall")
    at = put(gate, *events, openings=openings) + 1
    assert gate.gate.epochs() == (at, before[1])
    at = put(gate, granted(CAMERA))
    assert gate.gate.epochs() == (at, at)
    scope = scope_granted(CAMERA, terms())
    at = put(gate, scope)
    used = put(gate, judged(CAMERA, 3, scope=scope.blob("scope")))
    assert gate.gate.epochs() == (used, at)
    assert gate.gate.epoch() == used and gate.gate.rights_epoch() == at


def test_a_finding_of_the_house_is_found_by_its_reference(gate: Store) -> None:
    """It is signed by the house's key, so that it can be a predecessor, before and after it is indexed."""
    house = Key.named("house")
    raw = spoken(house, 1, signal_class="finding", action="metadata", verb="gate.finding")
    about = {"signal_hash": bytes(32), "layer": "deterministic", "outcome": "reject", "signers": (bytes(CAMERA.id),)}
    at = put(gate, Event.of(Kind.FINDING, NOW, "gate", signal=raw, **about))
    row = gate.gate.signal(reference(raw))
    assert row is not None and (row.entry, row.key, row.signal_class, row.verdict) == (at, house.id, "finding", "allow")
    assert row.behind == {house.id, CAMERA.id} and row.signed_hash == sha256(raw)
    put(gate, *(Event.of(Kind.ANSWER, NOW, status=200) for _ in range(2_000)))
    assert gate.gate.signal(reference(raw)) == row == gate.gate.signal_at(at)
    with gate.moment():
        assert gate.gate.signal(bytes(32)) is None and gate.gate.signal_at(0) is None and gate.gate.signal_at(10**6) is None
