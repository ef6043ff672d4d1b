"""The exact bytes of the five datagrams (docs/spec/knock.md, sections 1 to 4).

    knock          01 01 mode 00 | tag 16 | masked time 8 | Noise message 1, 64  | MAC 16      108 bytes
    invite knock   02 01 mode 00 | tag 16 | masked time 8 | Noise message 1, 112 | MAC 16      156 bytes
    time?          03 01 00 00   | tag 16 | zeros 72                             | MAC 16      108 bytes
    answer         04 01 00 00   | Noise message 2, 64                                          68 bytes
    time answer    05 01 00 00   | masked time 8 | MAC 16                                       28 bytes

Both sides build and take apart datagrams here and nowhere else. Nothing in this file decides; it only says which bytes are which.
"""

import struct
from enum import IntEnum
from typing import Final

from tallystick.errors import Misuse
from tallystick.pair.pairing import DirectionKeys
from tallystick.primitives import blake2s_keyed

# Specification constants (docs/spec/knock.md).
VERSION: Final = 1
HEADER_BYTES: Final = 4
TAG_BYTES: Final = 16
MAC_BYTES: Final = 16
PAYLOAD_BYTES: Final = 16
KNOCK_BYTES: Final = 108
INVITE_KNOCK_BYTES: Final = 156
ANSWER_BYTES: Final = 68
TIME_ANSWER_BYTES: Final = 28
SECOND_NS: Final = 1_000_000_000
WINDOW_NS: Final = 120 * SECOND_NS

TAG: Final = slice(4, 20)
MASKED_TIME: Final = slice(20, 28)
EPHEMERAL: Final = slice(28, 60)
_MAX_U64: Final = 2**64 - 1


class DatagramType(IntEnum):
    """The first byte."""

    KNOCK = 1
    INVITE_KNOCK = 2
    TIME_QUESTION = 3
    ANSWER = 4
    TIME_ANSWER = 5


class Mode(IntEnum):
    """How the TCP connection comes about (docs/spec/net.md)."""

    OPEN = 1  # simultaneous open, no listener at all
    FILTERED = 2  # a listener whose filter admits one source
    MOMENTARY = 3  # a listener that exists for the moment of the knock
    SIGNED = 4  # simultaneous open under a TCP-MD5 key: what a house without the capability answers to mode 1


ASKED_MODES: Final = (Mode.OPEN, Mode.FILTERED, Mode.MOMENTARY)
KNOCK_HEADERS: Final = frozenset(bytes((DatagramType.KNOCK, VERSION, mode, 0)) for mode in ASKED_MODES)
INVITE_HEADERS: Final = frozenset(bytes((DatagramType.INVITE_KNOCK, VERSION, mode, 0)) for mode in ASKED_MODES)
TIME_QUESTION_HEADER: Final = bytes((DatagramType.TIME_QUESTION, VERSION, 0, 0))
ANSWER_HEADER: Final = bytes((DatagramType.ANSWER, VERSION, 0, 0))
TIME_ANSWER_HEADER: Final = bytes((DatagramType.TIME_ANSWER, VERSION, 0, 0))
TIME_QUESTION_ZEROS: Final = bytes(72)

# Shapes (first byte, size) for the kernel's prefilter on the house's and on the client's UDP socket.
HOUSE_SHAPES: Final = (
    (DatagramType.KNOCK.value, KNOCK_BYTES),
    (DatagramType.INVITE_KNOCK.value, INVITE_KNOCK_BYTES),
    (DatagramType.TIME_QUESTION.value, KNOCK_BYTES),
)
CLIENT_SHAPES: Final = ((DatagramType.ANSWER.value, ANSWER_BYTES), (DatagramType.TIME_ANSWER.value, TIME_ANSWER_BYTES))


def window_tag(tag_key: bytes, window: int) -> bytes:
    """The tag of a pair in one window of 2 minutes; 16 bytes."""
    return blake2s_keyed(tag_key, window.to_bytes(8, "big"), TAG_BYTES)


def question_tag(tag_key: bytes, counter: int) -> bytes:
    """The tag of a pair's `time?` with this counter; 16 bytes."""
    return blake2s_keyed(tag_key, b"time" + counter.to_bytes(8, "big"), TAG_BYTES)


def mask_time(mask_key: bytes, seed: bytes, time_ns: int) -> bytes:
    """The 8 bytes of a time XOR the mask of `seed` (the ephemeral key, or the tag of the question)."""
    mask = int.from_bytes(blake2s_keyed(mask_key, seed, 8), "big")
    return (time_ns ^ mask).to_bytes(8, "big")


def unmask_time(mask_key: bytes, seed: bytes, masked: bytes) -> int:
    """The time, ns since 1970, that `mask_time` hid."""
    return int.from_bytes(masked, "big") ^ int.from_bytes(blake2s_keyed(mask_key, seed, 8), "big")


def md5_key(mac_key: bytes, knock: bytes) -> bytes:
    """The TCP-MD5 key (RFC 2385) of the connection that a knock leads to in mode SIGNED; 32 bytes, good for that knock alone."""
    return blake2s_keyed(mac_key, b"tally tcp md5 v1" + knock, 32)


def build_knock(*, header: bytes, tag: bytes, mask_key: bytes, mac_key: bytes, time_ns: int, noise: bytes) -> bytes:
    """A knock or invite knock around Noise message 1."""
    body = header + tag + mask_time(mask_key, noise[:32], time_ns) + noise
    return body + blake2s_keyed(mac_key, body, MAC_BYTES)


def build_time_question(keys: DirectionKeys, counter: int) -> bytes:
    """The `time?` of this counter: always the same 108 bytes."""
    body = TIME_QUESTION_HEADER + question_tag(keys.tag, counter) + TIME_QUESTION_ZEROS
    return body + blake2s_keyed(keys.mac, body, MAC_BYTES)


def build_time_answer(*, mask_key: bytes, mac_key: bytes, tag: bytes, time_ns: int) -> bytes:
    """The answer to the `time?` with this tag; 28 bytes."""
    body = TIME_ANSWER_HEADER + mask_time(mask_key, tag, time_ns)
    return body + blake2s_keyed(mac_key, tag + body, MAC_BYTES)


def client_payload(tcp_port: int) -> bytes:
    """The payload of Noise message 1. Raises: Misuse when there is no such port."""
    if not 1 <= tcp_port <= 65_535:
        raise Misuse(f"no TCP port {tcp_port}")
    return struct.pack(">H14x", tcp_port)


def house_payload(tcp_port: int, mode: Mode) -> bytes:
    """The payload of Noise message 2. Raises: Misuse when there is no such port."""
    if not 1 <= tcp_port <= 65_535:
        raise Misuse(f"no TCP port {tcp_port}")
    return struct.pack(">HB13x", tcp_port, mode)


def parse_client_payload(payload: bytes) -> int | None:
    """The client's TCP port, or None when these are not the bytes of a client's payload."""
    if len(payload) != PAYLOAD_BYTES or payload[2:] != bytes(14):
        return None
    return int.from_bytes(payload[:2], "big") or None


def parse_house_payload(payload: bytes) -> tuple[int, Mode] | None:
    """The house's TCP port and the mode it took, or None when these are not the bytes of a house's payload."""
    if len(payload) != PAYLOAD_BYTES or payload[3:] != bytes(13) or not Mode.OPEN <= payload[2] <= Mode.SIGNED:
        return None
    port = int.from_bytes(payload[:2], "big")
    return (port, Mode(payload[2])) if port else None


def check_time(time_ns: int) -> int:
    """The time unchanged. Raises: Misuse when it is no u64 of nanoseconds since 1970."""
    if not 0 <= time_ns <= _MAX_U64:
        raise Misuse("a time is a u64 of nanoseconds since 1970")
    return time_ns
