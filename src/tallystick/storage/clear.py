"""Clear values beside the state: where keys were seen, and personal facts (docs/spec/state.md, section 6).

In the ledger they stand as commitments only; their openings are bodies, which can be erased. What rules must read all the time stands in
the table `clear` besides: written in the transaction of its entry, deleted in that of the erasure, filled again by a rebuild from the
bodies that survive.
"""

from typing import Final

import apsw

from tallystick import canonical
from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.facts.fact import read_place
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import equal, sha256
from tallystick.storage.bodies import TAG_BYTES, Bodies
from tallystick.tlog.tree import leaf_hash

_PLACE, _OBSERVATION = 4, 5  # signal.cddl, commitments: fields of an opening
_TAGS: Final = {_PLACE: b"tally place v1", _OBSERVATION: b"tally observation v1"}
_MAX_BYTES: Final = 32_768
_SALT_BYTES: Final = 32
OPENED: Final = {
    Kind.KEY_INTRODUCED: ("place", _PLACE),
    Kind.GRANT: ("place", _PLACE),
    Kind.SIGHTING: ("commitment", _PLACE),
    Kind.FACT_ADDED: ("commitment", _OBSERVATION),
}
"""Which kinds commit to a value that is needed in clear: the field, and the number of the commitment."""

_LIVING: Final = (
    "SELECT b.entry, slot, leaf FROM bodies b JOIN entries ON idx = b.entry WHERE b.entry IN (SELECT entry FROM sightings"
    " UNION ALL SELECT entry FROM facts WHERE commitment IS NOT NULL UNION ALL SELECT entry FROM grants WHERE place IS NOT NULL"
    " UNION ALL SELECT introduced FROM keys WHERE place IS NOT NULL) ORDER BY b.entry"
)


def clear_value(event: Event, opening: bytes) -> bytes | None:
    """The value that this event commits to, as its opening gives it: canonical CBOR; None where the event commits to none.

    Raises: Malformed, Unproven: this is not its opening.
    """
    field, number = OPENED.get(event.kind, ("", 0))
    commitment = event.blob(field) if field else b""
    if not commitment:
        return None
    fields = canonical.decode(opening, max_bytes=_MAX_BYTES, max_depth=10, max_items=2_048)
    match fields.get(number) if isinstance(fields, dict) else None:
        case [bytes(salt), value] if number == _PLACE and len(salt) == _SALT_BYTES:
            pass
        case [[bytes(salt), value]] if number == _OBSERVATION and len(salt) == _SALT_BYTES:
            pass
        case _:
            raise Malformed(f"the opening of this {event.kind.name.lower().replace('_', '-')} does not open its {field}")
    clear = canonical.encode(value)
    if not equal(sha256(_TAGS[number], salt, clear), commitment):
        raise Unproven("this opening is not what the entry commits to")
    if number == _PLACE:
        read_place(value)
    return clear


def refill(db: apsw.Connection, bodies: Bodies) -> None:
    """Fill the table of a database that was made again. A body that cannot be read is passed over. Raises: apsw.Error."""
    found: list[tuple[int, bytes]] = []
    for at, slot, leaf in db.execute(_LIVING):
        try:
            value = clear_value(entry.decode(leaf), bodies.get(slot, leaf_hash(leaf)[:TAG_BYTES]))
        except TallyError:
            continue
        if value is not None:
            found.append((at, value))
    db.executemany("INSERT INTO clear VALUES (?, ?)", found)
