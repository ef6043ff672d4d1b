"""The latest time given for each pair: changed with every knock, so it is a number in its place and not a file replaced.

The file `memory.times` (0600) is rows of 40 bytes: pairing id, then nanoseconds as a big-endian u64. Every change is made under a
lock on the file itself, so that no two processes of this machine ever give one time. A crash of the system may bring back an older
number; the system clock has moved on by then.
"""

import contextlib
import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tallystick.errors import Unavailable

_ROW: Final = struct.Struct(">32sQ")
MAX_BYTES: Final = 1_048_560  # 26,214 pairs: what lies behind was not written by us


class Times:
    """Numbers by pairing id, shared by every process of this machine."""

    def __init__(self, path: Path) -> None:
        """`path`: of the file; it need not exist."""
        self._path = path

    def get(self, pairing: bytes) -> int:
        """The number, 0 where there is none. Raises: Unavailable."""
        with self._locked() as file:
            return _find(os.pread(file, MAX_BYTES, 0), pairing)[1]

    def change(self, pairing: bytes, step: Callable[[int], int]) -> int:
        """Replace the number by what `step` makes of it, and return that. Raises: Unavailable."""
        with self._locked() as file:
            at, before = _find(os.pread(file, MAX_BYTES, 0), pairing)
            after = step(before)
            os.pwrite(file, _ROW.pack(pairing, after), at)
        return after

    def forget(self, pairing: bytes) -> None:
        """Drop the number. Raises: Unavailable."""
        with self._locked() as file:
            rows = os.pread(file, MAX_BYTES, 0)
            at, _ = _find(rows, pairing)
            last = len(rows) // _ROW.size * _ROW.size - _ROW.size
            if at <= last:
                os.pwrite(file, rows[last : last + _ROW.size], at)
                os.truncate(file, last)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int]:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                os.close(file)
        except OSError as error:
            hint = "check the owner, the mode and the free space of the home"
            raise Unavailable(f"cannot use {self._path.name}: {error.strerror}", hint) from error


def _find(rows: bytes, pairing: bytes) -> tuple[int, int]:
    """Where the row of a pairing is, or may be added, and its number."""
    end = len(rows) - len(rows) % _ROW.size
    for at in range(0, end, _ROW.size):
        if rows.startswith(pairing, at):
            return at, int(_ROW.unpack_from(rows, at)[1])
    return end, 0
