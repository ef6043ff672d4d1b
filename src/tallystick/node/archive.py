"""The archive's routes at the door: put, commit, get, ls, stat, rm, mv, summary (docs/spec/door.md, archive.md)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tallystick.errors import Malformed, Misuse, Refused
from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.node.workers import Workers
from tallystick.passage.signal import Asker, Command
from tallystick.service.archive import Archive
from tallystick.service.names import SafePath
from tallystick.service.ranges import ByteRange, parse_range, whole
from tallystick.service.reading import OpenFile, Page, Stat
from tallystick.service.versions import Version

if TYPE_CHECKING:
    from tallystick.node.house import House

CHUNK_BYTES: Final = 1_048_576
SMALL_BYTES: Final = 65_536
MAX_LIST: Final = 1_000
MAX_DECIMAL: Final = 18


class Commit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The closing signal's body."""

    upload: str
    path: str
    size: int
    sha256: str


class Move(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from", "target": "to"}):
    """What to rename."""

    source: str
    target: str
    overwrite: bool = False


def settle_archive(archive: Archive) -> tuple[int, ...]:
    """At a start: renames that an entry began are completed. Returns: the entries whose effect is done."""
    done: list[int] = []
    for entry in archive.open_entries():
        try:
            if archive.complete(entry) is not None:
                done.append(entry)
        except Refused:
            archive.abandon(entry)
    return tuple(done)


def archive_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table that lead to files."""
    files = _Files(house)
    return (
        route("PUT", "/v1/files/*", "archive.put", files.put, upload=True),
        route("PATCH", "/v1/uploads/*", "archive.put", files.resume, upload=True),
        route("GET", "/v1/uploads", "archive.uploads", files.uploads),
        route("GET", "/v1/uploads/*", "archive.put", files.offset),
        route("DELETE", "/v1/uploads/*", "archive.give-up", files.give_up, effect="archive.give-up"),
        route("POST", "/v1/commit", "archive.commit", files.commit, effect="archive.commit"),
        route("GET", "/v1/files/*", "archive.get", files.get, look=files.look),
        route("GET", "/v1/list/*", "archive.ls", files.ls),
        route("GET", "/v1/list", "archive.ls", files.ls),
        route("GET", "/v1/stat/*", "archive.stat", files.stat),
        route("GET", "/v1/versions/*", "archive.versions", files.versions),
        route("DELETE", "/v1/files/*", "archive.rm", files.rm, effect="archive.rm"),
        route("POST", "/v1/move", "archive.mv", files.mv, effect="archive.mv"),
        route("GET", "/v1/summary", "archive.summary", files.summary),
    )


class _Files:
    """The handlers."""

    def __init__(self, house: "House") -> None:
        self._house = house

    @property
    def _archive(self) -> Archive:
        if self._house.archive is None:
            raise AssertionError("the archive is open while the house runs")
        return self._house.archive

    async def _run(self, call: Call, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await self._house.workers.run(call.session.asker.pair, function, *args, **kwargs)

    async def put(self, call: Call) -> Answer:
        """Begin an upload: its bytes are staged, nothing is visible."""
        path = SafePath.from_quoted(call.rest)
        chunks = _unsigned(call)
        writer = await self._run(call, self._archive.begin, path, call.session.asker.pair)
        return await self._take(call, chunks, writer)

    async def resume(self, call: Call) -> Answer:
        """Go on with an upload where it stands."""
        offset = _number(call.query.get("offset", ""), "offset")
        chunks = _unsigned(call)
        writer = await self._run(call, self._archive.resume, call.rest, call.session.asker.pair, offset)
        return await self._take(call, chunks, writer)

    async def _take(self, call: Call, chunks: AsyncIterator[bytes], writer: Any) -> Answer:
        try:
            async for chunk in chunks:
                for at in range(0, len(chunk), CHUNK_BYTES):
                    await self._run(call, writer.write, chunk[at : at + CHUNK_BYTES])
        finally:
            await self._house.workers.tidy(writer.close)
        return json_answer({"upload": writer.upload_id, "offset": writer.offset}, 202)

    async def offset(self, call: Call) -> Answer:
        """Where an upload stands."""
        return json_answer({"upload": call.rest, "offset": await self._run(call, self._archive.offset, call.rest, call.session.asker.pair)})

    async def uploads(self, call: Call) -> Answer:
        """What this pair has begun and neither finished nor given up."""
        found = await self._run(call, self._archive.uploads, call.session.asker.pair)
        return json_answer(
            {"uploads": [{"upload": one.upload, "path": one.path, "offset": one.offset, "modified_ns": one.mtime_ns} for one in found]}
        )

    async def give_up(self, call: Call) -> Answer:
        """Remove an upload of this pair: its bytes, and its place among those that a pair may have open."""
        path = await self._run(call, self._archive.give_up, call.rest, call.session.asker.pair)
        return json_answer({"path": path, "entry": call.entry})

    async def commit(self, call: Call) -> Answer:
        """The closing signal: only now the file takes its place."""
        body: Commit = call.json(Commit)
        change = await self._run(
            call,
            self._archive.commit,
            body.upload,
            owner=call.session.asker.pair,
            length=body.size,
            sha256=_digest(body.sha256),
            path=SafePath(body.path),
            entry=call.entry,
        )
        answer = json_answer(
            {"path": change.path, "size": change.size, "sha256": body.sha256, "version": change.entry, "entry": change.entry}
        )
        answer.length, answer.digest = change.size, change.sha256
        return answer

    async def get(self, call: Call) -> Answer:
        """A file or a range of it; with `version` a content it once had."""
        if call.seen is not None:
            file, span, content = await call.seen
        else:
            file, span, content = await self._run(call, self._open, *_wanted(call.command, call.rest, call.query))
        ranged = any(name == "range" for name, _ in call.command.headers)
        headers = [("accept-ranges", "bytes")]
        if ranged:
            headers.append(("content-range", span.content_range))
        if file.stat.sha256 is not None:
            headers.append(("content-sha256", file.stat.sha256.hex()))
        return Answer(
            status=206 if ranged else 200,
            body=_Span(self._house.workers, call.session.asker.pair, file, span.start, span.stop) if content is None else content,
            length=span.length,
            kind="application/octet-stream",
            headers=tuple(headers),
            digest=None if ranged else file.stat.sha256,
        )

    def look(self, asker: Asker, command: Command, rest: str, query: dict[str, str]) -> asyncio.Future[Any] | None:
        """Open the file of a `get` while its entry is being written."""
        return self._house.workers.begin(asker.pair, lambda: self._open(*_wanted(command, rest, query)))

    def _open(self, path: SafePath, kept: int | None, wanted: str | None) -> tuple[OpenFile, ByteRange, bytes | None]:
        """In a thread: the file and the span of it. A short one is read at once and closed: one turn of a thread instead of three."""
        file = self._archive.get(path) if kept is None else self._archive.get_version(path, kept)
        try:
            span = whole(file.stat.size) if wanted is None else parse_range(wanted, file.stat.size)
            if span.length > SMALL_BYTES:
                return file, span, None
            content = b"".join(file.chunks(span))
        except BaseException:
            file.close()
            raise
        file.close()
        return file, span, content

    async def ls(self, call: Call) -> Answer:
        """A page of a folder."""
        path = SafePath.from_quoted(call.rest) if call.rest else None
        limit = _number(call.query.get("limit", str(MAX_LIST)), "limit")
        page: Page = await self._run(call, self._archive.ls, path, after=call.query.get("after", ""), limit=limit)
        files = [
            {
                "name": entry.name,
                "kind": "folder" if entry.directory else "file",
                "bytes": None if entry.directory else entry.size,
                "modified_ns": entry.mtime_ns,
                "sha256": None,
            }
            for entry in page.entries
        ]
        return json_answer({"files": files, "after": page.after})

    async def stat(self, call: Call) -> Answer:
        """One file."""
        path = SafePath.from_quoted(call.rest)
        stat: Stat = await self._run(call, self._archive.stat, path, digest=True)
        return json_answer(
            {
                "path": stat.path,
                "kind": "folder" if stat.directory else "file",
                "bytes": None if stat.directory else stat.size,
                "modified_ns": stat.mtime_ns,
                "sha256": None if stat.sha256 is None else stat.sha256.hex(),
                "version": stat.version,
            }
        )

    async def versions(self, call: Call) -> Answer:
        """The contents that a path once had, newest first."""
        path = SafePath.from_quoted(call.rest)
        found: tuple[Version, ...] = await self._run(call, self._archive.versions, path)
        versions = [
            {
                "kept": one.kept_at,
                "version": one.version,
                "bytes": one.size,
                "modified_ns": one.mtime_ns,
                "sha256": None if one.sha256 is None else one.sha256.hex(),
            }
            for one in found
        ]
        return json_answer({"path": path.text, "versions": versions})

    async def rm(self, call: Call) -> Answer:
        """Take a file away; its content becomes a version."""
        change = await self._run(call, self._archive.remove, SafePath.from_quoted(call.rest), entry=call.entry)
        return json_answer({"path": change.path, "entry": change.entry})

    async def mv(self, call: Call) -> Answer:
        """Rename."""
        body: Move = call.json(Move)
        change = await self._run(
            call, self._archive.move, SafePath(body.source), SafePath(body.target), entry=call.entry, overwrite=body.overwrite
        )
        return json_answer({"path": body.source, "target": change.path, "entry": change.entry})

    async def summary(self, call: Call) -> Answer:
        """Counts and sizes: all that INTERFACE may see."""
        found = await self._run(call, self._archive.summary)
        return json_answer({"files": found.files, "bytes": found.bytes, "versions": found.versions, "version_bytes": found.version_bytes})


class _Span:
    """A part of an open file, read beside the event loop. A generator would keep the file open when nobody begins to read it."""

    def __init__(self, workers: Workers, pair: bytes, file: OpenFile, start: int, stop: int) -> None:
        self._workers = workers
        self._pair = pair
        self._file = file
        self._at = start
        self._stop = stop

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        if self._at >= self._stop:
            raise StopAsyncIteration
        length = min(CHUNK_BYTES, self._stop - self._at)
        chunk: bytes = await self._workers.run(self._pair, self._file.read, self._at, length)
        self._at += len(chunk)
        return chunk

    async def aclose(self) -> None:
        """Close the file."""
        await self._workers.tidy(self._file.close)


def _wanted(command: Command, rest: str, query: dict[str, str]) -> tuple[SafePath, int | None, str | None]:
    """The path of a `get`, the version that is asked for, and the range. Raises: Malformed, Misuse, Refused."""
    kept = _number(query["version"], "version") if "version" in query else None
    return SafePath.from_quoted(rest), kept, next((value for name, value in command.headers if name == "range"), None)


def _unsigned(call: Call) -> AsyncIterator[bytes]:
    """The bytes of an upload. Raises: Malformed: its opening signal commits to a body already."""
    if call.chunks is None:
        raise Malformed("an upload's opening signal says that there is no body", "The closing signal, POST /v1/commit, names the content.")
    return call.chunks


def _number(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DECIMAL:
        raise Misuse(f"{name} is a whole number")
    return int(text)


def _digest(text: str) -> bytes:
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise Malformed("a SHA-256 is 64 hexadecimal digits in lower case")
    return bytes.fromhex(text)
