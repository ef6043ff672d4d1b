"""What a ceremony asks its shell to do, and where it stands (docs/spec/pairing.md, section 3).

The machines in pair/ceremony.py return these values; the shell acts on them and answers. Secrets have no repr.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeAlias

from tallystick.pair.message import Hello, Reason, Standing, Welcome
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.pair.statement import PairApprove, Statement
from tallystick.pair.transcript import Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Half:
    """One side's record of a pairing: what the shell stores (the secret in the vault) before it sends anything further."""

    role: Role
    pairing_id: bytes
    pair_secret: bytes = field(repr=False)
    transcript: bytes
    quotes: tuple[bytes | None, bytes | None] = field(repr=False)
    pair_type: PairType
    suite: Suite
    client_static: bytes
    house_static: bytes
    hello: Hello
    welcome: Welcome

    @property
    def label(self) -> str:
        """What the other side likes to be called."""
        return self.welcome.label if self.role is Role.CLIENT else self.hello.label


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedWelcome:
    """House: judge the hello, encapsulate to `hello.kem_public`, draw a nonce, then call `welcome` (or `cancel`)."""

    hello: Hello


@dataclass(frozen=True, slots=True, kw_only=True)
class NeedQuote:
    """Quote T1 if there is hardware for it, then call `attested`. House: `peer_quote` is the client's, judge it first."""

    t1: bytes
    peer_quote: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreHalf:
    """Store the half as pending, sign these bytes with the own keys, then call `stored` (client) or `proposed` (house).

    House: also record the proposal, after the secret is in the vault. `human` is None unless the client is to be ADMIN.
    """

    half: Half
    signing: bytes
    witness: bytes
    human: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """Client: the house has both proofs; the pairing waits for a human as entry `proposal`. Show the words."""

    proposal: int
    check: Check


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """House: the client's own human key signed the pairing; prove `bundle` and the genesis rule, then `stand` or `refuse`."""

    bundle: bytes = field(repr=False)
    statement: PairApprove


@dataclass(frozen=True, slots=True, kw_only=True)
class Stood:
    """The pair stands. The statement is unproven here; passage proves it under the keys the client trusts."""

    pairing_id: bytes
    standing: Standing
    statement: Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """No pair came of it. `forget`: the pairing id whose half the shell destroys, or None when none was stored.

    At a house whose pair already stood (the client could not believe it): sever the pair.
    """

    reason: Reason
    by_peer: bool
    forget: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Detached:
    """The stream is gone, the pending half and the proposal stay until a human decides or 24 hours have passed."""

    pairing_id: bytes


Effect: TypeAlias = NeedWelcome | NeedQuote | StoreHalf | Proposed | Submitted | Stood | Ended | Detached


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The outcome of a step: bodies of frames to send, in order, and what the shell does next."""

    send: tuple[bytes, ...] = ()
    effect: Effect | None = None


class State(StrEnum):
    """Where a ceremony stands (docs/spec/pairing.md, section 3)."""

    NEW = "new"
    GREETED = "greeted"
    WELCOMED = "welcomed"
    OPENED = "opened"
    ASKED = "asked"
    ATTESTED = "attested"
    DERIVED = "derived"
    CONFIRMED = "confirmed"
    PROPOSED = "proposed"
    STANDING = "standing"
    REFUSED = "refused"
    ABORTED = "aborted"
    DETACHED = "detached"


OVER: Final = frozenset((State.STANDING, State.REFUSED, State.ABORTED, State.DETACHED))
# From here on a half is stored: a cut leaves it pending, an abort destroys it.
KEPT: Final = frozenset((State.DERIVED, State.CONFIRMED, State.PROPOSED))
