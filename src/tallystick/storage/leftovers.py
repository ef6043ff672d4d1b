"""Copies of a ledger that lie beside it while something is made of them, and what a program that died left of them.

They hold in clear what the ledger holds. So whatever erases something, and every start, takes away what nobody is at any more.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tallystick.errors import Unavailable

COPY: Final = ".backup.sqlite"
KEYS: Final = ".backup.keys"
LOCK: Final = "backup.lock"
REBUILT: Final = ".rebuilt"
_BESIDE: Final = ("", "-journal", "-wal", "-shm")


@contextlib.contextmanager
def copying(folder: Path) -> Iterator[None]:
    """Nobody else copies the ledger in this folder meanwhile. Raises: Unavailable: somebody does."""
    with _held(folder) as held:
        if not held:
            raise Unavailable("another backup of this machine is being written", "wait for it, and try again")
        yield


def clear_copies(database: Path) -> None:
    """Take away what lies beside a ledger and nobody is at. The caller has the ledger open, so nobody rebuilds it. Raises: Unavailable."""
    folder = database.parent
    rebuilt = [folder / (database.name + REBUILT + ending) for ending in _BESIDE]
    copies = [folder / (name + ending) for name in (COPY, KEYS) for ending in _BESIDE]
    if not any(path.exists() for path in (*rebuilt, *copies)):
        return
    with _held(folder) as held:
        try:
            for path in (*rebuilt, *(copies if held else ())):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot remove an old copy of the ledger: {error.strerror}", f"remove {COPY} in {folder}") from error


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[bool]:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot lock {LOCK}: {error.strerror}", "check the owner and mode of the home") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)
