"""Fuzz the readers of canonical: whatever they accept, their writers write back; they raise Malformed and nothing else.

python fuzz/fuzz_canonical.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import (
        b64,
        b64url,
        decimal,
        decode,
        encode,
        id_text,
        length_prefixed,
        parse_id,
        split_length_prefixed,
        to_decimal,
        unb64,
        unb64url,
    )
    from tallystick.errors import Malformed


def target(data: bytes) -> None:
    """Give the input to every reader; a reader that takes it must give back these very bytes."""
    with contextlib.suppress(Malformed):
        assert encode(decode(data)) == data
    with contextlib.suppress(Malformed):
        assert length_prefixed(*split_length_prefixed(data)) == data
    text = data.decode("utf-8", "replace")
    for read, write in ((unb64, b64), (unb64url, b64url)):
        with contextlib.suppress(Malformed):
            assert write(read(text)) == text
    with contextlib.suppress(Malformed):
        assert to_decimal(decimal(text)) == text
    try:
        raw = parse_id("key" + text, "key")
        assert parse_id(id_text("key", raw), "key") == raw
    except Malformed:
        pass


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
