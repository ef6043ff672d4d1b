"""Threads for the blocking calls of services, shared out so that one pair cannot have them all.

They are not the event loop's own threads: vault, checkpoints and severance use those, and never wait behind a service. A pair has a
few threads at once; what it asks beyond that waits its turn, and beyond a longer queue is refused.
"""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final

from tallystick.errors import Unavailable

THREADS: Final = 32
THREADS_OF_A_PAIR: Final = 4
WAITING_OF_A_PAIR: Final = 64

_Job = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


@dataclass(slots=True)
class _Share:
    """What one pair uses: `held` counts calls that run or wait."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(THREADS_OF_A_PAIR))
    held: int = 0


class _Threads:
    """Threads that are made as they are needed. Methods are called from the event loop.

    What `concurrent.futures` has above this (futures with conditions of their own, chained to those of the loop) costs more than
    reading a short file does. They are daemons: a call that hangs on a dead disk does not keep the house from ending.
    """

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._made = 0
        self._busy = 0
        self.closed = False

    def submit(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        """Call `function` in a thread. Raises: Unavailable after `close`; the future raises what `function` does."""
        if self.closed:
            raise Unavailable("the house is closing", "try again later")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self._busy >= self._made and self._made < THREADS:
            self._made += 1
            threading.Thread(target=self._work, name=f"tally-service-{self._made}", daemon=True).start()
        self._busy += 1
        self._jobs.put((loop, future, function))
        return future

    def close(self) -> None:
        """Take no more calls; those that run end by themselves, those that wait are cancelled."""
        self.closed = True
        with suppress(Empty):
            while (job := self._jobs.get_nowait()) is not None:
                job[1].cancel()
        for _ in range(self._made):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            loop, future, function = job
            result, error = None, None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            with suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(self._ended, future, result, error)
            del job, future, function, result, error  # a thread that waits keeps no file open

    def _ended(self, future: "asyncio.Future[Any]", result: object, error: BaseException | None) -> None:
        self._busy -= 1
        if future.done():
            return  # whoever waited was cancelled
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)


class Workers:
    """Runs blocking calls beside the event loop."""

    def __init__(self) -> None:
        self._threads = _Threads()
        self._shares: dict[bytes, _Share] = {}

    async def run(self, pair: bytes, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call on behalf of a pair. Raises: Unavailable: too many wait already; what `function` raises."""
        share = self._shares.setdefault(pair, _Share())
        if share.held >= THREADS_OF_A_PAIR + WAITING_OF_A_PAIR:
            raise Unavailable("this pair asks too much at once", "wait for some of its answers")
        share.held += 1
        try:
            async with share.turns:
                return await self._threads.submit(partial(function, *args, **kwargs))
        finally:
            self._give_back(pair, share)

    def begin(self, pair: bytes, function: Callable[[], Any]) -> "asyncio.Future[Any] | None":
        """A call that begins at once, or None: the pair has its threads in use, and no call of it may overtake those that wait."""
        share = self._shares.setdefault(pair, _Share())
        if share.held >= THREADS_OF_A_PAIR:
            return None
        work = self._threads.submit(function)
        share.held += 1
        work.add_done_callback(lambda _: self._give_back(pair, share))
        return work

    def _give_back(self, pair: bytes, share: _Share) -> None:
        share.held -= 1
        if not share.held:
            self._shares.pop(pair, None)

    async def tidy(self, function: Callable[[], Any]) -> None:
        """Give something back: never refused, never waits for a turn."""
        if self._threads.closed:
            function()
        else:
            await self._threads.submit(function)

    def close(self) -> None:
        """Take no more calls; what runs ends by itself."""
        self._threads.close()
