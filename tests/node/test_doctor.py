"""doctor: real checks of this computer, and judgements over what such checks can find."""

import os
import socket
from pathlib import Path

import pytest

from tallystick.ledger.event import Kind
from tallystick.node import doctor
from tallystick.node.doctor import CHECKS, State, drops_by_default, examine, file_system, has_aes, judge_clock, judge_disk, judge_firewall
from tallystick.node.home import Home
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import Settings, load
from tallystick.pair.pairing import Role

NS = 1_000_000_000
GOOD_YEAR_NS = 1_800_000_000 * NS


def settings(home: Path, **flags: object) -> Settings:
    return load({"port": 0, **flags}, home=home, env={})


def state_of(result: dict[str, list[dict[str, str]]], name: str) -> dict[str, str]:
    return next(check for check in result["checks"] if check["name"] == name)


def test_every_check_runs_here_and_says_what_to_do(tmp_path: Path) -> None:
    """On any computer each check ends in one of three states, and what is not ok has a hint."""
    home = Home.create(tmp_path / "home")
    result = examine(settings(home.path))
    assert [check["name"] for check in result["checks"]] == [name for name, _ in CHECKS]
    for check in result["checks"]:
        assert check["message"]
        assert bool(check["hint"]) == (check["state"] != "ok")
    assert result["ok"] == all(check["state"] != "fail" for check in result["checks"])
    assert list(home.path.iterdir()) == []


def test_what_cannot_be_published_fails(tmp_path: Path) -> None:
    """Of a house that does not run: whether its newest checkpoint is the published one. Of one that does, what it says itself."""
    with Machine.create(load({"name": "attic"}, home=tmp_path / "attic", env={}), Role.HOUSE)[0] as house:
        home = house.home
        assert state_of(examine(settings(home.path)), "publication")["message"] == "nothing was signed yet"
        Publisher(house).publish()
        assert state_of(examine(settings(home.path)), "publication")["message"] == "1 of 1 entries are under the published checkpoint"
        house.record_local(Kind.STOPPED, what="ordered")
        Publisher(house).newest(fresh=True)
        check = state_of(examine(settings(home.path)), "publication")
        assert (check["state"], check["message"]) == ("warn", "2 entries were signed for, 1 are published")
    said = doctor.judge_publication(5, 3, "cannot publish: No space left on device")
    assert (said.state, "No space left" in said.message) == (State.FAIL, True)
    assert doctor.judge_publication(5, 3, None).state is State.OK


def test_a_home_that_is_not_there_yet_is_no_failure(tmp_path: Path) -> None:
    """doctor helps before init: it looks at the nearest folder that exists."""
    result = examine(settings(tmp_path / "not" / "yet"))
    assert state_of(result, "permissions")["state"] == "ok"
    assert state_of(result, "disk")["state"] != "fail"
    assert not (tmp_path / "not").exists()


@pytest.mark.parametrize(
    ("what", "mode"), [("", 0o755), ("vault", 0o750), ("vault/key", 0o640), ("bodies/slot", 0o604), ("vault/deep", 0o711)]
)
def test_what_others_may_read_fails(what: str, mode: int, tmp_path: Path) -> None:
    """A wider mode anywhere in the private part is named with its path."""
    home = Home.create(tmp_path / "home")
    for folder in (home.vault, home.bodies, home.vault / "deep"):
        folder.mkdir(mode=0o700)
    for file in (home.vault / "key", home.bodies / "slot"):
        file.touch(mode=0o600)
    assert state_of(examine(settings(home.path)), "permissions")["state"] == "ok"
    (home.path / what).chmod(mode)
    check = state_of(examine(settings(home.path)), "permissions")
    assert check["state"] == "fail"
    assert str(home.path / what) in check["message"]
    assert "chmod" in check["hint"]


def test_a_taken_port_fails(tmp_path: Path) -> None:
    """The port is really bound; one that another program holds is told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        result = examine(settings(tmp_path, address="127.0.0.1", port=sock.getsockname()[1]))
    check = state_of(result, "port")
    assert check["state"] == "fail"
    assert not result["ok"]


def test_the_port_of_the_running_house_is_no_failure(tmp_path: Path) -> None:
    """While the house runs, the port is its own."""
    home = Home.create(tmp_path / "home")
    with home.lock():
        check = state_of(examine(settings(home.path)), "port")
    assert check["state"] == "ok"
    assert str(os.getpid()) in check["message"]


@pytest.mark.parametrize(
    ("now_ns", "kernel", "flag", "state"),
    [
        (0, (True, 10), True, State.FAIL),
        (doctor.BUILT_NS - 1, (True, 10), True, State.FAIL),
        (4_102_444_800 * NS, (True, 10), True, State.FAIL),
        (GOOD_YEAR_NS, (True, 10), False, State.OK),
        (GOOD_YEAR_NS, (False, 10), True, State.OK),
        (GOOD_YEAR_NS, (True, 16_000_000), False, State.WARN),
        (GOOD_YEAR_NS, (False, 10), False, State.WARN),
        (GOOD_YEAR_NS, None, False, State.WARN),
    ],
)
def test_clocks(now_ns: int, kernel: tuple[bool, int] | None, flag: bool, state: State) -> None:
    """A year that cannot be fails; a clock nobody keeps right is a warning."""
    assert judge_clock(now_ns, kernel, flag=flag).state is state


def test_the_kernel_tells_about_its_clock() -> None:
    """adjtimex(2) answers without privilege on Linux; the greatest error is a time."""
    told = doctor.kernel_clock()
    assert told is not None
    assert 0 <= told[1] < 10**12


@pytest.mark.parametrize(
    ("kind", "times", "state"),
    [
        ("ext4", [0.2, 0.3], State.OK),
        ("ext4", [80.0, 90.0], State.WARN),
        ("ext4", [0.001, 0.002], State.WARN),
        ("nfs4", [1.0, 1.0], State.WARN),
        ("fuse.sshfs", [1.0, 1.0], State.WARN),
        ("overlay", [1.0, 1.0], State.WARN),
        ("tmpfs", [0.001, 0.001], State.WARN),
        ("", [1.0, 1.0], State.OK),
    ],
)
def test_disks(kind: str, times: list[float], state: State) -> None:
    """Network, memory and container file systems, slow syncs and impossible ones are told."""
    assert judge_disk(kind, times).state is state


def test_the_file_system_of_a_path_is_found() -> None:
    """The longest mount point wins, the later of two on one point; escaped blanks are read."""
    mounts = "\n".join(
        (
            "22 1 8:1 / / rw - ext4 /dev/a rw",
            "23 22 0:5 / /mnt rw shared:1 - nfs4 server:/x rw",
            r"24 22 0:6 / /with\040blank rw - btrfs /dev/b rw",
            "25 23 0:7 / /mnt/deep rw - tmpfs t rw",
            "26 22 0:8 / /mnt rw - xfs /dev/c rw",
            "nonsense",
        )
    )
    assert [file_system(Path(path), mounts) for path in ("/", "/mnt/x", "/with blank/x", "/mnt/deep/x", "/mntx")] == [
        "ext4",
        "xfs",
        "btrfs",
        "tmpfs",
        "ext4",
    ]
    assert file_system(Path("/x"), "") == ""


@pytest.mark.parametrize(("free", "state"), [(1 << 40, State.OK), (100 << 20, State.WARN), (1 << 20, State.FAIL)])
def test_space(free: int, state: State, tmp_path: Path) -> None:
    """A full disk stops the house, so a nearly full one is told before."""
    assert doctor.judge_space(free, tmp_path, 64, held=False).state is state


def test_firewalls() -> None:
    """Only a base chain on input with policy drop hides the port among its neighbours."""
    table = {"table": {"family": "inet", "name": "x"}}
    drop = {"chain": {"family": "inet", "table": "x", "name": "in", "hook": "input", "policy": "drop"}}
    accept = {"chain": {"family": "inet", "table": "x", "name": "in", "hook": "input", "policy": "accept"}}
    forward = {"chain": {"family": "inet", "table": "x", "name": "fw", "hook": "forward", "policy": "drop"}}
    assert drops_by_default({"nftables": [table, drop]})
    assert not drops_by_default({"nftables": [table, accept, forward]})
    assert not drops_by_default({})
    assert judge_firewall(None).state is State.WARN
    assert judge_firewall({"nftables": [drop]}).state is State.OK
    assert judge_firewall({"nftables": []}).state is State.WARN


def test_aes_hardware() -> None:
    """The flag counts as a word in the right line, on x86 and on ARM."""
    assert has_aes("processor : 0\nflags\t\t: fpu aes sse\n")
    assert has_aes("Features\t: fp asimd aes pmull\n")
    assert not has_aes("flags\t\t: fpu vaes sse\nmodel name : aes\n")
    assert not has_aes("")
