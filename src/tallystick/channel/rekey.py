"""Fresh keys inside the stream (docs/spec/stream.md, section 4).

Each handshake's psk comes from a link that hangs on all handshakes before it, so new keys need the old ones *and* fresh
Diffie-Hellman between the two machines: a thief of session keys is shut out by the next rekey, a thief of static keys never gets in.

The switch-over is the table below. TCP keeps the order, so each direction has one last frame under its old key, and everybody
knows which: message 2 from the house, the empty handshake frame from the client.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from tallystick.channel.handshake import Handshake, pair_state
from tallystick.noise import HandshakeState, KeyPair
from tallystick.pair.pairing import Role, Suite
from tallystick.primitives import hkdf_expand_sha256, hkdf_sha256

MESSAGE_BYTES: Final = 48  # both messages: an ephemeral key and an empty sealed payload


class Phase(StrEnum):
    """Where a side stands between two sets of keys."""

    STEADY = "steady"
    ASKED = "asked"  # client: message 1 is out
    ANSWERED = "answered"  # house: message 2 is out, the client's switch has not come


class Input(StrEnum):
    """What moves it on."""

    DUE = "due"
    MESSAGE = "message"  # a handshake frame with a Noise message
    SWITCH = "switch"  # an empty handshake frame


# A missing cell is a reason to cut the session.
TRANSITIONS: Final = {
    (Role.CLIENT, Phase.STEADY, Input.DUE): Phase.ASKED,
    (Role.CLIENT, Phase.ASKED, Input.MESSAGE): Phase.STEADY,
    (Role.HOUSE, Phase.STEADY, Input.MESSAGE): Phase.ANSWERED,
    (Role.HOUSE, Phase.ANSWERED, Input.SWITCH): Phase.STEADY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What the next handshake hangs on: a secret of all before it, and the hash of the last."""

    link: bytes = field(repr=False)
    handshake_hash: bytes

    @classmethod
    def begin(cls, handshake: Handshake) -> Self:
        """After the knock's handshake."""
        link = hkdf_sha256(handshake.handshake_hash, handshake.chaining_key, b"tally stream v1 link", 32)
        return cls(link=link, handshake_hash=handshake.handshake_hash)

    def next(self, handshake: Handshake) -> Self:
        """After one more handshake."""
        link = hkdf_sha256(handshake.handshake_hash, self.link + handshake.chaining_key, b"tally stream v1 link", 32)
        return type(self)(link=link, handshake_hash=handshake.handshake_hash)

    def state(self, *, role: Role, suite: Suite, static: KeyPair, remote_static: bytes) -> HandshakeState:
        """The Noise state before message 1 of the next handshake."""
        return pair_state(
            initiator=role is Role.CLIENT,
            suite=suite,
            prologue=b"tally rekey v1" + self.handshake_hash,
            static=static,
            remote_static=remote_static,
            psk=hkdf_expand_sha256(self.link, b"tally stream v1 rekey", 32),
        )
