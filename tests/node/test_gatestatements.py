"""Human statements about keys and rights at a house: what comes of each, and what is refused before anything is recorded."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.canonical import Value, encode
from tallystick.errors import Malformed, Refused, TallyError, Unavailable, Unproven
from tallystick.facts.fact import Point, write_value
from tallystick.gate.opening import TAGS, Opened, Opening, commit, encode_opening
from tallystick.gate.statement import sign_statement
from tallystick.keys import KeyId
from tallystick.ledger.receipt import Receipt
from tallystick.node.rightsview import key_view
from tallystick.node.verifying import judge
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import BodyErase
from tallystick.passage.pairing import Signed
from tallystick.primitives import sha256
from tallystick.rights.matrix import rights_of
from tallystick.rights.scope import Terms
from tallystick.rights.statement import (
    ContextBegin,
    ContextEnd,
    FactAdd,
    FactWithdraw,
    GatePlan,
    GrantWithdraw,
    KeyGrant,
    KeyRevoke,
    ScopeGrant,
    ScopeWithdraw,
    SignalApprove,
    SignalDeny,
    Statement,
    encode_statement,
)
from tests.gate.world import Key
from tests.node.estate import Estate, Human, introduced
from tests.node.test_statements import Desk

CAMERA, AGENT = Key("camera").public, Key("agent").public
PLACE = Opened(salt=bytes(32), value=[481374000, 115755000, 50])
GRANT = KeyGrant(key=CAMERA, classes=("sensor/camera",))


class RightsDesk(Desk):
    """The house's statements about rights."""

    def bundle(self, statement: Statement, **more: Any) -> bytes:
        """Signed by the owner unless told."""
        given: dict[str, Any] = {"issued_at_ns": time.time_ns(), "stream": bytes(16), "n": next(self.numbers), "salt": bytes(32)} | more
        signer = given.pop("signer", None) or self.estate.owner.signer
        return sign_statement(signer, encode_statement(statement), house_id=self.estate.house.house_id, **given)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.numbers = iter(range(1_000))

    def states(self, statement: Statement, *, secret: bytes | None = None, by: str = "owner", **more: Any) -> int:
        """Signed and submitted: its entry."""
        return int(self.submit(self.bundle(statement, **more), secret=secret, by=by)["entry"])

    def turns_away(
        self, error: type[TallyError], statement: Statement, *, secret: bytes | None = None, by: str = "owner", **more: Any
    ) -> str:
        """Refused with this error, and nothing of it is kept; the message."""
        before, asked = self.store.size(), list(self.doors.asked)
        with pytest.raises(error) as caught:
            self.states(statement, secret=secret, by=by, **more)
        assert (self.store.size(), self.doors.asked) == (before, asked)
        return caught.value.message

    @property
    def store(self) -> Any:
        """Of the house."""
        return self.estate.house.store

    @property
    def now(self) -> int:
        return time.time_ns()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[RightsDesk]:
    made = Estate.at(tmp_path)
    yield RightsDesk(made)
    made.close()


def placed(opened: Opened = PLACE) -> dict[str, Any]:
    """The commitment of a place, and its opening."""
    return {"place": commit(TAGS[4], opened.salt, opened.value)}


def test_a_source_key_is_introduced_with_its_row_and_its_place(desk: RightsDesk) -> None:
    """The house knows it from then on; its place lies in the body slot, in no leaf, and an auditor can hold the two together."""
    at = desk.states(
        KeyGrant(
            key=CAMERA,
            classes=("sensor/camera",),
            actions=("metadata", "write"),
            targets=("PUT /cam/*",),
            schedule="0 6 * * *",
            expires_ns=desk.now + 10**12,
            label="front-door",
            **placed(),
        ),
        secret=encode_opening(Opening(place=PLACE)),
    )
    row = desk.store.key(CAMERA.key_id)
    assert (row.kind, row.state, row.label, row.introduced) == ("source", "standing", "front-door", at)
    assert row.introduced_by == desk.estate.owner.public.key_id
    known = desk.store.gate.known_key(CAMERA.key_id).known
    assert (known.place, known.schedule, known.targets) == (Point(481374000, 115755000, 50), "0 6 * * *", ("PUT /cam/*",))
    entry = desk.store.entry(at)
    assert judge(entry.event, desk.store.opening(at)) == ""
    assert encode(481374000) not in entry.leaf


def test_a_place_is_forgotten_and_the_key_stays(desk: RightsDesk) -> None:
    """After an erasure nobody knows where the key may be; that it was said stays, and so does the key."""
    at = desk.states(KeyGrant(key=CAMERA, classes=("sensor",), **placed()), secret=encode_opening(Opening(place=PLACE)))
    assert key_view(desk.store, str(CAMERA.key_id))["place"] == "48.1374,11.5755,50"
    desk.say(BodyErase(entry=at, erased=(), reason="asked"))
    found = key_view(desk.store, str(CAMERA.key_id))
    assert (found["place"], found["place_erased"], found["state"]) == (None, True, "standing")
    assert desk.store.gate.known_key(CAMERA.key_id).known.place is None


def test_a_known_key_gets_one_more_row_which_can_be_withdrawn(desk: RightsDesk) -> None:
    """And only once; the row of its introduction goes with the key."""
    first = desk.states(GRANT)
    more = desk.states(KeyGrant(key=CAMERA, classes=("sensor",), actions=("write",), targets=("PUT /cam/*",)))
    rights = rights_of(desk.store.gate.known_key(CAMERA.key_id).known, desk.store.gate.grants(CAMERA.key_id))
    assert [grant.entry for grant in rights.grants] == [first, more]
    desk.turns_away(Refused, GrantWithdraw(grant=first))
    desk.turns_away(Refused, GrantWithdraw(grant=0))
    desk.turns_away(Refused, GrantWithdraw(grant=10**6))
    desk.states(GrantWithdraw(grant=more))
    assert desk.store.gate.grants(CAMERA.key_id) == ()
    desk.turns_away(Refused, GrantWithdraw(grant=more))


def test_what_no_key_is_granted(desk: RightsDesk) -> None:
    """Keys of machines, humans and the house, keys that were revoked, grants that are over, another name for a known key."""
    laptop = desk.estate.pair("laptop")
    house = desk.estate.house.vault.machine.signing.public
    for key in (laptop.signing_key, desk.estate.owner.public, house):
        desk.turns_away(Refused, KeyGrant(key=key, classes=("tool",)))
    desk.turns_away(Refused, KeyGrant(key=CAMERA, classes=("tool",), expires_ns=1))
    desk.states(KeyGrant(key=CAMERA, classes=("tool",), label="camera"))
    desk.turns_away(Refused, KeyGrant(key=CAMERA, classes=("tool",), label="another"))
    desk.states(KeyRevoke(key=CAMERA.key_id, how="retired"))
    desk.turns_away(Refused, KeyGrant(key=CAMERA, classes=("tool",)))
    assert desk.doors.asked == [("recheck", b"")]


OTHER = Opened(salt=bytes(32), value="Berlin")
SECRETS: list[tuple[Statement, bytes | None, type[TallyError]]] = [
    (KeyGrant(key=CAMERA, classes=("sensor",), **placed()), None, Malformed),
    (GRANT, encode_opening(Opening(place=PLACE)), Malformed),
    (KeyGrant(key=CAMERA, classes=("sensor",), **placed()), b"\xff", Malformed),
    (KeyGrant(key=CAMERA, classes=("sensor",), **placed()), encode_opening(Opening(place=OTHER)), Unproven),
    (KeyGrant(key=CAMERA, classes=("sensor",), **placed()), encode_opening(Opening(sensor=PLACE)), Unproven),
    (KeyGrant(key=CAMERA, classes=("sensor",), **placed()), encode_opening(Opening(place=PLACE, sensor=PLACE)), Unproven),
    (KeyGrant(key=CAMERA, classes=("sensor",), **placed(Opened(salt=bytes(32), value=7))), None, Malformed),
    (FactAdd(predicate="x", subject=None, value=write_value(True)), encode_opening(Opening(observations=(PLACE,))), Malformed),
    (FactAdd(predicate="x", subject=None, commitment=commit(TAGS[5], bytes(32), "Ada")), None, Malformed),
    (
        FactAdd(predicate="x", subject=None, commitment=commit(TAGS[4], bytes(32), "Ada")),
        encode_opening(Opening(observations=(OTHER,))),
        Unproven,
    ),
    (KeyRevoke(key=CAMERA.key_id, how="retired"), b"\xa0", Malformed),
]


@pytest.mark.parametrize(("statement", "secret", "error"), SECRETS, ids=range(len(SECRETS)))
def test_an_opening_is_exactly_what_was_signed(
    desk: RightsDesk, statement: Statement, secret: bytes | None, error: type[TallyError]
) -> None:
    """None too few, none too many, of the right field, tag and value."""
    desk.turns_away(error, statement, secret=secret)


@pytest.mark.parametrize("value", [7, [0, 0], [10**9, 0, 0], "", "x" * 65])
def test_a_place_that_is_none_is_malformed(desk: RightsDesk, value: Value) -> None:
    """Although it was committed to."""
    opened = Opened(salt=bytes(32), value=value)
    desk.turns_away(Malformed, KeyGrant(key=CAMERA, classes=("sensor",), **placed(opened)), secret=encode_opening(Opening(place=opened)))


def test_facts_come_and_go(desk: RightsDesk) -> None:
    """Clear and personal ones, about a key and about all; withdrawn once; about nobody that is not known."""
    desk.states(GRANT)
    clear = desk.states(FactAdd(predicate="firmware", subject=CAMERA.key_id, value=write_value("1.4")))
    opened = Opened(salt=b"\x01" * 32, value="Ada")
    personal = FactAdd(predicate="carried-by", subject=CAMERA.key_id, commitment=commit(TAGS[5], opened.salt, opened.value))
    hidden = desk.states(personal, secret=encode_opening(Opening(observations=(opened,))))
    desk.states(FactAdd(predicate="speed-limit", subject=None, value=write_value(50)))
    found = {row.fact.predicate: (row.fact.value, row.personal) for row in desk.store.gate.facts()}
    assert found == {"firmware": ("1.4", False), "carried-by": ("Ada", True), "speed-limit": (50, False)}
    assert b"Ada" not in desk.store.entry(hidden).leaf
    desk.states(FactWithdraw(fact=clear))
    desk.turns_away(Refused, FactWithdraw(fact=clear))
    desk.turns_away(Refused, FactWithdraw(fact=0))
    desk.turns_away(Refused, FactAdd(predicate="x", subject=AGENT.key_id, value=write_value(1)))
    desk.turns_away(Refused, FactAdd(predicate="x", subject=None, value=write_value(1), until_ns=desk.now - 10**9))


def test_scopes_come_and_go(desk: RightsDesk) -> None:
    """Called by the hash of their statement; for known keys and times to come only."""
    desk.states(GRANT)
    terms = Terms(verb="archive.put", targets=("PUT /cam/*",), origins=(KeyId(bytes(32)),), uses=2, until_ns=desk.now + 10**12)
    statement = ScopeGrant(subject=CAMERA.key_id, terms=terms)
    desk.states(statement)
    identity = sha256(encode_statement(statement))
    (scope,) = desk.store.gate.scopes(CAMERA.key_id)
    assert (scope.scope, scope.verb, scope.targets, scope.uses_left) == (identity, "archive.put", ("PUT /cam/*",), 2)
    desk.states(ScopeWithdraw(scope=identity))
    assert desk.store.gate.scopes(CAMERA.key_id) == ()
    desk.turns_away(Refused, ScopeWithdraw(scope=identity))
    desk.turns_away(Refused, ScopeWithdraw(scope=bytes(32)))
    desk.turns_away(Refused, ScopeGrant(subject=AGENT.key_id, terms=terms))
    desk.turns_away(Refused, ScopeGrant(subject=CAMERA.key_id, terms=Terms(verb="archive.put", until_ns=1)))


def test_contexts_begin_and_end(desk: RightsDesk) -> None:
    """One at a time."""
    desk.states(GRANT)
    desk.turns_away(Refused, ContextEnd(key=CAMERA.key_id))
    at = desk.states(ContextBegin(key=CAMERA.key_id))
    assert desk.store.gate.context(CAMERA.key_id).begun == at
    desk.turns_away(Refused, ContextBegin(key=CAMERA.key_id))
    desk.states(ContextEnd(key=CAMERA.key_id))
    assert desk.store.gate.context(CAMERA.key_id) is None
    desk.turns_away(Refused, ContextBegin(key=AGENT.key_id))


def test_the_plan_says_what_it_takes_away(desk: RightsDesk) -> None:
    """The first one recorded takes nothing away; one that does says so."""
    full = ("crypto", "deterministic")
    entry = desk.store.entry(desk.states(GatePlan(plan=(("default", full),))))
    assert entry.event.get("weakened") is None
    entry = desk.store.entry(desk.states(GatePlan(plan=(("cron", ("crypto",)), ("default", full)))))
    assert entry.event.get("weakened") is True
    assert desk.store.gate.plan()[1] == {"cron": ("crypto",), "default": full}


def test_a_revocation_that_cannot_be(desk: RightsDesk) -> None:
    """Of the house's own keys, of nobody, since an entry that is not there, of the last human key with admin, twice."""
    house = desk.estate.house.vault.machine.signing.public.key_id
    keys = desk.store.keys()
    witness = next(row.key_id for row in keys if row.kind == "witness")
    for key in (house, witness, AGENT.key_id, desk.estate.owner.public.key_id):
        desk.turns_away(Refused, KeyRevoke(key=key, how="retired"))
    desk.states(GRANT)
    desk.turns_away(Refused, KeyRevoke(key=CAMERA.key_id, how="compromised", since=desk.store.size()))
    desk.states(KeyRevoke(key=CAMERA.key_id, how="retired"))
    desk.turns_away(Refused, KeyRevoke(key=CAMERA.key_id, how="retired"))


def test_a_compromised_key_takes_what_it_signed_with_it(desk: RightsDesk) -> None:
    """Two generations of keys, a row, a fact, a scope and a pair; nothing from before; what it says later counts for nothing."""
    other = Human.new(desk.estate.owner.vault, "other")
    desk.store.append(introduced(other.public, key=bytes(desk.estate.owner.public.key_id))).result()
    terms = Terms(verb="archive.put", until_ns=desk.now + 10**12)

    def signs(statement: Statement) -> int:
        return desk.states(statement, signer=other.signer)

    signs(GRANT)
    since = signs(KeyGrant(key=AGENT, classes=("llm",)))
    row = signs(KeyGrant(key=CAMERA, classes=("sensor/camera",), actions=("write",)))
    fact = signs(FactAdd(predicate="attested", subject=CAMERA.key_id, value=write_value(True)))
    signs(ScopeGrant(subject=CAMERA.key_id, terms=terms))
    desk.states(KeyRevoke(key=other.public.key_id, how="compromised", since=since))
    assert desk.store.key(CAMERA.key_id).state == "standing"
    assert (desk.store.key(AGENT.key_id).state, desk.store.gate.fact(fact).state) == ("suspended", "suspended")
    assert (desk.store.gate.grants(CAMERA.key_id), desk.store.gate.scopes(CAMERA.key_id)) == ((), ())
    assert {(each.kind, each.entry) for each in desk.store.gate.suspended()} == {
        *(("key", since), ("grant", row), ("fact", fact)),
        ("scope", fact + 1),
    }
    assert desk.doors.asked[-1] == ("recheck", b"")
    desk.turns_away(Unproven, FactAdd(predicate="x", subject=None, value=write_value(1)), signer=other.signer)


def test_a_machines_key_ends_its_pair(desk: RightsDesk) -> None:
    """Both recorded at once; the pair is silent, its secret gone."""
    row = desk.estate.pair("laptop")
    at = desk.states(KeyRevoke(key=row.signing_key.key_id, how="retired"))
    assert desk.estate.kinds(at) == ["KEY_REVOKED", "SEVERED"]
    assert desk.doors.asked == [("close and tell", row.pairing), ("recheck", b"")]
    assert desk.estate.at_house("laptop").state == "severed"
    assert desk.store.key(row.signing_key.key_id).state == "retired"


def test_decisions_about_held_signals_go_to_whoever_holds_them(desk: RightsDesk) -> None:
    """And are refused where nobody does."""
    approve, deny = SignalApprove(root=bytes(32), proposals=(1,), expires_ns=2**62), SignalDeny(proposal=1, reason="no")

    class Deciding:
        def __init__(self) -> None:
            self.heard: list[Statement] = []

        async def approve(self, statement: SignalApprove, signed: Signed, now_ns: int) -> Receipt:
            self.heard.append(statement)
            raise Refused("heard")

        async def deny(self, statement: SignalDeny, signed: Signed, now_ns: int) -> Receipt:
            self.heard.append(statement)
            raise Refused("heard")

    desk.statements.gate.decisions = None
    for statement in (approve, deny):
        assert "nothing is held" in desk.turns_away(Refused, statement)
    deciding = desk.statements.gate.decisions = Deciding()
    for statement in (approve, deny):
        assert desk.turns_away(Refused, statement) == "heard"
    assert deciding.heard == [approve, deny]


def test_a_full_disk_still_records_what_ends_something(desk: RightsDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No new key, fact or scope; a revocation at once."""
    desk.states(GRANT)
    monkeypatch.setattr(desk.estate.house.reserve, "low", True)
    desk.turns_away(Unavailable, KeyGrant(key=AGENT, classes=("llm",)))
    desk.turns_away(Unavailable, FactAdd(predicate="x", subject=None, value=write_value(1)))
    desk.states(KeyRevoke(key=CAMERA.key_id, how="retired"))


def test_only_an_admin_pair_carries_them(desk: RightsDesk) -> None:
    """Whoever signed: over another pair nothing of it is done; and no machine's key signs them."""
    desk.estate.pair("laptop")
    desk.turns_away(Refused, GRANT, by="laptop")
    with pytest.raises(Refused):
        desk.submit(desk.bundle(GRANT), cap=PairType.INPUT)
    with pytest.raises(Unproven):
        desk.submit(desk.bundle(GRANT, signer=desk.estate.machines["owner"].vault.machine.signing))
