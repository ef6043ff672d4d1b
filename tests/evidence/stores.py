"""Random fact stores: whatever a slice can hold, dense enough that every rule speaks about as often as it is silent."""

import importlib
from random import Random
from types import ModuleType
from typing import Any

from tallystick.errors import Unavailable
from tallystick.facts.claim import SETTINGS, View, look
from tallystick.facts.fact import Fact, Place, Point, Sighting, Slice
from tests.facts.world import KEY, NOON, S, claim, key
from tests.support import missing

CLASSES = ("sensor", "sensor/camera", "sensor/camera/front", "sensor/cam", "feed", "human", "machine")
SCHEDULES = (
    "0 12 * * *",
    "*/7 * * * *",
    "59 11 22 11 *",
    "0 0 1 * mon",
    "30 8-17/2 * * sat,sun",
    "0 12 */2 * 1-5",
    "0 12 1-15 * sun",
    "no",
)


def reasoning(name: str) -> ModuleType:
    """A module that needs clingo."""
    try:
        return importlib.import_module(f"tallystick.evidence.{name}")
    except Unavailable:
        missing("clingo is not installed (the extra reason)")


def place(dice: Random, *, uncertain: bool = True) -> Place:
    """A name, or a point within 200 km or half the world."""
    if dice.random() < 0.25:
        return dice.choice(("hall", "kitchen", "garage"))
    radius = dice.choice((0, 10, 5_000, 90_000)) if uncertain else 0
    if dice.random() < 0.2:
        return Point(dice.randint(-900_000_000, 900_000_000), dice.randint(-1_800_000_000, 1_800_000_000), radius)
    return Point(525_000_000 + dice.choice((0, dice.randint(-9_000_000, 9_000_000))), 134_000_000 + dice.randint(0, 9_000_000), radius)


def _moment(dice: Random) -> int:
    return NOON + dice.choice((0, dice.randint(-30, 30) * S, dice.randint(-3_600 * S, 3_600 * S), dice.randint(-90_000, 90_000) * S))


def _value(dice: Random, word: str) -> Any:
    if word == "liveness":
        return dice.choice(("ok", "failed", "Failed", None))
    default, least, most = SETTINGS[word]
    return dice.choice((least, most, default, dice.randint(least, min(most, 3_000)), least - 1, most + 1, 2**40, True, "7", None))


def _facts(dice: Random, most: int, *, notes: bool) -> tuple[Fact, ...]:
    words = (*SETTINGS, "liveness", "zone")
    found = []
    for number in range(dice.randint(0, most)):
        word = dice.choice(words)
        found.append(
            Fact(
                entry=0 if notes else 100 + number,
                predicate=word,
                subject=dice.choice((KEY, None)),
                value="red" if word == "zone" else _value(dice, word),
                observed_ns=NOON - dice.choice((0, 1, 5 * S, dice.randint(0, 10**6) * S)),
            )
        )
    return tuple(found)


def store(dice: Random, *, uncertain: bool = True) -> View:
    """A claim and its slice. `uncertain`: with radii and clocks that may be wrong."""
    facts = _facts(dice, 6, notes=False)
    if not uncertain:
        facts = (*(each for each in facts if each.predicate != "clock-uncertainty"), Fact(
            entry=99, predicate="clock-uncertainty", subject=KEY, value=0, observed_ns=NOON - S,
        ))  # fmt: skip
    sightings = [
        Sighting(
            entry=200 + n,
            observed_ns=_moment(dice),
            place=place(dice, uncertain=uncertain),
            signal=dice.choice((None, b"r" * 32, b"q" * 32)),
        )
        for n in range(dice.randint(0, 8))
    ]
    known = key(
        kind=dice.choice(("source", "source", "human", "machine")),
        state=dice.choice(("standing", "standing", "standing", "suspended", "retired")),
        classes=tuple(dice.sample(CLASSES, dice.randint(0, 3))),
        schedule=dice.choice(("", *SCHEDULES)),
        also=tuple(dice.sample(SCHEDULES, dice.choice((0, 0, 1, 2)))),
        place=dice.choice((None, None, place(dice))),
        expires_ns=dice.choice((None, None, NOON, NOON + 5, NOON + S, NOON + S + 1)),
        introduced=dice.choice((5, 2**62)),
        changed=dice.choice((5, 6)),
    )
    made = claim(
        signal_class=dice.choice(CLASSES),
        place=dice.choice((None, place(dice, uncertain=uncertain), place(dice, uncertain=uncertain))),
        issued_at_ns=NOON + dice.choice((0, 1, 59 * S, 60 * S, dice.randint(-(10**6), 10**6) * S)),
        notes=_facts(dice, 2, notes=True) if uncertain else (),
        reference=dice.choice((None, b"r" * 32)),
    )
    return look(made, Slice(key=known, sightings=tuple(sorted(sightings, key=lambda each: each.observed_ns)), facts=facts))
