"""Reading the ledger and its state, on connections that cannot write: one for each thread that asks.

Every method is one question with one consistent answer. What has been acknowledged is seen.
"""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw

from tallystick import canonical
from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.keys.identity import KeyId, parse_cose_key
from tallystick.ledger.event import Kind
from tallystick.ledger.signed import read_mark
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.storage.bodies import Bodies
from tallystick.storage.book import LEVEL_SHIFT, TILE
from tallystick.storage.connection import connect, unavailable
from tallystick.storage.gatereaders import GateReaders
from tallystick.storage.postings import COLUMNS, POSTED, Filter, find, mark_number
from tallystick.storage.rows import CheckpointRow, EntryRow, HouseRow, InboxItem, InviteRow, KeyRow, OpenEffect, PairRow, SeenCheckpoint
from tallystick.storage.targets import behind, clause
from tallystick.tlog.proof import consistency_proof, inclusion_proof, range_hash
from tallystick.tlog.tree import EMPTY_ROOT, HASH_BYTES, leaf_hash, perfect_root

MAX_PAGE: Final = 10_000
MAX_CACHED_ROWS: Final = 1_024  # the same row makes the same value: each knock and each command reads its pair's


class Readers:
    """Questions to a ledger's database. Safe to use from any thread."""

    def __init__(self, path: Path, bodies: Bodies, vfs: str | None = None) -> None:
        self._path = path
        self._bodies = bodies
        self._vfs = vfs
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[apsw.Connection] = []
        self._closed = False
        self.gate = GateReaders(self)
        """What the gate asks."""

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            self._closed = True
            for db in self._open:
                with suppress(apsw.Error):  # it only read
                    db.close()
            self._open.clear()

    @contextmanager
    def moment(self) -> Iterator[None]:
        """Inside, this thread's questions are all answered from one moment. Keep it short: the write-ahead log waits."""
        if self.connection().in_transaction:
            yield  # already inside one
            return
        self._one("BEGIN")
        try:
            yield
        finally:
            self._one("COMMIT")

    # The house, pairs, keys, invites.

    def house(self) -> HouseRow:
        """The house itself. Raises: Unavailable: a ledger without its origin."""
        row = self._one("SELECT * FROM house")
        if row is None:
            raise Unavailable("this ledger has no origin", "its creation was cut short: run `tally init` again")
        return _house(row)

    def pairs(self) -> tuple[PairRow, ...]:
        """Every pair there ever was, oldest first."""
        return tuple(_pair(row) for row in self._all("SELECT * FROM pairs ORDER BY created"))

    def pair(self, pairing: bytes) -> PairRow | None:
        """The pair of a pairing id."""
        row = self._one("SELECT * FROM pairs WHERE pairing = ?", (pairing,))
        return _pair(row) if row else None

    def pair_by_name(self, name: str) -> PairRow:
        """The pair with this label, or whose pairing id begins with these hexadecimal digits (8 at least); a standing one first.

        Raises: Refused when there is none, or several.
        """
        found = [_pair(row) for row in self._all("SELECT * FROM pairs WHERE label = ? ORDER BY created", (name,))]
        digits = name.lower()
        if not found and 8 <= len(digits) <= 64 and not set(digits) - set("0123456789abcdef"):
            like = self._all("SELECT * FROM pairs WHERE hex(pairing) LIKE ? ORDER BY created LIMIT 3", (digits + "%",))
            found = [_pair(row) for row in like]
        standing = [pair for pair in found if pair.state in ("standing", "restored")]
        alive = standing or [pair for pair in found if pair.state == "pending"] or found[-1:]
        if not alive:
            raise Refused(f"there is no pair called {name}", "See `tally status`.")
        if len(alive) > 1:
            raise Refused(f"several pairs are called {name}", "Name it by the first 8 digits of its pairing id.")
        return alive[0]

    def keys(self) -> tuple[KeyRow, ...]:
        """Every key there ever was, by number."""
        return tuple(_key(row) for row in self._all("SELECT * FROM keys ORDER BY number"))

    def key(self, key: bytes | int) -> KeyRow | None:
        """The key of a KeyId or a short number."""
        column = "number" if isinstance(key, int) else "key_id"
        row = self._one(f"SELECT * FROM keys WHERE {column} = ?", (key if isinstance(key, int) else bytes(key),))
        return _key(row) if row else None

    def has_human(self) -> bool:
        """Whether a human key was ever introduced: genesis is over then."""
        return self._one("SELECT 1 FROM keys WHERE kind = 'human'") is not None

    def open_invites(self) -> int:
        """How many invites are open by their state; some may have expired by the clock."""
        row = self._one("SELECT count(*) FROM invites WHERE state = 'open'")
        return int(row[0]) if row else 0

    def has_admin_pair(self) -> bool:
        """Whether a machine stands that may carry a human key's statements to this house."""
        return self._one("SELECT 1 FROM pairs WHERE state = 'standing' AND role = 'house' AND effective = 'ADMIN'") is not None

    def invites(self) -> tuple[InviteRow, ...]:
        """Every invite there ever was, oldest first."""
        return tuple(_invite(row) for row in self._all("SELECT * FROM invites ORDER BY created"))

    def invite(self, invite: bytes) -> InviteRow | None:
        """The invite of this id hash."""
        row = self._one("SELECT * FROM invites WHERE invite = ?", (invite,))
        return _invite(row) if row else None

    def inbox(self) -> tuple[InboxItem, ...]:
        """What waits for a human, oldest first. What has expired by the caller's clock is still in it."""
        waiting = [
            InboxItem(
                kind="pairing",
                entry=created,
                identity=pairing,
                label=label or "",
                pair_type=PairType(pair_type),
                time_ns=created_ns,
                expires_ns=expires_ns,
            )
            for created, pairing, label, pair_type, created_ns, expires_ns in self._all(
                "SELECT created, pairing, label, pair_type, created_ns, expires_ns FROM pairs WHERE state = 'pending'"
            )
        ]
        waiting += [
            InboxItem(kind="proposal", entry=at, identity=signal_hash, label="", pair_type=None, time_ns=time_ns, expires_ns=expires_ns)
            for at, signal_hash, time_ns, expires_ns in self._all(
                "SELECT entry, signal_hash, time_ns, expires_ns FROM proposals JOIN entries ON idx = entry WHERE state = 'held'"
            )
        ]
        return tuple(sorted(waiting, key=lambda item: item.entry))

    def open_effects(self) -> tuple[OpenEffect, ...]:
        """Effects that were begun and have not ended."""
        rows = self._all("SELECT begun, effect, time_ns, signal_hash FROM effects ORDER BY begun")
        return tuple(OpenEffect(begun=begun, effect=effect, time_ns=time_ns, signal_hash=of) for begun, effect, time_ns, of in rows)

    # Entries.

    def size(self) -> int:
        """How many entries there are."""
        row = self._one("SELECT size FROM tree")
        return int(row[0]) if row else 0

    def root(self) -> bytes:
        """The root of the tree as it is now; for a checkpoint use `head`."""
        return self.head()[1]

    def head(self) -> tuple[int, bytes]:
        """Size and root of the tree, of one moment."""
        row = self._one("SELECT size, root FROM tree")
        return (int(row[0]), bytes(row[1])) if row else (0, EMPTY_ROOT)

    def entry(self, index: int) -> EntryRow | None:
        """The entry at an index."""
        row = self._one("SELECT idx, leaf FROM entries WHERE idx = ?", (index,))
        return EntryRow(*row) if row else None

    def entries(
        self,
        start: int = 0,
        stop: int | None = None,
        *,
        kinds: Iterable[Kind] = (),
        pair: bytes | None = None,
        key: bytes | None = None,
        action: str | None = None,
        verdict: str | None = None,
        targets: Sequence[str] = (),
        since_ns: int | None = None,
        until_ns: int | None = None,
        newest_first: bool = False,
        limit: int = 1000,
    ) -> tuple[EntryRow, ...]:
        """The entries from `start` up to but not including `stop` that agree with every filter, at most `limit`.

        Args: pair: came through it or concerns it.  key: came about by it or concerns it.  since_ns, until_ns: both included.
            targets: paths of which the signal asks for one; `/docs/*` is everything that begins with `/docs/`. Only what was not erased.
        Raises: Misuse when `limit` is not 1 to 10,000.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise Misuse(f"a page has 1 to {MAX_PAGE} entries")
        conditions: list[tuple[str, tuple[Any, ...]]] = []
        filters: list[Filter] = []  # what the postings know of it
        for column, identity in (("pairing", pair), ("key", key)):
            if identity is not None:
                row = self._one("SELECT no FROM ids WHERE id = ?", (bytes(identity),))
                if row is None:
                    return ()
                # Who is asked for may stand in either of two columns.
                conditions.append((f"({column} = ? OR about = ?)", (row[0], row[0])))
                filters.append([(COLUMNS[column], row[0]), (COLUMNS["about"], row[0])])
        if action is not None:
            conditions.append(("action = ?", (action,)))
            filters.append([(COLUMNS["action"], action)])
        if verdict is not None:
            conditions.append(("verdict = ?", (verdict,)))
            if verdict != "allow":
                filters.append([(COLUMNS["verdict"], verdict)])
        if codes := sorted({int(kind) for kind in kinds}):
            conditions.append((f"kind IN ({', '.join('?' * len(codes))})", tuple(codes)))
            filters.append([(COLUMNS["kind"], code) for code in codes])
        for operator, time_ns in ((">=", since_ns), ("<=", until_ns)):
            if time_ns is not None:
                conditions.append((f"time_ns {operator} ?", (time_ns,)))
        where = "".join(f" AND {text}" for text, _ in conditions)
        values = tuple(value for _, values in conditions for value in values)
        order = f"ORDER BY e.idx {'DESC' if newest_first else 'ASC'} LIMIT ?"
        bare = f"SELECT e.idx, leaf FROM entries e WHERE e.idx >= ? AND e.idx < ?{where} {order}"
        with self.moment():
            size = self.size()
            stop = size if stop is None else min(stop, size)
            edge = size - size % POSTED  # entries from here on are in no posting yet
            first, last = self._by_time(start, min(stop, edge), since_ns, until_ns)
            walks: list[tuple[tuple[int, int], str, tuple[Any, ...]]] = []
            if targets:
                edge = min(stop, self._one("SELECT coalesce(max(size), 0) FROM indexed")[0])  # type: ignore[index]
                condition, paths = clause(targets)
                walks.append(((start, edge), bare.replace("WHERE", f"JOIN targets ON entry = e.idx WHERE {condition} AND"), paths))
                if late := sorted(behind(self._all, self._bodies, targets, max(start, edge), stop)):
                    walks.append(((late[0], late[-1] + 1), bare.replace("WHERE", f"WHERE e.idx IN ({str(late)[1:-1]}) AND"), ()))
            else:
                walks.append(((max(start, edge), stop), bare, ()))
                if not filters:
                    walks.append(((first, last), bare, ()))
            rows = [self._all(sql, (*head, low, high, *values, limit)) for (low, high), sql, head in walks if low < high]
            if filters and not targets and first < last:
                rows.append(self._posted(filters, (first, last), where, values, newest_first=newest_first, limit=limit))
        found = _distinct(merge(*rows, key=lambda row: row[0], reverse=newest_first))
        return tuple(EntryRow(index, leaf) for index, leaf in islice(found, limit))

    def _posted(
        self, filters: Sequence[Filter], within: tuple[int, int], where: str, values: tuple[Any, ...], *, newest_first: bool, limit: int
    ) -> list[tuple[Any, ...]]:
        """The rows that the postings name and `where` lets pass, at most `limit`."""
        db, rows = self.connection(), list[tuple[Any, ...]]()
        try:
            for index in find(db, filters, *within, newest_first=newest_first):
                rows += db.execute(f"SELECT e.idx, leaf FROM entries e WHERE e.idx = ?{where}", (index, *values))
                if len(rows) == limit:
                    break
        except apsw.Error as error:
            raise unavailable(error) from error
        return rows

    def _by_time(self, first: int, last: int, since_ns: int | None, until_ns: int | None) -> tuple[int, int]:
        """The part of the full tiles that can hold entries of these times."""
        if since_ns is not None:
            row = self._one("SELECT min(id) FROM tiles WHERE high_ns >= ?", (since_ns,))
            first = max(first, int(row[0]) * TILE) if row and row[0] is not None else last
        if until_ns is not None:
            row = self._one("SELECT max(id) FROM tiles WHERE high_ns IS NOT NULL AND low_ns <= ?", (until_ns,))
            last = min(last, (int(row[0]) + 1) * TILE) if row and row[0] is not None else first
        return first, last

    def signal_entry(self, signature_hash: bytes) -> int | None:
        """The entry that holds the signal whose signature has this SHA-256."""
        number = mark_number(signature_hash)
        sql = "SELECT idx FROM marks WHERE mark = ? UNION SELECT idx FROM entries WHERE idx >= ? AND mark = ? ORDER BY 1"
        with self.moment():
            size = self.size()
            for (index,) in self._all(sql, (number, size - size % POSTED, number)):
                row = self.entry(index)
                if row is not None and read_mark(row.event.blob("signal")).signature_hash == signature_hash:
                    return int(index)
        return None

    def signal_seen(self, key: bytes, stream: bytes, n: int) -> int | None:
        """The entry that holds number `n` of a key's stream."""
        sql = "SELECT entry FROM signals WHERE stream = (SELECT no FROM streams WHERE key_id = ? AND stream = ?) AND n = ?"
        row = self._one(sql, (bytes(key), stream, n))
        return int(row[0]) if row else None

    def body_slot(self, index: int) -> int | None:
        """Where the opening of an entry lies in the body store."""
        row = self._one("SELECT slot FROM bodies WHERE entry = ?", (index,))
        return int(row[0]) if row else None

    def bodied(self, first: int, last: int) -> list[int]:
        """The entries from `first` to `last` that have an opening, rising."""
        return [entry for (entry,) in self._all("SELECT entry FROM bodies WHERE entry BETWEEN ? AND ? ORDER BY entry", (first, last))]

    def first_bodied(self) -> int:
        """The first entry that has an opening; the size of the ledger when none has."""
        row = self._one("SELECT min(entry) FROM bodies")
        return int(row[0]) if row and row[0] is not None else self.size()

    # Proofs and checkpoints.

    def inclusion(self, index: int, size: int) -> tuple[bytes, ...]:
        """The proof that entry `index` is in the tree of `size` entries. Raises: Misuse when there is no such tree or entry."""
        self._need(size)
        return inclusion_proof(index, size, self.subtree)

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The proof that the tree of `new` entries continues that of `old`. Raises: Misuse when there is no such tree."""
        self._need(new)
        return consistency_proof(old, new, self.subtree)

    def root_at(self, size: int) -> bytes:
        """The root of the tree as it was at a size. Raises: Misuse when it never had that size."""
        self._need(size)
        return range_hash(0, size, self.subtree) if size else EMPTY_ROOT

    def latest_checkpoint(self) -> CheckpointRow | None:
        """The checkpoint of the largest size this log has signed."""
        row = self._one("SELECT size, root, time_ns, note FROM checkpoints ORDER BY size DESC LIMIT 1")
        return CheckpointRow(size=row[0], root=row[1], time_ns=row[2], note=row[3]) if row else None

    def checkpoint_of(self, size: int) -> CheckpointRow | None:
        """The checkpoint of this size that this log has signed, if there is one."""
        row = self._one("SELECT size, root, time_ns, note FROM checkpoints WHERE size = ?", (size,))
        return CheckpointRow(size=row[0], root=row[1], time_ns=row[2], note=row[3]) if row else None

    def subtree(self, level: int, n: int) -> bytes:
        """The hash over the entries n * 2**level up to (n + 1) * 2**level: of a tile's rows, or of an incomplete tile's leaves."""
        tile_level, inner = divmod(level, 8)
        if inner == 0 and level:
            return self._tile_cell("root", tile_level - 1, n)
        first = n << inner
        tile = self._one("SELECT hashes FROM tiles WHERE id = ?", (tile_level << LEVEL_SHIFT | first // TILE,))
        at, count = first % TILE, 1 << inner
        if tile:
            row = [tile[0][HASH_BYTES * place : HASH_BYTES * (place + 1)] for place in range(at, at + count)]
        elif tile_level:
            row = [self._tile_cell("root", tile_level - 1, first + place) for place in range(count)]
        else:
            leaves = self._all("SELECT leaf FROM entries WHERE idx >= ? AND idx < ? ORDER BY idx", (first, first + count))
            row = [leaf_hash(leaf) for (leaf,) in leaves]
        if len(row) != count:
            raise Unavailable("the ledger lacks entries below its size", "Run `tally verify`.")
        return perfect_root(row)

    def _tile_cell(self, column: str, level: int, n: int) -> bytes:
        row = self._one(f"SELECT {column} FROM tiles WHERE id = ?", (level << LEVEL_SHIFT | n,))
        if row is None:
            raise Unavailable("the ledger lacks a tile below its size", "Run `tally verify`.")
        return bytes(row[0])

    def _need(self, size: int) -> None:
        if not 0 <= size <= self.size():
            raise Misuse(f"this ledger never had {size} entries")

    def _all(self, sql: str, arguments: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        try:
            return list(self.connection().execute(sql, tuple(arguments)))
        except apsw.Error as error:
            raise unavailable(error) from error

    def _one(self, sql: str, arguments: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        try:
            row: tuple[Any, ...] | None = self.connection().execute(sql, tuple(arguments)).fetchone()
        except apsw.Error as error:
            raise unavailable(error) from error
        return row

    def connection(self) -> apsw.Connection:
        """This thread's own; it cannot write. Raises: Unavailable."""
        db: apsw.Connection | None = getattr(self._local, "db", None)
        if db is None or self._closed:
            with self._lock:
                if self._closed:
                    raise Unavailable("the ledger is closed")
                db = connect(self._path, write=False, vfs=self._vfs)
                self._open.append(db)
            self._local.db = db
        return db


def _distinct(rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    last = None
    for row in rows:
        if row[0] != last:
            yield row
        last = row[0]


@lru_cache(MAX_CACHED_ROWS)
def _pair(row: tuple[Any, ...]) -> PairRow:
    seen = row[19:23]
    return PairRow(
        pairing=row[0],
        state=row[1],
        role=Role(row[2]),
        pair_type=PairType(row[3]),
        effective=PairType(row[4]),
        suite=Suite(row[5]),
        label=row[6] or "",
        subject=KeyId(row[7]),
        signing_key=parse_cose_key(row[8]),
        static_key=row[9],
        witness_key=row[10],
        house=KeyId(row[11]) if row[11] else None,
        invite=row[12],
        expires_ns=row[13],
        genesis=bool(row[14]),
        created_ns=row[15],
        created=row[16],
        stood=row[17],
        ended=row[18],
        seen=SeenCheckpoint(origin_hash=seen[0], size=seen[1], root=seen[2], note=seen[3] or b"") if seen[0] else None,
        cosigned_size=row[23],
        log_name=row[24] or "",
        log_keys=_log_keys(row[25]),
        followed=row[26],
        showed=SeenCheckpoint(origin_hash=row[27], size=row[28], root=row[29] or b"", note=b"") if row[27] else None,
    )


def _log_keys(raw: bytes | None) -> tuple[tuple[int, bytes], ...]:
    keys = canonical.decode(raw) if raw else []
    return tuple((key[0], key[1]) for key in keys if isinstance(key, list)) if isinstance(keys, list) else ()  # type: ignore[misc]


@lru_cache(4)
def _house(row: tuple[Any, ...]) -> HouseRow:
    return HouseRow(
        state=row[1],
        why=row[2] or "",
        size=row[3],
        owner=KeyId(row[4]) if row[4] else None,
        first_name=row[5],
        log_name=row[6],
        log_keys=_log_keys(row[7]),
        restored=row[8],
        successor=parse_cose_key(row[9]) if row[9] else None,
    )


@lru_cache(MAX_CACHED_ROWS)
def _key(row: tuple[Any, ...]) -> KeyRow:
    targets = canonical.decode(row[7]) if row[7] else []
    return KeyRow(
        key_id=KeyId(row[0]),
        number=row[1],
        kind=row[2],
        state=row[3],
        public=parse_cose_key(row[4]),
        classes=tuple(row[5].split()),
        actions=tuple(row[6].split()),
        targets=tuple(str(target) for target in targets) if isinstance(targets, list) else (),
        schedule=row[8] or "",
        place=row[9],
        expires_ns=row[10],
        label=row[11] or "",
        pairing=row[12],
        introduced=row[13],
        introduced_by=KeyId(row[14]) if row[14] else None,
        changed=row[15],
        since=row[16],
    )


@lru_cache(MAX_CACHED_ROWS)
def _invite(row: tuple[Any, ...]) -> InviteRow:
    return InviteRow(
        invite=row[0],
        state=row[1],
        pair_type=PairType(row[2]),
        label=row[3] or "",
        for_key=KeyId(row[4]) if row[4] else None,
        preapproved=bool(row[5]),
        created_ns=row[6],
        expires_ns=row[7],
        session=row[8],
        created=row[9],
        ended=row[10],
        created_by=KeyId(row[11]) if row[11] else None,
    )
