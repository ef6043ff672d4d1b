"""One pair that asks for too much leaves the others what they need (DESIGN 6, "Limits per pair")."""

import asyncio
import contextlib
from pathlib import Path

from tallystick.errors import TallyError
from tallystick.node.client import HouseSession
from tallystick.node.house import MAX_SESSIONS_OF_A_PAIR
from tallystick.pair.pairing import PairType
from tests.attack.rogue import Rogue
from tests.node.village import village


def test_a_pair_has_so_many_sessions_and_no_more(tmp_path: Path) -> None:
    """A machine that opens session after session meets silence at 32; its others, and everybody else's, go on; closing one makes room."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            spy = await found.join("spy", PairType.INTERFACE, timeout_s=1)
            await found.join("laptop")
            machine = found.member("spy")
            open_now: list[Rogue] = []
            for _ in range(MAX_SESSIONS_OF_A_PAIR):
                open_now.append(await Rogue.open(machine, spy))
            for _ in range(2):
                with contextlib.suppress(TallyError):
                    open_now.append(await Rogue.open(machine, spy))
            assert len(open_now) == found.house.figures()["sessions_open"] == MAX_SESSIONS_OF_A_PAIR
            assert (await open_now[0].ask("GET", "/v1/ping", verb="pair.ping"))[0] == 200
            async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as session:
                await session.get_json("/v1/ping", verb="pair.ping")
            open_now.pop().close()
            await asyncio.sleep(0.1)
            open_now.append(await Rogue.open(machine, spy))
            for each in open_now:
                each.close()

    asyncio.run(scene())


def test_connections_that_never_speak_are_counted(tmp_path: Path) -> None:
    """A connection without its first frame takes its place among the pair's, and leaves it when its three seconds are over."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            spy = await found.join("spy", PairType.INTERFACE, timeout_s=1)
            machine = found.member("spy")
            silent = [await Rogue.open(machine, spy, speak=False) for _ in range(MAX_SESSIONS_OF_A_PAIR)]
            with contextlib.suppress(TallyError):
                silent.append(await Rogue.open(machine, spy, speak=False))
            assert len(silent) <= MAX_SESSIONS_OF_A_PAIR + 1  # modes 2 and 3 know of a connection when it has spoken
            await asyncio.sleep(3.2)
            speaking = await Rogue.open(machine, spy)
            assert (await speaking.ask("GET", "/v1/ping", verb="pair.ping"))[0] == 200
            for each in (*silent, speaking):
                each.close()

    asyncio.run(scene())
