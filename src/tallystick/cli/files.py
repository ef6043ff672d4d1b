"""put, get, ls, rm, mv: files behind a pair."""

import time
from pathlib import Path

import click

from tallystick.cli.command import Call, command
from tallystick.cli.output import Out, emit
from tallystick.cli.remote import byte_range, remote, same_house
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import progress
from tallystick.cli.text import age, size
from tallystick.errors import Misuse


@command("put", example="tally put report.pdf attic:/papers/\ntar c photos | tally put - attic:/photos.tar")
@click.argument("source", metavar="SRC")
@click.argument("target", metavar="HOUSE:/PATH")
def put(call: Call, source: str, target: str) -> None:
    """Store the file SRC (- is standard input) in a house, in one step or not at all.

    A transfer that was cut goes on where it stopped. A path that ends in / keeps the name of SRC.
    """
    settings, place = call.settings(), remote(target)
    local = None if source == "-" else Path(source)
    if local is not None and not local.is_file():
        raise Misuse(f"{source} is not a file", "`tally put` stores one file; use tar for a folder")
    path = place.path
    if path.endswith("/"):
        if local is None:
            raise Misuse("standard input has no name", "write the whole remote path")
        path += local.name
    with progress(path.rsplit("/", 1)[-1], show=not call.as_json) as advance:
        result = call.behind.put(settings, source=local, house=place.house or settings.house, path=path, progress=advance)
    emit("put", result, as_json=call.as_json, render=_show_put)


def shown_path(result: Result) -> str:
    """A place in a house as one would type it."""
    return f"{result['house']}:/{result['path'].lstrip('/')}"


def _show_put(result: Result, out: Out) -> None:
    out.line(f"{shown_path(result)}  {size(result['bytes'])}  version {result['version']}  entry {result['entry']}")
    out.line(f"sha256 {result['sha256']}")


@command(
    "get",
    example="tally get attic:/papers/report.pdf\ntally get /a.txt --version 41\ntally get attic:/disk.img - --range 0-511 | hexdump -C",
)
@click.argument("source", metavar="HOUSE:/PATH")
@click.argument("target", metavar="[DST|-]", required=False)
@click.option("--range", "span", metavar="FIRST-LAST", help="Only these bytes, counted from 0, both included.")
@click.option("--version", metavar="NUMBER", type=click.IntRange(0, 2**63 - 1), help="An older content, as `tally ls --versions` names it.")
@click.option("--force", is_flag=True, help="Replace DST if it exists.")
def get(call: Call, source: str, target: str | None, span: str | None, version: int | None, force: bool) -> None:
    """Fetch a file from a house into DST (- is standard output; default: its own name, here)."""
    settings, place = call.settings(), remote(source)
    wanted = None if span is None else byte_range(span)
    local: Path | None = None
    if target == "-":
        if call.as_json:
            raise Misuse("--json and the file cannot both go to standard output", "name a file instead of -")
    else:
        local = _local_target(place.path, target, force=force)
    with progress(place.path.rsplit("/", 1)[-1], show=not call.as_json) as advance:
        result = call.behind.get(
            settings,
            house=place.house or settings.house,
            path=place.path,
            target=local,
            span=wanted,
            progress=advance,
            version=version,
        )
    if local is not None:
        emit("get", result, as_json=call.as_json, render=_show_get)


def _local_target(path: str, target: str | None, *, force: bool) -> Path:
    """Where to write. The name comes from what was typed here, never from an answer of the house."""
    name = path.rstrip("/").rsplit("/", 1)[-1]
    local = Path(target) if target else Path(name)
    if local.is_dir():
        local = local / name
    if not name or name in {".", ".."} or local.name in {"", ".", ".."}:
        raise Misuse(f"{path} names no file", "write the whole remote path")
    if local.exists() and not force:
        raise Misuse(f"{local} exists already", "choose another DST, or --force")
    return local


def _show_get(result: Result, out: Out) -> None:
    out.line(f"{result['target']}  {size(result['bytes'])}  entry {result['entry']}")


@command("ls", example="tally ls\ntally ls attic:/papers -l\ntally ls attic:/papers/report.pdf --versions\ntally ls --uploads")
@click.argument("place", metavar="[HOUSE:/PATH]", required=False, default="/")
@click.option("-l", "long", is_flag=True, help="Sizes, times and hashes.")
@click.option("--versions", is_flag=True, help="The contents that a file once had.")
@click.option("--uploads", is_flag=True, help="What this machine has begun to store there and not finished.")
def ls(call: Call, place: str, long: bool, versions: bool, uploads: bool) -> None:
    """List a folder of a house. An INTERFACE pair sees counts and sizes only."""
    if versions and uploads:
        raise Misuse("--versions is about a file, --uploads about this machine", "give one of them")
    settings, where = call.settings(), remote(place)
    house = where.house or settings.house
    if versions:
        found = call.behind.versions(settings, house=house, path=where.path)
        emit("ls --versions", found, as_json=call.as_json, render=_show_versions)
        return
    if uploads:
        emit("ls --uploads", call.behind.uploads(settings, house=house), as_json=call.as_json, render=_show_uploads)
        return
    result = call.behind.ls(settings, house=where.house or settings.house, path=where.path)
    emit("ls", result, as_json=call.as_json, render=_show_long if long else _show_short)


def _show_versions(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    rows = [
        (str(one["kept"]), size(one["bytes"]), age(one["modified_ns"], now_ns), (one["sha256"] or "")[:16]) for one in result["versions"]
    ]
    out.table(("VERSION", "SIZE", "CHANGED", "SHA-256"), rows, empty="" if result["summary"] else "No older content is kept.")
    _show_summary(result, out)


def _show_uploads(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    rows = [(one["upload"], size(one["offset"]), age(one["modified_ns"], now_ns), one["path"]) for one in result["uploads"]]
    out.table(("UPLOAD", "ARRIVED", "LAST BYTE", "PATH"), rows, empty="Nothing is unfinished.")


def _show_short(result: Result, out: Out) -> None:
    for file in result["files"]:
        out.line(file["name"] + ("/" if file["kind"] == "folder" else ""))
    _show_summary(result, out)


def _show_long(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    rows = [
        (
            file["name"] + ("/" if file["kind"] == "folder" else ""),
            "" if file["bytes"] is None else size(file["bytes"]),
            "" if file["modified_ns"] is None else age(file["modified_ns"], now_ns),
            (file["sha256"] or "")[:16],
        )
        for file in result["files"]
    ]
    out.table(("NAME", "SIZE", "CHANGED", "SHA-256"), rows, empty="" if result["summary"] else "Empty.")
    _show_summary(result, out)


def _show_summary(result: Result, out: Out) -> None:
    out.pairs([(str(name), str(value)) for name, value in (result["summary"] or {}).items()])


@command("rm", example="tally rm attic:/papers/draft.txt\ntally rm attic:/ --upload 5f0c2a94e1b7d6330f5a1c8e9d2b4a76")
@click.argument("place", metavar="HOUSE:/PATH")
@click.option("--upload", metavar="UPLOAD", help="Not a file: give up an unfinished upload, as `tally ls --uploads` names it.")
def rm(call: Call, place: str, upload: str | None) -> None:
    """Remove a file from a house; its older versions stay as the house is set."""
    settings, where = call.settings(), remote(place)
    house = where.house or settings.house
    if upload is None:
        result = call.behind.rm(settings, house=house, path=where.path)
    else:
        result = call.behind.give_up(settings, house=house, upload=upload)
    emit(
        "rm" if upload is None else "rm --upload",
        result,
        as_json=call.as_json,
        render=lambda shown, out: out.line(f"{shown['house']}:{shown['path']}  removed, entry {shown['entry']}"),
    )


@command("mv", example="tally mv attic:/draft.txt /papers/final.txt")
@click.argument("source", metavar="HOUSE:/PATH")
@click.argument("target", metavar="/PATH")
def mv(call: Call, source: str, target: str) -> None:
    """Rename a file within a house."""
    settings, old, new = call.settings(), remote(source), remote(target)
    path = new.path + old.path.rsplit("/", 1)[-1] if new.path.endswith("/") else new.path
    result = call.behind.mv(settings, house=same_house(old, new) or settings.house, path=old.path, target=path)
    emit(
        "mv",
        result,
        as_json=call.as_json,
        render=lambda shown, out: out.line(f"{shown['path']} -> {shown['target']}  entry {shown['entry']}"),
    )
