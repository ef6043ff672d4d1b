"""A full disk stops commands, and no severance."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.node.reserve import FILE_BYTES, Reserve
from tests.support import missing, require

SCRIPT = 'mkdir -m 700 "$1/attic" && mount -t tmpfs -o size=48m,mode=700 tmpfs "$1/attic" && exec "$2" -m tests.attack.full_disk "$1"'


def test_a_full_disk_takes_no_commands_and_every_severance(tmp_path: Path) -> None:
    """On a file system of 48 MiB: below the reserve commands are not taken; on the last block a pair is severed, at the house and by
    statement, its secret destroyed, the house stopped and started; with room again everything is as before."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user", "--mount"]
    require("unshare")
    possible = subprocess.run([*unshare, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True, check=False)
    if possible.returncode:
        missing("a tmpfs cannot be mounted in a namespace of our own")
    done = subprocess.run(
        [*unshare, "sh", "-c", SCRIPT, "sh", str(tmp_path), sys.executable], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def held(home: Path) -> int:
    """Bytes on the disk that are held."""
    path = home / "reserve"
    return path.stat().st_blocks * 512 if path.exists() else 0


def test_the_reserve_is_blocks_and_not_a_hole(tmp_path: Path) -> None:
    """What is held is really on the disk, private, given back at once, and held again."""
    reserve = Reserve(tmp_path, 1)
    assert held(tmp_path) == 0
    assert [reserve.look(), reserve.low] == [False, False]
    assert held(tmp_path) >= FILE_BYTES and (tmp_path / "reserve").stat().st_mode & 0o777 == 0o600
    reserve.make_room()  # there is room: nothing is given up
    assert [held(tmp_path) >= FILE_BYTES, reserve.give_way()] == [True, False]
    assert [reserve.release(), held(tmp_path), reserve.release()] == [True, 0, False]
    reserve.look()
    assert held(tmp_path) >= FILE_BYTES


def test_a_reserve_larger_than_the_disk_is_low_at_once(tmp_path: Path) -> None:
    """With less free space than the setting wants, commands are not taken, and it is told once."""
    reserve = Reserve(tmp_path, 1 << 30)
    assert [reserve.look(), reserve.low, reserve.look(), reserve.low] == [True, True, False, True]
    assert held(tmp_path) == 0


@pytest.mark.parametrize("free", [0, 1 << 40])
def test_no_reserve_refuses_nothing_and_holds_nothing(tmp_path: Path, free: int) -> None:
    """A setting of 0 is for who keeps room by other means."""
    reserve = Reserve(tmp_path, 0)
    reserve.free = lambda: free  # type: ignore[method-assign]
    assert [reserve.look(), reserve.low, held(tmp_path)] == [False, False, 0]
