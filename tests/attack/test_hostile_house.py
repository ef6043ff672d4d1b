"""A house that lies to the person who approves (DESIGN 8, "The approving client renders and hashes the bytes itself")."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Malformed, Refused, TallyError
from tallystick.node import rooms
from tallystick.node.asking import redeem
from tallystick.node.commands.pairs import approve
from tallystick.node.settings import load
from tallystick.pair.pairing import PairType
from tests.node.village import nothing, village


def _as_user(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "type": "USER"}


def _without_type(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "type"}


def _of_every_pair(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "id": ""}


@pytest.mark.parametrize(("lie", "error"), [(_as_user, Refused), (_without_type, Malformed), (_of_every_pair, Malformed)])
def test_what_is_signed_is_what_was_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lie: Any, error: type[TallyError]) -> None:
    """A house that shows a harmless proposal in its inbox gets no signature under another one: nobody is even asked."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            invite = await found.invite(PairType.INPUT)
            asking = asyncio.create_task(redeem(found.member("laptop"), invite, label="laptop", human=None, show_words=nothing, wait_s=5))
            await found.waiting()
            honest = rooms.inbox_view
            monkeypatch.setattr(rooms, "inbox_view", lambda house: [lie(row) for row in honest(house)])

            def confirm(_: Mapping[str, Any]) -> bool:
                raise AssertionError("a person was asked about a lie")

            def try_it() -> None:
                settings = load({"name": "owner", "timeout_s": 5}, home=tmp_path / "owner", env={})
                approve(settings, proposal="laptop", confirm=confirm, passphrase=lambda _: b"", scripted=True)

            with pytest.raises(error):
                await asyncio.to_thread(try_it)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(scene())
