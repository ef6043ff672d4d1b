"""inbox, approve, deny, edit: what waits for a human, and what the human says (docs/approvals.md)."""

import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.log import moment
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import confirmer, passphrase_asker
from tallystick.cli.text import age, printable, size
from tallystick.errors import Misuse

_DENIALS: Final = ("denied", "wrong-words", "unknown-machine")  # of pairings: the other end's statement knows no others
_WORD: Final = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,62}[a-z0-9])?", re.ASCII)
MAX_REASON_BYTES: Final = 1_024


@command("inbox", example="tally inbox\ntally inbox --show 81\ntally inbox --tui\ntally inbox --json")
@click.option("--show", metavar="ID", help="One held signal: who is behind it, and what exactly would be done.")
@click.option("--tui", is_flag=True, help="Look through it and decide, in a full-screen window (extra tui).")
def inbox(call: Call, show: str | None, tui: bool) -> int:
    """Show what waits for a human: machines that want to pair, held signals, and what a revocation has suspended.

    Signatures and contents are checked on this machine; what fails is marked and cannot be approved.
    """
    settings = call.settings()
    if tui:
        if call.as_json or show is not None:
            raise Misuse("--tui is for a person at a terminal", "leave --json and --show out")
        # A face of its own, in a process of its own: no face knows another.
        return subprocess.run([sys.executable, "-m", "tallystick.console", str(settings.home)], check=False).returncode
    if show is not None:
        emit("inbox --show", call.behind.inbox_show(settings, proposal=show), as_json=call.as_json, render=_show_one)
        return 0
    emit("inbox", call.behind.inbox(settings), as_json=call.as_json, render=_show_inbox)
    return 0


def _show_inbox(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    pairings = [
        (
            proposal["id"],
            proposal["label"],
            proposal["type"],
            " ".join(proposal["words"]),
            proposal["digits"],
            proposal["key_class"],
            proposal["address"] or "-",
            age(proposal["since_ns"], now_ns),
            age(proposal["expires_ns"], now_ns),
        )
        for proposal in result["proposals"]
    ]
    held = [
        (
            str(each["id"]),
            each["risk"] if each["proven"] else "NOT PROVEN",
            each["who"],
            each["class"],
            each["verb"] if each["proven"] else each["problem"],
            each["target"],
            each["reason"] + (f" ({each['rule']})" if each["rule"] else ""),
            age(each["time_ns"], now_ns),
            age(each["expires_ns"], now_ns),
        )
        for each in result["held"]
    ]
    suspended = [(each["kind"], each["name"] or each["id"][:16], str(each["entry"]), str(each["cause"])) for each in result["suspended"]]
    if pairings:
        headers = ("ID", "LABEL", "TYPE", "WORDS", "DIGITS", "KEY", "ADDRESS", "SINCE", "EXPIRES")
        out.table(headers, pairings, empty="")
        out.line("Compare the words with the other end, then `tally approve ID` or `tally deny ID`.")
    if held:
        out.table(("ID", "RISK", "WHO", "CLASS", "VERB", "TARGET", "WHY", "SINCE", "EXPIRES"), held, empty="")
        out.line("`tally inbox --show ID` tells what exactly would be done.")
    if suspended:
        out.table(("SUSPENDED", "NAME", "ENTRY", "BY"), suspended, empty="")
    if not (pairings or held or suspended):
        out.line("Nobody waits.")


def _show_one(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    if not result["proven"]:
        out.line(f"NOT PROVEN: {result['problem']}. Do not approve it.")
    out.pairs(
        [
            ("id", str(result["id"])),
            ("state", result["state"]),
            ("risk", result["risk"]),
            ("who", f"{result['who']}  {result['key']}".strip()),
            ("class", result["class"]),
            ("asks", f"{result['verb']} ({result['action']})" if result["verb"] else ""),
            ("target", result["target"]),
            ("body", "" if result["body_bytes"] is None else f"{size(result['body_bytes'])}, SHA-256 {result['sha256']}"),
            ("held by", result["reason"] + (f": {result['rule']}" if result["rule"] else "")),
            ("since", age(result["time_ns"], now_ns)),
            ("expires", age(result["expires_ns"], now_ns)),
            ("replaces", "" if result["replaces"] is None else str(result["replaces"])),
        ]
    )
    for link in result["chain"] if isinstance(result["chain"], list) else ():
        out.line(f"because of  {chain_line(link)}")
    out.line()
    for line in result["effect"]:
        out.line(line)


def chain_line(link: Result) -> str:
    """One link of the origin chain: which key, and by which signal."""
    name = "somebody unknown" if link["number"] is None else f"#{link['number']} {link['label']}".rstrip()
    state = "" if link["state"] in ("standing", "unknown") else f" (its key is {link['state']})"
    said = "in its context" if link["entry"] is None else f"{link['class']} {link['verb']}, entry {link['entry']}"
    return f"{name}{state}: {said}"


def surer(*, yes: bool) -> Callable[[Sequence[Result]], bool]:
    """Shows what would be done and asks; with `yes` nobody is asked."""

    def sure(shown: Sequence[Result]) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            raise Misuse("nobody is here to look at it", "--yes approves without a question")
        for each in shown:
            click.echo(f"{each['id']}: {printable(each['who'])} asks {printable(each['verb'])} ({each['risk']})", err=True)
            for link in each["chain"]:
                click.echo(f"    because of {printable(chain_line(link))}", err=True)
            for line in each["effect"]:
                click.echo(f"    {printable(line)}", err=True)
        return click.confirm("Let it go?" if len(shown) == 1 else f"Let all {len(shown)} go?", default=False, err=True)

    return sure


@command(
    "approve",
    example="tally approve 7\n"
    "tally approve 81 82 83 --reason 'the weekly report'\n"
    "tally approve 81 --times 10 --until 2h --only-target\n"
    'tally approve 7a31c0de --words "snapline pedigree ringbolt bifocals" --passphrase-fd 3 3<FILE',
)
@click.argument("proposals", metavar="ID...", nargs=-1, required=True)
@click.option("--words", metavar="TEXT", help="Of a pairing: the words the other end shows, instead of being asked.")
@click.option("--yes", is_flag=True, help="Of held signals: do not show them and ask.")
@click.option("--times", type=click.IntRange(1, 1_000_000), metavar="N", help="Let N more like it go.")
@click.option("--until", metavar="TIME", help="Let more like it go until then: 10m, 2h, 7d, or a date and time. Default: 24h.")
@click.option("--only-body", is_flag=True, help="More like it: only with exactly this content.")
@click.option("--only-origins", is_flag=True, help="More like it: only with no other keys behind it.")
@click.option("--only-target", is_flag=True, help="More like it: only for this target.")
@click.option("--reason", metavar="TEXT", default="", help="Kept in the record with your signature.")
@passphrase_fd
def approve(
    call: Call,
    proposals: tuple[str, ...],
    words: str | None,
    yes: bool,
    times: int | None,
    until: str | None,
    only_body: bool,
    only_origins: bool,
    only_target: bool,
    reason: str,
    passphrase_fd: int | None,
) -> int:
    """Sign, with a human key, that a waiting pairing stands or that held signals may go.

    Several held signals are approved by one signature. Each is judged once more before it is done: what has changed comes back.
    """
    if len(reason.encode()) > MAX_REASON_BYTES or not reason.isprintable():
        raise Misuse("a reason is one line of at most 1024 bytes", "say it shorter")
    result = call.behind.approve(
        call.settings(),
        proposals=proposals,
        confirm=confirmer(words),
        sure=surer(yes=yes),
        times=times,
        until_ns=None if until is None else moment(until, time.time_ns()),
        only_body=only_body,
        only_origins=only_origins,
        only_target=only_target,
        reason=reason,
        passphrase=passphrase_asker(passphrase_fd),
        scripted=passphrase_fd is not None,
    )
    emit("approve", result, as_json=call.as_json, render=_show_approved)
    return (
        0
        if result["type"] != "signal" or all(each["why"] == "released" and each["result"] in ("", "done") for each in result["items"])
        else 1
    )


_WHAT: Final = {
    "changed": "not done: something has changed since it was held; it waits again",
    "void": "not done: it cannot be approved any more",
    "expired": "not done: its time was over",
}


def _show_approved(result: Result, out: Out) -> None:
    if result["type"] != "signal":
        out.line(f"{result['label']} is paired as {result['type']} (entry {result['entry']}).")
        return
    for each in result["items"]:
        if each["why"] == "released":
            status = "" if each["status"] in (None, 200) else f", status {each['status']}"
            what = {"done": f"done{status}", "failed": f"tried, and failed{status}: {each['reason']}"}.get(each["result"], "let go")
        else:
            what = _WHAT.get(each["why"], f"{each['state']} {each['why']}".strip())
        out.line(f"{each['id']}: {what}")
    out.line(f"Approved in entry {result['entry']}.")


@command("deny", example="tally deny laptop --reason wrong-words\ntally deny 81 --reason not-now")
@click.argument("proposal", metavar="ID")
@click.option("--reason", metavar="WORD", default="denied", help="Kept in the record; the other end does not learn it.")
@passphrase_fd
def deny(call: Call, proposal: str, reason: str, passphrase_fd: int | None) -> None:
    """Turn a waiting pairing away, and burn its invite; or turn a held signal away."""
    if not _WORD.fullmatch(reason) or reason == "edited":
        raise Misuse(f"{reason[:40]!r} is not a reason", f"a word such as {', '.join(_DENIALS)}, or one of your own: a-z 0-9 . _ / -")
    result = call.behind.deny(call.settings(), proposal=proposal, reason=reason, passphrase=passphrase_asker(passphrase_fd))
    emit("deny", result, as_json=call.as_json, render=lambda shown, out: out.line(f"Denied {shown['id']} (entry {shown['entry']})."))


@command("edit", example="tally edit 81 --body corrected.txt\ntally edit 81 --target 'PUT /v1/files/elsewhere.txt'")
@click.argument("proposal", metavar="ID")
@click.option("--body", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The content in its place.")
@click.option("--target", metavar="TARGET", help="The target in its place: METHOD /path, or only the path.")
@passphrase_fd
def edit(call: Call, proposal: str, body: Path | None, target: str | None, passphrase_fd: int | None) -> None:
    """Ask for something else in the place of a held signal.

    It becomes a signal of your own with the old one behind it, and waits to be approved like any other; the old one is over.
    """
    result = call.behind.edit(
        call.settings(),
        proposal=proposal,
        body=body,
        target=target,
        sure=surer(yes=True),
        passphrase=passphrase_asker(passphrase_fd),
    )
    emit("edit", result, as_json=call.as_json, render=_show_edited)


def _show_edited(result: Result, out: Out) -> None:
    if result["proposal"] is not None:
        out.line(f"{result['id']} is over; {result['proposal']} waits in its place: `tally inbox --show {result['proposal']}`.")
    else:
        out.line(f"{result['id']} is over; what is asked in its place was {result['verdict']} (entry {result['entry']}).")
