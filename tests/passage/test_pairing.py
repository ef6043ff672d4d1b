"""A pair's way, step by step: kept before recorded, recorded before heard, silent before destroyed."""

from dataclasses import replace

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.pair.outcome import Half
from tallystick.pair.pairing import PairType
from tallystick.passage import pairing
from tallystick.passage.effect import Close, Destroy, Forget, Keep, Open, Passage, Record, secret_name
from tallystick.passage.pairing import Signed, actor_of
from tests.gate.world import HUMAN, seed, signal, signed
from tests.pair.world import Meeting
from tests.passage.walk import FIRST, Walked, walk

NOW = 1_795_000_000 * 10**9
PAIR = seed("pairing")
SIGNED = Signed(
    key=bytes(HUMAN.public.key_id),
    signal=signed(signal(signal_class="human", action="admin", verb="pair.approve"), HUMAN),
    statement=b"\xa0",
    salt=seed("salt"),
    pairing=seed("carrier"),
    session=seed("session"),
)
FAILURES = [Refused("no"), Unavailable("no disk")]


def half(side: str = "house", pair_type: PairType = PairType.INPUT) -> Half:
    """What a real ceremony asks its shell to store."""
    return Meeting.of(pair_type).run().half[side].half


def propose(of: Half, **more: object) -> Walked:
    answers = more.pop("answers", None)
    given = {
        "label": "camera",
        "session": seed("session"),
        "invite": seed("invite"),
        "address": seed("address"),
        "genesis": False,
        "preapproved": False,
        "shown": {"words": b"aardvark adroitness absurd adviser"},
        "now_ns": NOW,
    } | more
    return walk(pairing.proposed(of, **given), answers=answers)  # type: ignore[arg-type]


def test_a_half_is_kept_before_its_entry() -> None:
    """No entry ever speaks of a pair whose secret was lost: the vault first, then the ledger."""
    of = half()
    walked = propose(of)
    assert walked.steps == ["Keep", "Record PAIRING_PROPOSED"]
    assert walked.effects[0] == Keep(secret_name(of.pairing_id), of.pair_secret)
    assert walked.value.index == FIRST


@pytest.mark.parametrize("side", ["house", "client"])
def test_a_proposal_names_the_other_machine(side: str) -> None:
    """Keys, role, type and suite are the other side's, proven in the ceremony; words and facts are for the inbox."""
    of = half(side)
    event = propose(of).event("PAIRING_PROPOSED")
    other = of.hello if side == "house" else of.welcome
    assert event.text("role") == side
    assert event.blob("subject") == other.signing.key_id
    assert event.blob("static_key") == (of.client_static if side == "house" else of.house_static)
    assert event.blob("pair") == of.pairing_id
    assert event.number("expires") == NOW + 24 * 3600 * 10**9
    assert (event.get("genesis"), event.get("preapproved")) == (None, None)
    assert event.get("ext") == {"words": b"aardvark adroitness absurd adviser"}


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_refused_proposal_leaves_no_secret(failure: TallyError) -> None:
    """Refused by the ledger: the secret is forgotten, the refusal is told, and nothing comes after it."""
    of = half()
    walked = propose(of, answers={Record: [failure]})
    assert walked.steps == ["Keep", "Record PAIRING_PROPOSED", "Forget"]
    assert walked.effects[-1] == Forget(secret_name(of.pairing_id))
    assert walked.error is failure


def test_a_secret_that_cannot_be_kept_ends_it() -> None:
    """A vault that fails: nothing is recorded."""
    failure = Unavailable("the vault is gone")
    walked = propose(half(), answers={Keep: [failure]})
    assert (walked.steps, walked.error) == (["Keep"], failure)


def test_a_proposal_that_cannot_be_written_keeps_nothing() -> None:
    """A label that the ledger's table does not take is found out before the vault is touched."""
    walked = propose(half(), label="two\nlines")
    assert isinstance(walked.error, Misuse)
    assert walked.effects == []


def admin_key() -> Event:
    return Event.of(
        Kind.KEY_INTRODUCED,
        NOW,
        "invite",
        subject=bytes(HUMAN.public.key_id),
        key_kind="human",
        cose_key=HUMAN.public.cose_key(),
        actions=("admin",),
        genesis=True,
    )


def approve(**more: object) -> Walked:
    answers = more.pop("answers", None)
    given = {
        "pair": PAIR,
        "pair_type": PairType.ADMIN,
        "label": "laptop",
        "keys": (),
        "genesis": False,
        "signed": SIGNED,
        "by": "statement",
        "now_ns": NOW,
    } | more
    return walk(pairing.approved(**given), answers=answers)  # type: ignore[arg-type]


def test_a_pair_is_heard_after_its_entry() -> None:
    """The approval is recorded, then its knocks are heard, with the approval's own receipt."""
    walked = approve()
    assert walked.steps == ["Record PAIRING_APPROVED", "Open"]
    assert walked.effects[-1] == Open(PAIR, walked.receipts[0])
    assert walked.event("PAIRING_APPROVED").blob("statement") == SIGNED.statement


def test_genesis_is_one_transaction() -> None:
    """The human key comes in together with the pairing that brings it, before it; the door opens by the pairing's receipt."""
    walked = approve(keys=(admin_key(),), genesis=True, signed=replace(SIGNED, pairing=None))
    assert walked.steps == ["Record KEY_INTRODUCED PAIRING_APPROVED", "Open"]
    assert walked.effects[-1] == Open(PAIR, walked.receipts[1])
    assert walked.value is walked.receipts[1]
    assert walked.event("PAIRING_APPROVED").actor == "invite"


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_refused_approval_opens_nothing(failure: TallyError) -> None:
    """Not recorded, not heard."""
    walked = approve(answers={Record: [failure]})
    assert (walked.steps, walked.error) == (["Record PAIRING_APPROVED"], failure)


@pytest.mark.parametrize(
    ("passage", "steps", "kind"),
    [
        (pairing.denied(pair=PAIR, signed=SIGNED, reason="denied", now_ns=NOW), ["Record PAIRING_DENIED", "Destroy"], "PAIRING_DENIED"),
        (pairing.lapsed(pair=PAIR, now_ns=NOW), ["Record PAIRING_EXPIRED", "Destroy"], "PAIRING_EXPIRED"),
    ],
    ids=["denied", "lapsed"],
)
def test_a_secret_goes_after_its_end_is_recorded(passage: Passage[Receipt], steps: list[str], kind: str) -> None:
    """Denied or lapsed: recorded, then the secret is destroyed by that receipt."""
    walked = walk(passage)
    assert walked.steps == steps
    assert walked.effects[-1] == Destroy(secret_name(PAIR), walked.receipts[0])
    assert walked.event(kind).blob("pair") == PAIR


@pytest.mark.parametrize("tell", [True, False])
def test_severance_is_recorded_then_silent_then_destroyed(tell: bool) -> None:
    """Record, close, destroy: a stop in between leaves a record by which the next start finishes it."""
    walked = walk(pairing.severed(pair=PAIR, by="local", signed=None, reason="lost", tell=tell, now_ns=NOW))
    assert walked.steps == ["Record SEVERED", "Close", "Destroy"]
    (receipt,) = walked.receipts
    assert walked.effects[1:] == [Close(PAIR, receipt, tell), Destroy(secret_name(PAIR), receipt)]
    assert (walked.event("SEVERED").actor, walked.value) == ("local", receipt)


def test_severance_told_by_the_other_end_is_its_word() -> None:
    """A severance that came over the session is recorded as the pair's, not as the house's own."""
    walked = walk(pairing.severed(pair=PAIR, by="peer", signed=None, reason="peer", tell=False, now_ns=NOW, actor="pair"))
    assert (walked.event("SEVERED").actor, walked.event("SEVERED").text("by")) == ("pair", "peer")


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
@pytest.mark.parametrize(
    "passage",
    [
        lambda: pairing.severed(pair=PAIR, by="local", signed=None, reason="lost", tell=True, now_ns=NOW),
        lambda: pairing.denied(pair=PAIR, signed=None, reason="denied", now_ns=NOW),
        lambda: pairing.lapsed(pair=PAIR, now_ns=NOW),
        lambda: pairing.downgraded(pair=PAIR, pair_type=PairType.USER, signed=None, now_ns=NOW),
    ],
    ids=["severed", "denied", "lapsed", "downgraded"],
)
def test_what_was_not_recorded_changes_nothing(passage: object, failure: TallyError) -> None:
    """Refused, or no disk: no secret is destroyed, no session cut, no type narrowed."""
    walked = walk(passage(), answers={Record: [failure]})  # type: ignore[operator]
    assert (len(walked.effects), walked.error) == (1, failure)


@pytest.mark.parametrize(("signed_by", "by"), [(SIGNED, "statement"), (None, "local")])
def test_a_downgrade_is_recorded_then_felt(signed_by: Signed | None, by: str) -> None:
    """Live sessions are narrowed by the receipt of the entry."""
    walked = walk(pairing.downgraded(pair=PAIR, pair_type=PairType.USER, signed=signed_by, now_ns=NOW))
    assert walked.steps == ["Record DOWNGRADED", "Narrow"]
    assert walked.event("DOWNGRADED").text("by") == by
    assert walked.event("DOWNGRADED").text("pair_type") == "USER"


def test_who_an_event_comes_from() -> None:
    """A statement comes through the pair that carried it or an invite's ceremony; without one the house itself was told."""
    assert actor_of(SIGNED) == "pair"
    assert actor_of(replace(SIGNED, pairing=None)) == "invite"
    assert actor_of(None) == "local"
