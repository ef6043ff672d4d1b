"""A house that is open, closed or moved: what it records, and who opens it again (docs/spec/restore.md, section 1)."""

from pathlib import Path
from typing import Any

import pytest

from tallystick.canonical import encode
from tallystick.errors import Refused, TallyError, Unproven
from tallystick.keys.cose import sign1
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.rules.house import WHILE_CLOSED
from tallystick.storage.sqlite import Store
from tests.ledger.samples import full
from tests.storage.house import (
    HOUSE,
    OTHER,
    OWNER,
    RECOVERY,
    START,
    Key,
    approved,
    invite_created,
    origin,
    owner_introduced,
    paired,
    proposed,
    signal,
)

T = START + 10**12
LAPTOP, PHONE = Key.named("laptop"), Key.named("phone")
BACK = (bytes(32), 4, bytes(32))


def put(store: Store, *events: Event) -> None:
    store.append(*events).result(10)


def refused(store: Store, event: Event, by: type[TallyError] = Refused) -> None:
    before = store.size()
    with pytest.raises(by):
        put(store, event)
    assert store.size() == before


def closed(reason: str = "rolled-back", owner: Key | None = None) -> Event:
    return Event.of(Kind.CLOSED, T, "local", reason=reason, owner=None if owner is None else bytes(owner.id))


def restored(by: Key = OWNER, name: str = "tally.test/house/1", **more: Any) -> Event:
    return Event.of(Kind.RESTORED, T, "pair", seen=(), predecessor=BACK, key=bytes(by.id), log_name=name, **more)


def human(key: Key, by: Key = OWNER) -> Event:
    return Event.of(
        Kind.KEY_INTRODUCED,
        T,
        "pair",
        subject=bytes(key.id),
        key_kind="human",
        cose_key=key.public.cose_key(),
        classes=("human",),
        actions=("read", "admin"),
        key=bytes(by.id),
    )


def migrated(to: Key, by: Key = OWNER) -> Event:
    keys: dict[str, Any] = {"static_key": sha256(b"new"), "witness_key": sha256(b"w"), "log_keys": ((1, sha256(b"new log")),)}
    return Event.of(Kind.MIGRATED, T, "pair", predecessor=BACK, successor=to.public.cose_key(), key=bytes(by.id), **keys)


def arrived(by: Key, entry: int) -> Event:
    return Event.of(Kind.ARRIVED, T, "local", entry=entry, value=sign1(by, encode(["arrival"])))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    with Store.open(tmp_path / "house.sqlite", create=True) as made:
        put(made, origin(), owner_introduced())
        yield made


def same_again(store: Store, tmp_path: Path) -> None:
    """Rebuilt from its leaves it is the same, row for row."""
    rebuild(store.path, tmp_path / "again.sqlite")
    assert differences(store.path, tmp_path / "again.sqlite") == ()
    (tmp_path / "again.sqlite").unlink()


def test_a_house_begins_open_under_its_first_name(store: Store) -> None:
    """Name and keys of the log stand in the state, so whoever signs takes them from there."""
    house = store.house()
    assert (house.state, house.log_name, house.restored, house.owner) == ("open", "tally.test/house", 0, None)
    assert house.log_keys == ((1, sha256(b"log")),)


def test_a_closed_house_records_no_command(store: Store) -> None:
    """Of every kind there is only those of the list; a signal only when it was refused."""
    put(store, closed())
    for kind in Kind:
        if kind not in WHILE_CLOSED and kind is not Kind.SIGNAL:
            with pytest.raises((Refused, Unproven)) as caught:
                put(store, full(kind))
            assert caught.value.message.startswith("this house is closed") or kind is Kind.ORIGIN
    command: dict[str, Any] = {"pairing": bytes(32), "signal": signal(LAPTOP, 1)}
    refused(store, Event.of(Kind.SIGNAL, T, "pair", verdict="allow", **command))
    put(store, Event.of(Kind.SIGNAL, T, "pair", verdict="refuse", **command))
    put(store, Event.of(Kind.STARTED, T, software="x"))


def test_a_closed_house_stays_closed(store: Store, tmp_path: Path) -> None:
    """Closing again may name an owner and moves neither the tree nor, without one, the owner; a restart changes nothing."""
    put(store, closed())
    size = store.house().size
    assert size == store.size() - 1
    put(store, Event.of(Kind.STARTED, T, software="x"))
    put(store, closed("restoring", OWNER))
    put(store, closed("restoring"))
    with_owner = store.house()
    assert (with_owner.state, with_owner.why, with_owner.size, with_owner.owner) == ("closed", "restoring", size, OWNER.id)
    refused(store, closed("restoring", OTHER))
    store.close()
    with Store.open(store.path) as again:
        assert again.house() == with_owner
        same_again(again, tmp_path)


def test_only_the_named_owner_opens_it_again(store: Store) -> None:
    """A human key with admin that was not named at the house opens nothing, and neither does one that was not there."""
    put(store, human(OTHER))
    refused(store, restored())
    put(store, closed("restoring"))
    refused(store, restored(), by=Unproven)
    put(store, closed("restoring", OWNER))
    refused(store, restored(OTHER), by=Unproven)
    refused(store, restored(LAPTOP), by=Unproven)
    for name in ("tally.test/house", "tally.test/house/0", "tally.test/house/99", "another/1"):
        refused(store, restored(name=name))
    put(store, restored())
    assert (store.house().state, store.house().log_name, store.house().owner) == ("open", "tally.test/house/1", None)
    refused(store, restored(name="tally.test/house/2"))
    put(store, closed("restoring", OWNER), restored(name="tally.test/house/2"))
    assert store.house().restored == 2


def test_a_restore_leaves_nothing_standing_but_the_signer(store: Store, tmp_path: Path) -> None:
    """Open invites, proposals and pending pairings are void; every pair waits to be signed again; every other human key waits too."""
    pairing, second = paired(store, LAPTOP, "laptop"), paired(store, PHONE, "phone")
    put(store, Event.of(Kind.DOWNGRADED, T, "local", pair=pairing, pair_type="USER"))
    put(store, invite_created(sha256(b"open")), human(OTHER))
    put(store, Event.of(Kind.PROPOSAL, T, signal_hash=bytes(32)))
    put(store, proposed(Key.named("waiting"), sha256(b"waiting")))
    put(store, closed("restoring", OWNER), restored())
    assert store.inbox() == () and {invite.state for invite in store.invites()} == {"consumed", "void"}
    assert [pair.state for pair in store.pairs()] == ["restored", "restored", "broken"]
    keys = store.keys()
    standing = {row.key_id for row in keys if row.stands}
    assert {OWNER.id, RECOVERY.id} <= standing and not {OTHER.id, LAPTOP.id, PHONE.id} & standing
    # The key that was revoked after the backup signs nothing, not even for itself.
    resigned: dict[str, Any] = {"pair": pairing, "pair_type": "USER"}
    refused(store, Event.of(Kind.PAIRING_RESIGNED, T, "pair", key=bytes(OTHER.id), **resigned), by=Unproven)
    refused(store, Event.of(Kind.KEY_RESUMED, T, "pair", subject=bytes(OTHER.id), key=bytes(OTHER.id)), by=Unproven)
    refused(store, Event.of(Kind.PAIRING_RESIGNED, T, "pair", key=bytes(OWNER.id), **(resigned | {"pair_type": "INPUT"})))
    put(store, Event.of(Kind.PAIRING_RESIGNED, T, "pair", key=bytes(OWNER.id), **resigned))
    refused(store, Event.of(Kind.PAIRING_RESIGNED, T, "pair", key=bytes(OWNER.id), **resigned))
    key = store.key(LAPTOP.id)
    assert store.pair_by_name("laptop").stands and key is not None and key.stands and key.actions == ("metadata", "read")
    put(store, Event.of(Kind.KEY_RESUMED, T, "pair", subject=bytes(OTHER.id), key=bytes(OWNER.id)))
    assert not store.pair_by_name("phone").stands and second == store.pair_by_name("phone").pairing
    put(store, Event.of(Kind.SEVERED, T, "local", pair=second, by="local"))
    same_again(store, tmp_path)


def test_what_a_pair_showed_beyond_us_is_kept(store: Store) -> None:
    """The evidence of a roll-back names the pair, and how much it had seen."""
    pairing = paired(store, LAPTOP, "laptop")
    notes: dict[str, Any] = {"checkpoint": b"ours", "other_checkpoint": b"theirs"}
    seen: dict[str, Any] = {"origin_hash": sha256(b"o"), "size": 99, "root": sha256(b"r")}
    put(store, Event.of(Kind.FORK_FOUND, T, "pair", pair=pairing, **notes, **seen), closed())
    showed = store.pair_by_name("laptop").showed
    assert showed is not None and (showed.size, showed.root) == (99, sha256(b"r"))


def test_a_house_that_moved_records_nothing(store: Store, tmp_path: Path) -> None:
    """`migrated` is the last entry of the old copy; only the machine it names can add `arrived`, right behind it."""
    new = Key.named("new machine")
    refused(store, migrated(new, by=OTHER), by=Unproven)
    put(store, closed())
    refused(store, migrated(new))
    put(store, closed("restoring", OWNER), restored())
    put(store, migrated(new))
    last = store.size() - 1
    assert store.house().state == "moved"
    for kind in Kind:
        if kind not in (Kind.ARRIVED, Kind.ORIGIN):
            refused(store, full(kind))
    refused(store, arrived(HOUSE, last), by=Unproven)
    refused(store, arrived(new, last - 1))
    same_again(store, tmp_path)
    put(store, arrived(new, last))
    assert store.house().state == "open" and store.house().log_keys == ((1, sha256(b"new log")),)
    refused(store, arrived(new, last))
    put(store, invite_created(sha256(b"here")))
    same_again(store, tmp_path)


def test_a_client_follows_its_house(store: Store, tmp_path: Path) -> None:
    """In a client's ledger a house's new name, keys and machine become those of the pair; its own state is untouched."""
    pairing = sha256(b"pairing")
    log: dict[str, Any] = {"log_name": "tallystick/x", "log_keys": ((1, sha256(b"a")), (6, b"b" * 64))}
    put(store, proposed(PHONE, pairing, role="client", house=bytes(HOUSE.id), **log), approved(pairing))
    row = store.pair(pairing)
    assert row is not None and (row.log_name, row.log_keys) == ("tallystick/x", log["log_keys"])
    seen: dict[str, Any] = {
        "pair": pairing,
        "origin_hash": sha256(b"o"),
        "size": 9,
        "root": sha256(b"r"),
        "checkpoint": b"n",
        "by": "local",
    }
    put(store, Event.of(Kind.CHECKPOINT_COSIGNED, T, **seen))
    put(store, restored(OTHER, "tallystick/x/1", pair=pairing, entry=7))
    new = Key.named("new machine")
    common: dict[str, Any] = {"pair": pairing, "successor": new.public.cose_key(), "static_key": sha256(b"s")}
    put(store, Event.of(Kind.KEY_ROTATED, T, use="log", entry=8, log_keys=((1, sha256(b"c")),), **(common | {"static_key": None})))
    after = store.pair(pairing)
    assert after is not None and (after.log_name, after.seen, after.followed) == ("tallystick/x/1", None, 8)
    assert (after.log_keys, after.signing_key) == (((1, sha256(b"c")),), PHONE.public)
    put(store, Event.of(Kind.KEY_ROTATED, T, use="signing", entry=9, **common))
    after = store.pair(pairing)
    assert after is not None and (after.signing_key, after.subject, after.static_key) == (new.public, new.id, sha256(b"s"))
    put(store, Event.of(Kind.KEY_ROTATED, T, use="witness", entry=10, pair=pairing, successor=OTHER.public.cose_key()))
    put(store, Event.of(Kind.MIGRATED, T, entry=11, predecessor=BACK, witness_key=sha256(b"v"), log_keys=((1, sha256(b"d")),), **common))
    after = store.pair(pairing)
    assert after is not None and (after.witness_key, after.log_keys, after.followed) == (sha256(b"v"), ((1, sha256(b"d")),), 11)
    assert after.house == HOUSE.id and store.house().state == "open"
    same_again(store, tmp_path)


def test_another_log_key_signs_from_here_on(store: Store) -> None:
    """A rotation of the log stands in the state with both of its new keys."""
    keys = ((1, sha256(b"new")), (6, b"x" * 64))
    put(store, Event.of(Kind.KEY_ROTATED, T, "local", use="log", successor=keys[0][1], log_keys=keys))
    assert store.house().log_keys == keys
    refused(store, Event.of(Kind.KEY_ROTATED, T, "local", use="log", successor=keys[0][1]))
