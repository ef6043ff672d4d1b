"""Keys: how they come in, are held, and go. The last human key with admin goes only by the recovery key."""

from collections.abc import Mapping
from typing import Final

from tallystick import canonical
from tallystick.errors import Malformed, Refused, Unproven
from tallystick.keys.identity import KeyKind, PublicKey, parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.storage.rules.gate import texts, words
from tallystick.storage.rules.house import adopt_keys, began, rotate_log
from tallystick.storage.rules.state import ACTIONS, Rule, State, admin_signed, signer_of
from tallystick.storage.rules.suspension import suspend

_ADMIN_HUMANS: Final = "FROM keys WHERE kind = 'human' AND state = 'standing' AND ' ' || actions || ' ' LIKE '% admin %'"


def introduce(
    state: State,
    index: int,
    *,
    key_id: bytes,
    kind: str,
    public: bytes,
    classes: str = "",
    actions: str = "",
    pairing: bytes | None = None,
    by: bytes | None = None,
    event: Event | None = None,
) -> None:
    row = state.one("SELECT state, pairing FROM keys WHERE key_id = ?", (key_id,))
    if row is not None:
        # A machine that was severed may be paired anew; its key keeps its number. Nothing else comes back.
        if kind != "machine" or pairing is None or row[0] not in ("retired", "standing"):
            raise Refused("this key is already known", "A key that was revoked does not come back; introduce a new one.")
        state.run(
            "UPDATE keys SET state = 'standing', classes = ?, actions = ?, pairing = ?, introduced = ?, introduced_by = ?, changed = ?"
            " WHERE key_id = ?",
            (classes, actions, pairing, index, by, index, key_id),
        )
        return
    state.run(
        "INSERT INTO keys SELECT ?, coalesce(max(number), 0) + 1, ?, 'standing', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL FROM keys",
        (
            key_id,
            kind,
            public,
            classes,
            actions,
            texts(event, "targets") if event else None,
            event.text("schedule") or None if event else None,
            event.blob("place") or None if event else None,
            event.number("expires") or None if event else None,
            event.text("label") or None if event else None,
            pairing,
            index,
            by,
            index,
        ),
    )


def _origin(state: State, event: Event, index: int) -> None:
    if index != 0:
        raise Refused("a ledger has one origin, its first entry")
    house = parse_cose_key(event.blob("cose_key"))
    if house.key_id != event.blob("house") and event.text("role") == "house" and event.get("predecessor") is None:
        raise Malformed("the house id is the KeyId of its first signing key")
    introduce(state, index, key_id=house.key_id, kind="machine", public=event.blob("cose_key"))
    witness = PublicKey(KeyKind.ED25519, event.blob("witness_key"))
    introduce(state, index, key_id=witness.key_id, kind="witness", public=witness.cose_key())
    if event.get("recovery_key"):
        recovery = parse_cose_key(event.blob("recovery_key"))
        introduce(state, index, key_id=recovery.key_id, kind="recovery", public=event.blob("recovery_key"))
    began(state, event)


def _key_introduced(state: State, event: Event, index: int) -> None:
    public = parse_cose_key(event.blob("cose_key"))
    if public.key_id != event.blob("subject"):
        raise Malformed("the subject is not the KeyId of the key")
    kind = event.text("key_kind")
    by: bytes | None = None
    if event.get("genesis"):
        if kind != "human" or state.one("SELECT 1 FROM keys WHERE kind = 'human'") is not None:
            raise Refused("genesis happened already", "Only the first human key needs no other; see `tally key ls`.")
        owner = _origin_owner(state)
        if owner is not None and owner != public.key_id:
            raise Refused("this house names another owner", "It was made with --owner KEYID.")
    else:
        by = admin_signed(state, event)
    introduce(
        state,
        index,
        key_id=public.key_id,
        kind=kind,
        public=event.blob("cose_key"),
        classes=words(event, "classes"),
        actions=words(event, "actions"),
        by=by,
        event=event,
    )


def _origin_owner(state: State) -> bytes | None:
    row = state.one("SELECT leaf FROM entries WHERE idx = 0")
    if row is None or not isinstance(row[0], bytes):
        return None
    leaf = canonical.decode(row[0])
    owner = leaf.get(60) if isinstance(leaf, dict) else None  # events.cddl: owner
    return owner if isinstance(owner, bytes) else None


def _key_state(state: State, key_id: bytes) -> tuple[str, str, str]:
    row = state.one("SELECT state, kind, actions FROM keys WHERE key_id = ?", (key_id,))
    if row is None:
        raise Refused("there is no such key", "See `tally key ls`.")
    return str(row[0]), str(row[1]), str(row[2])


def _key_revoked(state: State, event: Event, index: int) -> None:
    subject = event.blob("subject")
    old, kind, actions = _key_state(state, subject)
    how = event.text("revocation")
    since = event.number("since", index) if how == "compromised" else None
    earlier = state.one("SELECT since FROM keys WHERE key_id = ?", (subject,))
    if old == "compromised" and since is not None and earlier is not None and isinstance(earlier[0], int) and since < earlier[0]:
        pass  # it was in doubt for longer than was known
    elif old in ("compromised", "replaced") or old == how:
        raise Refused("this key is revoked already")
    if event.actor != "local":
        admin_signed(state, event)
    humans = state.one(f"SELECT 1 {_ADMIN_HUMANS}")
    if kind == "human" and old == "standing" and "admin" in actions.split():
        others = state.one(f"SELECT count(*) {_ADMIN_HUMANS} AND key_id != ?", (subject,))
        if others is None or others[0] == 0:
            raise Refused("this is the last human key with admin", "The recovery key can replace it: `tally key replace-admins`.")
    state.run("UPDATE keys SET state = ?, changed = ?, since = ? WHERE key_id = ?", (how, index, since, subject))
    state.run("UPDATE proposals SET state = 'void', ended = ? WHERE key_id = ? AND state IN ('held', 'approved')", (index, subject))
    if since is not None:
        suspend(state, index, subject, since)
        if humans is not None and state.one(f"SELECT 1 {_ADMIN_HUMANS}") is None:
            hint = "Name a later entry, or let the recovery key replace them: `tally key replace-admins`."
            raise Refused("every human key with admin was signed in by this one, and none would be left", hint)


def _key_suspended(state: State, event: Event, index: int) -> None:
    _key_state(state, event.blob("subject"))
    state.run("UPDATE keys SET state = 'suspended', changed = ? WHERE key_id = ? AND state = 'standing'", (index, event.blob("subject")))


def _signal_fork(state: State, event: Event, index: int) -> None:
    # The key may be unknown to us: then the event alone says what happened.
    state.run("UPDATE keys SET state = 'suspended', changed = ? WHERE key_id = ? AND state = 'standing'", (index, event.blob("subject")))


def _key_resumed(state: State, event: Event, index: int) -> None:
    old, _, _ = _key_state(state, event.blob("subject"))
    if old != "suspended":
        raise Refused(f"this key is {old}, not suspended")
    if event.actor != "local":
        admin_signed(state, event)
    state.run("UPDATE keys SET state = 'standing', changed = ? WHERE key_id = ?", (index, event.blob("subject")))


def _admins_replaced(state: State, event: Event, index: int) -> None:
    signer = signer_of(event)
    if state.one("SELECT 1 FROM keys WHERE kind = 'recovery' AND state = 'standing' AND key_id = ?", (signer,)) is None:
        raise Unproven("only the recovery key replaces the admins")
    state.run(
        "UPDATE keys SET state = 'replaced', changed = ? WHERE kind = 'human' AND state IN ('standing', 'suspended')"
        " AND ' ' || actions || ' ' LIKE '% admin %'",
        (index,),
    )
    admins = event.get("admin_keys")
    for public in admins if isinstance(admins, tuple) else ():
        key = parse_cose_key(public)
        introduce(state, index, key_id=key.key_id, kind="human", public=public, classes="human", actions=ACTIONS["ADMIN"], by=signer)
    if event.get("recovery_key"):
        key = parse_cose_key(event.blob("recovery_key"))
        state.run("UPDATE keys SET state = 'replaced', changed = ? WHERE key_id = ?", (index, signer))
        introduce(state, index, key_id=key.key_id, kind="recovery", public=event.blob("recovery_key"), by=signer)


def _key_rotated(state: State, event: Event, index: int) -> None:
    if event.get("pair") is not None:
        adopt_keys(state, event)  # the other side's
        return
    use = event.text("use")
    if use == "log":
        rotate_log(state, event)
    if use not in ("signing", "witness", "recovery"):
        return  # the log's and the static key are not in this table
    key = parse_cose_key(event.blob("successor"))
    old = event.blob("subject")
    before, kind, _ = _key_state(state, old)
    if before != "standing":
        raise Refused(f"this key is {before} and cannot be rotated")
    state.run("UPDATE keys SET state = 'retired', changed = ? WHERE key_id = ?", (index, old))
    introduce(state, index, key_id=key.key_id, kind=kind, public=event.blob("successor"), by=signer_of(event))


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.ORIGIN: _origin,
    Kind.KEY_INTRODUCED: _key_introduced,
    Kind.KEY_REVOKED: _key_revoked,
    Kind.KEY_SUSPENDED: _key_suspended,
    Kind.KEY_RESUMED: _key_resumed,
    Kind.KEY_ROTATED: _key_rotated,
    Kind.SIGNAL_FORK: _signal_fork,
    Kind.ADMINS_REPLACED: _admins_replaced,
}
