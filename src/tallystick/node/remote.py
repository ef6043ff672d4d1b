"""A house, for programs: files, status, log. Thin over `node.client`; a session that was cut is opened again where that is safe.

Reads are asked again. A put goes on where it stopped. What changes something and may have been done is never repeated.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import quote, urlencode

from tallystick.errors import Malformed, Misuse, Unavailable
from tallystick.node import answers
from tallystick.node.answers import Stored
from tallystick.node.client import HouseSession, PairRow, TooOften
from tallystick.node.fetching import Fetch, Got
from tallystick.node.machine import Machine
from tallystick.node.putting import Put
from tallystick.node.reports import Reports
from tallystick.node.storyanswers import Explained
from tallystick.node.targets import plain, target_of
from tallystick.node.upload import Progress, Reader, Source

__all__ = ["Got", "HouseClient", "Stored"]

TRIES: Final = 5  # in a row without one byte of progress
WAIT_S: Final = 0.2  # before the first of them; doubled each time
PATIENCE_S: Final = 60  # with a house that takes this pair's commands more slowly than they are given
PAGE: Final = 1_000
MAX_LINE: Final = 1_048_576  # bytes of an entry as JSON


_T = TypeVar("_T")


class HouseClient:
    """One house. Made by `open` (or `tallystick.sdk.connect`); one request at a time, the next waits."""

    def __init__(self, machine: Machine, pair: PairRow, session: HouseSession, reports: Reports) -> None:
        """Use `open`."""
        self._reports = reports
        self._machine = machine
        self._pair = pair
        self._session = session
        self._turn = asyncio.Lock()
        self._closed = False

    @classmethod
    async def open(cls, machine: Machine, pair: PairRow, *, timeout_s: float | None = None) -> Self:
        """Knock and connect. Raises: as `HouseSession.open`."""
        reports = Reports()
        return cls(machine, pair, await HouseSession.open(machine, pair, timeout_s=timeout_s, reports=reports), reports)

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
        self._end()
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end()
        await self._session.__aexit__(kind, error, trace)

    def _end(self) -> None:
        self._closed = True
        self._reports.close()

    def telemetry(self) -> Reports:
        """What the house reports of itself while this client is open (health, progress, approvals, checkpoints), over all its sessions: an
        asynchronous iterator. Of what nobody reads the newest 64 are kept; `dropped` counts the others.
        """
        return self._reports

    # --- The house -------------------------------------------------------------------------------------------------------

    async def ping(self) -> float:
        """One small exchange with its entry in the house's ledger; how long it took, in seconds."""
        began = asyncio.get_running_loop().time()
        await self._read("/v1/ping", "pair.ping", answers.Pong)
        return asyncio.get_running_loop().time() - began

    async def status(self) -> answers.Status:
        """The house in counts and states, and this pair as the house sees it."""
        return await self._read("/v1/status", "house.status", answers.Status)

    async def summary(self) -> answers.Summary:
        """Counts and sizes of the archive: all that an INTERFACE pair may see."""
        return await self._read("/v1/summary", "archive.summary", answers.Summary)

    async def checkpoint(self, old: int = 0) -> answers.SignedCheckpoint:
        """The newest signed checkpoint and the proof that it continues size `old`."""
        return await self._read(f"/v1/checkpoint?old={old}", "house.checkpoint", answers.SignedCheckpoint)

    async def inbox(self) -> list[answers.Proposal]:
        """The pairings that wait for a human (ADMIN pairs only)."""
        return (await self._read("/v1/inbox", "house.inbox", answers.Inbox))["proposals"]

    async def pairs(self) -> list[answers.Pair]:
        """Every pair of the house (ADMIN pairs only)."""
        return (await self._read("/v1/pairs", "house.pairs", answers.Pairs))["pairs"]

    async def explain(self, signal: str, *, quick: bool = False, all_now: bool = False) -> Explained:
        """The story of a signal in the house's ledger, named by its entry or its reference (ADMIN pairs only). See docs/explain.md."""
        query = {"signal": signal, **({"quick": 1} if quick else {}), **({"now": 1} if all_now else {})}
        return await self._read(f"/v1/explain?{urlencode(query)}", "house.explain", Explained)

    async def log(self, *, after: int | None = None, limit: int = 50, **filters: str | int) -> list[answers.Entry]:
        """Entries of the house's ledger, oldest first: the newest `limit`, or those from `after` on (at most 200 at a time).

        `filters`: kind, pair, key, action, verdict, target, since_ns, until_ns, before (an index).
        An ADMIN pair sees everything, others what concerns their own pair.
        """
        query = {name: value for name, value in {"after": after, "limit": limit, **filters}.items() if value is not None}
        return (await self._read(f"/v1/log?{urlencode(query)}", "house.log", answers.Entries))["entries"]

    async def follow(self, *, after: int | None = None, **filters: str | int) -> AsyncGenerator[answers.Entry, None]:
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
                            yield answers.read_answer(line, answers.Entry, self.name)
                    if len(rest) > MAX_LINE:
                        raise Malformed(f"{self.name} sends a line that has no end")

    # --- Files -----------------------------------------------------------------------------------------------------------

    async def ls(self, path: str = "/") -> list[answers.File]:
        """A folder, complete: name, kind (file or folder), bytes, modified_ns, sha256."""
        place = target_of("/v1/list", path, root=True)
        files: list[answers.File] = []
        after = ""
        while True:
            query = urlencode({"after": after, "limit": PAGE} if after else {"limit": PAGE}, quote_via=quote)
            page = await self._read(f"{place}?{query}", "archive.ls", answers.Page)
            files += page["files"]
            if not page["after"]:
                return files
            if page["after"] <= after:
                raise Malformed(f"the pages of the folder at {self.name} do not go on", "is the house's software as new as ours?")
            after = page["after"]

    async def stat(self, path: str) -> answers.Stat:
        """One file or folder: path, kind, bytes, modified_ns, sha256, version."""
        return await self._read(target_of("/v1/stat", path), "archive.stat", answers.Stat)

    async def versions(self, path: str) -> list[answers.Version]:
        """The contents that a path once had, newest first: kept (its name for `get`), version, bytes, modified_ns, sha256."""
        return (await self._read(target_of("/v1/versions", path), "archive.versions", answers.Versions))["versions"]

    async def uploads(self) -> list[answers.Upload]:
        """The uploads that this pair has begun and neither finished nor given up."""
        return (await self._read("/v1/uploads", "archive.uploads", answers.Uploads))["uploads"]

    async def give_up(self, upload: str) -> answers.Removed:
        """Give an unfinished upload up; its bytes are removed. Not repeated when the answer is lost."""
        target = target_of("/v1/uploads", upload)
        return await self._change(lambda session: session.delete_json(target, verb="archive.give-up", kind=answers.Removed))

    async def rm(self, path: str) -> answers.Removed:
        """Take a file away; its content stays as a version. Not repeated when the answer is lost."""
        target = target_of("/v1/files", path)
        return await self._change(lambda session: session.delete_json(target, verb="archive.rm", kind=answers.Removed))

    async def mv(self, path: str, target: str, *, overwrite: bool = False) -> answers.Moved:
        """Rename within the house. Not repeated when the answer is lost."""
        move = {"from": plain(path), "to": plain(target), "overwrite": overwrite}
        return await self._change(lambda session: session.post_json("/v1/move", move, verb="archive.mv", kind=answers.Moved))

    async def put(self, path: str, source: Source, *, progress: Progress | None = None) -> Stored:
        """Store bytes, a file or a stream under `path`, in one step or not at all. A transfer that is cut goes on where it stopped.

        Raises: Refused: not allowed.  Unavailable: cut again and again without progress, or no space.  Unproven: the house got
            other bytes than were sent.
        """
        reader = Reader(source)
        try:
            put = Put(path, reader, progress)
            async with self._turn:
                await self._again(put.send, lambda: reader.read)
                return await self._again(put.commit, lambda: 0)
        finally:
            reader.close()

    async def get(
        self,
        path: str,
        sink: Callable[[bytes], object],
        *,
        span: tuple[int, int | None] | None = None,
        version: int | None = None,
        progress: Progress | None = None,
    ) -> Got:
        """Hand a file to `sink`, piece by piece. The SHA-256 of a whole file is checked where the house knows it.

        Args: span: first and last byte, both included; None for the last means to the end.  version: the `kept` of an older content.
        Raises: Refused: no such file, or not allowed.  Unproven: other bytes than the house has recorded.  Unavailable.
        """
        async with self._turn:
            target = target_of("/v1/files", path) + ("" if version is None else f"?version={version}")
            fetch = Fetch(target, sink, span, progress)
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
            self._session = await HouseSession.open(self._machine, self._pair, reports=self._reports)
        return self._session

    async def _again(
        self, work: Callable[[HouseSession], Awaitable[_T]], done: Callable[[], int], *, may_go_on: Callable[[], bool] = lambda: True
    ) -> _T:
        """Do something that may be done again: after a cut in a new session, as long as it gets on."""
        tries, before, patience_s = 0, done(), PATIENCE_S
        while True:
            try:
                return await work(await self._live())
            except TooOften as error:
                patience_s = await _wait(error, patience_s)
            except Unavailable:
                if not self._session.over or not may_go_on():
                    raise  # the house itself says so
                tries, before = (0, done()) if done() > before else (tries + 1, before)
                if tries >= TRIES:
                    raise
                await asyncio.sleep(WAIT_S * 2**tries)

    async def _read(self, target: str, verb: str, kind: type[_T]) -> _T:
        async with self._turn:
            return await self._again(lambda session: session.get_json(target, verb=verb, kind=kind), lambda: 0)

    async def _change(self, work: Callable[[HouseSession], Awaitable[_T]]) -> _T:
        """Do something once. What the house did not take may be given again; what it may have taken is not."""
        patience_s = PATIENCE_S
        async with self._turn:
            while True:
                try:
                    return await work(await self._live())
                except TooOften as error:
                    patience_s = await _wait(error, patience_s)


async def _wait(error: TooOften, patience_s: int) -> int:
    """Wait as long as the house says. Returns: the patience that is left. Raises: the error, where it is not enough."""
    if error.after_s > patience_s:
        raise error
    await asyncio.sleep(error.after_s)
    return patience_s - max(error.after_s, 1)
