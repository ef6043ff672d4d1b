"""One address of a house: a UDP socket, the knocks that leave from it, and the connection that an answer leads to.

`race` runs several lanes, each a little later than the one before, and takes the first connection. In a lane the modes come in
turn, each with a TCP port of its own that is bound before its knock names it. A lost datagram is repaired by another knock on the
same port; an answer to any knock of the last seconds is taken, whatever came in between. Nothing an answer says is trusted before
the first frame of the stream verifies.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Final

from tallystick.channel.datagram import CLIENT_SHAPES, Mode, md5_key
from tallystick.channel.filter import datagrams_of
from tallystick.channel.handshake import Handshake
from tallystick.channel.knocker import Answered, Draft, Knocker, SentKnock, ask_time, read_time
from tallystick.errors import Unavailable
from tallystick.net import udp
from tallystick.net.address import Endpoint
from tallystick.net.dial import ClientPort
from tallystick.net.stream import OPEN_SECONDS, VISIBLE, Opened
from tallystick.node.ephemerals import Ephemerals
from tallystick.node.pairclock import PairClock
from tallystick.node.spares import Spare
from tallystick.pair.pairing import PairKeys
from tallystick.primitives import sha256

MODE_S: Final = 0.5  # docs/spec/knock.md, section 7
MAX_TURN: Final = 4  # a mode gets up to this many times as long in later rounds
RETRY_S: Final = 0.15  # a knock or its answer may be lost: knock again
KNOCKS: Final = 3  # in each mode of a round
STAGGER_S: Final = 0.25  # between two addresses (RFC 8305, section 5)
TIME_S: Final = 0.3
TIME_QUESTIONS: Final = 6  # of the counters 0, 0, 1, 0, 1, 2: three answers may be lost (channel/knocker.TimeCounters)
_PREFILTER: Final = datagrams_of(CLIENT_SHAPES)
_MORE_S: Final = 0.1  # beyond two round trips, for a connection to open

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialled:
    """A connection that opened. `asked`: the mode of our knock; `mode`: the one the house took; `knock`: SHA-256 of the datagram."""

    handshake: Handshake
    opened: Opened
    asked: Mode
    mode: Mode
    address: Address
    remote: Endpoint
    knock: bytes

    @property
    def visibility(self) -> str:
        """Who could have seen an open port, for people."""
        return VISIBLE[self.mode]


def nothing() -> None:
    """What most calls do meanwhile."""


def _no_spare(_: Endpoint) -> Spare | None:
    return None


def spare(house: Endpoint, knocker: Knocker, ephemerals: Ephemerals) -> Spare:
    """Sockets and a knock towards this house. Raises: Unavailable: no route, no port."""
    socket = udp.Knocker.open(house, program=_PREFILTER)
    try:
        port = ClientPort.bind(socket.local)
    except BaseException:
        socket.close()
        raise
    return Spare(house, socket, port, knocker.draft(tcp_port=port.number, ephemeral=ephemerals.draw()))


@dataclass(slots=True, kw_only=True)
class Call:
    """Whom we knock at, and what is known so far."""

    name: str
    knocker: Knocker
    mac_key: bytes = field(repr=False)
    times: Callable[[], tuple[int, ...]]
    order: Callable[[Endpoint], tuple[Mode, ...]]
    ephemerals: Ephemerals
    clock: PairClock | None = None
    keys: PairKeys | None = field(default=None, repr=False)
    spare: Callable[[Endpoint], Spare | None] = _no_spare
    meanwhile: Callable[[], object] = nothing
    answered: bool = False
    failure: Unavailable | None = None


Run = Callable[[], Coroutine[None, None, Dialled]]


@dataclass(slots=True)
class _Attempt:
    """One mode on one port: the knocks that named it."""

    mode: Mode
    port: ClientPort
    begun: float
    sent: list[tuple[SentKnock, float]] = field(default_factory=list)


async def race(runs: Sequence[Run]) -> Dialled:
    """Run all of them, each a little later than the one before; the first connection wins, every other one is closed.

    Raises: Unavailable when all have given up.
    """

    if len(runs) == 1:
        return await runs[0]()

    async def later(place: int, run: Run) -> Dialled:
        await asyncio.sleep(STAGGER_S * place)
        return await run()

    tasks = [asyncio.ensure_future(later(place, run)) for place, run in enumerate(runs)]
    last = Unavailable("there is no address to knock at")
    won: Dialled | None = None
    try:
        for ended in asyncio.as_completed(tasks):
            try:
                won = await ended
                return won
            except Unavailable as error:
                last = error
        raise last
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Dialled) and result is not won:
                result.opened.close()


class Lane:
    """One address of a house: a UDP socket and the attempts made on it."""

    def __init__(self, call: Call, place: Address, house: Endpoint) -> None:
        self._call = call
        self._place = place
        self._house = house
        self._spare = call.spare(house)
        self._udp = self._spare.udp if self._spare is not None else udp.Knocker.open(house, program=_PREFILTER)
        self._attempts: list[_Attempt] = []
        self._questions: dict[int, int] = {}
        self._loop = asyncio.get_running_loop()

    async def run(self) -> Dialled:
        """Round after round, until a connection opens or the caller's patience ends."""
        turn = 0
        try:
            while True:
                turn += 1
                for mode in self._call.order(self._udp.local):
                    ready, self._spare = self._spare, None
                    dialled = await self._try(mode, MODE_S * min(turn, MAX_TURN), ready)
                    if dialled is not None:
                        return dialled
                    if ready is not None and not self._call.answered:
                        self._anew()  # its address may be one that this machine has left
                if turn == 1 and not self._call.answered:
                    dialled = await self._ask_time()
                    if dialled is not None:
                        return dialled
        finally:
            self._leave()

    def _leave(self) -> None:
        self._udp.close()
        if self._spare is not None:
            self._spare.close()
        for attempt in self._attempts:
            attempt.port.close()
        self._attempts.clear()

    def _anew(self) -> None:
        """Another socket: what it sends leaves from where this machine is now. Raises: Unavailable."""
        self._leave()
        self._udp = udp.Knocker.open(self._house, program=_PREFILTER)

    async def _try(self, mode: Mode, patience_s: float, ready: Spare | None) -> Dialled | None:
        now = self._loop.time()
        for old in [old for old in self._attempts if old.begun < now - OPEN_SECONDS]:
            old.port.close()
            self._attempts.remove(old)
        attempt = _Attempt(mode, ready.port if ready is not None else ClientPort.bind(self._udp.local), now)
        self._attempts.append(attempt)
        end = now + patience_s
        for knock in range(KNOCKS):
            self._knock(attempt, ready.draft if ready is not None and not knock else None)
            self._call.meanwhile()
            self._call.meanwhile = nothing
            until = end if knock == KNOCKS - 1 else min(end, self._loop.time() + RETRY_S)
            dialled = await self._listen(until, end)
            if dialled is not None or attempt not in self._attempts:
                return dialled
        return None

    def _knock(self, attempt: _Attempt, draft: Draft | None) -> None:
        for time_ns in self._call.times():
            if draft is None:
                draft = self._call.knocker.draft(tcp_port=attempt.port.number, ephemeral=self._call.ephemerals.draw())
            sent, draft = draft.knock(time_ns=time_ns, mode=attempt.mode), None
            attempt.sent.append((sent, self._loop.time()))
            self._udp.send(sent.datagram)

    async def _listen(self, until: float, end: float) -> Dialled | None:
        """Read datagrams until one answers a knock of ours, and open its connection. What is not ours is nothing."""
        while (wait := until - self._loop.time()) > 0:
            datagram = await self._udp.receive(wait)
            if datagram is None:
                return None
            for attempt in reversed(self._attempts):
                for sent, at in reversed(attempt.sent):
                    answered = sent.read(datagram)
                    if answered is not None:
                        return await self._open(attempt, sent, answered, at, end)
            if self._learn_time(datagram):
                return None
        return None

    async def _open(self, attempt: _Attempt, sent: SentKnock, answered: Answered, at: float, end: float) -> Dialled | None:
        """Connect to the port of an answer. The attempt is over, whatever comes of it."""
        call = self._call
        call.answered = True
        self._attempts.remove(attempt)
        now = self._loop.time()
        # 500 ms are plenty for most paths; on a long one, as long as two round trips take.
        timeout = max(end - now, 2 * (now - at) + _MORE_S)
        key = md5_key(call.mac_key, sent.datagram) if answered.mode is Mode.SIGNED else None
        try:
            opened = await attempt.port.open(self._house.at(answered.house_port), mode=answered.mode, md5_key=key, timeout=timeout)
        except Unavailable as error:
            call.failure = error
            return None
        return Dialled(
            handshake=answered.handshake,
            opened=opened,
            asked=attempt.mode,
            mode=answered.mode,
            address=self._place,
            remote=opened.remote,
            knock=sha256(sent.datagram),
        )

    async def _ask_time(self) -> Dialled | None:
        """Our clock may be the reason for the silence: ask for the pair's time. An answer to an earlier knock is still taken."""
        call = self._call
        if call.clock is None or call.keys is None:
            return None
        for _ in range(TIME_QUESTIONS):
            counter = await asyncio.to_thread(call.clock.question)
            self._questions[counter] = time.time_ns()
            self._udp.send(ask_time(call.keys, counter))
            until = self._loop.time() + TIME_S
            dialled = await self._listen(until, until)
            if dialled is not None or not self._questions:
                return dialled
        return None

    def _learn_time(self, datagram: bytes) -> bool:
        call = self._call
        for counter, sent_ns in self._questions.items():
            if call.clock is not None and call.keys is not None and (house_ns := read_time(call.keys, counter, datagram)) is not None:
                call.clock.taught(house_ns, sent_ns=sent_ns, received_ns=time.time_ns())
                with contextlib.suppress(Unavailable):
                    call.clock.answered(counter)
                self._questions.clear()
                return True
        return False
