"""Fuzz the reader of entry bundles: Malformed and nothing else; what is read is written as the same bytes.

python fuzz/fuzz_bundle.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.tlog.bundle import read_bundle, write_bundle

GOOD = write_bundle([b"first", b"", b"third" * 20])


def target(data: bytes) -> None:
    """The first byte says how many entries there are."""
    if not data:
        return
    width, rest = (data[0] or 256), data[1:]
    for bundle in (rest, GOOD + rest, GOOD[: len(rest)] + rest):
        with contextlib.suppress(Malformed):
            entries = read_bundle(bundle, width)
            assert len(entries) == width
            assert write_bundle(entries) == bundle


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
