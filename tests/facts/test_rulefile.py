"""Rule files: every condition, every mistake with its line and column, one written form, limits."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse
from tallystick.facts.condition import (
    COMPARISONS,
    Condition,
    FactAge,
    FactCompares,
    FactIs,
    Numbers,
    PlaceIs,
    Span,
    Speed,
    Words,
    duration,
)
from tallystick.facts.rule import Effect
from tallystick.facts.rulefile import MAX_AGE_S, MAX_BYTES, MAX_CONDITIONS, MAX_LISTED, MAX_RULES, NO_RULES, Rule, RuleFile, read_rules
from tallystick.facts.schedule import WEEKDAYS
from tests.facts.world import BERLIN, NOON, POTSDAM, TOKYO, S, fact, key, seen, view
from tests.support import PROJECT

HOUR = 3600 * S
NIGHT = b"""# The door camera sees nothing at night that anybody should believe.
refuse door-camera-at-night when class is sensor/camera and hour in 22..5
  and fact maintenance is absent   # unless somebody works there

hold\tfast-mover when speed > 300
"""


def holds(condition: str, *known: Any, **change: Any) -> bool:
    """Whether a rule with this one condition objects."""
    return bool(read_rules(f"refuse r when {condition}".encode()).object_to(view(*known, **change)))


def test_a_rule_objects_when_every_condition_holds() -> None:
    """With its own name, what it does and the facts it looked at."""
    rules = read_rules(NIGHT)
    assert rules.predicates == ("maintenance",)
    assert [(rule.name, rule.effect, rule.line) for rule in rules.rules] == [
        ("door-camera-at-night", Effect.REFUSE, 2),
        ("fast-mover", Effect.HOLD, 5),
    ]
    assert rules.object_to(view()) == ()
    night: dict[str, Any] = {"issued_at_ns": NOON + 14 * HOUR}
    (found,) = rules.object_to(view(**night))
    assert (found.rule, found.facts, found.effect) == ("owner/door-camera-at-night", (), Effect.REFUSE)
    assert found.why == "the owner's rule door-camera-at-night refuses it"
    assert rules.object_to(view(fact(9, "maintenance", "until four"), **night)) == ()
    (found,) = rules.object_to(view(seen(20, -60, POTSDAM), place=BERLIN))
    assert (found.rule, found.facts, found.effect) == ("owner/fast-mover", (20,), Effect.HOLD)


def test_the_page_of_the_owner() -> None:
    """Every example in docs/rules.md is a rule, and every condition of its table is one."""
    page = (PROJECT / "docs" / "rules.md").read_text("utf-8")
    example = page.split("```\n")[1]
    assert [rule.name for rule in read_rules(example.encode()).rules] == [
        "door-camera-at-night", "fast-mover", "weekend", "stale", "never-attested",
    ]  # fmt: skip
    rows = [line.split(" | ")[0] for line in page.split("## Conditions")[1].splitlines() if line.startswith("| `")]
    shown = [text for row in rows for text in re.findall("`([^`]+)`", row)]
    assert len(shown) >= 24
    for text in shown:
        if text.startswith("younger"):
            text = "is " + text
        if text.startswith(("is ", "<", ">")):  # a row names its fact once
            text = "fact WORD " + text
        read_rules(f"refuse r when {text.replace('WORD', 'w')}{' 3' if text[-1] in '<>=' else ''}".encode())


def test_what_refuses_stands_before_what_holds() -> None:
    """Whatever the order in the file."""
    rules = read_rules(b"hold a when kind is source hold b when kind is source refuse c when kind is source")
    assert [each.rule for each in rules.object_to(view())] == ["owner/c", "owner/a", "owner/b"]


def test_the_facts_a_rule_rests_on_are_named_once() -> None:
    """In rising order; a note of this very signal has no entry."""
    rules = read_rules(b"hold a when fact w is present and fact v is present and fact w > 3 and fact u is absent")
    assert rules.object_to(view(fact(12, "w", 4), fact(7, "v")))[0].facts == (7, 12)
    assert rules.object_to(view(fact(12, "w", 4), notes=(fact(0, "v"),)))[0].facts == (12,)


TRUE_OF_THE_CAMERA = [
    "class is sensor",
    "class is sensor/camera",
    "class is not sensor/cam",
    "class in [feed, sensor]",
    "class not in [feed, cron]",
    "action is propose",
    "action not in [read, metadata]",
    "verb is sensor.frame",
    "verb is sensor.*",
    "verb is sensor.fr*",
    "verb is not sensor.f",
    'target is "POST /v1/signals"',
    'target is "POST *"',
    'target is not "POST"',
    'target in ["/x", "*"]',
    "kind is source",
    "kind is not human",
    "number is 12",
    "number in 10..12",
    "number in [3, 12]",
    "number not in 13..20",
    'label is "front door"',
    'label is "front*"',
    'label is not "front"',
    "hour is 12",
    "hour in 9..17",
    "hour not in 22..11",
    "hour in 20..12",
    "hour in [11, 12]",
    "weekday is sun",
    "weekday in sat..mon",
    "weekday in sun..sun",
    "weekday not in mon..fri",
    "weekday is not [sat]".replace("[sat]", "sat"),
    "place is absent",
    'place is not "hall"',
    "fact w is absent",
    "fact 1..3 is absent",
    "fact 1..3.x-y is absent",
    'fact w is not "x"',
]
FALSE_OF_THE_CAMERA = [
    "class is sensor/cam",
    "class is feed",
    "class not in [sensor, feed]",
    "action is read",
    "verb is sensor.f",
    'target is "/v1/signals"',
    'label is "Front door"',
    "number in 13..20",
    "hour in 13..11",
    "weekday in mon..sat",
    "place is present",
    'place is "hall"',
    "speed > 0",
    "speed <= 9223372036854775806",
    "fact w is present",
    'fact w is "x"',
    "fact w is 0",
    "fact w < 1",
    "fact w is older than 1s",
    "fact w is younger than 3650d",
]


@pytest.mark.parametrize("condition", TRUE_OF_THE_CAMERA)
def test_conditions_that_hold(condition: str) -> None:
    """Of the camera's signal at noon on a Sunday, without any fact."""
    assert holds(condition)


@pytest.mark.parametrize("condition", FALSE_OF_THE_CAMERA)
def test_conditions_that_do_not(condition: str) -> None:
    """What is not known makes a condition false."""
    assert not holds(condition)


FACTS: list[tuple[str, Any, bool]] = [
    ("is present", None, True),
    ("is absent", None, False),
    ('is "ok"', "ok", True),
    ('is "o*"', "ok", True),
    ('is "ok"', "OK", False),
    ('is "ok"', None, False),
    ('is not "ok"', None, True),
    ('is "1"', 1, False),
    ("is 1", 1, True),
    ("is 1", True, False),
    ("is true", True, True),
    ("is true", 1, False),
    ("is false", False, True),
    ("is -5", -5, True),
    ("is not 5", "5", True),
    ("< 5", 4, True),
    ("< 5", 5, False),
    ("<= 5", 5, True),
    ("> -5", -4, True),
    (">= 5", 5, True),
    (">= 5", "6", False),
    (">= 0", True, False),
    ("> 9223372036854775806", 2**63 - 1, True),
    (">= -9223372036854775808", -(2**63), True),
    ("is older than 59s", "x", True),
    ("is older than 1m", "x", False),
    ("is younger than 61s", "x", True),
    ("is younger than 60s", "x", False),
]


@pytest.mark.parametrize(("test", "value", "expected"), FACTS)
def test_facts(test: str, value: Any, expected: bool) -> None:
    """By presence, value and age; about the key, about all, or whichever holds."""
    own, common = fact(1, "w", value, -60), fact(2, "w", value, -60, None)
    assert holds(f"fact w {test}", own) is expected
    assert holds(f"fact w {test}", common) is expected
    assert holds(f"fact w of key {test}", own) is expected
    assert holds(f"fact w of all {test}", common) is expected
    nothing = holds(f"fact w {test}")
    assert holds(f"fact w of all {test}", own) is nothing
    assert holds(f"fact w of key {test}", common) is nothing


def test_speed_and_place() -> None:
    """The speed since the last sighting that is not later; none without points on both sides."""
    assert holds("speed >= 1500", seen(20, -61, POTSDAM), place=BERLIN)
    assert not holds("speed >= 1620", seen(20, -61, POTSDAM), place=BERLIN)
    assert holds("speed < 100", seen(20, -61, TOKYO), seen(21, -10, BERLIN), seen(22, 1, TOKYO), place=BERLIN)
    assert not holds("speed >= 0", seen(20, 60, POTSDAM), place=BERLIN)
    assert not holds("speed >= 0", seen(20, -60, "hall"), place=BERLIN)
    assert holds("speed > 9223372036854775806", seen(20, 0, POTSDAM), fact(1, "clock-uncertainty", 0), place=BERLIN)
    assert not holds("speed >= 0", seen(20, -9, POTSDAM, b"r" * 32), place=BERLIN, reference=b"r" * 32)
    assert holds('place is "ha*"', place="hall") and holds("place is present", place=BERLIN)
    assert not holds('place is "*"', place=BERLIN)
    assert holds("hour is 0", issued_at_ns=NOON + 12 * HOUR) and holds("weekday is mon", issued_at_ns=NOON + 12 * HOUR)
    assert holds('label is ""'.replace('""', '"*"'), key=key(label=""))


WRONG = [
    (b"allow r when kind is source", 1, 1, "allow where refuse or hold"),
    (b"refuse", 1, 7, "the end is not a name"),
    (b"refuse Night when kind is source", 1, 8, "no word begins with N"),
    (b"refuse a/b when kind is source", 1, 8, "a/b is not a name"),
    (b"refuse " + b"a" * 49 + b" when kind is source", 1, 8, "is not a name"),
    (b'refuse "night" when kind is source', 1, 8, "is not a name"),
    (b"refuse r if kind is source", 1, 10, "if where when was awaited"),
    (b"refuse r when", 1, 14, "is missing"),
    (b"refuse r when kind is source and", 1, 33, "is missing"),
    (b"refuse r when kind is source or hour is 3", 1, 30, "or where and, refuse, hold or the end"),
    (b"refuse r when not kind is source", 1, 15, "not where one of"),
    (b"refuse r when (kind is source)", 1, 15, "'(' has no meaning"),
    (b"refuse r when colour is red", 1, 15, "colour where one of"),
    (b"refuse r\nwhen kind is source\n  and hour is 24", 3, 15, "24 is out of range"),
    (b"refuse r when hour is 07", 1, 23, "07 is not a whole number"),
    (b"refuse r when hour in 7", 1, 23, "7 where [ was awaited"),
    (b"refuse r when hour in 7..", 1, 23, "7.. where [ was awaited"),
    (b"refuse r when hour in 7..24", 1, 26, "24 is out of range"),
    (b"refuse r when hour in x..5", 1, 23, "x is not a whole number"),
    (b"refuse r when hour in 7 .. 9", 1, 25, "'.' has no meaning"),
    (b"refuse r when hour is 7..9", 1, 23, "7..9 is not a whole number"),
    (b"refuse r when hour in []", 1, 24, "] is not a whole number"),
    (b"refuse r when hour in [1 2]", 1, 26, "2 where ] was awaited"),
    (b"refuse r when hour in [1,]", 1, 26, "] is not a whole number"),
    (b"refuse r when hour not 7", 1, 24, "7 where in was awaited"),
    (b"refuse r when hour > 7", 1, 20, "> where is or in or not was awaited"),
    (b"refuse r when weekday is monday", 1, 26, "monday where one of"),
    (b"refuse r when weekday in 1..5", 1, 26, "1 where one of"),
    (b"refuse r when number in 5..3", 1, 25, "ends before it begins"),
    (b"refuse r when number is -1", 1, 25, "-1 is out of range"),
    (b"refuse r when class is Sensor", 1, 24, "no word begins with S"),
    (b'refuse r when class is "sensor"', 1, 24, "is not a class"),
    (b"refuse r when class is sensor/*", 1, 24, "sensor/* is not a class"),
    (b"refuse r when class is a/b/c/d", 1, 24, "is not a class"),
    (b"refuse r when verb is archive", 1, 23, "archive is not a verb"),
    (b"refuse r when verb is *", 1, 23, "'*' has no meaning"),
    (b"refuse r when action is destroy", 1, 25, "destroy where"),
    (b"refuse r when kind is llm", 1, 23, "llm where"),
    (b"refuse r when target is /v1", 1, 25, "'/' has no meaning"),
    (b'refuse r when target is ""', 1, 25, "text of 0 characters"),
    (b'refuse r when label is "' + b"x" * 65 + b'"', 1, 24, "text of 65 characters"),
    (b'refuse r when label is "x', 1, 24, "does not end in its line"),
    (b'refuse r when label is "x\ny"', 1, 24, "does not end in its line"),
    (b'refuse r when label is "\\n"', 1, 24, "does not end in its line"),
    (b'refuse r when label is "\t"', 1, 24, "cannot be printed"),
    ('refuse r when label is "\u202e"'.encode(), 1, 24, "cannot be printed"),
    (b"refuse r when place is hall", 1, 24, "hall is not text in quotes"),
    (b'refuse r when place in ["hall"]', 1, 21, "in where is was awaited"),
    (b"refuse r when speed is 3", 1, 21, "is where < or <= or > or >="),
    (b"refuse r when speed > fast", 1, 23, "fast is not a whole number"),
    (b"refuse r when speed > -0", 1, 23, "-0 is not a whole number"),
    (b"refuse r when fact is present", 1, 23, "present where is or <"),
    (b"refuse r when fact w is ok", 1, 25, "ok is not a value"),
    (b"refuse r when fact w is 1.5", 1, 25, "1.5 is not a value"),
    (b"refuse r when fact w is 9223372036854775808", 1, 25, "is out of range"),
    (b'refuse r when fact w < "3"', 1, 24, "is not a whole number"),
    (b"refuse r when fact w of me is 3", 1, 25, "me where key or all"),
    (b"refuse r when fact w. is 3", 1, 20, "w. is not the word of a fact"),
    (b"refuse r when fact w older than 3h", 1, 22, "older where is"),
    (b"refuse r when fact w is older 3h", 1, 31, "3h where than"),
    (b"refuse r when fact w is older than 3", 1, 36, "3 is not a duration"),
    (b"refuse r when fact w is older than 0s", 1, 36, "0s is not a duration"),
    (b"refuse r when fact w is older than 3651d", 1, 36, "more than 3650d"),
    (b"refuse r when kind is source\nhold r when kind is human", 2, 1, "a second rule called r"),
    (b"refuse r when kind is source\r\n", 1, 29, "a carriage return"),
    (b"# a\x00b\n", 1, 4, "has no meaning"),
    (b"# a\rb\n", 1, 4, "a carriage return"),
    (b"\x0crefuse", 1, 1, "has no meaning"),
    ("\ufeffrefuse".encode(), 1, 1, "has no meaning"),
    (b"refuse r when hour is \xd9\xa3".decode().encode(), 1, 23, "has no meaning"),
]


@pytest.mark.parametrize(("data", "line", "column", "says"), WRONG)
def test_mistakes_are_named_with_line_and_column(data: bytes, line: int, column: int, says: str) -> None:
    """And the reason, in words of the file."""
    with pytest.raises(Malformed) as caught:
        read_rules(data)
    assert caught.value.message.startswith(f"rules: line {line}, column {column}: ")
    assert says in caught.value.message


def test_limits() -> None:
    """Rules, conditions, list items, bytes; and bytes that are no text."""
    one = "refuse r{} when kind is source\n"
    most = "".join(one.format(n) for n in range(MAX_RULES))
    assert len(read_rules(most.encode()).rules) == MAX_RULES
    conditions = " and ".join(["hour is 3"] * MAX_CONDITIONS)
    read_rules(f"hold r when {conditions}".encode())
    listed = ", ".join(["3"] * MAX_LISTED)
    read_rules(f"hold r when hour in [{listed}]".encode())
    read_rules(b"#" * MAX_BYTES)
    for text, says in (
        (most + one.format("x"), "line 257, column 1: more than 256 rules"),
        (f"hold r when {conditions} and hour is 4", "more than 16 conditions"),
        (f"hold r when hour in [{listed}, 4]", "more than 32 in one list"),
        ("hold r when class in [" + ", ".join(["feed"] * 33) + "]", "more than 32 in one list"),
        ("#" * (MAX_BYTES + 1), "65537 bytes, at most 65536"),
    ):
        with pytest.raises(Malformed, match=says):
            read_rules(text.encode())
    with pytest.raises(Malformed, match="byte 3 is not UTF-8"):
        read_rules(b"# a\xff")


def test_the_one_form() -> None:
    """White space and comments go, a duration takes its largest unit; the text is read as the same rules."""
    assert read_rules(NIGHT).text() == (
        "refuse door-camera-at-night when class is sensor/camera\n  and hour in 22..5\n  and fact maintenance is absent\n"
        "hold fast-mover when speed > 300\n"
    )
    assert read_rules(b"hold r when fact w is older than 7200s").text() == "hold r when fact w is older than 2h\n"
    assert NO_RULES.text() == "" and read_rules(b"") == read_rules(b"\n# nothing\n") == NO_RULES
    assert [duration(n) for n in (1, 60, 90, 3600, 86_400, 90_000)] == ["1s", "1m", "90s", "1h", "1d", "25h"]


def test_rules_that_no_file_can_hold_are_misuse() -> None:
    """Values made by hand are checked when they are written."""
    for condition in (
        Words(subject="label", negated=False, listed=False, values=("a\nb",), quoted=True),
        Words(subject="class", negated=False, listed=False, values=("Sensor",)),
        Words(subject="class", negated=False, listed=True, values=()),
        Words(subject="class", negated=False, listed=False, values=("feed", "cron")),
        Words(subject="label", negated=False, listed=False, values=("\ud800",), quoted=True),
        Numbers(subject="hour", negated=False, values=(24,)),
        FactAge(predicate="w", scope="", older=True, seconds=0),
    ):
        with pytest.raises(Misuse):
            RuleFile(rules=(Rule(name="r", effect=Effect.HOLD, conditions=(condition,)),)).text()


words = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?", fullmatch=True)
classes = st.from_regex(r"[a-z][a-z0-9-]{0,8}(/[a-z0-9][a-z0-9-]{0,8}){0,2}", fullmatch=True)
verbs = st.from_regex(r"[a-z][a-z0-9-]{0,8}\.([a-z][a-z0-9-]{0,8}\*?|\*)", fullmatch=True)
texts = st.text(min_size=1, max_size=20).filter(str.isprintable)
predicates = st.from_regex(r"[a-z0-9]([a-z0-9._/-]{0,20}[a-z0-9])?", fullmatch=True)
scopes = st.sampled_from(("", "key", "all"))
comparisons = st.sampled_from(sorted(COMPARISONS))
int64 = st.integers(-(2**63), 2**63 - 1)


def _words(subject: str, values: st.SearchStrategy[str], quoted: bool = False) -> st.SearchStrategy[Condition]:
    many = st.lists(values, min_size=1, max_size=4).map(tuple)
    return st.builds(
        lambda negated, listed, found: Words(
            subject=subject, negated=negated, listed=listed, values=found if listed else found[:1], quoted=quoted
        ),
        st.booleans(),
        st.booleans(),
        many,
    )


def _numbers(subject: str, most: int) -> st.SearchStrategy[Condition]:
    value = st.integers(0, most)
    ends = st.tuples(value, value).map(lambda found: Span(*(sorted(found) if subject == "number" else found)))
    some = st.lists(value, min_size=1, max_size=4).map(tuple)
    return (
        st.builds(lambda negated, span: Numbers(subject=subject, negated=negated, values=span), st.booleans(), ends)
        | st.builds(lambda negated, found: Numbers(subject=subject, negated=negated, values=found, listed=True), st.booleans(), some)
        | st.builds(lambda negated, found: Numbers(subject=subject, negated=negated, values=(found,)), st.booleans(), value)
    )


CONDITIONS = st.one_of(
    _words("class", classes),
    _words("action", st.sampled_from(("metadata", "read", "egress", "propose", "write", "admin"))),
    _words("verb", verbs),
    _words("kind", st.sampled_from(("human", "machine", "source"))),
    _words("target", texts, quoted=True),
    _words("label", texts, quoted=True),
    _numbers("hour", 23),
    _numbers("weekday", len(WEEKDAYS) - 1),
    _numbers("number", 2**63 - 1),
    st.builds(PlaceIs, name=st.none() | texts, negated=st.booleans()),
    st.builds(Speed, comparison=comparisons, kmh=st.integers(0, 2**63 - 2)),
    st.builds(FactIs, predicate=predicates, scope=scopes, negated=st.booleans(), value=st.none() | st.booleans() | int64 | texts),
    st.builds(FactCompares, predicate=predicates, scope=scopes, comparison=comparisons, value=int64),
    st.builds(FactAge, predicate=predicates, scope=scopes, older=st.booleans(), seconds=st.integers(1, MAX_AGE_S)),
)
RULES = st.lists(
    st.builds(Rule, name=words, effect=st.sampled_from(Effect), conditions=st.lists(CONDITIONS, min_size=1, max_size=4).map(tuple)),
    max_size=4,
    unique_by=lambda rule: rule.name,
).map(lambda rules: RuleFile(rules=tuple(rules)))


@given(RULES)
def test_what_is_written_is_read_as_the_same(rules: RuleFile) -> None:
    """Every rule file there can be has one text, which is read as itself; and every rule can be asked."""
    text = rules.text()
    again = read_rules(text.encode())
    assert again == rules and again.text() == text
    for each in again.object_to(view(seen(20, -60, POTSDAM), fact(9, "w", 3), place=BERLIN)):
        assert each.rule.startswith("owner/")


@given(st.text(alphabet='refuse hold when and is not in [],..<=>"\\#\n ab3-5*/', max_size=120) | st.text(max_size=40), st.integers(0, 200))
def test_any_text_is_read_or_malformed(text: str, at: int) -> None:
    """Also in the middle of a file that was good; nothing else is raised."""
    good = NIGHT.decode()
    for each in (text, good[:at] + text + good[at:]):
        try:
            rules = read_rules(each.encode("utf-8", "surrogateescape") if each.isascii() else each.encode("utf-8", "ignore"))
        except Malformed as error:
            assert error.message.startswith("rules: ")
        else:
            assert read_rules(rules.text().encode()) == rules
