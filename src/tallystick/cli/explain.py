"""explain: how a signal came about."""

from pathlib import Path

import click

from tallystick.cli.command import Call, command
from tallystick.cli.drawing import dot, svg
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.errors import Misuse


@command("explain", example="tally explain 1027\ntally explain 3f9c22d1 --svg > story.svg\ntally explain 1027 --house attic --json")
@click.argument("signal", metavar="SIGNAL")
@click.option("--house", metavar="HOUSE", help="A signal of this house's ledger (ADMIN pairs only). Default: of this machine's own.")
@click.option("--quick", is_flag=True, help="Check no signature: nothing is called proven.")
@click.option("--now", "all_now", is_flag=True, help="Judge every step anew, not only the first and those with findings.")
@click.option("--proofs", type=click.Path(path_type=Path), metavar="FILE", help="Write the evidence of all entries of the story.")
@click.option("--dot", "as_dot", is_flag=True, help="Print a graph for Graphviz.")
@click.option("--svg", "as_svg", is_flag=True, help="Print a picture.")
def explain(
    call: Call, signal: str, house: str | None, quick: bool, all_now: bool, proofs: Path | None, as_dot: bool, as_svg: bool
) -> None:
    """Tell how a signal came about, signer by signer: who said what, how it was judged then and would be now, and what came of it.

    SIGNAL is the number of an entry (a signal, or its finding, proposal or effect), or 8 or more digits of a signal's reference.
    It says which links are proven by signatures and which the house infers. `tally verify FILE` checks what --proofs writes.
    """
    if as_dot + as_svg + call.as_json > 1:
        raise Misuse("--json, --dot and --svg are three forms of one answer", "choose one")
    result = call.behind.explain(call.settings(), signal=signal, house=house, quick=quick, all_now=all_now, proofs=proofs)
    if as_dot:
        emit("explain", result, as_json=False, render=lambda found, out: out.text(dot(found)))
    elif as_svg:
        emit("explain", result, as_json=False, render=lambda found, out: out.text(svg(found)))
    else:
        emit("explain", result, as_json=call.as_json, render=_show)


def _show(result: Result, out: Out) -> None:
    for line in result["text"]:
        out.line(line)
    proven = [step for step in result["steps"] if step["proof"]]
    if result["size"] is None:
        out.line("No checkpoint was signed yet: nobody outside can tell that these entries are the only ones.")
    else:
        covered = f"{len(proven)} of {len(result['steps'])} stand under the checkpoint of {result['size']:,} entries"
        out.line(f"{covered}; --json has the proofs.")
    if result["proofs"]:
        out.line(f"The evidence is in {result['proofs']}; `tally verify` checks it anywhere.")
