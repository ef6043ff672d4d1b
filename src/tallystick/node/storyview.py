"""A story as programs read it, made from what was told (node/storyanswers.py has the shape)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tallystick.ledger.event import Event
from tallystick.ledger.said import Reference
from tallystick.ledger.story import Beside, Link, Step
from tallystick.ledger.telling import Clear, FactTold, Opinion, Person
from tallystick.node.explaining import Told
from tallystick.node.storyanswers import After, Explained, Layered, StoryFact, StoryFate, StoryKey, StoryLink, StoryStep
from tallystick.node.view import KIND_WORDS
from tallystick.storage.rows import CheckpointRow
from tallystick.storage.sqlite import Store
from tallystick.tlog.proof import inclusion_proof
from tallystick.tlog.tree import leaf_hash

_HASHES = 65_536  # subtrees that proofs of one story share


@dataclass(frozen=True, slots=True)
class _Proofs:
    """Where the proofs of all steps lead."""

    row: CheckpointRow | None
    subtree: Callable[[int, int], bytes]

    def of(self, index: int) -> list[str]:
        if self.row is None or index >= self.row.size:
            return []
        return [each.hex() for each in inclusion_proof(index, self.row.size, self.subtree)]


def explained(store: Store, told: Told) -> Explained:
    """A story with its proofs under the newest checkpoint. Raises: Unavailable."""
    story, known = told.story, told.known
    first = story.steps[0]
    if first.said is None:
        raise AssertionError("a story begins with a signal")
    with store.moment():
        row = store.latest_checkpoint()
        proofs = _Proofs(row, lru_cache(_HASHES)(store.subtree))
        steps = [_step(store, step, told, proofs) for step in story.steps]
    return Explained(
        entry=story.entry,
        reference=first.said.reference.hex(),
        text=told.lines,
        steps=steps,
        links=[_link(link) for link in story.links],
        keys=[_key(key_id, person) for key_id, person in sorted(known.persons.items(), key=lambda each: each[1].number or 0)],
        facts=[_fact(fact) for fact in known.facts.values()],
        left_out=story.left_out,
        size=None if row is None else row.size,
        root=None if row is None else row.root.hex(),
        checkpoint=None if row is None else row.note.decode(),
    )


def _step(store: Store, step: Step, told: Told, proofs: _Proofs) -> StoryStep:
    said, event, known = step.said, step.event, told.known
    clear = known.clear.get(step.entry, Clear())
    person = known.persons.get(said.key) if said is not None else None
    plan = known.plans.get(step.entry)
    row = store.entry(step.entry)
    if row is None:
        raise AssertionError("an entry that was told is there")
    return StoryStep(
        entry=step.entry,
        depth=step.depth,
        kind=KIND_WORDS[event.kind],
        time_ns=event.time_ns,
        issued_at_ns=said.issued_at_ns if said is not None else None,
        reference=said.reference.hex() if said is not None else None,
        key=said.key.hex() if said is not None else None,
        number=person.number if person is not None else None,
        label=person.label if person is not None else "",
        signal_class=said.signal_class if said is not None else "",
        action=said.action if said is not None else "",
        verb=said.verb if said is not None else "",
        signature=step.signature.value,
        opening=clear.state,
        erased=clear.erased,
        target=clear.target,
        observations=list(clear.observations),
        place=clear.place,
        verdict=event.text("verdict"),
        reduced=bool(event.get("reduced")),
        reason=event.text("reason"),
        rule=event.text("rule"),
        facts=_numbers(event),
        context=step.context,
        plan=plan.entry if plan is not None else None,
        layers=list(plan.layers) if plan is not None else [],
        then=[_then(each) for each in step.findings],
        now=[_now(each) for each in known.now.get(step.entry, ())],
        judged_now=step.entry in known.now,
        after=[_after(each) for each in _sorted((*step.proposals, *step.decisions, *step.effects))],
        leaf_hash=leaf_hash(row.leaf).hex(),
        proof=proofs.of(step.entry),
    )


def _sorted(beside: Iterable[Beside]) -> list[Beside]:
    return sorted(beside, key=lambda each: each.entry)


def _numbers(event: Event) -> list[int]:
    facts = event.get("facts")
    return list(facts) if isinstance(facts, tuple) else []


def _then(each: Beside) -> Layered:
    event = each.event
    matches: Any = event.get("matches") or ()
    ppm = event.get("confidence_ppm")
    return Layered(
        entry=each.entry,
        layer=event.text("layer"),
        outcome=event.text("outcome"),
        rule=event.text("rule"),
        why="",
        facts=_numbers(event),
        confidence_ppm=ppm if isinstance(ppm, int) else None,
        matches=list(matches),
    )


def _now(opinion: Opinion) -> Layered:
    return Layered(
        entry=None,
        layer=opinion.layer,
        outcome=opinion.outcome,
        rule=opinion.rule,
        why=opinion.why,
        facts=list(opinion.facts),
        confidence_ppm=opinion.confidence_ppm,
        matches=[],
    )


def _after(each: Beside) -> After:
    event = each.event
    uses, expires = event.get("uses"), event.get("expires")
    return After(
        entry=each.entry,
        time_ns=event.time_ns,
        kind=KIND_WORDS[event.kind],
        by=event.blob("key").hex() or None,
        reason=event.text("reason"),
        words=each.words,
        risk=event.text("risk"),
        effect=event.text("effect"),
        uses=uses if isinstance(uses, int) else None,
        expires_ns=expires if isinstance(expires, int) else None,
        scoped=event.get("scope") is not None,
        signature=each.signature.value,
        note=each.note,
    )


def _link(link: Link) -> StoryLink:
    return StoryLink(
        later=link.later,
        earlier=link.earlier,
        reference=reference_text(link.reference),
        how=link.how.value,
        proven=link.proven,
        why=link.why,
    )


def reference_text(reference: Reference) -> str:
    """Hexadecimal, or `ORIGIN/ENTRY`."""
    return reference.hex() if isinstance(reference, bytes) else f"{reference[0].hex()}/{reference[1]}"


def _key(key_id: bytes, person: Person) -> StoryKey:
    return StoryKey(
        key=key_id.hex(),
        number=person.number,
        label=person.label,
        kind=person.kind,
        state=person.state,
        introduced=person.introduced,
        by=person.by.hex() if person.by is not None else None,
        fates=[
            StoryFate(
                entry=fate.entry,
                time_ns=fate.time_ns,
                what=fate.what,
                how=fate.how,
                since=fate.since,
                reason=fate.reason,
                by=fate.by.hex() if fate.by is not None else None,
            )
            for fate in person.fates
        ],
    )


def _fact(fact: FactTold) -> StoryFact:
    return StoryFact(entry=fact.entry, words=fact.words, withdrawn=fact.withdrawn)
