"""key new, key ls: human keys, which root authority. Make yours on your own machine, not at the house."""

import time

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.cli.text import age


@click.group("key", context_settings={"help_option_names": ["-h", "--help"]})
def key() -> None:
    """Make and list human keys.

    Example: on your own machine run `tally key new`, at the house `tally init --owner KEYID`.
    """


@command("new", example="tally key new --label jean")
@click.option("--label", default="", metavar="TEXT", help="Whose key it is.")
@passphrase_fd
def new(call: Call, label: str, passphrase_fd: int | None) -> None:
    """Make a human key, locked by a passphrase that every signature asks for."""
    asker = passphrase_asker(passphrase_fd, new=True)
    result = call.behind.key_new(call.settings(), label=label, passphrase=asker, scripted=passphrase_fd is not None)
    emit("key new", result, as_json=call.as_json, render=_show_new)


def _show_new(result: Result, out: Out) -> None:
    out.line(result["key"])
    out.line(f"A human key ({result['kind']}, {result['key_class']}). At the house: `tally init --owner` with this KeyId.")


@command("ls", example="tally key ls --json")
def ls(call: Call) -> None:
    """List the human keys in this machine's vault."""
    emit("key ls", call.behind.key_ls(call.settings()), as_json=call.as_json, render=_show_keys)


def _show_keys(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    rows = [
        ("-" if k["number"] is None else f"#{k['number']}", k["label"], k["kind"], k["key_class"], age(k["created_ns"], now_ns), k["key"])
        for k in result["keys"]
    ]
    out.table(("NUMBER", "LABEL", "KIND", "CLASS", "MADE", "KEY"), rows, empty="No human keys here: `tally key new`.")


@command("replace-admins", example="tally key replace-admins PUBLIC --recovery-fd 3 3<FILE")
@click.argument("public", nargs=-1, required=True)
@click.option("--recovery-fd", type=click.IntRange(0, 65_535), metavar="N", help="Read the recovery key from this file descriptor.")
def replace_admins(call: Call, public: tuple[str, ...], recovery_fd: int | None) -> None:
    """At the house itself: with the recovery key from paper, name the human keys that have admin; all others lose it.

    PUBLIC is what `tally key ls --json` shows as `public` on the machine of the new owner.
    """
    recovery = passphrase_asker(recovery_fd)("the recovery key, as it stands on paper").decode("utf-8", "replace")
    result = call.behind.key_replace_admins(call.settings(), recovery=recovery, admins=list(public))
    emit("key replace-admins", result, as_json=call.as_json, render=_show_replaced)


def _show_replaced(result: Result, out: Out) -> None:
    out.line(f"Admins of this house from entry {result['entry']} on:")
    for name in result["admins"]:
        out.line(f"    {name}")


@command("rotate", example="tally key rotate log\ntally key rotate machine")
@click.argument("use", type=click.Choice(["log", "machine", "witness"]))
def rotate(call: Call, use: str) -> None:
    """At a house that is stopped: new keys, signed by the old ones; its pairs learn them in their next session.

    `log` signs checkpoints, `machine` is the Noise key and the signing key, `witness` cosigns. What the old keys signed stays good.
    """
    emit("key rotate", call.behind.key_rotate(call.settings(), use=use), as_json=call.as_json, render=_show_rotated)


def _show_rotated(result: Result, out: Out) -> None:
    out.line(f"New {result['use']} keys from entry {result['entry']} on. Start the house again; its pairs follow by themselves.")
    if result["older"]:
        out.line("The older Noise key answers until every pair has followed, and is destroyed then.")
    if result["failure"]:
        out.line(f"Not published: {result['failure']}")
        out.line("Start the house soon: until it publishes, tiles/ names the old keys, and no ledger can be made again from it.")


key.add_command(rotate)
key.add_command(new)
key.add_command(replace_admins)
key.add_command(ls)
