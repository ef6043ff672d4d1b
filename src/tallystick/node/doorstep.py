"""The doorstep of a house: the UDP port, the doorkeeper, and the connections that begin with a knock.

What the doorkeeper admits is connected to and answered here; who stands at the other end, and what for, is the house's business
(`Host`). Nothing here writes to the ledger: a knock alone is nothing (docs/spec/knock.md, section 5).
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from tallystick.channel.datagram import HOUSE_SHAPES, Mode, md5_key
from tallystick.channel.filter import datagrams_of
from tallystick.channel.handshake import Handshake
from tallystick.channel.knock import Doorkeeper
from tallystick.channel.outcome import Admit, TimeAnswer
from tallystick.channel.session import Session
from tallystick.errors import TallyError, Unavailable
from tallystick.net import bpf
from tallystick.net.stream import Opened
from tallystick.net.tcp import Opening
from tallystick.net.udp import Origin, UdpPort
from tallystick.node.ephemerals import Ephemerals, ephemeral
from tallystick.node.machine import Machine
from tallystick.noise import KeyPair
from tallystick.pair.invite import invite_keys
from tallystick.pair.pairing import PairKeys, Role, Suite, derive_pair_keys
from tallystick.passage.effect import invite_name, secret_name
from tallystick.passage.knock import Connection as Knock
from tallystick.primitives import sha256
from tallystick.storage.rows import InviteRow, PairRow

_SALT_BYTES: Final = 32
_KNOCK: Final = b"\x01"  # docs/spec/knock.md, section 1
_FRESH_NS: Final = 100_000_000  # a session's first frame has 3 s from its beginning: one made earlier than this is made anew

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A connection that a knock led to. Not confirmed: its first frame must verify.

    Exactly one of `pair` and `invite` is given; `pair` as it was when the knock was answered.
    """

    opened: Opened
    handshake: Handshake
    session: Session
    knock: Knock
    remote_static: bytes = field(repr=False)
    pair: PairRow | None = None
    invite: bytes | None = None


class Host(Protocol):
    """What the doorstep needs of its house."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> object:
        """Run something beside what is under way."""

    def has_room(self, pair: bytes | None) -> bool:
        """Whether one more connection may stand: of this pair, or of an invite."""

    async def arrived(self, arrival: Arrival) -> None:
        """A connection stands at the door."""


@dataclass(frozen=True, slots=True)
class _Met:
    """A knock that held, and what is known of it. `pair`: the pairing id, None for an invite."""

    admit: Admit
    datagram: bytes
    origin: Origin
    keeper: Doorkeeper
    static: KeyPair
    pair: bytes | None
    suite: Suite | None

    def over(self) -> None:
        """Its connect is not under way any more."""
        self.keeper.ended(self.admit.ticket)


class Doorstep:
    """Who may knock, and what happens when somebody does."""

    def __init__(self, machine: Machine, host: Host, clock: Callable[[], int]) -> None:
        """`clock`: pair time, UTC nanoseconds; knocks timed before its first answer are refused."""
        self._machine = machine
        self._host = host
        self._clock = clock
        self._keeper = Doorkeeper(static=machine.vault.machine.static, now_ns=clock())
        # After a new static key the older one answers until every pair has followed (docs/spec/restore.md, section 6).
        self._older = tuple((Doorkeeper(static=static, now_ns=clock()), static) for static in machine.vault.older_statics())
        self._udp: UdpPort | None = None
        self._numbers: dict[bytes, int] = {}
        self._pairs: dict[int, bytes] = {}
        self._suites: dict[bytes, Suite] = {}
        self._next_number = 1
        self._ephemerals = Ephemerals()
        self._ephemerals.refill()
        self._can_filter = bpf.can_filter_tcp()
        self.datagrams = 0
        self.admitted = 0

    def listen(self) -> int:
        """Open the UDP port; returns its number. Raises: Unavailable."""
        settings = self._machine.settings
        program = datagrams_of(HOUSE_SHAPES) if settings.prefilter else None
        self._udp = UdpPort.open(None if settings.address == "::" else settings.address, settings.port, program=program)
        asyncio.get_running_loop().add_reader(self._udp.fileno(), self._receive)
        return self._udp.port

    def close(self) -> None:
        """Hear no more knocks."""
        if self._udp is not None:
            asyncio.get_running_loop().remove_reader(self._udp.fileno())
            self._udp.close()
            self._udp = None

    @property
    def listening(self) -> bool:
        """Whether knocks are heard."""
        return self._udp is not None

    def tick(self) -> bool:
        """Compute tags ahead; True when more is to be done soon."""
        more = [keeper.tick(self._clock()) for keeper in (self._keeper, *(keeper for keeper, _ in self._older))]
        return any(more)

    # --- Who may knock ---------------------------------------------------------------------------------------------------

    def __contains__(self, pair: bytes) -> bool:
        return pair in self._numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def let_in(self, row: PairRow, keys: PairKeys) -> None:
        """From now on this pair's knocks are heard."""
        if row.pairing in self._numbers:
            return
        counter = self._machine.memory.get(f"counter/{row.pairing.hex()}")
        number = self._next_number
        self._next_number += 1
        for keeper in (self._keeper, *(keeper for keeper, _ in self._older)):
            keeper.add_pair(
                number,
                keys=keys,
                client_static=row.static_key,
                pair_type=row.pair_type,
                suite=row.suite,
                next_counter=counter if isinstance(counter, int) else 0,
            )
        self._numbers[row.pairing], self._pairs[number], self._suites[row.pairing] = number, row.pairing, row.suite

    def shut_out(self, pair: bytes) -> None:
        """From now on this pair meets silence."""
        number = self._numbers.pop(pair, None)
        if number is not None:
            self._pairs.pop(number, None)
            self._suites.pop(pair, None)
            self._keeper.remove_pair(number)
            for keeper, _ in self._older:
                keeper.remove_pair(number)

    def expect(self, row: InviteRow, secret: bytes) -> None:
        """From now on knocks with this invite are heard."""
        self._keeper.add_invite(row.invite, keys=invite_keys(secret), pair_type=row.pair_type, expires_ns=row.expires_ns)

    def expect_no_more(self, invite: bytes) -> None:
        """From now on this invite meets silence."""
        self._keeper.remove_invite(invite)

    # --- Knocks ----------------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        udp, keeper = self._udp, self._keeper
        if udp is None:
            return
        now_ns = self._clock()
        datagrams = udp.receive()
        self.datagrams += len(datagrams)
        for index, datagram in enumerate(datagrams):
            outcome = keeper.receive(datagram, ("", 0), now_ns)
            if isinstance(outcome, Admit):
                self.admitted += 1
                self._admit(outcome, datagram, udp.origin(index), keeper, self._machine.vault.machine.static)
            elif isinstance(outcome, TimeAnswer):
                self._host.spawn(self._tell_time(outcome, udp.origin(index)))
            elif self._older and datagram[:1] == _KNOCK:
                self._ask_older(datagram, udp.origin(index), now_ns)

    def _ask_older(self, datagram: bytes, origin: Origin, now_ns: int) -> None:
        """A knock for a static key that this house had before: of a pair that does not know the new one yet."""
        for keeper, static in self._older:
            outcome = keeper.receive(datagram, ("", 0), now_ns)
            if isinstance(outcome, Admit):
                self.admitted += 1
                self._admit(outcome, datagram, origin, keeper, static)
                return

    async def _tell_time(self, outcome: TimeAnswer, origin: Origin) -> None:
        pair = self._pairs.get(outcome.pair)
        if pair is None:
            return

        def store(before: object) -> tuple[int, None]:
            # Two answers may be stored in any order; what was burned stays burned.
            return max(outcome.next_counter, before if isinstance(before, int) else 0), None

        await asyncio.to_thread(self._machine.memory.change, f"counter/{pair.hex()}", store, durable=True)
        if self._udp is not None:
            self._udp.send(outcome.answer, origin)

    def _admit(self, admit: Admit, datagram: bytes, origin: Origin, keeper: Doorkeeper, static: KeyPair) -> None:
        """A knock held: connect towards it and answer, at once where nothing has to be read for it."""
        pair = None if admit.pair is None else self._pairs.get(admit.pair)
        if (pair is None and admit.invite is None) or not self._host.has_room(pair):
            # Severed between two turns of the loop; or silence: whoever has that many sessions can ask in one of them.
            keeper.ended(admit.ticket)
            return
        fixed = self._machine.settings.mode
        mode = admit.mode if fixed == "auto" else Mode(int(fixed))
        met = _Met(admit, datagram, origin, keeper, static, pair, None if pair is None else self._suites[pair])
        if self._can_filter:
            self._meet(met, mode, None)
        elif mode is not Mode.OPEN:
            self._meet(met, Mode.MOMENTARY, None)  # no program can be attached: a listener is then open for the moment, and says so
        else:
            self._host.spawn(self._meet_signed(met))

    async def _meet_signed(self, met: _Met) -> None:
        """The capability for a filter is missing: a TCP-MD5 key takes its place."""
        vault, pair, invite = self._machine.vault, met.pair, met.admit.invite
        name = secret_name(pair) if pair is not None else invite_name(invite or b"")
        try:
            secret = await asyncio.to_thread(vault.get_secret, name)
            if secret is None:
                raise Unavailable("the secret of this knock is gone")
        except BaseException:
            met.over()
            raise
        mac = derive_pair_keys(secret).to_house.mac if pair is not None else invite_keys(secret).mac
        self._meet(met, Mode.SIGNED, md5_key(mac, met.datagram))

    def _meet(self, met: _Met, mode: Mode, key: bytes | None) -> None:
        """Begin the connection, say so, and wait for it. One that does not begin is nobody else's affair: the next datagram waits."""
        admit, origin = met.admit, met.origin
        opening: Opening | None = None
        try:
            opening = Opening(mode, origin.local, origin.remote.at(_port(admit, mode, origin)), md5_key=key)
            reply, handshake = admit.answer(tcp_port=opening.port, mode=mode, ephemeral=self._ephemerals.draw())
        except Exception as error:
            met.over()
            if opening is not None:
                opening.close()
            if isinstance(error, TallyError):
                _no_connection(error, origin)
            else:
                log.error("a defect of ours", exc_info=error)
            return
        if self._udp is not None:
            self._udp.send(reply, origin)
        self._host.spawn(self._open(met, opening, handshake))

    async def _open(self, met: _Met, opening: Opening, handshake: Handshake) -> None:
        """The connection opens: hand it on."""
        pair = met.pair
        try:
            # While the client connects, what it will meet is made ready.
            row = None if pair is None else self._machine.store.pair(pair)
            session = self._session(met.suite, handshake, met.static)
            made_ns, knock, salt = time.monotonic_ns(), sha256(met.datagram), secrets.token_bytes(_SALT_BYTES)
            opened = await opening.opened()
        except Unavailable as error:
            opening.close()
            _no_connection(error, met.origin)
            return
        finally:
            met.over()
        if time.monotonic_ns() - made_ns > _FRESH_NS:
            session = self._session(met.suite, handshake, met.static)
        await self._host.arrived(
            Arrival(
                opened=opened,
                handshake=handshake,
                session=session,
                knock=Knock(
                    session=handshake.handshake_hash,
                    knock=knock,
                    address=sha256(b"tally address v1", salt, str(opened.remote).encode()),
                    mode=opened.mode.value,
                    visibility=opened.mode.name.lower(),
                    role=Role.HOUSE,
                ),
                remote_static=met.admit.remote_static,
                pair=row,
                invite=None if pair is not None else met.admit.invite,
            )
        )
        self._ephemerals.refill()

    def _session(self, suite: Suite | None, handshake: Handshake, static: KeyPair) -> Session:
        if suite is None:
            return Session.of_invite(role=Role.HOUSE, handshake=handshake, now_ns=self._clock())
        return Session.of_pair(role=Role.HOUSE, handshake=handshake, suite=suite, static=static, ephemeral=ephemeral, now_ns=self._clock())


def _no_connection(error: TallyError, origin: Origin) -> None:
    log.debug("a knock led to no connection", extra={"reason": error.message, "address": str(origin.remote)})


def _port(admit: Admit, mode: Mode, origin: Origin) -> int:
    """The TCP port to expect the client from; 0 in modes 2 and 3 where it may be rewritten on the way.

    A client binds its TCP port to the number of its UDP port where that is free: equal numbers say that ports hold on this path.
    """
    holds = mode in (Mode.OPEN, Mode.SIGNED) or admit.client_port == origin.remote.port
    return admit.client_port if holds else 0
