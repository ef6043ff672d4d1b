"""What a machine remembers and nobody must prove: pair times, `time?` counters, addresses, and which mode worked where.

One small file beside the ledger, `memory` (0600), in canonical CBOR, replaced whole. It is no projection of the ledger (DESIGN section
4): losing it costs a `time?` or a slower first connect. Several processes may use it: every change is made under a lock. What changes
with every knock is not in it but in `times` (node/times.py).
"""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Unavailable
from tallystick.node.times import Times

MAX_BYTES: Final = 8_388_608
MAX_ITEMS: Final = 1_000_000
VERSION: Final = 1

_T = TypeVar("_T")
Table = dict[str, Value]


class _Seen:
    """What one file held. The file is kept open: while it is, no other file can have its inode."""

    __slots__ = ("_file", "identity", "table")

    def __init__(self, file: int) -> None:
        """Takes the descriptor over. Raises: OSError."""
        self._file = file
        found = os.fstat(file)
        self.identity = (found.st_dev, found.st_ino)
        self.table = _table(os.pread(file, found.st_size, 0))

    def __del__(self) -> None:
        os.close(self._file)


class Memory:
    """Rows by name. Readers see the whole of what the last writer left."""

    def __init__(self, path: Path) -> None:
        """`path`: of the file; it need not exist."""
        self._path = path
        self.times = Times(path.with_name(path.name + ".times"))
        self._seen: _Seen | None = None

    def get(self, name: str) -> Value:
        """The row, or None. Raises: Unavailable."""
        return self._load().get(name)

    def change(self, name: str, step: Callable[[Value], tuple[Encodable, _T]], *, durable: bool = False) -> _T:
        """Replace a row by what `step` makes of it, and return what it says besides.

        Args: durable: on the disk on return; otherwise a crash may bring back the row before, but never loses another row.
            step: returns None to drop the row.
        Raises: Unavailable; what `step` raises.
        """
        with self._locked():
            table = self._load()
            after, said = step(table.get(name))
            rows: dict[str, Encodable] = {key: value for key, value in table.items() if key != name}
            if after is not None:
                rows[name] = after
            self._store(rows, durable=durable)
        return said

    def put(self, rows: Mapping[str, Encodable]) -> None:
        """Replace several rows at once. Raises: Unavailable."""
        with self._locked():
            self._store({**self._load(), **rows}, durable=False)

    def forget(self, prefix: str) -> None:
        """Drop every row whose name begins so. Raises: Unavailable."""
        with self._locked():
            table = self._load()
            kept = {name: value for name, value in table.items() if not name.startswith(prefix)}
            if len(kept) != len(table):
                self._store(dict(kept), durable=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self._path.with_name(self._path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot lock {self._path.name}: {error.strerror}", "check the owner and mode of the home") from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError as error:
                raise Unavailable(f"cannot lock {self._path.name}: {error.strerror}", "the home must lie on a local disk") from error
            yield
        finally:
            os.close(lock)

    def _load(self) -> Table:
        seen = self._seen
        try:
            found = os.stat(self._path)
            if seen is None or seen.identity != (found.st_dev, found.st_ino):
                seen = self._seen = _Seen(os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Unavailable(f"cannot read {self._path.name}: {error.strerror}", "check the owner and mode of the home") from error
        return seen.table

    def _store(self, table: dict[str, Encodable], *, durable: bool) -> None:
        new = self._path.with_name(self._path.name + ".new")
        try:
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                data = memoryview(encode([VERSION, table]))
                while data:
                    data = data[os.write(descriptor, data) :]
                # Always: a name that points to a file without its bytes would lose what was durable before (XFS does that).
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(new, self._path)
            if durable:
                folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    os.fsync(folder)
                finally:
                    os.close(folder)
        except OSError as error:
            raise Unavailable(f"cannot write {self._path.name}: {error.strerror}", "check the free space of the home") from error
        self._load()  # now, while nobody waits: the next who asks is about to knock


def _table(raw: bytes) -> Table:
    try:
        match decode(raw, max_bytes=MAX_BYTES, max_items=MAX_ITEMS):
            case [int(version), dict(table)] if version == VERSION:
                return {str(name): value for name, value in table.items()}
    except Malformed:
        pass
    # A torn file can only come from a disk that lied about a rename; what it held can be learned again.
    return {}
