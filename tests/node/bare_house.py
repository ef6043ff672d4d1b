"""The house's side of one pair, made of the real parts (doorkeeper, sockets, session), that does what a test tells it.

A real house cannot be made to lie. This one has the keys of the real house whose place it takes: what a stolen or rewritten
house could do, it can do.
"""

import asyncio
import contextlib
import os
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tallystick.channel.datagram import ANSWER_BYTES, ANSWER_HEADER, Mode, md5_key
from tallystick.channel.event import Checkpoint, Data, End, Event
from tallystick.channel.frame import FrameType
from tallystick.channel.knock import Admit, Doorkeeper, TimeAnswer
from tallystick.channel.session import Session
from tallystick.errors import Unavailable
from tallystick.net.tcp import house_open
from tallystick.net.udp import Origin, UdpPort
from tallystick.node.checkpoints import size_of
from tallystick.node.checkpointwire import Ask, read_message, write_message
from tallystick.node.connection import Connection
from tallystick.node.publisher import Publisher
from tallystick.pair.pairing import Role, derive_pair_keys
from tallystick.passage.effect import secret_name
from tallystick.primitives import X25519KeyPair
from tests.node.village import Village

GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\ntally-entry: 7\r\n\r\n{}"


@dataclass
class Side:
    """The house's end of one session."""

    house: "BareHouse"
    connection: Connection
    events: list[Event] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def session(self) -> Session:
        return self.connection.session

    def say(self, data: bytes) -> None:
        """Bytes of HTTP, whatever they are."""
        self.connection.write(self.session.send_data(data))

    def tell(self, record: bytes) -> None:
        """A telemetry record, whatever it is."""
        self.connection.write(self.session.send_telemetry(record))

    def seal(self, kind: FrameType, body: bytes) -> None:
        """A frame that a real session would not write."""
        self.connection.write(self.session.outgoing() + self.session._sealer.seal(kind, body))

    def on_event(self, event: Event) -> None:
        self.events.append(event)
        self.house.script(self, event)

    def pause_writing(self) -> None:
        """A test's few bytes fit."""

    def resume_writing(self) -> None:
        """See above."""

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)


def polite(side: Side, event: Event) -> None:
    """Answer every request with an empty object, show the ledger's checkpoint, and answer `end` with `end`."""
    if isinstance(event, Checkpoint) and isinstance(asked := read_message(event.message), Ask):
        side.connection.write(side.session.send_checkpoint(write_message(side.house.publisher.show(size_of(asked.note)))))
    elif isinstance(event, Data) and event.data.endswith(b"\r\n\r\n"):
        side.say(GOOD)
    elif isinstance(event, End):
        side.connection.end(None)


@dataclass
class BareHouse:
    """What the test may turn: which knocks are lost, which modes work, what time it is, what is said."""

    port: int
    script: Callable[[Side, Event], None] = polite
    lose: int = 0  # so many knocks never arrive
    lose_times: int = 0  # so many time answers never arrive
    deaf_to: frozenset[Mode] = frozenset()
    walled: frozenset[Mode] = frozenset()  # answered, but no connection opens
    signed: bool = False  # no capability: mode 1 becomes mode 4
    forgeries: int = 0  # before each answer
    mute: bool = False  # the session is never confirmed
    ahead_ns: int = 0
    knocks: Counter[Mode] = field(default_factory=Counter)
    questions: int = 0
    sides: list[Side] = field(default_factory=list)
    keeper: Doorkeeper = field(init=False)
    publisher: Publisher = field(init=False)
    _udp: UdpPort = field(init=False)
    _mac: bytes = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def clock(self) -> int:
        return time.time_ns() + self.ahead_ns

    @contextlib.asynccontextmanager
    async def open(self, found: Village, name: str) -> AsyncIterator["BareHouse"]:
        """Stand where the real house stood, for the pair with one machine."""
        machine = found.machine
        row = next(pair for pair in machine.store.pairs() if pair.label == name and pair.stands)
        secret = machine.vault.get_secret(secret_name(row.pairing))
        assert secret is not None
        keys = derive_pair_keys(secret)
        self._mac, self._row, self._static = keys.to_house.mac, row, machine.vault.machine.static
        self.publisher = Publisher(machine)
        # It has run for an hour: right after a start, knocks timed before it are refused.
        self.keeper = Doorkeeper(static=self._static, now_ns=self.clock() - 3600 * 10**9)
        self.keeper.add_pair(1, keys=keys, client_static=row.static_key, pair_type=row.pair_type, suite=row.suite)
        self._udp = UdpPort.open("127.0.0.1", self.port)
        asyncio.get_running_loop().add_reader(self._udp.fileno(), self._receive)
        try:
            yield self
        finally:
            asyncio.get_running_loop().remove_reader(self._udp.fileno())
            self._udp.close()
            for side in self.sides:
                side.connection.abort()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _receive(self) -> None:
        for index, datagram in enumerate(self._udp.receive()):
            outcome = self.keeper.receive(datagram, ("", 0), self.clock())
            if isinstance(outcome, Admit):
                task = asyncio.ensure_future(self._admit(outcome, datagram, self._udp.origin(index)))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif isinstance(outcome, TimeAnswer):
                self.questions += 1
                if self.questions > self.lose_times:
                    self._udp.send(outcome.answer, self._udp.origin(index))

    async def _admit(self, admit: Admit, datagram: bytes, origin: Origin) -> None:
        self.knocks[admit.mode] += 1
        try:
            if sum(self.knocks.values()) <= self.lose or admit.mode in self.deaf_to:
                return
            mode = Mode.SIGNED if self.signed and admit.mode is Mode.OPEN else admit.mode
            key = md5_key(self._mac, datagram) if mode is Mode.SIGNED else None
            handshakes = []

            def answer(port: int) -> None:
                ephemeral = X25519KeyPair.from_private(secrets.token_bytes(32))
                reply, handshake = admit.answer(tcp_port=port, mode=mode, ephemeral=ephemeral)
                handshakes.append(handshake)
                for _ in range(self.forgeries):
                    self._udp.send(ANSWER_HEADER + os.urandom(ANSWER_BYTES - 4), origin)
                    self._udp.send(reply[:-1] + bytes((reply[-1] ^ 1,)), origin)
                self._udp.send(reply, origin)

            if admit.mode in self.walled:
                answer(9)
                return
            with contextlib.suppress(Unavailable):
                opened = await house_open(mode, origin.local, origin.remote.at(admit.client_port), md5_key=key, on_ready=answer)
                session = Session.of_pair(
                    role=Role.HOUSE,
                    handshake=handshakes[0],
                    suite=self._row.suite,
                    static=self._static,
                    ephemeral=lambda: X25519KeyPair.from_private(secrets.token_bytes(32)),
                    now_ns=self.clock(),
                )
                connection = Connection(session, opened, self.clock)
                self.sides.append(Side(self, connection))
                if self.mute:
                    return
                await connection.start(self.sides[-1])
        finally:
            self.keeper.ended(admit.ticket)
