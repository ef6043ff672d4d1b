"""A running house: it hears knocks, opens connections for those that hold, and keeps the doors of its pairs.

The only place that has all of it in hand: the UDP port, the doorkeeper, the sessions, the archive, the ledger. What may happen
is decided in the core (channel/knock, rights/matrix), in which order in passage/; here it is done.
"""

import asyncio
import contextlib
import logging
import resource
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

from tallystick.channel.datagram import SECOND_NS
from tallystick.diode.telemetry import Health, HealthState
from tallystick.errors import Misuse, TallyError, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.net.address import split
from tallystick.net.stream import VISIBLE
from tallystick.node.acts import SOURCES
from tallystick.node.archive import archive_routes, settle_archive
from tallystick.node.checkpointwire import Closed
from tallystick.node.closing import Closing
from tallystick.node.connection import Connection
from tallystick.node.deciding import Deciding
from tallystick.node.door import Door
from tallystick.node.doorstep import Arrival, Doorstep
from tallystick.node.effects import Effects
from tallystick.node.gatewing import GateWing
from tallystick.node.host import own_address
from tallystick.node.houseclock import HouseClock
from tallystick.node.http import HttpServer
from tallystick.node.invitesession import InviteSession
from tallystick.node.live import LiveTable
from tallystick.node.machine import Machine
from tallystick.node.pairsession import PairSession
from tallystick.node.porter import Porter
from tallystick.node.publisher import Publisher
from tallystick.node.reopening import Reopening
from tallystick.node.retention import Retention
from tallystick.node.rooms import house_routes
from tallystick.node.settling import lapse, settle, started
from tallystick.node.statements import Statements
from tallystick.node.workers import Workers
from tallystick.pair.message import Reason
from tallystick.pair.pairing import Role, derive_pair_keys
from tallystick.passage import pairing
from tallystick.passage.effect import invite_name, secret_name
from tallystick.service.archive import Archive, ArchiveSettings

TICK_S: Final = 1.0
BUSY_TICK_S: Final = 0.005
DRAIN_S: Final = 5.0
_ORDERLY: Final = frozenset(("end", "lost", "void", "severed", "stopped"))  # ends that are not a broken protocol
MAX_SESSIONS_OF_A_PAIR: Final = 32  # one machine must not use up what all others need: descriptors, memory, turns
MAX_SESSIONS: Final = 8_192
RESERVED_FILES: Final = 416  # descriptors that are no sessions: 256 pending connects, the ledger's threads, bodies, archive, sockets
UPLOAD_LIFE_NS: Final = 7 * 24 * 3_600 * SECOND_NS
_T = TypeVar("_T")

log = logging.getLogger("tallystick")


class House:
    """One house. `start` to `stop`; `failed` is set when it cannot go on."""

    def __init__(self, machine: Machine) -> None:
        """Raises: Misuse: the machine is not a house."""
        if machine.role is not Role.HOUSE:
            raise Misuse("this machine is not a house", "`tally init` makes one, in a home of its own")
        self.machine = machine
        self.effects = Effects(machine.store, machine.vault, self, machine.reserve)
        self._retention = Retention(machine, self.clock)
        self.publisher = Publisher(machine)
        self.closing = Closing(machine, self.publisher.show, self._shut)
        self.reopening = Reopening(machine, self.effects, self.clock)
        self.statements = Statements(machine, self.effects, self.clock, self._pair_stood, self.refused)
        self.porter = Porter(machine.settings, machine.reserve, self.clock)
        self.gate = GateWing(machine, self.effects, self.clock)
        self._door = Door(self.effects, (), self.clock, self.porter)
        self.http = HttpServer(self._door)
        self.archive: Archive | None = None
        self.workers = Workers()
        self.deciding = Deciding(self)
        self.port = 0
        self.started_ns = 0
        self.failed: asyncio.Event = asyncio.Event()
        self.stopping = False  # answers that have no end of their own end then
        self._clock = HouseClock()
        self._doorstep: Doorstep | None = None
        self._sessions: dict[bytes, set[PairSession]] = {}
        self._connected: dict[bytes, set[Connection]] = {}  # by pair, confirmed or not, until the socket is closed
        self._connections = 0
        self._ceremonies: dict[bytes, InviteSession] = {}
        self._invite_sessions: set[InviteSession] = set()
        self._live = LiveTable(machine.memory)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._addresses: dict[bytes, str] = {}
        self._counts: dict[str, int] = {"sessions_confirmed": 0, "sessions_cut": 0, "bytes_in": 0, "bytes_out": 0}

    # --- Life ------------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Settle what a crash left open, let the standing pairs in, listen. Raises: Unavailable, Refused."""
        settings = self.machine.settings
        self.machine.reserve.look()
        if not self.closing.look():
            await asyncio.to_thread(self.publisher.check)
        stored = self.machine.memory.get("pair time")
        self._clock = HouseClock(stored if isinstance(stored, int) else 0)
        self.started_ns = self.clock()
        self._doorstep = Doorstep(self.machine, self, self.clock)
        self.archive = await asyncio.to_thread(Archive.open, settings.root, ArchiveSettings(versions_per_path=settings.versions))
        completed = await asyncio.to_thread(settle_archive, self.archive)
        if not self.closing.moved:
            await asyncio.to_thread(self.machine.store.settle_open_effects, self.clock(), completed=completed)
        self._door.routes = (*archive_routes(self), *house_routes(self), *self.deciding.routes())
        await settle(self)
        await asyncio.to_thread(self._drop_uploads)
        await started(self)
        await self.gate.open()
        await self.deciding.open()
        self.port = self._step.listen()
        self.publisher.start()
        self.spawn(self._retention.keep())
        self.spawn(self._tick(), lambda _: self.failed.set())

    async def stop(self) -> None:
        """Take no more knocks, let what is under way end, record it."""
        self.stopping = True
        await self.deciding.close()
        if self._doorstep is not None:
            self._doorstep.close()
        await self.gate.close()
        open_sessions = [session for sessions in self._sessions.values() for session in sessions]
        self._tell_health(HealthState.CLOSING)
        for session in open_sessions:
            session.shutdown()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained(), DRAIN_S)
        for session in [session for sessions in self._sessions.values() for session in sessions]:
            session.cut("stopped")
        for ceremony in list(self._invite_sessions):
            ceremony.cut("stopped")
        for task in [task for task in self._tasks if task is not asyncio.current_task()]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TallyError):
            self._remember()
        with contextlib.suppress(TallyError):
            told = (*self.porter.bursts(all_of_them=True), *self.gate.events(all_of_them=True))
            await self.effects.urgently(*told, Event.of(Kind.STOPPED, self.clock(), what="ordered"))
        await asyncio.to_thread(self.publisher.stop)
        self.workers.close()
        if self.archive is not None:
            self.archive.close()
            self.archive = None

    async def _drained(self) -> None:
        while any(self._sessions.values()):
            await asyncio.sleep(0.01)

    def clock(self) -> int:
        """Pair time, UTC nanoseconds: never backwards (docs/spec/knock.md, section 4)."""
        return self._clock.now_ns()

    @property
    def _step(self) -> Doorstep:
        if self._doorstep is None:
            raise AssertionError("the house is not started")
        return self._doorstep

    def spawn(self, work: Coroutine[Any, Any, _T], on_error: Callable[[BaseException], None] | None = None) -> asyncio.Task[_T]:
        """Run something beside what is under way; its errors are logged and told to `on_error`."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)

        def done(ended: asyncio.Task[_T]) -> None:
            self._tasks.discard(ended)
            if ended.cancelled() or (error := ended.exception()) is None:
                return
            if isinstance(error, TallyError):
                log.info("refused", extra={"reason": error.message})
            else:
                log.error("a defect of ours", exc_info=error)
            if on_error is not None:
                on_error(error)

        task.add_done_callback(done)
        return task

    async def _tick(self) -> None:
        """Once a second: tags ahead, what lapsed, what to remember; sooner while there are tags to compute."""
        beat = 0
        while True:
            more = self._step.tick()
            await asyncio.sleep(BUSY_TICK_S if more else TICK_S)
            if more:
                continue
            beat += 1
            jump_ns = self._clock.jump_ns()
            if self.machine.reserve.look():
                self._tell_health(HealthState.DEGRADED if self.machine.reserve.low else HealthState.OK)
            if self.machine.store.failure is not None:
                log.error("the ledger has stopped; so does the house", extra={"reason": self.machine.store.failure.message})
                self.failed.set()
                return
            try:
                if jump_ns:
                    what = "backwards" if jump_ns < 0 else "forwards"
                    log.warning("the system clock was set", extra={"what": what, "seconds": abs(jump_ns) // SECOND_NS})
                    event = Event.of(Kind.CLOCK_JUMPED, self.clock(), observed=max(time.time_ns(), 0), what=what)
                    await self.machine.store.record(event)
                await self._chores(beat)
            except TallyError as error:
                # A full disk may be emptied again, and a pairing may be decided in the moment it lapses: the house goes on.
                log.warning("a chore was left undone", extra={"reason": error.message})

    async def _chores(self, beat: int) -> None:
        if beat % 10 == 0:
            if not self.machine.reserve.low and (told := (*self.porter.bursts(), *self.gate.events())):
                await self.machine.store.record(*told)
            self.publisher.wake()  # other processes append to this ledger too
            await lapse(self)
            await asyncio.to_thread(self._remember)
        if beat % 3600 == 0 and self.archive is not None:
            await asyncio.to_thread(self.archive.expire, time.time_ns() - UPLOAD_LIFE_NS)

    def _remember(self) -> None:
        for pair in self._live.keep(self.clock()):
            self._forget(pair)  # severed meanwhile

    # --- Doors (node/effects.py) -----------------------------------------------------------------------------------------

    def _shut(self, closed: Closed) -> None:
        """From now on nobody's commands are taken: whoever is here is told, and goes."""
        for session in [session for sessions in self._sessions.values() for session in sessions]:
            session.tell_closed(closed)
        for ceremony in list(self._invite_sessions):
            ceremony.cut("closed")

    async def open_pair(self, pair: bytes) -> None:
        """From now on this pair's knocks are heard."""
        secret = await asyncio.to_thread(self.machine.vault.get_secret, secret_name(pair))
        row = self.machine.store.pair(pair)  # read last: it may have ended meanwhile
        if row is not None and row.heard and row.role is Role.HOUSE and secret is not None:
            self._step.let_in(row, derive_pair_keys(secret))

    async def close_pair(self, pair: bytes, *, tell: bool) -> None:
        """From now on this pair meets silence."""
        # Nothing is awaited before the sessions are cut: a command of the same group of entries would run in between.
        self._step.shut_out(pair)
        for session in list(self._sessions.get(pair, ())):
            if tell:
                session.tell_severed()
            else:
                session.cut("severed")
        for connection in list(self._connected.get(pair, ())):
            connection.drop()
        self._live.forget(pair)
        await self.refused(pair)  # where a ceremony still waits for it
        try:
            await asyncio.to_thread(self._forget, pair)
            await asyncio.to_thread(self._drop_uploads)
        except TallyError as error:
            # Housekeeping; the secret must go whatever becomes of it.
            log.warning("what was kept for a pair stays for now", extra={"reason": error.message})

    def _drop_uploads(self) -> None:
        """What machines that are paired no more have staged fills no disk."""
        if self.archive is not None:
            self.archive.keep_uploads([SOURCES, *(row.pairing for row in self.machine.store.pairs() if row.stands)])

    def _forget(self, pair: bytes) -> None:
        for row in (f"counter/{pair.hex()}", f"live/{pair.hex()}"):
            if self.machine.memory.get(row) is not None:
                self.machine.memory.change(row, lambda _: (None, None))

    async def narrow_pair(self, pair: bytes) -> None:
        """From now on the pair's sessions have its narrower type."""
        row = self.machine.store.pair(pair)
        if row is not None:
            for session in self._sessions.get(pair, ()):
                session.narrow(row)

    async def recheck_pairs(self) -> None:
        """From now on no session goes on whose pair no longer stands."""
        unsigned = None
        for pair, sessions in list(self._sessions.items()):
            row = self.machine.store.pair(pair)
            if sessions and row is not None and not row.stands:
                unsigned = unsigned or self.closing.unsigned()
                for session in list(sessions):
                    session.tell_closed(unsigned)

    async def open_invite(self, invite: bytes) -> None:
        """From now on knocks with this invite are heard."""
        secret = await asyncio.to_thread(self.machine.vault.get_secret, invite_name(invite))
        row = self.machine.store.invite(invite)
        if row is not None and row.state == "open" and secret is not None:
            self._step.expect(row, secret)

    async def close_invite(self, invite: bytes) -> None:
        """From now on this invite meets silence."""
        self._step.expect_no_more(invite)

    # --- Arrivals (node/doorstep.py) -------------------------------------------------------------------------------------

    def has_room(self, pair: bytes | None) -> bool:
        """Whether one more connection may stand: of this pair, or of an invite."""
        if pair is not None and len(self._connected.get(pair, ())) >= MAX_SESSIONS_OF_A_PAIR:
            return False
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return self._connections + len(self._invite_sessions) < min(MAX_SESSIONS, max(files - RESERVED_FILES, files // 4))

    def _came(self, pair: bytes, connection: Connection) -> None:
        """One connection more of this pair, until its socket is closed."""
        self._connected.setdefault(pair, set()).add(connection)
        self._connections += 1

        def left(_: object) -> None:
            self._connections -= 1
            others = self._connected.get(pair, set())
            others.discard(connection)
            if not others:
                self._connected.pop(pair, None)

        connection.gone.add_done_callback(left)

    async def arrived(self, arrival: Arrival) -> None:
        """A connection stands at the door: a session of a pair, or the ceremony of an invite."""
        opened = arrival.opened
        if arrival.pair is not None:
            # The pair may have been severed while the connection opened. If it was narrowed, `session_confirmed` will see it.
            row = arrival.pair
            if not row.heard or row.pairing not in self._step:
                opened.close()
                return
            connection = Connection(arrival.session, opened, self.clock)
            live = self._live.of(row.pairing)
            live.address, live.mode, live.visibility = opened.remote.host, opened.mode.value, VISIBLE[opened.mode]
            self._came(row.pairing, connection)
            await connection.start(PairSession(self, connection, row, arrival.knock))
            return
        invite = None if arrival.invite is None else self.machine.store.invite(arrival.invite)
        if invite is None:
            opened.close()
            return
        connection = Connection(arrival.session, opened, self.clock)
        self._addresses[invite.invite] = opened.remote.host
        ceremony = InviteSession(self, connection, invite, arrival.knock, arrival.handshake.chaining_key, arrival.remote_static)
        self._invite_sessions.add(ceremony)
        await connection.start(ceremony)

    # --- Sessions --------------------------------------------------------------------------------------------------------

    def hears(self, pair: bytes) -> bool:
        """Whether the pair's knocks are heard: it was not severed while its connection opened."""
        return pair in self._step

    def session_confirmed(self, session: PairSession) -> None:
        """A session's first frame verified."""
        pair = session.pair.pairing
        self._sessions.setdefault(pair, set()).add(session)
        self._counts["sessions_confirmed"] += 1
        self._live.of(pair).last_knock_ns = self.clock()
        row = self.machine.store.pair(pair)
        if row is not None and row.effective is not session.pair.effective:
            session.narrow(row)

    def session_lost(self, session: PairSession, reason: str) -> None:
        """A session is over."""
        self._counts["sessions_cut"] += reason not in _ORDERLY
        pair = session.pair.pairing
        sessions = self._sessions.get(pair)
        if sessions is not None and session in sessions:
            sessions.discard(session)
            if not sessions:
                del self._sessions[pair]
        self._counts["bytes_in"] += session.bytes_in
        self._counts["bytes_out"] += session.bytes_out
        live = self._live.known(pair)
        if live is not None:
            live.received_bytes += session.bytes_in
            live.sent_bytes += session.bytes_out

    def ceremony_waits(self, session: InviteSession) -> None:
        """A ceremony waits for a human's word about its pairing."""
        if session.pairing is not None:
            self._ceremonies[session.pairing] = session

    def ceremony_lost(self, session: InviteSession) -> None:
        """A ceremony's connection is over."""
        self._invite_sessions.discard(session)
        if session.pairing is None:
            self._addresses.pop(session.invite, None)
        elif self._ceremonies.get(session.pairing) is session:
            del self._ceremonies[session.pairing]

    async def _pair_stood(self, pair: bytes, receipt: Receipt) -> None:
        self._decided(pair)
        ceremony = self._ceremonies.get(pair)
        if ceremony is not None:
            await ceremony.stood(receipt)

    async def refused(self, pair: bytes, reason: Reason = Reason.DENIED) -> None:
        """A pairing was denied or has lapsed: tell the machine that waits, if it is still here."""
        self._decided(pair)
        ceremony = self._ceremonies.get(pair)
        if ceremony is not None:
            await ceremony.refuse(reason)

    def _decided(self, pair: bytes) -> None:
        """The inbox shows where it came from no more."""
        row = self.machine.store.pair(pair)
        if row is not None and row.invite is not None:
            self._addresses.pop(row.invite, None)

    async def sever(self, pair: bytes, *, by: str, reason: str, tell: bool, actor: str | None = None) -> tuple[Receipt, int, bool]:
        """End a pair. Returns: the receipt, how many sessions were cut, and whether the other end was told."""
        sessions = len(self._sessions.get(pair, ()))
        receipt = await self.effects.run(
            pairing.severed(pair=pair, by=by, signed=None, reason=reason, tell=tell, now_ns=self.clock(), actor=actor)
        )
        return receipt, sessions, tell and sessions > 0

    async def confirm_genesis(self, pair: bytes) -> bool:
        """The words of the first ADMIN pairing were compared at the house. Returns: whether it stands already.

        Raises: Misuse: no such ceremony waits, or this house has its owner.
        """
        ceremony = self._ceremonies.get(pair)
        if not self.before_genesis:
            raise Misuse("this house has its owner already", "approve on a machine with an ADMIN pair: `tally approve ID`")
        if ceremony is None:
            raise Misuse("the machine is not there any more", "make a new invite and pair again")
        ceremony.owner_confirmed = True
        await ceremony.try_own_key()
        row = self.machine.store.pair(pair)
        return row is not None and row.stands

    # --- What others ask -------------------------------------------------------------------------------------------------

    @property
    def before_genesis(self) -> bool:
        """No human key with admin exists yet."""
        return not self.machine.store.has_human()

    def live(self, pair: bytes) -> Mapping[str, Any]:
        """What `tally status` shows of a pair beside the ledger; the bytes of open sessions included."""
        return self._live.seen(pair).view(tuple(self._sessions.get(pair, ())))  # asked for beside the event loop too

    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where a client should knock: as the settings say, else the address this host uses towards its network."""
        advertise = self.machine.settings.advertise
        if advertise:
            return (split(advertise, self.port),)
        return ((own_address(self.machine.settings.address), self.port),)

    def address_of(self, invite: bytes | None) -> str | None:
        """Where the machine that redeemed an invite came from, while the house runs."""
        return None if invite is None else self._addresses.get(invite)

    def figures(self) -> Mapping[str, float]:
        """For the metrics port."""
        return {
            **self._counts,
            "datagrams": self._step.datagrams,
            "knocks_admitted": self._step.admitted,
            "signals_allowed": self._door.allowed,
            "signals_refused": self._door.refused,
            "commands_not_taken": self.porter.turned_away,
            "free_bytes": self.machine.reserve.free(),
            "pairs_standing": len(self._step),
            "sessions_open": sum(len(sessions) for sessions in self._sessions.values()),
            "proposals_open": len(self.machine.store.inbox()),
            "ledger_entries": self.machine.store.size(),
            **self.publisher.figures(),
            **self.gate.figures(),
            "uptime_seconds": (self.clock() - self.started_ns) / 1e9,
        }

    def _tell_health(self, state: HealthState) -> None:
        """Report to every session how the house is."""
        sessions = [session for sessions in self._sessions.values() for session in sessions]
        if sessions:
            found = {name: int(value) for name, value in self.figures().items()}
            entries, pairs, held = found["ledger_entries"], found["pairs_standing"], found["proposals_open"]
            uptime_s = max(found["uptime_seconds"], 0)
            record = Health(state=state, uptime_s=uptime_s, entries=entries, pairs=pairs, sessions=len(sessions), held=held)
            for session in sessions:
                session.tell(record)

    def healthy(self) -> bool:
        """Whether commands are still recorded. Raises: Unavailable: the house is closed, and why."""
        if self.closing.reason:
            raise Unavailable(self.closing.reason, "`tally status` at the house says more")
        return self.machine.store.failure is None and self._doorstep is not None and self._doorstep.listening
