"""The one gate: the layers of the plan, one after the other, on a signal that layer 1 believes (DESIGN 8, docs/spec/gate.md).

    walk = judge(layers, candidate)        # a generator: it yields questions and is sent evidence
    question = next(walk)                  # the shell fetches and sends what it found, None where nobody could answer
    ... except StopIteration as stop: seen = stop.value

What it saw goes to rights.matrix.judge, which concludes; the gate by itself allows nothing.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.facts.fact import Fact
from tallystick.gate.plan import Layers
from tallystick.gate.question import Candidate, Evidence, Finding, GateLayer, Layer, Outcome, Question

NOTABLE: Final = frozenset((Outcome.REJECT, Outcome.NOTED, Outcome.LOW, Outcome.UNAVAILABLE))
"""Outcomes that the ledger keeps; a pass or an abstention says nothing that the plan's entry does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the layers of a plan saw. `rejected`: the finding that refused, if one did; `low`: confidence is low."""

    findings: tuple[Finding, ...] = ()
    rejected: Finding | None = None
    low: bool = False

    @property
    def notable(self) -> tuple[Finding, ...]:
        """The findings that are recorded."""
        return tuple(finding for finding in self.findings if finding.outcome in NOTABLE)


CLEAN: Final = Seen()
Judging = Generator[Question, Evidence | None, Seen]


def layers_for(plan: Layers, built: Mapping[Layer, GateLayer]) -> tuple[GateLayer, ...]:
    """The layers above crypto that a plan names, in their order. A layer that is not there is our own mistake: the plan was checked."""
    found = []
    for layer in plan:
        if layer is not Layer.CRYPTO:
            if layer not in built:
                raise AssertionError(f"the plan names the layer {layer}, and there is none")
            found.append(built[layer])
    return tuple(found)


def judge(layers: Sequence[GateLayer], candidate: Candidate) -> Judging:
    """Run the layers. The first that rejects ends it: what is refused needs no further model. Where all pass nothing was seen."""
    findings: list[Finding] = []
    low, passed = False, True
    for layer in layers:
        question = layer.ask(candidate)
        evidence = None if question is None else (yield question)
        finding = layer.weigh(candidate, evidence)
        findings.append(finding)
        outcome = finding.outcome
        if outcome is Outcome.REJECT:
            return Seen(findings=tuple(findings), rejected=finding, low=low)
        if outcome is Outcome.LOW or outcome is Outcome.UNAVAILABLE:
            low = True
        if finding.matches and (notes := _notes(candidate, finding)):
            candidate = candidate._replace(notes=(*candidate.notes, *notes))
        passed = passed and outcome is Outcome.PASS
    return CLEAN if passed else Seen(findings=tuple(findings), low=low)


def _notes(candidate: Candidate, finding: Finding) -> tuple[Fact, ...]:
    """What a sensory layer found not to match becomes a fact for the layers behind it."""
    return tuple(
        Fact(
            entry=0,
            predicate="mismatch",
            subject=candidate.key.key_id,
            value=match.attribute,
            observed_ns=candidate.signal.claims.issued_at_ns,
        )
        for match in finding.matches
        if match.result == "mismatch"
    )
