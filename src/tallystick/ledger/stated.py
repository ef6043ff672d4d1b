"""What a person's statement to the gate says, and what its entry says came of it (docs/spec/statements.md, section 6).

A house can write any entry; that the entry is what the person signed is seen by comparing the two.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from tallystick import canonical
from tallystick.errors import TallyError
from tallystick.keys.identity import parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.tlog.tree import leaf_hash, root_of

Stated = Mapping[int | str, object]

_ROW: Final = {name: name for name in ("classes", "actions", "targets", "schedule", "place", "expires")}
SAID: Final[Mapping[str, tuple[frozenset[Kind], Mapping[str, str]]]] = {
    "key.grant": (frozenset({Kind.KEY_INTRODUCED, Kind.GRANT}), _ROW),
    "key.revoke": (frozenset({Kind.KEY_REVOKED}), {"key": "subject", "how": "revocation", "since": "since"}),
    "grant.withdraw": (frozenset({Kind.GRANT_WITHDRAWN}), {"grant": "entry"}),
    "fact.add": (
        frozenset({Kind.FACT_ADDED}),
        {name: name for name in ("predicate", "subject", "value", "commitment", "observed", "until")},
    ),
    "fact.withdraw": (frozenset({Kind.FACT_WITHDRAWN}), {"fact": "entry"}),
    "signal.approve": (frozenset({Kind.APPROVAL}), {"expires": "expires"}),
    "signal.deny": (frozenset({Kind.PROPOSAL_DENIED, Kind.PROPOSAL_ENDED}), {"proposal": "entry", "reason": "reason"}),
    "scope.grant": (frozenset({Kind.SCOPE}), {"subject": "subject"}),
    "scope.withdraw": (frozenset({Kind.SCOPE_ENDED}), {"scope": "scope"}),
    "gate.plan": (frozenset({Kind.PLAN}), {"plan": "plan"}),
    "context.begin": (frozenset({Kind.CONTEXT_BEGUN}), {"key": "subject"}),
    "context.end": (frozenset({Kind.CONTEXT_ENDED}), {"key": "subject"}),
}
"""By the verb: the kinds it may bring about, and in which field of the event the same must stand."""


def as_stated(value: object) -> object:
    """A field as a statement says it: CBOR knows lists and maps only."""
    if isinstance(value, tuple):
        return [as_stated(each) for each in value]
    return {name: as_stated(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def differing(event: Event, verb: str, stated: Stated) -> Iterable[str]:
    """What a statement of one of the verbs in `SAID` says otherwise than its entry; its kind is one of those it may bring about."""
    for name, field in SAID[verb][1].items():
        if stated.get(name) != as_stated(event.get(field)):
            yield f"the statement says another {name} than the entry"
    match verb:
        case "key.grant":
            yield from _grant(event, stated)
        case "signal.approve":
            yield from _approval(event, stated)
        case "scope.grant":
            yield from _terms(event, stated.get("scope"))


def _grant(event: Event, stated: Stated) -> Iterable[str]:
    cose_key = stated.get("key")
    try:
        subject = parse_cose_key(cose_key).key_id if isinstance(cose_key, bytes) else None
    except TallyError:
        subject = None
    if subject != event.blob("subject") or (event.get("cose_key") is not None and event.blob("cose_key") != cose_key):
        yield "the statement is about another key than the entry"
    if event.kind is Kind.KEY_INTRODUCED and (stated.get("kind"), stated.get("label")) != (event.text("key_kind"), event.get("label")):
        yield "the statement says another kind or label than the entry"


def _approval(event: Event, stated: Stated) -> Iterable[str]:
    """The items are those whose root was signed, and no others."""
    items = event.get("items")
    pairs = [(int(at), bytes(signal_hash)) for at, signal_hash in items] if isinstance(items, tuple) else []
    if [at for at, _ in pairs] != stated.get("proposals") or stated.get("count") != len(pairs):
        yield "the statement approves other proposals than the entry"
    if root_of([leaf_hash(canonical.encode([at, signal_hash])) for at, signal_hash in pairs]) != stated.get("root"):
        yield "the root that was signed is not that of the signals in this entry"


def _terms(event: Event, terms: object) -> Iterable[str]:
    if sha256(event.blob("statement")) != event.blob("scope"):
        yield "a scope is called by the hash of its statement"
    if not isinstance(terms, Mapping):
        yield "the statement gives no scope"
        return
    for name, field in {"targets": "targets", "uses": "uses", "until": "expires"}.items():
        if terms.get(name) != as_stated(event.get(field)):
            yield f"the scope says another {name} than its statement"
