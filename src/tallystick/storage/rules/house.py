"""The house itself: open, closed or moved; under which name and keys its log is signed (docs/spec/restore.md, section 1).

A house that is closed records nothing that would be a command, and one that moved nothing at all but the arrival on the new machine. This
is a rule of the ledger and no politeness of a program: two copies of one ledger cannot both take commands after a move.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick import canonical
from tallystick.errors import Refused, Unproven
from tallystick.keys.cose import parse_sign1
from tallystick.keys.identity import parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.storage.rules.state import Cell, Rule, State, admin_signed

OPEN: Final = "open"
CLOSED: Final = "closed"
MOVED: Final = "moved"
ROLLED_BACK: Final = "rolled-back"
RESTORING: Final = "restoring"

MAX_STEP: Final = 64  # restorations that a backup may not know of

WORDS: Final[Mapping[str, str]] = {
    ROLLED_BACK: "this house is closed: its ledger was rolled back",
    RESTORING: "this house is closed: it was restored from a backup",
    MOVED: "this house has moved to another machine",
}
"""Why a house takes no commands, for people."""

CHANGES: Final = frozenset((Kind.ORIGIN, Kind.CLOSED, Kind.RESTORED, Kind.MIGRATED, Kind.ARRIVED, Kind.KEY_ROTATED))
"""The kinds that may change what stands in the table `house`."""

WHILE_CLOSED: Final = frozenset(
    (
        *(Kind.STARTED, Kind.STOPPED, Kind.SETTINGS, Kind.CLOCK_JUMPED, Kind.LIMITS, Kind.NV_COUNTER, Kind.ANCHORED, Kind.MAINTAINED),
        *(Kind.KNOCK, Kind.SESSION, Kind.SESSION_ENDED, Kind.DIODE_BREACH, Kind.STREAM_VOIDED, Kind.REFUSED, Kind.SIGNAL_FORK),
        *(Kind.CHECKPOINT_SIGNED, Kind.CHECKPOINT_COSIGNED, Kind.FORK_FOUND, Kind.CLOSED, Kind.RESTORED, Kind.ADMINS_REPLACED),
        # What only takes away; an effect that was open when the house closed ends, and a query of the auditor is told.
        *(Kind.SEVERED, Kind.INVITE_REVOKED, Kind.INVITE_EXPIRED, Kind.PAIRING_DENIED, Kind.PAIRING_EXPIRED, Kind.PAIRING_BROKEN),
        *(Kind.KEY_REVOKED, Kind.KEY_SUSPENDED, Kind.BODY_ERASED, Kind.PROPOSAL_DENIED, Kind.PROPOSAL_ENDED, Kind.SCOPE_ENDED),
        *(Kind.GRANT_WITHDRAWN, Kind.FACT_WITHDRAWN, Kind.CONTEXT_ENDED, Kind.FINDING),
        *(Kind.EFFECT_DONE, Kind.EFFECT_FAILED, Kind.EFFECT_UNKNOWN, Kind.ANSWER, Kind.QUERY, Kind.EXPORTED, Kind.BACKED_UP),
    )
)
"""What a closed house records: it hears, it shows, it takes away, and it is opened again."""


@dataclass(frozen=True, slots=True)
class House:
    """The one row of the table."""

    state: str
    why: str | None
    size: int
    owner: bytes | None
    first_name: str
    log_name: str
    log_keys: bytes
    restored: int
    successor: bytes | None


def restored_name(first_name: str, times: int) -> str:
    """The name under which a log's checkpoints are signed after it was restored so often (docs/spec/restore.md, section 4)."""
    return f"{first_name}/{times}" if times else first_name


def check_may(state: State, event: Event) -> None:
    """Raises: Refused: the house is closed, or has moved."""
    if state.shut == OPEN:
        return
    if state.shut == MOVED:
        if event.kind is not Kind.ARRIVED:
            raise Refused(WORDS[MOVED], "Use it there; this copy only tells its pairs where it went.")
    elif event.kind not in WHILE_CLOSED and not (event.kind is Kind.SIGNAL and event.text("verdict") == "refuse"):
        raise Refused(
            WORDS.get(row_of(state).why or "", "this house is closed"),
            "`tally status` at the house says why, and `tally restore` opens it again.",
        )


def row_of(state: State) -> House:
    """The house as it is now."""
    row = state.one(
        "SELECT state, why, size, owner, first_name, log_name, log_keys, restored, successor FROM house",
    )
    match row:
        case (str(now), (str() | None) as why, int(size), owner, str(first), str(name), bytes(keys), int(times), successor):
            return House(now, why, size, _blob(owner), first, name, keys, times, _blob(successor))
    raise AssertionError("a ledger has its house")


def _blob(value: Cell) -> bytes | None:
    return value if isinstance(value, bytes) else None


def encode_keys(event: Event) -> bytes | None:
    """`log_keys` of an event as the tables keep them; None where it names none."""
    keys = event.get("log_keys")
    return canonical.encode([list(key) for key in keys]) if isinstance(keys, tuple) else None


def began(state: State, event: Event) -> None:
    """The origin: the house is open under its first name."""
    name = event.text("log_name")
    state.run(
        "INSERT INTO house VALUES (1, 'open', NULL, 0, NULL, ?, ?, ?, 0, NULL)",
        (name, name, encode_keys(event) or b""),
    )
    state.run("INSERT INTO epoch VALUES (1, 0, 0)")


def _closed(state: State, event: Event, index: int) -> None:
    house = row_of(state)
    owner = event.blob("owner") or None
    if owner is not None and state.one("SELECT 1 FROM keys WHERE key_id = ? AND kind = 'human'", (owner,)) is None:
        raise Refused("this human key is not known to this ledger", "`--owner` names a human key with admin: see `tally key ls` there.")
    # Closed once more, with an owner this time: the tree that `restored` names is still the one of the first closing.
    size = index if house.state == OPEN else house.size
    state.run("UPDATE house SET state = 'closed', why = ?, size = ?, owner = ?", (event.text("reason"), size, owner or house.owner))


def _fork_found(state: State, event: Event, _index: int) -> None:
    if event.get("pair") is None or event.get("size") is None:
        return
    state.run(
        "UPDATE pairs SET showed_origin = ?, showed_size = ?, showed_root = ? WHERE pairing = ? AND role = 'house'",
        (event.blob("origin_hash"), event.number("size"), event.blob("root") or None, event.blob("pair")),
    )


def _restored(state: State, event: Event, index: int) -> None:
    if event.get("pair") is not None:
        _followed(state, event)
        return
    house = row_of(state)
    if house.state != CLOSED:
        raise Refused(f"this house is {house.state}: there is nothing to open again")
    if admin_signed(state, event) != house.owner:
        raise Unproven("this is not the human key that was named at the house", "At the house: `tally restore --owner KEYID`.")
    name = event.text("log_name")
    times = next((k for k in range(house.restored + 1, house.restored + MAX_STEP) if name == restored_name(house.first_name, k)), None)
    if times is None:
        raise Refused("from here on the log has a later name", f"{restored_name(house.first_name, house.restored + 1)}, or the next ones")
    state.run("UPDATE invites SET state = 'void', ended = ? WHERE state = 'open'", (index,))
    state.run("UPDATE proposals SET state = 'void', ended = ? WHERE state IN ('held', 'approved')", (index,))
    state.run("UPDATE scopes SET state = 'void', changed = ? WHERE state IN ('open', 'suspended')", (index,))
    state.run("DELETE FROM contexts")
    state.run("UPDATE pairs SET state = 'broken', ended = ? WHERE state = 'pending'", (index,))
    # What happened after the backup is not known here: a pair that was severed, a key that was revoked. A person says which still count.
    state.run(
        "UPDATE keys SET state = 'suspended', changed = ? WHERE state = 'standing' AND kind NOT IN ('recovery', 'witness') AND key_id != ?"
        " AND (kind != 'machine' OR pairing IN (SELECT pairing FROM pairs WHERE role = 'house'))",
        (index, house.owner),
    )
    state.run("UPDATE pairs SET state = 'restored' WHERE state = 'standing' AND role = 'house'")
    state.run(
        "UPDATE house SET state = 'open', why = NULL, size = 0, owner = NULL, log_name = ?, restored = ?",
        (name, times),
    )


def _followed(state: State, event: Event) -> None:
    """In a client's ledger: its house goes on under another name. What was seen under the old one stays in the entries."""
    if event.get("log_name") is not None:
        state.run(
            "UPDATE pairs SET log_name = ?, seen_origin = NULL, seen_size = NULL, seen_root = NULL, seen_note = NULL WHERE pairing = ?",
            (event.text("log_name"), event.blob("pair")),
        )
    state.run("UPDATE pairs SET followed = ? WHERE pairing = ?", (event.number("entry"), event.blob("pair")))


def adopt_keys(state: State, event: Event) -> None:
    """In a client's ledger: its house has other keys. Raises: Refused: there is no such pair."""
    pairing = event.blob("pair")
    if state.one("SELECT 1 FROM pairs WHERE pairing = ?", (pairing,)) is None:
        raise Refused("there is no such pair", "See `tally status`.")
    use = event.text("use") if event.kind is Kind.KEY_ROTATED else None
    if use != "log" and use != "witness":
        signing = parse_cose_key(event.blob("successor"))
        state.run("UPDATE pairs SET subject = ?, signing_key = ? WHERE pairing = ?", (signing.key_id, event.blob("successor"), pairing))
    if event.get("static_key") is not None:
        state.run("UPDATE pairs SET static_key = ? WHERE pairing = ?", (event.blob("static_key"), pairing))
    if use == "witness":
        state.run("UPDATE pairs SET witness_key = ? WHERE pairing = ?", (event.blob("successor"), pairing))
    elif event.get("witness_key") is not None:
        state.run("UPDATE pairs SET witness_key = ? WHERE pairing = ?", (event.blob("witness_key"), pairing))
    if (keys := encode_keys(event)) is not None:
        state.run("UPDATE pairs SET log_keys = ? WHERE pairing = ?", (keys, pairing))
    state.run("UPDATE pairs SET followed = ? WHERE pairing = ?", (event.number("entry"), pairing))


def rotate_log(state: State, event: Event) -> None:
    """The log of this house is signed with other keys from here on."""
    keys = encode_keys(event)
    if keys is None:
        raise Refused("a rotation of the log names its new keys")
    state.run("UPDATE house SET log_keys = ?", (keys,))


def _migrated(state: State, event: Event, _index: int) -> None:
    if event.get("pair") is not None:
        adopt_keys(state, event)
        return
    house = row_of(state)
    if house.state != OPEN:
        raise Refused(f"this house is {house.state}; only an open one moves")
    admin_signed(state, event)
    keys = encode_keys(event)
    if keys is None or not event.get("successor"):
        raise Refused("a move names the keys of the new machine")
    state.run("UPDATE house SET state = 'moved', why = 'moved', successor = ?, log_keys = ?", (event.blob("successor"), keys))


def _arrived(state: State, event: Event, index: int) -> None:
    house = row_of(state)
    if house.state != MOVED or house.successor is None or event.number("entry") != index - 1:
        raise Refused("this house has not moved to here")
    if parse_sign1(event.blob("value")).kid != parse_cose_key(house.successor).key_id:
        raise Unproven("this is not the machine that the house moved to")
    state.run("UPDATE house SET state = 'open', why = NULL, successor = NULL")


RULES: Final[Mapping[Kind, Rule]] = {
    Kind.CLOSED: _closed,
    Kind.FORK_FOUND: _fork_found,
    Kind.RESTORED: _restored,
    Kind.MIGRATED: _migrated,
    Kind.ARRIVED: _arrived,
}
