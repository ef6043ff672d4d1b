"""What the command line costs before it does anything: CPU time of whole processes, the interpreter included (getrusage).

`status` looks at a house that does not run: it opens vault and ledger and reads every pair there.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.counts import count
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.pairing import Role

RUNS: Final = count(20, 1)


def cpu_ms(command: Sequence[str], env: Mapping[str, str]) -> float:
    """User and system time of one run of a command, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def run(record: Callable[[str, float], None]) -> None:
    """Interleaved, so that a busy moment of the machine hits all alike; medians."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "attic"
        Machine.create(load({"name": "attic"}, home=home, env={}), Role.HOUSE)[0].close()
        env = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")} | {"TALLY_HOME": str(home)}
        tally = [sys.executable, "-m", "tallystick"]
        commands = {
            "cli.python.cpu_ms": [sys.executable, "-c", "pass"],
            "cli.version.cpu_ms": [*tally, "--version"],
            "cli.help.cpu_ms": [*tally, "--help"],
            "cli.config.cpu_ms": [*tally, "config", "--json"],
            "cli.status.cpu_ms": [*tally, "status", "--json"],
        }
        times: dict[str, list[float]] = {key: [] for key in commands}
        for _ in range(RUNS):
            for key, command in commands.items():
                times[key].append(cpu_ms(command, env))
    middle = {key: statistics.median(values) for key, values in times.items()}
    record("cli.version.ratio_python", middle["cli.version.cpu_ms"] / middle["cli.python.cpu_ms"])
    for key, value in middle.items():
        record(key, value)
