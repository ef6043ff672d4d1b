"""The owner's rule file: what shall be refused or held, beside the rules of the house (docs/rules.md).

    refuse door-camera-at-night when class is sensor/camera
      and hour in 22..5
      and fact maintenance is absent
    hold fast-mover when speed > 300

    rule      = ("refuse" / "hold") NAME "when" condition *("and" condition)
    condition = word-subject word-test / number-subject number-test / place / speed / fact      (in full: docs/rules.md)

Rules only deny: there is no word that allows. A file is UTF-8; white space is free, `#` begins a comment. What was read has one written
form, `RuleFile.text`, which is read as the same rules. Every error names line and column. Limits: see the constants.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import decimal
from tallystick.errors import Malformed, Misuse
from tallystick.facts.claim import View
from tallystick.facts.condition import (
    COMPARISONS,
    MAX_SPEED_KMH,
    UNITS,
    Condition,
    FactAge,
    FactCompares,
    FactIs,
    Literal,
    Numbers,
    PlaceIs,
    Span,
    Speed,
    Test,
    Words,
    rests_on,
)
from tallystick.facts.fact import MAX_NAME_CHARACTERS, MAX_VALUE_CHARACTERS
from tallystick.facts.rule import Effect, Objection, entries
from tallystick.facts.schedule import WEEKDAYS

MAX_BYTES: Final = 65_536
MAX_RULES: Final = 256
MAX_CONDITIONS: Final = 16
MAX_LISTED: Final = 32
MAX_TARGET_CHARACTERS: Final = 1_024
MAX_AGE_S: Final = 3_650 * 86_400
# How an owner's rule is called in findings and in the ledger: never as one of the house's own.
PREFIX: Final = "owner/"

_ACTIONS: Final = frozenset(("metadata", "read", "egress", "propose", "write", "admin"))
_KINDS: Final = frozenset(("human", "machine", "recovery", "witness", "log", "source"))
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_CLASS: Final = re.compile(r"[a-z][a-z0-9-]{0,31}(?:/[a-z0-9][a-z0-9-]{0,31}){0,2}")
_VERB: Final = re.compile(r"[a-z][a-z0-9-]{0,31}\.(?:[a-z][a-z0-9-]{0,31}\*?|\*)")
_PREDICATE: Final = re.compile(r"[a-z0-9](?:[a-z0-9._/-]{0,62}[a-z0-9])?")
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_DURATION: Final = re.compile(r"([1-9][0-9]{0,9})([smhd])")
_TOKEN: Final = re.compile(
    r"(?P<blank>[ \t]+|#[^\n]*)|(?P<line>\n)"
    r'|(?P<string>"(?:[^"\\\n]|\\["\\])*")'
    r"|(?P<range>[a-z0-9]+\.\.[a-z0-9]+)(?![a-z0-9._/*-])"
    r"|(?P<word>-?[a-z0-9][a-z0-9._/-]*\*?)"
    r"|(?P<mark><=|>=|<|>|\[|\]|,)"
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: when every condition holds, it objects. `line`: where it stands in the file; `tests`: its conditions as functions."""

    name: str
    effect: Effect
    conditions: tuple[Condition, ...]
    line: int = field(default=0, compare=False)
    tests: tuple[Test, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tests", tuple(condition.test() for condition in self.conditions))

    def objection(self, view: View) -> Objection:
        """What it says of a view for which all its tests hold."""
        return Objection(
            rule=PREFIX + self.name,
            facts=entries(*(rests_on(condition, view) for condition in self.conditions)),
            why=f"the owner's rule {self.name} {'refuses' if self.effect is Effect.REFUSE else 'holds'} it",
            effect=self.effect,
        )

    def text(self) -> str:
        """As it is written, in its one form."""
        return f"{self.effect} {self.name} when " + "\n  and ".join(condition.text() for condition in self.conditions) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """The rules of a file, in its order. `predicates`: the words of facts they look at, sorted."""

    rules: tuple[Rule, ...] = ()
    predicates: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        found = {
            condition.predicate
            for rule in self.rules
            for condition in rule.conditions
            if isinstance(condition, FactIs | FactCompares | FactAge)
        }
        object.__setattr__(self, "predicates", tuple(sorted(found)))

    def object_to(self, view: View) -> tuple[Objection, ...]:
        """What the rules have to say: first what refuses, then what holds, each in the order of the file."""
        found: list[Objection] = []
        for rule in self.rules:
            for test in rule.tests:
                if not test(view):
                    break
            else:
                found.append(rule.objection(view))
        if len(found) > 1:
            found.sort(key=lambda objection: objection.effect is Effect.HOLD)
        return tuple(found)

    def text(self) -> str:
        """The one form of these rules: what is shown, compared and hashed. Raises: Misuse for rules that no file can hold."""
        written = "".join(rule.text() for rule in self.rules)
        try:
            if read_rules(written.encode("utf-8")) != self:
                raise Misuse("these rules would be read as others")
        except (Malformed, UnicodeEncodeError) as error:
            raise Misuse(f"these rules cannot be read: {error}") from None
        return written


NO_RULES: Final = RuleFile()


def read_rules(data: bytes) -> RuleFile:
    """Read a rule file. Raises: Malformed, naming line and column (both from 1), for anything the grammar does not have."""
    if len(data) > MAX_BYTES:
        raise Malformed(f"rules: {len(data)} bytes, at most {MAX_BYTES} allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"rules: byte {error.start} is not UTF-8") from None
    reader = _Reader(_tokens(text))
    rules: list[Rule] = []
    names: set[str] = set()
    while reader.here.text:
        at = reader.here
        rule = reader.rule()
        if rule.name in names:
            raise _error(at, f"a second rule called {rule.name}")
        if len(rules) == MAX_RULES:
            raise _error(at, f"more than {MAX_RULES} rules")
        names.add(rule.name)
        rules.append(rule)
    return RuleFile(rules=tuple(rules))


@dataclass(frozen=True, slots=True)
class _Token:
    """A piece of the text. `kind`: string, range, word, mark; empty with an empty text at the end."""

    kind: str
    text: str
    line: int
    column: int


def _error(token: _Token, reason: str, hint: str = "") -> Malformed:
    return Malformed(f"rules: line {token.line}, column {token.column}: {reason}", hint)


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    line, start, at = 1, 0, 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        here = _Token("", "", line, at - start + 1)
        if found is None:
            raise _error(here, *_unreadable(text[at]))
        kind = found.lastgroup or ""
        if kind == "line":
            line, start = line + 1, found.end()
        elif kind == "blank":
            if (control := _CONTROL.search(found[0])) is not None:
                raise _error(_Token("", "", line, at + control.start() - start + 1), *_unreadable(control[0]))
        else:
            if kind == "string" and not found[0].isprintable():
                raise _error(here, "a string with characters that cannot be printed")
            tokens.append(_Token(kind, found[0], line, at - start + 1))
        at = found.end()
    tokens.append(_Token("", "", line, at - start + 1))
    return tokens


def _unreadable(character: str) -> tuple[str, str]:
    if character == "\r":
        return "a carriage return", "Save the file with Unix line ends."
    if character == '"':
        return "a string that does not end in its line", r"Inside a string write \" for a quote and \\ for a backslash."
    if character.isascii() and character.isalpha():
        return f"no word begins with {character}", "Words are lower case; other text stands in quotes."
    return f"{character!a} has no meaning here", "Text stands in quotes, a comment behind #."


class _Reader:
    """One token after the other; the grammar is in docs/rules.md."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def here(self) -> _Token:
        return self._tokens[self._at]

    def take(self) -> _Token:
        token = self.here
        if token.kind:
            self._at += 1
        return token

    def skip(self, *words: str) -> bool:
        """Whether these words stand here; then they are behind us."""
        ahead = [token.text for token in self._tokens[self._at : self._at + len(words)]]
        if ahead != list(words):
            return False
        self._at += len(words)
        return True

    def need(self, *words: str) -> str:
        token = self.take()
        if token.text not in words:
            wanted = " or ".join(words) if len(words) < 7 else f"one of {', '.join(words)}"
            raise _error(token, f"{wanted} is missing" if not token.text else f"{token.text[:32]} where {wanted} was awaited")
        return token.text

    def word(self, pattern: re.Pattern[str], what: str) -> str:
        token = self.take()
        if token.kind not in ("word", "range") or not pattern.fullmatch(token.text):
            raise _error(token, f"{token.text[:32] or 'the end'} is not {what}")
        return token.text

    def string(self, most: int) -> str:
        token = self.take()
        if token.kind != "string":
            raise _error(token, f"{token.text[:32] or 'the end'} is not text in quotes")
        text = re.sub(r"\\(.)", r"\1", token.text[1:-1])
        if not 1 <= len(text) <= most:
            raise _error(token, f"text of {len(text)} characters, 1 to {most} are allowed")
        return text

    def integer(self, least: int, most: int) -> int:
        token = self.take()
        if not _INTEGER.fullmatch(token.text) or token.text == "-0":
            raise _error(token, f"{token.text[:32] or 'the end'} is not a whole number")
        value = -decimal(token.text[1:]) if token.text[0] == "-" else decimal(token.text)
        if not least <= value <= most:
            raise _error(token, f"{value} is out of range", f"From {least} to {most}.")
        return value

    def rule(self) -> Rule:
        line = self.here.line
        effect = Effect(self.need(*Effect))
        name = self.word(_NAME, "a name of a rule (1 to 48 of a-z, 0-9 and -)")
        self.need("when")
        conditions = [self.condition()]
        while self.here.text == "and":
            at = self.take()
            if len(conditions) == MAX_CONDITIONS:
                raise _error(at, f"more than {MAX_CONDITIONS} conditions in one rule")
            conditions.append(self.condition())
        if self.here.text and self.here.text not in list(Effect):
            raise _error(self.here, f"{self.here.text[:32]} where and, refuse, hold or the end was awaited")
        return Rule(name=name, effect=effect, conditions=tuple(conditions), line=line)

    def condition(self) -> Condition:
        match self.need("class", "action", "verb", "kind", "target", "label", "hour", "weekday", "number", "place", "speed", "fact"):
            case "place":
                return self.place()
            case "speed":
                return Speed(comparison=self.need(*COMPARISONS), kmh=self.integer(0, MAX_SPEED_KMH))
            case "fact":
                return self.fact()
            case "hour" | "weekday" | "number" as subject:
                return self.numbers(subject)
            case subject:
                return self.words(subject)

    def membership(self) -> tuple[bool, bool]:
        """`is`, `is not`, `in`, `not in`: whether negated, and whether a list or range follows."""
        match self.need("is", "in", "not"):
            case "not":
                self.need("in")
                return True, True
            case "in":
                return False, True
            case _:
                return self.skip("not"), False

    def words(self, subject: str) -> Words:
        negated, listed = self.membership()
        values = [self.word_of(subject)] if not listed else []
        if listed:
            self.need("[")
            values.append(self.word_of(subject))
            while self.skip(","):
                self.room(values)
                values.append(self.word_of(subject))
            self.need("]")
        return Words(subject=subject, negated=negated, listed=listed, values=tuple(values), quoted=subject in ("target", "label"))

    def word_of(self, subject: str) -> str:
        match subject:
            case "class":
                return self.word(_CLASS, "a class")
            case "verb":
                return self.word(_VERB, "a verb")
            case "action":
                return self.need(*sorted(_ACTIONS))
            case "kind":
                return self.need(*sorted(_KINDS))
            case "target":
                return self.string(MAX_TARGET_CHARACTERS)
            case _:
                return self.string(MAX_NAME_CHARACTERS)

    def room(self, values: list[str] | list[int]) -> None:
        if len(values) == MAX_LISTED:
            raise _error(self.here, f"more than {MAX_LISTED} in one list")

    def numbers(self, subject: str) -> Numbers:
        negated, listed = self.membership()
        if not listed:
            return Numbers(subject=subject, negated=negated, values=(self.number_of(subject),))
        if self.here.kind == "range":
            return Numbers(subject=subject, negated=negated, values=self.span(subject))
        self.need("[")
        values = [self.number_of(subject)]
        while self.skip(","):
            self.room(values)
            values.append(self.number_of(subject))
        self.need("]")
        return Numbers(subject=subject, negated=negated, values=tuple(values), listed=True)

    def number_of(self, subject: str) -> int:
        if subject == "weekday":
            return WEEKDAYS.index(self.need(*WEEKDAYS))
        return self.integer(0, 23 if subject == "hour" else 2**63 - 1)

    def span(self, subject: str) -> Span:
        """Two ends in one token: each is read where it stands."""
        token = self.take()
        first, _, last = token.text.partition("..")
        low = _Reader([_Token("word", first, token.line, token.column), token]).number_of(subject)
        high = _Reader([_Token("word", last, token.line, token.column + len(first) + 2), token]).number_of(subject)
        if low > high and subject == "number":
            raise _error(token, "a range that ends before it begins")
        return Span(low, high)

    def place(self) -> PlaceIs:
        self.need("is")
        if self.skip("present"):
            return PlaceIs(name=None, negated=False)
        if self.skip("absent"):
            return PlaceIs(name=None, negated=True)
        return PlaceIs(negated=self.skip("not"), name=self.string(MAX_NAME_CHARACTERS))

    def fact(self) -> Condition:
        predicate = self.word(_PREDICATE, "the word of a fact")
        scope = self.need("key", "all") if self.skip("of") else ""
        if self.here.text in COMPARISONS:
            return FactCompares(predicate=predicate, scope=scope, comparison=self.take().text, value=self.integer(-(2**63), 2**63 - 1))
        self.need("is", *COMPARISONS)
        match self.here.text:
            case "present" | "absent":
                return FactIs(predicate=predicate, scope=scope, negated=self.take().text == "absent", value=None)
            case "older" | "younger":
                older = self.take().text == "older"
                self.need("than")
                return FactAge(predicate=predicate, scope=scope, older=older, seconds=self.duration())
            case _:
                return FactIs(predicate=predicate, scope=scope, negated=self.skip("not"), value=self.literal())

    def literal(self) -> Literal:
        if self.here.kind == "string":
            return self.string(MAX_VALUE_CHARACTERS)
        if self.here.text in ("true", "false"):
            return self.take().text == "true"
        if self.here.kind == "word" and self.here.text.lstrip("-").isdigit():
            return self.integer(-(2**63), 2**63 - 1)
        token = self.here
        raise _error(
            token, f"{token.text[:32] or 'the end'} is not a value", 'Text stands in quotes: is "ok". Else a number, true or false.'
        )

    def duration(self) -> int:
        token = self.take()
        parts = _DURATION.fullmatch(token.text)
        if parts is None:
            raise _error(token, f"{token.text[:32] or 'the end'} is not a duration", "Write 90s, 15m, 2h or 30d.")
        seconds = decimal(parts[1]) * UNITS[parts[2]]
        if seconds > MAX_AGE_S:
            raise _error(token, "a duration of more than 3650d")
        return seconds
