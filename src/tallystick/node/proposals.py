"""What waits for a human besides pairings, as the door shows it: held signals with their exact bytes, and what is suspended.

A client believes none of the words here about a signal: it has the signal, its opening and its body, proves them, and reads from them
what would be done (node/held.py). What only the house can know stands beside: why it is held, how keys are called, who is behind it.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from tallystick.canonical import decimal
from tallystick.errors import Malformed, Refused
from tallystick.gate.signal import EntryRef, parse_signal
from tallystick.ledger.event import Event, Kind
from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.storage.gaterows import ProposalRow, SignalRow
from tallystick.storage.sqlite import Store

if TYPE_CHECKING:
    from tallystick.node.house import House

MAX_HELD: Final = 100  # of one answer
MAX_CHAIN: Final = 32
MAX_ITEMS: Final = 1_024
_KINDS_OF_END: Final = (Kind.EFFECT_DONE, Kind.EFFECT_FAILED, Kind.EFFECT_UNKNOWN)


def proposal_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table that lead to what is held."""
    rooms = _Rooms(house)
    return (
        route("GET", "/v1/proposals/*", "house.inbox", rooms.one),
        route("GET", "/v1/bodies/*", "house.inbox", rooms.body),
        route("GET", "/v1/approvals/*", "house.inbox", rooms.approval),
    )


def held_view(store: Store, after: int = 0) -> dict[str, Any]:
    """What is held, oldest first, from an entry on, and whether there is more; and what is suspended."""
    rows = [row for row in store.gate.proposals("held", limit=10_000) if row.entry >= after]
    found = [held_json(store, row) for row in rows[:MAX_HELD]]
    return {
        "held": [each for each in found if each is not None],
        "more": rows[MAX_HELD].entry if len(rows) > MAX_HELD else None,
        "suspended": [
            {"kind": each.kind, "id": each.identity.hex(), "entry": each.entry, "cause": each.cause, "name": _name(store, each.identity)}
            for each in store.gate.suspended()[:MAX_HELD]
        ],
    }


def _name(store: Store, identity: bytes) -> str:
    if len(identity) != 32:
        return ""
    key = store.gate.known_key(identity)
    if key is not None:
        return f"#{key.known.number} {key.known.label}".rstrip()
    pair = store.pair(identity)
    return "" if pair is None else pair.label


def held_json(store: Store, row: ProposalRow) -> dict[str, Any] | None:
    """One proposal; None where its signal is not known any more."""
    signal = None if row.signal_entry is None else store.gate.signal_at(row.signal_entry)
    entry = None if signal is None else store.entry(signal.entry)
    held = store.entry(row.entry)
    if signal is None or entry is None or held is None:
        return None
    key = store.gate.known_key(signal.key)
    return {
        "id": row.entry,
        "state": row.state,
        "why": row.reason,  # it ended so
        "reason": held.event.text("what") or signal.reason,
        "rule": entry.event.text("rule"),
        "facts": _numbers(entry.event, "facts"),
        "time_ns": row.time_ns,
        "expires_ns": row.expires_ns or 0,
        "replaces": row.replaces,
        "signal_entry": signal.entry,
        "signal": entry.event.blob("signal").hex(),
        "opening": (store.opening(signal.entry) or b"").hex(),
        "body_bytes": None if row.body is None else len(store.opening(row.entry) or b""),
        "key": None if key is None else key.public.cose_key().hex(),
        "signer": key_json(store, signal.key),
        "chain": chain_of(store, signal, entry.event),
    }


def key_json(store: Store, key_id: bytes) -> dict[str, Any]:
    """How the house calls a key."""
    row = store.gate.known_key(key_id)
    if row is None:
        return {"key": key_id.hex(), "number": None, "label": "", "kind": "unknown", "state": "unknown"}
    known = row.known
    return {"key": key_id.hex(), "number": known.number, "label": known.label, "kind": known.kind, "state": known.state}


def chain_of(store: Store, signal: SignalRow, event: Event) -> list[dict[str, Any]]:
    """Who is behind a signal, the nearest first: what it names, what those name; then keys that its context brought."""
    found: list[dict[str, Any]] = []
    seen, told = {signal.entry}, {bytes(signal.key)}
    waiting = deque(_before(store, event))
    while waiting and len(found) < MAX_CHAIN:
        row = waiting.popleft()
        if row.entry in seen:
            continue
        seen.add(row.entry)
        told.add(bytes(row.key))
        about = {"entry": row.entry, "class": row.signal_class, "verb": row.verb, "verdict": row.verdict, "time_ns": row.time_ns}
        found.append({**key_json(store, row.key), **about})
        entry = store.entry(row.entry)
        if entry is not None:
            waiting.extend(_before(store, entry.event))
    for key in signal.signers:
        if bytes(key) not in told and len(found) < MAX_CHAIN:
            found.append({**key_json(store, key), "entry": None, "class": "", "verb": "", "verdict": "", "time_ns": 0})
    return found


def _before(store: Store, event: Event) -> list[SignalRow]:
    try:
        prev = parse_signal(event.blob("signal")).claims.prev
    except Malformed:
        return []
    rows = [store.gate.signal_at(each.index) if isinstance(each, EntryRef) else store.gate.signal(each) for each in prev]
    return [row for row in rows if row is not None]


def _numbers(event: Event, name: str) -> list[int]:
    value = event.get(name)
    return list(value) if isinstance(value, tuple) else []


class _Rooms:
    """The handlers."""

    def __init__(self, house: "House") -> None:
        self._house = house

    @property
    def _store(self) -> Store:
        return self._house.machine.store

    def _row(self, call: Call) -> ProposalRow:
        row = self._store.gate.proposal(_number(call.rest))
        if row is None:
            raise Refused("there is no such proposal", "see `tally inbox`")
        return row

    async def one(self, call: Call) -> Answer:
        """One proposal, whatever became of it."""
        found = await asyncio.to_thread(held_json, self._store, self._row(call))
        if found is None:
            raise Refused("what this proposal was about is not known any more", "see `tally log`")
        return json_answer(found)

    async def body(self, call: Call) -> Answer:
        """The quarantined body."""
        body = await asyncio.to_thread(self._store.opening, self._row(call).entry)
        return Answer(body=body or b"", kind="application/octet-stream")

    async def approval(self, call: Call) -> Answer:
        """What became of the proposals of one approval."""
        return json_answer({"items": await asyncio.to_thread(self._items, _number(call.rest))})

    def _items(self, approval: int) -> list[dict[str, Any]]:
        store = self._store
        entry = store.entry(approval)
        items = None if entry is None or entry.event.kind is not Kind.APPROVAL else entry.event.get("items")
        if not isinstance(items, tuple):
            raise Refused(f"entry {approval} is no approval", "see `tally inbox`")
        found = []
        for at, _ in items[:MAX_ITEMS]:
            row = store.gate.proposal(at)
            if row is None:
                continue
            end = None if row.ended is None else self._effect(row)
            found.append(
                {
                    "id": at,
                    "state": row.state,
                    "why": row.reason,
                    "entry": row.ended,
                    "result": "" if end is None else end.kind.name.lower().removeprefix("effect_"),
                    "status": None if end is None or end.get("status") is None else end.number("status"),
                    "reason": "" if end is None else end.text("reason"),
                }
            )
        return found

    def _effect(self, row: ProposalRow) -> Event | None:
        """How what was carried out ended: its entry stands right before the proposal's end."""
        if row.ended is None or row.state != "ended":
            return None
        before = self._store.entry(row.ended - 1)
        return None if before is None or before.event.kind not in _KINDS_OF_END else before.event


def _number(text: str) -> int:
    try:
        return decimal(text, maximum=2**63 - 1)
    except Malformed:
        raise Malformed("not the number of an entry", "see `tally inbox`") from None
