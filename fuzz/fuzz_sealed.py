"""Fuzz the reader of sealed files: a backup that somebody else wrote ends in one of the errors, or in what it holds.

python fuzz/fuzz_sealed.py -runs=100000
"""

import contextlib
import io
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import TallyError
    from tallystick.vault.stream import MAGIC, SealedReader


def target(data: bytes) -> None:
    """With and without its first bytes; under a key that anybody has."""
    for raw in (data, MAGIC + data):
        with contextlib.suppress(TallyError):
            reader = SealedReader(io.BytesIO(raw).read, static=(bytes(32), lambda public: public))
            while not reader.at_end():
                reader.read(1)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
