"""Fuzz the reader of openings of places and personal facts: Malformed or Unproven and nothing else; what is taken was committed to.

python fuzz/fuzz_clear.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import encode
    from tallystick.errors import Malformed, Unproven
    from tallystick.ledger.event import Event, Kind
    from tallystick.primitives import sha256
    from tallystick.storage.clear import clear_value

SALT = bytes(range(32))
PLACE = encode("hall")
ABOUT = {"subject": bytes(32), "observed": 1, "commitment": sha256(b"tally place v1", SALT, PLACE)}
SIGHTING = Event.of(Kind.SIGHTING, 1, "gate", **ABOUT)
GOOD = encode({4: [SALT, "hall"]})


def target(data: bytes) -> None:
    """As it is, and in the place of the end or the beginning of a right one."""
    for opening in (data, GOOD[: len(data)] + data, data + GOOD[len(data) :]):
        with contextlib.suppress(Malformed, Unproven):
            assert clear_value(SIGHTING, opening) == PLACE
            assert opening == GOOD


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
