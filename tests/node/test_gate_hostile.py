"""What hostile, broken and hasty senders get from the gate: the one word they are owed, once, and nothing happens by it."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tallystick.canonical import Value, encode
from tallystick.errors import Malformed, Refused, Unavailable
from tallystick.gate.crypto import Unbelieved
from tallystick.gate.plan import plan_of, read_plan
from tallystick.gate.provenance import MAX_DEPTH, UNKNOWN
from tallystick.gate.signal import EntryRef, Reference, encode_signal
from tallystick.keys import sign1
from tallystick.ledger.event import Event, Kind
from tallystick.node.contexts import Contexts
from tallystick.node.gatehouse import open_gate, read_rules_file
from tallystick.node.gaterates import GateRates
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.storage.sqlite import Store
from tests.node.gate_scene import SECOND, GateScene, Signed, gate_scene, run

AMSTERDAM: Final[Value] = [523_700_000, 48_900_000, 100]
SYDNEY: Final[Value] = [-338_700_000, 1_512_100_000, 100]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[GateScene]:
    with gate_scene(tmp_path / "house") as found:
        found.introduce("camera", "sensor", "cron")
        found.introduce("agent", "llm", "skill")
        yield found


def words(scene: GateScene) -> list[str]:
    return [event.text("reason") for event in scene.events(Kind.REFUSED)]


def entry(scene: GateScene, index: int | None) -> Event:
    row = scene.machine.store.entry(index or 0)
    assert row is not None
    return row.event


# --- Once ------------------------------------------------------------------------------------------------------------------


def test_a_signal_counts_once_also_after_a_restart(scene: GateScene) -> None:
    """The number lies in the ledger, not in the memory of the process that saw it first."""
    signed = scene.sign("camera")
    assert run(scene.keeper().admit(signed.raw, signed.opening)).allowed
    assert run(scene.keeper().admit(signed.raw, signed.opening)).refused
    other = Machine.open(load(home=scene.machine.home.path))
    try:
        again = GateScene(other, scene.human, scene.now_ns)
        assert run(again.keeper().admit(signed.raw, signed.opening)).refused
    finally:
        other.close()
    assert words(scene) == ["replay", "replay"]


def test_of_many_at_once_one_wins(scene: GateScene) -> None:
    """All are judged before the first is written; the ledger lets one of them through."""
    signed, keeper = scene.sign("camera"), scene.keeper()

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*[keeper.admit(signed.raw, signed.opening) for _ in range(100)])

    verdicts = run(all_at_once())
    assert sum(verdict.allowed for verdict in verdicts) == 1
    assert len(scene.events(Kind.SIGNAL)) == 1 and words(scene) == ["replay"] * 99  # fewer than the hundred that are recorded at once


def _bring(home: str, signals: list[tuple[bytes, bytes]], start: float, found: Any) -> None:
    with Machine.open(load(home=home)) as machine:
        keeper = GateScene(machine, None, time.time_ns()).keeper(clock=time.time_ns)  # type: ignore[arg-type]
        time.sleep(max(0.0, start - time.monotonic()))
        found.put([run(keeper.admit(raw, opening)).word for raw, opening in signals])


def test_of_several_processes_one_wins_each(scene: GateScene) -> None:
    """Three processes bring the same twenty signals at the same moment: each of them is allowed exactly once in all."""
    signals = [scene.sign("camera") for _ in range(20)]
    context = multiprocessing.get_context("spawn")
    found: Any = context.Queue()
    given = [(signed.raw, signed.opening) for signed in signals]
    arguments = (str(scene.machine.home.path), given, time.monotonic() + 1.5, found)
    several = [context.Process(target=_bring, args=arguments) for _ in range(3)]
    for process in several:
        process.start()
    answers = [found.get(timeout=60) for _ in several]
    for process in several:
        process.join(30)
    assert [sum(answer[number] == "allowed" for answer in answers) for number in range(20)] == [1] * 20
    assert {word for answer in answers for word in answer} == {"allowed", "refused"}


def test_two_statements_under_one_number_suspend_the_key(scene: GateScene) -> None:
    """The first stands; the second is kept as evidence, and the key says nothing more until a human lets it."""
    keeper = scene.keeper()
    first, second = scene.sign("camera", n=7), scene.sign("camera", n=7, verb="camera.other")
    assert run(keeper.admit(first.raw, first.opening)).allowed
    assert run(keeper.admit(second.raw, second.opening)).refused
    (fork,) = scene.events(Kind.SIGNAL_FORK)
    assert fork.blob("subject") == scene.kid("camera")
    later = scene.sign("camera")
    assert run(keeper.admit(later.raw, later.opening)).refused
    assert words(scene) == ["replay", "suspended"]


def test_a_fork_among_those_at_once_is_a_fork(scene: GateScene) -> None:
    keeper = scene.keeper()
    twins = [scene.sign("camera", n=7), scene.sign("camera", n=7, verb="camera.other")]

    async def both() -> list[Any]:
        return await asyncio.gather(*[keeper.admit(each.raw, each.opening) for each in twins])

    verdicts = run(both())
    assert sorted(verdict.word for verdict in verdicts) == ["allowed", "refused"]
    assert len(scene.events(Kind.SIGNAL_FORK)) == 1


# --- Bytes -----------------------------------------------------------------------------------------------------------------


def _payloads(scene: GateScene) -> dict[str, bytes]:
    good = encode_signal(scene.sign("camera").claims)
    return {
        "a number in more bytes than it needs": good.replace(b"\x0a\x80", b"\x0a\x98\x00"),
        "a key twice": b"\xab" + good[1:] + b"\x0a\x80",
        "keys out of order": b"\xaa\x02\x58\x20" + bytes(32) + b"\x01\x01" + good[40:],
        "a depth bomb": good.replace(b"\x0a\x80", b"\x0a" + b"\x81" * 200 + b"\x80"),
        "an indefinite array": good.replace(b"\x0a\x80", b"\x0a\x9f\xff"),
        "n of 2^63": good[:-3] + b"\x1b\x80\x00\x00\x00\x00\x00\x00\x00\x0a\x80",
        "a million predecessors": good.replace(b"\x0a\x80", b"\x0a\x9a\x00\x0f\x42\x40"),
        "nothing": b"",
        "text": encode("signal"),
    }


def test_what_is_not_the_one_form_is_malformed_and_names_its_key(scene: GateScene) -> None:
    keeper = scene.keeper()
    made = _payloads(scene)
    for name, payload in made.items():
        with pytest.raises(Malformed):
            run(keeper.admit(sign1(scene.key("camera"), payload), b"\xa0"))
            raise AssertionError(name)
    assert words(scene) == ["malformed"] * len(made)
    size = scene.machine.store.size()
    for raw in (b"", b"\x84", bytes(200), scene.sign("camera").raw + b"\0", b"\xd2" + scene.sign("camera").raw):
        with pytest.raises(Malformed):  # not even a key is named
            run(keeper.admit(raw, b"\xa0"))
    assert scene.machine.store.size() == size


def test_an_opening_or_body_that_was_not_signed(scene: GateScene) -> None:
    keeper, signed = scene.keeper(), scene.sign("camera", body=b"content")
    other = scene.sign("camera", body=b"another").opening
    assert run(keeper.admit(signed.raw, other)).refused
    for opening, body in ((b"\xa0", None), (signed.opening + b"\0", None), (signed.opening, b"other"), (signed.opening, b"")):
        with pytest.raises(Malformed):
            run(keeper.admit(signed.raw, opening, body))
    assert words(scene) == ["unproven", *["malformed"] * 4]
    assert run(keeper.admit(signed.raw, signed.opening, b"content")).allowed


def test_a_verb_of_the_house_names_its_own_action(scene: GateScene) -> None:
    """A removal that calls itself a read, and a statement that comes in by the wrong door."""
    keeper = scene.keeper()
    for verb, action in (("archive.rm", "read"), ("pair.sever", "admin"), ("gate.plan", "admin"), ("key.grant", "metadata")):
        signed = scene.sign("camera", action=action, verb=verb)
        assert run(keeper.admit(signed.raw, signed.opening)).refused
    assert words(scene) == ["malformed", "class", "class", "class"]


# --- Keys ------------------------------------------------------------------------------------------------------------------


def test_a_revocation_is_in_force_at_the_next_signal_of_every_process(scene: GateScene) -> None:
    """Nobody is told; the other process asks its database."""
    other = Store.open(scene.machine.home.database, shared=True, sweep=False)
    try:
        mirror = GateScene(scene.machine, scene.human, scene.now_ns)
        keeper = scene.keeper()
        away = type(keeper)(
            other,
            keeper._effects,
            house_id=scene.machine.house_id,
            signer=scene.machine.vault.machine.signing,
            origin=scene.origin,
            clock=scene.clock,
            layers=keeper._layers,
        )
        for how, word in (("retired", "revoked"), ("compromised", "revoked")):
            name = f"key {how}"
            scene.introduce(name, "sensor")
            signed = mirror.sign(name, stream=name.encode()[:16].ljust(16))
            assert away.judge(signed.raw, signed.opening).allowed and keeper.judge(signed.raw, signed.opening).allowed
            mirror.keys |= scene.keys
            mirror.revoke(name, how)
            for each in (away, keeper):
                with pytest.raises(Unbelieved) as caught:
                    each.judge(signed.raw, signed.opening)
                assert caught.value.word == word
    finally:
        other.close()


def test_a_key_that_is_revoked_between_judgement_and_entry(scene: GateScene) -> None:
    """What was judged with the key of before is refused by the ledger, and judged again with the key of now."""
    keeper, signed = scene.keeper(), scene.sign("camera")
    judged = keeper._judge

    def and_then(*given: Any, **more: Any) -> Any:
        decision = judged(*given, **more)
        keeper._judge = judged  # type: ignore[method-assign]
        scene.revoke("camera", "compromised")
        return decision

    keeper._judge = and_then  # type: ignore[method-assign]
    assert run(keeper.admit(signed.raw, signed.opening)).refused
    assert words(scene) == ["revoked"] and not scene.events(Kind.SIGNAL)


def test_clocks_that_go_back_and_forth(scene: GateScene) -> None:
    """A source an hour behind and one an hour ahead are refused whichever way the clocks are turned; a right one never is."""
    keeper, now = scene.keeper(), scene.now_ns
    for turn in (0, -3_600, 7_200, -86_400, 0):
        scene.now_ns = now + turn * SECOND
        for ahead, fine in ((0, True), (-59, True), (59, True), (-3_600, False), (3_600, False), (10**9, False)):
            signed = scene.sign("camera", issued_at_ns=scene.now_ns + ahead * SECOND)
            assert run(keeper.admit(signed.raw, signed.opening)).allowed is fine
    assert set(words(scene)) == {"age"}


# --- Provenance ------------------------------------------------------------------------------------------------------------


def test_predecessors_must_be_known_and_past(scene: GateScene) -> None:
    keeper, size = scene.keeper(), scene.machine.store.size()
    strangers: list[Reference] = [
        bytes(32),
        EntryRef(scene.origin(), size + 100),
        EntryRef(bytes(32), 0),
        EntryRef(scene.origin(), 2**63 - 1),
    ]
    for reference in [*strangers, EntryRef(scene.origin(), 0)]:  # entry 0 is known, and no signal
        signed = scene.sign("camera", prev=(reference,))
        verdict = run(keeper.admit(signed.raw, signed.opening))
        event = entry(scene, verdict.entry)
        assert (verdict.word, event.text("reason"), event.kind) == ("refused", "unknown-predecessor", Kind.SIGNAL)


def test_all_behind_it_have_a_say(scene: GateScene) -> None:
    """A write by one who may, after a reading of one who may not even propose: the least of all rows decides."""
    keeper = scene.keeper()
    scene.introduce("writer", "feed", actions=("metadata", "read", "propose", "write"))
    scene.introduce("reader", "feed", actions=("metadata", "read"))
    read = scene.sign("reader", "feed", "read", "feed.item")
    alone = scene.sign("writer", "feed", "write", "door.close")
    assert run(keeper.admit(read.raw, read.opening)).allowed and run(keeper.admit(alone.raw, alone.opening)).allowed
    after = scene.sign("writer", "feed", "write", "door.close", prev=(read.reference, alone.reference))
    verdict = run(keeper.admit(after.raw, after.opening))
    event = entry(scene, verdict.entry)
    assert (verdict.word, event.get("signers"), event.number("depth")) == ("refused", (bytes(scene.kid("reader")),), 1)
    chained = scene.sign("writer", "feed", "write", "door.close", prev=(EntryRef(scene.origin(), verdict.entry or 0),))
    assert run(keeper.admit(chained.raw, chained.opening)).refused


def test_the_house_completes_what_a_model_leaves_out(scene: GateScene) -> None:
    """Without a context something unknown is behind it; with one everything that was delivered is, whatever it says itself."""
    keeper, contexts = scene.keeper(), Contexts(scene.machine.store, scene.clock)
    agent = bytes(scene.kid("agent"))
    bare = scene.sign("agent", "llm", "read", "tool.look")
    verdict = run(keeper.admit(bare.raw, bare.opening))
    assert verdict.allowed and entry(scene, verdict.entry).get("signers") == (UNKNOWN,)
    begun = run(contexts.begin(agent))
    with pytest.raises(Refused):
        run(contexts.begin(agent))
    clean = scene.sign("agent", "skill/search", "read", "tool.look")
    event = entry(scene, run(keeper.admit(clean.raw, clean.opening)).entry)
    assert event.get("signers") is None and event.get("context") is not None
    frame = scene.sign("camera", "sensor", "metadata")
    run(keeper.admit(frame.raw, frame.opening, deliver_to=[agent]))
    (delivered,) = scene.events(Kind.DELIVERED)
    assert (delivered.blob("subject"), delivered.blob("signal_hash")) == (agent, frame.reference)
    silent = scene.sign("agent", "llm", "read", "tool.look")
    event = entry(scene, run(keeper.admit(silent.raw, silent.opening)).entry)
    assert event.get("signers") == (bytes(scene.kid("camera")),)
    context = event.get("context")
    assert isinstance(context, tuple) and context[0] == begun and context[1] > begun
    refused = scene.sign("camera", "sensor", "admin")
    assert not run(keeper.admit(refused.raw, refused.opening)).allowed
    for reference in (bytes(32), refused.reference):
        with pytest.raises(Refused):
            run(contexts.deliver(agent, [reference]))
    for key in (bytes(scene.kid("camera")), bytes(32)):
        with pytest.raises(Refused):
            run(contexts.begin(key))
        with pytest.raises(Refused):
            run(contexts.deliver(key, [frame.reference]))


def test_a_chain_has_an_end(scene: GateScene) -> None:
    """The limit stands in the row of the last: nobody walks the chain."""
    keeper, signed = scene.keeper(), scene.sign("camera")
    event = Event.of(Kind.SIGNAL, scene.now_ns, "gate", signal=signed.raw, verdict="allow", key=bytes(scene.kid("camera")), depth=MAX_DEPTH)
    scene.record(event, openings=(signed.opening,))
    after = scene.sign("camera", prev=(signed.reference,))
    verdict = run(keeper.admit(after.raw, after.opening))
    assert (verdict.word, entry(scene, verdict.entry).text("reason")) == ("refused", "limits")


# --- Facts, findings, the plan ---------------------------------------------------------------------------------------------


def test_nobody_is_in_two_places(scene: GateScene) -> None:
    """The first sighting is kept; a camera that is on the other side of the world a minute later is refused, with rule and fact; the
    finding is a signal of the house, and who comes after it has the camera behind it."""
    keeper = scene.keeper()
    here = scene.sign("camera", "sensor", "metadata", place=AMSTERDAM)
    assert run(keeper.admit(here.raw, here.opening)).allowed
    (sighting,) = scene.machine.store.entries(kinds=(Kind.SIGHTING,))
    scene.now_ns += 60 * SECOND
    there = scene.sign("camera", "sensor", "metadata", place=SYDNEY)
    verdict = run(keeper.admit(there.raw, there.opening))
    event = entry(scene, verdict.entry)
    assert (verdict.word, event.text("reason"), event.text("rule")) == ("refused", "layer", "impossible-transit")
    assert event.get("facts") == (sighting.index,)
    (finding,) = scene.events(Kind.FINDING)
    assert (finding.text("outcome"), finding.blob("signal_hash")) == ("reject", there.reference)
    assert len(scene.events(Kind.SIGHTING)) == 1  # what is not believed is no fact
    reference = scene.machine.store.gate.signal_at((verdict.entry or 0) + 1)
    assert reference is not None and reference.key == scene.machine.house_id
    after = scene.sign("agent", "llm", "read", "tool.look", prev=(reference.reference,))
    behind = entry(scene, run(keeper.admit(after.raw, after.opening)).entry).get("signers")
    assert isinstance(behind, tuple) and set(behind) == {UNKNOWN, bytes(scene.kid("camera"))}
    again = keeper.rejudge(verdict.entry or 0)
    assert (again.verdict.word, again.rule) == ("refuse", "impossible-transit")


def test_rules_and_facts_of_the_owner_are_in_force_at_the_next_signal(scene: GateScene) -> None:
    path = scene.machine.home.path / "gate.rules"
    path.write_text("refuse dark when fact lights is false\n", "utf-8")
    path.chmod(0o600)
    assert read_rules_file(scene.machine.home.path).rules
    gate = open_gate(scene.machine, scene.keeper()._effects, scene.clock)
    signed = scene.sign("camera")
    assert gate.keeper.judge(signed.raw, signed.opening).allowed
    fact = Event.of(Kind.FACT_ADDED, scene.now_ns, "gate", predicate="lights", subject=bytes(scene.kid("camera")), value=encode(False))
    scene.record(fact)
    decision = gate.keeper.judge(signed.raw, signed.opening)
    assert decision.reason == "layer" and decision.seen.rejected is not None and decision.seen.rejected.rule == "owner/dark"
    path.write_text("refuse dark when\n", "utf-8")
    with pytest.raises(Malformed):
        open_gate(scene.machine, scene.keeper()._effects, scene.clock)


def test_the_plan_is_recorded_and_a_weaker_one_is_not_taken(scene: GateScene, tmp_path: Path) -> None:
    """A start with less than the ledger holds goes on with the ledger; only a human weakens, and every keeper follows at once."""
    effects = scene.keeper()._effects

    def started(**layers: str) -> Any:
        env = {"HOME": str(tmp_path), **{f"AUTH_LAYERS_{name}": text for name, text in layers.items()}}
        scene.machine.settings = load(home=scene.machine.home.path, env=env)
        return open_gate(scene.machine, effects, scene.clock)

    first = started()
    assert (len(scene.events(Kind.PLAN)), first.settled.changed) == (1, True)
    weak = started(SENSOR="crypto")
    assert (weak.settled.not_taken, weak.keeper.plan) == (("sensor",), read_plan({}))
    assert len(scene.events(Kind.PLAN)) == 1
    place = scene.sign("camera", "sensor", "metadata", place=AMSTERDAM)
    assert run(weak.keeper.admit(place.raw, place.opening)).allowed
    scene.now_ns += SECOND
    lie = scene.sign("camera", "sensor", "metadata", place=SYDNEY)
    assert not weak.keeper.judge(lie.raw, lie.opening).allowed
    plan = plan_of({"sensor": ["crypto"]})
    human = bytes(scene.human.public.key_id)
    scene.record(Event.of(Kind.PLAN, scene.now_ns, "pair", plan=plan.words(), weakened=True, key=human))
    assert weak.keeper.judge(lie.raw, lie.opening).allowed and weak.keeper.plan == plan
    assert started().keeper.plan == plan and started(SENSOR="crypto").settled.not_taken == ()
    assert started(DEFAULT="crypto,deterministic", SENSOR="crypto,deterministic").settled.changed


# --- Floods ----------------------------------------------------------------------------------------------------------------


class _Clock:
    def __init__(self) -> None:
        self.now = 10**18

    def __call__(self) -> int:
        return self.now


def test_one_key_that_floods_leaves_the_others_their_turn() -> None:
    """Each key and each sender has a bucket; a forger who names a key empties only buckets of the forger's own."""
    rates = GateRates(10, _Clock())
    loud, quiet = bytes(range(32)), bytes(range(1, 33))
    taken = 0
    for _ in range(5_000):
        try:
            rates.take(loud, b"uid 1")
        except Unavailable:
            continue
        taken += 1
    assert 200 <= taken <= 260 and rates.limited == 5_000 - taken
    rates.take(quiet, b"uid 1")
    rates.take(loud, b"uid 2")
    (told,) = rates.events(all_of_them=True)
    assert (told.blob("subject"), told.get("counts")) == (loud, {"signals-not-taken": 5_000 - taken})
    assert rates.events(all_of_them=True) == ()


def test_strangers_are_counted_once_a_minute() -> None:
    clock = _Clock()
    rates = GateRates(0, clock)
    for _ in range(1_000):
        rates.stranger()
    (told,) = rates.events()
    assert told.get("counts") == {"unknown-keys": 1_000} and told.get("subject") is None
    rates.stranger()
    assert rates.events() == ()
    clock.now += 61 * SECOND
    assert len(rates.events()) == 1 and rates.events() == ()


def test_a_flood_is_one_entry_and_costs_no_signature(scene: GateScene) -> None:
    keeper = scene.keeper(rate=5)
    signals = [scene.sign("camera") for _ in range(150)]
    said: list[str] = []
    for signed in signals:
        try:
            said.append(run(keeper.admit(signed.raw, signed.opening)).word)
        except Unavailable:
            said.append("later")
    assert said.count("allowed") + said.count("later") == 150 and said.count("later") >= 20
    other = scene.sign("agent", "skill", "read")
    assert run(keeper.admit(other.raw, other.opening)).allowed
    assert len(scene.events(Kind.SIGNAL)) == said.count("allowed") + 1 and not words(scene)
    (told,) = keeper.rates.events(all_of_them=True)
    assert told.get("counts") == {"signals-not-taken": said.count("later")}


def test_no_key_fills_the_inbox(scene: GateScene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick.node.gatekeeper.MAX_HELD", 3)
    keeper = scene.keeper()
    held: list[Signed] = [scene.sign("camera", "sensor", "write") for _ in range(5)]
    said = [run(keeper.admit(each.raw, each.opening)) for each in held]
    assert [verdict.word for verdict in said] == ["held"] * 3 + ["refused"] * 2
    assert entry(scene, said[-1].entry).text("reason") == "limits"


def test_a_forger_fills_no_ledger(scene: GateScene) -> None:
    """A thousand forgeries under a known key are a hundred entries and a count; the key itself goes on."""
    keeper = scene.keeper()
    forged = bytearray(scene.sign("camera").raw)
    forged[-1] ^= 1

    async def forge() -> list[Any]:
        return [await keeper.admit(bytes(forged), b"\xa0") for _ in range(400)]

    said = run(forge())
    assert all(verdict.refused for verdict in said)
    recorded = sum(verdict.entry is not None for verdict in said)
    assert 100 <= recorded < 300 and len(words(scene)) == recorded
    (told,) = keeper.rates.events(all_of_them=True)
    assert told.get("counts") == {"refusals-not-recorded": 400 - recorded}
    good = scene.sign("camera")
    assert run(keeper.admit(good.raw, good.opening)).allowed
