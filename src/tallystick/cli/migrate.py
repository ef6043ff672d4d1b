"""migrate: a house moves to another machine (docs/house.md)."""

from pathlib import Path

import click

from tallystick.cli.command import Call, command, passphrase_fd, setting
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker, progress
from tallystick.cli.text import counted, size


@click.group("migrate", context_settings={"help_option_names": ["-h", "--help"]})
def migrate() -> None:
    """Move a house to another machine: its ledger, its pairs and their secrets; the new machine makes its own keys.

    Example: `tally migrate ticket T` on the new machine, `tally migrate to T` on the owner's, `tally migrate send F` on the old one,
    `tally migrate receive F` on the new one.
    """


@command("ticket", example="tally migrate ticket attic.ticket --advertise attic.example:51877")
@click.argument("file", type=click.Path(path_type=Path))
@setting("advertise")
def ticket(call: Call, file: Path, advertise: str | None) -> None:
    """On the new machine, in an empty home: make its keys, and the ticket that the owner signs."""
    result = call.behind.migrate_ticket(call.settings(advertise=advertise), target=file)
    emit("migrate ticket", result, as_json=call.as_json, render=_show_ticket)


def _show_ticket(result: Result, out: Out) -> None:
    out.line(f"{result['ticket']}: the machine {result['key']}, at {result['address']}.")
    out.line("Bring it to the owner's machine: `tally migrate to FILE` there.")


@command("to", example="tally migrate to attic.ticket")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--house", default="", metavar="NAME", help="Which house, where this machine is paired with several.")
@passphrase_fd
def to(call: Call, file: Path, house: str, passphrase_fd: int | None) -> None:
    """On the owner's machine: sign that the house moves. From then on it takes no command where it is, and tells its pairs where to go."""
    asker = passphrase_asker(passphrase_fd)
    result = call.behind.migrate_to(call.settings(), ticket=file, house=house, passphrase=asker)
    emit("migrate to", result, as_json=call.as_json, render=_show_to)


def _show_to(result: Result, out: Out) -> None:
    out.line(f"{result['house']} moves to the machine {result['key']} (entry {result['entry']}).")
    out.line("On the old machine: `tally migrate send FILE`; on the new one: `tally migrate receive FILE`.")


@command("send", example="tally migrate send attic.copy")
@click.argument("file", type=click.Path(path_type=Path))
def send(call: Call, file: Path) -> None:
    """On the old machine: write the copy, which only the machine that the house moved to can open. Leave the old house running for a
    while: it tells its pairs where to go.
    """
    with progress(file.name, show=not call.as_json) as step:
        result = call.behind.migrate_send(call.settings(), target=file, progress=step)
    emit("migrate send", result, as_json=call.as_json, render=_show_send)


def _show_send(result: Result, out: Out) -> None:
    out.line(f"{result['file']}: {size(result['bytes'])}, {counted(result['entries'], 'entry')}. SHA-256 {result['sha256']}")


@command("receive", example="tally migrate receive attic.copy")
@click.argument("file", type=click.Path(path_type=Path))
def receive(call: Call, file: Path) -> None:
    """On the new machine: check the copy as a whole, take it, and open the house here. Then `tally serve`."""
    with progress(file.name, show=not call.as_json) as step:
        result = call.behind.migrate_receive(call.settings(), source=file, progress=step)
    emit("migrate receive", result, as_json=call.as_json, render=_show_receive)


def _show_receive(result: Result, out: Out) -> None:
    out.line(f"{result['home']}: the house {result['house']} lives here from entry {result['entry']} on. Start it: `tally serve`.")


for each in (ticket, to, send, receive):
    migrate.add_command(each)
