"""What is left of a signal that was erased."""

from pathlib import Path

from tallystick.gate.opening import Target
from tallystick.ledger.event import Event, Kind
from tallystick.node.erasing import chosen, erase
from tallystick.primitives import sha256
from tests.node.gate_scene import gate_scene, run

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
