"""What may be done: the cap of the pair, the rows of the keys, and the one function that concludes (DESIGN section 8).

Every room that must know whether something may happen asks `judge`; there is no second place. A pair's cap is a hard
ceiling: no grant, scope, token or approval exceeds it, so what the cap leaves out is refused and never held. Within the
cap, a key whose row leaves an action out but has `propose` is held for a human; without `propose` it is refused.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Refused
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass
from tallystick.rights.verdict import Judgement, Reason, Source, Verdict, least

Actions = frozenset[ActionClass]

# DESIGN 8, caps: the most that any signal over a pair of this type may do.
CAP: Final[Mapping[PairType, Actions]] = {
    PairType.ADMIN: frozenset(ActionClass),
    PairType.INPUT: frozenset((ActionClass.METADATA, ActionClass.READ, ActionClass.EGRESS, ActionClass.PROPOSE, ActionClass.WRITE)),
    PairType.USER: frozenset((ActionClass.METADATA, ActionClass.READ)),
    PairType.INTERFACE: frozenset((ActionClass.METADATA,)),
}
# DESIGN 7: local sources (gate.sock) have the cap of INPUT.
LOCAL_CAP: Final = PairType.INPUT
# DESIGN 8: the default row of every non-human key other than a paired machine's own, and of an `unknown` predecessor.
SOURCE_ROW: Final[Actions] = frozenset((ActionClass.METADATA, ActionClass.READ, ActionClass.PROPOSE))
# DESIGN 8: what stays open when confidence is low.
REDUCED: Final[Actions] = frozenset((ActionClass.METADATA, ActionClass.READ))
_ORDER: Final = tuple(ActionClass)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the matrix: what one key may do. `subject`: the key's short text, as people read it."""

    subject: str
    actions: Actions


def machine_row(subject: str, pair_type: PairType) -> Row:
    """The row of a paired machine's own key: its PairType's actions, granted by the pairing statement."""
    return Row(subject=subject, actions=CAP[pair_type])


def source_row(subject: str) -> Row:
    """The row of a source key (camera, feed, agent, ...) without a grant."""
    return Row(subject=subject, actions=SOURCE_ROW)


def granted_row(subject: str, actions: Iterable[ActionClass]) -> Row:
    """The row that a human key signed: of a source key with a grant, or of a human key."""
    return Row(subject=subject, actions=frozenset(actions))


def ordered_actions(pair_type: PairType) -> tuple[str, ...]:
    """The actions of a type as the pairing statement lists them (docs/spec/statements.md)."""
    return tuple(action.value for action in _ORDER if action in CAP[pair_type])


def judge(
    cap: PairType,
    rows: Iterable[Row],
    action: ActionClass,
    *,
    human_signed: bool = False,
    failed: tuple[str, str] | None = None,
    low_confidence: bool = False,
    reduced_to: Actions = REDUCED,
) -> Judgement:
    """May this be done? The least of the cap, every key's row and the confidence, with all reasons.

    Args: cap: the type of the pair that carried the signal as it is now (after a downgrade), INPUT for local sources.
        rows: of every key in the provenance, the signer's among them; without a row nothing is allowed.
        human_signed: a human key with admin signed exactly this (its row is among `rows`).
        failed: a binary layer that said no, and its word; low_confidence: the probabilistic layer's.
        reduced_to: the actions that stay open with low confidence (policy).
    Raises: nothing.
    """
    open_for = CAP[cap]
    may_wait = ActionClass.PROPOSE in open_for
    reasons = [_cap(cap, action)]
    seen = False
    for row in rows:
        seen = True
        reasons.append(_row(row, action, may_wait=may_wait))
        if low_confidence and action not in reduced_to:
            reasons.append(_confidence(row, action, may_wait=may_wait))
    if not seen:
        reasons.append(Reason(source=Source.KEY, subject="-", verdict=Verdict.REFUSE, why="no key stands behind it"))
    if action is ActionClass.ADMIN and not human_signed:
        verdict = Verdict.HOLD if may_wait else Verdict.REFUSE
        reasons.append(Reason(source=Source.HUMAN, subject="-", verdict=verdict, why="admin needs a human's signature"))
    if failed is not None:
        reasons.append(Reason(source=Source.LAYER, subject=failed[0], verdict=Verdict.REFUSE, why=failed[1]))
    return least(reasons, reduced=low_confidence)


def check_allowed(judgement: Judgement) -> None:
    """For places that cannot hold. Raises: Refused unless the verdict is allow; the message gives nothing of the request away."""
    if judgement.verdict is not Verdict.ALLOW:
        why = judgement.deciding[0].why
        raise Refused(f"not allowed: {why}", "`tally status` shows what this pair may do; an ADMIN can change it.")


def _cap(cap: PairType, action: ActionClass) -> Reason:
    allowed = action in CAP[cap]
    why = f"{cap.value} includes {action.value}" if allowed else f"{cap.value} does not include {action.value}"
    return Reason(source=Source.CAP, subject=cap.value, verdict=Verdict.ALLOW if allowed else Verdict.REFUSE, why=why)


def _row(row: Row, action: ActionClass, *, may_wait: bool) -> Reason:
    if action in row.actions:
        return Reason(source=Source.KEY, subject=row.subject, verdict=Verdict.ALLOW, why=f"the key has {action.value}")
    return Reason(
        source=Source.KEY, subject=row.subject, verdict=_softened(row, may_wait=may_wait), why=f"the key does not have {action.value}"
    )


def _confidence(row: Row, action: ActionClass, *, may_wait: bool) -> Reason:
    why = f"confidence is low: {action.value} waits for a human"
    return Reason(source=Source.CONFIDENCE, subject=row.subject, verdict=_softened(row, may_wait=may_wait), why=why)


def _softened(row: Row, *, may_wait: bool) -> Verdict:
    """A refusal becomes a hold only where cap and key include `propose`."""
    return Verdict.HOLD if may_wait and ActionClass.PROPOSE in row.actions else Verdict.REFUSE
