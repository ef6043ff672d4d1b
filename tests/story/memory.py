"""Entries in memory, as a house that may lie would give them: for stories without a database."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tallystick.keys import PublicKey
from tallystick.ledger.event import Event
from tallystick.ledger.said import Said
from tallystick.primitives import sha256


@dataclass
class Entries:
    """A ledger of events by index. `finds`: answers to `find` that need not be true; without one the truth."""

    events: Mapping[int, Event]
    keys: Mapping[bytes, PublicKey]
    finds: Mapping[bytes, int] = field(default_factory=dict)
    origins: frozenset[bytes] = frozenset()
    deliveries: Sequence[bytes] = ()

    def event(self, index: int) -> Event | None:
        return self.events.get(index)

    def behind(self, index: int) -> Iterator[tuple[int, Event]]:
        return ((at, self.events[at]) for at in sorted(self.events) if at > index)

    def find(self, reference: bytes) -> int | None:
        if reference in self.finds:
            return self.finds[reference]
        return next((at for at, each in self.events.items() if sha256(each.blob("signal")[-64:]) == reference), None)

    def is_origin(self, origin_hash: bytes) -> bool:
        return origin_hash in self.origins

    def public(self, key_id: bytes) -> PublicKey | None:
        return self.keys.get(key_id)

    def delivered(self, key_id: bytes, begun: int, last: int) -> Sequence[bytes]:
        return self.deliveries

    def outcome(self, entry: int, proposals: Sequence[int], said: Said) -> Iterable[tuple[int, Event]]:
        return ()

    def before(self, entry: int, said: Said) -> int | None:
        return None
