"""How often keys may speak at the gate, and what is counted instead of recorded (docs/spec/gate.md, section 3).

A bucket belongs to a key and to whoever hands its signals in: naming a key is no proof of having it, so a forger empties no bucket but
the forger's own. What is not taken costs a dict lookup. Keys nobody knows share one bucket for each sender, and are only counted.
"""

from collections.abc import Callable
from typing import Final

from tallystick.errors import Unavailable
from tallystick.gate.provenance import UNKNOWN
from tallystick.ledger.event import Event, Kind
from tallystick.node.rates import Rates
from tallystick.pair.pairing import PairType

UNKNOWN_EVERY_NS: Final = 60 * 10**9
REFUSALS_A_SECOND: Final = 5  # that are recorded one by one, of a key from a sender; 100 at once
OF_A_SENDER: Final = 25  # of all keys that it names: their names are no secret; 500 at once
_ID_BYTES: Final = 32


class GateRates:
    """The buckets of keys and senders, and the count of strangers. No method waits."""

    def __init__(self, rate: int, clock: Callable[[], int]) -> None:
        """`rate`: signals a second, 0: all.  `clock`: pair time, UTC nanoseconds, for the record."""
        self._rates = Rates({PairType.INPUT: rate}, clock)
        self._refusals = Rates({PairType.INPUT: REFUSALS_A_SECOND}, clock)
        self._senders = Rates({PairType.INPUT: OF_A_SENDER}, clock)
        self._bounded = rate > 0
        self._clock = clock
        self.limited = 0
        self.unknown = 0
        self._first_ns = 0
        self._waiting = 0
        self._told_ns: int | None = None

    def take(self, kid: bytes | None, sender: bytes) -> None:
        """One signal of a key (None: nobody knows it) from a sender. Raises: Unavailable: too often."""
        if not self._bounded:
            return
        wait_s = self._rates.take((UNKNOWN if kid is None else kid) + sender, PairType.INPUT)
        if wait_s:
            self.limited += 1
            raise Unavailable("this key speaks more often than the house lets it", f"wait {max(1, round(wait_s))} s; see `rate_key`")

    def records(self, kid: bytes, sender: bytes) -> bool:
        """Whether one more refusal of this key from this sender gets an entry of its own; else it is counted with the burst."""
        return not (self._refusals.take(kid + sender, PairType.INPUT) or self._senders.take(UNKNOWN + sender, PairType.INPUT))

    def stranger(self) -> None:
        """A signal of a key that nobody knows."""
        self.unknown += 1
        if not self._waiting:
            self._first_ns = self._clock()
        self._waiting += 1

    def events(self, *, all_of_them: bool = False) -> tuple[Event, ...]:
        """What was not taken and who was not known, since it was told last: strangers at most once a minute."""
        now_ns = self._clock()
        found = []
        not_recorded = "refusals-not-recorded"
        for word, rates in (("signals-not-taken", self._rates), (not_recorded, self._refusals), (not_recorded, self._senders)):
            for burst in rates.bursts(all_of_them=all_of_them):
                kid, sender = burst.pair[:_ID_BYTES], burst.pair[_ID_BYTES:]
                found.append(
                    Event.of(
                        Kind.LIMITS,
                        now_ns,
                        "gate",
                        counts={word: burst.refused},
                        subject=kid if kid != UNKNOWN else None,
                        pair=sender if len(sender) == _ID_BYTES else None,
                        observed=burst.first_ns,
                        until=burst.last_ns,
                    )
                )
        if self._waiting and (all_of_them or self._told_ns is None or abs(now_ns - self._told_ns) >= UNKNOWN_EVERY_NS):
            counts = {"unknown-keys": self._waiting}
            found.append(Event.of(Kind.LIMITS, now_ns, "gate", counts=counts, observed=self._first_ns, until=max(now_ns, self._first_ns)))
            self._waiting, self._told_ns = 0, now_ns
        return tuple(found)
