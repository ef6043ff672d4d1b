"""Bodies: what may have to be forgotten. Each opening (salts and clear values) lies sealed under a key of its own.

    bodies/keys.bin      64-byte records, overwritten in place: state, place, length, tag, key
    bodies/NNNNNN.seg    segments of 4 MiB in units of 512 bytes: the sealed openings

Destroying the 32 bytes of a key makes its opening unreadable; the sealed bytes are overwritten as well. Both happen in place, on
this disk: spare blocks of an SSD, snapshots and backups are outside the promise. A record's number is the body's *slot*; the
database maps entries to slots (a cache), the ledger holds commitments only. `tag` is the first 16 bytes of the entry's leaf hash.

Space is not used again: a place that was erased stays empty. Whoever calls `seal` and `write` holds the database's write lock.

What was written is durable after `sync`, which costs two syncs of the disk. The ledger does not wait for them: it keeps what was sealed
in its own transaction, and syncs these files for many bodies at once (storage/book.py).
"""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from tallystick.errors import Misuse, Unavailable, Unproven
from tallystick.primitives import chacha20poly1305
from tallystick.storage.disk import Disk

RECORD_BYTES: Final = 64
UNIT_BYTES: Final = 512
SEGMENT_UNITS: Final = 8192  # 4 MiB
MAX_OPENING_BYTES: Final = 1 << 20
TAG_BYTES: Final = 16
SEAL_BYTES: Final = 16  # the AEAD's tag
MAX_SLOTS: Final = 1 << 31
_RECORDS_READ: Final = 4_096  # at once

_RECORD: Final = struct.Struct(">B3xII4x16s32s")  # state, first unit, bytes of the opening, tag, key
_LIVE, _ERASED = 1, 2
_NONCE: Final = bytes(12)  # each key seals one opening


class Sealed(NamedTuple):
    """A body as it lies in the files: its record in `keys.bin`, and the sealed opening from its first unit on."""

    slot: int
    unit: int
    record: bytes
    sealed: bytes

    @property
    def segment(self) -> int:
        """The number of its segment."""
        return self.unit // SEGMENT_UNITS


class UnfinishedErasureError(Unavailable):
    """The erasure is recorded; some of what it destroys is still on the disk, until the next erasure or start."""


class Bodies:
    """The body store of one house. Files are 0600 in a folder 0700."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Open the store, making its folder. Raises: Unavailable."""
        self.folder = folder
        self._disk = disk or Disk()
        self._segments: dict[int, int] = {}
        try:
            self._make_folder()
            self._keys = self._open(folder / "keys.bin")
        except OSError as error:
            raise _unavailable(error) from error

    def put(self, openings: Sequence[tuple[bytes, bytes]]) -> tuple[int, ...]:
        """Store (tag, opening) pairs, durable on return; their slots. Raises: as `seal`."""
        bodies = self.seal(openings)
        self.write(bodies)
        self.sync({body.segment for body in bodies})
        return tuple(body.slot for body in bodies)

    def seal(self, openings: Sequence[tuple[bytes, bytes]]) -> tuple[Sealed, ...]:
        """Give (tag, opening) pairs their keys and their places. Nothing is written yet.

        Raises: Misuse when an opening is empty or over 1 MiB, Unavailable.
        """
        try:
            slot, unit = self._end()
        except OSError as error:
            raise _unavailable(error) from error
        bodies: list[Sealed] = []
        for tag, opening in openings:
            if not 0 < len(opening) <= MAX_OPENING_BYTES or len(tag) != TAG_BYTES:
                raise Misuse(f"an opening has 1 to {MAX_OPENING_BYTES} bytes and a tag of {TAG_BYTES}")
            units = _units(len(opening))
            if unit % SEGMENT_UNITS + units > SEGMENT_UNITS:
                unit += SEGMENT_UNITS - unit % SEGMENT_UNITS  # none lies across two segments
            key = os.urandom(32)
            sealed = chacha20poly1305(key).encrypt(_NONCE, opening, tag)
            bodies.append(Sealed(slot, unit, _RECORD.pack(_LIVE, unit, len(opening), tag, key), sealed))
            unit += units
            slot += 1
        return tuple(bodies)

    def write(self, bodies: Iterable[Sealed]) -> None:
        """Put sealed bodies into their places; the same ones any number of times. Raises: Unavailable."""
        try:
            for body in bodies:
                units = _units(len(body.sealed) - SEAL_BYTES)
                self._write(
                    self._segment(body.segment), body.sealed.ljust(units * UNIT_BYTES, b"\0"), body.unit % SEGMENT_UNITS * UNIT_BYTES
                )
                self._write(self._keys, body.record, body.slot * RECORD_BYTES)
        except OSError as error:
            raise _unavailable(error) from error

    def sync(self, segments: Iterable[int]) -> None:
        """Make durable what was written to these segments, by whatever process. Raises: Unavailable."""
        try:
            for number in segments:
                self._disk.fdatasync(self._segment(number))
            self._disk.fdatasync(self._keys)
        except OSError as error:
            raise _unavailable(error) from error

    def get(self, slot: int, tag: bytes) -> bytes:
        """The opening. Raises: Unavailable when it was erased or cannot be read, Unproven when the file was changed."""
        try:
            state, unit, length, found, key = self._record(slot)
            if state != _LIVE or found != tag:
                raise Unavailable("this body was erased" if state == _ERASED else "there is no such body")
            sealed = os.pread(self._segment(unit // SEGMENT_UNITS), length + SEAL_BYTES, unit % SEGMENT_UNITS * UNIT_BYTES)
        except OSError as error:
            raise _unavailable(error) from error
        try:
            return chacha20poly1305(key).decrypt(_NONCE, sealed, tag)
        except Unproven:
            raise Unproven(f"body {slot} was changed on the disk") from None

    def erase(self, slots: Iterable[int]) -> None:
        """Destroy the keys, then the sealed bytes; gone on return. Slots that are empty or gone are passed over.

        Raises: Unavailable; then it must be called again.
        """
        try:
            places: list[tuple[int, int]] = []
            for slot in slots:
                state, unit, length, _, _ = self._record(slot)
                if state != 0:
                    # State, place and length stay, so that a second call after a crash finds the sealed bytes.
                    self._write(self._keys, _RECORD.pack(_ERASED, unit, length, bytes(TAG_BYTES), bytes(32)), slot * RECORD_BYTES)
                    places.append((unit, length))
            if places:
                self._disk.fdatasync(self._keys)
            for unit, length in places:
                segment = self._segment(unit // SEGMENT_UNITS)
                self._write(segment, bytes(_units(length) * UNIT_BYTES), unit % SEGMENT_UNITS * UNIT_BYTES)
            for number in {unit // SEGMENT_UNITS for unit, _ in places}:
                self._disk.fdatasync(self._segment(number))
        except OSError as error:
            raise _unavailable(error) from error

    def living(self, first: int = 0) -> Iterator[int]:
        """The slots from `first` on that hold a body. Raises: Unavailable."""
        while True:
            try:
                records = os.pread(self._keys, _RECORDS_READ * RECORD_BYTES, first * RECORD_BYTES)
            except OSError as error:
                raise _unavailable(error) from error
            for at in range(0, len(records) - RECORD_BYTES + 1, RECORD_BYTES):
                if records[at] == _LIVE:
                    yield first + at // RECORD_BYTES
            if len(records) < _RECORDS_READ * RECORD_BYTES:
                return
            first += _RECORDS_READ

    def count(self) -> int:
        """How many slots there are, erased ones included. Raises: Unavailable."""
        try:
            return os.fstat(self._keys).st_size // RECORD_BYTES
        except OSError as error:
            raise _unavailable(error) from error

    def tag_of(self, slot: int) -> bytes | None:
        """The tag of a living body, None when it is erased: how `rebuild` finds which entry it belongs to."""
        try:
            state, _, _, tag, _ = self._record(slot)
        except OSError as error:
            raise _unavailable(error) from error
        return tag if state == _LIVE else None

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._keys, *self._segments.values()):
            os.close(descriptor)
        self._segments.clear()

    def _record(self, slot: int) -> tuple[int, int, int, bytes, bytes]:
        raw = os.pread(self._keys, RECORD_BYTES, slot * RECORD_BYTES) if 0 <= slot < MAX_SLOTS else b""
        if len(raw) != RECORD_BYTES:
            return 0, 0, 0, b"", b""
        state, unit, length, tag, key = _RECORD.unpack(raw)
        if (
            state not in (_LIVE, _ERASED)
            or length > MAX_OPENING_BYTES
            or unit % SEGMENT_UNITS * UNIT_BYTES + length > SEGMENT_UNITS * UNIT_BYTES
        ):
            return 0, 0, 0, b"", b""
        return state, unit, length, tag, key

    def _end(self) -> tuple[int, int]:
        """The next slot and unit. A torn last record counts as empty: its place in the segment follows from the one before."""
        slot = self.count()
        for last in range(slot - 1, -1, -1):
            state, unit, length, _, _ = self._record(last)
            if state:
                return slot, unit + _units(length)
        return slot, 0

    def _segment(self, number: int) -> int:
        descriptor = self._segments.get(number)
        if descriptor is None:
            descriptor = self._segments[number] = self._open(self.folder / f"{number:06d}.seg")
        return descriptor

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            with suppress(FileExistsError):  # another process was quicker
                self._disk.mkdir(self.folder)
            self._disk.fsync_folder(self.folder.parent)

    def _open(self, path: Path) -> int:
        """Open a file of ours, making it; its name is durable on return."""
        descriptor = self._disk.open(path, os.O_RDWR | os.O_CREAT)
        try:
            self._disk.fsync_folder(self.folder)
        except BaseException:
            os.close(descriptor)  # opened again, and its name synced, the next time
            raise
        return descriptor

    def _write(self, descriptor: int, data: bytes, at: int) -> None:
        view = memoryview(data)
        while view:
            written = self._disk.pwrite(descriptor, view, at)
            view, at = view[written:], at + written


def _units(length: int) -> int:
    """How many units an opening takes, sealed."""
    return -(-(length + SEAL_BYTES) // UNIT_BYTES)


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"the body store failed: {error.strerror}", "Check the disk and the mode of bodies/.")
