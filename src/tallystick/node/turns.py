"""Turns at the door: the commands of one pair, over however many sessions, are a few at once; its others wait behind their own.

From the proof of a signal to its entry a command costs the house's one event loop, and there the pairs meet. Whoever asks over thirty
sessions is served as often as who asks over one: what waits does so in its pair's line, and a pair whose line moves on goes to the
end of what the loop has to do, so that the pairs come round in turn. A command that waits for its client (a body, an answer that
nobody reads) holds no turn.
"""

import asyncio
from collections import deque
from typing import Final

AT_ONCE: Final = 4  # of one pair: enough that its next is proven while its last is being written


class Turns:
    """Who is between proof and entry, and who waits. For one event loop."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._inside: dict[int, bytes] = {}
        self._held: dict[bytes, int] = {}
        self._lines: dict[bytes, deque[asyncio.Future[None]]] = {}

    def enter(self, who: object, pair: bytes) -> asyncio.Future[None] | None:
        """Take a turn of a pair. Returns: None, or what to wait for; the turn is `who`'s when it is done."""
        held = self._held.get(pair, 0)
        self._inside[id(who)] = pair
        if held < self._at_once:
            self._held[pair] = held + 1
            return None
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(pair, deque()).append(waiting)
        return waiting

    async def wait(self, who: object, waiting: "asyncio.Future[None]") -> None:
        """Wait for the turn. Cancelled, it goes to the next in line."""
        try:
            await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled():
                self.leave(who)
            else:
                pair = self._inside.pop(id(who))
                line = self._lines.get(pair)
                if line is not None and waiting in line:
                    line.remove(waiting)
                    if not line:
                        del self._lines[pair]
            raise

    def leave(self, who: object) -> None:
        """Give the turn back. Any number of times."""
        pair = self._inside.pop(id(who), None)
        if pair is None:
            return
        line = self._lines.get(pair)
        while line:
            waiting = line.popleft()
            if not line:
                del self._lines[pair]
            if not waiting.done():
                waiting.set_result(None)  # the turn is handed over: it wakes after everybody who is ready now
                return
        held = self._held[pair] - 1
        if held:
            self._held[pair] = held
        else:
            del self._held[pair]

    @property
    def waiting(self) -> int:
        """How many commands wait in line."""
        return sum(map(len, self._lines.values()))
