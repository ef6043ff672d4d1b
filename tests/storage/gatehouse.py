"""The gate's half of the cast: sources, their signals with places, what a human signs for them, and the events of all that."""

import itertools
from typing import Any, Final

from tallystick.canonical import encode
from tallystick.gate.opening import TAGS, commit
from tallystick.keys.cose import sign1
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.rights.scope import Terms
from tallystick.rights.statement import ScopeGrant, SignalApprove, Statement, encode_statement
from tallystick.storage.sqlite import Store
from tallystick.tlog.tree import leaf_hash, root_of
from tests.storage.house import HOUSE, OWNER, SECOND, START, Key, signal

NOW: Final = START + 1_000 * SECOND
ALL: Final = ("metadata", "read", "egress", "propose", "write")
CAMERA, AGENT, FEED, SECOND_HUMAN = (Key.named(name) for name in ("camera", "agent", "feed", "second human"))
NAMES: Final = itertools.count()

Place = str | list[int]


def salt(*words: object) -> bytes:
    return sha256(*(str(word).encode() for word in words))


def by(key: Key = OWNER) -> dict[str, Any]:
    """Signed by a human, as far as the rules look."""
    return {"key": bytes(key.id)}


def source(key: Key, *, classes: tuple[str, ...] = ("sensor",), actor: str = "pair", signer: Key = OWNER, **more: Any) -> Event:
    """A source key comes in."""
    fields: dict[str, Any] = {"classes": classes, "actions": (), "targets": (), **by(signer), **more}
    cose_key = key.public.cose_key()
    return Event.of(Kind.KEY_INTRODUCED, NOW, actor, subject=bytes(key.id), key_kind="source", cose_key=cose_key, **fields)


def human(key: Key, *, signer: Key = OWNER, admin: bool = True) -> Event:
    actions = (*ALL, "admin") if admin else ALL
    cose_key = key.public.cose_key()
    return Event.of(
        Kind.KEY_INTRODUCED, NOW, "pair", subject=bytes(key.id), key_kind="human", cose_key=cose_key, classes=("human",), actions=actions,
        **by(signer),
    )  # fmt: skip


def place_of(place: Place, seed: object) -> tuple[bytes, bytes]:
    """The commitment of a place, and the opening of it alone."""
    return commit(TAGS[4], salt("place", seed), place), encode({4: [salt("place", seed), place]})


def personal(value: str, seed: object) -> tuple[bytes, bytes]:
    """The commitment of a personal value, and its opening."""
    return commit(TAGS[5], salt("value", seed), value), encode({5: [[salt("value", seed), value]]})


def spoken(
    key: Key, n: int, *, signal_class: str = "sensor", action: str = "read", verb: str = "camera.frame", place: bytes | None = None
) -> bytes:
    """A signal of a source; `place`: the commitment."""
    commitments = {} if place is None else {4: place}
    payload: dict[int | str, Any] = {
        1: 1, 2: bytes(HOUSE.id), 3: signal_class, 4: action, 5: verb, 6: commitments, 7: NOW, 8: b"stream of source", 9: n, 10: [],
    }  # fmt: skip
    return sign1(key, encode(payload))


def reference(raw: bytes) -> bytes:
    return sha256(raw[-64:])


def judged(key: Key, n: int, *, verdict: str = "allow", time_ns: int = NOW, raw: bytes | None = None, **more: Any) -> Event:
    """A signal that the gate has judged."""
    return Event.of(Kind.SIGNAL, time_ns, "gate", signal=raw or spoken(key, n), verdict=verdict, key=bytes(key.id), **{"depth": 0, **more})


def held(key: Key, n: int, *, expires_ns: int = NOW + 3_600 * SECOND, **more: Any) -> tuple[Event, Event]:
    """A signal that waits, with its proposal."""
    raw = spoken(key, n, action="write")
    proposal = Event.of(Kind.PROPOSAL, NOW, "gate", signal_hash=sha256(raw), risk="medium", expires=expires_ns, **more)
    return judged(key, n, verdict="hold", raw=raw, reason="rights"), proposal


def seen(key: Key, n: int, place: Place, *, observed_ns: int = NOW) -> tuple[tuple[Event, ...], tuple[bytes, ...]]:
    """A signal that says where it was made, with its sighting; and their openings."""
    commitment, opening = place_of(place, n)
    raw = spoken(key, n, place=commitment)
    sighting = Event.of(
        Kind.SIGHTING, NOW, "gate", subject=bytes(key.id), observed=observed_ns, signal_hash=reference(raw), commitment=commitment
    )
    return (judged(key, n, raw=raw), sighting), (opening, opening)


def fact(predicate: str, value: Any = "ok", *, subject: Key | None = None, actor: str = "gate", **more: Any) -> Event:
    """A fact in clear."""
    about = None if subject is None else bytes(subject.id)
    return Event.of(Kind.FACT_ADDED, NOW, actor, predicate=predicate, subject=about, value=encode(value), **more)


def revoked(key: Key, *, how: str = "retired", signer: Key = OWNER, **more: Any) -> Event:
    return Event.of(Kind.KEY_REVOKED, NOW, "pair", subject=bytes(key.id), revocation=how, **by(signer), **more)


def stated(statement: Statement, signer: Key = OWNER) -> dict[str, Any]:
    """The fields of what a statement brings about, its signal unlike any other."""
    n = next(NAMES)
    raw = signal(signer, n, stream=b"human statements", verb="human.statement", action="admin")
    return {"key": bytes(signer.id), "signal": raw, "statement": encode_statement(statement), "statement_salt": salt("statement", n)}


def terms(verb: str = "camera.frame", *, uses: int | None = None, until_ns: int = NOW + 3_600 * SECOND, **more: Any) -> Terms:
    return Terms(verb=verb, uses=uses, until_ns=until_ns, **more)


def scope_granted(key: Key, what: Terms, *, signer: Key = OWNER) -> Event:
    """A scope by a statement of its own."""
    fields = stated(ScopeGrant(subject=key.id, terms=what), signer)
    return _scope(key, what, sha256(fields["statement"]), **fields)


def _scope(whose: Key, what: Terms, scope: bytes, **fields: Any) -> Event:
    targets = what.targets or None
    return Event.of(
        Kind.SCOPE, NOW, "pair", scope=scope, subject=bytes(whose.id), targets=targets, expires=what.until_ns, uses=what.uses, **fields
    )


def approval(
    *items: tuple[int, bytes], signer: Key = OWNER, key: Key | None = None, what: Terms | None = None, **more: Any
) -> tuple[Event, ...]:
    """An approval of these proposals; with `what` also the scope for `key` behind it."""
    root = root_of([leaf_hash(encode([at, signal_hash])) for at, signal_hash in items])
    until_ns = NOW + 60 * SECOND
    statement = SignalApprove(root=root, proposals=tuple(at for at, _ in items), expires_ns=until_ns, scope=what)
    fields = stated(statement, signer)
    approved = Event.of(Kind.APPROVAL, NOW, "pair", **{"items": items, "expires": until_ns, **fields, **more})
    if what is None or key is None:
        return (approved,)
    return approved, _scope(key, what, sha256(fields["statement"]))


def put(store: Store, *events: Event, openings: tuple[bytes, ...] = ()) -> int:
    """Record events together; the index of the first."""
    return store.append(*events, openings=openings).result(30)[0].index


def waits(store: Store, key: Key, n: int, **more: Any) -> tuple[int, bytes]:
    """A held signal in the ledger: the proposal's entry, and the hash of the signal."""
    events = held(key, n, **more)
    return put(store, *events) + 1, sha256(events[0].blob("signal"))
