"""From a home and a name to a house one can ask."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tallystick.node.commands.where import the_house
from tallystick.node.machine import Machine
from tallystick.node.remote import HouseClient
from tallystick.node.settings import load


@asynccontextmanager
async def connect(home: str | Path | None = None, house: str = "", *, timeout_s: float | None = None) -> AsyncIterator[HouseClient]:
    """A session with a house this machine is paired with; closed in order at the end of the `async with`.

    Args: home: this machine's directory; as `tally` finds it unless told (`TALLY_HOME`, else the XDG state directory).
        house: what this machine calls the house; the only one unless told.  timeout_s: seconds to reach it; as the settings say.
    Raises: Misuse: no machine there, or several houses.  Refused: no such pair.  Unavailable: the house does not answer.
    """
    with Machine.open(load(home=home)) as machine:
        async with await HouseClient.open(machine, the_house(machine, house), timeout_s=timeout_s) as client:
            yield client
