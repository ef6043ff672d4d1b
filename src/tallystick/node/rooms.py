"""The house's own routes at the door: ping, status, checkpoint, log, inbox, pairs, statements (docs/spec/door.md)."""

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.node.following import FollowedLines, follow
from tallystick.node.gateroom import gate_routes
from tallystick.node.logroom import log_routes
from tallystick.node.proposals import held_view
from tallystick.node.records import page_of, query_event, whole_number
from tallystick.node.rightsroom import rights_routes
from tallystick.node.storyroom import story_routes
from tallystick.node.view import is_shown, pair_json, proposal_json
from tallystick.pair.pairing import PairType, Role
from tallystick.storage.rows import PairRow

if TYPE_CHECKING:
    from tallystick.node.house import House


def house_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table that lead to the house itself."""
    rooms = _Rooms(house)
    return (
        route("GET", "/v1/ping", "pair.ping", rooms.ping),
        route("GET", "/v1/status", "house.status", rooms.status),
        route("GET", "/v1/checkpoint", "house.checkpoint", rooms.checkpoint),
        route("GET", "/v1/log", "house.log", rooms.log),
        route("GET", "/v1/inbox", "house.inbox", rooms.inbox),
        route("GET", "/v1/pairs", "house.pairs", rooms.pairs),
        route("POST", "/v1/statements", "statement.submit", rooms.statement),
        *log_routes(house),
        *gate_routes(house),
        *rights_routes(house),
        *story_routes(house),
    )


def key_class_of(house: "House", pair: PairRow) -> str:
    """The class that the other machine claims for its key, from its proposal."""
    row = house.machine.store.entry(pair.created)
    ext = None if row is None else row.event.get("ext")
    facts = ext.get("facts", b"") if isinstance(ext, Mapping) else b""
    return next((line[10:].decode() for line in facts.split(b"\n") if line.startswith(b"key_class=")), "")


def pairs_view(house: "House") -> list[dict[str, Any]]:
    """Every pair of this machine, as `tally status` shows it."""
    return [pair_json(row, key_class_of(house, row), house.live(row.pairing)) for row in house.machine.store.pairs() if is_shown(row)]


def inbox_view(house: "House") -> list[dict[str, Any]]:
    """The pairings that wait for a human."""
    found = []
    for item in house.machine.store.inbox():
        row = house.machine.store.pair(item.identity) if item.kind == "pairing" else None
        proposal = None if row is None else house.machine.store.entry(row.created)
        if row is not None and proposal is not None and row.role is Role.HOUSE:
            found.append(proposal_json(row, proposal.event, house.address_of(row.invite)))
    return found


def _human_of(house: "House", row: PairRow) -> str | None:
    """The human key that an ADMIN proposal brings, as a COSE_Key in hexadecimal."""
    proposal = house.machine.store.entry(row.created)
    ext = None if proposal is None else proposal.event.get("ext")
    return ext["human"].hex() if isinstance(ext, Mapping) and "human" in ext else None


def whole_inbox(house: "House", query: Mapping[str, str]) -> dict[str, Any]:
    """Everything that waits for a human: pairings, held signals from entry `after` on, what is suspended."""
    return {"proposals": inbox_view(house), **held_view(house.machine.store, whole_number(query.get("after") or 0))}


class _Rooms:
    """The handlers."""

    def __init__(self, house: "House") -> None:
        self._house = house

    async def ping(self, call: Call) -> Answer:
        """Are you there, and what is the time?"""
        return json_answer({"time_ns": self._house.clock()})

    async def status(self, call: Call) -> Answer:
        """The house in counts and states, and the asker's own pair."""
        house = self._house
        row = house.machine.store.pair(call.session.asker.pair)
        if row is None:
            raise AssertionError("a session belongs to a pair")
        settings = house.machine.settings
        figures = house.figures()
        invites = {
            # For who makes invites; the others know of the house what they need, and INTERFACE sees counts and states.
            "static": house.machine.vault.machine.static.public.hex(),
            "advertise": [list(address) for address in house.addresses()],
        }
        return json_answer(
            {
                "house": house.machine.house_id.hex(),
                "name": settings.name,
                "type": row.effective.value,
                "label": row.label,
                "entries": house.machine.store.size(),
                "pairs_standing": figures["pairs_standing"],
                "sessions_open": figures["sessions_open"],
                "uptime_seconds": int(figures["uptime_seconds"]),
                **(invites if row.effective is PairType.ADMIN else {}),
            }
        )

    async def checkpoint(self, call: Call) -> Answer:
        """The newest signed checkpoint, and the proof that it continues the asker's."""
        house = self._house
        old = whole_number(call.query.get("old") or 0)
        shown = await asyncio.to_thread(house.publisher.show, old)
        return json_answer({"checkpoint": shown.note.decode(), "proof": [each.hex() for each in shown.proof]})

    async def log(self, call: Call) -> Answer:
        """Entries: an ADMIN sees all, others those of their own pair. With `follow=1` then those that come, a line each."""
        asker, store = call.session.asker, self._house.machine.store
        pair = None if asker.cap is PairType.ADMIN else asker.pair
        follows = call.query.get("follow") == "1"

        def over() -> bool:
            return self._house.stopping or call.session.asker.cap is not asker.cap  # what it may see has changed

        entries = follow(store, {"after": store.size(), **call.query}, pair=pair, unseen=asker.session, over=over)
        rows = [] if follows else await asyncio.to_thread(page_of, store, call.query, pair=pair)
        context: dict[str, Any] = {"pairing": asker.pair, "session": asker.session, "cause": call.entry}
        event, opening = query_event(call.query, rows, self._house.clock(), "pair", **context)
        await store.record(event, openings=(opening,))
        return Answer(body=FollowedLines(entries), kind="application/x-ndjson") if follows else json_answer({"entries": rows})

    async def inbox(self, call: Call) -> Answer:
        """What waits for a human: pairings, and a page of held signals."""
        return json_answer(await asyncio.to_thread(whole_inbox, self._house, call.query))

    async def pairs(self, call: Call) -> Answer:
        """Every pair, and what an approval must name: keys, proposal entry and suite of those that wait."""
        house = self._house
        rows = {row.pairing.hex(): row for row in await asyncio.to_thread(house.machine.store.pairs)}
        pairs = await asyncio.to_thread(pairs_view, house)
        details = {
            pairing: {
                "proposal": row.created,
                "origin": house.statements.origin_hash.hex(),
                "static": row.static_key.hex(),
                "signing": row.signing_key.cose_key().hex(),
                "witness": row.witness_key.hex(),
                "human": _human_of(house, row),
                "signed_type": row.pair_type.value,
            }
            for pairing, row in rows.items()
            if row.role is Role.HOUSE
        }
        return json_answer({"pairs": pairs, "details": details})

    async def statement(self, call: Call) -> Answer:
        """A human statement, carried by this pair."""
        return json_answer(await self._house.statements.submit(call.body, call.session.asker))
