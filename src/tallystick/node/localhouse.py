"""A house on this computer, for programs: the gate in this very process, or the gate of whoever runs the house (docs/agents.md).

One process holds a home. The first program that opens it is the house's gate, `gate.sock` included; later ones speak to the first. Either
way the same signed bytes meet the same gate, and nothing of it needs a network.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Protocol

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.keys import KeyId
from tallystick.node.contexts import Contexts
from tallystick.node.effects import Effects, NoDoors
from tallystick.node.gateframe import Admit, BeginContext, Deliver, EndContext
from tallystick.node.gatekeeper import Gatekeeper
from tallystick.node.gatesocket import GateClient
from tallystick.node.gatewing import GateWing
from tallystick.node.gatewords import Decided, Verdict
from tallystick.node.houseclock import HouseClock
from tallystick.node.machine import Machine
from tallystick.node.reserve import Reserve
from tallystick.node.settings import load
from tallystick.node.speaking import SignalSource, SignedSignal
from tallystick.pair.pairing import Role

TELL_S: Final = 10.0  # how often what was only counted is recorded

log = logging.getLogger("tallystick")


class _Gate(Protocol):
    """A gate that is reached one way or the other."""

    async def admit(self, request: Admit) -> Verdict: ...

    async def decision(self, proposal: int) -> Decided: ...

    async def context(self, request: BeginContext | EndContext | Deliver) -> int: ...


class LocalHouse:
    """The gate of one house, as a program sees it. Made by `open_house`."""

    def __init__(self, gate: _Gate, machine: Machine | None, house: KeyId | None) -> None:
        self._gate = gate
        self._machine = machine
        self._house = house

    @property
    def house_id(self) -> KeyId:
        """Whom signals are signed for. Raises: Misuse: only the socket is known here, and nobody said whose it is."""
        if self._house is None:
            raise Misuse("whose gate this is was not said", "give open() the house's id beside its socket")
        return self._house

    def source(self, name: str) -> SignalSource:
        """A source whose key is in this house's vault, by label or KeyId. Raises: Misuse: there is none here."""
        if self._machine is None:
            raise Misuse("a program that only knows the socket has no vault", "SignalSource.read reads a key from a file")
        return SignalSource.load(self._machine, name)

    async def admit(
        self, signal: SignedSignal | bytes, opening: bytes | None = None, body: bytes | None = None, deliver_to: Sequence[bytes] = ()
    ) -> Verdict:
        """Have a signal judged and recorded. Only where the verdict is allowed may what it asks for happen, and only once.

        Args: signal: of a `SignalSource`, or a COSE_Sign1 with its opening.  body: what its body commitment names; kept where it is
            held.  deliver_to: the KeyIds of the models, tools and skills that are given its content now.
        Raises: Malformed: no signal, or not with this opening and body.  Unavailable: nothing was recorded: nothing may happen.
        """
        if isinstance(signal, SignedSignal):
            if opening is not None or body is not None:
                raise Misuse("a signed signal brings its own opening and body")
            request = Admit(signal=signal.raw, opening=signal.opening, body=signal.body, deliver_to=tuple(deliver_to))
        elif opening is None:
            raise Misuse("a signal comes with its opening")
        else:
            request = Admit(signal=signal, opening=opening, body=body, deliver_to=tuple(deliver_to))
        return await self._gate.admit(request)

    async def decision(self, proposal: int) -> Decided:
        """Wait until a held signal is released, denied, expired, edited or void. Raises: Refused: no such proposal.  Unavailable."""
        return await self._gate.decision(proposal)

    async def begin_context(self, key: bytes) -> int:
        """From now on all that is delivered to this key is behind what it signs; the entry. Raises: Refused, Unavailable."""
        return await self._gate.context(BeginContext(key=bytes(key)))

    async def end_context(self, key: bytes) -> int:
        """Its program has forgotten what it heard; the entry. Raises: Refused, Unavailable."""
        return await self._gate.context(EndContext(key=bytes(key)))

    async def deliver(self, key: bytes, signals: Sequence[SignedSignal | bytes]) -> int:
        """Record that signals admitted before are given to a key now; the entry. Raises: Refused, Unavailable."""
        references = tuple(each.reference if isinstance(each, SignedSignal) else each for each in signals)
        return await self._gate.context(Deliver(key=bytes(key), references=references))


class _Here:
    """The gate of this process."""

    def __init__(self, keeper: Gatekeeper, contexts: Contexts, reserve: Reserve) -> None:
        self._keeper = keeper
        self._contexts = contexts
        self._reserve = reserve

    async def admit(self, request: Admit) -> Verdict:
        if self._reserve.low:
            raise Unavailable("the disk is nearly full: the gate takes no signals", "make room; `reserve_mib` says how much")
        return await self._keeper.admit(request.signal, request.opening, request.body, request.deliver_to)

    async def decision(self, proposal: int) -> Decided:
        return await self._keeper.decision(proposal)

    async def context(self, request: BeginContext | EndContext | Deliver) -> int:
        match request:
            case BeginContext(key=key):
                return await self._contexts.begin(key)
            case EndContext(key=key):
                return await self._contexts.end(key)
            case Deliver(key=key, references=references):
                return await self._contexts.deliver(key, references)


@asynccontextmanager
async def open_house(
    home: str | Path | None = None, *, socket: str | Path | None = None, house: KeyId | None = None
) -> AsyncIterator[LocalHouse]:
    """The gate of a house on this computer, for the length of the `async with`.

    Args: home: its directory; as `tally` finds it unless told.  socket: only its gate.sock is known (another user's house); then
        `house` is the house id that sources sign for.
    Raises: Misuse: no house lives there.  Refused: others may look inside.  Unavailable: it cannot be opened.
    """
    if socket is not None:
        client = await GateClient.connect(Path(socket))
        try:
            yield LocalHouse(client, None, house)
        finally:
            await client.close()
        return
    settings = load(home=home)
    machine = await asyncio.to_thread(Machine.open, settings)
    try:
        if machine.role is not Role.HOUSE:
            raise Misuse("this machine is not a house", "`tally init` makes one, in a home of its own")
        try:
            lock = machine.home.lock()
        except Unavailable:
            client = await GateClient.connect(settings.gate_socket)
            try:
                yield LocalHouse(client, machine, machine.house_id)
            finally:
                await client.close()
            return
        with lock:
            async with _hold(machine) as found:
                yield found
    finally:
        await asyncio.to_thread(machine.close)


@asynccontextmanager
async def _hold(machine: Machine) -> AsyncIterator[LocalHouse]:
    """Be the house's gate: what `tally serve` is without its doors."""
    stored = machine.memory.get("pair time")
    clock = HouseClock(stored if isinstance(stored, int) else 0)
    effects = Effects(machine.store, machine.vault, NoDoors(), machine.reserve)
    machine.reserve.look()
    wing = GateWing(machine, effects, clock.now_ns)
    await wing.open()
    telling = asyncio.create_task(_tell(machine, wing))
    try:
        yield LocalHouse(_Here(wing.keeper, wing.contexts, machine.reserve), machine, machine.house_id)
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)
        await wing.close()
        if told := wing.events(all_of_them=True):
            with suppress(TallyError):
                await machine.store.record(*told)


async def _tell(machine: Machine, wing: GateWing) -> None:
    while True:
        await asyncio.sleep(TELL_S)
        machine.reserve.look()
        if told := wing.events():
            try:
                await machine.store.record(*told)
            except (Refused, Unavailable) as error:
                log.warning("what the gate counted was not recorded", extra={"reason": error.message})
