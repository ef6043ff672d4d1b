"""Explaining: which entry is meant, the story behind it, and everything about it that is not in the signals themselves.

    with Machine.open(settings) as machine:
        told = explain(machine.store, entry_of(machine.store, "1027"))
        for line in told.lines: print(line)

It reads the ledger and the state that follows from it, writes nothing, and needs no running house. What the layers would say today is
asked of `rejudge`, where there is one.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tallystick import canonical
from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.gate.opening import TAGS, Opening, commit, parse_opening
from tallystick.keys.cose import UnprovenSign1
from tallystick.keys.identity import PublicKey
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.said import Said, read_said
from tallystick.ledger.story import MAX_BREADTH, MAX_STEPS, Step, Story, verify_all
from tallystick.ledger.story import explain as story_of
from tallystick.ledger.telling import Clear, Known, tell
from tallystick.ledger.wording import plain_value
from tallystick.node.storyknown import Rejudge, facts_of, opinions_of, persons_of, place_in, plans_of, with_erasures
from tallystick.primitives import sha256
from tallystick.storage.chain import Chain
from tallystick.storage.sqlite import Store

MIN_PREFIX: Final = 8  # hexadecimal digits of a reference
MAX_LOOKED: Final = 65_536  # entries of other signals that are looked at for decisions and effects, in one story
PAGE: Final = 256
MAX_TEXTS: Final = 16  # that observations are told in
MAX_PAGE: Final = 10_000
MAX_OPENED: Final = 4_096  # openings read for one story
_TARGET_ALONE: Final = b"\xa1\x01\x82\x58\x20"  # an opening of a target and nothing else: {1: [salt, ...
THREADS: Final = 2
IN_THREADS: Final = 64  # signatures from which on threads pay


_DECIDING: Final = (Kind.APPROVAL, Kind.PROPOSAL_DENIED, Kind.PROPOSAL_ENDED)
_EFFECTS: Final = (Kind.EFFECT_BEGUN, Kind.EFFECT_DONE, Kind.EFFECT_FAILED, Kind.EFFECT_UNKNOWN)
_CHANGING: Final = frozenset(("write", "egress", "admin"))
_BEHIND: Final = frozenset(map(int, (Kind.FINDING, Kind.SIGHTING, Kind.DELIVERED, Kind.PROPOSAL, Kind.FACT_ADDED, Kind.SCOPE_ENDED)))


def entry_of(store: Store, text: str) -> int:
    """The entry of the signal that is meant: a number, or the first 8 or more hexadecimal digits of its reference.

    A number may also name what belongs to a signal: its finding, proposal or effect. Raises: Misuse: it names nothing, or several.
    """
    words = text.strip().lower().removeprefix("#")
    if words.isascii() and words.isdigit() and int(words[:19]) < store.size() and len(words) < 19:
        return _signal_of(store, int(words))
    if not MIN_PREFIX <= len(words) <= 64 or set(words) - set("0123456789abcdef"):
        raise Misuse(f"{text[:40]!r} names no signal", "name it by its entry, or by 8 or more digits of its reference; see `tally log`")
    found = [index for index in Chain(store).like(words) if _reference_at(store, index).startswith(words)]
    if len(found) != 1:
        raise Misuse(f"{'several signals begin' if found else 'no signal begins'} with {words[:16]}", "see `tally log`")
    return found[0]


def entries_about(store: Store, index: int) -> tuple[int, ...]:
    """The signal of an entry and everything that was recorded about it, rising. Raises: Malformed: it holds no signal.  Unavailable."""
    with store.moment():
        return story_of(_Ledger(store), index, verify=None, max_steps=1).entries


def _reference_at(store: Store, index: int) -> str:
    row = store.entry(index)
    try:
        return "" if row is None else read_said(row.event.blob("signal")).reference.hex()
    except TallyError:
        return ""


def _signal_of(store: Store, index: int) -> int:
    """The signal to which an entry belongs."""
    for _ in range(4):
        row = store.entry(index)
        if row is None:
            break
        event = row.event
        if "signal" in event.fields and event.kind not in _DECIDING and event.kind is not Kind.FINDING:
            return index
        if event.kind is Kind.APPROVAL:
            items = event.get("items")
            index = items[0][0] if isinstance(items, tuple) and items else -1
        elif event.get("signal_hash") is not None and event.kind is not Kind.PROPOSAL:
            found = Chain(store).find(event.blob("signal_hash"))
            if found is None:
                break
            index = found
        elif event.get("cause") is not None or event.get("entry") is not None:
            index = event.number("cause") if event.get("cause") is not None else event.number("entry")
        elif event.kind is Kind.PROPOSAL:
            return _before_proposal(store, index)
        else:
            break
    raise Misuse(f"entry {index} holds no signal", "name the entry of a signal, a finding, a proposal or an effect; see `tally log`")


def _before_proposal(store: Store, index: int) -> int:
    """A proposal stands right behind its signal and the findings about it."""
    for row in reversed(store.entries(max(0, index - PAGE), index, limit=PAGE)):
        if row.event.kind is Kind.SIGNAL:
            return row.index
    raise Misuse(f"entry {index} holds no signal", "see `tally log`")


def in_threads(claims: Sequence[tuple[UnprovenSign1, PublicKey]]) -> list[bool]:
    """Check many signatures; the mathematics runs outside the interpreter's lock."""
    if len(claims) < IN_THREADS:
        return verify_all(claims)
    half = -(-len(claims) // THREADS)
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(verify_all, [claims[at : at + half] for at in range(0, len(claims), half)])
        return [holds for part in parts for holds in part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A story with what is known about it. `lines`: in plain words."""

    story: Story
    known: Known

    @property
    def lines(self) -> list[str]:
        """The story in plain words."""
        return tell(self.story, self.known)


def explain(
    store: Store, index: int, *, rejudge: Rejudge | None = None, quick: bool = False, all_now: bool = False, max_steps: int = MAX_STEPS
) -> Told:
    """The story of the signal of an entry.

    Args: rejudge: what the layers say today; asked for the signal itself and those with something notable, at most 64 of them.
        quick: no signature is checked, and no link is called proven.  all_now: every step is judged anew.  max_steps: signals told.
    Raises: Misuse: it holds no signal.  Unavailable.
    """
    with store.moment():
        ledger = _Ledger(store)
        if ledger.event(index) is None:
            raise Misuse(f"there is no entry {index}", f"this ledger has {store.size()} entries, counted from 0")
        story = story_of(ledger, index, verify=None if quick else in_threads, max_steps=max_steps)
        clear = {step.entry: each for step in story.steps if (each := ledger.clear(step)) is not None}
    now = opinions_of(story, rejudge, all_now=all_now)  # its slices are moments of their own
    with store.moment():
        persons = persons_of(store, story)
        facts = facts_of(store, story, now)
        known = Known(persons=persons, clear=with_erasures(store, clear), facts=facts, now=now, plans=plans_of(store, story))
    return Told(story=story, known=known)


class _Ledger:
    """Entries for the story, from the database (ledger/story.py, Source)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._chain = Chain(store)
        self._origins: dict[bytes, bool] = {}
        self._looked = 0
        self._opened: dict[int, _Clear] = {}

    def event(self, index: int) -> Event | None:
        row = self._chain.leaf(index)
        return None if row is None else entry.decode(row[2])

    def behind(self, index: int) -> Iterator[tuple[int, Event]]:
        for at, kind, leaf in self._chain.behind(index):
            if kind not in _BEHIND:
                return
            yield at, entry.decode(leaf)

    def find(self, reference: bytes) -> int | None:
        return self._chain.find(reference)

    def is_origin(self, origin_hash: bytes) -> bool:
        if not self._origins:
            house = self._store.house()
            names = {house.first_name, house.log_name}
            names |= {row.event.text("log_name") for row in self._store.entries(kinds=(Kind.RESTORED,), limit=1_000)}
            self._origins = {sha256(name.encode()): True for name in names}
        return self._origins.get(origin_hash, False)

    def public(self, key_id: bytes) -> PublicKey | None:
        row = self._store.key(key_id)
        return None if row is None else row.public

    def delivered(self, key_id: bytes, begun: int, last: int) -> list[bytes]:
        rows = self._store.entries(begun + 1, last + 1, kinds=(Kind.DELIVERED,), key=key_id, limit=MAX_BREADTH + 1)
        events = [row.event for row in rows]
        return [event.blob("signal_hash") for event in events if event.blob("subject") == key_id]

    def outcome(self, index: int, proposals: Sequence[int], said: Said) -> Iterator[tuple[int, Event]]:
        if not proposals and said.action not in _CHANGING:
            return
        kinds = (Kind.PROPOSAL, *_DECIDING, *_EFFECTS) if proposals else _EFFECTS
        ours, waits, begun = {index, *proposals}, set(proposals), set[int]()
        names = [said.reference, *(canonical.encode(at) for at in ours)]
        for at, event in self._scan(index + 1, kinds, lambda leaf: any(name in leaf for name in names)):
            if at in ours:
                continue  # the proposal that stands right behind its signal
            match event.kind:
                case Kind.APPROVAL:
                    items = event.get("items")
                    if not isinstance(items, tuple) or not waits & {item[0] for item in items}:
                        continue
                case Kind.PROPOSAL_DENIED | Kind.PROPOSAL_ENDED:
                    if event.number("entry") not in waits:
                        continue
                    waits.discard(event.number("entry"))
                case Kind.PROPOSAL:
                    if event.get("cause") != index or event.get("replaces") not in ours:
                        continue
                    waits.add(at)  # something had changed: it waits again
                case Kind.EFFECT_BEGUN:
                    if event.blob("signal_hash") != said.reference and event.get("entry") not in ours:
                        continue
                    begun.add(at)
                case _:
                    if event.get("entry") not in begun:
                        continue
                    begun.discard(event.number("entry"))
            ours.add(at)
            names.append(canonical.encode(at))
            yield at, event
            over = not waits and not begun
            if over and not (event.kind is Kind.PROPOSAL_ENDED and event.get("reason") == "changed"):
                return

    def _scan(self, start: int, kinds: tuple[Kind, ...], may: Callable[[bytes], bool]) -> Iterator[tuple[int, Event]]:
        """Entries of these kinds from one on, as many as one story looks at. `may`: whether a leaf is worth decoding."""
        while self._looked < MAX_LOOKED:
            rows = self._store.entries(start, kinds=kinds, limit=PAGE)
            for row in rows:
                self._looked += 1
                if may(row.leaf):
                    yield row.index, row.event
            if len(rows) < PAGE:
                return
            start = rows[-1].index + 1

    def before(self, index: int, said: Said) -> int | None:
        found = self.clear_of(index, said)
        if not found.route or found.route.endswith("*"):
            return None
        rows = self._store.entries(0, index, key=said.key, kinds=(Kind.SIGNAL,), targets=(found.route,), newest_first=True, limit=1)
        return rows[0].index if rows else None

    def clear_of(self, index: int, said: Said) -> "_Clear":
        """What the opening of an entry says, as far as that was signed; each is read once, and not more than 4,096."""
        if index not in self._opened:
            if len(self._opened) >= MAX_OPENED:
                return _Clear(Clear(state="unread"))
            row = self._chain.leaf(index)
            try:
                raw = None if row is None else self._store.opening(index, row[2])
                self._opened[index] = _Clear(Clear(state="erased")) if raw is None else _read(said, raw)
            except TallyError:
                self._opened[index] = _Clear(Clear(state="wrong"))
        return self._opened[index]

    def clear(self, step: Step) -> Clear | None:
        """What its opening says; None where nothing was committed to."""
        if step.said is None or not step.said.commitments or step.event.kind is not Kind.SIGNAL:
            return None
        return self.clear_of(step.entry, step.said).clear


@dataclass(frozen=True, slots=True)
class _Clear:
    """What is told of an opening, and the target as it was signed."""

    clear: Clear
    route: str = ""


def _read(said: Said, raw: bytes) -> _Clear:
    """What an opening says. Raises: Malformed."""
    if raw[:5] == _TARGET_ALONE and len(said.commitments) == 1:  # nearly every signal: hashed where it stands
        if sha256(TAGS[1], raw[5:37], raw[37:]) != said.commitments.get(1):
            return _Clear(Clear(state="wrong"))
        match canonical.decode(raw[37:]):
            case [str(), str(path)]:
                return _Clear(Clear(state="kept", target=_named(path)), path)
        raise Malformed("this opening has no target")
    opening = parse_opening(raw)
    if not _fits(said, opening):
        return _Clear(Clear(state="wrong"))
    texts = [text for each in opening.observations for text in plain_value(each.value)]
    path = opening.read_target().path if opening.target is not None else ""
    return _Clear(Clear(state="kept", target=_named(path), observations=tuple(texts[:MAX_TEXTS]), place=place_in(opening)), path)


def _fits(said: Said, opening: Opening) -> bool:
    """Whether what is told of an opening is what was signed."""
    told = [(1, opening.target), (4, opening.place)]
    seen = [commit(TAGS[5], each.salt, each.value) for each in opening.observations]
    return all(each is None or said.commitments.get(number) == commit(TAGS[number], each.salt, each.value) for number, each in told) and (
        said.commitments.get(5, []) == seen
    )


def _named(path: str) -> str:
    """The target as people name it: without the route of the archive."""
    return path.removeprefix("/v1/files")
