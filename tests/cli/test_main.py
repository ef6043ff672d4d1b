"""What the command line costs and how it starts: processes, not functions."""

import subprocess
import sys
from pathlib import Path

import pytest

from tallystick import __version__
from tests.support import PROJECT, require

HEAVY = {"click", "rich", "asyncio", "cryptography", "msgspec", "apsw", "uvicorn", "starlette", "uvloop", "tomllib", "json"}


def python(code: str, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PYTHONPATH": str(PROJECT / "src"), "HOME": "/nonexistent", "PATH": "/usr/bin:/bin", **env}
    return subprocess.run([sys.executable, "-c", code, *args], env=environment, capture_output=True, text=True, check=False, timeout=60)


def tally(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return python("import sys; from tallystick.cli import main; main()", *args, **env)


def modules_after(args: list[str]) -> set[str]:
    code = (
        "import sys\nfrom tallystick.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    )
    return {name.split(".")[0] for name in python(code, *args).stderr.splitlines()[-1].split()}


def test_version_loads_nothing_heavy() -> None:
    """`tally --version` pays for the interpreter and for nothing else."""
    assert tally("--version").stdout == f"tally {__version__}\n"
    assert not modules_after(["--version"]) & HEAVY


def test_help_loads_no_command() -> None:
    """The list of commands comes from a table; only click is paid for."""
    assert not modules_after(["--help"]) & (HEAVY - {"click", "json"})


def test_config_loads_no_house() -> None:
    """A command that needs no house does not load one."""
    loaded = modules_after(["config", "--home", "/x"])
    assert not loaded & {"asyncio", "cryptography", "apsw", "uvicorn", "starlette", "uvloop", "rich", "msgspec"}


def test_the_module_is_the_command() -> None:
    """`python -m tallystick` is `tally`."""
    done = subprocess.run(
        [sys.executable, "-m", "tallystick", "--version"],
        env={"PYTHONPATH": str(PROJECT / "src")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"tally {__version__}\n"


def test_errors_leave_by_exit_code_and_stderr() -> None:
    """A real process: code 2, two lines on stderr, nothing on stdout."""
    done = tally("frobnicate")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]


def test_no_home_is_told(tmp_path: Path) -> None:
    """Without HOME there is nowhere to keep the state: unavailable, with a way out."""
    done = tally("config", HOME="")
    assert done.returncode == 4
    assert "TALLY_HOME" in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`tally config | head -0` ends quietly."""
    code = "import os, sys; from tallystick.cli import main; r, w = os.pipe(); os.dup2(w, 1); os.close(r); main()"
    done = python(code, "config", "--home", str(tmp_path))
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_a_script_of_its_shell(shell: str, tmp_path: Path) -> None:
    """Where the shell is installed it reads the script without complaint; it names the command and the variable."""
    done = tally("completion", shell, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "_TALLY_COMPLETE" in done.stdout
    if shell == "bash":
        checked = subprocess.run([require("bash"), "-n"], input=done.stdout, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_completion_completes() -> None:
    """What the script asks tally for: commands that begin with the word typed so far."""
    done = tally(_TALLY_COMPLETE="bash_complete", COMP_WORDS="tally s", COMP_CWORD="1")
    assert {line.split(",")[1] for line in done.stdout.split()} == {"serve", "status", "sever"}


def test_bash_completes_for_real(tmp_path: Path) -> None:
    """In a bash that read the script, `tally inv<tab>` becomes `tally invite`."""
    wrapper = tmp_path / "tally"
    wrapper.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT / "src"} exec {sys.executable} -m tallystick "$@"\n')
    wrapper.chmod(0o755)
    script = 'eval "$(tally completion bash)"; COMP_WORDS=(tally inv); COMP_CWORD=1; _tally_completion tally; echo "${COMPREPLY[@]}"'
    done = subprocess.run(
        [require("bash"), "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "invite", done.stderr
