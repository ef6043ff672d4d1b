"""Explaining at the door: the story of a signal, for an ADMIN pair (docs/spec/door.md, docs/explain.md). Who reads it is on record."""

import asyncio
from typing import TYPE_CHECKING

from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.node.explaining import entry_of, explain
from tallystick.node.records import query_event
from tallystick.node.rejudging import Rejudging
from tallystick.node.storyanswers import Explained
from tallystick.node.storyview import explained

if TYPE_CHECKING:
    from tallystick.node.house import House

MAX_STEPS = 4_096  # of a story that is sent; what is left out is counted


def story_routes(house: "House") -> tuple[Route, ...]:
    """The row of the table."""
    return (route("GET", "/v1/explain", "house.explain", _StoryRoom(house).explain),)


class _StoryRoom:
    """The handler."""

    def __init__(self, house: "House") -> None:
        self._house = house

    async def explain(self, call: Call) -> Answer:
        """The story of a signal. Raises: Misuse: there is none."""
        found = await asyncio.to_thread(self._told, call)
        asker = call.session.asker
        event, opening = query_event(
            call.query,
            [{"index": found["entry"]}],
            self._house.clock(),
            "pair",
            what="explain",
            pairing=asker.pair,
            session=asker.session,
            cause=call.entry,
        )
        await self._house.machine.store.record(event, openings=(opening,))
        return json_answer(found)

    def _told(self, call: Call) -> Explained:
        store = self._house.machine.store
        index = entry_of(store, call.query.get("signal", ""))
        told = explain(
            store,
            index,
            rejudge=Rejudging(self._house.machine),
            quick=call.query.get("quick") == "1",
            all_now=call.query.get("now") == "1",
            max_steps=MAX_STEPS,
        )
        return explained(store, told)
