"""A key that somebody else has: what it let in is cut off at once, and nobody can be locked out with it (DESIGN 5.6)."""

import asyncio
import time
from pathlib import Path

import pytest

from tallystick.canonical import encode
from tallystick.errors import Refused, TallyError, Unproven
from tallystick.gate.statement import sign_statement
from tallystick.keys import Signer
from tallystick.node import answers
from tallystick.node.client import HouseSession
from tallystick.node.commands.where import submit
from tallystick.primitives import sha256
from tallystick.rights.statement import COMPROMISED, RETIRED, KeyGrant, KeyRevoke, Statement, encode_statement
from tests.gate.world import Key
from tests.node.estate import Human, introduced
from tests.node.village import Village, village

SOURCE = Key("camera").public


async def second_owner(found: Village) -> Human:
    """Another human key with admin."""
    human = Human.new(found.member("owner").vault, "second")
    event = introduced(human.public, key=bytes(found.human().public.key_id))
    await found.machine.store.record(event)
    return human


async def say(found: Village, signer: Signer, statement: Statement) -> int:
    """Signed, and carried by the owner's machine."""
    async with await HouseSession.open(found.member("owner"), found.pair_of("owner")) as session:
        return (await submit(session, found.pair_of("owner"), signer, statement))["entry"]


def test_a_live_session_of_a_pair_it_let_in_ends(tmp_path: Path) -> None:
    """In the middle of its work: nothing more is answered, its next knock is told why, and the owner's own session goes on."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            second, since = await second_owner(found), found.machine.store.size()
            own = found.human
            found.human = lambda: second.signer  # type: ignore[method-assign]
            row = await found.join("laptop")
            found.human = own  # type: ignore[method-assign]
            async with await HouseSession.open(found.member("owner"), found.pair_of("owner")) as mine:
                session = await HouseSession.open(found.member("laptop"), row)
                await session.get_json("/v1/ping", verb="pair.ping", kind=answers.Pong)
                await say(found, found.human(), KeyRevoke(key=second.public.key_id, how=COMPROMISED, since=since))
                with pytest.raises(TallyError):
                    await session.get_json("/v1/ping", verb="pair.ping", kind=answers.Pong)
                await session.close()
                with pytest.raises(Refused, match="signed this pair again"):
                    async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as again:
                        await again.get_json("/v1/ping", verb="pair.ping", kind=answers.Pong)
                await mine.get_json("/v1/ping", verb="pair.ping", kind=answers.Pong)
            pair = found.machine.store.pair(row.pairing)
            assert pair is not None
            assert pair.state == "restored"

    asyncio.run(scene())


def test_two_owners_who_revoke_each_other(tmp_path: Path) -> None:
    """At the same moment, many times: exactly one of them has admin afterwards, and never nobody."""

    async def scene(folder: Path) -> None:
        async with village(folder) as found:
            second = await second_owner(found)
            first = found.human().public.key_id
            words = (
                say(found, found.human(), KeyRevoke(key=second.public.key_id, how=RETIRED)),
                say(found, second.signer, KeyRevoke(key=first, how=RETIRED)),
            )
            outcome = await asyncio.gather(*words, return_exceptions=True)
            failed = [each for each in outcome if isinstance(each, BaseException)]
            assert len(failed) == 1
            assert isinstance(failed[0], Unproven | Refused)
            states = {key: found.machine.store.key(key) for key in (first, second.public.key_id)}
            assert sorted(row.state for row in states.values() if row is not None) == ["retired", "standing"]

    for turn in range(3):
        asyncio.run(scene(tmp_path / str(turn)))


def test_a_statement_counts_once(tmp_path: Path) -> None:
    """The same bytes again, over the same pair or another ADMIN's, bring nothing more about; under its number nothing else is said."""

    async def scene() -> None:
        async with village(tmp_path) as found:

            def bundle(statement: Statement) -> bytes:
                return sign_statement(
                    found.human(),
                    encode_statement(statement),
                    house_id=found.machine.house_id,
                    issued_at_ns=time.time_ns(),
                    stream=bytes(16),
                    n=7,
                    salt=sha256(encode_statement(statement)),
                )

            async def hand_in(raw: bytes) -> None:
                async with await HouseSession.open(found.member("owner"), found.pair_of("owner")) as session:
                    await session.post_json("/v1/statements", encode([raw, None]), verb="statement.submit", kind=answers.Submitted)

            once = bundle(KeyGrant(key=SOURCE, classes=("sensor",)))
            await hand_in(once)
            with pytest.raises(TallyError):
                await hand_in(once)
            assert len(found.machine.store.gate.rows(SOURCE.key_id)) == 1
            with pytest.raises(Unproven):
                await hand_in(bundle(KeyGrant(key=SOURCE, classes=("feed",))))
            # Two statements under one number: the key is held, and nothing it says counts until somebody looked.
            held = found.machine.store.key(found.human().public.key_id)
            assert held is not None
            assert held.state == "suspended"
            assert len(found.machine.store.gate.rows(SOURCE.key_id)) == 1

    asyncio.run(scene())
