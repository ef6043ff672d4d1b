"""config, doctor, completion, quickstart: this machine itself."""

import json
from typing import Final

import click

from tallystick.cli.command import Call, command, setting
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.text import printable
from tallystick.errors import Unavailable

SHELLS: Final = ("bash", "zsh", "fish")
_MARKS: Final = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@command("config", example="tally config\nTALLY_PORT=4000 tally config --json")
def config(call: Call) -> None:
    """Show each setting, its value, and where that came from: flag, environment, file or default.

    At a house also which layers judge which class, and why: that is settings and record together (`tally plan`).
    """
    settings = call.settings()
    # What needs no house loads none.
    plan = call.behind.config_plan(settings)["classes"] if (settings.home / "house.sqlite").exists() else []
    emit("config", {"settings": settings.rows(), "plan": plan}, as_json=call.as_json, render=_show_config)


def _show_config(result: Result, out: Out) -> None:
    if out.for_people:
        rows = [(row["name"], str(row["value"]), f"{row['source']} {row['detail']}".rstrip(), row["doc"]) for row in result["settings"]]
        out.table(("SETTING", "VALUE", "FROM", "MEANING"), rows, empty="")
        layers = [(row["class"], ", ".join(row["layers"]), row["why"]) for row in result["plan"]]
        if layers:
            out.table(("CLASS", "LAYERS", "WHY"), layers, empty="")
        return
    # Into a pipe: lines that tally.toml takes. The home is where that file lies, so it cannot stand in it.
    for row in result["settings"]:
        line = f"{row['name']} = {json.dumps(row['value'])}  # {row['source']} {row['detail']}".rstrip()
        out.line(line if row["name"] != "home" else f"# {line}")
    for row in result["plan"]:
        out.line(f"# {row['class']} is judged by {', '.join(row['layers'])}: {row['why']}")


@command("doctor", example="tally doctor\ntally doctor --firewall | sudo nft -f -")
@click.option("--firewall", is_flag=True, help="Print a default-drop ruleset for nftables under which all ports look alike.")
@setting("address")
@setting("port")
def doctor(call: Call, firewall: bool, address: str | None, port: str | None) -> int:
    """Test capabilities, clock, permissions, disk, port and firewall, and say what to do.

    Exits with 4 when a check fails.
    """
    from tallystick.node.doctor import examine, firewall_ruleset

    settings = call.settings(address=address, port=port)
    if firewall:
        emit(
            "doctor --firewall",
            {"port": settings.port, "ruleset": firewall_ruleset(settings)},
            as_json=call.as_json,
            render=lambda shown, out: out.text(shown["ruleset"]),
        )
        return 0
    result = examine(settings)
    emit("doctor", result, as_json=call.as_json, render=_show_doctor)
    return 0 if result["ok"] else Unavailable.exit_code


def _show_doctor(result: Result, out: Out) -> None:
    for check in result["checks"]:
        out.line(f"{_MARKS[check['state']]}  {check['name']:<12}  {check['message']}")
        if check["hint"]:
            out.line(f"{'':18}  -> {check['hint']}")


@command("completion", example='eval "$(tally completion bash)"\ntally completion fish > ~/.config/fish/completions/tally.fish')
@click.argument("shell", type=click.Choice(SHELLS))
def completion(call: Call, shell: str) -> None:
    """Print the script that completes commands and options in a shell."""
    from click.shell_completion import get_completion_class

    from tallystick.cli.main import COMPLETE, tally

    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError(f"click knows no {shell}")
    # The template itself: `source()` would start the shell to ask its version.
    maker = kind(tally, {}, "tally", COMPLETE)
    script = maker.source_template % maker.source_vars()
    emit("completion", {"shell": shell, "script": script}, as_json=call.as_json, render=lambda shown, out: out.text(shown["script"]))


@command("quickstart", example="tally quickstart\ntally quickstart --once --json")
@click.option("--once", is_flag=True, help="Exit at the end instead of keeping the house running.")
def quickstart(call: Call, once: bool) -> int:
    """Watch a house and four machines on this computer pair, work, be refused and be severed, and its gate believe only what is proven.

    Real sockets, real files, a folder of its own; nothing of yours is touched.
    """

    def step(result: Result) -> None:
        if not call.as_json:
            what, detail = printable(result["step"]), printable(result["detail"])
            click.echo(f"{'ok  ' if result['ok'] else 'FAIL'}  {result['seconds']:7.3f} s  {what:<27} {detail}".rstrip())

    result = call.behind.quickstart(call.settings(), once=once, step=step)
    emit("quickstart", result, as_json=call.as_json, render=_show_quickstart)
    return 0 if result["ok"] else 1


def _show_quickstart(result: Result, out: Out) -> None:
    failed = [step["step"] for step in result["steps"] if not step["ok"]]
    out.line(f"{len(result['steps'])} steps, all as they should be." if not failed else f"failed: {', '.join(failed)}")
