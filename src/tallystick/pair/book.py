"""The book of pairs: what each side remembers of a pairing, and where it stands (docs/spec/pairing.md, section 6).

The pair secret is not here: it lies in the vault under `secret_name`. All of this is a projection of the ledger's entries.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from tallystick.errors import Refused
from tallystick.keys import KeyId, PublicKey
from tallystick.pair.outcome import Half
from tallystick.pair.pairing import PairType, Role, Suite


class PairState(StrEnum):
    """Where a pair stands. Only `standing` opens a door."""

    PENDING = "pending"
    STANDING = "standing"
    SEVERED = "severed"
    BROKEN = "broken"  # the secret is lost; it can only be severed


class PairEvent(StrEnum):
    """What can happen to a pair."""

    APPROVE = "approve"
    DENY = "deny"  # or the proposal lapsed
    SEVER = "sever"
    LOSE = "lose"  # the vault has no secret for it


# None: no record is left. A missing cell is refused.
_TABLE: Final[dict[tuple[PairState, PairEvent], PairState | None]] = {
    (PairState.PENDING, PairEvent.APPROVE): PairState.STANDING,
    (PairState.PENDING, PairEvent.DENY): None,
    (PairState.PENDING, PairEvent.SEVER): None,
    (PairState.PENDING, PairEvent.LOSE): None,
    (PairState.STANDING, PairEvent.SEVER): PairState.SEVERED,
    (PairState.STANDING, PairEvent.LOSE): PairState.BROKEN,
    (PairState.BROKEN, PairEvent.SEVER): PairState.SEVERED,
}


def next_pair_state(state: PairState, event: PairEvent) -> PairState | None:
    """Where an event takes a pair, None when nothing is left of it. Raises: Refused for every cell the table does not have."""
    if (state, event) not in _TABLE:
        raise Refused(f"a pair that is {state.value} cannot be changed by {event.value}", "Pair anew with `tally invite`.")
    return _TABLE[state, event]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One side's record of a pair. `role`: ours; the keys and the label are the other side's.

    `pair_type`: as signed at pairing, in every knock's prologue; `narrowed`: what it is worth now.
    `origin_hash`, `house_id`: of the house, on both sides; `entry`: where the pairing statement stands, None while pending.
    """

    pairing_id: bytes
    role: Role
    state: PairState
    pair_type: PairType
    narrowed: PairType
    suite: Suite
    label: str
    static: bytes
    signing: PublicKey
    witness: PublicKey
    house_id: bytes
    origin_hash: bytes
    proposal: int
    entry: int | None
    paired_at_ns: int


class PairBook(Protocol):
    """What a storage offers about pairs; every answer is of one moment."""

    def pair(self, pairing_id: bytes) -> Pair | None:
        """The pair with this id, in any state."""

    def by_label(self, label: str) -> Pair | None:
        """The standing or pending pair that people call so."""

    def by_key(self, key_id: KeyId) -> Pair | None:
        """The standing pair whose other side signs with this key."""

    def standing(self) -> Iterable[Pair]:
        """Every pair that stands."""


def pair_of(half: Half, *, state: PairState, proposal: int, entry: int | None, paired_at_ns: int, label: str | None = None) -> Pair:
    """The record of a half that the ceremony produced. `label`: what people here call the other side, else what it calls itself."""
    client = half.role is Role.CLIENT
    return Pair(
        pairing_id=half.pairing_id,
        role=half.role,
        state=state,
        pair_type=half.pair_type,
        narrowed=half.pair_type,
        suite=half.suite,
        label=label or half.label,
        static=half.house_static if client else half.client_static,
        signing=half.welcome.signing if client else half.hello.signing,
        witness=half.welcome.witness if client else half.hello.witness,
        house_id=half.welcome.house_id,
        origin_hash=half.welcome.origin_hash,
        proposal=proposal,
        entry=entry,
        paired_at_ns=paired_at_ns,
    )


def secret_name(pairing_id: bytes) -> str:
    """The name under which a vault keeps the pair secret."""
    return f"pair-{pairing_id.hex()}"
