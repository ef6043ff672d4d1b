"""A house's pair time, read from the system clock and a steady one (docs/spec/knock.md, section 4).

Pair time never goes backwards. Nor does it stand still when somebody sets the system clock back: invites would never expire, no pair's
rate would recover, and nobody would notice that a machine has gone. It runs on at seven eighths of its speed until the system clock
has caught up: a step of a second is made up for in eight.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

STEP_NS: Final = 60 * 10**9  # what the doorkeeper forgives a client is no jump
_SLOWER: Final = 8  # of eight nanoseconds one is left out while the system clock is behind
_STEADY: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # goes on while the computer sleeps


def steady_ns() -> int:
    """Nanoseconds since some moment in the past, whatever is done to the system clock."""
    return time.clock_gettime_ns(_STEADY)


class HouseClock:
    """Pair time, for every thread of the house."""

    def __init__(self, stored_ns: int = 0, *, system: Callable[[], int] = time.time_ns, steady: Callable[[], int] = steady_ns) -> None:
        """`stored_ns`: the latest pair time of an earlier process.  `system`, `steady`: the two clocks."""
        self._system = system
        self._steady = steady
        self._lock = threading.Lock()
        self._steady_ns = steady()
        self._latest_ns = max(system(), stored_ns)
        self._apart_ns = system() - self._steady_ns

    def now_ns(self) -> int:
        """Pair time, UTC nanoseconds since 1970."""
        with self._lock:
            steady_ns = self._steady()
            passed = max(steady_ns - self._steady_ns, 0)
            self._steady_ns += passed
            self._latest_ns = max(self._system(), self._latest_ns + passed - passed // _SLOWER)
            return self._latest_ns

    def jump_ns(self) -> int:
        """By how much the system clock was set since this was last asked; 0 where that is less than a minute."""
        with self._lock:
            apart_ns = self._system() - self._steady()
            jump_ns = apart_ns - self._apart_ns
            self._apart_ns = apart_ns
        return jump_ns if abs(jump_ns) > STEP_NS else 0
