"""Fuzz the readers of keys: COSE_Sign1 and COSE_Key take one form, and raise Malformed or Unproven and nothing else.

python fuzz/fuzz_cose.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import encode
    from tallystick.errors import Malformed, Unproven
    from tallystick.keys import KeyKind, PublicKey, parse_cose_key, parse_sign1
    from tallystick.primitives import ed25519_public

PUBLIC = PublicKey(KeyKind.ED25519, ed25519_public(bytes(32)))
EDDSA = b"\x84\x58\x26\xa2\x01\x27\x04\x58\x20" + PUBLIC.key_id


def target(data: bytes) -> None:
    """Give the input whole, and behind the start of a real statement, to the readers."""
    for raw in (data, EDDSA + data, EDDSA + b"\xa0" + encode(data[64:]) + b"\x58\x40" + data[:64].ljust(64, b"\0")):
        try:
            statement = parse_sign1(raw)
            again = encode([raw[3:41], {}, statement.payload, statement.signature])
            assert again == raw == statement.raw
            statement.verify(PUBLIC)
        except (Malformed, Unproven):
            pass
    with contextlib.suppress(Malformed):
        assert parse_cose_key(data).cose_key() == data


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
