"""There is one way to root (DESIGN 5.1, 5.2; docs/spec/pairing.md, sections 1 and 6)."""

import asyncio
import contextlib
import time
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unproven
from tallystick.node.asking import Redeemed, redeem
from tallystick.node.effects import Effects
from tallystick.node.inviting import invite_at_house
from tallystick.pair.invite import invite_terms, parse_invite
from tallystick.pair.pairing import PairType
from tests.node.village import Village, nothing, village


async def _local_invite(found: Village, kind: str = "ADMIN") -> str:
    effects = Effects(found.machine.store, found.machine.vault, found.house)
    made = await invite_at_house(found.machine, effects, found.addresses, {"type": kind}, time.time_ns())
    return str(made["invite"])


def _human(found: Village, name: str) -> object:
    machine = found.member(name)
    key = machine.vault.new_human_present(name)
    return lambda: machine.vault.presence_signer(key.key_id, lambda _: True)


def test_two_first_admins_at_once_are_one(tmp_path: Path) -> None:
    """Two machines redeem two first invites; both are confirmed at the same moment: one human key is introduced, the other waits."""

    async def scene() -> None:
        async with village(tmp_path, genesis=False) as found:
            tasks: list[asyncio.Task[Redeemed]] = []
            for name in ("alice", "mallory"):
                invite = parse_invite(await _local_invite(found))
                human = _human(found, name)
                tasks.append(
                    asyncio.create_task(
                        redeem(found.member(name), invite, label=name, human=human, show_words=lambda _w, _d: None, wait_s=3)  # type: ignore[arg-type]
                    )
                )
            for _ in range(500):
                if len(found.machine.store.inbox()) == 2:
                    break
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            waiting = [item.identity for item in found.machine.store.inbox()]
            done = await asyncio.gather(*(found.house.confirm_genesis(pairing) for pairing in waiting), return_exceptions=True)
            assert done.count(True) == 1
            keys = found.machine.store.keys()
            assert len([key for key in keys if key.kind == "human"]) == 1
            assert len([row for row in found.machine.store.pairs() if row.stands]) == 1
            with pytest.raises(Misuse):
                await _local_invite(found)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(scene())


def test_the_house_itself_invites_nobody_but_its_first_admin(tmp_path: Path) -> None:
    """Before genesis only ADMIN, afterwards nothing: neither kind of invite can be had at the house."""

    async def scene() -> None:
        async with village(tmp_path, genesis=False) as found:
            for kind in ("INPUT", "USER", "INTERFACE"):
                with pytest.raises(Misuse):
                    await _local_invite(found, kind)
            left = parse_invite(await _local_invite(found))
            await found.genesis()
            for kind in ("ADMIN", "INPUT"):
                with pytest.raises(Misuse):
                    await _local_invite(found, kind)
            # An invite that was left over from before leads to a proposal, and to nothing else without the owner.
            asking = asyncio.create_task(
                redeem(
                    found.member("mallory"),
                    left,
                    label="owner",
                    human=_human(found, "mallory"),  # type: ignore[arg-type]
                    show_words=lambda _w, _d: None,
                    wait_s=1,
                )
            )
            pairing = await found.waiting()
            with pytest.raises(Misuse):
                await found.house.confirm_genesis(pairing)
            await asyncio.sleep(0.3)
            row = found.machine.store.pair(pairing)
            assert row is not None and row.state == "pending"
            # It calls itself like the owner; a name alone never means the newcomer.
            assert found.machine.store.pair_by_name("owner").stands
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    asyncio.run(scene())


def test_an_invite_is_used_once_whoever_comes(tmp_path: Path) -> None:
    """Eight machines with one pre-approved invite: one pair, one proposal; an invite for another machine's key leads to none."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            invite = await found.invite(PairType.INPUT, yes=True)

            async def one(number: int) -> bool:
                with contextlib.suppress(TallyError):
                    machine = found.member(f"m{number}", timeout_s=3)
                    await redeem(machine, invite, label="same", human=None, show_words=nothing, wait_s=3)
                    return True
                return False

            assert sum(await asyncio.gather(*(one(number) for number in range(8)))) == 1
            assert len([row for row in found.machine.store.pairs() if row.invite == found.machine.store.invites()[-1].invite]) == 1
            other = found.member("other").vault.machine.signing.public.key_id
            bound = await found.invite(PairType.INPUT, yes=True, for_key=other)
            with pytest.raises(Refused):
                await redeem(found.member("thief"), bound, label="other", human=None, show_words=nothing, wait_s=3)
            with pytest.raises(TallyError):  # burnt, for the machine it was for as well
                await redeem(found.member("other", timeout_s=1), bound, label="other", human=None, show_words=nothing, wait_s=1)

    asyncio.run(scene())


def test_nobody_is_approved_beforehand_as_admin(tmp_path: Path) -> None:
    """`--yes` is never for ADMIN, and without a key named it lives two minutes at most."""
    for bad in ({"pair_type": PairType.ADMIN, "yes": True}, {"pair_type": PairType.INPUT, "yes": True, "ttl_s": 121}):
        with pytest.raises((Misuse, Refused, Unproven)):
            invite_terms(**bad)  # type: ignore[arg-type]
