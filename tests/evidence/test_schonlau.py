"""The figures of docs/evaluation.md, on the real data, by the profile that the gate uses."""

import gzip
import os
from collections import Counter
from pathlib import Path

import pytest

from tallystick.errors import Malformed, Unavailable
from tallystick.node.schonlau import Judged, evaluate, figures, read_users
from tests.support import PROJECT, missing


def data() -> Path:
    """`$TALLYSTICK_DATA`, else `../shared/data` beside the project."""
    path = Path(os.environ.get("TALLYSTICK_DATA") or PROJECT.parent / "shared" / "data") / "schonlau"
    if not path.exists():
        missing(f"the masquerade data of Schonlau et al. is not in {path}")
    return path


def test_the_figures_of_the_page() -> None:
    """As docs/evaluation.md states them, exactly: nothing in it depends on the machine."""
    users = read_users(data())
    assert len(users.names) == 25
    assert sum(map(sum, users.masked)) == 125
    alone, reviewed = figures(evaluate(users)), figures(evaluate(users, review=True))
    assert {name: round(value, 1) for name, value in alone.items()} == {"hit": 80.8, "false_alarm": 2.2, "miss": 19.2, "cost": 32.6}
    assert {name: round(value, 1) for name, value in reviewed.items()} == {"hit": 82.4, "false_alarm": 1.5, "miss": 17.6, "cost": 26.7}


def test_how_a_cost_is_counted() -> None:
    """Six for a percent of false alarms, one for a percent of misses."""
    judged = [
        Judged(user="a", masked=masked, flagged=flagged, odds=0)
        for masked, flagged in [(True, True), (True, False)] + [(False, True)] + [(False, False)] * 9
    ]
    assert figures(judged) == {"hit": 50.0, "false_alarm": 10.0, "miss": 50.0, "cost": 110.0}
    assert Counter(each.masked for each in judged)[True] == 2


def test_a_folder_without_data(tmp_path: Path) -> None:
    """It says what it holds, or which file is not what it should be."""
    with pytest.raises(Unavailable, match="no users"):
        read_users(tmp_path)
    for name in ("User1", "User2"):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"ls\n" * 15_000))
    with pytest.raises(Unavailable, match="labels"):
        read_users(tmp_path)
    (tmp_path / "labels.txt").write_text("0 2\n" * 100)
    with pytest.raises(Malformed, match="labels"):
        read_users(tmp_path)
    (tmp_path / "labels.txt").write_text("0 1\n" * 100)
    assert read_users(tmp_path).masked[1] == (True,) * 100
    (tmp_path / "User2.gz").write_bytes(gzip.compress(b"ls\n" * 14_999))
    with pytest.raises(Malformed, match="15000 commands"):
        read_users(tmp_path)
    (tmp_path / "User2.gz").write_bytes(b"no archive")
    with pytest.raises(Unavailable, match="cannot read"):
        read_users(tmp_path)
