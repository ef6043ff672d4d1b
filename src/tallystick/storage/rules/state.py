"""What the rules share: the tables as they see them, the types of a rule, and what a pair type is worth."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from tallystick.errors import Unproven
from tallystick.ledger.event import Event
from tallystick.ledger.signed import SignalMark, read_mark
from tallystick.pair.pairing import PairType

Cell = int | str | bytes | None
ENDLESS: Final = 2**63 - 1
"""A time that never comes."""


class State(Protocol):
    """The tables, as the projection sees them."""

    @property
    def shut(self) -> str:
        """Whether the house is `open`, `closed` or `moved`."""
        ...

    def one(self, sql: str, arguments: Sequence[Cell] = ()) -> tuple[Cell, ...] | None:
        """The first row, or None."""
        ...

    def all(self, sql: str, arguments: Sequence[Cell] = ()) -> list[tuple[Cell, ...]]:
        """Every row."""
        ...

    def run(self, sql: str, arguments: Sequence[Cell] = ()) -> int:
        """Change rows; how many were changed."""
        ...

    def event_at(self, index: int) -> Event | None:
        """An earlier event."""
        ...

    def stands(self, key: bytes, time_ns: int) -> bool:
        """Whether this key is known, stands and has not expired at this time."""
        ...

    def cap(self, pairing: bytes) -> str:
        """The effective type of a pair that stands; empty for any other."""
        ...


class SignalFork(Unproven):
    """Two statements under one number. The writer keeps both and suspends the key (Kind.SIGNAL_FORK)."""

    def __init__(self, mark: SignalMark, first: int, signal: bytes) -> None:
        super().__init__(f"two statements under number {mark.n} of one stream", "The key is held; see the inbox.")
        self.mark = mark
        self.first = first
        self.signal = signal


Rule = Callable[[State, Event, int], None]

WIDTH: Final[Mapping[str, int]] = {PairType.INTERFACE: 0, PairType.USER: 1, PairType.INPUT: 2, PairType.ADMIN: 3}
# DESIGN 8, caps: what the machine key of a standing pair may ask for.
ACTIONS: Final[Mapping[str, str]] = {
    PairType.ADMIN: "metadata read egress propose write admin",
    PairType.INPUT: "metadata read egress propose write",
    PairType.USER: "metadata read",
    PairType.INTERFACE: "metadata",
}

_ADMIN_HUMAN: Final = (
    "SELECT 1 FROM keys WHERE key_id = ? AND kind = 'human' AND state = 'standing' AND ' ' || actions || ' ' LIKE '% admin %'"
    " AND (expires_ns IS NULL OR expires_ns > ?)"
)


def signer_of(event: Event) -> bytes | None:
    """The key that signed: named in the header, else the signal's own."""
    return event.blob("key") or (read_mark(event.blob("signal")).key if event.get("signal") else None)


def is_admin(state: State, key: bytes, time_ns: int) -> bool:
    """Whether this is a human key with admin that stands at this entry and has not expired at this time."""
    return state.one(_ADMIN_HUMAN, (key, time_ns)) is not None


def admin_signed(state: State, event: Event) -> bytes:
    """The standing admin human key that signed this. Raises: Unproven."""
    signer = signer_of(event)
    if signer is None or not is_admin(state, signer, event.time_ns):
        raise Unproven("this needs the signature of a human key with admin", "See `tally key ls`.")
    return signer


def check_stated(state: State, event: Event) -> None:
    """What comes about by a human statement needs its key at this very entry: between the house's look and the entry it may have been
    revoked or replaced. What was done at the house itself, or told by the other side, carries no statement. Raises: Unproven.
    """
    if event.get("signal") is not None or event.text("by") == "statement":
        admin_signed(state, event)
