"""Facts to test with."""

from typing import Any

from tallystick.facts.claim import Claim, View, look
from tallystick.facts.fact import Fact, KnownKey, Place, Point, Sighting, Slice
from tallystick.keys import KeyId
from tallystick.primitives import sha256

S = 10**9
# 2026-11-22, a Sunday, 12:00:00 UTC.
NOON = 1_795_348_800 * S
KEY = KeyId(sha256(b"camera"))
OTHER = KeyId(sha256(b"another"))

BERLIN = Point(525_200_000, 134_050_000, 20)
POTSDAM = Point(523_900_000, 130_650_000, 20)  # 27 km away
TOKYO = Point(356_800_000, 1_397_700_000, 20)  # 8,900 km away


def key(**change: Any) -> KnownKey:
    """A camera's key that stands."""
    base: dict[str, Any] = {
        "key_id": KEY,
        "number": 12,
        "kind": "source",
        "state": "standing",
        "classes": ("sensor/camera",),
        "actions": ("metadata", "read", "propose"),
        "introduced": 5,
        "changed": 5,
        "label": "front door",
    }
    return KnownKey(**base | change)


def claim(**change: Any) -> Claim:
    """A camera's signal, issued at noon."""
    base: dict[str, Any] = {
        "signal_class": "sensor/camera",
        "action": "propose",
        "verb": "sensor.frame",
        "target": "POST /v1/signals",
        "place": None,
        "issued_at_ns": NOON,
        "now_ns": NOON + S,
    }
    return Claim(**base | change)


def seen(entry: int, seconds: float, place: Place, signal: bytes | None = None) -> Sighting:
    """The key was there, so many seconds after noon."""
    return Sighting(entry=entry, observed_ns=NOON + int(seconds * S), place=place, signal=signal)


def fact(entry: int, predicate: str, value: Any = True, seconds: float = -60, subject: KeyId | None = KEY) -> Fact:
    """A fact that holds since so many seconds after noon."""
    return Fact(entry=entry, predicate=predicate, subject=subject, value=value, observed_ns=NOON + int(seconds * S))


def view(*known: Fact | Sighting, key: KnownKey = key(), **change: Any) -> View:  # noqa: B008 - a frozen value
    """What the rules see of the camera's signal, with these facts and sightings."""
    sightings = tuple(sorted((each for each in known if isinstance(each, Sighting)), key=lambda each: each.observed_ns))
    facts = tuple(each for each in known if isinstance(each, Fact))
    return look(claim(**change), Slice(key=key, sightings=sightings, facts=facts))
