"""A connection to the ledger's database, as every part of the house opens it, and what its errors mean to whoever reads them."""

import os
from pathlib import Path
from typing import Final

import apsw

from tallystick.errors import Refused, Unavailable
from tallystick.storage.disk import PASSING

BUSY_MS: Final = 10_000  # how long another process may hold the database


def connect(path: Path, *, write: bool, vfs: str | None = None) -> apsw.Connection:
    """Open a database as every part of the house does. Raises: Unavailable."""
    flags = apsw.SQLITE_OPEN_READWRITE if write else apsw.SQLITE_OPEN_READONLY
    try:
        db = apsw.Connection(str(path), flags=flags, vfs=vfs)
        db.set_busy_timeout(BUSY_MS)
        # A plan of a query does not depend on what is bound to it. Otherwise SQLite prepares a statement with a range anew for each other
        # value, to look at statistics that we do not keep: that costs five times the query.
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        db.pragma("foreign_keys", True)
        if write:
            if db.pragma("journal_mode", "wal") != "wal":
                raise Unavailable(f"{path.name}: this file system cannot hold a write-ahead log")
            db.pragma("synchronous", "full")
            db.pragma("secure_delete", True)
            db.pragma("wal_autocheckpoint", 0)  # SQLite hides an error of its own checkpoints; ours are not hidden
            db.pragma("cache_size", -65_536)
        else:
            db.pragma("query_only", True)
            db.pragma("cache_size", -16_384)
        db.pragma("temp_store", "memory")
    except apsw.Error as error:
        raise unavailable(error) from error
    return db


def unavailable(error: apsw.Error) -> Unavailable:
    """What a database error means to the one who reads it."""
    if isinstance(error, apsw.FullError):
        return Unavailable("the disk is full; nothing of this was recorded", "Free some space and try again.")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return Unavailable("another process holds the ledger", "Is a second house running on this state directory?")
    if isinstance(error, (apsw.ReadOnlyError, apsw.PermissionsError, apsw.CantOpenError)):
        return Unavailable(f"the ledger cannot be written or opened: {error}", "Check the owner and mode of the state directory.")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return Unavailable(f"the ledger's database is damaged: {error}", "Run `tally verify`; `tally rebuild` may mend it.")
    return Unavailable(f"the ledger's disk failed: {error}", "Whether the last entries were kept is seen at the next start.")


def passing(error: BaseException) -> bool:
    """Whether a failed call has changed nothing on the disk, and may work again later."""
    if isinstance(error, Unavailable) and isinstance(error.__cause__, OSError):
        return error.__cause__.errno in PASSING
    return isinstance(error, (apsw.FullError, apsw.BusyError, apsw.LockedError))


def make_file(path: Path) -> None:
    """Create the database's file, for its owner alone. Raises: Refused when it is there, Unavailable."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise Refused(f"{path.name} exists; a ledger is never made anew", "Choose another TALLY_HOME.") from None
    except OSError as error:
        raise Unavailable(f"cannot make {path}: {error.strerror}") from error
