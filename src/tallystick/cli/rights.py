"""rights ls, rights why, plan, plan set: who may what, which layers judge whom, and why."""

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.pair.field import ACTIONS

_HOUSE = click.option(
    "--house", default="", metavar="HOUSE", help="Of this house. Default: this home's own, or the only one it is paired with."
)


@click.group("rights", context_settings={"help_option_names": ["-h", "--help"]})
def rights() -> None:
    """Show who may what at a house, and why.

    Example: `tally rights ls`, then `tally rights why front-door write`.
    """


@command("ls", example="tally rights ls\ntally rights ls --house attic --json")
@_HOUSE
def ls(call: Call, house: str) -> None:
    """Show the matrix: key x action.

    yes: for whatever it may sign; some: for some classes, targets or times (`tally key show KEY`); ask: a human is asked; no: refused.
    A pair's type caps all of it.
    """
    emit("rights ls", call.behind.rights_ls(call.settings(), house=house), as_json=call.as_json, render=_show_matrix)


def _show_matrix(result: Result, out: Out) -> None:
    rows = [
        (f"#{each['number']}", each["label"], each["kind"], each["state"], *(each[action] for action in ACTIONS)) for each in result["keys"]
    ]
    headers = ("KEY", "LABEL", "KIND", "STATE", *(action.upper() for action in ACTIONS))
    out.table(headers, rows, empty="No keys.")


@command(
    "why",
    example="tally rights why front-door read\ntally rights why '#14' write --target 'PUT /v1/files/notes.txt' --signal 1207",
)
@click.argument("key")
@click.argument("action", type=click.Choice(ACTIONS))
@click.option("--class", "signal_class", default="", metavar="CLASS", help="Signed as this. Default: what the key was introduced for.")
@click.option("--target", default="", metavar="TARGET", help='For this target: "METHOD /path".')
@click.option("--verb", default="", metavar="VERB", help="By this verb: an advance approval is for one.")
@click.option(
    "--signal", default="", metavar="SIGNAL", help="This signal of the key; or acting upon this signal of another. Entry or reference."
)
@_HOUSE
def why(call: Call, key: str, action: str, signal_class: str, target: str, verb: str, signal: str, house: str) -> None:
    """Explain what would be said now to KEY asking ACTION: the cap, every key behind it, row by row, scopes, layers, verdict."""
    query = {"key": key, "action": action, "class": signal_class, "target": target, "verb": verb, "signal": signal}
    result = call.behind.rights_why(call.settings(), query=query, house=house)
    emit("rights why", result, as_json=call.as_json, render=_show_why)


def _show_why(result: Result, out: Out) -> None:
    asked = f"{result['key']} {result['label']}".rstrip() + f" asking {result['action']} as {result['class']}"
    about = f" for {result['target']}" if result["target"] else ""
    upon = f", signal {result['signal']}" if result["signal"] is not None else ""
    out.line(f"{asked}{about}{upon}: {result['verdict']}")
    out.line()
    rows = [(each["source"], each["subject"], each["verdict"], each["why"]) for each in result["voices"]]
    out.table(("VOICE", "WHO", "SAYS", "WHY"), rows, empty="Nobody has a say.")
    out.line()
    lines = [
        (
            each["key"],
            "-" if each["key"] == "unknown" else str(each["entry"]),
            "yes" if each["allows"] else f"no: {each['misses'] or '-'}",
            each["row"],
        )
        for each in result["rows"]
    ]
    out.table(("KEY", "ENTRY", "LETS IT THROUGH", "ROW"), lines, empty="No rows.")
    out.line()
    if result["scope"]:
        out.line(f"Approved in advance by scope {result['scope']}.")
    out.line(f"Layers: {', '.join(result['layers'])}, from {result['layers_from']}. What they say depends on the signal: `tally explain`.")


@command("plan", example="tally plan\ntally plan --house attic --json")
@_HOUSE
def plan(call: Call, house: str) -> None:
    """Show which layers judge which class, and why those: an entry, a parent class, the default, and what settings say."""
    emit("plan", call.behind.plan(call.settings(), house=house), as_json=call.as_json, render=_show_plan)


def _show_plan(result: Result, out: Out) -> None:
    rows = [(each["class"], ", ".join(each["layers"]), each["why"]) for each in result["classes"]]
    out.table(("CLASS", "LAYERS", "WHY"), rows, empty="No plan.")


@command("set", example="tally plan set cron=crypto\ntally plan set sensor=crypto,deterministic feed=")
@click.argument("changes", nargs=-1, required=True, metavar="CLASS=LAYERS...")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def plan_set(call: Call, changes: tuple[str, ...], house: str, passphrase_fd: int | None) -> None:
    """Sign other layers for some classes. `CLASS=` leaves a class to what it inherits from.

    Layers may be added by settings too (AUTH_LAYERS_*); only a signature takes one away. crypto is always among them.
    """
    result = call.behind.plan_set(call.settings(), changes=changes, house=house, passphrase=passphrase_asker(passphrase_fd))
    emit("plan set", result, as_json=call.as_json, render=_show_set)


def _show_set(result: Result, out: Out) -> None:
    out.line(f"The plan is signed (entry {result['entry']}).")
    if result["weakened"]:
        out.line(f"Fewer layers than before look at: {', '.join(result['weakened'])}.")


rights.add_command(ls)
rights.add_command(why)
