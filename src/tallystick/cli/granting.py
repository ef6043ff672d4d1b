"""grant, grant withdraw: rows of the matrix, signed by a human key."""

import time

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.log import moment
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.pair.field import ACTIONS


@command(
    "grant",
    example=(
        "tally grant front-door --class sensor/camera --place 48.1374,11.5755,50 --expires 365d\n"
        "tally grant backup --class cron --action write --target 'PUT /v1/files/backup/*' --schedule '0 3 * * *'\n"
        "tally grant '#12' --class sensor/camera --action write --target 'PUT /v1/files/pictures/*'"
    ),
)
@click.argument("key")
@click.option(
    "--class", "classes", multiple=True, required=True, metavar="CLASS", help="What it may sign as: sensor/camera, feed, cron, ..."
)
@click.option("--action", "actions", multiple=True, type=click.Choice(ACTIONS), help="What it may ask. Default: metadata, read, propose.")
@click.option(
    "--target", "targets", multiple=True, metavar="TARGET", help='Only for this: "METHOD /path", a last * for all below. Default: all.'
)
@click.option("--schedule", default="", metavar="CRON", help='When it may sign, UTC: "0 3 * * *". Default: always.')
@click.option(
    "--place", default="", metavar="PLACE", help="Where it may be: LAT,LON[,RADIUS in metres] or a name. The ledger keeps a commitment."
)
@click.option("--expires", metavar="TIME", help="Until when: 30d, 12h, or a date and time. Default: without end.")
@click.option("--label", default="", metavar="TEXT", help="What it is called from now on. Default: its label in this machine's vault.")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def grant(
    call: Call,
    key: str,
    classes: tuple[str, ...],
    actions: tuple[str, ...],
    targets: tuple[str, ...],
    schedule: str,
    place: str,
    expires: str | None,
    label: str,
    house: str,
    passphrase_fd: int | None,
) -> None:
    """Sign a source key into existence, or give one that the house knows one more row.

    KEY is a source key of this machine (its label), one that the house knows (#12, KeyId or label), or a public key: `tally key ls --json`
    shows it on the machine that has it.
    """
    result = call.behind.grant(
        call.settings(),
        key=key,
        classes=classes,
        actions=actions,
        targets=targets,
        schedule=schedule,
        place=place,
        expires_ns=None if expires is None else moment(expires, time.time_ns()),
        label=label,
        house=house,
        passphrase=passphrase_asker(passphrase_fd),
    )
    emit("grant", result, as_json=call.as_json, render=_show_grant)


def _show_grant(result: Result, out: Out) -> None:
    what = "is known from now on" if result["introduced"] else "has one more row"
    name = f"#{result['number']} {result['label']}".rstrip()
    out.line(f"{name} {what} (entry {result['entry']}). `tally key show '#{result['number']}'` tells what it may.")


@command("withdraw", example="tally grant withdraw 1207\ntally grant withdraw 9f0c...")
@click.argument("grant_", metavar="ENTRY")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def withdraw(call: Call, grant_: str, house: str, passphrase_fd: int | None) -> None:
    """Take back a row, named by the entry of its grant, or an advance approval, named by its id. `tally key show KEY` lists both.

    The row with which a key came in goes with the key: `tally key revoke KEY`.
    """
    result = call.behind.grant_withdraw(call.settings(), grant=grant_, house=house, passphrase=passphrase_asker(passphrase_fd))
    emit(
        "grant withdraw",
        result,
        as_json=call.as_json,
        render=lambda shown, out: out.line(f"{shown['withdrawn']} is withdrawn (entry {shown['entry']})."),
    )
