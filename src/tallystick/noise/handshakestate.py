"""HandshakeState: who holds which keys, and which message comes next (Noise 5.3).

A state is a value. `write_message` and `read_message` return the next one and leave this one as it was, so a message
that fails, forged or cut, costs nothing: read the genuine one from the same state. The responder of a paired machine
makes one state per pair and reads each knock from it. Two things that depend on no message are done when the state is
made, not once per knock: psk tokens at the very beginning are mixed in, and the Diffie-Hellman result of the two static
keys is computed when both are known.

    >>> from tallystick.primitives import X25519KeyPair
    >>> alice = HandshakeState.initialize("Noise_NN_25519_ChaChaPoly_BLAKE2s", initiator=True)
    >>> bob = HandshakeState.initialize("Noise_NN_25519_ChaChaPoly_BLAKE2s", initiator=False)
    >>> message, alice = alice.write_message(b"", ephemeral=X25519KeyPair.from_private(bytes([1] * 32)))
    >>> payload, bob = bob.read_message(message)
    >>> message, bob = bob.write_message(b"hello", ephemeral=X25519KeyPair.from_private(bytes([2] * 32)))
    >>> payload, alice = alice.read_message(message)
    >>> payload, alice.handshake_hash == bob.handshake_hash
    (b'hello', True)

Each call that writes an `e` token takes the ephemeral key pair as an argument: the caller draws it fresh. From one state
never write two messages with the same ephemeral, or, where none is written, with two payloads: that is a nonce used twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from tallystick.errors import Malformed, Misuse
from tallystick.noise.cipherstate import MAX_MESSAGE_BYTES, MAX_NONCE, CipherState
from tallystick.noise.pattern import Message, Token
from tallystick.noise.protocol import Protocol as NoiseProtocol
from tallystick.noise.symmetricstate import SymmetricState
from tallystick.primitives import AEAD_TAG_BYTES

PSK_BYTES: Final = 32  # Noise 9.1

# Looked up once: reading a member through its enum class costs Python 3.11 about as much as a hash.
_E, _S, _EE, _ES, _SS, _PSK = Token.E, Token.S, Token.EE, Token.ES, Token.SS, Token.PSK


class KeyPair(Protocol):
    """What a handshake asks of a key pair; primitives' three are such, and one inside a chip can be."""

    @property
    def public(self) -> bytes: ...
    def exchange(self, public: bytes) -> bytes:
        """DH(own private key, public). Raises: Malformed when `public` is no key or the result would be all zero."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Party:
    """What stays the same for all messages of one side."""

    protocol: NoiseProtocol
    initiator: bool
    has_psk: bool
    s: KeyPair | None = field(repr=False)
    static_static: bytes | None = field(repr=False)


@dataclass(slots=True, repr=False, eq=False)
class HandshakeState:
    """One side of a handshake between two messages. Made by `initialize`.

    Not `frozen`, though nothing is ever assigned: freezing costs a microsecond per message, as much as the cipher.
    """

    _party: _Party
    _symmetric: SymmetricState
    _messages: tuple[Message, ...]  # those still to come
    _writes: bool
    _psks: tuple[bytes, ...]  # those still to be mixed in
    _e: KeyPair | None
    _re: bytes | None
    _rs: bytes | None

    @classmethod
    def initialize(
        cls,
        name: str,
        *,
        initiator: bool,
        prologue: bytes = b"",
        s: KeyPair | None = None,
        e: KeyPair | None = None,
        rs: bytes | None = None,
        re: bytes | None = None,
        psks: Sequence[bytes] = (),
    ) -> Self:
        """Begin a handshake.

        Args: name: the protocol name.  prologue: what both sides must agree on, of any length.  s: own static key pair.
        e: own ephemeral key pair, only where it is a pre-message (`fallback`).  rs, re: the other side's static and
        ephemeral public keys, where they are pre-messages.  psks: 32 bytes each, in the order of the psk tokens.

        Raises: Misuse when the name is unknown, or a key is missing, not asked for or of a wrong length; Malformed when
        `rs` is no key at all.
        """
        protocol = NoiseProtocol.parse(name)
        pattern = protocol.pattern
        local_pre, remote_pre = pattern.initiator_pre, pattern.responder_pre
        if not initiator:
            local_pre, remote_pre = remote_pre, local_pre
        local_static = Token.S in local_pre or any(Token.S in message for message in pattern.messages[not initiator :: 2])
        _check_given("s", s is not None, local_static, name)
        _check_given("e", e is not None, Token.E in local_pre, name)
        _check_given("rs", rs is not None, Token.S in remote_pre, name)
        _check_given("re", re is not None, Token.E in remote_pre, name)
        own_static, own_ephemeral = s.public if s else None, e.public if e else None
        for public in (own_static, own_ephemeral, rs, re):
            if public is not None and len(public) != protocol.public_bytes:
                raise Misuse(f"a public key for {name} has {protocol.public_bytes} bytes, not {len(public)}")
        if len(psks) != pattern.psk_count or any(len(psk) != PSK_BYTES for psk in psks):
            raise Misuse(f"{name} takes {pattern.psk_count} pre-shared keys of {PSK_BYTES} bytes")

        has_psk = bool(psks)
        symmetric = SymmetricState(protocol)
        symmetric.mix_hash(prologue)
        local, remote = {Token.S: own_static, Token.E: own_ephemeral}, {Token.S: rs, Token.E: re}
        sides = (local, remote) if initiator else (remote, local)
        for keys, pre_message in zip(sides, (pattern.initiator_pre, pattern.responder_pre), strict=True):
            for token in pre_message:
                public = keys[token]
                if public is None:
                    raise AssertionError("the keys of the pre-messages were checked above")
                symmetric.mix_hash(public)
                if token is Token.E and has_psk:  # Noise 9.2: also for an ephemeral in a pre-message
                    symmetric.mix_key(public)

        first, remaining = list(pattern.messages[0]), list(psks)
        while first and first[0] is Token.PSK:
            symmetric.mix_key_and_hash(remaining.pop(0))
            first.pop(0)
        uses_ss = any(Token.SS in message for message in pattern.messages)
        party = _Party(
            protocol=protocol,
            initiator=initiator,
            has_psk=has_psk,
            s=s,
            static_static=s.exchange(rs) if uses_ss and s is not None and rs is not None else None,
        )
        return cls(party, symmetric, (tuple(first), *pattern.messages[1:]), initiator, tuple(remaining), e, re, rs)

    @property
    def initiator(self) -> bool:
        """Does this side write the first message?"""
        return self._party.initiator

    @property
    def finished(self) -> bool:
        """Are all messages written and read?"""
        return not self._messages

    @property
    def writes_next(self) -> bool:
        """Is it this side's turn to write?"""
        return self._writes and not self.finished

    @property
    def needs_ephemeral(self) -> bool:
        """Does the next `write_message` take an ephemeral key pair?"""
        return self.writes_next and Token.E in self._messages[0]

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static public key, once it is known."""
        return self._rs

    @property
    def remote_ephemeral(self) -> bytes | None:
        """The other side's ephemeral public key, once it was read."""
        return self._re

    @property
    def handshake_hash(self) -> bytes:
        """The hash of everything both sides sent and agreed on, for channel binding (Noise 11.2). Raises: Misuse when not finished."""
        self._check_finished()
        return self._symmetric.handshake_hash

    @property
    def chaining_key(self) -> bytes:
        """The final chaining key, a secret of both sides; feed it to a key derivation only. Raises: Misuse when not finished."""
        self._check_finished()
        return self._symmetric.chaining_key

    def write_message(self, payload: bytes, *, ephemeral: KeyPair | None = None) -> tuple[bytes, Self]:
        """Write the next message; returns it and the next state.

        Raises: Misuse when it is the other side's turn, the message would exceed 65,535 bytes, or `ephemeral` is
        missing or not asked for; Malformed when a public key received before turns out to be none.
        """
        party = self._party
        tokens = self._next(writing=True)
        _check_given("ephemeral", ephemeral is not None, _E in tokens, party.protocol.name)
        symmetric = self._symmetric.copy()
        e, psks = ephemeral or self._e, self._psks
        message = b""
        for token in tokens:
            if token is _E:
                public = self._public(e)
                message += public
                symmetric.mix_hash(public)
                if party.has_psk:
                    symmetric.mix_key(public)
            elif token is _S:
                message += symmetric.encrypt_and_hash(self._public(party.s))
            elif token is _PSK:
                symmetric.mix_key_and_hash(psks[0])
                psks = psks[1:]
            else:
                symmetric.mix_key(self._agree(token, e, self._re, self._rs))
        if len(message) + len(payload) + (AEAD_TAG_BYTES if symmetric.has_key else 0) > MAX_MESSAGE_BYTES:
            raise Misuse(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes")
        message += symmetric.encrypt_and_hash(payload)
        return message, self._after(symmetric, psks, e, self._re, self._rs)

    def read_message(self, message: bytes) -> tuple[bytes, Self]:
        """Read the next message; returns its payload and the next state. After an error read again from this one.

        Raises: Malformed when it is too long or too short or holds no valid public key, Unproven when it does not open,
        Misuse when it is this side's turn to write.
        """
        party = self._party
        tokens = self._next(writing=False)
        if len(message) > MAX_MESSAGE_BYTES:
            raise Malformed(f"a Noise message has at most {MAX_MESSAGE_BYTES} bytes")
        symmetric = self._symmetric.copy()
        re, rs, psks = self._re, self._rs, self._psks
        position = 0
        for token in tokens:
            if token is _E:
                end = position + party.protocol.public_bytes
                re = self._field(message, position, end)
                position = end
                symmetric.mix_hash(re)
                if party.has_psk:
                    symmetric.mix_key(re)
            elif token is _S:
                end = position + party.protocol.public_bytes + (AEAD_TAG_BYTES if symmetric.has_key else 0)
                rs = symmetric.decrypt_and_hash(self._field(message, position, end))
                position = end
            elif token is _PSK:
                symmetric.mix_key_and_hash(psks[0])
                psks = psks[1:]
            else:
                symmetric.mix_key(self._agree(token, self._e, re, rs))
        payload = symmetric.decrypt_and_hash(message[position:])
        return payload, self._after(symmetric, psks, self._e, re, rs)

    def split(self) -> tuple[CipherState, CipherState]:
        """The cipher states for what follows: first the one the initiator sends with, second the responder's.

        After a one-way pattern the second is used up from the start, for the responder must not send (Noise 7.4).
        Each call returns new states: call once. Raises: Misuse when the handshake is not finished.
        """
        self._check_finished()
        first, second = self._symmetric.split()
        if self._party.protocol.pattern.one_way:
            second.set_nonce(MAX_NONCE)
        return first, second

    def _next(self, *, writing: bool) -> Message:
        if not self._messages:
            raise Misuse("the Noise handshake is finished")
        if self._writes is not writing:
            raise Misuse("it is this side's turn to write" if self._writes else "it is this side's turn to read")
        return self._messages[0]

    def _after(self, symmetric: SymmetricState, psks: tuple[bytes, ...], e: KeyPair | None, re: bytes | None, rs: bytes | None) -> Self:
        return type(self)(self._party, symmetric, self._messages[1:], not self._writes, psks, e, re, rs)

    def _agree(self, token: Token, e: KeyPair | None, re: bytes | None, rs: bytes | None) -> bytes:
        """The Diffie-Hellman result a token names: first letter the initiator's key, second the responder's (Noise 5.3)."""
        party = self._party
        if token is _SS and party.static_static is not None:
            return party.static_static
        if token is _EE:
            private, public = e, re
        elif token is _SS:
            private, public = party.s, rs
        elif (token is _ES) is party.initiator:  # es of the initiator, se of the responder
            private, public = e, rs
        else:
            private, public = party.s, re
        if private is None or public is None:
            raise AssertionError("a valid pattern names no key before it is there")
        return private.exchange(public)

    def _public(self, pair: KeyPair | None) -> bytes:
        if pair is None:
            raise AssertionError("the keys of the messages were checked before")
        if len(pair.public) != self._party.protocol.public_bytes:
            raise Misuse(f"a public key for {self._party.protocol.name} has {self._party.protocol.public_bytes} bytes")
        return pair.public

    @staticmethod
    def _field(message: bytes, start: int, end: int) -> bytes:
        if end > len(message):
            raise Malformed("the Noise message is shorter than its public keys")
        return message[start:end]

    def _check_finished(self) -> None:
        if self._messages:
            raise Misuse("the Noise handshake is not finished")

    def __repr__(self) -> str:
        side = "initiator" if self.initiator else "responder"
        return f"HandshakeState({self._party.protocol.name}, {side}, {len(self._messages)} messages to come)"


def _check_given(what: str, given: bool, needed: bool, name: str) -> None:
    if given is not needed:
        raise Misuse(f"{name} {'needs' if needed else 'takes no'} {what} here")
