"""The Noise handshakes of the channel: knock, invite knock, rekey (docs/spec/knock.md and stream.md).

    state = pair_state(initiator=False, ...)    # prepared: prologue, psk and the static-static secret are in it
    payload, state = state.read_message(...)    # a failed read leaves the prepared state as it was
    handshake = Handshake(state)                # after both messages: the keys of the session

Patterns and states are noise's; here is only which protocol, which prologue and which keys.
"""

from typing import Final

from tallystick.noise import CipherState, Finished, HandshakeState, Initiator, KeyPair, Responder
from tallystick.pair.invite import INVITE_PROTOCOL
from tallystick.pair.pairing import Suite


class Handshake:
    """A finished handshake: what a session starts from.

    The transport keys are made when the session takes them, not when the answer is written: most answers to a client that
    never connects would have paid for them in vain.
    """

    __slots__ = ("_state", "remote_static")

    def __init__(self, state: HandshakeState | Finished) -> None:
        remote = state.remote_static
        if remote is None or not state.finished:
            raise AssertionError("both patterns end with each side knowing the other's static key")
        self._state = state
        self.remote_static: Final = remote

    @property
    def handshake_hash(self) -> bytes:
        """32 bytes that name this connection; no secret."""
        return self._state.handshake_hash

    @property
    def chaining_key(self) -> bytes:
        """32 bytes, secret: the pairing and the first rekey mix it in."""
        return self._state.chaining_key

    def transport(self) -> tuple[CipherState, CipherState]:
        """The cipher states of this side: sending, receiving. They count from 0: ask once."""
        first, second = self._state.split()
        return (first, second) if self._state.initiator else (second, first)

    def __repr__(self) -> str:
        return f"Handshake(handshake_hash={self.handshake_hash.hex()})"


def pair_state(*, initiator: bool, suite: Suite, prologue: bytes, static: KeyPair, remote_static: bytes, psk: bytes) -> HandshakeState:
    """The state before message 1 of a pair's knock, or of a rekey. Raises: Malformed when `remote_static` is no key."""
    return HandshakeState.initialize(suite.value, initiator=initiator, prologue=prologue, s=static, rs=remote_static, psks=(psk,))


def pair_responder(*, suite: Suite, prologue: bytes, static: KeyPair, remote_static: bytes, psk: bytes) -> Responder:
    """What reads a pair's knocks at the house. Raises: Malformed when `remote_static` is no key."""
    state = pair_state(initiator=False, suite=suite, prologue=prologue, static=static, remote_static=remote_static, psk=psk)
    responder = Responder.of(state)
    if responder is None:
        raise AssertionError("every suite is KKpsk0 over X25519 and BLAKE2s")
    return responder


def pair_initiator(*, suite: Suite, prologue: bytes, static: KeyPair, remote_static: bytes, psk: bytes) -> Initiator:
    """What makes a pair's knocks at the client. Raises: Malformed when `remote_static` is no key."""
    state = pair_state(initiator=True, suite=suite, prologue=prologue, static=static, remote_static=remote_static, psk=psk)
    initiator = Initiator.of(state)
    if initiator is None:
        raise AssertionError("every suite is KKpsk0 over X25519 and BLAKE2s")
    return initiator


def invite_state_of_client(*, prologue: bytes, static: KeyPair, house_static: bytes, psk: bytes) -> HandshakeState:
    """The state before message 1 of an invite knock, on the side that holds the invite."""
    return HandshakeState.initialize(INVITE_PROTOCOL, initiator=True, prologue=prologue, s=static, rs=house_static, psks=(psk,))


def invite_state_of_house(*, prologue: bytes, static: KeyPair, psk: bytes) -> HandshakeState:
    """The state before message 1 of an invite knock, on the side that made the invite."""
    return HandshakeState.initialize(INVITE_PROTOCOL, initiator=False, prologue=prologue, s=static, psks=(psk,))
