"""`tally serve`: one house in one process, with its own socket, its metrics, and an orderly end."""

import asyncio
import contextlib
import os
import resource
import signal
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvloop

from tallystick.errors import Malformed, Misuse
from tallystick.node import logging as lines
from tallystick.node.erasing import Erased, chosen, erase_here, found_json, word_of
from tallystick.node.following import follow
from tallystick.node.house import House
from tallystick.node.inviting import invite_at_house
from tallystick.node.local import LocalServer
from tallystick.node.machine import Machine
from tallystick.node.metrics import MetricsServer
from tallystick.node.publisher import published_json
from tallystick.node.records import page_of
from tallystick.node.rooms import pairs_view, whole_inbox
from tallystick.node.settings import Settings
from tallystick.node.witnesses import Witnesses, appoint
from tallystick.node.witnessing import Desk, read_policy_file
from tallystick.node.witnessserver import WitnessServer, listen_address
from tallystick.pair.statement import DENY_REASONS, SEVER_REASONS
from tallystick.passage import pairing

MAX_FILES: Final = 65_536


def _raise_file_limit() -> None:
    """Each session is a descriptor: take as many as this process may have (getrlimit(2): the soft limit is only advice)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(settings: Settings, ready: Callable[[Mapping[str, Any]], None]) -> None:
    """Run until SIGTERM or SIGINT. `ready` is told once the house hears knocks.

    Raises: Unavailable: another process holds the home, the port is taken, the ledger stopped. Misuse, Refused.
    """
    _raise_file_limit()
    uvloop.run(_run(settings, ready))


async def _run(settings: Settings, ready: Callable[[Mapping[str, Any]], None]) -> None:
    log = lines.start(settings)
    with Machine.open(settings) as machine, machine.home.lock():
        house = House(machine)
        witnesses = await asyncio.to_thread(appoint, machine, house.publisher, house.clock())
        local = LocalServer(machine.home.house_socket, _handlers(house, witnesses), {"follow": lambda args: follow(machine.store, args)})
        metrics = MetricsServer(house.figures, house.healthy)
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        started: list[Any] = []
        desk = Desk(machine, read_policy_file(settings.witness_logs)) if settings.witness_listen else None
        try:
            await house.start()
            started.append(house)
            await local.start()
            started.append(local)
            port = await metrics.start(settings.metrics_port) if settings.metrics_port else 0
            if port:
                started.append(metrics)
            if desk is not None:
                witness = WitnessServer(desk)
                port_taken = await witness.start(*listen_address(settings.witness_listen))
                log.info("a witness for other logs", extra={"port": port_taken, "logs": len(desk.origins)})
                started.append(witness)
            facts = {
                "house": machine.house_id.hex(),
                "address": settings.address,
                "port": house.port,
                "metrics_port": port,
                "pid": os.getpid(),
            }
            log.info("the house is open", extra=facts)
            ready(facts)
            waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(house.failed.wait())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in waiting:
                task.cancel()
        finally:
            for part in reversed(started):
                await part.stop()
            log.info("the house is closed", extra={"entries": machine.store.size()})
        failure = machine.store.failure
        if failure is not None:
            raise failure


def _handlers(house: House, witnesses: Witnesses) -> Mapping[str, Any]:
    store = house.machine.store

    def proposal(args: Mapping[str, Any]) -> bytes:
        return store.pair_by_name(str(args.get("proposal", ""))).pairing

    async def status(_: Mapping[str, Any]) -> Any:
        size, root = store.head()
        return {
            "pid": os.getpid(),
            "address": house.machine.settings.address,
            "port": house.port,
            "entries": size,
            "root": root.hex(),
            **published_json(house.publisher.state()),
            "plan_not_taken": house.gate.plan_json()["plan_not_taken"],
            "open_proposals": len(store.inbox()),
            "pairs": await asyncio.to_thread(pairs_view, house),
        }

    async def invite(args: Mapping[str, Any]) -> Any:
        return await invite_at_house(house.machine, house.effects, house.addresses(), args, house.clock())

    async def inbox(_: Mapping[str, Any]) -> Any:
        return {**whole_inbox(house, {}), "genesis": house.before_genesis}

    async def confirm(args: Mapping[str, Any]) -> Any:
        pair = proposal(args)
        stands = await house.confirm_genesis(pair)
        row = store.pair(pair)
        return {"stands": stands, "entry": (row.stood if row is not None else None) or 0}

    async def deny(args: Mapping[str, Any]) -> Any:
        pair = proposal(args)
        if store.has_admin_pair():
            raise Misuse("this house has its owner already", "deny on a machine with an ADMIN pair: `tally deny ID`")
        receipt = await house.effects.run(
            pairing.denied(pair=pair, signed=None, reason=_word(args, DENY_REASONS, "denied"), now_ns=house.clock())
        )
        await house.refused(pair)
        return {"entry": receipt.index}

    async def sever(args: Mapping[str, Any]) -> Any:
        row = store.pair_by_name(str(args.get("name", "")))
        reason = _word(args, SEVER_REASONS, "unspecified")
        receipt, cut, told = await house.sever(row.pairing, by="local", reason=reason, tell=True)
        return {
            "name": row.label or row.pairing.hex()[:8],
            "pairing": row.pairing.hex(),
            "sessions_cut": cut,
            "told": told,
            "entry": receipt.index,
        }

    async def erasable(args: Mapping[str, Any]) -> Any:
        return found_json(Erased.of(await asyncio.to_thread(chosen, store, args), None), word_of(args.get("reason")))

    async def erase(args: Mapping[str, Any]) -> Any:
        reason, entries = word_of(args.get("reason")), await asyncio.to_thread(chosen, store, args)
        return await asyncio.to_thread(erase_here, store, entries, house.clock(), reason)

    async def replace_admins(args: Mapping[str, Any]) -> Any:
        return await house.statements.submit_here(_bytes(args.get("bundle")))

    async def log(args: Mapping[str, Any]) -> Any:
        return {"entries": await asyncio.to_thread(page_of, store, args)}

    async def checkpoint(_: Mapping[str, Any]) -> Any:
        newest = await asyncio.to_thread(house.publisher.newest, fresh=True)
        return {"size": newest.size, "root": newest.root.hex(), "checkpoint": newest.note.decode()}

    async def list_witnesses(_: Mapping[str, Any]) -> Any:
        return {"witnesses": witnesses.rows()}

    async def stop(_: Mapping[str, Any]) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    return {
        "status": status,
        "invite": invite,
        "inbox": inbox,
        "confirm": confirm,
        "deny": deny,
        "sever": sever,
        "erasable": erasable,
        "erase": erase,
        "replace-admins": replace_admins,
        "log": log,
        "checkpoint": checkpoint,
        "witnesses": list_witnesses,
        "stop": stop,
    }


def _word(args: Mapping[str, Any], words: tuple[str, ...], otherwise: str) -> str:
    word = str(args.get("reason") or otherwise)
    if word not in words:
        raise Misuse(f"no reason is called {word[:40]!r}", f"one of {', '.join(words)}")
    return word


def _bytes(text: object) -> bytes:
    try:
        return bytes.fromhex(str(text))
    except ValueError:
        raise Malformed("not bytes in hexadecimal") from None
