"""A house that really runs (`tally serve`, a process of its own) and machines that are paired with it."""

import asyncio
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.peers.process import Running, python
from tallystick.node.dialling import keep_addresses
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.storage.rows import PairRow
from tests.node.village import village

HOUSE: Final = "attic"


@dataclass(frozen=True, slots=True)
class Member:
    """A machine, open in this process, and its half of the pair with the house."""

    name: str
    machine: Machine
    pair: PairRow


@dataclass(frozen=True, slots=True)
class Scene:
    """The house's process, its home, and its machines."""

    house: Running
    home: Path
    members: tuple[Member, ...]
    env: dict[str, str]


def tally_env(home: Path) -> dict[str, str]:
    """An environment in which only this home is known."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")} | {"TALLY_HOME": str(home)}


async def _pair(folder: Path, names: Sequence[str]) -> None:
    async with village(folder) as found:
        for name in names:
            await found.join(name)


@contextmanager
def running(folder: Path, names: Sequence[str]) -> Iterator[Scene]:
    """Pair `names` with a new house in `folder`, then serve it."""
    asyncio.run(_pair(folder, names))
    home = folder / HOUSE
    arguments = ["-m", "tallystick", "serve", "--address", "127.0.0.1", "--port", "0", "--json"]
    with python(arguments, folder / "house.log", tally_env(home)) as house:
        port = json.loads(house.first_line)["port"]
        members = []
        try:
            for name in names:
                machine = Machine.open(load({"timeout_s": 10}, home=folder / name, env={}))
                pair = machine.store.pairs()[-1]
                keep_addresses(machine, pair.pairing, [("127.0.0.1", port)])
                members.append(Member(name, machine, pair))
            yield Scene(house, home, tuple(members), tally_env(folder / names[0]))
        finally:
            for member in members:
                member.machine.close()
