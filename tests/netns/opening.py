"""The smallest house and client that open connections for real: a knock of two fields, no cryptography.

The knock is mode and TCP port; the answer is our TCP port. What is tested with it is the network, not the doorkeeper.
In threads: `serving` and `meet_from`. As programs: `python -m tests.netns.opening house` (says "ready"), and
`python -m tests.netns.opening client HOST MODE TIMES` (prints one JSON list of milliseconds or of errors).
"""

import asyncio
import contextlib
import json
import struct
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from tallystick.channel.datagram import Mode
from tallystick.errors import TallyError, Unavailable
from tallystick.net.address import Endpoint
from tallystick.net.dial import ClientPort
from tallystick.net.tcp import house_open
from tallystick.net.udp import Knocker, Origin, UdpPort
from tests.netns.village import Machine

PORT: Final = 51_877
KEY: Final = b"the pair's key for TCP-MD5"
_KNOCK: Final = struct.Struct(">BH")
_ANSWER: Final = struct.Struct(">H")


@dataclass(frozen=True, slots=True)
class Met:
    """One opening: how long the client took until it had its byte back, and who connected to whom how often."""

    milliseconds: float
    house_attempts: int
    client_attempts: int


@dataclass
class House:
    """Answers every knock, opens, echoes the first byte and the number of its attempts, settles, closes."""

    md5: bytes | None = KEY
    errors: list[str] = field(default_factory=list)

    async def serve(self, ready: threading.Event, stop: "Future[None]") -> None:
        """Run until `stop` is done."""
        loop = asyncio.get_running_loop()
        port = UdpPort.open(None, PORT)
        tasks: set[asyncio.Task[None]] = set()

        def knocked() -> None:
            for i, knock in enumerate(port.receive()):
                if len(knock) == _KNOCK.size:
                    task = loop.create_task(self._admit(port, port.origin(i), knock))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)

        loop.add_reader(port, knocked)
        ready.set()
        try:
            await asyncio.wrap_future(stop)
        finally:
            loop.remove_reader(port)
            for task in list(tasks):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            port.close()

    async def _admit(self, port: UdpPort, origin: Origin, knock: bytes) -> None:
        number, named = _KNOCK.unpack(knock)
        mode = Mode(number)
        holds = mode in (Mode.OPEN, Mode.SIGNED) or named == origin.remote.port
        try:
            opened = await house_open(
                mode,
                origin.local,
                origin.remote.at(named if holds else 0),
                md5_key=self.md5 if mode is Mode.SIGNED else None,
                on_ready=lambda ours: void(port.send(_ANSWER.pack(ours), origin)),
            )
        except TallyError as error:
            self.errors.append(error.message)
            return
        try:
            loop = asyncio.get_running_loop()
            first = await asyncio.wait_for(loop.sock_recv(opened.sock, 16), 3)
            opened.settle()
            await loop.sock_sendall(opened.sock, first + bytes([min(opened.attempts, 255)]))
            await asyncio.wait_for(loop.sock_recv(opened.sock, 16), 3)  # the client closes first and keeps TIME_WAIT
        except (OSError, TimeoutError) as error:
            self.errors.append(repr(error))
        finally:
            opened.close()


def void(_: object) -> None:
    """Nothing: for a callback that returns nothing."""


@contextlib.contextmanager
def serving(machine: Machine, md5: bytes | None = KEY) -> Iterator[House]:
    """A house runs on `machine` until the end of the block."""
    house, ready, stop = House(md5=md5), threading.Event(), Future[None]()
    done = machine.call(lambda: asyncio.run(house.serve(ready, stop)))
    if not ready.wait(10):
        done.result(0)
    try:
        yield house
    finally:
        stop.set_result(None)
        done.result(10)


async def meet(host: str, mode: Mode, *, md5: bytes | None = KEY, timeout: float = 3.0) -> Met:
    """Knock, open, send one byte, get it back. Raises: Unavailable: no answer, or no connection."""
    loop = asyncio.get_running_loop()
    start = time.perf_counter()
    with Knocker.open(Endpoint.of(host, PORT)) as knocker, ClientPort.bind(knocker.local) as port:
        answer = None
        while answer is None and time.perf_counter() - start < timeout:
            knocker.send(_KNOCK.pack(mode, port.number))  # again when it was lost in a flood
            answer = await knocker.receive(min(timeout, 0.5))
        if answer is None:
            raise Unavailable("no answer")
        house = Endpoint.of(host, _ANSWER.unpack(answer)[0])
        opened = await port.open(house, mode=mode, md5_key=md5 if mode is Mode.SIGNED else None, timeout=timeout)
    try:
        await loop.sock_sendall(opened.sock, b"?")
        back = await asyncio.wait_for(loop.sock_recv(opened.sock, 2), timeout)
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"connected, then {error!r}") from error
    finally:
        opened.close()
    if len(back) != 2 or back[:1] != b"?":
        raise Unavailable(f"connected to something else: {back!r}")
    return Met((time.perf_counter() - start) * 1000, back[1], opened.attempts)


def meet_from(machine: Machine, host: str, mode: Mode, times: int = 1, *, md5: bytes | None = KEY, timeout: float = 3.0) -> list[Met]:
    """`times` openings one after the other, from `machine`."""

    async def all_of_them() -> list[Met]:
        return [await meet(host, mode, md5=md5, timeout=timeout) for _ in range(times)]

    return machine.call(lambda: asyncio.run(all_of_them())).result(times * (timeout + 2) + 5)


def main(argv: list[str]) -> None:
    """The two programs of the module docstring."""
    if argv[0] == "house":
        ready = threading.Event()
        threading.Thread(target=lambda: ready.wait() and print("ready", flush=True), daemon=True).start()
        asyncio.run(House().serve(ready, Future()))
        return
    host, mode, times = argv[1], Mode(int(argv[2])), int(argv[3])

    async def client() -> list[float | str]:
        found: list[float | str] = []
        for _ in range(times):
            try:
                found.append((await meet(host, mode, timeout=1.0)).milliseconds)
            except TallyError as error:
                found.append(error.message)
        return found

    print(json.dumps(asyncio.run(client())))


if __name__ == "__main__":
    main(sys.argv[1:])
