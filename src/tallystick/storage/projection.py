"""What an event changes in the house's state, and when it may not (docs/spec/state.md).

`project` is a function of the event, its index and the state so far; it knows no clock and no caller. The writer calls it inside
the transaction of the entry, `rebuild` calls it again for each entry, and both must end with the same rows. A rule that does not
hold raises before anything of the caller's is kept.

The rules (storage/rules) are those that two callers at once could break: one use of an invite, one standing of a pair, no return
from severance, one human at least who can let others in. Whether a signature is right was decided before (gate, rights, passage).
"""

from collections.abc import Callable, Mapping
from typing import Final

from tallystick.errors import Refused
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.signed import SignalMark
from tallystick.storage.rules import flow, house, keys, pairs
from tallystick.storage.rules.flow import signal_once
from tallystick.storage.rules.state import Rule, State

RULES: Final[Mapping[Kind, Rule]] = {**house.RULES, **keys.RULES, **pairs.RULES, **flow.RULES}
"""What each kind does. A kind that is not here changes nothing but the entries."""


PLAIN: Final = frozenset(kind for kind in Kind if kind not in RULES)
"""The kinds that change nothing but the entries. Without a signal they need no savepoint and cannot be refused."""


def project(state: State, event: Event, index: int, leaf_of: Callable[[int], Event | None]) -> SignalMark | None:
    """Apply one event; the marks of its signal, if it carries one.

    Args: leaf_of: an earlier event by its index.
    Raises: Refused, Unproven, Malformed when the event may not happen; the caller then rolls back all of its changes.
    """
    if index == 0 and event.kind is not Kind.ORIGIN:
        raise Refused("a ledger begins with its origin")
    if index:
        house.check_may(state, event)
    mark: SignalMark | None = None
    if event.get("signal") is not None and event.kind is not Kind.FINDING:
        mark = signal_once(state, event, index, leaf_of)
    rule = RULES.get(event.kind)
    if rule is not None:
        rule(state, event, index)
    return mark
