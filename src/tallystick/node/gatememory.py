"""What the gate keeps at hand between two signals: keys with their rows, slices, the references of signals (docs/spec/gate.md, section 6).

Keys and rows are kept for one `rights_epoch` of the store, slices for one `epoch` and the span of time in which they are the same. For
each signal the database says whether anything was written since, by whatever process; if so both epochs are read. A revocation is in force
at the next signal. References never change; the newest are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from tallystick.facts.fact import KnownKey
from tallystick.gate.crypto import may_speak_as
from tallystick.gate.plan import Layers
from tallystick.gate.provenance import COMPLETED
from tallystick.gate.question import Evidence, GateLayer, Question, SliceQuestion
from tallystick.gate.signal import Signal
from tallystick.keys import KeyId, PublicKey
from tallystick.pair.pairing import PairType
from tallystick.rights.action import ActionClass
from tallystick.rights.matrix import LOCAL_CAP, UNKNOWN_RIGHTS, Rights, plainly_allowed, rights_of
from tallystick.rights.scope import UNKNOWN, Scope, Terms
from tallystick.storage.gatereaders import GateReaders
from tallystick.storage.gaterows import ScopeRow, SignalRow

MAX_KEYS: Final = 16_384
MAX_SLICES: Final = 4_096
MAX_ACCEPTED: Final = 64  # of one key
MAX_PLAIN: Final = 1_024  # of one key
MAX_REFERENCES: Final = 65_536
_ENDLESS: Final = 2**63 - 1


@dataclass(slots=True)
class Known:
    """A key as the gate needs it. `classes`: all it was granted.  `admin`: a human key whose word is enough for `admin`.

    `schedules`: those of all its rows, the first that of its introduction; none where one row is good at any time.
    """

    known: KnownKey
    public: PublicKey
    classes: frozenset[str]
    rights: Rights
    admin: bool
    schedules: tuple[str, ...]
    hears: bool = False
    """Whether it may speak as a skill, tool or model: then the house completes what is behind everything it signs."""
    accepted: set[str] = field(default_factory=set)
    """Classes that layer 1 has let it speak as."""
    plain: dict[tuple[str, str, bool | str, tuple[bytes, ...]], bool] = field(default_factory=dict)
    """Answers of `rights.matrix.plainly_allowed`, by class, action, cap and who is behind."""

    def may_speak_as(self, signal_class: str) -> bool:
        """Whether this key may sign as a class."""
        if signal_class in self.accepted:
            return True
        if not may_speak_as(self.known.kind, self.classes, signal_class):
            return False
        if len(self.accepted) < MAX_ACCEPTED:
            self.accepted.add(signal_class)
        return True


@dataclass(frozen=True, slots=True)
class Behind:
    """What a successor needs of a signal: `gate.provenance.Predecessor`."""

    key: bytes
    signers: tuple[bytes, ...]
    depth: int


@dataclass(slots=True)
class _Cut:
    """A slice, for the moments from `low` (included) to `high`. `silent`: layers that pass whatever has this evidence and no place."""

    low: int
    high: int
    predicates: tuple[str, ...]
    evidence: Evidence
    silent: Layers | None = None


class GateMemory:
    """For one event loop. Every method raises Unavailable when the ledger cannot be read."""

    def __init__(self, readers: GateReaders, house: KeyId) -> None:
        self._readers = readers
        self._house = house
        self._epoch = self._rights_epoch = -2
        self._keys: dict[bytes, Known | None] = {}
        self._rights: dict[bytes, Rights] = {}
        self._scopes: dict[bytes, tuple[Scope, ...]] = {}
        self._slices: dict[bytes, _Cut] = {}
        self._references: dict[bytes, Behind] = {}
        self._version: tuple[object, int] = (None, 0)

    def refresh(self) -> bool:
        """Forget what may have changed. Called for each signal, after something was read from the store and before anything is taken from
        here. Returns: whether keys, grants or the plan may have changed."""
        version = self._readers.version()
        known, number = self._version
        if version[0] is known and version[1] == number:
            return False
        self._version = version
        epoch, rights_epoch = self._readers.epochs()
        if epoch != self._epoch:
            self._slices.clear()
            self._scopes.clear()
            self._epoch = epoch
            if rights_epoch != self._rights_epoch:
                self._keys.clear()
                self._rights.clear()
                self._rights_epoch = rights_epoch
                return True
        return False

    def key(self, kid: bytes) -> Known | None:
        """A key; None: not known here."""
        try:
            return self._keys[kid]
        except KeyError:
            pass
        row = self._readers.known_key(kid)
        if len(self._keys) >= MAX_KEYS:
            self._keys.clear()
        if row is None:
            return None  # not kept: strangers have as many names as they like
        known, grants = row.known, self._readers.grants(kid)
        rights = rights_of(known, grants, house=kid == self._house)
        classes = frozenset((*known.classes, *(word for grant in grants for word in grant.classes)))
        schedules = (known.schedule, *(grant.schedule for grant in grants))
        admin = known.kind == "human" and "admin" in known.actions
        hears = known.kind == "source" and any(word.partition("/")[0] in COMPLETED for word in classes)
        found = Known(known, row.public, classes, rights, admin, schedules if all(schedules) else (), hears)
        self._keys[bytes(kid)] = found
        return found

    def rights(self, kid: bytes) -> Rights:
        """The rows of a key behind a signal; of one nobody knows those of the unknown."""
        try:
            return self._rights[kid]
        except KeyError:
            pass
        found = UNKNOWN_RIGHTS
        if kid != UNKNOWN and (key := self.key(kid)) is not None:
            found = key.rights
        if len(self._rights) >= MAX_KEYS:
            self._rights.clear()
        self._rights[kid] = found
        return found

    def plainly(self, key: Known, cap: PairType, action: ActionClass, claims: Signal, signers: tuple[bytes, ...]) -> bool:
        """Whether rights allow this whatever its target and the time: asked for each signal, found once."""
        # The words and not the enumerations: those are hashed in Python.
        name = (claims.signal_class, claims.action, cap is LOCAL_CAP or str(cap), signers)
        found = key.plain.get(name)
        if found is None:
            found = plainly_allowed(cap, key.rights, [self.rights(each) for each in signers], action, claims.signal_class)
            if len(key.plain) >= MAX_PLAIN:
                key.plain.clear()
            key.plain[name] = found
        return found

    def silent(self, kid: bytes, around_ns: int, layers: Layers) -> bool:
        """Whether these layers are known to pass every signal of this key and moment that says no place."""
        cut = self._slices.get(kid)
        return cut is not None and cut.silent is not None and cut.low <= around_ns < cut.high and cut.silent == layers

    def passed(self, kid: bytes, layers: Layers, runs: Sequence[GateLayer]) -> None:
        """A signal without a place has passed these layers: do they pass every other one with this evidence?"""
        cut = self._slices.get(kid)
        if cut is not None and len(runs) == 1 and runs[0].silent(cut.evidence):
            cut.silent = layers

    def scopes(self, kid: bytes) -> tuple[Scope, ...]:
        """The scopes of a key that are open."""
        try:
            return self._scopes[kid]
        except KeyError:
            pass
        found = tuple(scope for row in self._readers.scopes(kid) if (scope := _scope(row)) is not None)
        if len(self._scopes) >= MAX_KEYS:
            self._scopes.clear()
        self._scopes[bytes(kid)] = found
        return found

    def evidence(self, kid: bytes, question: Question) -> Evidence | None:
        """The answer of the fact store; None: the question is for somebody else."""
        if not isinstance(question, SliceQuestion):
            return None
        around = question.around_ns
        cut = self._slices.get(kid)
        if cut is not None and cut.low <= around < cut.high and cut.predicates == question.predicates:
            return cut.evidence
        found = self._readers.slice(kid, around, question.predicates)
        if found is None or (key := self.key(kid)) is None:
            return None
        if len(key.rights.grants) > 1:  # layer 3 rules out what no row of the key would let through
            schedule, *also = key.schedules or ("",)
            found = replace(found, key=replace(found.key, classes=tuple(sorted(key.classes)), schedule=schedule, also=tuple(also)))
        ends = [fact.until_ns for fact in found.facts if fact.until_ns is not None]
        seen = [sighting.observed_ns for sighting in found.sightings if sighting.observed_ns > around]
        begins = self._readers.next_fact(around)
        evidence = Evidence(slice=found)
        high = min((*ends, *seen, *(() if begins is None else (begins,))), default=_ENDLESS)
        if len(self._slices) >= MAX_SLICES:
            self._slices.clear()
        self._slices[bytes(kid)] = _Cut(around, high, question.predicates, evidence)
        return evidence

    def behind(self, reference: bytes) -> Behind | None:
        """The signal of a reference; None: not in this ledger."""
        found = self._references.get(reference)
        if found is None and (row := self._readers.signal(reference)) is not None:
            found = self._of_row(row)
            self.keep(reference, found)
        return found

    def behind_entry(self, index: int) -> Behind | None:
        """The signal of an entry of this log; None: there is none."""
        row = self._readers.signal_at(index)
        return None if row is None else self._of_row(row)

    def keep(self, reference: bytes, behind: Behind) -> None:
        """A signal that is recorded now, or was found."""
        if len(self._references) >= MAX_REFERENCES:
            for old in list(self._references)[: MAX_REFERENCES // 2]:
                del self._references[old]
        self._references[reference] = behind

    def _of_row(self, row: SignalRow) -> Behind:
        return Behind(bytes(row.key), tuple(map(bytes, row.signers)), row.depth)  # plain bytes: an event takes no kin of them


def _scope(row: ScopeRow) -> Scope | None:
    if row.verb is None:
        return None
    terms = Terms(verb=row.verb, targets=row.targets or (), body=row.body, origins=row.origins, uses=row.uses, until_ns=row.until_ns)
    return Scope(scope=row.scope, subject=row.subject, terms=terms, uses_left=row.uses_left, entry=row.entry)
