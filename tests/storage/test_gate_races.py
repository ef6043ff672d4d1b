"""Many at once: a scope is used as often as it says, a proposal decided and released once, a revocation effective everywhere at once."""

import multiprocessing
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallystick.errors import Refused, TallyError
from tallystick.ledger.event import Event, Kind
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tests.storage.gatehouse import (
    AGENT,
    CAMERA,
    NOW,
    approval,
    by,
    judged,
    put,
    reference,
    revoked,
    scope_granted,
    source,
    spoken,
    terms,
    waits,
)
from tests.storage.house import Key, found

SPAWN = multiprocessing.get_context("spawn")
USERS, USES = 64, 17


def at_once(count: int, work: Callable[[int], object]) -> list[object]:
    """What each of so many threads got, or the error it met, all begun together."""
    barrier = threading.Barrier(count)
    results: list[object] = [None] * count

    def run(who: int) -> None:
        barrier.wait(30)
        try:
            results[who] = work(who)
        except TallyError as error:
            results[who] = error

    threads = [threading.Thread(target=run, args=(who,)) for who in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return results


def won(results: list[object]) -> list[object]:
    assert all(isinstance(each, (int, Refused)) for each in results), results
    return [each for each in results if isinstance(each, int)]


def test_of_64_users_of_a_scope_exactly_so_many_win(store: Store) -> None:
    """Each signals in a thread of its own; the others are refused and hold."""
    put(store, source(CAMERA))
    scope = scope_granted(CAMERA, terms(uses=USES))
    put(store, scope)
    name = scope.blob("scope")
    results = at_once(USERS, lambda who: put(store, judged(CAMERA, who, scope=name)))
    assert len(won(results)) == USES
    row = store.gate.scope(name)
    assert row is not None and (row.state, row.uses_left) == ("used", 0)


def test_a_proposal_is_decided_once_and_released_once(store: Store) -> None:
    """Approvals and denials at once: one counts. Releases at once: one effect begins."""
    put(store, source(CAMERA))
    for n in range(8):
        item = waits(store, CAMERA, n)
        denial = Event.of(Kind.PROPOSAL_DENIED, NOW, "pair", entry=item[0], **by())
        decisions = [approval(item) if who % 2 else (denial,) for who in range(12)]
        assert len(won(at_once(12, lambda who, decisions=decisions: put(store, *decisions[who])))) == 1  # type: ignore[misc]
        row = store.gate.proposal(item[0])
        assert row is not None and row.state in ("approved", "denied")
        begins = Event.of(Kind.EFFECT_BEGUN, NOW, effect="archive.put", entry=item[0])
        releases = at_once(8, lambda _, begins=begins: put(store, begins))  # type: ignore[misc]
        assert len(won(releases)) == (1 if row.state == "approved" else 0)


def test_no_signal_follows_its_keys_revocation(store: Store) -> None:
    """Signals and a revocation at once: in the ledger no allowed signal of the key stands behind the revocation."""
    put(store, source(CAMERA), source(AGENT))

    def work(who: int) -> int:
        if who == 13:
            return put(store, revoked(CAMERA))
        key = AGENT if who % 3 == 0 else CAMERA
        return put(store, judged(key, who, signers=(bytes(CAMERA.id),) if key is AGENT else None, depth=1))

    won(at_once(40, work))
    end = next(row.index for row in store.entries(kinds=[Kind.KEY_REVOKED]))
    assert [row.index for row in store.entries(end, kinds=[Kind.SIGNAL])] == []


def test_a_signal_says_the_context_of_its_entry(store: Store) -> None:
    """Deliveries and signals at once: whoever looked before a delivery looks again; each recorded context is the one of its entry."""
    put(store, source(CAMERA), source(AGENT, classes=("llm",)))
    put(store, Event.of(Kind.CONTEXT_BEGUN, NOW, "gate", subject=bytes(AGENT.id)))

    def work(who: int) -> int:
        if who % 2:
            raw = spoken(CAMERA, who)
            delivered = Event.of(Kind.DELIVERED, NOW, "gate", subject=bytes(AGENT.id), signal_hash=reference(raw))
            return put(store, judged(CAMERA, who, raw=raw), delivered)
        while True:
            context = store.gate.context(AGENT.id)
            assert context is not None
            try:
                return put(store, judged(AGENT, who, context=context.field))
            except Refused:
                continue

    assert len(won(at_once(32, work))) == 32
    last = None
    for row in store.entries():
        if row.event.kind is Kind.DELIVERED:
            last = row.index
        elif row.event.get("context") is not None:
            context = row.event.get("context")
            assert isinstance(context, tuple) and (last is None or context[1] == last)


# --- Processes -------------------------------------------------------------------------------------------------------------------------


def _user(path: str, name: bytes, who: int, start: Any, results: Any) -> None:
    """Uses a scope twelve times from a process of its own."""
    with Store.open(path, shared=True, sweep=False) as store:
        start.wait(60)
        taken = 0
        for n in range(12):
            try:
                put(store, judged(CAMERA, 1_000 * who + n, scope=name))
                taken += 1
            except Refused:
                pass
        results.put(taken)


def test_four_processes_share_a_scope(tmp_path: Path) -> None:
    """48 uses from four processes of a scope for 17: exactly 17."""
    path = tmp_path / "house.sqlite"
    scope = scope_granted(CAMERA, terms(uses=USES))
    name = scope.blob("scope")
    with Store.open(path, create=True, shared=True) as store:
        found(store)
        put(store, source(CAMERA), scope)
        start, results = SPAWN.Barrier(4), SPAWN.Queue()
        users = [SPAWN.Process(target=_user, args=(str(path), name, who, start, results)) for who in range(4)]
        for user in users:
            user.start()
        assert sum(results.get(timeout=120) for _ in users) == USES
        for user in users:
            user.join(60)
        row = store.gate.scope(name)
        assert row is not None and row.state == "used"
    rebuild(path, tmp_path / "again.sqlite")
    assert differences(path, tmp_path / "again.sqlite") == ()


def _gate(path: str, ready: Any, go: Any, results: Any) -> None:
    """A gate of its own process: keeps what it read as long as the epoch is the same."""
    with Store.open(path, shared=True, sweep=False) as store:
        gate = store.gate
        epoch, rights = gate.epochs()
        row = gate.known_key(CAMERA.id)
        told: list[object] = [row is not None and row.stands]
        ready.release()
        while go.acquire(timeout=120):
            changed, changed_rights = gate.epochs()
            if changed_rights != rights:
                row = gate.known_key(CAMERA.id)
            told.append((changed != epoch, row is not None and row.stands))
            epoch, rights = changed, changed_rights
            ready.release()
            if len(told) == 5:
                break
        results.put(told)


def test_a_revocation_is_effective_in_four_processes_at_once(tmp_path: Path) -> None:
    """Once it is acknowledged, the next look of every process sees it; a plain entry changes no epoch; a sighting changes it."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True, shared=True) as store:
        found(store)
        put(store, source(CAMERA))
        ready, results = SPAWN.Semaphore(0), SPAWN.Queue()
        goes = [SPAWN.Semaphore(0) for _ in range(4)]
        gates = [SPAWN.Process(target=_gate, args=(str(path), ready, go, results)) for go in goes]
        for gate in gates:
            gate.start()
        steps: list[Callable[[], int]] = [
            lambda: put(store, Event.of(Kind.ANSWER, NOW, status=200), judged(CAMERA, 1)),
            lambda: put(store, Event.of(Kind.SIGHTING, NOW, "gate", subject=bytes(CAMERA.id), observed=NOW)),
            lambda: put(store, revoked(CAMERA)),
            lambda: put(store, Event.of(Kind.ANSWER, NOW, status=200)),
        ]
        for step in steps:
            for _ in gates:
                assert ready.acquire(timeout=120)
            step()
            for go in goes:
                go.release()
        told = [results.get(timeout=120) for _ in gates]
        for gate in gates:
            gate.join(60)
    assert told == [[True, (False, True), (True, True), (True, False), (False, False)]] * 4


def test_epochs_in_many_threads(store: Store) -> None:
    """Each thread has a connection of its own; what was acknowledged to one is in the epoch of all."""
    put(store, source(CAMERA))
    dice = random.Random(7)
    order = [dice.randrange(2) for _ in range(40)]

    def work(who: int) -> int:
        epoch = store.gate.epoch()
        if order[who]:
            epoch = put(store, Event.of(Kind.FACT_ADDED, NOW, "gate", predicate=f"f{who}", value=b"\x01"))
        assert store.gate.epoch() >= epoch
        return who

    assert len(won(at_once(40, work))) == 40
    assert store.gate.epoch() == max(row.fact.entry for row in store.gate.facts())


def test_two_gates_begin_one_context(store: Store) -> None:
    """Of many who begin a context at once, one does; nobody's deliveries are lost with it."""
    keys = [Key.named(f"agent {n}") for n in range(3)]
    put(store, *(source(key) for key in keys))
    for key in keys:
        begun = Event.of(Kind.CONTEXT_BEGUN, NOW, "gate", subject=bytes(key.id))
        assert len(won(at_once(8, lambda _, begun=begun: put(store, begun)))) == 1  # type: ignore[misc]
        assert store.gate.context(key.id) is not None
