"""put, get, ls, rm, mv: files behind a pair."""

import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tallystick.errors import Misuse, Unavailable
from tallystick.node.commands.here import run
from tallystick.node.commands.where import the_house
from tallystick.node.machine import Machine
from tallystick.node.remote import Got, HouseClient
from tallystick.node.settings import Settings
from tallystick.pair.pairing import PairType

Progress = Callable[[int, int | None], None]


def put(settings: Settings, *, source: Path | None, house: str, path: str, progress: Progress) -> dict[str, Any]:
    """Store a file, or standard input where `source` is None."""
    began = time.monotonic()
    with Machine.open(settings) as machine, _opened(source) as file:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                return dict(await client.put(path, file, progress=progress))

        stored = run(work())
        return {
            "house": row.label,
            "path": stored["path"],
            "bytes": stored["size"],
            "sha256": stored["sha256"],
            "version": stored["version"],
            "entry": stored["entry"],
            "seconds": time.monotonic() - began,
        }


def _opened(source: Path | None) -> BinaryIO:
    """The source as a file that can be read again from any offset: standard input is kept in a temporary file first."""
    try:
        if source is not None:
            if source.is_dir():
                raise Misuse(f"{source} is a directory", "store one file at a time")
            return source.open("rb")
        spool = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        while chunk := sys.stdin.buffer.read(1 << 20):
            spool.write(chunk)
        spool.seek(0)
        return spool
    except OSError as error:
        raise Unavailable(f"cannot read {source or 'standard input'}: {error.strerror}") from error


def get(
    settings: Settings,
    *,
    house: str,
    path: str,
    target: Path | None,
    span: tuple[int, int | None] | None,
    progress: Progress,
    version: int | None = None,
) -> dict[str, Any]:
    """Fetch a file, or some of its bytes, into `target` (replaced only when all of it is there), or to standard output.

    Args: version: the number of an older content, as `versions` shows it.
    """
    began = time.monotonic()
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work(sink: Callable[[bytes], object]) -> Got:
            async with await HouseClient.open(machine, row) as client:
                return await client.get(path, sink, span=span, version=version, progress=progress)

        if target is None:
            got = run(work(sys.stdout.buffer.write))
            sys.stdout.buffer.flush()
        else:
            with replacing(target) as file:
                got = run(work(file.write))
        return {
            "house": row.label,
            "path": path,
            "target": "-" if target is None else str(target),
            "bytes": got["bytes"],
            "sha256": got["sha256"],
            "entry": got["entry"],
            "seconds": time.monotonic() - began,
        }


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A file beside `target` that takes its place when all of it was written, and leaves nothing otherwise.

    Raises: Misuse: the target is a directory.  Unavailable: it cannot be written.
    """
    if target.is_dir():
        raise Misuse(f"{target} is a directory", "name the file to write")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise Unavailable(f"cannot write {target}: {error.strerror}", "check the folder and its free space") from error
    finally:
        part.unlink(missing_ok=True)


def ls(settings: Settings, *, house: str, path: str) -> dict[str, Any]:
    """A folder, complete. For an INTERFACE pair `files` is empty and `summary` holds the counts."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                status = await client.status()
                if status["type"] is PairType.INTERFACE:
                    return {"files": [], "summary": await client.summary()}
                return {"files": await client.ls(path), "summary": {}}

        return {"house": row.label, "path": path, **run(work())}


def versions(settings: Settings, *, house: str, path: str) -> dict[str, Any]:
    """The contents that a file once had, newest first. For an INTERFACE pair `versions` is empty and `summary` holds the counts."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                if (await client.status())["type"] is PairType.INTERFACE:
                    return {"versions": [], "summary": await client.summary()}
                return {"versions": await client.versions(path), "summary": {}}

        return {"house": row.label, "path": path, **run(work())}


def uploads(settings: Settings, *, house: str) -> dict[str, Any]:
    """What this machine has begun to store in a house and neither finished nor given up."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                return {"uploads": await client.uploads()}

        return {"house": row.label, **run(work())}


def give_up(settings: Settings, *, house: str, upload: str) -> dict[str, Any]:
    """Give an unfinished upload of this machine up."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                return {**await client.give_up(upload)}

        gone = run(work())
        return {"house": row.label, "path": gone["path"], "entry": gone["entry"]}


def rm(settings: Settings, *, house: str, path: str) -> dict[str, Any]:
    """Remove a file; its content stays as a version."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                return dict(await client.rm(path))

        gone = run(work())
        return {"house": row.label, "path": gone["path"], "entry": gone["entry"]}


def mv(settings: Settings, *, house: str, path: str, target: str) -> dict[str, Any]:
    """Rename a file within a house."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def work() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                return dict(await client.mv(path, target))

        moved = run(work())
        return {"house": row.label, "path": moved["path"], "target": moved["target"], "entry": moved["entry"]}
