"""Judging anew: what the layers say today of a signal that is in the ledger, from the database alone (docs/explain.md).

    rejudge = Rejudging(machine)
    findings = rejudge(entry)        # one for each layer that is built, whatever the plan named then

The signal is looked at as of the moment it was recorded, with the keys and facts that are known today: a key that was retired since did
sign it, one that is compromised from an earlier entry on is not believed any more. Signature and number stand in the ledger; nothing is
recorded, and no right is looked at.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from tallystick.errors import Refused, TallyError, Unproven
from tallystick.facts.fact import KnownKey, Place, read_place
from tallystick.gate.crypto import SOURCE, may_speak_as
from tallystick.gate.deterministic import Deterministic
from tallystick.gate.opening import Opening, open_signal
from tallystick.gate.question import Candidate, Finding, GateLayer, Layer, Outcome
from tallystick.gate.signal import ProvenSignal, parse_signal
from tallystick.ledger.event import Event
from tallystick.node.gatehouse import read_rules_file
from tallystick.node.gatememory import GateMemory, Known
from tallystick.node.machine import Machine

STANDING: Final = "standing"
COMPROMISED: Final = "compromised"
SUSPENDED: Final = "suspended"


class Rejudging:
    """What all layers say now. For one thread; it reads the owner's rules once, and follows the ledger."""

    def __init__(self, machine: Machine, layers: Mapping[Layer, GateLayer] | None = None) -> None:
        """`layers`: those above crypto; None: what a start of the house would build. Rules that nobody can read judge nothing."""
        self._store = machine.store
        self._memory = GateMemory(machine.store.gate, machine.house_id)
        self._broken = ""
        if layers is None:
            try:
                layers = {Layer.DETERMINISTIC: Deterministic(rules=read_rules_file(machine.home.path))}
            except TallyError as error:
                layers, self._broken = {}, f"the owner's rules: {error.message}"
        self._layers = [layers[layer] for layer in Layer if layer in layers]

    def __call__(self, entry: int) -> tuple[Finding, ...]:
        """The findings, in the order of the layers. Raises: Refused: the entry holds no signal.  Malformed, Unavailable."""
        self._memory.refresh()
        row = self._store.entry(entry)
        event = None if row is None else row.event
        if event is None or event.get("signal") is None:
            raise Refused(f"entry {entry} holds no signal")
        unproven = parse_signal(event.blob("signal"))
        key = self._memory.key(unproven.kid)
        if key is None:
            return (_rejected("unknown-key", "nobody has introduced its key"),)
        try:
            proven = unproven.prove(key.public)
        except Unproven:
            return (_rejected("signature", "its signature does not hold"),)
        crypto = _crypto(key, proven, event, entry)
        opening, kept = self._opening(entry, proven)
        now = self._at_its_time(key.known, entry)
        candidate = Candidate(signal=proven, opening=opening, key=now, place=_place(opening), now_ns=event.time_ns)
        findings = (crypto, *(self._weigh(layer, candidate, kept=kept) for layer in self._layers))
        if self._broken:
            findings += (Finding(layer=Layer.DETERMINISTIC, outcome=Outcome.UNAVAILABLE, why=self._broken),)
        return findings

    def _at_its_time(self, key: KnownKey, entry: int) -> KnownKey:
        """The key as it was when it signed, unless what became known since reaches back."""
        if key.state == STANDING or key.state == SUSPENDED or _reaches(key, entry):
            return key
        return replace(key, state=STANDING)

    def _weigh(self, layer: GateLayer, candidate: Candidate, *, kept: bool) -> Finding:
        question = layer.ask(candidate)
        evidence = None if question is None else self._memory.evidence(candidate.signal.kid, question)
        if evidence is not None and evidence.slice is not None:
            seen = replace(evidence.slice.key, state=candidate.key.state)
            evidence = replace(evidence, slice=replace(evidence.slice, key=seen))
        finding = layer.weigh(candidate, evidence)
        if finding.outcome is Outcome.PASS and not kept:
            return replace(finding, outcome=Outcome.UNAVAILABLE, why="its opening was erased")
        return finding

    def _opening(self, entry: int, signal: ProvenSignal) -> tuple[Opening, bool]:
        """The opening, and whether all that the layers need of it is there."""
        said = signal.claims.commitments
        if (said.target, said.place, said.observations) == (None, None, ()):
            return Opening(), True
        try:
            raw = self._store.opening(entry)
            return (Opening(), False) if raw is None else (open_signal(signal.claims, raw)[0], True)
        except TallyError:
            return Opening(), False


def _crypto(key: Known, signal: ProvenSignal, event: Event, entry: int) -> Finding:
    """Layer 1 today: the signature holds; does the key, as it is known now?"""
    known = key.known
    if known.state == SUSPENDED:
        return _rejected("suspended", "its key is suspended until a human lets it go on", known.changed)
    if _reaches(known, entry):
        return _rejected("compromised", f"its key is compromised since entry {known.since}", known.changed)
    if known.expires_ns is not None and known.expires_ns <= event.time_ns:
        return _rejected("expired", "its key had expired")
    if known.kind == SOURCE and not may_speak_as(known.kind, key.classes, signal.claims.signal_class):
        return _rejected("class", "its key may not speak as this class")
    later = "" if known.state == STANDING else f"its key was {known.state} later, at entry {known.changed}"
    return Finding(layer=Layer.CRYPTO, outcome=Outcome.PASS, why=later)


def _reaches(key: KnownKey, entry: int) -> bool:
    """Whether a compromise reaches back to this entry."""
    return key.state == COMPROMISED and (key.since is None or key.since <= entry)


def _rejected(rule: str, why: str, *facts: int) -> Finding:
    return Finding(layer=Layer.CRYPTO, outcome=Outcome.REJECT, rule=rule, facts=facts, why=why)


def _place(opening: Opening) -> Place | None:
    try:
        return None if opening.place is None else read_place(opening.place.value)
    except TallyError:
        return None
