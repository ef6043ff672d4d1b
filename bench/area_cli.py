"""What the command line costs before it does anything: CPU time of whole processes, the interpreter included (getrusage)."""

import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence

RUNS = 20


def cpu_ms(command: Sequence[str]) -> float:
    """User and system time of one run of a command, in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def run(record: Callable[[str, float], None]) -> None:
    """Interleaved, so that a busy moment of the machine hits all alike; medians."""
    tally = [sys.executable, "-m", "tallystick"]
    commands = {
        "cli.python.cpu_ms": [sys.executable, "-c", "pass"],
        "cli.version.cpu_ms": [*tally, "--version"],
        "cli.help.cpu_ms": [*tally, "--help"],
        "cli.config.cpu_ms": [*tally, "config", "--json"],
    }
    times: dict[str, list[float]] = {key: [] for key in commands}
    for _ in range(RUNS):
        for key, command in commands.items():
            times[key].append(cpu_ms(command))
    middle = {key: statistics.median(values) for key, values in times.items()}
    record("cli.version.ratio_python", middle["cli.version.cpu_ms"] / middle["cli.python.cpu_ms"])
    for key, value in middle.items():
        record(key, value)
