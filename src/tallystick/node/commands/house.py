"""init, serve, invite, status, whois, log: a house, and what a machine knows of itself."""

import contextlib
import os
import secrets
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any, Final

from tallystick.errors import Misuse, Refused
from tallystick.keys import KeyId
from tallystick.net.address import split
from tallystick.node import answers
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import ask_house, at_the_house, is_running, pulled, run
from tallystick.node.commands.where import Passphrase, open_human, submit, the_house
from tallystick.node.home import FILE_MODE
from tallystick.node.host import own_address
from tallystick.node.inviting import invite_offline, invite_view
from tallystick.node.machine import Machine
from tallystick.node.records import MAX_PAGE, filters_of, names_of, query_event, rows_about, wanted_of
from tallystick.node.remote import HouseClient
from tallystick.node.settings import DEFAULT_PORT, Settings, Source
from tallystick.node.view import entry_json
from tallystick.pair.invite import Invite, invite_id, invite_terms
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import InviteCreate
from tallystick.storage.rows import EntryRow, PairRow
from tallystick.storage.sqlite import Store
from tallystick.vault import best_vault_found

_NS = 10**9
FOLLOW_S: Final = 0.5
MAX_LOOK: Final = 10_000  # entries of one look into our own ledger


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
    with contextlib.suppress(FileExistsError):
        file = os.open(machine.home.settings_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        with os.fdopen(file, "w", encoding="utf-8") as text:
            text.write(f'name = "{machine.settings.name}"\n')


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
                status = await session.get_json("/v1/status", verb="house.status", kind=answers.Status)
                fresh = Invite(
                    secret=secret,
                    house_static=house.static_key,
                    addresses=_advertised(status),
                    pair_type=kind,
                    expires_s=session.now_ns() // _NS + terms.ttl_s,
                )
                statement = InviteCreate(
                    invite_id=invite_id(secret), pair_type=kind, for_key=key, yes=approve, ttl_s=terms.ttl_s, label=terms.label
                )
                await submit(session, house, signer, statement, secret=secret)
                return invite_view(fresh, label, approve)

        return run(ask())


def _advertised(status: answers.Status) -> tuple[tuple[str, int], ...]:
    """Where clients of a house should knock; only an ADMIN is told. Raises: Refused."""
    if "advertise" not in status:
        raise Refused(f"this pair is {status['type'].value}: only an ADMIN invites", "ask an owner of the house")
    return tuple(status["advertise"])


def log(settings: Settings, *, house: str, query: Mapping[str, Any], follow: bool) -> Iterator[dict[str, Any]]:
    """Entries, oldest first: of this machine's own ledger, or of `house` where one is named. Reading is an entry itself.

    Args: query: kind, pair, key, action, verdict, target, since_ns, until_ns, limit.
    """
    if house:
        yield from _log_of_house(settings, house, query, follow)
        return
    with Machine.open(settings) as machine:
        store = machine.store
        if query.get("signal"):
            yield from _about_one(store, query, follow=follow)
            return
        filters = filters_of(store, query)
        after, wanted = store.size(), wanted_of(query)
        found = deque[EntryRow]()
        while len(found) < wanted:
            stop = found[0].index if found else after
            older = store.entries(0, stop, limit=min(wanted - len(found), MAX_LOOK), newest_first=True, **filters)
            found.extendleft(older)
            if len(older) < MAX_LOOK:
                break
        names = names_of(store)
        rows = [entry_json(row, names) for row in found]
        event, opening = query_event(query, rows, time.time_ns(), "local")
        (own,) = store.append(event, openings=(opening,)).result()
        yield from rows
        while follow:
            time.sleep(FOLLOW_S)
            size = store.size()
            for row in store.entries(after, size, limit=1000, **filters) if size > after else ():
                if row.index != own.index:
                    yield entry_json(row, names_of(store))
            after = size


def _about_one(store: Store, query: Mapping[str, Any], *, follow: bool) -> Iterator[dict[str, Any]]:
    """What is about one signal. Raises: Misuse."""
    if follow:
        raise Misuse("what is about one signal is not followed", "leave --follow out")
    names = names_of(store)
    rows = [entry_json(row, names) for row in rows_about(store, query)]
    event, opening = query_event(query, rows, time.time_ns(), "local")
    store.append(event, openings=(opening,)).result()
    yield from rows[: wanted_of(query)]


def _log_of_house(settings: Settings, house: str, query: Mapping[str, Any], follow: bool) -> Iterator[dict[str, Any]]:
    """A page over the door; then, to follow, one answer that does not end."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def newest() -> list[dict[str, Any]]:
            found = deque[answers.Entry]()
            async with await HouseClient.open(machine, row) as client:
                while len(found) < (wanted := wanted_of(query)):
                    limit = min(wanted - len(found), MAX_PAGE)
                    older = await client.log(**{**query, "limit": limit, **({"before": found[0]["index"]} if found else {})})
                    found.extendleft(reversed(older))
                    if len(older) < limit:
                        break
            return [{**entry} for entry in found]

        rows = run(newest())
        yield from rows
        if follow:
            rest = {name: value for name, value in query.items() if name not in ("limit", "since_ns")}
            yield from pulled(_followed(machine, row, {**rest, "after": rows[-1]["index"] + 1} if rows else rest))


async def _followed(machine: Machine, row: PairRow, query: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
    async with await HouseClient.open(machine, row) as client:
        async with aclosing(client.follow(**query)) as entries:
            async for entry in entries:
                yield {**entry}
