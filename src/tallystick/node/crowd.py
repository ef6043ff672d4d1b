"""Many who are about to record do so together.

The writer takes what is queued and syncs it; what comes meanwhile is the next group (storage/writer.py). Where each caller has something
costly to do first, one by one, in one event loop, the groups stay small and each pays for a sync. So who is ready waits until everybody
who was ready in the same turn of the loop is, at most 64. One alone waits for one turn of an idle loop: microseconds.
"""

import asyncio
from typing import Final

AT_ONCE: Final = 64


class Crowd:
    """For one event loop."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []
        self._looked = 0

    def looked(self) -> bool:
        """Whether somebody of this turn of the loop was told False, and has read the ledger since. Every 64th who comes is told so."""
        self._looked += 1
        if self._looked == 1:
            asyncio.get_running_loop().call_soon(self._over)
        return self._looked % AT_ONCE != 1

    def _over(self) -> None:
        self._looked = 0

    async def gather(self) -> None:
        """Wait for the others of this turn."""
        loop = asyncio.get_running_loop()
        here: asyncio.Future[None] = loop.create_future()
        self._waiting.append(here)
        if len(self._waiting) == 1:
            loop.call_soon(self._go)
        elif len(self._waiting) >= AT_ONCE:
            self._go()
        await here

    def _go(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)
