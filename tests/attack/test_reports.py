"""What a house reports reaches the program, and no house makes it keep more than it wants (docs/spec/telemetry.md)."""

import asyncio
from pathlib import Path

from tallystick.channel.event import Data, Event
from tallystick.diode.telemetry import Severed, encode_telemetry
from tallystick.node.client import HouseSession
from tallystick.node.remote import HouseClient
from tallystick.node.reports import MOST, Health, HealthState, Progress, ProgressState, Reports, Telemetry
from tallystick.pair.pairing import PairType
from tests.node.bare_house import BareHouse, Side, polite
from tests.node.village import village


def health(entries: int) -> Health:
    return Health(state=HealthState.OK, uptime_s=1, entries=entries, pairs=3, sessions=4, held=5)


async def read(reports: Reports, count: int) -> list[Telemetry]:
    """The next so many, or fewer where it ends before."""
    found: list[Telemetry] = []
    async with asyncio.timeout(5):
        async for report in reports:
            found.append(report)
            if len(found) == count:
                break
    return found


def test_the_newest_are_kept_and_the_others_counted() -> None:
    """A flood costs the room of so many reports; the reader gets the newest in order, and then the end."""

    async def scene() -> None:
        reports = Reports()
        for number in range(MOST + 10):
            reports.put(health(number))
        assert reports.dropped == 10
        assert await read(reports, MOST) == [health(number) for number in range(10, MOST + 10)]
        late = asyncio.create_task(read(reports, 2))
        await asyncio.sleep(0)
        reports.put(health(0))
        await asyncio.sleep(0)
        reports.close()
        assert await late == [health(0)] and await read(reports, 1) == []

    asyncio.run(scene())


def test_reports_come_to_the_program_and_a_flood_of_them_disturbs_nothing(tmp_path: Path) -> None:
    """Whatever of version 1 a house reports is delivered, over all sessions of one client, and requests are answered besides."""

    def script(side: Side, event: Event) -> None:
        if isinstance(event, Data):
            for number in range(3 * MOST):
                side.tell(encode_telemetry(health(number)))
            side.tell(encode_telemetry(Severed(pairing_id=bytes(32))))  # of another pairing: nothing to us
            side.tell(encode_telemetry(Progress(entry=1, state=ProgressState.RUNNING, done=1, total=2)))
        polite(side, event)

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.house.stop()
            async with BareHouse(found.house.port, script).open(found, "laptop"):
                async with await HouseClient.open(found.member("laptop"), found.pair_of("laptop")) as laptop:
                    await laptop.session.get_json("/v1/ping", verb="pair.ping")
                    reports = await read(laptop.telemetry(), MOST)
                    assert reports[-1] == Progress(entry=1, state=ProgressState.RUNNING, done=1, total=2)
                    assert reports[:-1] == [health(number) for number in range(2 * MOST + 1, 3 * MOST)]
                    assert laptop.telemetry().dropped == 2 * MOST + 1
                    laptop.session.stream.connection.abort()
                    await laptop.session.stream.connection.closed
                    await laptop._live()
                    await laptop.session.get_json("/v1/ping", verb="pair.ping")
                    assert len(await read(laptop.telemetry(), MOST)) == MOST
                assert await read(laptop.telemetry(), 1) == []

    asyncio.run(scene())


def test_a_house_says_when_its_disk_fills_and_when_it_stops(tmp_path: Path) -> None:
    """Every type of pair hears of it, in counts and states; who does not read is told nothing and holds nothing up."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            for name, pair_type in (("laptop", PairType.INPUT), ("eye", PairType.INTERFACE)):
                await found.join(name, pair_type)
            clients = [await HouseClient.open(found.member(name), found.pair_of(name)) for name in ("laptop", "eye")]
            alone = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
            for client in clients:
                await client.ping()
            found.machine.reserve._least = 1 << 62  # more than any disk has free
            heard = [await read(client.telemetry(), 1) for client in clients]
            found.machine.reserve._least = 1
            heard += [await read(client.telemetry(), 1) for client in clients]
            await found.house.stop()
            heard += [await read(client.telemetry(), 1) for client in clients]
            states = [report.state for (report,) in heard if isinstance(report, Health)]
            assert states == [state for state in (HealthState.DEGRADED, HealthState.OK, HealthState.CLOSING) for _ in clients]
            assert len(await read(alone.stream.reports, 4)) == 3  # and it ends with its session
            for client in clients:
                await client.close()
            await alone.close()

    asyncio.run(scene())
