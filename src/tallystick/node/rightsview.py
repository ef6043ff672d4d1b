"""Keys, rows and facts as an owner reads them (docs/spec/door.md, section 1): the same at the house and for an ADMIN over a pair."""

from collections.abc import Mapping
from typing import Any, Final

from tallystick.errors import Malformed, Refused
from tallystick.facts.fact import Place
from tallystick.keys import KeyId
from tallystick.ledger.event import Kind
from tallystick.node.view import KIND_WORDS
from tallystick.rights.scope import UNKNOWN
from tallystick.storage.gaterows import FactRow, GrantRow, ScopeRow
from tallystick.storage.rows import KeyRow
from tallystick.storage.sqlite import Store

MAX_CHANGES: Final = 50
HEX_DIGITS: Final = 64
_CHANGES: Final = (
    *(Kind.KEY_INTRODUCED, Kind.KEY_REVOKED, Kind.KEY_SUSPENDED, Kind.KEY_RESUMED, Kind.KEY_ROTATED, Kind.SIGNAL_FORK),
    *(Kind.GRANT, Kind.GRANT_WITHDRAWN, Kind.SCOPE, Kind.SCOPE_ENDED, Kind.CONTEXT_BEGUN, Kind.CONTEXT_ENDED, Kind.PAIRING_APPROVED),
)


def find_key(store: Store, text: str) -> KeyRow:
    """The key of a number (#12), a KeyId or a label. Raises: Refused: none, or more than one."""
    wanted = text.strip().removeprefix("#")
    if wanted.isascii() and wanted.isdigit() and len(wanted) < 10:
        row = store.key(int(wanted))
        if row is not None:
            return row
    for read in (KeyId.parse, _hex_id):
        try:
            row = store.key(read(text))
        except Malformed:
            continue
        if row is not None:
            return row
    keys = store.keys()
    named = [row for row in keys if text and label_of(store, row) == text]
    standing = [row for row in named if row.stands] or named
    if len(standing) != 1:
        raise Refused(f"{'no' if not standing else 'more than one'} key is called {text[:60]}", "`tally key ls --house` lists the keys")
    return standing[0]


def label_of(store: Store, row: KeyRow) -> str:
    """What a key is called: a machine's key as its pair."""
    pair = None if row.label or row.pairing is None else store.pair(row.pairing)
    return row.label if pair is None else pair.label


def _hex_id(text: str) -> KeyId:
    if len(text) != HEX_DIGITS:
        raise Malformed("not a KeyId in hexadecimal")
    try:
        return KeyId(bytes.fromhex(text))
    except ValueError:
        raise Malformed("not a KeyId in hexadecimal") from None


def names(store: Store) -> dict[bytes, str]:
    """The short text of every key."""
    keys = store.keys()
    return {bytes(row.key_id): f"#{row.number}" for row in keys} | {bytes(UNKNOWN): "unknown"}


def place_text(place: Place) -> str:
    """A place as people write it: its name, or latitude, longitude and radius."""
    if isinstance(place, str):
        return place
    return f"{_degrees(place.latitude_e7)},{_degrees(place.longitude_e7)},{place.radius_m}"


def _degrees(e7: int) -> str:
    whole, part = divmod(abs(e7), 10**7)
    return f"{'-' if e7 < 0 else ''}{whole}.{part:07}".rstrip("0").rstrip(".")


def key_json(store: Store, row: KeyRow, called: Mapping[bytes, str]) -> dict[str, Any]:
    """A key in one line."""
    known = store.gate.known_key(row.key_id)
    place = None if known is None else known.known.place
    return {
        "number": row.number,
        "key": str(row.key_id),
        "label": label_of(store, row),
        "kind": row.kind,
        "state": row.state,
        "classes": list(row.classes),
        "actions": list(row.actions),
        "targets": list(row.targets),
        "schedule": row.schedule or None,
        "place": None if place is None else place_text(place),
        "place_erased": row.place is not None and place is None,
        "expires_ns": row.expires_ns,
        "introduced": row.introduced,
        "introduced_by": None if row.introduced_by is None else called.get(bytes(row.introduced_by), str(row.introduced_by)),
        "pair": None if row.pairing is None else row.pairing.hex(),
        "changed": row.changed,
        "since": row.since,
    }


def grant_json(row: GrantRow, called: Mapping[bytes, str]) -> dict[str, Any]:
    """A row of the matrix."""
    return {
        "entry": row.entry,
        "classes": list(row.classes),
        "actions": list(row.actions),
        "targets": list(row.targets),
        "schedule": row.schedule or None,
        "place": None if row.place is None else place_text(row.place),
        "expires_ns": row.expires_ns,
        "by": None if row.by is None else called.get(bytes(row.by), str(row.by)),
    }


def scope_json(row: ScopeRow) -> dict[str, Any]:
    """A scope of a key."""
    return {
        "scope": row.scope.hex(),
        "entry": row.entry,
        "state": row.state,
        "verb": row.verb or "",
        "targets": list(row.targets or ()),
        "uses_left": row.uses_left,
        "until_ns": row.until_ns,
    }


def fact_json(row: FactRow, called: Mapping[bytes, str]) -> dict[str, Any]:
    """A fact. Its value is null where it is personal and erased."""
    fact = row.fact
    return {
        "entry": fact.entry,
        "predicate": fact.predicate,
        "subject": None if fact.subject is None else called.get(bytes(fact.subject), str(fact.subject)),
        "value": fact.value,
        "personal": row.personal,
        "state": row.state,
        "observed_ns": fact.observed_ns,
        "until_ns": fact.until_ns,
        "by": None if row.by is None else called.get(bytes(row.by), str(row.by)),
    }


def keys_view(store: Store) -> dict[str, Any]:
    """Every key that signs, and what a revocation has suspended."""
    called, keys = names(store), store.keys()
    rows = [key_json(store, row, called) for row in keys]
    waiting = [{"kind": row.kind, "id": row.identity.hex(), "entry": row.entry, "cause": row.cause} for row in store.gate.suspended()]
    return {"keys": rows, "suspended": waiting}


def key_view(store: Store, text: str) -> dict[str, Any]:
    """One key: its rows, scopes, facts, what happened to it. Raises: Refused: there is none."""
    row, called = find_key(store, text), names(store)
    context = store.gate.context(row.key_id)
    changes = store.entries(kinds=_CHANGES, key=bytes(row.key_id), newest_first=True, limit=MAX_CHANGES)
    return {
        **key_json(store, row, called),
        "public": row.public.cose_key().hex(),
        "grants": [grant_json(each, called) for each in store.gate.grants(row.key_id)],
        "scopes": [scope_json(each) for each in store.gate.scopes(row.key_id, state=None)],
        "facts": [fact_json(each, called) for each in store.gate.facts(row.key_id, limit=100)],
        "sightings": store.gate.sighting_count(row.key_id),
        "context": None if context is None else context.begun,
        "changes": [
            {
                "entry": each.index,
                "time_ns": each.event.time_ns,
                "kind": KIND_WORDS[each.event.kind],
                "by": called.get(each.event.blob("key")),
            }
            for each in reversed(changes)
            if each.event.blob("subject") in (bytes(row.key_id), b"")
        ],
    }


def facts_view(store: Store, query: Mapping[str, str]) -> dict[str, Any]:
    """Facts, newest first. Query: key, predicate, `all=1` for those that are withdrawn or suspended too. Raises: Refused, Misuse."""
    subject = bytes(find_key(store, query["key"]).key_id) if query.get("key") else None
    state = None if query.get("all") == "1" else "standing"
    called = names(store)
    rows = store.gate.facts(subject, query.get("predicate") or None, state=state)
    return {"facts": [fact_json(row, called) for row in rows]}
