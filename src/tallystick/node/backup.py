"""A machine in one sealed file, taken while it runs (docs/spec/restore.md, section 8).

What stands in it is of one moment: the ledger and its state are copied by SQLite in one read transaction; the bodies are files that only
grow, and one that was erased meanwhile is erased in the copy too. The file is written beside its place, synced and renamed.
"""

import contextlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Final

import apsw

from tallystick.canonical import encode
from tallystick.errors import Refused, Unavailable
from tallystick.node.machine import Machine
from tallystick.storage.bodies import RECORD_BYTES
from tallystick.storage.connection import unavailable
from tallystick.storage.leftovers import COPY, KEYS, copying
from tallystick.storage.targets import scrub
from tallystick.vault.copying import vault_files
from tallystick.vault.stream import SealedWriter

MANIFEST: Final = "manifest"
MANIFEST_VERSION: Final = 1
DATABASE: Final = "house.sqlite"
LOOSE: Final = ("memory", "memory.times", "tally.toml")
_BLOCK: Final = 1 << 20
_ERASED: Final = 2  # storage/bodies.py

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was written: a ledger of this size and root; `length` and `digest` (SHA-256) of the whole file."""

    path: Path
    size: int
    root: bytes
    length: int
    digest: bytes


def write_backup(
    machine: Machine,
    target: Path,
    seal: Callable[[Callable[[bytes], object]], SealedWriter],
    progress: Progress,
    *,
    own_keys: bool = True,
) -> Backup:
    """Write everything of a machine into `target`.

    Args: seal: makes the writer that seals it.  own_keys: with the machine's own and its human keys; of a house that moves not.

    Raises: Refused: something stands there.  Unavailable: the disk is full or fails, or another backup is made; then nothing stands there.
    """
    if target.exists() or target.is_symlink():
        raise Refused(f"{target} exists", "a backup is never written over anything; choose another name")
    new = target.with_name(f".{target.name}.new")
    copy, keys = machine.home.path / COPY, machine.home.path / KEYS
    try:
        with copying(machine.home.path), _fresh(copy), _fresh(keys), _fresh(new) as file:
            size, root = _copy_database(machine, copy)
            whole = _Counted(file)
            writer = seal(whole.write)
            listed: list[tuple[str, int, bytes]] = []
            items = tuple(_items(machine, copy, keys, own_keys))
            total = sum(item.size for item in items)
            done = 0
            for item in items:
                digest = sha256()
                writer.write(_head(item.name, item.size))
                for block in item.blocks():
                    digest.update(block)
                    writer.write(block)
                    done += len(block)
                    progress(done, total)
                listed.append((item.name, item.size, digest.digest()))
            manifest = encode(
                [MANIFEST_VERSION, machine.role.value, bytes(machine.house_id), size, root, time.time_ns(), [list(row) for row in listed]]
            )
            writer.write(_head(MANIFEST, len(manifest)) + manifest)
            writer.finish()
            file.flush()
            os.fsync(file.fileno())
            _rename(new, target)
            return Backup(path=target, size=size, root=root, length=whole.count, digest=whole.digest.digest())
    except OSError as error:
        raise Unavailable(f"cannot write {target}: {error.strerror}", "nothing was left behind; look at the disk's space") from error


class _Counted:
    """Counts and hashes what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.count = 0
        self.digest = sha256()

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self.digest.update(data)
        self.count += len(data)


@dataclass(frozen=True, slots=True)
class _Item:
    name: str
    size: int
    path: Path | None
    data: bytes = b""

    def blocks(self) -> Iterator[bytes]:
        """Exactly `size` bytes. Raises: Unavailable: the file became shorter."""
        if self.path is None:
            yield self.data
            return
        left = self.size
        with self.path.open("rb") as file:
            while left:
                block = file.read(min(left, _BLOCK))
                if not block:
                    raise Unavailable(f"{self.path.name} became shorter while it was copied", "try again")
                left -= len(block)
                yield block


def _head(name: str, size: int) -> bytes:
    head = encode([name, size])
    return len(head).to_bytes(4, "big") + head


def _items(machine: Machine, copy: Path, keys: Path, own_keys: bool) -> Iterator[_Item]:
    """The segments before their keys, and the database last: what was erased while we copied is then missing in all of them."""
    home = machine.home
    for path in sorted(home.bodies.glob("*.seg")) if home.bodies.is_dir() else ():
        yield _Item(f"bodies/{path.name}", path.stat().st_size, path)
    if (home.bodies / "keys.bin").exists():
        shutil.copyfile(home.bodies / "keys.bin", keys)
    size = keys.stat().st_size // RECORD_BYTES * RECORD_BYTES
    yield _Item("bodies/keys.bin", size, keys)
    _drop_erased(copy, keys)
    yield _Item(DATABASE, copy.stat().st_size, copy)
    for name in LOOSE:
        path = home.path / name
        with contextlib.suppress(FileNotFoundError):
            data = path.read_bytes()
            yield _Item(name, len(data), None, data)
    for name, data in vault_files(home.vault, machine=own_keys, humans=own_keys):
        yield _Item(f"vault/{name}", len(data), None, data)


def _copy_database(machine: Machine, copy: Path) -> tuple[int, bytes]:
    """The database as it is at one moment. Returns: size and root of the tree in it. Raises: Unavailable."""
    try:
        source = apsw.Connection(str(machine.home.database), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            source.set_busy_timeout(10_000)
            source.pragma("wal_autocheckpoint", 0)
            source.execute("VACUUM INTO ?", (str(copy),))
        finally:
            source.close()
        db = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            row = db.execute("SELECT size, root FROM tree").fetchone()
        finally:
            db.close()
    except apsw.Error as error:
        raise unavailable(error) from error
    if row is None or not isinstance(row[0], int) or not isinstance(row[1], bytes):
        raise Unavailable("this ledger is empty", "`tally init` makes one")
    return row[0], row[1]


def _drop_erased(copy: Path, keys: Path) -> None:
    """A body that was erased after the database was copied stands in the copy no more, nor what was read in it. Raises: Unavailable."""
    gone: list[int] = []
    with keys.open("rb") as file:
        slot = 0
        while records := file.read(RECORD_BYTES * 16_384):
            states = records[::RECORD_BYTES]
            gone += [slot + at for at, state in enumerate(states) if state == _ERASED]
            slot += len(states)
    try:
        db = apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            db.pragma("secure_delete", True)
            db.pragma("journal_mode", "memory")
            known = db.execute("SELECT count(*) FROM bodies").get
            db.execute("BEGIN")
            for slot in gone:
                db.execute("DELETE FROM targets WHERE entry IN (SELECT entry FROM bodies WHERE slot = ?)", (slot,))
                db.execute("DELETE FROM bodies WHERE slot = ?", (slot,))
                db.execute("DELETE FROM fresh WHERE slot = ?", (slot,))
            db.execute("COMMIT")
            if db.execute("SELECT count(*) FROM bodies").get != known:
                scrub(db)
        finally:
            db.close()
    except apsw.Error as error:
        raise unavailable(error) from error


@contextlib.contextmanager
def _fresh(path: Path) -> Iterator[IO[bytes]]:
    """A new private file, which is gone afterwards unless it was renamed. What a crash left of an earlier one is replaced."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISREG(path.lstat().st_mode):
            raise Refused(f"{path} is in the way", "remove it")
        path.unlink()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def _rename(new: Path, target: Path) -> None:
    """Into its place, and the name durable; never over anything. Raises: Refused, OSError."""
    try:
        os.link(new, target)  # unlike rename(2) it refuses where something appeared meanwhile
    except FileExistsError:
        raise Refused(f"{target} exists", "a backup is never written over anything; choose another name") from None
    except OSError:
        os.rename(new, target)  # a file system without links: a stick
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
