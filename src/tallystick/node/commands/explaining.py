"""explain: how a signal came about, at this house from its ledger, or at a house that this machine is an ADMIN of."""

import time
from pathlib import Path
from typing import Any, Final

from tallystick.errors import Misuse, Refused
from tallystick.ledger.event import Kind
from tallystick.ledger.story import Story
from tallystick.node import explaining
from tallystick.node.commands.here import run
from tallystick.node.commands.record import newest_checkpoint
from tallystick.node.commands.where import the_house
from tallystick.node.evidence import export_these
from tallystick.node.explaining import entry_of
from tallystick.node.files import write_new
from tallystick.node.machine import Machine
from tallystick.node.records import query_event
from tallystick.node.rejudging import Rejudging
from tallystick.node.remote import HouseClient
from tallystick.node.settings import Settings
from tallystick.node.storyanswers import Explained
from tallystick.node.storyview import explained
from tallystick.primitives import sha256

MAX_PROVEN: Final = 100_000  # entries in one file of proofs


def explain(settings: Settings, *, signal: str, house: str | None, quick: bool, all_now: bool, proofs: Path | None) -> dict[str, Any]:
    """The story of a signal: of this machine's own ledger, offline; or with `house` of a house's, over an ADMIN pair.

    Args: proofs: where the evidence of every entry of the story is written.
    """
    began = time.monotonic()
    if house is not None:
        if proofs is not None:
            raise Misuse(
                "evidence is written at the house itself", "give the command there; --json carries an inclusion proof for each step"
            )
        return _result(_of_house(settings, house, signal, quick=quick, all_now=all_now), None, began)
    if proofs is not None and proofs.exists():
        raise Refused(f"{proofs} exists", "choose another name; evidence is never written over")
    with Machine.open(settings) as machine:
        index = entry_of(machine.store, signal)
        told = explaining.explain(machine.store, index, rejudge=Rejudging(machine), quick=quick, all_now=all_now)
        if proofs is not None:
            _prove(settings, machine, told.story, proofs)
        found = explained(machine.store, told)
        query = {"signal": signal, **({"quick": 1} if quick else {}), **({"now": 1} if all_now else {})}
        event, opening = query_event(query, [{"index": index}], time.time_ns(), "local", what="explain")
        machine.store.append(event, openings=(opening,)).result()
    return _result(found, proofs, began)


def _result(found: Explained, proofs: Path | None, began: float) -> dict[str, Any]:
    return {**found, "proofs": None if proofs is None else str(proofs), "seconds": time.monotonic() - began}


def _of_house(settings: Settings, house: str, signal: str, *, quick: bool, all_now: bool) -> Explained:
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def ask() -> Explained:
            async with await HouseClient.open(machine, row) as client:
                return await client.explain(signal, quick=quick, all_now=all_now)

        return run(ask())


def _prove(settings: Settings, machine: Machine, story: Story, target: Path) -> None:
    """Write the evidence of every entry that the story rests on. That it was taken is an entry as well."""
    entries = story.entries
    if len(entries) > MAX_PROVEN:
        raise Misuse(f"this story rests on {len(entries)} entries", f"evidence of one story has at most {MAX_PROVEN}")
    evidence = export_these(machine, newest_checkpoint(settings, machine), entries, words=[f"explain {story.entry}"])
    data = evidence.to_bytes()
    write_new(target, data)
    machine.record_local(Kind.EXPORTED, first=entries[0], count=len(entries), digest=sha256(data), what="evidence")
