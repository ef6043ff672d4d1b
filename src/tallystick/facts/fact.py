"""Facts: signed, dated statements about keys, and what the rules see of them (docs/spec/facts.md).

A fact is known by the entry that brought it. Its value stands in clear in the ledger, or, where it is personal, in an opening that
can be erased: then it is known here only as long as that opening lives.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed, Misuse
from tallystick.keys import KeyId

MAX_NAME_CHARACTERS: Final = 64
LATITUDE_E7: Final = 900_000_000  # degrees times 10^7, either way
LONGITUDE_E7: Final = 1_800_000_000
MAX_RADIUS_M: Final = 20_100_000  # half the way around the earth
MAX_VALUE_CHARACTERS: Final = 256
MAX_VALUE_BYTES: Final = 1_100


@dataclass(frozen=True, slots=True)
class Point:
    """A place on the earth (WGS 84): degrees times 10^7, and the radius in metres within which it is certain."""

    latitude_e7: int
    longitude_e7: int
    radius_m: int = 0


Place: TypeAlias = Point | str
"""A point, or the name of a place: two names are equal or are not, and nothing is known of the way between them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """A key was at a place. `entry`: of the sighting; `observed_ns`: when, UTC; `signal`: the reference of the signal that said so."""

    entry: int
    observed_ns: int
    place: Place
    signal: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """A fact that stands. `subject`: the key it is about, None for all.  `value`: None where it was erased.

    `observed_ns`: since when it holds, `until_ns`: until when (exclusive), UTC; None: since its entry, without end.
    """

    entry: int
    predicate: str
    subject: KeyId | None
    value: Value
    observed_ns: int
    until_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """What the house knows of a key. `state`: standing, suspended, retired, compromised, replaced; `changed`: the entry that set it.

    `classes`, `actions`, `targets`: as a human signed them; no targets: every target.  `schedule`: a cron expression or empty.
    `also`: the schedules of its later grants, each of them as good.  `place`: where it may be, if that was said and is not erased.
    `since`: the entry from which on it is compromised.
    """

    key_id: KeyId
    number: int
    kind: str
    state: str
    classes: tuple[str, ...]
    actions: tuple[str, ...]
    targets: tuple[str, ...] = ()
    schedule: str = ""
    place: Place | None = None
    expires_ns: int | None = None
    introduced: int = 0
    changed: int = 0
    since: int | None = None
    label: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The part of the fact store that rules may see for one signal of one key.

    `sightings`: of the key, by time, the nearest before and after the moment asked about.  `facts`: about the key or about all, that
    stand at that moment, by entry.
    """

    key: KnownKey
    sightings: tuple[Sighting, ...] = ()
    facts: tuple[Fact, ...] = ()


def read_place(value: Value) -> Place:
    """The clear value of a place: `[latitude, longitude, radius]` or a name. Raises: Malformed for any other."""
    match value:
        case str() if 1 <= len(value) <= MAX_NAME_CHARACTERS and value.isprintable():
            return value
        case [int(latitude), int(longitude), int(radius)] if not any(isinstance(each, bool) for each in value):
            if abs(latitude) <= LATITUDE_E7 and abs(longitude) <= LONGITUDE_E7 and 0 <= radius <= MAX_RADIUS_M:
                return Point(latitude, longitude, radius)
    raise Malformed(
        "place: not a point [latitude, longitude, radius] or a name",
        f"Degrees times 10^7 and metres, or a name of at most {MAX_NAME_CHARACTERS} characters.",
    )


def place_value(place: Place) -> Value:
    """A place as it is committed to: the other way of `read_place`."""
    return place if isinstance(place, str) else [place.latitude_e7, place.longitude_e7, place.radius_m]


def read_value(raw: bytes) -> Value:
    """The value of a fact, as its event or its opening holds it: text, an integer, true or false. Raises: Malformed for any other bytes."""
    value = decode(raw, max_bytes=MAX_VALUE_BYTES, max_depth=1, max_items=1)
    return check_value(value)


def check_value(value: Value) -> Value:
    """Raises: Malformed unless it is printable text of 1 to 256 characters, an integer of 64 bits with sign, true or false."""
    match value:
        case bool():
            return value
        case int() if -(2**63) <= value < 2**63:
            return value
        case str() if 1 <= len(value) <= MAX_VALUE_CHARACTERS and value.isprintable():
            return value
    raise Malformed(
        "fact: not a value a fact can have",
        f"Text of 1 to {MAX_VALUE_CHARACTERS} printable characters, an integer from -2^63 to 2^63-1, true or false.",
    )


def write_value(value: Value) -> bytes:
    """What `read_value` reads. Raises: Misuse for a value that no fact can have."""
    try:
        return encode(check_value(value))
    except Malformed as error:
        raise Misuse(error.message, error.hint) from None
