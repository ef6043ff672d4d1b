"""Pages of the ledger for people and programs: filters, and the newest or the next entries."""

from collections.abc import Mapping
from typing import Any, Final

from tallystick.errors import Misuse
from tallystick.node.view import entry_json, kind_of
from tallystick.storage.rows import EntryRow
from tallystick.storage.sqlite import Store

MAX_PAGE: Final = 200
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
    if query.get("since_ns"):
        filters["since_ns"] = whole_number(query["since_ns"])
    return filters


def page_of(store: Store, query: Mapping[str, Any], *, pair: bytes | None = None) -> list[dict[str, Any]]:
    """A page of entries: from `after` upwards, or without it the newest `limit`. `pair`: only what concerns this pair.

    Who may see one pair only learns nothing of others either: not what they are called, and not whether they or a key exist.
    Raises: Misuse, Refused.
    """
    if pair is None:
        filters, names = filters_of(store, query), names_of(store)
    else:
        row = store.pair(pair)
        names = {} if row is None else {pair: row.label}
        try:
            filters = filters_of(store, {name: value for name, value in query.items() if name != "pair"}) | {"pair": pair}
        except UnknownKeyError:
            return []
    limit = min(whole_number(query.get("limit") or 50), MAX_PAGE) or 1
    rows: tuple[EntryRow, ...]
    if query.get("after") is not None:
        rows = store.entries(whole_number(query["after"]), limit=limit, **filters)
    else:
        rows = tuple(reversed(store.entries(limit=limit, newest_first=True, **filters)))
    return [entry_json(row, names, reader=pair) for row in rows]


def names_of(store: Store) -> dict[bytes, str]:
    """What this machine calls its pairs, by pairing id."""
    return {row.pairing: row.label for row in store.pairs()}


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
