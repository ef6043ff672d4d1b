"""A passage walked by hand: no disk, no socket, no clock. What it asks for is written down, and answered from a list."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import TallyError
from tallystick.ledger import entry
from tallystick.ledger.event import Event
from tallystick.ledger.receipt import Grade, Receipt
from tallystick.passage.effect import Effect, Later, Passage, Record
from tallystick.primitives import sha256

FIRST = 100  # the index of the first entry that a walk records


def receipt(index: int = 7) -> Receipt:
    """A receipt as a store gives it."""
    return Receipt(index=index, leaf_hash=sha256(index.to_bytes(8)), grade=Grade.RECORDED, tree_size=index + 1)


@dataclass
class Walked:
    """What a passage asked for, in its order, and how it ended."""

    effects: list[Effect] = field(default_factory=list)
    receipts: list[Receipt] = field(default_factory=list)
    value: Any = None
    error: BaseException | None = None

    @property
    def steps(self) -> list[str]:
        """The effects as words; of a record also which kinds."""
        return [_word(effect) for effect in self.effects]

    @property
    def recorded(self) -> list[Event]:
        """Every event that was to be written, in its order."""
        return [event for effect in self.effects if isinstance(effect, Record | Later) for event in effect.events]

    def event(self, name: str) -> Event:
        """The one event of this kind."""
        (found,) = [event for event in self.recorded if event.kind.name == name]
        return found


def walk(passage: Passage[Any], *, answers: dict[type, Sequence[Any]] | None = None) -> Walked:
    """Walk to the end. A record gets receipts, everything else None; `answers` says otherwise for each effect of a type, in order.

    An answer that is an exception is thrown. Every event must be one that the ledger can write.
    """
    walked, given = Walked(), {kind: iter(each) for kind, each in (answers or {}).items()}
    reply: Any = None
    while True:
        try:
            effect = passage.throw(reply) if isinstance(reply, BaseException) else passage.send(reply)
        except StopIteration as stop:
            walked.value = stop.value
            return walked
        except (TallyError, AssertionError) as error:
            walked.error = error
            return walked
        walked.effects.append(effect)
        reply = next(given.get(type(effect), iter(())), None)
        if isinstance(effect, Record | Later):
            for event in effect.events:
                entry.encode(event)
        if isinstance(effect, Record) and reply is None:
            first = FIRST + len(walked.receipts)
            reply = tuple(receipt(first + at) for at in range(len(effect.events)))
            walked.receipts += reply


def _word(effect: Effect) -> str:
    name = type(effect).__name__
    if isinstance(effect, Record | Later):
        return f"{name} {' '.join(event.kind.name for event in effect.events)}"
    return name
