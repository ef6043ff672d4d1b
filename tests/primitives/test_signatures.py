"""Ed25519, P-256 and ML-DSA-44: foreign vectors, one form of each signature, and keys that must not be pinned."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import pytest
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


def test_the_library_alone_would_accept_keys_that_sign_for_everyone() -> None:
    """122 CCTV signatures hold under keys we never pin; under the keys we pin, what the library accepts has an honest A."""
    unpinnable = 0
    for case in json.loads(vectors("ed25519", "cctv.json").read_bytes()):
        public, signature = bytes.fromhex(case["key"]), bytes.fromhex(case["sig"])
        try:
            primitives.ed25519_verify(public, signature, case["msg"].encode())
        except Unproven:
            continue
        if primitives.ed25519_public_is_safe(public):
            assert "low_order_A" not in (case["flags"] or ())
        else:
            unpinnable += 1
    assert unpinnable == 122


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
    signature = primitives.p256_sign(private, b"sample")
    assert signature == r.to_bytes(32, "big") + (P256_ORDER - s).to_bytes(32, "big")
    primitives.p256_verify(primitives.p256_public(private), signature, b"sample")


def test_p256_takes_one_signature_and_not_its_twin() -> None:
    """(r, s) and (r, -s) are both right in the mathematics; only the lower s is a signature here."""
    private = b"\x07" * 32
    signature = primitives.p256_sign(private, b"statement")
    twin = signature[:32] + (P256_ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    with pytest.raises(Unproven):
        primitives.p256_verify(primitives.p256_public(private), twin, b"statement")


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
SCHEMES: Final = {
    "ed25519": (primitives.ed25519_public, primitives.ed25519_sign, primitives.ed25519_verify),
    "p256": (primitives.p256_public, primitives.p256_sign, primitives.p256_verify),
    "mldsa44": (primitives.mldsa44_public, primitives.mldsa44_sign, primitives.mldsa44_verify),
}
PAIRS: Final[dict[str, Callable[[bytes], SigningKeyPair]]] = {
    "ed25519": primitives.Ed25519KeyPair.from_private,
    "p256": primitives.P256KeyPair.from_private,
    "mldsa44": primitives.MLDSA44KeyPair.from_private,
}


@pytest.mark.parametrize("scheme", SCHEMES)
@given(message=st.binary(max_size=300), flipped=st.integers(min_value=0))
def test_a_signature_holds_for_its_message_only(scheme: str, message: bytes, flipped: int) -> None:
    """Signed and checked: holds; one bit of signature or message changed: Unproven; cut or lengthened: Malformed."""
    public_of, sign, verify = SCHEMES[scheme]
    public, signature = public_of(SEED), sign(SEED, message)
    verify(public, signature, message)
    altered = bytearray(signature)
    altered[flipped // 8 % len(altered)] ^= 1 << flipped % 8
    for bad_signature, bad_message in ((bytes(altered), message), (signature, message + b"\0")):
        with pytest.raises(Unproven):
            verify(public, bad_signature, bad_message)
    for shape in (signature[:-1], signature + b"\0", b""):
        with pytest.raises(Malformed):
            verify(public, shape, message)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_public_keys_have_one_length(scheme: str) -> None:
    """A public key cut or lengthened is Malformed; another key's signature is Unproven."""
    public_of, sign, verify = SCHEMES[scheme]
    public, signature = public_of(SEED), sign(SEED, b"")
    for shape in (public[:-1], public + b"\0", b""):
        with pytest.raises(Malformed):
            verify(shape, signature, b"")
    with pytest.raises(Unproven):
        verify(public_of(b"\x0a" * 32), signature, b"")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_key_pairs_do_what_the_functions_do(scheme: str) -> None:
    """A kept key pair has the same public key, signs for it, and shows nothing of its private half."""
    public_of, _, verify = SCHEMES[scheme]
    pair = PAIRS[scheme](SEED)
    assert pair.public == public_of(SEED)
    verify(pair.public, pair.sign(b"kept"), b"kept")
    assert SEED.hex()[:16] not in repr(pair)


@pytest.mark.parametrize("function", [*(scheme[0] for scheme in SCHEMES.values()), *PAIRS.values()])
def test_private_keys_have_one_length(function: Callable[[bytes], object]) -> None:
    """A private key of another length is our own mistake."""
    for size in (0, 31, 33, 64):
        with pytest.raises(Misuse):
            function(bytes(size))
    with pytest.raises(Misuse):
        primitives.ed25519_sign(bytes(31), b"")
