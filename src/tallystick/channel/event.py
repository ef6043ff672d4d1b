"""What a session tells its shell (docs/spec/stream.md)."""

from dataclasses import dataclass, field
from enum import StrEnum


class CutReason(StrEnum):
    """Why a session was cut. For our own log and ledger; the other side learns nothing but the end of the connection."""

    MALFORMED = "malformed"  # a length, type or body that the table does not have
    UNPROVEN = "unproven"  # a frame that does not verify
    FIRST_FRAME = "first frame"  # it was not the one empty ping, or its pong
    DIRECTION = "direction"  # a frame type that may not travel this way, or not in this kind of session
    AFTER_END = "after end"  # something other than handshake or ping after `end`
    REKEY = "rekey"  # a handshake frame that the switch-over does not have at this point, or that does not verify
    UNCONFIRMED = "unconfirmed"  # no first frame within 3 s
    SILENT = "silent"  # nothing came for 30 s, and nothing for 90 s after our ping
    STALE_KEYS = "stale keys"  # the client did not rekey in time


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Key confirmation: the first frame of the other side verified. Before it nothing is authorised or recorded as accepted."""


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of HTTP."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class End:
    """The other side has sent its last message."""


@dataclass(frozen=True, slots=True)
class Pong:
    """The other side's pair time, ns, in answer to a ping that left at `sent_ns` by the time our caller gave us."""

    time_ns: int
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A telemetry record, still to be decoded (docs/spec/telemetry.md); at the house it is a `severed` of the right form."""

    record: bytes


@dataclass(frozen=True, slots=True)
class Pairing:
    """A message of the ceremony, still to be decoded."""

    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint message, still to be decoded."""

    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """Both directions, as far as this side reads and writes, use the keys of handshake number `count` (the knock is 0)."""

    count: int


@dataclass(frozen=True, slots=True)
class Voided:
    """The connection ended without `end`: the unfinished message is void. `cut_frame_bytes`: of a frame that is not whole."""

    cut_frame_bytes: int


@dataclass(frozen=True, slots=True)
class Cut:
    """This side ended the session: close the connection now. What was unfinished is void."""

    reason: CutReason


Event = Confirmed | Data | End | Pong | Telemetry | Pairing | Checkpoint | Rekeyed | Voided | Cut
