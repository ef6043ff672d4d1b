"""Unfinished uploads lock nobody out: their pair lists them and gives them up (docs/spec/archive.md, section 4)."""

import asyncio
import json
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused
from tallystick.ledger.event import Kind
from tallystick.node.remote import HouseClient
from tallystick.pair.pairing import PairType
from tallystick.service.archive import Archive
from tallystick.service.names import SafePath
from tallystick.service.uploads import UploadLimits
from tests.attack.rogue import Rogue
from tests.node.village import village

OPEN = UploadLimits().max_uploads_per_owner


def test_a_pair_that_used_up_its_uploads_gets_out_by_itself(tmp_path: Path) -> None:
    """As many uploads as a pair may have, all left lying: the next is refused, until the pair lists them and gives one up."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop")
            await found.join("other")
            rogue = await Rogue.open(found.member("laptop"), pair)
            for number in range(OPEN):
                status, _ = await rogue.ask("PUT", f"/v1/files/left{number}", verb="archive.put", body=b"half", upload=True)
                assert status == 202
            assert (await rogue.ask("PUT", "/v1/files/more", verb="archive.put", body=b"x", upload=True))[0] == 403
            rogue.close()
            async with await HouseClient.open(found.member("laptop"), pair) as laptop:
                with pytest.raises(Refused, match="too many unfinished uploads"):
                    await laptop.put("more", b"x")
                left = await laptop.uploads()
                assert {one["path"] for one in left} == {f"left{number}" for number in range(OPEN)}
                assert {one["offset"] for one in left} == {4}
                async with await HouseClient.open(found.member("other"), found.pair_of("other")) as other:
                    assert await other.uploads() == []
                    with pytest.raises(Refused, match="no such upload"):
                        await other.give_up(left[0]["upload"])
                gone = await laptop.give_up(left[0]["upload"])
                assert gone["path"] == left[0]["path"]
                with pytest.raises(Refused, match="no such upload"):
                    await laptop.give_up(left[0]["upload"])
                assert (await laptop.put("more", b"x"))["size"] == 1
                assert len(await laptop.uploads()) == OPEN - 1
            began = found.machine.store.entry(gone["entry"])
            assert began is not None and began.event.kind is Kind.EFFECT_BEGUN and began.event.text("effect") == "archive.give-up"
            assert not found.machine.store.open_effects()

    asyncio.run(scene())


@pytest.mark.parametrize("pair_type", [PairType.USER, PairType.INTERFACE])
def test_who_may_not_write_gives_nothing_up(tmp_path: Path, pair_type: PairType) -> None:
    """USER lists its own uploads, which are none; INTERFACE sees no path of a version or an upload, only counts and sizes."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("writer")
            async with await HouseClient.open(found.member("writer"), found.pair_of("writer")) as writer:
                await writer.put("a", b"one")
                await writer.put("a", b"other")
            rogue = await Rogue.open(found.member("peeper"), await found.join("peeper", pair_type))
            reads = 200 if pair_type is PairType.USER else 403
            assert (await rogue.ask("DELETE", f"/v1/uploads/{'0' * 32}", verb="archive.give-up"))[0] == 403
            assert (await rogue.ask("GET", "/v1/uploads", verb="archive.uploads"))[0] == reads
            assert (await rogue.ask("GET", "/v1/versions/a", verb="archive.versions"))[0] == reads
            status, body = await rogue.ask("GET", "/v1/summary", verb="archive.summary")
            assert status == 200 and (json.loads(body)["versions"], json.loads(body)["version_bytes"]) == (1, 3)
            rogue.close()

    asyncio.run(scene())


def test_versions_over_the_door(tmp_path: Path) -> None:
    """Every content a path once had is listed and fetched, also a range of it and after its removal; a number of another path is not."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            async with await HouseClient.open(found.member("laptop"), found.pair_of("laptop")) as laptop:
                first = await laptop.put("a", b"one")
                await laptop.put("a", b"other")
                await laptop.put("b", b"else")
                await laptop.rm("a")
                newest, oldest = await laptop.versions("a")
                assert (oldest["version"], oldest["sha256"], oldest["bytes"]) == (first["version"], first["sha256"], 3)
                for kept, content in ((newest, b"other"), (oldest, b"one")):
                    got = bytearray()
                    assert (await laptop.get("a", got.extend, version=kept["kept"]))["sha256"] == kept["sha256"]
                    assert got == content
                part = bytearray()
                await laptop.get("a", part.extend, version=newest["kept"], span=(1, 2))
                assert part == b"th"
                for path, version in (("b", newest["kept"]), ("a", newest["kept"] + 1), ("a", 10**17)):
                    with pytest.raises(Refused, match="no such version"):
                        await laptop.get(path, part.extend, version=version)
                assert await laptop.versions("never") == []

    asyncio.run(scene())


def test_an_upload_that_is_being_committed_is_not_given_up(tmp_path: Path) -> None:
    """Who gives up in the moment of the commit is told to wait: a file is never taken from under its rename."""
    archive = Archive.open(tmp_path)
    owner = bytes(32)
    with archive.begin(SafePath("a"), owner) as writer:
        writer.write(b"content")
    archive._uploads.seal(writer.upload_id, owner)
    with pytest.raises(Misuse, match="being committed"):
        archive.give_up(writer.upload_id, owner)
    archive._uploads.unseal(writer.upload_id)
    assert archive.give_up(writer.upload_id, owner) == "a"
    assert archive.uploads(owner) == () and archive.summary().uploads == 0
    archive.close()
