"""CipherState: a key and a counter (Noise 5.1).

The counter lives in the object and only goes up, where the rest of this room hands out new values: a sending state that
is a value could be used twice by mistake, and a nonce used twice gives the plaintext away. A message that does not open
leaves the counter as it was, so the genuine one can still be read.
"""

from typing import Final

from tallystick.errors import Malformed, Misuse
from tallystick.noise.protocol import Cipher
from tallystick.primitives import AEAD_KEY_BYTES, AEAD_TAG_BYTES, Buffer

MAX_MESSAGE_BYTES: Final = 65_535  # Noise 3
MAX_NONCE: Final = 2**64 - 1  # Noise 5.1: reserved, only REKEY uses it


class CipherState:
    """One direction of a conversation."""

    __slots__ = ("_aead", "_cipher", "_nonce")

    def __init__(self, cipher: Cipher, key: bytes) -> None:
        self._cipher = cipher
        self._aead = cipher.keyed(key)
        self._nonce = 0

    @property
    def nonce(self) -> int:
        """The counter of the next message."""
        return self._nonce

    def set_nonce(self, nonce: int) -> None:
        """Set the counter, for transports that lose or reorder messages (Noise 11.4). Never let a sender's go back.

        Raises: Misuse when it is not 0 to 2^64 - 1; the last one only marks a state that is used up.
        """
        if not 0 <= nonce <= MAX_NONCE:
            raise Misuse("a Noise counter has 64 bits")
        self._nonce = nonce

    def encrypt_with_ad(self, ad: Buffer, plaintext: Buffer) -> bytes:
        """Seal the next message; 16 bytes longer. Raises: Misuse when it would be too long or the counter is used up."""
        if len(plaintext) > MAX_MESSAGE_BYTES - AEAD_TAG_BYTES:
            raise Misuse(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes")
        ciphertext = self._aead.encrypt(self._next_nonce(), plaintext, ad)
        self._nonce += 1
        return ciphertext

    def decrypt_with_ad(self, ad: Buffer, ciphertext: Buffer) -> bytes:
        """Open the next message. After an error the state is as before.

        Raises: Malformed when it is too long or shorter than a tag, Unproven when it does not open, Misuse when the
        counter is used up.
        """
        if len(ciphertext) > MAX_MESSAGE_BYTES:
            raise Malformed(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes")
        plaintext = self._aead.decrypt(self._next_nonce(), ciphertext, ad)
        self._nonce += 1
        return plaintext

    def encrypt_into(self, ad: Buffer, plaintext: Buffer, target: bytearray | memoryview) -> int:
        """As `encrypt_with_ad`, into `target` of exactly 16 bytes more; returns its length."""
        if len(plaintext) > MAX_MESSAGE_BYTES - AEAD_TAG_BYTES:
            raise Misuse(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes")
        length = self._aead.encrypt_into(self._next_nonce(), plaintext, ad, target)
        self._nonce += 1
        return length

    def decrypt_into(self, ad: Buffer, ciphertext: Buffer, target: bytearray | memoryview) -> int:
        """As `decrypt_with_ad`, into `target` of exactly 16 bytes less, all zero after an error; returns its length."""
        if len(ciphertext) > MAX_MESSAGE_BYTES:
            raise Malformed(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes")
        length = self._aead.decrypt_into(self._next_nonce(), ciphertext, ad, target)
        self._nonce += 1
        return length

    def rekey(self) -> None:
        """Replace the key by a one-way function of itself (Noise 4.2, REKEY); the counter stays (11.3)."""
        sealed = self._aead.encrypt(self._cipher.nonce(MAX_NONCE), bytes(AEAD_KEY_BYTES), b"")
        self._aead = self._cipher.keyed(sealed[:AEAD_KEY_BYTES])

    def copy(self) -> "CipherState":
        """A second state with the same key and counter. Use one of the two only."""
        twin = CipherState.__new__(CipherState)
        twin._cipher, twin._aead, twin._nonce = self._cipher, self._aead, self._nonce
        return twin

    def _next_nonce(self) -> bytes:
        if self._nonce >= MAX_NONCE:
            raise Misuse("the counter of this Noise state is used up", "start a new handshake")
        return self._cipher.nonce(self._nonce)

    def __repr__(self) -> str:
        return f"CipherState({self._cipher.name}, nonce={self._nonce})"
