"""A server process that says on its first line where it listens, and ends with its `with`."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

END_S: Final = 10.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Running:
    """A process under measurement."""

    pid: int
    first_line: str

    @property
    def cpu_s(self) -> float:
        """User and system time so far, in steps of a clock tick (10 ms)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def python(arguments: Sequence[str | Path], log: Path, env: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run `python ARGUMENTS` until the `with` ends; its errors go to `log`. Raises: AssertionError when it says nothing."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=errors, text=True, env=None if env is None else dict(env)
        )
    try:
        if process.stdout is None:
            raise AssertionError("stdout is a pipe")
        line = process.stdout.readline()
        if not line:
            raise AssertionError(f"{arguments} ended: {log.read_text('utf-8', 'replace')[-2000:]}")
        yield Running(process.pid, line)
    finally:
        process.terminate()
        process.wait(END_S)
        if process.stdout is not None:
            process.stdout.close()
