"""`tally` whose process dies where a test says: `python -m tests.e2e.dying_house FILE serve ...`, with `dies(FILE, STEP, N)` in the test.

Killed as by SIGKILL, ahead of the Nth step of that name from then on: `effect` is any step of a passage (passage/effect.py), or one by its
name (`Record`, `Keep`, `Perform`); `disk` any call that changes the archive's disk (service/disk.py), or one by its name (`rename`).
What comes before the step has happened, and is durable where it promises to be; nothing after it has. The rest is the code of `tally`.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tallystick.cli.main import run
from tallystick.node.effects import Effects
from tallystick.service.disk import Disk


def dies(file: Path, step: str, number: int) -> None:
    """Let the house that watches this file die ahead of its next step of that name, or of the `number`th. Once."""
    new = file.with_suffix(".new")
    new.write_text(f"{step} {number}")
    new.replace(file)


class _Death:
    def __init__(self, file: Path) -> None:
        self._file = file
        self._asked = ""
        self._left = 0

    def at(self, *names: str) -> None:
        """A step of these names begins."""
        try:
            asked = self._file.read_text()
        except FileNotFoundError:
            self._asked = ""
            return
        step, number = asked.split()
        if asked != self._asked:
            self._asked, self._left = asked, int(number)
        self._left -= step in names
        if not self._left:
            self._file.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


def main(file: Path, args: list[str]) -> int:
    """Run the command line until then."""
    death = _Death(file)
    do: Callable[..., Awaitable[Any]] = Effects._do

    def before(_: Disk, call: str) -> None:
        death.at("disk", call)

    def dying(self: Effects, effect: Any, *more: Any) -> Awaitable[Any]:
        death.at("effect", type(effect).__name__)
        return do(self, effect, *more)

    # A class takes what it is given; mypy wants to know that we mean it.
    setattr(Disk, "before", before)  # noqa: B010
    setattr(Effects, "_do", dying)  # noqa: B010
    return run(args)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
