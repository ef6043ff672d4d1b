"""init, serve, invite, status: a house, and what this machine knows of itself."""

import time
from typing import Final

import click

from tallystick.cli.command import PAIR_TYPES, Call, command, pair_type, passphrase_fd, setting
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import count_down, passphrase_asker, qr_lines
from tallystick.cli.text import age, counted, size

SHORT_KEY: Final = 16


@command("init", example="tally init --name attic\ntally init --owner KEYID")
@click.option("--owner", metavar="KEYID", help="The human key that may approve the first ADMIN; without it the words are confirmed here.")
@setting("name")
def init(call: Call, owner: str | None, name: str | None) -> None:
    """Make this computer a house.

    Makes its keys in the best vault found, an empty ledger and the recovery key, which is shown once: write it on paper.
    """
    result = call.behind.init(call.settings(name=name), owner=owner)
    emit("init", result, as_json=call.as_json, render=_show_init)


def _show_init(result: Result, out: Out) -> None:
    out.line(f"A house named {result['name']} lies in {result['home']}.")
    out.pairs([("house", result["house"]), ("keys", f"{result['vault']} ({result['key_class']})"), ("owner", result["owner"] or "")])
    out.line()
    out.line("Recovery key, shown this once. Write it on paper; it can replace the owner's key, and nothing else can:")
    out.line(f"    {result['recovery']}")
    out.line()
    out.line("Next: `tally serve`, and in another terminal `tally invite --type ADMIN` for the machine of the owner.")


@command("serve", example="tally serve --root /srv/files --metrics-port 9187")
@setting("address")
@setting("port")
@setting("root")
@setting("advertise")
@setting("metrics_port")
@setting("log_format")
@setting("log_level")
def serve(call: Call, **flags: str | None) -> None:
    """Run the house until it is stopped (SIGTERM or Ctrl-C).

    Only paired machines get an answer; to all others the port looks closed.
    """

    def ready(result: Result) -> None:
        emit("serve", result, as_json=call.as_json, render=_show_serve)

    call.behind.serve(call.settings(**flags), ready=ready)


def _show_serve(result: Result, out: Out) -> None:
    out.line(f"serving {result['house']} on UDP {result['address']} port {result['port']} (process {result['pid']})")
    if result["metrics_port"]:
        out.line(f"metrics on 127.0.0.1 port {result['metrics_port']}")


@command("invite", example="tally invite\ntally invite --type USER --label laptop")
@click.option(
    "--type",
    "kind",
    type=pair_type(),
    default="INPUT",
    metavar="TYPE",
    help=f"What the pair may do at most: {', '.join(PAIR_TYPES)}. Default: INPUT.",
)
@click.option("--label", default="", metavar="TEXT", help="A note for yourself; the inbox shows it.")
@click.option("--yes", is_flag=True, help="Approve in advance: never ADMIN; needs --for, or the invite lives 2 minutes.")
@click.option("--for", "for_key", metavar="KEYID", help="Only the machine with this key may use the invite.")
@click.option("--ttl", "ttl", type=click.IntRange(1, 600), metavar="SECONDS", help="Seconds the invite lives: 600, with --yes alone 120.")
@setting("advertise")
@passphrase_fd
def invite(
    call: Call,
    kind: str,
    label: str,
    yes: bool,
    for_key: str | None,
    ttl: int | None,
    advertise: str | None,
    passphrase_fd: int | None,
) -> None:
    """Let one other machine ask to pair: one use, ten minutes.

    The first one, for the owner's machine, is made at the house; later ones on a machine with an ADMIN pair, signed by its human key.

    Give the string, or the QR code, to the other machine over a way you trust, and run `tally pair` there.
    """
    result = call.behind.invite(
        call.settings(advertise=advertise),
        pair_type=kind,
        label=label,
        approve=yes,
        for_key=for_key,
        ttl_s=ttl,
        passphrase=passphrase_asker(passphrase_fd),
    )
    emit("invite", result, as_json=call.as_json, render=_show_invite)
    if not call.as_json:
        count_down(result["expires_ns"])


def _show_invite(result: Result, out: Out) -> None:
    if out.for_people:
        for line in qr_lines(result["invite"]):
            out.line(line)
    out.line(f"An invite for one machine, type {result['type']}, expires {age(result['expires_ns'], time.time_ns())}. On that machine:")
    out.line()
    out.line(f"    tally pair {result['invite']}")
    out.line()
    out.line("It needs no approval." if result["approved"] else "Then look into `tally inbox`.")


@command("status", example="tally status\ntally status --house attic\ntally status --json | jq '.pairs[].name'")
@click.option("--house", default=None, metavar="HOUSE", help="Ask that house instead; one of its ADMINs sees all of its pairs.")
def status(call: Call, house: str | None) -> None:
    """Show this machine and its pairs: type, last knock, bytes, key class, mode, and who could see what."""
    settings = call.settings()
    if house is None:
        emit("status", call.behind.status(settings), as_json=call.as_json, render=_show_status)
    else:
        emit("status --house", call.behind.house_status(settings, house=house), as_json=call.as_json, render=_show_house)


def _show_house(result: Result, out: Out) -> None:
    out.pairs(
        [
            ("house", f"{result['house']} ({result['name']})"),
            ("id", result["id"]),
            ("we are", result["type"]),
            ("ledger", counted(result["entries"], "entry")),
            (
                "open",
                f"{counted(result['pairs_standing'], 'pair')}, {counted(result['sessions_open'], 'session')}, "
                f"up for {result['uptime_seconds']} s",
            ),
        ]
    )
    if result["type"] == "ADMIN":
        out.line()
        _show_pairs(result, out)


def _shown_space(result: Result) -> str:
    least = result["least_bytes"]
    if least is None or result["free_bytes"] >= least:
        return ""
    return f"{size(result['free_bytes'])} free: BELOW {size(least)} NO COMMANDS ARE TAKEN; make room"


def _shown_publication(result: Result) -> str:
    if result["published"] is None:
        return ""
    return counted(result["published"], "entry") + (f"; NOT GOING ON: {result['publication']}" if result["publication"] else "")


def _show_status(result: Result, out: Out) -> None:
    role = result["role"]
    if role == "house":
        role += f", running as process {result['pid']}" if result["running"] else ", not running"
    out.pairs(
        [
            ("name", f"{result['name']} ({role})"),
            ("home", result["home"]),
            ("house", result["house"] or ""),
            ("key", f"{result['key']} ({result['key_class']})"),
            ("listens", f"UDP {result['address']} port {result['port']}" if result["port"] else ""),
            ("ledger", counted(result["entries"], "entry") + (f", root {result['root'][:SHORT_KEY]}" if result["root"] else "")),
            ("published", _shown_publication(result)),
            ("CLOSED", f"{result['closed']}. See `tally restore --help`." if result["closed"] else ""),
            ("PLAN", _shown_plan(result["plan_not_taken"])),
            ("disk", _shown_space(result)),
            ("inbox", f"{result['open_proposals']} waiting: `tally inbox`" if result["open_proposals"] else ""),
        ]
    )
    out.line()
    _show_pairs(result, out)


def _shown_plan(not_taken: list[str]) -> str:
    return f"fewer layers are configured for {', '.join(not_taken)}, and not taken: `tally plan`" if not_taken else ""


def _show_pairs(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    rows = [
        (
            pair["name"],
            pair["label"],
            pair["type"],
            pair["state"],
            age(pair["last_knock_ns"], now_ns),
            pair["address"] or "-",
            f"{size(pair['received_bytes'])} / {size(pair['sent_bytes'])}",
            pair["key_class"],
            f"{pair['mode']}: {pair['visibility']}" if pair["mode"] else "-",
        )
        for pair in result["pairs"]
    ]
    headers = ("NAME", "LABEL", "TYPE", "STATE", "LAST KNOCK", "ADDRESS", "IN / OUT", "KEY", "MODE")
    out.table(headers, rows, empty="No pairs yet: `tally invite` at a house, `tally pair INVITE` on the other machine.")
