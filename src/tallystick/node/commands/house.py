"""init, serve, invite, status, whois, log: a house, and what a machine knows of itself."""

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.keys import KeyId
from tallystick.net.address import split
from tallystick.node.client import HouseSession
from tallystick.node.commands.where import Passphrase, ask_house, at_the_house, is_running, open_human, run, submit, the_house
from tallystick.node.home import holder_of
from tallystick.node.host import own_address
from tallystick.node.inviting import invite_offline, invite_view
from tallystick.node.machine import Machine
from tallystick.node.records import filters_of, page_of
from tallystick.node.settings import DEFAULT_PORT, Settings, Source
from tallystick.node.view import entry_json, pair_json
from tallystick.pair.invite import Invite, invite_id, invite_terms
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import InviteCreate
from tallystick.vault import best_vault_found

_NS = 10**9
FOLLOW_S = 0.5


def init(settings: Settings, *, owner: str | None) -> dict[str, Any]:
    """Make a house in `settings.home`."""
    owner_id = None if owner is None else KeyId.parse(owner)
    machine, recovery = Machine.create(settings, Role.HOUSE, owner=owner_id)
    with machine:
        if recovery is None:
            raise AssertionError("a house has a recovery key")
        if settings.origins["name"].source is Source.FLAG:
            _keep_name(machine)
        return {
            "home": str(machine.home.path),
            "name": settings.name,
            "house": machine.house_id.hex(),
            "vault": best_vault_found().name,
            "key_class": machine.vault.machine.signing.key_class.value,
            "owner": None if owner_id is None else str(owner_id),
            "recovery": recovery.paper_text(),
        }


def _keep_name(machine: Machine) -> None:
    """A name given at `init` stays: it goes into tally.toml, unless there is one already."""
    with contextlib.suppress(FileExistsError), machine.home.settings_file.open("x", encoding="utf-8") as file:
        file.write(f'name = "{machine.settings.name}"\n')


def serve(settings: Settings, *, ready: Callable[[Mapping[str, Any]], None]) -> None:
    """Run until SIGTERM or SIGINT."""
    from tallystick.node.serve import run as serve_house  # the whole house: only this command needs it

    serve_house(settings, ready)


def invite(
    settings: Settings,
    *,
    pair_type: str,
    label: str,
    approve: bool,
    for_key: str | None,
    ttl_s: int | None,
    passphrase: Passphrase,
) -> dict[str, Any]:
    """A one-use invite: at the house before genesis, afterwards signed by a human key on a machine with an ADMIN pair."""
    kind = PairType(pair_type)
    key = None if for_key is None else KeyId.parse(for_key)
    if at_the_house(settings):
        if approve or key is not None:
            raise Misuse("the first invite is approved by nobody beforehand", "leave --yes and --for out")
        args = {"type": kind.value, "label": label, "ttl_s": ttl_s}
        if is_running(settings):
            answer: dict[str, Any] = ask_house(settings, "invite", **args)
            return answer
        with Machine.open(settings) as machine, machine.home.lock():
            port = settings.port or DEFAULT_PORT
            address = split(settings.advertise, port) if settings.advertise else (own_address(settings.address), port)
            return run(invite_offline(machine, (address,), args))
    terms = invite_terms(pair_type=kind, ttl_s=ttl_s, yes=approve, for_key=key, label=label or None)
    with Machine.open(settings) as machine:
        house = the_house(machine, "")
        signer = open_human(machine, passphrase)
        secret = secrets.token_bytes(16)

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, house) as session:
                status = await session.get_json("/v1/status", verb="house.status")
                fresh = Invite(
                    secret=secret,
                    house_static=house.static_key,
                    addresses=tuple((str(host), int(port)) for host, port in status["advertise"]),
                    pair_type=kind,
                    expires_s=time.time_ns() // _NS + terms.ttl_s,
                )
                statement = InviteCreate(
                    invite_id=invite_id(secret), pair_type=kind, for_key=key, yes=approve, ttl_s=terms.ttl_s, label=terms.label
                )
                await submit(session, house, signer, statement, secret=secret)
                return invite_view(fresh, label, approve)

        return run(ask())


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
            pair_json(row, _class_of(machine, row.created), _remembered(machine, row.pairing)) for row in machine.store.pairs()
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
            "open_proposals": running.get("open_proposals", sum(item.kind == "pairing" for item in machine.store.inbox()) if house else 0),
            "pairs": pairs,
        }


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


def whois(settings: Settings, *, who: str) -> dict[str, Any]:
    """The pair or key behind a name, KeyId, short number or address. Raises: Refused: nobody."""
    shown = status(settings)
    with Machine.open(settings) as machine:
        for pair in shown["pairs"]:
            if who in (pair["name"], pair["address"], pair["pairing"], pair["key"]) or (len(who) >= 8 and pair["pairing"].startswith(who)):
                return {
                    "name": pair["name"],
                    "kind": f"pair ({pair['role']})",
                    "key": pair["key"],
                    "type": pair["type"],
                    "state": pair["state"],
                    "label": pair["label"],
                    "address": pair["address"],
                }
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


def _by_key_id(machine: Machine, text: str) -> Any:
    try:
        return machine.store.key(KeyId.parse(text))
    except Malformed:
        return None


def log(
    settings: Settings,
    *,
    house: str,
    kind: str | None,
    pair: str | None,
    key: str | None,
    since_ns: int | None,
    limit: int | None,
    follow: bool,
) -> Iterator[dict[str, Any]]:
    """Entries, oldest first: of this machine's own ledger, or of `house` where one is named."""
    given = {"kind": kind, "pair": pair, "key": key, "since_ns": since_ns, "limit": limit}
    query: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if house:
        yield from _log_of_house(settings, house, query, follow)
        return
    with Machine.open(settings) as machine:
        filters = filters_of(machine.store, query)
        yield from page_of(machine.store, query)
        after = machine.store.size()
        while follow:
            time.sleep(FOLLOW_S)
            size = machine.store.size()
            for row in machine.store.entries(after, size, limit=1000, **filters) if size > after else ():
                yield entry_json(row)
            after = size


def _log_of_house(settings: Settings, house: str, query: dict[str, Any], follow: bool) -> Iterator[dict[str, Any]]:
    """Pages over the door, one session for each look."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def page(more: dict[str, Any]) -> list[dict[str, Any]]:
            async with await HouseSession.open(machine, row) as session:
                answer = await session.get_json("/v1/log?" + urlencode({**query, **more}), verb="house.log")
                found: list[dict[str, Any]] = answer["entries"]
                return found

        rows = run(page({}))
        yield from rows
        while follow:
            time.sleep(2 * FOLLOW_S)
            rows = run(page({"after": rows[-1]["index"] + 1 if rows else 0}))
            yield from rows
