"""What the gate pays for a decision (docs/spec/gate.md, docs/spec/facts.md).

- `rules.mean_us`: layer 3 alone. The key's slice is read from a house's database that holds 100,000 facts about 1,000 keys (nothing is kept
  from signal to signal), then weighed with the seven rules and five rules of the owner; signals of random keys. CPU time, mean.
- `rules.ratio_100k_over_1k`: the same over a house with 1,000 facts about 10 keys, each with as many as there: median of interleaved
  rounds.  `rules.weigh_us`: the weighing without the reading.
- `behaviour.score_update_us`: a signal of seven words scored by a full profile and learned, windows and their closing included; CPU time.
  `behaviour.bytes_per_key`: the memory of a profile whose key never repeats itself, its numbers included, its peers not.
- `rules.ratio_clingo`: the seven rules decided by clingo on the same slices, over ours.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.counts import count
from bench.ledger_scene import Record
from tallystick.errors import Unavailable
from tallystick.evidence import behaviour
from tallystick.evidence.behaviour import CHANNELS, Peers, Profile
from tallystick.facts.claim import Claim, look
from tallystick.facts.fact import Point, Slice, place_value, write_value
from tallystick.facts.rule import object_to
from tallystick.facts.rulefile import read_rules
from tallystick.gate.deterministic import Deterministic, claim_of
from tallystick.gate.opening import TAGS, Opened, Opening, Target, commit, commitments_of, encode_opening, make_opening
from tallystick.gate.question import Candidate, Evidence, Outcome, SliceQuestion
from tallystick.gate.signal import Signal, encode_signal, parse_signal
from tallystick.keys import KeyId, sign1
from tallystick.ledger.event import Event, Kind
from tests.evidence.test_behaviour import memory_bytes
from tests.gate.world import SALTS, Key
from tests.node.gate_scene import GateScene, gate_scene

SECOND: Final = 10**9
KEYS: Final = count(1_000, 4)
FEW_KEYS: Final = count(10, 2)
FACTS_OF_A_KEY: Final = 100
SIGHTINGS_OF_A_KEY: Final = 8
SIGNALS: Final = count(500, 5)
ROUNDS: Final = count(15, 1)
GROUP: Final = 4_096
# What the house and the owner's rules read, among words that nobody asks for.
WORDS: Final = ("speed-limit", "clock-uncertainty", "maintenance", "zone", "attested", "firmware")
OTHERS: Final = tuple(f"reading-{n}" for n in range(FACTS_OF_A_KEY - len(WORDS)))
RULES: Final = b"""
refuse night when class is sensor/camera and hour in 22..5 and fact maintenance is absent and label is "porch*"
hold fast when speed > 900
refuse red when fact zone is "red"
hold stale when class is sensor and fact attested is older than 400d
refuse old-firmware when class is sensor and fact firmware < 3
"""
HOME: Final = Point(525_200_000, 134_050_000, 20)


@dataclass(frozen=True, slots=True)
class House:
    """A house with many facts, and signals that its keys have sent."""

    scene: GateScene
    layer: Deterministic
    candidates: list[tuple[KeyId, Candidate, SliceQuestion]]

    def fetch(self, kid: KeyId, question: SliceQuestion) -> Slice:
        found = self.scene.machine.store.gate.slice(kid, question.around_ns, question.predicates)
        if found is None:
            raise AssertionError("the house does not know its key")
        return found

    def decide(self) -> None:
        """All signals once, from the question to the finding."""
        for kid, candidate, _ in self.candidates:
            question = self.layer.ask(candidate)
            if self.layer.weigh(candidate, Evidence(slice=self.fetch(kid, question))).outcome is not Outcome.PASS:
                raise AssertionError("a rule objects")


def _fill(scene: GateScene, names: list[str]) -> int:
    """Facts and sightings through the front door; how many facts."""
    events: list[Event] = []
    openings: list[bytes] = []
    facts = 0

    def flush() -> None:
        scene.machine.store.append(*events, openings=tuple(openings)).result(120)
        events.clear()
        openings.clear()

    for name in names:
        kid = bytes(scene.kid(name))
        said: list[tuple[str, int | str]] = [("speed-limit", 900), ("clock-uncertainty", 2), ("maintenance", "yes"), ("zone", "green")]
        said += [("attested", "ok"), ("firmware", 7), *((word, n) for n, word in enumerate(OTHERS))]
        for word, value in said:
            observed = scene.now_ns - 3_600 * SECOND
            events.append(
                Event.of(Kind.FACT_ADDED, scene.now_ns, "gate", predicate=word, subject=kid, value=write_value(value), observed=observed)
            )
            openings.append(b"")
            facts += 1
        for n in range(SIGHTINGS_OF_A_KEY):
            place = place_value(Point(HOME.latitude_e7 + 1_000 * n, HOME.longitude_e7, 20))
            events.append(
                Event.of(
                    Kind.SIGHTING,
                    scene.now_ns,
                    "gate",
                    subject=kid,
                    observed=scene.now_ns - (SIGHTINGS_OF_A_KEY - n) * 600 * SECOND,
                    commitment=commit(TAGS[4], SALTS[:32], place),
                )
            )
            openings.append(encode_opening(Opening(place=Opened(salt=SALTS[:32], value=place))))
        if len(events) + FACTS_OF_A_KEY + SIGHTINGS_OF_A_KEY > GROUP:
            flush()
    flush()
    return facts


def _candidate(scene: GateScene, key: Key, n: int) -> Candidate:
    place = Point(HOME.latitude_e7 + 5_000, HOME.longitude_e7 + 7 * n, 20)
    opening = make_opening(SALTS, target=Target(method="POST", path="/v1/signals"), place=place_value(place))
    claims = Signal(
        aud=bytes(scene.machine.house_id),
        signal_class="sensor/camera",
        action="propose",
        verb="camera.frame",
        commitments=commitments_of(opening)[0],
        issued_at_ns=scene.now_ns + n * SECOND,
        stream=bytes(16),
        n=n,
    )
    signal = parse_signal(sign1(key, encode_signal(claims))).prove(key.public)
    row = scene.machine.store.gate.known_key(signal.kid)
    if row is None:
        raise AssertionError("the house does not know its key")
    return Candidate(signal=signal, opening=opening, key=row.known, place=place, now_ns=scene.now_ns + (n + 1) * SECOND)


@contextmanager
def house(folder: Path, keys: int) -> Iterator[House]:
    """A house that knows so many keys, with a hundred facts about each."""
    with gate_scene(folder) as scene:
        names = [f"camera {n}" for n in range(keys)]
        for name in names:
            scene.introduce(name, "sensor", schedule="*/5 * * * *" if name.endswith("7") else None)
        if _fill(scene, names) != keys * FACTS_OF_A_KEY:
            raise AssertionError("facts are missing")
        layer, dice = Deterministic(rules=read_rules(RULES)), random.Random(1)
        scene.now_ns += 300 * SECOND - scene.now_ns % (300 * SECOND)  # a minute of the schedule of some
        made = [_candidate(scene, scene.key(dice.choice(names)), n % 60) for n in range(SIGNALS)]
        yield House(scene, layer, [(each.signal.kid, each, layer.ask(each)) for each in made])


def _cost_us(step: Callable[[], object]) -> float:
    """CPU microseconds for each signal of one round."""
    begin = time.process_time()
    step()
    return (time.process_time() - begin) / SIGNALS * 1e6


def _rules(record: Record) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        with house(Path(one) / "many", KEYS) as many, house(Path(other) / "few", FEW_KEYS) as few:
            slices = [many.fetch(kid, question) for kid, _, question in many.candidates]
            if min(len(each.facts) for each in slices) != len(WORDS) or {len(each.sightings) for each in slices} != {SIGHTINGS_OF_A_KEY}:
                raise AssertionError("the slices hold something else")
            known = [(candidate, Evidence(slice=each)) for (_, candidate, _), each in zip(many.candidates, slices, strict=True)]

            def weigh() -> None:
                for candidate, evidence in known:
                    many.layer.weigh(candidate, evidence)

            rounds = [(_cost_us(many.decide), _cost_us(few.decide), _cost_us(weigh)) for _ in range(ROUNDS)]
    record("gate.rules.mean_us", statistics.median(each[0] for each in rounds))
    record("gate.rules.ratio_100k_over_1k", statistics.median(each[0] / each[1] for each in rounds))
    record("gate.rules.weigh_us", statistics.median(each[2] for each in rounds))
    _clingo(record, [(claim_of(candidate), each) for (_, candidate, _), each in zip(many.candidates, slices, strict=True)])


def _clingo(record: Record, asked: list[tuple[Claim, Slice]]) -> None:
    try:
        from tallystick.evidence.ruling import decide, rulings
    except Unavailable as error:
        record.missing("clingo", error.message)
        return
    views = [look(claim, known) for claim, known in asked[: count(100, 2)]]
    ratios: list[float] = []
    for _ in range(count(5, 1)):
        begin = time.process_time()
        theirs = [decide(view) for view in views]
        middle = time.process_time()
        ours = [rulings(object_to(look(view.claim, view.slice))) for view in views]
        ratios.append((middle - begin) / (time.process_time() - middle))
        if theirs != ours:
            raise AssertionError("clingo says otherwise")
    record("gate.rules.ratio_clingo", statistics.median(ratios))


def _behaviour(record: Record) -> None:
    peers, dice = Peers(), random.Random(1)
    for _ in range(count(20, 2)):
        _fed(Profile(peers), dice, count(1_000, 300))
    profile = Profile(peers)
    _fed(profile, dice, count(4_000, 300))
    signals = [_words(dice, 40) for _ in range(count(2_000, 100))]
    costs = []
    for _ in range(ROUNDS):
        begin = time.process_time()
        for words in signals:
            profile.score(words)
            profile.observe(words)
        costs.append((time.process_time() - begin) / len(signals) * 1e6)
    record("gate.behaviour.score_update_us", statistics.median(costs))
    full = Profile(peers)
    for n in range(count(4_000, 300)):
        full.observe(tuple(behaviour.word(channel, str(n)) for channel in CHANNELS), threshold=2**60)
    record("gate.behaviour.bytes_per_key", memory_bytes(full))


def _fed(profile: Profile, dice: random.Random, signals: int) -> None:
    """A key that repeats a few of many words, as its own dice have it."""
    own = dice.randrange(5, 40)
    for _ in range(signals):
        profile.observe(_words(dice, own), threshold=2**60)


def _words(dice: random.Random, many: int) -> tuple[int, ...]:
    return tuple(behaviour.word(channel, str(dice.randrange(many))) for channel in CHANNELS[:7])


def run(record: Record) -> None:
    """Measure."""
    _behaviour(record)
    _rules(record)


if __name__ == "__main__":

    class _Print:
        def __call__(self, key: str, value: float) -> None:
            print(f"{key} {value:.3f}", flush=True)

        def missing(self, peer: str, reason: str) -> None:
            print(f"without {peer}: {reason}", flush=True)

    run(_Print())
