"""Telling a story in plain words (docs/explain.md): a short account, then each step, the newest first.

    tell(story, known) -> lines

What the ledger's signed bytes do not hold comes in as `Known`: which number and label a key has, what became of it, what openings
say while they live, what the layers say today. Names and targets come from other machines: whoever prints a line makes it printable, and a
name that is no plain word stands in quotes, so that it cannot pass for a sentence of ours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from tallystick.ledger.event import Event, Kind
from tallystick.ledger.story import Beside, How, Link, Signature, Step, Story
from tallystick.ledger.wording import AS_IS, PHRASES, layer_sentence, quoted, utc, words_of

MAX_TOLD: Final = 12  # steps in the short account, besides those with something notable
MAX_NOTABLE: Final = 50
MAX_NAMED: Final = 3  # causes in one sentence
MAX_ENTRIES: Final = 8  # that a rule rests on, in one line
_WHY: Final[Mapping[str, str]] = {
    "rights": "the keys behind it may not do this",
    "layer": "a layer of the gate said no",
    "confidence": "confidence was low",
    "unknown-predecessor": "something unknown stands behind it",
    "limits": "it came too fast, or too much stands behind it",
}
_ENDS: Final[Mapping[str, str]] = {
    "released": "it was released",
    "expired": "nobody decided in time",
    "edited": "it was replaced by an edited one",
    "changed": "what it was about had changed",
    "void": "it became void",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happened to a key after it came in: revoked, suspended, resumed, forked, rotated, replaced; or a grant of its."""

    entry: int
    time_ns: int
    what: str
    how: str = ""  # retired, compromised
    since: int | None = None
    reason: str = ""
    by: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A key as people know it. `introduced`: the entry; `by`: the key that signed it in; `state`: as it is now."""

    number: int | None
    label: str
    kind: str
    state: str
    introduced: int | None = None
    by: bytes | None = None
    fates: tuple[Fate, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """What a signal's opening says. `state`: kept, erased (by the entry `erased`), wrong (not what was signed), unread (too many), none."""

    state: str = "none"
    target: str = ""
    observations: tuple[str, ...] = ()
    place: str = ""
    erased: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactTold:
    """A fact that a rule named. `withdrawn`: the entry that took it back."""

    entry: int
    words: str
    withdrawn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """What a layer says today."""

    layer: str
    outcome: str
    rule: str = ""
    facts: tuple[int, ...] = ()
    why: str = ""
    confidence_ppm: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The layers that the plan in force asked about a signal. `entry`: of that plan."""

    entry: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides the story. `now`: by entry; an entry that is missing was not judged anew. `plans`: by entry of the signal."""

    persons: Mapping[bytes, Person] = field(default_factory=dict)
    clear: Mapping[int, Clear] = field(default_factory=dict)
    facts: Mapping[int, FactTold] = field(default_factory=dict)
    now: Mapping[int, tuple[Opinion, ...]] = field(default_factory=dict)
    plans: Mapping[int, Planned] = field(default_factory=dict)


def tell(story: Story, known: Known) -> list[str]:
    """The whole story as lines of text."""
    teller = _Teller(story, known)
    return [" ".join(dict.fromkeys(teller.account())), "", *teller.steps(), *teller.end()]


class _Teller:
    """One telling."""

    def __init__(self, story: Story, known: Known) -> None:
        self.story = story
        self.known = known
        self.by_entry = {step.entry: step for step in story.steps}
        self.links: dict[int, list[Link]] = {}
        for link in story.links:
            self.links.setdefault(link.later, []).append(link)

    # --- The short account -----------------------------------------------------------------------------------------------

    def account(self) -> Iterator[str]:
        """Sentences: what happened, because of what, who signed it, what the layers noted, what became of the keys."""
        first = self.story.steps[0]
        yield self._because(first)
        yield from self._decided(first)
        told, notable = 0, 0
        for step in self.story.steps:
            remarkable = bool(step.findings) or step.signature not in (Signature.HOLDS, Signature.UNCHECKED, Signature.NONE)
            if told >= MAX_TOLD and not (remarkable and notable < MAX_NOTABLE):
                continue
            told += 1
            notable += remarkable
            if step.said is not None:
                yield f"The {self._noun(step)} was signed by {self.key(step.said.key)}."
                if step.signature in (Signature.FAILS, Signature.NO_KEY):
                    yield f"{_signature(step.signature).capitalize()}."
            for finding in step.findings:
                yield self._finding(finding.event) + "."
        if len(self.story.steps) > told:
            yield f"{_count(len(self.story.steps) - told, 'more signal')} behind it: see below."
        missing = [link for link in self.story.links if link.earlier is None]
        if missing:
            nouns = dict.fromkeys(self._noun(self.by_entry[link.later]) for link in missing[:MAX_NAMED])
            yield f"Behind the {' and the '.join(nouns)} stands what this ledger does not hold."
        yield from self._fates()

    def _because(self, step: Step) -> str:
        causes: list[str] = []
        for link in self.links.get(step.entry, ()):
            earlier = self.by_entry.get(link.earlier) if link.earlier is not None else None
            if earlier is not None:
                causes.append(("because " if link.how is How.SIGNED else "perhaps because ") + self._deed(earlier))
        head = f"The {self._noun(step)}{self._of(step)} {self._ended(step)}"
        if not causes:
            who = self._who(step)
            return f"{head}; {who} asked for it and named no cause." if step.said is not None else f"{head}."
        more = f", and {_count(len(causes) - MAX_NAMED, 'more signal')}" if len(causes) > MAX_NAMED else ""
        return f"{head} {', and '.join(causes[:MAX_NAMED])}{more}."

    def _deed(self, step: Step) -> str:
        """`skill #47 classified /attic/old as stale`."""
        _, did = words_of(step.said, step.event)
        clear = self.known.clear.get(step.entry, Clear())
        target = self._target(clear) or "something"
        seen = f" as {', '.join(map(quoted, clear.observations[:MAX_NAMED]))}" if clear.observations else ""
        return f"{self._who(step)} {did} {target}{seen}"

    def _who(self, step: Step) -> str:
        if step.said is None:
            return "the house"
        person = self.known.persons.get(step.said.key)
        number = f"#{person.number}" if person is not None and person.number is not None else step.said.key.hex()[:12]
        return f"{step.said.signal_class.partition('/')[0]} {number}"

    def _noun(self, step: Step) -> str:
        return words_of(step.said, step.event)[0]

    def _target(self, clear: Clear) -> str:
        if not clear.target:
            return ""
        return clear.target if AS_IS.fullmatch(clear.target) else quoted(clear.target, 200)

    def _of(self, step: Step) -> str:
        clear = self.known.clear.get(step.entry, Clear())
        target = self._target(clear)
        if target:
            return f" of {target}"
        return " (what it was about was erased)" if clear.state == "erased" else ""

    def _ended(self, step: Step) -> str:
        """What became of it, as a verb: happened, failed, was refused, waits for a human."""
        kinds = [each.event.kind for each in step.effects]
        if Kind.EFFECT_DONE in kinds:
            return "happened"
        if Kind.EFFECT_FAILED in kinds:
            return "failed"
        if Kind.EFFECT_UNKNOWN in kinds:
            return "was begun, and nobody knows how it ended,"
        if Kind.EFFECT_BEGUN in kinds:
            return "was begun"
        if step.event.kind is not Kind.SIGNAL:
            return "was recorded"
        verdict = step.event.text("verdict")
        if verdict != "hold":
            return {"allow": "was allowed", "refuse": "was refused"}.get(verdict, "was judged")
        decided = {each.event.kind: each.event for each in step.decisions}
        if Kind.PROPOSAL_DENIED in decided:
            return "was denied"
        if Kind.PROPOSAL_ENDED in decided:
            return "was held and not done: " + _ENDS.get(decided[Kind.PROPOSAL_ENDED].text("reason"), "it ended") + ","
        return "was approved" if Kind.APPROVAL in decided else "waits for a human"

    def _decided(self, step: Step) -> Iterator[str]:
        for each in step.decisions:
            if each.event.kind is Kind.APPROVAL:
                yield f"It was held for a human and approved by {self._signer(each)}."
            elif each.event.kind is Kind.PROPOSAL_DENIED:
                yield f"It was held for a human and denied by {self._signer(each)}."

    def _fates(self) -> Iterator[str]:
        for key_id in self._keys():
            person = self.known.persons.get(key_id)
            for fate in person.fates if person is not None else ():
                if fate.what in ("revoked", "suspended", "forked", "replaced"):
                    yield f"{self.key(key_id, label=False).capitalize()} was later {fate.what}."

    def _keys(self) -> list[bytes]:
        """Whose signals the story has, the oldest last."""
        return list(dict.fromkeys(step.said.key for step in self.story.steps if step.said is not None))

    # --- Words -----------------------------------------------------------------------------------------------------------

    def key(self, key_id: bytes, *, label: bool = True) -> str:
        """`key #12 (camera-feed)`."""
        person = self.known.persons.get(key_id)
        if person is None or person.number is None:
            return f"key {key_id.hex()[:12]}, which this house does not know"
        return f"key #{person.number}" + (f" ({quoted(person.label)})" if label and person.label else "")

    def _signer(self, each: Beside) -> str:
        key = each.event.blob("key")
        return self.key(key) if key else "the house"

    def _finding(self, event: Event) -> str:
        return layer_sentence(event.text("layer"), event.text("outcome"), self._noticed(event)) + self._rests(event)

    def _noticed(self, event: Event) -> str:
        rule = event.text("rule")
        if rule:
            return PHRASES.get(rule, rule.replace("-", " "))
        matches = event.get("matches")
        bad = [f"{row[0]} mismatch" for row in matches if row[1] == "mismatch"] if isinstance(matches, tuple) else []
        if bad:
            return ", ".join(PHRASES.get(each.removesuffix(" mismatch"), each) for each in bad)
        ppm = event.get("confidence_ppm")
        return f"confidence {ppm / 10_000:.0f} %" if isinstance(ppm, int) else ""

    def _rests(self, event: Event) -> str:
        facts = event.get("facts")
        return _entries(facts) if isinstance(facts, tuple) else ""

    # --- Step by step ----------------------------------------------------------------------------------------------------

    def steps(self) -> Iterator[str]:
        """Each signal with everything about it, the newest first."""
        for step in sorted(self.story.steps, key=lambda each: -each.entry):
            yield from self._step(step)
            yield ""

    def _step(self, step: Step) -> Iterator[str]:
        said, event = step.said, step.event
        what = f"{said.verb} ({said.action})" if said is not None else self._noun(step)
        yield f"Entry {step.entry}, {utc(event.time_ns)}: {what}{self._of(step)}"
        if said is not None:
            yield f"  signed by {self.key(said.key)}, class {said.signal_class}; {_signature(step.signature)}"
            yield from self._person(said.key)
        clear = self.known.clear.get(step.entry, Clear())
        if clear.observations:
            yield f"  it says: {', '.join(map(quoted, clear.observations))}"
        if clear.place:
            yield f"  made at {clear.place}"
        if clear.state == "wrong":
            yield "  ITS OPENING IS NOT WHAT WAS SIGNED: nothing of it is told"
        if clear.state == "erased":
            yield "  its opening was erased" + (f" (entry {clear.erased})" if clear.erased is not None else "") + "; the proofs still hold"
        if event.kind is Kind.SIGNAL:
            yield f"  then: {self._verdict(event)}"
        plan = self.known.plans.get(step.entry)
        if plan is not None:
            quiet = "" if step.findings else ", and had nothing to say"
            yield f"  then: the layers {', '.join(plan.layers)} were asked (the plan of entry {plan.entry}){quiet}"
        for finding in step.findings:
            yield f"  then: {self._finding(finding.event)} (entry {finding.entry})"
        yield from self._named_facts(step)
        for each in sorted((*step.proposals, *step.decisions, *step.effects), key=lambda each: each.entry):
            yield self._effect(each) if each in step.effects else self._decision(each)
        for opinion in self.known.now.get(step.entry, ()):
            yield f"  now: {self._opinion(opinion)}"
        if step.context:
            yield f"  its context: {step.context}"
        for link in self.links.get(step.entry, ()):
            yield f"  {self._link(link)}"

    def _person(self, key_id: bytes) -> Iterator[str]:
        person = self.known.persons.get(key_id)
        if person is None or person.introduced is None:
            return
        by = f" by {self.key(person.by)}" if person.by is not None else ""
        yield f"  the key: {person.kind}, introduced{by} at entry {person.introduced}; now {person.state}"
        for fate in person.fates:
            detail = [fate.how, f"since entry {fate.since}" if fate.since is not None else "", fate.reason]
            by = f" by {self.key(fate.by)}" if fate.by is not None else ""
            inside = ", ".join(each for each in detail if each)
            yield f"  later: the key was {fate.what}{by} at entry {fate.entry}, {utc(fate.time_ns)}" + (f" ({inside})" if inside else "")

    def _verdict(self, event: Event) -> str:
        verdict = {"allow": "allowed", "hold": "held", "refuse": "refused"}.get(event.text("verdict"), "judged")
        parts = [verdict + (" with low confidence" if event.get("reduced") else "")]
        if event.get("reason"):
            parts.append(_WHY.get(event.text("reason"), event.text("reason")))
        if event.get("rule"):
            parts.append(f"rule {event.text('rule')}")
        if event.get("scope"):
            parts.append(f"within the scope {event.blob('scope').hex()[:12]}")
        ppm = event.get("confidence_ppm")
        if isinstance(ppm, int):
            parts.append(f"confidence {ppm / 10_000:.0f} %")
        return "; ".join(parts) + self._rests(event)

    def _named_facts(self, step: Step) -> Iterator[str]:
        named: dict[int, None] = {}
        for event in (step.event, *(each.event for each in step.findings)):
            facts = event.get("facts")
            named |= dict.fromkeys(facts if isinstance(facts, tuple) else ())
        for opinion in self.known.now.get(step.entry, ()):
            named |= dict.fromkeys(opinion.facts)
        for entry in sorted(named):
            fact = self.known.facts.get(entry)
            if fact is not None:
                gone = f"; later withdrawn at entry {fact.withdrawn}" if fact.withdrawn is not None else ""
                yield f"  fact, entry {entry}: {fact.words}{gone}"

    def _decision(self, each: Beside) -> str:
        event, at = each.event, f"entry {each.entry}, {utc(each.event.time_ns)}"
        wrong = f"; NOT PROVEN: {each.note}" if each.note else ""
        words = f", saying {quoted(each.words)}" if each.words else ""
        match event.kind:
            case Kind.PROPOSAL:
                until = f", until {utc(event.number('expires'))}" if event.get("expires") else ""
                again = "again " if event.get("replaces") else ""
                return f"  held {again}as a proposal: risk {event.text('risk') or 'not said'}{until} ({at}){wrong}"
            case Kind.APPROVAL:
                scope = (
                    " with a scope"
                    if event.get("scope")
                    else ", once"
                    if event.number("uses", 1) == 1
                    else f", {event.number('uses')} times"
                )
                reason = f", reason {event.text('reason')}" if event.get("reason") else ""
                return f"  approved by {self._signer(each)}{scope}{reason}{words} ({at}); {_signature(each.signature)}{wrong}"
            case Kind.PROPOSAL_DENIED:
                reason = f", reason {event.text('reason')}" if event.get("reason") else ""
                return f"  denied by {self._signer(each)}{reason}{words} ({at})"
            case _:
                by = f", by {self._signer(each)}{words}" if event.get("key") else ""
                return f"  the proposal ended: {_ENDS.get(event.text('reason'), event.text('reason'))}{by} ({at})"

    def _effect(self, each: Beside) -> str:
        event, at = each.event, f"entry {each.entry}, {utc(each.event.time_ns)}"
        match event.kind:
            case Kind.EFFECT_BEGUN:
                return f"  effect {event.text('effect')} begun ({at})"
            case Kind.EFFECT_DONE:
                return f"  effect done ({at})"
            case Kind.EFFECT_FAILED:
                return f"  effect failed: {event.text('reason')} ({at})"
            case _:
                return f"  how the effect ended is unknown ({at})"

    def _opinion(self, opinion: Opinion) -> str:
        what = PHRASES.get(opinion.rule, opinion.rule.replace("-", " ")) or opinion.why
        if not what and opinion.confidence_ppm is not None:
            what = f"confidence {opinion.confidence_ppm / 10_000:.0f} %"
        return layer_sentence(opinion.layer, opinion.outcome, what) + _entries(opinion.facts)

    def _link(self, link: Link) -> str:
        named = link.reference.hex()[:16] if isinstance(link.reference, bytes) else f"{link.reference[0].hex()[:8]}/{link.reference[1]}"
        where = f"entry {link.earlier}" if link.earlier is not None else f"the unknown signal {named}"
        if link.proven:
            return f"because of {where}: proven ({link.why})"
        word = "because of" if link.how is How.SIGNED else "perhaps because of"
        return f"{word} {where}: {'not proven' if link.how is How.SIGNED else 'inferred'} ({link.why})"

    def end(self) -> Iterator[str]:
        """How much of it is proven."""
        proven = sum(link.proven for link in self.story.links)
        inferred = sum(not link.proven and link.how is not How.SIGNED for link in self.story.links)
        open_ = len(self.story.links) - proven - inferred
        yield f"{_count(len(self.story.steps), 'signal')}; links: {proven} proven, {inferred} inferred, {open_} not proven."
        if self.story.left_out:
            yield f"{self.story.left_out} more predecessors were left out: the story is too long."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _entries(facts: tuple[int, ...]) -> str:
    """` (facts: entries 6, 8)`: what a rule rests on."""
    if not facts:
        return ""
    named = ", ".join(map(str, facts[:MAX_ENTRIES])) + (f" and {len(facts) - MAX_ENTRIES} more" if len(facts) > MAX_ENTRIES else "")
    return f" (fact: entry {named})" if len(facts) == 1 else f" (facts: entries {named})"


def _signature(signature: Signature) -> str:
    match signature:
        case Signature.HOLDS:
            return "the signature holds"
        case Signature.FAILS:
            return "THE SIGNATURE DOES NOT HOLD"
        case Signature.NO_KEY:
            return "the key is not known here, so its signature proves nothing"
        case _:
            return "the signature was not checked"
