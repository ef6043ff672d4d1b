"""What the rules see of a signal, and of the facts about its key (docs/spec/facts.md, section 3).

    view = look(Claim(...), slice)
    view.fact("maintenance")        the fact with this word that holds for the key at the signal's moment, or None

Of several facts with one word the newest that is about the key holds, else the newest that is about all. What the layers before noted
about this very signal counts as about the key.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from tallystick.errors import Misuse
from tallystick.facts.fact import Fact, Place, Sighting, Slice
from tallystick.facts.transit import CLOCK_UNCERTAINTY_S, PLACE_OVERLAP_S, SPEED_LIMIT_KMH

# Limits on work: what a slice holds at most (DESIGN 8: limits count work, never time).
MAX_FACTS: Final = 256
MAX_SIGHTINGS: Final = 64
MAX_NOTES: Final = 64

# Words that set what the rules measure with: word -> (default, least, most). A value out of range, or none, leaves the default.
SPEED_LIMIT: Final = "speed-limit"  # km/h
CLOCK_UNCERTAINTY: Final = "clock-uncertainty"  # s, either way
PLACE_OVERLAP: Final = "place-overlap"  # s
SCHEDULE_TOLERANCE: Final = "schedule-tolerance"  # s
SETTINGS: Final[Mapping[str, tuple[int, int, int]]] = {
    SPEED_LIMIT: (SPEED_LIMIT_KMH, 1, 10_000_000),
    CLOCK_UNCERTAINTY: (CLOCK_UNCERTAINTY_S, 0, 86_400),
    PLACE_OVERLAP: (PLACE_OVERLAP_S, 0, 86_400),
    SCHEDULE_TOLERANCE: (60, 0, 86_400),
}
LIVENESS: Final = "liveness"
LIVENESS_FAILED: Final = "failed"
# The words that the rules of the house itself read.
PREDICATES: Final = (*SETTINGS, LIVENESS)

_NONE: Final[Mapping[str, Fact]] = {}


class Claim(NamedTuple):
    """A signal as rules see it; a tuple, because one is made for every signal.

    `target`: `METHOD path`, as grants name it; empty for none.  `place`: where it says it was made.

    `issued_at_ns`: by the signer's clock; `now_ns`: pair time of the house; both UTC.
    `notes`: facts about this very signal, entry 0.  `reference`: of the signal: a sighting that it brought says nothing about it.
    """

    signal_class: str
    action: str
    verb: str
    target: str
    place: Place | None
    issued_at_ns: int
    now_ns: int
    notes: tuple[Fact, ...] = ()
    reference: bytes | None = None


class View(NamedTuple):
    """A claim and the slice of the facts, by word. Made by `look`. `own`: about the key, `common`: about all; the newest of each word."""

    claim: Claim
    slice: Slice
    own: Mapping[str, Fact]
    common: Mapping[str, Fact]

    def fact(self, predicate: str) -> Fact | None:
        """The fact that holds."""
        return self.own.get(predicate) or self.common.get(predicate)

    def setting(self, predicate: str) -> tuple[int, Fact | None]:
        """A number that rules measure with, and the fact that set it (None: the default)."""
        default, least, most = SETTINGS[predicate]
        if not self.own and not self.common:
            return default, None
        for facts in (self.own, self.common):
            fact = facts.get(predicate)
            if fact is not None and type(fact.value) is int and least <= fact.value <= most:
                return fact.value, fact
        return default, None

    def is_own(self, sighting: Sighting) -> bool:
        """Whether the claim itself brought this sighting: it is so when a recorded signal is judged again."""
        return sighting.signal is not None and sighting.signal == self.claim.reference

    def last_sighting(self) -> Sighting | None:
        """The nearest sighting that is not later than the claim."""
        for sighting in reversed(self.slice.sightings):
            if sighting.observed_ns <= self.claim.issued_at_ns and not self.is_own(sighting):
                return sighting
        return None


def look(claim: Claim, known: Slice) -> View:
    """Sort the facts by word. Raises: Misuse when there are more of them than a slice may hold."""
    if len(known.facts) > MAX_FACTS or len(known.sightings) > MAX_SIGHTINGS or len(claim.notes) > MAX_NOTES:
        raise Misuse("facts: more in a slice than rules look at")
    if not known.facts and not claim.notes:
        return View(claim, known, _NONE, _NONE)
    own: dict[str, Fact] = {}
    common: dict[str, Fact] = {}
    for fact in (*known.facts, *claim.notes):
        into = common if fact.subject is None and fact.entry else own
        held = into.get(fact.predicate)
        if held is None or _age(fact) > _age(held):
            into[fact.predicate] = fact
    return View(claim, known, own, common)


def _age(fact: Fact) -> tuple[int, bool, bool, int]:
    """What makes a fact newer than another: its time, then that it is a note, then its entry. Of two at one time a failed liveness wins."""
    failed = fact.predicate == LIVENESS and fact.value == LIVENESS_FAILED
    return fact.observed_ns, failed, not fact.entry, fact.entry
