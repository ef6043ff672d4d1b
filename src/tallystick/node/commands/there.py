"""status --house: what a house knows that this machine is paired with."""

from typing import Any

from tallystick.node.commands.here import run
from tallystick.node.commands.where import the_house
from tallystick.node.machine import Machine
from tallystick.node.remote import HouseClient
from tallystick.node.settings import Settings
from tallystick.pair.pairing import PairType


def house_status(settings: Settings, *, house: str) -> dict[str, Any]:
    """A house this machine is paired with, as it sees itself; over an ADMIN pair with every pair it has."""
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def ask() -> dict[str, Any]:
            async with await HouseClient.open(machine, row) as client:
                found = await client.status()
                pairs = await client.pairs() if found["type"] is PairType.ADMIN else []
                return {
                    "house": row.label,
                    "id": found["house"],
                    "name": found["name"],
                    "type": found["type"].value,
                    "entries": found["entries"],
                    "pairs_standing": found["pairs_standing"],
                    "sessions_open": found["sessions_open"],
                    "uptime_seconds": found["uptime_seconds"],
                    "pairs": [{**pair} for pair in pairs],
                }

        return run(ask())
