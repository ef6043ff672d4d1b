"""The end of a ceremony at the house: what a client says after `standing` is still heard."""

import asyncio
from pathlib import Path

import pytest

from tallystick.errors import Refused, Unproven
from tallystick.node import asking
from tallystick.node.asking import redeem
from tallystick.passage.effect import secret_name
from tests.node.village import nothing, village


def test_a_client_that_does_not_believe_the_statement_ends_the_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An abort after `standing` severs: recorded as the peer's, its secret destroyed, its knocks silence; neither side keeps a half."""

    def disbelieves(*_: object) -> None:
        raise Unproven("it is signed by somebody else")

    async def scene() -> None:
        async with village(tmp_path) as found:
            invite = await found.invite(yes=True)
            # No honest house can be made to send a statement that does not hold, so the client is made to doubt a good one.
            monkeypatch.setattr(asking, "read_standing", disbelieves)
            with pytest.raises(Unproven):
                await redeem(found.member("laptop"), invite, label="laptop", human=None, show_words=nothing, wait_s=10)
            store = found.machine.store
            row = store.pairs()[-1]
            for _ in range(400):
                if row.state == "severed":
                    break
                await asyncio.sleep(0.01)
                row = store.pairs()[-1]
            assert (row.label, row.state) == ("laptop", "severed")
            assert row.pairing not in found.house._step
            for _ in range(200):
                if found.machine.vault.get_secret(secret_name(row.pairing)) is None:
                    break
                await asyncio.sleep(0.01)
            assert found.machine.vault.get_secret(secret_name(row.pairing)) is None
            severed = next(entry.event for entry in store.entries(newest_first=True) if entry.event.kind.name == "SEVERED")
            assert (severed.actor, severed.text("by"), severed.text("reason")) == ("invite", "peer", "aborted")
            assert not any(row.stands for row in found.member("laptop").store.pairs())

    asyncio.run(scene())


def test_a_pairing_severed_while_it_waits_is_told(tmp_path: Path) -> None:
    """The owner severs a proposal instead of denying it: the machine that waits hears no, at once."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            invite = await found.invite()
            asked = asyncio.create_task(redeem(found.member("laptop"), invite, label="laptop", human=None, show_words=nothing, wait_s=30))
            pairing = await found.waiting()
            await asyncio.sleep(0.05)
            await found.house.sever(pairing, by="local", reason="unspecified", tell=True)
            with pytest.raises(Refused):
                await asyncio.wait_for(asked, 5)
            assert found.machine.vault.get_secret(secret_name(pairing)) is None

    asyncio.run(scene())
