"""Entries: an event as the bytes of a leaf, and back. One event has one leaf, one leaf is one event.

The leaf is a map in deterministic CBOR with the field numbers as keys (docs/spec/events.cddl), at most 65,535 bytes. Its
hash in the tree is SHA-256(0x00 || leaf) (RFC 6962 2.1).
"""

from functools import lru_cache
from typing import Any, Final

from tallystick import canonical
from tallystick.errors import Malformed, Misuse
from tallystick.ledger.event import NAMES, Event
from tallystick.ledger.field import Bytes, Choice, Uint, Word
from tallystick.ledger.table import FIELDS, HEADER, MAX_LEAF_BYTES, VERSION, Kind

_KEYS: Final = {name: (number, canonical.encode(number), rule) for name, (number, rule) in (*HEADER.items(), *FIELDS.items())}
_MAP_HEADS: Final = tuple(bytes((0xA0 | n,)) if n < 24 else bytes((0xB8, n)) for n in range(4 + len(_KEYS)))  # RFC 8949 3
# Version, kind and the key of the time, by the number of the kind: a dict would ask the enumeration for a hash, in Python.
_START: Final = [
    canonical.encode(1) + canonical.encode(VERSION) + canonical.encode(2) + canonical.encode(n) + b"\x03" for n in range(max(Kind) + 1)
]
_BYTES_HEADS: Final = tuple(canonical.encode(bytes(n))[: -n or None] for n in range(256))
_NUMBERS: Final = tuple(map(canonical.encode, range(1024)))


class _Words(dict[str, bytes]):
    """Most texts in events are words of a short list: each is encoded once."""

    def __missing__(self, text: str) -> bytes:
        if len(self) >= 4_096:
            self.clear()
        raw = self[text] = canonical.encode(text)
        return raw


_WORDS: Final = _Words()


class _Plan:
    """How leaves with these fields are put together: `parts` are their keys in the order of their numbers, with places for the values.

    Where all values of a field are bytes of one length, their head is written with the key, and the value is what is in the event.
    The others are encoded: `words`, `numbers`, `others` are their places.
    """

    __slots__ = ("names", "numbers", "others", "parts", "words")

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = sorted(names, key=lambda name: _KEYS[name][0])
        self.parts: list[Any] = [_MAP_HEADS[4 + len(names)], b"", b"", b"\x04", b""]  # version, kind and key of the time; time; actor
        self.words: list[int] = []
        self.numbers: list[int] = []
        self.others: list[int] = []
        for name in self.names:
            _, key, rule = _KEYS[name]
            place = len(self.parts) + 1
            match rule:
                case Bytes(low, high) if low == high < 256:
                    key += _BYTES_HEADS[low]
                case Word() | Choice():
                    self.words.append(place)
                case Uint():
                    self.numbers.append(place)
                case _:
                    self.others.append(place)
            self.parts += (key, b"")


@lru_cache(maxsize=4096)
def _plan(names: tuple[str, ...]) -> _Plan:
    return _Plan(names)


def _number(value: int) -> bytes:
    """A number from 0 to 2**64-1 in its one form."""
    if value < 1024:
        return _NUMBERS[value]
    if value >= 4_294_967_296:
        return b"\x1b" + value.to_bytes(8, "big")
    return b"\x1a" + value.to_bytes(4, "big") if value >= 65_536 else b"\x19" + value.to_bytes(2, "big")


def encode(event: Event) -> bytes:
    """The leaf of an event. Raises: Misuse when it is longer than 65,535 bytes.

    The order of the fields is remembered, and what is short is written here: a fifth of what `canonical.encode` of the whole map costs, and
    this stands on the path of every entry. The tests compare the two.
    """
    fields = event.fields
    plan = _plan(tuple(fields))
    parts = plan.parts[:]
    parts[1], parts[2], parts[4] = _START[event.kind], _number(event.time_ns), _WORDS[event.actor]
    parts[6::2] = [fields[name] for name in plan.names]
    for at in plan.words:
        parts[at] = _WORDS[parts[at]]
    for at in plan.numbers:
        parts[at] = _number(parts[at])
    for at in plan.others:
        parts[at] = canonical.encode(parts[at])
    raw = b"".join(parts)
    if len(raw) > MAX_LEAF_BYTES:
        raise Misuse(f"an event of {len(raw)} bytes does not fit into a leaf of {MAX_LEAF_BYTES}")
    return raw


def decode(leaf: bytes) -> Event:
    """The event of a leaf. Raises: Malformed when the bytes are not the one form of an event in the table."""
    values = canonical.decode(leaf, max_bytes=MAX_LEAF_BYTES)
    if not isinstance(values, dict):
        raise Malformed("a leaf is a map")
    fields: dict[str, object] = {}
    for number, value in values.items():
        name = NAMES.get(number) if isinstance(number, int) else None
        if name is None:
            raise Malformed(f"a leaf has no field {number!r}")
        fields[name] = value
    version, code = fields.pop("version", None), fields.pop("kind", None)
    # `True == 1` in Python; in a leaf they are two forms, and only one of them is ours.
    if type(version) is not int or version != VERSION:
        raise Malformed("a leaf of an unknown version", "A newer tallystick may have written this ledger.")
    try:
        if type(code) is not int:
            raise ValueError
        kind = Kind(code)
    except ValueError:
        raise Malformed(f"a leaf of unknown kind {code!r}", "A newer tallystick may have written this ledger.") from None
    return Event.checked(kind, fields.pop("time", None), fields.pop("actor", None), fields)
