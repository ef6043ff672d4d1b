"""When a key may speak: cron expressions of five fields, UTC (docs/spec/facts.md, section 5; crontab(5)).

    0 6 * * *           at 06:00 every day
    */15 8-17 * * 1-5   each quarter of an hour from 08:00 to 17:45, Monday to Friday
    0 0 1,15 * mon      on the 1st, the 15th and on every Monday at midnight

Fields: minute, hour, day of the month, month, day of the week (0 and 7 are Sunday). A field is `*`, a number, a range, a list of those,
each `*` and range with a step if wished; months and days of the week have names of three letters. When both days are restricted (neither
begins with `*`), one that matches is enough, as in crontab(5). UTC only: a time zone's rules are a table that changes from year to year,
and an old and a new house would judge the same signal otherwise.

One form: fields are separated by one space, numbers have no leading zeros, names are lower case. An expression is a set of minutes, held
as bits.
"""

import functools
import re
from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import decimal
from tallystick.errors import Malformed, Misuse

MAX_CHARACTERS: Final = 128  # docs/spec/events.cddl, schedule
MAX_TOLERANCE_S: Final = 86_400

_SECOND: Final = 10**9
_DAY_S: Final = 86_400
MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days a month can have
_MACROS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_ITEM: Final = re.compile(r"(?:(\*)|([0-9a-z]+)(?:-([0-9a-z]+))?)(?:/([0-9]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    first_name: int = 0


_FIELDS: Final = (
    _Field(name="minute", least=0, most=59),
    _Field(name="hour", least=0, most=23),
    _Field(name="day of the month", least=1, most=31),
    _Field(name="month", least=1, most=12, names=MONTHS, first_name=1),
    _Field(name="day of the week", least=0, most=7, names=WEEKDAYS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A set of minutes, UTC. Made by `parse_schedule`. Each field's values in rising order, Sunday as 0.

    `either_day`: a day matches when one of its two fields does, not only when both do.
    """

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...]
    months: tuple[int, ...]
    weekdays: tuple[int, ...]
    either_day: bool
    _minutes_of_day: int = field(repr=False, compare=False)  # bit m: the minute m of a day that matches
    _day_bits: tuple[int, int, int] = field(repr=False, compare=False)  # of days, months, weekdays

    def holds_on(self, day: int) -> bool:
        """Whether anything of the schedule falls on a day. `day`: since 1 January 1970."""
        days, months, weekdays = self._day_bits
        _, month, of_month = civil(day)
        if not months >> month & 1:
            return False
        by_date, by_weekday = days >> of_month & 1, weekdays >> (day + 4) % 7 & 1
        return bool(by_date | by_weekday if self.either_day else by_date & by_weekday)

    def within(self, at_ns: int, tolerance_s: int = 0) -> bool:
        """Whether a moment lies in one of the schedule's minutes, each made longer by `tolerance_s` at both ends.

        Args: at_ns: UTC, nanoseconds since 1970.  tolerance_s: 0 to MAX_TOLERANCE_S.
        Raises: Misuse when the tolerance is out of range.
        """
        if not 0 <= tolerance_s <= MAX_TOLERANCE_S:
            raise Misuse(f"schedule: a tolerance of 0 to {MAX_TOLERANCE_S} s")
        # The minutes m with 60 m - tolerance <= moment < 60 m + 60 + tolerance: first to last, at most 2,881 on at most three days.
        first = (at_ns - tolerance_s * _SECOND) // (60 * _SECOND)
        last = (at_ns + tolerance_s * _SECOND) // (60 * _SECOND)
        for day in range(first // 1440, last // 1440 + 1):
            low, high = max(first - day * 1440, 0), min(last - day * 1440, 1439)
            if self._minutes_of_day >> low & (1 << high - low + 1) - 1 and self.holds_on(day):
                return True
        return False


@functools.lru_cache(maxsize=1024)
def parse_schedule(text: str) -> Schedule:
    """Read a cron expression of five fields. Raises: Malformed, naming the column, for any other text and for one that never comes."""
    if len(text) > MAX_CHARACTERS:
        raise Malformed(f"schedule: {len(text)} characters, at most {MAX_CHARACTERS} allowed")
    if text in _MACROS:
        raise Malformed(f"schedule: column 1: {text} has a form of five fields", f"Write {_MACROS[text]}")
    fields = text.split(" ")
    if len(fields) != 5 or "" in fields:
        raise Malformed(
            f"schedule: {len([each for each in fields if each])} fields, five are needed with one space between them",
            "Minute, hour, day of the month, month, day of the week, UTC: 0 6 * * *",
        )
    values: list[tuple[int, ...]] = []
    column = 1
    for each, kind in zip(fields, _FIELDS, strict=True):
        values.append(_read_field(each, kind, column))
        column += len(each) + 1
    minutes, hours, days, months, weekdays = values
    weekdays = tuple(sorted({day % 7 for day in weekdays}))
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    if not either and all(min(days) > _LONGEST[month - 1] for month in months):
        raise Malformed("schedule: no such day ever comes", "The months named have fewer days.")
    hour_bits = sum(1 << 60 * hour for hour in hours)
    return Schedule(
        text=text,
        minutes=minutes,
        hours=hours,
        days=days,
        months=months,
        weekdays=weekdays,
        either_day=either,
        _minutes_of_day=hour_bits * _bits(minutes),
        _day_bits=(_bits(days), _bits(months), _bits(weekdays)),
    )


def within(expression: str, at_ns: int, tolerance_s: int = 0) -> bool:
    """`Schedule.within` of an expression. Raises: Malformed, Misuse."""
    return parse_schedule(expression).within(at_ns, tolerance_s)


def civil(day: int) -> tuple[int, int, int]:
    """Year, month, day of the month of a day since 1 January 1970, in the Gregorian calendar. Source: Howard Hinnant, civil_from_days."""
    shifted = day + 719_468
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * of_year + 2) // 153
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    return year_of_era + 400 * era + (month <= 2), month, of_year - (153 * shifted_month + 2) // 5 + 1


def hour_and_weekday(at_ns: int) -> tuple[int, int]:
    """The hour (0-23) and the day of the week (0 is Sunday) of a moment, UTC."""
    day, second = divmod(at_ns // _SECOND, _DAY_S)
    return second // 3600, (day + 4) % 7


def _bits(values: tuple[int, ...]) -> int:
    return sum(1 << value for value in values)


def _read_field(text: str, kind: _Field, column: int) -> tuple[int, ...]:
    found: set[int] = set()
    for item in text.split(","):
        try:
            found.update(_read_item(item, kind))
        except Malformed as error:
            raise Malformed(f"schedule: column {column}, {kind.name}: {error.message}", error.hint) from None
        column += len(item) + 1
    return tuple(sorted(found))


def _read_item(item: str, kind: _Field) -> range:
    parts = _ITEM.fullmatch(item)
    if parts is None:
        raise Malformed(
            "not a number, range or *" if item else "an empty item",
            "Names are three lower-case letters." if item.lower() != item else "",
        )
    star, first, last, step = parts.groups()
    if star:
        # The week has seven days, though Sunday has two numbers.
        low, high = kind.least, 6 if kind.most == 7 else kind.most
    else:
        low = _number(first, kind, end=False)
        high = low if last is None else _number(last, kind, end=True)
        if high < low:
            raise Malformed("a range that ends before it begins", f"Write {first}-{kind.most},{kind.least}-{last}")
        if step and last is None:
            raise Malformed("a step stands behind * or a range only", f"Write {first}-{kind.most}/{step}")
    wide = 1
    if step:
        wide = decimal(step, maximum=kind.most)
        if wide == 0:
            raise Malformed("a step of 0")
    return range(low, high + 1, wide)


def _number(text: str, kind: _Field, *, end: bool) -> int:
    if text in kind.names:
        value = kind.names.index(text) + kind.first_name
        return 7 if end and text == "sun" else value
    if not text.isdigit():
        raise Malformed(f"{text[:16]} is not a name of one", f"From {kind.least} to {kind.most}.")
    value = decimal(text, maximum=99)
    if not kind.least <= value <= kind.most:
        raise Malformed(f"{value} is out of range", f"From {kind.least} to {kind.most}.")
    return value
