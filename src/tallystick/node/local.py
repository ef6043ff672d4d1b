"""The house's own socket: commands given at the house itself (docs/spec/door.md, section 5).

The socket is 0600 and the peer's uid is read from the kernel (`SO_PEERCRED`, unix(7)); a uid other than the house's own
or root gets no byte. Framing: u32 length, then one JSON object; the verbs are a closed list.
"""

import asyncio
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven

MAX_FRAME_BYTES: Final = 65_536  # of a request
MAX_ANSWER_BYTES: Final = 33_554_432  # a page of the longest entries
REQUEST_TIMEOUT_S: Final = 10.0
_LENGTH: Final = struct.Struct(">I")
_UCRED: Final = struct.Struct("3i")

KINDS: Final[Mapping[str, type[TallyError]]] = {
    "malformed": Malformed,
    "unproven": Unproven,
    "refused": Refused,
    "misuse": Misuse,
    "unavailable": Unavailable,
}

type_name: Final = {cls: name for name, cls in KINDS.items()}

Handler = Callable[[Mapping[str, Any]], Awaitable[Any]]
Follower = Callable[[Mapping[str, Any]], AsyncGenerator[Any, None]]

log = logging.getLogger("tallystick")


def error_body(error: TallyError) -> dict[str, str]:
    """The JSON shape of an error, on the socket and over the door."""
    kind = next((name for cls, name in type_name.items() if isinstance(error, cls)), "unavailable")
    return {"kind": kind, "message": error.message, "hint": error.hint}


def error_from_body(body: Any) -> TallyError:
    """The error that `error_body` described; an unknown kind is Malformed."""
    if not isinstance(body, Mapping):
        return Malformed("the house answered with something that is not an error object")
    cls = KINDS.get(str(body.get("kind")), Malformed)
    return cls(str(body.get("message", ""))[:500], str(body.get("hint", ""))[:500])


class LocalServer:
    """Serves `house.sock`. `handlers` answer once; `followers` answer with a stream of frames until the caller leaves."""

    def __init__(self, path: Path, handlers: Mapping[str, Handler], followers: Mapping[str, Follower]) -> None:
        self._path = path
        self._handlers = handlers
        self._followers = followers
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind the socket; a stale one of a dead house is replaced (house.lock is held, so no other house lives).

        Raises: Unavailable: the path is too long for a socket or not writable.
        """
        with suppress(FileNotFoundError):
            self._path.unlink()
        # Not by umask: that is the whole process's, and a folder another thread makes meanwhile could not be entered by anybody.
        # Until `listen` nobody can connect, and the home is private.
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(os.fsencode(self._path))
            self._path.chmod(0o600)
            self._server = await asyncio.start_unix_server(self._accept, sock=sock)
        except OSError as error:
            sock.close()
            raise Unavailable(f"cannot open {self._path.name}: {error.strerror or error}", "choose a shorter TALLY_HOME") from None

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await self._server.wait_closed()
        with suppress(FileNotFoundError):
            self._path.unlink()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            if _peer_uid(writer) in (0, os.getuid()):
                await self._serve(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # the caller left; there is nobody to tell
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            verb, args = _request(await asyncio.wait_for(read_frame(reader), REQUEST_TIMEOUT_S))
            if verb in self._followers:
                await _until_left(reader, self._tell(self._followers[verb](args), writer))
                return
            handler = self._handlers.get(verb)
            if handler is None:
                raise Misuse(f"the house knows no verb {verb[:40]!r}", "its software may be older than this program")
            answer: dict[str, Any] = {"ok": True, "result": await handler(args)}
        except TallyError as error:
            answer = {"ok": False, "error": error_body(error)}
        except (OSError, EOFError):
            raise
        except Exception as error:
            log.error("a defect of ours", exc_info=error)
            answer = {"ok": False, "error": error_body(Unavailable("the house made a mistake", "its log says more"))}
        await _send(writer, answer)

    async def _tell(self, items: AsyncGenerator[Any, None], writer: asyncio.StreamWriter) -> None:
        async with aclosing(items):
            async for item in items:
                await _send(writer, {"ok": True, "result": item})


async def _until_left(reader: asyncio.StreamReader, work: Awaitable[None]) -> None:
    """Do the work until the caller hangs up: who follows a quiet ledger must not be followed for ever. Raises: what the work raises."""
    telling, leaving = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            await telling
    finally:
        for task in (telling, leaving):
            task.cancel()
        await asyncio.gather(telling, leaving, return_exceptions=True)


def _peer_uid(writer: asyncio.StreamWriter) -> int:
    sock = writer.get_extra_info("socket")
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(raw)[1]
    return uid


def _request(frame: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        value = msgspec.json.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Malformed("the request is not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get("verb"), str) or not isinstance(value.get("args", {}), dict):
        raise Malformed("a request is an object with `verb` and `args`")
    return value["verb"], value.get("args", {})


async def read_frame(reader: asyncio.StreamReader, most: int = MAX_FRAME_BYTES) -> bytes:
    """One frame of at most `most` bytes. Raises: Malformed: it is longer; asyncio.IncompleteReadError: the peer left."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > most:
        raise Malformed(f"a frame of {length} bytes; at most {most}")
    return await reader.readexactly(length)


async def _send(writer: asyncio.StreamWriter, value: Any) -> None:
    data = msgspec.json.encode(value)
    if len(data) > MAX_ANSWER_BYTES:
        data = msgspec.json.encode(
            {"ok": False, "error": error_body(Refused("the answer is too long", "ask for fewer entries with --limit"))}
        )
    writer.write(_LENGTH.pack(len(data)) + data)
    await writer.drain()


async def call(path: Path, verb: str, args: Mapping[str, Any]) -> Any:
    """Ask the house that runs on this state directory.

    Raises: Unavailable: no house listens there; or whatever error the house answered with.
    """
    async with aclosing(follow(path, verb, args)) as results:
        async for result in results:
            return result
    raise Unavailable("the house closed its socket without an answer", "see its log; only its own user and root may ask")


async def follow(path: Path, verb: str, args: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
    """The same, for verbs that answer with many frames."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
    except OSError:
        raise Unavailable("no house is running on this state directory", "start it with `tally serve`") from None
    try:
        data = msgspec.json.encode({"verb": verb, "args": dict(args)})
        writer.write(_LENGTH.pack(len(data)) + data)
        await writer.drain()
        while True:
            try:
                answer = msgspec.json.decode(await read_frame(reader, MAX_ANSWER_BYTES))
            except asyncio.IncompleteReadError:
                return
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise Malformed("the house's answer is not JSON") from None
            if not isinstance(answer, dict):
                raise Malformed("the house's answer is not an object")
            if answer.get("ok") is not True:
                raise error_from_body(answer.get("error"))
            yield answer.get("result")
    except OSError:
        raise Unavailable("the house closed its socket", "see its log") from None
    finally:
        writer.close()
