"""A pair ends, at either end: its sessions are cut, then it meets silence, and so does every copy of it (DESIGN 5.5)."""

import asyncio
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tallystick.channel.session import severed_record
from tallystick.errors import Refused, Unavailable
from tallystick.node.client import HouseSession
from tallystick.node.commands.where import open_human, submit, the_house
from tallystick.node.dialling import dial
from tallystick.node.machine import Machine
from tallystick.pair.pairing import Role
from tallystick.pair.statement import PairSever
from tallystick.storage.rows import PairRow
from tests.e2e.raw import RawSession, Request, answers_to, knock_of
from tests.e2e.support import Client, House, passphrase, until

ANSWER_BYTES = 68


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house with its owner."""
    with House(tmp_path_factory.mktemp("severance")) as made:
        yield made


def half(machine: Machine) -> PairRow:
    """The newest half of a client."""
    return [row for row in machine.store.pairs() if row.role is Role.CLIENT][-1]


def copied(client: Client) -> Client:
    """The whole state of a machine, taken away by a thief."""
    thief = Client(client.folder, f"{client.name}-thief", timeout_s=1)
    shutil.copytree(client.path, thief.path, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))
    return thief


def knocks(client: Client, count: int = 4) -> list[bytes]:
    """Genuine knocks of a machine, made but not sent."""
    with client.open() as machine:
        row = half(machine)
        return [knock_of(machine, row, port=40_000 + number) for number in range(count)]


def by_statement(house: House, name: str) -> None:
    """`pair.sever`, signed by the owner's human key."""
    pairing = bytes.fromhex(house.row(name)["pairing"])
    with house.owner.open() as machine:
        row = the_house(machine, "")

        async def work() -> None:
            async with await HouseSession.open(machine, row) as session:
                await submit(session, row, open_human(machine, passphrase), PairSever(pairing_id=pairing, reason="lost"))

        asyncio.run(work())


def at_the_house(house: House, name: str) -> None:
    """`tally sever` at the house."""
    house.sever(name)


@pytest.mark.parametrize("sever", [at_the_house, by_statement])
def test_the_house_severs(house: House, sever: Callable[[House, str], None]) -> None:
    """A live session is cut and told within a second; afterwards neither the machine nor a copy of its state gets one byte."""
    client = house.machine(f"cut-{sever.__name__}".replace("_", "-"))
    thief = copied(client)
    assert [len(answer) for answer in answers_to(knocks(client, 1), house.port)] == [ANSWER_BYTES]
    kept = knocks(client)

    async def live() -> float:
        with client.open() as machine:
            async with RawSession.open(machine) as raw:
                assert (await raw.ask(Request())).status == 200
                began = time.monotonic()
                severing = asyncio.create_task(asyncio.to_thread(sever, house, client.name))
                await raw.until(lambda: raw.cut, 3)
                await severing
                row = half(machine)
                assert raw.telemetry == [severed_record(row.pairing)]
                return time.monotonic() - began

    seconds = asyncio.run(live())
    print(f"{sever.__name__}: cut and told in {seconds * 1000:.0f} ms")
    assert seconds < 1
    assert house.row(client.name)["state"] == "severed"
    assert answers_to([*kept, *knocks(client), *knocks(thief)], house.port, seconds=0.5) == []
    client.flags["timeout_s"] = 1
    for each in (client, thief):
        house.fails(Unavailable, each.ping)
    with house.open() as machine:
        pairing = bytes.fromhex(house.row(client.name)["pairing"])
        assert not [name for name in machine.vault.list() if name.endswith(pairing.hex())]
    assert house.log("severed")[-1]["fields"]["by"] == ("local" if sever is at_the_house else "statement")


def test_a_session_of_the_client_hears_of_it(house: House) -> None:
    """The client's own session learns that it was severed, says so, and destroys its half and its secret."""
    client = house.machine("told")

    async def live() -> str:
        with client.open() as machine:
            async with await HouseSession.open(machine, half(machine)) as session:
                await session.get_json("/v1/ping", verb="pair.ping")
                await asyncio.to_thread(house.sever, client.name)
                try:
                    while True:
                        await session.get_json("/v1/ping", verb="pair.ping")
                except Refused as error:
                    return error.message
        raise AssertionError("the session goes on")

    assert "severed" in asyncio.run(live())
    assert [row["state"] for row in client.pairs()] == ["severed"]
    assert client.secrets() == []
    assert client.log("severed")[-1]["fields"]["by"] == "peer"
    house.fails(Refused, client.ping)


def test_the_client_severs(house: House) -> None:
    """`tally sever` at the machine: the house is told, severs too, and both ends record it; a copy of the machine's state meets silence."""
    client = house.machine("leaving")
    thief = copied(client)
    ended = client.sever()
    assert ended["told"]
    assert [row["state"] for row in client.pairs()] == ["severed"]
    assert client.secrets() == []
    until(lambda: house.row("leaving")["state"] == "severed", "the house has severed too")
    assert house.log("severed")[-1]["fields"]["by"] == "peer"
    assert answers_to(knocks(thief), house.port, seconds=0.5) == []
    house.fails(Unavailable, thief.ping)


def test_the_client_severs_while_the_house_is_off(house: House) -> None:
    """The house cannot be told: the machine ends its half all the same, and the house's half meets silence from then on."""
    client = house.machine("leaving-alone", timeout_s=1)
    house.stop()
    ended = client.sever()
    assert not ended["told"]
    assert client.secrets() == []
    house.serve()
    assert house.row("leaving-alone")["state"] == "standing"
    house.fails(Refused, client.ping)
    house.sever("leaving-alone")


def test_sever_at_a_house_that_does_not_run(house: House) -> None:
    """`tally sever` works at a stopped house; the next start lets the machine in no more."""
    client = house.machine("severed-offline", timeout_s=1)
    kept = knocks(client)
    house.stop()
    house.sever(client.name)
    house.serve()
    assert answers_to([*kept, *knocks(client)], house.port, seconds=0.5) == []
    house.fails(Unavailable, client.ping)


def test_a_killed_house_has_severed_what_it_recorded(house: House) -> None:
    """The house dies right after the severance is recorded: after the next start the pair is silent and its secret gone."""
    client = house.machine("severed-then-killed", timeout_s=1)
    house.sever(client.name)
    house.kill()
    house.serve()
    assert answers_to(knocks(client), house.port, seconds=0.5) == []
    assert not [name for name in house.secrets() if name.endswith(house.row(client.name)["pairing"])]


def test_a_severed_machine_can_be_paired_anew(house: House) -> None:
    """It gets another pairing id; telemetry that tells of the old severance, to either end, changes nothing."""
    client = house.machine("returning")
    old = bytes.fromhex(house.row("returning")["pairing"])
    house.sever("returning")
    house.machine("returning")
    rows = [row for row in house.pairs() if row["label"] == "returning"]
    assert sorted(row["state"] for row in rows) == ["severed", "standing"]
    assert len({row["pairing"] for row in rows}) == 2

    async def tell_of_the_old() -> None:
        with client.open() as machine:
            async with RawSession.open(machine) as raw:
                raw.connection.write(raw.session.send_telemetry(severed_record(old)))
                assert (await raw.ask(Request())).status == 200

    asyncio.run(tell_of_the_old())
    assert house.row("returning")["state"] in ("standing", "severed")
    assert [row["state"] for row in house.pairs() if row["label"] == "returning"].count("standing") == 1
    client.ping()


def test_a_dead_secret_is_a_broken_pair(house: House) -> None:
    """A standing pair whose secret has gone from the vault is marked broken at the next start, shown as such, and silent."""
    client = house.machine("broken", timeout_s=1)
    kept = knocks(client)
    pairing = house.row("broken")["pairing"]
    house.stop()
    with house.open() as machine:
        for name in machine.vault.list():
            if name.endswith(pairing):
                machine.vault.delete_secret(name)
    house.serve()
    assert house.row("broken")["state"] == "broken"
    assert answers_to(kept, house.port, seconds=0.5) == []
    house.sever("broken")
    assert house.row("broken")["state"] == "severed"


def test_all_sessions_of_a_pair_are_cut(house: House) -> None:
    """Ten live sessions of the pair are cut, those of another pair go on, and the number is told."""
    client, other = house.machine("many"), house.machine("bystander")

    async def live() -> None:
        with client.open() as machine, other.open() as bystander:
            async with RawSession.open(bystander) as calm:
                opened = [RawSession.open(machine) for _ in range(10)]
                raws = [await each.__aenter__() for each in opened]
                for raw in raws:
                    assert (await raw.ask(Request())).status == 200
                ended = await asyncio.to_thread(house.sever, "many")
                assert ended["sessions_cut"] == 10
                for raw in raws:
                    await raw.until(lambda raw=raw: raw.cut, 1)
                assert (await calm.ask(Request())).status == 200
                for each in opened:
                    await each.__aexit__(None, None, None)

    asyncio.run(live())


def test_severed_while_it_connects(house: House) -> None:
    """A connection that opened before the severance and sends its first frame after it is nothing."""
    client = house.machine("slow")

    async def late() -> None:
        with client.open() as machine:
            row = half(machine)
            dialled = await dial(machine, row)
            await asyncio.to_thread(house.sever, "slow")
            session, _ = RawSession.of(machine, row, dialled)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(dialled.opened.sock, session.start())
            assert await asyncio.wait_for(loop.sock_recv(dialled.opened.sock, 100), 3) == b""
            dialled.opened.close()

    asyncio.run(late())
    house.fails(Unavailable, client.ping, timeout_s=1)


def test_how_long_a_severance_takes(house: House) -> None:
    """From the call at the house to a durable, silent end: measured over `house.sock`."""
    spent = []
    for number in range(5):
        name = f"measured{number}"
        house.machine(name)
        began = time.monotonic()
        house.sever(name)
        spent.append(time.monotonic() - began)
    print(f"sever: {sorted(spent)[2] * 1000:.1f} ms (median of 5, a loop and a connection of its own included)")
    assert sorted(spent)[2] < 0.5
