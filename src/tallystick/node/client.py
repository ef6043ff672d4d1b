"""A session of a pair, seen from the client: requests that are signed, answers that are checked, and nothing else let in.

    async with await HouseSession.open(machine, pair) as session:
        status = await session.get_json("/v1/status", verb="house.status")

The diode stands here (docs/spec/telemetry.md): what is not an answer to our question, telemetry of version 1, or a checkpoint is
recorded and takes the session with it. Each session brings the house's newest checkpoint; it must continue the last one we saw, or
the house is not believed any more. What the session brings about is recorded in this machine's own ledger (node/chronicle.py)
without a request waiting for it; `close` waits.
"""

import asyncio
import secrets
import time
from collections.abc import Coroutine, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from tallystick.channel.datagram import ASKED_MODES, Mode
from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event, Pong, Telemetry
from tallystick.channel.session import Session, severed_record
from tallystick.diode.telemetry import Severed, parse_telemetry
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.opening import BodyDigest
from tallystick.node.checkpoints import ForkError, Show, Witness, read_message, write_message
from tallystick.node.chronicle import Chronicle
from tallystick.node.connection import Connection
from tallystick.node.dialling import Dialled, dial
from tallystick.node.halves import end, usable
from tallystick.node.httpclient import HOST, Body, HttpClient, Response
from tallystick.node.local import error_from_body
from tallystick.node.machine import Machine
from tallystick.node.pairclock import PairClock
from tallystick.node.signing import sign_request
from tallystick.pair.pairing import Role
from tallystick.primitives import X25519KeyPair, sha256
from tallystick.storage.rows import PairRow

__all__ = ["HouseSession", "PairRow"]

CHECKPOINT_S: Final = 2.0
END_S: Final = 1.0
MAX_CHECKPOINTS: Final = 16
MAX_JSON_BYTES: Final = 33_554_432
MAX_ERROR_BYTES: Final = 8_192
# Words of `Connection` that mean: the house sent what this side must never get.
_BREACHES: Final = frozenset({"direction", "malformed", "after-end"})


class HouseSession:
    """One confirmed session with a house. One request after the other; close it when done."""

    def __init__(self, machine: Machine, pair: PairRow, dialled: Dialled) -> None:
        """Use `HouseSession.open`."""
        self.machine = machine
        self.pair = pair
        self.dialled = dialled
        self._clock = PairClock(machine.memory, pair.pairing)
        # The stream's clock keeps the offset it began with: time that jumps when a pong teaches us better would look like silence.
        self._offset_ns = self._clock.offset_ns
        self._session = Session.of_pair(
            role=Role.CLIENT,
            handshake=dialled.handshake,
            suite=pair.suite,
            static=machine.vault.machine.static,
            ephemeral=lambda: X25519KeyPair.from_private(secrets.token_bytes(32)),
            now_ns=self._stream_ns(),
        )
        self._connection = Connection(self._session, dialled.opened, self._stream_ns)
        self._http = HttpClient(self._connection)
        self._witness = Witness(machine, pair)
        self._chronicle = Chronicle(machine, pair, dialled, self._session, self._connection)
        loop = asyncio.get_running_loop()
        self._confirmed: asyncio.Future[None] = loop.create_future()
        self._witnessed: asyncio.Future[None] = loop.create_future()
        self._standing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: TallyError | None = None
        self._defect: BaseException | None = None
        self._checkpoints = 0
        self._n = 0
        self._signal: bytes | None = None
        self._closing = False

    def _stream_ns(self) -> int:
        return max(time.time_ns() + self._offset_ns, 0)

    @classmethod
    async def open(cls, machine: Machine, pair: PairRow, *, timeout_s: float | None = None) -> Self:
        """Knock, connect, and wait until the house has proven itself.

        Raises: Refused: the pair does not stand.  Unavailable: silence, or no connection.  Misuse: we are the house of this pair.
        """
        pair = await usable(machine, pair, time.time_ns())
        deadline = asyncio.get_running_loop().time() + (machine.settings.timeout_s if timeout_s is None else timeout_s)
        tried: set[Mode] = set()
        while True:
            left = [mode for mode in ASKED_MODES if mode not in tried] if tried else []
            patience = deadline - asyncio.get_running_loop().time()
            session = cls(machine, pair, await dial(machine, pair, timeout_s=patience, modes=left))
            try:
                await session._start()
            except Unavailable:
                # Somebody else may have taken the connection on its way: another mode may get past them.
                tried.add(session.dialled.asked)
                if machine.settings.mode != "auto" or len(tried) == len(ASKED_MODES):
                    raise
            else:
                return session

    async def _start(self) -> None:
        try:
            await self._connection.start(self)
            self._connection.write(self._session.start() + self._session.send_checkpoint(self._witness.ask()))
            await self._confirmed
            if self._standing is not None:
                await asyncio.shield(self._standing)
            self._check()
        except BaseException:
            self._connection.abort()
            await self._settle()
            raise

    # --- Asking ----------------------------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        target: str,
        *,
        verb: str,
        headers: Sequence[tuple[str, str]] = (),
        body: Body = None,
        upload: bool = False,
    ) -> Response:
        """Sign a request, send it, and return when the head of a good answer has come.

        Args: target: raw path with query.  verb: of docs/spec/signal.md, section 6.  body: bytes are signed; an iterator's are not,
            so it takes `upload`: the signal of an upload says nothing about its body, the closing signal does.
        Raises: what the house answered (Refused, Malformed, Unproven, Misuse, Unavailable); Unavailable: the session is over;
            Refused: the house severed the pair; Unproven: its history was rewritten; Misuse: an answer is still being read.
        """
        self._check()
        if body is not None and not isinstance(body, bytes) and not upload:
            raise Misuse("the body of a command is signed as a whole", "give bytes, or send it as an upload")
        fields = [(name.lower(), value) for name, value in headers]
        if not any(name == "host" for name, _ in fields):
            fields.append(("host", HOST))
        signed = sign_request(
            self.machine.vault.machine.signing,
            house=self._house,
            stream=self._session.stream,
            n=self._n,
            now_ns=self._clock.now_ns(),
            verb=verb,
            method=method,
            target=target,
            headers=fields,
            body=BodyDigest(length=len(body), sha256=sha256(body)) if isinstance(body, bytes) and not upload else None,
        )
        try:
            response = await self._http.request(method, target, [*fields, *signed.headers], body)
        except Misuse:
            raise  # nothing was sent: the number is still free
        except TallyError as error:
            raise self._failure or error from None
        self._n += 1
        self._signal = signed.reference
        if response.status >= 400:
            raise await self._error_of(response)
        return response

    async def get_json(self, target: str, *, verb: str) -> Any:
        """The JSON behind a target. Raises: as `request`; Malformed when it is no JSON."""
        return await self.json_of(await self.request("GET", target, verb=verb))

    async def post_json(self, target: str, value: Any, *, verb: str, method: str = "POST") -> Any:
        """Send JSON (bytes go as they are) and read the JSON of the answer. Raises: as `get_json`."""
        raw, kind = (value, "application/octet-stream") if isinstance(value, bytes) else (msgspec.json.encode(value), "application/json")
        return await self.json_of(await self.request(method, target, verb=verb, headers=[("content-type", kind)], body=raw))

    async def json_of(self, response: Response) -> Any:
        """The JSON of an answer. Raises: as `Response.read`; Malformed when it is none."""
        raw = await response.read(MAX_JSON_BYTES)
        try:
            return msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise Malformed("the house's answer is not JSON", "is its software as new as ours?") from None

    async def _error_of(self, response: Response) -> TallyError:
        try:
            body = msgspec.json.decode(await response.read(MAX_ERROR_BYTES))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Malformed(f"the house answered {response.status} without saying why")
        return error_from_body(body.get("error") if isinstance(body, Mapping) else None)

    @property
    def _house(self) -> bytes:
        if self.pair.house is None:
            raise AssertionError("a client's half names its house")
        return self.pair.house

    @property
    def address(self) -> str:
        """Where the house was reached, `HOST:PORT`."""
        host, port = self.dialled.address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def mode(self) -> Mode:
        """The mode the house took."""
        return self.dialled.mode

    @property
    def visibility(self) -> str:
        """Who could have seen an open port."""
        return self.dialled.visibility

    @property
    def over(self) -> bool:
        """Whether nothing can be asked any more."""
        return self._closing or self._connection.over or not self._http.usable

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._closing or self._connection.over:
            raise Unavailable("the session is over", "open another one")

    # --- What comes (connection.Above) -----------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """What the connection brings."""
        match event:
            case Data(data=data):
                self._data(data)
            case Confirmed():
                task = self._spawn(self._chronicle.begun())
                if self.pair.state == "pending":
                    self._standing = task
                self._confirmed.set_result(None)
            case Pong(time_ns=time_ns, sent_ns=sent_ns):
                self._clock.taught(time_ns, sent_ns=sent_ns - self._offset_ns, received_ns=time.time_ns())
            case End():
                self._http.end_of_input()
                self._connection.end(None)
            case Telemetry(record=record):
                self._telemetry(record)
            case Checkpoint(message=message):
                self._checkpoints += 1
                if self._checkpoints > MAX_CHECKPOINTS:
                    self._breach("checkpoint", message)
                else:
                    self._spawn(self._judge(message))
            case _:
                pass

    def _data(self, data: bytes) -> None:
        if self._closing and not self._http.busy:
            self._breach("data", data)
            return
        try:
            self._http.feed(data)
        except Malformed:
            self._breach("data", data)

    def _telemetry(self, record: bytes) -> None:
        try:
            told = parse_telemetry(record, receiver=Role.CLIENT)
        except Malformed:
            self._breach("telemetry", record)
            return
        if isinstance(told, Severed) and told.pairing_id == self.pair.pairing:
            self._fail(Refused("the house severed this pair", "to work with it again, pair with a new invite"), "severed")
            self._spawn(end(self.machine, self.pair.pairing, reason="severed"))

    async def _judge(self, message: bytes) -> None:
        """The house shows its newest checkpoint: does it continue the one we saw last?"""
        try:
            shown = read_message(message)
            if not isinstance(shown, Show):
                raise Malformed("a house shows checkpoints and asks for none")
            event, cosign = await asyncio.to_thread(self._witness.judge, shown, self._clock.now_ns())
        except Malformed:
            self._breach("checkpoint", message)
            return
        except ForkError as fork:
            self._fail(fork, "fork")
            await self._chronicle.forked(fork)
            return
        except Unproven as error:
            self._fail(error, "checkpoint")
            return
        try:
            if event is not None:
                await self.machine.store.record(event)
        except Refused:
            pass  # another session of this machine has seen a newer one meanwhile
        else:
            if not self._connection.over and not self._session.sent_end:
                self._connection.write(self._session.send_checkpoint(write_message(cosign)))
        if not self._witnessed.done():
            self._witnessed.set_result(None)

    def pause_writing(self) -> None:
        """The socket has enough."""
        self._http.pause_writing()

    def resume_writing(self) -> None:
        """The socket wants more."""
        self._http.resume_writing()

    def lost(self, reason: str) -> None:
        """The connection is over."""
        busy = self._http.busy
        if reason in _BREACHES and self._session.confirmed and self._failure is None:
            self._breach(reason, b"")
        error = self._failure or Unavailable("the session was cut", "the network or the house went away; try again")
        self._http.lost(Unproven(error.message, error.hint) if isinstance(error, ForkError) else error)
        if not self._confirmed.done():
            self._confirmed.set_exception(Unavailable("the house did not prove itself on this connection", "try again; see `tally status`"))
        if not self._witnessed.done():
            self._witnessed.set_result(None)
        if self._session.confirmed:
            self._spawn(self._chronicle.ended(reason, self._signal if busy else None))

    # --- Ending ----------------------------------------------------------------------------------------------------------

    def _fail(self, error: TallyError, reason: str) -> None:
        """The session is over for a reason of ours; whoever waits is told it."""
        if self._failure is None:
            self._failure = error
        self._connection.cut(reason)

    def _breach(self, what: str, data: bytes) -> None:
        """The diode: recorded, and the session goes."""
        self._fail(
            Malformed("the house sent something that is neither an answer nor telemetry", "this end cut the session and recorded it"),
            "diode",
        )
        self._spawn(self._chronicle.breached(what, data))

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, TallyError):
            self._fail(error, "unrecorded")
        else:
            self._defect = error
            self._connection.cut("failed")

    async def tell_severed(self) -> bool:
        """Say that this pairing has ended, before it ends here. Returns: whether the house has hung up on it, as it must."""
        if self.over or self._session.sent_end:
            return False
        self._connection.write(self._session.send_telemetry(severed_record(self.pair.pairing)))
        await asyncio.wait([self._connection.closed], timeout=END_S)
        return self._connection.over

    async def close(self) -> None:
        """End in order: the checkpoint is judged, both ends say `end`, and everything is in this machine's ledger.

        Raises: Unproven: the house's history was rewritten.  Malformed: the house broke the protocol.  Unavailable: not recorded.
        """
        first, self._closing = not self._closing, True
        if first and not self._connection.over:
            await asyncio.wait([self._witnessed], timeout=CHECKPOINT_S)
            self._http.close()
            self._connection.end(None)
            await asyncio.wait([self._connection.closed], timeout=END_S)
            self._connection.cut("no-end")
        await self._settle()
        if first and isinstance(self._failure, Unproven | Malformed | Unavailable):
            raise self._failure

    async def _settle(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._defect is not None:
            raise AssertionError("a defect of ours in a session") from self._defect

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            await self.close()
        except TallyError:
            if error is None:
                raise
