"""Settings: flags > environment > tally.toml > default, each value with where it came from.

One table, `SETTINGS`, names every setting once: its TOML key, its environment variable (`TALLY_` and the name in capitals), its
type, default and meaning. docs/cli.md and `tally config` are drawn from it. Parsing is strict: a key that is not in the table is
refused with its line, because a setting that is silently ignored is worse than none. Nothing here is a secret, and nothing here
can weaken what a human key has signed.
"""

import difflib
import os
import re
import shlex
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tallystick.errors import Misuse, Unavailable
from tallystick.node import plansettings
from tallystick.node.verbsettings import SECTION, parse_programs
from tallystick.service.program import Program

FILE_NAME: Final = "tally.toml"
MAX_FILE_BYTES: Final = 65_536
ENV_PREFIX: Final = "TALLY_"
DEFAULT_PORT: Final = 51877

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_BOOLEANS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}

Value = str | int | bool | Path | tuple[str, ...]


class Kind(StrEnum):
    """The type of a setting, in the words of the documentation."""

    TEXT = "text"
    NAME = "name"
    CHOICE = "choice"
    NUMBER = "number"
    SWITCH = "true or false"
    PATH = "path"
    WORDS = "list of texts"


class Source(StrEnum):
    """Where a value came from, strongest first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One row of the table. `least` and `most` bound numbers; `default` is text as a person would type it, "" for computed."""

    name: str
    kind: Kind
    default: str
    doc: str
    least: int = 0
    most: int = 2**63 - 1
    choices: tuple[str, ...] = ()

    @property
    def env(self) -> str:
        """The environment variable of this setting."""
        return ENV_PREFIX + self.name.upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from; `detail` is the variable, or the file with the line."""

    source: Source
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.source} {self.detail}".rstrip()


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(name="name", kind=Kind.NAME, default="", doc="What other machines call this one. Default: the host name."),
    Setting(
        name="address", kind=Kind.TEXT, default="::", doc="Local IP address the house takes knocks on; `::` is every IPv6 and IPv4 address."
    ),
    Setting(
        name="port", kind=Kind.NUMBER, default=str(DEFAULT_PORT), least=0, most=65_535, doc="UDP port of the house; 0 takes a free one."
    ),
    Setting(
        name="advertise",
        kind=Kind.TEXT,
        default="",
        doc="Address written into invites, `HOST`, `HOST:PORT` or `[IPV6]:PORT`. Default: the address this host uses towards its network.",
    ),
    Setting(name="root", kind=Kind.PATH, default="", doc="Folder the archive serves. Default: `files` in the home."),
    Setting(name="versions", kind=Kind.NUMBER, default="10", least=0, most=10_000, doc="Older versions kept of each archived file."),
    Setting(
        name="retention",
        kind=Kind.TEXT,
        default="",
        doc="How long what an entry only commits to is kept, by kind: `signal=90d query=30d` (h, d, w, y). Default: for ever.",
    ),
    Setting(
        name="witness_policy",
        kind=Kind.PATH,
        default="",
        doc="File that names the witnesses of this house's log, k of n, in the syntax of c2sp.org/tlog-policy. Default: none are asked.",
    ),
    Setting(
        name="witness_quorum",
        kind=Kind.CHOICE,
        default="open",
        choices=("open", "closed"),
        doc="Without its quorum of witnesses a checkpoint is published all the same (`open`), or not until it is reached (`closed`).",
    ),
    Setting(
        name="witness_logs",
        kind=Kind.PATH,
        default="",
        doc="File with a line `log VKEY` for each log that this machine witnesses for others. Default: `witness.logs` in the home.",
    ),
    Setting(
        name="witness_listen",
        kind=Kind.TEXT,
        default="",
        doc="`HOST:PORT` at which this machine is a witness, for `tally witness serve` and beside `tally serve`. Default: nowhere.",
    ),
    Setting(
        name="rate_admin",
        kind=Kind.NUMBER,
        default="2000",
        most=1_000_000,
        doc="Commands a second that the house takes of an ADMIN pair, and 20 seconds' worth at once; 0 takes all.",
    ),
    Setting(name="rate_input", kind=Kind.NUMBER, default="1000", most=1_000_000, doc="The same for an INPUT pair."),
    Setting(name="rate_user", kind=Kind.NUMBER, default="500", most=1_000_000, doc="The same for a USER pair."),
    Setting(name="rate_interface", kind=Kind.NUMBER, default="10", most=1_000_000, doc="The same for an INTERFACE pair."),
    Setting(
        name="rate_key",
        kind=Kind.NUMBER,
        default="500",
        most=1_000_000,
        doc="Signals a second that the gate takes of one key, and 20 seconds' worth at once; 0 takes all.",
    ),
    Setting(name="reason", kind=Kind.SWITCH, default="false", doc="Look for a story in which all sightings are true (extra `[reason]`)."),
    Setting(
        name="gate_socket",
        kind=Kind.PATH,
        default="",
        doc="Socket at which programs on this computer hand signals in. Default: `gate.sock` in the home, where no other user gets to.",
    ),
    Setting(
        name="gate_group",
        kind=Kind.NAME,
        default="",
        doc="Group whose members may hand signals in at `gate_socket`. Default: only the house's own user and root.",
    ),
    Setting(
        name="reserve_mib",
        kind=Kind.NUMBER,
        default="64",
        most=1 << 30,
        doc="Free space of the home, in MiB, below which the house takes no commands and records only what ends something; 0 for none.",
    ),
    Setting(
        name="metrics_port",
        kind=Kind.NUMBER,
        default="0",
        least=0,
        most=65_535,
        doc="TCP port on 127.0.0.1 for `/healthz` and Prometheus metrics; 0 opens none.",
    ),
    Setting(
        name="notify_command",
        kind=Kind.WORDS,
        default="",
        doc="Program, and its arguments, that is run for each proposal that comes to wait, with a JSON object as input. Default: none.",
    ),
    Setting(
        name="notify_url",
        kind=Kind.TEXT,
        default="",
        doc="`http://` or `https://` address to which the same JSON object is posted. Default: none.",
    ),
    Setting(
        name="mode",
        kind=Kind.CHOICE,
        default="auto",
        choices=("auto", "1", "2", "3"),
        doc="How the answer to a knock travels (docs/spec/knock.md): `auto` starts with 1, the least visible, and remembers what worked.",
    ),
    Setting(name="prefilter", kind=Kind.SWITCH, default="true", doc="Drop datagrams of a wrong size or type in the kernel (classic BPF)."),
    Setting(
        name="timeout_s", kind=Kind.NUMBER, default="10", least=1, most=3_600, doc="Seconds a client waits for a house before it gives up."
    ),
    Setting(name="house", kind=Kind.NAME, default="", doc="The house meant when a remote path names none. Default: the only one."),
    Setting(
        name="log_format",
        kind=Kind.CHOICE,
        default="auto",
        choices=("auto", "plain", "json"),
        doc="Log lines of `tally serve`: `auto` is plain on a terminal and JSON elsewhere.",
    ),
    Setting(
        name="log_level",
        kind=Kind.CHOICE,
        default="info",
        choices=("debug", "info", "warning", "error"),
        doc="The least a log line must matter.",
    ),
)

TABLE: Final[Mapping[str, Setting]] = {setting.name: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The effective settings. `root` and `name` are filled in where the table says "Default: ..."; `advertise` and `house` stay
    empty until somebody asks, because their default depends on the network and the pairs of that moment."""

    home: Path
    name: str
    address: str
    port: int
    advertise: str
    root: Path
    versions: int
    retention: str
    witness_policy: Path | None
    witness_quorum: str
    witness_logs: Path
    witness_listen: str
    rate_admin: int
    rate_input: int
    rate_user: int
    rate_interface: int
    rate_key: int
    reason: bool
    gate_socket: Path
    gate_group: str
    reserve_mib: int
    metrics_port: int
    notify_command: tuple[str, ...]
    notify_url: str
    mode: str
    prefilter: bool
    timeout_s: int
    house: str
    log_format: str
    log_level: str
    programs: Mapping[str, Program] = field(default_factory=dict)
    auth_layers: Mapping[str, str] = field(default_factory=dict)
    origins: Mapping[str, Origin] = field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """What `tally config` shows: name, value, source, detail, env and doc for the home and each setting."""
        rows: list[dict[str, Any]] = [
            {"name": "home", "value": str(self.home), "env": "TALLY_HOME", "doc": "Where this machine keeps its state."}
        ]
        for setting in SETTINGS:
            value = getattr(self, setting.name)
            shown = shlex.join(value) if isinstance(value, tuple) else value if isinstance(value, str | int) else str(value or "")
            rows.append({"name": setting.name, "value": shown, "env": setting.env, "doc": setting.doc})
        for program in self.programs.values():
            about = f"A program of class {program.action.value} that `tally verb run {program.name}` runs."
            rows.append({"name": f"{SECTION}.{program.name}", "value": shlex.join(program.argv), "env": "", "doc": program.doc or about})
        for name, layers in self.auth_layers.items():
            env = plansettings.VARIABLE + name.upper().replace("/", "_")
            rows.append({"name": f"{plansettings.SECTION}.{name}", "value": layers, "env": env, "doc": "The layers that judge this class."})
        for row in rows:
            origin = self.origins[row["name"]]
            row |= {"source": str(origin.source), "detail": origin.detail}
        return rows


def parse(setting: Setting, text: str) -> Value:
    """The value that `text` stands for.

    Raises: Misuse: the text is not of the setting's kind or out of its bounds.
    """
    wrong: str
    match setting.kind:
        case Kind.NUMBER:
            if _DECIMAL.fullmatch(text) and setting.least <= int(text) <= setting.most:
                return int(text)
            wrong = f"a whole number from {setting.least} to {setting.most}"
        case Kind.SWITCH:
            if text in _BOOLEANS:
                return _BOOLEANS[text]
            wrong = "true or false"
        case Kind.CHOICE:
            if text in setting.choices:
                return text
            wrong = "one of " + ", ".join(setting.choices)
        case Kind.NAME:
            if text == "" or _NAME.fullmatch(text):
                return text
            wrong = "letters, digits, dots, dashes and underscores, at most 63"
        case Kind.PATH:
            if "\0" not in text:
                return Path(os.path.expanduser(text))  # unlike Path.expanduser, an unknown ~name stays as it is
            wrong = "a path"
        case Kind.WORDS:
            try:
                words = tuple(shlex.split(text))
            except ValueError:
                words = ("",)
            if not words or words[0].startswith("/"):
                return words
            wrong = "the absolute path of a program and its arguments"
        case Kind.TEXT:
            if len(text) <= 255 and text.isprintable():
                return text
            wrong = "at most 255 printable characters"
    raise Misuse(f"{setting.name} is {text[:80]!r}", f"{setting.name} is {wrong}")


def default_home(env: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/tallystick`, else `~/.local/state/tallystick` (XDG Base Directory 0.8; a relative value is ignored)."""
    state = env.get("XDG_STATE_HOME", "")
    if state.startswith("/"):
        return Path(state) / "tallystick"
    home = env.get("HOME", "")
    if not home.startswith("/"):
        raise Unavailable("there is no home directory to keep the state in", "set TALLY_HOME to an absolute path")
    return Path(home) / ".local" / "state" / "tallystick"


def resolve_home(flag: str | Path | None, env: Mapping[str, str]) -> tuple[Path, Origin]:
    """The home and where it came from: flag, else TALLY_HOME, else the default of the platform."""
    if flag:
        return Path(os.path.expanduser(flag)).absolute(), Origin(source=Source.FLAG, detail="--home")
    if chosen := env.get("TALLY_HOME", ""):
        if not chosen.startswith("/"):
            raise Misuse(f"TALLY_HOME is {chosen[:80]!r}", "TALLY_HOME is an absolute path")
        return Path(chosen), Origin(source=Source.ENVIRONMENT, detail="TALLY_HOME")
    return default_home(env), Origin(source=Source.DEFAULT)


def _closest(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {near[0]}?" if near else "`tally config` lists every setting"


def _line_of(text: str, key: str, start: int = 1) -> int:
    """The line on or behind `start` that a key stands on, else `start`; tomllib tells only the lines of syntax errors."""
    dotted = r"""["']?\s*\.\s*["']?""".join(re.escape(part) for part in key.split("."))
    pattern = re.compile(rf"""^\s*(?:\[+\s*)?["']?{dotted}["']?\s*[=.\]]""")
    lines = enumerate(text.splitlines()[start - 1 :], start)
    return next((number for number, line in lines if pattern.match(line)), start)


def _as_text(setting: Setting, value: object) -> str | None:
    """A TOML value as the text `parse` takes, or None when it has the wrong TOML type: `port = "1"` is not a number."""
    match setting.kind, value:
        case Kind.SWITCH, bool():
            return "true" if value else "false"
        case Kind.NUMBER, int() if not isinstance(value, bool):
            return str(value)
        case Kind.WORDS, list() if all(isinstance(word, str) for word in value):
            return shlex.join(value)
        case ((Kind.TEXT | Kind.NAME | Kind.CHOICE | Kind.PATH), str()):
            return value
        case _:
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a tally.toml says: the settings, the programs that it names, and the layers of classes with their places."""

    settings: dict[str, tuple[Value, Origin]] = field(default_factory=dict)
    programs: dict[str, tuple[Program, Origin]] = field(default_factory=dict)
    layers: plansettings.Written = field(default_factory=dict)


def read_file(path: Path) -> Written:
    """What a tally.toml says; an absent file says nothing.

    Raises: Misuse: with file and line, for what is not TOML, not in the table, or not of the right type. Unavailable: unreadable.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return Written()
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}", "check its owner and mode") from error
    if len(raw) > MAX_FILE_BYTES:
        raise Misuse(f"{path} is longer than {MAX_FILE_BYTES} bytes", "it holds one short line for each setting")
    try:
        text = raw.decode("utf-8")
        document = tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise Misuse(f"{path} is not TOML: {error}", 'write one `name = value` a line, text in "quotes"') from error

    def where(section: str, key: str) -> str:
        head = _line_of(text, section)
        return f"{path}:{_line_of(text, key, head) if key else head}"

    programs = parse_programs(document.pop(SECTION, {}), where)
    layers = plansettings.read_section(document.pop(plansettings.SECTION, {}), where)
    found: dict[str, tuple[Value, Origin]] = {}
    for key, value in document.items():
        line = _line_of(text, key)
        setting = TABLE.get(key)
        if setting is None:
            raise Misuse(f"{path}:{line}: no setting is called {key[:80]!r}", _closest(key, [*TABLE, SECTION, plansettings.SECTION]))
        written = _as_text(setting, value)
        if written is None:
            raise Misuse(f"{path}:{line}: {key} has the wrong type", f"{key} is a {setting.kind}")
        try:
            found[key] = (parse(setting, written), Origin(source=Source.FILE, detail=f"{path}:{line}"))
        except Misuse as error:
            raise Misuse(f"{path}:{line}: {error.message}", error.hint) from error
    places = {name: Origin(source=Source.FILE, detail=where(f"{SECTION}.{name}", "")) for name in programs}
    named = {name: (program, places[name]) for name, program in programs.items()}
    return Written(settings=found, programs=named, layers=layers)


def read_environment(env: Mapping[str, str]) -> dict[str, tuple[Value, Origin]]:
    """The settings among the variables. Raises: Misuse: a TALLY_ variable that no setting has, or a value of the wrong kind."""
    by_variable = {setting.env: setting for setting in SETTINGS}
    found: dict[str, tuple[Value, Origin]] = {}
    for variable, text in env.items():
        if not variable.startswith(ENV_PREFIX) or variable == "TALLY_HOME":
            continue
        setting = by_variable.get(variable)
        if setting is None:
            raise Misuse(f"no setting belongs to the variable {variable[:80]}", _closest(variable, ["TALLY_HOME", *by_variable]))
        try:
            found[setting.name] = (parse(setting, text), Origin(source=Source.ENVIRONMENT, detail=variable))
        except Misuse as error:
            raise Misuse(f"{variable}: {error.message}", error.hint) from error
    return found


def read_flags(flags: Mapping[str, object]) -> dict[str, tuple[Value, Origin]]:
    """The settings given on the command line; None means the flag was not given."""
    found: dict[str, tuple[Value, Origin]] = {}
    for name, value in flags.items():
        if value is None:
            continue
        if name not in TABLE:
            raise AssertionError(f"the flag {name} is not in the table of settings")
        text = ("true" if value else "false") if isinstance(value, bool) else str(value)
        found[name] = (parse(TABLE[name], text), Origin(source=Source.FLAG, detail="--" + name.replace("_", "-")))
    return found


def _host_name() -> str:
    """The host name as far as it is a name of ours."""
    name = socket.gethostname().split(".")[0][:63]
    return name if _NAME.fullmatch(name) else "machine"


def load(flags: Mapping[str, object] | None = None, *, home: str | Path | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """The effective settings of this process.

    Args: flags: by setting name, None where not given.  home: the `--home` flag.  env: `os.environ` unless told.
    Raises: Misuse: with the flag, variable or file and line at fault. Unavailable: the file cannot be read, or there is no home.
    """
    environment = os.environ if env is None else env
    path, home_origin = resolve_home(home, environment)
    chosen: dict[str, tuple[Value, Origin]] = {
        setting.name: (parse(setting, setting.default), Origin(source=Source.DEFAULT)) for setting in SETTINGS
    }
    written = read_file(path / FILE_NAME)
    programs = written.programs
    chosen |= written.settings
    chosen |= read_environment(environment)
    chosen |= read_flags(flags or {})
    values: dict[str, Any] = {name: value for name, (value, _) in chosen.items()}
    if not values["name"]:
        values["name"] = _host_name()
    # A relative path in the file means "beside the file"; on the command line it means what the shell would mean.
    defaults = {"root": path / "files", "witness_policy": None, "witness_logs": path / "witness.logs", "gate_socket": path / "gate.sock"}
    for name, otherwise in defaults.items():
        found, source = values[name], chosen[name][1].source
        if source is Source.DEFAULT:
            values[name] = otherwise
        else:
            values[name] = path / found if source is Source.FILE else found.absolute()
    origins = {"home": home_origin} | {name: origin for name, (_, origin) in chosen.items()}
    origins |= {f"{SECTION}.{name}": origin for name, (_, origin) in programs.items()}
    layers: dict[str, str] = {}
    for source, said in ((Source.FILE, written.layers), (Source.ENVIRONMENT, plansettings.read_variables(environment))):
        for name, (text, detail) in said.items():
            layers[name] = text
            origins[f"{plansettings.SECTION}.{name}"] = Origin(source=source, detail=detail)
    return Settings(
        home=path, auth_layers=layers, programs={name: program for name, (program, _) in programs.items()}, origins=origins, **values
    )
