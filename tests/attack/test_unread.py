"""A machine that asks and does not read costs the house a bounded amount, and a severed one gets nothing more (DESIGN 5.5)."""

import asyncio
import contextlib
import os
import time
from pathlib import Path

import pytest

from tallystick.channel.frame import FrameType
from tallystick.node import connection
from tallystick.node.checkpointwire import Ask, write_message
from tallystick.node.connection import LINGER_S
from tallystick.node.exchange import MAX_MESSAGES
from tallystick.pair.pairing import PairType
from tests.attack.rogue import Rogue
from tests.node.village import Village, village

BIG = 64 << 20


def store_big(found: Village) -> None:
    """A file far larger than every buffer on the way, put there by the house's owner."""
    with (found.machine.settings.root / "big").open("wb") as file:
        file.truncate(BIG)


def _sockets() -> int:
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += os.readlink(each).startswith("socket:")
    return count


def test_a_download_that_nobody_reads_ends_with_the_pair(tmp_path: Path) -> None:
    """Severed in the middle of a file that it does not read, a machine gets what the kernels had in hand and not one byte more;
    the house keeps no socket and no buffer for it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.USER)
            store_big(found)
            before = _sockets()
            rogue = await Rogue.open(found.member("spy"), row)
            await rogue.say(rogue.request("GET", "/v1/files/big", verb="archive.get"))
            await asyncio.sleep(0.5)
            await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
            await asyncio.sleep(LINGER_S + 0.5)
            assert _sockets() == before + 1  # the rogue's own end
            assert await rogue.ended()
            rogue.close()

    asyncio.run(scene())


def test_an_end_without_reading_is_not_waited_for(tmp_path: Path) -> None:
    """A session that is cut while its answer lies unread is gone a while later, read or not."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.USER)
            store_big(found)
            before = _sockets()
            rogue = await Rogue.open(found.member("spy"), row)
            await rogue.say(rogue.request("GET", "/v1/files/big", verb="archive.get"))
            await asyncio.sleep(0.5)
            for _ in range(MAX_MESSAGES + 1):
                await rogue.frame(FrameType.CHECKPOINT, write_message(Ask(b"")))
            await asyncio.sleep(2 * LINGER_S + 0.5)
            assert _sockets() == before + 1
            rogue.close()

    asyncio.run(scene())


def test_a_slow_reader_gets_all_of_its_last_answer(tmp_path: Path) -> None:
    """Whoever reads slowly but reads is not cut: an answer that ends the session arrives whole, however long it takes."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("slow", PairType.USER)
            (found.machine.settings.root / "some").write_bytes(os.urandom(3 << 20))
            rogue = await Rogue.open(found.member("slow"), row)
            await rogue.say(rogue.request("GET", "/v1/files/some", verb="archive.get"))
            await rogue.frame(FrameType.END)
            length = 0
            for _ in range(200):
                if not await rogue.read(size=32_768):
                    break
                await asyncio.sleep(0.05)
                length = len(rogue.data)
            while await rogue.read():
                length = len(rogue.data)
            assert length > 3 << 20

    asyncio.run(scene())


def test_pings_whose_pongs_nobody_reads_end_the_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that pings for ever and reads nothing is cut; the house does not keep its pongs for it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.USER)
            store_big(found)
            rogue = await Rogue.open(found.member("spy"), row)
            await rogue.say(rogue.request("GET", "/v1/files/big", verb="archive.get"))
            await asyncio.sleep(0.5)
            (session,) = found.house._sessions[row.pairing]
            waiting = session._connection.unread_bytes
            assert 0 < waiting < connection.MAX_UNREAD_BYTES / 1.5
            monkeypatch.setattr(connection, "MAX_UNREAD_BYTES", waiting + 4_096)
            with contextlib.suppress(ConnectionError):
                for _ in range(20_000):
                    await rogue.frame(FrameType.PING)
                    if session.over:
                        break
                    await asyncio.sleep(0)
            assert session.over
            rogue.close()

    asyncio.run(scene())


def test_a_reader_of_one_byte_at_a_time_takes_its_place(tmp_path: Path) -> None:
    """A connection that has said `end` and takes its last answer drop by drop counts among its pair's until it is gone, is gone when
    the pair is severed, and after a minute at the latest."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.USER)
            store_big(found)
            first = await Rogue.open(found.member("spy"), row)
            await first.say(first.request("GET", "/v1/files/big", verb="archive.get"))
            await asyncio.sleep(0.5)
            (session,) = found.house._sessions[row.pairing]
            taken = session.bytes_out - session._connection.unread_bytes  # by the kernels at both ends
            first.close()
            with (found.machine.settings.root / "some").open("wb") as file:
                file.truncate(taken + 500_000)
            await asyncio.sleep(0.2)
            rogue = await Rogue.open(found.member("spy"), row)
            (session,) = found.house._sessions[row.pairing]
            await rogue.say(rogue.request("GET", "/v1/files/some", verb="archive.get"))
            await rogue.frame(FrameType.END)
            await asyncio.sleep(0.5)
            assert session.over and session._connection.unread_bytes
            assert len(found.house._connected[row.pairing]) == 1
            await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
            await asyncio.sleep(0.05)
            assert not found.house._connected
            assert await rogue.ended()

    asyncio.run(scene())


def test_a_last_answer_has_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one who takes a byte now and then is not waited for without end."""
    monkeypatch.setattr(connection, "LINGER_S", 0.1)
    monkeypatch.setattr(connection, "LAST_WORDS_S", 1.0)

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.USER)
            store_big(found)
            rogue = await Rogue.open(found.member("spy"), row)
            (session,) = found.house._sessions[row.pairing]
            await rogue.say(rogue.request("GET", "/v1/files/big", verb="archive.get"))
            await asyncio.sleep(0.3)
            session._connection.cut("limits")
            begun = time.monotonic()
            while found.house._connected and time.monotonic() - begun < 10:
                if not await rogue.read(size=65_536):
                    break
                await asyncio.sleep(0.05)
            assert not found.house._connected and time.monotonic() - begun < 5
            rogue.close()

    asyncio.run(scene())
