"""Fuzz the reader of policies: Malformed and nothing else; what is read survives being written.

python fuzz/fuzz_policy.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed
    from tallystick.tlog.note import SignatureType, VerifierKey
    from tallystick.tlog.policy import read_policy

KEYS = [str(VerifierKey(name=f"w{n}", type=SignatureType.COSIGNATURE, public=bytes((n,)) * 32)) for n in range(3)]
GOOD = "".join(f"witness w{n} {key}\n" for n, key in enumerate(KEYS)).encode() + b"group g 2 w0 w1 w2\nquorum g\n"


def target(data: bytes) -> None:
    """Read the input alone, behind lines that stand, and in the middle of them."""
    at = len(data) * 7 % len(GOOD)
    for text in (data, GOOD[: GOOD.index(b"group")] + data, GOOD[:at] + data + GOOD[at:], GOOD[:at] + data + GOOD[at + len(data) :]):
        with contextlib.suppress(Malformed):
            policy = read_policy(text)
            assert read_policy(policy.to_bytes()) == policy
            assert policy.satisfied([witness.name for witness in policy.witnesses])
            assert policy.satisfied([]) == (policy.needed == 0)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
