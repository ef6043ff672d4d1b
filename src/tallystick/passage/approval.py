"""A held signal's way: approved or turned away, judged anew, carried out once; or back into the inbox (docs/approvals.md).

    [approval scope]  ->  judged anew  ->  effect-begun  ->  Perform  ->  [effect-done | effect-failed, proposal-ended]
                                       ->  [proposal-ended changed, proposal]      something is not as it was when it was held
                                       ->  proposal-ended void | expired           nobody can approve it any more

`effect-begun` names the proposal and is taken by the ledger once, from `approved`: of two releases at once one is carried out, and after
a crash none is carried out again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.passage.effect import Passage, Perform, Record
from tallystick.passage.pairing import Signed, actor_of
from tallystick.passage.rights import scope_fields
from tallystick.passage.signal import Done, word_of
from tallystick.primitives import sha256
from tallystick.rights.approval import Item
from tallystick.rights.statement import SignalApprove, SignalDeny

RELEASED, CHANGED, EXPIRED, EDITED, VOID = "released", "changed", "expired", "edited", "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """A signal that waits again, after something changed. `signal_entry`: of it.  `replaces`: the proposal that is over.

    `body`: quarantined again; `reason`: why it is held now; `preconditions`: what the next release must find unchanged.
    """

    replaces: int
    signal_entry: int
    signal_hash: bytes
    key: bytes
    risk: str
    expires_ns: int
    reason: str
    preconditions: bytes | None
    body: bytes | None = field(repr=False)

    def event(self, now_ns: int) -> Event:
        """The proposal."""
        return Event.of(
            Kind.PROPOSAL,
            now_ns,
            "gate",
            signal_hash=self.signal_hash,
            cause=self.signal_entry,
            key=self.key,
            risk=self.risk,
            expires=self.expires_ns,
            preconditions=self.preconditions,
            body=None if self.body is None else sha256(self.body),
            replaces=self.replaces,
            what=self.reason or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """What became of a Perform. `renewed`: nothing was done, for something had changed in the last moment: it waits again."""

    done: Done
    renewed: Renewed | None = None


def approved(statement: SignalApprove, items: Sequence[Item], *, subject: bytes | None, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A human said yes. `subject`: the key of the signals, where a scope for more like these is given with it."""
    terms = statement.scope
    events = [
        Event.of(
            Kind.APPROVAL,
            now_ns,
            actor_of(signed),
            items=tuple((item.entry, item.signal_hash) for item in items),
            expires=statement.expires_ns,
            scope=None if terms is None else sha256(signed.statement),
            uses=None if terms is None else terms.uses,
            **signed.fields(),
        )
    ]
    if terms is not None:
        if subject is None:
            raise AssertionError("a scope is for a key")
        about = {"key": signed.key, "pairing": signed.pairing, "session": signed.session}
        fields = scope_fields(terms, subject=subject, scope=sha256(signed.statement))
        events.append(Event.of(Kind.SCOPE, now_ns, actor_of(signed), **about, **fields))
    receipts = yield Record(tuple(events))
    approval: Receipt = receipts[0]
    return approval


def denied(statement: SignalDeny, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A human said no."""
    event = Event.of(Kind.PROPOSAL_DENIED, now_ns, actor_of(signed), entry=statement.proposal, reason=statement.reason, **signed.fields())
    (receipt,) = yield Record((event,), urgent=True)
    denial: Receipt = receipt
    return denial


def edited(statement: SignalDeny, *, instead: int, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A human asks for something else in its place. `instead`: the entry of that signal."""
    event = Event.of(
        Kind.PROPOSAL_ENDED, now_ns, actor_of(signed), entry=statement.proposal, reason=EDITED, cause=instead, **signed.fields()
    )
    (receipt,) = yield Record((event,), urgent=True)
    end: Receipt = receipt
    return end


def ended(proposal: int, reason: str, *, now_ns: int) -> Passage[Receipt]:
    """A proposal is over without a word of a human: expired, void, or released to an application."""
    (receipt,) = yield Record((Event.of(Kind.PROPOSAL_ENDED, now_ns, entry=proposal, reason=reason),), urgent=True)
    end: Receipt = receipt
    return end


def returned(renewed: Renewed, *, now_ns: int) -> Passage[Receipt]:
    """Something changed: the proposal is over, and its signal waits again. Returns: the receipt of the new one."""
    end = Event.of(Kind.PROPOSAL_ENDED, now_ns, entry=renewed.replaces, reason=CHANGED)
    receipts = yield Record((end, renewed.event(now_ns)), (None, renewed.body))
    waiting: Receipt = receipts[1]
    return waiting


def carried_out(
    *, effect: str, signal_entry: int, reference: bytes, proposal: int | None, cause: int | None = None, now_ns: int
) -> Passage[Carried]:
    """An effect, begun, done and ended in the ledger.

    Args: effect: the word.  signal_entry: of the signal that asked; `reference` its own.  proposal: that was approved, None for a signal
        that was allowed at once.  cause: the approval.
    """
    begun_event = Event.of(
        Kind.EFFECT_BEGUN,
        now_ns,
        effect=effect,
        signal_hash=reference,
        entry=signal_entry if proposal is None else proposal,
        cause=cause,
    )
    (begun,) = yield Record((begun_event,))
    carried: Carried = yield Perform(effect, begun, begun)
    done, renewed = carried.done, carried.renewed
    status = done.status if done.ended is None else done.ended
    if done.error is None:
        event = Event.of(
            Kind.EFFECT_DONE, done.now_ns, entry=begun.index, status=status, digest=done.digest, length=done.length, result="ok"
        )
    else:
        reason = done.word or word_of(done.error)
        event = Event.of(Kind.EFFECT_FAILED, done.now_ns, entry=begun.index, status=status, reason=reason, result="failed")
    events, openings = [event], [None] if renewed is None else [None, None, renewed.body]
    if proposal is not None:
        reason = RELEASED if renewed is None else CHANGED
        events.append(Event.of(Kind.PROPOSAL_ENDED, done.now_ns, entry=proposal, reason=reason))
        if renewed is not None:
            events.append(renewed.event(done.now_ns))
    yield Record(tuple(events), () if renewed is None else tuple(openings))
    return carried
