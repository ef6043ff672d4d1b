"""The home: one directory with everything a machine keeps, and the lock that lets one process hold it.

The directory is 0700 and belongs to who runs the machine; wider modes are refused, not mended, because somebody may have
read what lies in it. `house.lock` is held with flock(2), which the kernel releases when the holder dies: a stale lock cannot be.
"""

import contextlib
import errno
import fcntl
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.node.settings import FILE_NAME

DIRECTORY_MODE: Final = 0o700
FILE_MODE: Final = 0o600
# unix(7): sun_path holds 108 bytes with its terminating zero.
MAX_SOCKET_PATH_BYTES: Final = 107
LOOKS: Final = 3
LOOK_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Home:
    """The paths of a home directory. Making one touches no disk; `create` and `open` do."""

    path: Path

    @property
    def vault(self) -> Path:
        """Private keys and pair secrets (0700)."""
        return self.path / "vault"

    @property
    def database(self) -> Path:
        """The entries of the ledger and the state they bring about."""
        return self.path / "house.sqlite"

    @property
    def tiles(self) -> Path:
        """The public files of the log."""
        return self.path / "tiles"

    @property
    def bodies(self) -> Path:
        """Openings: salts and clear values, each in a slot that can be erased."""
        return self.path / "bodies"

    @property
    def settings_file(self) -> Path:
        """tally.toml."""
        return self.path / FILE_NAME

    @property
    def lock_file(self) -> Path:
        """Held by the one process that runs this home."""
        return self.path / "house.lock"

    @property
    def house_socket(self) -> Path:
        """Where commands are given at the house itself."""
        return self.path / "house.sock"

    def exists(self) -> bool:
        """Whether a machine was initialised here."""
        return self.vault.is_dir() and self.database.exists()

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the directory (0700), or take an existing one that is private already.

        Raises: Refused: it exists and others may look inside. Misuse: the path is too long for a socket. Unavailable: no disk.
        """
        home = cls(path)
        if len(os.fsencode(home.house_socket)) > MAX_SOCKET_PATH_BYTES:
            raise Misuse(f"the path of the home is too long for a socket: {path}", "choose a home of at most 90 characters")
        try:
            for parent in reversed(path.absolute().parents):
                if not parent.exists():
                    parent.mkdir(
                        mode=DIRECTORY_MODE, exist_ok=True
                    )  # XDG Base Directory 0.8; whoever could write there could move the home
            path.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
        except FileExistsError:
            raise Misuse(f"{path} is not a directory", "choose another TALLY_HOME") from None
        except OSError as error:
            raise Unavailable(f"cannot make {path}: {error.strerror}", "choose a TALLY_HOME you may write to") from error
        check_private_directory(path)
        return home

    @classmethod
    def open(cls, path: Path) -> Self:
        """The home of a machine that was initialised here.

        Raises: Misuse: nothing was initialised here. Refused: others may look inside. Unavailable: it cannot be read.
        """
        home = cls(path)
        try:
            if not home.exists():
                raise Misuse(f"there is no machine in {path}", "run `tally init` for a house, `tally pair INVITE` to pair with one")
        except PermissionError as error:
            raise Unavailable(f"cannot look into {path}: {error.strerror}", "run as the user this machine belongs to") from error
        check_private_directory(path)
        return home

    def lock(self) -> "HouseLock":
        """Take `house.lock` for this process. Raises: Unavailable: another process holds it, named by its pid."""
        return HouseLock.take(self)


def check_private_directory(path: Path) -> None:
    """Refuse a directory that others may enter or that belongs to somebody else (root may look at anybody's)."""
    try:
        status = path.stat()
    except OSError as error:
        raise Unavailable(f"cannot look at {path}: {error.strerror}", "run as the user this machine belongs to") from error
    if not stat.S_ISDIR(status.st_mode):
        raise Misuse(f"{path} is not a directory", "choose another TALLY_HOME")
    if os.geteuid() not in (status.st_uid, 0):
        raise Refused(f"{path} belongs to uid {status.st_uid}, not to you", "run as its owner, or choose another TALLY_HOME")
    if status.st_mode & 0o077:
        mode = stat.S_IMODE(status.st_mode)
        raise Refused(f"{path} has mode {mode:04o}: others may look inside", f"if nobody did: chmod 700 {path}")


def check_private_file(path: Path) -> None:
    """Refuse a file that others may read or write."""
    try:
        status = path.lstat()
    except OSError as error:
        raise Unavailable(f"cannot look at {path}: {error.strerror}", "run as the user this machine belongs to") from error
    if not stat.S_ISREG(status.st_mode):
        raise Refused(f"{path} is not a regular file", "remove it if you did not put it there")
    if status.st_mode & 0o077:
        raise Refused(f"{path} has mode {stat.S_IMODE(status.st_mode):04o}: others may read it", f"if nobody did: chmod 600 {path}")


class HouseLock:
    """`house.lock`, held until `release` or until this process ends."""

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor = descriptor
        self._path = path

    @classmethod
    def take(cls, home: Home) -> Self:
        """Take the lock at once or not at all; waiting would hide who holds it."""
        path = home.lock_file
        owner = _owner(home.path)
        if os.geteuid() == 0 and owner != 0:
            # Files that root makes here would be closed to the machine itself the next time it starts.
            raise Refused(f"{home.path} belongs to uid {owner}, and you are root", f"run as that user: sudo -u '#{owner}' tally ...")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
        except OSError as error:
            raise Unavailable(f"cannot open {path}: {error.strerror}", "check the owner and the free space of the home") from error
        try:
            _flock(descriptor)
        except OSError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise Unavailable(f"cannot lock {path}: {error.strerror}", "the home must lie on a local disk") from error
            who = f"process {holder}" if holder else "another process"
            raise Unavailable(f"{who} holds {path}", "stop it first, or give the command through it (it answers on house.sock)") from None
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            os.close(descriptor)
            raise Unavailable(f"cannot write {path}: {error.strerror}", "check the free space of the home") from error
        return cls(descriptor, path)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def _flock(descriptor: int) -> None:
    """flock(2) without waiting, but not put off by `holder_of`, which holds the lock for some microseconds."""
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOOK_S)
    return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError as error:
        raise Unavailable(f"cannot look at {path}: {error.strerror}", "is it mounted?") from error


def _holder(descriptor: int) -> int:
    """The pid the holder wrote, or 0 where it has not written one yet."""
    try:
        text = os.pread(descriptor, 20, 0).strip()
    except OSError:
        return 0
    return int(text) if text.isdigit() and len(text) < 10 else 0


def holder_of(home: Home) -> int:
    """The pid of the process that holds this home, or 0 when nobody does. For `status` and `doctor`; it may change at once."""
    try:
        descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return 0
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return _holder(descriptor)
    else:
        return 0
    finally:
        os.close(descriptor)
