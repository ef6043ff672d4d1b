"""verb ls, verb run: the programs that a house's owner named (docs/verbs.md)."""

import sys
from pathlib import Path
from typing import Any, Final

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.cli.text import printable, size
from tallystick.errors import Misuse

MAX_READ: Final = 65_536


@click.group("verb", context_settings={"help_option_names": ["-h", "--help"]})
def verb() -> None:
    """Run programs by name at a house: its owner wrote them into tally.toml there.

    Example: `tally verb ls`, then `tally verb run reboot`.
    """


@command("ls", example="tally verb ls\ntally verb ls attic --json")
@click.argument("house", required=False, default="")
def ls(call: Call, house: str) -> None:
    """List the programs that this machine may have run."""
    settings = call.settings()
    emit("verb ls", call.behind.verb_ls(settings, house=house or settings.house), as_json=call.as_json, render=_show_verbs)


def _show_verbs(result: Result, out: Out) -> None:
    rows = [
        (each["name"], each["action"], f"{each['timeout_s']} s", size(each["input_bytes"]) if each["input_bytes"] else "-", each["doc"])
        for each in result["verbs"]
    ]
    out.table(("NAME", "CLASS", "TIME", "INPUT", "ABOUT"), rows, empty="This house names no program that this pair may run.")


@command("run", example="tally verb run reboot\ntally verb run import-contacts attic --input contacts.vcf --json")
@click.argument("name")
@click.argument("house", required=False, default="")
@click.option("--input", "source", metavar="FILE", help="What the program gets to read; - for standard input.")
@passphrase_fd
def run(call: Call, name: str, house: str, source: str | None, passphrase_fd: int | None) -> int:
    """Have a program run. One of class admin takes the signature of a human key, each time.

    What it says comes as it says it. Ends with 0 where the program did, else with 1.
    """
    settings = call.settings()
    said: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}

    def hear(number: int, chunk: bytes) -> None:
        if call.as_json:
            said[number].extend(chunk)
            return
        stream = sys.stdout if number == 1 else sys.stderr
        if stream.isatty():
            # Another machine's text must not steer this terminal.
            lines = chunk.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")
            click.echo("\n".join("\t".join(map(printable, line.split("\t"))) for line in lines), nl=False, file=stream)
        else:
            stream.buffer.write(chunk)
        stream.flush()

    result: dict[str, Any] = {
        **call.behind.verb_run(
            settings,
            name=name,
            house=house or settings.house,
            given=None if source is None else _read(source),
            hear=hear,
            passphrase=passphrase_asker(passphrase_fd),
        ),
        "output": said[1].decode("utf-8", "replace"),
        "errors": said[2].decode("utf-8", "replace"),
    }
    emit("verb run", result, as_json=call.as_json, render=lambda _, __: None)
    if not call.as_json and (result["status"] or result["ending"] != "exited"):
        click.echo(printable(f"{result['name']}: {result['ending']} with status {result['status']} (entry {result['entry']})"), err=True)
    if not call.as_json and result["dropped_bytes"]:
        click.echo(printable(f"{result['name']}: {size(result['dropped_bytes'])} more were said and dropped"), err=True)
    return 0 if result["ending"] == "exited" and result["status"] == 0 else 1


def _read(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read(MAX_READ)
    with Path(source).open("rb") as file:
        data = file.read(MAX_READ)
    if len(data) == MAX_READ:
        raise Misuse(f"{source} is too long for a program's input", "store it with `tally put` and let the program read it there")
    return data


verb.add_command(ls)
verb.add_command(run)
