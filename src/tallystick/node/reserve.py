"""Room for the last word: a house whose disk is full still records who was severed, revoked and stopped.

Two things keep it. Below `reserve_mib` of free space no command of a pair is taken any more, so that nothing a pair does can use the
rest up. And a file in the home, `reserve`, holds blocks of the disk that others may fill meanwhile: it is given back to the file
system in the moment in which a severance needs them, and made again when there is room.
"""

import contextlib
import logging
import os
from pathlib import Path
from typing import Final

FILE_NAME: Final = "reserve"
FILE_BYTES: Final = 4 << 20
TIGHT_BYTES: Final = 1 << 20  # below this much free space an urgent entry does not try without the file's blocks
_MIB: Final = 1 << 20

log = logging.getLogger("tallystick")


class Reserve:
    """The free space of one home. Made for every machine; only a house that runs holds a file."""

    def __init__(self, home: Path, least_mib: int) -> None:
        """`least_mib`: free space below which no command is taken; 0 never refuses and holds nothing."""
        self._home = home
        self._path = home / FILE_NAME
        self._least = least_mib * _MIB
        self.low = False
        """As of the last look: pairs' commands are not taken."""

    def free(self) -> int:
        """Bytes that this process may still write where the home lies; 0 where nobody can tell."""
        try:
            found = os.statvfs(self._home)
        except OSError:
            return 0
        return found.f_bavail * found.f_frsize

    @property
    def held(self) -> bool:
        """Whether the file is there, with its blocks."""
        try:
            return self._path.stat().st_blocks * 512 >= FILE_BYTES
        except OSError:
            return False

    @property
    def room(self) -> bool:
        """Whether what comes over a pair may still be urgent: the last of it is for what is done at the house itself."""
        return self.held or self.free() >= TIGHT_BYTES

    def look(self) -> bool:
        """Look at the disk; hold the file where there is room for it. Returns: whether `low` has changed."""
        if not self._least:
            return False
        before, free = self.low, self.free()
        # Out again only with room for the file besides: a house that flutters at the edge would tell of it every second.
        self.low = free < self._least + (FILE_BYTES if before else 0)
        if not self.low and not self.held:
            self._hold()
        if self.low is not before:
            log.log(
                logging.ERROR if self.low else logging.INFO,
                "the disk is nearly full: no commands of pairs are taken" if self.low else "there is room on the disk again",
                extra={"free_bytes": free, "least_bytes": self._least},
            )
        return self.low is not before

    def _hold(self) -> None:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(file, 0, FILE_BYTES)
            finally:
                os.close(file)
        except OSError as error:
            log.warning("no room is held for severances on a full disk", extra={"reason": error.strerror})
            self.release()

    def release(self) -> bool:
        """Give the file's blocks back. Returns: whether there were any."""
        held = False
        with contextlib.suppress(OSError):
            held = self._path.stat().st_blocks > 0
            self._path.unlink()
        return held

    def give_way(self) -> bool:
        """Something urgent could not be written. Returns: whether there is room for another try, because the disk was full and is not."""
        return self.free() < FILE_BYTES and self.release()

    def make_room(self) -> None:
        """Something urgent is about to be recorded: where the disk is full, with the file's blocks."""
        if self._least and self.free() < TIGHT_BYTES and self.release():
            log.warning("the disk is full: what is urgent is recorded with the room that was held for it")
