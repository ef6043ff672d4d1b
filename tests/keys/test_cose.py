"""Signed statements: one encoding, two types, and a revocation that no other encoding evades."""

from typing import Any

import cbor2
import pytest
from cwt import COSE, COSEKey
from hypothesis import given
from hypothesis import strategies as st
from pycose.headers import KID, Algorithm
from pycose.keys.ec2 import EC2Key
from pycose.keys.okp import OKPKey
from pycose.messages.sign1message import Sign1Message

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Unavailable, Unproven
from tallystick.keys import KeyClass, KeyId, KeyKind, PublicKey, Sign1, Signer, parse_sign1, sign1
from tallystick.keys.cose import MAX_PAYLOAD_BYTES
from tallystick.primitives import Ed25519KeyPair, MLDSA44KeyPair, P256KeyPair

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class MemorySigner:
    """A key in memory."""

    key_class = KeyClass.FILE

    def __init__(self, kind: KeyKind, seed: bytes) -> None:
        pairs: dict[KeyKind, Any] = {KeyKind.ED25519: Ed25519KeyPair, KeyKind.P256: P256KeyPair, KeyKind.ML_DSA_44: MLDSA44KeyPair}
        self.pair = pairs[kind].from_private(seed)
        self.seed = seed
        self.public = PublicKey(kind, self.pair.public)

    def sign(self, message: bytes) -> bytes:
        return bytes(self.pair.sign(message))


ADA = MemorySigner(KeyKind.ED25519, bytes(range(32)))
BOB = MemorySigner(KeyKind.P256, bytes(range(1, 33)))
EVE = MemorySigner(KeyKind.ED25519, bytes(range(2, 34)))
BOTH = pytest.mark.parametrize("signer", [ADA, BOB], ids=["EdDSA", "ES256"])
PAYLOAD = encode({1: 1, 2: "a statement"})


@BOTH
@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 48 * 1024])
def test_what_is_signed_is_read_and_proven(signer: MemorySigner, size: int) -> None:
    """Payloads from nothing to 48 KiB are signed, read and proven; the bytes are those of RFC 9052, untagged."""
    payload = bytes(i % 251 for i in range(size))
    raw = sign1(signer, payload)
    unproven = parse_sign1(raw)
    assert (unproven.kid, unproven.payload, unproven.raw) == (signer.public.key_id, payload, raw)
    proven = unproven.verify(signer.public)
    assert (proven.kid, proven.payload, proven.signature, proven.public) == (signer.public.key_id, payload, raw[-64:], signer.public)
    alg = -8 if signer is ADA else -7
    protected, unprotected, body, signature = cbor2.loads(raw)
    assert (cbor2.loads(protected), unprotected, body) == ({1: alg, 4: bytes(signer.public.key_id)}, {}, payload)
    assert unproven.alg == alg
    assert unproven.signed_bytes() == cbor2.dumps(["Signature1", protected, b"", payload])
    assert raw == encode([protected, {}, payload, signature])


def test_the_bytes_are_frozen() -> None:
    """This statement has these bytes for ever (EdDSA is deterministic)."""
    kid = ADA.public.key_id.hex()
    raw = sign1(ADA, b"tally")
    assert raw[:-64].hex() == "845826a20127045820" + kid + "a0" + "4574616c6c79" + "5840"
    assert len(raw) == 114
    assert raw == sign1(ADA, b"tally")
    assert sign1(BOB, b"tally") == sign1(BOB, b"tally")  # RFC 6979


def test_a_payload_over_48_kib_is_refused() -> None:
    """Our own is Misuse; a peer's is Malformed even if its signature were right."""
    with pytest.raises(Misuse):
        sign1(ADA, bytes(MAX_PAYLOAD_BYTES + 1))
    raw = sign1(ADA, bytes(MAX_PAYLOAD_BYTES))
    with pytest.raises(Malformed):
        parse_sign1(raw[:42] + encode(bytes(MAX_PAYLOAD_BYTES + 1)) + raw[-66:])


def test_only_keys_that_sign_statements_sign() -> None:
    """An ML-DSA key signs checkpoints only, and a device that returns junk is Unavailable."""
    with pytest.raises(Misuse):
        sign1(MemorySigner(KeyKind.ML_DSA_44, bytes(32)), b"")

    class Broken(MemorySigner):
        def sign(self, message: bytes) -> bytes:
            return b"short"

    broken: Signer = Broken(KeyKind.ED25519, bytes(32))
    with pytest.raises(Unavailable):
        sign1(broken, b"")


@BOTH
def test_a_statement_is_proven_by_its_own_key_only(signer: MemorySigner) -> None:
    """Another key, and the same bytes pinned as another kind, prove nothing."""
    unproven = parse_sign1(sign1(signer, PAYLOAD))
    for other in (ADA, BOB, EVE):
        if other is not signer:
            with pytest.raises(Unproven):
                unproven.verify(other.public)


def test_a_claimed_kid_is_checked() -> None:
    """Eve signs with her key and claims Ada's: neither key proves it."""
    raw = sign1(EVE, PAYLOAD)
    claimed = parse_sign1(raw[:9] + ADA.public.key_id + raw[41:])
    for public in (ADA.public, EVE.public):
        with pytest.raises(Unproven):
            claimed.verify(public)


def test_a_proof_is_not_made_by_hand() -> None:
    """A Sign1 comes from verify alone: the two types are not one type with a flag."""
    unproven = parse_sign1(sign1(ADA, PAYLOAD))
    with pytest.raises(AssertionError):
        Sign1(public=ADA.public, alg=unproven.alg, payload=PAYLOAD, signature=bytes(64), raw=b"", proof=True)
    assert not hasattr(unproven, "public")


@BOTH
def test_every_flipped_bit_and_every_cut_is_refused(signer: MemorySigner) -> None:
    """No single altered bit and no prefix of a statement is read and proven."""
    raw = sign1(signer, b"a short payload")
    for at in range(len(raw)):
        with pytest.raises(Malformed):
            parse_sign1(raw[:at])
        for bit in range(8):
            altered = bytearray(raw)
            altered[at] ^= 1 << bit
            with pytest.raises((Malformed, Unproven)):
                parse_sign1(bytes(altered)).verify(signer.public)
    for added in (raw + b"\0", b"\0" + raw, raw + raw):
        with pytest.raises(Malformed):
            parse_sign1(added)


def _rewritten(**changes: Any) -> bytes:
    """Ada's statement, written by cbor2 with something else in it, signature as it was."""
    protected, unprotected, payload, signature = cbor2.loads(sign1(ADA, PAYLOAD))
    parts = {"protected": protected, "unprotected": unprotected, "payload": payload, "signature": signature} | changes
    return bytes(cbor2.dumps(list(parts.values())))


_KID = bytes(ADA.public.key_id)
OTHER_FORMS: list[tuple[str, bytes]] = [
    ("tagged 18", b"\xd2" + sign1(ADA, PAYLOAD)),
    ("tagged as CWT", b"\xd8\x3d\xd2" + sign1(ADA, PAYLOAD)),
    ("an indefinite array", b"\x9f" + sign1(ADA, PAYLOAD)[1:] + b"\xff"),
    ("unprotected alg", _rewritten(unprotected={1: -8})),
    ("unprotected kid", _rewritten(unprotected={4: _KID})),
    ("unprotected anything", _rewritten(unprotected={"x": 1})),
    ("no protected header", _rewritten(protected=b"")),
    ("protected as a map", _rewritten(protected={1: -8, 4: _KID})),
    ("protected without kid", _rewritten(protected=cbor2.dumps({1: -8}))),
    ("protected without alg", _rewritten(protected=cbor2.dumps({4: _KID}))),
    ("protected in another order", _rewritten(protected=b"\xa2\x04\x58\x20" + _KID + b"\x01\x27")),
    ("protected, alg in long form", _rewritten(protected=b"\xa2\x01\x38\x07\x04\x58\x20" + _KID)),
    ("protected, kid twice", _rewritten(protected=b"\xa3\x01\x27\x04\x58\x20" + _KID + b"\x04\x58\x20" + _KID)),
    ("protected with crit", _rewritten(protected=cbor2.dumps({1: -8, 2: [4], 4: _KID}))),
    ("protected with content type", _rewritten(protected=cbor2.dumps({1: -8, 3: 0, 4: _KID}))),
    ("alg none", _rewritten(protected=cbor2.dumps({1: 0, 4: _KID}))),
    ("alg ES384", _rewritten(protected=cbor2.dumps({1: -35, 4: _KID}))),
    ("alg Ed25519 (-19, RFC 9864)", _rewritten(protected=cbor2.dumps({1: -19, 4: _KID}))),
    ("alg HMAC", _rewritten(protected=cbor2.dumps({1: 5, 4: _KID}))),
    ("alg as text", _rewritten(protected=cbor2.dumps({1: "EdDSA", 4: _KID}))),
    ("kid of 16 bytes", _rewritten(protected=cbor2.dumps({1: -8, 4: _KID[:16]}))),
    ("kid of 33 bytes", _rewritten(protected=cbor2.dumps({1: -8, 4: _KID + b"\0"}))),
    ("kid as text", _rewritten(protected=cbor2.dumps({1: -8, 4: "k" * 32}))),
    ("detached payload", _rewritten(payload=None)),
    ("payload as text", _rewritten(payload="a statement")),
    ("payload as an array", _rewritten(payload=[1])),
    ("payload in long form", sign1(ADA, b"tally")[:42] + b"\x58\x05tally" + sign1(ADA, b"tally")[-66:]),
    ("payload indefinite", sign1(ADA, b"tally")[:42] + b"\x5f\x45tally\xff" + sign1(ADA, b"tally")[-66:]),
    ("signature of 63 bytes", _rewritten(signature=bytes(63))),
    ("signature of 65 bytes", _rewritten(signature=bytes(65))),
    ("signature in long form", sign1(ADA, PAYLOAD)[:-66] + b"\x59\x00\x40" + sign1(ADA, PAYLOAD)[-64:]),
    ("signature of DER", _rewritten(signature=bytes(71))),
    ("COSE_Sign, many signers", bytes(cbor2.dumps([b"", {}, b"", [[b"", {}, bytes(64)]]]))),
    ("a JWS", b"eyJhbGciOiJFZERTQSJ9.e30." + b"A" * 86),
    ("nothing", b""),
]


@pytest.mark.parametrize("raw", [raw for _, raw in OTHER_FORMS], ids=[name for name, _ in OTHER_FORMS])
def test_there_is_one_form(raw: bytes) -> None:
    """Every other way to write a COSE_Sign1 is Malformed before any signature is checked."""
    with pytest.raises(Malformed):
        parse_sign1(raw)


def test_high_s_is_unproven() -> None:
    """(r, n - s) is a valid ECDSA signature elsewhere; here one statement has one signature."""
    raw = sign1(BOB, PAYLOAD)
    s = int.from_bytes(raw[-32:], "big")
    assert s <= ORDER // 2
    malleated = raw[:-32] + (ORDER - s).to_bytes(32, "big")
    COSE.new().decode(b"\xd2" + malleated, keys=[_cwt_key(BOB)])  # a foreign reader takes it
    with pytest.raises(Unproven):
        parse_sign1(malleated).verify(BOB.public)


@pytest.mark.parametrize("s", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_signatures_out_of_range_are_unproven(s: int) -> None:
    """r and s outside their range prove nothing, whatever the library thinks of them."""
    raw = sign1(BOB, PAYLOAD)
    for signature in (raw[-64:-32] + s.to_bytes(32, "big"), s.to_bytes(32, "big") + raw[-32:]):
        with pytest.raises(Unproven):
            parse_sign1(raw[:-64] + signature).verify(BOB.public)


def test_eddsa_with_s_plus_order_is_unproven() -> None:
    """RFC 8032 5.1.7: S + L is not taken for S."""
    raw = sign1(ADA, PAYLOAD)
    s = int.from_bytes(raw[-32:], "little") + 2**252 + 27742317777372353535851937790883648493
    with pytest.raises(Unproven):
        parse_sign1(raw[:-32] + s.to_bytes(32, "little")).verify(ADA.public)


@BOTH
def test_no_form_of_a_statement_evades_revocation(signer: MemorySigner) -> None:
    """Revocation names the KeyId: every malleated, re-encoded or re-signed form that is read at all names the same KeyId.

    (Nebula CVE-2026-25793: a blocklist of certificate fingerprints was evaded by (r, n - s).)
    """
    revoked = {signer.public.key_id}
    raw = sign1(signer, PAYLOAD)
    s = int.from_bytes(raw[-32:], "big")
    forms = [
        raw,
        raw[:-32] + ((ORDER - s) % 2**256).to_bytes(32, "big"),
        sign1(signer, PAYLOAD + b"\0"),
        b"\xd2" + raw,
        bytes(cbor2.dumps(cbor2.loads(raw))),
        bytes(cbor2.dumps(cbor2.loads(raw), canonical=True)),
    ]
    for form in forms:
        try:
            assert parse_sign1(form).kid in revoked
        except Malformed:
            assert form[:1] == b"\xd2"
    assert PublicKey(signer.public.kind, bytes(signer.public.raw)).key_id in revoked


@given(st.binary(max_size=300))
def test_noise_is_malformed(data: bytes) -> None:
    """No bytes raise anything but Malformed, alone or behind a right start."""
    for raw in (data, sign1(ADA, b"")[:42] + data):
        try:
            statement = parse_sign1(raw)
        except Malformed:
            continue
        assert encode([raw[3:41], {}, statement.payload, statement.signature]) == raw


def test_a_statement_shows_its_bytes_once() -> None:
    """The repr leaves out the raw bytes (the payload is in it already) and the proof."""
    proven = parse_sign1(sign1(ADA, PAYLOAD)).verify(ADA.public)
    assert "raw" not in repr(proven)
    assert "proof" not in repr(proven)
    assert proven == parse_sign1(sign1(ADA, PAYLOAD)).verify(ADA.public)


# --- foreign implementations, both directions ---


def _cwt_key(signer: MemorySigner) -> Any:
    raw, kid = signer.public.raw, bytes(signer.public.key_id)
    if signer.public.kind is KeyKind.ED25519:
        return COSEKey.new({1: 1, 2: kid, 3: -8, -1: 6, -2: raw, -4: signer.seed})
    return COSEKey.new({1: 2, 2: kid, 3: -7, -1: 1, -2: raw[1:33], -3: raw[33:], -4: signer.seed})


def _pycose_key(signer: MemorySigner) -> Any:
    raw = signer.public.raw
    if signer.public.kind is KeyKind.ED25519:
        return OKPKey(crv="ED25519", x=raw, d=signer.seed)
    return EC2Key(crv="P_256", x=raw[1:33], y=raw[33:], d=signer.seed)


def _low_s(raw: bytes, signer: MemorySigner) -> bytes:
    """Foreign signers do not care for low s; s and n - s are both theirs."""
    s = int.from_bytes(raw[-32:], "big")
    return raw[:-32] + min(s, ORDER - s).to_bytes(32, "big") if signer is BOB else raw


@BOTH
def test_cwt_reads_ours_and_we_read_cwt(signer: MemorySigner) -> None:
    """PyPI cwt verifies our statements (tagged for it); its statements, untagged and with low s, verify here."""
    key = _cwt_key(signer)
    assert COSE.new().decode(b"\xd2" + sign1(signer, PAYLOAD), keys=[key]) == PAYLOAD
    alg = -8 if signer is ADA else -7
    theirs = COSE.new().encode_and_sign(PAYLOAD, key, protected={1: alg, 4: bytes(signer.public.key_id)}, unprotected={})
    assert theirs[:1] == b"\xd2"
    assert parse_sign1(_low_s(theirs[1:], signer)).verify(signer.public).payload == PAYLOAD
    forged = sign1(signer, PAYLOAD)[:-1] + b"\0"
    with pytest.raises(Exception, match=r"(?i)verif"):
        COSE.new().decode(b"\xd2" + forged, keys=[key])


@BOTH
def test_pycose_reads_ours_and_we_read_pycose(signer: MemorySigner) -> None:
    """PyPI pycose verifies our statements; its own verify here."""
    message = Sign1Message.decode(b"\xd2" + sign1(signer, PAYLOAD))
    message.key = _pycose_key(signer)
    assert message.payload == PAYLOAD
    assert message.verify_signature()
    own = Sign1Message(phdr={Algorithm: "EDDSA" if signer is ADA else "ES256", KID: bytes(signer.public.key_id)}, payload=PAYLOAD)
    own.key = _pycose_key(signer)
    assert parse_sign1(_low_s(own.encode(tag=False), signer)).verify(signer.public).payload == PAYLOAD


def test_key_ids_are_the_kids() -> None:
    """kid on the wire is the KeyId itself."""
    assert parse_sign1(sign1(ADA, b"")).kid == KeyId(ADA.public.key_id) == ADA.public.key_id
