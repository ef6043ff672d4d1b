"""Errors as a person meets them: one line `error:`, one line `hint:`, and an exit code that scripts can read.

| code | meaning | error |
|---|---|---|
| 0 | done | |
| 1 | refused by a policy or by a person | Refused |
| 2 | used wrongly | Misuse |
| 3 | a proof does not hold | Unproven |
| 4 | a disk, network, key store or house is not available | Unavailable |
| 5 | bytes from outside are not what the specification says | Malformed |
| 70 | a defect of tally itself, with a traceback (EX_SOFTWARE, sysexits.h) | |
| 130 | interrupted (128 + SIGINT) | |
"""

import json
from typing import Final

import click

from tallystick.cli.text import printable
from tallystick.errors import Misuse, TallyError, Unavailable

CRASH: Final = 70
INTERRUPTED: Final = 130


def kind_of(error: TallyError) -> str:
    """The name of an error in JSON: malformed, unproven, refused, misuse or unavailable."""
    return type(error).__name__.lower()


def report(error: TallyError, *, as_json: bool) -> int:
    """Say what happened on stderr, and once more as JSON on stdout where that was asked for. Returns the exit code."""
    click.echo(f"error: {printable(error.message)}", err=True)
    if error.hint:
        click.echo(f"hint: {printable(error.hint)}", err=True)
    if as_json:
        click.echo(json.dumps({"error": {"kind": kind_of(error), "message": error.message, "hint": error.hint}}))
    return error.exit_code


def from_click(error: click.ClickException) -> TallyError:
    """Click's usage errors in our two lines; the hint names the help of the command that was meant."""
    context = getattr(error, "ctx", None)
    command = context.command_path if isinstance(context, click.Context) else "tally"
    message = error.format_message().strip().replace("\n", " ").rstrip(".")
    return Misuse(message[:1].lower() + message[1:], f"`{command} --help` shows how")


def from_os(error: OSError) -> TallyError:
    """An operating-system error nobody translated: a local file or the terminal, since everything else raises our own."""
    what = error.strerror or str(error)
    return Unavailable(f"{error.filename}: {what}" if error.filename else what, "check path, mode and free space")
