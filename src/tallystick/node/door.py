"""The door: every command over a pair comes in here, as HTTP inside the sealed stream (docs/spec/door.md).

One ASGI application for all sessions. It reads the signal, drives the passage, and only inside the passage's `Perform` runs a handler.
A handler gets the command as it was signed and returns an answer; it never sees what came on the wire beside the body.
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import parse_qsl

import msgspec

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.stream import StreamBook
from tallystick.node.effects import Effects
from tallystick.node.http import Message, Receive, Scope, Send
from tallystick.node.local import error_body
from tallystick.node.porter import Porter, TurnedAway
from tallystick.node.turns import Turns
from tallystick.passage import signal as passage
from tallystick.passage.effect import Perform
from tallystick.passage.signal import Asker, Command, Done, RefusedCommand, Stated
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.service.disk import NO_SUCH_FILE

MAX_QUERY_FIELDS: Final = 32
MAX_BODY_BYTES: Final = 65_536  # of a request that is not an upload
_STATUS: Final[dict[type[TallyError], int]] = {Malformed: 400, Unproven: 401, Refused: 403, Misuse: 409, Unavailable: 503}

log = logging.getLogger("tallystick")


class Chunks(Protocol):
    """A body in pieces. Whoever takes it over calls `aclose`, whether it was read or not."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, once."""

    async def aclose(self) -> None:
        """Give back what it holds. Any number of times."""


@dataclass(slots=True, kw_only=True)
class Answer:
    """What a handler has to say. `body`: bytes, or chunks of which `length` is the sum. `digest`: SHA-256, for the ledger.

    `outcome`: of an answer that leaves while its effect is under way (`Route.streams`): what became of it, and the answer's last bytes,
    which leave when that is recorded.
    """

    status: int = 200
    body: bytes | Chunks = b""
    length: int | None = None
    digest: bytes | None = None
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    outcome: "Callable[[], Awaitable[Outcome]] | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an effect whose answer had begun to leave: `ended`, `word` and `error` as in `Done`; `last`: the answer's end."""

    ended: int
    last: bytes
    word: str = ""
    error: TallyError | None = None


def json_answer(value: Any, status: int = 200) -> Answer:
    """An answer of JSON."""
    return Answer(status=status, body=msgspec.json.encode(value))


class Session(Protocol):
    """What the door needs of a confirmed session of a pair."""

    book: StreamBook
    under_way: bytes | None
    """The reference of the signal that has not been answered yet; when the session is lost now, it is void."""

    recorded: bool
    """Whether the session is in the ledger; one that is not takes no command."""

    @property
    def asker(self) -> Asker:
        """Whose session it is, with the pair's type as it is now."""

    @property
    def over(self) -> bool:
        """Whether the session was cut or has ended."""

    def cut(self, reason: str) -> None:
        """End it: the other side broke the protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command on its way to its handler. `entry`: of the begun effect, else of the signal. `seen`: what `Route.look` began."""

    session: Session
    command: Command
    query: dict[str, str]
    rest: str
    entry: int
    body: bytes = b""
    chunks: AsyncIterator[bytes] | None = field(default=None, repr=False)
    seen: Awaitable[Any] | None = field(default=None, repr=False)

    def json(self, kind: Any) -> Any:
        """The body as JSON of this type. Raises: Malformed."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Malformed(f"the body is not what {self.command.verb} takes: {error}") from None


Handler = Callable[[Call], Awaitable[Answer]]
State = Callable[[Asker, Command, bytes], Stated | None]
Look = Callable[[Asker, Command, str, dict[str, str]], "asyncio.Future[Any] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the table.

    `effect`: the word for what it changes outside the ledger.  `upload`: the body is not signed yet.
    `look`: of a read: begins to fetch what it answers with, while its entry is being written (docs/adr/0013).
    `action`: its class, where the list of verbs does not say it.  `stated`: finds a human's own word for the command in its body.
    """

    method: str
    path: re.Pattern[str]
    verb: str
    handler: Handler
    effect: str | None = None
    upload: bool = False
    look: Look | None = None
    action: ActionClass | None = None
    stated: State | None = None


def route(
    method: str,
    path: str,
    verb: str,
    handler: Handler,
    *,
    effect: str | None = None,
    upload: bool = False,
    look: Look | None = None,
    action: ActionClass | None = None,
    stated: State | None = None,
) -> Route:
    """A row; `path` ends in `/*` where the rest belongs to the handler."""
    pattern = re.compile(re.escape(path[:-1]) + "(.*)" if path.endswith("/*") else re.escape(path) + "()", re.DOTALL)
    return Route(
        method=method, path=pattern, verb=verb, handler=handler, effect=effect, upload=upload, look=look, action=action, stated=stated
    )


class Door:
    """The ASGI application."""

    def __init__(self, effects: Effects, routes: tuple[Route, ...], clock: Callable[[], int], porter: Porter | None = None) -> None:
        """`clock`: pair time, UTC nanoseconds.  `porter`: turns commands away before anybody looks at them; None lets all in."""
        self._porter = porter
        self._turns = Turns()
        self._effects = effects
        self.routes = routes
        self._clock = clock
        self.allowed = 0
        self.refused = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of one session."""
        session: Session = scope["tally"]
        asker = session.asker
        away = None
        if self._porter is not None:
            away = self._porter.lets_in(asker.pair, asker.cap, scope["method"], scope["tally.target"], recorded=session.recorded)
        if away is not None:
            await _turn_away(send, away)
            return
        if (waiting := self._turns.enter(session, asker.pair)) is not None:
            await self._turns.wait(session, waiting)
        try:
            await self._take(session, scope, receive, send)
        finally:
            self._turns.leave(session)

    async def _take(self, session: Session, scope: Scope, receive: Receive, send: Send) -> None:
        """A command that was let in, when its turn has come."""
        try:
            command, session.book = passage.read_command(
                session.asker,
                session.book,
                method=scope["method"].encode("latin-1"),
                target=scope["tally.target"].encode("latin-1"),
                headers=scope["headers"],
                now_ns=self._clock(),
            )
        except TallyError as error:
            await self._cut(session, error, send)
            return
        session.under_way = command.signal.reference
        found = None
        try:
            found = self._find(command)
            if command.body is not None:
                self._turns.leave(session)  # the body comes as fast as its client likes
            body, chunks = await _body(command, found[0] if found else None, receive)
            await self._pass(session, command, found, body, chunks, send)
        except RefusedCommand as error:
            self.refused += 1
            status = 404 if found is None else 403
            await _say(send, _error_answer(Refused("not allowed", error.hint), status), error.receipt.index)
        except Malformed as error:
            await self._cut(session, error, send)
        except TallyError as error:
            await _say(send, _error_answer(error), None)
        finally:
            session.under_way = None

    def _find(self, command: Command) -> tuple[Route, str, dict[str, str]] | None:
        """The row of a target, what stands where its path is open, and the query. Raises: Malformed: a query with two meanings."""
        path, _, query = command.target.path.partition("?")
        for row in self.routes:
            if row.method == command.target.method and (match := row.path.fullmatch(path)) is not None:
                return row, match[1], _query(query)
        return None

    async def _pass(
        self,
        session: Session,
        command: Command,
        found: tuple[Route, str, dict[str, str]] | None,
        body: bytes,
        chunks: AsyncIterator[bytes] | None,
        send: Send,
    ) -> None:
        row, rest, query = found if found is not None else (None, "", {})
        asker = session.asker  # as it is now: the body may have taken its time
        answer: Answer | None = None
        last = b""
        seen: asyncio.Future[Any] | None = None

        def look() -> None:
            nonlocal seen
            if row is not None and row.look is not None:
                seen = row.look(asker, command, rest, query)
                if seen is not None:
                    seen.add_done_callback(_seen)

        async def perform(effect: Perform) -> Done:
            nonlocal answer, last
            self._turns.leave(session)
            if row is None:
                raise AssertionError("a command without a route was allowed")
            entry = effect.receipt.index if effect.begun is None else effect.begun.index
            call = Call(session=session, command=command, query=query, rest=rest, entry=entry, body=body, chunks=chunks, seen=seen)
            failure: TallyError | None = None
            try:
                if session.over or session.asker.cap is not asker.cap:
                    raise Refused("the pair was severed or narrowed meanwhile", "`tally status` shows what it may do now.")
                answer = await row.handler(call)
            except TallyError as error:
                failure, answer = error, _error_answer(error)
            if row.effect is not None and answer.outcome is not None and failure is None:
                done, last = await self._say_meanwhile(send, answer, answer.outcome, effect.receipt.index)
                return done
            if row.effect is not None:
                # The answer waits until what happened is recorded.
                return Done(now_ns=self._clock(), status=answer.status, length=answer.length, digest=answer.digest, error=failure)
            try:
                sent = await _say(send, answer, effect.receipt.index)
            except ConnectionResetError:
                gone = Unavailable("the other side left in the middle of the answer")
                return Done(now_ns=self._clock(), status=answer.status, error=gone)
            except TallyError as error:
                # Half an answer cannot be taken back: without its end it is void, and the other side sees that.
                session.cut("unfinished")
                return Done(now_ns=self._clock(), status=answer.status, error=error)
            return Done(now_ns=self._clock(), status=answer.status, length=sent, digest=answer.digest, error=failure)

        walk = passage.command(
            asker,
            command,
            verb=None if row is None else row.verb,
            effect=None if row is None else row.effect,
            now_ns=self._clock(),
            action=None if row is None else row.action,
            stated=None if row is None or row.stated is None else _stated(row.stated, asker, command, body),
        )
        passed = await self._effects.run(walk, perform, look, urgent=self._porter is not None and self._porter.reserve.low)
        self.allowed += 1
        if answer is not None and answer.outcome is not None:
            with suppress(ConnectionResetError):
                await send({"type": "http.response.body", "body": last})
        elif row is not None and row.effect is not None and answer is not None:
            await _say(send, answer, passed.receipt.index)

    async def _say_meanwhile(self, send: Send, answer: Answer, outcome: Callable[[], Awaitable[Outcome]], entry: int) -> tuple[Done, bytes]:
        """Send what comes while the effect is under way; what became of it. It goes on to its end whether anybody listens or not."""
        sent = 0
        with suppress(ConnectionResetError):
            sent = await _say(send, answer, entry, more=True)
        found = await outcome()
        done = Done(now_ns=self._clock(), status=answer.status, length=sent, error=found.error, ended=found.ended, word=found.word)
        return done, found.last

    async def _cut(self, session: Session, error: TallyError, send: Send) -> None:
        """The request carries no command of this pair: recorded, told once, and the session is over."""
        self.refused += 1
        session.under_way = None
        try:
            await self._effects.run(passage.unreadable(session.asker, error, now_ns=self._clock()))
        except TallyError as failure:
            log.warning("a refusal could not be recorded", extra={"reason": failure.message})
        finally:
            with suppress(ConnectionResetError):
                await _say(send, _error_answer(error), None, close=True)
            session.cut(passage.word_of(error))


def _stated(read: State, asker: Asker, command: Command, body: bytes) -> Stated | TallyError | None:
    """A human's word for a command, or why it is none. Raises: Malformed: the request's body has no such form."""
    try:
        return read(asker, command, body)
    except Malformed:
        raise
    except TallyError as error:
        return error


async def _body(command: Command, row: Route | None, receive: Receive) -> tuple[bytes, AsyncIterator[bytes] | None]:
    """The request's body: the bytes that were signed, or for an upload the chunks as they come.

    Raises: Malformed: it is not the body that was signed, or too long.
    """
    chunks = _chunks(receive)
    if row is not None and row.upload and command.body is None:
        return b"", chunks
    collected = bytearray()
    async for chunk in chunks:
        collected += chunk
        if len(collected) > MAX_BODY_BYTES:
            raise Malformed(f"the body is longer than {MAX_BODY_BYTES} bytes")
    body = bytes(collected)
    if command.body is None:
        if body:
            raise Malformed("the signal says that there is no body, and there is one")
    elif command.body.length != len(body) or command.body.sha256 != sha256(body):
        raise Malformed("the body is not the one that was signed")
    return body, None


def _seen(look: "asyncio.Future[Any]") -> None:
    """A look whose entry could not be written is for nobody, and neither is its error."""
    if not look.cancelled():
        look.exception()


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise Unavailable("the stream ended in the middle of a body", "what arrived of an upload is kept: continue it")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body", False):
            return


def _query(text: str) -> dict[str, str]:
    if not text:
        return {}
    try:
        fields = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MAX_QUERY_FIELDS)
    except ValueError:
        raise Malformed("the query is not of the form name=value&name=value") from None
    if len(dict(fields)) != len(fields):
        raise Malformed("a name stands twice in the query")
    return dict(fields)


async def _turn_away(send: Send, away: TurnedAway) -> None:
    """Say that the command was not taken. Whether the client has left is its own affair: nothing was done."""
    answer = _error_answer(away.error, away.status)
    if away.after_s is not None:
        answer.headers = (("retry-after", str(away.after_s)),)
    with suppress(ConnectionResetError):
        await _say(send, answer, None)


def _error_answer(error: TallyError, status: int | None = None) -> Answer:
    if status is None and isinstance(error, Refused) and error.message == NO_SUCH_FILE:
        status = 404
    code = status or next((code for cls, code in _STATUS.items() if isinstance(error, cls)), 500)
    return json_answer({"error": error_body(error)}, code)


async def _say(send: Send, answer: Answer, entry: int | None, *, close: bool = False, more: bool = False) -> int:
    """Send an answer, all of it but for its end where there is `more`; how many bytes its body had.

    Raises: Unavailable when its source failed halfway (the session is void then).
    """
    length = len(answer.body) if isinstance(answer.body, bytes) else answer.length
    headers = [(b"content-type", answer.kind.encode("latin-1"))]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    if entry is not None:
        headers.append((b"tally-entry", str(entry).encode()))
    if close:
        headers.append((b"connection", b"close"))
    headers += [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
    start: Message = {"type": "http.response.start", "status": answer.status, "headers": headers}
    if isinstance(answer.body, bytes):
        await send(start)
        await send({"type": "http.response.body", "body": answer.body})
        return len(answer.body)
    sent = 0
    async with aclosing(answer.body) as chunks:
        await send(start)
        async for chunk in chunks:
            sent += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        if not more:
            await send({"type": "http.response.body", "body": b""})
    return sent
