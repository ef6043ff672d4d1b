"""The owner's routes at the door: keys, facts, the matrix, the plan, and why (docs/spec/door.md). Only ADMIN pairs come here."""

import asyncio
from typing import TYPE_CHECKING

from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.node.rightsview import facts_view, key_view, keys_view
from tallystick.node.rightswhy import matrix_view, plan_view, why_view

if TYPE_CHECKING:
    from tallystick.node.house import House


def rights_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table about keys and what they may."""
    room = _RightsRoom(house)
    return (
        route("GET", "/v1/keys", "house.keys", room.keys),
        route("GET", "/v1/facts", "house.facts", room.facts),
        route("GET", "/v1/rights", "house.rights", room.rights),
        route("GET", "/v1/rights/why", "house.rights", room.why),
        route("GET", "/v1/plan", "house.plan", room.plan),
    )


class _RightsRoom:
    """The handlers. They read many rows, so they read beside the event loop."""

    def __init__(self, house: "House") -> None:
        self._house = house

    async def keys(self, call: Call) -> Answer:
        """Every key, or with `key=` all about one."""
        store, wanted = self._house.machine.store, call.query.get("key")
        return json_answer(
            await asyncio.to_thread(keys_view, store) if wanted is None else await asyncio.to_thread(key_view, store, wanted)
        )

    async def facts(self, call: Call) -> Answer:
        """Facts."""
        return json_answer(await asyncio.to_thread(facts_view, self._house.machine.store, call.query))

    async def rights(self, call: Call) -> Answer:
        """The matrix."""
        machine = self._house.machine
        return json_answer(
            await asyncio.to_thread(matrix_view, machine.store, machine.vault.machine.signing.public.key_id, self._house.clock())
        )

    async def why(self, call: Call) -> Answer:
        """Why a key may do something, or not."""
        machine = self._house.machine
        own = machine.vault.machine.signing.public.key_id
        return json_answer(await asyncio.to_thread(why_view, machine.store, own, call.query, self._house.clock()))

    async def plan(self, call: Call) -> Answer:
        """Which layers judge which class."""
        machine = self._house.machine
        return json_answer(await asyncio.to_thread(plan_view, machine.store, machine.settings))
