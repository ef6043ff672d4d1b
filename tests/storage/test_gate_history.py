"""The gate's state is a projection too: any history is rebuilt row for row, ledgers of before the gate open, what was erased is nowhere."""

import os
import random
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.facts.fact import Place
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage import schema
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store, hold
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
)
from tests.storage.house import OWNER, Key, answer, found
from tests.storage.test_forgotten import check_gone, erase, files, keys_of
from tests.support import PROJECT

SOURCES = (CAMERA, AGENT, FEED)
HUMANS = (OWNER, SECOND_HUMAN)
OLD = PROJECT / "tests" / "fixtures" / "storage" / "schema1.tar.xz"
Call = tuple[tuple[Event, ...], tuple[bytes, ...]]


# --- Any history -----------------------------------------------------------------------------------------------------------------------


def calls(seed: int, count: int) -> Iterator[Call]:
    """Calls that may or may not be possible when they come: few names, so that they meet."""
    dice = random.Random(seed)
    yield (source(CAMERA, classes=("sensor",)), source(AGENT, classes=("llm",))), ()
    waiting: list[tuple[int, bytes]] = []
    scopes: list[Event] = []
    for n in range(count):
        yield _call(dice, n, waiting, scopes)


def _call(dice: random.Random, n: int, waiting: list[tuple[int, bytes]], scopes: list[Event]) -> Call:
    key, signer, at = dice.choice(SOURCES), dice.choice((OWNER, OWNER, SECOND_HUMAN)), dice.randrange(2, n + 6)
    match dice.randrange(18):
        case 0:
            commitment, opening = place_of(dice.choice(("hall", [1, 2, 3])), n)
            return (source(dice.choice((FEED, Key.named(f"s{n}"))), place=commitment, signer=signer),), (opening,)
        case 1:
            return (human(SECOND_HUMAN),), ()
        case 2 | 3:
            commitment, opening = place_of("porch", n)
            grant = {"subject": bytes(key.id), "actions": ("write",), "place": dice.choice((None, commitment))}
            return (Event.of(Kind.GRANT, NOW, "pair", **grant, **by(signer)),), (opening,)
        case 4:
            kind = dice.choice((Kind.GRANT_WITHDRAWN, Kind.FACT_WITHDRAWN))
            return (Event.of(kind, NOW, "pair", entry=at, **by(signer)),), ()
        case 5:
            how = dice.choice(("retired", "compromised"))
            since = at if how == "compromised" else None
            return (revoked(dice.choice((SECOND_HUMAN, Key.named(f"s{at}"), FEED)), how=how, since=since),), ()
        case 6 | 7:
            return seen(key, n, dice.choice(("hall", [5, n, 1])))
        case 8:
            return (judged(key, n), fact("mismatch", n, subject=AGENT, cause=at)), ()
        case 9:
            commitment, opening = personal("asleep", n)
            about = {"predicate": "state", "subject": bytes(key.id), "commitment": commitment}
            return (Event.of(Kind.FACT_ADDED, NOW, "pair", **about, **by(signer)),), (opening,)
        case 10:
            raw = spoken(CAMERA, n)
            delivered = Event.of(Kind.DELIVERED, NOW, "gate", subject=bytes(AGENT.id), signal_hash=reference(raw))
            begun = Event.of(Kind.CONTEXT_BEGUN, NOW, "gate", subject=bytes(AGENT.id))
            return ((begun,) if dice.randrange(2) else (judged(CAMERA, n, raw=raw), delivered)), ()
        case 11 | 12:
            events = held(key, n)
            waiting.append((at, sha256(events[0].blob("signal"))))
            return events, (b"", b"a body")
        case 13 if waiting:
            _, signal_hash = dice.choice(waiting)
            what = terms(uses=dice.choice((None, 2))) if dice.randrange(2) else None
            return approval((at, signal_hash), signer=signer, key=key, what=what), ()
        case 14:
            ends = (Event.of(Kind.PROPOSAL_ENDED, NOW, entry=at, reason="released"), Event.of(Kind.EFFECT_BEGUN, NOW, effect="x", entry=at))
            return (dice.choice(ends),), ()
        case 15:
            scopes.append(scope_granted(key, terms(uses=dice.choice((1, 3))), signer=signer))
            return (scopes[-1],), ()
        case 16 if scopes:
            return (judged(key, n, scope=dice.choice(scopes).blob("scope")),), ()
        case _:
            return (
                Event.of(Kind.BODY_ERASED, NOW, entry=at, reason="asked", erased=((at + 2, 3),) if at % 2 and n > at + 9 else None),
            ), ()


@pytest.mark.parametrize("seed", range(6))
def test_any_history_of_the_gate_is_rebuilt_row_for_row(tmp_path: Path, seed: int) -> None:
    """With all its refusals, suspensions and erasures: the same rows from the leaves, the same clear values from what survives."""
    path, again = tmp_path / "house.sqlite", tmp_path / "again.sqlite"
    taken = refused = 0
    with Store.open(path, create=True) as store:
        found(store)
        dice = random.Random(seed)
        late: list[tuple[int, bytes]] = []
        for events, openings in calls(seed, 220):
            if events[0].kind is Kind.APPROVAL and late:  # of what really waits
                waits = late.pop(dice.randrange(len(late)))
                events = approval(waits, key=dice.choice(SOURCES), what=terms(uses=2) if len(events) > 1 else None)
            try:
                receipts = store.append(*events, openings=openings[: len(events)]).result(30)
                taken += 1
            except TallyError:
                refused += 1
                continue
            if events[-1].kind is Kind.PROPOSAL:
                late.append((receipts[-1].index, events[-1].blob("signal_hash")))
        size = store.size()
    assert taken > 80 and refused > 20
    assert rebuild(path, again) == size
    assert differences(path, again) == ()
    db = sqlite3.connect(again)
    filled = [table for table in ("grants", "facts", "sightings", "scopes", "contexts", "clear", "proposals") if not _count(db, table)]
    db.close()
    assert filled == []


def _count(db: sqlite3.Connection, table: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


# --- Ledgers of before -----------------------------------------------------------------------------------------------------------------


def old_house(folder: Path) -> Path:
    """A ledger that a program of schema 1 wrote: 113 entries of a random life, with openings (tests/storage/life.py, seed 20261122)."""
    with tarfile.open(OLD) as packed:
        packed.extractall(folder, filter="data")
    return folder / "house.sqlite"


@pytest.mark.parametrize("shared", [False, True])
def test_a_ledger_of_schema_1_opens(tmp_path: Path, shared: bool) -> None:
    """It is made again from its leaves when it is first opened, keeps its root, bodies and checkpoints, and goes on."""
    path = old_house(tmp_path)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    size, root = db.execute("SELECT size, root FROM tree").fetchone()
    bodies = db.execute("SELECT * FROM bodies").fetchall()
    keys = db.execute("SELECT key_id, number, state FROM keys ORDER BY number").fetchall()
    db.close()
    with Store.open(path, shared=shared, anchors=[(size, root)]) as store:
        assert store.head() == (size, root) and store.checkpoint_of(100) is not None
        assert [(bytes(key.key_id), key.number, key.state) for key in (*store.keys(),)] == keys
        assert all(store.opening(entry) for entry, _ in bodies) and len(bodies) > 5
        put(store, answer(1), fact("speed-limit", 50))
        assert store.gate.epoch() == size + 1
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)
    db.close()
    assert sorted(each.name for each in tmp_path.glob("house.sqlite*") if each.stat().st_size) == ["house.sqlite"]
    with Store.open(path) as store:
        assert store.size() > size


def test_an_old_ledger_that_is_in_use_waits(tmp_path: Path) -> None:
    """Nobody's ledger is changed under him: while another process holds it, it is told to be stopped first; then it is brought up."""
    path = old_house(tmp_path)
    before = path.read_bytes()
    lock = hold(path, shared=True)
    with pytest.raises(Unavailable, match="older schema"):
        Store.open(path, shared=True)
    assert path.read_bytes() == before
    os.close(lock)
    Store.open(path, shared=True).close()


# --- Forgetting ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 8])
def test_places_and_personal_facts_that_were_erased_are_nowhere(tmp_path: Path, seed: int) -> None:
    """Half of many places and personal facts go, found in no spelling in any file, while the house runs and after; the rest stays."""
    dice = random.Random(seed)
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
        put(store, source(CAMERA), source(AGENT))
        entries: dict[int, str] = {}
        for n in range(600):
            word = f"{dice.choice(('gone-forever', 'kept-for-good'))} {n} {'y' * dice.randrange(30)}"
            match n % 4:
                case 0:
                    commitment, opening = personal(word, n)
                    about = {"predicate": "state", "subject": bytes(AGENT.id), "commitment": commitment}
                    entries[put(store, Event.of(Kind.FACT_ADDED, NOW, "pair", **about, **by()), openings=(opening,))] = word
                case 1:
                    commitment, opening = place_of(word, n)
                    about = {"subject": bytes(CAMERA.id), "actions": ("read",), "place": commitment}
                    entries[put(store, Event.of(Kind.GRANT, NOW, "pair", **about, **by()), openings=(opening,))] = word
                case _:
                    events, openings = seen(CAMERA, n, word, observed_ns=NOW + n)
                    at = put(store, *events, openings=openings)
                    entries |= {at: word, at + 1: word}
        gone = [entry for entry, word in entries.items() if "gone-forever" in word]
        secrets = keys_of(tmp_path, store, gone)
        assert any(b"gone-forever" in content for content in files(tmp_path).values())
        erase(store, gone)
        check_gone(tmp_path, secrets)
        places: list[Place] = [each.place for each in store.gate.sightings_near(CAMERA.id, NOW + 600, before=999)]
        assert places and not any("gone-forever" in str(place) for place in places)
        facts = store.gate.facts(AGENT.id, limit=1_000)
        assert {row.fact.value is None for row in facts} == {True, False}
        assert all((row.fact.value is None) == (row.fact.entry in gone) for row in facts)
        assert all((row.place is None) == (row.entry in gone) for row in store.gate.grants(CAMERA.id))
    check_gone(tmp_path, secrets)
    rebuild(path, tmp_path / "again.sqlite")
    assert differences(path, tmp_path / "again.sqlite") == ()


# --- Whatever a gate does --------------------------------------------------------------------------------------------------------------


class Gate(RuleBasedStateMachine):
    """A model beside the store: what stands is what it says after any steps, and is so again after a rebuild and an opening."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0
        self.open: dict[bytes, int | None] = {}
        self.proposals: dict[int, tuple[str, bytes]] = {}
        self.grants: dict[int, bool] = {}
        self.revoked: set[Key] = set()

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gate"))
        self.store = Store.open(self.folder / "house.sqlite", create=True)
        found(self.store)
        put(self.store, source(CAMERA), source(AGENT))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            rebuild(self.folder / "house.sqlite", self.folder / "again.sqlite")
            assert differences(self.folder / "house.sqlite", self.folder / "again.sqlite") == ()
            shutil.rmtree(self.folder)

    def key_of(self, at: int) -> bytes | None:
        row = self.store.gate.proposal(at)
        assert row is not None
        return row.key

    def may(self, possible: bool, *events: Event, openings: tuple[bytes, ...] = ()) -> int | None:
        """Record if the model says so, else be refused."""
        self.n += 1
        if possible:
            return put(self.store, *events, openings=openings)
        with pytest.raises(Refused):
            put(self.store, *events, openings=openings)
        return None

    @rule(key=st.sampled_from((CAMERA, AGENT)), behind=st.sampled_from((None, CAMERA, AGENT)))
    def signal(self, key: Key, behind: Key | None) -> None:
        signers = None if behind is None else (bytes(behind.id),)
        self.may(self.revoked.isdisjoint({key, behind}), judged(key, self.n, signers=signers))

    @rule(key=st.sampled_from((CAMERA, AGENT)), uses=st.sampled_from((None, 1, 2)))
    def scope(self, key: Key, uses: int | None) -> None:
        if key is CAMERA:
            granted = scope_granted(key, terms(uses=uses, until_ns=NOW + 10**12 + self.n))
            self.may(True, granted)
            self.open[granted.blob("scope")] = uses

    @rule(which=st.integers(0, 3))
    def use(self, which: int) -> None:
        if self.open:
            name = list(self.open)[which % len(self.open)]
            left = self.open[name]
            possible = left != 0 and CAMERA not in self.revoked
            self.may(possible, judged(CAMERA, self.n, scope=name))
            if possible and left is not None:
                self.open[name] = left - 1

    @rule(key=st.sampled_from((CAMERA, AGENT)))
    def propose(self, key: Key) -> None:
        events = held(key, self.n)
        at = self.may(True, *events)
        assert at is not None
        self.proposals[at + 1] = ("held", sha256(events[0].blob("signal")))

    @rule(which=st.integers(0, 5), step=st.sampled_from(("approve", "deny", "begin", "end")))
    def decide(self, which: int, step: str) -> None:
        if not self.proposals:
            return
        at = list(self.proposals)[which % len(self.proposals)]
        now, signal_hash = self.proposals[at]
        key = self.key_of(at)
        events: dict[str, tuple[Event, ...]] = {
            "approve": approval((at, signal_hash)),
            "deny": (Event.of(Kind.PROPOSAL_DENIED, NOW, "pair", entry=at, **by()),),
            "begin": (Event.of(Kind.EFFECT_BEGUN, NOW, effect="x", entry=at),),
            "end": (Event.of(Kind.PROPOSAL_ENDED, NOW, entry=at, reason="expired"),),
        }
        to = {
            ("held", "approve"): "approved",
            ("held", "deny"): "denied",
            ("approved", "begin"): "begun",
            **{(state, "end"): "ended" for state in ("held", "approved", "begun")},
        }.get((now, step))
        if step == "begin" and any(key == each.id for each in self.revoked):
            to = None
        self.may(to is not None, *events[step])
        if to is not None:
            self.proposals[at] = (to, signal_hash)

    @rule(how=st.sampled_from(("retired", "compromised")))
    def revoke(self, how: str) -> None:
        if AGENT in self.revoked:
            self.may(False, revoked(AGENT, how="retired"))
        else:
            self.may(True, revoked(AGENT, how=how))
            self.revoked.add(AGENT)
            mine = [at for at in self.proposals if self.key_of(at) == AGENT.id]
            self.proposals |= {at: ("void", self.proposals[at][1]) for at in mine if self.proposals[at][0] in ("held", "approved")}

    @rule(withdraw=st.booleans())
    def row(self, withdraw: bool) -> None:
        if withdraw and self.grants:
            at = max(self.grants)
            self.may(self.grants[at], Event.of(Kind.GRANT_WITHDRAWN, NOW, "pair", entry=at, **by()))
            self.grants[at] = False
        else:
            entry = self.may(True, Event.of(Kind.GRANT, NOW, "pair", subject=bytes(CAMERA.id), actions=("read",), **by()))
            assert entry is not None
            self.grants[entry] = True

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.folder / "house.sqlite")

    @invariant()
    def what_stands(self) -> None:
        if not hasattr(self, "store"):
            return
        gate = self.store.gate
        assert {row.scope: row.uses_left for row in gate.all_scopes()} == {name: left for name, left in self.open.items() if left != 0}
        assert {row.entry: row.state for row in gate.proposals(None)} == {at: state for at, (state, _) in self.proposals.items()}
        assert [row.entry for row in gate.grants(CAMERA.id)] == [at for at, stands in self.grants.items() if stands]
        for key in (CAMERA, AGENT):
            row = gate.known_key(key.id)
            assert row is not None and row.stands == (key not in self.revoked)


Gate.TestCase.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
TestGate: Any = Gate.TestCase
