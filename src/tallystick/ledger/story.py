"""A story: how one signal came about and what came of it, from the entries of a ledger alone (docs/explain.md).

    story = explain(source, entry)            # the chain: who said what, after whom, how it was judged, what came of it
    for link in story.links: link.proven      # the reference stands in bytes that were signed, and the signature holds

A signal names its predecessors in `prev`: SHA-256 of their signatures, or entries. That link is *proven* when the signer's signature
holds now, the predecessor's signature hashes to what was signed, and it stands before its successor. Everything else is *inferred*: the
house says that a signal was delivered to a key before that key spoke (its context), or the same key asked about the same target before.

`explain` asks a `Source` for entries and never trusts what they claim of each other. It ends: each entry is told once, a predecessor
stands before its successor, and depth, breadth and number of steps have limits. What was left out is counted.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.keys.cose import UnprovenSign1
from tallystick.keys.identity import PublicKey
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.said import Reference, Said, approval_flaw, belongs, context_root, read_said
from tallystick.primitives import sha256

MAX_DEPTH: Final = 4_096  # links between the signal that is explained and one behind it
MAX_BREADTH: Final = 4_096  # predecessors of one signal, its context included
MAX_STEPS: Final = 16_384  # signals in one story
MAX_BESIDE: Final = 256  # entries right behind a signal that may belong to it: four layers, a proposal, facts that were noted


class Signature(StrEnum):
    """What became of checking a signature now."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NO_KEY = "by an unknown key"
    UNCHECKED = "not checked"
    NONE = "none"  # the entry carries no signal


class How(StrEnum):
    """How one step is joined to an earlier one."""

    SIGNED = "signed"  # its reference stands in the bytes that the key signed
    CONTEXT = "context"  # the house delivered it to that key before it spoke
    TARGET = "target"  # the same key asked about the same target before


class Link(NamedTuple):
    """From one step to one before it. `earlier`: its entry, None where the ledger does not hold it; `why`: why it is (not) proven."""

    later: int
    earlier: int | None
    reference: Reference
    how: How
    proven: bool
    why: str


class Beside(NamedTuple):
    """An entry that belongs to a step: a finding, its proposal, an approval, an effect. `signature`: of the signal in it; `words`: why,
    as its signer said."""

    entry: int
    event: Event
    signature: Signature
    note: str = ""
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One signal of the story, or an entry that another one names.

    Attributes: depth: links to the signal that is explained.  context: what the house added: how many, and whether their root is the one
        in the entry.  findings, proposals, decisions, effects: what followed, each by entry.
    """

    entry: int
    depth: int
    event: Event
    said: Said | None
    signature: Signature
    context: str = ""
    findings: tuple[Beside, ...] = ()
    notes: tuple[Beside, ...] = ()
    proposals: tuple[Beside, ...] = ()
    decisions: tuple[Beside, ...] = ()
    effects: tuple[Beside, ...] = ()

    @property
    def beside(self) -> tuple[Beside, ...]:
        """Everything that belongs to it, by entry."""
        return tuple(sorted((*self.findings, *self.notes, *self.proposals, *self.decisions, *self.effects), key=lambda each: each.entry))


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The chain behind `entry`, which is the first of `steps`; `left_out`: predecessors beyond the limits."""

    entry: int
    steps: tuple[Step, ...]
    links: tuple[Link, ...]
    left_out: int = 0

    @property
    def entries(self) -> tuple[int, ...]:
        """Every entry that the story rests on, rising."""
        return tuple(sorted({step.entry for step in self.steps} | {each.entry for step in self.steps for each in step.beside}))


class Source(Protocol):
    """Who has the entries. An answer may be wrong: what is called proven is checked here against signed bytes."""

    def event(self, index: int) -> Event | None:
        """The event of an entry."""

    def behind(self, index: int) -> Iterable[tuple[int, Event]]:
        """The entries right behind one, rising, at most 256."""

    def find(self, reference: bytes) -> int | None:
        """The entry with the signal whose signature has this SHA-256."""

    def is_origin(self, origin_hash: bytes) -> bool:
        """Whether this log has, or had, the name with this SHA-256."""

    def public(self, key_id: bytes) -> PublicKey | None:
        """The key of a KeyId, if it was ever introduced."""

    def delivered(self, key_id: bytes, begun: int, last: int) -> Sequence[bytes]:
        """The references delivered to a key behind entry `begun` up to entry `last`, in order of their entries; one more than 4,096
        at most."""

    def outcome(self, entry: int, proposals: Sequence[int], said: Said) -> Iterable[tuple[int, Event]]:
        """What came of a signal: decisions about its proposals and effects, each with what ended it."""

    def before(self, entry: int, said: Said) -> int | None:
        """The last signal before `entry` by the same key about the same target, where that can be told."""


Verify = Callable[[Sequence[tuple[UnprovenSign1, PublicKey]]], Sequence[bool]]
"""Checks many signatures; True for each that holds."""


def verify_all(claims: Sequence[tuple[UnprovenSign1, PublicKey]]) -> list[bool]:
    """One after the other."""
    return [_holds(sign1, public) for sign1, public in claims]


def _holds(sign1: UnprovenSign1, public: PublicKey) -> bool:
    try:
        sign1.verify(public)
    except (Malformed, Unproven):
        return False
    return True


def explain(source: Source, entry: int, *, verify: Verify | None = verify_all, max_steps: int = MAX_STEPS) -> Story:
    """Tell how the signal of an entry came about.

    Args: verify: None: signatures are not checked, and no link is called proven.  max_steps: how many signals are told.
    Raises: Malformed: there is no such entry, or it carries no signal.
    """
    walk = _Walk(source, max_steps)
    walk.run(entry)
    return walk.story(entry, verify)


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A step before its signatures were checked."""

    entry: int
    depth: int
    event: Event
    said: Said | None
    guessed: bool = False  # an inference led here: nothing more is inferred from it
    context: str = ""
    beside: list[tuple[int, Event]] = field(default_factory=list)


@dataclass(slots=True)
class _Walk:
    """Breadth first, the signal that is explained first; each entry once."""

    source: Source
    max_steps: int
    drafts: dict[int, _Draft] = field(default_factory=dict)
    links: list[tuple[int, int | None, Reference, How]] = field(default_factory=list)
    left_out: int = 0

    def run(self, entry: int) -> None:
        if not self._take(entry, 0) or self.drafts[entry].said is None:
            raise Malformed(f"entry {entry} carries no signal")
        waiting = deque([entry])
        while waiting:
            draft = self.drafts[waiting.popleft()]
            for reference, how in self._predecessors(draft):
                found = self._resolve(reference)
                if found is not None and found not in self.drafts and found < draft.entry:
                    if draft.depth >= MAX_DEPTH or len(self.drafts) >= self.max_steps:
                        self.left_out += 1
                        continue
                    if self._take(found, draft.depth + 1, guessed=how is How.TARGET):
                        waiting.append(found)
                    else:
                        found = None
                self.links.append((draft.entry, found, reference, how))

    def _take(self, entry: int, depth: int, *, guessed: bool = False) -> bool:
        event = self.source.event(entry)
        if event is None:
            return False
        try:
            said = read_said(event.blob("signal")) if "signal" in event.fields else None
        except TallyError:
            said = None
        draft = _Draft(entry=entry, depth=depth, event=event, said=said, guessed=guessed)
        if said is not None and event.kind is Kind.SIGNAL:
            draft.beside += self._beside(draft, said)
        self.drafts[entry] = draft
        return True

    def _beside(self, draft: _Draft, said: Said) -> Iterator[tuple[int, Event]]:
        proposals = []
        for index, event in self.source.behind(draft.entry):
            if not belongs(draft.entry, said.reference, event):
                break
            yield index, event
            if event.kind is Kind.PROPOSAL:
                proposals.append(index)
        if draft.event.text("verdict") != "refuse" or proposals:
            yield from self.source.outcome(draft.entry, proposals, said)

    def _resolve(self, reference: Reference) -> int | None:
        if isinstance(reference, bytes):
            return self.source.find(reference)
        return reference[1] if self.source.is_origin(reference[0]) else None

    def _predecessors(self, draft: _Draft) -> Iterator[tuple[Reference, How]]:
        said = draft.said
        if said is None:
            return
        listed: list[tuple[Reference, How]] = [(reference, How.SIGNED) for reference in said.prev]
        context = draft.event.get("context")
        if isinstance(context, tuple):
            begun, last, root = context
            references = self.source.delivered(said.key, begun, min(last, draft.entry - 1))
            if len(references) > MAX_BREADTH:
                draft.context = f"more than {MAX_BREADTH} signals were delivered in this context"
            else:
                agrees = context_root(references) == root
                draft.context = f"{len(references)} delivered since entry {begun}; " + (
                    "their root is the one in the entry" if agrees else "their root is not the one in the entry"
                )
            known = set(said.prev)
            listed += [(reference, How.CONTEXT) for reference in dict.fromkeys(references) if reference not in known]
        self.left_out += max(0, len(listed) - MAX_BREADTH)
        yield from listed[:MAX_BREADTH]
        if not listed and draft.event.kind is Kind.SIGNAL and not draft.guessed:
            earlier = self.source.before(draft.entry, said)
            event = None if earlier is None or earlier in self.drafts else self.source.event(earlier)
            if event is not None and earlier is not None and earlier < draft.entry and "signal" in event.fields:
                yield read_said(event.blob("signal")).reference, How.TARGET

    def story(self, entry: int, verify: Verify | None) -> Story:
        """Check every signature, then call proven what is."""
        claims: dict[int, tuple[UnprovenSign1, PublicKey]] = {}
        verdicts: dict[int, Signature] = {}
        for index, event, said in self._signed():
            if said is None:
                verdicts[index] = Signature.NONE if "signal" not in event.fields else Signature.FAILS
            elif (public := self.source.public(said.key)) is None:
                verdicts[index] = Signature.NO_KEY
            else:
                claims[index] = (said.sign1, public)
                verdicts[index] = Signature.UNCHECKED
        if verify is not None:
            for index, holds in zip(claims, verify(list(claims.values())), strict=True):
                verdicts[index] = Signature.HOLDS if holds else Signature.FAILS
        steps = tuple(self._step(draft, verdicts) for draft in self.drafts.values())
        links = tuple(self._link(*link, verdicts) for link in self.links)
        return Story(entry=entry, steps=steps, links=links, left_out=self.left_out)

    def _signed(self) -> Iterator[tuple[int, Event, Said | None]]:
        for draft in self.drafts.values():
            yield draft.entry, draft.event, draft.said
            for index, event in draft.beside:
                if index in self.drafts:
                    continue
                try:
                    yield index, event, read_said(event.blob("signal")) if "signal" in event.fields else None
                except TallyError:
                    yield index, event, None

    def _step(self, draft: _Draft, verdicts: Mapping[int, Signature]) -> Step:
        signal = sha256(draft.event.blob("signal")) if draft.said is not None else b""
        proposed = {index: event for index, event in draft.beside if event.kind is Kind.PROPOSAL}
        parts: dict[str, list[Beside]] = {name: [] for name in ("findings", "notes", "proposals", "decisions", "effects")}
        for index, event in draft.beside:
            note, words = "", ""
            if event.kind is Kind.PROPOSAL and event.blob("signal_hash") != signal:
                note = "it names other bytes than this signal"
            elif event.kind is Kind.APPROVAL:
                note = approval_flaw(event, proposed)
            if verdicts[index] is not Signature.NONE:
                words = _words(event)
            parts[_PLACES.get(event.kind, "notes")].append(Beside(index, event, verdicts[index], note, words))
        return Step(
            entry=draft.entry,
            depth=draft.depth,
            event=draft.event,
            said=draft.said,
            signature=verdicts[draft.entry],
            context=draft.context,
            **{name: tuple(each) for name, each in parts.items()},
        )

    def _link(self, later: int, earlier: int | None, reference: Reference, how: How, verdicts: Mapping[int, Signature]) -> Link:
        proven, why = self._judge(later, earlier, reference, how, verdicts)
        return Link(later, earlier, reference, how, proven, why)

    def _judge(
        self, later: int, earlier: int | None, reference: Reference, how: How, verdicts: Mapping[int, Signature]
    ) -> tuple[bool, str]:
        if how is How.CONTEXT:
            return False, "the house says that it was delivered to this key" + ("" if earlier is not None else "; it is not in this ledger")
        if how is How.TARGET:
            return False, "the same key asked about the same target before"
        if earlier is None:
            return False, "this ledger does not hold it"
        if earlier >= later:
            return False, "it does not stand before its successor"
        if verdicts[later] is not Signature.HOLDS:
            return False, f"the signature of entry {later}: {verdicts[later]}"
        there = self.drafts.get(earlier)
        if isinstance(reference, bytes) and (there is None or there.said is None or there.said.reference != reference):
            return False, "the entry that was found holds another signal"
        return True, "its reference is in the signed bytes, and it stands before in the ledger"


def _words(event: Event) -> str:
    try:
        return read_said(event.blob("signal")).reason
    except TallyError:
        return ""


_PLACES: Final[Mapping[Kind, str]] = {
    Kind.FINDING: "findings",
    Kind.PROPOSAL: "proposals",
    Kind.APPROVAL: "decisions",
    Kind.PROPOSAL_DENIED: "decisions",
    Kind.PROPOSAL_ENDED: "decisions",
    Kind.EFFECT_BEGUN: "effects",
    Kind.EFFECT_DONE: "effects",
    Kind.EFFECT_FAILED: "effects",
    Kind.EFFECT_UNKNOWN: "effects",
}
