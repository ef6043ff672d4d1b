"""What the house may ask of the world. No effect that changes anything outside the ledger can be made without a receipt.

`Keep` is the one exception, by design: a secret is written to the vault *before* its entry, so that no entry speaks of a pair
whose secret was lost, and destroyed *after* it (DESIGN section 4). A secret without an entry is swept away at the next start.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from tallystick.ledger.event import Event
from tallystick.ledger.receipt import Receipt


def _receipt(value: object) -> None:
    # A type alone does not stop a caller who lies to it; an effect without a receipt must not exist.
    if not isinstance(value, Receipt):
        raise AssertionError("an effect was asked for without the receipt of its entry")


@dataclass(frozen=True, slots=True)
class Record:
    """Write these events in one transaction. Comes back as one Receipt for each; all or none.

    `openings`: for each event the opening of its signal (salts and clear values), or nothing; kept in erasable slots.
    `looking`: a read follows that changes nothing: what it will answer with may be looked up while the disk writes. Nothing of it
    leaves the house before the receipt is here, for only then there is a `Perform`.
    `urgent`: it ends something (a pair, a key, an invite): written also where the disk is full, with the room held for that.
    """

    events: tuple[Event, ...]
    openings: tuple[bytes | None, ...] = ()
    looking: bool = False
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Write these events with some later group; nobody waits for them (the results of reads)."""

    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Keep:
    """Write a secret to the vault, durably, before the entry that speaks of it. Refused where one of this name is kept already."""

    name: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Destroy:
    """Destroy a secret, after the entry that says so."""

    name: str
    receipt: Receipt

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Forget:
    """Destroy a secret that was kept for an entry which was then refused: nothing in the ledger speaks of it."""

    name: str


@dataclass(frozen=True, slots=True)
class Perform:
    """Do what was asked. Comes back as what became of it, failures included.

    An error thrown instead means that nobody knows: `begun` stays open, and becomes `unknown` at the next start.
    """

    verb: str
    receipt: Receipt
    begun: Receipt | None = None

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Open:
    """From now on this pair's knocks are heard."""

    pair: bytes
    receipt: Receipt

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Close:
    """From now on this pair meets silence: its keys leave memory, its sessions are cut, the other end is told if it is there."""

    pair: bytes
    receipt: Receipt
    tell: bool = True

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Narrow:
    """From now on this pair's sessions have a narrower type."""

    pair: bytes
    receipt: Receipt

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Listen:
    """From now on knocks with this invite are heard."""

    invite: bytes
    receipt: Receipt

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Unlisten:
    """From now on this invite meets silence."""

    invite: bytes
    receipt: Receipt

    def __post_init__(self) -> None:
        _receipt(self.receipt)


@dataclass(frozen=True, slots=True)
class Recheck:
    """From now on nothing goes on by a pair that no longer stands: a revocation reached it through the key that signed it."""

    receipt: Receipt

    def __post_init__(self) -> None:
        _receipt(self.receipt)


Effect = Record | Later | Keep | Destroy | Forget | Perform | Open | Close | Narrow | Listen | Unlisten | Recheck

_T = TypeVar("_T")
Passage = Generator[Effect, Any, _T]
"""Yields effects, is sent their answers, returns a value. Errors of an effect are thrown into it."""

SECRET_PREFIX: Final = "pair/"
INVITE_PREFIX: Final = "invite/"


def secret_name(pair: bytes) -> str:
    """The name under which the vault keeps the secret of a pair."""
    return SECRET_PREFIX + pair.hex()


def invite_name(invite: bytes) -> str:
    """The name under which the vault keeps the secret of an invite."""
    return INVITE_PREFIX + invite.hex()
