"""Entries: an event as the bytes of a leaf, and back. One event has one leaf, one leaf is one event.

The leaf is a map in deterministic CBOR with the field numbers as keys (docs/spec/events.cddl), at most 65,535 bytes. Its
hash in the tree is SHA-256(0x00 || leaf) (RFC 6962 2.1).
"""

from tallystick import canonical
from tallystick.canonical import Encodable
from tallystick.errors import Malformed, Misuse
from tallystick.ledger.event import NAMES, Event
from tallystick.ledger.table import FIELDS, HEADER, MAX_LEAF_BYTES, VERSION, Kind

_NUMBERS = {name: number for name, (number, _) in (*HEADER.items(), *FIELDS.items())}


def encode(event: Event) -> bytes:
    """The leaf of an event. Raises: Misuse when it is longer than 65,535 bytes."""
    leaf: dict[int, Encodable] = {1: VERSION, 2: int(event.kind), 3: event.time_ns, 4: event.actor}
    for name, value in event.fields.items():
        leaf[_NUMBERS[name]] = value  # type: ignore[assignment]
    raw = canonical.encode(leaf)
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
