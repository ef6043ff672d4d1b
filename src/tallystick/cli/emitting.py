"""emit: hand one signal of a source to the gate."""

import click

from tallystick.cli.command import Call, command
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result

REFUSED = 1


@command(
    "emit",
    example="tally emit --key camera --class sensor/camera --action metadata --verb camera.frame --body frame.bin\n"
    'tally emit --key agent --class llm --action write --verb door.close --target "PUT /door/1" --prev REFERENCE',
)
@click.option("--key", required=True, metavar="KEY", help="A source key of this machine: its label or KeyId, or the path of a key file.")
@click.option("--class", "signal_class", required=True, metavar="CLASS", help="Where it comes from: sensor/camera, feed, cron, llm, ...")
@click.option("--action", required=True, metavar="ACTION", help="metadata, read, egress, propose, write or admin.")
@click.option("--verb", required=True, metavar="VERB", help="What it asks or tells: camera.frame, archive.rm, ...")
@click.option("--target", metavar="TARGET", help='A method and a path, as in "PUT /door/1".')
@click.option("--body", metavar="FILE", help="Its content, at most 1,000,000 bytes; - for standard input.")
@click.option("--place", metavar="PLACE", help="Where it was made: LATITUDE,LONGITUDE[,METRES] in degrees, or a name.")
@click.option("--prev", multiple=True, metavar="REFERENCE", help="A signal that brought it about; more than one may be named.")
@click.option("--deliver-to", multiple=True, metavar="KEY", help="Whom its content is given to, if it is allowed (at the house itself).")
@click.option("--house", default="", metavar="NAME", help="The house, where this machine is paired with several.")
def emit_signal(
    call: Call,
    key: str,
    signal_class: str,
    action: str,
    verb: str,
    target: str | None,
    body: str | None,
    place: str | None,
    prev: tuple[str, ...],
    deliver_to: tuple[str, ...],
    house: str,
) -> int:
    """Sign a signal with a source key of this machine and hand it to the gate: at the house itself, or over the pair with it.

    Says whether it is allowed, held or refused, and its entry. Exit code 1: refused.
    """
    result = call.behind.emit(
        call.settings(),
        key=key,
        signal_class=signal_class,
        action=action,
        verb=verb,
        target=target,
        body=body,
        place=place,
        prev=prev,
        deliver_to=deliver_to,
        house=house,
    )
    emit("emit", result, as_json=call.as_json, render=_show)
    return REFUSED if result["verdict"] == "refused" else 0


def _show(result: Result, out: Out) -> None:
    where = "" if result["entry"] is None else f", entry {result['entry']}"
    out.line(f"{result['verdict']}{where}")
    if result["verdict"] != "refused":
        out.line(f"reference {result['reference']}")
    if result["status"] is not None:
        out.line(f"The house did it: {result['status']}.")
    if result["proposal"] is not None:
        out.line(f"It waits for a human as entry {result['proposal']}: `tally inbox`.")
