"""Programs that others wrote, as they are, in a process of their own: `make setup` puts them beside the environment."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import missing

FOLDER = Path(sys.prefix) / "foreign"


def program(module: str, *args: str) -> "subprocess.Popen[str]":
    """Start `python -m module args`, with pipes."""
    if not (FOLDER / module).is_dir():
        missing(f"not installed: {module} (requirements/foreign.txt)")
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(FOLDER)}
    return subprocess.Popen([sys.executable, "-m", module, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


def run(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a script that imports what others wrote; its output."""
    if not FOLDER.is_dir():
        missing("not installed: requirements/foreign.txt")
    env = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(FOLDER)}
    return subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, env=env, timeout=60, check=False)
