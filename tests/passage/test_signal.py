"""A command's way: judged, recorded, done, recorded, answered. Nothing is done before it is recorded."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.ledger.event import Kind
from tallystick.pair.pairing import PairType
from tallystick.passage.effect import Effect, Later, Perform, Record
from tallystick.passage.signal import ADMIN_ONLY, Command, Done, RefusedCommand, command, unreadable, word_of
from tallystick.rights.matrix import CAP
from tallystick.rights.verb import VERBS
from tests.passage.request import NOW, asker, request
from tests.passage.walk import FIRST, Walked, receipt, walk

ROUTED = sorted(verb for verb, action in VERBS.items() if action.value != "admin")
WRITES = ("archive.commit", "archive.rm", "archive.mv")
OK = Done(now_ns=NOW + 1, status=200, length=5, digest=bytes(32))
ERRORS: list[TallyError] = [Malformed("a"), Unproven("b"), Refused("c"), Misuse("d"), Unavailable("e")]


def run(
    verb: str = "archive.get", *, cap: PairType = PairType.ADMIN, routed: str | None = "", effect: str | None = None, **answers: Any
) -> Walked:
    """A command of this verb; `routed`: the verb of its route, its own unless told."""
    cmd: Command = request(verb=verb).read()
    walked = walk(
        command(asker(cap), cmd, verb=verb if routed == "" else routed, effect=effect, now_ns=NOW),
        answers={Perform: answers.get("performed", [OK]), Record: answers.get("recorded", [])},
    )
    for asked in walked.effects:
        if isinstance(asked, Record) and asked.events[0].kind is Kind.SIGNAL:
            assert asked.openings[0] == cmd.opening
            assert all(not opening for opening in asked.openings[1:])
    return walked


# --- The order ---------------------------------------------------------------------------------------------------------------


def test_a_read_is_recorded_before_its_answer() -> None:
    """Recorded, performed with that receipt, its result left to a later group."""
    walked = run("archive.get")
    assert walked.steps == ["Record SIGNAL", "Perform", "Later ANSWER"]
    assert walked.effects[1] == Perform("archive.get", walked.receipts[0])
    answer = walked.event("ANSWER")
    assert (answer.number("entry"), answer.number("status"), answer.number("length"), answer.text("result")) == (FIRST, 200, 5, "ok")
    assert (walked.value.receipt, walked.value.done) == (walked.receipts[0], OK)


@pytest.mark.parametrize("verb", WRITES)
def test_a_write_begins_in_the_ledger(verb: str) -> None:
    """Signal and `begun` in one transaction; done; then `done` and the answer in one transaction, before the answer leaves."""
    walked = run(verb, effect=verb)
    assert walked.steps == ["Record SIGNAL EFFECT_BEGUN", "Perform", "Record EFFECT_DONE ANSWER"]
    signal, begun = walked.receipts[:2]
    assert walked.effects[1] == Perform(verb, signal, begun)
    assert walked.event("EFFECT_DONE").number("entry") == begun.index
    assert walked.event("ANSWER").number("entry") == signal.index
    assert walked.event("EFFECT_BEGUN").text("effect") == verb
    assert walked.event("EFFECT_BEGUN").blob("signal_hash")


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_write_that_fails_says_so(error: TallyError) -> None:
    """`failed` with the word of the error, and never `done`; nothing of the message goes into the ledger."""
    walked = run("archive.mv", effect="archive.mv", performed=[Done(now_ns=NOW, status=403, error=error)])
    assert walked.steps == ["Record SIGNAL EFFECT_BEGUN", "Perform", "Record EFFECT_FAILED ANSWER"]
    failed = walked.event("EFFECT_FAILED")
    assert (failed.text("reason"), failed.text("result"), failed.number("entry")) == (word_of(error), "failed", FIRST + 1)
    assert walked.event("ANSWER").text("result") == "failed"
    assert walked.value.done.error is error


@pytest.mark.parametrize("status", [404, 503])
def test_a_read_that_fails_says_so(status: int) -> None:
    """The answer's entry has its status and `failed`."""
    walked = run("archive.get", performed=[Done(now_ns=NOW, status=status, error=Refused("no such file"))])
    assert walked.steps == ["Record SIGNAL", "Perform", "Later ANSWER"]
    assert (walked.event("ANSWER").text("result"), walked.event("ANSWER").number("status")) == ("failed", status)


def test_an_effect_that_nobody_knows_of_stays_open() -> None:
    """A handler that ends in neither a result nor an error of ours: `begun` is not ended, and the next start says `unknown`."""
    lost = Unavailable("the process is going down")
    walked = run("archive.rm", effect="archive.rm", performed=[lost])
    assert (walked.steps, walked.error) == (["Record SIGNAL EFFECT_BEGUN", "Perform"], lost)


@pytest.mark.parametrize("effect", [None, "archive.rm"])
@pytest.mark.parametrize("failure", [Unavailable("no disk"), Refused("seen before"), Unproven("fork")], ids=repr)
def test_what_is_not_recorded_is_not_done(effect: str | None, failure: TallyError) -> None:
    """No receipt, no handler."""
    walked = run("archive.rm", effect=effect, recorded=[failure, failure])
    assert {step.split()[0] for step in walked.steps} == {"Record"}
    assert walked.error is failure


@pytest.mark.parametrize("effect", [None, "archive.rm"])
def test_what_falls_between_judgement_and_entry_is_recorded_as_refused(effect: str | None) -> None:
    """The pair was severed meanwhile: the ledger takes no `allow`, and keeps the signal with its refusal."""
    walked = run("archive.rm", effect=effect, recorded=[Refused("this pair does not stand any more")])
    assert [step.split()[0] for step in walked.steps] == ["Record", "Record"]
    assert [event.text("verdict") for event in walked.recorded if event.kind is Kind.SIGNAL] == ["allow", "refuse"]
    assert isinstance(walked.error, RefusedCommand) and "does not stand any more" in walked.error.message


def test_an_effect_whose_end_cannot_be_recorded_is_not_answered() -> None:
    """Done, and the disk fails: the passage ends with that error, so no answer says `done`."""
    failure = Unavailable("no disk")
    walked = run("archive.rm", effect="archive.rm", recorded=[None, failure])
    assert walked.error is failure
    assert walked.value is None


@given(st.lists(st.sampled_from(["ok", "fails", "throws"]), max_size=4), st.sampled_from([None, "archive.rm"]))
def test_nothing_is_ever_done_before_its_receipt(outcomes: list[str], effect: str | None) -> None:
    """Whatever answers and errors come: before every effect that needs one, its receipt was given, and by this very passage."""
    cmd = request(verb="archive.rm").read()
    passage = command(asker(PairType.ADMIN), cmd, verb="archive.rm", effect=effect, now_ns=NOW)
    handed: list[object] = []
    script = iter(outcomes)

    def answer(asked: Effect) -> Any:
        outcome = next(script, "ok")
        if outcome == "throws":
            return Unavailable("thrown")
        if isinstance(asked, Record):
            if outcome == "fails":
                return Refused("not recorded")
            given = tuple(_receipts(len(asked.events)))
            handed.extend(given)
            return given
        if isinstance(asked, Perform):
            assert asked.receipt in handed
            assert asked.begun is None or asked.begun in handed
            return Done(now_ns=NOW, status=500, error=Refused("failed")) if outcome == "fails" else OK
        assert isinstance(asked, Later)
        return None

    _drive(passage, answer)


def _receipts(count: int) -> Sequence[Any]:
    return [receipt(FIRST + at) for at in range(count)]


def _drive(passage: Any, answer: Any) -> None:
    reply: Any = None
    try:
        while True:
            asked = passage.throw(reply) if isinstance(reply, BaseException) else passage.send(reply)
            reply = answer(asked)
    except (StopIteration, TallyError):
        return


# --- What is refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cap", PairType)
@pytest.mark.parametrize("verb", ROUTED)
def test_a_cap_is_a_ceiling(cap: PairType, verb: str) -> None:
    """Each verb reaches its handler exactly from the types of its row in docs/spec/door.md; every other is recorded as refused."""
    walked = run(verb, cap=cap, effect=verb if verb in WRITES else None)
    allowed = VERBS[verb] in CAP[cap] and (verb not in ADMIN_ONLY or cap is PairType.ADMIN)
    assert any(isinstance(asked, Perform) for asked in walked.effects) is allowed
    event = walked.event("SIGNAL")
    assert event.get("verdict") == ("allow" if allowed else "refuse")
    assert event.get("result") == (None if allowed else "refused")
    if not allowed:
        assert walked.steps == ["Record SIGNAL"]
        assert isinstance(walked.error, RefusedCommand)
        assert walked.error.receipt is walked.receipts[0]


def test_no_route_is_recorded_as_refused() -> None:
    """A target that leads nowhere: the signal is in the ledger with its opening, verdict refuse, and nothing is done."""
    walked = run("archive.get", routed=None)
    assert walked.steps == ["Record SIGNAL"]
    assert walked.event("SIGNAL").get("verdict") == "refuse"
    assert isinstance(walked.error, RefusedCommand)


def test_a_verb_of_another_route_records_nothing_as_allowed() -> None:
    """A signal whose verb is not its target's is Malformed before it is judged; the shell records that and cuts."""
    walked = run("archive.get", routed="archive.rm")
    assert walked.steps == []
    assert isinstance(walked.error, Malformed)


def test_a_refusal_that_cannot_be_recorded_is_told_as_that() -> None:
    """No receipt, no entry index to tell."""
    failure = Unavailable("no disk")
    walked = run("archive.rm", cap=PairType.USER, recorded=[failure])
    assert walked.error is failure


@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_an_unreadable_request_is_recorded(error: TallyError) -> None:
    """Which pair, which session, and the word of the error: nothing of its bytes, for nothing of them is proven."""
    walked = walk(unreadable(asker(), error, now_ns=NOW))
    assert walked.steps == ["Record REFUSED"]
    event = walked.event("REFUSED")
    assert (event.text("reason"), event.text("result")) == (word_of(error), "refused")
    assert event.blob("session") == asker().session
    assert event.blob("pair") == asker().pair
    assert event.get("signal_hash") is None


def test_each_error_has_its_word() -> None:
    """Five errors, five words; a refusal with a receipt is a refusal."""
    assert [word_of(error) for error in ERRORS] == ["malformed", "unproven", "refused", "misuse", "unavailable"]
