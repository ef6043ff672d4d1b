"""What the archive writes about its files: one small JSON file each, in directories of its own.

The journal (`.tally/journal/<entry>.json`) says which change the ledger entry of that index began. When the change is done
the same file moves to `.tally/known/<hash of the path>.json` and is what the archive knows of the file: no second write.
What is known is only believed while the file still has that size and modification time; otherwise somebody else wrote it.
"""

import errno
import hashlib
import os
import re
import secrets
from typing import Final, Literal

import msgspec

from tallystick.errors import Unavailable
from tallystick.service.disk import Disk, telling

MAX_RECORD_BYTES: Final = 65_536
_ENTRY: Final = re.compile(r"([0-9]{20})\.json", re.ASCII)

Operation = Literal["put", "rm", "mv"]


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change, and afterwards what is known of the file it left. Times in nanoseconds since 1970, sizes in bytes."""

    op: Operation
    entry: int
    path: str
    size: int = 0
    mtime_ns: int = 0
    inode: int = 0
    sha256: str | None = None
    version: int | None = None
    source: str | None = None
    upload: str | None = None
    overwrite: bool = False
    directory: bool = False

    def describes(self, found: os.stat_result) -> bool:
        """Whether a file is still the one this record was written for."""
        return self.size == found.st_size and self.mtime_ns == found.st_mtime_ns


def key_of(path: str) -> str:
    """A path as one file name: the hex SHA-256 of its UTF-8 bytes."""
    return hashlib.sha256(path.encode()).hexdigest()


def read_small(disk: Disk, name: str, at: int) -> bytes | None:
    """A small file of ours; None when it is not there. Raises: OSError."""
    try:
        fd = disk.open_file(name, at)
    except FileNotFoundError:
        return None
    try:
        return os.read(fd, MAX_RECORD_BYTES)
    finally:
        os.close(fd)


def write_small(disk: Disk, name: str, at: int, data: bytes, *, sync: bool) -> None:
    """Write a small file of ours, whole or not at all (temporary name, fsync, rename). Raises: OSError."""
    temporary = f"{secrets.token_hex(8)}.tmp"
    fd = disk.create(temporary, at)
    try:
        disk.write(fd, data, 0)
        if sync:
            disk.fsync(fd)
    except OSError:
        unlink_quietly(disk, temporary, at)
        raise
    finally:
        os.close(fd)
    disk.rename(temporary, at, name, at)


def unlink_quietly(disk: Disk, name: str, at: int) -> bool:
    """Remove a name of ours if it is there; whether it was. Raises: OSError."""
    try:
        disk.unlink(name, at)
    except FileNotFoundError:
        return False
    return True


class Journal:
    """The open changes. `fd` is the journal's directory, `known` the directory of what is known."""

    def __init__(self, fd: int, known: int, disk: Disk) -> None:
        self.fd = fd
        self._known = known
        self._disk = disk

    @staticmethod
    def data_name(entry: int) -> str:
        """The name of a staged file whose rename has begun: it carries the entry index."""
        return f"{entry:020d}.data"

    @staticmethod
    def _record_name(entry: int) -> str:
        return f"{entry:020d}.json"

    def begin(self, record: Record) -> None:
        """Make the intention durable but for the directory, which the caller syncs with what follows. Raises: OSError."""
        write_small(self._disk, self._record_name(record.entry), self.fd, msgspec.json.encode(record), sync=True)

    def sync(self) -> None:
        self._disk.fsync(self.fd)

    def load(self, entry: int) -> Record | None:
        """The open change of an entry, or None. Raises: Unavailable."""
        with telling("read the archive's journal"):
            raw = read_small(self._disk, self._record_name(entry), self.fd)
        if raw is None:
            return None
        try:
            return msgspec.json.decode(raw, type=Record)
        except msgspec.MsgspecError as error:
            raise Unavailable("the archive's journal is damaged", "restore the archive's .tally directory from a backup") from error

    def open_entries(self) -> tuple[int, ...]:
        """The entries whose change may be unfinished, oldest first. Raises: Unavailable."""
        with telling("read the archive's journal"):
            names = os.listdir(self.fd)
        return tuple(sorted(int(match[1]) for name in names if (match := _ENTRY.fullmatch(name)) is not None))

    def become_known(self, record: Record) -> None:
        """The change is done and the record is now what is known of `record.path`. Raises: OSError."""
        self._disk.rename(self._record_name(record.entry), self.fd, f"{key_of(record.path)}.json", self._known)

    def forget(self, entry: int) -> None:
        """The change is done, or undone, and leaves nothing to know. Raises: OSError."""
        unlink_quietly(self._disk, self._record_name(entry), self.fd)


class Known:
    """What is known of the files in place: hash and version, by path."""

    def __init__(self, fd: int, disk: Disk) -> None:
        self._fd = fd
        self._disk = disk

    def of(self, path: str, found: os.stat_result) -> Record | None:
        """What is known of the file that stands at `path`, if it is still the one we knew. Raises: OSError."""
        raw = read_small(self._disk, f"{key_of(path)}.json", self._fd)
        if raw is None:
            return None
        try:
            record = msgspec.json.decode(raw, type=Record)
        except msgspec.MsgspecError:
            return None  # a cache: what cannot be read is not known
        return record if record.describes(found) else None

    def learn(self, record: Record) -> None:
        """Keep a hash that was computed on request. Raises: OSError."""
        write_small(self._disk, f"{key_of(record.path)}.json", self._fd, msgspec.json.encode(record), sync=False)

    def forget(self, path: str) -> None:
        """Raises: OSError."""
        unlink_quietly(self._disk, f"{key_of(path)}.json", self._fd)

    def move(self, source: str, target: str) -> None:
        """The file at `source` now stands at `target`. Raises: OSError."""
        try:
            self._disk.rename(f"{key_of(source)}.json", self._fd, f"{key_of(target)}.json", self._fd)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
