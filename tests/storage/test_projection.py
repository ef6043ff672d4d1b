"""The rules of the state: what two callers at once could break, and what nobody may undo."""

from collections.abc import Sequence
from typing import Any

import pytest

from tallystick.errors import Malformed, Refused, TallyError, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.pair.pairing import PairType
from tallystick.primitives import sha256
from tallystick.storage.sqlite import Store
from tests.storage.house import (
    HOUSE,
    OTHER,
    OWNER,
    RECOVERY,
    SECOND,
    START,
    Key,
    answer,
    approved,
    invite_consumed,
    invite_created,
    origin,
    owner_introduced,
    paired,
    proposed,
    severed,
    signal,
)

LAPTOP = Key.named("laptop")
T = START + 100


def put(store: Store, *events: Event) -> int:
    """Record events together; the index of the last."""
    return store.append(*events).result(10)[-1].index


def refused(store: Store, *events: Event, by: type[TallyError] = Refused) -> str:
    """The events are refused and leave no trace; why."""
    before = store.head()
    with pytest.raises(by) as caught:
        store.append(*events).result(10)
    assert store.head() == before
    return caught.value.message


def human(name: str, *, by: Key = OWNER, actions: Sequence[str] = ("read", "admin"), **more: Any) -> Event:
    key = Key.named(name)
    return Event.of(
        Kind.KEY_INTRODUCED,
        T,
        "pair",
        subject=bytes(key.id),
        key_kind="human",
        cose_key=key.public.cose_key(),
        classes=("human",),
        actions=tuple(actions),
        key=bytes(by.id),
        label=name,
        **more,
    )


def revoked(key: Key, *, how: str = "retired", by: Key = OWNER, **more: Any) -> Event:
    return Event.of(Kind.KEY_REVOKED, T, "pair", subject=bytes(key.id), revocation=how, key=bytes(by.id), **more)


def test_a_ledger_begins_with_its_origin_and_has_one(empty: Store) -> None:
    """Nothing stands before the origin, and nothing makes a second one."""
    refused(empty, answer(1))
    refused(empty, answer(1), origin())
    put(empty, origin())
    refused(empty, origin())
    assert [key.kind for key in (*empty.keys(),)] == ["machine", "witness", "recovery"]


def test_the_house_id_is_the_first_signing_key(empty: Store) -> None:
    """An origin whose house id is not its signing key's is malformed."""
    refused(empty, origin(house=bytes(32)), by=Malformed)


def test_genesis_happens_once(empty: Store) -> None:
    """The first human key needs no other; the second does, whatever it claims."""
    put(empty, origin())
    refused(empty, human("other", by=OTHER), by=Unproven)
    put(empty, owner_introduced())
    refused(empty, human("other", genesis=True))
    put(empty, human("other"))
    assert [key.number for key in (*empty.keys(),)] == [1, 2, 3, 4, 5]


def test_a_named_owner_is_the_only_first_human(empty: Store) -> None:
    """Of a house made with --owner, genesis takes that key and no other."""
    put(empty, origin(owner=bytes(OTHER.id)))
    assert "another owner" in refused(empty, owner_introduced())
    put(empty, human("other", genesis=True))


def test_an_invite_is_used_once(store: Store) -> None:
    """Open, then consumed, revoked or expired: one of them, once."""
    tag = sha256(b"one")
    refused(store, invite_consumed(tag))
    put(store, invite_created(tag))
    refused(store, invite_created(tag))
    put(store, invite_consumed(tag, session=b"s" * 32))
    for kind in (Kind.INVITE_REVOKED, Kind.INVITE_EXPIRED):
        refused(store, Event.of(kind, T, invite=tag))
    refused(store, invite_consumed(tag))
    row = store.invite(tag)
    assert row is not None and (row.state, row.session, row.pair_type) == ("consumed", b"s" * 32, PairType.INPUT)
    other = sha256(b"two")
    put(store, invite_created(other, lives_ns=SECOND))
    assert "expired" in refused(store, invite_consumed(other, time_ns=START + 2 + SECOND))
    put(store, Event.of(Kind.INVITE_EXPIRED, T, invite=other))
    assert [invite.state for invite in store.invites()] == ["consumed", "expired"]


def test_an_admin_invite_is_never_approved_beforehand(store: Store) -> None:
    """Pre-approval and ADMIN exclude each other."""
    refused(store, invite_created(sha256(b"a"), pair_type="ADMIN", preapproved=True))


def test_a_pair_stands_once(store: Store) -> None:
    """Pending, standing, severed; no step back and no step twice."""
    pairing = paired(store, LAPTOP, "laptop")
    pair = store.pair(pairing)
    assert pair is not None and pair.stands and pair.subject == LAPTOP.id and pair.label == "laptop"
    key = store.key(LAPTOP.id)
    assert key is not None and key.stands and key.actions == ("metadata", "read", "egress", "propose", "write")
    assert key.introduced_by == OWNER.id
    refused(store, approved(pairing))
    refused(store, proposed(LAPTOP, pairing))
    for kind in (Kind.PAIRING_DENIED, Kind.PAIRING_EXPIRED):
        refused(store, Event.of(kind, T, pair=pairing))
    put(store, severed(pairing))
    for event in (severed(pairing), approved(pairing), Event.of(Kind.PAIRING_BROKEN, T, pair=pairing, reason="abort")):
        assert "severed" in refused(store, event)
    refused(store, Event.of(Kind.DOWNGRADED, T, pair=pairing, pair_type="USER"))
    gone = store.key(LAPTOP.id)
    assert gone is not None and gone.state == "retired" and gone.number == key.number


def test_a_severed_machine_can_be_paired_anew(store: Store) -> None:
    """A new pairing of a severed machine stands, and the old one stays severed."""
    put(store, severed(paired(store, LAPTOP, "first")))
    again = paired(store, LAPTOP, "second", pair_type="USER")
    assert [pair.state for pair in store.pairs()] == ["severed", "standing"]
    key = store.key(LAPTOP.id)
    assert key is not None and key.stands and key.pairing == again and key.actions == ("metadata", "read")
    assert store.pair_by_name("second").pairing == again


def test_a_standing_machine_is_not_paired_twice(store: Store) -> None:
    """While a pair stands, a second pairing of the same machine cannot."""
    paired(store, LAPTOP, "first")
    tag, pairing = sha256(b"again"), sha256(b"pairing again")
    put(store, invite_created(tag))
    put(store, invite_consumed(tag), proposed(LAPTOP, pairing, invite=tag))
    assert "already paired" in refused(store, approved(pairing))


def test_only_an_admin_human_approves(store: Store) -> None:
    """A pairing needs a standing human key with admin, unless its invite was approved beforehand."""
    tag, pairing = sha256(b"i"), sha256(b"p")
    put(store, invite_created(tag))
    refused(store, proposed(LAPTOP, pairing, invite=tag))  # the invite was not used
    put(store, invite_consumed(tag))
    assert "the invite was for" in refused(store, proposed(LAPTOP, pairing, invite=tag, pair_type="ADMIN"))
    put(store, proposed(LAPTOP, pairing, invite=tag))
    refused(store, proposed(OTHER, sha256(b"p2"), invite=tag))
    assert [item.identity for item in store.inbox()] == [pairing]
    refused(store, approved(pairing, by=OTHER), by=Unproven)
    refused(store, approved(pairing, by=HOUSE), by=Unproven)
    refused(store, Event.of(Kind.PAIRING_APPROVED, T, "house", pair=pairing, pair_type="INPUT"), by=Unproven)
    refused(store, Event.of(Kind.PAIRING_APPROVED, T, "house", pair=pairing, pair_type="INPUT", by="policy"), by=Unproven)
    assert "proposed as" in refused(store, approved(pairing, pair_type="ADMIN"))
    put(store, approved(pairing, pair_type="USER"))
    pair = store.pair(pairing)
    assert pair is not None and pair.effective is PairType.USER and store.inbox() == ()


def test_a_preapproved_invite_needs_nobody(store: Store) -> None:
    """`--yes` is a policy that was set when the invite was made."""
    tag, pairing = sha256(b"i"), sha256(b"p")
    put(store, invite_created(tag, preapproved=True))
    put(store, invite_consumed(tag), proposed(LAPTOP, pairing, invite=tag))
    put(store, Event.of(Kind.PAIRING_APPROVED, T, "house", pair=pairing, pair_type="INPUT", by="policy"))
    assert store.pair_by_name(pairing.hex()[:8]).stands


def test_an_invite_approved_beforehand_falls_with_its_key(store: Store) -> None:
    """Whoever signed `--yes` must still stand when the pair does: an invite of a thief ends with the thief's key."""
    tag, pairing = sha256(b"i"), sha256(b"p")
    put(store, human("other"))
    signed: dict[str, Any] = {"signal": signal(OTHER, 0), "statement": b"x", "statement_salt": bytes(32), "key": bytes(OTHER.id)}
    put(store, invite_created(tag, preapproved=True, **signed))
    put(store, invite_consumed(tag), proposed(LAPTOP, pairing, invite=tag))
    put(store, revoked(OTHER, how="compromised"))
    refused(store, Event.of(Kind.PAIRING_APPROVED, T, "house", pair=pairing, pair_type="INPUT", by="policy"), by=Unproven)
    put(store, approved(pairing))


@pytest.mark.parametrize("what", ["sever", "downgrade", "deny", "invite", "revoke-invite"])
@pytest.mark.parametrize("how", ["retired", "compromised", "replaced"])
def test_a_key_that_went_between_look_and_entry_ends_nothing(store: Store, what: str, how: str) -> None:
    """A statement counts only while its human key stands at its own entry, whatever the house saw a moment before."""
    standing, waiting, tag = paired(store, LAPTOP, "laptop"), sha256(b"w"), sha256(b"t")
    put(store, proposed(OTHER, waiting), invite_created(tag), human("third"))
    third = Key.named("third")
    signed: dict[str, Any] = {"signal": signal(third, 0), "statement": b"x", "statement_salt": bytes(32), "key": bytes(third.id)}
    stated = {
        "sever": Event.of(Kind.SEVERED, T + 1, "pair", pair=standing, by="statement", **signed),
        "downgrade": Event.of(Kind.DOWNGRADED, T + 1, "pair", pair=standing, pair_type="USER", by="statement", **signed),
        "deny": Event.of(Kind.PAIRING_DENIED, T + 1, "pair", pair=waiting, **signed),
        "invite": Event.of(Kind.INVITE_CREATED, T + 1, "pair", invite=sha256(b"n"), pair_type="USER", expires=T + 9, **signed),
        "revoke-invite": Event.of(Kind.INVITE_REVOKED, T + 1, "pair", invite=tag, **signed),
    }[what]
    if how == "replaced":
        new = Key.named("new admin").public.cose_key()
        put(
            store,
            Event.of(Kind.ADMINS_REPLACED, T, signal=signal(RECOVERY, 0), admin_keys=(new,), statement=b"x", statement_salt=bytes(32)),
        )
    else:
        put(store, revoked(third, how=how))
    refused(store, stated, by=Unproven)
    pair = store.pair(standing)
    assert pair is not None and pair.stands and pair.effective is PairType.INPUT
    assert len(store.inbox()) == 1


def test_a_statement_whose_key_stands_is_taken(store: Store) -> None:
    """The same severance while its key stands."""
    pairing = paired(store, LAPTOP, "laptop")
    signed: dict[str, Any] = {"signal": signal(OWNER, 0), "statement": b"x", "statement_salt": bytes(32), "key": bytes(OWNER.id)}
    put(store, Event.of(Kind.SEVERED, T, "pair", pair=pairing, by="statement", **signed))
    assert not store.pair_by_name("laptop").stands


def test_an_expired_pairing_does_not_stand(store: Store) -> None:
    """After its time a pairing can only be ended."""
    pairing = sha256(b"p")
    put(store, proposed(LAPTOP, pairing, expires=START + 50))
    assert "expired" in refused(store, approved(pairing, time_ns=START + 50))
    put(store, Event.of(Kind.PAIRING_EXPIRED, T, pair=pairing))


def test_genesis_pairs_are_admin_and_first(empty: Store) -> None:
    """The first ADMIN pair and its human key come in one step; later no pairing calls itself genesis."""
    put(empty, origin())
    pairing = sha256(b"p")
    put(empty, proposed(LAPTOP, pairing, pair_type="ADMIN", genesis=True))
    put(empty, owner_introduced(), approved(pairing, pair_type="ADMIN", genesis=True))
    other = sha256(b"q")
    put(empty, proposed(OTHER, other, pair_type="ADMIN"))
    refused(empty, approved(other, pair_type="ADMIN", genesis=True))


def test_a_downgrade_is_narrower(store: Store) -> None:
    """ADMIN, INPUT, USER, INTERFACE, in that direction only; the machine key's actions follow."""
    pairing = paired(store, LAPTOP, "laptop")
    for pair_type in ("ADMIN", "INPUT"):
        refused(store, Event.of(Kind.DOWNGRADED, T, "local", pair=pairing, pair_type=pair_type, by="local"))
    put(store, Event.of(Kind.DOWNGRADED, T, "local", pair=pairing, pair_type="INTERFACE", by="local"))
    pair, key = store.pair(pairing), store.key(LAPTOP.id)
    assert pair is not None and (pair.pair_type, pair.effective) == (PairType.INPUT, PairType.INTERFACE)
    assert key is not None and key.actions == ("metadata",)


def test_the_client_side_needs_no_human_here(store: Store) -> None:
    """In a client's ledger the pair stands because the house said so; the house's key gets no rights."""
    pairing = sha256(b"p")
    put(store, proposed(LAPTOP, pairing, role="client", house=bytes(LAPTOP.id)))
    put(store, Event.of(Kind.PAIRING_APPROVED, T, "pair", pair=pairing, pair_type="INPUT", by="peer"))
    pair, key = store.pair(pairing), store.key(LAPTOP.id)
    assert pair is not None and pair.stands and pair.house == LAPTOP.id
    assert key is not None and key.actions == ()


def test_the_last_admin_human_stays(store: Store) -> None:
    """The last human key with admin goes only by the recovery key."""
    assert "last human key" in refused(store, revoked(OWNER))
    put(store, human("other"))
    put(store, human("reader", actions=("read",)))
    put(store, revoked(OWNER, by=OTHER, how="compromised", since=4))
    row = store.key(OWNER.id)
    assert row is not None and (row.state, row.since) == ("compromised", 4)
    refused(store, revoked(OTHER, by=OTHER))
    refused(store, revoked(Key.named("reader"), by=OWNER), by=Unproven)
    put(store, revoked(Key.named("reader"), by=OTHER))
    refused(store, revoked(Key.named("reader"), by=OTHER))
    refused(store, human("reader", by=OTHER))


def test_the_recovery_key_replaces_the_admins(store: Store) -> None:
    """Only the recovery key; every older admin key is out, the new ones are in, and a new recovery key takes over."""
    new, later = Key.named("new admin"), Key.named("new recovery")
    fields: dict[str, Any] = {"admin_keys": (new.public.cose_key(),), "statement": b"x", "statement_salt": bytes(32)}
    refused(store, Event.of(Kind.ADMINS_REPLACED, T, signal=signal(OWNER, 0), **fields), by=Unproven)
    put(store, Event.of(Kind.ADMINS_REPLACED, T, signal=signal(RECOVERY, 0), recovery_key=later.public.cose_key(), **fields))
    states = {key.key_id: key.state for key in (*store.keys(),)}
    assert (states[OWNER.id], states[RECOVERY.id], states[new.id], states[later.id]) == ("replaced", "replaced", "standing", "standing")
    refused(store, Event.of(Kind.ADMINS_REPLACED, T, signal=signal(RECOVERY, 1), **fields), by=Unproven)


def test_an_expired_admin_key_signs_nothing(store: Store) -> None:
    """A human key past its expiry lets nobody in."""
    put(store, human("other", expires=T + 10))
    late = Event.of(Kind.KEY_REVOKED, T + 10, "pair", subject=bytes(OWNER.id), revocation="retired", key=bytes(OTHER.id))
    refused(store, late, by=Unproven)
    put(store, revoked(OWNER, by=OTHER))


def test_a_signal_counts_once(store: Store) -> None:
    """(key, stream, n) once for ever; the same statement again is a replay, also under another signature."""
    event = Event.of(Kind.SIGNAL, T, "pair", verdict="allow", signal=signal(OTHER, 7))
    index = put(store, event)
    assert f"entry {index}" in refused(store, event)
    put(store, Event.of(Kind.SIGNAL, T, "pair", verdict="refuse", signal=signal(OTHER, 8)))
    put(store, Event.of(Kind.SIGNAL, T, "pair", verdict="refuse", signal=signal(OTHER, 7, stream=b"x" * 16)))
    assert store.signal_seen(OTHER.id, bytes(16), 7) == index
    assert store.signal_entry(sha256(event.blob("signal")[-64:])) == index
    assert store.signal_entry(bytes(32)) is None
    refused(store, answer(1), event, answer(2))


def test_two_signals_in_one_request_count_too(store: Store) -> None:
    """A replay within one request undoes the request."""
    event = Event.of(Kind.SIGNAL, T, "pair", verdict="allow", signal=signal(OTHER, 0))
    refused(store, event, event)
    put(store, event)


def test_a_fork_holds_the_key(store: Store) -> None:
    """Two statements under one number: refused, recorded with both, and the key waits for a human."""
    put(store, human("other"))
    first = put(store, Event.of(Kind.SIGNAL, T, "pair", verdict="allow", signal=signal(OTHER, 0)))
    second = signal(OTHER, 0, salt=b"other words")
    with pytest.raises(Unproven):
        store.append(answer(1), Event.of(Kind.SIGNAL, T, "pair", verdict="allow", signal=second)).result(10)
    row = store.entry(store.size() - 1)
    assert row is not None and row.event.kind is Kind.SIGNAL_FORK and row.event["fork"] == (first, second)
    held = store.key(OTHER.id)
    assert held is not None and held.state == "suspended"
    assert store.size() == first + 2
    put(store, Event.of(Kind.KEY_RESUMED, T, "pair", subject=bytes(OTHER.id), key=bytes(OWNER.id)))
    refused(store, Event.of(Kind.KEY_RESUMED, T, "pair", subject=bytes(OTHER.id), key=bytes(OWNER.id)))


def test_a_signal_is_what_it_says(store: Store) -> None:
    """A signal that cannot be read, or that is under another key than the event names, is malformed."""
    refused(store, Event.of(Kind.SIGNAL, T, verdict="allow", signal=b"junk"), by=Malformed)
    refused(store, Event.of(Kind.SIGNAL, T, verdict="allow", key=bytes(OWNER.id), signal=signal(OTHER, 0)), by=Malformed)
    refused(store, Event.of(Kind.KEY_INTRODUCED, T, subject=bytes(32), key_kind="source", cose_key=OTHER.public.cose_key()), by=Malformed)


def test_an_effect_ends_once(store: Store) -> None:
    """Begun, then done, failed or unknown: one of them, once; an open one is settled as unknown at the start."""
    begun = [put(store, Event.of(Kind.EFFECT_BEGUN, T, effect="archive.rename")) for _ in range(4)]
    put(store, Event.of(Kind.EFFECT_DONE, T, entry=begun[0]))
    put(store, Event.of(Kind.EFFECT_FAILED, T, entry=begun[1], reason="enospc"))
    for kind in (Kind.EFFECT_DONE, Kind.EFFECT_UNKNOWN):
        refused(store, Event.of(kind, T, entry=begun[0]))
    refused(store, Event.of(Kind.EFFECT_DONE, T, entry=0))
    assert [effect.begun for effect in store.open_effects()] == begun[2:]
    store.settle_open_effects(T, completed=begun[3:])
    kinds = [row.event.kind for row in store.entries(store.size() - 2)]
    assert kinds == [Kind.EFFECT_UNKNOWN, Kind.EFFECT_DONE] and store.open_effects() == ()


def test_a_proposal_is_decided_once(store: Store) -> None:
    """Held, then approved, denied or ended; an approval names the proposal's own signal and comes in time."""
    hashes = [sha256(b"signal", bytes([n])) for n in range(4)]
    held = [put(store, Event.of(Kind.PROPOSAL, T, signal_hash=h, expires=T + 10)) for h in hashes]
    assert [item.kind for item in store.inbox()] == ["proposal"] * 4

    def approval(*items: tuple[int, bytes], n: int, time_ns: int = T) -> Event:
        return Event.of(Kind.APPROVAL, time_ns, "pair", items=items, signal=signal(OWNER, n), statement=b"x", statement_salt=bytes(32))

    refused(store, approval((held[0], hashes[1]), n=0), by=Unproven)
    refused(store, approval((held[0], hashes[0]), n=0, time_ns=T + 10))
    put(store, approval((held[0], hashes[0]), (held[1], hashes[1]), n=0))
    refused(store, approval((held[1], hashes[1]), (held[2], hashes[2]), n=1))
    put(store, Event.of(Kind.PROPOSAL_DENIED, T, entry=held[2]))
    put(store, Event.of(Kind.PROPOSAL_ENDED, T, entry=held[0], reason="released"))
    refused(store, Event.of(Kind.PROPOSAL_ENDED, T, entry=held[2], reason="expired"))
    refused(store, Event.of(Kind.PROPOSAL_DENIED, T, entry=0))
    assert [item.entry for item in store.inbox()] == [held[3]]


def test_a_pair_remembers_the_newest_checkpoint(store: Store) -> None:
    """What we cosigned for the other side never becomes smaller; what they cosigned for us is kept as a size."""
    pairing = paired(store, LAPTOP, "laptop")

    def seen(size: int, by: str = "local") -> Event:
        return Event.of(Kind.CHECKPOINT_COSIGNED, T, pair=pairing, origin_hash=sha256(b"o"), size=size, root=sha256(b"%d" % size), by=by)

    put(store, seen(10))
    put(store, seen(12))
    assert "12" in refused(store, seen(11))
    put(store, seen(5, by="peer"))
    pair = store.pair(pairing)
    assert pair is not None and pair.seen is not None
    assert (pair.seen.size, pair.seen.root, pair.cosigned_size) == (12, sha256(b"12"), 5)


def test_rotation_keeps_the_number_of_nobody_else(store: Store) -> None:
    """A rotated key retires and its successor is a new key of the same kind."""
    new = Key.named("new house key")
    event = Event.of(Kind.KEY_ROTATED, T, "local", use="signing", subject=bytes(HOUSE.id), successor=new.public.cose_key())
    put(store, event)
    refused(store, event)
    states = {key.key_id: (key.kind, key.state) for key in (*store.keys(),)}
    assert states[HOUSE.id] == ("machine", "retired") and states[new.id] == ("machine", "standing")
    put(store, Event.of(Kind.KEY_ROTATED, T, "local", use="log", successor=new.public.cose_key(), log_keys=((1, bytes(32)),)))


def test_unknown_pairs_and_keys_are_refused(store: Store) -> None:
    """Whatever names a pair or a key that is not there is refused."""
    for event in (
        severed(bytes(32)),
        approved(bytes(32)),
        Event.of(Kind.DOWNGRADED, T, pair=bytes(32), pair_type="USER"),
        revoked(OTHER),
        Event.of(Kind.KEY_SUSPENDED, T, subject=bytes(32), reason="fork"),
    ):
        assert "there is no" in refused(store, event)
    with pytest.raises(Refused):
        store.pair_by_name("nobody")
