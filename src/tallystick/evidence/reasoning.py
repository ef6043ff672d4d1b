"""Is there any story in which every sighting is true? A search over uncertain places and clocks (docs/spec/facts.md, section 6).

    conflict(view)      entries of a least set of sightings that cannot all be true together with the claim; empty: a story exists

The rules of layer 3 look at two sightings at a time. Three can contradict each other though any two get along: each pair borrows the same
uncertainty of a clock, and it can be spent only once. Here every sighting and the claim get one place and one time for all.

A place with a radius is covered by seven cells of half the radius, an uncertain time by three slots of a third. Two choices exclude each
other only where every place in the one cell excludes every place in the other, at every time of the slots. A conflict is thus proven, at
any resolution; that there is a story means only that this search cannot exclude it. Where nothing is uncertain it says what the rules say.
"""

import math
from dataclasses import replace
from typing import Final

from tallystick.evidence.solver import Atom, Ranks, grounded, holds_with
from tallystick.facts.claim import CLOCK_UNCERTAINTY, PLACE_OVERLAP, SPEED_LIMIT, View
from tallystick.facts.fact import Place, Point, Sighting
from tallystick.facts.rule import entries
from tallystick.facts.transit import EARTH_RADIUS_M, apart, gap_mm, time_between_ns

# Sightings looked at: the nearest in time. Bounds the search: at most 17 things, each with 7 cells and 3 slots.
MAX_SEARCHED: Final = 16
# Wider places stay one cell: the cover below is made for a plane.
MAX_COVERED_M: Final = 200_000
# The seven cells are laid on the sphere and hold for the ellipsoid: 2 % and a metre more than half the radius.
_INFLATED_PERCENT: Final = 102

_S: Final = 10**9
_NS_KMH: Final = 3_600_000

# thing(I): the claim (0) and the sightings.  on(I): it is true.  in(I,C), at(I,T): its cell and its slot.
# Two cells exclude each other with two slots where the way needs more time than there is.
PROGRAM: Final = """
{ on(I) } :- thing(I).
1 { in(I,C) : cell(I,C) } 1 :- on(I).
1 { at(I,T) : slot(I,T) } 1 :- on(I).
:- on(I), on(J), never(I,J).
:- in(I,C), in(J,D), need(I,C,J,D,N), at(I,T), at(J,U), have(I,T,J,U,H), H < N.
#show.
"""


def conflict(view: View) -> tuple[int, ...]:
    """The entries, rising, of a least set of sightings of which no story holds that also has the claim; empty where there is one.

    Such a set is without contradiction by itself: an old quarrel among sightings is not held against the claim.
    """
    place = view.claim.place
    if place is None:
        return ()
    at_ns = view.claim.issued_at_ns
    near = sorted((each for each in view.slice.sightings if not view.is_own(each)), key=lambda each: _nearness(each, at_ns))
    things = [(place, at_ns), *((each.place, each.observed_ns) for each in near[:MAX_SEARCHED])]
    search = _Search(view, things)
    numbers = range(1, len(things))
    if search.fits([0, *numbers]):
        return ()
    for number in numbers:
        if not search.fits([0, number]):
            return (near[number - 1].entry,)
    kept: list[int] = []
    for number in numbers:
        if search.fits([*kept, number]):
            kept.append(number)
    if search.fits([0, *kept]):
        return ()
    for number in reversed(kept.copy()):  # the farthest first: what is left is near in time
        rest = [each for each in kept if each != number]
        if not search.fits([0, *rest]):
            kept = rest
    return entries(*(near[number - 1].entry for number in kept))


def cells(place: Place) -> tuple[Place, ...]:
    """Places that together cover one: itself, or seven of half the radius (one in the middle, six around it)."""
    if isinstance(place, str) or place.radius_m < 2 or place.radius_m > MAX_COVERED_M:
        return (place,)
    middle = replace(place, radius_m=-(-place.radius_m * _INFLATED_PERCENT // 200) + 1)
    around = place.radius_m * math.sqrt(3) / 2 / EARTH_RADIUS_M
    return (middle, *(_moved(middle, around, math.pi * turn / 3) for turn in range(6)))


def slots(at_ns: int, uncertainty_s: int) -> tuple[tuple[int, int], ...]:
    """Times and half widths, in nanoseconds, that together cover an uncertain time."""
    if uncertainty_s == 0:
        return ((at_ns, 0),)
    third = -(-uncertainty_s * _S // 3)
    return tuple((at_ns + 2 * third * turn, third) for turn in (-1, 0, 1))


class _Search:
    """The choices of all things, grounded once; each question is solved under assumptions."""

    def __init__(self, view: View, things: list[tuple[Place, int]]) -> None:
        self._limit, _ = view.setting(SPEED_LIMIT)
        self._uncertainty, _ = view.setting(CLOCK_UNCERTAINTY)
        self._overlap, _ = view.setting(PLACE_OVERLAP)
        choices = [(cells(place), slots(at_ns, self._uncertainty)) for place, at_ns in things]
        facts: list[Atom] = []
        for number, (places, times) in enumerate(choices):
            facts += [("thing", number)]
            facts += [("cell", number, each) for each in range(len(places))]
            facts += [("slot", number, each) for each in range(len(times))]
        needs: dict[tuple[int, int, int, int], int] = {}
        haves: dict[tuple[int, int, int, int], int] = {}
        for i in range(len(things)):
            for j in range(i + 1, len(things)):
                if self._never(things[i], things[j]):
                    facts.append(("never", i, j))
                    continue
                need = {
                    (i, c, j, d): self._need(one, other) for c, one in enumerate(choices[i][0]) for d, other in enumerate(choices[j][0])
                }
                have = {
                    (i, t, j, u): abs(one - other) + wide + wider
                    for t, (one, wide) in enumerate(choices[i][1])
                    for u, (other, wider) in enumerate(choices[j][1])
                }
                if min(have.values()) < max(need.values()):
                    needs |= need
                    haves |= have
        ranks = Ranks((*needs.values(), *haves.values()))
        facts += [("need", *each, ranks[time]) for each, time in needs.items()]
        facts += [("have", *each, ranks[time]) for each, time in haves.items()]
        self._control = grounded(PROGRAM, facts)

    def fits(self, numbers: list[int]) -> bool:
        """Whether one story has all of these."""
        return holds_with(self._control, [("on", number) for number in numbers])

    def _never(self, one: tuple[Place, int], other: tuple[Place, int]) -> bool:
        """What the rules of layer 3 say of the two alone."""
        time_ns = time_between_ns(one[1], other[1], self._uncertainty)
        return apart(one[0], other[0], time_ns, limit_kmh=self._limit, overlap_s=self._overlap)

    def _need(self, one: Place, other: Place) -> int:
        """The least time in nanoseconds between two cells: fewer exclude each other."""
        if isinstance(one, str) or isinstance(other, str):
            named = isinstance(one, str) and isinstance(other, str) and one != other
            return self._overlap * _S + 1 if named else 0
        return -(-gap_mm(one, other) * _NS_KMH // self._limit)


def _nearness(sighting: Sighting, at_ns: int) -> tuple[int, int]:
    return abs(sighting.observed_ns - at_ns), sighting.entry


def _moved(point: Point, angle: float, bearing: float) -> Point:
    """The point so far away in that direction, on the sphere."""
    latitude, longitude = math.radians(point.latitude_e7 / 1e7), math.radians(point.longitude_e7 / 1e7)
    north = math.sin(latitude) * math.cos(angle) + math.cos(latitude) * math.sin(angle) * math.cos(bearing)
    east = math.atan2(math.sin(bearing) * math.sin(angle) * math.cos(latitude), math.cos(angle) - math.sin(latitude) * north)
    around = (math.degrees(longitude + east) + 180) % 360 - 180
    return replace(point, latitude_e7=round(math.degrees(math.asin(max(-1.0, min(1.0, north)))) * 1e7), longitude_e7=round(around * 1e7))
