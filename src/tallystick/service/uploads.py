"""Staged uploads: bytes that have arrived and are nowhere yet.

An upload belongs to one pairing and one path, both fixed when it begins. It is a data file and a small JSON file in
`.tally/uploads`; its offset is the data file's length, so it survives a restart. Each opening of a writer ends the one
before it: a client that roamed need not wait for its dead connection.
"""

import hashlib
import os
import re
import secrets
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.service.disk import Disk, told
from tallystick.service.records import read_small, unlink_quietly, write_small

MAX_WRITE_BYTES: Final = 16 * 1024 * 1024
_READ_BYTES: Final = 1024 * 1024
_ID: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
_NO_SUCH_UPLOAD: Final = "no such upload"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadLimits:
    """Sizes in bytes; `reserve_bytes` of the file system stay free for the ledger and everybody else."""

    reserve_bytes: int = 256 * 1024 * 1024
    max_file_bytes: int = 1 << 50
    max_uploads: int = 4096
    max_uploads_per_owner: int = 64


class _Info(msgspec.Struct, frozen=True, kw_only=True):
    path: str
    owner: str


@dataclass(slots=True)
class _Upload:
    """What the process knows of one upload. The hash runs along; after a restart it is computed again from the file."""

    info: _Info
    lock: threading.Lock = field(default_factory=threading.Lock)
    writer: "Writer | None" = None
    gone: bool = False
    sealed: bool = False
    running: Any = None  # hashlib object
    hashed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A staged file that no writer can reach any more and that is on the disk."""

    upload: str
    path: str
    size: int
    sha256: bytes
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An upload that was neither finished nor given up."""

    upload: str
    path: str
    offset: int
    mtime_ns: int


class Writer:
    """The one open end of an upload. `offset` is where the next byte goes."""

    def __init__(self, upload_id: str, upload: _Upload, fd: int, offset: int, area: "Uploads") -> None:
        self.upload_id = upload_id
        self.offset = offset
        self._upload = upload
        self._fd = fd
        self._area = area

    @property
    def path(self) -> str:
        """The path this upload was begun for."""
        return self._upload.info.path

    def write(self, data: bytes | memoryview) -> int:
        """Append `data`; returns the new offset. On a full disk nothing of `data` stays.

        Raises: Misuse when another writer took over or the upload is finished, Refused when the file grows too large, Unavailable.
        """
        size = len(data)
        if size > MAX_WRITE_BYTES:
            raise Misuse(f"at most {MAX_WRITE_BYTES} bytes are written at once")
        with self._upload.lock:
            self._standing()
            self._area.admit(self.offset + size, size)
            try:
                self._area.disk.write(self._fd, data, self.offset)
            except OSError as error:
                raise self._take_back(error) from error
            if self._upload.running is not None and self._upload.hashed == self.offset:
                self._upload.running.update(data)
                self._upload.hashed += size
            self.offset += size
            return self.offset

    def _standing(self) -> None:
        if self._upload.gone:
            raise Misuse("the upload is finished or was removed", "begin a new one")
        if self._upload.writer is not self:
            raise Misuse("another connection continues this upload", "ask for its offset and continue there")

    def _take_back(self, error: OSError) -> TallyError:
        try:
            self._area.disk.truncate(self._fd, self.offset)
        except OSError:
            self._upload.gone = True  # its length no longer says what arrived
        return told(error, "store the upload")

    def close(self) -> None:
        """Let go of the upload; it stays resumable. Any number of times."""
        with self._upload.lock:
            self.shut()

    def shut(self) -> None:
        """`close` for who holds the upload's lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._upload.writer is self:
            self._upload.writer = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Uploads:
    """The staging area. Callers may use it from many threads; one upload's calls wait for each other."""

    def __init__(self, fd: int, limits: UploadLimits, disk: Disk) -> None:
        self._fd = fd
        self._limits = limits
        self.disk = disk
        self._lock = threading.Lock()
        self._uploads: dict[str, _Upload] = {}
        for name in os.listdir(fd):
            self._adopt(name)

    def _adopt(self, name: str) -> None:
        """At start: take up what a former process left, remove what makes no sense. Raises: OSError."""
        stem, _, kind = name.rpartition(".")
        if kind == "json" and _ID.fullmatch(stem):
            raw = read_small(self.disk, name, self._fd)
            try:
                info = msgspec.json.decode(raw or b"", type=_Info)
            except msgspec.MsgspecError:
                unlink_quietly(self.disk, name, self._fd)
                return
            if self.disk.look(f"{stem}.data", self._fd) is not None:
                self._uploads[stem] = _Upload(info)
                return
            unlink_quietly(self.disk, name, self._fd)
        elif kind == "tmp" or (kind == "data" and self.disk.look(f"{stem}.json", self._fd) is None):
            unlink_quietly(self.disk, name, self._fd)

    def admit(self, size: int, coming: int) -> None:
        """Refuse a file of `size` that is too large, and any `coming` byte once the reserve is reached. Raises: Refused, Unavailable."""
        if size > self._limits.max_file_bytes:
            raise Refused("the file is larger than this archive takes", f"the limit is {self._limits.max_file_bytes} bytes")
        if coming and self.disk.free_bytes(self._fd) < self._limits.reserve_bytes + coming:
            raise Unavailable("could not store the upload: the disk is full", "free space on the archive's file system")

    def begin(self, path: str, owner: bytes) -> Writer:
        """A new, empty upload. Raises: Refused when this pairing or the house has too many open ones, Unavailable."""
        with self._lock:
            mine = sum(1 for upload in self._uploads.values() if upload.info.owner == owner.hex())
            if mine >= self._limits.max_uploads_per_owner or len(self._uploads) >= self._limits.max_uploads:
                raise Refused("too many unfinished uploads", "finish or remove some")
            self.admit(0, 1)
            upload_id = secrets.token_hex(16)
            upload = _Upload(_Info(path=path, owner=owner.hex()), running=hashlib.sha256())
            try:
                write_small(self.disk, f"{upload_id}.json", self._fd, msgspec.json.encode(upload.info), sync=False)
                fd = self.disk.create(f"{upload_id}.data", self._fd)
            except OSError as error:
                raise told(error, "begin the upload") from error
            self._uploads[upload_id] = upload
        writer = Writer(upload_id, upload, fd, 0, self)
        upload.writer = writer
        return writer

    def _find(self, upload_id: str, owner: bytes) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.gone or upload.info.owner != owner.hex():
            raise Refused(_NO_SUCH_UPLOAD, "it expired, was finished, or belongs to another pair: begin a new one")
        return upload

    def offset(self, upload_id: str, owner: bytes) -> int:
        """How many bytes have arrived. Raises: Refused, Unavailable."""
        upload = self._find(upload_id, owner)
        with upload.lock:
            if upload.writer is not None:
                return upload.writer.offset
            found = self.disk.look(f"{upload_id}.data", self._fd)
        if found is None:
            raise Refused(_NO_SUCH_UPLOAD)
        return found.st_size

    def resume(self, upload_id: str, owner: bytes, offset: int) -> Writer:
        """Continue an upload where it stands. Raises: Misuse when `offset` is not where it stands, Refused, Unavailable."""
        upload = self._find(upload_id, owner)
        with upload.lock:
            _open_still(upload)
            try:
                fd = self.disk.reopen(f"{upload_id}.data", self._fd)
            except OSError as error:
                raise told(error, "continue the upload") from error
            size = os.fstat(fd).st_size
            if offset != size:
                os.close(fd)
                raise Misuse(f"the upload stands at {size}", "continue there")
            if upload.writer is not None:
                upload.writer.shut()
            upload.writer = Writer(upload_id, upload, fd, size, self)
            return upload.writer

    def seal(self, upload_id: str, owner: bytes) -> Sealed:
        """End all writing until `unseal`, put the bytes on the disk and hash them.

        A failed fsync destroys the upload: the kernel has dropped the pages and would call a second attempt a success.
        Raises: Refused when there is no such upload, Misuse when it is being committed already, Unavailable.
        """
        upload = self._find(upload_id, owner)
        with upload.lock:
            _open_still(upload)
            if upload.writer is not None:
                upload.writer.shut()
            try:
                fd = self.disk.reopen(f"{upload_id}.data", self._fd)
            except OSError as error:
                raise told(error, "finish the upload") from error
            try:
                try:
                    self.disk.fsync(fd)
                except OSError as error:
                    upload.gone = True
                    self._forget(upload_id)
                    raise told(error, "put the upload on the disk") from error
                found = os.fstat(fd)
                digest = self._digest(upload, fd, found.st_size)
                upload.sealed = True
            except OSError as error:
                raise told(error, "read the upload back") from error
            finally:
                os.close(fd)
        return Sealed(
            upload=upload_id,
            path=upload.info.path,
            size=found.st_size,
            sha256=digest,
            mtime_ns=found.st_mtime_ns,
            inode=found.st_ino,
        )

    def _digest(self, upload: _Upload, fd: int, size: int) -> bytes:
        if upload.running is None or upload.hashed != size:
            upload.running, upload.hashed = hashlib.sha256(), 0
            while piece := os.pread(fd, _READ_BYTES, upload.hashed):
                upload.running.update(piece)
                upload.hashed += len(piece)
        digest: bytes = upload.running.digest()
        return digest

    def unseal(self, upload_id: str) -> None:
        """The commit did not happen: the upload can be continued again."""
        upload = self._uploads.get(upload_id)
        if upload is not None:
            upload.sealed = False

    def hand_over(self, upload_id: str, name: str, at: int) -> None:
        """Move the staged file out of the area; the upload is gone. Raises: OSError."""
        self.disk.rename(f"{upload_id}.data", self._fd, name, at)
        upload = self._uploads.get(upload_id)
        if upload is not None:
            upload.gone = True

    def take_back(self, upload_id: str, name: str, at: int) -> None:
        """Undo `hand_over` of a change that did not happen. Raises: OSError."""
        self.disk.rename(name, at, f"{upload_id}.data", self._fd)
        upload = self._uploads.get(upload_id)
        if upload is not None:
            upload.gone = False

    def settle(self, upload_id: str) -> None:
        """The upload became a file: forget its name. Raises: OSError."""
        with self._lock:
            self._uploads.pop(upload_id, None)
        unlink_quietly(self.disk, f"{upload_id}.json", self._fd)

    def _forget(self, upload_id: str) -> None:
        with self._lock:
            self._uploads.pop(upload_id, None)
        for kind in ("json", "data"):
            unlink_quietly(self.disk, f"{upload_id}.{kind}", self._fd)

    def of(self, owner: bytes) -> tuple[Unfinished, ...]:
        """The uploads of a pairing, the one with the oldest last byte first. Raises: OSError."""
        found: list[Unfinished] = []
        for upload_id, upload in list(self._uploads.items()):
            if upload.info.owner == owner.hex() and not upload.gone and (data := self.disk.look(f"{upload_id}.data", self._fd)) is not None:
                found.append(Unfinished(upload=upload_id, path=upload.info.path, offset=data.st_size, mtime_ns=data.st_mtime_ns))
        return tuple(sorted(found, key=lambda one: (one.mtime_ns, one.upload)))

    def give_up(self, upload_id: str, owner: bytes) -> str:
        """Remove an upload; the path it was for. Raises: Refused, Misuse when it is being committed, Unavailable."""
        upload = self._find(upload_id, owner)
        with upload.lock:
            _open_still(upload)
            upload.gone = True  # from here on nobody seals it
        self._clear(upload_id, upload)
        return upload.info.path

    def remove(self, upload_id: str, owner: bytes) -> None:
        """Remove an upload that its commit has found wanting. Raises: Refused, Unavailable."""
        self._clear(upload_id, self._find(upload_id, owner))

    def _clear(self, upload_id: str, upload: _Upload) -> None:
        with upload.lock:
            upload.gone = True
            if upload.writer is not None:
                upload.writer.shut()
            try:
                self._forget(upload_id)
            except OSError as error:
                raise told(error, "remove the upload") from error

    def expire(self, before_ns: int) -> int:
        """Remove uploads that received their last byte before `before_ns`; returns how many. Raises: Unavailable."""

        def stale(upload_id: str, _: _Upload) -> bool:
            found = self.disk.look(f"{upload_id}.data", self._fd)
            return found is None or found.st_mtime_ns < before_ns

        return self._sweep(stale)

    def keep(self, owners: Collection[bytes]) -> int:
        """Remove the uploads of everybody else; returns how many. Raises: Unavailable."""
        names = {owner.hex() for owner in owners}
        return self._sweep(lambda _, upload: upload.info.owner not in names)

    def _sweep(self, wanted: Callable[[str, _Upload], bool]) -> int:
        """Remove the uploads that are `wanted` and not being committed."""
        removed = 0
        for upload_id, upload in list(self._uploads.items()):
            with upload.lock:
                if upload.gone or upload.sealed or not wanted(upload_id, upload):
                    continue
                upload.gone = True
                if upload.writer is not None:
                    upload.writer.shut()
                try:
                    self._forget(upload_id)
                except OSError as error:
                    raise told(error, "remove an upload") from error
            removed += 1
        return removed

    def totals(self) -> tuple[int, int]:
        """How many uploads are open, and their bytes. Raises: OSError."""
        sizes = [found.st_size for upload_id in list(self._uploads) if (found := self.disk.look(f"{upload_id}.data", self._fd))]
        return len(sizes), sum(sizes)


def _open_still(upload: _Upload) -> None:
    if upload.gone:
        raise Refused(_NO_SUCH_UPLOAD)
    if upload.sealed:
        raise Misuse("the upload is being committed", "wait for that answer")
