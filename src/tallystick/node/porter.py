"""Who is let in at this moment: a command is turned away before anybody looks at it when its pair has asked too much or the disk is
nearly full (docs/spec/door.md, section 4).

What is turned away is not taken: no signature is checked, nothing is recorded of this one command, and its number stays free.
"""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.node.rates import Burst, Rates, rates_of
from tallystick.node.reserve import Reserve
from tallystick.node.settings import Settings
from tallystick.pair.pairing import PairType

TOO_OFTEN: Final = 429
NO_SPACE: Final = 507
# What an ADMIN may still ask of a house whose disk is nearly full: to see whom to sever, and to hand the statement in.
URGENT: Final = frozenset((("GET", "/v1/status"), ("GET", "/v1/pairs"), ("POST", "/v1/statements")))

log = logging.getLogger("tallystick")


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """Why a command was not taken; `after_s`: when it may be given again, None where nobody knows."""

    status: int
    error: Unavailable
    after_s: int | None = None


class Porter:
    """Stands before the door. No method waits."""

    def __init__(self, settings: Settings, reserve: Reserve, clock_ns: Callable[[], int]) -> None:
        self.rates = Rates(rates_of(settings), clock_ns)
        self.reserve = reserve
        self._clock_ns = clock_ns
        self.turned_away = 0

    def lets_in(self, pair: bytes, cap: PairType, method: str, target: str, *, recorded: bool = True) -> TurnedAway | None:
        """None, or why not. `recorded`: the session is in the ledger; one that began on a full disk is not, and never takes a command."""
        if (self.reserve.low or not recorded) and not (
            recorded and cap is PairType.ADMIN and (method, target) in URGENT and self.reserve.room
        ):
            self.turned_away += 1
            return TurnedAway(
                NO_SPACE,
                Unavailable(
                    "the house's disk is nearly full: it takes no commands", "its owner must make room; `tally status` there says how much"
                ),
            )
        wait_s = self.rates.take(pair, cap)
        if not wait_s:
            return None
        self.turned_away += 1
        after_s = max(1, math.ceil(wait_s))
        return TurnedAway(
            TOO_OFTEN,
            Unavailable("this pair asks more often than the house lets it", f"wait {after_s} s; the house's settings rate_* say how often"),
            after_s,
        )

    def session(self, pair: bytes, cap: PairType) -> bool | None:
        """A session begins, which is a few entries: True: record it.  False: not now, it will take no command.  None: it asks too often."""
        if self.reserve.low and cap is not PairType.ADMIN:
            return False
        return None if self.rates.take(pair, cap) else True

    def bursts(self, *, all_of_them: bool = False) -> tuple[Event, ...]:
        """The entries that say what was not taken: one for each burst of a pair."""
        return tuple(self._told(burst) for burst in self.rates.bursts(all_of_them=all_of_them))

    def _told(self, burst: Burst) -> Event:
        log.warning("a pair asked too often", extra={"pair": burst.pair.hex(), "not_taken": burst.refused})
        return Event.of(
            Kind.LIMITS,
            self._clock_ns(),
            pair=burst.pair,
            counts={"commands-not-taken": burst.refused},
            observed=burst.first_ns,
            until=burst.last_ns,
        )
