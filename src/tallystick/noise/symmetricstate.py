"""SymmetricState: the chaining key, the handshake hash, and the key that follows from them (Noise 5.2).

This object changes in place, as the specification has it. It never leaves `HandshakeState`, which works on a copy and
keeps the copy only when the whole message was right.
"""

from tallystick.noise.cipherstate import CipherState
from tallystick.noise.protocol import Protocol
from tallystick.primitives import AEAD_KEY_BYTES


class SymmetricState:
    """`chaining_key` and `handshake_hash` have HASHLEN bytes. There is no key before the first MixKey."""

    __slots__ = ("_cipher", "_cipherstate", "_hash", "_temp_key", "chaining_key", "handshake_hash")

    def __init__(self, protocol: Protocol) -> None:
        """InitializeSymmetric(protocol_name)."""
        self._hash = protocol.hash
        self._cipher = protocol.cipher
        name = protocol.name.encode("ascii")
        self.handshake_hash = name.ljust(self._hash.size, b"\0") if len(name) <= self._hash.size else self._hash.digest(name)
        self.chaining_key = self.handshake_hash
        # temp_k of the last MixKey; the cipher is only made from it when something is encrypted, for between two
        # Diffie-Hellman tokens nothing is.
        self._temp_key = b""
        self._cipherstate: CipherState | None = None

    def copy(self) -> "SymmetricState":
        """An independent twin."""
        twin = SymmetricState.__new__(SymmetricState)
        twin._hash = self._hash
        twin._cipher = self._cipher
        twin.chaining_key = self.chaining_key
        twin.handshake_hash = self.handshake_hash
        twin._temp_key = self._temp_key
        twin._cipherstate = self._cipherstate and self._cipherstate.copy()
        return twin

    @property
    def has_key(self) -> bool:
        """HasKey() of the cipher state: is what follows encrypted?"""
        return bool(self._temp_key)

    def mix_key(self, input_key_material: bytes) -> None:
        """MixKey."""
        self.chaining_key, self._temp_key = self._hash.hkdf2(self.chaining_key, input_key_material)
        self._cipherstate = None

    def mix_hash(self, data: bytes) -> None:
        """MixHash."""
        self.handshake_hash = self._hash.digest(self.handshake_hash + data)

    def mix_key_and_hash(self, input_key_material: bytes) -> None:
        """MixKeyAndHash, for the psk token."""
        self.chaining_key, temp_hash, self._temp_key = self._hash.hkdf3(self.chaining_key, input_key_material)
        self.mix_hash(temp_hash)
        self._cipherstate = None

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """EncryptAndHash; without a key the plaintext itself."""
        ciphertext = self._keyed().encrypt_with_ad(self.handshake_hash, plaintext) if self._temp_key else plaintext
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """DecryptAndHash; without a key the ciphertext itself. Raises: Unproven or Malformed as `CipherState`."""
        plaintext = self._keyed().decrypt_with_ad(self.handshake_hash, ciphertext) if self._temp_key else ciphertext
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Split: the states of the two directions, first the one in which the initiator sends."""
        first, second = self._hash.hkdf2(self.chaining_key, b"")
        return CipherState(self._cipher, first[:AEAD_KEY_BYTES]), CipherState(self._cipher, second[:AEAD_KEY_BYTES])

    def _keyed(self) -> CipherState:
        if self._cipherstate is None:
            self._cipherstate = CipherState(self._cipher, self._temp_key[:AEAD_KEY_BYTES])
        return self._cipherstate
