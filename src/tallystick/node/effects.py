"""Drives passages: does what they ask of the world, in the order in which they ask it.

One `Effects` for each running machine, house or client. A passage that is cut short by an error has had its way up to there and
nothing after it; whatever was begun and not ended is settled at the next start.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.keys.signer import Vault
from tallystick.ledger.event import Event
from tallystick.ledger.receipt import Receipt
from tallystick.node.reserve import Reserve
from tallystick.passage.effect import (
    Close,
    Destroy,
    Forget,
    Keep,
    Later,
    Listen,
    Narrow,
    Open,
    Passage,
    Perform,
    Recheck,
    Record,
    Unlisten,
)
from tallystick.storage.sqlite import Store

_T = TypeVar("_T")

Performer = Callable[[Perform], Awaitable[Any]]


class Doors(Protocol):
    """What changes in memory when a pair comes to stand, narrows or ends."""

    async def open_pair(self, pair: bytes) -> None:
        """From now on the pair's knocks are heard."""

    async def close_pair(self, pair: bytes, *, tell: bool) -> None:
        """From now on the pair meets silence."""

    async def narrow_pair(self, pair: bytes) -> None:
        """From now on the pair's sessions have its narrower type."""

    async def open_invite(self, invite: bytes) -> None:
        """From now on knocks with this invite are heard."""

    async def close_invite(self, invite: bytes) -> None:
        """From now on this invite meets silence."""

    async def recheck_pairs(self) -> None:
        """From now on no session goes on whose pair no longer stands."""


class NoDoors:
    """A machine that is nobody's house, or is not running as one: nothing in memory changes."""

    async def open_pair(self, pair: bytes) -> None:
        """Nothing."""

    async def close_pair(self, pair: bytes, *, tell: bool) -> None:
        """Nothing."""

    async def narrow_pair(self, pair: bytes) -> None:
        """Nothing."""

    async def open_invite(self, invite: bytes) -> None:
        """Nothing."""

    async def close_invite(self, invite: bytes) -> None:
        """Nothing."""

    async def recheck_pairs(self) -> None:
        """Nothing."""


class Effects:
    """Records in the store, keeps secrets in the vault, opens and closes doors."""

    def __init__(self, store: Store, vault: Vault, doors: Doors, reserve: Reserve | None = None) -> None:
        """`reserve`: the room that what is urgent is recorded with when the disk is full."""
        self._reserve = reserve
        self._store = store
        self._vault = vault
        self._doors = doors
        self._keeping: set[str] = set()

    async def run(
        self, passage: Passage[_T], perform: Performer | None = None, look: Callable[[], None] | None = None, *, urgent: bool = False
    ) -> _T:
        """Walk a passage to its end. `look`: begins to fetch what a read answers with, beside the writing of its entry.

        Args: urgent: all of its entries are: it leads to one that ends something.
        Raises: what an effect raised and the passage did not handle.
        """
        answer: Any = None
        error: TallyError | None = None
        while True:
            try:
                effect = passage.send(answer) if error is None else passage.throw(error)
            except StopIteration as stop:
                value: _T = stop.value
                return value
            answer, error = None, None
            try:
                answer = await self._do(effect, perform, look, urgent)
            except TallyError as raised:
                error = raised
            except BaseException:
                passage.close()
                raise

    async def urgently(self, *events: Event, openings: tuple[bytes, ...] = ()) -> tuple[Receipt, ...]:
        """Record what must not wait for room on the disk. Raises: as `Store.record`."""
        reserve = self._reserve
        if reserve is not None:
            reserve.make_room()
        try:
            return await self._store.record(*events, openings=openings)
        except Unavailable:
            # Nothing of it was kept (a ledger that does not know says so and stops); the disk filled up in this very moment.
            if reserve is None or self._store.failure is not None or not reserve.give_way():
                raise
            return await self._store.record(*events, openings=openings)

    async def _do(self, effect: Any, perform: Performer | None, look: Callable[[], None] | None, urgent: bool) -> Any:
        match effect:
            case Record(events=events, openings=openings) if urgent or effect.urgent:
                return await self.urgently(*events, openings=tuple([opening or b"" for opening in openings]))
            case Record(events=events, openings=openings, looking=looking):
                recording = self._store.recording(*events, openings=tuple([opening or b"" for opening in openings]))
                if looking and look is not None:
                    look()
                return await recording
            case Later(events=events):
                # Nobody waits for them, so nobody is told either; a ledger that has stopped ends the house by itself.
                with suppress(Unavailable):
                    self._store.later(*events)
                return None
            case Perform():
                if perform is None:
                    raise AssertionError("a passage performs something and nobody was told how")
                return await perform(effect)
            case Keep(name=name, secret=secret):
                return await self._keep(name, secret)
            case Destroy(name=name) | Forget(name=name):
                return await asyncio.to_thread(self._vault.delete_secret, name)
            case Open(pair=pair):
                return await self._doors.open_pair(pair)
            case Close(pair=pair, tell=tell):
                return await self._doors.close_pair(pair, tell=tell)
            case Narrow(pair=pair):
                return await self._doors.narrow_pair(pair)
            case Listen(invite=invite):
                return await self._doors.open_invite(invite)
            case Unlisten(invite=invite):
                return await self._doors.close_invite(invite)
            case Recheck():
                return await self._doors.recheck_pairs()
        raise AssertionError(f"no effect is called {type(effect).__name__}")

    async def _keep(self, name: str, secret: bytes) -> None:
        """Keep a new secret. Raises: Refused where there is one: its entry may stand already, and forgetting ours would destroy it."""
        there = name in self._keeping
        self._keeping.add(name)
        try:
            if there or await asyncio.to_thread(self._vault.get_secret, name) is not None:
                raise Refused("this secret is kept already", "Each invite and each pairing has its own; make a new one.")
            await asyncio.to_thread(self._vault.put_secret, name, secret)
        finally:
            if not there:
                self._keeping.discard(name)
