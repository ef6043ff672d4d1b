"""What a statement must say that opens a closed house (docs/spec/restore.md, section 4)."""

from typing import Final

from tallystick.canonical import decimal, decode, encode
from tallystick.errors import Malformed, Unproven
from tallystick.keys import KeyId
from tallystick.ledger.event import Kind
from tallystick.node.machine import Machine
from tallystick.pair.statement import MAX_SEEN, HouseRestore
from tallystick.primitives import sha256
from tallystick.storage.rows import HouseRow
from tallystick.storage.rules.house import restored_name
from tallystick.tlog.checkpoint import read_checkpoint

MAX_TERMS_BYTES: Final = 8_192
MAX_RESTORATIONS: Final = 10**6


def times_of(origin: str, first_name: str) -> int:
    """How often the log had been restored when it was called so. Raises: Unproven: it is not this log's name."""
    if origin == first_name:
        return 0
    name, slash, number = origin.rpartition("/")
    if slash and name == first_name:
        try:
            times = decimal(number, maximum=MAX_RESTORATIONS)
        except Malformed:
            times = 0
        if times:
            return times
    raise Unproven("a checkpoint of another log")


def terms_of(machine: Machine, house: HouseRow) -> HouseRestore:
    """What a statement must say that opens this house now. Raises: Unavailable."""
    store = machine.store
    times = house.restored
    seen: dict[tuple[bytes, int, bytes], None] = {}
    for row in store.entries(house.size, kinds=(Kind.FORK_FOUND,), newest_first=True):
        checkpoint, _ = read_checkpoint(row.event.blob("other_checkpoint"))
        times = max(times, times_of(checkpoint.origin, house.first_name))
        seen[checkpoint.origin_hash, checkpoint.size, checkpoint.root] = None
    newest = sorted(seen, key=lambda each: (-each[1], each))[:MAX_SEEN]
    return HouseRestore(
        origin=sha256(house.log_name.encode()),
        size=house.size,
        root=store.root_at(house.size),
        log=restored_name(house.first_name, times + 1),
        seen=tuple(newest),
    )


def write_terms(terms: HouseRestore, owner: KeyId) -> bytes:
    """For `closed`: the owner, and what the owner must sign."""
    return encode([1, bytes(owner), terms.origin, terms.size, terms.root, terms.log, [list(each) for each in terms.seen]])


def read_terms(raw: bytes) -> tuple[bytes, HouseRestore]:
    """Raises: Malformed."""
    match decode(raw, max_bytes=MAX_TERMS_BYTES, max_depth=3, max_items=512):
        case [1, bytes(owner), bytes(origin), int(size), bytes(root), str(log), list(rows)]:
            seen: list[tuple[bytes, int, bytes]] = []
            for row in rows:
                match row:
                    case [bytes(name), int(at), bytes(of)]:
                        seen.append((name, at, of))
                    case _:
                        raise Malformed("not the terms of a closed house")
            return owner, HouseRestore(origin=origin, size=size, root=root, log=log, seen=tuple(seen))
    raise Malformed("not the terms of a closed house")
