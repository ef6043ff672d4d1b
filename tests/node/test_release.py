"""Held signals at a house that runs: approved, judged anew, carried out once; and every approval that is none."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tallystick.ledger.event import Event, Kind
from tallystick.primitives import sha256
from tallystick.rights.scope import Terms
from tests.gate.world import Key
from tests.node.release_scene import HOUR_NS, Desk, with_desk


def test_a_held_write_is_done_when_it_is_approved(tmp_path: Path) -> None:
    """Quarantined before; approved by one signature, begun, done and ended in the ledger, with the bytes that were shown."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        assert desk.file() is None
        before = desk.store.size()
        said = await desk.approve(proposal)
        assert said.status == 200
        assert desk.file() == b"new\n"
        assert desk.kinds(before) == ["SIGNAL", "APPROVAL", "EFFECT_BEGUN", "EFFECT_DONE", "PROPOSAL_ENDED"]
        assert desk.state(proposal) == ("ended", "released")
        (approval,) = desk.events(Kind.APPROVAL)
        assert approval.get("items") == ((proposal, desk.row(proposal).signal_hash),)
        (begun,) = desk.events(Kind.EFFECT_BEGUN)
        assert (begun.number("entry"), begun.text("effect"), begun.number("cause")) == (proposal, "archive.put", said.json["entry"])
        (item,) = (await desk.owner.ask("GET", f"/v1/approvals/{said.json['entry']}", "house.inbox")).json["items"]
        assert (item["id"], item["state"], item["why"], item["result"]) == (proposal, "ended", "released", "done")

    with_desk(tmp_path, act)


def test_many_are_approved_by_one_signature(tmp_path: Path) -> None:
    """Each is carried out, in the order of their entries; others that wait too are not."""

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera")
        wanted = [await desk.put(camera, f"{n}.txt", b"%d" % n) for n in range(5)]
        other = await desk.put(camera, "other.txt")
        assert (await desk.approve(*wanted)).status == 200
        assert [desk.file(f"{n}.txt") for n in range(5)] == [b"%d" % n for n in range(5)]
        assert {desk.state(entry) for entry in wanted} == {("ended", "released")}
        assert desk.waiting() == [other]
        assert desk.file("other.txt") is None
        assert len(desk.events(Kind.APPROVAL)) == 1

    with_desk(tmp_path, act)


def test_removals_and_renames(tmp_path: Path) -> None:
    """archive.rm and archive.mv, as over the door."""

    async def act(desk: Desk) -> None:
        agent = desk.introduce("agent")
        await desk.owner.put("a.txt", b"a")
        await desk.owner.put("b.txt", b"b")
        gone = await desk.ask(agent.sign("sensor", "write", "archive.rm", target=("DELETE", "/v1/files/a.txt")))
        move = json.dumps({"from": "b.txt", "to": "c.txt"}).encode()
        moved = await desk.ask(agent.sign("sensor", "write", "archive.mv", target=("POST", "/v1/move"), body=move))
        assert (gone.proposal, moved.proposal) != (None, None)
        assert (await desk.approve(gone.proposal or 0, moved.proposal or 0)).status == 200
        assert (desk.file("a.txt"), desk.file("b.txt"), desk.file("c.txt")) == (None, None, b"b")

    with_desk(tmp_path, act)


def test_a_named_program_for_a_source(tmp_path: Path) -> None:
    """It runs when it is approved, with the input that was signed; its status is in the ledger."""

    async def act(desk: Desk) -> None:
        agent = desk.introduce("agent")
        verdict = await desk.ask(agent.sign("sensor", "write", "verb.greet", target=("POST", "/v1/verbs/greet"), body=b"; hello"))
        assert verdict.held and verdict.proposal is not None
        assert not (tmp_path / "greeted").exists()
        assert (await desk.approve(verdict.proposal)).status == 200
        assert (tmp_path / "greeted").read_bytes() == b"; hello"
        (done,) = desk.events(Kind.EFFECT_DONE)
        assert done.number("status") == 4

    with_desk(tmp_path, act)


def test_a_verb_of_an_application_is_let_go(tmp_path: Path) -> None:
    """The house does nothing; whoever waits is told."""

    async def act(desk: Desk) -> None:
        agent = desk.introduce("agent")
        verdict = await desk.ask(agent.sign("sensor", "write", "mail.send", target=("POST", "/mail"), body=b"hello"))
        before = desk.store.size()
        assert (await desk.approve(verdict.proposal or 0)).status == 200
        assert desk.kinds(before) == ["SIGNAL", "APPROVAL", "PROPOSAL_ENDED"]
        decided = await desk.here.house.gate.keeper.decision(verdict.proposal or 0)
        assert (decided.reason, decided.allowed) == ("released", True)

    with_desk(tmp_path, act)


def test_a_denied_proposal_is_over(tmp_path: Path) -> None:
    """Nothing is done, now or by a later approval; whoever waits is told."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        approval = desk.signed(desk.approval(proposal))
        assert (await desk.deny(proposal, "not-now")).status == 200
        assert desk.state(proposal) == ("denied", "not-now")
        assert (await desk.submit(approval)).error == (403, "refused")
        assert (await desk.deny(proposal)).error == (403, "refused")
        assert desk.file() is None
        assert (await desk.here.house.gate.keeper.decision(proposal)).reason == "denied"

    with_desk(tmp_path, act)


# --- Approvals that are none ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "signing", "error"),
    [
        ({"root": bytes(32)}, {}, (401, "unproven")),
        ({"root": sha256(b"\x00" + b"x")}, {}, (401, "unproven")),
        ({"proposals": (0,)}, {}, (401, "unproven")),
        ({"proposals": (2**40,)}, {}, (401, "unproven")),
        ({"expires_ns": 1}, {}, (403, "refused")),
        ({}, {"issued_at_ns": 10**18}, (401, "unproven")),
        ({}, {"issued_at_ns": 2**62}, (401, "unproven")),
        ({}, {"house": bytes(32)}, (401, "unproven")),
        ({}, {"by": Key("somebody")}, (401, "unproven")),
    ],
    ids=["no root", "another root", "another entry", "no entry", "expired", "too old", "from the future", "another house", "a stranger"],
)
def test_anything_but_an_approval_of_exactly_this(tmp_path: Path, change: dict[str, Any], signing: dict[str, Any], error: Any) -> None:
    """Changed, expired, foreign: refused, and the proposal waits on."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        assert (await desk.submit(desk.signed(desk.approval(proposal, **change), **signing))).error == error
        assert desk.waiting() == [proposal]
        assert desk.file() is None
        assert (await desk.approve(proposal)).status == 200

    with_desk(tmp_path, act)


def test_an_approval_of_another_proposals_bytes(tmp_path: Path) -> None:
    """The hash of one signal under the entry of another."""

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera")
        first, second = await desk.put(camera, body=b"first"), await desk.put(camera, body=b"second")
        swapped = desk.approval(second)
        assert (await desk.submit(desk.signed(desk.approval(first, root=swapped.root)))).error == (401, "unproven")
        assert (await desk.submit(desk.signed(desk.approval(first, second, root=swapped.root)))).error == (401, "unproven")
        assert desk.waiting() == [first, second]

    with_desk(tmp_path, act)


def test_an_approval_counts_once(tmp_path: Path) -> None:
    """The same bytes again, and a second signature over the same proposal: refused, and nothing is done twice."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        bundle = desk.signed(desk.approval(proposal))
        again = desk.signed(desk.approval(proposal))
        assert (await desk.submit(bundle)).status == 200
        await desk.owner.put("note.txt", b"changed since")
        assert (await desk.submit(bundle)).error == (403, "refused")
        assert (await desk.submit(again)).error == (403, "refused")
        assert desk.file() == b"changed since"
        assert len(desk.events(Kind.EFFECT_BEGUN)) == 2  # this one, and the owner's own commit

    with_desk(tmp_path, act)


@pytest.mark.parametrize("who", ["input", "user"])
def test_only_an_admin_pair_carries_it(tmp_path: Path, who: str) -> None:
    """The owner's signature over another type's pair decides nothing, and that type sees no inbox."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        visit = desk.here.visit(who)
        assert (await desk.submit(desk.signed(desk.approval(proposal)), visit)).status == 403
        for target in ("/v1/inbox", f"/v1/proposals/{proposal}", f"/v1/bodies/{proposal}", "/v1/approvals/3"):
            assert (await visit.ask("GET", target, "house.inbox")).status == 403
        assert desk.waiting() == [proposal]

    with_desk(tmp_path, act)


# --- Judged anew ----------------------------------------------------------------------------------------------------------------------


def test_a_target_that_changed_brings_it_back(tmp_path: Path) -> None:
    """Somebody wrote there after it was held: nothing is done, and it waits again, to be looked at as it would be now."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"), body=b"held\n")
        approval = desk.signed(desk.approval(proposal))
        await desk.owner.put("note.txt", b"somebody else\n")
        before = desk.store.size()
        assert (await desk.submit(approval)).status == 200
        assert desk.file() == b"somebody else\n"
        assert desk.kinds(before) == ["SIGNAL", "APPROVAL", "PROPOSAL_ENDED", "PROPOSAL"]
        assert desk.state(proposal) == ("ended", "changed")
        (again,) = desk.waiting()
        assert desk.row(again).replaces == proposal
        assert desk.row(again).signal_hash == desk.row(proposal).signal_hash
        assert (await desk.submit(approval)).error == (403, "refused")
        assert (await desk.approve(again)).status == 200
        assert desk.file() == b"held\n"

    with_desk(tmp_path, act)


def test_of_two_writes_to_one_file_the_second_is_looked_at_again(tmp_path: Path) -> None:
    """Both approved by one signature: the first changes what the second was looked at for."""

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera")
        first, second = await desk.put(camera, body=b"first"), await desk.put(camera, body=b"second")
        assert (await desk.approve(first, second)).status == 200
        assert (desk.state(first), desk.state(second)) == (("ended", "released"), ("ended", "changed"))
        assert desk.file() == b"first"
        assert len(desk.waiting()) == 1

    with_desk(tmp_path, act)


def test_a_key_that_was_revoked_meanwhile(tmp_path: Path) -> None:
    """Nothing is done, whoever approved it."""

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera")
        proposal = await desk.put(camera)
        approval = desk.signed(desk.approval(proposal))
        event = Event.of(Kind.KEY_REVOKED, time.time_ns(), "local", subject=bytes(camera.key_id), revocation="retired")
        desk.store.append(event).result()
        assert (await desk.submit(approval)).status in (200, 403)
        assert desk.file() is None
        assert desk.waiting() == []
        assert desk.row(proposal).state in ("ended", "void")
        assert not desk.events(Kind.EFFECT_BEGUN)

    with_desk(tmp_path, act)


def test_content_that_was_erased_is_not_written(tmp_path: Path) -> None:
    """What nobody has any more nobody can let go."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        event = Event.of(Kind.BODY_ERASED, time.time_ns(), "local", entry=proposal, reason="asked")
        await desk.store.record(event)
        assert (await desk.approve(proposal)).status == 200
        assert desk.state(proposal) == ("ended", "void")
        assert desk.file() is None

    with_desk(tmp_path, act)


def test_what_has_waited_too_long_is_over(tmp_path: Path) -> None:
    """It ends by itself, and nobody approves it any more."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        approval = desk.signed(desk.approval(proposal))
        releases = desk.here.house.deciding.releases
        assert releases is not None
        await releases.lapse()
        assert desk.waiting() == [proposal]
        real = desk.here.house.clock
        desk.here.house.clock = lambda: real() + 25 * HOUR_NS  # type: ignore[method-assign]
        await releases.lapse()
        desk.here.house.clock = real  # type: ignore[method-assign]
        assert desk.state(proposal) == ("ended", "expired")
        assert (await desk.submit(approval)).error == (403, "refused")
        assert desk.file() is None

    with_desk(tmp_path, act)


def test_a_target_that_is_none(tmp_path: Path) -> None:
    """A path that leads out of the archive, or a target that is not the verb's: approved or not, it fails and is recorded so."""

    async def act(desk: Desk) -> None:
        agent = desk.introduce("agent")
        for method, path in (("PUT", "/v1/files/..%2F..%2Fetc%2Fpasswd"), ("PUT", "/etc/passwd"), ("POST", "/v1/files/x")):
            verdict = await desk.ask(agent.sign("sensor", "write", "archive.put", target=(method, path), body=b"x"))
            assert (await desk.approve(verdict.proposal or 0)).status == 200
            assert desk.events(Kind.EFFECT_FAILED)[-1].text("reason") in ("malformed", "refused")
            assert desk.state(verdict.proposal or 0) == ("ended", "released")
        assert [path.name for path in desk.here.estate.house.settings.root.iterdir() if path.name != ".tally"] == []

    with_desk(tmp_path, act)


# --- Scopes and edits -----------------------------------------------------------------------------------------------------------------


def test_an_approval_with_a_scope_lets_more_like_it_go(tmp_path: Path) -> None:
    """Two more of the same, and no third; only this target."""

    async def act(desk: Desk) -> None:
        camera = desk.introduce("camera")
        proposal = await desk.put(camera)
        target = ("PUT /v1/files/note.txt",)
        terms = Terms(verb="archive.put", targets=target, uses=2, until_ns=time.time_ns() + HOUR_NS)
        before = desk.store.size()
        assert (await desk.approve(proposal, scope=terms)).status == 200
        assert desk.kinds(before)[:3] == ["SIGNAL", "APPROVAL", "SCOPE"]

        async def ask(path: str) -> str:
            signed = camera.sign("sensor", "write", "archive.put", target=("PUT", f"/v1/files/{path}"), body=b"more")
            return (await desk.ask(signed)).word

        assert await ask("other.txt") == "held"
        assert [await ask("note.txt") for _ in range(3)] == ["allowed", "allowed", "held"]

    with_desk(tmp_path, act)


@pytest.mark.parametrize("change", [{"verb": "archive.rm"}, {"until_ns": 1}])
def test_a_scope_that_does_not_fit_its_approval(tmp_path: Path, change: dict[str, Any]) -> None:
    """Another verb than that of the signals, or over already: nothing of it counts."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("camera"))
        terms: dict[str, Any] = {"verb": "archive.put", "until_ns": time.time_ns() + HOUR_NS} | change
        assert (await desk.approve(proposal, scope=Terms(**terms))).status in (401, 403)
        assert desk.waiting() == [proposal]
        assert not desk.events(Kind.SCOPE)

    with_desk(tmp_path, act)


def test_a_scope_is_for_one_key(tmp_path: Path) -> None:
    """Signals of two keys are approved together, and no scope with them."""

    async def act(desk: Desk) -> None:
        first, second = await desk.put(desk.introduce("one")), await desk.put(desk.introduce("two"), "two.txt")
        terms = Terms(verb="archive.put", until_ns=time.time_ns() + HOUR_NS)
        assert (await desk.approve(first, second, scope=terms)).error == (401, "unproven")
        assert (await desk.approve(first, second)).status == 200

    with_desk(tmp_path, act)


def test_a_signal_that_may_is_done_at_once(tmp_path: Path) -> None:
    """A source with write on this target: recorded, begun, done; no proposal."""

    async def act(desk: Desk) -> None:
        trusted = desk.introduce("trusted", actions=("metadata", "read", "write"), targets=("PUT /v1/files/*",))
        signed = trusted.sign("sensor", "write", "archive.put", target=("PUT", "/v1/files/log.txt"), body=b"line\n")
        before = desk.store.size()
        verdict = await desk.ask(signed)
        assert verdict.allowed and verdict.entry is not None
        assert desk.file("log.txt") == b"line\n"
        assert desk.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_DONE"]
        assert desk.events(Kind.EFFECT_BEGUN)[-1].number("entry") == verdict.entry
        failing = trusted.sign("sensor", "write", "archive.put", target=("PUT", "/v1/files/..%2Fup"), body=b"x")
        assert (await desk.ask(failing)).allowed
        assert desk.events(Kind.EFFECT_FAILED)[-1].text("reason") == "malformed"

    with_desk(tmp_path, act)


def test_a_program_that_may_is_run(tmp_path: Path) -> None:
    """A source with write on this program; one of class admin is never a source's to run, nor one that nobody named."""

    async def act(desk: Desk) -> None:
        actions = ("metadata", "read", "write", "admin")
        trusted = desk.introduce("trusted", actions=actions, targets=("POST /v1/verbs/*",))
        before = desk.store.size()
        assert (await desk.ask(trusted.sign("sensor", "write", "verb.greet", target=("POST", "/v1/verbs/greet"), body=b"hi"))).allowed
        assert desk.kinds(before) == ["SIGNAL", "EFFECT_BEGUN", "EFFECT_DONE"]
        assert (tmp_path / "greeted").read_bytes() == b"hi"
        for verb, action in (("verb.reboot", "write"), ("verb.reboot", "admin"), ("verb.none", "write")):
            verdict = await desk.ask(trusted.sign("sensor", action, verb, target=("POST", f"/v1/verbs/{verb[5:]}"), body=b""))
            assert not verdict.allowed
        assert not (tmp_path / "rebooted").exists()

    with_desk(tmp_path, act)


def test_a_program_that_takes_its_time_holds_nobody_up(tmp_path: Path) -> None:
    """Others are carried out meanwhile; a house that stops ends it and says so, and calls nothing unknown."""

    async def act(desk: Desk) -> None:
        agent = desk.introduce("agent")
        slow = await desk.ask(agent.sign("sensor", "write", "verb.slow", target=("POST", "/v1/verbs/slow")))
        write = await desk.put(agent)
        waiting = asyncio.ensure_future(desk.approve(slow.proposal or 0))
        while desk.state(slow.proposal or 0)[0] != "begun":
            await asyncio.sleep(0.02)
        other = Desk(desk.here, desk.here.visit("owner"), desk.folder)
        assert (await other.approve(write)).status == 200
        assert desk.state(write) == ("ended", "released")
        assert desk.state(slow.proposal or 0)[0] == "begun"
        await desk.here.house.deciding.close()
        await waiting
        assert desk.state(slow.proposal or 0) == ("ended", "released")
        assert desk.events(Kind.EFFECT_FAILED)[-1].text("reason") == "stopped"
        assert desk.store.open_effects() == ()

    with_desk(tmp_path, act)
