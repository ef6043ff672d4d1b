"""What a machine remembers beside its ledger: rows of a file that is replaced, and numbers in their place."""

from pathlib import Path

import pytest

from tallystick.errors import Unavailable
from tallystick.node.memory import Memory
from tallystick.node.times import MAX_BYTES, Times

ONE, TWO, THREE = (bytes((number,)) * 32 for number in (1, 2, 3))


def test_what_another_process_wrote_is_seen_at_once(tmp_path: Path) -> None:
    """A reader keeps what it has read only as long as the file is the same; inodes that are used again do not deceive it."""
    here, there = Memory(tmp_path / "memory"), Memory(tmp_path / "memory")
    for number in range(12):
        there.change("row", lambda _, number=number: (number, None))  # type: ignore[misc]
        assert here.get("row") == number
        here.change("own", lambda before: (int(before or 0) + 1, None))  # type: ignore[arg-type]
    assert there.get("own") == 12


def test_a_damaged_memory_is_an_empty_one(tmp_path: Path) -> None:
    """What it held can be learned again; the next change makes it whole."""
    path = tmp_path / "memory"
    path.write_bytes(b"\x82\x01")
    memory = Memory(path)
    assert memory.get("row") is None
    memory.change("row", lambda _: (1, None))
    assert Memory(path).get("row") == 1


def test_numbers_stand_beside_each_other(tmp_path: Path) -> None:
    """Each pair has its own; forgetting one leaves the others; a row that was cut short is written over."""
    times = Times(tmp_path / "times")
    for number, pairing in enumerate((ONE, TWO, THREE), start=10):
        assert times.get(pairing) == 0
        times.change(pairing, lambda _, number=number: number)  # type: ignore[misc]
    times.forget(ONE)
    times.forget(bytes(32))
    assert [times.get(pairing) for pairing in (ONE, TWO, THREE)] == [0, 11, 12]
    with (tmp_path / "times").open("ab") as file:
        file.write(ONE[:7])
    times.change(ONE, lambda before: before + 5)
    assert [Times(tmp_path / "times").get(pairing) for pairing in (ONE, TWO, THREE)] == [5, 11, 12]
    times.forget(ONE)
    times.forget(TWO)
    times.forget(THREE)
    assert (tmp_path / "times").stat().st_size == 0


def test_a_file_of_any_size_is_survived(tmp_path: Path) -> None:
    """What lies behind the limit was not written by us and is not read."""
    path = tmp_path / "times"
    path.write_bytes(ONE + bytes(8) + b"\xff" * (MAX_BYTES + 1_000))
    times = Times(path)
    times.change(ONE, lambda before: before + 7)
    assert times.get(ONE) == 7


def test_a_home_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """No foreign exception leaves the room."""
    with pytest.raises(Unavailable):
        Times(tmp_path / "no" / "times").get(ONE)
    with pytest.raises(Unavailable):
        Memory(tmp_path / "no" / "memory").change("row", lambda _: (1, None))
