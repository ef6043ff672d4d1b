"""What a house reports while a program works with it: telemetry v1, checked and of a closed schema (docs/spec/telemetry.md).

    async for report in house.telemetry():
        if isinstance(report, Health) and report.state is HealthState.CLOSING: ...

A house may report more than anybody reads: the newest are kept, and how many were dropped is counted.
"""

import asyncio
from collections import deque
from typing import Final, Self

from tallystick.diode.telemetry import Approval, ApprovalState, Checkpoint, Health, HealthState, Progress, ProgressState, Telemetry

__all__ = ["MOST", "Approval", "ApprovalState", "Checkpoint", "Health", "HealthState", "Progress", "ProgressState", "Reports", "Telemetry"]

MOST: Final = 64


class Reports:
    """The reports that nobody has read yet, oldest first: an asynchronous iterator that ends with the client. For one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self.dropped = 0
        """Reports that were never read because newer ones came."""
        self._kept: deque[Telemetry] = deque(maxlen=most)
        self._news = asyncio.Event()
        self._over = False

    def put(self, report: Telemetry) -> None:
        """Keep a report; where the room is used up, the oldest goes."""
        self.dropped += len(self._kept) == self._kept.maxlen
        self._kept.append(report)
        self._news.set()

    def close(self) -> None:
        """No more will come: what is kept can still be read."""
        self._over = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Telemetry:
        while not self._kept:
            if self._over:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        return self._kept.popleft()
