"""What writes the tape: an SQLite VFS, and the disks of the body store and of the vault."""

import os
from pathlib import Path
from typing import Any

import apsw

from tallystick.storage.disk import Disk
from tallystick.vault.private import Disk as VaultDisk
from tests.powercut.tape import FOLDER, Tape


class TapeVFS(apsw.VFS):
    """The system's VFS, on tape."""

    def __init__(self, name: str, tape: Tape) -> None:
        self.tape = tape
        self.vfs_name = name
        super().__init__(name, base="")

    def xOpen(self, name: Any, flags: list[int]) -> Any:
        return TapeFile(self.tape, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        super().xDelete(filename, syncdir)
        name = self.tape.name(filename)
        if self.tape.knows(name):
            self.tape.unlink(name)
            if syncdir:
                self.tape.sync_folder(str(Path(name).parent))


class TapeFile(apsw.VFSFile):
    """A file whose changes are on tape."""

    def __init__(self, tape: Tape, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self.tape = tape
        self.short = tape.name(name.filename() if isinstance(name, apsw.URIFilename) else str(name))
        self.fresh = not tape.knows(self.short)
        if self.fresh:
            tape.create(self.short)
        self.node = tape.node(self.short)

    def xWrite(self, data: bytes, offset: int) -> None:
        super().xWrite(data, offset)
        self.tape.write(self.node, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:
        super().xTruncate(newsize)
        self.tape.resize(self.node, newsize)

    def xSync(self, flags: int) -> None:
        super().xSync(flags)
        self.tape.sync(self.node)
        if self.fresh:  # os_unix.c, UNIXFILE_DIRSYNC: a journal that was just made syncs its folder with itself
            self.fresh = False
            self.tape.sync_folder(str(Path(self.short).parent))


class TapeDisk(Disk):
    """The disk of bodies and of published files, on tape."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def open(self, path: Path, flags: int, mode: int = 0o600) -> int:
        fd = super().open(path, flags, mode)
        name = self.tape.name(path)
        if not self.tape.knows(name):
            self.tape.create(name)
        return fd

    def pwrite(self, fd: int, data: bytes | memoryview, at: int) -> int:
        written = super().pwrite(fd, data, at)
        self.tape.write(self._node(fd), at, bytes(data[:written]))
        return written

    def fdatasync(self, fd: int) -> None:
        super().fdatasync(fd)
        self.tape.sync(self._node(fd))

    def fsync_folder(self, path: Path) -> None:
        super().fsync_folder(path)
        self.tape.sync_folder(self.tape.name(path))

    def mkdir(self, path: Path, mode: int = 0o700) -> None:
        super().mkdir(path, mode)
        self.tape.mkdir(self.tape.name(path))

    def link(self, old: Path, new: Path) -> None:
        super().link(old, new)
        self.tape.link(self.tape.name(old), self.tape.name(new))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.tape.unlink(self.tape.name(path))

    def replace(self, old: Path, new: Path) -> None:
        super().replace(old, new)
        self.tape.rename(self.tape.name(old), self.tape.name(new))

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self.tape.unlink(self.tape.name(path))

    def _node(self, fd: int) -> int:
        return self.tape.node(self.tape.name(os.readlink(f"/proc/self/fd/{fd}")))


class TapeVault(VaultDisk):
    """The vault's disk, on tape. A file keeps its node while it is open, whatever becomes of its name."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._open: dict[int, tuple[str, int]] = {}
        self._ends: dict[int, int] = {}

    def open(self, path: Path, flags: int) -> int:
        fd = super().open(path, flags)
        name = self.tape.name(path)
        folder = bool(flags & os.O_DIRECTORY)
        if not folder and not self.tape.knows(name):
            self.tape.create(name)
        self._open[fd] = (name, FOLDER if folder else self.tape.node(name))
        self._ends[fd] = 0
        return fd

    def write(self, fd: int, data: bytes) -> int:
        written = super().write(fd, data)
        self.tape.write(self._open[fd][1], self._ends[fd], bytes(data[:written]))
        self._ends[fd] += written
        return written

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        name, node = self._open[fd]
        if node == FOLDER:
            self.tape.sync_folder(name)
        else:
            self.tape.sync(node)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.tape.rename(self.tape.name(old), self.tape.name(new))

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self.tape.unlink(self.tape.name(path))

    def mkdir(self, path: Path) -> None:
        super().mkdir(path)
        self.tape.mkdir(self.tape.name(path))

    def rmdir(self, path: Path) -> None:
        super().rmdir(path)
        self.tape.unlink(self.tape.name(path))
