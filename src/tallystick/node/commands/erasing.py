"""erase: openings of this machine's own ledger are forgotten, by its running house or offline with its lock."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tallystick.errors import Refused
from tallystick.node.commands.here import ask_house, is_running
from tallystick.node.erasing import Erased, chosen, erase_here, found_json, word_of
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.pair.pairing import Role

Sure = Callable[[Mapping[str, Any]], bool]


def erase(
    settings: Settings,
    *,
    spans: Sequence[tuple[int, int]],
    pair: str | None,
    key: str | None,
    before_ns: int | None,
    reason: str,
    sure: Sure,
) -> dict[str, Any]:
    """Erase the openings of the entries that all of these choose, once `sure` said yes."""
    args: dict[str, Any] = {"spans": [list(span) for span in spans], "pair": pair, "key": key, "before_ns": before_ns}
    word = word_of(reason)
    if is_running(settings):
        _agreed(ask_house(settings, "erasable", **args), sure)
        answer: dict[str, Any] = ask_house(settings, "erase", reason=word, **args)
        return answer
    with Machine.open(settings) as machine:
        if machine.role is Role.HOUSE:
            with machine.home.lock():
                return _offline(machine, args, word, sure)
        return _offline(machine, args, word, sure)


def _offline(machine: Machine, args: Mapping[str, Any], reason: str, sure: Sure) -> dict[str, Any]:
    entries = chosen(machine.store, args)
    _agreed(found_json(Erased.of(entries, None), reason), sure)
    return erase_here(machine.store, entries, time.time_ns(), reason)


def _agreed(found: Mapping[str, Any], sure: Sure) -> None:
    if not sure(found):
        raise Refused("nothing was erased", "say yes, or --yes")
