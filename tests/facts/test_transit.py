"""Two places and a time: distances that err on one side only, the same on every machine."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.facts.fact import LATITUDE_E7, LONGITUDE_E7, MAX_RADIUS_M, Point
from tallystick.facts.transit import (
    EARTH_RADIUS_M,
    HALF_WAY_AROUND_MM,
    NO_TIME_KMH,
    SPHERE_ERROR_PER_THOUSAND,
    apart,
    disjoint,
    distance_mm,
    gap_mm,
    least_speed_kmh,
    time_between_ns,
)
from tests.facts.world import BERLIN, POTSDAM, TOKYO, S

latitudes, longitudes = st.integers(-LATITUDE_E7, LATITUDE_E7), st.integers(-LONGITUDE_E7, LONGITUDE_E7)
points = st.builds(Point, latitudes, longitudes, st.integers(0, 1000) | st.integers(0, MAX_RADIUS_M))
places = points | st.sampled_from(("home", "office"))

# Geodesics on the WGS 84 ellipsoid, in metres: degrees, meridian quadrant and equatorial arcs that are known exactly, and pairs of cities
# computed with Vincenty's formulae below.
A_M, F = 6_378_137.0, 1 / 298.257223563


def vincenty_m(one: Point, other: Point) -> float:
    """The geodesic on the ellipsoid. Source: T. Vincenty, Survey Review 23/176 (1975), inverse formula."""
    b = A_M * (1 - F)
    u1 = math.atan((1 - F) * math.tan(math.radians(one.latitude_e7 / 1e7)))
    u2 = math.atan((1 - F) * math.tan(math.radians(other.latitude_e7 / 1e7)))
    length = lam = math.radians((other.longitude_e7 - one.longitude_e7) / 1e7)
    for _ in range(1000):
        sin_sigma = math.hypot(math.cos(u2) * math.sin(lam), math.cos(u1) * math.sin(u2) - math.sin(u1) * math.cos(u2) * math.cos(lam))
        if sin_sigma == 0:
            return 0.0
        cos_sigma = math.sin(u1) * math.sin(u2) + math.cos(u1) * math.cos(u2) * math.cos(lam)
        sigma = math.atan2(sin_sigma, cos_sigma)
        sin_alpha = math.cos(u1) * math.cos(u2) * math.sin(lam) / sin_sigma
        cos2_alpha = 1 - sin_alpha**2
        cos_2m = cos_sigma - 2 * math.sin(u1) * math.sin(u2) / cos2_alpha if cos2_alpha else 0.0
        c = F / 16 * cos2_alpha * (4 + F * (4 - 3 * cos2_alpha))
        last, lam = lam, length + (1 - c) * F * sin_alpha * (sigma + c * sin_sigma * (cos_2m + c * cos_sigma * (-1 + 2 * cos_2m**2)))
        if abs(lam - last) < 1e-12:
            break
    else:
        return math.nan
    square = cos2_alpha * (A_M**2 - b**2) / b**2
    big_a = 1 + square / 16384 * (4096 + square * (-768 + square * (320 - 175 * square)))
    big_b = square / 1024 * (256 + square * (-128 + square * (74 - 47 * square)))
    delta = big_b * sin_sigma * (cos_2m + big_b / 4 * cos_sigma * (-1 + 2 * cos_2m**2))
    return b * big_a * (sigma - delta)


def haversine_mm(one: Point, other: Point) -> float:
    """The same sphere with the library's functions."""
    lat1, lon1, lat2, lon2 = (
        math.radians(each / 1e7) for each in (one.latitude_e7, one.longitude_e7, other.latitude_e7, other.longitude_e7)
    )
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2000 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(h)))


# Bits, not closeness: these have to come out on every machine.
EXACT = [
    (BERLIN, POTSDAM, 27_198_004),
    (BERLIN, TOKYO, 8_920_552_509),
    (Point(0, 0), Point(0, 1), 11),
    (Point(0, 0), Point(10_000_000, 0), 111_195_080),
    (Point(900_000_000, 0), Point(-900_000_000, 0), 20_015_114_351),
    (Point(0, -1_800_000_000), Point(0, 1_800_000_000), 0),
    (Point(900_000_000, 0), Point(900_000_000, 1_000_000_000), 0),
    (Point(-337_688_280, 1_511_931_070), Point(403_430_000, -742_000_000), 15_966_232_299),
]


@pytest.mark.parametrize(("one", "other", "mm"), EXACT)
def test_distances_to_the_millimetre(one: Point, other: Point, mm: int) -> None:
    """Both ways, in the same bits everywhere."""
    assert distance_mm(one, other) == distance_mm(other, one) == mm


@given(points, points)
def test_the_library_agrees(one: Point, other: Point) -> None:
    """As the haversine has it, to the millimetre and near antipodes to 0.3 m, where every formula on doubles is blunt."""
    mine = distance_mm(one, other)
    assert 0 <= mine <= HALF_WAY_AROUND_MM
    assert abs(mine - haversine_mm(one, other)) <= (2 if mine < 19_900_000_000 else 300)
    around = abs(one.latitude_e7 - other.latitude_e7) + abs(one.longitude_e7 - other.longitude_e7)
    assert mine <= around * 11.12 + 1  # the short cut of `apart`


@given(st.builds(Point, latitudes, longitudes), st.builds(Point, latitudes, longitudes))
def test_a_gap_is_never_more_than_the_way_on_the_ellipsoid(one: Point, other: Point) -> None:
    """The sphere's error is taken off: no honest traveller is ruled out."""
    geodesic = vincenty_m(one, other)
    if not math.isnan(geodesic):  # Vincenty does not converge near antipodes
        assert gap_mm(one, other) <= geodesic * 1000 + 1
        assert distance_mm(one, other) * (1000 + SPHERE_ERROR_PER_THOUSAND) >= geodesic * 1_000_000 - 2_000


@given(places, places, st.integers(0, 10**15), st.integers(1, 100_000), st.integers(0, 600))
def test_what_is_apart_is_slower_than_light_allows(one: Point | str, other: Point | str, time_ns: int, limit: int, overlap: int) -> None:
    """`apart` says the same as the whole arithmetic without its short cuts, both ways, and a longer time never makes it true."""
    found = apart(one, other, time_ns, limit_kmh=limit, overlap_s=overlap)
    assert found == apart(other, one, time_ns, limit_kmh=limit, overlap_s=overlap)
    if isinstance(one, Point) and isinstance(other, Point):
        assert found == (gap_mm(one, other) * 3_600_000 > limit * time_ns)
        speed = least_speed_kmh(one, other, time_ns)
        assert speed is not None and (speed <= limit or found)
        assert not disjoint(one, other) or gap_mm(one, other) > 0
    else:
        assert found == (isinstance(one, str) and isinstance(other, str) and one != other and time_ns <= overlap * S)
        assert least_speed_kmh(one, other, time_ns) is None
    if not found:
        assert not apart(one, other, time_ns + 1, limit_kmh=limit, overlap_s=overlap)


def test_radii_and_clocks_make_way() -> None:
    """What is uncertain gives a traveller the benefit."""
    wide = Point(POTSDAM.latitude_e7, POTSDAM.longitude_e7, 27_200)
    assert apart(BERLIN, POTSDAM, 60 * S) and not apart(BERLIN, wide, 0)
    assert not disjoint(BERLIN, wide) and disjoint(BERLIN, POTSDAM)
    assert time_between_ns(5 * S, 3 * S, 10) == 22 * S
    assert apart(BERLIN, POTSDAM, time_between_ns(0, 60 * S, 14)) and not apart(BERLIN, POTSDAM, time_between_ns(0, 60 * S, 15))


def test_speeds() -> None:
    """27 km in an hour, in a minute, in no time."""
    assert least_speed_kmh(BERLIN, POTSDAM, 3600 * S) == 26
    assert least_speed_kmh(BERLIN, POTSDAM, 60 * S) == 1619
    assert least_speed_kmh(BERLIN, POTSDAM, 0) == NO_TIME_KMH
    assert least_speed_kmh(BERLIN, BERLIN, 0) == 0


def test_names() -> None:
    """Two names are two places for so long as the overlap says; a name and a point may be one."""
    assert apart("home", "office", 10 * S) and not apart("home", "office", 10 * S + 1) and not apart("home", "home", 0)
    assert not apart("home", BERLIN, 0) and not disjoint("home", BERLIN)
    assert disjoint("home", "office") and not disjoint("home", "home")
