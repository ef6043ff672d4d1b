"""Entries as they come, for whoever follows the ledger: at the house's own socket and over a pair (docs/spec/door.md)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final, Self

import msgspec

from tallystick.errors import Unavailable
from tallystick.node.records import UnknownKeyError, filters_of, names_of, whole_number
from tallystick.node.view import entry_json
from tallystick.storage.sqlite import Store

LOOK_S: Final = 0.2
QUIET_S: Final = 15.0  # then an empty line says that the other side still lives
PAGE: Final = 200


async def follow(
    store: Store,
    query: Mapping[str, Any],
    *,
    pair: bytes | None = None,
    unseen: bytes | None = None,
    over: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[dict[str, Any] | None, None]:
    """Entries from `after` on (without it: from now on) as JSON objects, until it is over; None now and then while there is nothing.

    Args: pair: only what concerns this pair.  unseen: the session of the one who follows; its own question is not shown to it.
        over: whether to end.
    Raises: Misuse, Refused for a filter that names nothing; Unavailable when the ledger has stopped.
    """
    try:
        filters = filters_of(store, query if pair is None else {name: value for name, value in query.items() if name != "pair"})
    except UnknownKeyError:
        if pair is None:
            raise
        filters = None  # whether a key exists is not for everybody
    after = whole_number(query["after"]) if query.get("after") is not None else store.size()
    quiet = 0.0
    while not over():
        if store.failure is not None:
            raise Unavailable("the ledger has stopped", "see the house's log")
        size = store.size()
        while after < size:
            only = {} if pair is None else {"pair": pair}
            rows = () if filters is None else await asyncio.to_thread(store.entries, after, size, limit=PAGE, **filters | only)
            names = {} if not rows else names_of(store, pair)
            for row in rows:
                if unseen is None or row.event.blob("session") != unseen:
                    yield entry_json(row, names, reader=pair)
                    quiet = 0.0
            after = rows[-1].index + 1 if len(rows) == PAGE else size
        await asyncio.sleep(LOOK_S)
        quiet += LOOK_S
        if quiet >= QUIET_S:
            yield None
            quiet = 0.0


class FollowedLines:
    """What `follow` yields, as lines of JSON for an answer that has no end; an empty line is a sign of life."""

    def __init__(self, entries: AsyncGenerator[dict[str, Any] | None, None]) -> None:
        self._entries = entries

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        entry = await anext(self._entries)
        return b"\n" if entry is None else msgspec.json.encode(entry) + b"\n"

    async def aclose(self) -> None:
        """Stop following."""
        await self._entries.aclose()
