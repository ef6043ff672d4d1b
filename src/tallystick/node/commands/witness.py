"""witness serve, ls, keys, show, compare: this machine as a witness, the witnesses of its own log, and what pairs tell each other."""

import asyncio
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import uvloop

from tallystick.errors import Malformed, Misuse, Refused, Unproven
from tallystick.node.checkpoints import ForkError, Witness, cosign_as, fork_event, witness_key
from tallystick.node.commands.here import ask_house, is_running, run
from tallystick.node.commands.where import the_house
from tallystick.node.files import read_file
from tallystick.node.machine import Machine
from tallystick.node.remote import HouseClient
from tallystick.node.settings import Settings
from tallystick.node.witnesses import Witnesses
from tallystick.node.witnessing import Desk, log_keys, paired_logs, read_policy_file
from tallystick.node.witnessserver import WitnessServer, listen_address
from tallystick.pair.pairing import Role
from tallystick.storage.rows import PairRow, SeenCheckpoint
from tallystick.tlog.checkpoint import Checkpoint, verify_checkpoint
from tallystick.tlog.policy import Policy
from tallystick.tlog.proof import verify_consistency
from tallystick.tlog.witness import with_cosignatures

DEFAULT_LISTEN: Final = "127.0.0.1:51878"
MAX_NOTE_BYTES: Final = 1_000_000


def witness_serve(settings: Settings, *, ready: Callable[[Mapping[str, Any]], None]) -> None:
    """Be a witness until SIGTERM or SIGINT. A machine that is not made yet is made."""
    host, port = listen_address(settings.witness_listen or DEFAULT_LISTEN)
    with Machine.open_or_create(settings, Role.CLIENT) as machine:
        desk = Desk(machine, read_policy_file(settings.witness_logs))
        if paired := paired_logs(desk.origins, machine):
            names = ", ".join(paired.values())
            raise Misuse(f"this machine is paired with {names}", "it witnesses a pair in the pair's own sessions; use another machine here")
        uvloop.run(_serve(desk, machine, host, port, ready))


async def _serve(desk: Desk, machine: Machine, host: str, port: int, ready: Callable[[Mapping[str, Any]], None]) -> None:
    server, stop = WitnessServer(desk), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    taken = await server.start(host, port)
    ready({"address": host, "port": taken, "key": str(witness_key(machine)), "logs": list(desk.origins)})
    await stop.wait()
    await server.stop()


def witness_keys(settings: Settings) -> dict[str, Any]:
    """The keys by which others check this machine's cosignatures and, of a house, its log."""
    with Machine.open(settings) as machine:
        logs = log_keys(machine) if machine.role is Role.HOUSE else ()
        return {"witness": str(witness_key(machine)), "log": [str(key) for key in logs]}


def witness_ls(settings: Settings) -> dict[str, Any]:
    """The witnesses of this house's log, and the logs that this machine is a witness of: houses it is paired with, and others."""
    with Machine.open(settings) as machine:
        if is_running(settings):
            witnesses = list(ask_house(settings, "witnesses")["witnesses"])
        else:
            policy = Policy() if settings.witness_policy is None else read_policy_file(settings.witness_policy)
            witnesses = Witnesses(policy, machine.store.consistency, closed=settings.witness_quorum == "closed").rows()
        logs = [
            {"log": Witness(machine, row).log()[0], "name": row.label, "size": row.seen.size}
            for row in machine.store.pairs()
            if row.role is Role.CLIENT and row.stands and row.seen is not None
        ]
        if settings.witness_logs.exists():
            desk = Desk(machine, read_policy_file(settings.witness_logs))
            for origin in desk.origins:
                seen = desk.last(origin)
                logs.append({"log": origin, "name": "", "size": 0 if seen is None else seen.size})
        return {"witnesses": witnesses, "logs": logs}


def witness_show(settings: Settings, *, house: str) -> dict[str, Any]:
    """The newest checkpoint of a house that this machine has seen, with its cosignature: for comparing with what others saw."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        checkpoint, seen = _seen(machine, row)
        note = with_cosignatures(seen.note, (cosign_as(machine, checkpoint, time.time_ns()),))
        return {"house": row.label, "size": checkpoint.size, "root": checkpoint.root.hex(), "checkpoint": note.decode()}


def witness_compare(settings: Settings, *, house: str, file: Path) -> dict[str, Any]:
    """Whether a checkpoint that somebody else saw and the one we saw are of one history, which the house must prove.

    Raises: ForkError (Unproven): they are not; both are kept as evidence.  Unproven: the checkpoint is not of this house's log.
    """
    note = read_file(file, MAX_NOTE_BYTES)
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        witness = Witness(machine, row)
        theirs = _verified(witness, note)
        ours, seen = _seen(machine, row)
        try:
            newest = run(_one_history(machine, row, witness, theirs, ours, (seen.note, note)))
        except ForkError as fork:
            machine.store.append(fork_event(row, fork, time.time_ns())).result()
            raise
        return {"house": row.label, "ours": ours.size, "theirs": theirs.size, "newest": newest}


async def _one_history(
    machine: Machine, row: PairRow, witness: Witness, theirs: Checkpoint, ours: Checkpoint, notes: tuple[bytes, bytes]
) -> int:
    if theirs.size == ours.size and theirs.root != ours.root:
        raise ForkError(f"two histories of {ours.size} entries", *notes)
    newest: Checkpoint | None = None
    async with await HouseClient.open(machine, row) as client:
        for checkpoint, kept in ((theirs, notes[1]), (ours, notes[0])):
            shown = await client.checkpoint(checkpoint.size)
            note, proof = shown["checkpoint"].encode(), [bytes.fromhex(each) for each in shown["proof"]]
            newest = _verified(witness, note)
            if newest.size < checkpoint.size:
                raise ForkError(f"it shows {newest.size} entries, and {checkpoint.size} were signed", kept, note)
            try:
                verify_consistency(old=checkpoint.size, new=newest.size, old_root=checkpoint.root, new_root=newest.root, proof=proof)
            except (Unproven, Malformed):
                raise ForkError(f"no proof that its {newest.size} entries continue those {checkpoint.size}", kept, note) from None
    if newest is None:
        raise AssertionError("two checkpoints were compared")
    return newest.size


def _seen(machine: Machine, row: PairRow) -> tuple[Checkpoint, SeenCheckpoint]:
    if row.seen is None:
        raise Refused(f"this machine has seen no checkpoint of {row.label}", "`tally ping` knocks and sees one")
    return _verified(Witness(machine, row), row.seen.note), row.seen


def _verified(witness: Witness, note: bytes) -> Checkpoint:
    """A checkpoint of a house's log. Raises: Malformed, Unproven."""
    name, keys = witness.log()
    return verify_checkpoint(note, log=keys, origin=name).checkpoint
