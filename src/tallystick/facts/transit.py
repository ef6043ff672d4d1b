"""Can one key have been at both places? (docs/spec/facts.md, section 4)

Distances are great circles on the sphere of the WGS 84 ellipsoid's mean radius (2a + b) / 3 = 6,371,008.771 m. Against the ellipsoid such
a distance is wrong by at most 0.56 %; `gap_mm` takes 0.6 % off, and the radii of both places, so that it is never more than the way there
really was: a rule that rules out must not err that way.

The same bits everywhere: only + - * / and the square root of IEEE 754 doubles are used, which every machine rounds alike; sine and arc
tangent are polynomials here, because those of the C libraries differ in their last bit. Everything behind the distance is integers.
"""

import functools
import math
from typing import Final

from tallystick.facts.fact import Place, Point

# WGS 84 (NGA.STND.0036): a = 6,378,137 m, 1/f = 298.257223563; mean radius R1 of IUGG.
EARTH_RADIUS_M: Final = 6_371_008.771
HALF_WAY_AROUND_MM: Final = 20_015_115_000  # more than pi times the radius
SPHERE_ERROR_PER_THOUSAND: Final = 6  # it is 5.6: at the equator, north to south, b^2 / a = 6,335,439 m is the radius

# Settable by facts (docs/spec/facts.md, section 3).
SPEED_LIMIT_KMH: Final = 1_100  # faster than airliners
CLOCK_UNCERTAINTY_S: Final = 1  # of each time, either way
PLACE_OVERLAP_S: Final = 10  # two names of places within this time are two places at once

NO_TIME_KMH: Final = 2**63 - 1

_SECOND: Final = 10**9
_PI: Final = 3.141592653589793
_HALF_PI: Final = _PI / 2
_E7: Final = _PI / 1_800_000_000
# mm per ns and km/h: 1 km/h = 10^6 mm in 3.6 * 10^12 ns.
_PER_KMH: Final = 3_600_000
# 10^-7 degrees of a great circle are 11.1195 mm.
_MOST_PER_E7: Final = 11_120 * _PER_KMH // 1000

_SINE: Final = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(12))
_COSINE: Final = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(13))
_ARC_TANGENT: Final = tuple((-1.0) ** k / (2 * k + 1) for k in range(13))


def distance_mm(one: Point, other: Point) -> int:
    """The great circle between the two centres on the sphere, in millimetres. Good to a tenth of a millimetre, near antipodes to 0.2 m."""
    if one.latitude_e7 == other.latitude_e7 and one.longitude_e7 == other.longitude_e7:
        return 0
    ax, ay, az = _vector(one.latitude_e7, one.longitude_e7)
    bx, by, bz = _vector(other.latitude_e7, other.longitude_e7)
    dx, dy, dz = ax - bx, ay - by, az - bz
    half = math.sqrt(dx * dx + dy * dy + dz * dz) / 2  # the sine of half the angle
    rest = 1.0 - half * half
    # tan of a quarter, an eighth, a sixteenth of the angle: small enough for a short polynomial.
    quarter = half / (1.0 + math.sqrt(max(0.0, rest)))
    eighth = quarter / (1.0 + math.sqrt(1.0 + quarter * quarter))
    sixteenth = eighth / (1.0 + math.sqrt(1.0 + eighth * eighth))
    angle = 16.0 * sixteenth * _horner(_ARC_TANGENT, sixteenth * sixteenth)
    return int(angle * EARTH_RADIUS_M * 1000.0 + 0.5)


def gap_mm(one: Point, other: Point) -> int:
    """The least way between two places: what the radii and the sphere's error leave of the distance; 0 where they may be one place."""
    return max(0, distance_mm(one, other) * (1000 - SPHERE_ERROR_PER_THOUSAND) // 1000 - 1000 * (one.radius_m + other.radius_m))


def time_between_ns(one_ns: int, other_ns: int, uncertainty_s: int) -> int:
    """The most time there can have been between two moments, each wrong by `uncertainty_s` at most, either way."""
    return abs(one_ns - other_ns) + 2 * uncertainty_s * _SECOND


def least_speed_kmh(one: Place, other: Place, time_ns: int) -> int | None:
    """The least speed that explains both, in whole km/h, rounded down; None where a place is a name. A way and no time: NO_TIME_KMH."""
    if isinstance(one, str) or isinstance(other, str):
        return None
    way = gap_mm(one, other)
    if way == 0:
        return 0
    return NO_TIME_KMH if time_ns == 0 else way * _PER_KMH // time_ns


def apart(one: Place, other: Place, time_ns: int, *, limit_kmh: int = SPEED_LIMIT_KMH, overlap_s: int = PLACE_OVERLAP_S) -> bool:
    """Whether one key cannot have been at both places with at most `time_ns` in between.

    Two names conflict within the overlap; a name and a point never do: nothing is known of the way between them.
    """
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one != other and time_ns <= overlap_s * _SECOND
    reach = limit_kmh * time_ns
    # Along the meridian and the parallel it is never shorter: most sightings are done here.
    around = abs(one.latitude_e7 - other.latitude_e7) + abs(one.longitude_e7 - other.longitude_e7)
    if around * _MOST_PER_E7 <= reach or reach >= HALF_WAY_AROUND_MM * _PER_KMH:
        return False
    return gap_mm(one, other) * _PER_KMH > reach


def disjoint(one: Place, other: Place) -> bool:
    """Whether two places have no point in common; False where that is not known."""
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one != other
    return gap_mm(one, other) > 0


@functools.lru_cache(maxsize=8192)
def _vector(latitude_e7: int, longitude_e7: int) -> tuple[float, float, float]:
    """The unit vector of a point on the sphere."""
    up, out = _sine_cosine(latitude_e7 * _E7)
    east, front = _sine_cosine(longitude_e7 * _E7)
    return out * front, out * east, up


def _sine_cosine(angle: float) -> tuple[float, float]:
    """Of an angle from -pi to pi: reduced to -pi/4..pi/4, then a polynomial."""
    quarters = int(angle / _HALF_PI + (0.5 if angle >= 0 else -0.5))
    rest = angle - quarters * _HALF_PI
    square = rest * rest
    sine, cosine = rest * _horner(_SINE, square), _horner(_COSINE, square)
    match quarters % 4:
        case 0:
            return sine, cosine
        case 1:
            return cosine, -sine
        case 2:
            return -sine, -cosine
        case _:
            return -cosine, sine


def _horner(coefficients: tuple[float, ...], x: float) -> float:
    value = 0.0
    for coefficient in reversed(coefficients):
        value = value * x + coefficient
    return value
