"""Contexts: what was given to a skill, tool or model is behind everything it signs, until its context ends (docs/spec/gate.md, 4).

Only the proxy begins one: the program that stands between the model and what it hears, in the house's own process or at `gate.sock` as the
house's own user. What it delivers is recorded before it is given out.
"""

from collections.abc import Callable, Sequence
from typing import Final

from tallystick.errors import Misuse, Refused
from tallystick.facts.rule import covers
from tallystick.gate.provenance import COMPLETED
from tallystick.keys import KeyId
from tallystick.ledger.event import Event, Kind
from tallystick.storage.sqlite import Store

TRIES: Final = 4
MAX_AT_ONCE: Final = 64


class Contexts:
    """Begins and ends the contexts of a house, and delivers into them."""

    def __init__(self, store: Store, clock: Callable[[], int]) -> None:
        """`clock`: pair time, UTC nanoseconds."""
        self._store = store
        self._clock = clock

    async def begin(self, key: bytes) -> int:
        """Begin the context of a key; the entry. Raises: Refused: unknown, not of these classes, or one is open.  Unavailable."""
        row = self._store.gate.known_key(KeyId(key))
        if row is None or not row.stands:
            raise Refused("there is no such key that stands", "`tally key ls` shows the keys.")
        classes = (*row.known.classes, *(word for grant in self._store.gate.grants(KeyId(key)) for word in grant.classes))
        if not any(covers(base, word) for word in classes for base in COMPLETED):
            raise Refused(f"#{row.known.number} speaks as none of {', '.join(sorted(COMPLETED))}", "Only these have contexts.")
        (receipt,) = await self._store.record(Event.of(Kind.CONTEXT_BEGUN, self._clock(), "gate", subject=bytes(key)))
        return receipt.index

    async def end(self, key: bytes) -> int:
        """End the open context of a key; the entry. Raises: Refused: none is open.  Unavailable."""
        for _ in range(TRIES):
            context = self._store.gate.context(key)
            if context is None:
                break
            event = Event.of(Kind.CONTEXT_ENDED, self._clock(), "gate", subject=bytes(key), context=context.field)
            try:
                (receipt,) = await self._store.record(event)
            except Refused:
                continue  # something was delivered in between
            return receipt.index
        raise Refused("no context of this key is open", "Begin one first.")

    async def deliver(self, key: bytes, references: Sequence[bytes]) -> int:
        """Record that these signals are given to a key; the last entry. Only then give them out.

        Raises: Misuse: none, or too many.  Refused: one is not recorded here or was not allowed, or no context is open.  Unavailable.
        """
        if not 1 <= len(references) <= MAX_AT_ONCE:
            raise Misuse(f"1 to {MAX_AT_ONCE} signals are delivered at once")
        if self._store.gate.context(key) is None:
            raise Refused("no context of this key is open", "Begin one first.")
        events = []
        for reference in references:
            row = self._store.gate.signal(reference)
            if row is None or row.verdict != "allow":
                raise Refused("only signals that this house allowed are delivered", "Admit it first, and look at the verdict.")
            events.append(
                Event.of(Kind.DELIVERED, self._clock(), "gate", subject=bytes(key), signal_hash=bytes(reference), entry=row.entry)
            )
        receipts = await self._store.record(*events)
        return receipts[-1].index
