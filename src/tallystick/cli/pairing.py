"""pair, ping, whois, downgrade, sever: the life of a pair."""

import click

from tallystick.cli.command import Call, command, pair_type, passphrase_fd
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker, show_words
from tallystick.cli.text import counted
from tallystick.pair.statement import SEVER_REASONS


@command("pair", example="tally pair INVITE --label laptop")
@click.argument("invite")
@click.option("--label", default="", metavar="TEXT", help="What this machine asks to be called.")
@passphrase_fd
def pair(call: Call, invite: str, label: str, passphrase_fd: int | None) -> None:
    """Pair this machine with the house that made INVITE.

    Both ends show the same four words. The pair stands when a human key of the house has approved it.
    """
    result = call.behind.pair(
        call.settings(),
        invite=invite,
        label=label,
        show_words=show_words,
        passphrase=passphrase_asker(passphrase_fd),
        scripted=passphrase_fd is not None,
    )
    emit("pair", result, as_json=call.as_json, render=_show_pair)


def _show_pair(result: Result, out: Out) -> None:
    if result["state"] == "standing":
        out.line(f"Paired with {result['name']} as {result['type']}. Try `tally ping {result['name']}`.")
    else:
        out.line(f"{result['name']} knows this machine now and waits for an approval there: `tally inbox`, `tally approve ID`.")


@command("ping", example="tally ping attic -c 3")
@click.argument("house", required=False, default="")
@click.option("-c", "--count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How many messages.")
def ping(call: Call, house: str, count: int) -> None:
    """Knock at a house, connect, and time small messages."""
    settings = call.settings()
    result = call.behind.ping(settings, house=house or settings.house, count=count)
    emit("ping", result, as_json=call.as_json, render=_show_ping)


def _show_ping(result: Result, out: Out) -> None:
    for answer in result["answers"]:
        out.line(f"{result['house']} at {result['address']}: {answer['number']} in {answer['ms']:.2f} ms")
    out.line(f"mode {result['mode']}: {result['visibility']}")


@command("whois", example="tally whois laptop\ntally whois '#12'\ntally whois camera --house attic")
@click.argument("who")
@click.option("--house", default="", metavar="HOUSE", help="Not here: among the pairs of that house, as one of its ADMINs.")
def whois(call: Call, who: str, house: str) -> None:
    """Tell which pair or key a name, KeyId, short number or address belongs to."""
    emit("whois", call.behind.whois(call.settings(), who=who, house=house), as_json=call.as_json, render=_show_whois)


def _show_whois(result: Result, out: Out) -> None:
    out.pairs([(name, str(result[name] or "")) for name in ("name", "kind", "key", "type", "state", "label", "address")])


@command("downgrade", example="tally downgrade laptop USER")
@click.argument("name")
@click.argument("kind", metavar="TYPE", type=pair_type())
@passphrase_fd
def downgrade(call: Call, name: str, kind: str, passphrase_fd: int | None) -> None:
    """Narrow what a pair may do, without pairing again. Only a new pairing widens it."""
    result = call.behind.downgrade(
        call.settings(),
        name=name,
        pair_type=kind,
        passphrase=passphrase_asker(passphrase_fd),
        scripted=passphrase_fd is not None,
    )
    emit(
        "downgrade",
        result,
        as_json=call.as_json,
        render=lambda shown, out: out.line(f"{shown['name']}: {shown['before']} -> {shown['type']} (entry {shown['entry']})."),
    )


@command("sever", example="tally sever laptop --reason lost")
@click.argument("name")
@click.option("--reason", type=click.Choice(SEVER_REASONS), default="unspecified", help="Kept in the record.")
@passphrase_fd
def sever(call: Call, name: str, reason: str, passphrase_fd: int | None) -> None:
    """End a pair: its secrets are destroyed, its sessions cut, and the other end meets silence.

    At either end NAME is the other machine and nothing needs to be signed. On a machine with an ADMIN pair NAME may also be any pair of
    that house: then its human key signs.
    """
    result = call.behind.sever(call.settings(), name=name, reason=reason, passphrase=passphrase_asker(passphrase_fd))
    emit("sever", result, as_json=call.as_json, render=_show_sever)


def _show_sever(result: Result, out: Out) -> None:
    told = "the other end was told" if result["told"] else "the other end will meet silence"
    out.line(f"{result['name']} is severed: {counted(result['sessions_cut'], 'session')} cut, {told} (entry {result['entry']}).")
