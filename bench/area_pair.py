"""What a paired machine feels: a connection, a small read, a severance, each beside its peer on the same machine in the same run.

Wall clock, client and server in processes of their own on loopback, rounds interleaved, medians. The house is a real `tally serve`
with its ledger on a real disk; nothing of it is left out.

- `pair.connect`: from nothing to a connection on which both sides have proven themselves and a few bytes went both ways. Ours: knock,
  answer, TCP connection, sealed ping and pong (`HouseSession.open`, a client process that is warm). mTLS: connect, handshake, a few
  bytes, warm too; `ratio_mtls` on the same event loop as ours, `ratio_mtls_bare` on the barest of sockets (bench/peers/mtls.py).
  `floor`: the same with neither ledger nor house around it (bench/peers/bare_knock.py), beside the same mTLS: no Python is faster here.
  OpenSSH: `ssh HOST true`, which is how it is used; `ratio_ssh_cold` compares `tally ping`, a fresh process as well, which also makes a
  request with its entries. `request` is our connection with a whole signed command.
- `pair.http`: a file of 1 KiB over an open session, its signal and its entry durable before the first byte, beside uvicorn on plain
  TCP with one fdatasync for each request (bench/peers/plain_http.py). The HTTP client is the same.
- `pair.sever`: from the order on the house's own socket until the client's session is cut, which follows the durable entry;
  `destroyed`: until the house says that the secret is gone from its disk too.
"""

import asyncio
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import uvloop

from bench.counts import count
from bench.peers import mtls, openssh
from bench.peers.bare_knock import Caller
from bench.peers.plain_http import PlainWire
from bench.peers.process import Running, python
from bench.scene import Member, Scene, running
from tallystick.node.client import HouseSession
from tallystick.node.local import call
from tallystick.node.remote import HouseClient

MACHINES: Final = count(16, 2)  # a pair may knock 20 times a second
CONNECTS: Final = count(400, 4)
REQUESTS: Final = count(100, 2)
LOGINS: Final = count(20, 1)
READS: Final = count(1500, 4)
PAUSE_S: Final = 0.003  # so that what either server does after a connection is not charged to the next one
SETTLE_S: Final = 0.1
FILE: Final = "bench/small.bin"
FILE_BYTES: Final = 1024


class Record(Protocol):
    def __call__(self, key: str, value: float) -> None: ...
    def missing(self, peer: str, reason: str) -> None: ...


def _ms(seconds: Sequence[float]) -> float:
    return statistics.median(seconds) * 1000


async def _ours(member: Member, *, request: bool) -> float:
    """Seconds until both sides are confirmed, or until a signed command is answered."""
    begin = time.perf_counter()
    session = await HouseSession.open(member.machine, member.pair)
    if request:
        await session.get_json("/v1/ping", verb="pair.ping")
    seconds = time.perf_counter() - begin
    await session.close()
    return seconds


async def _mtls_loop(port: int, made: ssl.SSLContext) -> float:
    begin = time.perf_counter()
    writer = await mtls.connect_loop(port, made)
    seconds = time.perf_counter() - begin
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return seconds


def _mtls_bare(port: int, made: ssl.SSLContext) -> float:
    begin = time.perf_counter()
    sealed = mtls.connect_bare(port, made)
    seconds = time.perf_counter() - begin
    sealed.close()
    return seconds


async def _floor(caller: Caller) -> float:
    begin = time.perf_counter()
    await caller.connect()
    seconds = time.perf_counter() - begin
    caller.hang_up()
    return seconds


async def _connect(record: Record, scene: Scene, folder: Path) -> None:
    mtls.make_certificates(folder)
    made = {kind: mtls.context(folder, kind, "client") for kind in mtls.KINDS}
    times: dict[str, list[float]] = {"ours": [], "loop": [], "bare": [], "floor": [], "request": []}
    seed = os.urandom(32)
    with ExitStack() as stack:
        servers = {
            kind: stack.enter_context(python(["-m", "bench.peers.mtls", kind, folder], folder / f"{kind}.log")) for kind in mtls.KINDS
        }
        floor = stack.enter_context(python(["-m", "bench.peers.bare_knock", seed.hex()], folder / "bare_knock.log"))
        caller = Caller.of(seed, floor.first_line)
        stack.callback(caller.close)
        ports = {kind: int(server.first_line) for kind, server in servers.items()}
        cpu = -servers["loop"].cpu_s
        for turn in range(CONNECTS):
            member = scene.members[turn % len(scene.members)]
            await asyncio.sleep(PAUSE_S)
            times["ours"].append(await _ours(member, request=False))
            await asyncio.sleep(PAUSE_S)
            times["loop"].append(await _mtls_loop(ports["loop"], made["loop"]))
            await asyncio.sleep(PAUSE_S)
            times["bare"].append(_mtls_bare(ports["bare"], made["bare"]))
            await asyncio.sleep(PAUSE_S)
            times["floor"].append(await _floor(caller))
        cpu += servers["loop"].cpu_s
    begun = scene.house.cpu_s
    for turn in range(REQUESTS):
        await asyncio.sleep(PAUSE_S)
        times["request"].append(await _ours(scene.members[turn % len(scene.members)], request=True))
    record("pair.connect.ratio_mtls", statistics.median(times["loop"]) / statistics.median(times["ours"]))
    record("pair.connect.ratio_mtls_bare", statistics.median(times["bare"]) / statistics.median(times["ours"]))
    record("pair.connect.floor_ratio_mtls", statistics.median(times["loop"]) / statistics.median(times["floor"]))
    record("pair.connect.ours_p50_ms", _ms(times["ours"]))
    record("pair.connect.floor_p50_ms", _ms(times["floor"]))
    record("pair.connect.mtls_p50_ms", _ms(times["loop"]))
    record("pair.connect.mtls_bare_p50_ms", _ms(times["bare"]))
    record("pair.connect.request_p50_ms", _ms(times["request"]))
    record("pair.connect.mtls_server_cpu_ms", 1000 * cpu / CONNECTS)
    record("pair.connect.request_house_cpu_ms", 1000 * (scene.house.cpu_s - begun) / REQUESTS)
    await _against_ssh(record, scene, folder)


def _run(command: Sequence[str | Path], env: dict[str, str] | None = None) -> float:
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=env)
    return time.perf_counter() - begin


async def _against_ssh(record: Record, scene: Scene, folder: Path) -> None:
    ours: list[float] = []
    cold: list[float] = []
    logins: list[float] = []
    try:
        with openssh.running(folder / "ssh") as login:
            for turn in range(LOGINS):
                logins.append(_run(login))
                for again in range(8):
                    await asyncio.sleep(PAUSE_S)
                    ours.append(await _ours(scene.members[(8 * turn + again) % len(scene.members)], request=False))
                cold.append(_run([sys.executable, "-m", "tallystick", "ping"], scene.env))
    except openssh.CannotRunError as error:
        record.missing("OpenSSH", str(error))
        return
    record("pair.connect.ratio_ssh", statistics.median(logins) / statistics.median(ours))
    record("pair.connect.ratio_ssh_cold", statistics.median(logins) / statistics.median(cold))
    record("pair.connect.ssh_p50_ms", _ms(logins))
    record("pair.connect.cold_ping_p50_ms", _ms(cold))


async def _http(record: Record, scene: Scene, folder: Path) -> None:
    member, content = scene.members[0], bytes(range(256)) * (FILE_BYTES // 256)
    async with await HouseClient.open(member.machine, member.pair) as client:
        await client.put(FILE, content)
    small = folder / "small.bin"
    small.write_bytes(content)
    ours: list[float] = []
    plain: list[float] = []

    async def timed(read: Callable[[], Any], into: list[float]) -> None:
        begin = time.perf_counter()
        if await read() != content:
            raise AssertionError("another file came back")
        into.append(time.perf_counter() - begin)

    with python(["-m", "bench.peers.plain_http", small, folder / "journal"], folder / "plain.log") as server:
        wire = await PlainWire.connect(int(server.first_line))
        session = await HouseSession.open(member.machine, member.pair)

        async def through_the_door() -> bytes:
            return await (await session.request("GET", f"/v1/files/{FILE}", verb="archive.get")).read(65_536)

        before = _cpu(scene.house, server)
        for _ in range(READS):
            await timed(through_the_door, ours)
            await timed(lambda: wire.get("/small"), plain)
        after = _cpu(scene.house, server)
        await session.close()
        wire.http.close()
    record("pair.http.ratio_plain_p50", statistics.median(ours) / statistics.median(plain))
    record("pair.http.ours_p50_ms", _ms(ours))
    record("pair.http.plain_p50_ms", _ms(plain))
    record("pair.http.house_cpu_ms", 1000 * (after[0] - before[0]) / READS)
    record("pair.http.plain_cpu_ms", 1000 * (after[1] - before[1]) / READS)


def _cpu(*processes: Running) -> tuple[float, ...]:
    return tuple(process.cpu_s for process in processes)


async def _sever(record: Record, scene: Scene) -> None:
    """Last, for it uses the pairs up."""
    cut: list[float] = []
    destroyed: list[float] = []
    for member in scene.members:
        session = await HouseSession.open(member.machine, member.pair)
        await session.get_json("/v1/ping", verb="pair.ping")
        await asyncio.sleep(SETTLE_S)
        begin = time.perf_counter()
        answer = asyncio.create_task(call(scene.home / "house.sock", "sever", {"name": member.name}))
        await asyncio.wait([session.stream.connection.closed])
        cut.append(time.perf_counter() - begin)
        told = await answer
        destroyed.append(time.perf_counter() - begin)
        if told["sessions_cut"] != 1 or not session.over:
            raise AssertionError(f"a severance cut {told['sessions_cut']} sessions")
        await session.close()
    record("pair.sever.ms", _ms(cut))
    record("pair.sever.destroyed_ms", _ms(destroyed))


async def _measure(record: Record, scene: Scene, folder: Path) -> None:
    await _http(record, scene, folder)
    await _connect(record, scene, folder)
    await _sever(record, scene)


def run(record: Record) -> None:
    """Measure and record."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        names = [f"machine{number}" for number in range(MACHINES)]
        scene = stack.enter_context(running(folder, names))
        uvloop.run(_measure(record, scene, folder))


if __name__ == "__main__":

    class _Print:
        def __call__(self, key: str, value: float) -> None:
            print(f"{key} {value:.3f}")

        def missing(self, peer: str, reason: str) -> None:
            print(f"without {peer}: {reason}", file=sys.stderr)

    run(_Print())
