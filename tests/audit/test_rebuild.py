"""`tally rebuild`: the database made anew, from itself or from what was published, whole at every moment."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Refused, Unavailable, Unproven
from tallystick.ledger.event import Kind
from tallystick.node.commands import auditing as verifying
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings, load
from tallystick.node.verifying import judge
from tallystick.storage.audit.home import verify_home
from tests.audit.scene import Scene
from tests.support import PROJECT


@pytest.fixture
def house(copy: Callable[[], Path]) -> Settings:
    return load({}, home=copy(), env={})


def rebuild(house: Settings, *, from_tiles: bool = False) -> dict[str, Any]:
    return verifying.rebuild(house, from_tiles=from_tiles, progress=lambda *_: None)


def test_changed_rows_are_mended_and_that_is_an_entry(house: Settings, scene: Scene) -> None:
    """A severed pair that somebody made stand again is severed again; bodies and checkpoints stay; nothing else is left behind."""
    db = sqlite3.connect(house.home / "house.sqlite")
    db.execute("UPDATE pairs SET state = 'standing' WHERE state = 'severed'")
    db.commit()
    db.close()
    assert verify_home(house.home, judge=judge).findings
    done = rebuild(house)
    assert done["entry"] == done["entries"] and any(row.startswith("pairs") for row in done["mended"])
    report = verify_home(house.home, judge=judge)
    assert report.findings == [] and report.counts["bodies"] == len(scene.bodies) - 2
    assert sorted(path.name for path in house.home.glob("house.sqlite*")) == ["house.sqlite", "house.sqlite.lock"]
    with Machine.open(house) as machine:
        row = machine.store.entry(done["entry"])
        assert row is not None and row.event.text("what") == "rebuilt"


def test_everything_published_comes_back_without_the_database(house: Settings, scene: Scene) -> None:
    """Entries up to the last checkpoint, their state, and every body, found again by its tag; the house goes on."""
    with Machine.open(house) as machine:
        before = [(row.state, row.label, row.effective) for row in machine.store.pairs()]
        openings = [machine.store.opening(index) for index in scene.bodies]
    for path in house.home.glob("house.sqlite*"):
        path.unlink()
    with pytest.raises(Unavailable):
        rebuild(house)
    done = rebuild(house, from_tiles=True)
    assert done["bodies"] == len(scene.bodies) - 2 and done["kept"] is None
    with Machine.open(house) as machine:
        assert [(row.state, row.label, row.effective) for row in machine.store.pairs()] == before
        assert [machine.store.opening(index) for index in scene.bodies] == openings
        assert machine.store.size() == done["entries"] + 1
    assert verify_home(house.home, judge=judge).findings == []


def test_a_damaged_database_is_kept_beside_the_new_one(house: Settings) -> None:
    """`--from-tiles` over a database that cannot be read: the old file keeps another name."""
    path = house.home / "house.sqlite"
    damaged = b"not a database" + path.read_bytes()[14:]
    path.write_bytes(damaged)
    with pytest.raises(Unavailable):
        rebuild(house)
    assert path.read_bytes() == damaged
    done = rebuild(house, from_tiles=True)
    assert Path(done["kept"]).read_bytes() == damaged
    assert verify_home(house.home, judge=judge).findings == []


def test_a_database_that_holds_more_is_not_given_up(house: Settings) -> None:
    """What was published a moment ago lacks the newest entries, a severance for one: a whole database goes only when a person moves it."""
    with Machine.open(house) as machine:
        machine.record_local(Kind.STOPPED, what="ordered")
        size = machine.store.size()
    path = house.home / "house.sqlite"
    before = path.read_bytes()
    with pytest.raises(Refused, match="never published") as refused:
        rebuild(house, from_tiles=True)
    assert "move house.sqlite away" in refused.value.hint and path.read_bytes() == before
    assert rebuild(house)["entries"] == size
    path.rename(house.home / "aside")
    assert rebuild(house, from_tiles=True)["entries"] < size


def test_published_files_that_do_not_hold_bring_nothing_back(house: Settings) -> None:
    """One flipped bit in a bundle, or the log key of another house: Unproven, and the database stays as it is."""
    bundle = house.home / "tiles/tile/entries/000"
    bundle.chmod(0o600)
    data = bytearray(bundle.read_bytes())
    data[1_000] ^= 1
    bundle.write_bytes(data)
    before = (house.home / "house.sqlite").read_bytes()
    with pytest.raises(Unproven):
        rebuild(house, from_tiles=True)
    assert (house.home / "house.sqlite").read_bytes() == before


def test_a_house_that_runs_is_not_rebuilt(house: Settings) -> None:
    """Whoever holds the house, or the ledger, is named."""
    with Machine.open(house) as machine:
        with pytest.raises(Unavailable):
            rebuild(house)
        with machine.home.lock(), pytest.raises(Unavailable):
            rebuild(house)


_KILLED = """
import os, signal, sys
from pathlib import Path
from tallystick.node.commands import auditing as verify
from tallystick.node.settings import load
calls, left = {"link", "replace", "fsync", "unlink"}, int(sys.argv[2])
def counted(name, real):
    def call(*args, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    return call
for name in calls:
    setattr(os, name, counted(name, getattr(os, name)))
verify.rebuild(load({}, home=Path(sys.argv[1]), env={}), from_tiles=False, progress=lambda *_: None)
"""


def test_killed_at_any_call_it_leaves_a_whole_ledger(copy: Callable[[], Path]) -> None:
    """Before each call that names, syncs or removes a file: what stands under the name is whole, verifies, and is rebuilt the next time."""
    survived = 0
    home = copy()
    for left in range(0, 30, 2):
        home = copy()
        done = subprocess.run(
            [sys.executable, "-c", _KILLED, str(home), str(left)],
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": "src"},
            timeout=60,
            check=False,
        )
        survived += done.returncode == 0
        assert done.returncode in (0, -signal.SIGKILL)
        assert verify_home(home, judge=judge).findings == []
        if done.returncode == 0:
            break
    house = load({}, home=home, env={})
    assert survived == 1 and rebuild(house)["mended"] == []
