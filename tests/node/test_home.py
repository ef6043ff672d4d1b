"""The home: private or refused, and held by one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.node.home import Home, check_private_file, holder_of

HOLD = """
import sys
from pathlib import Path
from tallystick.node.home import Home
lock = Home(Path(sys.argv[1])).lock()
print("held", flush=True)
sys.stdin.read()
"""


def hold(home: Home) -> "subprocess.Popen[str]":
    source = str(Path(__file__).resolve().parents[2] / "src")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(home.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": source},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_new_home_is_closed_to_others(tmp_path: Path) -> None:
    """create makes the directory 0700 whatever the umask says."""
    before = os.umask(0)
    try:
        home = Home.create(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert home.path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o750, 0o755, 0o770, 0o777])
def test_a_wider_home_is_refused(mode: int, tmp_path: Path) -> None:
    """A directory that others may enter is refused, not mended."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(mode)
    with pytest.raises(Refused, match=f"mode {mode:04o}"):
        Home.create(tmp_path / "home")
    assert (tmp_path / "home").stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644])
def test_a_wider_file_is_refused(mode: int, tmp_path: Path) -> None:
    """A private file that others may read is refused."""
    (tmp_path / "key").write_bytes(b"secret")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(Refused, match=f"mode {mode:04o}"):
        check_private_file(tmp_path / "key")
    (tmp_path / "key").chmod(0o600)
    check_private_file(tmp_path / "key")


def test_a_link_is_no_private_file(tmp_path: Path) -> None:
    """A symbolic link is refused, whatever it points at."""
    (tmp_path / "key").write_bytes(b"secret")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "link").symlink_to(tmp_path / "key")
    with pytest.raises(Refused, match="not a regular file"):
        check_private_file(tmp_path / "link")
    with pytest.raises(Unavailable):
        check_private_file(tmp_path / "absent")


def test_a_home_without_a_machine_is_a_misuse(tmp_path: Path) -> None:
    """open tells what to run first."""
    with pytest.raises(Misuse) as caught:
        Home.open(tmp_path)
    assert "tally init" in caught.value.hint


def test_a_path_too_long_for_a_socket_is_a_misuse(tmp_path: Path) -> None:
    """unix(7) allows 107 bytes; better told at init than at serve."""
    with pytest.raises(Misuse, match="too long"):
        Home.create(tmp_path / ("x" * 108))


def test_a_file_in_the_place_of_the_home_is_a_misuse(tmp_path: Path) -> None:
    """No traceback for the plainest mistake."""
    (tmp_path / "home").write_text("")
    with pytest.raises(Misuse, match="not a directory"):
        Home.create(tmp_path / "home")
    with pytest.raises(Unavailable):
        Home.create(tmp_path / "home" / "below")


def test_one_process_holds_the_home(tmp_path: Path) -> None:
    """A second taker is told the pid of the first; when the first is killed the lock is free at once."""
    home = Home.create(tmp_path / "home")
    assert holder_of(home) == 0
    process = hold(home)
    try:
        assert holder_of(home) == process.pid
        with pytest.raises(Unavailable, match=f"process {process.pid} holds") as caught:
            home.lock()
        assert caught.value.hint
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            pipe.close()
    assert holder_of(home) == 0
    with home.lock():
        assert holder_of(home) == os.getpid()
        with pytest.raises(Unavailable, match=f"process {os.getpid()} holds"):
            home.lock()
    assert holder_of(home) == 0


def test_the_lock_does_not_follow_links(tmp_path: Path) -> None:
    """A planted link in the place of the lock is refused, its target untouched."""
    home = Home.create(tmp_path / "home")
    (tmp_path / "victim").write_text("precious")
    home.lock_file.symlink_to(tmp_path / "victim")
    with pytest.raises(Unavailable):
        home.lock()
    assert (tmp_path / "victim").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_does_not_hold_the_home_of_another_user(tmp_path: Path) -> None:
    """root would leave files there that the machine itself cannot open."""
    home = Home.create(tmp_path / "home")
    os.chown(home.path, 12345, 12345)
    with pytest.raises(Refused, match="belongs to uid 12345"):
        home.lock()
