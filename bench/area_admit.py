"""What a whole decision of the gate costs, beside the signature alone and beside what others would put together (docs/spec/gate.md).

A house knows 1,000 source keys, each with a row of the matrix of its own, and 100,000 facts about them. Each of them sends signals of class
`sensor/camera` with a body, whose predecessor is an earlier signal of another key. Rounds alternate between us and the peers.

- `admit.ratio_verify`: p50 of `Gatekeeper.judge` over p50 of one bare Ed25519 verification of the same signals: reading, key and class,
  signature, opening, replay (asked of the database), facts and rules, provenance, rows. Nothing is recorded. `us` and `verify_us` are the
  two; `place_ratio_verify` the same for signals that say where they were made: their rules are weighed each time.
- `admit.per_cpu_s`: `Gatekeeper.admit` by 256 callers in one event loop (uvloop, as `tally serve` has it), each durable before it is told;
  per CPU second of the process, the ledger's writer included.  `append_per_cpu_s`: what the ledger alone takes of the same events.
- `admit.ratio_cwt_cedar`, `admit.ratio_pyjwt_casbin`: a verified token and a decision of a policy engine, over ours without durability.
  Their keys, policies and entities are prepared and reused; they look at no replay, no opening, no fact and no predecessor.
- `gate.revoke.ms`: from the call that records a revocation to the moment another process at the same home refuses the key; p99 over four
  processes that judge without a pause. Nothing is sent to them.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import uvloop

from bench.counts import count
from bench.ledger_scene import Record
from tallystick.facts.fact import write_value
from tallystick.gate.signal import parse_signal
from tallystick.ledger.event import Event, Kind
from tallystick.node.gatekeeper import Gatekeeper
from tallystick.primitives import ed25519_verify
from tests.node.gate_scene import GateScene, Signed, gate_scene
from tests.support import PROJECT

KEYS: Final = count(1_000, 3)
FACTS_OF_A_KEY: Final = 100
WORDS: Final = ("speed-limit", "clock-uncertainty", "attested", "firmware")
ACTIONS: Final = ("metadata", "read", "egress", "propose", "write", "admin")
SIGNALS: Final = count(1_000, 6)
ROUNDS: Final = count(15, 2)
DURABLE: Final = count(6_000, 20)
CALLERS: Final = count(256, 4)
REVOKED: Final = count(50, 2)
WATCHERS: Final = 4
GROUP: Final = 4_096


def _fill(scene: GateScene) -> None:
    """Keys with a row each, and the facts about them."""
    events = []
    for number in range(KEYS):
        kid = bytes(scene.introduce(f"k{number}", "sensor", actions=tuple(dict.fromkeys(("metadata", "propose", ACTIONS[number % 5])))))
        said: list[tuple[str, int | str]] = [("speed-limit", 900), ("clock-uncertainty", 2), ("attested", "ok"), ("firmware", 7)]
        said += [(f"reading-{n}", n) for n in range(FACTS_OF_A_KEY - len(WORDS))]
        for word, value in said:
            events.append(Event.of(Kind.FACT_ADDED, scene.now_ns, "gate", predicate=word, subject=kid, value=write_value(value)))
        if len(events) + FACTS_OF_A_KEY > GROUP:
            scene.machine.store.append(*events).result(120)
            events.clear()
    if events:
        scene.machine.store.append(*events).result(120)


def _signals(scene: GateScene, first: bytes, many: int, **more: Any) -> list[Signed]:
    return [scene.sign(f"k{number % KEYS}", "sensor/camera", "metadata", prev=(first,), body=b"a frame", **more) for number in range(many)]


def _each_us(step: Callable[[int], object], many: int) -> list[float]:
    clock, found = time.perf_counter_ns, []
    for number in range(many):
        begun = clock()
        step(number)
        found.append((clock() - begun) / 1e3)
    return found


def _p50(values: Sequence[float]) -> float:
    return statistics.median(values)


def _judged(keeper: Gatekeeper, signals: Sequence[Signed]) -> Callable[[int], object]:
    def step(number: int) -> None:
        signed = signals[number]
        if not keeper.judge(signed.raw, signed.opening).allowed:
            raise AssertionError("a signal of the bench is not allowed")

    return step


def _verified(scene: GateScene, signals: Sequence[Signed]) -> Callable[[int], object]:
    parts = []
    for number, signed in enumerate(signals):
        sign1 = parse_signal(signed.raw).sign1
        parts.append((scene.key(f"k{number % KEYS}").public.raw, sign1.signature, sign1.signed_bytes()))

    def step(number: int) -> None:
        ed25519_verify(*parts[number])

    return step


def _cwt_cedar(scene: GateScene, signals: Sequence[Signed]) -> Callable[[int], object]:
    """PyPI cwt and cedarpy: one group for each set of actions; the answer of both is checked."""
    import cedarpy
    import cwt
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    from tests.gate.world import seed

    policies = "\n".join(f'permit(principal in Group::"{a}", action == Action::"{a}", resource);' for a in ACTIONS)
    entities: list[dict[str, Any]] = [{"uid": {"type": "Group", "id": action}, "attrs": {}, "parents": []} for action in ACTIONS]
    for number in range(KEYS):
        groups = dict.fromkeys(("metadata", "propose", ACTIONS[number % 5]))
        parents = [{"type": "Group", "id": action} for action in groups]
        entities.append({"uid": {"type": "Key", "id": f"k{number}"}, "attrs": {}, "parents": parents})
    policy_set, entity_set = cedarpy.PolicySet.from_str(policies), cedarpy.Entities.from_json_str(json.dumps(entities))
    publics, tokens = [], []
    for number in range(len(signals)):
        name = f"k{number % KEYS}"
        private = Ed25519PrivateKey.from_private_bytes(seed(name))
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        claims = {"iss": name, "sub": "sensor/camera", "cti": f"{number}", "exp": int(time.time()) + 3_600}
        tokens.append(cwt.encode(claims, cwt.COSEKey.from_pem(pem, kid=name)))
        publics.append(cwt.COSEKey.from_pem(public, kid=name))

    def step(number: int) -> None:
        claims = cwt.decode(tokens[number], publics[number])
        request = {"principal": f'Key::"{claims[1]}"', "action": 'Action::"metadata"', "resource": 'House::"h"', "context": {}}
        if not cedarpy.is_authorized(request, policy_set, entity_set).allowed:
            raise AssertionError("cedar says no")

    return step


def _pyjwt_casbin(scene: GateScene, signals: Sequence[Signed]) -> Callable[[int], object]:
    """PyPI PyJWT (EdDSA) and casbin's FastEnforcer, its policies indexed by subject and action."""
    import casbin
    import jwt
    from casbin.model import FastModel
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from tests.gate.world import seed

    model = FastModel([0, 1])
    model.load_model_from_text(
        "[request_definition]\nr = sub, act\n[policy_definition]\np = sub, act\n[policy_effect]\ne = some(where (p.eft == allow))\n"
        "[matchers]\nm = r.sub == p.sub && r.act == p.act\n"
    )
    enforcer = casbin.FastEnforcer(model, cache_key_order=[0, 1], enable_log=False)
    publics, tokens = [], []
    for number in range(KEYS):
        for action in dict.fromkeys(("metadata", "propose", ACTIONS[number % 5])):
            enforcer.add_policy(f"k{number}", action)
    for number in range(len(signals)):
        name = f"k{number % KEYS}"
        private = Ed25519PrivateKey.from_private_bytes(seed(name))
        claims = {"iss": name, "sub": "sensor/camera", "jti": f"{number}", "exp": int(time.time()) + 3_600}
        tokens.append(jwt.encode(claims, private, algorithm="EdDSA"))
        publics.append(private.public_key())

    def step(number: int) -> None:
        claims = jwt.decode(tokens[number], publics[number], algorithms=["EdDSA"])
        if not enforcer.enforce(claims["iss"], "metadata"):
            raise AssertionError("casbin says no")

    return step


def _decisions(record: Record, scene: GateScene, keeper: Gatekeeper, first: bytes) -> None:
    signals, placed = _signals(scene, first, SIGNALS), _signals(scene, first, SIGNALS, place=[523_700_000, 48_900_000, 20])
    steps = {
        "ours": _judged(keeper, signals),
        "verify": _verified(scene, signals),
        "placed": _judged(keeper, placed),
    }
    for name, peer, make in (("cwt_cedar", "cwt and cedarpy", _cwt_cedar), ("pyjwt_casbin", "PyJWT and casbin", _pyjwt_casbin)):
        try:
            steps[name] = make(scene, signals)
        except ImportError as error:
            record.missing(peer, str(error))
    for step in steps.values():
        _each_us(step, SIGNALS)  # once for what everybody keeps
    rounds = [{name: _p50(_each_us(step, SIGNALS)) for name, step in steps.items()} for _ in range(ROUNDS)]

    def middle(over: str, under: str) -> float:
        return statistics.median(each[over] / each[under] for each in rounds)

    record("gate.admit.ratio_verify", middle("ours", "verify"))
    record("gate.admit.place_ratio_verify", middle("placed", "verify"))
    record("gate.admit.us", min(each["ours"] for each in rounds))
    record("gate.admit.verify_us", min(each["verify"] for each in rounds))
    for name in ("cwt_cedar", "pyjwt_casbin"):
        if name in steps:
            record(f"gate.admit.ratio_{name}", middle(name, "ours"))


def _durable(record: Record, scene: GateScene, keeper: Gatekeeper, first: bytes) -> None:
    """The least disturbed of three rounds each."""
    store = scene.machine.store

    async def by_callers(work: Callable[[Signed], Any], signals: Sequence[Signed]) -> None:
        waiting = iter(signals)

        async def caller() -> None:
            for signed in waiting:
                await work(signed)

        await asyncio.gather(*[caller() for _ in range(CALLERS)])

    async def admit(signed: Signed) -> None:
        if not (await keeper.admit(signed.raw, signed.opening)).allowed:
            raise AssertionError("a signal of the bench is not allowed")

    async def append(signed: Signed) -> None:
        event = Event.of(Kind.SIGNAL, scene.now_ns, "gate", signal=signed.raw, verdict="allow", depth=1)
        await store.record(event, openings=(signed.opening,))

    for figure, work in (("per_cpu_s", admit), ("append_per_cpu_s", append)):
        best = 0.0
        for _ in range(count(3, 1)):
            signals = _signals(scene, first, DURABLE)
            begun = time.process_time()
            uvloop.run(by_callers(work, signals))
            best = max(best, DURABLE / (time.process_time() - begun))
        record(f"gate.admit.{figure}", best)


def _revoke(record: Record, folder: Path) -> None:
    with gate_scene(folder) as scene:
        for number in range(REVOKED):
            scene.introduce(f"revoked {number}", "sensor")
        env = os.environ | {"PYTHONPATH": os.pathsep.join((str(PROJECT / "src"), str(PROJECT)))}
        command = [sys.executable, str(PROJECT / "bench" / "gate_watch.py"), str(folder), str(REVOKED)]
        watchers = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) for _ in range(WATCHERS)]
        try:
            outputs = [watcher.stdout for watcher in watchers if watcher.stdout is not None]
            if any(output.readline() != "ready\n" for output in outputs):
                raise AssertionError("a watcher did not begin")
            delays = []
            for number in range(REVOKED):
                time.sleep(0.01)
                begun = time.monotonic_ns()
                scene.revoke(f"revoked {number}")
                delays += [(int(output.readline()) - begun) / 1e6 for output in outputs]
        finally:
            for watcher in watchers:
                watcher.kill()
                watcher.wait()
    delays.sort()
    record("gate.revoke.ms", delays[min(len(delays) - 1, len(delays) * 99 // 100)])
    record("gate.revoke.p50_ms", statistics.median(delays))


def run(record: Record) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory() as folder:
        with gate_scene(Path(folder) / "house") as scene:
            _fill(scene)
            keeper = scene.keeper()
            first = scene.sign("k0", "sensor/camera", "metadata")
            if not asyncio.run(keeper.admit(first.raw, first.opening)).allowed:
                raise AssertionError("the first signal is not allowed")
            _decisions(record, scene, keeper, first.reference)
            _durable(record, scene, keeper, first.reference)
        _revoke(record, Path(folder) / "revoked")
