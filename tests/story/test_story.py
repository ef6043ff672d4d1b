"""Stories of real ledgers: what is told, what is called proven, and what is not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Malformed, Misuse, Refused
from tallystick.gate.question import Finding, Layer, Outcome
from tallystick.gate.signal import EntryRef
from tallystick.keys.cose import parse_sign1
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.said import approval_flaw
from tallystick.ledger.story import How, Signature
from tallystick.ledger.story import explain as story_of
from tallystick.node.explaining import Told, entry_of, explain
from tallystick.node.rejudging import Rejudging
from tallystick.primitives import sha256
from tests.gate.world import seed
from tests.story.memory import Entries
from tests.story.village import Sent, Village, incident, village

GOLDEN = Path(__file__).parent / "incident.txt"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Village]:
    with village(tmp_path / "house") as found:
        yield found


def told(place: Village, sent: Sent, **more: Any) -> Told:
    return explain(place.store, sent.entry, **more)


def line(found: Told, words: str) -> str:
    return next(each for each in found.lines if words in each)


def test_the_incident_word_for_word(place: Village) -> None:
    """A deletion, because a skill trusted a camera that was elsewhere: signer by signer, as a person reads it."""
    found = told(place, incident(place), rejudge=Rejudging(place.machine))
    assert "\n".join(found.lines) + "\n" == GOLDEN.read_text()


def test_the_short_account_has_the_sentences_of_the_design(place: Village) -> None:
    """Who classified what, who signed which, what the layers noted, and what became of the key."""
    account = told(place, incident(place)).lines[0]
    for sentence in (
        "The deletion of /backup/old happened because skill #6 classified /backup/old as stale.",
        "It was held for a human and approved by key #4 (owner).",
        "The classification was signed by key #6 (vision-skill).",
        "The sensor data was signed by key #5 (camera-feed).",
        "Sensory auth noted liveness failure.",
        "Deterministic auth noted impossible transit and rejected it (fact: entry 6).",
        "Key #5 was later revoked.",
    ):
        assert sentence in account


def test_what_is_erased_is_told_as_erased_and_stays_proven(place: Village) -> None:
    """Erasing the openings takes targets and observations out of the story; links and signatures hold as before."""
    deletion = incident(place)
    before = told(place, deletion)
    gone = [place.erase(step.entry) for step in before.story.steps]
    after = told(place, deletion)
    assert [link.proven for link in after.story.links] == [True, True]
    assert "/backup/old" not in "\n".join(after.lines)
    assert "stale" not in "\n".join(after.lines)
    assert line(after, "its opening was erased") == f"  its opening was erased (entry {gone[0]}); the proofs still hold"
    assert "The deletion (what it was about was erased) happened" in after.lines[0]


def test_an_unknown_predecessor_is_named_and_not_proven(place: Village) -> None:
    """A reference that no entry holds: said in the account, counted at the end."""
    place.introduce("agent", "llm")
    found = told(place, place.say("agent", "llm", "propose", "agent.plan", prev=(seed("nobody"),)))
    (link,) = found.story.links
    assert (link.earlier, link.proven) == (None, False)
    assert "Behind the plan stands what this ledger does not hold." in found.lines[0]
    assert f"because of the unknown signal {seed('nobody').hex()[:16]}: not proven" in "\n".join(found.lines)
    assert found.lines[-1] == "1 signal; links: 0 proven, 0 inferred, 1 not proven."


def test_entries_as_predecessors(place: Village) -> None:
    """An entry of this log is proven by its index; one of another log, or that is not there, is not."""
    introduced = place.introduce("agent", "llm")
    here = told(place, place.say("agent", "llm", "propose", "agent.plan", prev=(place.entry_ref(introduced),)))
    assert [(link.earlier, link.proven) for link in here.story.links] == [(introduced, True)]
    assert here.story.steps[1].said is not None  # the owner's statement that brought the key in
    assert here.story.steps[1].signature is Signature.HOLDS
    for reference in (EntryRef(seed("another log"), introduced), place.entry_ref(9_999)):
        found = told(place, place.say("agent", "llm", "propose", "agent.plan", prev=(reference,)))
        assert [link.proven for link in found.story.links] == [False]


def test_a_context_is_inferred_and_its_root_is_recomputed(place: Village) -> None:
    """What the house delivered stands behind the signal as inferred; a root that is not theirs is said."""
    place.introduce("feed", "feed")
    place.introduce("agent", "llm")
    begun = place.begin_context("agent")
    first = place.say("feed", "feed", "metadata", "feed.item", says=("hello",), deliver_to=("agent",))
    second = place.say("feed", "feed", "metadata", "feed.item", says=("rm -rf",), deliver_to=("agent",))
    last = second.entry + 1
    sent = place.say("agent", "llm", "write", "archive.rm", context=place.context(begun, last, first.reference, second.reference))
    found = told(place, sent)
    assert {(link.earlier, link.how, link.proven) for link in found.story.links} == {
        (first.entry, How.CONTEXT, False),
        (second.entry, How.CONTEXT, False),
    }
    assert "perhaps because of entry" in "\n".join(found.lines)
    assert "perhaps because feed #5 reported something as hello" in found.lines[0]
    assert line(found, "its context") == f"  its context: 2 delivered since entry {begun}; their root is the one in the entry"


def test_what_it_signed_itself_is_proven_even_inside_a_context(place: Village) -> None:
    """A predecessor in `prev` that was delivered too is one link, a proven one."""
    place.introduce("feed", "feed")
    place.introduce("agent", "llm")
    begun = place.begin_context("agent")
    item = place.say("feed", "feed", "metadata", "feed.item", deliver_to=("agent",))
    found = told(
        place,
        place.say(
            "agent", "llm", "propose", "agent.plan", prev=(item.reference,), context=place.context(begun, item.entry + 1, item.reference)
        ),
    )
    assert [(link.how, link.proven) for link in found.story.links] == [(How.SIGNED, True)]


def test_without_a_named_cause_the_same_key_and_target_is_only_a_guess(place: Village) -> None:
    """One step back, marked as inferred, and no guess upon a guess."""
    place.introduce("agent", "tool")
    sent = [place.say("agent", "tool", "read", "archive.get", target="/v1/files/notes") for _ in range(3)]
    found = told(place, sent[2])
    assert [(link.earlier, link.how, link.proven) for link in found.story.links] == [(sent[1].entry, How.TARGET, False)]
    place.erase(sent[2].entry)
    assert told(place, sent[2]).story.links == ()


def test_a_fork_a_suspension_and_a_withdrawn_fact_are_told(place: Village) -> None:
    """What happened later to the key and to the facts a rule rested on."""
    place.introduce("camera", "sensor")
    fact = place.fact("liveness", "failed", about="camera")
    frame = place.say(
        "camera", "sensor", "metadata", "camera.frame", verdict="refuse", reason="layer",
        findings=({"layer": "deterministic", "outcome": "reject", "rule": "liveness", "facts": (fact,)},),
    )  # fmt: skip
    withdrawn = place.withdraw(fact)
    place.record(Event.of(Kind.KEY_SUSPENDED, place.now_ns, "house", subject=place.kid("camera"), reason="forked"))
    found = told(place, frame)
    assert line(found, f"fact, entry {fact}") == f"  fact, entry {fact}: liveness: failed; later withdrawn at entry {withdrawn}"
    assert "Key #5 was later suspended." in found.lines[0]
    assert "Deterministic auth noted liveness failure and rejected it" in found.lines[0]


@pytest.mark.parametrize("change", ["none", "items", "other signal", "statement", "not a person"])
def test_an_approval_that_proves_nothing_is_said_so(place: Village, change: str) -> None:
    """The statement's root, the items of the entry and the held signal must be one. Our own projection refuses others."""
    place.introduce("agent", "llm")
    held = place.say("agent", "llm", "write", "archive.rm", verdict="hold", reason="rights")
    row = place.store.entry(place.approve(held))
    assert row is not None
    fields = dict(row.event.fields)
    proposals = {held.proposal: place.event(Kind.PROPOSAL, signal_hash=sha256(held.raw))}
    if change == "items":
        fields["items"] = (*fields["items"], (99, sha256(b"another")))  # type: ignore[misc]
    elif change == "other signal":
        proposals = {held.proposal: place.event(Kind.PROPOSAL, signal_hash=sha256(b"another"))}
    elif change == "statement":
        fields["statement_salt"] = seed("another salt")
    elif change == "not a person":
        fields["signal"] = place.signed("agent", "llm", "admin", "signal.approve")[0]
    flaw = approval_flaw(Event.checked(Kind.APPROVAL, row.event.time_ns, "pair", fields), proposals)
    assert bool(flaw) == (change != "none"), flaw


@pytest.mark.parametrize("end", ["denied", "failed", "expired", "waits", "unknown"])
def test_every_end_of_a_held_signal(place: Village, end: str) -> None:
    """Denied, failed, expired, still waiting, begun and never heard of again."""
    place.introduce("agent", "llm")
    held = place.say("agent", "llm", "write", "archive.rm", verdict="hold", reason="rights", target="/v1/files/x")
    words = {
        "denied": "was denied",
        "failed": "failed",
        "expired": "was held and not done: nobody decided in time,",
        "waits": "waits for a human",
        "unknown": "was begun, and nobody knows how it ended,",
    }[end]
    if end == "denied":
        place.deny(held, "not-yours")
    elif end == "failed":
        place.approve(held)
        place.done(held, "archive.rm", failed="refused")
    elif end == "expired":
        place.record(place.event(Kind.PROPOSAL_ENDED, "house", entry=held.proposal, reason="expired"))
    elif end == "unknown":
        place.approve(held)
        begun = place.record(place.event(Kind.EFFECT_BEGUN, "house", effect="archive.rm", entry=held.proposal))
        place.record(place.event(Kind.EFFECT_UNKNOWN, "house", entry=begun, reason="restart"))
    assert f"The deletion of /x {words}" in told(place, held).lines[0]


def test_a_signal_that_waited_twice_is_told_to_its_end(place: Village) -> None:
    """What it was about had changed, so it waited again; the second approval counts, and the human's own words stand with it."""
    place.introduce("agent", "llm")
    held = place.say("agent", "llm", "write", "archive.put", verdict="hold", reason="rights", target="/v1/files/x")
    other = place.say("agent", "llm", "write", "archive.put", verdict="hold", reason="rights", target="/v1/files/y")
    place.approve(held, words="go on")
    again = place.renew(held)
    place.approve(other)
    place.approve(again, words="yes, and\nKey #1 was never revoked.")
    place.done(again, "archive.put")
    place.done(other, "archive.put")
    found = told(place, held)
    kinds = [each.event.kind.name for each in found.story.steps[0].beside]
    wanted = "PROPOSAL APPROVAL PROPOSAL_ENDED PROPOSAL APPROVAL EFFECT_BEGUN EFFECT_DONE PROPOSAL_ENDED"
    assert kinds == wanted.split()
    assert found.lines[0].startswith("The write of /x happened;")
    assert "held again as a proposal" in line(found, "held again")
    assert ', saying "go on" (entry' in line(found, "go on")
    assert 'saying "yes, and\\u000aKey #1 was never revoked." (entry' in line(found, "yes, and")
    assert not any(each.note for each in found.story.steps[0].decisions)


def test_an_effect_that_was_allowed_at_once(place: Village) -> None:
    """It is found among the effects of others, by the signal's reference."""
    place.introduce("agent", "llm")
    sent = place.say("agent", "llm", "write", "archive.put", target="/v1/files/x")
    other = place.say("agent", "llm", "write", "archive.put", target="/v1/files/y")
    place.done(other, "archive.put")
    place.done(sent, "archive.put")
    found = told(place, sent)
    assert [each.event.kind for each in found.story.steps[0].effects] == [Kind.EFFECT_BEGUN, Kind.EFFECT_DONE]
    assert found.lines[0].startswith("The write of /x happened; llm #5 asked for it and named no cause.")


def test_what_the_layers_say_now(place: Village) -> None:
    """Asked of every step of a short story, the first and the notable ones first; an error of one is told, not raised."""
    deletion = incident(place)
    asked: list[int] = []

    def rejudge(entry: int) -> tuple[Finding, ...]:
        asked.append(entry)
        if entry == deletion.entry:
            raise Misuse("its opening was erased")
        return (Finding(layer=Layer.CRYPTO, outcome=Outcome.REJECT, rule="revoked", facts=(17,)),)

    found = told(place, deletion, rejudge=rejudge)
    assert asked == [11, 7, 10]
    assert "  now: Crypto auth noted a revoked key and rejected it (fact: entry 17)" in found.lines
    assert "  now: Crypto auth could not judge: its opening was erased" in found.lines
    assert "  fact, entry 17: key-revoked" in found.lines


def test_the_layers_judge_anew_with_what_is_known_today(place: Village) -> None:
    """Retired later: still believed, with a remark. Compromised from before on: not. Suspended: not. Erased: cannot be judged."""
    place.introduce("camera", "sensor")
    rejudge = Rejudging(place.machine)

    def says(sent: Sent) -> list[tuple[str, str, str]]:
        return [(each.layer.value, each.outcome.value, each.rule) for each in rejudge(sent.entry)]

    early = place.say("camera", "sensor", "metadata", "camera.frame", target="/v1/files/x")
    late = place.say("camera", "sensor", "metadata", "camera.frame", target="/v1/files/x")
    clean = [("crypto", "pass", ""), ("deterministic", "pass", "")]
    assert says(early) == says(late) == clean
    place.fact("liveness", "failed", about="camera")
    place.erase(early.entry)
    assert says(early) == [("crypto", "pass", ""), ("deterministic", "unavailable", "")]
    place.revoke("camera", "retired")
    assert says(late)[0] == ("crypto", "pass", "")
    assert rejudge(late.entry)[0].why.startswith("its key was retired later")
    place.introduce("other", "sensor")
    first = place.say("other", "sensor", "metadata", "camera.frame")
    second = place.say("other", "sensor", "metadata", "camera.frame")
    place.revoke("other", "compromised", since=second.entry)
    assert says(first) == clean
    assert says(second) == [("crypto", "reject", "compromised"), ("deterministic", "reject", "revoked-or-expired")]
    with pytest.raises(Refused):
        rejudge(0)


def test_a_rule_file_that_nobody_can_read_stops_no_story(place: Village) -> None:
    """Its layer cannot judge, and says why; everything else is told."""
    (place.machine.home.path / "gate.rules").write_text("this is no rule\n")
    deletion = incident(place)
    found = Rejudging(place.machine)(deletion.entry)
    assert [(each.layer.value, each.outcome.value) for each in found] == [("crypto", "pass"), ("deterministic", "unavailable")]
    assert found[1].why.startswith("the owner's rules: ")


def test_the_plan_of_that_time_is_told(place: Village) -> None:
    """Which layers were asked: by the class's own name, its parent's or the default, of the newest plan before the signal."""
    place.introduce("camera", "sensor/camera")
    place.introduce("agent", "llm")
    before = place.say("camera", "sensor/camera", "metadata", "camera.frame")
    words = {"default": ("crypto", "deterministic"), "sensor": ("crypto", "sensory", "deterministic")}
    at = place.record(place.event(Kind.PLAN, "house", plan=words))
    frame = place.say("camera", "sensor/camera", "metadata", "camera.frame", prev=(before.reference,))
    found = told(place, place.say("agent", "llm", "propose", "agent.plan", prev=(frame.reference,)))
    assert [each.layers for each in found.known.plans.values()] == [("crypto", "deterministic"), ("crypto", "sensory", "deterministic")]
    said = f"the layers crypto, sensory, deterministic were asked (the plan of entry {at}), and had nothing to say"
    assert f"  then: {said}" in found.lines
    assert before.entry not in found.known.plans


def test_a_signature_that_does_not_hold_proves_no_link(place: Village) -> None:
    """A hostile house may write any entry: a signal under a key's name that this key has not signed is shown as such."""
    place.introduce("camera", "sensor")
    place.introduce("agent", "llm")
    frame = place.say("camera", "sensor", "metadata", "camera.frame")
    raw, _ = place.signed("agent", "llm", "write", "archive.rm", prev=(frame.reference,))
    forged = raw[:-64] + bytes(64)
    at = place.record(place.event(Kind.SIGNAL, signal=forged, verdict="allow", key=place.kid("agent")))
    found = explain(place.store, at)
    assert found.story.steps[0].signature is Signature.FAILS
    assert [link.proven for link in found.story.links] == [False]
    assert "The signature does not hold." in found.lines[0]
    assert explain(place.store, at, quick=True).story.steps[0].signature is Signature.UNCHECKED
    assert not any(link.proven for link in told(place, incident(place), quick=True).story.links)


def test_a_chain_of_a_thousand(place: Village) -> None:
    """All of it is told, proven to its end; shorter limits leave out the rest and say so."""
    place.introduce("agent", "skill")
    sent = place.say("agent", "skill", "propose", "agent.plan")
    events, raw, last = [], sent.raw, sent.reference
    for _ in range(999):
        raw, _ = place.signed("agent", "skill", "propose", "agent.plan", prev=(last,))
        events.append(place.event(Kind.SIGNAL, signal=raw, verdict="allow", key=place.kid("agent")))
        last = sha256(raw[-64:])
    sent = Sent(place.record(*events) + 998, last, raw)
    found = told(place, sent)
    assert len(found.story.steps) == 1_000
    assert sum(link.proven for link in found.story.links) == 999
    assert found.story.steps[-1].depth == 999
    assert "988 more signals behind it: see below." in found.lines[0]
    short = told(place, sent, max_steps=10)
    assert (len(short.story.steps), short.story.left_out) == (10, 1)
    assert short.lines[-1] == "1 more predecessors were left out: the story is too long."


def test_sixty_four_predecessors_of_each(place: Village) -> None:
    """A layer of 64 behind a layer of 64 behind one: each is told once, every link is there."""
    place.introduce("sensor", "sensor")
    place.introduce("agent", "skill")
    low = [place.say("sensor", "sensor", "metadata", "sensor.read") for _ in range(64)]
    high = [place.say("agent", "skill", "propose", "agent.plan", prev=tuple(each.reference for each in low)) for _ in range(64)]
    found = told(place, place.say("agent", "skill", "propose", "agent.plan", prev=tuple(each.reference for each in high)))
    assert len(found.story.steps) == 129
    assert len(found.story.links) == 64 + 64 * 64
    assert all(link.proven for link in found.story.links)


def test_a_signal_is_named_by_entry_or_reference(place: Village) -> None:
    """Its own number, that of its finding, proposal, approval or effect, or the beginning of its reference in any case."""
    deletion = incident(place)
    assert entry_of(place.store, str(deletion.entry)) == deletion.entry
    assert entry_of(place.store, f"#{deletion.entry}") == deletion.entry
    for digits in (8, 15, 16, 17, 64):
        assert entry_of(place.store, deletion.reference.hex()[:digits].upper()) == deletion.entry
    for belongs in (deletion.proposal, deletion.proposal + 1, deletion.proposal + 2, deletion.proposal + 3):
        assert entry_of(place.store, str(belongs)) == deletion.entry
    assert entry_of(place.store, "8") == entry_of(place.store, "9") == 7  # findings about the frame
    for wrong in ("", "x", "99999999999999999999999", "0", "abc", "0" * 8, "-1", "9999", "1 2", "#", "٣"):
        with pytest.raises(Misuse):
            entry_of(place.store, wrong)


def test_an_entry_without_a_signal_has_no_story(place: Village) -> None:
    """Raised, not told."""
    with pytest.raises(Misuse):
        explain(place.store, 9_999)
    with pytest.raises(Malformed):
        explain(place.store, 0)


def test_the_house_s_own_finding_can_be_a_predecessor(place: Village) -> None:
    """A skill may say why: because of what a layer noted about a frame."""
    place.introduce("camera", "sensor")
    place.introduce("guard", "skill")
    frame = place.say("camera", "sensor", "metadata", "camera.frame", findings=({"layer": "sensory", "outcome": "noted"},))
    row = place.store.entry(frame.entry + 1)
    assert row is not None
    finding = sha256(parse_sign1(row.event.blob("signal")).signature)
    found = told(place, place.say("guard", "skill", "propose", "guard.report", prev=(finding,)))
    assert [(link.later, link.earlier, link.proven) for link in found.story.links] == [
        (frame.entry + 2, frame.entry + 1, True),
        (frame.entry + 1, frame.entry, True),
    ]
    assert all(step.signature is Signature.HOLDS for step in found.story.steps)


def test_a_story_needs_the_ledger_only(place: Village) -> None:
    """The same story from entries in memory, without a database, a vault or a clock."""
    deletion = incident(place)
    entries = {row.index: row.event for row in place.store.entries(limit=1_000)}
    people = {bytes(row.key_id): row.public for row in place.store.keys()}  # noqa: SIM118
    alone = story_of(Entries(entries, people), deletion.entry)
    assert alone.links == told(place, deletion).story.links
