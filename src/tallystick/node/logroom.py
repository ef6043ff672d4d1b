"""The log's public files at the door: checkpoint, tiles, entry bundles, as C2SP tlog-tiles lays them out (docs/spec/tiles.md, section 4).

Who may see the house's state may have its checkpoint; who may read may have hashes, which prove and tell nothing; bundles are the
records of all pairs, and for ADMIN alone. Whoever is given records is on record: one `query` entry for each bundle.
"""

import asyncio
from typing import TYPE_CHECKING

from tallystick.errors import Refused
from tallystick.ledger.event import Event, Kind
from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.node.local import error_body
from tallystick.primitives import sha256
from tallystick.storage.tiles import TileFiles
from tallystick.tlog.tile import ENTRIES, Tile, parse_path

if TYPE_CHECKING:
    from tallystick.node.house import House

BYTES = "application/octet-stream"


def log_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table that lead to the log's files."""
    rooms = _LogRoom(house, TileFiles(house.machine.home.tiles))
    return (
        route("GET", "/v1/log/checkpoint", "house.checkpoint", rooms.checkpoint),
        route("GET", "/v1/log/tile/entries/*", "house.entries", rooms.entries),
        route("GET", "/v1/log/tile/*", "house.tile", rooms.tile),
    )


class _LogRoom:
    """The handlers."""

    def __init__(self, house: "House", files: TileFiles) -> None:
        self._house = house
        self._files = files

    async def checkpoint(self, call: Call) -> Answer:
        """The published checkpoint, as it lies there."""
        note = await asyncio.to_thread(self._files.checkpoint)
        if note is None:
            return _nothing("nothing is published yet")
        return Answer(body=note, kind="text/plain; charset=utf-8", digest=sha256(note))

    async def tile(self, call: Call) -> Answer:
        """Hashes. Raises: Malformed: no path of a tile."""
        return await self._file(parse_path("tile/" + call.rest))

    async def entries(self, call: Call) -> Answer:
        """A bundle, and the entry of its being read. Raises: Malformed: no path of a bundle."""
        tile = parse_path("tile/entries/" + call.rest)
        answer = await self._file(tile)
        if answer.status == 200:
            asker = call.session.asker
            event = Event.of(
                Kind.QUERY,
                self._house.clock(),
                "pair",
                what="entries",
                digest=sha256(tile.path.encode()),
                first=tile.first,
                count=tile.width,
                pairing=asker.pair,
                session=asker.session,
                cause=call.entry,
            )
            await self._house.machine.store.record(event)
        return answer

    async def _file(self, tile: Tile) -> Answer:
        data = await asyncio.to_thread(self._files.get, tile)
        if data is None:
            what = "bundle" if tile.level == ENTRIES else "tile"
            return _nothing(f"there is no such {what}; a partial one goes away once the full one is there")
        return Answer(body=data, kind=BYTES, digest=sha256(data))


def _nothing(why: str) -> Answer:
    return json_answer({"error": error_body(Refused(why))}, 404)
