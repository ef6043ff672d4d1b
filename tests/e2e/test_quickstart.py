"""`make run`: a newcomer's first minute, with real machines on this computer."""

import json
import subprocess
import sys
from pathlib import Path

from tests.netns import village

STEPS = [
    "init",
    "serve",
    "genesis",
    "pair-input",
    "pair-user",
    "pair-interface",
    "put",
    "get-identical",
    "user-write-refused",
    "interface-metadata-only",
    "downgrade",
    "sever",
    "silence-after-sever",
    "stranger-silence",
    "grant-camera",
    "grant-cron",
    "grant-feed",
    "grant-agent",
    "forged-human-refused",
    "impossible-transit-refused",
    "agent-write-held",
    "approve",
    "write-done",
    "revoke",
    "story",
    "log",
    "checkpoint-consistent",
    "verify",
]


def test_every_step_is_as_it_should_be(tmp_path: Path) -> None:
    """One JSON object with each step and how long it took; nothing of the person's own home is touched."""
    argv = [sys.executable, "-m", "tallystick", "quickstart", "--once", "--json"]
    env = {name: value for name, value in village.environment().items() if not name.startswith("TALLY_")} | {"HOME": str(tmp_path)}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, env=env, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] is True
    assert [step["step"] for step in told["steps"]] == STEPS
    assert all(step["ok"] and step["seconds"] >= 0 for step in told["steps"])
    assert list(tmp_path.iterdir()) == []
