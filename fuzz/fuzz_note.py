"""Fuzz the readers of tlog: notes, verifier keys, checkpoints and proofs raise Malformed or Unproven and nothing else.

python fuzz/fuzz_note.py -runs=100000
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports():
    from tallystick.errors import Malformed, Unproven
    from tallystick.tlog.checkpoint import parse_text, read_checkpoint
    from tallystick.tlog.cosignature import verifier
    from tallystick.tlog.note import SignatureType, VerifierKey, parse, parse_verifier_key
    from tallystick.tlog.proof import verify_consistency, verify_inclusion, verify_subtree_consistency

NOTE = "tally.test/log\n42\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n\u2014 tally.test/log AAAAAAAAAAA=\n".encode()
KEYS = [
    verifier(VerifierKey(name="tally.test/log", type=kind, public=b"\x20" * (1312 if kind is SignatureType.ML_DSA_44 else 32)))
    for kind in SignatureType
]


def target(data: bytes) -> None:
    """Read the input as everything there is, alone and in place of a piece of a well-formed checkpoint."""
    for note in (data, NOTE[: len(data)] + data + NOTE[2 * len(data) :], NOTE[:-1] + data):
        with contextlib.suppress(Malformed):
            assert parse(note).to_bytes() == note
        with contextlib.suppress(Malformed):
            checkpoint, unproven = read_checkpoint(note)
            assert checkpoint.text == unproven.text
            with contextlib.suppress(Unproven):
                unproven.verify(KEYS)
    text = data.decode("utf-8", "replace")
    with contextlib.suppress(Malformed):
        assert str(parse_verifier_key(text)) == text
    with contextlib.suppress(Malformed):
        assert parse_text(text).text == text
    for key in KEYS:
        with contextlib.suppress(Malformed, Unproven):
            key.verify(NOTE[:64], data)
    if len(data) >= 8:
        a, b, c = data[0] | data[1] << 8, data[2] | data[3] << 8, data[4] | data[5] << 8
        proof = [data[at : at + 32] for at in range(8, len(data), 32)]
        root = bytes(32)
        with contextlib.suppress(Malformed, Unproven):
            verify_inclusion(index=a, size=b, leaf=root, root=root, proof=proof)
        with contextlib.suppress(Malformed, Unproven):
            verify_consistency(old=a, new=b, old_root=root, new_root=root, proof=proof)
        with contextlib.suppress(Malformed, Unproven):
            verify_subtree_consistency(start=a, end=b, size=c, subtree_root=root, root=root, proof=proof)


if __name__ == "__main__":
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
