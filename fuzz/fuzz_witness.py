"""Fuzz both sides of witnessing: every submission has an answer, and a log takes no cosignature that was not made.

python fuzz/fuzz_witness.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.canonical import b64
    from tallystick.errors import Malformed, Refused, Unavailable, Unproven
    from tallystick.tlog.cosignature import verifier
    from tallystick.tlog.note import Signature, SignatureType, VerifierKey
    from tallystick.tlog.witness import SIZE_TYPE, Answer, Conflict, Seen, decide, read_answer, read_submission

KEY = VerifierKey(name="tally.test/log", type=SignatureType.ED25519, public=b"\x20" * 32)
WITNESS = VerifierKey(name="witness.test", type=SignatureType.COSIGNATURE, public=b"\x21" * 32)
TEXT = f"tally.test/log\n8\n{b64(bytes(32))}\n"
NOTE = (TEXT + "\n" + Signature(name=KEY.name, key_id=KEY.key_id, signature=bytes(64)).line()).encode()
GOOD = b"old 4\n" + 2 * (b64(bytes(32)).encode() + b"\n") + b"\n" + NOTE
SAID = Signature(name=WITNESS.name, key_id=WITNESS.key_id, signature=bytes(72)).line().encode()
LOGS = {"tally.test/log": [verifier(KEY)]}
LAST = {"tally.test/log": Seen(size=4, root=bytes(32), note=NOTE)}


def target(data: bytes) -> None:
    """Read the input as a submission, alone and in place of a piece of one, and as an answer."""
    at = len(data) * 5 % len(GOOD)
    for body in (data, GOOD[:at] + data + GOOD[at:], GOOD[:at] + data + GOOD[at + len(data) :]):
        found = decide(body, LOGS, LAST)
        assert isinstance(found, Answer), "a signature of zeros holds"
        assert found.status in (400, 403, 404, 422)
        with contextlib.suppress(Malformed):
            assert read_submission(body).to_bytes() == body
    status = (200, 409, 400, 403, 404, 422, 500)[len(data) % 7]
    for said in (data, SAID[: len(data)] + data, data + SAID):
        with contextlib.suppress(Malformed, Unproven, Refused, Unavailable):
            answer = read_answer(status, SIZE_TYPE, said, text=TEXT, witness=[verifier(WITNESS)])
            assert isinstance(answer, Conflict), "a cosignature of zeros holds"


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
