"""verb ls, verb run: named programs of a house."""

from collections.abc import Callable
from typing import Any

from tallystick.node.client import HouseSession
from tallystick.node.commands.here import run
from tallystick.node.commands.where import Passphrase, bundle_for, open_human, the_house
from tallystick.node.machine import Machine
from tallystick.node.running import named, programs, run_program
from tallystick.node.settings import Settings
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.statement import ProgramRun


def verb_ls(settings: Settings, *, house: str) -> dict[str, Any]:
    """The programs that this machine may ask for."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, row) as session:
                return {"house": row.label, "verbs": [{**each} for each in await programs(session)]}

        return run(ask())


def verb_run(
    settings: Settings, *, name: str, house: str, given: bytes | None, hear: Callable[[int, bytes], None], passphrase: Passphrase
) -> dict[str, Any]:
    """Have a program run, to its end. One of class admin is signed by this machine's human key."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def look() -> str:
            async with await HouseSession.open(machine, row) as session:
                return (await named(session, name))["action"]

        # The person is asked between two sessions: nothing stays open while somebody types.
        signer = open_human(machine, passphrase) if run(look()) == ActionClass.ADMIN else None

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, row) as session:
                program = await named(session, name)
                bundle = None
                if signer is not None:
                    digest = None if given is None else sha256(given)
                    statement = ProgramRun(name=f"verb.{name}", input=digest, pairing=row.pairing)
                    bundle = bundle_for(session, row, signer, statement)
                end, entry = await run_program(session, program, bundle=bundle, given=given, hear=hear)
                return {"name": name, "house": row.label, "entry": entry, **end}

        return run(ask())
