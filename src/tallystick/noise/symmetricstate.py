"""SymmetricState: the chaining key, the handshake hash, and the key that follows from them (Noise 5.2).

This object changes in place, as the specification has it. It never leaves `HandshakeState`, which works on a copy and
keeps the copy only when the whole message was right.
"""

from tallystick.noise.cipherstate import CipherState
from tallystick.noise.protocol import Protocol
from tallystick.primitives import AEAD_KEY_BYTES


class SymmetricState:
    """`chaining_key` and `handshake_hash` have HASHLEN bytes. `has_key` is HasKey() of the cipher state."""

    __slots__ = ("_cipherstate", "_hmac", "_new", "_protocol", "_temp_key", "chaining_key", "handshake_hash", "has_key")

    def __init__(self, protocol: Protocol) -> None:
        """InitializeSymmetric(protocol_name)."""
        name, function = protocol.name.encode("ascii"), protocol.hash
        self._protocol = protocol
        self._new = function.new
        self._hmac = function.hmac
        self.handshake_hash = name.ljust(function.size, b"\0") if len(name) <= function.size else function.new(name).digest()
        self.chaining_key = self.handshake_hash
        # The temp_key inside the last HKDF. Its second output, the cipher's key, is only computed when something is
        # encrypted: between two Diffie-Hellman tokens nothing is, and this saves a fifth of the hashing.
        self._temp_key = b""
        self._cipherstate: CipherState | None = None
        self.has_key = False

    def copy(self) -> "SymmetricState":
        """An independent twin."""
        twin = SymmetricState.__new__(SymmetricState)
        twin._protocol = self._protocol
        twin._new = self._new
        twin._hmac = self._hmac
        twin.chaining_key = self.chaining_key
        twin.handshake_hash = self.handshake_hash
        twin._temp_key = self._temp_key
        twin._cipherstate = self._cipherstate and self._cipherstate.copy()
        twin.has_key = self.has_key
        return twin

    def mix_key(self, input_key_material: bytes) -> None:
        """MixKey: ck, temp_k = HKDF(ck, input_key_material, 2)."""
        hmac = self._hmac
        self._temp_key = temp_key = hmac(self.chaining_key, input_key_material)
        self.chaining_key = hmac(temp_key, b"\x01")
        self._cipherstate = None
        self.has_key = True

    def mix_hash(self, data: bytes) -> None:
        """MixHash: h = HASH(h || data)."""
        self.handshake_hash = self._new(self.handshake_hash + data).digest()

    def mix_key_and_hash(self, input_key_material: bytes) -> None:
        """MixKeyAndHash, for the psk token: ck, temp_h, temp_k = HKDF(ck, input_key_material, 3)."""
        self.chaining_key, temp_hash, key = self._protocol.hash.hkdf(self.chaining_key, input_key_material, 3)
        self.mix_hash(temp_hash)
        self._cipherstate = self._cipher_state(key)
        self.has_key = True

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        """EncryptAndHash; without a key the plaintext itself. Raises: Misuse as `CipherState`."""
        ciphertext = self._keyed().encrypt_with_ad(self.handshake_hash, plaintext) if self.has_key else plaintext
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """DecryptAndHash; without a key the ciphertext itself. Raises: Unproven or Malformed as `CipherState`."""
        plaintext = self._keyed().decrypt_with_ad(self.handshake_hash, ciphertext) if self.has_key else ciphertext
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """Split: the states of the two directions, first the one in which the initiator sends."""
        first, second = self._protocol.hash.hkdf(self.chaining_key, b"", 2)
        return self._cipher_state(first), self._cipher_state(second)

    def _keyed(self) -> CipherState:
        if self._cipherstate is None:
            self._cipherstate = self._cipher_state(self._hmac(self._temp_key, self.chaining_key + b"\x02"))
        return self._cipherstate

    def _cipher_state(self, key: bytes) -> CipherState:
        return CipherState(self._protocol.cipher, key[:AEAD_KEY_BYTES])  # truncated where HASHLEN is 64
