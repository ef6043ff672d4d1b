"""2,000 power cuts: wherever the power fails, and whatever the disk kept of what was not synced, the house comes back whole."""

import os
import random
import shutil
from pathlib import Path

import pytest

from tallystick.storage.sqlite import Store
from tests.powercut.fixtures import memory, short_log
from tests.powercut.life import DATABASE, Life, expect, recorded
from tests.powercut.tape import Platter, Tape, put
from tests.storage.house import found

__all__ = ["memory", "short_log"]

LIVES = 25
CUTS = 80  # of each life
AGAIN = 5  # every so manieth cut, the power fails during the recovery too
STEPS = 14
SEED = int(os.environ.get("TALLYSTICK_POWERCUT_SEED", "1"))


def recorded_life(memory: Path, seed: int) -> Tape:
    root = memory / "life"
    root.mkdir()
    Life.found(root)
    with recorded(root) as (tape, vfs, disk):
        life = Life(root, tape, vfs, disk, random.Random(seed))
        life.live(STEPS)
        life.store.close()
    shutil.rmtree(root)
    return tape


def trials(memory: Path, seed: int, cuts: int) -> int:
    """Cut one life at many places. Each trial is named by (life, place), which make it happen again."""
    tape, done = recorded_life(memory, seed), 0
    platter, dice = Platter(tape), random.Random(seed)
    for nth, at in enumerate(sorted(dice.choices(range(1, len(tape.steps) + 1), k=cuts))):
        platter.play(at)
        trial, chance = memory / "trial", random.Random(f"{seed} {at} {nth}")
        trial.mkdir()
        put(platter.survivors(chance), trial)
        try:
            if nth % AGAIN:
                expect(trial, platter.seen, deep=nth % 20 == 1)
            else:
                done += _cut_again(memory, trial, platter, chance)
        except BaseException as error:
            error.add_note(f"life {seed}, cut {nth} at step {at} of {len(tape.steps)}")
            raise
        shutil.rmtree(trial)
        done += 1
    return done


def _cut_again(memory: Path, trial: Path, platter: Platter, dice: random.Random) -> int:
    """The power fails a second time, while the house recovers or just after."""
    again = memory / "again"
    with recorded(trial) as (tape, vfs, disk):
        Store.open(trial / DATABASE, vfs=vfs, disk=disk).close()
    second = Platter(tape)
    second.play(dice.randrange(len(tape.steps) + 1))
    again.mkdir()
    put(second.survivors(dice), again)
    expect(again, platter.seen)
    shutil.rmtree(again)
    return 1


@pytest.mark.parametrize("life", range(LIVES))
def test_a_power_cut_loses_nothing_acknowledged(memory: Path, life: int) -> None:
    """Acknowledged is there, half-written is never read, calls are whole, bodies open, erased stays erased, effects are known."""
    assert trials(memory, SEED * 1000 + life, CUTS) >= CUTS


def test_a_ledger_that_is_being_made_is_made_or_is_not(memory: Path) -> None:
    """A creation that the power cut short is done again, or was done; what was acknowledged of it is there."""
    root = memory / "made"
    root.mkdir()
    with recorded(root) as (tape, vfs, disk):
        with Store.open(root / DATABASE, create=True, shared=True, vfs=vfs, disk=disk) as store:
            tape.mark("made")
            found(store)
            tape.mark("founded")
    outcomes: set[str] = set()
    platter, dice = Platter(tape), random.Random(SEED)
    for at in range(len(tape.steps) + 1):
        platter.play(at)
        for trial in (memory / f"trial{at}.{nth}" for nth in range(2)):
            trial.mkdir()
            put(platter.survivors(dice), trial)
            path = trial / DATABASE
            outcomes.add("there" if path.exists() else "not there")
            assert path.exists() or not platter.seen
            with Store.open(path, create=not path.exists()) as store:
                assert store.size() == 2 if "founded" in platter.seen else store.size() in (0, 2)
                if not store.size():
                    found(store)
                assert store.size() == 2
            shutil.rmtree(trial)
    assert outcomes == {"there", "not there"}
