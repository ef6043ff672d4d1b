"""verify, rebuild, log prove, log check, log export: proving the record, and making it whole."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from tallystick.cli.command import Call, command
from tallystick.cli.log import since as moment
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import live_line
from tallystick.cli.text import clock, counted, printable, size
from tallystick.errors import Unproven

_FILE = click.Path(path_type=Path)


@contextmanager
def steps(*, show: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on stderr that counts entries: percent, rate and what is left. Silent where stderr is no terminal."""
    began: dict[str, float] = {}
    with live_line(show=show) as write:

        def advance(what: str, done: int, total: int) -> None:
            start = began.setdefault(what, time.monotonic())
            write(lambda: steps_line(what, done, total, time.monotonic() - start), done == total)

        yield advance


def steps_line(what: str, done: int, total: int, seconds: float) -> str:
    """`entries  42 %  420,000 of 1,000,000  310,000/s  0:02 left`"""
    parts = [what, f"{100 * done // max(total, 1)} %", f"{done:,} of {total:,}"]
    if seconds > 0 and done:
        rate = done / seconds
        parts += [f"{int(rate):,}/s", f"{clock((total - done) / rate)} left"]
    return "  ".join(parts)


@command("verify", example="tally verify\ntally verify /mnt/copy --key VKEY --full\ntally verify evidence.tar --key VKEY")
@click.argument("target", required=False, type=_FILE, metavar="[DIR|FILE]")
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="A key that the log must be signed by, from somebody you trust.")
@click.option("--witness", "witnesses", multiple=True, metavar="VKEY", help="A witness whose cosignatures must hold.")
@click.option("--checkpoint", "checkpoints", multiple=True, type=_FILE, metavar="FILE", help="A signed checkpoint from elsewhere.")
@click.option("--policy", type=_FILE, metavar="FILE", help="Logs and witnesses, k of n, among them pairs (c2sp.org/tlog-policy).")
@click.option("--full", is_flag=True, help="Also signatures that an earlier run has verified.")
@click.option("--state", type=_FILE, metavar="FILE", help="What was verified before. Default: in your cache folder.")
def verify(
    call: Call,
    target: Path | None,
    keys: tuple[str, ...],
    witnesses: tuple[str, ...],
    checkpoints: tuple[Path, ...],
    policy: Path | None,
    full: bool,
    state: Path | None,
) -> int:
    """Verify a ledger offline: this machine's, a copied folder, published files alone, or an evidence file.

    Every entry is hashed and compared with tiles, root and signed checkpoints; every signature, opening and live row is checked.
    Nothing is changed. Exits with 3 when something is not as it must be.
    """
    with steps(show=not call.as_json) as progress:
        result = call.behind.verify(
            call.settings(),
            target=target,
            keys=keys,
            witnesses=witnesses,
            checkpoints=checkpoints,
            policy=policy,
            full=full,
            state=state,
            progress=progress,
        )
    emit("verify", result, as_json=call.as_json, render=_show_verify)
    return 0 if result["ok"] else Unproven.exit_code


def _show_verify(result: Result, out: Out) -> None:
    for finding in result["findings"]:
        out.line(finding["text"])
    for remark in result["remarks"]:
        out.line(f"note: {remark}")
    counts = ", ".join(f"{number:,} {name}" for name, number in sorted(result["counts"].items()))
    rate = int(result["entries"] / result["seconds"]) if result["seconds"] > 0 else 0
    out.line(f"{result['path']}: {counts}; {result['seconds']:.1f} s, {rate:,} entries/s")
    if result["since"]:
        out.line(f"Signatures before entry {result['since']:,} were verified by an earlier run; --full checks them once more.")
    if result["attested"]:
        out.line(f"The first {result['attested']:,} entries were witnessed by the policy's quorum.")
    if not result["ok"]:
        out.line(f"NOT PROVEN: {counted(len(result['findings']), 'finding')}.")
    elif result["checkpoint"] is None:
        out.line(f"{result['entries']:,} entries agree with each other; no signed checkpoint covers them.")
    else:
        out.line(
            f"Proven: {counted(result['entries'], 'entry')}, {result['checkpoint']:,} of them under a checkpoint of {result['origin']}."
        )


@command("rebuild", example="tally rebuild\ntally rebuild --from-tiles")
@click.option("--from-tiles", is_flag=True, help="From the published files, when the database is lost: up to the last checkpoint.")
def rebuild(call: Call, from_tiles: bool) -> None:
    """Make the database anew from its entries, beside the old one, and put it in place at once. The house must not run."""
    with steps(show=not call.as_json) as progress:
        result = call.behind.rebuild(call.settings(), from_tiles=from_tiles, progress=progress)
    emit("rebuild", result, as_json=call.as_json, render=_show_rebuild)


def _show_rebuild(result: Result, out: Out) -> None:
    for row in result["mended"]:
        out.line(f"mended: {row}")
    out.line(f"{result['entries']:,} entries; {len(result['mended'])} rows were not what they bring about.")
    if result["kept"]:
        out.line(f"{result['bodies']:,} openings were found again. The old database lies in {result['kept']}; remove it when you like.")
        out.line("Entries behind the last published checkpoint are lost; if a pair saw them, the house closes until you restore it.")


@command("prove", example="tally log prove 42 -o entry-42.tlog-proof")
@click.argument("index", type=click.IntRange(0), metavar="ENTRY")
@click.option("-o", "--output", "target", type=_FILE, metavar="FILE", help="Default: entry-N.tlog-proof here.")
def prove(call: Call, index: int, target: Path | None) -> None:
    """Write the proof that an entry is in the log: a c2sp.org/tlog-proof, for anybody to check offline."""
    result = call.behind.log_prove(call.settings(), index=index, target=target)
    emit("log prove", result, as_json=call.as_json, render=_show_prove)


def _show_prove(result: Result, out: Out) -> None:
    out.line(f"{result['file']}: entry {result['entry']}, under the checkpoint of {counted(result['size'], 'entry')}.")
    out.line(f"Its leaf hash: {result['leaf_hash']}")


@command("check", example="tally log check entry-42.tlog-proof --key VKEY --leaf HASH")
@click.argument("source", type=_FILE, metavar="FILE")
@click.option("--key", "keys", multiple=True, metavar="VKEY", help="The log's key. Default: this machine's own log.")
@click.option("--leaf", metavar="HASH", help="The entry's leaf hash in hexadecimal. Default: of this machine's own entry.")
def check(call: Call, source: Path, keys: tuple[str, ...], leaf: str | None) -> None:
    """Check the proof that an entry is in a log. Exits with 3 when it does not hold."""
    result = call.behind.log_check(call.settings(), source=source, keys=keys, leaf=leaf)
    emit("log check", result, as_json=call.as_json, render=_show_check)


def _show_check(result: Result, out: Out) -> None:
    out.line(f"Proven: entry {result['entry']} is among the {result['size']:,} entries that {result['origin']} signed.")
    for name in result["unchecked"]:
        out.line(f"A line names {printable(name)}; no --key was given for it, and it proves nothing here.")


@command("export", example="tally log export evidence.tar --kind severed --since 30d\ntally log export all.tar --from 0 --to 999")
@click.argument("target", type=_FILE, metavar="FILE")
@click.option("--from", "start", type=click.IntRange(0), default=0, metavar="ENTRY", help="The first entry. Default: 0.")
@click.option("--to", "stop", type=click.IntRange(0), metavar="ENTRY", help="The last entry.")
@click.option("--kind", metavar="KIND", help="Only entries of this kind (docs/spec/events.cddl).")
@click.option("--pair", metavar="NAME", help="Only entries of this pair.")
@click.option("--key", metavar="KEY", help="Only entries by this key: KeyId or #12.")
@click.option("--since", "since_", metavar="TIME", help="Only entries since then: 10m, 2h, 7d, or a date and time.")
@click.option("--until", "until_", metavar="TIME", help="Only entries until then.")
def export(call: Call, target: Path, start: int, stop: int | None, since_: str | None, until_: str | None, **filters: str | None) -> None:
    """Write evidence: entries, what proves them, and their openings where they were not erased. It is recorded.

    `tally-verify FILE` checks it anywhere, with one file of Python and no trust in this house.
    """
    times = {name: None if text is None else moment(text, time.time_ns()) for name, text in (("since_ns", since_), ("until_ns", until_))}
    query = {name: value for name, value in {**filters, **times}.items() if value is not None}
    result = call.behind.log_export(call.settings(), target=target, start=start, stop=stop, query=query)
    emit("log export", result, as_json=call.as_json, render=_show_export)


def _show_export(result: Result, out: Out) -> None:
    out.line(f"{result['file']}: {counted(result['entries'], 'entry')}, {counted(result['openings'], 'opening')}, {size(result['bytes'])}.")
    seen = f", cosigned by {counted(len(result['witnesses']), 'pair')}" if result["witnesses"] else ""
    out.line(f"Under the checkpoint of {counted(result['size'], 'entry')}{seen}. Recorded as entry {result['entry']}.")
    for vkey in result["vkeys"]:
        out.line(f"log key: {vkey[:120]}{'...' if len(vkey) > 120 else ''}")
