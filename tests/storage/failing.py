"""A system that fails at its how-manieth call: the database's, or those that write bodies."""

import errno
import os
from pathlib import Path
from typing import Any

import apsw

from tallystick.storage.disk import Disk

_ERRORS = {errno.EIO: apsw.IOError, errno.ENOSPC: apsw.FullError}


class Fate:
    """Counts calls; the one numbered `at` (of these kinds, or of all) fails."""

    def __init__(self, at: int, code: int, kinds: frozenset[str] = frozenset()) -> None:
        self.at = at
        self.code = code
        self.kinds = kinds
        self.counted = 0
        self.calls: list[str] = []
        self.failed = ""
        self.after: list[str] = []

    def due(self, call: str) -> bool:
        self.calls.append(call)
        if self.failed:
            self.after.append(call)
            return False
        if self.kinds and call not in self.kinds:
            return False
        self.counted += 1
        if self.counted - 1 != self.at:
            return False
        self.failed = call
        return True


class FailingVFS(apsw.VFS):
    """The system's VFS. A failing write has written half."""

    def __init__(self, name: str, fate: Fate) -> None:
        self.fate = fate
        self.vfs_name = name
        super().__init__(name, base="")

    def meets(self, call: str) -> None:
        if self.fate.due(call):
            raise _ERRORS[self.fate.code](f"injected: {os.strerror(self.fate.code)}")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        if self.fate.due("open"):
            raise apsw.CantOpenError("injected")
        return FailingFile(self, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        self.meets("delete")
        super().xDelete(filename, syncdir)

    def xAccess(self, pathname: str, flags: int) -> bool:
        self.meets("access")
        return super().xAccess(pathname, flags)


class FailingFile(apsw.VFSFile):
    """A file that asks before each call."""

    def __init__(self, vfs: FailingVFS, name: Any, flags: list[int]) -> None:
        self.vfs = vfs
        super().__init__("", name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        self.vfs.meets("read")
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:
        if self.vfs.fate.due("write"):
            super().xWrite(data[: len(data) // 2], offset)
            raise _ERRORS[self.vfs.fate.code]("injected")
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        self.vfs.meets("truncate")
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        self.vfs.meets("sync")
        super().xSync(flags)

    def xFileSize(self) -> int:
        self.vfs.meets("size")
        return super().xFileSize()

    def xLock(self, level: int) -> None:
        self.vfs.meets("lock")
        super().xLock(level)


class FailingDisk(Disk):
    """The body store's disk. Writes are short, as write(2) may be; a failing one has written half."""

    def __init__(self, fate: Fate) -> None:
        self.fate = fate

    def meets(self, call: str) -> None:
        if self.fate.due(call):
            raise OSError(self.fate.code, os.strerror(self.fate.code))

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        self.meets("body open")
        return super().open(path, flags, mode)

    def pwrite(self, fd: int, data: bytes | memoryview, at: int) -> int:
        if self.fate.due("body write"):
            super().pwrite(fd, data[: len(data) // 2], at)
            raise OSError(self.fate.code, os.strerror(self.fate.code))
        return super().pwrite(fd, data if len(data) < 100 else data[:-60], at)

    def fdatasync(self, fd: int) -> None:
        self.meets("body sync")
        super().fdatasync(fd)

    def fsync_folder(self, path: Path) -> None:
        self.meets("body folder sync")
        super().fsync_folder(path)

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        self.meets("body mkdir")
        super().mkdir(path, mode)

    def link(self, old: Path, new: Path) -> None:
        self.meets("link")
        super().link(old, new)

    def unlink(self, path: Path) -> None:
        self.meets("unlink")
        super().unlink(path)
