"""docs/spec/events.cddl and the table of events say the same."""

import importlib
import re

import pytest

from tallystick import canonical
from tallystick.ledger import entry
from tallystick.ledger.event import NAMES, Kind, field_number
from tallystick.ledger.table import FIELDS, HEADER, KINDS
from tests.ledger.cddl import kind_rule, read, rule_name, rules
from tests.ledger.samples import full, least
from tests.support import PROJECT, missing

DOCUMENT = (PROJECT / "docs" / "spec" / "events.cddl").read_text(encoding="utf-8")


def test_the_document_is_the_table() -> None:
    """Apart from comments and line breaks, the CDDL is exactly what the table says, rule by rule."""
    for found, expected in zip(read(DOCUMENT), rules(), strict=True):
        assert found == expected


def test_every_rule_is_defined_once_and_used() -> None:
    """No rule refers to one that is not there, and none is there for nothing."""
    defined = [rule.split(" = ")[0] for rule in read(DOCUMENT)]
    assert len(defined) == len(set(defined))
    used = set(re.findall(r"[a-z][a-z-]*", re.sub(r'"[^"]*"', "", " ".join(rule.split(" = ", 1)[1] for rule in read(DOCUMENT)))))
    prelude = {"bstr", "tstr", "size", "regexp", "true"}
    assert used - prelude <= set(defined)
    assert set(defined) - used <= {"event", "word"}
    assert {kind_rule(kind) for kind in Kind} | {rule_name(name) for name in FIELDS} <= set(defined)


def test_numbers_are_used_once() -> None:
    """Header and fields share one space of numbers; the header has 1 to 15."""
    numbers = [number for number, _ in (*HEADER.values(), *FIELDS.values())]
    assert len(numbers) == len(set(numbers)) == len(NAMES)
    assert sorted(number for number, _ in HEADER.values()) == list(range(1, 16))
    assert min(number for number, _ in FIELDS.values()) == 16
    assert not set(HEADER) & set(FIELDS)
    assert field_number("signal") == 18


def test_every_field_belongs_to_a_kind() -> None:
    """No field stands in the table for nothing, and no kind names a field twice."""
    used: set[str] = set()
    for shape in KINDS.values():
        names = [*shape.required, *shape.optional]
        assert len(names) == len(set(names)) and set(shape.needs) <= set(HEADER)
        used |= set(names)
    assert used == set(FIELDS)


def test_every_kind_fits_into_a_leaf() -> None:
    """One event of each kind, full and minimal, is written and read back as it was."""
    for kind in Kind:
        for event in (full(kind), least(kind)):
            assert entry.decode(entry.encode(event)) == event


def test_a_foreign_validator_agrees() -> None:
    """PyPI pycddl, given the document, accepts our leaves of every kind and refuses each with a field more or less or damaged."""
    try:
        pycddl = importlib.import_module("pycddl")
    except ImportError:
        missing("pycddl is not installed")
    document = read(DOCUMENT)
    common = [rule for rule in document if not rule.split(" = ")[0].endswith("-event") and not rule.startswith("event = ")]
    for kind in Kind:
        (own,) = (rule for rule in document if rule.startswith(f"{kind_rule(kind)} = "))
        schema = pycddl.Schema("\n".join([own, *common]))
        for event in (full(kind), least(kind)):
            leaf = entry.encode(event)
            schema.validate_cbor(leaf)
            values = canonical.decode(leaf)
            assert isinstance(values, dict)
            needed = 4 if not KINDS[kind].required else FIELDS[KINDS[kind].required[0]][0]
            for wrong in (values | {999: 1}, {n: v for n, v in values.items() if n != needed}, values | {3: -1}, values | {4: "stranger"}):
                with pytest.raises(pycddl.ValidationError):
                    schema.validate_cbor(canonical.encode(wrong))
