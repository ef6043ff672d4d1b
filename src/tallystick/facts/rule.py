"""The seven rules that rule an identity out (docs/spec/facts.md, section 4; DESIGN 8, layer 3).

    object_to(look(claim, slice))     every objection there is; none: nothing is known that speaks against it

Pure, and bounded by the size of the slice. Each objection names the rule and the entries of the facts it rests on; its line of text has no
clear value in it. A rule objects only where the facts leave no way out: what is not known, or uncertain enough, never rules out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tallystick.errors import Malformed
from tallystick.facts.claim import CLOCK_UNCERTAINTY, LIVENESS, LIVENESS_FAILED, PLACE_OVERLAP, SCHEDULE_TOLERANCE, SPEED_LIMIT, View
from tallystick.facts.fact import Fact, KnownKey, Sighting
from tallystick.facts.schedule import parse_schedule
from tallystick.facts.transit import apart, disjoint, time_between_ns

REVOKED_OR_EXPIRED: Final = "revoked-or-expired"
CLASS_NOT_ALLOWED: Final = "class-not-allowed"
OUTSIDE_SCHEDULE: Final = "outside-schedule"
OUTSIDE_PLACE: Final = "outside-place"
TWO_PLACES: Final = "two-places"
IMPOSSIBLE_TRANSIT: Final = "impossible-transit"
LIVENESS_CONTRADICTION: Final = "liveness-contradiction"

STANDING: Final = "standing"
# Classes that belong to keys of one kind, whatever a grant says.
_OF_KIND: Final = frozenset(("human", "machine"))


class Effect(StrEnum):
    """What an objection does. `hold`: what is not metadata or read waits for a human."""

    REFUSE = "refuse"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A rule that speaks against a claim. `facts`: entries, rising; `why`: one line without clear values."""

    rule: str
    facts: tuple[int, ...]
    why: str
    effect: Effect = Effect.REFUSE


def object_to(view: View) -> tuple[Objection, ...]:
    """What the seven rules have to say, in their order. Raises: nothing."""
    found = tuple(objection for rule in _RULES if (objection := rule(view)) is not None)
    if view.slice.sightings:
        found += _sightings(view)
    if view.own and (objection := _liveness_contradiction(view)) is not None:
        found += (objection,)
    return found


def covers(granted: str, signal_class: str) -> bool:
    """Whether a class includes another: `sensor` covers `sensor` and `sensor/camera`."""
    return signal_class == granted or (signal_class.startswith(granted) and signal_class[len(granted)] == "/")


def class_allowed(key: KnownKey, signal_class: str) -> bool:
    """Whether a key may speak as this class. A key without classes may speak as its own kind, where that is a class.

    `human` and `machine` belong to keys of that kind: no grant makes a source a human.
    """
    base = signal_class.partition("/")[0]
    if base in _OF_KIND and key.kind != base:
        return False
    if not key.classes:
        return base in _OF_KIND
    return any(covers(granted, signal_class) for granted in key.classes)


def entries(*facts: Fact | Sighting | int | None) -> tuple[int, ...]:
    """The entries of facts, rising, each once; what has none (a note of this very signal) is left out."""
    return tuple(sorted({each for fact in facts if fact is not None and (each := fact if isinstance(fact, int) else fact.entry)}))


def _revoked_or_expired(view: View) -> Objection | None:
    key = view.slice.key
    if key.state != STANDING:
        return Objection(rule=REVOKED_OR_EXPIRED, facts=entries(key.changed), why=f"the key is {key.state}")
    if key.expires_ns is not None and key.expires_ns <= max(view.claim.now_ns, view.claim.issued_at_ns):
        return Objection(rule=REVOKED_OR_EXPIRED, facts=entries(key.introduced), why="the key has expired")
    return None


def _class_not_allowed(view: View) -> Objection | None:
    key = view.slice.key
    if class_allowed(key, view.claim.signal_class):
        return None
    return Objection(rule=CLASS_NOT_ALLOWED, facts=entries(key.introduced), why="the key may not speak as this class")


def _outside_schedule(view: View) -> Objection | None:
    key = view.slice.key
    if not key.schedule:
        return None
    tolerance_s, by = view.setting(SCHEDULE_TOLERANCE)
    for schedule in (key.schedule, *key.also):
        try:
            if parse_schedule(schedule).within(view.claim.issued_at_ns, tolerance_s):
                return None
        except Malformed:
            continue  # a schedule that nobody can read never comes
    return Objection(rule=OUTSIDE_SCHEDULE, facts=entries(key.introduced, by), why="issued at a time outside the key's schedule")


def _outside_place(view: View) -> Objection | None:
    key, place = view.slice.key, view.claim.place
    if place is None or key.place is None or not disjoint(key.place, place):
        return None
    return Objection(rule=OUTSIDE_PLACE, facts=entries(key.introduced), why="made outside the place the key was declared for")


def _liveness_contradiction(view: View) -> Objection | None:
    noted = view.own.get(LIVENESS)
    if noted is None or noted.value != LIVENESS_FAILED:
        return None
    return Objection(rule=LIVENESS_CONTRADICTION, facts=entries(noted), why="liveness failed, and nothing since says otherwise")


def _sightings(view: View) -> tuple[Objection, ...]:
    """Two places at once, and impossible transit: where times cannot be told apart, and where they can.

    Names of places conflict only at the same time: of the way between names nothing is known.
    """
    place, at_ns = view.claim.place, view.claim.issued_at_ns
    if place is None:
        return ()
    limit_kmh, limited = view.setting(SPEED_LIMIT)
    uncertainty_s, uncertain = view.setting(CLOCK_UNCERTAINTY)
    overlap_s, overlaps = view.setting(PLACE_OVERLAP)
    slack_ns = time_between_ns(0, 0, uncertainty_s)
    at_once: list[Fact | Sighting | None] = []
    too_far: list[Fact | Sighting | None] = []
    for sighting in view.slice.sightings:
        time_ns = abs(at_ns - sighting.observed_ns) + slack_ns
        if apart(place, sighting.place, time_ns, limit_kmh=limit_kmh, overlap_s=overlap_s) and not view.is_own(sighting):
            if isinstance(place, str):
                at_once += (sighting, uncertain, overlaps)
            elif time_ns <= 2 * slack_ns:
                at_once += (sighting, uncertain, limited)
            else:
                too_far += (sighting, uncertain, limited)
    found: tuple[Objection, ...] = ()
    if at_once:
        found += (Objection(rule=TWO_PLACES, facts=entries(*at_once), why="the key was seen at another place at the same time"),)
    if too_far:
        found += (Objection(rule=IMPOSSIBLE_TRANSIT, facts=entries(*too_far), why="no way between the sightings is fast enough"),)
    return found


_RULES: Final[tuple[Callable[[View], Objection | None], ...]] = (
    _revoked_or_expired,
    _class_not_allowed,
    _outside_schedule,
    _outside_place,
)
