"""A client against a real house: sessions, commands, severance, what is recorded at this end (docs/spec/door.md, knock.md, pairing.md)."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Malformed, Misuse, Refused, Unavailable
from tallystick.ledger.event import Kind
from tallystick.node.client import HouseSession
from tallystick.node.house import House
from tallystick.pair.pairing import PairType, Role
from tallystick.passage import pairing
from tallystick.passage.effect import secret_name
from tests.node.village import Village, village


def kinds(found: Village, name: str = "laptop") -> list[str]:
    return [row.event.kind.name for row in found.member(name).store.entries()]


async def open_session(found: Village, name: str = "laptop") -> HouseSession:
    return await HouseSession.open(found.member(name), found.pair_of(name))


def test_a_paired_machine_asks_and_is_answered(tmp_path: Path) -> None:
    """Genesis, an invite that was approved beforehand, a session: the answers are the house's, the entries this machine's own."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            assert (await found.join("laptop")).stands
            async with await open_session(found) as session:
                status: Any = await session.get_json("/v1/status", verb="house.status")
                assert (status["label"], status["type"]) == ("laptop", "INPUT")
            seen = [kind for kind in kinds(found) if kind != "CHECKPOINT_COSIGNED"]
            assert seen == ["ORIGIN", "PAIRING_PROPOSED", "PAIRING_APPROVED", "KNOCK", "SESSION", "SESSION_ENDED"]

    asyncio.run(scene())


def test_each_session_is_a_witness(tmp_path: Path) -> None:
    """The house's newest checkpoint is checked and cosigned in each session; both ledgers say so, and the client's copy moves on."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            first = (await found.join("laptop")).seen
            async with await open_session(found) as session:
                await session.get_json("/v1/ping", verb="pair.ping")
            await asyncio.sleep(1.05)  # what the house shows is at most a second behind
            async with await open_session(found):
                pass
            seen = found.pair_of("laptop").seen
            assert first is not None and seen is not None and seen.size > first.size
            for _ in range(100):
                by_peer = [row for row in found.machine.store.entries(kinds=(Kind.CHECKPOINT_COSIGNED,)) if row.event.get("by") == "peer"]
                if any(row.event.number("size") == seen.size for row in by_peer):
                    return
                await asyncio.sleep(0.02)
            raise AssertionError("the house never recorded the cosignature")

    asyncio.run(scene())


def test_numbers_have_no_gap(tmp_path: Path) -> None:
    """Hundreds of requests, some refused, some never sent because they cannot be: the house takes every number in turn."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("reader", PairType.USER)
            async with await open_session(found, "reader") as session:
                for number in range(40):
                    await session.get_json("/v1/ping", verb="pair.ping")
                    with pytest.raises(Refused):
                        await session.request("DELETE", "/v1/files/a", verb="archive.rm")
                    with pytest.raises(Misuse):
                        await session.request("GET", "/v1/ping", verb="pair.ping", headers=[("connection", "close")])
                    with pytest.raises(Misuse):
                        await session.request("GET", "/v1/ping", verb="no.verb")
                    with pytest.raises(Misuse):
                        await session.request("GET", "no slash", verb="pair.ping")
                    assert session._n == 2 * (number + 1)

    asyncio.run(scene())


def test_what_a_pair_may_not_do_is_refused_with_its_entry(tmp_path: Path) -> None:
    """A refusal is an error of ours, and the session goes on; an answer names its entry in the house's ledger."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("meter", PairType.INTERFACE)
            async with await open_session(found, "meter") as session:
                with pytest.raises(Refused):
                    await session.get_json("/v1/list", verb="archive.ls")
                response = await session.request("GET", "/v1/summary", verb="archive.summary")
                row = found.machine.store.entry(response.entry or 0)
                assert row is not None and row.event.kind is Kind.SIGNAL
                assert (await session.json_of(response))["files"] == 0

    asyncio.run(scene())


def test_a_verb_that_is_not_its_targets_costs_the_session(tmp_path: Path) -> None:
    """The house cuts a session whose signal names another verb than its route; the client says what it heard, then that it is over."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            session = await open_session(found)
            with pytest.raises(Malformed):
                await session.get_json("/v1/status", verb="pair.ping")
            with pytest.raises(Unavailable):
                await asyncio.sleep(0.1)
                await session.get_json("/v1/status", verb="house.status")
            await session.close()
            assert found.pair_of("laptop").stands

    asyncio.run(scene())


def test_one_request_at_a_time_and_a_body_is_signed_whole(tmp_path: Path) -> None:
    """A second request before the first answer was read, or a streamed body that is no upload, is our caller's fault."""

    async def scene() -> None:
        async def stream() -> AsyncIterator[bytes]:
            yield b"x"

        async with village(tmp_path) as found:
            await found.join("laptop")
            async with await open_session(found) as session:
                response = await session.request("GET", "/v1/status", verb="house.status")
                with pytest.raises(Misuse):
                    await session.request("GET", "/v1/ping", verb="pair.ping")
                await response.read(10_000)
                with pytest.raises(Misuse):
                    await session.request("POST", "/v1/move", verb="archive.mv", body=stream())
                await session.get_json("/v1/ping", verb="pair.ping")

    asyncio.run(scene())


def test_several_sessions_of_one_pair_at_once(tmp_path: Path) -> None:
    """Eight sessions side by side: each has its own stream and numbers, all are recorded, no checkpoint is taken for a fork."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")

            async def one() -> None:
                async with await open_session(found) as session:
                    for _ in range(5):
                        await session.get_json("/v1/ping", verb="pair.ping")

            await asyncio.gather(*(one() for _ in range(8)))
            names = kinds(found)
            assert names.count("KNOCK") == names.count("SESSION") == names.count("SESSION_ENDED") == 8
            assert "FORK_FOUND" not in names

    asyncio.run(scene())


def test_a_house_that_severs_tells_a_session_that_lives(tmp_path: Path) -> None:
    """Severed at the house: the open session is told and cut, the pair ends at this end too, the next knock meets silence."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop", timeout_s=1)
            session = await open_session(found)
            row = found.machine.store.pair(pair.pairing)
            assert row is not None
            await found.house.sever(row.pairing, by="local", reason="unspecified", tell=True)
            with pytest.raises(Refused):
                for _ in range(100):
                    await session.get_json("/v1/ping", verb="pair.ping")
                    await asyncio.sleep(0.01)
            await session.close()
            assert found.pair_of("laptop").state == "severed"
            assert found.member("laptop").vault.get_secret(secret_name(pair.pairing)) is None

    asyncio.run(scene())


def test_a_severed_machine_with_its_old_state_meets_silence(tmp_path: Path) -> None:
    """Severed while nobody was connected: the client still believes in the pair, and not one byte answers it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop", timeout_s=1)
            await found.house.sever(pair.pairing, by="local", reason="unspecified", tell=True)
            with pytest.raises(Unavailable) as caught:
                await open_session(found)
            assert "does not stand" in caught.value.hint

    asyncio.run(scene())


def test_the_client_severs_and_tells(tmp_path: Path) -> None:
    """`tell_severed` ends the pair at the house, which hangs up on every session of it."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop")
            other = await open_session(found)
            session = await open_session(found)
            assert await session.tell_severed()
            await session.close()
            await other.close()
            row = found.machine.store.pair(pair.pairing)
            assert row is not None and row.state == "severed"

    asyncio.run(scene())


def test_a_downgrade_is_felt_at_the_next_command(tmp_path: Path) -> None:
    """A live session narrows with its pair."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop")
            async with await open_session(found) as session:
                await session.get_json("/v1/list", verb="archive.ls")
                await found.house.effects.run(
                    pairing.downgraded(pair=pair.pairing, pair_type=PairType.INTERFACE, signed=None, now_ns=time.time_ns())
                )
                with pytest.raises(Refused):
                    await session.get_json("/v1/list", verb="archive.ls")
                await session.get_json("/v1/summary", verb="archive.summary")

    asyncio.run(scene())


def test_a_house_that_restarts_is_found_again(tmp_path: Path) -> None:
    """The session of before ends in order; after the restart a new one opens, though knocks timed before the start are refused."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            session = await open_session(found)
            port = found.house.port
            await found.house.stop()
            with pytest.raises(Unavailable):
                await session.get_json("/v1/ping", verb="pair.ping")
            await session.close()
            object.__setattr__(found.machine.settings, "port", port)
            found.house = House(found.machine)
            await found.house.start()
            async with await open_session(found) as again:
                await again.get_json("/v1/ping", verb="pair.ping")

    asyncio.run(scene())


def test_what_status_shows_is_remembered(tmp_path: Path) -> None:
    """Address, bytes both ways, mode and visibility of this end's sessions add up in the memory."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop")
            rows = []
            for _ in range(2):
                async with await open_session(found) as session:
                    await session.get_json("/v1/ping", verb="pair.ping")
                rows.append(found.member("laptop").memory.get(f"live/{pair.pairing.hex()}"))
            match rows:
                case [
                    [int(), "127.0.0.1", int(received), int(sent), 1, "nobody: no port was open"],
                    [int(), "127.0.0.1", int(later_received), int(later_sent), 1, "nobody: no port was open"],
                ]:
                    assert 0 < received < later_received and 0 < sent < later_sent
                case _:
                    raise AssertionError(rows)

    asyncio.run(scene())


def test_a_house_never_dials(tmp_path: Path) -> None:
    """The half of the pair at the house opens no session: a house executes and reports."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            pair = await found.join("laptop")
            row = found.machine.store.pair(pair.pairing)
            assert row is not None and row.role is Role.HOUSE
            with pytest.raises(Misuse):
                await HouseSession.open(found.machine, row)

    asyncio.run(scene())


def test_errors_inside_the_with_are_not_hidden(tmp_path: Path) -> None:
    """What goes wrong in the body of the `async with` comes through, and the session is closed and recorded all the same."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            with pytest.raises(ZeroDivisionError):
                async with await open_session(found):
                    raise ZeroDivisionError
            assert kinds(found)[-1] == "SESSION_ENDED"

    asyncio.run(scene())
