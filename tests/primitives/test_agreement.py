"""X25519, X448, P-256 and ML-KEM-768: foreign vectors, and every key that must be refused."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import primitives
from tallystick.errors import Malformed, Misuse
from tallystick.primitives import P256KeyPair, X448KeyPair, X25519KeyPair
from tests.primitives.wycheproof import cases

P256_SPKI: Final = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
FIELD: Final = 2**255 - 19


def test_x25519_agrees_with_wycheproof() -> None:
    """All 518 cases: the shared secret, or Malformed where it would be all zero."""
    zero = 0
    for case in cases("x25519"):
        pair = X25519KeyPair.from_private(case.octets("private"))
        if any(case.octets("shared")):
            assert pair.exchange(case.octets("public")) == case.octets("shared"), case.number
        else:
            zero += 1
            with pytest.raises(Malformed):
                pair.exchange(case.octets("public"))
    assert zero == 31  # flagged ZeroSharedSecret in the file


def test_x25519_keys_of_wycheproof_that_may_not_be_pinned() -> None:
    """x25519_public_is_safe refuses every key with a zero secret and every non-canonical one, and no other."""
    for case in cases("x25519"):
        bad = {"ZeroSharedSecret", "NonCanonicalPublic"} & set(case.fields["flags"])
        high_bit = case.octets("public")[31] >= 128
        assert primitives.x25519_public_is_safe(case.octets("public")) == (not bad and not high_bit), case.number


def test_x25519_public_is_safe_at_the_edges() -> None:
    """The greatest canonical u is -1 (order 4 on the twist, refused), the one before it is fine; no other length is."""
    assert primitives.x25519_public_is_safe((FIELD - 2).to_bytes(32, "little"))
    assert not primitives.x25519_public_is_safe((FIELD - 1).to_bytes(32, "little"))
    assert not primitives.x25519_public_is_safe((FIELD + 9).to_bytes(32, "little"))
    assert not primitives.x25519_public_is_safe(bytes([9, *bytes(30), 128]))
    assert primitives.x25519_public_is_safe(bytes([9, *bytes(31)]))
    assert not primitives.x25519_public_is_safe(bytes([9, *bytes(30)]))


def test_x448_agrees_with_rfc_7748() -> None:
    """RFC 7748 6.2."""
    alice, bob = (
        X448KeyPair.from_private(bytes.fromhex(private))
        for private in (
            "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28dd9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
            "1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
        )
    )
    assert alice.public.hex() == (
        "9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0"
    )
    shared = "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282bb60c0b56fd2464c335543936521c24403085d59a449a5037514a879d"
    assert alice.exchange(bob.public).hex() == bob.exchange(alice.public).hex() == shared


def test_p256_agrees_with_wycheproof() -> None:
    """Every uncompressed point on the curve gives the shared x; every other encoding in the file is Malformed."""
    agreed = refused = 0
    for case in cases("ecdh_secp256r1"):
        public = case.octets("public")
        raw = public.removeprefix(P256_SPKI)
        scalar = int.from_bytes(case.octets("private"), "big")
        pair = P256KeyPair.from_private(scalar.to_bytes(32, "big"))
        if public.startswith(P256_SPKI) and case.expected == "valid":
            agreed += 1
            assert pair.exchange(raw) == case.octets("shared"), case.number
        else:
            refused += 1
            with pytest.raises(Malformed):
                pair.exchange(raw)
    assert (agreed, refused) == (330, 282)


@pytest.mark.parametrize("scalar", [0, 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551, 2**256 - 1])
def test_p256_private_keys_have_a_range(scalar: int) -> None:
    """A P-256 private key lies between 1 and the order of the group."""
    with pytest.raises(Misuse):
        P256KeyPair.from_private(scalar.to_bytes(32, "big"))


@pytest.mark.parametrize(
    ("make", "size"), [(X25519KeyPair.from_private, 32), (X448KeyPair.from_private, 56), (P256KeyPair.from_private, 32)]
)
def test_private_keys_have_one_length(make: Callable[[bytes], object], size: int) -> None:
    """A private key of another length is our own mistake."""
    for wrong in (0, size - 1, size + 1):
        with pytest.raises(Misuse):
            make(b"\x01" * wrong)


PAIRS: Final = (
    X25519KeyPair.from_private(b"\x21" * 32),
    X448KeyPair.from_private(b"\x21" * 56),
    P256KeyPair.from_private(b"\x21" * 32),
)


@pytest.mark.parametrize("pair", PAIRS)
@given(public=st.binary(max_size=70))
def test_exchange_refuses_other_lengths(pair: X25519KeyPair | X448KeyPair | P256KeyPair, public: bytes) -> None:
    """A public key of another length is Malformed; for P-256 so is everything that is no point."""
    if len(public) != len(pair.public):
        with pytest.raises(Malformed):
            pair.exchange(public)


@pytest.mark.parametrize("u", [0, 1, 2**448 - 2**224 - 2])
def test_x448_refuses_small_order(u: int) -> None:
    """The u coordinates 0, 1 and -1 give an all-zero secret and are refused."""
    with pytest.raises(Malformed):
        PAIRS[1].exchange(u.to_bytes(56, "little"))


@pytest.mark.parametrize("pair", PAIRS)
def test_a_key_pair_shows_only_its_public_half(pair: X25519KeyPair | X448KeyPair | P256KeyPair) -> None:
    """The repr holds the public key and not the private one."""
    assert pair.public.hex() in repr(pair)
    assert "21212121" not in repr(pair)


def test_mlkem768_agrees_with_wycheproof() -> None:
    """All 193 cases: public key and secret of the seed, or an error for what has a wrong length."""
    for case in cases("mlkem_768"):
        seed, ciphertext = case.octets("seed"), case.octets("c")
        if case.expected == "valid":
            assert primitives.mlkem768_public(seed) == case.octets("ek"), case.number
            assert primitives.mlkem768_decapsulate(seed, ciphertext) == case.octets("K"), case.number
        else:
            with pytest.raises(Misuse if len(seed) != 64 else Malformed):
                primitives.mlkem768_decapsulate(seed, ciphertext)


def test_mlkem768_round_trip() -> None:
    """Both sides hold the same 32 bytes; another ciphertext of the same length gives another secret."""
    seed = bytes(range(64))
    secret, ciphertext = primitives.mlkem768_encapsulate(primitives.mlkem768_public(seed))
    assert (len(secret), len(ciphertext)) == (32, 1088)
    assert primitives.mlkem768_decapsulate(seed, ciphertext) == secret
    assert primitives.mlkem768_decapsulate(seed, bytes([ciphertext[0] ^ 1]) + ciphertext[1:]) != secret


@pytest.mark.parametrize("public", [b"", bytes(1183), bytes(1185), b"\xff" * 1184])
def test_mlkem768_refuses_bad_public_keys(public: bytes) -> None:
    """Wrong length and coefficients that are not reduced (FIPS 203 7.2) are Malformed."""
    with pytest.raises(Malformed):
        primitives.mlkem768_encapsulate(public)
