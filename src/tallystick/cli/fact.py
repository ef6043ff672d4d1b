"""fact add, fact ls, fact withdraw: what is known to hold, stated by a human key."""

import json
import time

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.log import moment, since
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.cli.text import when


@click.group("fact", context_settings={"help_option_names": ["-h", "--help"]})
def fact() -> None:
    """State what holds about a key or about all of them; the rules of the gate look at it.

    Example: `tally fact add attested --key front-door`, then `tally fact ls`.
    """


@command(
    "add",
    example=(
        "tally fact add firmware 1.4.2 --key front-door\n"
        "tally fact add carried-by Ada --key '#7' --personal\n"
        "tally fact add speed-limit 50 --until 7d"
    ),
)
@click.argument("predicate")
@click.argument("value", default="true")
@click.option("--key", default="", metavar="KEY", help="About this key: #12, KeyId or label. Default: about all.")
@click.option("--personal", is_flag=True, help="The ledger gets a commitment only; the value can be erased: `tally erase --house`.")
@click.option("--since", "since_", metavar="TIME", help="Holds since: 2h, or a date and time. Default: now.")
@click.option("--until", metavar="TIME", help="Holds until: 30d, or a date and time. Default: without end.")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def add(
    call: Call,
    predicate: str,
    value: str,
    key: str,
    personal: bool,
    since_: str | None,
    until: str | None,
    house: str,
    passphrase_fd: int | None,
) -> None:
    """Sign that a fact holds. PREDICATE is a word; VALUE is text, a whole number, true or false (default: true).

    docs/rules.md lists the words that the built-in rules read; others are for rules of your own.
    """
    now_ns = time.time_ns()
    result = call.behind.fact_add(
        call.settings(),
        predicate=predicate,
        value=value,
        key=key,
        personal=personal,
        since_ns=None if since_ is None else since(since_, now_ns),
        until_ns=None if until is None else moment(until, now_ns),
        house=house,
        passphrase=passphrase_asker(passphrase_fd),
    )
    emit("fact add", result, as_json=call.as_json, render=_show_added)


def _show_added(result: Result, out: Out) -> None:
    kept = "; its value can be erased" if result["personal"] else ""
    out.line(f"{result['predicate']} holds (entry {result['entry']}){kept}.")


@command("ls", example="tally fact ls\ntally fact ls --key front-door --all --json")
@click.option("--key", default="", metavar="KEY", help="Only about this key: #12, KeyId or label.")
@click.option("--predicate", default="", metavar="WORD", help="Only of this word.")
@click.option("--all", "every", is_flag=True, help="Also those that are withdrawn or suspended.")
@click.option("--house", default="", metavar="HOUSE", help="Of this house. Default: this home's own, or the only one it is paired with.")
def ls(call: Call, key: str, predicate: str, every: bool, house: str) -> None:
    """List facts, the newest first."""
    result = call.behind.fact_ls(call.settings(), key=key, predicate=predicate, every=every, house=house)
    emit("fact ls", result, as_json=call.as_json, render=_show_facts)


def fact_row(each: Result) -> tuple[str, ...]:
    """A fact in a table."""
    value = "(erased)" if each["value"] is None else each["value"] if isinstance(each["value"], str) else json.dumps(each["value"])
    until = "" if each["until_ns"] is None else f" to {when(each['until_ns'])}"
    return (
        str(each["entry"]),
        each["subject"] or "all",
        each["predicate"],
        value,
        each["state"],
        f"{when(each['observed_ns'])}{until}",
        each["by"] or "the house",
    )


FACT_HEADERS = ("ENTRY", "ABOUT", "PREDICATE", "VALUE", "STATE", "HOLDS", "BY")


def _show_facts(result: Result, out: Out) -> None:
    out.table(FACT_HEADERS, [fact_row(each) for each in result["facts"]], empty="No facts.")


@command("withdraw", example="tally fact withdraw 1207")
@click.argument("entry", metavar="ENTRY")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def withdraw(call: Call, entry: str, house: str, passphrase_fd: int | None) -> None:
    """Sign that a fact no longer holds. ENTRY is the entry that brought it: `tally fact ls`."""
    result = call.behind.fact_withdraw(call.settings(), fact=entry, house=house, passphrase=passphrase_asker(passphrase_fd))
    emit(
        "fact withdraw",
        result,
        as_json=call.as_json,
        render=lambda shown, out: out.line(f"Fact {shown['fact']} no longer holds (entry {shown['entry']})."),
    )


fact.add_command(add)
fact.add_command(ls)
fact.add_command(withdraw)
