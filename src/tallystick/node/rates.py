"""How many commands of each pair a house takes: a token bucket for each, as large as its type's settings say.

A pair is a permission to ask, not to fill the disk: every command is an entry, so what a pair may ask in a second bounds what it can
write in a day. What is not taken costs a dict lookup: no signature is checked and nothing is recorded of it but one entry for the
whole burst, when it is over.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.node.settings import Settings
from tallystick.pair.pairing import PairType

BURST_S: Final = 20.0  # a pair that was quiet for so long may ask as much at once
QUIET_S: Final = 10.0  # without a refusal: the burst is over
LONG_S: Final = 600.0  # a burst that goes on is told of so often


@dataclass(slots=True)
class _Bucket:
    """`level`: commands that may be asked now, as of `at` (monotonic seconds). The rest is the burst of refusals under way."""

    level: float
    at: float
    refused: int = 0
    first_ns: int = 0
    last_ns: int = 0
    begun: float = 0.0
    latest: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """Commands that were not taken: how many, and when the first and the last came (pair time)."""

    pair: bytes
    refused: int
    first_ns: int
    last_ns: int


def rates_of(settings: Settings) -> Mapping[PairType, int]:
    """Commands a second, for each type; 0 for as many as come."""
    return {
        PairType.ADMIN: settings.rate_admin,
        PairType.INPUT: settings.rate_input,
        PairType.USER: settings.rate_user,
        PairType.INTERFACE: settings.rate_interface,
    }


class Rates:
    """The buckets of all pairs that have asked lately."""

    def __init__(self, rates: Mapping[PairType, int], clock_ns: Callable[[], int], monotonic: Callable[[], float] = time.monotonic) -> None:
        """`clock_ns`: pair time, for the record; `monotonic`: seconds, for the buckets: no clock that is set makes one overflow."""
        self._rates = rates
        self._clock_ns = clock_ns
        self._monotonic = monotonic
        self._buckets: dict[bytes, _Bucket] = {}

    def take(self, pair: bytes, cap: PairType) -> float:
        """Take one command of a pair. Returns: 0, or after how many seconds it may be asked again."""
        rate = self._rates[cap]
        if not rate:
            return 0.0
        now = self._monotonic()
        bucket = self._buckets.get(pair)
        if bucket is None:
            bucket = self._buckets[pair] = _Bucket(rate * BURST_S, now)
        level = min(rate * BURST_S, bucket.level + (now - bucket.at) * rate)
        bucket.at = now
        if level >= 1.0:
            bucket.level = level - 1.0
            return 0.0
        bucket.level = level
        bucket.last_ns, bucket.latest = self._clock_ns(), now
        if not bucket.refused:
            bucket.first_ns, bucket.begun = bucket.last_ns, now
        bucket.refused += 1
        return (1.0 - level) / rate

    def bursts(self, *, all_of_them: bool = False) -> tuple[Burst, ...]:
        """The bursts that are over, and what was refused so far of those that go on for long; each is told once."""
        now = self._monotonic()
        found: list[Burst] = []
        for pair, bucket in list(self._buckets.items()):
            if bucket.refused and (all_of_them or now - bucket.latest >= QUIET_S or now - bucket.begun >= LONG_S):
                found.append(Burst(pair=pair, refused=bucket.refused, first_ns=bucket.first_ns, last_ns=bucket.last_ns))
                bucket.refused = 0
            if not bucket.refused and now - bucket.at > 2 * BURST_S:
                del self._buckets[pair]  # it is full again
        return tuple(found)
