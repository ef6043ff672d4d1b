"""What may be done: the cap of the pair, the rows of the keys, and the one function that concludes (DESIGN section 8).

Every room that must know whether something may happen asks `judge`; there is no second place. A pair's cap is a hard
ceiling: no grant, scope, token or approval exceeds it, so what the cap leaves out is refused and never held. Within the
cap, a key whose rows leave an action out but have `propose` is held for a human; without `propose` it is refused.

    rights = rights_of(known, store.gate.grants(known.key_id))        # once for each state of the store
    judge(LOCAL_CAP, [rights, *others], action, request=request, scopes=scopes, within=schedule.within)

Every key behind a signal has a voice: its own, and whoever it heard. The signer's rows are matched with the signal's class and the
present moment; of a key behind it any row counts whose target fits, because what it signed was judged when it came.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Protocol

from tallystick.errors import Refused
from tallystick.facts.fact import KnownKey
from tallystick.keys import KeyId
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass, Actions
from tallystick.rights.grant import Grant, Within
from tallystick.rights.scope import UNKNOWN, Request, Scope, covers
from tallystick.rights.verdict import Judgement, Reason, Source, Verdict, least

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
_CACHED: Final = 4_096
_REMEMBERED: Final = 64  # voices of one key
# A key in one of these states signs nothing; what it signed before waits for a human wherever it is behind something.
_WAITS: Final = frozenset(("suspended", "retired", "replaced"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the matrix: what one key may do. `subject`: the key's short text, as people read it."""

    subject: str
    actions: Actions


class SignedRow(Protocol):
    """A standing grant as the store reads it: words, as a human signed them."""

    @property
    def entry(self) -> int:
        """That brought it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """None means any."""

    @property
    def actions(self) -> tuple[str, ...]:
        """None means those of a source without a grant."""

    @property
    def targets(self) -> tuple[str, ...]:
        """None means any."""

    @property
    def schedule(self) -> str:
        """A cron expression or empty."""

    @property
    def expires_ns(self) -> int | None:
        """UTC, exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """All rows of one key, prepared once and used for many signals.

    `halted`: the state that takes all its rows away, empty while it stands.  `more`: the rows that need a target or the time.
    """

    key: KeyId
    subject: str
    grants: tuple[Grant, ...]
    halted: str = ""
    more: tuple[Grant, ...] = field(init=False, repr=False, compare=False)
    # Remembered: what class and action alone decide, else the rows that may let it through. A house judges the same keys again and again.
    _said: dict[tuple[ActionClass, str | None, bool], Reason | tuple[Grant, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "more", tuple(row for row in self.grants if not row.plain))
        object.__setattr__(self, "_said", {})

    def voice(self, action: ActionClass, request: Request | None, within: Within | None, may_wait: bool) -> Reason:
        """What its rows say. `request`: None: only rows that hold for every request let something through."""
        signal_class = request.signal_class if request is not None and request.key == self.key else None
        key = (action, signal_class, may_wait)
        try:
            voice = self._said[key]
        except KeyError:
            if len(self._said) >= _REMEMBERED:
                self._said.clear()
            voice = self._said[key] = self._plain_voice(action, signal_class, may_wait)
        if isinstance(voice, Reason):
            return voice
        if request is not None:
            for row in voice:
                if row.takes_target(request.target) and (not row.timed or row.stands(signal_class, request.now_ns, within)):
                    return _has(self.subject, action)
        elif any(row.allows(action, signal_class=None, target=None, now_ns=None) for row in voice):
            return _has(self.subject, action)
        return _lacks(self.subject, action, self.halted, may_wait and self.may_propose(request, within))

    def plainly_allows(self, action: ActionClass, signal_class: str | None) -> bool:
        """Whether class and action alone let it through, whatever the target and the time. `signal_class`: None for a key behind it."""
        voice = self._plain_voice(action, signal_class, may_wait=False)
        return isinstance(voice, Reason) and voice.verdict is Verdict.ALLOW

    def _plain_voice(self, action: ActionClass, signal_class: str | None, may_wait: bool) -> Reason | tuple[Grant, ...]:
        """The voice, where it does not depend on target and time; else the rows that may let it through."""
        if self.halted:
            return _lacks(self.subject, action, self.halted, may_wait and self.halted in _WAITS)
        plain = [row for row in self.grants if row.plain and row.takes_class(signal_class)]
        if any(action in row.actions for row in plain):
            return _has(self.subject, action)
        if self.more:
            return tuple(row for row in self.more if action in row.actions and row.takes_class(signal_class))
        return _lacks(self.subject, action, "", may_wait and any(ActionClass.PROPOSE in row.actions for row in plain))

    def may_propose(self, request: Request | None, within: Within | None) -> bool:
        """Whether what its rows leave out is held: it has `propose`, whatever the target; of a key behind the signal also afterwards."""
        if self.halted:
            return self.halted in _WAITS
        if request is None or request.key != self.key:
            return any(ActionClass.PROPOSE in row.actions for row in self.grants)
        return any(ActionClass.PROPOSE in row.actions and row.stands(request.signal_class, request.now_ns, within) for row in self.grants)


UNKNOWN_RIGHTS: Final = Rights(key=UNKNOWN, subject="unknown", grants=(Grant(actions=SOURCE_ROW),))
"""Of a predecessor that did not pass the house (DESIGN 8): metadata, read, propose."""


def rights_of(known: KnownKey, grants: Iterable[SignedRow] = (), *, house: bool = False) -> Rights:
    """The rows of a key the house knows: the one it was introduced with, and its standing grants.

    Args: house: it is the house's own signing key: its findings narrow nothing, what they are about is behind the signal too.
    """
    subject = "the house" if house else f"#{known.number}"
    halted = "" if known.state == "standing" else known.state
    if house:
        return Rights(key=known.key_id, subject=subject, grants=(Grant(actions=frozenset(ActionClass)),), halted=halted)
    first = Grant(
        entry=known.introduced,
        classes=known.classes,
        actions=_granted(known.actions, source=known.kind == "source"),
        targets=known.targets,
        schedule=known.schedule,
        expires_ns=known.expires_ns,
    )
    rows = [
        Grant(
            entry=row.entry,
            classes=row.classes,
            actions=_granted(row.actions, source=True),
            targets=row.targets,
            schedule=row.schedule,
            expires_ns=row.expires_ns,
        )
        for row in grants
    ]
    return Rights(key=known.key_id, subject=subject, grants=(first, *rows), halted=halted)


def _granted(words: Iterable[str], *, source: bool) -> Actions:
    actions = frozenset(ActionClass(word) for word in words)
    return SOURCE_ROW if source and not actions else actions


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


def plainly_allowed(cap: PairType, signer: Rights, behind: Iterable[Rights], action: ActionClass, signal_class: str) -> bool:
    """Whether `judge` allows every signal of this class, action and provenance that no layer objects to: the answer for most, and one that
    can be kept. False means: ask `judge`. Never for `admin`. The tests hold it against `judge`."""
    return (
        action is not ActionClass.ADMIN
        and action in CAP[cap]
        and signer.plainly_allows(action, signal_class)
        and all(each.plainly_allows(action, None) for each in behind)
    )


def judge(
    cap: PairType,
    rows: Iterable[Row | Rights],
    action: ActionClass,
    *,
    human_signed: bool = False,
    failed: tuple[str, str] | None = None,
    low_confidence: bool = False,
    reduced_to: Actions = REDUCED,
    request: Request | None = None,
    scopes: Iterable[Scope] = (),
    within: Within | None = None,
) -> Judgement:
    """May this be done? The least of the cap, every key's rows and the confidence, with all reasons.

    Args: cap: the type of the pair that carried the signal as it is now (after a downgrade), INPUT for local sources.
        rows: of every key in the provenance, the signer's among them; without a row nothing is allowed.
        human_signed: a human key with admin signed exactly this (its row is among `rows`).
        failed: a binary layer that said no, and its word; low_confidence: the probabilistic layer's.
        reduced_to: the actions that stay open with low confidence (policy).
        request: what is asked; without it rows with refinements let nothing through.  within: of facts/schedule.py.
        scopes: standing ones of the signer; the first that covers the request and suffices is used, where one is needed.
    Raises: nothing.
    """
    voices = tuple(rows)
    found = _judge(cap, voices, action, human_signed, failed, low_confidence, reduced_to, request, None, within)
    if found.verdict is Verdict.ALLOW or request is None:
        return found
    for scope in scopes:
        if covers(scope, request):
            lifted = _judge(cap, voices, action, human_signed, failed, low_confidence, reduced_to, request, scope, within)
            if lifted.verdict is Verdict.ALLOW:
                return lifted
    return found


def _judge(
    cap: PairType,
    rows: tuple[Row | Rights, ...],
    action: ActionClass,
    human_signed: bool,
    failed: tuple[str, str] | None,
    low_confidence: bool,
    reduced_to: Actions,
    request: Request | None,
    scope: Scope | None,
    within: Within | None,
) -> Judgement:
    may_wait = ActionClass.PROPOSE in CAP[cap]
    reasons = [_CAPS[cap, action]]
    doubted = low_confidence and action not in reduced_to
    for row in rows:
        if isinstance(row, Rights):
            voice = row.voice(action, request, within, may_wait)
            if scope is not None and voice.verdict is not Verdict.ALLOW and not row.halted and scope.lifts(row.key):
                voice = _lifted(row.subject, action, scope.entry)
            reasons.append(voice)
            if doubted:
                reasons.append(_doubt(row.subject, action, may_wait and row.may_propose(request, within)))
        else:
            waits = may_wait and ActionClass.PROPOSE in row.actions
            reasons.append(_has(row.subject, action) if action in row.actions else _lacks(row.subject, action, "", waits))
            if doubted:
                reasons.append(_doubt(row.subject, action, waits))
    if not rows:
        reasons.append(Reason(source=Source.KEY, subject="-", verdict=Verdict.REFUSE, why="no key stands behind it"))
    if action is ActionClass.ADMIN and not human_signed:
        verdict = Verdict.HOLD if may_wait else Verdict.REFUSE
        reasons.append(Reason(source=Source.HUMAN, subject="-", verdict=verdict, why="admin needs a human's signature"))
    if failed is not None:
        reasons.append(Reason(source=Source.LAYER, subject=failed[0], verdict=Verdict.REFUSE, why=failed[1]))
    return least(reasons, reduced=low_confidence, scope=None if scope is None else scope.scope)


def check_allowed(judgement: Judgement) -> None:
    """For places that cannot hold. Raises: Refused unless the verdict is allow; the message gives nothing of the request away."""
    if judgement.verdict is not Verdict.ALLOW:
        why = judgement.deciding[0].why
        raise Refused(f"not allowed: {why}", "`tally status` shows what this pair may do; an ADMIN can change it.")


# The voices. They are values and repeat: a house judges the same keys again and again.


def _cap(cap: PairType, action: ActionClass) -> Reason:
    allowed = action in CAP[cap]
    why = f"{cap.value} includes {action.value}" if allowed else f"{cap.value} does not include {action.value}"
    return Reason(source=Source.CAP, subject=cap.value, verdict=Verdict.ALLOW if allowed else Verdict.REFUSE, why=why)


_CAPS: Final = {(cap, action): _cap(cap, action) for cap in PairType for action in ActionClass}


@lru_cache(_CACHED)
def _has(subject: str, action: ActionClass) -> Reason:
    return Reason(source=Source.KEY, subject=subject, verdict=Verdict.ALLOW, why=f"the key has {action.value}")


@lru_cache(_CACHED)
def _lacks(subject: str, action: ActionClass, halted: str, waits: bool) -> Reason:
    """A refusal becomes a hold only where cap and key include `propose`."""
    why = f"the key is {halted}" if halted else f"the key does not have {action.value}"
    return Reason(source=Source.KEY, subject=subject, verdict=Verdict.HOLD if waits else Verdict.REFUSE, why=why)


@lru_cache(_CACHED)
def _lifted(subject: str, action: ActionClass, entry: int) -> Reason:
    why = f"approved in advance by entry {entry}; the key itself does not have {action.value}"
    return Reason(source=Source.SCOPE, subject=subject, verdict=Verdict.ALLOW, why=why)


@lru_cache(_CACHED)
def _doubt(subject: str, action: ActionClass, waits: bool) -> Reason:
    why = f"confidence is low: {action.value} waits for a human"
    return Reason(source=Source.CONFIDENCE, subject=subject, verdict=Verdict.HOLD if waits else Verdict.REFUSE, why=why)
