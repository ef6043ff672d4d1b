"""What stands on a client's connection: the diode, the house's checkpoints, and an end in order.

Requests and answers pass through to `http` (node/client.py signs and reads them). What is not an answer to our question, telemetry of
version 1, or a checkpoint that continues the last one we saw takes the session with it, and is recorded (node/chronicle.py).
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event, Pong, Telemetry
from tallystick.channel.session import Session, severed_record
from tallystick.diode.telemetry import Severed, parse_telemetry
from tallystick.errors import Malformed, Refused, TallyError, Unavailable, Unproven
from tallystick.node.checkpoints import ForkError
from tallystick.node.checkpointwire import Closed, Told
from tallystick.node.chronicle import Chronicle, told_closed
from tallystick.node.connection import Connection
from tallystick.node.dialling import Dialled, prepare
from tallystick.node.ephemerals import ephemeral
from tallystick.node.halves import end
from tallystick.node.houseclock import steady_ns
from tallystick.node.httpclient import HttpClient
from tallystick.node.machine import Machine
from tallystick.node.pairclock import PairClock
from tallystick.node.reports import Health, HealthState, Reports
from tallystick.pair.pairing import Role
from tallystick.storage.rows import PairRow

CHECKPOINT_S: Final = 2.0
END_S: Final = 1.0
MAX_CHECKPOINTS: Final = 16
# Words of `Connection` that mean: the house sent what this side must never get.
_BREACHES: Final = frozenset({"direction", "malformed", "after-end", "rekey"})


class HouseStream:
    """One sealed stream to a house. `unanswered`: the reference of the signal asked last, for the record of a cut."""

    clock: PairClock
    session: Session
    connection: Connection
    http: HttpClient

    def __init__(self, machine: Machine, pair: PairRow, reports: Reports | None = None) -> None:
        """What can be made before there is a connection; `begin` takes it over, `start` waits for the first answer on it.

        Args: reports: where telemetry goes, also of sessions before and after; else it ends with this one.
        """
        self._chronicle = Chronicle(machine, pair)
        self.unanswered: bytes | None = None
        self.failure: TallyError | None = None
        self.closing = False
        self._closed_there: Refused | None = None  # the house takes no commands: told even to whom it answered just before
        self.reports = Reports() if reports is None else reports
        self._own_reports = reports is None
        self._stopping = False
        self._machine = machine
        self._pair = pair
        loop = asyncio.get_running_loop()
        self._confirmed: asyncio.Future[None] = loop.create_future()
        self._witnessed: asyncio.Future[None] = loop.create_future()
        self._standing: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._defect: BaseException | None = None
        self._checkpoints = 0

    def begin(self, dialled: Dialled) -> None:
        """Take the connection over and say the first word: the rest is made while it travels."""
        machine, pair = self._machine, self._pair
        self.clock = PairClock(machine.memory, pair.pairing)
        # The stream's time only runs on: one that jumps when a pong teaches us better, or a person sets the clock, would look like silence.
        self._begun_ns = max(time.time_ns() + self.clock.offset_ns, 0) - steady_ns()
        self.session = Session.of_pair(
            role=Role.CLIENT,
            handshake=dialled.handshake,
            suite=pair.suite,
            static=machine.vault.machine.static,
            ephemeral=ephemeral,
            now_ns=self._stream_ns(),
        )
        self.connection = Connection(self.session, dialled.opened, self._stream_ns)
        self.connection.write(self.session.start() + self.session.send_checkpoint(self._chronicle.ask))
        self._chronicle.begin(dialled, self.session, self.connection)
        self._house = dialled.remote.at(dialled.address[1])
        self.http = HttpClient(self.connection)

    def _stream_ns(self) -> int:
        return self._begun_ns + steady_ns()

    async def start(self) -> None:
        """Wait until the house has proven itself. A pair that was pending stands then.

        Raises: Unavailable: it did not.  Refused, Malformed, Unproven: what came with its first words.
        """
        try:
            await self.connection.start(self)
            await self._confirmed
            if self._standing is not None:
                await asyncio.shield(self._standing)
            self.check()
        except BaseException:
            self.connection.abort()
            if self._confirmed.done() and not self._confirmed.cancelled():
                self._confirmed.exception()  # seen: it is what we raise, or no longer matters
            await self._settle()
            raise

    @property
    def over(self) -> bool:
        """Whether nothing can be asked any more."""
        return self.closing or self.connection.over or not self.http.usable

    def check(self) -> None:
        """Raises: why the stream is over."""
        if self.failure is not None:
            raise self.failure
        if self.closing or self.connection.over:
            raise Unavailable("the session is over", "open another one")

    # --- What comes (connection.Above) -----------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """What the connection brings."""
        match event:
            case Data(data=data):
                self._data(data)
            case Confirmed():
                self._confirmed.set_result(None)  # first: whoever waits goes on before the ledger is asked
                task = self._spawn(self._chronicle.begun())
                if self._pair.state == "pending":
                    self._standing = task
            case Pong(time_ns=time_ns, sent_ns=sent_ns):
                received_ns = time.time_ns()
                self.clock.taught(time_ns, sent_ns=received_ns - (self._stream_ns() - sent_ns), received_ns=received_ns)
            case End():
                self.http.end_of_input()
                self.connection.end(None)
            case Telemetry(record=record):
                self._telemetry(record)
            case Checkpoint(message=message):
                self._checkpoints += 1
                if self._checkpoints > MAX_CHECKPOINTS:
                    self._breach("checkpoint", message)
                else:
                    # The house hangs up behind it: whoever waits for an answer is told why, though the evidence is not in the ledger yet.
                    self.failure = self.failure or (told_closed(message) if self.patient is None else None)
                    self._spawn(self._judge(message))
            case _:
                pass

    def _data(self, data: bytes) -> None:
        if self.closing and not self.http.busy:
            self._breach("data", data)
            return
        try:
            self.http.feed(data)
        except Malformed:
            self._breach("data", data)

    def _telemetry(self, record: bytes) -> None:
        try:
            told = parse_telemetry(record, receiver=Role.CLIENT)
        except Malformed:
            self._breach("telemetry", record)
            return
        if isinstance(told, Severed) and told.pairing_id == self._pair.pairing:
            self._fail(Refused("the house severed this pair", "to work with it again, pair with a new invite"), "severed")
            self._spawn(end(self._machine, self._pair.pairing, reason="severed"))
        elif not isinstance(told, Severed):
            self._stopping = isinstance(told, Health) and told.state is HealthState.CLOSING
            self.reports.put(told)

    async def _judge(self, message: bytes) -> None:
        """The house shows its newest checkpoint: does it continue the one we saw last?"""
        try:
            answers = await self._chronicle.witnessed(message, self.clock.now_ns())
        except Malformed:
            self._breach("checkpoint", message)
        except Unproven as error:
            self._fail(error, "fork" if isinstance(error, ForkError) else "checkpoint")
        except Refused as error:
            self._closed_there = error
            self._fail(error, "closed")
        else:
            for answer in answers:
                self.say(answer)
            if not self._witnessed.done():
                self._witnessed.set_result(None)
        if self.failure is not None:
            self.connection.cut("closed")

    def say(self, message: bytes) -> None:
        """Send a checkpoint message, unless the session is over."""
        if not self.connection.over and not self.session.sent_end:
            self.connection.write(self.session.send_checkpoint(message))

    @property
    def patient(self) -> "asyncio.Queue[Closed | Told] | None":
        """Where a closed house's words go, for who opens it again."""
        return self._chronicle.patient

    async def settled(self) -> None:
        """Wait until the house has shown that it is open, or the session is over."""
        await asyncio.wait([self._witnessed, self.connection.closed], return_when=asyncio.FIRST_COMPLETED)

    def be_patient(self) -> "asyncio.Queue[Closed | Told]":
        """From now on a closed house ends no session; what it says is in the queue."""
        self._chronicle.patient = asyncio.Queue()
        return self._chronicle.patient

    def pause_writing(self) -> None:
        """The socket has enough."""
        self.http.pause_writing()

    def resume_writing(self) -> None:
        """The socket wants more."""
        self.http.resume_writing()

    def lost(self, reason: str) -> None:
        """The connection is over."""
        busy = self.http.busy
        if reason in _BREACHES and self.session.confirmed and self.failure is None:
            self._breach(reason, b"")
        error = self.failure or Unavailable("the session was cut", "the network or the house went away; try again")
        if self._stopping and self.failure is None:
            error = Unavailable("the house is stopping", "it was stopped in order; try again when it runs again")
        if self._own_reports:
            self.reports.close()
        self.http.lost(Unproven(error.message, error.hint) if isinstance(error, ForkError) else error)
        if not self._confirmed.done():
            self._confirmed.set_exception(Unavailable("the house did not prove itself on this connection", "try again; see `tally status`"))
        if not self._witnessed.done():
            self._witnessed.set_result(None)
        if self.session.confirmed:
            self._spawn(self._chronicle.ended(reason, self.unanswered if busy else None))

    # --- Ending ----------------------------------------------------------------------------------------------------------

    def _fail(self, error: TallyError, reason: str) -> None:
        """The session is over for a reason of ours; whoever waits is told it."""
        if self.failure is None:
            self.failure = error
        self.connection.cut(reason)

    def _breach(self, what: str, data: bytes) -> None:
        """The diode: recorded, and the session goes. The first word is enough."""
        if self.failure is not None:
            return
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
            self.connection.cut("failed")

    async def tell_severed(self) -> bool:
        """Say that this pairing has ended, before it ends here. Returns: whether the house has hung up on it, as it must."""
        if self.over or self.session.sent_end:
            return False
        self.connection.write(self.session.send_telemetry(severed_record(self._pair.pairing)))
        await asyncio.wait([self.connection.closed], timeout=END_S)
        return self.connection.over

    async def close(self) -> None:
        """End in order: the checkpoint is judged, both ends say `end`, and everything is in this machine's ledger.

        Raises: Unproven: the house's history was rewritten.  Malformed: the house broke the protocol.  Unavailable: not recorded.
            Refused: the house is closed.
        """
        first, self.closing = not self.closing, True
        if first and not self.connection.over:
            await asyncio.wait([self._witnessed], timeout=CHECKPOINT_S)
            self.http.close()
            self.connection.end(None)
            await asyncio.wait([self.connection.closed], timeout=END_S)
            self.connection.cut("no-end")
        asyncio.get_running_loop().call_soon(prepare, self._machine, self._pair.pairing, self._house)
        await self._settle()
        told = isinstance(self.failure, Unproven | Malformed | Unavailable) or self.failure is self._closed_there
        if first and told and self.failure is not None:
            raise self.failure

    async def _settle(self) -> None:
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._defect is not None:
            raise AssertionError("a defect of ours in a session") from self._defect
