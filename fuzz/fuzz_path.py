"""Fuzz what a stranger can say about a file: paths, their percent-encoded form, ranges.

Invariant: Malformed (Misuse for a range outside the file), or a value whose one written form is the input and which stays below the root.

python fuzz/fuzz_path.py -runs=100000
"""

import contextlib
import os
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, Misuse
    from tallystick.service.names import SafePath, is_safe_name
    from tallystick.service.ranges import parse_range


def target(data: bytes) -> None:
    """Read the input as a path, as a quoted path, as a name on disk and as a Range header."""
    with contextlib.suppress(Malformed):
        path = SafePath(data.decode("utf-8", "surrogateescape"))
        assert os.path.realpath(b"/some/root/" + data) == b"/some/root/" + data
        assert b"\0" not in data and b"\\" not in data
        assert SafePath.from_quoted(path.quoted()) == path
        assert all(is_safe_name(segment) for segment in path.segments)
    text = data.decode("latin-1")
    with contextlib.suppress(Malformed):
        assert SafePath.from_quoted(text).quoted() == text
    is_safe_name(os.fsdecode(data))
    with contextlib.suppress(Malformed, Misuse):
        span = parse_range(text, 1000)
        assert 0 <= span.start < span.stop <= 1000


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
