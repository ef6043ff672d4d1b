"""What comes of a datagram at the house: almost always `SILENCE` (docs/spec/knock.md, section 5)."""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from tallystick.channel.datagram import ANSWER_HEADER, Mode, house_payload
from tallystick.channel.handshake import Handshake
from tallystick.noise import Answering, HandshakeState, KeyPair

# What the socket said about the sender: (host, port), or with flow and scope for IPv6. Passed through, never looked at.
Address = tuple[str, int] | tuple[str, int, int, int]


class Check(IntEnum):
    """The checks of a datagram, in their order; the counters are kept by it."""

    SHAPE = 0
    TAG = 1
    MAC = 2
    TIME = 3
    REPLAY = 4
    RATE = 5
    PENDING = 6
    HANDSHAKE = 7
    PAYLOAD = 8


@dataclass(frozen=True, slots=True)
class Silence:
    """Nothing is said and nothing happens. There is one of it, `SILENCE`."""


SILENCE: Final = Silence()


@dataclass(slots=True, kw_only=True, eq=False)
class Admit:
    """A knock held: connect towards `address`, answer, and wait for the first frame. Nothing is proven to be *now* before that.

    Not `frozen`, though nothing is ever assigned: freezing costs two microseconds, and this is made for each genuine knock.

    `pair`: the number of the pair, or None; then `invite` is the id of the invite (32 bytes).
    `ticket`: give it to `Doorkeeper.ended` when the connect succeeded, failed or was given up.
    `time_ns`: the time the knock names.  `client_port`: the TCP port the client connects from.  `mode`: the mode it asks for.
    """

    ticket: int
    pair: int | None
    invite: bytes | None
    address: Address
    mode: Mode
    client_port: int
    time_ns: int
    remote_static: bytes
    _state: HandshakeState | Answering = field(repr=False)

    def answer(self, *, tcp_port: int, mode: Mode, ephemeral: KeyPair) -> tuple[bytes, Handshake]:
        """The answer datagram and the session's keys. Call it once, when the house's socket is bound and connecting.

        Args: tcp_port: the house's.  mode: the one the house took.  ephemeral: drawn fresh.
        Raises: Misuse when there is no such port; Malformed when the client's key turns out to be none.
        """
        message, state = self._state.write_message(house_payload(tcp_port, mode), ephemeral=ephemeral)
        return ANSWER_HEADER + message, Handshake(state)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeAnswer:
    """A `time?` held: store `next_counter` for the pair, **then** send `answer` to `address`."""

    pair: int
    next_counter: int
    answer: bytes
    address: Address


Outcome = Silence | Admit | TimeAnswer
