"""What stands under one name: a program that a house's owner lets be run (docs/verbs.md). How one is run: service/verbs.py."""

from dataclasses import dataclass
from typing import Final

from tallystick.rights.action import ActionClass

DEFAULT_TIMEOUT_S: Final = 60
DEFAULT_OUTPUT_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What stands under one name. `argv[0]` is an absolute path; times in seconds, sizes in bytes.

    `input_bytes`: how much a caller may give as standard input, 0 for nothing at all.  `env`: names that are passed on from the house's
    own environment.  `user`: who it runs as; empty for the house's own user.
    """

    name: str
    argv: tuple[str, ...]
    action: ActionClass = ActionClass.ADMIN
    timeout_s: int = DEFAULT_TIMEOUT_S
    output_bytes: int = DEFAULT_OUTPUT_BYTES
    input_bytes: int = 0
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    doc: str = ""

    @property
    def verb(self) -> str:
        """The verb of signals that ask for it."""
        return f"verb.{self.name}"
