"""One event of every kind, with every field it may carry, from fixed values: what the fixtures are made of."""

from typing import Any

from tallystick.ledger.event import Event, Kind
from tallystick.ledger.field import Bytes, Choice, Flag, Items, Row, Table, Text, Type, Uint, Word
from tallystick.ledger.table import FIELDS, HEADER, KINDS
from tallystick.primitives import sha256

TIME_NS = 1_750_000_000_123_456_789
_OUTSIDE = ("version", "kind", "time", "actor")


def value(name: str, of: Type) -> Any:
    """A value of a type that depends on the field's name only."""
    match of:
        case Bytes(low, high):
            raw = sha256(name.encode()) * 8
            return raw[: min(max(low, 32), high)] if low <= 256 else raw.ljust(low, b"\0")
        case Text():
            return f"a {name.replace('_', ' ')} \u2713"
        case Word():
            return name.replace("_", "-")
        case Choice(words):
            return words[len(name) % len(words)]
        case Uint(high):
            return min(high, 1000 + len(name))
        case Flag():
            return True
        case Items(inner, low, high):
            if isinstance(inner, Choice):
                return inner.words[: max(low, 2)]
            return tuple(value(f"{name}{n}", inner) for n in range(min(high, max(low, 2))))
        case Row(places):
            return tuple(value(f"{name}{n}", place) for n, place in enumerate(places))
        case Table(inner, low, high):
            return {f"{name.replace('_', '-')}{n}": value(f"{name}{n}", inner) for n in range(min(high, max(low, 2)))}
        case _:
            raise AssertionError(f"no sample for {of}")


def full(kind: Kind) -> Event:
    """An event with everything its kind allows."""
    names = [name for name in HEADER if name not in _OUTSIDE] + [*KINDS[kind].required, *KINDS[kind].optional]
    return Event.of(kind, TIME_NS + int(kind), "pair", **{name: value(name, (HEADER.get(name) or FIELDS[name])[1]) for name in names})


def least(kind: Kind) -> Event:
    """An event with what its kind demands and no more."""
    names = [*KINDS[kind].required, *KINDS[kind].needs]
    return Event.of(kind, TIME_NS + int(kind), "house", **{name: value(name, (HEADER.get(name) or FIELDS[name])[1]) for name in names})
