"""`Noise_KKpsk0_25519_*_BLAKE2s`, written out: what both machines of a pair do for every knock.

`HandshakeState` interprets any pattern; interpreting this one costs a quarter of the time between a knock and its answer. Here the
same steps stand one after another, from a state that `HandshakeState` prepared. The tests hold the two against each other.

    initiator, responder = Initiator.of(state), Responder.of(other)       # states before message 1, of this pattern; else None
    message, asking = initiator.write_message(payload, ephemeral=fresh)
    payload, answering = responder.read_message(message)
    message, finished = answering.write_message(payload, ephemeral=fresh)
    payload, finished = asking.read_message(message)

The tokens (Noise 9.4, KK with psk0; the psk and the static-static secret were prepared):

    -> psk, e, es, ss
    <- e, ee, se

All of them are values: reading or writing leaves them as they were, so a forged message costs nothing but its time. An initiator never
writes twice with one ephemeral key.
"""

from typing import ClassVar, Final, Self

from tallystick.errors import Malformed, Misuse
from tallystick.noise.cipherstate import MAX_MESSAGE_BYTES, CipherState
from tallystick.noise.handshakestate import HandshakeState, KeyPair
from tallystick.noise.protocol import Cipher
from tallystick.primitives import AEAD_TAG_BYTES, BLAKE2S

_KEY_BYTES: Final = 32
_FIRST_NONCE: Final = bytes(12)  # of either cipher: the counter 0
_IPAD: Final = bytes(octet ^ 0x36 for octet in range(256))  # RFC 2104
_OPAD: Final = bytes(octet ^ 0x5C for octet in range(256))
_INNER_TAIL: Final = b"\x36" * 32
_OUTER_TAIL: Final = b"\x5c" * 32
_INNER_ONE: Final = _INNER_TAIL + b"\x01"
_new: Final = BLAKE2S.new


def _mix_key(chaining_key: bytes, material: bytes) -> bytes:
    """MixKey without the cipher's key, which is only needed where something is sealed: the next chaining key.

    HKDF (Noise 4.3) over HMAC-BLAKE2s (RFC 2104) with keys of 32 bytes, written out: four hashes.
    """
    new, ipad, opad, tail = _new, _IPAD, _OPAD, _OUTER_TAIL
    inner = new(chaining_key.translate(ipad) + _INNER_TAIL + material).digest()
    temp_key = new(chaining_key.translate(opad) + tail + inner).digest()
    inner = new(temp_key.translate(ipad) + _INNER_ONE).digest()
    return new(temp_key.translate(opad) + tail + inner).digest()


def _mix_keys(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes]:
    """MixKey: the next chaining key and the cipher's key."""
    new, ipad, opad, tail, inner_tail = _new, _IPAD, _OPAD, _OUTER_TAIL, _INNER_TAIL
    inner = new(chaining_key.translate(ipad) + inner_tail + material).digest()
    temp_key = new(chaining_key.translate(opad) + tail + inner).digest()
    inner_key, outer_key = temp_key.translate(ipad), temp_key.translate(opad) + tail
    following = new(outer_key + new(inner_key + _INNER_ONE).digest()).digest()
    return following, new(outer_key + new(inner_key + inner_tail + following + b"\x02").digest()).digest()


class Finished:
    """After both messages: the same answers as a finished `HandshakeState`."""

    __slots__ = ("_cipher", "chaining_key", "handshake_hash", "initiator", "remote_static")

    finished: Final = True

    def __init__(self, cipher: Cipher, initiator: bool, chaining_key: bytes, handshake_hash: bytes, remote_static: bytes) -> None:
        self._cipher = cipher
        self.initiator = initiator
        self.chaining_key = chaining_key
        self.handshake_hash = handshake_hash
        self.remote_static = remote_static

    def split(self) -> tuple[CipherState, CipherState]:
        """As `HandshakeState.split`: first the state the initiator sends with. Call once."""
        first, second = BLAKE2S.hkdf(self.chaining_key, b"", 2)
        return CipherState(self._cipher, first), CipherState(self._cipher, second)


class Answering:
    """Message 1 was read."""

    __slots__ = ("_chaining_key", "_cipher", "_hash", "_re", "remote_static")

    def __init__(self, cipher: Cipher, chaining_key: bytes, handshake_hash: bytes, re: bytes, remote_static: bytes) -> None:
        self._cipher = cipher
        self._chaining_key = chaining_key
        self._hash = handshake_hash
        self._re = re
        self.remote_static = remote_static

    def write_message(self, payload: bytes, *, ephemeral: KeyPair) -> tuple[bytes, Finished]:
        """Message 2. Raises: Misuse when it would exceed 65,535 bytes or `ephemeral` is no X25519 key, Malformed as `exchange`."""
        public = _sending(ephemeral, payload)
        cipher, remote_static = self._cipher, self.remote_static
        digest = _new(self._hash + public).digest()
        chaining_key = _mix_key(_mix_key(self._chaining_key, public), ephemeral.exchange(self._re))  # Noise 9.2: with a psk
        chaining_key, key = _mix_keys(chaining_key, ephemeral.exchange(remote_static))
        sealed = cipher.keyed(key).encrypt(_FIRST_NONCE, payload, digest)
        return public + sealed, Finished(cipher, False, chaining_key, _new(digest + sealed).digest(), remote_static)


class _First:
    """Before message 1, on either side."""

    __slots__ = ("_chaining_key", "_cipher", "_hash", "_static", "_static_static", "remote_static")
    _initiator: ClassVar[bool]

    def __init__(self, state: HandshakeState, static: KeyPair, static_static: bytes, remote_static: bytes) -> None:
        """Use `of`."""
        symmetric = state._symmetric
        self._chaining_key = symmetric.chaining_key
        self._hash = symmetric.handshake_hash
        self._cipher = state._party.protocol.cipher
        self._static = static
        self._static_static = static_static
        self.remote_static = remote_static

    @classmethod
    def of(cls, state: HandshakeState) -> Self | None:
        """From the state before message 1; None when it is of another protocol, the other side's, or further on."""
        party, rs = state._party, state.remote_static
        protocol = party.protocol
        if (protocol.pattern.name, protocol.dh, protocol.hash) != ("KKpsk0", "25519", BLAKE2S) or party.initiator is not cls._initiator:
            return None
        if len(state._messages) != len(protocol.pattern.messages) or party.s is None or party.static_static is None or rs is None:
            return None
        return cls(state, party.s, party.static_static, rs)


class Responder(_First):
    """The house, before message 1. Keep one for each pair."""

    __slots__ = ()
    _initiator = False

    def read_message(self, message: bytes) -> tuple[bytes, Answering]:
        """Message 1: its payload and what answers it. After an error read again from this one.

        Raises: Malformed when it is too long or too short or holds no valid public key, Unproven when it does not open.
        """
        cipher, (re, sealed) = self._cipher, _parts(message)
        digest = _new(self._hash + re).digest()
        chaining_key = _mix_key(_mix_key(self._chaining_key, re), self._static.exchange(re))
        chaining_key, key = _mix_keys(chaining_key, self._static_static)
        payload = cipher.keyed(key).decrypt(_FIRST_NONCE, sealed, digest)
        return payload, Answering(cipher, chaining_key, _new(digest + sealed).digest(), re, self.remote_static)


class Asking:
    """Message 1 was written."""

    __slots__ = ("_chaining_key", "_cipher", "_ephemeral", "_hash", "_static", "remote_static")

    def __init__(
        self, cipher: Cipher, chaining_key: bytes, handshake_hash: bytes, ephemeral: KeyPair, static: KeyPair, remote_static: bytes
    ) -> None:
        self._cipher = cipher
        self._chaining_key = chaining_key
        self._hash = handshake_hash
        self._ephemeral = ephemeral
        self._static = static
        self.remote_static = remote_static

    def read_message(self, message: bytes) -> tuple[bytes, Finished]:
        """Message 2 and its payload. After an error read again from this one. Raises: as `Responder.read_message`."""
        cipher, (re, sealed) = self._cipher, _parts(message)
        digest = _new(self._hash + re).digest()
        chaining_key = _mix_key(_mix_key(self._chaining_key, re), self._ephemeral.exchange(re))
        chaining_key, key = _mix_keys(chaining_key, self._static.exchange(re))
        payload = cipher.keyed(key).decrypt(_FIRST_NONCE, sealed, digest)
        return payload, Finished(cipher, True, chaining_key, _new(digest + sealed).digest(), self.remote_static)


class Initiator(_First):
    """The client, before message 1. Keep one for each pair."""

    __slots__ = ()
    _initiator = True

    def write_message(self, payload: bytes, *, ephemeral: KeyPair) -> tuple[bytes, Asking]:
        """Message 1. Raises: as `Answering.write_message`."""
        public = _sending(ephemeral, payload)
        cipher, remote_static = self._cipher, self.remote_static
        digest = _new(self._hash + public).digest()
        chaining_key = _mix_key(_mix_key(self._chaining_key, public), ephemeral.exchange(remote_static))
        chaining_key, key = _mix_keys(chaining_key, self._static_static)
        sealed = cipher.keyed(key).encrypt(_FIRST_NONCE, payload, digest)
        return public + sealed, Asking(cipher, chaining_key, _new(digest + sealed).digest(), ephemeral, self._static, remote_static)


def _parts(message: bytes) -> tuple[bytes, bytes]:
    """The ephemeral key and the sealed payload of a message. Raises: Malformed."""
    if not _KEY_BYTES <= len(message) <= MAX_MESSAGE_BYTES:
        raise Malformed(f"this Noise message has {_KEY_BYTES} to {MAX_MESSAGE_BYTES} bytes")
    return message[:_KEY_BYTES], message[_KEY_BYTES:]


def _sending(ephemeral: KeyPair, payload: bytes) -> bytes:
    """The public key that travels. Raises: Misuse."""
    public = ephemeral.public
    if len(payload) > MAX_MESSAGE_BYTES - AEAD_TAG_BYTES - _KEY_BYTES or len(public) != _KEY_BYTES:
        raise Misuse(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes, a public key for this protocol {_KEY_BYTES}")
    return public
