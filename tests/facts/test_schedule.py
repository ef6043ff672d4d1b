"""Cron expressions: what crontab(5) says, held against a reading by brute force and against croniter."""

import contextlib
import itertools
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse
from tallystick.facts.schedule import MAX_TOLERANCE_S, Schedule, civil, hour_and_weekday, parse_schedule, within

S = 10**9
DAY_S = 86_400


def at(text: str) -> int:
    """Nanoseconds of an ISO time, UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * S


# 2026-11-22 is a Sunday.
HOLDS = [
    ("0 6 * * *", "2026-11-22T06:00:00"),
    ("0 6 * * *", "2026-11-22T06:00:59"),
    ("* * * * *", "2026-11-22T13:37:11"),
    ("*/15 8-17 * * 1-5", "2026-11-23T17:45:30"),
    ("0 0 1,15 * mon", "2026-11-15T00:00:00"),
    ("0 0 1,15 * mon", "2026-11-23T00:00:00"),
    ("0 0 */2 * mon", "2026-11-23T00:00:00"),
    ("30 4 * nov sun", "2026-11-22T04:30:00"),
    ("0 0 * * 7", "2026-11-22T00:00:00"),
    ("0 0 * * fri-sun", "2026-11-22T00:00:00"),
    ("0 0 * * 0-7/7", "2026-11-22T00:00:00"),
    ("0-0 6-6 22-22 11-11 *", "2026-11-22T06:00:00"),
    ("0 0 29 2 *", "2028-02-29T00:00:00"),
    ("5-7,9 10-12/2 * jan-mar,nov *", "2026-11-22T12:09:00"),
]
DOES_NOT = [
    ("0 6 * * *", "2026-11-22T05:59:59"),
    ("0 6 * * *", "2026-11-22T06:01:00"),
    ("*/15 8-17 * * 1-5", "2026-11-22T08:00:00"),
    ("0 0 */2 * mon", "2026-11-24T00:00:00"),  # the 24th is no odd day; and it is a Tuesday
    ("0 0 */2 * mon", "2026-11-21T00:00:00"),  # an odd day, but a Saturday: a field that begins with * restricts nothing by itself
    ("0 0 1 * *", "2026-11-22T00:00:00"),
    ("0 0 1-1 * *", "2026-11-22T00:00:00"),
    ("5-7,9 10-12/2 * jan-mar,nov *", "2026-11-22T11:09:00"),
]


@pytest.mark.parametrize(("text", "time"), HOLDS)
def test_a_moment_inside(text: str, time: str) -> None:
    """A whole minute belongs to each time of the schedule."""
    assert within(text, at(time))


@pytest.mark.parametrize(("text", "time"), DOES_NOT)
def test_a_moment_outside(text: str, time: str) -> None:
    """And nothing else does."""
    assert not within(text, at(time))


REFUSED = [
    ("", "0 fields"),
    ("0 6 * *", "4 fields"),
    ("0 6 * * * *", "6 fields"),
    (" 0 6 * * *", "fields"),
    ("0  6 * * *", "fields"),
    ("0 6 * * *\n", "column 9"),
    ("0\t6 * * * *", "column 1"),
    ("60 6 * * *", "column 1, minute: 60 is out of range"),
    ("0 24 * * *", "column 3, hour: 24 is out of range"),
    ("0 0 0 * *", "column 5, day of the month"),
    ("0 0 32 * *", "column 5"),
    ("0 0 * 13 *", "column 7, month"),
    ("0 0 * 0 *", "column 7, month"),
    ("0 0 * * 8", "column 9, day of the week"),
    ("0,61 * * * *", "column 3, minute: 61"),
    ("00 6 * * *", "decimal"),
    ("+1 6 * * *", "not a number"),
    ("-1 6 * * *", "not a number"),
    ("1- 6 * * *", "not a number"),
    ("1,,2 6 * * *", "column 3, minute: an empty item"),
    ("1, 6 * * *", "an empty item"),
    ("5-3 * * * *", "ends before it begins"),
    ("0 22-5 * * *", "ends before it begins"),
    ("5/15 * * * *", "a step stands behind"),
    ("*/0 * * * *", "a step of 0"),
    ("*/60 * * * *", "larger than"),
    ("*/05 * * * *", "decimal"),
    ("**/5 * * * *", "not a number"),
    ("0 0 * MON *", "not a number"),
    ("0 0 * * MON", "column 9"),
    ("0 0 * * monday", "monday is not a name"),
    ("0 0 * mon *", "mon is not a name"),
    ("0 0 30 2 *", "no such day"),
    ("0 0 31 4,6,9,11 *", "no such day"),
    ("0 0 31 4 */2", "no such day"),
    ("@daily", "a form of five fields"),
    ("@reboot", "1 fields"),
    ("0 6 * * * # six", "fields"),
    ("٠ 6 * * *", "not a number"),
    ("? 6 * * *", "not a number"),
    ("TZ=Europe/Paris 0 6 * * *", "6 fields"),
    ("0 0 L * *", "column 5"),
    ("1," * 63 + "1 * * * *", "characters"),
]


@pytest.mark.parametrize(("text", "says"), REFUSED)
def test_what_is_refused(text: str, says: str) -> None:
    """Each mistake is named, with its column."""
    with pytest.raises(Malformed, match=says.replace("*", r"\*")):
        parse_schedule(text)


def test_the_hints_say_what_to_write() -> None:
    """A macro, a range over midnight and an upper-case name are told their form."""
    for text, hint in (("@daily", "0 0 * * *"), ("0 22-5 * * *", "22-23,0-5"), ("0 0 * * MON", "lower-case"), ("5/15 * * * *", "5-59/15")):
        with pytest.raises(Malformed) as caught:
            parse_schedule(text)
        assert hint in caught.value.hint


def test_a_day_that_either_field_may_name_can_be_the_thirtieth_of_february() -> None:
    """With both days restricted the other one is enough."""
    assert within("0 0 30 2 mon", at("2027-02-01T00:00:00"))


def test_the_tolerance_makes_each_minute_longer_at_both_ends() -> None:
    """From `tolerance_s` before its start until, and without, `tolerance_s` after its end."""
    six = at("2026-11-22T06:00:00")
    for tolerance in (0, 1, 59, 60, 3600, MAX_TOLERANCE_S):
        schedule = parse_schedule("0 6 22 11 *")
        assert schedule.within(six - tolerance * S, tolerance)
        assert not schedule.within(six - tolerance * S - 1, tolerance)
        assert schedule.within(six + (60 + tolerance) * S - 1, tolerance)
        assert not schedule.within(six + (60 + tolerance) * S, tolerance)
    for tolerance in (-1, MAX_TOLERANCE_S + 1):
        with pytest.raises(Misuse):
            within("* * * * *", six, tolerance)


def test_days_have_their_dates() -> None:
    """Every day of two centuries, and far ones, as the standard library has them."""
    first = datetime(1970, 1, 1, tzinfo=UTC)
    for day in itertools.chain(range(-30_000, 50_000, 7), (0, 58, 59, 60, 11_016, 11_017, 2_932_896)):
        date = first + timedelta(days=day)
        assert civil(day) == (date.year, date.month, date.day)
        assert hour_and_weekday((day * DAY_S + 5 * 3600) * S) == (5, date.isoweekday() % 7)


def _field(least: int, most: int, names: tuple[str, ...] = (), first: int = 0) -> st.SearchStrategy[str]:
    def shown(value: int) -> st.SearchStrategy[str]:
        index = value - first
        return st.just(str(value)) | st.just(names[index]) if 0 <= index < len(names) else st.just(str(value))

    number = st.integers(least, most)
    step = st.integers(1, most).map(lambda n: f"/{n}") | st.just("")
    # Ends that differ: croniter reads `1-1` as `*`; that ours does not is among the cases above.
    ends = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted)
    spans = ends.flatmap(lambda ends: st.tuples(shown(ends[0]), st.just(str(ends[1]))))
    item = number.flatmap(shown) | st.tuples(spans, step).map(lambda found: f"{found[0][0]}-{found[0][1]}{found[1]}")
    star = step.map(lambda s: "*" + s)
    return star | star | st.lists(item, min_size=1, max_size=3).map(",".join)


EXPRESSIONS = st.tuples(
    _field(0, 59),
    _field(0, 23),
    _field(1, 31),
    _field(1, 12, ("jan", "feb", "mar"), 1),
    _field(0, 7, ("sun", "mon", "tue"), 0),
).map(" ".join)
MOMENTS = st.integers(0, 2**32).map(lambda seconds: seconds * S)


def parsed(text: str) -> Schedule | None:
    try:
        return parse_schedule(text)
    except Malformed as error:
        assert "no such day" in error.message or "characters" in error.message, text
        return None


def by_hand(schedule: Schedule, at_ns: int, tolerance_s: int) -> bool:
    """Minute after minute, with the calendar of the standard library."""
    minute = (at_ns - tolerance_s * S) // (60 * S)
    while minute * 60 * S <= at_ns + tolerance_s * S:
        time = datetime.fromtimestamp(minute * 60, UTC)
        day = (time.day in schedule.days, time.isoweekday() % 7 in schedule.weekdays)
        in_day = any(day) if schedule.either_day else all(day)
        if time.minute in schedule.minutes and time.hour in schedule.hours and time.month in schedule.months and in_day:
            return True
        minute += 1
    return False


@given(EXPRESSIONS, MOMENTS, st.sampled_from((0, 1, 60, 600, 7_200)))
def test_bits_and_brute_force_agree(text: str, at_ns: int, tolerance_s: int) -> None:
    """The bit arithmetic says what counting through every minute says."""
    schedule = parsed(text)
    if schedule is not None:
        assert schedule.text == text
        assert schedule.within(at_ns, tolerance_s) == by_hand(schedule, at_ns, tolerance_s)


@given(EXPRESSIONS, MOMENTS)
def test_croniter_agrees(text: str, at_ns: int) -> None:
    """As a foreign reader of crontab(5) has it, in the reading of cron itself where a day begins with `*`."""
    schedule = parsed(text)
    if schedule is None or any(each.startswith("*/") for each in (text.split(" ")[2], text.split(" ")[4])):
        return  # croniter takes `*/2` in a day for a restriction; crontab(5) and cron do not
    time = datetime.fromtimestamp(at_ns // S // 60 * 60, UTC)
    assert schedule.within(at_ns) == croniter.match(text, time)
    # A moment that croniter itself names, so that agreement is not only about misses.
    following = croniter(text, time).get_next(datetime)
    assert schedule.within(int(following.timestamp()) * S)


@given(st.text(alphabet="0123456789*,-/ abcdefmnostuvy@", max_size=40))
def test_any_text_is_read_or_malformed(text: str) -> None:
    """Nothing else is raised, and what is read keeps its text."""
    with contextlib.suppress(Malformed):
        assert parse_schedule(text).text == text
