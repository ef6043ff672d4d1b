"""A held signal's way: recorded before it takes effect, carried out once, and back into the inbox where something changed."""

from typing import Any

import pytest

from tallystick.errors import Malformed, Refused, TallyError, Unavailable
from tallystick.ledger.event import Kind
from tallystick.passage.approval import Carried, Renewed, approved, carried_out, denied, edited, ended, returned
from tallystick.passage.effect import Perform, Record
from tallystick.passage.pairing import Signed
from tallystick.passage.signal import Done
from tallystick.primitives import sha256
from tallystick.rights.approval import Item, approval_root
from tallystick.rights.scope import Terms
from tallystick.rights.statement import SignalApprove, SignalDeny
from tests.passage.walk import FIRST, Walked, walk

NOW = 10**18
KEY, PAIR = sha256(b"key"), sha256(b"pair")
SIGNED = Signed(key=KEY, signal=b"signal", statement=b"statement", salt=sha256(b"salt"), pairing=PAIR, session=sha256(b"session"))
ITEMS = (Item(7, sha256(b"7")), Item(9, sha256(b"9")))
OK = Done(now_ns=NOW + 1, status=200, length=5, digest=sha256(b"x"))


def renewed() -> Renewed:
    return Renewed(
        replaces=7,
        signal_entry=6,
        signal_hash=sha256(b"7"),
        key=KEY,
        risk="medium",
        expires_ns=NOW + 9,
        reason="rights",
        preconditions=sha256(b"now"),
        body=b"content",
    )


def statement(scope: Terms | None = None) -> SignalApprove:
    return SignalApprove(root=approval_root(ITEMS), proposals=(7, 9), expires_ns=NOW + 5, scope=scope)


def carry(*performed: Any, proposal: int | None = 7, recorded: list[Any] | None = None) -> Walked:
    return walk(
        carried_out(effect="archive.put", signal_entry=6, reference=sha256(b"r"), proposal=proposal, cause=70, now_ns=NOW),
        answers={Perform: performed, Record: recorded or []},
    )


def test_an_approval_is_one_entry_of_all_its_items() -> None:
    """With what was signed, so that anybody can check it."""
    walked = walk(approved(statement(), ITEMS, subject=None, signed=SIGNED, now_ns=NOW))
    assert walked.steps == ["Record APPROVAL"]
    event = walked.event("APPROVAL")
    assert (event.get("items"), event.number("expires"), event.blob("statement")) == (
        ((7, sha256(b"7")), (9, sha256(b"9"))),
        NOW + 5,
        b"statement",
    )
    assert event.get("scope") is None
    assert walked.value.index == FIRST


def test_a_scope_stands_right_behind_its_approval() -> None:
    """In the same transaction, called by the hash of the statement, with the terms that were signed."""
    terms = Terms(verb="archive.put", targets=("PUT /a",), uses=3, until_ns=NOW + 100)
    walked = walk(approved(statement(terms), ITEMS, subject=KEY, signed=SIGNED, now_ns=NOW))
    assert walked.steps == ["Record APPROVAL SCOPE"]
    scope = walked.event("SCOPE")
    assert (scope.blob("scope"), scope.blob("subject")) == (sha256(b"statement"), KEY)
    assert (scope.get("targets"), scope.number("uses"), scope.number("expires")) == (("PUT /a",), 3, NOW + 100)
    assert scope.get("signal") is None
    assert walked.event("APPROVAL").blob("scope") == sha256(b"statement")


@pytest.mark.parametrize("failure", [Refused("it is over"), Unavailable("no disk")], ids=repr)
def test_what_is_not_recorded_is_not_decided(failure: TallyError) -> None:
    """Nothing follows."""
    for passage in (
        approved(statement(), ITEMS, subject=None, signed=SIGNED, now_ns=NOW),
        denied(SignalDeny(proposal=7, reason="denied"), signed=SIGNED, now_ns=NOW),
        edited(SignalDeny(proposal=7, reason="edited"), instead=12, signed=SIGNED, now_ns=NOW),
        ended(7, "expired", now_ns=NOW),
        returned(renewed(), now_ns=NOW),
        carried_out(effect="archive.put", signal_entry=6, reference=sha256(b"r"), proposal=7, now_ns=NOW),
    ):
        walked = walk(passage, answers={Record: [failure]})
        assert (len(walked.steps), walked.error) == (1, failure)


def test_ends_without_an_effect() -> None:
    """Denied and edited with the statement; expired and void by the house itself. All of them also where the disk is full."""
    no = walk(denied(SignalDeny(proposal=7, reason="not-now"), signed=SIGNED, now_ns=NOW))
    assert (no.steps, no.event("PROPOSAL_DENIED").text("reason")) == (["Record PROPOSAL_DENIED"], "not-now")
    instead = walk(edited(SignalDeny(proposal=7, reason="edited"), instead=12, signed=SIGNED, now_ns=NOW)).event("PROPOSAL_ENDED")
    assert (instead.text("reason"), instead.number("cause"), instead.blob("statement")) == ("edited", 12, b"statement")
    over = walk(ended(7, "void", now_ns=NOW))
    assert (over.event("PROPOSAL_ENDED").text("reason"), over.event("PROPOSAL_ENDED").actor) == ("void", "house")
    for walked in (no, over):
        (asked,) = walked.effects
        assert isinstance(asked, Record)
        assert asked.urgent


def test_what_changed_is_over_and_waits_again_at_once() -> None:
    """One transaction: it is never out of the inbox; its content is quarantined again."""
    walked = walk(returned(renewed(), now_ns=NOW))
    assert walked.steps == ["Record PROPOSAL_ENDED PROPOSAL"]
    (asked,) = walked.effects
    assert isinstance(asked, Record)
    assert asked.openings == (None, b"content")
    again = walked.event("PROPOSAL")
    assert (again.number("replaces"), again.number("cause"), again.blob("body")) == (7, 6, sha256(b"content"))
    assert (walked.event("PROPOSAL_ENDED").text("reason"), walked.value.index) == ("changed", FIRST + 1)


def test_it_is_begun_in_the_ledger_before_it_is_done() -> None:
    """`begun` names the proposal and the approval; done and ended are one transaction behind it."""
    walked = carry(Carried(done=OK))
    assert walked.steps == ["Record EFFECT_BEGUN", "Perform", "Record EFFECT_DONE PROPOSAL_ENDED"]
    begun = walked.event("EFFECT_BEGUN")
    assert (begun.number("entry"), begun.number("cause"), begun.text("effect")) == (7, 70, "archive.put")
    assert walked.effects[1] == Perform("archive.put", walked.receipts[0], walked.receipts[0])
    done = walked.event("EFFECT_DONE")
    assert (done.number("entry"), done.number("status"), done.number("length")) == (FIRST, 200, 5)
    assert (walked.event("PROPOSAL_ENDED").number("entry"), walked.event("PROPOSAL_ENDED").text("reason")) == (7, "released")


def test_a_failure_is_said_and_ends_it_too() -> None:
    """It was let go, and it failed; a program's own status stands there."""
    for done, reason, status in (
        (Done(now_ns=NOW, status=400, error=Malformed("a")), "malformed", 400),
        (Done(now_ns=NOW, status=200, ended=143, word="timeout", error=Unavailable("b")), "timeout", 143),
    ):
        walked = carry(Carried(done=done))
        assert walked.steps[2] == "Record EFFECT_FAILED PROPOSAL_ENDED"
        failed = walked.event("EFFECT_FAILED")
        assert (failed.text("reason"), failed.number("status")) == (reason, status)
        assert walked.event("PROPOSAL_ENDED").text("reason") == "released"
    assert carry(Carried(done=Done(now_ns=NOW, status=200, ended=3))).event("EFFECT_DONE").number("status") == 3


def test_a_change_in_the_last_moment_brings_it_back() -> None:
    """Nothing was done: failed as changed, over, and waiting again, in one transaction."""
    walked = carry(Carried(done=Done(now_ns=NOW, status=409, word="changed", error=Refused("c")), renewed=renewed()))
    assert walked.steps[2] == "Record EFFECT_FAILED PROPOSAL_ENDED PROPOSAL"
    asked = walked.effects[2]
    assert isinstance(asked, Record)
    assert asked.openings == (None, None, b"content")
    assert (walked.event("EFFECT_FAILED").text("reason"), walked.event("PROPOSAL_ENDED").text("reason")) == ("changed", "changed")


def test_what_was_allowed_at_once_has_no_proposal() -> None:
    """`begun` names the signal's own entry."""
    walked = carry(Carried(done=OK), proposal=None)
    assert walked.steps == ["Record EFFECT_BEGUN", "Perform", "Record EFFECT_DONE"]
    assert walked.event("EFFECT_BEGUN").number("entry") == 6


def test_an_effect_that_nobody_knows_of_stays_open() -> None:
    """The next start says `unknown`, and does not do it again."""
    lost = Unavailable("the process is going down")
    walked = carry(lost)
    assert (walked.steps, walked.error) == (["Record EFFECT_BEGUN", "Perform"], lost)


def test_every_event_of_a_release_is_one_the_ledger_can_write() -> None:
    """`walk` writes each as a leaf; of the kinds that are meant here none is missing."""
    kinds = {event.kind for event in carry(Carried(done=OK)).recorded}
    assert kinds == {Kind.EFFECT_BEGUN, Kind.EFFECT_DONE, Kind.PROPOSAL_ENDED}
