"""A pair's way: proposed, approved, standing; narrowed; severed, recorded, gone.

A secret is written before its entry and destroyed after it. A pair's knocks are heard only after the entry that says it stands, and
no longer after the one that says it ended.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tallystick.errors import Malformed, TallyError
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.pair.outcome import Half
from tallystick.pair.pairing import PairType, Role
from tallystick.passage.effect import Close, Destroy, Forget, Keep, Narrow, Open, Passage, Record, secret_name

_PIECE_BYTES, _PIECES = 1024, 8  # of a statement in `ext`: at most 16 values of 1,024 bytes (docs/spec/events.cddl)
PROPOSAL_LIFE_NS = 24 * 3_600 * 10**9  # docs/spec/pairing.md, section 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A proven human statement as it goes into its entry, so that anybody can check what was signed.

    Attributes: key: KeyId.  signal: COSE_Sign1.  statement: the body in clear.  salt: of the body's commitment.  pairing: the pair
        that carried it, None when it came through the ceremony or a local socket.
    """

    key: bytes
    signal: bytes = field(repr=False)
    statement: bytes = field(repr=False)
    salt: bytes = field(repr=False)
    pairing: bytes | None = None
    session: bytes | None = None

    def fields(self) -> dict[str, object]:
        """The fields of an event that a statement brings about."""
        return {
            "key": self.key,
            "signal": self.signal,
            "statement": self.statement,
            "statement_salt": self.salt,
            "pairing": self.pairing,
            "session": self.session,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A statement that the other side showed, by a key that this machine does not know: kept as it came, and nothing rests on it.

    It stands in the entry's `ext`, never in `signal`: a number, a key or a fork must not be read out of what nobody has proven.
    """

    bundle: bytes = field(repr=False)
    session: bytes | None = None

    def fields(self) -> dict[str, object]:
        """The fields of an event that such a statement comes with. Raises: Malformed: it is longer than any of this kind."""
        pieces = [self.bundle[at : at + _PIECE_BYTES] for at in range(0, len(self.bundle), _PIECE_BYTES)]
        if len(pieces) > _PIECES:
            raise Malformed(f"a statement of more than {_PIECES * _PIECE_BYTES} bytes")
        return {
            "result": "unknown",
            "session": self.session,
            "ext": {f"unproven-statement.{number}": piece for number, piece in enumerate(pieces)},
        }


def _signed(signed: Signed | Shown | None) -> dict[str, object]:
    return {} if signed is None else signed.fields()


def actor_of(signed: Signed | Shown | None) -> str:
    """Who an event comes from: a statement comes through a pair or an invite's ceremony, everything else from the house itself."""
    if signed is None:
        return "local"
    return "pair" if isinstance(signed, Signed) and signed.pairing is not None else "invite"


def proposed(
    half: Half,
    *,
    label: str,
    session: bytes,
    invite: bytes,
    address: bytes | None,
    genesis: bool,
    preapproved: bool,
    shown: Mapping[str, bytes],
    now_ns: int,
    extra: Mapping[str, Any] | None = None,
) -> Passage[Receipt]:
    """Both sides proved themselves: the half is kept, then the proposal recorded. When it is refused, nothing is kept.

    Args: label: what this machine calls the other.  shown: words, digits and the machine's facts for the inbox, as bytes.
        extra: further fields of the event; at a client the keys of the house's log.
    """
    house = half.role is Role.HOUSE
    name = secret_name(half.pairing_id)
    other = half.hello if house else half.welcome
    # The event first: one that the table does not allow must leave no secret behind.
    event = Event.of(
        Kind.PAIRING_PROPOSED,
        now_ns,
        "invite",
        session=session,
        pair=half.pairing_id,
        role=half.role.value,
        pair_type=half.pair_type.value,
        suite=half.suite.value,
        subject=bytes(other.signing.key_id),
        cose_key=other.signing.cose_key(),
        static_key=half.client_static if house else half.house_static,
        witness_key=other.witness.raw,
        house=bytes(half.welcome.house_id),
        invite=invite,
        label=label,
        expires=now_ns + PROPOSAL_LIFE_NS,
        transcript=half.transcript,
        address=address,
        genesis=genesis or None,
        preapproved=preapproved or None,
        ext=dict(shown) or None,
        **(extra or {}),
    )
    yield Keep(name, half.pair_secret)
    try:
        (receipt,) = yield Record((event,))
    except TallyError:
        yield Forget(name)
        raise
    proposal: Receipt = receipt
    return proposal


def approved(
    *,
    pair: bytes,
    pair_type: PairType,
    label: str,
    keys: tuple[Event, ...],
    genesis: bool,
    signed: Signed | Shown | None,
    by: str,
    now_ns: int,
) -> Passage[Receipt]:
    """The pair stands: the statement and the keys it introduces are one transaction, then its knocks are heard."""
    event = Event.of(
        Kind.PAIRING_APPROVED,
        now_ns,
        actor_of(signed),
        pair=pair,
        pair_type=pair_type.value,
        label=label,
        genesis=genesis or None,
        by=by,
        **_signed(signed),
    )
    # The keys first: at genesis the human key that signed is one of them.
    receipts = yield Record((*keys, event))
    receipt: Receipt = receipts[-1]
    yield Open(pair, receipt)
    return receipt


def denied(*, pair: bytes, signed: Signed | None, reason: str, now_ns: int) -> Passage[Receipt]:
    """The proposal is denied and its secret destroyed."""
    event = Event.of(Kind.PAIRING_DENIED, now_ns, actor_of(signed), pair=pair, reason=reason, **_signed(signed))
    (receipt,) = yield Record((event,), urgent=True)
    yield Destroy(secret_name(pair), receipt)
    denial: Receipt = receipt
    return denial


def lapsed(*, pair: bytes, now_ns: int) -> Passage[Receipt]:
    """Nobody decided in time."""
    (receipt,) = yield Record((Event.of(Kind.PAIRING_EXPIRED, now_ns, "house", pair=pair),))
    yield Destroy(secret_name(pair), receipt)
    lapse: Receipt = receipt
    return lapse


def severed(
    *, pair: bytes, by: str, signed: Signed | None, reason: str, tell: bool, now_ns: int, actor: str | None = None
) -> Passage[Receipt]:
    """The pair ends: recorded, silent, secret destroyed, in this order; a stop in between is mended at the next start.

    Args: by: local, peer, statement or policy.  tell: tell the other end if a session lives.
    """
    event = Event.of(Kind.SEVERED, now_ns, actor or actor_of(signed), pair=pair, by=by, reason=reason, **_signed(signed))
    (receipt,) = yield Record((event,), urgent=True)
    yield Close(pair, receipt, tell)
    yield Destroy(secret_name(pair), receipt)
    severance: Receipt = receipt
    return severance


def downgraded(*, pair: bytes, pair_type: PairType, signed: Signed | None, now_ns: int) -> Passage[Receipt]:
    """The pair may do less from now on; live sessions feel it at their next command."""
    by = "local" if signed is None else "statement"
    event = Event.of(Kind.DOWNGRADED, now_ns, actor_of(signed), pair=pair, pair_type=pair_type.value, by=by, **_signed(signed))
    (receipt,) = yield Record((event,), urgent=True)
    yield Narrow(pair, receipt)
    narrowing: Receipt = receipt
    return narrowing
