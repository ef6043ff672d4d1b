"""Fuzz the reader of telemetry: what it accepts, its writer writes back; it raises Malformed and nothing else.

python fuzz/fuzz_telemetry.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.diode.flow import Stage, check_frame
    from tallystick.diode.telemetry import encode_telemetry, parse_telemetry, sanitise
    from tallystick.errors import Malformed
    from tallystick.pair.pairing import PairType, Role


def target(data: bytes) -> None:
    """Give the input to the reader as each role, and its first byte to the frame table."""
    for receiver in Role:
        with contextlib.suppress(Malformed):
            record = parse_telemetry(data, receiver=receiver)
            assert encode_telemetry(record) == data
            for pair_type in PairType:
                sanitise(record, pair_type)
        for stage in Stage:
            with contextlib.suppress(Malformed):
                check_frame(receiver, stage, data[0] if data else 256)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
