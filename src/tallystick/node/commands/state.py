"""status, whois: what this machine knows of itself."""

from collections.abc import Mapping
from typing import Any

from tallystick.errors import Malformed, Refused, Unavailable
from tallystick.keys import KeyId
from tallystick.node.commands.here import ask_house, is_running
from tallystick.node.home import holder_of
from tallystick.node.machine import Machine
from tallystick.node.publisher import published_size
from tallystick.node.settings import Settings
from tallystick.node.view import is_shown, pair_json, reason_of
from tallystick.pair.pairing import PairType, Role


def status(settings: Settings) -> dict[str, Any]:
    """This machine and its pairs; works with and without a running house."""
    with Machine.open(settings) as machine:
        size, root = machine.store.head()
        house = machine.role is Role.HOUSE
        running: dict[str, Any] = {}
        if house and is_running(settings):
            try:
                running = ask_house(settings, "status")
            except Unavailable:
                running = {}
        pairs = running.get("pairs") or [
            pair_json(row, _class_of(machine, row.created), _remembered(machine, row.pairing))
            for row in machine.store.pairs()
            if is_shown(row)
        ]
        return {
            "name": settings.name,
            "home": str(machine.home.path),
            "role": machine.role.value,
            "house": machine.house_id.hex() if house else None,
            "key": str(machine.vault.machine.signing.public.key_id),
            "key_class": machine.vault.machine.signing.key_class.value,
            "running": bool(running),
            "pid": running.get("pid") or holder_of(machine.home) or None,
            "address": running.get("address"),
            "port": running.get("port"),
            "entries": running.get("entries", size),
            "root": running.get("root", root.hex()),
            "published": running.get("published", published_size(machine.home) if house else None),
            "publication": running.get("publication"),
            "closed": (reason_of(machine.store.house()) or None) if house else None,
            "open_proposals": running.get("open_proposals", sum(item.kind == "pairing" for item in machine.store.inbox()) if house else 0),
            "free_bytes": machine.reserve.free(),
            "least_bytes": settings.reserve_mib << 20 if house else None,
            "plan_not_taken": running.get("plan_not_taken", _not_taken(machine) if house and settings.auth_layers else []),
            "pairs": pairs,
        }


def _not_taken(machine: Machine) -> list[str]:
    from tallystick.node.gatehouse import settled_plan  # most machines configure no layers: they need not load the gate for this

    return list(settled_plan(machine.store, machine.settings).not_taken)


def _remembered(machine: Machine, pair: bytes) -> dict[str, Any]:
    match machine.memory.get(f"live/{pair.hex()}"):
        case [knock, address, received, sent, mode, visibility]:
            return {
                "last_knock_ns": knock,
                "address": address,
                "received_bytes": received,
                "sent_bytes": sent,
                "mode": mode,
                "visibility": visibility,
            }
    return {}


def _class_of(machine: Machine, proposal: int) -> str:
    row = machine.store.entry(proposal)
    ext = None if row is None else row.event.get("ext")
    facts = ext.get("facts", b"") if isinstance(ext, Mapping) else b""
    return next((line[10:].decode() for line in facts.split(b"\n") if line.startswith(b"key_class=")), "")


def whois(settings: Settings, *, who: str, house: str = "") -> dict[str, Any]:
    """The pair or key behind a name, KeyId, short number or address; with `house` a pair of that house (ADMIN pairs only).

    Raises: Refused: nobody.
    """
    if house:
        from tallystick.node.commands.there import house_status  # a client of houses: `tally status` here need not wait for it

        there = house_status(settings, house=house)
        if there["type"] != PairType.ADMIN.value:
            raise Refused(f"this machine is {there['type']} at {there['house']}: only an ADMIN sees its pairs", "ask an owner of the house")
        if (found := _pair_of(there["pairs"], who)) is None:
            raise Refused(f"nobody at {there['house']} is called {who[:60]}", "`tally status --house` lists its pairs")
        return found
    shown = status(settings)
    with Machine.open(settings) as machine:
        if (found := _pair_of(shown["pairs"], who)) is not None:
            return found
        number = who.removeprefix("#")
        row = machine.store.key(int(number)) if number.isdigit() and len(number) < 10 else _by_key_id(machine, who)
    if row is None:
        raise Refused(f"nobody here is called {who[:60]}", "`tally status` lists the pairs, `tally key ls` the keys")
    pair_type = next((pair["type"] for pair in shown["pairs"] if row.pairing is not None and pair["pairing"] == row.pairing.hex()), None)
    return {
        "name": f"#{row.number}",
        "kind": f"{row.kind} key",
        "key": str(row.key_id),
        "type": pair_type,
        "state": row.state,
        "label": row.label,
        "address": None,
    }


def _pair_of(pairs: list[dict[str, Any]], who: str) -> dict[str, Any] | None:
    for pair in pairs:
        if who in (pair["name"], pair["address"], pair["pairing"], pair["key"]) or (len(who) >= 8 and pair["pairing"].startswith(who)):
            kept = {name: pair[name] for name in ("name", "key", "type", "state", "label", "address")}
            return {**kept, "kind": f"pair ({pair['role']})"}
    return None


def _by_key_id(machine: Machine, text: str) -> Any:
    try:
        return machine.store.key(KeyId.parse(text))
    except Malformed:
        return None
