"""A house that is stopped and started again: answers under way come to their end, sessions come back by themselves."""

import asyncio
import hashlib
import secrets
from pathlib import Path

from tallystick.node.commands.where import the_house
from tallystick.node.remote import HouseClient
from tests.e2e.raw import RawSession, Request
from tests.e2e.support import House, until

MIB = 1 << 20


def test_a_session_comes_back_by_itself(tmp_path: Path) -> None:
    """The same client object goes on through an orderly restart and through a death; an idle session is ended in order by a stop; an
    open invite outlives both."""
    with House(tmp_path) as house:
        client = house.machine("laptop", timeout_s=20)
        invites = [house.owner.invite("USER", label="late", approve=True, ttl_s=120)]

        async def through() -> None:
            with client.open() as machine:
                async with await HouseClient.open(machine, the_house(machine, "")) as attic:
                    await attic.put("a.txt", b"before")
                    await asyncio.to_thread(house.restart)
                    assert await attic.read("a.txt") == b"before"
                    await asyncio.to_thread(house.kill)
                    await asyncio.to_thread(house.serve)
                    assert await attic.read("a.txt") == b"before"
                async with RawSession.open(machine) as raw:
                    assert (await raw.ask(Request())).status == 200
                    assert await asyncio.to_thread(house.stop) == 0
                    await raw.until(lambda: raw.cut)
                    assert raw.ended, "the house said that it ends"

        client.do(asyncio.run, through())
        house.serve()
        reasons = [entry["fields"]["reason"] for entry in house.log("session-ended")]
        assert set(reasons) <= {"end", "stopped"}, reasons
        assert house.client("late").pairing(invites[0]).wait()["state"] == "standing"


def hears(port: int) -> bool:
    """Whether anybody here has this UDP port open."""
    return any(line.split()[1].endswith(f":{port:04X}") for line in Path("/proc/net/udp").read_text("ascii").splitlines()[1:])


def test_a_stop_lets_answers_end(tmp_path: Path) -> None:
    """SIGTERM in the middle of a download: it comes to its end, whole; then the house ends with exit code 0 and says so in the ledger.
    A client that reads nothing does not hold that up for ever."""
    with House(tmp_path) as house:
        client = house.machine("laptop", timeout_s=20)
        assert hears(house.port)
        content = secrets.token_bytes(MIB) * 24
        client.put(content, "big.bin")
        asked = Request(target="/v1/files/big.bin", verb="archive.get")

        async def slow() -> bytes:
            with client.open() as machine:
                async with RawSession.open(machine) as raw:
                    await raw.send(asked)
                    await raw.until(lambda: b"\r\n\r\n" in raw.data)
                    raw.connection.pause_reading()
                    stopping = asyncio.create_task(asyncio.to_thread(house.stop))
                    await asyncio.to_thread(until, lambda: not hears(house.port), "it takes no more knocks")
                    raw.connection.resume_reading()
                    await raw.until(lambda: raw.cut, 30)
                    head, _, body = bytes(raw.data).partition(b"\r\n\r\n")
                    assert b" 200 " in head.splitlines()[0]
                    assert raw.ended
                    assert await stopping == 0
                    return body

        assert hashlib.sha256(client.do(asyncio.run, slow())).digest() == hashlib.sha256(content).digest()
        assert "stopped" in house.kinds()[-3:]
        house.serve()

        async def deaf() -> None:
            with client.open() as machine:
                async with RawSession.open(machine) as raw:
                    await raw.send(asked)
                    await raw.until(lambda: b"\r\n\r\n" in raw.data)
                    raw.connection.pause_reading()
                    assert await asyncio.to_thread(house.stop) == 0

        client.do(asyncio.run, deaf())
        assert "stopped" in house.kinds()[-3:]
