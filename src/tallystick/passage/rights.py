"""What a human says of keys, rows, facts, scopes, the plan and contexts: recorded, and only then in force.

Each passage is one transaction. What ends something is urgent. After it nothing goes on by what no longer stands: `Recheck`.
"""

from typing import Any

from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.passage.effect import Close, Destroy, Passage, Recheck, Record, secret_name
from tallystick.passage.pairing import Signed, actor_of
from tallystick.primitives import sha256
from tallystick.rights.scope import Terms
from tallystick.rights.statement import (
    ContextBegin,
    ContextEnd,
    FactAdd,
    FactWithdraw,
    GatePlan,
    GrantWithdraw,
    KeyGrant,
    KeyRevoke,
    ScopeGrant,
    ScopeWithdraw,
)


def granted(statement: KeyGrant, *, known: bool, opening: bytes | None, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A source key comes in, or, where it is `known`, gets one more row. `opening`: of its place."""
    about: dict[str, Any] = {
        "subject": bytes(statement.key.key_id),
        "classes": statement.classes,
        "actions": statement.actions,
        "targets": statement.targets,
        "schedule": statement.schedule,
        "place": statement.place,
        "expires": statement.expires_ns,
    }
    if known:
        return (yield from _recorded(Kind.GRANT, signed, now_ns, opening, **about))
    return (
        yield from _recorded(
            Kind.KEY_INTRODUCED,
            signed,
            now_ns,
            opening,
            key_kind="source",
            cose_key=statement.key.cose_key(),
            label=statement.label,
            **about,
        )
    )


def revoked(statement: KeyRevoke, *, pair: bytes | None, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A key is over, at once. `pair`: the standing pair whose machine's key it is: without its key it is none, and ends with it."""
    event = Event.of(
        Kind.KEY_REVOKED,
        now_ns,
        actor_of(signed),
        subject=bytes(statement.key),
        revocation=statement.how,
        since=statement.since,
        by="statement",
        **signed.fields(),
    )
    if pair is None:
        (receipt,) = yield Record((event,), urgent=True)
        yield Recheck(receipt)
    else:
        end = Event.of(
            Kind.SEVERED,
            now_ns,
            actor_of(signed),
            pair=pair,
            by="policy",
            reason=statement.how,
            key=signed.key,
            pairing=signed.pairing,
            session=signed.session,
        )
        receipt, severance = yield Record((event, end), urgent=True)
        yield Close(pair, severance)
        yield Destroy(secret_name(pair), severance)
        yield Recheck(receipt)
    revocation: Receipt = receipt
    return revocation


def grant_withdrawn(statement: GrantWithdraw, *, subject: bytes, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A row is gone."""
    return (yield from _recorded(Kind.GRANT_WITHDRAWN, signed, now_ns, urgent=True, entry=statement.grant, subject=subject))


def fact_added(statement: FactAdd, *, opening: bytes | None, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A fact holds. `opening`: of a personal one."""
    return (
        yield from _recorded(
            Kind.FACT_ADDED,
            signed,
            now_ns,
            opening,
            predicate=statement.predicate,
            subject=None if statement.subject is None else bytes(statement.subject),
            value=statement.value,
            commitment=statement.commitment,
            observed=statement.observed_ns,
            until=statement.until_ns,
        )
    )


def fact_withdrawn(statement: FactWithdraw, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A fact no longer holds."""
    return (yield from _recorded(Kind.FACT_WITHDRAWN, signed, now_ns, urgent=True, entry=statement.fact))


def scope_granted(statement: ScopeGrant, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """An advance approval stands, called by the hash of its statement."""
    fields = scope_fields(statement.terms, subject=bytes(statement.subject), scope=sha256(signed.statement))
    return (yield from _recorded(Kind.SCOPE, signed, now_ns, **fields))


def scope_fields(terms: Terms, *, subject: bytes, scope: bytes) -> dict[str, Any]:
    """The fields of an event `scope`; the rest of its terms stands in the statement."""
    return {
        "scope": scope,
        "subject": subject,
        "targets": terms.targets or None,
        "expires": terms.until_ns,
        "uses": terms.uses,
    }


def scope_withdrawn(statement: ScopeWithdraw, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """An advance approval is void."""
    return (yield from _recorded(Kind.SCOPE_ENDED, signed, now_ns, urgent=True, scope=statement.scope, reason="withdrawn"))


def planned(statement: GatePlan, *, weakened: bool, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """These layers judge from now on."""
    return (yield from _recorded(Kind.PLAN, signed, now_ns, plan=dict(statement.plan), weakened=weakened or None))


def context_begun(statement: ContextBegin, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """What is delivered to a key is behind what it signs, from here on."""
    return (yield from _recorded(Kind.CONTEXT_BEGUN, signed, now_ns, subject=bytes(statement.key)))


def context_ended(statement: ContextEnd, *, context: tuple[int, int, bytes], signed: Signed, now_ns: int) -> Passage[Receipt]:
    """The context of a key is closed. `context`: its first entry, its last, and the root over what was delivered."""
    return (yield from _recorded(Kind.CONTEXT_ENDED, signed, now_ns, subject=bytes(statement.key), context=context))


def _recorded(
    kind: Kind, signed: Signed, now_ns: int, opening: bytes | None = None, *, urgent: bool = False, **fields: Any
) -> Passage[Receipt]:
    event = Event.of(kind, now_ns, actor_of(signed), **fields, **signed.fields())
    (receipt,) = yield Record((event,), (opening,) if opening is not None else (), urgent=urgent)
    recorded: Receipt = receipt
    return recorded
