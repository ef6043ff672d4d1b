"""CipherState: counters that only go up, messages of at most 65,535 bytes, REKEY."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.noise import MAX_MESSAGE_BYTES, MAX_NONCE, CipherState
from tallystick.noise.protocol import AESGCM, CHACHAPOLY, Cipher
from tallystick.primitives import aesgcm, chacha20poly1305

KEY: Final = bytes(range(32))
CIPHERS: Final = [CHACHAPOLY, AESGCM]


def test_nonces_are_as_the_specification_has_them() -> None:
    """32 zero bits, then the counter: little endian for ChaChaPoly, big endian for AESGCM (Noise 12.3, 12.4)."""
    counter = 0x0102030405060708
    for cipher, nonce in ((CHACHAPOLY, "000000000807060504030201"), (AESGCM, "000000000102030405060708")):
        state = CipherState(cipher, KEY)
        state.set_nonce(counter)
        assert state.encrypt_with_ad(b"ad", b"text") == cipher.keyed(KEY).encrypt(bytes.fromhex(nonce), b"text", b"ad")


@pytest.mark.parametrize("cipher", CIPHERS)
@given(texts=st.lists(st.binary(max_size=100), max_size=8), ad=st.binary(max_size=20))
def test_messages_open_in_their_order(cipher: Cipher, texts: list[bytes], ad: bytes) -> None:
    """Sealed one after another, by either way, they open one after another, by either way."""
    sender, receiver = CipherState(cipher, KEY), CipherState(cipher, KEY)
    for number, text in enumerate(texts):
        sealed = bytearray(len(text) + 16)
        if number % 2:
            assert sender.encrypt_into(ad, text, sealed) == len(sealed)
        else:
            sealed[:] = sender.encrypt_with_ad(ad, text)
        opened = bytearray(len(text))
        if number % 3:
            assert receiver.decrypt_into(ad, sealed, opened) == len(text)
        else:
            opened[:] = receiver.decrypt_with_ad(ad, sealed)
        assert opened == text
    assert sender.nonce == receiver.nonce == len(texts)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_forgery_costs_nothing(cipher: Cipher) -> None:
    """After any number of messages that do not open the genuine one is still read; a replayed one is not."""
    sender, receiver = CipherState(cipher, KEY), CipherState(cipher, KEY)
    sealed = sender.encrypt_with_ad(b"", b"genuine")
    for position in range(len(sealed)):
        forged = bytearray(sealed)
        forged[position] ^= 1
        with pytest.raises(Unproven):
            receiver.decrypt_with_ad(b"", forged)
        with pytest.raises(Unproven):
            receiver.decrypt_into(b"", forged, bytearray(7))
        with pytest.raises((Unproven, Malformed)):
            receiver.decrypt_with_ad(b"", sealed[:position])
    assert receiver.nonce == 0
    assert receiver.decrypt_with_ad(b"", sealed) == b"genuine"
    with pytest.raises(Unproven):
        receiver.decrypt_with_ad(b"", sealed)


def test_the_last_counter_is_reserved() -> None:
    """2^64 - 2 is the last counter used; with 2^64 - 1 nothing is sealed or opened any more (Noise 5.1)."""
    sender, receiver = CipherState(CHACHAPOLY, KEY), CipherState(CHACHAPOLY, KEY)
    for state in (sender, receiver):
        state.set_nonce(MAX_NONCE - 1)
    assert receiver.decrypt_with_ad(b"", sender.encrypt_with_ad(b"", b"last")) == b"last"
    assert sender.nonce == receiver.nonce == MAX_NONCE
    for _ in range(2):
        with pytest.raises(Misuse):
            sender.encrypt_with_ad(b"", b"")
        with pytest.raises(Misuse):
            sender.encrypt_into(b"", b"", bytearray(16))
        with pytest.raises(Misuse):
            receiver.decrypt_with_ad(b"", bytes(16))
        with pytest.raises(Misuse):
            receiver.decrypt_into(b"", bytes(16), bytearray())


@pytest.mark.parametrize("nonce", [-1, MAX_NONCE + 1])
def test_a_counter_has_64_bits(nonce: int) -> None:
    """Nothing below 0 or above 2^64 - 1 is a counter."""
    with pytest.raises(Misuse):
        CipherState(CHACHAPOLY, KEY).set_nonce(nonce)


def test_a_message_has_at_most_65535_bytes() -> None:
    """65,519 bytes of text are the most; the receiver takes no longer message either (Noise 3)."""
    sender, receiver = CipherState(AESGCM, KEY), CipherState(AESGCM, KEY)
    most = bytes(MAX_MESSAGE_BYTES - 16)
    sealed = sender.encrypt_with_ad(b"", most)
    assert len(sealed) == MAX_MESSAGE_BYTES
    assert receiver.decrypt_with_ad(b"", sealed) == most
    with pytest.raises(Misuse):
        sender.encrypt_with_ad(b"", most + b"\0")
    with pytest.raises(Misuse):
        sender.encrypt_into(b"", most + b"\0", bytearray(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(Malformed):
        receiver.decrypt_with_ad(b"", sealed + b"\0")
    with pytest.raises(Malformed):
        receiver.decrypt_into(b"", sealed + b"\0", bytearray(MAX_MESSAGE_BYTES - 15))
    assert (sender.nonce, receiver.nonce) == (1, 1)


def test_rekey_is_the_one_of_the_specification() -> None:
    """The new key is the first 32 bytes of ENCRYPT(k, 2^64 - 1, "", 32 zero bytes); the counter stays (Noise 4.2, 11.3)."""
    for cipher, make in ((CHACHAPOLY, chacha20poly1305), (AESGCM, aesgcm)):
        state = CipherState(cipher, KEY)
        state.encrypt_with_ad(b"", b"")
        state.rekey()
        key = make(KEY).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
        assert state.nonce == 1
        assert state.encrypt_with_ad(b"ad", b"text") == make(key).encrypt(cipher.nonce(1), b"text", b"ad")


def test_a_copy_goes_its_own_way() -> None:
    """A copy seals the same next message and leaves the counter of the first alone."""
    state = CipherState(CHACHAPOLY, KEY)
    twin = state.copy()
    assert twin.encrypt_with_ad(b"", b"text") == state.encrypt_with_ad(b"", b"text")
    twin.rekey()
    assert twin.encrypt_with_ad(b"", b"text") != state.encrypt_with_ad(b"", b"text")


def test_a_state_shows_no_key() -> None:
    """The repr names cipher and counter only."""
    assert repr(CipherState(CHACHAPOLY, KEY)) == "CipherState(ChaChaPoly, nonce=0)"
