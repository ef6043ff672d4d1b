"""ChaCha20-Poly1305 and AES-256-GCM: foreign vectors and every way not to open."""

from collections.abc import Callable
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import Aead, aesgcm, chacha20poly1305
from tests.primitives.wycheproof import cases

CIPHERS: Final = (chacha20poly1305, aesgcm)
NONCE: Final = bytes(range(12))


def test_chacha20poly1305_agrees_with_wycheproof() -> None:
    """All 325 cases, each by all four ways; a nonce of another length is our own mistake."""
    for case in cases("chacha20_poly1305"):
        cipher = chacha20poly1305(case.octets("key"))
        nonce, ad, plain, sealed = case.octets("iv"), case.octets("aad"), case.octets("msg"), case.octets("ct") + case.octets("tag")
        target = bytearray(len(plain))
        if case.expected == "valid":
            assert cipher.encrypt(nonce, plain, ad) == sealed, case.number
            assert cipher.decrypt(nonce, sealed, ad) == plain, case.number
            assert cipher.decrypt_into(nonce, sealed, ad, target) == len(plain)
            assert target == plain
            target = bytearray(len(sealed))
            assert cipher.encrypt_into(nonce, plain, ad, target) == len(sealed)
            assert target == sealed
        else:
            error = Unproven if len(nonce) == 12 else Misuse
            with pytest.raises(error):
                cipher.decrypt(nonce, sealed, ad)
            with pytest.raises(error):
                cipher.decrypt_into(nonce, sealed, ad, target)
            assert not any(target)


def test_aesgcm_agrees_with_the_gcm_specification() -> None:
    """McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16."""
    cipher = aesgcm(bytes.fromhex("feffe9928665731c6d6a8f9467308308" * 2))
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    ad = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    sealed = cipher.encrypt(bytes.fromhex("cafebabefacedbaddecaf888"), plain, ad)
    assert sealed.hex() == (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662" + "76fc6ece0f4e1768cddf8853bb2d551b"
    )


@pytest.mark.parametrize("make", CIPHERS)
@given(plain=st.binary(max_size=200), ad=st.binary(max_size=50), flipped=st.integers(min_value=0))
def test_sealed_bytes_open_only_unaltered(make: Callable[[bytes], Aead], plain: bytes, ad: bytes, flipped: int) -> None:
    """What was sealed opens; with one bit, the nonce, the data beside it or the key changed it is Unproven."""
    cipher = make(bytes(32))
    sealed = cipher.encrypt(NONCE, plain, ad)
    assert cipher.decrypt(NONCE, sealed, ad) == plain
    altered = bytearray(sealed)
    altered[flipped // 8 % len(altered)] ^= 1 << flipped % 8
    other = make(b"\x01" * 32)
    for key, nonce, data, beside in (
        (cipher, NONCE, bytes(altered), ad),
        (cipher, bytes(12), sealed, ad),
        (cipher, NONCE, sealed, ad + b"\0"),
        (other, NONCE, sealed, ad),
    ):
        with pytest.raises(Unproven):
            key.decrypt(nonce, data, beside)


@pytest.mark.parametrize("make", CIPHERS)
def test_bytes_shorter_than_a_tag_are_malformed(make: Callable[[bytes], Aead]) -> None:
    """Fewer than 16 bytes cannot have been sealed; 16 bytes can, and are Unproven."""
    cipher = make(bytes(32))
    for size in range(16):
        with pytest.raises(Malformed):
            cipher.decrypt(NONCE, bytes(size), b"")
        with pytest.raises(Malformed):
            cipher.decrypt_into(NONCE, bytes(size), b"", bytearray())
    with pytest.raises(Unproven):
        cipher.decrypt(NONCE, bytes(16), b"")


@pytest.mark.parametrize("make", CIPHERS)
def test_unproven_plaintext_is_wiped(make: Callable[[bytes], Aead]) -> None:
    """After a failed decrypt_into the target holds zeros, not what the forger wrote."""
    cipher = make(bytes(32))
    sealed = cipher.encrypt(NONCE, b"believe me", b"")
    target = bytearray(b"untouched!")
    with pytest.raises(Unproven):
        cipher.decrypt_into(NONCE, sealed[:-1] + bytes([sealed[-1] ^ 1]), b"", memoryview(target))
    assert target == bytes(10)


@pytest.mark.parametrize("make", CIPHERS)
def test_keys_nonces_and_targets_have_one_length(make: Callable[[bytes], Aead]) -> None:
    """Key 32, nonce 12, target 16 more or 16 less: anything else is our own mistake."""
    for size in (0, 16, 31, 33):
        with pytest.raises(Misuse):
            make(bytes(size))
    cipher = make(bytes(32))
    for nonce in (b"", bytes(11), bytes(13), bytes(16)):
        with pytest.raises(Misuse):
            cipher.encrypt(nonce, b"", b"")
        with pytest.raises(Misuse):
            cipher.decrypt(nonce, bytes(16), b"")
    for size in (0, 19, 21):
        with pytest.raises(Misuse):
            cipher.encrypt_into(NONCE, b"data", b"", bytearray(size))
    for size in (0, 3, 5):
        with pytest.raises(Misuse):
            cipher.decrypt_into(NONCE, bytes(20), b"", bytearray(size))
