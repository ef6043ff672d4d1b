"""Fuzz gate.sock's readers: a request that is read is written back as it came; answers raise the five errors and nothing else.

python fuzz/fuzz_gateframe.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, TallyError
    from tallystick.node.gateframe import read_decided, read_entry, read_request, read_verdict, write_request


def target(data: bytes) -> None:
    """Give the input to every reader."""
    with contextlib.suppress(Malformed):
        assert write_request(read_request(data)) == data
    for reader in (read_verdict, read_decided, read_entry):
        with contextlib.suppress(TallyError):
            reader(data)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
