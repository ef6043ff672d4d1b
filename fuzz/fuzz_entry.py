"""Fuzz the readers of ledger: a leaf is an event in its one form or Malformed, so is a signal's mark; a tree's edge likewise.

python fuzz/fuzz_entry.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick import canonical
    from tallystick.errors import Malformed
    from tallystick.ledger import entry
    from tallystick.ledger.append import Tree
    from tallystick.ledger.event import Event, Kind
    from tallystick.ledger.signed import read_mark
    from tallystick.ledger.table import FIELDS, KINDS

SEEDS = [
    Event.of(Kind.SEVERED, 5, "local", pair=bytes(32), by="local"),
    Event.of(Kind.SIGNAL, 5, "pair", verdict="allow", signal=b"x", context=(1, 2, bytes(32)), ext={"a": b"b"}),
    Event.of(Kind.FINDING, 5, signal_hash=bytes(32), layer="crypto", outcome="pass", facts=(1, 2), matches=(("a", "b", 1, 2, 3),)),
]
LEAVES = [entry.encode(event) for event in SEEDS]
NUMBERS = sorted(number for number, _ in FIELDS.values())


def leaf(data: bytes) -> None:
    """A leaf that is read is written as it was."""
    with contextlib.suppress(Malformed):
        assert entry.encode(entry.decode(data)) == data


def target(data: bytes) -> None:
    """Read the input as a leaf, in place of a piece of a leaf, and as the value of each field of a kind."""
    leaf(data)
    for seed in LEAVES:
        leaf(seed[: len(data) % len(seed)] + data)
        at = data[0] % len(seed) if data else 0
        leaf(seed[:at] + data + seed[at + len(data) :])
    with contextlib.suppress(Malformed):
        value = canonical.decode(data[1:])
        kind = list(Kind)[data[0] % len(Kind)] if data else Kind.ORIGIN
        fields = {FIELDS[name][0]: value for name in (*KINDS[kind].required, *KINDS[kind].optional)}
        leaf(canonical.encode({1: 1, 2: int(kind), 3: 5, 4: "house", **fields}))
    with contextlib.suppress(Malformed):
        read_mark(data)
    with contextlib.suppress(Malformed):
        size = int.from_bytes(data[:2], "big")
        assert Tree.from_bytes(size, data[2:]).to_bytes() == data[2:]


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
