"""A hostile house: it holds the keys of a real one, hears the knocks of its pairs, and then says what a house must never say.

The doorstep, the sealed stream and the socket are the house's own code; only what it sends is not.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tallystick.channel.event import Data, Event
from tallystick.channel.session import Session
from tallystick.node.connection import Connection
from tallystick.node.doorstep import Arrival, Doorstep
from tallystick.node.ephemerals import ephemeral
from tallystick.node.machine import Machine
from tallystick.pair.pairing import Role, derive_pair_keys
from tallystick.passage.effect import secret_name
from tests.e2e.support import House

ANSWER: Final = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 13\r\n\r\n{"time_ns":1}'
PAGE: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Guest:
    """A connection of a machine that trusts us."""

    def __init__(self, session: Session, connection: Connection) -> None:
        self.session = session
        self.connection = connection
        self.asked = asyncio.Event()

    def say(self, plaintext: bytes) -> None:
        """Data, as a house's answers."""
        self.connection.write(bytes(self.session.send_data(plaintext)))

    def frame(self, kind: int, body: bytes) -> None:
        """A frame of any type, sealed as it should be."""
        self.connection.write(self.session._sealer.seal(kind, body))  # type: ignore[arg-type]

    def garbage(self, raw: bytes) -> None:
        """Bytes that nobody sealed."""
        self.connection.write(raw)

    async def answer(self, raw: bytes = ANSWER) -> None:
        """Wait for a request, and answer it."""
        await asyncio.wait_for(self.asked.wait(), 5)
        self.asked.clear()
        self.say(raw)

    # --- What comes ------------------------------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Requests are heard and not read."""
        if isinstance(event, Data):
            self.asked.set()

    def lost(self, reason: str) -> None:
        """It has gone."""

    def pause_writing(self) -> None:
        """Small words."""

    def resume_writing(self) -> None:
        """Small words."""


Evil = Callable[[Guest], Awaitable[None]]


@dataclass
class Script:
    """What the hostile house does with its next guest."""

    evil: Evil


class _Host:
    def __init__(self, machine: Machine, script: "Script") -> None:
        self._machine = machine
        self._script = script
        self.tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> object:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def has_room(self, pair: bytes | None) -> bool:
        return True

    async def arrived(self, arrival: Arrival) -> None:
        row = arrival.pair
        if row is None:
            arrival.opened.close()
            return
        session = Session.of_pair(
            role=Role.HOUSE,
            handshake=arrival.handshake,
            suite=row.suite,
            static=self._machine.vault.machine.static,
            ephemeral=ephemeral,
            now_ns=time.time_ns(),
        )
        connection = Connection(session, arrival.opened, time.time_ns)
        guest = Guest(session, connection)
        await connection.start(guest)
        for _ in range(300):
            if session.confirmed:
                break
            await asyncio.sleep(0.01)
        with contextlib.suppress(TimeoutError):
            await self._script.evil(guest)


@contextlib.contextmanager
def hostile(house: House, evil: Evil) -> Iterator[Script]:
    """The house is stopped, and until the end of the block a hostile one stands on its port."""
    house.stop()
    ready, over, script = threading.Event(), threading.Event(), Script(evil)
    failure: list[BaseException] = []

    async def serve() -> None:
        with Machine.open(house.settings(port=house.port)) as machine:
            host = _Host(machine, script)
            doorstep = Doorstep(machine, host, time.time_ns)
            for row in machine.store.pairs():
                secret = machine.vault.get_secret(secret_name(row.pairing))
                if row.stands and secret is not None:
                    doorstep.let_in(row, derive_pair_keys(secret))
            doorstep.listen()
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.02)
            doorstep.close()
            for task in list(host.tasks):
                task.cancel()
            await asyncio.gather(*host.tasks, return_exceptions=True)

    def work() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            failure.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        if not ready.wait(10) or failure:
            raise AssertionError(f"the hostile house does not stand: {failure}")
        yield script
    finally:
        over.set()
        thread.join(10)
        house.serve()
