"""log: what happened, from the ledger."""

import json
import re
import time
from typing import Final

import click

from tallystick.canonical import decode
from tallystick.cli.command import Call, command
from tallystick.cli.output import Out
from tallystick.cli.shapes import SHAPES, Result, check
from tallystick.cli.text import NS, printable, when
from tallystick.errors import Malformed, Misuse

_AGO: Final = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d)")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_HEX: Final = re.compile(r"[0-9a-f]{32,}")
SHORT_HEX: Final = 12
WHO_COLUMNS: Final = 16
# Hashes, keys and signatures that a person cannot use at a glance.
_IN_JSON_ONLY: Final = frozenset(
    [
        "pair",
        "session",
        "address",
        "knock",
        "stream",
        "digest",
        "signal_hash",
        "origin_hash",
        "root",
        "checkpoint",
        "cosigner",
        "statement",
        "statement_salt",
        "ext",
        "transcript",
        "cose_key",
        "static_key",
        "witness_key",
        "log_keys",
        "recovery_key",
        "house",
        "subject",
        "log_name",
        "actor",
        "fork",
        "commitment",
        "place",
        "preconditions",
        "template",
        "result",
        "depth",
    ]
)
_TIMES: Final = frozenset(("expires", "observed", "until"))
_MOMENT: Final = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S")


def moment(text: str, now_ns: int) -> int:
    """What is to come: `10m`, `2h`, `30d` from now, or a local date and time. Raises: Misuse: anything else."""
    if match := _AGO.fullmatch(text):
        return now_ns + int(match[1]) * _SECONDS[match[2]] * NS
    return since(text, now_ns)


def since(text: str, now_ns: int) -> int:
    """`10m`, `2h`, `7d`, or a local date and time. Raises: Misuse: anything else."""
    if match := _AGO.fullmatch(text):
        return now_ns - int(match[1]) * _SECONDS[match[2]] * NS
    for form in _MOMENT:
        try:
            return int(time.mktime(time.strptime(text, form))) * NS
        except (ValueError, OverflowError):
            continue
    raise Misuse(f"{text[:40]!r} is not a time", "write 10m, 2h, 7d, 2026-11-22 or 2026-11-22T07:08")


@command("log", example="tally log --kind sever --since 7d\ntally log --follow --json")
@click.argument("house", required=False, default="")
@click.option("--kind", metavar="KIND", help="Only entries of this kind (docs/spec/events.cddl).")
@click.option("--pair", "pair_name", metavar="NAME", help="Only entries of this pair.")
@click.option("--key", metavar="KEY", help="Only entries by this key: KeyId or #12.")
@click.option("--action", metavar="ACTION", help="Only commands of this class: metadata, read, egress, propose, write, admin.")
@click.option("--verdict", type=click.Choice(["allow", "propose", "refuse", "hold"]), help="Only commands that were judged so.")
@click.option("--signal", metavar="SIGNAL", help="Only what is about this signal: an entry, or 8 or more digits of its reference.")
@click.option("--target", metavar="PATH", help="Only commands for this path: /papers/a.pdf, or /papers/* for all below it.")
@click.option("--since", "since_", metavar="TIME", help="Only entries since then: 10m, 2h, 7d, or a date and time.")
@click.option("--until", "until_", metavar="TIME", help="Only entries until then.")
@click.option("--limit", type=click.IntRange(1, 100_000), metavar="N", help="Only the newest N. Default: 50, with --since all.")
@click.option("--follow", "-f", is_flag=True, help="Then show entries as they come, until Ctrl-C.")
def log(
    call: Call, house: str, pair_name: str | None, since_: str | None, until_: str | None, follow: bool, **filters: str | int | None
) -> None:
    """List what happened, oldest first: here, or at HOUSE as far as the pair may see it. Reading is recorded too.

    With --json each entry is one object on a line of its own.
    """
    times = {name: None if text is None else since(text, time.time_ns()) for name, text in (("since_ns", since_), ("until_ns", until_))}
    query = {name: value for name, value in {"pair": pair_name, **filters, **times}.items() if value is not None}
    entries = call.behind.log(call.settings(), house=house, query=query, follow=follow)
    out = Out()
    for entry in entries:
        check(SHAPES["log"], entry, "log")
        if call.as_json:
            click.echo(json.dumps(entry, ensure_ascii=True, separators=(",", ":"), default=str))
        else:
            out.line(entry_line(entry))


def entry_line(entry: Result) -> str:
    """`    12  2026-11-22 07:08:09  severed             laptop            reason=lost`"""
    fields = dict(entry["fields"])
    signal = fields.pop("signal", None)
    words = [str(signal["verb"])] if isinstance(signal, dict) and "verb" in signal else []
    words += [f"{name}={_said(name, value)}" for name, value in fields.items() if name not in _IN_JSON_ONLY and value not in ([], {})]
    who = printable(entry["name"] or _brief(entry["pair"] or entry["key"] or "-"))
    return f"{entry['index']:>6}  {when(entry['time_ns'])}  {entry['kind']:<20}  {who:<{WHO_COLUMNS}}  {'  '.join(words)}".rstrip()


def _said(name: str, value: object) -> str:
    """A field as it reads aloud: times as times, lists as words, long ones as their number."""
    match name, value:
        case _, int(time_ns) if name in _TIMES:
            return when(time_ns)
        case "value", str(raw):
            return _clear(raw)
        case "items", list(rows):
            return ",".join(str(row[0]) for row in rows[:8] if isinstance(row, list) and row) + (",..." if len(rows) > 8 else "")
        case "matches", list(rows):
            return ",".join(f"{row[0]}:{row[1]}" for row in rows[:8] if isinstance(row, list) and len(row) > 1)
        case "signers", list(keys):
            return str(len(keys))
        case "context", [int(begun), int(last), _]:
            return f"{begun}-{last}"
        case "plan", dict(plan):
            return "; ".join(f"{word}: {'+'.join(map(str, layers))}" for word, layers in plan.items() if isinstance(layers, list))
        case _, list(each) if all(isinstance(one, str | int) and not isinstance(one, bool) for one in each):
            return _brief(",".join(map(str, each)))
        case _:
            return _brief(value)


def _clear(raw: str) -> str:
    """A fact's value, which stands in clear in the ledger: a text, a number, yes or no."""
    try:
        value = decode(bytes.fromhex(raw))
    except (ValueError, Malformed):
        return _brief(raw)
    return _brief({True: "yes", False: "no"}[value] if isinstance(value, bool) else value if isinstance(value, str | int) else raw)


def _brief(value: object) -> str:
    """A value at a glance; --json has it whole."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if _HEX.fullmatch(text):
        return text[:SHORT_HEX]
    return text if len(text) <= 40 else text[:37] + "..."
