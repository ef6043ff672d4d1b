"""gate.sock: signals of programs on this computer (docs/spec/gate.md, section 7).

Whoever may connect may hand signals in: what they are worth is decided by their keys. The socket is the house's own user's, and, where a
setting names one, a group's. Contexts are begun and ended by the house's user and root alone, for who feeds a model must not be the model.
"""

import asyncio
import grp
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable
from tallystick.node.contexts import Contexts
from tallystick.node.gateframe import (
    LENGTH,
    MAX_ANSWER_BYTES,
    MAX_FRAME_BYTES,
    Admit,
    AskDecision,
    BeginContext,
    Deliver,
    EndContext,
    Request,
    read_decided,
    read_entry,
    read_request,
    read_verdict,
    write_decided,
    write_entry,
    write_error,
    write_request,
    write_verdict,
)
from tallystick.node.gatekeeper import Gatekeeper
from tallystick.node.gatewords import Decided, Verdict
from tallystick.node.turns import Turns

MAX_CONNECTIONS: Final = 256  # of all users beside root and the house's own: they keep no proxy out
MAX_OF_A_USER: Final = 64
FRAME_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 300.0
AT_ONCE: Final = 16  # signals of one user between their reading and their entry: the others' come in between
_UCRED: Final = struct.Struct("3i")
_ONLY_US: Final = ("only the house's own user begins, ends and fills contexts", "run the proxy as that user")

log = logging.getLogger("tallystick")


class GateServer:
    """Serves `gate.sock`. `start` to `stop`."""

    def __init__(self, path: Path, keeper: Gatekeeper, contexts: Contexts, group: str = "", full: Callable[[], bool] = bool) -> None:
        """`group`: whose members may connect beside the house's own user.  `full`: whether the disk is: then nothing is taken."""
        self._full = full
        self._path = path
        self._keeper = keeper
        self._contexts = contexts
        self._group = group
        self._turns = Turns(AT_ONCE)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._of: dict[int, int] = {}

    async def start(self) -> None:
        """Bind the socket. Raises: Misuse: there is no such group.  Unavailable: the path is too long or not writable."""
        owner = -1
        if self._group:
            try:
                owner = grp.getgrnam(self._group).gr_gid
            except KeyError:
                raise Misuse(f"there is no group {self._group}", "gate_group names a group of this computer") from None
        with suppress(FileNotFoundError):
            self._path.unlink()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(os.fsencode(self._path))
            self._path.chmod(0o660 if self._group else 0o600)
            if self._group:
                os.chown(self._path, -1, owner)
            self._server = await asyncio.start_unix_server(self._accept, sock=sock)
        except OSError as error:
            sock.close()
            raise Unavailable(f"cannot open {self._path.name}: {error.strerror or error}", "choose a shorter TALLY_HOME") from None

    async def stop(self) -> None:
        """Close the socket and every connection; what was admitted is recorded."""
        if self._server is not None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            with suppress(asyncio.CancelledError):
                await self._server.wait_closed()
        with suppress(FileNotFoundError):
            self._path.unlink()

    @property
    def connections(self) -> int:
        """How many programs are connected."""
        return sum(self._of.values())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        uid = peer_uid(writer)
        others = sum(count for user, count in self._of.items() if not _is_ours(user))
        if self._of.get(uid, 0) >= MAX_OF_A_USER or (not _is_ours(uid) and others >= MAX_CONNECTIONS):
            writer.close()
            return
        self._of[uid] = self._of.get(uid, 0) + 1
        try:
            await self._serve(reader, writer, uid)
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the program left, or the house closes; what was handed in stands
        finally:
            self._of[uid] -= 1
            if not self._of[uid]:
                del self._of[uid]
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int) -> None:
        while True:
            head = await asyncio.wait_for(reader.readexactly(LENGTH.size), IDLE_TIMEOUT_S)
            over = False
            try:
                (length,) = LENGTH.unpack(head)
                if not 0 < length <= MAX_FRAME_BYTES:
                    raise Malformed(f"a frame of {length} bytes; at most {MAX_FRAME_BYTES}")
                raw = await asyncio.wait_for(reader.readexactly(length), FRAME_TIMEOUT_S)
                answer = await self._answer(read_request(raw), uid, reader)
            except TallyError as error:
                over = isinstance(error, Malformed)
                answer = write_error(error)
            except (OSError, EOFError):
                raise
            except Exception as error:
                log.error("a defect of ours", exc_info=error)
                answer = write_error(Unavailable("the house made a mistake", "its log says more"))
            writer.write(LENGTH.pack(len(answer)) + answer)
            await writer.drain()
            if over:
                return

    async def _answer(self, request: Request, uid: int, reader: asyncio.StreamReader) -> bytes:
        match request:
            case Admit():
                return write_verdict(await self._admit(request, uid))
            case AskDecision(proposal=proposal):
                return write_decided(await _while_there(reader, self._keeper.decision(proposal)))
        if not _is_ours(uid):
            raise Refused(*_ONLY_US)
        match request:
            case BeginContext(key=key):
                return write_entry(await self._contexts.begin(key))
            case EndContext(key=key):
                return write_entry(await self._contexts.end(key))
            case Deliver(key=key, references=references):
                return write_entry(await self._contexts.deliver(key, references))
        raise AssertionError("a request of a kind that the parser does not make")

    async def _admit(self, request: Admit, uid: int) -> Verdict:
        if request.deliver_to and not _is_ours(uid):
            raise Refused(*_ONLY_US)
        if self._full():
            raise Unavailable("the house's disk is nearly full: its gate takes no signals", "its owner must make room")
        sender = b"uid %d" % uid
        if (waiting := self._turns.enter(request, sender)) is not None:
            await self._turns.wait(request, waiting)
        try:
            return await self._keeper.admit(
                request.signal,
                request.opening,
                request.body,
                request.deliver_to,
                sender=sender,
                recorded=lambda: self._turns.leave(request),  # a program that runs for an hour holds nobody's turn
            )
        finally:
            self._turns.leave(request)


class GateClient:
    """One connection to a house's gate.sock. One request at a time; the others wait."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Use `connect`."""
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, path: Path) -> "GateClient":
        """Raises: Unavailable: no house listens there, or we may not."""
        try:
            return cls(*await asyncio.open_unix_connection(str(path)))
        except OSError as error:
            raise Unavailable(f"no gate listens at {path}: {error.strerror or error}", "start the house: `tally serve`") from None

    async def admit(self, request: Admit) -> Verdict:
        """Hand a signal in. Raises: whatever error the house answered with; Unavailable when it is gone: look into its ledger."""
        return read_verdict(await self._ask(request))

    async def decision(self, proposal: int) -> Decided:
        """Wait until a proposal is over. Raises: as `admit`."""
        return read_decided(await self._ask(AskDecision(proposal=proposal)))

    async def context(self, request: BeginContext | EndContext | Deliver) -> int:
        """Begin, end or fill a context; the entry. Raises: as `admit`."""
        return read_entry(await self._ask(request))

    async def close(self) -> None:
        """Hang up."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    async def _ask(self, request: Request) -> bytes:
        raw = write_request(request)
        async with self._turn:
            try:
                self._writer.write(LENGTH.pack(len(raw)) + raw)
                await self._writer.drain()
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                if length > MAX_ANSWER_BYTES:
                    raise Malformed(f"the house answered with {length} bytes")
                return await self._reader.readexactly(length)
            except (OSError, EOFError):
                raise Unavailable("the house closed its gate", "see its log; `tally log` says what was recorded") from None
            except asyncio.CancelledError:
                self._writer.close()  # its answer would be taken for the next one's
                raise


def peer_uid(writer: asyncio.StreamWriter) -> int:
    """Who is at the other end of a unix socket (unix(7), SO_PEERCRED)."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(raw)[1]
    return uid


def _is_ours(uid: int) -> bool:
    """Whether this is the house's own user or root."""
    return uid in (0, os.getuid())


async def _while_there(reader: asyncio.StreamReader, work: Awaitable[Decided]) -> Decided:
    """Wait for a human as long as the program does. Raises: what the work raises; ConnectionResetError when it left."""
    waiting, leaving = asyncio.ensure_future(work), asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait((waiting, leaving), return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        raise ConnectionResetError
    finally:
        for task in (waiting, leaving):
            task.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)
