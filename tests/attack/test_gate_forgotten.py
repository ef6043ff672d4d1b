"""What is left of a signal that was erased."""

import time
from pathlib import Path

from tallystick.gate.opening import Target
from tallystick.gate.statement import sign_statement
from tallystick.ledger.event import Event, Kind
from tallystick.node.erasing import chosen, erase
from tallystick.pair.statement import BodyErase, encode_statement
from tallystick.primitives import sha256
from tests.node.gate_scene import gate_scene, run
from tests.node.release_scene import Desk, with_desk

WORD = b"the letter that nobody was to read"


def test_who_erases_a_held_signal_erases_what_it_would_have_written(tmp_path: Path) -> None:
    """Also where it waited a second time: the content lies with each proposal."""
    with gate_scene(tmp_path / "house") as scene:
        scene.introduce("agent", "sensor")
        target = Target(method="PUT", path="/v1/files/letter.txt")
        first, other = (scene.sign("agent", "sensor", "write", "archive.put", body=WORD, target=target) for _ in range(2))
        store, keeper = scene.machine.store, scene.keeper()
        held = run(keeper.admit(first.raw, first.opening, WORD))
        kept = run(keeper.admit(other.raw, other.opening, WORD))
        assert held.held and kept.held
        scene.end(held.proposal, "changed")
        again = scene.record(
            Event.of(
                Kind.PROPOSAL,
                scene.now_ns,
                "gate",
                signal_hash=sha256(first.raw),
                cause=held.entry,
                risk="medium",
                body=sha256(WORD),
                replaces=held.proposal,
            ),
            openings=(WORD,),
        )
        entries = chosen(store, {"spans": [[held.entry, held.entry]]})
        assert entries == [held.entry, held.proposal, again]
        erase(store, entries, scene.now_ns, "local", "asked")
        assert [store.opening(each) for each in entries] == [None, None, None]
        assert store.opening(kept.proposal) == WORD
        assert chosen(store, {"spans": [[kept.entry, kept.entry]]}) == [kept.entry, kept.proposal]


def test_an_erasure_that_was_signed_far_away_leaves_no_copy_either(tmp_path: Path) -> None:
    """Who signs names the signal; where else its content lies only the house knows."""

    async def act(desk: Desk) -> None:
        proposal = await desk.put(desk.introduce("agent"), "letter.txt", WORD)
        other = await desk.put(desk.introduce("another"), "letter.txt", WORD)
        signal = desk.row(proposal).signal_entry
        assert signal is not None and desk.store.opening(proposal) == WORD
        bundle = sign_statement(
            desk.here.estate.owner.signer,
            encode_statement(BodyErase(entry=signal, erased=(), reason="asked")),
            house_id=bytes(desk.here.estate.house.house_id),
            issued_at_ns=time.time_ns(),
            stream=bytes(16),
            n=0,
            salt=bytes(32),
        )
        assert (await desk.submit(bundle)).status == 200
        assert (desk.store.opening(signal), desk.store.opening(proposal), desk.store.opening(other)) == (None, None, WORD)

    with_desk(tmp_path, act)
