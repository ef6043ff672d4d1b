"""The power fails while a house publishes: whatever the disk kept, a checkpoint that is there has every tile and entry it promises."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.storage.tiles import TileFiles
from tallystick.tlog.tile import growth
from tests.powercut.disks import TapeDisk
from tests.powercut.tape import Platter, Tape, put
from tests.storage.test_tiles import SIZES, data_of, publish, published

CUTS = 400
AGAIN = 8  # every so manieth cut, the power fails during the mending too


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: the real syncs of hundreds of trials would wear a disk, and prove nothing here."""
    shared = Path("/dev/shm")
    folder = shared / f"tally-power-tiles-{os.getpid()}" if os.access(shared, os.W_OK) else tmp_path / "trials"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


def risen(folder: Path, tape: Tape | None = None) -> int:
    """A new life: what is lacking below the published size is made again, then everything is published. The size it found."""
    files = TileFiles(folder / "tiles", None if tape is None else TapeDisk(tape))
    reached = published(files)
    with files.alone():
        files.mend(SIZES[-1])
        files.put((tile, data_of(tile)) for tile in files.lacks(growth(0, reached)))
    publish(files, reached, SIZES[-1])
    if tape is not None:
        tape.mark(SIZES[-1])
    assert published(files) == SIZES[-1]
    return reached


def recorded(root: Path) -> Tape:
    """A log's growth, published step by step; the sizes that were told are marked."""
    root.mkdir()
    tape = Tape(root)
    files, before = TileFiles(root / "tiles", TapeDisk(tape)), 0
    for size in SIZES:
        publish(files, before, size)
        tape.mark(size)
        before = size
    return tape


def test_a_published_checkpoint_keeps_its_promise(memory: Path) -> None:
    """At any cut: it is the one that was told last or a later one, and every tile and bundle of it is whole and right."""
    tape = recorded(memory / "life")
    platter, dice, reached = Platter(tape), random.Random(11), set()
    for nth, at in enumerate(sorted(dice.choices(range(1, len(tape.steps) + 1), k=CUTS))):
        platter.play(at)
        trial = memory / "trial"
        trial.mkdir()
        put(platter.survivors(random.Random(f"{at} {nth}")), trial)
        told = max(platter.seen, default=0)
        try:
            if nth % AGAIN:
                found = risen(trial)
            else:
                found = _cut_again(memory, trial, random.Random(f"again {nth}"))
        except BaseException as error:
            error.add_note(f"cut {nth} at step {at} of {len(tape.steps)}, {told} were told")
            raise
        assert found >= told
        reached.add(found)
        shutil.rmtree(trial)
    assert reached >= {0, *SIZES[:-1]}


def _cut_again(memory: Path, trial: Path, dice: random.Random) -> int:
    """The power fails a second time, while the next life mends."""
    tape = Tape(trial)
    found = risen(trial, tape)
    again = memory / "again"
    second = Platter(tape)
    second.play(dice.randint(0, len(tape.steps)))
    again.mkdir()
    put(second.survivors(dice), again)
    assert risen(again) >= max(found, *second.seen, 0)
    shutil.rmtree(again)
    return found
