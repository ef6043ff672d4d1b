"""Every command: its help, its JSON, its table, its errors."""

import inspect
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any, cast

import click
import pytest

from tallystick.cli.behind import Commands, load
from tallystick.cli.main import ENTRIES, run, tally
from tallystick.cli.shapes import SHAPES, check
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tests.cli.cardboard import HOSTILE, OPTIONS, Cardboard, hollow, sample

# One good command line for each shape: "FILE" is a file that exists.
LINES: dict[str, list[str]] = {
    "init": ["init", "--name", "attic"],
    "serve": ["serve", "--port", "0"],
    "invite": ["invite"],
    "pair": ["pair", "INVITE"],
    "inbox": ["inbox"],
    "inbox --show": ["inbox", "--show", "81"],
    "edit": ["edit", "81", "--body", "FILE"],
    "approve": ["approve", "7"],
    "deny": ["deny", "7"],
    "status": ["status"],
    "status --house": ["status", "--house", "attic"],
    "ping": ["ping"],
    "whois": ["whois", "laptop"],
    "downgrade": ["downgrade", "laptop", "user"],
    "sever": ["sever", "laptop"],
    "put": ["put", "FILE", "attic:/papers/"],
    "get": ["get", "attic:/papers/x", "fresh"],
    "ls": ["ls"],
    "ls --versions": ["ls", "/x", "--versions"],
    "ls --uploads": ["ls", "--uploads"],
    "rm": ["rm", "/x"],
    "rm --upload": ["rm", "attic:/", "--upload", "0" * 32],
    "mv": ["mv", "attic:/x", "/y"],
    "verb ls": ["verb", "ls"],
    "verb run": ["verb", "run", "reboot", "--input", "FILE"],
    "emit": ["emit", "--key", "camera", "--class", "sensor", "--action", "read", "--verb", "camera.frame", "--body", "FILE"],
    "log": ["log"],
    "explain": ["explain", "7"],
    "log prove": ["log", "prove", "42", "-o", "fresh"],
    "log check": ["log", "check", "FILE"],
    "log export": ["log", "export", "fresh", "--kind", "severed"],
    "verify": ["verify", "FILE"],
    "rebuild": ["rebuild", "--from-tiles"],
    "erase": ["erase", "7", "40-60", "--yes"],
    "key rotate": ["key", "rotate", "log"],
    "migrate ticket": ["migrate", "ticket", "fresh"],
    "migrate to": ["migrate", "to", "FILE"],
    "migrate send": ["migrate", "send", "fresh"],
    "migrate receive": ["migrate", "receive", "FILE"],
    "backup": ["backup", "fresh", "--passphrase-fd", "RECOVERY"],
    "restore": ["restore", "FILE", "--owner", "KEYID"],
    "restore --owner": ["restore", "--owner", "KEYID"],
    "restore --show": ["restore", "--show"],
    "restore --sign": ["restore", "--sign"],
    "restore --pair": ["restore", "--pair", "laptop", "--pair", "phone"],
    "key new": ["key", "new"],
    "key ls": ["key", "ls"],
    "key ls --house": ["key", "ls", "--house"],
    "key show": ["key", "show", "#12"],
    "key revoke": ["key", "revoke", "#12", "--compromised-since", "7", "--passphrase-fd", "RECOVERY"],
    "key resume": ["key", "resume", "front-door", "--passphrase-fd", "RECOVERY"],
    "grant": ["grant", "front-door", "--class", "sensor/camera", "--action", "write", "--expires", "30d"],
    "grant withdraw": ["grant", "withdraw", "1207"],
    "context begin": ["context", "begin", "agent"],
    "context end": ["context", "end", "#7", "--house", "attic"],
    "fact add": ["fact", "add", "firmware", "1.4.2", "--key", "front-door", "--until", "7d"],
    "fact ls": ["fact", "ls", "--all"],
    "fact withdraw": ["fact", "withdraw", "1207"],
    "rights ls": ["rights", "ls"],
    "rights why": ["rights", "why", "#12", "write", "--class", "sensor/camera"],
    "plan": ["plan"],
    "plan set": ["plan", "set", "cron=crypto"],
    "gate eval schonlau": ["gate", "eval", "schonlau", "data"],
    "key replace-admins": ["key", "replace-admins", "00", "--recovery-fd", "RECOVERY"],
    "witness serve": ["witness", "serve"],
    "witness keys": ["witness", "keys"],
    "witness ls": ["witness", "ls"],
    "witness show": ["witness", "show", "attic"],
    "witness compare": ["witness", "compare", "FILE", "attic"],
    "config": ["config"],
    "doctor": ["doctor", "--port", "0"],
    "doctor --firewall": ["doctor", "--firewall"],
    "completion": ["completion", "bash"],
    "quickstart": ["quickstart", "--once"],
}
OWN = {"config", "doctor", "doctor --firewall", "completion"}


def leaves(command: click.Command, name: str = "") -> dict[str, click.Command]:
    """Every command that does something, by its full name."""
    if not isinstance(command, click.Group):
        return {name: command}
    context = click.Context(command)
    found: dict[str, click.Command] = {}
    for child in command.list_commands(context):
        loaded = command.get_command(context, child)
        assert loaded is not None
        found |= leaves(loaded, f"{name} {child}".strip())
    return found


ALL = leaves(tally)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test runs in a folder of its own, with a home of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TALLY_HOME", str(tmp_path / "home"))
    (tmp_path / "FILE").write_text("content")
    return tmp_path


def call(line: list[str], node: Cardboard) -> int:
    """Run a line; RECOVERY becomes a descriptor from which a recovery key can be read."""
    reader, writer = os.pipe()
    os.write(writer, b"recovery key\n")
    os.close(writer)
    try:
        return run([str(reader) if word == "RECOVERY" else word for word in line], cast(Commands, node))
    finally:
        os.close(reader)


def test_every_command_has_a_promised_shape_and_a_line_here() -> None:
    """No command without a documented --json."""
    assert set(ALL) == {name for name in SHAPES if "--" not in name}
    assert set(LINES) == set(SHAPES)


def test_the_interface_names_every_command_that_needs_the_node() -> None:
    """`Commands` has one function for each command, some for an option of one, and no more."""
    groups = "^(key|log|migrate|verb|witness|grant|fact|context|rights|plan)_"
    functions = {
        re.sub(groups, r"\1 ", name).replace("_", "-").replace("gate-eval-", "gate eval ") for name in vars(Commands) if name[0] != "_"
    }
    assert functions - set(OPTIONS) == set(ALL) - OWN and set(OPTIONS) < functions


def test_what_stands_behind_keeps_the_interface() -> None:
    """Each function takes the arguments the command line gives it; it may take more, with defaults."""
    commands = load()
    for name, promised in vars(Commands).items():
        if name.startswith("_"):
            continue
        kept = inspect.signature(getattr(commands, name)).parameters
        wanted = [parameter for parameter in inspect.signature(promised).parameters if parameter != "self"]
        assert next(iter(kept)) == "settings", name
        assert set(wanted) <= set(kept), name
        assert all(kept[extra].default is not inspect.Parameter.empty for extra in set(kept) - set(wanted)), name


@pytest.mark.parametrize("name", list(ALL))
def test_help_has_an_example_that_parses(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help exits with 0, shows --json, and its examples are command lines this program takes."""
    assert run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert "Example" in shown
    example = shown.split("Example")[1]
    lines = re.findall(rf"\btally {name}\b[^|)\n>]*", example)
    assert lines
    for line in lines:
        words = shlex.split(line.split(" 3<")[0].rstrip('"'))
        ALL[name].make_context(name, words[1 + len(name.split()) :])


@pytest.mark.parametrize("name", list(ENTRIES))
def test_the_line_in_the_list_is_short(name: str) -> None:
    """`tally --help` shows one sentence for each command, without importing any."""
    assert ENTRIES[name].short.endswith(".")
    assert len(ENTRIES[name].short) <= 70


@pytest.mark.parametrize("name", list(LINES))
def test_json_is_one_object_of_the_promised_shape(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--json prints ASCII JSON with exactly the documented keys, and nothing else on stdout."""
    assert call([*LINES[name], "--json"], Cardboard()) in {0, 4}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (2 if name == "log" else 1)
    for line in lines:
        assert line.isascii()
        check(SHAPES[name], json.loads(line), name)


@pytest.mark.parametrize("make", [sample, hollow])
@pytest.mark.parametrize("name", [name for name in LINES if name not in OWN])
def test_people_get_text(name: str, make: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json every command prints something for people, from the fullest and from the emptiest result."""
    assert call(LINES[name], Cardboard(make)) in {0, 1, 3}
    shown = capsys.readouterr().out
    assert shown.strip() or name.startswith("ls") or name == "verb run"  # what the program says, and nothing of ours
    assert not shown.startswith("{")


@pytest.mark.parametrize("name", [name for name in LINES if name not in OWN])
def test_foreign_text_cannot_steer_the_terminal(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences, bidi overrides and line breaks in names of other machines are shown, not obeyed."""
    call(LINES[name], Cardboard(lambda shape: sample(shape, HOSTILE)))
    shown = capsys.readouterr()
    for text in (shown.out, shown.err):
        assert not {"\x1b", "\x07", "\u202e", "\r"} & set(text)


@pytest.mark.parametrize("name", [name for name in LINES if name not in OWN])
@pytest.mark.parametrize(("kind", "code"), [(Refused, 1), (Misuse, 2), (Unproven, 3), (Unavailable, 4), (Malformed, 5)])
def test_each_error_has_its_exit_code_and_two_lines(
    name: str, kind: type[TallyError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """error: and hint: on stderr; --json says the same on stdout."""
    assert call(LINES[name], Cardboard(error=kind("it went wrong", "do this"))) == code
    assert capsys.readouterr().err == "error: it went wrong\nhint: do this\n"
    assert call([*LINES[name], "--json"], Cardboard(error=kind("it went wrong", ""))) == code
    shown = capsys.readouterr()
    assert shown.err == "error: it went wrong\n"
    assert json.loads(shown.out) == {"error": {"kind": kind.__name__.lower(), "message": "it went wrong", "hint": ""}}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["nothing"], "no such command 'nothing'"),
        (["put"], "missing argument 'SRC'"),
        (["put", "FILE"], "missing argument 'HOUSE:/PATH'"),
        (["put", "absent", "/x"], "absent is not a file"),
        (["put", "-", "/x/"], "standard input has no name"),
        (["put", "FILE", "x"], "'x' is not a remote path"),
        (["put", "FILE", "../x:/y"], "is not a remote path"),
        (["get", "/"], "/ names no file"),
        (["get", "/a/.."], "names no file"),
        (["get", "/x", "FILE"], "FILE exists already"),
        (["get", "/x", "-", "--json"], "cannot both go to standard output"),
        (["ls", "/x", "--versions", "--uploads"], "--versions is about a file"),
        (["get", "/x", "--range", "5-1"], "ends before it begins"),
        (["get", "/x", "--range", "-5"], "is not a range of bytes"),
        (["mv", "one:/x", "two:/y"], "a move stays within one house"),
        (["invite", "--type", "ROOT"], "invalid value for '--type'"),
        (["invite", "--ttl", "601"], "invalid value for '--ttl'"),
        (["downgrade", "laptop"], "missing argument 'TYPE'"),
        (["serve", "--port", "x"], "port is 'x'"),
        (["serve", "--port", "70000"], "port is '70000'"),
        (["log", "--since", "yesterday"], "'yesterday' is not a time"),
        (["erase", "7-"], "'7-' is no entry"),
        (["erase", "--before", "soon"], "'soon' is not a time"),
        (["log", "--limit", "0"], "invalid value for '--limit'"),
        (["ping", "--count", "0"], "invalid value for '-c' / '--count'"),
        (["status", "--jsn"], "no such option '--jsn'"),
        (["completion", "csh"], "invalid value for"),
        (["key", "old"], "no such command 'old'"),
        (["approve", "7", "--passphrase-fd", "-1"], "invalid value for '--passphrase-fd'"),
    ],
)
def test_wrong_use_exits_with_2(line: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong command line is told in two lines, and the node is never asked."""
    node = Cardboard()
    assert call(line, node) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert says in error.lower() or says in error
    assert hint.startswith("hint: ")
    assert node.calls == []


def test_remote_paths_reach_the_node_as_house_and_path(capsys: pytest.CaptureFixture[str]) -> None:
    """A path that ends in / keeps the name; the only house may be left out."""
    node = Cardboard()
    call(["put", "FILE", "attic:/papers/"], node)
    call(["put", "FILE", ":/x"], node)
    call(["mv", "attic:/a/b", "/c/"], node)
    call(["get", "attic:/a/b", "--range", "0-511", "--force"], node)
    assert [(name, a["house"], a["path"]) for name, a in node.calls] == [
        ("put", "attic", "/papers/FILE"),
        ("put", "", "/x"),
        ("mv", "attic", "/a/b"),
        ("get", "attic", "/a/b"),
    ]
    assert node.calls[2][1]["target"] == "/c/b"
    assert (node.calls[3][1]["span"], node.calls[3][1]["target"]) == ((0, 511), Path("b"))


def test_the_house_of_the_settings_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """TALLY_HOUSE names the house meant when a path names none."""
    monkeypatch.setenv("TALLY_HOUSE", "barn")
    node = Cardboard()
    call(["ls"], node)
    call(["ls", "attic:/"], node)
    call(["ping"], node)
    assert [arguments["house"] for _, arguments in node.calls] == ["barn", "attic", "barn"]


def test_a_broken_promise_of_the_node_is_a_crash(capsys: pytest.CaptureFixture[str]) -> None:
    """A result that has not the documented shape is our own defect: traceback, exit code 70."""
    assert call(["rm", "/x"], Cardboard(lambda shape: {"surprise": 1})) == 70
    assert "AssertionError" in capsys.readouterr().err


def test_what_nobody_translated_is_unavailable(capsys: pytest.CaptureFixture[str]) -> None:
    """An operating-system error of a local file has two lines as well."""

    def full(shape: object) -> dict[str, Any]:
        raise OSError(28, "No space left on device", "/disk/x")

    assert call(["rm", "/x"], Cardboard(full)) == 4
    assert capsys.readouterr().err.startswith("error: /disk/x: No space left on device\nhint: ")


def test_interruption_exits_with_130() -> None:
    """Ctrl-C is not an error of anybody."""

    def interrupted(shape: object) -> dict[str, Any]:
        raise KeyboardInterrupt

    assert call(["rm", "/x"], Cardboard(interrupted)) == 130


def test_home_may_stand_before_or_after_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tally --home X config` and `tally config --home X` say the same."""
    homes = []
    for line in (["--home", "/x", "config", "--json"], ["config", "--home", "/x", "--json"]):
        assert run(line) == 0
        homes.append(json.loads(capsys.readouterr().out)["settings"][0])
    assert homes[0] == homes[1]
    assert (homes[0]["value"], homes[0]["source"]) == ("/x", "flag")
