"""Programs for tests/netns/test_dialling.py: a whole house with its owner, and a laptop that pairs with it and dials it.

python -m tests.netns.dialling house FOLDER HOST...        prints an invite, runs until its standard input ends
python -m tests.netns.dialling laptop FOLDER INVITE TIMES  prints one JSON object: the mode and the seconds of each session
"""

import asyncio
import json
import sys
import time
from dataclasses import replace
from pathlib import Path

from tallystick.errors import TallyError
from tallystick.node.asking import redeem
from tallystick.node.client import HouseSession
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.invite import invite_text, parse_invite
from tallystick.pair.pairing import Role
from tests.node.village import nothing, village


async def house(folder: Path, hosts: list[str]) -> None:
    """Run until nobody listens any more."""
    async with village(folder, address="::", port=51_877) as found:
        invite = await found.invite(yes=True)
        print(invite_text(replace(invite, addresses=tuple((host, 51_877) for host in hosts))), flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def laptop(folder: Path, text: str, times: int) -> dict[str, object]:
    """Pair, then open sessions, each with one small exchange."""
    machine = Machine.create(load({"name": "laptop"}, home=folder, env={}), Role.CLIENT)[0]
    told: list[tuple[int, float]] = []
    with machine:
        try:
            redeemed = await redeem(machine, parse_invite(text), label="laptop", human=None, show_words=nothing, wait_s=10)
            for _ in range(times):
                began = time.monotonic()
                async with await HouseSession.open(machine, machine.store.pairs()[-1]) as session:
                    await session.get_json("/v1/ping", verb="pair.ping")
                    told.append((session.mode.value, time.monotonic() - began))
        except TallyError as error:
            return {"error": error.message, "hint": error.hint}
    return {"state": redeemed.state, "sessions": told}


def main() -> None:
    """See the top of this file."""
    role, folder, *rest = sys.argv[1:]
    if role == "house":
        asyncio.run(house(Path(folder), rest))
    else:
        print(json.dumps(asyncio.run(laptop(Path(folder), rest[0], int(rest[1])))))


if __name__ == "__main__":
    main()
