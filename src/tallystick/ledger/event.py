"""An event: one thing that happened, of one of the kinds in the table.

    Event.of(Kind.SEVERED, now_ns, actor="local", pair=pairing_id, by="local")

The fields are checked against the table when the event is made, so that every event there is can be written as a leaf
(ledger/entry.py) and every leaf that can be read is such an event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from tallystick.errors import Malformed, Misuse
from tallystick.ledger.field import Type
from tallystick.ledger.table import FIELDS, HEADER, KINDS, Kind

__all__ = ["Event", "Kind", "field_number"]

_OUTSIDE: Final = ("version", "kind", "time")  # attributes of the event or constant, not fields
_ACTOR: Final = HEADER["actor"][1]
_TIME: Final = HEADER["time"][1]


def _plan(kind: Kind) -> tuple[Mapping[str, tuple[int, Type]], frozenset[str]]:
    """What may stand in an event of this kind, and what must."""
    shape = KINDS[kind]
    allowed = {name: HEADER[name] for name in HEADER if name not in (*_OUTSIDE, "actor")}
    allowed |= {name: FIELDS[name] for name in (*shape.required, *shape.optional)}
    return allowed, frozenset((*shape.required, *shape.needs))


_PLANS: Final = {kind: _plan(kind) for kind in Kind}
NAMES: Final[Mapping[int, str]] = {number: name for name, (number, _) in (*HEADER.items(), *FIELDS.items())}


def field_number(name: str) -> int:
    """The number under which a field stands in a leaf. Raises: Misuse when there is no such field."""
    found = HEADER.get(name) or FIELDS.get(name)
    if found is None:
        raise Misuse(f"events have no field {name}")
    return found[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What happened. `fields` holds everything but kind, time and actor; arrays in it are tuples. Treat it as frozen.

    Attributes: time_ns: UTC, nanoseconds since 1970.  actor: house (by itself), local (a command at the house), pair, gate (its
        local socket) or invite (a machine that holds one).
    """

    kind: Kind
    time_ns: int
    actor: str
    fields: Mapping[str, object]

    @classmethod
    def of(cls, kind: Kind, time_ns: int, actor: str = "house", **fields: object) -> Self:
        """Make an event; fields that are None are left out. Raises: Misuse when the table does not allow it."""
        try:
            return cls.checked(kind, time_ns, actor, {name: value for name, value in fields.items() if value is not None})
        except Malformed as error:
            raise Misuse(error.message) from None

    @classmethod
    def checked(cls, kind: Kind, time_ns: object, actor: object, fields: Mapping[str, object]) -> Self:
        """Make an event from foreign values. Raises: Malformed when the table does not allow it."""
        allowed, required = _PLANS[kind]
        name = "time"
        out: dict[str, object] = {}
        try:
            _TIME.check(time_ns)
            name = "actor"
            _ACTOR.check(actor)
            for name, value in fields.items():
                out[name] = allowed[name][1].check(value)
        except KeyError:
            raise Malformed(f"event {kind.name}: has no field {name}") from None
        except Malformed as error:
            raise Malformed(f"event {kind.name}, field {name}: {error.message}") from None
        if not required <= out.keys():
            raise Malformed(f"event {kind.name}: lacks {' '.join(sorted(required - out.keys()))}")
        return cls(kind=kind, time_ns=time_ns, actor=actor, fields=out)  # type: ignore[arg-type]

    def __getitem__(self, name: str) -> object:
        """The value of a field that the table requires; use `get` for the others."""
        return self.fields[name]

    def get(self, name: str) -> object | None:
        """The value of a field, None when it is left out."""
        return self.fields.get(name)

    def blob(self, name: str) -> bytes:
        """A field of bytes; empty when left out."""
        value = self.fields.get(name, b"")
        if not isinstance(value, bytes):
            raise AssertionError(f"field {name} holds no bytes")
        return value

    def number(self, name: str, default: int = 0) -> int:
        """A field that is a number."""
        value = self.fields.get(name, default)
        if not isinstance(value, int):
            raise AssertionError(f"field {name} is no number")
        return value

    def text(self, name: str, default: str = "") -> str:
        """A field of text."""
        value = self.fields.get(name, default)
        if not isinstance(value, str):
            raise AssertionError(f"field {name} is no text")
        return value
