"""A house, for programs: files, status, log. Thin over `node.client`; a session that was cut is opened again where that is safe.

Reads are asked again. A put goes on where it stopped. What changes something and may have been done is never repeated.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.node.client import HouseSession, PairRow
from tallystick.node.fetching import Fetch, Got, plain, target_of
from tallystick.node.httpclient import Response
from tallystick.node.machine import Machine
from tallystick.node.upload import Progress, Reader, Source

__all__ = ["Got", "HouseClient", "Stored"]

TRIES: Final = 5  # in a row without one byte of progress
WAIT_S: Final = 0.2  # before the first of them; doubled each time
SMALL_BYTES: Final = 65_536  # goes in one request: sending it again costs less than asking where it stands
PAGE: Final = 1_000
MAX_LINE: Final = 1_048_576  # bytes of an entry as JSON


_T = TypeVar("_T")


class Stored(TypedDict):
    """A file that took its place. `version` names its content, `entry` its entry in the house's ledger."""

    path: str
    size: int
    sha256: str
    version: int
    entry: int


class HouseClient:
    """One house. Made by `open` (or `tallystick.sdk.connect`); one request at a time, the next waits."""

    def __init__(self, machine: Machine, pair: PairRow, session: HouseSession) -> None:
        """Use `open`."""
        self._machine = machine
        self._pair = pair
        self._session = session
        self._turn = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, machine: Machine, pair: PairRow, *, timeout_s: float | None = None) -> Self:
        """Knock and connect. Raises: as `HouseSession.open`."""
        return cls(machine, pair, await HouseSession.open(machine, pair, timeout_s=timeout_s))

    @property
    def name(self) -> str:
        """What this machine calls the house."""
        return self._pair.label

    @property
    def session(self) -> HouseSession:
        """The session of the moment: address, mode, visibility."""
        return self._session

    async def close(self) -> None:
        """End the session in order. Raises: as `HouseSession.close`."""
        self._closed = True
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed = True
        await self._session.__aexit__(kind, error, trace)

    # --- The house -------------------------------------------------------------------------------------------------------

    async def ping(self) -> float:
        """One small exchange with its entry in the house's ledger; how long it took, in seconds."""
        began = asyncio.get_running_loop().time()
        await self._read("/v1/ping", "pair.ping")
        return asyncio.get_running_loop().time() - began

    async def status(self) -> dict[str, Any]:
        """The house in counts and states, and this pair as the house sees it."""
        found: dict[str, Any] = await self._read("/v1/status", "house.status")
        return found

    async def summary(self) -> dict[str, Any]:
        """Counts and sizes of the archive: all that an INTERFACE pair may see."""
        found: dict[str, Any] = await self._read("/v1/summary", "archive.summary")
        return found

    async def checkpoint(self, old: int = 0) -> dict[str, Any]:
        """The newest signed checkpoint and the proof that it continues size `old`."""
        found: dict[str, Any] = await self._read(f"/v1/checkpoint?old={old}", "house.checkpoint")
        return found

    async def inbox(self) -> list[dict[str, Any]]:
        """The pairings that wait for a human (ADMIN pairs only)."""
        return list((await self._read("/v1/inbox", "house.inbox"))["proposals"])

    async def pairs(self) -> list[dict[str, Any]]:
        """Every pair of the house (ADMIN pairs only)."""
        return list((await self._read("/v1/pairs", "house.pairs"))["pairs"])

    async def log(self, *, after: int | None = None, limit: int = 50, **filters: str | int) -> list[dict[str, Any]]:
        """Entries of the house's ledger, oldest first: the newest `limit`, or those from `after` on (at most 200 at a time).

        `filters`: kind, pair, key, action, verdict, target, since_ns, until_ns, before (an index).
        An ADMIN pair sees everything, others what concerns their own pair.
        """
        query = {name: value for name, value in {"after": after, "limit": limit, **filters}.items() if value is not None}
        return list((await self._read(f"/v1/log?{urlencode(query)}", "house.log"))["entries"])

    async def follow(self, *, after: int | None = None, **filters: str | int) -> AsyncGenerator[dict[str, Any], None]:
        """Entries as they come, from `after` on (without it: from now on). Nothing else can be asked of this client meanwhile.

        `filters`: as `log`. Raises: Unavailable when the session was cut.
        """
        query = {name: value for name, value in {"follow": 1, "after": after, **filters}.items() if value is not None}
        async with self._turn:
            session = await self._live()
            response = await session.request("GET", f"/v1/log?{urlencode(query)}", verb="house.log")
            async with response:
                rest = b""
                async for piece in response.aiter_bytes():
                    *lines, rest = (rest + piece).split(b"\n")
                    for line in lines:
                        if line:
                            yield _entry(line)
                    if len(rest) > MAX_LINE:
                        raise Malformed("the house sends a line that has no end")

    # --- Files -----------------------------------------------------------------------------------------------------------

    async def ls(self, path: str = "/") -> list[dict[str, Any]]:
        """A folder, complete: name, kind (file or folder), bytes, modified_ns, sha256."""
        place = target_of("/v1/list", path, root=True)
        files: list[dict[str, Any]] = []
        after = ""
        while True:
            query = urlencode({"after": after, "limit": PAGE} if after else {"limit": PAGE}, quote_via=quote)
            page = await self._read(f"{place}?{query}", "archive.ls")
            files += page["files"]
            if not page["after"]:
                return files
            if page["after"] <= after:
                raise Malformed("the pages of the folder do not go on", "is the house's software as new as ours?")
            after = page["after"]

    async def stat(self, path: str) -> dict[str, Any]:
        """One file or folder: path, kind, bytes, modified_ns, sha256, version."""
        found: dict[str, Any] = await self._read(target_of("/v1/stat", path), "archive.stat")
        return found

    async def rm(self, path: str) -> dict[str, Any]:
        """Take a file away; its content stays as a version. Not repeated when the answer is lost."""
        return await self._change(lambda session: session.request("DELETE", target_of("/v1/files", path), verb="archive.rm"))

    async def mv(self, path: str, target: str, *, overwrite: bool = False) -> dict[str, Any]:
        """Rename within the house. Not repeated when the answer is lost."""
        move = {"from": plain(path), "to": plain(target), "overwrite": overwrite}
        async with self._turn:
            moved: dict[str, Any] = await (await self._live()).post_json("/v1/move", move, verb="archive.mv")
        return moved

    async def put(self, path: str, source: Source, *, progress: Progress | None = None) -> Stored:
        """Store bytes, a file or a stream under `path`, in one step or not at all. A transfer that is cut goes on where it stopped.

        Raises: Refused: not allowed.  Unavailable: cut again and again without progress, or no space.  Unproven: the house got
            other bytes than were sent.
        """
        reader = Reader(source)
        try:
            async with self._turn:
                upload = await self._send(path, reader, progress)
                return await self._commit(path, upload, reader)
        finally:
            reader.close()

    async def get(
        self,
        path: str,
        sink: Callable[[bytes], object],
        *,
        span: tuple[int, int | None] | None = None,
        progress: Progress | None = None,
    ) -> Got:
        """Hand a file to `sink`, piece by piece. The SHA-256 of a whole file is checked where the house knows it.

        Args: span: first and last byte, both included; None for the last means to the end.
        Raises: Refused: no such file, or not allowed.  Unproven: other bytes than the house has recorded.  Unavailable.
        """
        async with self._turn:
            fetch = Fetch(target_of("/v1/files", path), sink, span, progress)
            await self._again(fetch.run, lambda: fetch.at, may_go_on=fetch.may_go_on)
        return fetch.result()

    async def read(self, path: str, limit: int = 67_108_864) -> bytes:
        """A whole file in memory. Raises: as `get`; Misuse when it is longer than `limit` bytes."""
        pieces = bytearray()

        def take(piece: bytes) -> None:
            if len(pieces) + len(piece) > limit:
                raise Misuse(f"{path} is longer than {limit} bytes", "fetch it into a file")
            pieces.extend(piece)

        await self.get(path, take)
        return bytes(pieces)

    async def fetch(self, path: str, target: Path, *, progress: Progress | None = None) -> Got:
        """A whole file into `target`, which is replaced only when all of it is there and checked. Raises: as `get`."""
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                got = await self.get(path, file.write, progress=progress)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except OSError as error:
            raise Unavailable(f"cannot write {target}: {error.strerror}") from error
        finally:
            part.unlink(missing_ok=True)
        return got

    # --- Sessions --------------------------------------------------------------------------------------------------------

    async def _live(self) -> HouseSession:
        """The session, or a new one where it was cut."""
        if self._closed:
            raise Misuse("this client is closed", "connect again")
        if self._session.over:
            await self._session.close()
            self._session = await HouseSession.open(self._machine, self._pair)
        return self._session

    async def _again(
        self, work: Callable[[HouseSession], Awaitable[_T]], done: Callable[[], int], *, may_go_on: Callable[[], bool] = lambda: True
    ) -> _T:
        """Do something that may be done again: after a cut in a new session, as long as it gets on."""
        tries, before = 0, done()
        while True:
            try:
                return await work(await self._live())
            except Unavailable:
                if not self._session.over or not may_go_on():
                    raise  # the house itself says so
                tries, before = (0, done()) if done() > before else (tries + 1, before)
                if tries >= TRIES:
                    raise
                await asyncio.sleep(WAIT_S * 2**tries)

    async def _read(self, target: str, verb: str) -> Any:
        async with self._turn:
            return await self._again(lambda session: session.get_json(target, verb=verb), lambda: 0)

    async def _change(self, work: Callable[[HouseSession], Awaitable[Response]]) -> dict[str, Any]:
        async with self._turn:
            session = await self._live()
            changed: dict[str, Any] = await session.json_of(await work(session))
            return changed

    # --- Putting ---------------------------------------------------------------------------------------------------------

    async def _send(self, path: str, reader: Reader, progress: Progress | None) -> str:
        """Bring all bytes into a staged upload. Returns: its id."""
        target = target_of("/v1/files", path)
        upload = ""

        async def send(session: HouseSession) -> None:
            nonlocal upload
            if not upload:
                small = reader.size is not None and reader.size <= SMALL_BYTES
                body = b"".join([piece async for piece in reader.chunks(0, progress)]) if small else b""
                begun = await session.json_of(await session.request("PUT", target, verb="archive.put", body=body, upload=True))
                upload, offset = str(begun["upload"]), int(begun["offset"])
            else:
                offset = int((await session.get_json(f"/v1/uploads/{upload}", verb="archive.put"))["offset"])
            if reader.size is None or offset < reader.size:
                answer = await session.request(
                    "PATCH", f"/v1/uploads/{upload}?offset={offset}", verb="archive.put", body=reader.chunks(offset, progress), upload=True
                )
                offset = int((await session.json_of(answer))["offset"])
            if offset != reader.read:
                raise Malformed("the house counts other bytes than were sent", "put the file again")

        await self._again(send, lambda: reader.read)
        return upload

    async def _commit(self, path: str, upload: str, reader: Reader) -> Stored:
        """The closing signal. It may be given again when its answer was lost: an upload takes its place once and is gone."""
        closing = {"upload": upload, "path": plain(path), "size": reader.read, "sha256": reader.sha256}
        lost = False

        async def commit(session: HouseSession) -> Stored:
            nonlocal lost
            try:
                stored: Stored = await session.post_json("/v1/commit", closing, verb="archive.commit")
                return stored
            except Unavailable:
                lost = True
                raise
            except Refused:
                if not lost:
                    raise
                found = await session.get_json(target_of("/v1/stat", path), verb="archive.stat")
                if found["sha256"] != reader.sha256:
                    raise
                version = int(found["version"] or 0)
                return Stored(path=found["path"], size=found["bytes"], sha256=found["sha256"], version=version, entry=version)

        return await self._again(commit, lambda: 0)


def _entry(line: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed("the house sends a line that is no entry", "is its software as new as ours?") from None
