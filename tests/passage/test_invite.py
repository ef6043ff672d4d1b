"""An invite's way: kept, recorded, heard; then used, revoked or expired, and its secret gone."""

from collections.abc import Sequence
from typing import Any

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.keys import KeyId
from tallystick.pair.invite import InviteTerms, invite_id, invite_terms
from tallystick.pair.pairing import PairType, Role
from tallystick.passage import invite as invites
from tallystick.passage.effect import Destroy, Forget, Keep, Listen, Record, Unlisten, invite_name
from tallystick.passage.knock import Connection, redeemed
from tests.gate.world import HUMAN, seed
from tests.passage.test_pairing import NOW, SIGNED
from tests.passage.walk import Walked, walk

SECRET = seed("invite secret")[:16]
INVITE = invite_id(SECRET)
NAME = invite_name(INVITE)
FAILURES = [Refused("no"), Unavailable("no disk")]
SOCKET = Connection(session=seed("h"), knock=seed("k"), address=seed("a"), mode=1, visibility="open", role=Role.HOUSE)


def create(terms: InviteTerms | None = None, *, answers: dict[type, Sequence[Any]] | None = None) -> Walked:
    made = terms or invite_terms(pair_type=PairType.USER, label="camera")
    return walk(invites.created(made, SECRET, expires_ns=NOW + 600 * 10**9, signed=SIGNED, now_ns=NOW), answers=answers)


def test_an_invite_is_kept_recorded_heard() -> None:
    """In this order; the ledger gets the invite's id, which tells nobody its secret."""
    walked = create()
    assert walked.steps == ["Keep", "Record INVITE_CREATED", "Listen"]
    assert walked.effects[0] == Keep(NAME, SECRET)
    assert walked.effects[-1] == Listen(INVITE, walked.receipts[0])
    event = walked.event("INVITE_CREATED")
    assert (event.blob("invite"), event.text("label"), event.get("preapproved")) == (INVITE, "camera", None)
    assert SECRET not in repr(event.fields).encode()


def test_an_invite_for_one_key_says_so() -> None:
    """A pre-approved invite for a KeyId is an event that the ledger can write."""
    event = create(invite_terms(yes=True, for_key=KeyId(bytes(HUMAN.public.key_id)))).event("INVITE_CREATED")
    assert (event.get("preapproved"), event.blob("for_key")) == (True, bytes(HUMAN.public.key_id))


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_refused_invite_is_never_heard(failure: TallyError) -> None:
    """Its secret is forgotten and nothing comes after it."""
    walked = create(answers={Record: [failure]})
    assert walked.steps == ["Keep", "Record INVITE_CREATED", "Forget"]
    assert (walked.effects[-1], walked.error) == (Forget(NAME), failure)


def test_an_invite_that_cannot_be_written_keeps_nothing() -> None:
    """A label that the ledger's table does not take: the vault was not touched."""
    walked = create(invite_terms(label="two\nlines"))
    assert isinstance(walked.error, Misuse)
    assert walked.effects == []


@pytest.mark.parametrize(
    ("passage", "kind", "actor"),
    [
        (lambda: invites.revoked(INVITE, signed=SIGNED, now_ns=NOW), "INVITE_REVOKED", "pair"),
        (lambda: invites.revoked(INVITE, signed=None, now_ns=NOW), "INVITE_REVOKED", "local"),
        (lambda: invites.expired(INVITE, now_ns=NOW), "INVITE_EXPIRED", "house"),
    ],
)
def test_an_invite_ends_recorded_silent_destroyed(passage: object, kind: str, actor: str) -> None:
    """Revoked or expired: recorded, no longer heard, its secret destroyed, in this order."""
    walked = walk(passage())  # type: ignore[operator]
    (receipt,) = walked.receipts
    assert walked.steps == [f"Record {kind}", "Unlisten", "Destroy"]
    assert walked.effects[1:] == [Unlisten(INVITE, receipt), Destroy(NAME, receipt)]
    assert (walked.event(kind).actor, walked.value) == (actor, receipt)


def test_the_first_frame_uses_the_invite_up() -> None:
    """Consumed and recorded with its knock in one transaction; then it is silent and its secret gone, whatever follows."""
    walked = walk(redeemed(SOCKET, invite=INVITE, now_ns=NOW))
    assert walked.steps == ["Record INVITE_CONSUMED KNOCK", "Unlisten", "Destroy"]
    assert walked.value is walked.receipts[0]
    assert walked.effects[1:] == [Unlisten(INVITE, walked.value), Destroy(NAME, walked.value)]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize(
    "passage",
    [
        lambda: invites.revoked(INVITE, signed=None, now_ns=NOW),
        lambda: invites.expired(INVITE, now_ns=NOW),
        lambda: redeemed(SOCKET, invite=INVITE, now_ns=NOW),
    ],
    ids=["revoked", "expired", "redeemed"],
)
def test_an_end_that_was_not_recorded_is_none(passage: object, failure: TallyError) -> None:
    """The other redeemers of one invite get Refused, and touch nothing."""
    walked = walk(passage(), answers={Record: [failure]})  # type: ignore[operator]
    assert (len(walked.effects), walked.error) == (1, failure)


@pytest.mark.parametrize(("pairing", "actor"), [(seed("carrier"), "pair"), (None, "local")])
def test_the_recovery_keys_statement_is_one_entry(pairing: bytes | None, actor: str) -> None:
    """It needs no effect: what it changes are rows of the ledger. At the house's own socket its actor is `local`."""
    signed = type(SIGNED)(key=SIGNED.key, signal=SIGNED.signal, statement=SIGNED.statement, salt=SIGNED.salt, pairing=pairing)
    walked = walk(invites.admins_replaced((HUMAN.public,), signed=signed, now_ns=NOW))
    assert walked.steps == ["Record ADMINS_REPLACED"]
    assert walked.event("ADMINS_REPLACED").get("admin_keys") == (HUMAN.public.cose_key(),)
    assert walked.event("ADMINS_REPLACED").actor == actor
