"""One pair that does too much, or nothing at all, and others who do not notice (DESIGN 6, "Limits per pair"); machines that roam."""

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tallystick.channel.datagram import Mode
from tallystick.errors import TallyError
from tallystick.node.commands.where import the_house
from tallystick.node.dialling import dial
from tallystick.node.machine import Machine
from tallystick.node.remote import HouseClient
from tests.e2e.raw import RawSession, Request, answers_to, knock_of
from tests.e2e.support import Client, House, until
from tests.netns.village import Village
from tests.support import need_netns

SESSIONS = 20
SILENT = 6


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house; its pairs are many."""
    with House(tmp_path_factory.mktemp("crowds")) as made:
        yield made


@pytest.fixture(scope="module")
def laptop(house: House) -> Client:
    """Who wants nothing but its due."""
    return house.machine("laptop", timeout_s=20)


@pytest.fixture(scope="module")
def crowd(house: House) -> Client:
    """Who wants more."""
    return house.machine("crowd", timeout_s=20)


def works(client: Client) -> None:
    """A put and a get."""
    content = secrets.token_bytes(1_000)
    client.put(content, "works.bin")
    assert client.get("works.bin") == content


def test_many_sessions_of_one_pair(house: House, crowd: Client) -> None:
    """Twenty sessions of one pair at the same time put and get, each its own files."""
    contents = {f"crowd-{number}.bin": secrets.token_bytes(20_000 + number) for number in range(SESSIONS)}
    before = len(house.log("session"))

    async def one(machine: Machine, name: str, content: bytes, met: asyncio.Barrier) -> None:
        async with await HouseClient.open(machine, the_house(machine, "")) as attic:
            await met.wait()  # all of them are open now
            for _ in range(2):
                await attic.put(name, content)
                assert await attic.read(name) == content

    async def all_of_them() -> None:
        met = asyncio.Barrier(SESSIONS)
        with crowd.open() as machine:
            await asyncio.gather(*(one(machine, name, content, met) for name, content in contents.items()))

    crowd.do(asyncio.run, all_of_them())
    assert set(contents) <= set(crowd.names())
    assert len({entry["fields"]["session"] for entry in house.log("session")[before:]}) >= SESSIONS


def test_several_processes_of_one_machine(house: House, crowd: Client) -> None:
    """`tally put` from four processes of one machine at once."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            source = house.folder / f"process-{number}.bin"
            source.write_bytes(bytes([number]) * 1_000)
            crowd.json("put", str(source), f"/{source.name}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures, failures
    for number in range(4):
        assert crowd.get(f"process-{number}.bin") == bytes([number]) * 1_000


def test_knocks_without_end(house: House, laptop: Client, crowd: Client) -> None:
    """A machine that knocks a thousand times and never connects gets few answers; another pair connects meanwhile, and so does it soon."""
    with crowd.open() as machine:
        (pair,) = machine.store.pairs()
        knocks = [knock_of(machine, pair, port=40_000 + number % 100, mode=Mode.MOMENTARY) for number in range(1_000)]
    answers = answers_to(knocks, house.port, seconds=0.3)
    assert len(answers) <= 64
    works(laptop)
    works(crowd)


def test_connections_that_say_nothing(house: House, laptop: Client, crowd: Client) -> None:
    """Connections after a genuine knock that never say a word, half a word, or a first frame drop by drop, are closed by the house
    within seconds; nothing of them is recorded; others work meanwhile."""
    before = house.log()[-1]["index"]

    async def silent() -> None:
        with crowd.open() as machine:
            (pair,) = machine.store.pairs()
            sockets: list[Any] = []
            for number in range(SILENT):
                session, opened = RawSession.of(machine, pair, await dial(machine, pair, modes=[Mode.OPEN]))
                first = bytes(session.start())
                opened.sock.send(b"" if number < 2 else first[:1] if number < 4 else first[:-1] if number < 5 else bytes(2_000))
                sockets.append(opened.sock)
            await asyncio.to_thread(works, laptop)
            loop = asyncio.get_running_loop()
            for sock in sockets:
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(loop.sock_recv(sock, 1), 15) == b""
                sock.close()

    crowd.do(asyncio.run, silent())
    kinds = [entry["kind"] for entry in house.log() if entry["index"] > before and entry["name"] == "crowd"]
    assert not {"knock", "session", "signal"} & set(kinds), kinds
    works(crowd)


def test_requests_that_never_end(house: House, laptop: Client, crowd: Client) -> None:
    """Requests that stop in the middle of a head, a body or an upload hold nobody up, and end with their sessions: recorded as void."""

    async def slow() -> None:
        with crowd.open() as machine:
            async with contextlib.AsyncExitStack() as stack:
                raws = [await stack.enter_async_context(RawSession.open(machine)) for _ in range(SILENT)]
                upload = Request(method="PUT", target="/v1/files/slow.bin", verb="archive.put", upload=True)
                for number, raw in enumerate(raws):
                    if number % 2:
                        raw.write(b"GET /v1/ping HTTP/1.1\r\nhost: ho")
                    else:
                        lines = upload.wire(upload.sign(raw))[:-2] + b"content-length: 1000000\r\n\r\n"
                        raw.write(lines + b"a part of it")
                await asyncio.to_thread(works, laptop)
                await asyncio.to_thread(until, lambda: house.row("crowd")["sessions"] >= SILENT, "they are open")

    crowd.do(asyncio.run, slow())
    until(lambda: not house.row("crowd")["sessions"], "their sessions have ended")
    ended = until(lambda: house.log("session-ended", pair="crowd")[-SILENT:], "it is recorded")
    assert {entry["fields"]["reason"] for entry in ended} == {"void"}
    assert "slow.bin" not in crowd.names()
    works(crowd)


def test_too_many_sessions(house: House, laptop: Client, crowd: Client) -> None:
    """A pair that opens as many sessions as it can is met with silence at its limit; its open ones and all others go on."""

    async def many() -> int:
        with crowd.open() as machine:
            async with contextlib.AsyncExitStack() as stack:
                raws: list[RawSession] = []
                with contextlib.suppress(TallyError):
                    while len(raws) < 64:
                        raws.append(await stack.enter_async_context(RawSession.open(machine)))
                await asyncio.to_thread(works, laptop)
                for raw in (raws[0], raws[-1]):
                    assert (await raw.ask(Request())).status == 200
                return len(raws)

    crowd.flags["timeout_s"] = 2
    count = crowd.do(asyncio.run, many())
    crowd.flags["timeout_s"] = 20
    assert 8 <= count <= 32
    until(lambda: not house.row("crowd")["sessions"], "their sessions have ended")
    works(crowd)


def test_a_machine_that_roams(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A machine that gets another address knocks from there: its next session opens, and `tally status` says where it is; the old
    session, whose address is gone, is not missed."""
    need_netns()
    with Village() as village, House(tmp_path_factory.mktemp("roams"), place=village.house) as house:
        client = house.machine("laptop", place=village.client, timeout_s=20)

        async def roam() -> None:
            with client.open() as machine:
                async with await HouseClient.open(machine, the_house(machine, "")) as attic:
                    await attic.put("a.txt", b"content")
                    await asyncio.to_thread(move, village)
                    with contextlib.suppress(TallyError):
                        await asyncio.wait_for(attic.read("a.txt"), 1)

        with contextlib.suppress(TimeoutError, TallyError):
            client.do(asyncio.run, roam())
        assert house.row("laptop")["address"] == village.client.ip
        assert client.get("a.txt") == b"content"
        assert house.row("laptop")["address"] == "192.168.77.21"


def move(village: Village) -> None:
    """The client's machine has another address from now on."""
    village.client.run(["ip", "address", "del", f"{village.client.ip}/24", "dev", "eth0"])
    village.client.run(["ip", "address", "add", "192.168.77.21/24", "dev", "eth0"])
    village.client.run(["ip", "route", "replace", "default", "via", "192.168.77.1"])
