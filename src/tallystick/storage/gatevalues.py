"""Rows of the database as the values of storage/gaterows.py. The same row makes the same value: entries never change."""

from functools import lru_cache
from typing import Any, Final

from tallystick import canonical
from tallystick.errors import Malformed
from tallystick.facts.fact import Fact, KnownKey, Place, Sighting, read_place
from tallystick.keys.identity import KeyId, parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.signed import read_mark
from tallystick.primitives import sha256
from tallystick.storage.gaterows import FactRow, GrantRow, KnownKeyRow, ProposalRow, ScopeRow, SignalRow

ENDLESS: Final = 2**63 - 1
CACHED: Final = 4_096


def place_of(raw: bytes | None) -> Place | None:
    """A place in clear; None where there is none, or none that can be read."""
    try:
        return None if raw is None else read_place(canonical.decode(raw))
    except Malformed:
        return None  # committed to before anybody read it: as good as not said


def texts_of(raw: bytes | None) -> tuple[str, ...]:
    """An array of texts, canonical CBOR."""
    said = canonical.decode(raw) if raw else []
    return tuple(map(str, said)) if isinstance(said, list) else ()


def key_ids(raw: bytes) -> tuple[KeyId, ...]:
    """KeyIds that lie one behind the other."""
    return tuple(KeyId(raw[at : at + 32]) for at in range(0, len(raw), 32))


@lru_cache(CACHED)
def known_of(row: tuple[Any, ...]) -> KnownKeyRow:
    """A key."""
    known = KnownKey(
        key_id=KeyId(row[0]),
        number=row[1],
        kind=row[2],
        state=row[3],
        classes=tuple(row[5].split()),
        actions=tuple(row[6].split()),
        targets=texts_of(row[7]),
        schedule=row[8] or "",
        place=place_of(row[15]),
        expires_ns=row[9],
        introduced=row[12],
        changed=row[13],
        since=row[14],
        label=row[10] or "",
    )
    return KnownKeyRow(known=known, public=parse_cose_key(row[4]), pairing=row[11])


@lru_cache(CACHED)
def grant_of(row: tuple[Any, ...]) -> GrantRow:
    """A row of the matrix."""
    at, classes, actions, targets, schedule, place, expires_ns, by = row
    return GrantRow(
        entry=at,
        classes=tuple(classes.split()),
        actions=tuple(actions.split()),
        targets=texts_of(targets),
        schedule=schedule or "",
        place=place_of(place),
        expires_ns=expires_ns,
        by=KeyId(by) if by else None,
    )


@lru_cache(CACHED)
def sighting_of(row: tuple[Any, ...]) -> Sighting:
    """A sighting whose place is there."""
    place = place_of(row[2])
    if place is None:
        raise AssertionError("a place was written that cannot be read")
    return Sighting(entry=row[0], observed_ns=row[1], place=place, signal=row[3])


def fact_of(row: tuple[Any, ...]) -> Fact:
    """A fact."""
    return _fact(row[:6])


@lru_cache(CACHED)
def _fact(row: tuple[Any, ...]) -> Fact:
    at, subject, predicate, value, observed_ns, until_ns = row
    return Fact(
        entry=at,
        predicate=predicate,
        subject=KeyId(subject) if subject else None,
        value=None if value is None else canonical.decode(value),
        observed_ns=observed_ns,
        until_ns=None if until_ns == ENDLESS else until_ns,
    )


def fact_row_of(row: tuple[Any, ...]) -> FactRow:
    """A fact with its state."""
    return FactRow(fact=fact_of(row), state=row[6], by=KeyId(row[7]) if row[7] else None, personal=row[8] is not None)


def signal_of(at: int, event: Event) -> SignalRow | None:
    """The signal in an entry; None where there is none."""
    raw = event.blob("signal")
    if not raw:
        return None
    mark, signers = read_mark(raw), event.get("signers")
    return SignalRow(
        entry=at,
        reference=mark.signature_hash,
        signed_hash=sha256(raw),
        key=KeyId(mark.key),
        signal_class=mark.signal_class,
        verb=mark.verb,
        action=mark.action,
        verdict=event.text("verdict") if event.kind is Kind.SIGNAL else "allow",
        reduced=event.get("reduced") is True,
        reason=event.text("reason"),
        signers=tuple(map(KeyId, signers)) if isinstance(signers, tuple) else (),
        depth=event.number("depth"),
        time_ns=event.time_ns,
        actor=event.actor,
        pairing=event.blob("pairing") or None,
    )


def scope_of(row: tuple[Any, ...]) -> ScopeRow:
    """A scope."""
    scope, at, state, subject, verb, targets, body, origins, uses, used, until_ns, by = row
    return ScopeRow(
        scope=scope,
        entry=at,
        state=state,
        subject=KeyId(subject),
        verb=verb,
        targets=None if targets is None else texts_of(targets),
        body=body,
        origins=None if origins is None else key_ids(origins),
        uses=uses,
        uses_left=None if uses is None else uses - used,
        until_ns=until_ns,
        by=KeyId(by),
    )


def proposal_of(row: tuple[Any, ...]) -> ProposalRow:
    """A proposal."""
    return ProposalRow(
        entry=row[0],
        state=row[1],
        signal_entry=row[2],
        signal_hash=row[3],
        key=KeyId(row[4]) if row[4] else None,
        expires_ns=row[5],
        risk=row[6] or "",
        preconditions=row[7],
        body=row[8],
        replaces=row[9],
        approved=row[10],
        approved_by=KeyId(row[11]) if row[11] else None,
        ended=row[12],
        reason=row[13] or "",
        time_ns=row[14],
    )
