"""What a pair may not know, no answer tells it (docs/spec/door.md, section 1; DESIGN 9)."""

import asyncio
import json
from pathlib import Path

import pytest

from tallystick.node.asking import redeem
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import PairDowngrade
from tests.attack.rogue import Rogue
from tests.node.village import nothing, village

ROUTES = {
    "/v1/ping": "pair.ping",
    "/v1/status": "house.status",
    "/v1/checkpoint?old=0": "house.checkpoint",
    "/v1/summary": "archive.summary",
    "/v1/log?limit=200": "house.log",
    "/v1/log/checkpoint": "house.checkpoint",
    "/v1/log/tile/0/000.p/1": "house.tile",
    "/v1/log/tile/entries/000.p/1": "house.entries",
    "/v1/inbox": "house.inbox",
    "/v1/pairs": "house.pairs",
    "/v1/keys": "house.keys",
    "/v1/facts": "house.facts",
    "/v1/rights": "house.rights",
    "/v1/plan": "house.plan",
    "/v1/list": "archive.ls",
    "/v1/stat/a": "archive.stat",
    "/v1/files/a": "archive.get",
    "/v1/uploads/" + 32 * "0": "archive.put",
}
ALLOWED = {
    PairType.INTERFACE: {"pair.ping", "house.status", "house.checkpoint", "archive.summary"},
    PairType.USER: {
        "pair.ping",
        "house.status",
        "house.checkpoint",
        "archive.summary",
        "house.log",
        "house.tile",
        "archive.ls",
        "archive.stat",
        "archive.get",
    },
}


@pytest.mark.parametrize("kind", [PairType.INTERFACE, PairType.USER, PairType.INPUT])
def test_nobody_learns_of_the_other_pairs(tmp_path: Path, kind: PairType) -> None:
    """Whatever a pair asks, no answer holds another pair's id, label, session or machine key, nor where the house's files lie."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            other = await found.join("secret-box")
            invite = await found.invite(PairType.INPUT)
            machine = found.member("spy")
            asking = asyncio.create_task(redeem(machine, invite, label="spy", human=None, show_words=nothing, wait_s=10))
            pairing = await found.waiting()
            await asyncio.sleep(0.05)
            await found.approve(pairing)
            await asking
            if kind is not PairType.INPUT:
                await found.submit(PairDowngrade(pairing_id=pairing, pair_type=kind))
            owner = found.pair_of("owner")
            sessions = [row.event.blob("session") for row in found.machine.store.entries(pair=owner.pairing) if row.event.get("session")]
            rows = [row for row in found.machine.store.pairs() if row.pairing in (other.pairing, owner.pairing)]
            secrets = [value.hex() for row in rows for value in (row.pairing, row.static_key, bytes(row.subject))]
            forbidden = [*secrets, *(each.hex() for each in sessions), "secret-box", str(tmp_path)]
            rogue = await Rogue.open(machine, found.pair_of("spy"))
            for target, verb in ROUTES.items():
                status, body = await rogue.ask("GET", target, verb=verb)
                text = body.decode("utf-8", "replace")  # hashes are no text
                assert not [each for each in forbidden if each in text], target
                if verb not in ALLOWED.get(kind, {verb}):
                    assert status == 403 and json.loads(body)["error"]["message"] == "not allowed", target
            for name in ("secret-box", other.pairing.hex()[:8], "nobody"):
                _, body = await rogue.ask("GET", f"/v1/log?pair={name}&limit=3", verb="house.log")
                assert name not in body.decode()
            rogue.close()

    asyncio.run(scene())


def test_an_interface_sees_counts_and_states(tmp_path: Path) -> None:
    """INTERFACE is told numbers, states and its own pair; of the house neither address nor key."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("panel", PairType.INTERFACE)
            rogue = await Rogue.open(found.member("panel"), row)
            _, body = await rogue.ask("GET", "/v1/status", verb="house.status")
            status = json.loads(body)
            assert set(status) == {"house", "name", "type", "label", "entries", "pairs_standing", "sessions_open", "uptime_seconds"}
            rogue.close()

    asyncio.run(scene())


def test_a_file_that_is_not_there_and_one_that_may_not_be_seen_look_alike(tmp_path: Path) -> None:
    """Below the root: links, devices and our own folders are `no such file`, as what does not exist."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("spy", PairType.USER)
            root = found.machine.settings.root
            (root / "link").symlink_to("/etc/passwd")
            (root / "folder").symlink_to("/etc")
            rogue = await Rogue.open(found.member("spy"), row)
            said = set()
            for path in ("none", "link", "folder/passwd", "none/none"):
                said.add(await rogue.ask("GET", f"/v1/files/{path}", verb="archive.get"))
                assert (await rogue.ask("GET", f"/v1/stat/{path}", verb="archive.stat"))[0] == 404
            assert len(said) == 1
            for path in (".tally/journal", "..", "../attic/tally.toml", "%2e%2e/x", "a%00b", "a//b"):
                fresh = await Rogue.open(found.member("spy"), row)
                try:
                    status, body = await fresh.ask("GET", f"/v1/files/{path}", verb="archive.get")
                    assert status == 400 and str(tmp_path) not in body.decode()
                finally:
                    fresh.close()
            rogue.close()

    asyncio.run(scene())
