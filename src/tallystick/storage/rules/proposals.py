"""Proposals and scopes: what waits for a human is decided once and released once; a scope is used so often and no more."""

from collections.abc import Mapping
from typing import Final

from tallystick import canonical
from tallystick.canonical import Value
from tallystick.errors import Malformed, Refused, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage.rules.gate import ID_BYTES, UNKNOWN, signal_before, signers_of, texts
from tallystick.storage.rules.state import Rule, State, admin_signed, check_stated, signer_of

LIVE: Final = "('held', 'approved', 'begun')"


def _proposal(state: State, event: Event, index: int) -> None:
    signal_hash = event.blob("signal_hash")
    if event.get("cause") is None:
        at = signal_before(state, index, signal_hash, whole=True)
    else:
        at = event.number("cause")
        source = state.event_at(at) if at < index else None
        if source is None or source.kind is not Kind.SIGNAL or sha256(source.blob("signal")) != signal_hash:
            raise Refused(f"entry {at} is not the signal that waits")
    if at is not None and state.one(f"SELECT 1 FROM proposals WHERE signal_entry = ? AND state IN {LIVE}", (at,)) is not None:
        raise Refused(f"the signal in entry {at} waits already")
    signal = state.event_at(at) if at is not None else None
    state.run(
        "INSERT INTO proposals VALUES (?, 'held', ?, ?, ?, ?, ?, ?, ?, ?, NULL, NULL, NULL, NULL)",
        (
            index,
            signal_hash,
            at,
            signer_of(signal) if signal is not None else None,
            event.number("expires") or None,
            event.text("risk") or None,
            event.blob("preconditions") or None,
            event.blob("body") or None,
            event.number("replaces") if event.get("replaces") is not None else None,
        ),
    )


def _approval(state: State, event: Event, index: int) -> None:
    """Exactly these, as they wait now, each once."""
    by = admin_signed(state, event)
    if event.get("expires") is not None and event.time_ns >= event.number("expires"):
        raise Refused("this approval has expired", "Look at what waits, and sign again.")
    items = event.get("items")
    for entry, signal_hash in items if isinstance(items, tuple) else ():
        row = state.one("SELECT state, signal_hash, expires_ns FROM proposals WHERE entry = ?", (entry,))
        if row is None or row[1] != signal_hash:
            raise Unproven(f"entry {entry} holds no such proposal")
        if row[0] != "held" or (isinstance(row[2], int) and event.time_ns >= row[2]):
            raise Refused(f"proposal {entry} is {row[0]!s}" if row[0] != "held" else f"proposal {entry} has expired")
        sql = "UPDATE proposals SET state = 'approved', approved = ?, approved_by = ?, ended = ? WHERE entry = ?"
        state.run(sql, (index, by, index, entry))


def _denied(state: State, event: Event, index: int) -> None:
    check_stated(state, event)
    _end(state, event, index, "denied", ("held",))


def _ended(state: State, event: Event, index: int) -> None:
    check_stated(state, event)
    _end(state, event, index, "ended", ("approved", "begun") if event.text("reason") == "released" else ("held", "approved", "begun"))


def _end(state: State, event: Event, index: int, to: str, allowed: tuple[str, ...]) -> None:
    at = event.number("entry")
    row = state.one("SELECT state FROM proposals WHERE entry = ?", (at,))
    if row is None or row[0] not in allowed:
        raise Refused(f"there is no proposal {at} to end" if row is None else f"this proposal is {row[0]!s}")
    state.run("UPDATE proposals SET state = ?, ended = ?, reason = ? WHERE entry = ?", (to, index, event.text("reason") or None, at))


def begin(state: State, event: Event, index: int) -> None:
    """An effect that carries out a proposal: it was approved, nobody was quicker, and every key behind it still stands. Raises: Refused."""
    at = event.number("entry")
    row = state.one("SELECT state, signal_entry, approved FROM proposals WHERE entry = ?", (at,))
    if row is None:
        return
    if row[0] != "approved":
        raise Refused(f"proposal {at} is {row[0]!s}", "An approved proposal is carried out once.")
    approval = state.event_at(row[2]) if isinstance(row[2], int) else None
    if approval is not None and approval.get("expires") is not None and event.time_ns >= approval.number("expires"):
        raise Refused(f"the approval of proposal {at} has expired")
    signal = state.event_at(row[1]) if isinstance(row[1], int) else None
    for key in (signer_of(signal), *signers_of(signal)) if signal is not None else ():
        if key is not None and key != UNKNOWN and not state.stands(key, event.time_ns):
            raise Refused("a key behind this proposal does not stand any more", "It goes back to the inbox.")
    state.run("UPDATE proposals SET state = 'begun', ended = ? WHERE entry = ?", (index, at))


# --- Scopes ----------------------------------------------------------------------------------------------------------------------


def _scope(state: State, event: Event, index: int) -> None:
    scope, subject = event.blob("scope"), event.blob("subject")
    stated = event
    if event.get("signal") is None:
        approval = state.event_at(index - 1)
        if approval is None or approval.kind is not Kind.APPROVAL:
            raise Unproven("a scope stands by a statement of its own, or right behind the approval that gives it")
        stated = approval
        keys = [state.one("SELECT key_id FROM proposals WHERE entry = ?", (entry,)) for entry, _ in _items(approval)]
        if (subject,) not in keys:
            raise Unproven("this scope is for a key whose proposal was not approved with it")
    by = admin_signed(state, stated)
    statement = stated.blob("statement")
    if sha256(statement) != scope:
        raise Malformed("a scope is called by the hash of its statement")
    terms = _terms(statement)
    verb, targets, body, origins = terms["verb"], terms["targets"], terms["body"], terms["origins"]
    if terms["until"] != event.number("expires") or terms["uses"] != event.get("uses") or _encoded(targets) != texts(event, "targets"):
        raise Malformed("the scope says other terms than its statement")
    if stated is event and canonical_map(statement).get("subject") != subject:
        raise Malformed("the scope is for another key than its statement says")
    if not isinstance(verb, str) or not isinstance(body, bytes | None) or not isinstance(origins, list | None):
        raise Malformed("the terms of a scope are not what they must be")
    if state.one("SELECT kind FROM keys WHERE key_id = ?", (subject,)) is None:
        raise Refused("there is no such key", "See `tally key ls`.")
    if state.one("SELECT 1 FROM scopes WHERE scope = ?", (scope,)) is not None:
        raise Refused("this scope exists already")
    state.run(
        "INSERT INTO scopes VALUES (?, ?, 'open', ?, ?, ?, ?, ?, ?, 0, ?, ?, ?)",
        (
            scope,
            index,
            subject,
            verb,
            _encoded(targets),
            body,
            None if origins is None else b"".join(_origin(each) for each in origins),
            event.number("uses") if event.get("uses") is not None else None,
            event.number("expires"),
            by,
            index,
        ),
    )


def canonical_map(raw: bytes) -> dict[int | str, Value]:
    """A statement in clear. Raises: Malformed."""
    value = canonical.decode(raw, max_depth=8)
    if not isinstance(value, dict):
        raise Malformed("a statement is a map")
    return value


def _terms(statement: bytes) -> dict[int | str, Value]:
    """The map of a scope in the statement that gives it (docs/spec/statements.md)."""
    terms = canonical_map(statement).get("scope")
    if not isinstance(terms, dict) or terms.keys() != {"verb", "targets", "body", "origins", "uses", "until"}:
        raise Malformed("this statement gives no scope")
    return terms


def _encoded(targets: Value) -> bytes | None:
    return canonical.encode(targets) if targets else None


def _origin(value: Value) -> bytes:
    if not isinstance(value, bytes) or len(value) != ID_BYTES:
        raise Malformed("an origin of a scope is a KeyId")
    return value


def _items(approval: Event) -> tuple[tuple[int, bytes], ...]:
    items = approval.get("items")
    return items if isinstance(items, tuple) else ()


def _scope_ended(state: State, event: Event, index: int) -> None:
    if event.get("signal") is not None or event.actor not in ("house", "gate", "local"):
        admin_signed(state, event)
    sql = "UPDATE scopes SET state = 'ended', changed = ? WHERE scope = ? AND state IN ('open', 'used', 'suspended')"
    if not state.run(sql, (index, event.blob("scope"))):
        raise Refused("there is no such scope, or it is over")


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.PROPOSAL: _proposal,
    Kind.APPROVAL: _approval,
    Kind.PROPOSAL_DENIED: _denied,
    Kind.PROPOSAL_ENDED: _ended,
    Kind.SCOPE: _scope,
    Kind.SCOPE_ENDED: _scope_ended,
}
