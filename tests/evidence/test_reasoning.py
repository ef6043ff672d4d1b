"""One story for all sightings: honest ones always have it, and a conflict names a least set."""

import math
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.facts.claim import View
from tallystick.facts.fact import Point, Sighting
from tallystick.facts.rule import IMPOSSIBLE_TRANSIT, TWO_PLACES, object_to
from tallystick.facts.transit import gap_mm
from tests.evidence.stores import reasoning, store
from tests.facts.test_rule import CASES, Case
from tests.facts.world import BERLIN, NOON, POTSDAM, S, fact, seen, view

KM_PER_DEGREE = 6371.008771 * math.pi / 180


def at(east_km: float, north_km: float, radius_m: int = 0) -> Point:
    """Near the equator, where a plane will do."""
    return Point(round(north_km / KM_PER_DEGREE * 1e7), round(east_km / KM_PER_DEGREE * 1e7), radius_m)


def by_rules(of: View) -> set[int]:
    """The sightings that the rules of layer 3 name."""
    named = [each.facts for each in object_to(of) if each.rule in (TWO_PLACES, IMPOSSIBLE_TRANSIT)]
    return {entry for facts in named for entry in facts} & {each.entry for each in of.slice.sightings}


def story(of: View, left: tuple[int, ...]) -> bool:
    """Whether there is one with these sightings alone."""
    kept = tuple(each for each in of.slice.sightings if each.entry in left)
    return not reasoning("reasoning").conflict(of._replace(slice=replace(of.slice, sightings=kept)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_two_sightings_at_a_time_are_what_the_rules_see(case: Case) -> None:
    """Of one sighting and the claim the search says what the rules say."""
    found = reasoning("reasoning").conflict(case.view)
    assert bool(found) == bool(by_rules(case.view)) and set(found) <= by_rules(case.view)


def test_stores_without_uncertainty() -> None:
    """The search finds a conflict exactly where the rules do, and one sighting is enough to name."""
    search = reasoning("reasoning")
    dice, conflicts = Random(7), 0
    for _ in range(500):
        of = store(dice, uncertain=False)
        found = search.conflict(of)
        assert bool(found) == bool(by_rules(of))
        assert len(found) <= 1 and set(found) <= by_rules(of)
        conflicts += bool(found)
    assert 100 <= conflicts <= 400


@given(st.randoms(use_true_random=False))
def test_uncertain_stores(dice: Random) -> None:
    """What two at a time exclude stays excluded; a set is a conflict, and without any one of its members it is none."""
    of = store(dice)
    found = reasoning("reasoning").conflict(of)
    assert not by_rules(of) or found
    if found:
        assert not story(of, found)
        assert all(story(of, tuple(each for each in found if each != left)) for left in found)


@given(st.randoms(use_true_random=False))
def test_an_honest_traveller_has_a_story(dice: Random) -> None:
    """Whoever moved below the limit, with clocks and places wrong within their bounds, is never in conflict."""
    uncertainty, limit = dice.choice((0, 1, 60, 600)), dice.choice((6, 120, 1_100))
    north, east, time = dice.uniform(-60, 60), dice.uniform(-170, 170), NOON
    stops: list[tuple[int, Point]] = []
    for _ in range(dice.randint(2, 7)):
        radius = dice.choice((0, 50, 3_000, 80_000))
        # The stated centre is off by at most the radius, the stated time by at most the uncertainty.
        off, turn = dice.uniform(0, radius / 1000) * 0.99, dice.uniform(0, 2 * math.pi)
        shown = Point(
            round((north + off * math.cos(turn) / KM_PER_DEGREE) * 1e7),
            round((east + off * math.sin(turn) / KM_PER_DEGREE / math.cos(math.radians(north))) * 1e7),
            radius,
        )
        stops.append((time + int(dice.uniform(-1, 1) * uncertainty * S), shown))
        took = dice.choice((1, 60, 3_600, 20_000))
        way = dice.uniform(0, 1) * limit * took / 3_600
        turn = dice.uniform(0, 2 * math.pi)
        north = max(-75.0, min(75.0, north + way * math.cos(turn) / KM_PER_DEGREE / 1.01))
        step = abs(way * math.sin(turn)) / KM_PER_DEGREE / 1.3
        east = max(-175.0, min(175.0, east + math.copysign(step, math.sin(turn))))
        time += took * S
    now = dice.randrange(len(stops))
    known = [Sighting(entry=20 + n, observed_ns=when, place=where) for n, (when, where) in enumerate(stops) if n != now]
    settings = (fact(1, "clock-uncertainty", uncertainty), fact(2, "speed-limit", limit))
    assert reasoning("reasoning").conflict(view(*known, *settings, place=stops[now][1], issued_at_ns=stops[now][0])) == ()


def test_a_clock_may_be_wrong_by_all_it_may_be() -> None:
    """Twenty minutes at full speed look like eighteen: both ends of the two uncertain times are needed, and not a second more is given."""
    search, clock = reasoning("reasoning"), fact(1, "clock-uncertainty", 60)
    assert search.conflict(view(seen(20, -1_080, at(0, 0)), clock, place=at(368, 0))) == ()
    assert search.conflict(view(seen(20, -1_080, at(0, 0)), clock, place=at(369, 0))) == (20,)
    middle = seen(21, -540, at(184, 0))
    assert search.conflict(view(seen(20, -1_080, at(0, 0)), middle, clock, place=at(368, 0))) == ()


def triangle(leg_km: float, **change: Any) -> View:
    """Twenty minutes ago 190 km east, ten minutes ago far to the north, now 190 km west; each clock wrong by a minute at most."""
    north = math.sqrt(leg_km**2 - 190**2)
    known = (seen(20, -600, at(0, north)), seen(21, -1200, at(190, 0)), seen(19, -90_000, at(0, 0)))
    return view(*known, fact(1, "clock-uncertainty", 60), place=at(-190, 0), **change)


def test_three_that_contradict_each_other_though_any_two_get_along() -> None:
    """Ten minutes and a minute at either end are enough for each leg alone, but the minutes in the middle can be spent only once."""
    search = reasoning("reasoning")
    of = triangle(216)
    assert object_to(of) == ()
    assert search.conflict(of) == (20, 21)
    assert search.conflict(triangle(200)) == ()


def test_an_old_quarrel_is_not_held_against_the_claim() -> None:
    """Two sightings that exclude each other, and a claim that gets along with both or with one."""
    search = reasoning("reasoning")
    quarrel = (seen(20, -7_200, BERLIN), seen(21, -7_195, POTSDAM))
    assert search.conflict(view(*quarrel, place=BERLIN)) == ()
    assert search.conflict(view(*quarrel, place=POTSDAM, issued_at_ns=NOON - 7_190 * S)) == (20,)


def test_seven_cells_cover_a_place_and_three_slots_a_time() -> None:
    """No point of a place is outside all of its cells, near the poles and the date line too; no moment outside the slots."""
    search = reasoning("reasoning")
    dice = Random(5)
    for latitude in (0, 523_000_000, -899_000_000, 900_000_000):
        whole = Point(latitude, 1_799_900_000, 200_000)
        cells = search.cells(whole)
        assert len(cells) == 7 and all(each.radius_m < 105_000 for each in cells)
        for _ in range(500):
            inside = search._moved(whole, math.sqrt(dice.random()) * 200_000 / search.EARTH_RADIUS_M, dice.uniform(0, 7))
            assert any(gap_mm(replace(inside, radius_m=0), cell) == 0 for cell in cells)
    assert search.cells("hall") == ("hall",) and search.cells(BERLIN)[0].radius_m == 12
    assert search.cells(replace(BERLIN, radius_m=0)) == (replace(BERLIN, radius_m=0),)
    assert len(search.cells(replace(BERLIN, radius_m=200_001))) == 1
    assert search.slots(NOON, 0) == ((NOON, 0),)
    ends = [(when - wide, when + wide) for when, wide in search.slots(NOON, 61)]
    assert ends[0][0] <= NOON - 61 * S and ends[0][1] == ends[1][0] and ends[1][1] == ends[2][0] and ends[2][1] >= NOON + 61 * S


def test_without_a_place_there_is_nothing_to_search() -> None:
    """And no more than the sixteen nearest sightings are looked at."""
    search = reasoning("reasoning")
    assert search.conflict(view(seen(20, 0, POTSDAM))) == ()
    far = [seen(100 + n, -100 - n, BERLIN) for n in range(16)]
    assert search.conflict(view(seen(20, -120, POTSDAM), *far, fact(1, "speed-limit", 700), place=BERLIN)) == ()
    assert search.conflict(view(seen(20, -99, POTSDAM), *far, fact(1, "speed-limit", 700), place=BERLIN)) == (20,)
