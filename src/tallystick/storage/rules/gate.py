"""The gate's state: rows of the matrix, facts, sightings, contexts, the plan, and what a signal must find unchanged at its entry.

A revocation takes effect at its very entry: between the gate's judgement and the record of a signal a key may have been revoked, a scope
used up, something more delivered. Then the signal's entry is refused, and the gate judges again (docs/spec/state.md, section 6).
"""

from collections.abc import Mapping
from typing import Final

from tallystick import canonical
from tallystick.errors import Malformed, Refused
from tallystick.facts.fact import read_value
from tallystick.ledger.append import Tree
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.signed import SignalMark, read_mark
from tallystick.primitives import sha256
from tallystick.storage.rules.state import ACTIONS, ENDLESS, Rule, State, admin_signed, signer_of
from tallystick.tlog.tree import leaf_hash

ID_BYTES: Final = 32
UNKNOWN: Final = bytes(ID_BYTES)  # among signers: a predecessor that nobody knows
MAX_SIGNERS: Final = 256  # behind a signal, and in a context
MAX_BESIDE: Final = 512  # entries that may stand between a signal and what belongs to it
DEFAULT: Final = "default"  # the word of a plan for every other class
_BESIDE: Final = frozenset((Kind.FINDING, Kind.SIGHTING, Kind.FACT_ADDED, Kind.DELIVERED, Kind.PROPOSAL))
_BY_ITSELF: Final = frozenset(("gate", "house"))
_JUDGED: Final = frozenset(("depth", "signers", "context", "scope"))
_MAY: Final = {"": frozenset[str](), **{pair_type: frozenset(actions.split()) for pair_type, actions in ACTIONS.items()}}
_AGAIN: Final = "Judge it again."


def words(event: Event, name: str) -> str:
    """A field of words as the tables keep it."""
    value = event.get(name)
    return " ".join(value) if isinstance(value, tuple) else ""


def texts(event: Event, name: str) -> bytes | None:
    """A field of texts as the tables keep it; None where it is left out or empty."""
    value = event.get(name)
    return canonical.encode(list(value)) if isinstance(value, tuple) and value else None


def ids(raw: bytes) -> list[bytes]:
    """Identities that lie one behind the other."""
    return [raw[at : at + ID_BYTES] for at in range(0, len(raw), ID_BYTES)]


def signers_of(event: Event) -> tuple[bytes, ...]:
    """The other keys behind a signal."""
    value = event.get("signers")
    return value if isinstance(value, tuple) else ()


# --- Signals ---------------------------------------------------------------------------------------------------------------------


def check_signal(state: State, event: Event, index: int, mark: SignalMark) -> None:
    """What the gate saw when it judged must hold at the signal's entry. Raises: Refused: the gate judges again.

    A signal that says nothing of its provenance and came over a pair was judged before there was a gate, or needs none.
    """
    fields = event.fields
    if event.actor != "gate" and _JUDGED.isdisjoint(fields):
        return
    if "context" in fields and fields["context"] != _context_of(state, mark.key):
        raise Refused("more was delivered to this key, or its context is another one", _AGAIN)
    if fields.get("verdict") != "allow":
        return
    for key in (mark.key, *signers_of(event)):
        if key != UNKNOWN and not state.stands(key, event.time_ns):
            raise Refused("a key behind this signal does not stand any more", _AGAIN)
    if "pairing" in fields and mark.action not in _MAY[state.cap(event.blob("pairing"))]:
        raise Refused("this pair does not stand any more, or may do less", _AGAIN)
    if "scope" in fields:
        _use(state, event, index, mark.key)


def _use(state: State, event: Event, index: int, key: bytes) -> None:
    """One use of a scope: of many at once, exactly as many as it allows."""
    row = state.one("SELECT state, subject, uses, used, until_ns FROM scopes WHERE scope = ?", (event.blob("scope"),))
    if row is None or row[1] != key:
        raise Refused("there is no such scope of this key", _AGAIN)
    now, _, uses, used, until_ns = row
    if not isinstance(used, int) or not isinstance(until_ns, int):
        raise AssertionError("a scope counts its uses until a time")
    if now != "open" or event.time_ns >= until_ns:
        raise Refused(f"this scope is {now!s}" if now != "open" else "this scope has expired", _AGAIN)
    to = "used" if isinstance(uses, int) and used + 1 >= uses else "open"
    state.run("UPDATE scopes SET used = used + 1, state = ?, changed = ? WHERE scope = ?", (to, index, event.blob("scope")))
    state.run("UPDATE epoch SET state = ?", (index,))


def signal_before(state: State, index: int, reference: bytes, *, whole: bool = False) -> int | None:
    """The entry of the signal (or of a finding's) to which something belongs that stands right behind it. `whole`: the reference is the
    hash of its COSE bytes."""
    for at in range(index - 1, max(index - 2 - MAX_BESIDE, -1), -1):
        event = state.event_at(at)
        if event is None:
            return None
        raw = event.blob("signal") if event.kind is Kind.SIGNAL or (event.kind is Kind.FINDING and not whole) else b""
        if raw and (sha256(raw) if whole else read_mark(raw).signature_hash) == reference:
            return at
        if event.kind not in _BESIDE:
            return None
    return None


# --- The matrix ------------------------------------------------------------------------------------------------------------------


def _grant(state: State, event: Event, index: int) -> None:
    by = admin_signed(state, event)
    row = state.one("SELECT kind, state FROM keys WHERE key_id = ?", (event.blob("subject"),))
    if row is None or row[0] not in ("source", "human", "machine"):
        raise Refused("there is no such key to be granted anything", "See `tally key ls`.")
    if row[1] not in ("standing", "suspended"):
        raise Refused(f"this key is {row[1]!s}", "A key that was revoked does not come back; introduce a new one.")
    state.run(
        "INSERT INTO grants VALUES (?, 'standing', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            index,
            event.blob("subject"),
            words(event, "classes"),
            words(event, "actions"),
            texts(event, "targets"),
            event.text("schedule") or None,
            event.blob("place") or None,
            event.number("expires") or None,
            by,
            index,
        ),
    )


def _withdraws(table: str) -> Rule:
    """What was withdrawn stays withdrawn."""

    def rule(state: State, event: Event, index: int) -> None:
        what = table.removesuffix("s")
        if event.get("signal") is not None or event.actor not in (*_BY_ITSELF, "local"):
            admin_signed(state, event)
        at = event.number("entry")
        row = state.one(f"SELECT state, subject FROM {table} WHERE entry = ?", (at,))
        if row is None or (event.get("subject") is not None and event.blob("subject") != row[1]):
            raise Refused(f"entry {at} brought no such {what}")
        if row[0] == "withdrawn":
            raise Refused(f"this {what} is withdrawn already")
        state.run(f"UPDATE {table} SET state = 'withdrawn', changed = ? WHERE entry = ?", (index, at))

    return rule


# --- Facts and sightings ---------------------------------------------------------------------------------------------------------


def _fact_added(state: State, event: Event, index: int) -> None:
    value, commitment = event.blob("value"), event.blob("commitment")
    if bool(value) == bool(commitment):
        raise Malformed("a fact has a value or the commitment of one")
    if value:
        read_value(value)
    observed_ns, until_ns = event.number("observed", event.time_ns), event.number("until", ENDLESS)
    if until_ns <= observed_ns:
        raise Malformed("a fact that ends before it begins")
    by: bytes | None = None
    if event.get("signal") is not None or event.actor not in _BY_ITSELF:
        by = admin_signed(state, event)
    elif event.get("cause") is not None:
        by = _told_by(state, event, index)
    state.run(
        "INSERT INTO facts VALUES (?, 'standing', ?, ?, ?, ?, ?, ?, ?, ?)",
        (index, event.blob("subject"), event.text("predicate"), value or None, commitment or None, observed_ns, until_ns, by, index),
    )


def _told_by(state: State, event: Event, index: int) -> bytes | None:
    """The key behind the signal from which the house took a fact: with it the fact falls."""
    at = event.number("cause")
    source = state.event_at(at) if at < index else None
    return signer_of(source) if source is not None else None


def _sighting(state: State, event: Event, index: int) -> None:
    state.run(
        "INSERT INTO sightings VALUES (?, ?, ?, ?)",
        (index, event.blob("subject"), event.number("observed"), event.blob("signal_hash") or None),
    )


# --- Contexts --------------------------------------------------------------------------------------------------------------------


def _context_of(state: State, key: bytes) -> tuple[int, int, bytes] | None:
    row = state.one("SELECT begun, last, count, edge FROM contexts WHERE subject = ?", (key,))
    match row:
        case None:
            return None
        case (int(begun), int(last), int(count), bytes(edge)):
            return begun, last, Tree.from_bytes(count, edge).root()
    raise AssertionError("a context is not what it was written as")


def _may_begin(state: State, event: Event) -> None:
    """The proxy does, or a human: nobody washes its own hands. Raises: Unproven."""
    if event.get("signal") is not None or event.actor not in (*_BY_ITSELF, "local"):
        admin_signed(state, event)


def _context_begun(state: State, event: Event, index: int) -> None:
    _may_begin(state, event)
    subject = event.blob("subject")
    if not state.stands(subject, event.time_ns):
        raise Refused("there is no such key that stands", "See `tally key ls`.")
    if not state.run("INSERT OR IGNORE INTO contexts VALUES (?, ?, ?, 0, x'', x'', 0)", (subject, index, index)):
        raise Refused("a context of this key is open", "It ends before another one begins.")


def _delivered(state: State, event: Event, index: int) -> None:
    subject = event.blob("subject")
    row = state.one("SELECT count, edge, signers, depth FROM contexts WHERE subject = ?", (subject,))
    if row is None:
        return  # without a context everything it signs follows something unknown anyway
    count, edge, signers, depth = row
    if not isinstance(count, int) or not isinstance(edge, bytes) or not isinstance(signers, bytes) or not isinstance(depth, int):
        raise AssertionError("a context is not what it was written as")
    reference = event.blob("signal_hash")
    behind = set(ids(signers))
    source = _delivered_signal(state, event, index, reference)
    if source is None:
        behind.add(UNKNOWN)
    else:
        behind |= {signer_of(source) or UNKNOWN, *signers_of(source)}
        depth = max(depth, source.number("depth"))
    if len(behind) > MAX_SIGNERS:
        raise Refused(f"more than {MAX_SIGNERS} keys are behind what was delivered in this context", "End it and begin another one.")
    tree = Tree.from_bytes(count, edge).append([leaf_hash(reference)])
    state.run(
        "UPDATE contexts SET last = ?, count = ?, edge = ?, signers = ?, depth = ? WHERE subject = ?",
        (index, tree.size, tree.to_bytes(), b"".join(sorted(behind)), depth, subject),
    )


def _delivered_signal(state: State, event: Event, index: int, reference: bytes) -> Event | None:
    """The signal or finding that was delivered; None: nobody here knows it."""
    if event.get("entry") is None:
        before = signal_before(state, index, reference)
        return state.event_at(before) if before is not None else None
    at = event.number("entry")
    source = state.event_at(at) if at < index else None
    if source is None or not source.blob("signal") or read_mark(source.blob("signal")).signature_hash != reference:
        raise Refused(f"entry {at} holds no such signal")
    return source


def _context_ended(state: State, event: Event, _index: int) -> None:
    _may_begin(state, event)
    subject = event.blob("subject")
    if event.get("context") != _context_of(state, subject):
        raise Refused("this is not the open context of this key", "Look again: more may have been delivered.")
    state.run("DELETE FROM contexts WHERE subject = ?", (subject,))


# --- The plan --------------------------------------------------------------------------------------------------------------------

_Plan = Mapping[str, frozenset[str]]


def _plan(state: State, event: Event, index: int) -> None:
    """Whoever lets less be looked at signs it."""
    said = event.get("plan")
    if not isinstance(said, Mapping):
        raise AssertionError("a plan is a map")
    raw = canonical.encode({word: list(layers) for word, layers in said.items()})
    row = state.one("SELECT plan FROM plan")
    new, old = _read_plan(raw), _read_plan(row[0]) if row is not None and isinstance(row[0], bytes) else {}
    less = any(not _layers(old, word) <= _layers(new, word) for word in {*old, *new})
    if less or event.get("weakened") or event.get("signal") is not None:
        admin_signed(state, event)
    state.run("INSERT OR REPLACE INTO plan VALUES (1, ?, ?)", (index, raw))


def _read_plan(raw: bytes) -> _Plan:
    said = canonical.decode(raw)
    if not isinstance(said, dict):
        raise AssertionError("a plan is a map")
    return {str(word): frozenset(map(str, layers)) for word, layers in said.items() if isinstance(layers, list)}


def _layers(plan: _Plan, word: str) -> frozenset[str]:
    """The layers of a class: its own, else its parent's, else the default's."""
    while word not in plan and word != DEFAULT:
        word = word.rpartition("/")[0] or DEFAULT
    return plan.get(word, frozenset())


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.GRANT: _grant,
    Kind.GRANT_WITHDRAWN: _withdraws("grants"),
    Kind.FACT_ADDED: _fact_added,
    Kind.FACT_WITHDRAWN: _withdraws("facts"),
    Kind.SIGHTING: _sighting,
    Kind.CONTEXT_BEGUN: _context_begun,
    Kind.DELIVERED: _delivered,
    Kind.CONTEXT_ENDED: _context_ended,
    Kind.PLAN: _plan,
}
