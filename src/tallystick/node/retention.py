"""Retention: openings that are older than their kind's rule are erased (docs/house.md, "Forgetting").

A rule is `KIND=AGE`; the rules are a setting, and an entry whenever they change. An opening's age is told by the ledger's own times: by
its entry's, against a **retention time** that stands in the entry which erases it (`until`). So anybody who holds the ledger can see that
nothing went before it was due.

Retention time follows the house's clock, but not blindly: a clock that jumps a year ahead must not erase a year of openings. It begins
at the entry of the rules, and moves on by at most an hour at a start and a day at each hourly sweep while the house runs. An honest
clock never meets these bounds, but after a long absence: then the house catches up a day an hour. A wrong one shows in `tally log`
and `tally doctor` while there is still nearly everything to keep.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from typing import Final

from tallystick.channel.datagram import SECOND_NS
from tallystick.errors import Misuse, TallyError
from tallystick.ledger.event import Event, Kind
from tallystick.node.erasing import erase
from tallystick.node.machine import Machine
from tallystick.node.view import kind_of
from tallystick.storage.sqlite import Store

HOUR_NS: Final = 3_600 * SECOND_NS
SWEEP_S: Final = 3_600.0
AT_START_NS: Final = HOUR_NS
AT_SWEEP_NS: Final = 24 * HOUR_NS
MAX_RULES: Final = 32
REASON: Final = "retention"
_MEMORY: Final = "retention time"
_RULE: Final = re.compile(r"([a-z-]{1,40})=([1-9][0-9]{0,5})([hdwy])")
_SECONDS: Final = {"h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_PAGE: Final = 10_000

Rules = Mapping[Kind, int]
"""Seconds by kind."""

log = logging.getLogger("tallystick")


def parse_rules(text: str) -> dict[Kind, int]:
    """The rules of a setting: `signal=90d query=30d`. Raises: Misuse."""
    rules: dict[Kind, int] = {}
    for word in text.split():
        match = _RULE.fullmatch(word)
        if match is None:
            raise Misuse(f"{word[:60]!r} is no retention rule", "write KIND=AGE as in signal=90d query=30d; ages are in h, d, w or y")
        kind = kind_of(match[1])
        if kind in rules:
            raise Misuse(f"there are two retention rules for {match[1]}", "one rule a kind")
        rules[kind] = int(match[2]) * _SECONDS[match[3]]
    if len(rules) > MAX_RULES:
        raise Misuse(f"there are more than {MAX_RULES} retention rules")
    return rules


def rules_of(store: Store) -> tuple[dict[Kind, int], int]:
    """The rules that the ledger holds, and since when (ns); none before the first entry of them."""
    rows = store.entries(kinds=[Kind.RETENTION], newest_first=True, limit=1)
    if not rows:
        return {}, 0
    event = rows[0].event
    table = event.get("retention")
    found = {kind_of(word): seconds for word, seconds in table.items()} if isinstance(table, Mapping) else {}
    return {kind: int(seconds) for kind, seconds in found.items() if seconds}, event.time_ns


def _word(kind: Kind) -> str:
    return kind.name.lower().replace("_", "-")


class Retention:
    """The rules of a house, and the sweeps that follow from them."""

    def __init__(self, machine: Machine, clock: Callable[[], int]) -> None:
        """Raises: Misuse: the setting."""
        self._wanted = parse_rules(machine.settings.retention)
        self._machine = machine
        self._clock = clock
        self._from: dict[Kind, int] = {}  # below it no opening of the kind is left

    async def keep(self) -> None:
        """Follow the rules for as long as the house runs."""
        step_ns = AT_START_NS
        while True:
            try:
                await asyncio.to_thread(self.sweep, step_ns)
            except TallyError as error:
                log.warning("what has had its time was not erased", extra={"reason": error.message})
            step_ns = AT_SWEEP_NS
            await asyncio.sleep(SWEEP_S)

    def sweep(self, step_ns: int) -> int:
        """Take up rules that were changed, let retention time move on by at most `step_ns`, erase what is due; how many openings.

        Raises: Refused, Unavailable.
        """
        rules = self.take_up()
        if not rules:
            return 0
        until_ns = self._move_on(step_ns)
        erased = 0
        for kind in sorted(rules):
            erased += self._erase_kind(kind, until_ns - rules[kind] * SECOND_NS, until_ns)
        if erased:
            log.info("openings were erased that had had their time", extra={"count": erased})
        return erased

    def take_up(self) -> Rules:
        """The rules of the setting, recorded when they are not those of the ledger. Raises: Refused, Unavailable."""
        store, wanted = self._machine.store, self._wanted
        stands, _ = rules_of(store)
        if wanted != stands:
            gone = {_word(kind): 0 for kind in stands if kind not in wanted}
            table = gone | {_word(kind): seconds for kind, seconds in wanted.items()}
            store.append(Event.of(Kind.RETENTION, self._clock(), retention=table)).result()
            self._from.clear()
        return wanted

    def _move_on(self, step_ns: int) -> int:
        """Retention time, ns."""
        _, since_ns = rules_of(self._machine.store)
        stored = self._machine.memory.get(_MEMORY)
        before = max(stored if isinstance(stored, int) else 0, since_ns)
        until_ns = max(before, min(self._clock(), before + step_ns))
        self._machine.memory.put({_MEMORY: until_ns})
        return until_ns

    def _erase_kind(self, kind: Kind, due_ns: int, until_ns: int) -> int:
        """Erase the openings of a kind whose entries are not younger than `due_ns`."""
        store, erased = self._machine.store, 0
        at = self._from.get(kind, store.first_bodied())
        young = store.entries(at, kinds=[kind], since_ns=due_ns + 1, limit=1)
        self._from[kind] = young[0].index if young else store.size()
        while due_ns > 0:
            rows = store.entries(at, kinds=[kind], until_ns=due_ns, limit=_PAGE)
            if not rows:
                break
            there = set(store.bodied(rows[0].index, rows[-1].index))
            due = [row.index for row in rows if row.index in there]
            if due:
                erase(store, due, self._clock(), "house", REASON, until=until_ns)
            erased += len(due)
            at = rows[-1].index + 1
        return erased
