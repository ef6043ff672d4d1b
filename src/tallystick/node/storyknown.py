"""What is known of a story besides its signals: keys and their fates, facts, plans, erasures, and what the layers say today."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tallystick import canonical
from tallystick.errors import TallyError
from tallystick.facts.fact import Place, read_place
from tallystick.gate.opening import Opening, parse_opening
from tallystick.gate.question import Finding
from tallystick.ledger.erasure import covered
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.story import Story
from tallystick.ledger.telling import Clear, FactTold, Fate, Opinion, Person, Planned
from tallystick.ledger.wording import plain_value, quoted, utc
from tallystick.storage.sqlite import Store

MAX_PAGE: Final = 10_000
MAX_FACTS: Final = 4_096  # of one story
MAX_FATES: Final = 64  # of one key
MAX_REJUDGED: Final = 64  # steps that are judged anew without being asked for

Rejudge = Callable[[int], Sequence[Finding]]
"""What all layers say of the signal of an entry with today's facts. Raises: the five."""

_NOT_PLANNED: Final = frozenset(("machine", "human"))  # they have ways of their own in: a pair, a statement
_FATES: Final[Mapping[Kind, str]] = {
    Kind.KEY_REVOKED: "revoked",
    Kind.KEY_SUSPENDED: "suspended",
    Kind.KEY_RESUMED: "resumed",
    Kind.SIGNAL_FORK: "forked",
    Kind.KEY_ROTATED: "rotated",
}


def with_erasures(store: Store, clear: dict[int, Clear]) -> dict[int, Clear]:
    """By which entry each lost opening was erased."""
    lost = {index for index, each in clear.items() if each.state == "erased"}
    if lost:
        for row in store.entries(min(lost), kinds=(Kind.BODY_ERASED,), limit=MAX_PAGE):
            for first, last in covered(row.event):
                for index in [each for each in lost if first <= each <= last]:
                    clear[index] = replace(clear[index], erased=row.index)
                    lost.discard(index)
    return clear


def plans_of(store: Store, story: Story) -> dict[int, Planned]:
    """Which layers the plan of that time asked about each signal that passed the gate."""
    plans = [(row.index, row.event.get("plan")) for row in store.entries(kinds=(Kind.PLAN,), limit=MAX_PAGE)]
    found = {}
    for step in story.steps:
        before = [each for each in plans if each[0] < step.entry]
        if step.event.kind is not Kind.SIGNAL or step.said is None or not before:
            continue
        at, words = before[-1]
        name = step.said.signal_class
        if not isinstance(words, Mapping) or name.partition("/")[0] in _NOT_PLANNED:
            continue
        while name and name not in words:
            name = name.rpartition("/")[0]
        layers = words.get(name or "default")
        if isinstance(layers, tuple):
            found[step.entry] = Planned(entry=at, layers=tuple(map(str, layers)))
    return found


def opinions_of(story: Story, rejudge: Rejudge | None, *, all_now: bool) -> dict[int, tuple[Opinion, ...]]:
    """What the layers say today: of the signal that is explained, of those with a finding, then of the others, up to the limit."""
    if rejudge is None:
        return {}
    steps = [step for step in story.steps if step.event.kind is Kind.SIGNAL and step.said is not None]
    if not all_now:
        steps = sorted(steps, key=lambda step: (step.depth > 0, not step.findings, step.depth))[:MAX_REJUDGED]
    found = {}
    for step in steps:
        try:
            found[step.entry] = tuple(map(_opinion, rejudge(step.entry)))
        except TallyError as error:
            found[step.entry] = (Opinion(layer="crypto", outcome="unavailable", why=error.message),)
    return found


def _opinion(finding: Finding) -> Opinion:
    return Opinion(
        layer=finding.layer.value,
        outcome=finding.outcome.value,
        rule=finding.rule,
        facts=finding.facts,
        why=finding.why,
        confidence_ppm=finding.confidence_ppm,
    )


def persons_of(store: Store, story: Story) -> dict[bytes, Person]:
    """The keys of the story and those that signed them in or decided: number, label, and what became of them."""
    signers = dict.fromkeys(step.said.key for step in story.steps if step.said is not None)
    others = [event.blob("key") for step in story.steps for _, event, *_ in step.beside if event.get("key") is not None]
    waiting = [*signers, *dict.fromkeys(others)]
    found: dict[bytes, Person] = {}
    while waiting:
        key_id = waiting.pop()
        if key_id in found or (row := store.key(key_id)) is None:
            continue
        by = bytes(row.introduced_by) if row.introduced_by is not None else None
        fates = tuple(_fates(store, key_id)) if key_id in signers else ()
        found[key_id] = Person(
            number=row.number, label=row.label, kind=row.kind, state=row.state, introduced=row.introduced, by=by, fates=fates
        )
        waiting += [each for each in (by, *(fate.by for fate in fates)) if each is not None]
    return found


def _fates(store: Store, key_id: bytes) -> Iterator[Fate]:
    """What happened to a key after it came in."""
    for row in store.entries(kinds=_FATES, key=key_id, limit=MAX_FATES):
        event = row.event
        if event.blob("subject") != key_id:
            continue  # it signed what happened to another
        what = _FATES[event.kind]
        yield Fate(
            entry=row.index,
            time_ns=event.time_ns,
            what=what,
            how=event.text("revocation"),
            since=event.number("since") if event.get("since") is not None else None,
            reason=event.text("reason"),
            by=event.blob("key") or None,
        )


def facts_of(store: Store, story: Story, now: Mapping[int, tuple[Opinion, ...]]) -> dict[int, FactTold]:
    """What the entries say that rules have named, and which were withdrawn since."""
    named: set[int] = set()
    for event in (event for step in story.steps for event in (step.event, *(each.event for each in step.findings))):
        facts = event.get("facts")
        named |= set(facts) if isinstance(facts, tuple) else set()
    named |= {at for opinions in now.values() for opinion in opinions for at in opinion.facts}
    if not named:
        return {}
    withdrawn = {row.event.number("entry"): row.index for row in store.entries(min(named), kinds=(Kind.FACT_WITHDRAWN,), limit=MAX_PAGE)}
    rows = {at: store.entry(at) for at in sorted(named)[:MAX_FACTS]}
    return {at: FactTold(entry=at, words=_fact_words(store, at, row.event), withdrawn=withdrawn.get(at)) for at, row in rows.items() if row}


def _fact_words(store: Store, index: int, event: Event) -> str:
    """`liveness: failed`, `seen at 52.52000 N 13.40500 E`, `key-revoked`."""
    if event.kind is Kind.SIGHTING:
        place = _clear_place(store, index)
        return (
            f"seen at {place}, {utc(event.number('observed'))}"
            if place
            else f"seen at a place that was erased, {utc(event.number('observed'))}"
        )
    if event.kind is not Kind.FACT_ADDED:
        return event.kind.name.lower().replace("_", "-")
    value = event.get("value")
    if not isinstance(value, bytes):
        return f"{event.text('predicate')}: personal"
    try:
        return f"{event.text('predicate')}: {', '.join(map(quoted, plain_value(canonical.decode(value)))) or 'yes'}"
    except TallyError:
        return event.text("predicate")


def _clear_place(store: Store, index: int) -> str:
    try:
        raw = store.opening(index)
        return "" if raw is None else place_in(parse_opening(raw))
    except TallyError:
        return ""


def place_in(opening: Opening) -> str:
    """Where an opening says that it was made; empty where it says nothing."""
    if opening.place is None:
        return ""
    try:
        return place_words(read_place(opening.place.value))
    except TallyError:
        return ", ".join(map(quoted, plain_value(opening.place.value)))


def place_words(place: Place) -> str:
    """`52.52000 N 13.40500 E, within 50 m`, or its name."""
    if isinstance(place, str):
        return quoted(place)
    north, east = place.latitude_e7 / 1e7, place.longitude_e7 / 1e7
    within = f", within {place.radius_m} m" if place.radius_m else ""
    return f"{abs(north):.5f} {'N' if north >= 0 else 'S'} {abs(east):.5f} {'E' if east >= 0 else 'W'}{within}"
