"""What a severed pair leaves behind (DESIGN 5.5: "secrets destroyed, sessions cut, recorded")."""

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from tallystick.channel.frame import FrameType
from tallystick.channel.session import severed_record
from tallystick.errors import Unavailable
from tallystick.ledger.event import Kind
from tallystick.node.client import HouseSession
from tallystick.node.memory import Memory
from tallystick.pair.pairing import PairType, derive_pair_keys
from tallystick.passage.effect import secret_name
from tests.attack.rogue import Rogue
from tests.node.village import village


def _holds(folder: Path, needle: bytes) -> list[str]:
    found = []
    for base, _, names in os.walk(folder):
        for name in names:
            path = Path(base) / name
            if path.is_file() and (needle in (raw := path.read_bytes()) or needle.hex().encode() in raw):
                found.append(str(path.relative_to(folder)))
    return found


def test_no_file_keeps_a_secret_of_a_severed_pair(tmp_path: Path) -> None:
    """After a severance with a live session neither home holds the pair's secret or a key of it: not the vault, the database, its
    write-ahead log, the memory file, nor anything temporary."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            secret = found.machine.vault.get_secret(secret_name(row.pairing))
            assert secret is not None
            keys = derive_pair_keys(secret)
            needles = [secret, keys.psk, *(part for way in (keys.to_house, keys.to_client) for part in (way.tag, way.mac, way.mask))]
            assert len(_holds(tmp_path, secret)) == 2
            async with await HouseSession.open(found.member("laptop"), row) as session:
                await session.get_json("/v1/ping", verb="pair.ping")
                await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
                for _ in range(100):
                    if found.pair_of("laptop").state == "severed":
                        break
                    await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
            assert [_holds(tmp_path, needle) for needle in needles] == [[] for _ in needles]

    asyncio.run(scene())


def test_the_secret_goes_even_where_nothing_else_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory file that cannot be written does not keep the secret of a severed pair in the vault."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")

            def full(*_: object, **__: object) -> None:
                raise Unavailable("cannot write memory: No space left on device")

            monkeypatch.setattr(Memory, "change", full)
            monkeypatch.setattr(Memory, "put", full)
            monkeypatch.setattr(Memory, "forget", full)
            await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
            assert found.machine.vault.get_secret(secret_name(row.pairing)) is None
            assert row.pairing not in found.house._step
            monkeypatch.undo()

    asyncio.run(scene())


def test_what_a_severed_pair_staged_is_gone(tmp_path: Path) -> None:
    """A machine that filled the disk with uploads it never committed: severing it frees the disk, and touches nobody else's."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row, other = await found.join("spy"), await found.join("laptop")
            uploads = []
            for name, pair in (("spy", row), ("laptop", other)):
                rogue = await Rogue.open(found.member(name), pair)
                status, body = await rogue.ask("PUT", "/v1/files/a", verb="archive.put", body=1_000_000 * b"x", upload=True)
                assert status == 202
                uploads.append(str(json.loads(body)["upload"]))
            area = found.machine.settings.root / ".tally" / "uploads"
            await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
            assert {path.stem for path in area.iterdir()} == {uploads[1]}

    asyncio.run(scene())


def test_a_thousand_severances_are_one(tmp_path: Path) -> None:
    """A client that says `severed` a thousand times at once is severed once, and the others do not wait for it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.INTERFACE)
            await found.join("laptop")
            async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as session:
                rogue = await Rogue.open(found.member("spy"), row)
                await rogue.write(b"".join(rogue.sealed(FrameType.TELEMETRY, severed_record(row.pairing)) for _ in range(4_000)))
                begun = time.monotonic()
                await session.get_json("/v1/ping", verb="pair.ping")
                assert time.monotonic() - begun < 1
                assert await rogue.ended()
            assert len(found.machine.store.entries(kinds=(Kind.SEVERED,))) == 1

    asyncio.run(scene())


def test_a_pair_ends_only_itself(tmp_path: Path) -> None:
    """A client that says `severed` about another pair ends nothing."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row, other = await found.join("spy"), await found.join("laptop")
            rogue = await Rogue.open(found.member("spy"), row)
            await rogue.frame(FrameType.TELEMETRY, severed_record(other.pairing))
            await rogue.ended(0.3)
            standing = found.machine.store.pair(other.pairing)
            assert standing is not None and standing.stands
            rogue.close()

    asyncio.run(scene())
