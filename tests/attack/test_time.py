"""Nobody wins by a clock (DESIGN 6, "Pair time")."""

import asyncio
import secrets
import time
from pathlib import Path

import pytest

from tallystick.canonical import encode
from tallystick.errors import Refused, Unproven
from tallystick.gate.statement import sign_statement
from tallystick.node.client import HouseSession
from tallystick.node.commands.where import submit
from tallystick.node.houseclock import HouseClock
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import PairDowngrade, encode_statement
from tests.node.village import Village, village

HOUR = 3_600 * 10**9


def _signed(found: Village, pairing: bytes, issued_at_ns: int) -> bytes:
    body = encode_statement(PairDowngrade(pairing_id=pairing, pair_type=PairType.USER))
    fresh = secrets.token_bytes
    return sign_statement(
        found.human(), body, house_id=found.machine.house_id, issued_at_ns=issued_at_ns, stream=fresh(16), n=0, salt=fresh(32)
    )


def test_an_old_statement_stays_old_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """A statement that was never handed in lapses by pair time: setting the house's clock back does not make it young again."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            kept = _signed(found, row.pairing, time.time_ns())
            found.house._clock = HouseClock(time.time_ns() + HOUR)  # an hour later ...
            assert time.time_ns() < found.house.clock() - HOUR // 2  # ... the system's clock is set back
            async with await HouseSession.open(found.member("owner"), found.pair_of("owner"), timeout_s=10) as session:
                with pytest.raises(Unproven, match="too old"):
                    await session.post_json("/v1/statements", encode([kept, None]), verb="statement.submit")
                # Whoever signs by the pair's time, as the commands do, is heard.
                await submit(session, found.pair_of("owner"), found.human(), PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER))
            standing = found.machine.store.pair(row.pairing)
            assert standing is not None and standing.effective is PairType.USER

    asyncio.run(scene())


def test_which_keys_may_is_not_for_every_pair_to_know(tmp_path: Path) -> None:
    """An INPUT pair that hands a statement in is refused the same way, whether an admin's key signed it or nobody's."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            row = await found.join("laptop")
            said = []
            async with await HouseSession.open(found.member("laptop"), row) as session:
                for signer in (found.human(), found.member("laptop").vault.machine.signing):
                    body = encode_statement(PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER))
                    fresh = secrets.token_bytes
                    bundle = sign_statement(
                        signer, body, house_id=found.machine.house_id, issued_at_ns=time.time_ns(), stream=fresh(16), n=0, salt=fresh(32)
                    )
                    with pytest.raises(Refused) as refused:
                        await session.post_json("/v1/statements", encode([bundle, None]), verb="statement.submit")
                    said.append(str(refused.value))
            assert said[0] == said[1] and "INPUT does not include admin" in said[0]

    asyncio.run(scene())
