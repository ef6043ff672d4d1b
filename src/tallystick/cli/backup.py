"""backup, restore: a machine in one sealed file, and a house that comes back (docs/house.md)."""

import time
from pathlib import Path

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker, progress
from tallystick.cli.text import age, counted, size
from tallystick.errors import Misuse


@command("backup", example="tally backup /mnt/stick/attic-2026-11-22\ntally backup FILE --passphrase-fd 3 3<passphrase")
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_fd
def backup(call: Call, file: Path, passphrase_fd: int | None) -> None:
    """Write everything of this machine into FILE, sealed under a passphrase; a house may run meanwhile.

    In it: the ledger, the bodies behind it, the settings, and the vault with the machine's keys and the secrets of its pairs. Not in it:
    the files of the archive; back those up with the tool you use for files. Whoever has FILE and the passphrase has this machine.
    """
    settings = call.settings()
    with progress(file.name, show=not call.as_json) as step:
        result = call.behind.backup(settings, target=file, passphrase=passphrase_asker(passphrase_fd, new=True), progress=step)
    emit("backup", result, as_json=call.as_json, render=_show_backup)


def _show_backup(result: Result, out: Out) -> None:
    out.line(f"{result['file']}: {size(result['bytes'])}, the ledger up to entry {result['entries'] - 1}. SHA-256 {result['sha256']}")
    out.line("Without the archive's files. Keep the passphrase elsewhere: nobody can open it without.")


@command(
    "restore",
    example="tally restore FILE --owner KEYID\ntally restore --show\ntally restore --sign\ntally restore --pair laptop",
)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--owner", metavar="KEYID", help="The one human key that may open the house again.")
@click.option("--show", is_flag=True, help="Show why the house is closed, what its pairs have seen, and which of them wait.")
@click.option("--sign", is_flag=True, help="On the owner's machine: sign that the house opens again, and this machine's own pair.")
@click.option("--pair", "pairs", multiple=True, metavar="NAME", help="On the owner's machine: sign one pair that waits; may be repeated.")
@click.option("--key", "keys", multiple=True, metavar="KEYID", help="On the owner's machine: let another human key stand again.")
@click.option("--house", default="", metavar="NAME", help="Which house, where this machine is paired with several.")
@passphrase_fd
def restore(
    call: Call,
    file: Path | None,
    owner: str | None,
    show: bool,
    sign: bool,
    pairs: tuple[str, ...],
    keys: tuple[str, ...],
    house: str,
    passphrase_fd: int | None,
) -> None:
    """Bring a machine back from a backup, and open a house that is closed.

    With FILE in an empty home. With --owner alone at a house that closed itself. With --sign, then --pair, on the owner's machine.

    A house that comes back takes no commands. Its pairs show it what they have seen; then the owner signs that it goes on, and each pair
    one by one. Whatever was severed or revoked since the backup stays so, because nobody signs it again.
    """
    if sum((file is not None or (owner is not None and file is None), show, sign, bool(pairs or keys))) != 1:
        raise Misuse("say one thing: FILE, --owner, --show, --sign, or --pair and --key", "see `tally restore --help`")
    settings, asker = call.settings(), passphrase_asker(passphrase_fd)
    if file is not None:
        with progress(file.name, show=not call.as_json) as step:
            result = call.behind.restore(settings, source=file, owner=owner, passphrase=asker, progress=step)
        emit("restore", result, as_json=call.as_json, render=_show_restore)
    elif owner is not None:
        emit("restore --owner", call.behind.restore_owner(settings, owner=owner), as_json=call.as_json, render=_show_owner)
    elif show:
        emit("restore --show", call.behind.restore_show(settings, house=house), as_json=call.as_json, render=_show_closed)
    elif sign:
        emit("restore --sign", call.behind.restore_sign(settings, house=house, passphrase=asker), as_json=call.as_json, render=_show_sign)
    else:
        result = call.behind.restore_pair(settings, house=house, names=list(pairs), keys=list(keys), passphrase=asker)
        emit("restore --pair", result, as_json=call.as_json, render=_show_pairs)


def _show_restore(result: Result, out: Out) -> None:
    out.line(f"{result['home']}: a {result['role']} as of {age(result['time_ns'], time.time_ns())}, {counted(result['entries'], 'entry')}.")
    if result["role"] == "house":
        out.line(
            "It is closed. `tally serve` lets its pairs show what they have seen (`tally restore --show`); then, on the owner's machine:"
        )
        out.line("    tally restore --sign")


def _show_owner(result: Result, out: Out) -> None:
    out.line(f"{result['owner']} may open this house again. On its machine: `tally restore --sign`.")


def _show_closed(result: Result, out: Out) -> None:
    if not result["closed"]:
        out.line(f"{result['house']} is open.")
    else:
        out.pairs(
            [
                ("house", f"{result['house']} is closed: {result['closed']}"),
                ("has", counted(result["entries"], "entry") if result["entries"] is not None else ""),
                ("owner", result["owner"] or "nobody named yet: `tally restore --owner KEYID` at the house"),
                ("log", result["log"] or ""),
            ]
        )
        for seen in result["seen"]:
            out.line(
                f"    somebody saw {counted(seen['size'], 'entry')}, root {seen['root'][:16]}: what lies behind {result['entries']} is lost"
            )
    out.line()
    now_ns = time.time_ns()
    rows = [
        (
            pair["name"],
            pair["label"],
            pair["type"],
            pair["state"],
            age(pair["last_knock_ns"], now_ns),
            "-" if pair["showed"] is None else counted(pair["showed"], "entry"),
        )
        for pair in result["pairs"]
    ]
    out.table(("NAME", "LABEL", "TYPE", "STATE", "LAST KNOCK", "SHOWED"), rows, empty="")


def _show_sign(result: Result, out: Out) -> None:
    if result["entry"] is not None:
        out.line(f"{result['house']} is open again from entry {result['entry']} on; its log is called {result['log']}.")
    out.line(
        f"This machine's pair stands again (entry {result['pair_entry']}). The others: `tally restore --show`, `tally restore --pair NAME`."
    )


def _show_pairs(result: Result, out: Out) -> None:
    if not result["pairs"] and not result["keys"]:
        out.line("Nothing was signed.")
    for pair in result["pairs"]:
        out.line(f"{pair['name']} ({pair['type']}) stands again, entry {pair['entry']}.")
    for key in result["keys"]:
        out.line(f"{key['key']} stands again, entry {key['entry']}.")
