"""The search of the extra `[reason]` as part of what the fact store answers: a conflict among uncertain places and clocks."""

from dataclasses import replace

from tallystick.evidence.reasoning import conflict
from tallystick.facts.claim import look
from tallystick.gate.deterministic import claim_of
from tallystick.gate.question import Candidate, Evidence


def searched(candidate: Candidate, evidence: Evidence) -> Evidence:
    """The evidence with the sightings that no story has together with the candidate. A few milliseconds where there are sightings."""
    if evidence.slice is None or not evidence.slice.sightings or candidate.place is None:
        return evidence
    return replace(evidence, conflict=conflict(look(claim_of(candidate), evidence.slice)))
