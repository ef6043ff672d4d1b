"""Ed25519, P-256 and ML-DSA-44: foreign vectors, one form of each signature, and keys that must not be pinned."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from tallystick import primitives
from tallystick.errors import Malformed, Misuse, Unproven
from tests.primitives.wycheproof import cases
from tests.support import vectors

P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
FIELD: Final = 2**255 - 19


def test_ed25519_agrees_with_wycheproof() -> None:
    """All 151 cases are judged as in the file; a wrong length is Malformed, the rest Unproven."""
    for case in cases("ed25519"):
        public, signature = bytes.fromhex(case.group["publicKey"]["pk"]), case.octets("sig")
        if case.expected == "valid":
            primitives.ed25519_verify(public, signature, case.octets("msg"))
        else:
            with pytest.raises(Unproven if len(signature) == 64 else Malformed):
                primitives.ed25519_verify(public, signature, case.octets("msg"))


def test_keys_of_cctv_that_may_not_be_pinned() -> None:
    """Of the 914 CCTV cases every key of small order and every key with a second encoding is refused, and no other."""
    verdicts: Counter[bool] = Counter()
    for case in json.loads(vectors("ed25519", "cctv.json").read_bytes()):
        bad = {"low_order_A", "non_canonical_A"} & set(case["flags"] or ())
        safe = primitives.ed25519_public_is_safe(bytes.fromhex(case["key"]))
        assert safe == (not bad), case["number"]
        verdicts[safe] += 1
    assert sum(verdicts.values()) == 914
    assert verdicts[False] >= 526


Check = Callable[[bytes, bytes, bytes], None]


def holds(check: Check, public: bytes, signature: bytes, message: bytes) -> bool:
    """Does this implementation take the signature?"""
    try:
        check(public, signature, message)
    except Unproven:
        return False
    return True


def everything() -> Iterator[tuple[bytes, bytes, bytes, frozenset[str]]]:
    """All cases of CCTV and Wycheproof: key, signature, message, and what is odd about it."""
    for each in json.loads(vectors("ed25519", "cctv.json").read_bytes()):
        yield bytes.fromhex(each["key"]), bytes.fromhex(each["sig"]), each["msg"].encode(), frozenset(each["flags"] or ())
    for case in cases("ed25519"):
        if len(case.octets("sig")) == 64:
            yield bytes.fromhex(case.group["publicKey"]["pk"]), case.octets("sig"), case.octets("msg"), frozenset()


def test_an_auditor_takes_what_a_house_took() -> None:
    """Whatever passes here passes at OpenSSL, with which the stand-alone verifier checks; the reverse is not so, and need not be.

    OpenSSL takes 122 signatures under keys that sign for everyone, and 43 with an R of small order. libsodium takes neither.
    """
    verdicts: Counter[tuple[bool, bool]] = Counter()
    for public, signature, message, flags in everything():
        ours = holds(primitives.ed25519_verify, public, signature, message)
        openssl = holds(primitives.ed25519_verify_openssl, public, signature, message)
        verdicts[ours, openssl] += 1
        assert openssl or not ours
        assert not (ours and flags & {"low_order_A", "low_order_R", "low_order_residue", "non_canonical_A", "non_canonical_R"})
    assert verdicts == {(True, True): 43 + 88, (False, True): 122 + 43, (False, False): 706 + 63 - wrong_lengths()}


def wrong_lengths() -> int:
    """Cases of Wycheproof whose signature has not 64 bytes."""
    return sum(len(case.octets("sig")) != 64 for case in cases("ed25519"))


@given(message=st.binary(max_size=100), seed=st.binary(min_size=32, max_size=32), place=st.integers(min_value=0, max_value=511))
def test_both_implementations_agree_on_honest_keys(message: bytes, seed: bytes, place: int) -> None:
    """Right and altered signatures of an honest key: libsodium and OpenSSL say the same."""
    pair = primitives.Ed25519KeyPair.from_private(seed)
    signature = pair.sign(message)
    altered = bytearray(signature)
    altered[place // 8] ^= 1 << place % 8
    for check in (primitives.ed25519_verify_sodium, primitives.ed25519_verify_openssl):
        assert holds(check, pair.public, signature, message)
        assert not holds(check, pair.public, bytes(altered), message)


def test_a_lenient_library_does_not_judge() -> None:
    """A libsodium that took more than OpenSSL would not be asked."""
    assert primitives.ed25519_judge(primitives.ed25519_verify_sodium) is primitives.ed25519_verify_sodium
    assert primitives.ed25519_judge(lambda *_: None) is primitives.ed25519_verify_openssl


def test_ed25519_public_is_safe_at_the_edges() -> None:
    """Every honest key is safe; y off the curve, y >= p and other lengths are not."""
    for number in range(32):
        assert primitives.ed25519_public_is_safe(primitives.ed25519_public(bytes([number]) * 32))
    off_curve = next(y for y in range(2, 50) if not primitives.ed25519_public_is_safe(y.to_bytes(32, "little")))
    with pytest.raises(Unproven):
        primitives.ed25519_verify(off_curve.to_bytes(32, "little"), bytes(64), b"")
    for y in range(FIELD, 2**255):
        assert not primitives.ed25519_public_is_safe(y.to_bytes(32, "little"))
        assert not primitives.ed25519_public_is_safe((y + 2**255).to_bytes(32, "little"))
    assert not primitives.ed25519_public_is_safe(primitives.ed25519_public(bytes(32))[:31])


def test_p256_agrees_with_wycheproof() -> None:
    """All 262 cases of the 64-byte form; of the valid ones only those with low s are taken."""
    taken: Counter[str] = Counter()
    for case in cases("ecdsa_secp256r1_sha256_p1363"):
        public, signature = bytes.fromhex(case.group["publicKey"]["uncompressed"]), case.octets("sig")
        high = len(signature) == 64 and int.from_bytes(signature[32:], "big") > P256_ORDER // 2
        if case.expected == "valid" and not high:
            primitives.p256_verify(public, signature, case.octets("msg"))
            taken["valid"] += 1
        else:
            with pytest.raises(Unproven if len(signature) == 64 else Malformed):
                primitives.p256_verify(public, signature, case.octets("msg"))
            taken["refused high" if case.expected == "valid" else "refused"] += 1
    assert taken == {"valid": 173 - taken["refused high"], "refused high": taken["refused high"], "refused": 89}
    assert taken["valid"] > 80
    assert taken["refused high"] > 40


def test_p256_signs_as_rfc_6979_with_low_s() -> None:
    """RFC 6979 A.2.5, SHA-256, "sample": the same r, and the lower of s and -s."""
    private = bytes.fromhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721")
    r = 0xEFD48B2AACB6A8FD1140DD9CD45E81D69D2C877B56AAF991C34D0EA84EAF3716
    s = 0xF7CB1C942D657C41D436C7A1B6E29F65F3E900DBB9AFF4064DC4AB2F843ACDA8
    pair = primitives.P256KeyPair.from_private(private)
    signature = pair.sign(b"sample")
    assert signature == r.to_bytes(32, "big") + (P256_ORDER - s).to_bytes(32, "big")
    primitives.p256_verify(pair.public, signature, b"sample")


def test_p256_takes_one_signature_and_not_its_twin() -> None:
    """(r, s) and (r, -s) are both right in the mathematics; only the lower s is a signature here."""
    pair = primitives.P256KeyPair.from_private(b"\x07" * 32)
    signature = pair.sign(b"statement")
    twin = signature[:32] + (P256_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    with pytest.raises(Unproven):
        primitives.p256_verify(pair.public, twin, b"statement")


@pytest.mark.parametrize("public", [b"", b"\x04" + bytes(64), b"\x02" + bytes(32), b"\x06" + bytes(64)])
def test_p256_refuses_what_is_no_point(public: bytes) -> None:
    """Only an uncompressed point on the curve is a public key."""
    with pytest.raises(Malformed):
        primitives.p256_verify(public, bytes(64), b"")


class SigningKeyPair(Protocol):
    """The shape the three signing key pairs share."""

    @property
    def public(self) -> bytes: ...
    def sign(self, message: bytes) -> bytes: ...


SEED: Final = b"\x09" * 32
PAIRS: Final[dict[str, Callable[[bytes], SigningKeyPair]]] = {
    "ed25519": primitives.Ed25519KeyPair.from_private,
    "p256": primitives.P256KeyPair.from_private,
    "mldsa44": primitives.MLDSA44KeyPair.from_private,
}
CHECKS: Final = {"ed25519": primitives.ed25519_verify, "p256": primitives.p256_verify, "mldsa44": primitives.mldsa44_verify}


@pytest.mark.parametrize("scheme", PAIRS)
@given(message=st.binary(max_size=300), flipped=st.integers(min_value=0))
def test_a_signature_holds_for_its_message_only(scheme: str, message: bytes, flipped: int) -> None:
    """Signed and checked: holds; one bit of signature or message changed: Unproven; cut or lengthened: Malformed."""
    pair, verify = PAIRS[scheme](SEED), CHECKS[scheme]
    public, signature = pair.public, pair.sign(message)
    verify(public, signature, message)
    altered = bytearray(signature)
    altered[flipped // 8 % len(altered)] ^= 1 << flipped % 8
    for bad_signature, bad_message in ((bytes(altered), message), (signature, message + b"\0")):
        with pytest.raises(Unproven):
            verify(public, bad_signature, bad_message)
    for shape in (signature[:-1], signature + b"\0", b""):
        with pytest.raises(Malformed):
            verify(public, shape, message)


@pytest.mark.parametrize("scheme", PAIRS)
def test_public_keys_have_one_length(scheme: str) -> None:
    """A public key cut or lengthened is Malformed; another key's signature is Unproven."""
    pair, verify = PAIRS[scheme](SEED), CHECKS[scheme]
    public, signature = pair.public, pair.sign(b"")
    for shape in (public[:-1], public + b"\0", b""):
        with pytest.raises(Malformed):
            verify(shape, signature, b"")
    with pytest.raises(Unproven):
        verify(PAIRS[scheme](b"\x0a" * 32).public, signature, b"")


@pytest.mark.parametrize("scheme", PAIRS)
def test_a_key_pair_hides_its_private_half(scheme: str) -> None:
    """What a key pair shows has nothing of its seed in it."""
    assert SEED.hex()[:16] not in repr(PAIRS[scheme](SEED))


def test_ed25519_functions_do_what_the_pair_does() -> None:
    """Public key and signature of a seed, with and without a kept pair; RFC 8032 leaves one signature only, whoever computes it."""
    pair = primitives.Ed25519KeyPair.from_private(SEED)
    openssl = Ed25519PrivateKey.from_private_bytes(SEED)
    for message in (b"", b"kept", bytes(70_000)):
        assert pair.sign(message) == primitives.ed25519_sign(SEED, message) == openssl.sign(message)
    assert pair.public == primitives.ed25519_public(SEED) == openssl.public_key().public_bytes_raw()


@pytest.mark.parametrize("function", [primitives.ed25519_public, *PAIRS.values()])
def test_private_keys_have_one_length(function: Callable[[bytes], object]) -> None:
    """A private key of another length is our own mistake."""
    for size in (0, 31, 33, 64):
        with pytest.raises(Misuse):
            function(bytes(size))
    with pytest.raises(Misuse):
        primitives.ed25519_sign(bytes(31), b"")
