"""What the gate asks of the state: keys, rows of the matrix, facts, signals, contexts, scopes, proposals (docs/spec/state.md, section 6).

    epoch = store.gate.epoch()                  # as long as this is the same, an earlier answer still holds
    row = store.gate.known_key(key_id)
    slice = store.gate.slice(key_id, signal.issued_at_ns, ("liveness", "mismatch"))

Every question is a query on an index, prepared once for each thread: it costs the same whatever the ledger holds. `epoch` sees what any
process has recorded, at the next call.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, Protocol

import apsw

from tallystick import canonical
from tallystick.errors import Misuse
from tallystick.facts.fact import Sighting, Slice
from tallystick.ledger import entry
from tallystick.ledger.append import Tree
from tallystick.ledger.event import Kind
from tallystick.storage.connection import unavailable
from tallystick.storage.gaterows import (
    UNKNOWN,
    ContextRow,
    FactRow,
    GrantRow,
    KnownKeyRow,
    ProposalRow,
    ScopeRow,
    SignalRow,
    SuspendedRow,
)
from tallystick.storage.gatevalues import (
    CACHED,
    fact_of,
    fact_row_of,
    grant_of,
    key_ids,
    known_of,
    proposal_of,
    scope_of,
    sighting_of,
    signal_of,
)
from tallystick.storage.postings import POSTED, mark_number

SIGHTINGS: Final = 8  # before a moment, and after it
MAX_FACTS: Final = 256  # in a slice
MAX_PREDICATES: Final = 64
MAX_BESIDE: Final = 512  # as in storage/rules/gate.py
MAX_LISTED: Final = 10_000
_ALL: Final = b""  # the subject of a fact about all keys

_EPOCHS: Final = "SELECT state, rights FROM epoch"
_KEY: Final = (
    "SELECT key_id, number, kind, state, public, classes, actions, targets, schedule, expires_ns, label, pairing, introduced, changed,"
    " since, (SELECT value FROM clear WHERE entry = introduced) FROM keys WHERE key_id = ?"
)
_GRANTS: Final = (
    "SELECT g.entry, classes, actions, targets, schedule, c.value, expires_ns, granted_by FROM grants g"
    " LEFT JOIN clear c ON c.entry = g.entry WHERE subject = ? AND state = 'standing' ORDER BY g.entry"
)
_SEEN: Final = (
    "SELECT s.entry, s.observed_ns, c.value, s.signal_hash FROM sightings s CROSS JOIN clear c ON c.entry = s.entry"
    " WHERE s.subject = ? AND s.observed_ns {} ? ORDER BY s.observed_ns {}, s.entry {} LIMIT ?"
)
_BEFORE, _AFTER = _SEEN.format("<=", "DESC", "DESC"), _SEEN.format(">", "ASC", "ASC")
_NEAR: Final = f"SELECT * FROM ({_BEFORE}) UNION ALL SELECT * FROM ({_AFTER})"
_BY_TIME: Final = itemgetter(1, 0)
_FACT: Final = (
    "SELECT entry, subject, predicate, coalesce(value, (SELECT c.value FROM clear c WHERE c.entry = f.entry)), observed_ns, until_ns,"
    " state, stated_by, commitment FROM facts f"
)
_SOME: Final = (
    f"SELECT * FROM ({_FACT} WHERE state = 'standing' AND subject = ? AND predicate = ? AND until_ns > ? AND observed_ns <= ?"
    f" ORDER BY until_ns DESC, entry DESC LIMIT {MAX_FACTS})"
)
_SCOPE: Final = "SELECT scope, entry, state, subject, verb, targets, body, origins, uses, used, until_ns, granted_by FROM scopes"
_PROPOSAL: Final = (
    "SELECT entry, state, signal_entry, signal_hash, key_id, expires_ns, risk, preconditions, body, replaces, approved, approved_by, ended,"
    " reason, (SELECT time_ns FROM entries WHERE idx = entry) FROM proposals"
)
_SUSPENDED: Final = (
    "SELECT 'key', key_id, introduced, changed FROM keys WHERE state = 'suspended'"
    " AND NOT (kind = 'machine' AND pairing IN (SELECT pairing FROM pairs WHERE state = 'restored'))"
    " UNION ALL SELECT 'grant', x'', entry, changed FROM grants WHERE state = 'suspended'"
    " UNION ALL SELECT 'fact', x'', entry, changed FROM facts WHERE state = 'suspended'"
    " UNION ALL SELECT 'scope', scope, entry, changed FROM scopes WHERE state = 'suspended'"
    " UNION ALL SELECT 'pair', p.pairing, created, coalesce((SELECT changed FROM keys k WHERE k.key_id = p.subject), 0) FROM pairs p"
    " WHERE state = 'restored' ORDER BY 3"
)


class Source(Protocol):
    """The connection of the thread that asks (storage/readers.py)."""

    def connection(self) -> apsw.Connection:
        """Raises: Unavailable."""
        ...


class GateReaders:
    """Questions of the gate to a ledger's database. Safe to use from any thread. Every method raises Unavailable."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._signals: dict[int, SignalRow | None] = {}
        self._marks: dict[int, list[int]] = {}  # of the entries that are in no posting yet
        self._marked = 0  # up to which entry

    def version(self) -> tuple[apsw.Connection, int]:
        """This thread's connection and the state of the database that it read last: with the same pair nothing at all has changed.

        It asks nothing: whoever relies on it has just read something else (sqlite3_file_control, SQLITE_FCNTL_DATA_VERSION).
        """
        db = self._source.connection()
        return db, db.data_version()

    def epoch(self) -> int:
        """Changes whenever a key, a grant, a fact, a scope, a context, the plan or a sighting may have changed, in whatever process."""
        return self.epochs()[0]

    def rights_epoch(self) -> int:
        """The same for what only humans and severances change: keys, pairs, grants, scopes (but not their uses), the plan."""
        return self.epochs()[1]

    def epochs(self) -> tuple[int, int]:
        """`epoch` and `rights_epoch` of one moment."""
        row = self._one(_EPOCHS, ())
        return (row[0], row[1]) if row else (-1, -1)

    # Keys and the matrix.

    def known_key(self, key_id: bytes) -> KnownKeyRow | None:
        """The key of a KeyId."""
        row = self._one(_KEY, (bytes(key_id),))
        return None if row is None else known_of(row)

    def grants(self, key_id: bytes) -> tuple[GrantRow, ...]:
        """The grants of a key that stand; some may have expired by the caller's clock."""
        return tuple(grant_of(row) for row in self._all(_GRANTS, (bytes(key_id),)))

    def rows(self, key_id: bytes) -> tuple[GrantRow, ...]:
        """The key's rows of the matrix: the one it was introduced with first, then its grants. Whether the key stands is not looked at."""
        found = self._one(_KEY.replace("label, pairing", "introduced_by, pairing"), (bytes(key_id),))
        if found is None:
            return ()
        place, by = found[15], found[10]
        first = grant_of((found[12], found[5], found[6], found[7], found[8], place, found[9], by))
        return (first, *self.grants(key_id))

    # Facts.

    def slice(self, key_id: bytes, around_ns: int, predicates: Sequence[str]) -> Slice | None:
        """What rules may see of a key at a moment: sightings near it, and the facts of these words that stand then; None: unknown key.

        Args: around_ns: UTC.  predicates: at most 64 words; of more than 256 facts those without end and the newest come first.
        Raises: Misuse.
        """
        if len(predicates) > MAX_PREDICATES:
            raise Misuse(f"a slice names at most {MAX_PREDICATES} predicates")
        subject = bytes(key_id)
        try:
            db = self._source.connection()
            run, begun = db.execute, not db.in_transaction
            if begun:
                run("BEGIN")  # of one moment
            try:
                row = run(_KEY, (subject,)).fetchone()
                sightings = run(_NEAR, (subject, around_ns, SIGHTINGS, subject, around_ns, SIGHTINGS)).fetchall()
                rows: list[tuple[Any, ...]] = []
                if predicates:
                    rows = run(_few(len(predicates)), (around_ns, subject, *predicates)).fetchall()
                    if len(rows) > MAX_FACTS:
                        asked = [value for word in predicates for about in (subject, _ALL) for value in (about, word, around_ns, around_ns)]
                        rows = run(_many(len(predicates)), asked).fetchall()
            finally:
                if begun:
                    run("COMMIT")
        except apsw.Error as error:
            raise unavailable(error) from error
        if row is None:
            return None
        if len(rows) > 1:
            rows = sorted(sorted(rows, key=_lasting)[-MAX_FACTS:], key=_entry)
        sightings.sort(key=_BY_TIME)
        return Slice(key=known_of(row).known, sightings=tuple(map(sighting_of, sightings)), facts=tuple(map(fact_of, rows)))

    def sightings_near(self, key_id: bytes, around_ns: int, *, before: int = SIGHTINGS, after: int = SIGHTINGS) -> tuple[Sighting, ...]:
        """Where a key was seen around a moment, by time. What was erased is not among them."""
        subject = bytes(key_id)
        found = self._all(_NEAR, (subject, around_ns, before, subject, around_ns, after))
        return tuple(map(sighting_of, sorted(found, key=_BY_TIME)))

    def sighting_count(self, key_id: bytes) -> int:
        """How often a key was seen, what was erased included."""
        row = self._one("SELECT count(*) FROM sightings WHERE subject = ?", (bytes(key_id),))
        return int(row[0]) if row else 0

    def sightings_behind(self, signals: Collection[int]) -> list[int]:
        """The sightings that still have their place, of these entries' signals: each stands behind its own, in the same call."""
        if not signals:
            return []
        last = max(signals) + MAX_BESIDE
        seen = "SELECT s.entry FROM sightings s JOIN clear c ON c.entry = s.entry WHERE s.entry BETWEEN ? AND ?"
        before = "SELECT max(idx) FROM entries WHERE idx BETWEEN ?1 - ?2 AND ?1 AND kind = ?3"
        found: list[int] = []
        for (at,) in self._all(seen, (min(signals), last)):
            signal = self._one(before, (at, MAX_BESIDE, int(Kind.SIGNAL)))
            if signal is not None and signal[0] in signals:
                found.append(at)
        return found

    def contents_behind(self, signals: Collection[int]) -> list[int]:
        """The proposals that still have their content, of these entries' signals: each waited, and may have waited again later."""
        if not signals:
            return []
        kept = "SELECT p.entry, p.signal_entry FROM proposals p JOIN bodies b ON b.entry = p.entry WHERE p.signal_entry BETWEEN ? AND ?"
        return [entry for entry, signal in self._all(kept, (min(signals), max(signals))) if signal in signals]

    def facts(
        self, subject: bytes | None = None, predicate: str | None = None, *, state: str | None = "standing", limit: int = 1_000
    ) -> tuple[FactRow, ...]:
        """Facts, newest first, at most `limit`; their time may be over. `subject`: about this key (empty bytes: about all); `state` None:
        of any state. Raises: Misuse."""
        if not 1 <= limit <= MAX_LISTED:
            raise Misuse(f"a list has 1 to {MAX_LISTED} facts")
        asked = [("subject", subject), ("predicate", predicate), ("state", state)]
        where = " AND ".join(f"{name} = ?" for name, value in asked if value is not None) or "1"
        values = [bytes(value) if isinstance(value, bytes) else value for _, value in asked if value is not None]
        rows = self._all(f"{_FACT} WHERE {where} ORDER BY entry DESC LIMIT ?", (*values, limit))
        return tuple(fact_row_of(row) for row in rows)

    def next_fact(self, after_ns: int) -> int | None:
        """When, after this moment, the next fact that stands begins to hold: until then a slice gains nothing by the passing of time."""
        row = self._one("SELECT min(observed_ns) FROM facts WHERE state = 'standing' AND observed_ns > ?", (after_ns,))
        return None if row is None else row[0]

    def fact(self, at: int) -> FactRow | None:
        """The fact of an entry, whatever its state."""
        row = self._one(f"{_FACT} WHERE entry = ?", (at,))
        return None if row is None else fact_row_of(row)

    # Signals and contexts.

    def signal(self, reference: bytes) -> SignalRow | None:
        """The signal whose signature has this SHA-256, as it was recorded."""
        number = mark_number(reference)
        late = self._late(number)
        posted = self._all("SELECT idx FROM marks WHERE mark = ?", (number,))
        for at in (*late, *(at for (at,) in posted)):
            row = self.signal_at(at)
            if row is not None and row.reference == reference:
                return row
        return None

    def signal_at(self, at: int) -> SignalRow | None:
        """The signal in an entry; None where there is none."""
        try:
            return self._signals[at]
        except KeyError:
            pass
        found = self._one("SELECT leaf FROM entries WHERE idx = ?", (at,))
        if found is None:
            return None
        row = signal_of(at, entry.decode(found[0]))
        with self._lock:
            if len(self._signals) >= CACHED:
                self._signals.clear()
            self._signals[at] = row
        return row

    def _late(self, number: int) -> list[int]:
        """The entries with this mark that are in no posting yet: each is looked at once, not for each question."""
        rows = self._all("SELECT idx, mark FROM entries WHERE idx >= ? ORDER BY idx", (self._marked,))
        with self._lock:
            if rows:
                for at, mark in rows:
                    if mark is not None and at >= self._marked:
                        self._marks.setdefault(mark, []).append(at)
                self._marked = max(self._marked, rows[-1][0] + 1)
            if len(self._marks) > 4 * POSTED:
                edge = self._marked - self._marked % POSTED
                self._marks = {mark: ats for mark, ats in self._marks.items() if ats[-1] >= edge}
            return list(self._marks.get(number, ()))

    def context(self, key_id: bytes) -> ContextRow | None:
        """The open context of a key; None where none was begun."""
        row = self._one("SELECT begun, last, count, edge, signers, depth FROM contexts WHERE subject = ?", (bytes(key_id),))
        if row is None:
            return None
        begun, last, count, edge, signers, depth = row
        names = key_ids(signers)
        root = Tree.from_bytes(count, edge).root()
        return ContextRow(begun=begun, last=last, count=count, root=root, signers=names, has_unknown=UNKNOWN in names, depth=depth)

    # Scopes and proposals.

    def scopes(self, key_id: bytes, *, state: str | None = "open") -> tuple[ScopeRow, ...]:
        """The scopes of a key, oldest first; `state` None: of any state. Some may be over by the caller's clock."""
        where, values = (" AND state = ?", (state,)) if state is not None else ("", ())
        rows = self._all(f"{_SCOPE} WHERE subject = ?{where} ORDER BY entry LIMIT {MAX_LISTED}", (bytes(key_id), *values))
        return tuple(scope_of(row) for row in rows)

    def scope(self, scope: bytes) -> ScopeRow | None:
        """The scope of this hash."""
        row = self._one(f"{_SCOPE} WHERE scope = ?", (bytes(scope),))
        return None if row is None else scope_of(row)

    def all_scopes(self, *, state: str | None = "open") -> tuple[ScopeRow, ...]:
        """The scopes of every key, oldest first."""
        where, values = (" WHERE state = ?", (state,)) if state is not None else ("", ())
        return tuple(scope_of(row) for row in self._all(f"{_SCOPE}{where} ORDER BY entry LIMIT {MAX_LISTED}", values))

    def proposal(self, at: int) -> ProposalRow | None:
        """The proposal of an entry."""
        row = self._one(f"{_PROPOSAL} WHERE entry = ?", (at,))
        return None if row is None else proposal_of(row)

    def proposals(self, state: str | None = "held", *, limit: int = 1_000) -> tuple[ProposalRow, ...]:
        """The proposals of a state (None: of any), oldest first. Raises: Misuse."""
        if not 1 <= limit <= MAX_LISTED:
            raise Misuse(f"a list has 1 to {MAX_LISTED} proposals")
        where, values = (" WHERE state = ?", (state,)) if state is not None else ("", ())
        return tuple(proposal_of(row) for row in self._all(f"{_PROPOSAL}{where} ORDER BY entry LIMIT ?", (*values, limit)))

    # The rest.

    def suspended(self) -> tuple[SuspendedRow, ...]:
        """What waits for a human to be resumed or let go, oldest first."""
        return tuple(SuspendedRow(kind=kind, identity=of, entry=at, cause=cause) for kind, of, at, cause in self._all(_SUSPENDED, ()))

    def plan(self) -> tuple[int, Mapping[str, tuple[str, ...]]] | None:
        """The layers of each class as recorded last, with the entry; None: nothing was recorded."""
        row = self._one("SELECT entry, plan FROM plan", ())
        if row is None:
            return None
        said = canonical.decode(row[1])
        named = said.items() if isinstance(said, dict) else ()
        return row[0], {str(word): tuple(map(str, layers)) for word, layers in named if isinstance(layers, list)}

    def _one(self, sql: str, values: Sequence[Any]) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self._source.connection().execute(sql, values).fetchone()
        except apsw.Error as error:
            raise unavailable(error) from error
        return row

    def _all(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        try:
            return list(self._source.connection().execute(sql, values))
        except apsw.Error as error:
            raise unavailable(error) from error


@lru_cache(MAX_PREDICATES)
def _few(count: int) -> str:
    """The facts of so many words, in no order, one more than a slice holds."""
    return (
        f"{_FACT} WHERE state = 'standing' AND until_ns > ?1 AND observed_ns <= ?1 AND subject IN (?2, x'')"
        f" AND predicate IN ({', '.join(f'?{3 + n}' for n in range(count))}) LIMIT {MAX_FACTS + 1}"
    )


@lru_cache(MAX_PREDICATES)
def _many(count: int) -> str:
    """Of each word those without end and the newest."""
    return " UNION ALL ".join([_SOME] * (2 * count))


def _entry(row: tuple[Any, ...]) -> int:
    return int(row[0])


def _lasting(row: tuple[Any, ...]) -> tuple[int, int]:
    return row[5], row[0]
