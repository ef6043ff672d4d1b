"""A thousand seeded bit flips over everything that a house keeps: each is found and named, or provably changes nothing."""

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tallystick.ledger.audit import Finding
from tallystick.node.verifying import judge
from tallystick.storage import schema
from tallystick.storage.audit.home import verify_home
from tests.audit.flips import Flip, in_files, in_rows
from tests.audit.scene import Scene, files

SEED = 20_261_122
TOGETHER = 8  # flips in one copy, each in another file or another row of another table


def found(home: Path) -> list[Finding]:
    return verify_home(home, judge=judge, workers=1).findings


def apart(flips: Iterable[Flip]) -> Iterator[list[Flip]]:
    """Groups of flips that do not meet: no two in one file, table or entry."""
    group: list[Flip] = []
    for flip in flips:
        if len(group) == TOGETHER or any(flip.place == other.place for other in group):
            yield group
            group = []
        group.append(flip)
    if group:
        yield group


def check(scene: Scene, tmp_path: Path, flips: Iterable[Flip]) -> int:
    """Apply groups of flips, verify, and demand that every one is named. How many there were."""
    done = 0
    for group in apart(flips):
        home = tmp_path / "flipped"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(scene.home, home)
        applied = [flip for flip in group if flip.try_apply(home)]
        findings = found(home)
        for flip in applied:
            alone = findings if len(applied) == 1 or flip.table else [each for each in findings if flip.named_by(each)]
            if not any(flip.named_by(each) for each in alone):
                single = only(scene, tmp_path, flip)
                assert any(flip.named_by(each) for each in single), f"{flip} is not named by {[str(each) for each in single[:5]]}"
        done += len(applied)
    return done


def only(scene: Scene, tmp_path: Path, flip: Flip) -> list[Finding]:
    """What is found when nothing else was flipped: one flip may hide another (a lost entry ends the comparison of rows)."""
    home = tmp_path / "single"
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(scene.home, home)
    assert flip.try_apply(home)
    return found(home)


def test_a_house_that_nobody_touched_is_proven(scene: Scene, copy: Callable[[], Path]) -> None:
    """No finding, every checkpoint verified, every living body opened, and not a byte of the folder changed."""
    home = copy()
    before = {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}
    report = verify_home(home, judge=judge)
    assert report.findings == [] and report.remarks == []
    assert report.newest is not None and report.size - 1 == report.newest.size
    assert report.counts["bodies"] == len(scene.bodies) - 2 and report.counts["checkpoints"] == 4
    assert {path: path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()} == before


def test_flips_in_published_files_and_bodies(scene: Scene, tmp_path: Path) -> None:
    """Bundles, tiles, checkpoint, records and segments: 500 flips, each named with its file."""
    names = [path.relative_to(scene.home).as_posix() for path in files(scene.home)]
    names.remove("house.sqlite")
    dice = random.Random(SEED)
    flips = [flip for flip in in_files(dice, scene.home, names, 520) if not of_no_effect(scene, flip)]
    assert check(scene, tmp_path, flips) >= 500


def of_no_effect(scene: Scene, flip: Flip) -> bool:
    """The one class of bytes in these files that nothing can prove: how long an erased opening was, within its 512 bytes.

    Nobody reads it; what the erasure wiped is told by the unit, and that is proven by the record's neighbours.
    """
    if flip.file != "bodies/keys.bin" or flip.at % 64 not in (10, 11):
        return False
    record = bytearray((scene.home / flip.file).read_bytes()[flip.at // 64 * 64 :][:64])
    units = -(-(int.from_bytes(record[8:12], "big") + 16) // 512)
    record[flip.at % 64] ^= 1 << flip.bit
    length = int.from_bytes(record[8:12], "big")
    return record[0] == 2 and length > 0 and -(-(length + 16) // 512) == units


def test_flips_in_rows_of_every_table(scene: Scene, tmp_path: Path) -> None:
    """Every column of every table that has rows: 400 flips by SQL, each named with its table."""
    dice = random.Random(SEED)
    tables = [*schema.PROJECTED, *schema.KEPT, *schema.FILLED, "targets"]
    flips = [flip for flip in in_rows(dice, scene.home, tables, 430) if not is_fraction(flip)]
    assert check(scene, tmp_path, flips) >= 400
    assert {flip.table for flip in flips} == {*tables} - {"fresh", "erasing"}


def is_fraction(flip: Flip) -> bool:
    """The one class of cells that nothing can prove: when a checkpoint was signed, below a second. It decides when the next one is."""
    return flip.table == "checkpoints" and flip.column == "time_ns" and flip.at % 40 < 30


def test_flips_in_the_pages_of_the_database(scene: Scene, tmp_path: Path) -> None:
    """Anywhere in the file: 80 flips. One that is not found is without effect: every row, index and word of the schema is the same."""
    dice = random.Random(SEED)
    right, unfound = rows_of(scene.home), 0
    for flip in in_files(dice, scene.home, ["house.sqlite"], 80):
        home = tmp_path / "pages"
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(scene.home, home)
        flip.apply(home)
        if not found(home):
            assert rows_of(home) == right, flip
            unfound += 1
    assert unfound < 70


def rows_of(home: Path) -> list[object]:
    """Everything that can be read from the database, and that its indexes agree."""
    db = sqlite3.connect(f"file:{home / 'house.sqlite'}?immutable=1", uri=True)
    try:
        tables = [*schema.PROJECTED, *schema.KEPT, *schema.FILLED, "sqlite_master"]
        read: list[object] = [db.execute(f"SELECT * FROM {table} NOT INDEXED").fetchall() for table in tables]
        return [*read, *(db.execute(f"PRAGMA {name}").fetchall() for name in ("user_version", "application_id", "integrity_check"))]
    finally:
        db.close()
