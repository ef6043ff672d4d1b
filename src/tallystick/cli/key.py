"""key: human keys, which root authority, and the source keys that they sign into existence and out of it."""

import time
from collections.abc import Sequence

import click

from tallystick.cli.command import Call, command, passphrase_fd
from tallystick.cli.fact import FACT_HEADERS, fact_row
from tallystick.cli.output import Out, emit
from tallystick.cli.shapes import Result
from tallystick.cli.terminal import passphrase_asker
from tallystick.cli.text import age, when


@click.group("key", context_settings={"help_option_names": ["-h", "--help"]})
def key() -> None:
    """Make, show and revoke keys.

    Example: on your own machine run `tally key new`, at the house `tally init --owner KEYID`. For a camera: `tally key new --source
    --label front-door`, then `tally grant front-door --class sensor/camera`.
    """


@command("new", example="tally key new --label jean\ntally key new --source --label front-door")
@click.option("--label", default="", metavar="TEXT", help="Whose key it is; of a source what it is called.")
@click.option(
    "--source", is_flag=True, help="For a source that runs on this machine: a camera, a cron job, a feed, an agent. No passphrase."
)
@passphrase_fd
def new(call: Call, label: str, source: bool, passphrase_fd: int | None) -> None:
    """Make a human key, locked by a passphrase that every signature asks for; or the key of a source, which signs by itself."""
    asker = passphrase_asker(passphrase_fd, new=True)
    result = call.behind.key_new(call.settings(), label=label, passphrase=asker, scripted=passphrase_fd is not None, source=source)
    emit("key new", result, as_json=call.as_json, render=_show_new)


def _show_new(result: Result, out: Out) -> None:
    out.line(result["key"])
    if result["kind"] == "source":
        out.line(f"A source key. It is nobody until a human key signs it: `tally grant {result['label']} --class ...`")
        out.line(f"On another machine name it by its public key: {result['public']}")
        return
    out.line(f"A human key ({result['kind']}, {result['key_class']}). At the house: `tally init --owner` with this KeyId.")


@command("ls", example="tally key ls --json\ntally key ls --house\ntally key ls --house attic")
@click.option(
    "--house", is_flag=False, flag_value="", metavar="[HOUSE]", help="The keys that a house knows: this home's own, or that one's."
)
def ls(call: Call, house: str | None) -> None:
    """List the human and source keys in this machine's vault; with --house every key that a house knows."""
    if house is not None:
        emit("key ls --house", call.behind.key_ls_house(call.settings(), house=house), as_json=call.as_json, render=_show_house_keys)
        return
    emit("key ls", call.behind.key_ls(call.settings()), as_json=call.as_json, render=_show_keys)


def _show_house_keys(result: Result, out: Out) -> None:
    rows = [
        (f"#{k['number']}", k["label"], k["kind"], k["state"], ", ".join(k["classes"]) or "-", k["introduced_by"] or "-", k["key"])
        for k in result["keys"]
    ]
    out.table(("NUMBER", "LABEL", "KIND", "STATE", "CLASSES", "BY", "KEY"), rows, empty="No keys.")
    _show_suspended(result["suspended"], out)


def _show_suspended(waiting: Sequence[Result], out: Out) -> None:
    if waiting:
        out.line("Suspended, until a human resumes it or lets it go (`tally inbox`):")
        for each in waiting:
            out.line(f"    {each['kind']} of entry {each['entry']}  {each['id'][:16]}".rstrip())


@command("show", example="tally key show front-door\ntally key show '#12' --house attic --json")
@click.argument("key_", metavar="KEY")
@click.option(
    "--house", default="", metavar="HOUSE", help="As this house knows it. Default: this home's own, or the only one it is paired with."
)
def show(call: Call, key_: str, house: str) -> None:
    """Tell what a key is and may: its rows, when and where, who signed it in, what is known of it, what happened to it."""
    emit("key show", call.behind.key_show(call.settings(), key=key_, house=house), as_json=call.as_json, render=_show_key)


def _show_key(result: Result, out: Out) -> None:
    k = result
    place = "(erased)" if k["place_erased"] else k["place"] or ""
    since = "" if k["since"] is None else f", since entry {k['since']}"
    out.pairs(
        [
            ("key", f"#{k['number']} {k['label']}".rstrip()),
            ("id", k["key"]),
            ("kind", k["kind"]),
            ("state", f"{k['state']} (entry {k['changed']}){since}"),
            ("signed in", f"entry {k['introduced']}" + (f" by {k['introduced_by']}" if k["introduced_by"] else "")),
            ("classes", ", ".join(k["classes"])),
            ("actions", ", ".join(k["actions"]) or ("metadata, read, propose" if k["kind"] == "source" else "")),
            ("targets", ", ".join(k["targets"]) or ("every one" if k["kind"] == "source" else "")),
            ("schedule", k["schedule"] or ""),
            ("place", place),
            ("expires", when(k["expires_ns"]) if k["expires_ns"] is not None else ""),
            ("sightings", str(k["sightings"]) if k["sightings"] else ""),
            ("context", f"open since entry {k['context']}" if k["context"] is not None else ""),
        ]
    )
    if k["grants"]:
        out.line()
        rows = [
            (
                str(g["entry"]),
                ", ".join(g["classes"]) or "any",
                ", ".join(g["actions"]) or "metadata, read, propose",
                ", ".join(g["targets"]) or "every one",
                g["schedule"] or "always",
                when(g["expires_ns"]) if g["expires_ns"] is not None else "-",
                g["by"] or "-",
            )
            for g in k["grants"]
        ]
        out.table(("GRANT", "CLASSES", "ACTIONS", "TARGETS", "SCHEDULE", "EXPIRES", "BY"), rows, empty="")
    if k["scopes"]:
        out.line()
        scopes = [
            (s["scope"], s["state"], s["verb"], ", ".join(s["targets"]) or "every one", _uses(s["uses_left"]), when(s["until_ns"]))
            for s in k["scopes"]
        ]
        out.table(("SCOPE", "STATE", "VERB", "TARGETS", "USES", "UNTIL"), scopes, empty="")
    if k["facts"]:
        out.line()
        out.table(FACT_HEADERS, [fact_row(each) for each in k["facts"]], empty="")
    if k["changes"]:
        out.line()
        changes = [(str(c["entry"]), when(c["time_ns"]), c["kind"], c["by"] or "-") for c in k["changes"]]
        out.table(("ENTRY", "TIME", "WHAT", "BY"), changes, empty="")


def _uses(left: int | None) -> str:
    return "any" if left is None else str(left)


@command("revoke", example="tally key revoke front-door\ntally key revoke '#7' --compromised-since 1200")
@click.argument("key_", metavar="KEY")
@click.option("--compromised-since", type=click.IntRange(0), metavar="ENTRY", help="What it signed from this entry on is in doubt.")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def revoke(call: Call, key_: str, compromised_since: int | None, house: str, passphrase_fd: int | None) -> None:
    """End a key, for good. Without an option it is retired: what it signed stands.

    With --compromised-since everything that it signed from that entry on is suspended, and what that brought about, until a human looks
    at it: keys, rows, facts, advance approvals, pairs. A paired machine whose key is revoked is severed.
    """
    asker = passphrase_asker(passphrase_fd)
    result = call.behind.key_revoke(call.settings(), key=key_, since=compromised_since, house=house, passphrase=asker)
    emit("key revoke", result, as_json=call.as_json, render=_show_revoked)


def _show_revoked(result: Result, out: Out) -> None:
    since = "" if result["since"] is None else f" since entry {result['since']}"
    out.line(f"#{result['number']} {result['label']}".rstrip() + f" is {result['how']}{since} (entry {result['entry']}).")
    _show_suspended(result["suspended"], out)


@command("resume", example="tally key resume '#12'")
@click.argument("key_", metavar="KEY")
@click.option("--house", default="", metavar="HOUSE", help="At this house. Default: the only one.")
@passphrase_fd
def resume(call: Call, key_: str, house: str, passphrase_fd: int | None) -> None:
    """Sign that a suspended key stands again: it was looked at, and it is good."""
    result = call.behind.key_resume(call.settings(), key=key_, house=house, passphrase=passphrase_asker(passphrase_fd))
    emit(
        "key resume",
        result,
        as_json=call.as_json,
        render=lambda shown, out: out.line(f"#{shown['number']} {shown['label']}".rstrip() + f" stands again (entry {shown['entry']})."),
    )


def _show_keys(result: Result, out: Out) -> None:
    now_ns = time.time_ns()
    rows = [
        ("-" if k["number"] is None else f"#{k['number']}", k["label"], k["kind"], k["key_class"], _made(k["created_ns"], now_ns), k["key"])
        for k in result["keys"]
    ]
    out.table(("NUMBER", "LABEL", "KIND", "CLASS", "MADE", "KEY"), rows, empty="No human keys here: `tally key new`.")


def _made(created_ns: int, now_ns: int) -> str:
    return age(created_ns, now_ns) if created_ns else "-"


@command("replace-admins", example="tally key replace-admins PUBLIC --recovery-fd 3 3<FILE")
@click.argument("public", nargs=-1, required=True)
@click.option("--recovery-fd", type=click.IntRange(0, 65_535), metavar="N", help="Read the recovery key from this file descriptor.")
def replace_admins(call: Call, public: tuple[str, ...], recovery_fd: int | None) -> None:
    """At the house itself: with the recovery key from paper, name the human keys that have admin; all others lose it.

    PUBLIC is what `tally key ls --json` shows as `public` on the machine of the new owner.
    """
    recovery = passphrase_asker(recovery_fd)("the recovery key, as it stands on paper").decode("utf-8", "replace")
    result = call.behind.key_replace_admins(call.settings(), recovery=recovery, admins=list(public))
    emit("key replace-admins", result, as_json=call.as_json, render=_show_replaced)


def _show_replaced(result: Result, out: Out) -> None:
    out.line(f"Admins of this house from entry {result['entry']} on:")
    for name in result["admins"]:
        out.line(f"    {name}")


@command("rotate", example="tally key rotate log\ntally key rotate machine")
@click.argument("use", type=click.Choice(["log", "machine", "witness"]))
def rotate(call: Call, use: str) -> None:
    """At a house that is stopped: new keys, signed by the old ones; its pairs learn them in their next session.

    `log` signs checkpoints, `machine` is the Noise key and the signing key, `witness` cosigns. What the old keys signed stays good.
    """
    emit("key rotate", call.behind.key_rotate(call.settings(), use=use), as_json=call.as_json, render=_show_rotated)


def _show_rotated(result: Result, out: Out) -> None:
    out.line(f"New {result['use']} keys from entry {result['entry']} on. Start the house again; its pairs follow by themselves.")
    if result["older"]:
        out.line("The older Noise key answers until every pair has followed, and is destroyed then.")
    if result["failure"]:
        out.line(f"Not published: {result['failure']}")
        out.line("Start the house soon: until it publishes, tiles/ names the old keys, and no ledger can be made again from it.")


key.add_command(rotate)
key.add_command(new)
key.add_command(replace_admins)
key.add_command(ls)
key.add_command(show)
key.add_command(revoke)
key.add_command(resume)
