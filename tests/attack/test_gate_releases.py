"""What is held and what becomes of it when the world changes between a human's word and the effect."""

from pathlib import Path

import pytest

from tallystick.ledger.event import Event, Kind
from tests.node.release_scene import Desk, with_desk


@pytest.mark.parametrize("what", ["archive.put", "verb.greet", "door.open"])
@pytest.mark.parametrize("how", ["retired", "suspended"])
def test_what_follows_a_key_that_fell_is_over_and_waits_for_nobody(tmp_path: Path, how: str, what: str) -> None:
    """It is not the signer's key: the ledger refuses the beginning, each time, and the proposal must not stay approved for ever. Nor is
    an application told that it may, where the house itself may not."""

    async def act(desk: Desk) -> None:
        feed, agent = desk.introduce("feed"), desk.introduce("agent")
        heard = feed.sign("sensor", "read", "news.item")
        assert (await desk.ask(heard)).allowed
        target = {"archive.put": ("PUT", "/v1/files/note.txt"), "verb.greet": ("POST", "/v1/verbs/greet")}.get(what)
        verdict = await desk.ask(agent.sign("sensor", "write", what, target=target, body=b"new", prev=(heard.reference,)))
        proposal = verdict.proposal
        assert verdict.held and proposal is not None
        now_ns, kid = desk.here.house.clock(), bytes(feed.key_id)
        if how == "retired":
            desk.store.append(Event.of(Kind.KEY_REVOKED, now_ns, "local", subject=kid, revocation="retired")).result()
        else:
            desk.store.append(Event.of(Kind.KEY_SUSPENDED, now_ns, "local", subject=kid, reason="asked")).result()
        await desk.approve(proposal)
        assert desk.state(proposal) == ("ended", "void")
        assert desk.file() is None and not (tmp_path / "greeted").exists()

    with_desk(tmp_path, act)
