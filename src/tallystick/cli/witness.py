"""witness serve, ls, keys, show, compare: who has seen a log can say when it is changed."""

from pathlib import Path

import click

from tallystick.cli.command import Call, command, setting
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.text import when


@click.group("witness", context_settings={"help_option_names": ["-h", "--help"]})
def witness() -> None:
    """Be a witness of logs, and see who witnesses this one.

    Example: `tally witness keys` prints what others write into their policy, `tally witness serve --witness-logs FILE` cosigns for them.
    """


@command("serve", example="tally witness serve --witness-logs logs.txt --witness-listen 0.0.0.0:51878")
@setting("witness_logs")
@setting("witness_listen")
def serve(call: Call, **flags: str | None) -> None:
    """Cosign the checkpoints of the logs named in a file, until stopped (C2SP tlog-witness).

    Only what continues the checkpoint cosigned before gets a cosignature. The port answers everybody; the default is 127.0.0.1:51878.
    """

    def ready(result: Result) -> None:
        emit("witness serve", result, as_json=call.as_json, render=_show_serve)

    call.behind.witness_serve(call.settings(**flags), ready=ready)


def _show_serve(result: Result, out: Out) -> None:
    out.line(f"witness of {len(result['logs'])} logs on {result['address']} port {result['port']}")
    for log in result["logs"]:
        out.line(f"    {log}")
    out.line(f"key  {result['key']}")


@command("keys", example="tally witness keys >> their-policy")
def keys(call: Call) -> None:
    """Print the verifier keys of this machine: as a witness, and of its own log where it is a house."""
    emit("witness keys", call.behind.witness_keys(call.settings()), as_json=call.as_json, render=_show_keys)


def _show_keys(result: Result, out: Out) -> None:
    for key in result["log"]:
        out.line(f"log {key}")
    out.line(f"witness {key_name(result['witness'])} {result['witness']}")


def key_name(key: str) -> str:
    """A short name for a verifier key, as policies give their witnesses."""
    return key.partition("+")[0].rpartition("/")[2][:12]


@command("ls", example="tally witness ls")
def ls(call: Call) -> None:
    """List the witnesses of this house's log, and the logs this machine witnesses."""
    emit("witness ls", call.behind.witness_ls(call.settings()), as_json=call.as_json, render=_show_list)


def _show_list(result: Result, out: Out) -> None:
    rows = [
        (
            row["name"],
            "optional" if row["optional"] else "counts",
            str(row["size"]),
            when(row["time_ns"]) if row["time_ns"] else "-",
            row["failure"] or ("ok" if row["size"] else "-"),
        )
        for row in result["witnesses"]
    ]
    out.table(
        ("WITNESS", "QUORUM", "COSIGNED", "WHEN", "STATE"), rows, empty="No witnesses are asked: see witness_policy in `tally config`."
    )
    out.line()
    logs = [(row["name"] or "-", str(row["size"]), row["log"]) for row in result["logs"]]
    out.table(("HOUSE", "SEEN", "LOG"), logs, empty="This machine is a witness of no log.")


@command("show", example="tally witness show attic > seen-by-me")
@click.argument("house", required=False, default="")
def show(call: Call, house: str) -> None:
    """Print the newest checkpoint of HOUSE that this machine saw, cosigned: give it to somebody who sees the same house."""
    emit("witness show", call.behind.witness_show(call.settings(), house=house), as_json=call.as_json, render=_show_note)


def _show_note(result: Result, out: Out) -> None:
    for line in result["checkpoint"].removesuffix("\n").split("\n"):
        out.line(line)


@command("compare", example="tally witness compare seen-by-them attic")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("house", required=False, default="")
def compare(call: Call, file: Path, house: str) -> None:
    """Prove that a checkpoint somebody else saw and our own are of one history of HOUSE.

    If they are not, the house has shown two: both checkpoints are kept as evidence, and the exit code is 3.
    """
    result = call.behind.witness_compare(call.settings(), house=house, file=file)
    emit("witness compare", result, as_json=call.as_json, render=_show_compared)


def _show_compared(result: Result, out: Out) -> None:
    out.line(
        f"one history: the {result['theirs']} entries they saw and our {result['ours']} both lie in {result['house']}'s {result['newest']}"
    )


for each in (serve, ls, keys, show, compare):
    witness.add_command(each)
