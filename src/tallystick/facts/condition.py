"""The conditions of an owner's rules: each asks one thing of a view (docs/rules.md).

A condition is a value with one text; `test` makes the function that decides it, once, when a rule file is read. What is not known makes a
condition false, with one exception that the page names: `is not`, `not in` and `is absent` are true of what is not there.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tallystick.canonical import Value
from tallystick.facts.claim import View
from tallystick.facts.fact import Fact, Sighting
from tallystick.facts.schedule import WEEKDAYS, hour_and_weekday
from tallystick.facts.transit import NO_TIME_KMH, least_speed_kmh, time_between_ns

Test: TypeAlias = Callable[[View], bool]
Literal: TypeAlias = str | int | bool

_SECOND: Final = 10**9
UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
COMPARISONS: Final[dict[str, Callable[[int, int], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


@dataclass(frozen=True, slots=True)
class Span:
    """A range with both ends. `low` may be above `high` for hours and days of the week: then it goes round."""

    low: int
    high: int

    def holds(self, value: int) -> bool:
        """Whether the value lies in it."""
        return self.low <= value <= self.high if self.low <= self.high else value >= self.low or value <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """`class`, `action`, `verb`, `kind`, `target`, `label`: one of these, or (`negated`) none of them.

    `quoted`: written as strings.  A class also stands for those that inherit from it; elsewhere a trailing `*` stands for any rest.
    """

    subject: str
    negated: bool
    listed: bool
    values: tuple[str, ...]
    quoted: bool = False

    def test(self) -> Test:
        """The function that decides it."""
        read, wanted = _WORDS[self.subject], not self.negated
        exact = frozenset(self.values)
        if self.subject == "class":
            begins = tuple(value + "/" for value in self.values)
        else:
            begins = tuple(value[:-1] for value in self.values if value.endswith("*"))

        def holds(view: View) -> bool:
            said = read(view)
            return (said in exact or said.startswith(begins)) is wanted

        return holds

    def text(self) -> str:
        """As it is written."""
        return f"{self.subject} {_one_of(self.negated, self.listed, [quote(each) if self.quoted else each for each in self.values])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """`hour`, `weekday`, `number` (of the key): one of these numbers, or in this range, or (`negated`) not."""

    subject: str
    negated: bool
    values: tuple[int, ...] | Span
    listed: bool = False

    def test(self) -> Test:
        """The function that decides it."""
        read, wanted = _NUMBERS[self.subject], not self.negated
        if isinstance(self.values, Span):
            span = self.values
            return lambda view: span.holds(read(view)) is wanted
        values = frozenset(self.values)
        return lambda view: (read(view) in values) is wanted

    def text(self) -> str:
        """As it is written."""
        if isinstance(self.values, Span):
            return f"{self.subject} {'not ' if self.negated else ''}in {self._word(self.values.low)}..{self._word(self.values.high)}"
        return f"{self.subject} {_one_of(self.negated, self.listed, [self._word(each) for each in self.values])}"

    def _word(self, value: int) -> str:
        return WEEKDAYS[value] if self.subject == "weekday" else str(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceIs:
    """The place the signal says it was made at: stated or not (`name` None), or one of this name."""

    name: str | None
    negated: bool

    def test(self) -> Test:
        """The function that decides it."""
        name, wanted = self.name, not self.negated
        if name is None:
            return lambda view: (view.claim.place is not None) is wanted
        return lambda view: (isinstance(view.claim.place, str) and fits(name, view.claim.place)) is wanted

    def text(self) -> str:
        """As it is written."""
        if self.name is None:
            return "place is absent" if self.negated else "place is present"
        return f"place is {'not ' if self.negated else ''}{quote(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """The least speed, in km/h, that explains the way from the last sighting to the signal's place."""

    comparison: str
    kmh: int

    def test(self) -> Test:
        """The function that decides it."""
        compare, kmh = COMPARISONS[self.comparison], self.kmh

        def holds(view: View) -> bool:
            speed = _speed(view)
            return speed is not None and compare(speed, kmh)

        return holds

    def text(self) -> str:
        """As it is written."""
        return f"speed {self.comparison} {self.kmh}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactIs:
    """A fact is there (`value` None), or has this value; `negated`: it is not so. `scope`: "", key or all: about whom it is."""

    predicate: str
    scope: str
    negated: bool
    value: Literal | None

    def test(self) -> Test:
        """The function that decides it."""
        find, value, wanted = _finder(self.predicate, self.scope), self.value, not self.negated
        if value is None:
            return lambda view: (find(view) is not None) is wanted

        def holds(view: View) -> bool:
            fact = find(view)
            return (fact is not None and _equal(value, fact.value)) is wanted

        return holds

    def text(self) -> str:
        """As it is written."""
        if self.value is None:
            return f"{_fact(self.predicate, self.scope)} is {'absent' if self.negated else 'present'}"
        return f"{_fact(self.predicate, self.scope)} is {'not ' if self.negated else ''}{literal(self.value)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactCompares:
    """A fact's value is an integer, and compares so."""

    predicate: str
    scope: str
    comparison: str
    value: int

    def test(self) -> Test:
        """The function that decides it."""
        find, compare, value = _finder(self.predicate, self.scope), COMPARISONS[self.comparison], self.value

        def holds(view: View) -> bool:
            fact = find(view)
            return fact is not None and type(fact.value) is int and compare(fact.value, value)

        return holds

    def text(self) -> str:
        """As it is written."""
        return f"{_fact(self.predicate, self.scope)} {self.comparison} {self.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactAge:
    """How long before the signal a fact was observed: `older` or `younger` than so many seconds."""

    predicate: str
    scope: str
    older: bool
    seconds: int

    def test(self) -> Test:
        """The function that decides it."""
        find, limit_ns, older = _finder(self.predicate, self.scope), self.seconds * _SECOND, self.older

        def holds(view: View) -> bool:
            fact = find(view)
            if fact is None:
                return False
            age_ns = view.claim.issued_at_ns - fact.observed_ns
            return age_ns > limit_ns if older else age_ns < limit_ns

        return holds

    def text(self) -> str:
        """As it is written."""
        return f"{_fact(self.predicate, self.scope)} is {'older' if self.older else 'younger'} than {duration(self.seconds)}"


Condition: TypeAlias = Words | Numbers | PlaceIs | Speed | FactIs | FactCompares | FactAge


def rests_on(condition: Condition, view: View) -> Fact | Sighting | None:
    """The fact or sighting a condition looked at, if there is one."""
    match condition:
        case FactIs() | FactCompares() | FactAge():
            return _finder(condition.predicate, condition.scope)(view)
        case Speed():
            return view.last_sighting()
        case _:
            return None


def fits(pattern: str, text: str) -> bool:
    """Whether a text is this one, or begins so where the pattern ends with `*`."""
    return text.startswith(pattern[:-1]) if pattern.endswith("*") else text == pattern


def quote(text: str) -> str:
    """A string as rule files write it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def literal(value: Literal) -> str:
    """A value as rule files write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return quote(value) if isinstance(value, str) else str(value)


def duration(seconds: int) -> str:
    """Seconds in the largest unit that leaves no rest."""
    for unit, size in UNITS.items():
        if seconds % size == 0 and (seconds or size == 1):
            return f"{seconds // size}{unit}"
    raise AssertionError("every number of seconds is a number of seconds")


def _one_of(negated: bool, listed: bool, words: list[str]) -> str:
    if listed:
        return f"{'not ' if negated else ''}in [{', '.join(words)}]"
    return f"is {'not ' if negated else ''}{words[0]}"


def _fact(predicate: str, scope: str) -> str:
    return f"fact {predicate}" + (f" of {scope}" if scope else "")


def _finder(predicate: str, scope: str) -> Callable[[View], Fact | None]:
    if scope == "key":
        return lambda view: view.own.get(predicate)
    if scope == "all":
        return lambda view: view.common.get(predicate)
    return lambda view: view.fact(predicate)


def _equal(wanted: Literal, value: Value) -> bool:
    """Text by pattern, numbers and truths by value and by type: 1 is not true."""
    if isinstance(wanted, str):
        return isinstance(value, str) and fits(wanted, value)
    return type(value) is type(wanted) and value == wanted


def _speed(view: View) -> int | None:
    last, place = view.last_sighting(), view.claim.place
    if last is None or place is None:
        return None
    uncertainty_s, _ = view.setting("clock-uncertainty")
    return least_speed_kmh(last.place, place, time_between_ns(last.observed_ns, view.claim.issued_at_ns, uncertainty_s))


MAX_SPEED_KMH: Final = NO_TIME_KMH - 1
_WORDS: Final[dict[str, Callable[[View], str]]] = {
    "class": lambda view: view.claim.signal_class,
    "action": lambda view: view.claim.action,
    "verb": lambda view: view.claim.verb,
    "target": lambda view: view.claim.target,
    "kind": lambda view: view.slice.key.kind,
    "label": lambda view: view.slice.key.label,
}
_NUMBERS: Final[dict[str, Callable[[View], int]]] = {
    "hour": lambda view: hour_and_weekday(view.claim.issued_at_ns)[0],
    "weekday": lambda view: hour_and_weekday(view.claim.issued_at_ns)[1],
    "number": lambda view: view.slice.key.number,
}
