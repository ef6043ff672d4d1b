"""Fuzz the reader of rights statements: what it accepts, its writer writes back; it raises Malformed and nothing else.

python fuzz/fuzz_rights.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.rights.statement import encode_statement, parse_statement


def target(data: bytes) -> None:
    """Give the input to the reader."""
    with contextlib.suppress(Malformed):
        assert encode_statement(parse_statement(data)) == data


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
