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
from tallystick.ledger.signed import SignalMark, read_mark
from tallystick.storage.rules import flow, gate, house, keys, pairs, proposals
from tallystick.storage.rules.flow import signal_once
from tallystick.storage.rules.gate import check_signal
from tallystick.storage.rules.state import Rule, State

RULES: Final[Mapping[Kind, Rule]] = {
    **house.RULES,
    **keys.RULES,
    **pairs.RULES,
    **flow.RULES,
    **gate.RULES,
    **proposals.RULES,
}
"""What each kind does. A kind that is not here changes nothing but the entries."""

RIGHTS: Final = frozenset(
    (
        *(Kind.ORIGIN, Kind.CLOSED, Kind.RESTORED, Kind.MIGRATED, Kind.ARRIVED, Kind.PLAN),
        *(Kind.PAIRING_APPROVED, Kind.PAIRING_BROKEN, Kind.DOWNGRADED, Kind.SEVERED, Kind.PAIRING_RESIGNED),
        *(Kind.KEY_INTRODUCED, Kind.KEY_REVOKED, Kind.KEY_SUSPENDED, Kind.KEY_RESUMED, Kind.KEY_ROTATED, Kind.SIGNAL_FORK),
        *(Kind.ADMINS_REPLACED, Kind.GRANT, Kind.GRANT_WITHDRAWN, Kind.SCOPE, Kind.SCOPE_ENDED),
    )
)
"""The kinds that change who may do what: `epoch.rights`, and with it everything that was kept of keys and pairs, is of before them."""

_STATE: Final = frozenset(
    (Kind.FACT_ADDED, Kind.FACT_WITHDRAWN, Kind.SIGHTING, Kind.CONTEXT_BEGUN, Kind.DELIVERED, Kind.CONTEXT_ENDED, Kind.BODY_ERASED)
)

PLAIN: Final = frozenset(kind for kind in Kind if kind not in RULES)
"""The kinds that change nothing but the entries. Without a signal they need no savepoint and cannot be refused."""

# By the number of a kind: every command passes here, and a dict would ask the enumeration for a hash, in Python.
_RULE: Final = [next((rule for known, rule in RULES.items() if known == kind), None) for kind in range(max(Kind) + 1)]
_EPOCHS: Final = [
    "UPDATE epoch SET rights = ?1, state = ?1" if kind in RIGHTS else "UPDATE epoch SET state = ?1" if kind in _STATE else ""
    for kind in range(max(Kind) + 1)
]


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
    kind = event.kind
    if event.get("signal") is not None:
        # A finding is signed by the house itself, so that it can be a predecessor; its numbers are the house's own care.
        mark = signal_once(state, event, index, leaf_of) if kind is not Kind.FINDING else read_mark(event.blob("signal"))
        if kind is Kind.SIGNAL:
            check_signal(state, event, index, mark)
    rule = _RULE[kind]
    if rule is not None:
        rule(state, event, index)
        if _EPOCHS[kind]:
            state.run(_EPOCHS[kind], (index,))
    return mark
