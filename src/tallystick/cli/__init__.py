"""The command line: `tally`.

This module imports nothing but `sys`, because `tally --version` and shell completion pay for every import (click alone
costs three times a bare interpreter). Everything else loads when it is used.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """The console script. Exits with 0 ok, 1 refused, 2 usage, 3 not proven, 4 unavailable, 5 malformed."""
    if sys.argv[1:] == ["--version"]:
        from tallystick import __version__

        print(f"tally {__version__}")  # noqa: T201  # click's echo would cost more than the whole command
        return
    from tallystick.cli.main import run

    sys.exit(run(sys.argv[1:]))
