"""Which way does it flow? A house executes and reports; it never originates a command (docs/spec/telemetry.md, section 1).

Tables, no state. The numbers of frame types are those of the stream (docs/spec/stream.md); diode cannot import channel's
names, a test compares them.
"""

from collections.abc import Mapping
from enum import IntEnum, StrEnum
from typing import Final

from tallystick.errors import Malformed
from tallystick.pair.pairing import PairType, Role
from tallystick.rights.verb import VERBS, is_named


class FrameType(IntEnum):
    """The first plaintext byte of a frame (DESIGN section 6)."""

    DATA = 0
    HANDSHAKE = 1
    END = 2
    PING = 3
    TELEMETRY = 4
    PAIRING = 5
    CHECKPOINT = 6


class Stage(StrEnum):
    """What a session is for: the ceremony of an invite, or the work of a pair."""

    PAIRING = "pairing"
    PAIRED = "paired"


_BOTH: Final = frozenset(Role)
# (stage, frame type) -> who may receive it. A missing cell cuts the session. What data and telemetry may hold is below.
MAY_RECEIVE: Final[Mapping[tuple[Stage, FrameType], frozenset[Role]]] = {
    (Stage.PAIRING, FrameType.END): _BOTH,
    (Stage.PAIRING, FrameType.PING): _BOTH,
    (Stage.PAIRING, FrameType.PAIRING): _BOTH,
    (Stage.PAIRED, FrameType.DATA): _BOTH,
    (Stage.PAIRED, FrameType.HANDSHAKE): _BOTH,
    (Stage.PAIRED, FrameType.END): _BOTH,
    (Stage.PAIRED, FrameType.PING): _BOTH,
    (Stage.PAIRED, FrameType.TELEMETRY): _BOTH,
    (Stage.PAIRED, FrameType.CHECKPOINT): _BOTH,
}


class Data(StrEnum):
    """What the bytes of data frames are: HTTP requests run towards the house, answers towards the client."""

    REQUEST = "request"
    ANSWER = "answer"


RECEIVES: Final[Mapping[Role, Data]] = {Role.HOUSE: Data.REQUEST, Role.CLIENT: Data.ANSWER}
# Who may receive a verb: the house, every one of them; no verb ever travels to a client.
VERB_RECEIVERS: Final[Mapping[str, Role]] = dict.fromkeys(VERBS, Role.HOUSE)
# Kinds of telemetry (diode/telemetry.py) that a client may send.
CLIENT_SENDS: Final = frozenset(("severed",))


def check_frame(receiver: Role, stage: Stage, frame_type: int) -> FrameType:
    """May a side in this stage receive this frame? Raises: Malformed when not: the session is cut and that is recorded."""
    if frame_type not in FrameType.__members__.values():
        raise Malformed(f"frame of unknown type {frame_type}")
    known = FrameType(frame_type)
    if receiver not in MAY_RECEIVE.get((stage, known), frozenset()):
        raise Malformed(f"a {known.name.lower()} frame does not belong into a {stage.value} session")
    return known


def check_data(receiver: Role, data: Data) -> None:
    """Raises: Malformed when a client receives a request, or a house an answer."""
    if RECEIVES[receiver] is not data:
        raise Malformed(f"an HTTP {data.value} travelled the wrong way")


def check_verb_direction(receiver: Role, verb: str) -> None:
    """Raises: Malformed when a verb is unknown or arrives at a client."""
    if (Role.HOUSE if is_named(verb) else VERB_RECEIVERS.get(verb)) is not receiver:
        raise Malformed("a command travelled the wrong way")


def check_telemetry_direction(receiver: Role, kind: str) -> None:
    """Raises: Malformed when a client reports anything but a severance."""
    if receiver is Role.HOUSE and kind not in CLIENT_SENDS:
        raise Malformed(f"a client does not send telemetry of kind {kind}")


def sees_records(pair_type: PairType) -> bool:
    """INTERFACE sees counts, states and checkpoints: never a record."""
    return pair_type is not PairType.INTERFACE
