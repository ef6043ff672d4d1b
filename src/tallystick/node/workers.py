"""Threads for the blocking calls of services, shared out so that one pair cannot have them all.

They are not the event loop's own threads: vault, checkpoints and severance use those, and never wait behind a service. A pair has a
few threads at once; what it asks beyond that waits its turn, and beyond a longer queue is refused.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from tallystick.errors import Unavailable

THREADS: Final = 32
THREADS_OF_A_PAIR: Final = 4
WAITING_OF_A_PAIR: Final = 64


@dataclass(slots=True)
class _Share:
    """What one pair uses: `held` counts calls that run or wait."""

    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(THREADS_OF_A_PAIR))
    held: int = 0


class Workers:
    """Runs blocking calls beside the event loop. Threads are made as they are needed."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "tally-service")
        self._shares: dict[bytes, _Share] = {}

    async def run(self, pair: bytes, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A call on behalf of a pair. Raises: Unavailable: too many wait already; what `function` raises."""
        share = self._shares.setdefault(pair, _Share())
        if share.held >= THREADS_OF_A_PAIR + WAITING_OF_A_PAIR:
            raise Unavailable("this pair asks too much at once", "wait for some of its answers")
        share.held += 1
        try:
            async with share.turns:
                return await asyncio.get_running_loop().run_in_executor(self._pool, partial(function, *args, **kwargs))
        finally:
            share.held -= 1
            if not share.held:
                del self._shares[pair]

    def begin(self, pair: bytes, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any] | None:
        """A call that begins at once, or None: the pair has its threads in use, and no call of it may overtake those that wait."""
        share = self._shares.setdefault(pair, _Share())
        if share.held >= THREADS_OF_A_PAIR:
            return None
        share.held += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, function, *args)

        def ended(_: object) -> None:
            share.held -= 1
            if not share.held:
                del self._shares[pair]

        work.add_done_callback(ended)
        return work

    async def tidy(self, function: Callable[[], Any]) -> None:
        """Give something back: never refused, never waits for a turn."""
        await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        """Take no more calls; what runs ends by itself."""
        self._pool.shutdown(wait=False, cancel_futures=True)
