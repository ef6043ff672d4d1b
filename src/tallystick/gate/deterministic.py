"""Layer 3, deterministic: can this identity be ruled out? (docs/spec/facts.md; DESIGN 8)

It asks for the key's slice of the fact store around the moment the signal was issued, and weighs it with the seven rules of the house and
the owner's rule file. It rejects with the rule and the entries of the facts that did it. Rules never allow: a pass says that nothing known
speaks against the signal.
"""

from dataclasses import dataclass, field
from typing import Final

from tallystick.facts.claim import LIVENESS, PREDICATES, Claim, View, look
from tallystick.facts.rule import IMPOSSIBLE_TRANSIT, STANDING, TWO_PLACES, Effect, Objection, object_to
from tallystick.facts.rulefile import NO_RULES, RuleFile
from tallystick.gate.question import Candidate, Evidence, Finding, Layer, Outcome, SliceQuestion

NO_STORY: Final = "no places and times within their uncertainty fit together"
_PASS: Final = Finding(layer=Layer.DETERMINISTIC, outcome=Outcome.PASS)
_UNAVAILABLE: Final = Finding(layer=Layer.DETERMINISTIC, outcome=Outcome.UNAVAILABLE, why="the fact store did not answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deterministic:
    """The layer, as a `GateLayer`. `rules`: the owner's."""

    rules: RuleFile = NO_RULES
    _predicates: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_predicates", tuple(sorted({*PREDICATES, *self.rules.predicates})))

    @property
    def layer(self) -> Layer:
        """Which one it is."""
        return Layer.DETERMINISTIC

    def ask(self, candidate: Candidate) -> SliceQuestion:
        """The slice about the candidate's key around the moment it was issued."""
        return SliceQuestion(around_ns=candidate.signal.claims.issued_at_ns, predicates=self._predicates)

    def weigh(self, candidate: Candidate, evidence: Evidence | None) -> Finding:
        """Pass, reject with rule and facts, or low confidence where a rule of the owner holds it. No slice: unavailable."""
        if evidence is None or evidence.slice is None:
            return _UNAVAILABLE
        if evidence.slice.key.key_id != candidate.signal.kid:
            raise AssertionError("the slice is about another key")
        found = self.objections(look(claim_of(candidate), evidence.slice), evidence.conflict)
        return _finding(found) if found else _PASS

    def silent(self, evidence: Evidence) -> bool:
        """Without rules of the owner, a schedule, an end or a failed liveness there is nothing to object but to a place."""
        known = evidence.slice
        return (
            known is not None
            and not self.rules.rules
            and not evidence.conflict
            and known.key.state == STANDING
            and known.key.expires_ns is None
            and not known.key.schedule
            and not known.key.also
            and not any(fact.predicate == LIVENESS for fact in known.facts)
        )

    def objections(self, view: View, conflict: tuple[int, ...] = ()) -> tuple[Objection, ...]:
        """Everything that speaks against it: the rules of the house, a conflict that a search found, the owner's rules, what holds last."""
        found = object_to(view)
        if conflict and not any(each.rule in (TWO_PLACES, IMPOSSIBLE_TRANSIT) for each in found):
            found += (Objection(rule=IMPOSSIBLE_TRANSIT, facts=conflict, why=NO_STORY),)
        return found + self.rules.object_to(view)


def claim_of(candidate: Candidate) -> Claim:
    """The candidate as rules see it."""
    claims, opened = candidate.signal.claims, candidate.opening.target
    target = opened.value if opened is not None else None
    return Claim(
        signal_class=claims.signal_class,
        action=claims.action,
        verb=claims.verb,
        target=f"{target[0]!s} {target[1]!s}" if isinstance(target, list) else "",
        place=candidate.place,
        issued_at_ns=claims.issued_at_ns,
        now_ns=candidate.now_ns,
        notes=candidate.notes,
        reference=candidate.signal.reference,
    )


def _finding(found: tuple[Objection, ...]) -> Finding:
    first = found[0]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return Finding(
        layer=Layer.DETERMINISTIC,
        outcome=Outcome.REJECT if first.effect is Effect.REFUSE else Outcome.LOW,
        rule=first.rule,
        facts=first.facts,
        why=first.why + more,
    )
