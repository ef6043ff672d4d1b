"""The project itself: what a stranger finds when he clones it."""

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import tallystick
from tests.support import PROJECT, missing, require

LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))


def tracked() -> list[Path]:
    """The files of the repository, or a skip where this is no clone (a source distribution)."""
    git = require("git")
    done = subprocess.run([git, "-C", str(PROJECT), "ls-files", "-z"], capture_output=True, check=False)
    if done.returncode:
        missing("this is not a git clone")
    return [PROJECT / name for name in done.stdout.decode().split("\0") if name and (PROJECT / name).is_file()]


def test_the_public_api_is_literal_and_complete() -> None:
    """`__all__` names what there is, sorted, and every name can be imported."""
    assert sorted(tallystick.__all__) == sorted(set(tallystick.__all__))
    for name in tallystick.__all__:
        assert hasattr(tallystick, name)
    assert (PROJECT / "src" / "tallystick" / "py.typed").exists()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_locks_pin_with_hashes_and_name_no_host(lock: Path) -> None:
    """Every requirement has an exact version and a hash; there is no URL, index or comment."""
    text = lock.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip()]
    assert lines
    for line in lines:
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*==[0-9][\w.+!]*( ; [^#]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line[:80]


def test_every_dependency_is_locked() -> None:
    """What pyproject.toml asks for is in the run-time lock, and the run-time lock is part of the development lock."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))

    def names(texts: list[str]) -> set[str]:
        return {re.split(r"[^A-Za-z0-9_.-]", text)[0].lower() for text in texts}

    def locked(name: str) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+==\S+)", (PROJECT / "requirements" / name).read_text("utf-8"), re.MULTILINE))

    run_time = {pin.split("==")[0] for pin in locked("runtime.txt")}
    assert names(project["project"]["dependencies"]) <= run_time
    assert locked("runtime.txt") <= locked("dev.txt")
    groups = project["dependency-groups"]
    assert names(groups["dev"] + groups["peers"]) <= {pin.split("==")[0] for pin in locked("dev.txt")}


@pytest.mark.parametrize("target", ["setup", "run", "test", "bench", "lint", "docs"])
def test_the_makefile_has_the_promised_targets(target: str) -> None:
    """make setup run test bench lint docs."""
    assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_ci_is_a_shell_script_that_requires_everything() -> None:
    """.ci/run parses, and lets no test skip."""
    text = (PROJECT / ".ci" / "run").read_text("utf-8")
    assert "TALLYSTICK_REQUIRE=all" in text
    assert "make test" in text
    done = subprocess.run([require("bash"), "-n", str(PROJECT / ".ci" / "run")], capture_output=True, check=False)
    assert done.returncode == 0


def test_no_file_names_a_machine_of_its_makers() -> None:
    """No absolute path of a workplace, no registry's host, in any tracked file."""
    # Put together here, so that this file does not find itself.
    paths = re.compile(rb"(^|[^\w.])/(" + b"|".join((b"wo" + b"rk", b"fa" + b"rm")) + rb")/|/tmp/[a-z]+/brief|/root/\.")
    names = (b"py" + b"pi\\.org", b"python" + b"hosted", b"np" + b"mjs", b"--index-" + b"url", b"--extra-" + b"index")
    hosts = re.compile(b"|".join(names))
    for path in tracked():
        text = path.read_bytes()
        for pattern in (paths, hosts):
            found = pattern.search(text)
            assert found is None, f"{path.relative_to(PROJECT)}: {text[max(0, found.start() - 20) : found.end() + 20]!r}"


def test_nothing_is_left_open() -> None:
    """No file of the package holds a note to do something later."""
    left = re.compile("TO" + "DO|FIX" + "ME|XX" + "X|NotImplemented" + "Error")
    for path in (PROJECT / "src").rglob("*.py"):
        assert not left.search(path.read_text("utf-8")), path.name


def test_files_stay_readable() -> None:
    """No module of the package is longer than 500 lines; the stand-alone verifier must be one file, and has a few more."""
    for path in (PROJECT / "src").rglob("*.py"):
        assert len(path.read_text("utf-8").splitlines()) <= 500, path.name


def test_no_room_has_a_cellar() -> None:
    """No module is called manager, helper, util, common, misc or base: such a file has no reason to stop growing."""
    for path in (PROJECT / "src").rglob("*.py"):
        assert not re.fullmatch(r"_*(managers?|helpers?|utils?|utilities|common|misc|base)", path.stem), path.name


def test_the_console_script_is_the_command() -> None:
    """`tally` is tallystick.cli:main, `tally-verify` a module of its own."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["scripts"] == {"tally": "tallystick.cli:main", "tally-verify": "tallystick_verify:main"}
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in (PROJECT / "LICENSE").read_text("utf-8")
    assert sys.version_info >= (3, 11)


def test_the_unit_gives_one_privilege_and_no_more() -> None:
    """The service has its own user, CAP_NET_ADMIN alone, and a read-only system."""
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(PROJECT / "packaging" / "systemd" / "tallystick.service")
    service = dict(unit["Service"])
    assert service["AmbientCapabilities"] == service["CapabilityBoundingSet"] == "CAP_NET_ADMIN"
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateDevices", "MemoryDenyWriteExecute", "RestrictNamespaces", "PrivateTmp"):
        assert service[name] == "yes", name
    assert service["ProtectSystem"] == "strict"
    assert service["StateDirectoryMode"] == "0700"
    assert set(service["RestrictAddressFamilies"].split()) == {"AF_INET", "AF_INET6", "AF_UNIX"}


def test_systemd_finds_the_unit_sound(tmp_path: Path) -> None:
    """systemd-analyze verifies the unit and rates its exposure under 2.5 of 10."""
    analyze = require("systemd-analyze")
    text = (PROJECT / "packaging" / "systemd" / "tallystick.service").read_text("utf-8")
    unit = tmp_path / "tallystick.service"
    unit.write_text(text.replace("/opt/tallystick/bin/tally", "/bin/true"))
    verified = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", str(unit)], capture_output=True, text=True, check=False
    )
    assert rated.returncode == 0, rated.stdout[-500:]
