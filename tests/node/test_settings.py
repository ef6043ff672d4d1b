"""Settings: where values come from, and everything that is refused."""

from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Misuse, Unavailable
from tallystick.node import settings as module
from tallystick.node.settings import SETTINGS, Settings, Source, load


def write(home: Path, text: str) -> None:
    home.mkdir(exist_ok=True)
    (home / "tally.toml").write_text(text, encoding="utf-8")


def env(home: Path, **variables: str) -> dict[str, str]:
    return {"HOME": "/home/somebody", "TALLY_HOME": str(home), **variables}


def test_the_table_and_the_class_name_the_same_settings() -> None:
    """Every row of the table is a field of Settings, and nothing else is."""
    assert [setting.name for setting in SETTINGS] == [
        f.name for f in fields(Settings) if f.name not in {"home", "origins", "programs", "auth_layers"}
    ]


def test_every_default_is_a_value_of_its_own_kind() -> None:
    """A setting's documented default parses by the setting's own rule."""
    for setting in SETTINGS:
        module.parse(setting, setting.default)
        assert setting.doc.endswith(".")


def test_flags_beat_environment_beats_file_beats_default(tmp_path: Path) -> None:
    """The same setting in all four places takes the strongest, and says where it came from."""
    assert (load(env=env(tmp_path)).port, load(env=env(tmp_path)).origins["port"].source) == (51877, Source.DEFAULT)
    write(tmp_path, "\nport = 1000\n")
    from_file = load(env=env(tmp_path))
    assert (from_file.port, str(from_file.origins["port"])) == (1000, f"file {tmp_path}/tally.toml:2")
    from_env = load(env=env(tmp_path, TALLY_PORT="2000"))
    assert (from_env.port, str(from_env.origins["port"])) == (2000, "environment TALLY_PORT")
    from_flag = load({"port": 3000, "root": None}, env=env(tmp_path, TALLY_PORT="2000"))
    assert (from_flag.port, str(from_flag.origins["port"])) == (3000, "flag --port")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("prot = 1\n", 1, "no setting is called 'prot'"),
        ("\n# a comment\nport = '51877'\n", 3, "port has the wrong type"),
        ("port = true\n", 1, "port has the wrong type"),
        ("port = 1.0\n", 1, "port has the wrong type"),
        ("port = 70000\n", 1, "port is '70000'"),
        ("port = -1\n", 1, "port is '-1'"),
        ("prefilter = 1\n", 1, "prefilter has the wrong type"),
        ("mode = '4'\n", 1, "mode is '4'"),
        ("name = 'a b'\n", 1, "name is 'a b'"),
        ("name = '../x'\n", 1, "name is '../x'"),
        ('address = "\\u0000"\n', 1, "address is"),
        ("root = 1\n", 1, "root has the wrong type"),
        ("port = 1\n[pair]\ntype = 'INPUT'\n", 2, "no setting is called 'pair'"),
        ("port = 1\nserver.port = 2\n", 2, "no setting is called 'server'"),
        ("home = '/elsewhere'\n", 1, "no setting is called 'home'"),
    ],
)
def test_the_file_is_refused_with_its_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    """What is not in the table, or not of the right type, is refused with file and line."""
    write(tmp_path, text)
    with pytest.raises(Misuse) as caught:
        load(env=env(tmp_path))
    assert f"tally.toml:{line}: {says}" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("text", ["port = \n", "port = 1\nport = 2\n", "port 1\n", "[" * 3000, "name = 'a\n"])
def test_what_is_not_toml_is_refused(text: str, tmp_path: Path) -> None:
    """A syntax error is our caller's, with the parser's own line."""
    write(tmp_path, text)
    with pytest.raises(Misuse, match="not TOML"):
        load(env=env(tmp_path))


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """A file in another encoding is not guessed at."""
    (tmp_path / "tally.toml").write_bytes(b"name = '\xff'\n")
    with pytest.raises(Misuse, match="not TOML"):
        load(env=env(tmp_path))


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    """Reading stops at 64 KiB."""
    write(tmp_path, "#" * 65_537)
    with pytest.raises(Misuse, match="longer than"):
        load(env=env(tmp_path))


def test_an_unreadable_file_is_unavailable(tmp_path: Path) -> None:
    """A directory in its place is a window that is shut, not a traceback."""
    (tmp_path / "tally.toml").mkdir()
    with pytest.raises(Unavailable):
        load(env=env(tmp_path))


@pytest.mark.parametrize("variable", ["TALLY_PROT", "TALLY_", "TALLY_PORTS"])
def test_an_unknown_variable_is_refused(variable: str, tmp_path: Path) -> None:
    """A misspelt variable is refused, with the nearest name where there is one."""
    with pytest.raises(Misuse, match="no setting belongs"):
        load(env=env(tmp_path, **{variable: "1"}))


@pytest.mark.parametrize("text", ["", "+1", "01", " 1", "1 ", "1_0", "٤", "1e3", "0x10", "9" * 30])
def test_numbers_have_one_form(text: str, tmp_path: Path) -> None:
    """What Python's int() would take is not enough."""
    with pytest.raises(Misuse, match="TALLY_PORT"):
        load(env=env(tmp_path, TALLY_PORT=text))


@given(st.text(max_size=40))
def test_any_text_is_a_value_or_a_misuse(text: str) -> None:
    """No value of a setting raises anything else."""
    for setting in SETTINGS:
        try:
            module.parse(setting, text)
        except Misuse as error:
            assert error.hint


@given(st.binary(max_size=60))
def test_any_file_is_settings_or_a_misuse(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """No content of the file raises anything else."""
    home = tmp_path_factory.mktemp("home")
    (home / "tally.toml").write_bytes(data)
    try:
        load(env=env(home))
    except Misuse as error:
        assert "\n" not in error.hint


def test_the_home_follows_flag_variable_and_platform(tmp_path: Path) -> None:
    """--home, then TALLY_HOME, then the XDG state directory, then ~/.local/state."""
    assert load(home=tmp_path, env={"TALLY_HOME": "/other"}).home == tmp_path
    assert load(env={"TALLY_HOME": "/other"}).home == Path("/other")
    assert load(env={"HOME": "/h", "XDG_STATE_HOME": "/state"}).home == Path("/state/tallystick")
    assert load(env={"HOME": "/h", "XDG_STATE_HOME": "state"}).home == Path("/h/.local/state/tallystick")
    assert load(env={"HOME": "/h"}).home == Path("/h/.local/state/tallystick")
    with pytest.raises(Unavailable):
        load(env={})
    with pytest.raises(Misuse):
        load(env={"TALLY_HOME": "relative"})


def test_a_relative_root_is_read_where_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the file it lies beside the file; in flag and variable it is what the shell would mean."""
    monkeypatch.chdir("/")
    assert load(env=env(tmp_path)).root == tmp_path / "files"
    write(tmp_path, "root = 'data'\n")
    assert load(env=env(tmp_path)).root == tmp_path / "data"
    assert load(env=env(tmp_path, TALLY_ROOT="data")).root == Path("/data")
    assert load({"root": "data"}, env=env(tmp_path)).root == Path("/data")


def test_rows_show_each_value_with_its_origin(tmp_path: Path) -> None:
    """`tally config` gets the home and every setting, in the order of the table."""
    rows = load({"port": 7}, env=env(tmp_path)).rows()
    assert [row["name"] for row in rows] == ["home", *(setting.name for setting in SETTINGS)]
    assert all(set(row) == {"name", "value", "source", "detail", "env", "doc"} for row in rows)
    assert next(row for row in rows if row["name"] == "port") | {"doc": ""} == {
        "name": "port",
        "value": 7,
        "source": "flag",
        "detail": "--port",
        "env": "TALLY_PORT",
        "doc": "",
    }


def test_layers_are_read_from_the_file_and_the_environment_wins(tmp_path: Path) -> None:
    """A class is named by its word in the file, and with underscores in a variable; each keeps where it came from."""
    write(tmp_path, '[auth_layers]\ndefault = "crypto, deterministic"\n"sensor/camera" = "crypto"\n')
    found = load(env=env(tmp_path, AUTH_LAYERS_SENSOR_CAMERA="crypto,deterministic", AUTH_LAYERS_CRON="crypto"))
    assert dict(found.auth_layers) == {"default": "crypto, deterministic", "sensor/camera": "crypto,deterministic", "cron": "crypto"}
    origins = {name: str(found.origins[f"auth_layers.{name}"]) for name in found.auth_layers}
    assert origins["default"] == f"file {tmp_path / 'tally.toml'}:2"
    assert origins["sensor/camera"] == "environment AUTH_LAYERS_SENSOR_CAMERA"
    assert {"name": "auth_layers.cron", "value": "crypto", "source": "environment"}.items() <= found.rows()[-1].items()


@pytest.mark.parametrize(
    ("text", "variables", "says"),
    [
        ('[auth_layers]\nsensor = "crypto,sensory"\n', {}, "tally.toml:2: layers of sensor: the layer sensory is not in this program"),
        ('[auth_layers]\n\nsensor = "crypto,smell"\n', {}, "tally.toml:3: layers of sensor: no layer is called 'smell'"),
        ('[auth_layers]\ncron = "deterministic"\n', {}, "tally.toml:2: layers of cron: crypto is missing"),
        ('[auth_layers]\ncron = ""\n', {}, "tally.toml:2: layers of cron: no layer is called ''"),
        ('[auth_layers]\ncron = ["crypto"]\n', {}, "tally.toml:2: cron has the wrong type"),
        ('[auth_layers]\n"Sensor" = "crypto"\n', {}, "tally.toml:2: 'Sensor' is no class"),
        ('auth_layers = "crypto"\n', {}, "tally.toml:1: auth_layers is no table"),
        ("", {"AUTH_LAYERS_SENSOR": "crypto,probabilistic"}, "AUTH_LAYERS_SENSOR: layers of sensor: the layer probabilistic"),
        ("", {"AUTH_LAYERS_DEFAULT": "crypto,crypto"}, "AUTH_LAYERS_DEFAULT: layers of default: crypto stands twice"),
        ("", {"AUTH_LAYERS_": "crypto"}, "AUTH_LAYERS_ names no class"),
        ("", {"AUTH_LAYERS_a": "crypto"}, "AUTH_LAYERS_a names no class"),
    ],
)
def test_a_plan_that_cannot_be_names_its_setting(tmp_path: Path, text: str, variables: dict[str, str], says: str) -> None:
    write(tmp_path, text)
    with pytest.raises(Misuse) as caught:
        load(env=env(tmp_path, **variables))
    assert says in caught.value.message
