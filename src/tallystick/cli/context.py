"""context begin, context end: from when on, and until when, what a model, tool or skill was given is behind what it signs."""

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker


@click.group("context", context_settings={"help_option_names": ["-h", "--help"]})
def context() -> None:
    """Begin and end what is behind a model, tool or skill (docs/agents.md).

    Without an open context its signals have an unknown predecessor. At the house itself the house's own user begins and ends contexts;
    on a machine with an ADMIN pair a human key signs.

    Example: tally context begin agent
    """


@command("begin", example="tally context begin agent\ntally context begin '#12' --house attic")
@click.argument("key")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def begin(call: Call, key: str, house: str, passphrase_fd: int | None) -> None:
    """Say that a key's program has heard nothing yet: what is delivered to it from now on is behind what it signs."""
    result = call.behind.context_begin(call.settings(), key=key, house=house, passphrase=passphrase_asker(passphrase_fd))
    emit("context begin", result, as_json=call.as_json, render=_show_begun)


def _show_begun(result: Result, out: Out) -> None:
    out.line(f"The context of #{result['number']} {result['label']} begins with entry {result['entry']}.")
    out.line(
        "What is given to it from now on is behind what it signs: `tally emit --deliver-to`, or a program of the house (docs/agents.md)."
    )


@command("end", example="tally context end agent")
@click.argument("key")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def end(call: Call, key: str, house: str, passphrase_fd: int | None) -> None:
    """Say that a key's program has forgotten what it heard."""
    result = call.behind.context_end(call.settings(), key=key, house=house, passphrase=passphrase_asker(passphrase_fd))
    emit("context end", result, as_json=call.as_json, render=_show_ended)


def _show_ended(result: Result, out: Out) -> None:
    out.line(f"The context of #{result['number']} {result['label']} ended (entry {result['entry']}).")


context.add_command(begin)
context.add_command(end)
