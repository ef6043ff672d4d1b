"""Signed notes: the spec's own example, foreign signatures, and everything that is not a note."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import b64
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import Ed25519KeyPair, sha256
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import (
    MAX_SIGNATURES,
    Ed25519Verifier,
    Signature,
    SignatureType,
    VerifierKey,
    key_id,
    parse,
    parse_signature,
    parse_verifier_key,
    write,
)
from tests.support import vectors

# C2SP signed-note, section Example.
SPEC_VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
PAIR = Ed25519KeyPair.from_private(sha256(b"note test"))
KEY = VerifierKey(name="tally.test/log", type=SignatureType.ED25519, public=PAIR.public)
TEXT = "first line\nsecond line\n"


def vkey(public: bytes) -> str:
    """A verifier key whose key id is right."""
    raw = bytes([1]) + public
    return f"a+{sha256(b'a', bytes([10]), raw)[:4].hex()}+{b64(raw)}"


def signed(text: str, name: str = KEY.name, pair: Ed25519KeyPair = PAIR) -> Signature:
    return Signature(name=name, key_id=key_id(name, SignatureType.ED25519, pair.public), signature=pair.sign(text.encode()))


NOTE = write(TEXT, [signed(TEXT)])


def test_the_verifier_key_of_the_specification() -> None:
    """The key of the spec's example is read, and written as it was."""
    key = parse_verifier_key(SPEC_VKEY)
    assert (key.name, key.type, key.key_id.hex()) == ("example.com/foo", SignatureType.ED25519, "530d903a")
    assert str(key) == SPEC_VKEY


def test_a_note_round_trips() -> None:
    """What is written is read, verified, and written again byte for byte."""
    note = parse(NOTE)
    assert note.to_bytes() == NOTE and note.text == TEXT
    proven = note.verify([Ed25519Verifier(KEY)])
    assert proven.by(KEY) is not None and proven.unknown == () and proven.by(parse_verifier_key(SPEC_VKEY)) is None


def test_unknown_signatures_are_passed_over_and_known_ones_must_hold() -> None:
    """An unknown key's line does not matter, even a known name with another id; a wrong line of a known key spoils the note."""
    other = Ed25519KeyPair.from_private(sha256(b"other"))
    stranger = signed(TEXT, "stranger", other)
    same_name = signed(TEXT, KEY.name, other)
    note = parse(write(TEXT, [stranger, same_name, signed(TEXT), signed(TEXT)])).verify([Ed25519Verifier(KEY)])
    assert len(note.unknown) == 2 and len(note.proven) == 1
    wrong = Signature(name=KEY.name, key_id=KEY.key_id, signature=bytes(64))
    short = Signature(name=KEY.name, key_id=KEY.key_id, signature=bytes(63))
    for bad in (wrong, short, signed(TEXT + "more\n")):
        with pytest.raises(Unproven):
            parse(write(TEXT, [stranger, bad])).verify([Ed25519Verifier(KEY)])
    with pytest.raises(Unproven, match="nobody"):
        parse(write(TEXT, [stranger])).verify([Ed25519Verifier(KEY)])
    with pytest.raises(Misuse):
        parse(NOTE).verify([Ed25519Verifier(KEY), Ed25519Verifier(KEY)])


LINE = signed(TEXT).line()
BASE = LINE.split(" ")[2][:-1]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        TEXT.encode(),
        f"{TEXT}\n".encode(),
        f"{TEXT}\n\n".encode(),
        f"{TEXT}{LINE}".encode(),
        f"{TEXT}\n{LINE[:-1]}".encode(),
        f"{TEXT}\n{LINE}\n".encode(),
        f"{TEXT}\n{LINE} ".encode(),
        f"{TEXT}\nnot a signature\n{LINE}".encode(),
        f"{TEXT}\n- {KEY.name} {BASE}\n".encode(),
        f"{TEXT}\n\u2013 {KEY.name} {BASE}\n".encode(),
        f"{TEXT}\n\u2014{KEY.name} {BASE}\n".encode(),
        f"{TEXT}\n\u2014  {KEY.name} {BASE}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name}  {BASE}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {BASE} \n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {BASE} extra\n".encode(),
        f"{TEXT}\n\u2014 {BASE}\n".encode(),
        f"{TEXT}\n\u2014  {BASE}\n".encode(),
        f"{TEXT}\n\u2014 a+b {BASE}\n".encode(),
        f"{TEXT}\n\u2014 a\u00a0b {BASE}\n".encode(),
        f"{TEXT}\n\u2014 a\u3000b {BASE}\n".encode(),
        f"{TEXT}\n\u2014 {'n' * 256} {BASE}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {b64(b'1234')}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {b64(b'123')}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {BASE[:-1]}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {BASE.rstrip('=')}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {BASE}=\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {'-_' + BASE[2:]}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {'!' + BASE}\n".encode(),
        f"{TEXT}\n\u2014 {KEY.name} {b64(bytes(9000))}\n".encode(),
        f"{TEXT}\n{LINE}".encode().replace(b"\n", b"\r\n"),
        f"{TEXT}\tx\n\n{LINE}".encode(),
        f"{TEXT}\x00\n\n{LINE}".encode(),
        f"{TEXT}\n".encode() + b"\xff" + LINE.encode(),
        f"{TEXT}\n{LINE * (MAX_SIGNATURES + 1)}".encode(),
        b"x" * 1_000_001,
    ],
)
def test_what_is_no_note_is_malformed(data: bytes) -> None:
    """No blank line, other dashes and spaces, names with plus or space, base64 in a second form, control bytes, too much of it."""
    with pytest.raises(Malformed):
        parse(data)


def test_a_hundred_signatures_and_blank_lines_in_the_text() -> None:
    """100 signatures are read; the text ends at the last blank line."""
    text = "a\n\n\nb\n\n"
    note = parse(write(text, [signed(text)] * MAX_SIGNATURES))
    assert note.text == text and len(note.signatures) == MAX_SIGNATURES
    note.verify([Ed25519Verifier(KEY)])


def test_what_could_not_be_read_is_not_written() -> None:
    """No signature, a text without newline, a name with a space: Misuse."""
    bad = Signature(name="a b", key_id=bytes(4), signature=bytes(64))
    for text, signatures in (
        (TEXT, []),
        ("no newline", [signed("x")]),
        ("tab\t\n", [signed("x")]),
        (TEXT, [bad]),
        ("\ud800\n", [signed("x")]),
    ):
        with pytest.raises(Misuse):
            write(text, signatures)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        SPEC_VKEY.replace("530d903a", "530d903b"),
        SPEC_VKEY.replace("530d903a", "530D903A"),
        SPEC_VKEY.replace("example", "exbmple"),
        SPEC_VKEY.replace("+Aeky", "+Beky"),
        SPEC_VKEY[:-4],
        SPEC_VKEY + "=",
        SPEC_VKEY + "+",
        " " + SPEC_VKEY,
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        f"a+00000000+{b64(b'')}",
        f"a+00000000+{b64(bytes([2]) + bytes(32))}",
        f"a+00000000+{b64(bytes([1]) + bytes(33))}",
        vkey(bytes(32)),
        vkey(b"\x01" + bytes(31)),
        vkey((2**255 - 19).to_bytes(32, "little")),
    ],
)
def test_what_is_no_verifier_key_is_malformed(text: str) -> None:
    """Parts missing, another name under the key id, another type, another length."""
    with pytest.raises(Malformed):
        parse_verifier_key(text)


def test_foreign_verifier_keys() -> None:
    """The keys beside the foreign checkpoint are read and written as they were, and each has its verifier."""
    keys = json.loads(vectors("tlog", "cosigned", "cosigned-checkpoint.vkeys.json").read_text())
    for text in keys.values():
        assert str(parse_verifier_key(text)) == text
        assert verifier(parse_verifier_key(text)).key == parse_verifier_key(text)


@given(st.binary(max_size=300))
def test_whatever_is_read_is_written_as_it_was(junk: bytes) -> None:
    """Any bytes that are a note are the bytes we would write."""
    for data in (junk, NOTE[: len(junk)] + junk, NOTE + junk, junk + NOTE):
        try:
            note = parse(data)
        except Malformed:
            continue
        assert note.to_bytes() == data


@given(st.text(max_size=120))
def test_any_line_is_a_signature_or_malformed(line: str) -> None:
    """A line that is read is the line we would write."""
    for text in (line, "\u2014 " + line):
        try:
            assert parse_signature(text).line() == text + "\n"
        except Malformed:
            continue


def test_every_flipped_byte_is_found() -> None:
    """No changed byte of a note leaves text and signature proven."""
    for at in range(len(NOTE)):
        changed = bytearray(NOTE)
        changed[at] ^= 0x01
        with pytest.raises((Malformed, Unproven)):
            parse(bytes(changed)).verify([Ed25519Verifier(KEY)])
