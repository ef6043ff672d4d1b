"""docs/sdk.md runs: every example, in its order, by a program of its own against a real house."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import tallystick.sdk
from tests.sdk.test_blocking import running
from tests.support import PROJECT

PAGE: Final = PROJECT / "docs" / "sdk.md"
EXAMPLE: Final = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_every_example_runs(tmp_path: Path) -> None:
    """Copied from the page into a file, each example does what the text around it says."""
    examples = EXAMPLE.findall(PAGE.read_text("utf-8"))
    outputs = []
    with running(tmp_path):
        environment = {**os.environ, "TALLY_HOME": str(tmp_path / "laptop"), "PYTHONPATH": str(PROJECT / "src")}
        for number, example in enumerate(examples):
            program = tmp_path / f"example_{number}.py"
            program.write_text(example, "utf-8")
            done = subprocess.run(
                [sys.executable, str(program)], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
    assert "b'it works\\n'" in outputs[0] and "today.txt 9" in outputs[0]
    assert "INPUT 2" in outputs[1]
    assert (tmp_path / "report.copy").read_bytes() == (tmp_path / "example_1.py").read_bytes()
    assert outputs[2] == "no such file\n"


def test_every_call_is_documented() -> None:
    """The page names every method of the client."""
    text = PAGE.read_text("utf-8")
    for name in vars(tallystick.sdk.HouseClient):
        if not name.startswith("_") and name not in ("open", "close", "name", "session"):
            assert f"`{name}(" in text or f"{name}(" in text, name
