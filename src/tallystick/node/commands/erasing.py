"""erase: openings of this machine's own ledger are forgotten, by its running house or offline with its lock."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tallystick.errors import Misuse, Refused
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import ask_house, is_running, run
from tallystick.node.commands.where import Passphrase, open_human, submit, the_house
from tallystick.node.erasing import Erased, chosen, erase_here, found_json, word_of
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.pair.pairing import Role
from tallystick.pair.statement import MAX_ERASED, BodyErase

Sure = Callable[[Mapping[str, Any]], bool]


def erase(
    settings: Settings,
    *,
    spans: Sequence[tuple[int, int]],
    pair: str | None,
    key: str | None,
    before_ns: int | None,
    house: str | None,
    reason: str,
    sure: Sure,
    passphrase: Passphrase,
) -> dict[str, Any]:
    """Erase the openings of the entries that all of these choose, once `sure` said yes. `house`: there, and signed."""
    if house is not None:
        if pair or key or before_ns is not None or not spans:
            raise Misuse("at another machine's ledger entries are named one by one", "`tally log HOUSE` shows them")
        return _at_the_house(settings, house, spans, word_of(reason), sure, passphrase)
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


def _at_the_house(
    settings: Settings, name: str, spans: Sequence[tuple[int, int]], reason: str, sure: Sure, passphrase: Passphrase
) -> dict[str, Any]:
    """The statement `body.erase`, over an ADMIN pair."""
    ranges = [(first, last - first + 1) for first, last in sorted(spans)]
    if len(ranges) >= MAX_ERASED:
        raise Misuse(f"one statement names {MAX_ERASED - 1} entries and spans at most", "make it several")
    found = {"erased": sum(count for _, count in ranges), "first": ranges[0][0], "last": max(last for _, last in spans), "reason": reason}
    _agreed(found, sure)
    with Machine.open(settings) as machine:
        row = the_house(machine, name)
        signer = open_human(machine, passphrase)
        (entry, count), *more = ranges
        if count > 1:
            more = [(entry + 1, count - 1), *more]
        statement = BodyErase(entry=entry, erased=tuple(more), reason=reason)

        async def sign() -> int:
            async with await HouseSession.open(machine, row) as session:
                return (await submit(session, row, signer, statement))["entry"]

        return {**found, "entry": run(sign())}


def _offline(machine: Machine, args: Mapping[str, Any], reason: str, sure: Sure) -> dict[str, Any]:
    entries = chosen(machine.store, args)
    _agreed(found_json(Erased.of(entries, None), reason), sure)
    return erase_here(machine.store, entries, time.time_ns(), reason)


def _agreed(found: Mapping[str, Any], sure: Sure) -> None:
    if not sure(found):
        raise Refused("nothing was erased", "say yes, or --yes")
