"""Fuzz the reader of proof files: Malformed and Unproven, nothing else; what is read is written as the same bytes.

python fuzz/fuzz_prooffile.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import b64
    from tallystick.errors import Malformed, Unproven
    from tallystick.tlog.note import Signature, SignatureType, VerifierKey
    from tallystick.tlog.policy import Policy, PolicyLog
    from tallystick.tlog.prooffile import HEADER, read_proof

KEY = VerifierKey(name="tally.test/log", type=SignatureType.ED25519, public=b"\x20" * 32)
POLICY = Policy(logs=(PolicyLog(key=KEY),))
LINE = Signature(name=KEY.name, key_id=KEY.key_id, signature=bytes(64)).line()
GOOD = (f"{HEADER}\nextra AAAA\nindex 5\n" + 3 * (b64(bytes(32)) + "\n") + f"\ntally.test/log\n8\n{b64(bytes(32))}\n\n{LINE}").encode()


def target(data: bytes) -> None:
    """Read the input alone, in front of a proof, and in place of a piece of it."""
    at = len(data) * 5 % len(GOOD)
    for text in (data, HEADER.encode() + b"\n" + data, GOOD[:at] + data + GOOD[at:], GOOD[:at] + data + GOOD[at + len(data) :]):
        with contextlib.suppress(Malformed):
            proof = read_proof(text)
            assert proof.to_bytes() == text
            with contextlib.suppress(Unproven):
                proof.verify(bytes(32), POLICY)
                raise AssertionError("a signature of zeros holds")


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
