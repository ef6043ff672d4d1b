"""What ends while something else is under way has ended: no late step brings it back (DESIGN 5.5)."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tallystick.node.inviting import make_invite
from tallystick.pair.invite import invite_id, invite_terms
from tallystick.pair.pairing import PairType
from tallystick.passage import invite as invites
from tests.node.village import village


def test_a_pair_severed_while_its_door_opens_stays_shut(tmp_path: Path) -> None:
    """The secret of a pair is read beside the loop; a severance meanwhile wins, and no knock of that pair is heard."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
            found.house._step.shut_out(row.pairing)
            busy = asyncio.create_task(asyncio.to_thread(time.sleep, 0.3))
            await asyncio.sleep(0.01)
            opening = asyncio.create_task(found.house.open_pair(row.pairing))
            await asyncio.sleep(0.01)
            await found.house.sever(row.pairing, by="local", reason="stolen", tell=True)
            await asyncio.gather(busy, opening)
            assert row.pairing not in found.house._step

    asyncio.run(scene())


def test_an_invite_revoked_while_its_door_opens_stays_shut(tmp_path: Path) -> None:
    """The same for an invite."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            terms = invite_terms(pair_type=PairType.INPUT, yes=False, for_key=None)
            invite, secret = make_invite(found.machine, terms, found.addresses, time.time_ns())
            identity, now_ns = invite_id(secret), time.time_ns()
            run = found.house.effects.run
            await run(invites.created(terms, secret, expires_ns=invite.expires_s * 10**9, signed=None, now_ns=now_ns))
            found.house._step.expect_no_more(identity)
            asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
            busy = asyncio.create_task(asyncio.to_thread(time.sleep, 0.3))
            await asyncio.sleep(0.01)
            opening = asyncio.create_task(found.house.open_invite(identity))
            await asyncio.sleep(0.01)
            await run(invites.revoked(identity, signed=None, now_ns=now_ns))
            await asyncio.gather(busy, opening)
            assert not found.house._step._keeper._invites

    asyncio.run(scene())
