"""Signals, effects and erasures: a number is used once, an effect ends once, what was erased is nowhere."""

from collections.abc import Callable, Mapping
from typing import Final

from tallystick.errors import Malformed, Refused
from tallystick.ledger.erasure import covered
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.signed import SignalMark, read_mark
from tallystick.storage.rules import proposals
from tallystick.storage.rules.state import Rule, SignalFork, State, check_stated


def signal_once(state: State, event: Event, index: int, leaf_of: Callable[[int], Event | None]) -> SignalMark:
    """(key, stream, n) once for ever; the marks of the event's signal. Raises: Malformed, Refused, SignalFork."""
    mark = read_mark(event.blob("signal"))
    if event.get("key") is not None and event.blob("key") != mark.key:
        raise Malformed("the event names another key than its signal")
    row = state.one("SELECT no FROM streams WHERE key_id = ? AND stream = ?", (mark.key, mark.stream))
    if row is None:
        state.run("INSERT INTO streams (key_id, stream) VALUES (?, ?)", (mark.key, mark.stream))
        row = state.one("SELECT no FROM streams WHERE key_id = ? AND stream = ?", (mark.key, mark.stream))
        if row is None:
            raise AssertionError("a stream was written and is not there")
    if state.run("INSERT OR IGNORE INTO signals VALUES (?, ?, ?)", (row[0], mark.n, index)):
        return mark
    seen = state.one("SELECT entry FROM signals WHERE stream = ? AND n = ?", (row[0], mark.n))
    first = None if seen is None else seen[0]
    earlier = leaf_of(first) if isinstance(first, int) else None
    if earlier is None or not isinstance(first, int):
        raise AssertionError("a signal is marked as seen in an entry that is not there")
    if read_mark(earlier.blob("signal")).signed != mark.signed:
        raise SignalFork(mark, first, event.blob("signal"))
    raise Refused(f"this signal is already in the ledger, entry {first}", "A signal counts once; sign a new one.")


def _effect_begun(state: State, event: Event, index: int) -> None:
    check_stated(state, event)
    if event.get("entry") is not None:
        proposals.begin(state, event, index)
    state.run("INSERT INTO effects VALUES (?, ?, ?, ?)", (index, event.text("effect"), event.time_ns, event.blob("signal_hash") or None))


def _effect_ended(state: State, event: Event, _index: int) -> None:
    if state.run("DELETE FROM effects WHERE begun = ?", (event.number("entry"),)) != 1:
        raise Refused(f"entry {event.number('entry')} began no effect that is open", "An effect ends once.")


def _body_erased(state: State, event: Event, index: int) -> None:
    if any(last >= index for _, last in covered(event)):
        raise Refused("an erasure is of entries before it")
    # The row goes with the event; the slot is destroyed before the event is acknowledged, or at the next start.
    for span in covered(event):
        state.run("INSERT OR IGNORE INTO erasing SELECT slot FROM bodies WHERE entry BETWEEN ? AND ?", span)
        state.run("DELETE FROM fresh WHERE slot IN (SELECT slot FROM bodies WHERE entry BETWEEN ? AND ?)", span)
        state.run("DELETE FROM bodies WHERE entry BETWEEN ? AND ?", span)
        state.run("DELETE FROM targets WHERE entry BETWEEN ? AND ?", span)
        state.run("DELETE FROM clear WHERE entry BETWEEN ? AND ?", span)
        state.run("DELETE FROM sightings WHERE entry BETWEEN ? AND ?", span)


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.EFFECT_BEGUN: _effect_begun,
    Kind.EFFECT_DONE: _effect_ended,
    Kind.EFFECT_FAILED: _effect_ended,
    Kind.EFFECT_UNKNOWN: _effect_ended,
    Kind.BODY_ERASED: _body_erased,
}
