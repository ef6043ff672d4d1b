"""`open_house` for programs without an event loop: one runs in a thread of its own."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tallystick.errors import Misuse
from tallystick.keys import KeyId
from tallystick.node.gatewords import Decided, Verdict
from tallystick.node.localhouse import LocalHouse, open_house
from tallystick.node.speaking import SignalSource, SignedSignal

_T = TypeVar("_T")


class BlockingHouse:
    """`LocalHouse`, call by call; each returns when it is done. Any thread may call."""

    def __init__(self, house: LocalHouse, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        """Use `open_blocking`."""
        self._house = house
        self._run = run

    @property
    def house_id(self) -> KeyId:
        """As `LocalHouse.house_id`."""
        return self._house.house_id

    def source(self, name: str) -> SignalSource:
        """As `LocalHouse.source`."""
        return self._house.source(name)

    def admit(
        self, signal: SignedSignal | bytes, opening: bytes | None = None, body: bytes | None = None, deliver_to: Sequence[bytes] = ()
    ) -> Verdict:
        """As `LocalHouse.admit`."""
        verdict: Verdict = self._run(self._house.admit(signal, opening, body, deliver_to))
        return verdict

    def decision(self, proposal: int) -> Decided:
        """As `LocalHouse.decision`."""
        decided: Decided = self._run(self._house.decision(proposal))
        return decided

    def begin_context(self, key: bytes) -> int:
        """As `LocalHouse.begin_context`."""
        return int(self._run(self._house.begin_context(key)))

    def end_context(self, key: bytes) -> int:
        """As `LocalHouse.end_context`."""
        return int(self._run(self._house.end_context(key)))

    def deliver(self, key: bytes, signals: Sequence[SignedSignal | bytes]) -> int:
        """As `LocalHouse.deliver`."""
        return int(self._run(self._house.deliver(key, signals)))


@contextmanager
def open_blocking(
    home: str | Path | None = None, *, socket: str | Path | None = None, house: KeyId | None = None
) -> Iterator[BlockingHouse]:
    """As `tallystick.open`, for programs without an event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="tallystick-gate", daemon=True)
    thread.start()
    closed = False

    def run(work: Coroutine[Any, Any, _T]) -> _T:
        if closed or threading.current_thread() is thread:
            work.close()
            raise Misuse("this house is closed, or was called from its own loop", "call it inside its `with`, from your own thread")
        future = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # Ctrl-C in our thread: nothing goes on in the other
            raise

    try:
        found = open_house(home, socket=socket, house=house)
        opened = run(found.__aenter__())
        try:
            yield BlockingHouse(opened, run)
        except BaseException as error:
            if not run(found.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            run(found.__aexit__(None, None, None))
    finally:
        closed = True
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
