"""All state is a projection: made again from the entries alone it is the same, row for row."""

import random
import sqlite3
from pathlib import Path

import pytest

from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tests.storage.house import START, answer, found
from tests.storage.life import requests


@pytest.mark.parametrize("seed", range(12))
def test_any_history_is_rebuilt_row_for_row(tmp_path: Path, seed: int) -> None:
    """A random history, in groups of any size and with many refusals, is reproduced exactly from its leaves."""
    path, again = tmp_path / "house.sqlite", tmp_path / "again.sqlite"
    dice = random.Random(seed)
    taken = refused = 0
    with Store.open(path, create=True) as store:
        waiting = []
        for events, openings in requests(seed, 350):
            waiting.append(store.append(*events, openings=openings))
            if dice.randrange(8) == 0 or len(waiting) == 1:
                for future in waiting:
                    try:
                        future.result(30)
                        taken += 1
                    except TallyError:
                        refused += 1
                waiting = []
        size, root = store.head()
        if size > 100:
            store.put_checkpoint(100, store.root_at(100), b"note", START)
    assert taken > 80 and refused > 20
    steps: list[tuple[int, int]] = []
    assert rebuild(path, again, lambda done, total: steps.append((done, total))) == size
    assert steps[-1] == (size, size)
    assert differences(path, again) == ()
    # The rebuilt database is a house that opens and goes on, bodies included.
    path.unlink()
    again.rename(path)
    with Store.open(path, anchors=[(size, root)]) as store:
        store.append(answer(1)).result(10)
        bodies = [store.opening(row.index) for row in store.entries(limit=5000)]
        assert any(bodies)


def test_a_difference_is_shown(tmp_path: Path) -> None:
    """A row that is not what the entries say is named, with its table."""
    path, again = tmp_path / "house.sqlite", tmp_path / "again.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("UPDATE keys SET actions = 'admin' WHERE kind = 'machine'")
    db.execute("DELETE FROM keys WHERE kind = 'recovery'")
    db.close()
    rebuild(path, again)
    found_lines = differences(path, again)
    assert found_lines and all(line.startswith("keys: ") for line in found_lines)
    with pytest.raises(Refused):
        rebuild(path, again)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DELETE FROM entries WHERE idx = 5", "entry 5 is missing"),
        ("UPDATE entries SET leaf = x'a0' WHERE idx = 7", "entry 7 cannot be read"),
        ("UPDATE entries SET leaf = (SELECT leaf FROM entries WHERE idx = 0) WHERE idx = 8", "entry 8 breaks a rule"),
    ],
)
def test_what_cannot_be_rebuilt_is_named(tmp_path: Path, sql: str, says: str) -> None:
    """A missing, damaged or impossible entry stops the rebuild with its index."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
        store.append(*(answer(n) for n in range(10))).result(10)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(sql)
    db.close()
    with pytest.raises(Unavailable, match=says):
        rebuild(path, tmp_path / "again.sqlite")
