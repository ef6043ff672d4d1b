"""Frames: 2 bytes of length and a ciphertext whose first plaintext byte is the type (docs/spec/stream.md, section 2).

    sealer, opener, reader = Sealer(sending_state), Opener(receiving_state), FrameReader()
    wire = sealer.seal(FrameType.PING, b"")            # 2 + 1 + 16 bytes
    for ciphertext in reader.feed(wire):
        kind, body = opener.open(ciphertext)

Nonces are implicit: both ends count. A frame that does not open ends the session, so an `Opener` needs no way back.

The bulk path: a plaintext is type and data in one piece, so data is copied once into a scratch buffer and sealed from there straight
into its place between the lengths; the other way a frame is opened where it lies in the receive buffer, into a scratch buffer, and its
body copied out. The scratch buffers come with the first big frame and stay: two fresh blocks of 64 KiB for each frame halve the
rate (measured; the allocator's doing). Frames of 64 KiB keep Python's share of the work small. A scratch buffer begins half a page off: its
neighbours on the heap are a little more than 64 KiB apart, and where the target of a copy lies 1 to 31 bytes behind its source, pages
not counted, glibc before 2.39 takes sixteen times as long on AMD's Zen (22 us for 64 KiB instead of 1.4; glibc bug 30994).
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from tallystick.errors import Malformed, Misuse
from tallystick.noise import MAX_MESSAGE_BYTES, CipherState
from tallystick.primitives import AEAD_TAG_BYTES, Buffer

# Specification constants (docs/spec/stream.md, section 2).
LENGTH_BYTES: Final = 2
MAX_CIPHERTEXT_BYTES: Final = MAX_MESSAGE_BYTES
MIN_CIPHERTEXT_BYTES: Final = 1 + AEAD_TAG_BYTES
MAX_PLAINTEXT_BYTES: Final = MAX_CIPHERTEXT_BYTES - AEAD_TAG_BYTES
MAX_BODY_BYTES: Final = MAX_PLAINTEXT_BYTES - 1
_OVERHEAD_BYTES: Final = LENGTH_BYTES + MIN_CIPHERTEXT_BYTES
_SMALL_BYTES: Final = 4096  # up to this size a frame is not worth a scratch buffer
_OFF_BYTES: Final = 2048
_NO_AD: Final = b""


class FrameType(IntEnum):
    """The first plaintext byte."""

    DATA = 0
    HANDSHAKE = 1
    END = 2
    PING = 3
    TELEMETRY = 4
    PAIRING = 5
    CHECKPOINT = 6


_TYPES: Final = tuple(FrameType)


def _scratch() -> memoryview:
    return memoryview(bytearray(_OFF_BYTES + MAX_PLAINTEXT_BYTES))[_OFF_BYTES:]


class Sealer:
    """One direction under one key, the sending end."""

    __slots__ = ("_cipher", "_scratch")

    def __init__(self, cipher: CipherState, scratch: memoryview | None = None) -> None:
        """`scratch`: the buffer of the sealer before this one, if it has one."""
        self._cipher = cipher
        self._scratch = scratch

    @property
    def count(self) -> int:
        """Frames sealed so far under this key."""
        return self._cipher.nonce

    def successor(self, cipher: CipherState) -> "Sealer":
        """The sealer for the next key of this direction."""
        return Sealer(cipher, self._scratch)

    def seal(self, kind: FrameType, body: Buffer) -> bytes:
        """One frame. Raises: Misuse when the body is longer than a frame holds."""
        if len(body) > MAX_BODY_BYTES:
            raise Misuse(f"a frame holds {MAX_BODY_BYTES} bytes, not {len(body)}")
        sealed = self._cipher.encrypt_with_ad(_NO_AD, bytes((kind,)) + body)
        return len(sealed).to_bytes(LENGTH_BYTES, "big") + sealed

    def seal_data(self, data: Buffer) -> bytes | bytearray:
        """Data in as few frames as it takes, ready to be written; no data makes no frame."""
        source = memoryview(data).cast("B")
        total = len(source)
        if total <= _SMALL_BYTES:
            return self.seal(FrameType.DATA, source) if total else b""
        if self._scratch is None:
            self._scratch = _scratch()
        frames = -(-total // MAX_BODY_BYTES)
        wire = bytearray(total + frames * _OVERHEAD_BYTES)
        out, scratch, seal = memoryview(wire), self._scratch, self._cipher.encrypt_into
        scratch[0] = FrameType.DATA
        at = 0
        for start in range(0, total, MAX_BODY_BYTES):
            size = min(MAX_BODY_BYTES, total - start)
            scratch[1 : size + 1] = source[start : start + size]
            end = at + size + _OVERHEAD_BYTES
            out[at : at + LENGTH_BYTES] = (size + MIN_CIPHERTEXT_BYTES).to_bytes(LENGTH_BYTES, "big")
            seal(_NO_AD, scratch[: size + 1], out[at + LENGTH_BYTES : end])
            at = end
        out.release()
        return wire


class Opener:
    """One direction under one key, the receiving end."""

    __slots__ = ("_cipher", "_scratch")

    def __init__(self, cipher: CipherState, scratch: memoryview | None = None) -> None:
        """`scratch`: the buffer of the opener before this one, if it has one."""
        self._cipher = cipher
        self._scratch = scratch

    @property
    def count(self) -> int:
        """Frames opened so far under this key."""
        return self._cipher.nonce

    def successor(self, cipher: CipherState) -> "Opener":
        """The opener for the next key of this direction."""
        return Opener(cipher, self._scratch)

    def open(self, ciphertext: Buffer) -> tuple[FrameType, bytes]:
        """Type and body of the next frame.

        Raises: Unproven when it does not verify, Malformed when it is too short, too long or of no known type.
        """
        size = len(ciphertext) - AEAD_TAG_BYTES
        if size <= _SMALL_BYTES:
            plaintext = self._cipher.decrypt_with_ad(_NO_AD, ciphertext)
            kind, body = plaintext[:1], plaintext[1:]
        else:
            if size > MAX_PLAINTEXT_BYTES:
                raise Malformed(f"a frame has at most {MAX_CIPHERTEXT_BYTES} bytes")
            if self._scratch is None:
                self._scratch = _scratch()
            scratch = self._scratch
            self._cipher.decrypt_into(_NO_AD, ciphertext, scratch[:size])
            kind, body = bytes(scratch[:1]), bytes(scratch[1:size])
        if not kind or kind[0] >= len(_TYPES):
            raise Malformed("a frame of an unknown type")
        return _TYPES[kind[0]], body


class FrameReader:
    """Cuts a stream of bytes into ciphertexts. It keeps at most one frame that is not yet whole."""

    __slots__ = ("_part", "limit_bytes")

    def __init__(self, limit_bytes: int = MAX_CIPHERTEXT_BYTES) -> None:
        """`limit_bytes`: the longest ciphertext to accept; the house sets it to 1 KiB for the first frame."""
        self.limit_bytes = limit_bytes
        self._part = bytearray()

    @property
    def pending_bytes(self) -> int:
        """How much of a frame has arrived that is not whole."""
        return len(self._part)

    def feed(self, data: Buffer) -> Iterator[memoryview]:
        """The ciphertexts that are whole now, in order; each view is good until the next one is asked for.

        Run it to its end: what is left is kept only then. Raises: Malformed when a length is below 17 or above the limit.
        """
        view = memoryview(data).cast("B")
        at, total = 0, len(view)
        if self._part:
            part = self._part
            if len(part) < LENGTH_BYTES:
                part += view[:1]
                at = 1 if total else 0
            if len(part) < LENGTH_BYTES:
                return
            wanted = LENGTH_BYTES + self._length(part[0], part[1])
            take = min(wanted - len(part), total - at)
            part += view[at : at + take]
            at += take
            if len(part) < wanted:
                return
            self._part = bytearray()
            yield memoryview(part)[LENGTH_BYTES:]
        while total - at >= LENGTH_BYTES:
            end = at + LENGTH_BYTES + self._length(view[at], view[at + 1])
            if end > total:
                break
            yield view[at + LENGTH_BYTES : end]
            at = end
        self._part += view[at:]

    def _length(self, high: int, low: int) -> int:
        length = high << 8 | low
        if not MIN_CIPHERTEXT_BYTES <= length <= self.limit_bytes:
            raise Malformed(f"a frame of {length} bytes, where {MIN_CIPHERTEXT_BYTES} to {self.limit_bytes} are allowed")
        return length
