"""A client against a real house: pairing, sessions, what is recorded at this end (docs/spec/pairing.md, knock.md, door.md)."""

import asyncio
from pathlib import Path

from tallystick.node.client import HouseSession
from tests.node.village import village


def test_a_paired_machine_asks_and_is_answered(tmp_path: Path) -> None:
    """Genesis, an invite that was approved beforehand, a session: the answers are the house's, the entries this machine's own."""

    async def scene() -> list[str]:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            assert row.state == "standing"
            laptop = found.member("laptop")
            async with await HouseSession.open(laptop, row) as session:
                status = await session.get_json("/v1/status", verb="house.status")
                assert (status["label"], status["type"]) == ("laptop", "INPUT")
            return [entry.event.kind.name for entry in laptop.store.entries()]

    assert asyncio.run(scene()) == [
        "ORIGIN",
        "PAIRING_PROPOSED",
        "PAIRING_APPROVED",
        "CHECKPOINT_COSIGNED",
        "KNOCK",
        "SESSION",
        "SESSION_ENDED",
    ]
