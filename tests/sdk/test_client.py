"""The SDK against a real house (docs/sdk.md)."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tallystick.errors import Malformed, Refused
from tallystick.node.remote import HouseClient
from tallystick.pair.pairing import PairType
from tests.node.village import Village, village


async def client(found: Village, name: str = "laptop", pair_type: PairType = PairType.INPUT) -> HouseClient:
    """A client of a machine that is paired for it."""
    row = await found.join(name, pair_type)
    return await HouseClient.open(found.member(name), row)


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 3_000_000])
def test_what_is_put_comes_back(size: int, tmp_path: Path) -> None:
    """Bytes of any size are stored and fetched unchanged, with their hash and their entry."""
    content = os.urandom(size)

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            done: list[int] = []
            stored = await attic.put("/papers/one.bin", content, progress=lambda at, total: done.append(at))
            assert stored["sha256"] == hashlib.sha256(content).hexdigest()
            assert (stored["path"], stored["size"]) == ("papers/one.bin", size)
            assert done == sorted(done)
            assert await attic.read("papers/one.bin") == content
            listed = await attic.ls("/papers")
            assert [(file["name"], file["bytes"]) for file in listed] == [("one.bin", size)]
            assert (found.house.archive is not None) and stored["entry"] > 0

    asyncio.run(scene())


def test_streams_ranges_and_names(tmp_path: Path) -> None:
    """A stream of unknown length is stored; a range is a part; a name may be anything the archive can speak."""
    content = os.urandom(200_000)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), 7_777):
            yield content[at : at + 7_777]

    async def scene() -> None:
        async with village(tmp_path) as found, await client(found) as attic:
            name = "fotos/d\u00e9j\u00e0 vu+100%.raw"
            await attic.put(name, pieces())
            part = bytearray()
            got = await attic.get(name, part.extend, span=(1_000, 1_999))
            assert bytes(part) == content[1_000:2_000]
            assert (got["bytes"], got["sha256"]) == (1_000, None)
            target = tmp_path / "copy"
            whole = await attic.fetch(name, target)
            assert target.read_bytes() == content
            assert whole["sha256"] == hashlib.sha256(content).hexdigest()
            await attic.mv(name, "b")
            assert (await attic.stat("b"))["bytes"] == len(content)
            await attic.rm("b")
            with pytest.raises(Refused):
                await attic.stat("b")
            with pytest.raises(Malformed):
                await attic.put("../etc/passwd", b"x")

    asyncio.run(scene())
