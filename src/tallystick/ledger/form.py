"""Forms: leaves of one build, known again by a pattern. The fast half of reading every entry of a long ledger.

Most entries of a ledger are alike: the same kind, the same fields, words of a short list, and between them bytes and numbers. Once
such a leaf was read in full (ledger/entry.py), a regular expression over bytes accepts every other leaf that differs in those bytes
and numbers alone, and nothing that `entry.decode` would refuse. In a form every field lies at a fixed place. A match costs a
fiftieth of a decoding. What is rare or matters more (signals, statements, keys, pairs) has no form and is read in full each time.
"""

import re
from dataclasses import dataclass
from typing import Final

from tallystick import canonical
from tallystick.ledger.event import Event
from tallystick.ledger.field import UINT_MAX, Bytes, Choice, Flag, Type, Uint, Word
from tallystick.ledger.table import FIELDS, HEADER, VERSION

MAX_FORMS: Final = 64  # in one pattern; sre knows 100 groups and tries them one after the other

# The shortest form of a number (RFC 8949 4.2.1) in 1, 2, 3, 5 and 9 bytes; none above 2**63 - 1.
_UINTS: Final = {
    1: rb"[\x00-\x17]",
    2: rb"\x18[\x18-\xff]",
    3: rb"\x19(?!\x00)..",
    5: rb"\x1a(?!\x00\x00)....",
    9: rb"\x1b(?!\x00\x00\x00\x00)[\x00-\x7f].......",
}
_LARGEST: Final = {1: 23, 2: 255, 3: 65_535, 5: 2**32 - 1, 9: UINT_MAX}
REFERENCES: Final = frozenset({"entry", "cause", "replaces"})
_NOTHING: Final = re.compile(rb"(?!)")


@dataclass(frozen=True, slots=True)
class Form:
    """One build of leaves.

    Attributes: size: bytes of the leaf.  time: where its time stands.  references: where it names entries, each with its
        length; numbers in their shortest form compare as the bytes do.
    """

    pattern: bytes
    size: int
    time: slice
    references: tuple[slice, ...]


class Forms:
    """The forms that were met, in one pattern over the entries of a bundle: length, leaf."""

    def __init__(self) -> None:
        self.forms: list[Form] = []
        self.references: list[tuple[slice, ...]] = [()]  # by the number of the group that matched
        self._known: set[bytes] = set()
        self.pattern: re.Pattern[bytes] = _NOTHING
        """`pattern.match(bundle, at)`: the form of the entry at `at` is `forms[match.lastindex - 1]`, its leaf that group. None says
        nothing about the entry: read it in full."""

    def learn(self, event: Event) -> None:
        """Remember the form of an event that was read in full, if it can have one."""
        if len(self.forms) >= MAX_FORMS:
            return
        form = form_of(event)
        if form is not None and form.pattern not in self._known:
            self._known.add(form.pattern)
            self.forms.append(form)
            self.references.append(form.references)
            alternatives = (re.escape(form.size.to_bytes(2, "big")) + b"(" + form.pattern + b")" for form in self.forms)
            self.pattern = re.compile(b"|".join(alternatives), re.DOTALL)


def form_of(event: Event) -> Form | None:
    """The form of an event's leaf; None when one of its fields holds more than bytes, a number or a word."""
    count = 4 + len(event.fields)
    head = bytes((0xA0 | count,)) if count < 24 else bytes((0xB8, count))
    head += b"\x01" + canonical.encode(VERSION) + b"\x02" + canonical.encode(int(event.kind)) + b"\x03"
    time_ns, actor = canonical.encode(event.time_ns), b"\x04" + canonical.encode(event.actor)
    parts = [re.escape(head), _UINTS[len(time_ns)], re.escape(actor)]
    time = slice(len(head), len(head) + len(time_ns))
    size = time.stop + len(actor)
    references: list[slice] = []
    for number, name in sorted(((HEADER.get(name) or FIELDS[name])[0], name) for name in event.fields):
        of, value = (HEADER.get(name) or FIELDS[name])[1], event.fields[name]
        part = _value(of, value)
        if part is None:
            return None
        key = canonical.encode(number)
        size += len(key)
        written = len(canonical.encode(value))  # type: ignore[arg-type]
        if name in REFERENCES:
            references.append(slice(size, size + written))
        size += written
        parts += [re.escape(key), part]
    return Form(b"".join(parts), size, time, tuple(references))


def _value(of: Type, value: object) -> bytes | None:
    match of, value:
        case Bytes(), bytes(raw):
            head = canonical.encode(raw)[: -len(raw) or None]
            return re.escape(head) + b".{%d}" % len(raw)
        case Uint(high), int(number) if _LARGEST[len(canonical.encode(number))] <= high:
            return _UINTS[len(canonical.encode(number))]
        case ((Uint() | Word() | Choice() | Flag()), (int() | str())):
            return re.escape(canonical.encode(value))
        case _:
            return None
