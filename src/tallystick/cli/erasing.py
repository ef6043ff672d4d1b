"""erase: forget what an entry only commits to."""

import re
import sys
import time
from collections.abc import Callable
from typing import Final

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.log import since
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.errors import Misuse, Refused

_SPAN: Final = re.compile(r"(0|[1-9][0-9]{0,18})(?:-(0|[1-9][0-9]{0,18}))?")


def spans(words: tuple[str, ...]) -> list[tuple[int, int]]:
    """`12` or `40-60`, for each word. Raises: Misuse."""
    found = []
    for word in words:
        match = _SPAN.fullmatch(word)
        if match is None:
            raise Misuse(f"{word[:40]!r} is no entry", "write its number, or a span as in 40-60; `tally log` shows them")
        found.append((int(match[1]), int(match[2] or match[1])))
    return found


def asker(yes: bool) -> Callable[[Result], bool]:
    """Asks whether it is meant: on a terminal, or `--yes` has answered. Raises: Misuse: nobody is there to ask."""

    def sure(found: Result) -> bool:
        if found["erased"] == 0:
            raise Refused("there is nothing to erase: none of these entries has an opening", "what was erased once stays erased")
        if yes:
            return True
        if not sys.stdin.isatty():
            raise Misuse("nobody is here to say that this is meant", "give --yes; what is erased is gone for good")
        return click.confirm(
            f"Erase what {_which(found)} only commit{'s' if found['erased'] == 1 else ''} to? It cannot be brought back", err=True
        )

    return sure


def _which(found: Result) -> str:
    if found["erased"] == 1:
        return f"entry {found['first']}"
    return f"{found['erased']} entries ({found['first']} to {found['last']})"


@command(
    "erase",
    example="tally erase 1207 1210-1290\ntally erase --pair laptop --before 30d --yes\ntally erase --house attic 1207",
)
@click.argument("entries", nargs=-1, metavar="[ENTRY]...")
@click.option("--pair", "pair_name", metavar="NAME", help="Only entries of this pair.")
@click.option("--key", metavar="KEY", help="Only entries by this key: KeyId or #12.")
@click.option("--before", metavar="TIME", help="Only entries before: 30d, 12h, or a date and time.")
@click.option("--house", metavar="NAME", help="At this house, signed by this machine's human key (ADMIN); entries are named one by one.")
@click.option("--reason", default="asked", metavar="WORD", help="Kept in the record. Default: asked.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@passphrase_fd
def erase(
    call: Call,
    entries: tuple[str, ...],
    pair_name: str | None,
    key: str | None,
    before: str | None,
    house: str | None,
    reason: str,
    yes: bool,
    passphrase_fd: int | None,
) -> None:
    """Forget what entries of this machine's ledger only commit to: paths, headers, queries, and the salts of their hashes.

    Entries stay, and so does every proof; the erasure is an entry itself. With --house the same at a house, over an ADMIN pair.
    Files in the archive are not touched: `tally rm`.
    """
    result = call.behind.erase(
        call.settings(),
        spans=spans(entries),
        pair=pair_name,
        key=key,
        before_ns=None if before is None else since(before, time.time_ns()),
        house=house,
        reason=reason,
        sure=asker(yes),
        passphrase=passphrase_asker(passphrase_fd),
    )
    emit("erase", result, as_json=call.as_json, render=_show_erase)


def _show_erase(result: Result, out: Out) -> None:
    out.line(f"What {_which(result)} committed to is erased (entry {result['entry']}, reason {result['reason']}).")
