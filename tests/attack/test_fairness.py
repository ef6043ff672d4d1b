"""What one pair asks for, others do not wait for."""

import asyncio
import time
from pathlib import Path

from tallystick.errors import Unavailable
from tallystick.node.client import HouseSession
from tallystick.node.workers import THREADS_OF_A_PAIR, WAITING_OF_A_PAIR, Workers
from tallystick.pair.pairing import PairType
from tests.attack.rogue import Rogue
from tests.node.village import village


def test_many_long_questions_of_one_pair_hold_up_nobody(tmp_path: Path) -> None:
    """A USER pair has the house hash a dozen huge files at once: others list, store and read meanwhile, it can be severed at once, and
    the house stops without finishing the work."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            spy = await found.join("spy", PairType.USER)
            await found.join("laptop")
            for number in range(12):
                with (found.machine.settings.root / f"big{number}").open("wb") as file:
                    file.truncate(64 << 30)
            rogues = [await Rogue.open(found.member("spy"), spy) for _ in range(12)]
            for number, rogue in enumerate(rogues):
                await rogue.say(rogue.request("GET", f"/v1/stat/big{number}", verb="archive.stat"))
            await asyncio.sleep(0.2)
            begun = time.monotonic()
            async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as session:
                await session.get_json("/v1/list", verb="archive.ls")
                await session.request("PUT", "/v1/files/a", verb="archive.put", body=b"content", upload=True)
            await found.house.sever(spy.pairing, by="local", reason="stolen", tell=True)
            assert spy.pairing.hex() not in " ".join(found.machine.vault.list())
            assert time.monotonic() - begun < 5
            for rogue in rogues:
                rogue.close()
            begun = time.monotonic()
        assert time.monotonic() - begun < 8

    asyncio.run(scene())


def test_a_pair_has_its_share_of_threads(tmp_path: Path) -> None:
    """Four calls of a pair run, sixty-four wait, one more is refused; another pair's call runs at once; nothing is kept afterwards."""

    async def scene() -> None:
        workers = Workers()
        calls = [asyncio.create_task(workers.run(b"a", time.sleep, 0.02)) for _ in range(THREADS_OF_A_PAIR + WAITING_OF_A_PAIR)]
        await asyncio.sleep(0)
        refused = await asyncio.gather(workers.run(b"a", time.sleep, 0), return_exceptions=True)
        assert isinstance(refused[0], Unavailable)
        begun = time.monotonic()
        assert await workers.run(b"b", lambda: "at once") == "at once"
        assert time.monotonic() - begun < 0.2 and not calls[-1].done()
        await asyncio.gather(*calls)
        assert not workers._shares
        workers.close()

    asyncio.run(scene())
