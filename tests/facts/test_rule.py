"""The seven rules: what each rules out, with the entries of the facts that did it, and what it lets pass."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from tallystick.errors import Misuse
from tallystick.facts.claim import MAX_FACTS, SETTINGS, View, look
from tallystick.facts.fact import Fact, Point, Slice
from tallystick.facts.rule import (
    CLASS_NOT_ALLOWED,
    IMPOSSIBLE_TRANSIT,
    LIVENESS_CONTRADICTION,
    OUTSIDE_PLACE,
    OUTSIDE_SCHEDULE,
    REVOKED_OR_EXPIRED,
    TWO_PLACES,
    class_allowed,
    object_to,
)
from tests.facts.world import BERLIN, NOON, OTHER, POTSDAM, TOKYO, S, claim, fact, key, seen, view

WIDE = replace(POTSDAM, radius_m=30_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known, and what the rules say: pairs of rule and entries."""

    name: str
    view: View
    says: tuple[tuple[str, tuple[int, ...]], ...] = ()


def ruled(*known: Any, says: tuple[str, *tuple[int, ...]] | None = None, name: str, **change: Any) -> Case:
    return Case(name=name, view=view(*known, **change), says=() if says is None else ((says[0], says[1:]),))


CASES = [
    ruled(name="nothing known"),
    # revoked or expired
    ruled(name="retired", key=key(state="retired", changed=77), says=(REVOKED_OR_EXPIRED, 77)),
    ruled(name="compromised", key=key(state="compromised", changed=78, since=3), says=(REVOKED_OR_EXPIRED, 78)),
    ruled(name="suspended", key=key(state="suspended", changed=79), says=(REVOKED_OR_EXPIRED, 79)),
    ruled(name="a state nobody knows", key=key(state="", changed=80), says=(REVOKED_OR_EXPIRED, 80)),
    ruled(name="expires later", key=key(expires_ns=NOON + 2 * S)),
    ruled(name="expires now", key=key(expires_ns=NOON + S), says=(REVOKED_OR_EXPIRED, 5)),
    ruled(
        name="issued ahead, behind the expiry", key=key(expires_ns=NOON + 2 * S), issued_at_ns=NOON + 3 * S, says=(REVOKED_OR_EXPIRED, 5)
    ),
    # class
    ruled(name="class below the one granted", key=key(classes=("feed", "sensor"))),
    ruled(name="another class", signal_class="feed", says=(CLASS_NOT_ALLOWED, 5)),
    ruled(name="a class that only begins alike", signal_class="sensor/cameraman", says=(CLASS_NOT_ALLOWED, 5)),
    ruled(name="the class above", signal_class="sensor", says=(CLASS_NOT_ALLOWED, 5)),
    ruled(name="claims to be human", signal_class="human", key=key(classes=("human", "sensor")), says=(CLASS_NOT_ALLOWED, 5)),
    ruled(name="claims to be a machine", signal_class="machine", key=key(classes=("machine",)), says=(CLASS_NOT_ALLOWED, 5)),
    ruled(name="a human", signal_class="human", key=key(kind="human", classes=("human",))),
    ruled(name="a machine without classes", signal_class="machine", key=key(kind="machine", classes=())),
    ruled(name="a source without classes", key=key(classes=()), says=(CLASS_NOT_ALLOWED, 5)),
    # schedule
    ruled(name="on time", key=key(schedule="0 12 * * *")),
    ruled(name="a minute late", key=key(schedule="59 11 * * *")),
    ruled(name="two hours late", key=key(schedule="0 10 * * *"), says=(OUTSIDE_SCHEDULE, 5)),
    ruled(fact(9, "schedule-tolerance", 7200), name="two hours late, allowed", key=key(schedule="0 10 * * *")),
    ruled(fact(9, "schedule-tolerance", 60), name="late in spite of it", key=key(schedule="0 10 * * *"), says=(OUTSIDE_SCHEDULE, 5, 9)),
    ruled(name="a schedule nobody can read", key=key(schedule="at noon"), says=(OUTSIDE_SCHEDULE, 5)),
    ruled(name="in the schedule of a later grant", key=key(schedule="0 10 * * *", also=("0 9 * * *", "0 12 * * *"))),
    ruled(name="in none of three", key=key(schedule="0 10 * * *", also=("", "0 9 * * *")), says=(OUTSIDE_SCHEDULE, 5)),
    # declared place
    ruled(name="in its place", key=key(place=BERLIN), place=BERLIN),
    ruled(name="outside its place", key=key(place=BERLIN), place=POTSDAM, says=(OUTSIDE_PLACE, 5)),
    ruled(name="perhaps outside", key=key(place=BERLIN), place=WIDE),
    ruled(name="says nothing of a place", key=key(place=BERLIN)),
    ruled(name="another name", key=key(place="hall"), place="kitchen", says=(OUTSIDE_PLACE, 5)),
    ruled(name="a name and a point", key=key(place="hall"), place=BERLIN),
    # two places at once
    ruled(seen(20, 0, POTSDAM), name="same second", place=BERLIN, says=(TWO_PLACES, 20)),
    ruled(seen(20, 2, POTSDAM), name="clocks may differ by two", place=BERLIN, says=(TWO_PLACES, 20)),
    ruled(seen(20, 0, BERLIN), name="same second, same place", place=BERLIN),
    ruled(seen(20, 0, WIDE), name="same second, overlapping", place=BERLIN),
    ruled(seen(20, 5, "hall"), name="two names", place="kitchen", says=(TWO_PLACES, 20)),
    ruled(seen(20, 8.5, "hall"), name="two names, the clocks may be wrong", place="kitchen"),
    ruled(fact(9, "place-overlap", 30), seen(20, 28, "hall"), name="longer overlap", place="kitchen", says=(TWO_PLACES, 9, 20)),
    ruled(seen(20, 0, "hall"), name="a name and a point at once", place=BERLIN),
    # impossible transit
    ruled(seen(20, -3600, TOKYO), name="Tokyo an hour ago", place=BERLIN, says=(IMPOSSIBLE_TRANSIT, 20)),
    ruled(seen(20, 3600, TOKYO), name="Tokyo in an hour", place=BERLIN, says=(IMPOSSIBLE_TRANSIT, 20)),
    ruled(seen(20, -10 * 3600, TOKYO), name="Tokyo ten hours ago", place=BERLIN),
    ruled(seen(20, -3600, POTSDAM), name="Potsdam an hour ago", place=BERLIN),
    ruled(seen(20, -60, POTSDAM), name="Potsdam a minute ago", place=BERLIN, says=(IMPOSSIBLE_TRANSIT, 20)),
    ruled(
        seen(20, -60, POTSDAM), seen(21, -3600, TOKYO), seen(22, 9, BERLIN), name="both", place=BERLIN, says=(IMPOSSIBLE_TRANSIT, 20, 21)
    ),
    ruled(fact(9, "clock-uncertainty", 30), seen(20, -60, POTSDAM), name="a bad clock", place=BERLIN),
    ruled(fact(9, "speed-limit", 30), seen(20, -3600, POTSDAM), name="a walker may be slow", place=BERLIN),
    ruled(fact(9, "speed-limit", 5), seen(20, -3600, POTSDAM), name="a walker", place=BERLIN, says=(IMPOSSIBLE_TRANSIT, 9, 20)),
    ruled(seen(20, -3600, TOKYO), name="no place stated"),
    ruled(seen(20, 0, POTSDAM, b"r" * 32), name="the sighting it brought itself", place=BERLIN, reference=b"r" * 32),
    ruled(seen(20, 0, POTSDAM, b"q" * 32), name="that of another signal", place=BERLIN, reference=b"r" * 32, says=(TWO_PLACES, 20)),
    # liveness
    ruled(fact(30, "liveness", "failed"), name="liveness failed", says=(LIVENESS_CONTRADICTION, 30)),
    ruled(fact(30, "liveness", "ok"), name="alive"),
    ruled(fact(30, "liveness", "failed"), fact(31, "liveness", "ok", -5), name="alive again"),
    ruled(fact(30, "liveness", "ok"), fact(31, "liveness", "failed", -5), name="no more", says=(LIVENESS_CONTRADICTION, 31)),
    ruled(fact(31, "liveness", "failed"), fact(32, "liveness", "ok"), name="both at one time", says=(LIVENESS_CONTRADICTION, 31)),
    ruled(fact(30, "liveness", "failed", subject=None), name="of nobody in particular"),
    ruled(fact(30, "liveness", "failed"), name="this one is alive", notes=(fact(0, "liveness", "ok", 0),)),
    ruled(name="this one is not", notes=(fact(0, "liveness", "failed", 0, None),), says=(LIVENESS_CONTRADICTION,)),
    Case(
        name="everything at once",
        view=view(
            seen(20, 1, POTSDAM),
            seen(21, -3600, TOKYO),
            fact(30, "liveness", "failed"),
            key=key(state="retired", changed=70, schedule="0 3 * * *", place=TOKYO),
            place=BERLIN,
            signal_class="llm",
        ),
        says=(
            (REVOKED_OR_EXPIRED, (70,)),
            (CLASS_NOT_ALLOWED, (5,)),
            (OUTSIDE_SCHEDULE, (5,)),
            (OUTSIDE_PLACE, (5,)),
            (TWO_PLACES, (20,)),
            (IMPOSSIBLE_TRANSIT, (21,)),
            (LIVENESS_CONTRADICTION, (30,)),
        ),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_rules_say(case: Case) -> None:
    """The rule and the entries it rests on; the line of text holds no clear value."""
    found = object_to(case.view)
    assert tuple((each.rule, each.facts) for each in found) == case.says
    for each in found:
        assert each.why and not set(each.why) & set("0123456789")
        assert not any(word in each.why for word in ("hall", "kitchen", "front door"))


def test_a_setting_of_the_key_wins_over_one_for_all_and_the_newest_over_older_ones() -> None:
    """And one that is out of range, of another type or erased is none."""
    for word, (default, least, most) in SETTINGS.items():
        assert view().setting(word) == (default, None)
        for value in (least - 1, most + 1, True, str(least), None):
            assert view(fact(1, word, value)).setting(word) == (default, None)
        common, own = fact(1, word, least, -5, None), fact(2, word, most, -900)
        assert view(common, own).setting(word) == (most, own)
        assert view(fact(2, word, "no"), common).setting(word) == (least, common)
        assert view(own, fact(3, word, least, -800)).setting(word)[0] == least
        assert view(own, fact(3, word, least, -900)).setting(word)[0] == least


def test_a_slice_has_a_size() -> None:
    """The work is bounded by what is counted, not by a clock."""
    many = tuple(fact(n + 1, f"p{n}") for n in range(MAX_FACTS + 1))
    look(claim(), Slice(key=key(), facts=many[1:]))
    for change in ({"facts": many}, {"sightings": tuple(seen(n + 1, n, BERLIN) for n in range(65))}):
        with pytest.raises(Misuse):
            look(claim(), Slice(key=key(), **change))
    with pytest.raises(Misuse):
        look(claim(notes=many[:65]), Slice(key=key()))


def test_facts_about_the_key_and_about_all() -> None:
    """A fact is found by its word: own before common, notes among the own."""
    own, common = fact(1, "w", 1, -900), fact(2, "w", 2, -5, None)
    assert view(own, common).fact("w") == own
    assert view(common).fact("w") == common
    note = Fact(entry=0, predicate="w", subject=None, value=3, observed_ns=NOON)
    assert view(own, common, notes=(note,)).fact("w") == note
    assert view().fact("w") is None


def test_no_grant_makes_a_source_human() -> None:
    """`human` and `machine` belong to keys of that kind."""
    for kind in ("source", "log", "witness", "recovery"):
        assert not class_allowed(key(kind=kind, classes=("human", "human/admin")), "human/admin")
        assert not class_allowed(key(kind=kind, classes=()), kind)
    assert class_allowed(key(kind="human", classes=("sensor",)), "sensor/voice")
    assert key().key_id != OTHER


def test_a_point_on_the_other_side_of_the_date_line_is_near() -> None:
    """179.9999 east and west are 22 m apart."""
    east, west = Point(0, 1_799_999_000), Point(0, -1_799_999_000)
    assert object_to(view(seen(20, 0, west), place=east)) == ()
