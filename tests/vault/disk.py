"""A disk whose power fails: cuts before a chosen system call, and forgets what was not synced."""

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick.vault.private import Disk


class PowerCut(BaseException):
    """The machine stops here; no handler of ours runs."""


@dataclass(slots=True)
class _Undo:
    directory: Path | None  # durable once this directory is synced
    inode: int | None  # or once this file is synced
    undo: Callable[[], None] = field(repr=False)


class FailingDisk(Disk):
    """Fails at call number `at` (0 is the first): with a power cut, or with an error of the system.

    `torn`: the call that fails, if it writes, has written half. After a cut, `recover` plays what the disk forgot:
    `keeps` = "all" (everything reached the platter), "synced" (only what was synced did), or "names" (names did, contents
    that were not synced did not: the empty file behind a finished rename).
    """

    def __init__(self, *, at: int = -1, error: int | None = None, torn: bool = False, shadow: Path | None = None) -> None:
        self.at: Final = at
        self.calls = 0
        self.log: list[str] = []
        self._error = error
        self._torn = torn
        self._shadow = shadow
        self._pending: list[_Undo] = []
        self._paths: dict[int, Path] = {}
        self.failed = False

    def _step(self, name: str) -> bool:
        """Count a call; True when the next line is to fail."""
        self.log.append(name)
        self.calls += 1
        return self.calls - 1 == self.at

    def _fail(self) -> None:
        self.failed = True
        if self._error is None:
            raise PowerCut
        raise OSError(self._error, os.strerror(self._error))

    def open(self, path: Path, flags: int) -> int:
        if self._step("open"):
            self._fail()
        fresh = bool(flags & os.O_CREAT)
        fd = super().open(path, flags)
        self._paths[fd] = path
        if fresh:
            self._remember(path.parent, None, lambda: os.unlink(path))
        return fd

    def write(self, fd: int, data: bytes) -> int:
        failing = self._step("write")
        if failing and not self._torn:
            self._fail()
        path = self._paths[fd]
        before = path.read_bytes()
        inode = os.fstat(fd).st_ino
        keep = os.open(path, os.O_RDWR) if self._shadow is not None else -1

        def undo() -> None:
            os.ftruncate(keep, 0)
            os.pwrite(keep, before, 0)

        self._remember(None, inode, undo)
        if failing:
            super().write(fd, data[: len(data) // 2])
            self._fail()
        # Short writes are allowed by write(2): always take one where it matters.
        return super().write(fd, data[: max(1, len(data) - 7)])

    def fsync(self, fd: int) -> None:
        if self._step("fsync"):
            self._fail()
        super().fsync(fd)
        path, inode = self._paths[fd], os.fstat(fd).st_ino
        self._pending = [undo for undo in self._pending if undo.directory != path and undo.inode != inode]

    def rename(self, old: Path, new: Path) -> None:
        if self._step("rename"):
            self._fail()
        saved = self._save(new) if new.is_file() else None
        super().rename(old, new)
        self._paths = {fd: new if path == old else path for fd, path in self._paths.items()}

        def undo() -> None:
            os.rename(new, old)
            if saved is not None:
                os.rename(saved, new)

        self._remember(new.parent, None, undo)

    def unlink(self, path: Path) -> None:
        if self._step("unlink"):
            self._fail()
        saved = self._save(path)
        super().unlink(path)
        if saved is not None:
            self._remember(path.parent, None, lambda: os.rename(saved, path))

    def mkdir(self, path: Path) -> None:
        if self._step("mkdir"):
            self._fail()
        super().mkdir(path)
        self._remember(path.parent, None, lambda: shutil.rmtree(path))

    def rmdir(self, path: Path) -> None:
        if self._step("rmdir"):
            self._fail()
        super().rmdir(path)
        self._remember(path.parent, None, lambda: os.mkdir(path, 0o700))

    def _remember(self, directory: Path | None, inode: int | None, undo: Callable[[], None]) -> None:
        if self._shadow is not None:
            self._pending.append(_Undo(directory, inode, undo))

    def _save(self, path: Path) -> Path | None:
        """Keep a file that loses its name: its name may come back."""
        if self._shadow is None:
            return None
        saved = self._shadow / str(self.calls)
        os.link(path, saved)
        return saved

    def recover(self, keeps: str) -> None:
        """The power is back: undo, newest first, what the disk did not keep."""
        for pending in reversed(self._pending):
            if keeps == "synced" or (keeps == "names" and pending.inode is not None):
                pending.undo()
        if self._shadow is not None:
            shutil.rmtree(self._shadow)
