"""Files that a command reads or writes for a person: bounded, whole, and over no other."""

import os
from pathlib import Path

from tallystick.errors import Malformed, Refused, Unavailable


def read_file(path: Path, limit: int) -> bytes:
    """The bytes of a file. Raises: Unavailable; Malformed: it is larger than `limit`."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}", "check the path") from error
    if len(data) > limit:
        raise Malformed(f"{path} is larger than {limit} bytes")
    return data


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """A file that is there whole or not at all, and over no other. Raises: Refused, Unavailable."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        finally:
            os.close(file)
        try:
            os.link(beside, path)
        finally:
            beside.unlink()
    except FileExistsError:
        raise Refused(f"{path} exists", "choose another name") from None
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror}", "check the folder and its free space") from error
