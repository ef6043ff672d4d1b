"""gate eval: what the layers of the gate are worth, measured on public data."""

import click

from tallystick.cli.command import Call, command
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result


@click.group("gate", context_settings={"help_option_names": ["-h", "--help"]})
def gate() -> None:
    """Measure the layers of the gate.

    Example: `tally gate eval schonlau data/schonlau`.
    """


@click.group("eval", context_settings={"help_option_names": ["-h", "--help"]})
def evaluation() -> None:
    """Measure a layer on public data; docs/evaluation.md tells where the data is and what came out."""


@command("schonlau", example="tally gate eval schonlau data/schonlau\ntally gate eval schonlau data/schonlau --rehearsal --json")
@click.argument("folder", metavar="DIR")
@click.option("--rehearsal", is_flag=True, help="Only on the training part, users typing in the place of each other: no label counts.")
def schonlau(call: Call, folder: str, rehearsal: bool) -> None:
    """Masquerades in Unix commands: does the behaviour profile notice that somebody else types?

    DIR holds User1.gz, User2.gz, ... and labels.txt. The first 5,000 commands of each user train; 100 blocks of 100 are judged.
    """
    result = call.behind.gate_eval_schonlau(call.settings(), folder=folder, rehearsal=rehearsal)
    emit("gate eval schonlau", result, as_json=call.as_json, render=_show)


def _show(result: Result, out: Out) -> None:
    part = "the training part" if result["rehearsal"] else "100 blocks each"
    out.line(f"{result['users']} users, {part}; cost = 6 * false alarms + misses, in percent.")
    rows = [
        (
            "with review" if row["review"] else "alone",
            f"{row['hit']:.1f} %",
            f"{row['false_alarm']:.2f} %",
            f"{row['cost']:.1f}",
            f"{row['flagged']} of {row['blocks']}",
            str(row["masked"]),
        )
        for row in result["rows"]
    ]
    out.table(("HOW", "HIT", "FALSE ALARM", "COST", "FLAGGED", "MASQUERADES"), rows, empty="")


evaluation.add_command(schonlau)
gate.add_command(evaluation)
