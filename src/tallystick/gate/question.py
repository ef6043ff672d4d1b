"""How a layer judges: it asks, the shell fetches, the layer weighs (DESIGN 3: gate asks, evidence answers).

    question = layer.ask(candidate)             # pure: what must be known; None: nothing
    evidence = fetch(question)                  # the shell: the fact store, a model, a device; None: nobody could answer
    finding = layer.weigh(candidate, evidence)  # pure: what the layer saw

A layer never grants. It passes, rejects (binary layers: crypto, deterministic), notes something (sensory) or lowers confidence
(probabilistic). A layer whose evidence is missing gives `Outcome.UNAVAILABLE`: less confidence, never more.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol

from tallystick.facts.fact import Fact, KnownKey, Place, Slice
from tallystick.gate.opening import Opening
from tallystick.gate.signal import ProvenSignal


class Layer(StrEnum):
    """The four layers, by the words of AUTH_LAYERS_*. Their order here is the order in which they judge."""

    CRYPTO = "crypto"
    SENSORY = "sensory"
    DETERMINISTIC = "deterministic"
    PROBABILISTIC = "probabilistic"


class Outcome(StrEnum):
    """What a layer says. Only `reject` refuses by itself; `low` and `unavailable` leave metadata and read."""

    PASS = "pass"
    REJECT = "reject"
    NOTED = "noted"
    LOW = "low"
    ABSTAIN = "abstain"
    UNAVAILABLE = "unavailable"


class Candidate(NamedTuple):
    """A signal before the gate: proven, its opening checked; a tuple, because one is made for every signal.

    `place`: where it says it was made; `now_ns`: pair time, UTC.

    `notes`: facts that layers before this one noted about this very signal (entry 0: not in the ledger yet).
    """

    signal: ProvenSignal
    opening: Opening
    key: KnownKey
    place: Place | None
    now_ns: int
    notes: tuple[Fact, ...] = ()


class SliceQuestion(NamedTuple):
    """Asks for the slice of the fact store about the candidate's key around a moment. `predicates`: only facts with these words."""

    around_ns: int
    predicates: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SensoryQuestion:
    """Asks what the senses see in the candidate's observations. `observations`: clear values, in their order."""

    observations: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsQuestion:
    """Asks how usual the candidate is for its key. `features`: words about it that hold no clear value."""

    features: tuple[str, ...]


Question = SliceQuestion | SensoryQuestion | OddsQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One attribute that was compared. `score`, `threshold`, `quality`: parts per million; `result`: match, mismatch, inconclusive."""

    attribute: str
    result: str
    score_ppm: int
    threshold_ppm: int
    quality_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The answer to a question: the field that belongs to its kind is set.

    `conflict`: with a slice, the sightings that no story has together with the candidate, where somebody searched for one.
    """

    slice: Slice | None = None
    conflict: tuple[int, ...] = ()
    matches: tuple[Match, ...] = ()
    confidence_ppm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one layer saw. `rule`: the rule that decided; `facts`: the entries it rests on; `why`: one line without clear values."""

    layer: Layer
    outcome: Outcome
    rule: str = ""
    facts: tuple[int, ...] = ()
    why: str = ""
    confidence_ppm: int | None = None
    matches: tuple[Match, ...] = ()


class GateLayer(Protocol):
    """A layer above crypto, as the gate runs it."""

    @property
    def layer(self) -> Layer:
        """Which one it is."""

    def ask(self, candidate: Candidate) -> Question | None:
        """What must be known to judge this, or None."""

    def weigh(self, candidate: Candidate, evidence: Evidence | None) -> Finding:
        """Judge. `evidence`: None where nobody could answer."""

    def silent(self, evidence: Evidence) -> bool:
        """Whether `weigh` passes every signal with this evidence that says no place, has no notes and may speak as its class.

        False where that depends on the signal or the time. Found once for each evidence; then the layer need not be asked.
        """
