"""The Noise Protocol Framework, revision 34 (docs/spec/noise.md): handshakes and the sealed messages after them."""

from tallystick.noise.cipherstate import MAX_MESSAGE_BYTES, MAX_NONCE, CipherState
from tallystick.noise.handshakestate import PSK_BYTES, HandshakeState, KeyPair
from tallystick.noise.kkpsk0 import Answering, Asking, Finished, Initiator, Responder
from tallystick.noise.pattern import PATTERNS, Pattern, Token, pattern_of
from tallystick.noise.protocol import Protocol

__all__ = [
    "MAX_MESSAGE_BYTES",
    "MAX_NONCE",
    "PATTERNS",
    "PSK_BYTES",
    "Answering",
    "Asking",
    "CipherState",
    "Finished",
    "HandshakeState",
    "Initiator",
    "KeyPair",
    "Pattern",
    "Protocol",
    "Responder",
    "Token",
    "pattern_of",
]
