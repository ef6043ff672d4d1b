"""`tally verify`: rolled-back, rewritten and forged ledgers; running houses; what was verified before."""

import dataclasses
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick.cli.main import run
from tallystick.errors import Misuse
from tallystick.keys.cose import sign1
from tallystick.ledger import entry
from tallystick.ledger.block import Sight, read_block
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.form import Forms
from tallystick.ledger.meaning import Meaning, check
from tallystick.node.commands import auditing as verifying
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.node.verifying import judge
from tallystick.pair.pairing import PairType, Role
from tallystick.primitives import sha256
from tallystick.storage.audit.home import verify_home
from tests.audit.scene import Paired, Scene
from tests.ledger import samples
from tests.storage.house import HOUSE, OTHER, OWNER, START, Key, answer, origin, owner_introduced, signal


def verify(path: Path, state: Path, **more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"keys": (), "witnesses": (), "checkpoints": (), "full": False} | more
    return verifying.verify(load({}, home=path, env={}), target=path, state=state, progress=lambda *_: None, **given)


def test_a_removed_tail_is_found_by_any_newer_checkpoint(scene: Scene, copy: Callable[[], Path], tmp_path: Path) -> None:
    """The database and its own checkpoints cut back together: what was published, or what a pair holds, names the missing entries."""
    home = copy()
    note = (home / "tiles/checkpoint").read_bytes()
    size = verify_home(home, judge=judge).size
    db = sqlite3.connect(home / "house.sqlite")
    db.execute("DELETE FROM entries WHERE idx >= ?", (size - 5,))
    db.execute("DELETE FROM checkpoints WHERE size > ?", (size - 5,))
    db.commit()
    db.close()
    found = [each for each in verify_home(home, judge=judge).findings if each.file == "house.sqlite" and each.entry is not None]
    assert {each.entry for each in found} >= {size - 5, size - 2}
    shutil.rmtree(home / "tiles")
    (tmp_path / "note.txt").write_bytes(note)
    result = verify(home, tmp_path / "state", checkpoints=(tmp_path / "note.txt",))
    assert any("were removed" in each["meaning"] and each["entry"] == size - 5 for each in result["findings"])


def test_a_missing_published_file_is_named(copy: Callable[[], Path]) -> None:
    """A tile, a bundle; and a file that no log has."""
    home = copy()
    (home / "tiles/tile/0/000").unlink()
    (home / "tiles/tile/entries/000").unlink()
    (home / "tiles/tile/0/xyz").write_bytes(b"")
    files = {each.file for each in verify_home(home, judge=judge).findings}
    assert files == {"tiles/tile/0/000", "tiles/tile/entries/000", "tiles/tile/0/xyz"}


def test_an_opening_that_is_gone_or_another_ones_is_found(scene: Scene, copy: Callable[[], Path]) -> None:
    """Bodies removed without an entry; two bodies exchanged in the table."""
    home = copy()
    db = sqlite3.connect(home / "house.sqlite")
    (slot,) = db.execute("SELECT slot FROM bodies WHERE entry = ?", (scene.bodies[0],)).fetchone()
    db.execute("DELETE FROM bodies WHERE entry = ?", (scene.bodies[0],))
    db.execute("UPDATE bodies SET slot = ? WHERE entry = ?", (slot, scene.bodies[5]))
    db.commit()
    db.close()
    found = {each.entry for each in verify_home(home, judge=judge).findings}
    assert {scene.bodies[0], scene.bodies[5]} <= found


def test_a_running_house_is_verified_and_not_touched(copy: Callable[[], Path]) -> None:
    """Entries that lie in the write-ahead log alone are seen, and everything is of one moment."""
    home = copy()
    with Machine.open(load({}, home=home, env={})) as machine:
        size = machine.store.size()
        machine.record_local(Kind.MAINTAINED, what="verified")
        report = verify_home(home, judge=judge)
        assert report.findings == [] and report.size == size + 1


def test_bodies_that_the_database_still_keeps_are_compared(scene: Scene, copy: Callable[[], Path], tmp_path: Path) -> None:
    """Of a house that was copied while it ran: what is fresh lies in two places, and both say the same."""
    home = copy()
    with Machine.open(load({}, home=home, env={})) as machine:
        running = dataclasses.replace(scene, house=machine, bodies=[*scene.bodies])  # its list is of the scene that others see
        key = Key.named("audit laptop")
        laptop = Paired("laptop", PairType.ADMIN, key, b"", key, sha256(b"pairing", b"laptop"), n=10_000)
        index = running.command(laptop)
        assert verify_home(home, judge=judge).findings == []
        crashed = tmp_path / "crashed"
        shutil.copytree(home, crashed)
    db = sqlite3.connect(crashed / "house.sqlite")
    assert db.execute("SELECT count(*) FROM fresh").fetchone() == (1,)
    db.close()
    segment = crashed / "bodies/000000.seg"
    data = bytearray(segment.read_bytes())
    data[-512] ^= 1
    segment.write_bytes(data)
    found = verify_home(crashed, judge=judge).findings
    assert {each.row.split(" ")[0] for each in found} == {"", "fresh"} and index in {each.entry for each in found}


def test_the_second_run_continues_the_first(copy: Callable[[], Path], tmp_path: Path) -> None:
    """What was verified is remembered outside; a ledger that does not continue it is named, in words, with exit code 3."""
    home, state = copy(), tmp_path / "state.json"
    first, second, full = verify(home, state), verify(home, state), verify(home, state, full=True)
    assert (first["since"], second["since"], full["since"]) == (0, first["checkpoint"], 0)
    assert second["counts"].get("statements", 0) < first["counts"]["statements"] == full["counts"]["statements"]
    other = Scene.at(tmp_path / "other", commands=8)
    shutil.rmtree(home)
    shutil.copytree(other.home, home)
    wrong = verify(home, state)
    assert not wrong["ok"] and wrong["findings"][0]["file"] == str(state)


def test_the_command_line(scene: Scene, copy: Callable[[], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """0 and one sentence when all is well; 3 and the findings when not; --json for programs; 2 for nothing to verify."""
    home, state = copy(), str(tmp_path / "state")
    assert run(["verify", str(home), "--state", state]) == 0
    assert "Proven:" in capsys.readouterr().out
    (home / "tiles/tile/0/000").unlink()
    assert run(["verify", str(home), "--state", state, "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert result["findings"][0]["file"] == "tiles/tile/0/000" and result["findings"][0]["last"] == 255
    assert run(["verify", str(tmp_path / "nothing"), "--state", state]) == 2
    assert run(["verify", str(home), "--key", "nonsense", "--state", state]) == 5
    with pytest.raises(Misuse):
        verify_home(tmp_path, judge=judge)


def flaws_of(*events: Event) -> list[str]:
    """What an auditor says of a ledger that a hostile house wrote and signed itself: no hash can be wrong in it."""
    meaning = Meaning(lambda _: None)
    found = [flaw.meaning for index, event in enumerate(events) for flaw in meaning.take(index, event) if flaw.grave]
    return found + [flaw.meaning for flaw in check(meaning.claims_made())]


def test_what_a_hostile_house_writes_is_named() -> None:
    """Forged signatures, unknown keys, foreign audiences, approvals that nobody signed, references to what comes later."""
    command = Event.of(Kind.SIGNAL, START + 3, "pair", verdict="allow", signal=signal(OWNER, 1), key=bytes(OWNER.id))
    assert flaws_of(origin()) == []
    assert any("no entry before it introduces" in text for text in flaws_of(origin(), command))
    forged = bytearray(signal(HOUSE, 1))
    forged[-1] ^= 1
    assert any(
        "does not hold" in text for text in flaws_of(origin(), Event.of(Kind.SIGNAL, START, "pair", verdict="allow", signal=bytes(forged)))
    )
    foreign = Event.of(Kind.SIGNAL, START, "pair", verdict="allow", signal=signal(HOUSE, 1), key=bytes(OTHER.id))
    assert any("another key" in text for text in flaws_of(origin(), foreign))
    assert any("begins with its origin" in text for text in flaws_of(answer(1)))
    assert any("not before it" in text for text in flaws_of(origin(), answer(1, entry=7)))
    assert any("nobody signed in" in text for text in flaws_of(origin(), owner_introduced(), answer(1)))
    approved = Event.of(Kind.PAIRING_APPROVED, START, "pair", pair=bytes(32), pair_type="INPUT", by="statement", key=bytes(OWNER.id))
    assert any("needs the signature of a person" in text for text in flaws_of(origin(), approved))
    assert any("began no effect" in text for text in flaws_of(origin(), Event.of(Kind.EFFECT_DONE, START, entry=0)))
    payload = sign1(HOUSE, b"\xa1\x02\x40")
    assert any(
        "another house" in text for text in flaws_of(origin(), Event.of(Kind.SIGNAL, START, "pair", verdict="allow", signal=payload))
    )


def test_forms_accept_nothing_that_the_reader_refuses() -> None:
    """Every kind of entry, then every byte of it changed: a known form means that it decodes, and what it refuses is read in full."""
    forms = Forms()
    for kind in Kind:
        for event in (samples.full(kind), samples.least(kind)):
            leaf = entry.encode(event)
            forms.learn(event)
            for at in range(len(leaf)):
                changed = leaf[:at] + bytes((leaf[at] ^ 1 << at % 8,)) + leaf[at + 1 :]
                if forms.pattern.match(len(changed).to_bytes(2, "big") + changed):
                    entry.decode(changed)
    assert len(forms.forms) > 20


def test_a_block_reads_a_bundle_as_the_readers_do() -> None:
    """The same hashes, and the same complaint, whether an entry has a form or not; a cut bundle is said to be cut."""
    leaves = [entry.encode(answer(n, entry=max(0, n - 1))) for n in range(40)]
    data = b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
    block = read_block(data, 40, 100, Forms(), Sight())
    assert block.flaws == [] and block.count == 40 and not block.broken
    early = read_block(data, 40, 5, Forms(), Sight())
    assert early.flaws == []
    ahead = b"".join(
        len(leaf).to_bytes(2, "big") + leaf for leaf in map(entry.encode, (answer(1, entry=0), answer(2, entry=300), answer(3, entry=290)))
    )
    assert [flaw.entry for flaw in read_block(ahead, 3, 289, Forms(), Sight()).flaws] == [290]
    assert read_block(data[:-1], 40, 0, Forms(), Sight()).broken and read_block(data + b"\0", 40, 0, Forms(), Sight()).broken


def test_a_checkpoint_answers_for_the_entries_before_it_and_no_others(tmp_path: Path) -> None:
    """An entry of a later time than a checkpoint over it was signed at is remarked on; one behind the checkpoint is not."""
    hour_ns = 3_600 * 10**9

    def remarks() -> list[str]:
        report = verify_home(tmp_path / "house", judge=judge)
        assert report.findings == []
        return [remark for remark in report.remarks if "later time" in remark]

    with Machine.create(load(home=tmp_path / "house", env={"HOME": str(tmp_path)}), Role.HOUSE)[0] as machine:
        publisher, now_ns = Publisher(machine), time.time_ns()
        for _ in range(3):
            publisher.publish()
            machine.store.append(Event.of(Kind.ANSWER, now_ns + hour_ns, status=200)).result()
        assert remarks() == []
        machine.store.append(*(Event.of(Kind.ANSWER, now_ns + hour_ns, status=200) for _ in range(256))).result()
        size = publisher.publish().size
        assert remarks() == [f"an entry before {size} names a later time than the checkpoint of {size} entries was signed at"]
