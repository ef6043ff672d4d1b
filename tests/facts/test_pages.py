"""docs/spec/facts.md says what the code does: defaults, distances, schedules, limits."""

import re

from tallystick.facts.claim import MAX_FACTS, MAX_NOTES, MAX_SIGHTINGS, SETTINGS
from tallystick.facts.fact import Point
from tallystick.facts.rule import object_to
from tallystick.facts.schedule import within
from tallystick.facts.transit import distance_mm, gap_mm, least_speed_kmh
from tests.facts.test_rule import CASES
from tests.facts.test_schedule import at
from tests.facts.world import BERLIN, POTSDAM, S
from tests.support import PROJECT

PAGE = (PROJECT / "docs" / "spec" / "facts.md").read_text("utf-8")
ROWS = [tuple(cell.strip().strip("`") for cell in line.strip("|").split("|")) for line in PAGE.splitlines() if line.startswith("| ")]


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def test_the_words_that_set() -> None:
    """Each with its default and its range."""
    said = {row[0]: row for row in ROWS if row[0] in SETTINGS}
    for word, (default, least, most) in SETTINGS.items():
        assert _number(said[word][2]) == default
        assert tuple(map(_number, said[word][3].split(" to "))) == (least, most)


def test_the_rules_in_their_order() -> None:
    """The table names the seven rules as findings do, in the order in which they are told."""
    everything = object_to(CASES[-1].view)
    assert [row[0] for row in ROWS if re.fullmatch("[a-z]+-[a-z-]+", row[0]) and row[0] not in SETTINGS] == [
        each.rule for each in everything
    ]


def test_the_distances() -> None:
    """To the millimetre, and the example of Berlin and Potsdam."""
    seen = 0
    for row in ROWS:
        if len(row) == 3 and re.fullmatch(r"[-0-9., ]+", row[0] + row[1] + row[2]):
            one, other = (Point(*(round(float(each) * 1e7) for each in cell.split(", "))) for cell in row[:2])
            assert distance_mm(one, other) == _number(row[2])
            seen += 1
    assert seen == 4
    assert f"{gap_mm(BERLIN, POTSDAM) / 1e6:.3f}" == "26.995" and "26.995 km" in PAGE
    assert least_speed_kmh(BERLIN, POTSDAM, 62 * S) == 1_567 and "1,567 km/h" in PAGE
    assert least_speed_kmh(BERLIN, POTSDAM, 90 * S) == 1_079 and "1,079 km/h" in PAGE


def test_the_schedules() -> None:
    """What the table says of a Sunday."""
    sunday = {f"{hour:02}:{minute:02}" for hour in range(24) for minute in range(60)}

    def inside(text: str) -> set[str]:
        return {time for time in sunday if within(text, at(f"2026-11-22T{time}:00"))}

    assert inside("0 6 * * *") == {"06:00"}
    assert inside("*/15 8-17 * * 1-5") == set() == inside("0 0 */2 * sun")
    assert inside("0 0 1,15 * sun") == {"00:00"}
    first, last = at("2026-11-22T05:59:00"), at("2026-11-22T06:01:59")
    assert within("0 6 * * *", first, 60) and within("0 6 * * *", last, 60)
    assert not within("0 6 * * *", first - 1, 60) and not within("0 6 * * *", last + S, 60)


def test_the_limits() -> None:
    """As numbers in the text."""
    assert f"more than {MAX_FACTS} facts, {MAX_SIGHTINGS} sightings or {MAX_NOTES} notes" in PAGE
