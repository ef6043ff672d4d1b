"""Pages of the ledger for people and programs: filters, and the newest or the next entries."""

import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tallystick.canonical import encode
from tallystick.errors import Misuse
from tallystick.ledger.event import Event, Kind
from tallystick.node.explaining import entries_about, entry_of
from tallystick.node.targets import target_of
from tallystick.node.view import entry_json, kind_of
from tallystick.primitives import sha256
from tallystick.storage.rows import EntryRow
from tallystick.storage.sqlite import Store

MAX_PAGE: Final = 200
MAX_LIST: Final = 100_000  # entries that one command lists
NEWEST: Final = 50  # that it lists when nothing else is said
MAX_TARGET: Final = 8192
_PLACES: Final = ("/v1/files", "/v1/list", "/v1/stat")  # the routes whose targets are paths of the archive
_MAX_TIME: Final = 2**63 - 1
_HEX_DIGITS: Final = 64


class UnknownKeyError(Misuse):
    """A filter names a key that this ledger has never seen."""


def filters_of(store: Store, query: Mapping[str, Any]) -> dict[str, Any]:
    """The filters of a log query. Raises: Misuse, Refused."""
    filters: dict[str, Any] = {}
    if query.get("kind"):
        filters["kinds"] = (kind_of(str(query["kind"])),)
    if query.get("pair"):
        filters["pair"] = store.pair_by_name(str(query["pair"])).pairing
    if query.get("key"):
        text = str(query["key"])
        row = store.key(_hex(text) if len(text) == _HEX_DIGITS else whole_number(text.removeprefix("#")))
        if row is None:
            raise UnknownKeyError(f"no key is called {text[:40]}", "name it by its number (#12) or its KeyId in hexadecimal")
        filters["key"] = bytes(row.key_id)
    for name in ("action", "verdict"):
        if query.get(name):
            filters[name] = str(query[name])
    if query.get("target"):
        filters["targets"] = _targets(str(query["target"]))
    for name in ("since_ns", "until_ns"):
        if query.get(name):
            filters[name] = whole_number(query[name])
    return filters


def _targets(text: str) -> tuple[str, ...]:
    """What the target of a signal may be for a path of the archive, or a path of the door as it is. Raises: Misuse."""
    if len(text) > MAX_TARGET or text in ("", "*"):
        raise Misuse(f"a target is a path of at most {MAX_TARGET} characters", "as in /papers/report.pdf, or /papers/* for all below it")
    if text.startswith("/v1/"):
        return (text,)
    star = "*" if text.endswith("*") else ""
    return tuple(target_of(route, text.removesuffix("*")) + star for route in _PLACES)


def query_event(
    query: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], now_ns: int, actor: str, *, what: str = "log", **context: Any
) -> tuple[Event, bytes]:
    """The entry of somebody reading records, and its opening: a salt and the filter, which may have to be forgotten.

    Args: rows: what they were shown first.  what: log, or explain.  context: the header's fields of the event (pairing, session, cause).
    """
    asked = {name: str(value) for name, value in query.items() if value is not None}
    salt = secrets.token_bytes(32)
    digest = sha256(b"tally query v1", salt, encode(asked))
    found = {"first": rows[0]["index"], "count": len(rows)} if rows else {"count": 0}
    return Event.of(Kind.QUERY, now_ns, actor, digest=digest, what=what, **found, **context), encode([salt, asked])


def page_of(store: Store, query: Mapping[str, Any], *, pair: bytes | None = None) -> list[dict[str, Any]]:
    """A page of entries: from `after` upwards, or the newest `limit` (below `before`). `pair`: only what concerns this pair.

    Who may see one pair only learns nothing of others either: not what they are called, and not whether they or a key exist.
    Raises: Misuse, Refused.
    """
    limit = min(whole_number(query.get("limit") or 50), MAX_PAGE) or 1
    if query.get("signal"):
        about = [row for row in rows_about(store, query, pair) if pair in (None, row.event.blob("pairing") or row.event.blob("pair"))]
        return [entry_json(row, names_of(store, pair), reader=pair) for row in about[:limit]]
    if pair is None:
        filters = filters_of(store, query)
    else:
        try:
            filters = filters_of(store, {name: value for name, value in query.items() if name != "pair"}) | {"pair": pair}
        except UnknownKeyError:
            return []
    if query.get("after") is not None:
        rows = store.entries(whole_number(query["after"]), limit=limit, **filters)
    else:
        stop = whole_number(query["before"]) if query.get("before") is not None else None
        rows = tuple(reversed(store.entries(0, stop, limit=limit, newest_first=True, **filters)))
    names = names_of(store, pair)
    return [entry_json(row, names, reader=pair) for row in rows]


def rows_about(store: Store, query: Mapping[str, Any], pair: bytes | None = None) -> list[EntryRow]:
    """The entries about one signal, rising: it, its findings, proposal, approvals and effects. `pair`: who asks may see this pair only,
    and does not learn whether there is such a signal. Raises: Misuse."""
    if others := [name for name, value in query.items() if value is not None and name not in ("signal", "limit", "after", "before")]:
        raise Misuse(f"what is about one signal is listed whole, without {others[0]}", "`tally explain` tells the story of a signal")
    try:
        index = entry_of(store, str(query["signal"]))
    except Misuse:
        if pair is None:
            raise
        return []
    rows = (store.entry(about) for about in entries_about(store, index))
    return [row for row in rows if row is not None]


def wanted_of(query: Mapping[str, Any]) -> int:
    """How many entries a command lists: what it asks for, all of a span of time, else the newest 50."""
    return min(int(query.get("limit") or (MAX_LIST if query.get("since_ns") else NEWEST)), MAX_LIST)


class Names(Mapping[bytes, str]):
    """What this machine calls its pairs, by pairing id, and its keys, by KeyId: `#12 camera-feed`."""

    def __init__(self, store: Store, pairs: Mapping[bytes, str]) -> None:
        self._store = store
        self._found = dict(pairs)

    def __getitem__(self, identity: bytes) -> str:
        if identity not in self._found:
            row = self._store.key(identity) if len(identity) == _HEX_DIGITS // 2 else None
            if row is None:
                raise KeyError(identity)
            self._found[identity] = f"#{row.number} {row.label}".rstrip()
        return self._found[identity]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def names_of(store: Store, pair: bytes | None = None) -> Mapping[bytes, str]:
    """What this machine calls its pairs and keys. `pair`: only this pair, and no key: who reads for one pair learns nothing of others."""
    if pair is None:
        return Names(store, {row.pairing: row.label for row in store.pairs()})
    only = store.pair(pair)
    return {} if only is None else {only.pairing: only.label}


def whole_number(value: object) -> int:
    """A number of a query. Raises: Misuse."""
    text = str(value)
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > _MAX_TIME:
        raise Misuse(f"{text[:40]!r} is not a whole number")
    return int(text)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
