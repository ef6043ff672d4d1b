"""`python -m tallystick.console HOME`: what `tally inbox --tui` starts. A face of its own: the command line does not import it."""

import sys

from tallystick.console import run_inbox
from tallystick.errors import TallyError
from tallystick.node.settings import load


def main() -> int:
    """The exit code is that of the error, as on the command line."""
    try:
        run_inbox(load(home=sys.argv[1] if len(sys.argv) > 1 else None))
    except TallyError as error:
        lines = [f"error: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])]
        sys.stderr.write("".join(line.encode("ascii", "backslashreplace").decode() + "\n" for line in lines))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
