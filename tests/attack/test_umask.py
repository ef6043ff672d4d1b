"""Who may read a file is said where it is made, not by the umask of whoever started the house."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.errors import Refused
from tallystick.node import commands
from tests.e2e.support import House, cheap_passphrases, passphrase


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    try:
        with cheap_passphrases():
            yield
    finally:
        os.umask(before)


def wide(home: Path) -> list[str]:
    """Every path of a home that somebody else may do more with than he must be able to."""
    found = []
    for path in (home, *home.rglob("*")):
        status = path.lstat()
        mode, place = stat.S_IMODE(status.st_mode), path.relative_to(home).parts[:1]
        if place == ("tiles",):
            allowed = 0o755 if path.is_dir() else 0o444  # public by what they are, behind a home of 0700
        elif place == ("files",) and path != home / "files":
            allowed = 0o750 if path.is_dir() else 0o640
        else:
            allowed = 0o700 if path.is_dir() else 0o600
        if mode & ~allowed:
            found.append(f"{path.relative_to(home)} {mode:04o}")
    return found


def test_a_life_under_umask_0_leaves_nothing_open(tmp_path: Path, no_umask: None) -> None:
    """A house with its pairs, files, versions, unfinished uploads, backup and logs, started by a program whose umask is 0: no file of
    it can be read by others, none can be written by the group, and the folders above were made private too."""
    folder = tmp_path / "state" / "deep"
    folder.mkdir(parents=True)
    with House(folder) as house:
        laptop, eye = house.machine("laptop"), house.machine("eye", "INTERFACE")
        laptop.put(b"one", "papers/a.txt")
        laptop.put(b"two", "papers/a.txt")
        laptop.rm("papers/a.txt")
        laptop.put(b"three", "b")
        assert laptop.get("b") == b"three"
        eye.fails(Refused, eye.get, "b")
        house.owner.downgrade("laptop", "USER")
        house.restart()
        house.sever("eye")
        assert list(house.path.glob("*.sock"))
        homes = [house.path, house.owner.path, laptop.path, eye.path]
        assert {str(home): wide(home) for home in homes} == {str(home): [] for home in homes}
        sockets = [path for path in house.path.iterdir() if stat.S_ISSOCK(path.lstat().st_mode)]
        assert sockets
    commands.key_new(laptop.settings(), label="late", passphrase=passphrase, scripted=True)
    assert wide(house.path) == wide(laptop.path) == []


def test_what_stands_above_a_new_home_is_private(tmp_path: Path, no_umask: None) -> None:
    """Whoever could write in a folder above the home could put another home in its place."""
    house = House(tmp_path / "not" / "yet" / "there")
    house.folder.parent.parent.mkdir(mode=0o755)
    house.init()
    assert {stat.S_IMODE(path.stat().st_mode) for path in (house.path, *house.path.parents[:2])} == {0o700}
    toml = house.path / "tally.toml"
    assert stat.S_IMODE(toml.stat().st_mode) == 0o600 and 'name = "attic"' in toml.read_text()
