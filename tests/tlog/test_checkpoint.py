"""Checkpoints and cosignatures: foreign ones verify, sizes and roots have one form, and nothing is signed that could not be read."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import b64
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import Ed25519KeyPair, MLDSA44KeyPair, sha256
from tallystick.tlog.checkpoint import Checkpoint, parse_text, read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import (
    MAX_TIME_S,
    Ed25519Cosigner,
    MLDSA44Cosigner,
    cosign,
    ed25519_message,
    sign_checkpoint,
    subtree_message,
    verifier,
    with_time,
)
from tallystick.tlog.note import Signature, SignatureType, Verifier, VerifierKey, parse, parse_verifier_key, write
from tallystick.tlog.tree import EMPTY_ROOT
from tests.support import vectors

LOG = Ed25519KeyPair.from_private(sha256(b"log"))
PQ = MLDSA44KeyPair.from_private(sha256(b"log pq"))
WITNESS = Ed25519KeyPair.from_private(sha256(b"witness"))
ORIGIN = "tally.test/log"
ROOT = sha256(b"root")
POINT = Checkpoint(origin=ORIGIN, size=42, root=ROOT)
LOG_KEYS: list[Verifier] = [
    verifier(VerifierKey(name=ORIGIN, type=SignatureType.ED25519, public=LOG.public)),
    verifier(VerifierKey(name=ORIGIN, type=SignatureType.ML_DSA_44, public=PQ.public)),
]
WITNESS_KEY = VerifierKey(name="witness.test", type=SignatureType.COSIGNATURE, public=WITNESS.public)


def signed(point: Checkpoint = POINT, time_s: int = 1_750_000_000) -> bytes:
    return sign_checkpoint(point, ed25519=(LOG.public, LOG.sign), ml_dsa_44=(PQ.public, PQ.sign), time_s=time_s)


def test_the_foreign_checkpoint_verifies() -> None:
    """A checkpoint of size 70,000, signed and cosigned by foreign tools with Ed25519 and ML-DSA-44, holds under all its keys."""
    texts = json.loads(vectors("tlog", "cosigned", "cosigned-checkpoint.vkeys.json").read_text())
    data = vectors("tlog", "cosigned", "cosigned-checkpoint.txt").read_bytes()
    log = verifier(parse_verifier_key(texts["log_vkey"]))
    witnesses = [verifier(parse_verifier_key(texts[name])) for name in ("witness_ed25519_vkey", "witness_mldsa44_vkey")]
    found = verify_checkpoint(data, log=[log], witnesses=witnesses)
    assert (found.checkpoint.origin, found.checkpoint.size) == ("example.com/vector-log", 70_000)
    assert [proven.key.type for proven in found.note.proven] == [1, 4, 6]
    assert [proven.time_s for proven in found.note.proven] == [None, 1_795_312_574, 1_795_312_574]
    assert parse(data).to_bytes() == data
    # The text of another size under the same signatures is refused, and so is each of them alone.
    other = data.replace(b"\n70000\n", b"\n70001\n")
    for one in (log, *witnesses):
        with pytest.raises(Unproven):
            parse(other).verify([one])


def test_our_checkpoint_carries_both_signatures() -> None:
    """Ed25519 and ML-DSA-44, both by the log; with either missing or wrong it is not proven."""
    data = signed()
    found = verify_checkpoint(data, log=LOG_KEYS)
    assert found.checkpoint == POINT and len(found.note.proven) == 2
    note = parse(data)
    for line in note.signatures:
        with pytest.raises(Unproven, match="lacks"):
            verify_checkpoint(write(note.text, [line]), log=LOG_KEYS)
        broken = replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
        with pytest.raises(Unproven):
            verify_checkpoint(write(note.text, [broken, *(s for s in note.signatures if s is not line)]), log=LOG_KEYS)
    with pytest.raises(Malformed, match="another log"):
        verify_checkpoint(data, log=LOG_KEYS, origin="other")
    with pytest.raises(Misuse):
        verify_checkpoint(data, log=[])


def test_a_cosignature_holds_for_its_text_and_time() -> None:
    """A witness's line is added to the note; another time, text or root spoils it."""
    line = cosign(POINT, name=WITNESS_KEY.name, ed25519=(WITNESS.public, WITNESS.sign), time_s=1_750_000_001)
    note = parse(signed())
    found = verify_checkpoint(write(note.text, [*note.signatures, line]), log=LOG_KEYS, witnesses=[verifier(WITNESS_KEY)])
    proven = found.note.by(WITNESS_KEY)
    assert proven is not None and proven.time_s == 1_750_000_001
    late = replace(line, signature=with_time(1_750_000_002, line.signature[8:]))
    with pytest.raises(Unproven):
        verify_checkpoint(write(note.text, [*note.signatures, late]), log=LOG_KEYS, witnesses=[verifier(WITNESS_KEY)])
    other = replace(POINT, size=43)
    with pytest.raises(Unproven):
        verifier(WITNESS_KEY).verify(other.text.encode(), line.signature)


def test_the_messages_of_cosignatures() -> None:
    """The signed bytes are those of C2SP tlog-cosignature."""
    assert ed25519_message(b"body\n", 7) == b"cosignature/v1\ntime 7\nbody\n"
    message = subtree_message("wit", 7, "log", 0, 42, ROOT)
    assert message == b"subtree/v1\n\x00" + b"\x03wit" + bytes(7) + b"\x07" + b"\x03log" + bytes(8) + bytes(7) + b"\x2a" + ROOT
    with pytest.raises(Misuse):
        subtree_message("x" * 256, 0, "log", 0, 1, ROOT)
    for time_s in (-1, MAX_TIME_S + 1):
        with pytest.raises(Misuse):
            with_time(time_s, bytes(64))


def test_cosignatures_of_other_lengths_and_times_are_malformed() -> None:
    """A cosignature has its length exactly, and a time below 2**63; ML-DSA ones stand under checkpoints only."""
    cosigner, post_quantum = Ed25519Cosigner(WITNESS_KEY), MLDSA44Cosigner(LOG_KEYS[1].key)
    text = POINT.text.encode()
    for raw in (b"", bytes(71), bytes(73), b"\x80" + bytes(71)):
        with pytest.raises(Malformed):
            cosigner.verify(text, raw)
    for raw in (bytes(2427), bytes(2429), b"\x80" + bytes(2427)):
        with pytest.raises(Malformed):
            post_quantum.verify(text, raw)
    for wrong in (b"not a checkpoint\n", b"\xff"):
        with pytest.raises(Malformed):
            post_quantum.verify(wrong, bytes(2428))


SIZES = [
    "042",
    "+42",
    "-42",
    "4_2",
    " 42",
    "42 ",
    "",
    "4 2",
    "0x2a",
    "42.0",
    "4e1",
    "\u0664\u0662",
    "\uff14\uff12",
    str(2**63),
    str(2**64),
    "9" * 30,
    "00",
    "\u00b2",
]


@pytest.mark.parametrize("size", SIZES)
def test_sizes_have_one_form(size: str) -> None:
    """Leading zeros, signs, underscores, spaces, other digits and sizes from 2**63 on are malformed."""
    with pytest.raises(Malformed):
        parse_text(f"{ORIGIN}\n{size}\n{b64(ROOT)}\n")


@pytest.mark.parametrize(
    "root",
    [
        "",
        "AAAA",
        b64(ROOT[:31]),
        b64(ROOT + b"x"),
        b64(ROOT)[:-1],
        b64(ROOT) + "=",
        "!" + b64(ROOT)[1:],
        " " + b64(ROOT),
        b64(ROOT)[:-2] + "F=",
        "-_" + b64(ROOT)[2:],
        ROOT.hex(),
    ],
)
def test_roots_have_one_form(root: str) -> None:
    """Short hashes, long ones, junk in base64, missing padding and unused bits are malformed."""
    with pytest.raises(Malformed):
        parse_text(f"{ORIGIN}\n42\n{root}\n")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{ORIGIN}\n42\n",
        f"{ORIGIN}\n42\n{b64(ROOT)}",
        f"\n42\n{b64(ROOT)}\n",
        f"a b\n42\n{b64(ROOT)}\n",
        f"a+b\n42\n{b64(ROOT)}\n",
        f"{ORIGIN}\n42\n{b64(ROOT)}\n\n",
        f"{ORIGIN}\n42\n{b64(ROOT)}\n" + "x\n" * 17,
        f"{ORIGIN}\n0\n{b64(ROOT)}\n",
        f"{ORIGIN}\r\n42\r\n{b64(ROOT)}\r\n",
    ],
)
def test_what_is_no_checkpoint_is_malformed(text: str) -> None:
    """Lines missing or empty, origins with spaces, an empty log with another root."""
    with pytest.raises(Malformed):
        parse_text(text)


@given(size=st.integers(0, 2**63 - 1), extensions=st.lists(st.text("abc xyz", min_size=1, max_size=8), max_size=3))
def test_a_checkpoint_survives(size: int, extensions: list[str]) -> None:
    """What is written is read as it was."""
    point = Checkpoint(origin=ORIGIN, size=size, root=ROOT if size else EMPTY_ROOT, extensions=tuple(extensions))
    assert parse_text(point.text) == point
    assert point.origin_hash == sha256(ORIGIN.encode())


@given(st.text(max_size=200))
def test_any_text_is_a_checkpoint_or_malformed(text: str) -> None:
    """A text that is read is the text we would write."""
    for candidate in (text, f"{ORIGIN}\n{text}", f"{ORIGIN}\n1\n{text}", f"{ORIGIN}\n42\n{b64(ROOT)}\n{text}"):
        try:
            point = parse_text(candidate)
        except Malformed:
            continue
        assert point.text == candidate


@pytest.mark.parametrize(
    "point",
    [
        replace(POINT, size=-1),
        replace(POINT, size=2**63),
        replace(POINT, root=b"short"),
        replace(POINT, origin="a b"),
        replace(POINT, origin=""),
        replace(POINT, origin="a\nb"),
        replace(POINT, size=0),
        replace(POINT, extensions=("",)),
        replace(POINT, extensions=("a\nb",)),
    ],
)
def test_what_could_not_be_read_is_not_signed(point: Checkpoint) -> None:
    """A size, root, origin or extension that has no form is our mistake, before any key is used."""

    def never(_: bytes) -> bytes:
        raise AssertionError("signed")

    with pytest.raises(Misuse):
        sign_checkpoint(point, ed25519=(LOG.public, never), ml_dsa_44=(PQ.public, never), time_s=1)


def test_every_cut_is_malformed() -> None:
    """No beginning of a signed checkpoint is a signed checkpoint."""
    data = write(POINT.text, [Signature(name=ORIGIN, key_id=bytes(4), signature=bytes(64))])
    for cut in range(len(data)):
        with pytest.raises(Malformed):
            read_checkpoint(data[:cut])
