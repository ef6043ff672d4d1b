"""`[verbs.NAME]` in tally.toml: what a program may be, and everything that is refused, with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Misuse
from tallystick.node.settings import Source, load
from tallystick.node.verbsettings import ACTIONS, MAX_PROGRAMS, parse_programs
from tallystick.rights.action import ActionClass
from tallystick.service.program import Program


def read(home: Path, text: str) -> dict[str, Program]:
    (home / "tally.toml").write_text(text, encoding="utf-8")
    return dict(load(home=home, env={}).programs)


def test_a_program_is_what_the_file_says(tmp_path: Path) -> None:
    """Every key of its table; only argv must be there, and the class is admin unless told."""
    found = read(
        tmp_path,
        """
name = "attic"
[verbs.reboot]
argv = ["/usr/bin/systemctl", "reboot"]

[verbs.vm-start]
argv = ["/usr/bin/virsh", "start", "web; rm -rf /"]
class = "write"
timeout_s = 5
output_bytes = 0
input_bytes = 32768
env = ["HOME", "LANG"]
cwd = "/var/lib"
user = "libvirt-qemu"
doc = "Start the web server's machine"
""",
    )
    assert list(found.values()) == [
        Program(
            name="reboot", argv=("/usr/bin/systemctl", "reboot"), action=ActionClass.ADMIN, timeout_s=60, output_bytes=65_536, input_bytes=0
        ),
        Program(
            name="vm-start",
            argv=("/usr/bin/virsh", "start", "web; rm -rf /"),
            action=ActionClass.WRITE,
            timeout_s=5,
            output_bytes=0,
            input_bytes=32_768,
            env=("HOME", "LANG"),
            cwd="/var/lib",
            user="libvirt-qemu",
            doc="Start the web server's machine",
        ),
    ]


def test_where_a_program_came_from_is_shown(tmp_path: Path) -> None:
    """`tally config`: its arguments as a shell would want them, and file and line."""
    read(tmp_path, '\nport = 1\n[verbs.df]\nargv = ["/bin/df", "/mnt/my disk"]\n')
    (row,) = [row for row in load(home=tmp_path, env={}).rows() if row["name"] == "verbs.df"]
    assert (row["value"], row["source"], row["detail"]) == ("/bin/df '/mnt/my disk'", str(Source.FILE), f"{tmp_path}/tally.toml:3")


def test_other_ways_that_toml_writes_a_table(tmp_path: Path) -> None:
    """Inline and dotted."""
    assert read(tmp_path, 'verbs.a.argv = ["/bin/a"]\nverbs.b = {argv = ["/bin/b"], class = "read"}\n').keys() == {"a", "b"}
    assert read(tmp_path, "[verbs]\n") == read(tmp_path, "") == {}


HEAD = '[verbs.first]\nargv = ["/bin/true"]\ntimeout_s = 3\n\n[verbs.second]\nargv = ["/bin/true"]\n'
REFUSED = [
    ('verbs = ["/bin/true"]\n', 1, "no table"),
    ('\n[verbs]\nreboot = "systemctl reboot"\n', 3, "is no table"),
    ("\n[verbs.reboot]\n", 2, "names no program"),
    ('[verbs.reboot]\nargv = "systemctl reboot"\n', 2, "argv of verbs.reboot is not right"),
    ('[verbs.reboot]\nargv = ["systemctl", "reboot"]\n', 2, "not right"),
    ('[verbs.reboot]\nargv = ["./systemctl"]\n', 2, "not right"),
    ("[verbs.reboot]\nargv = []\n", 2, "not right"),
    ('[verbs.reboot]\nargv = ["/bin/sh", 1]\n', 2, "not right"),
    ('[verbs.reboot]\nargv = ["/bin/sh", "a\\u0000b"]\n', 2, "not right"),
    (f'[verbs.reboot]\nargv = ["/bin/sh", "{"x" * 4097}"]\n', 2, "not right"),
    (f"[verbs.reboot]\nargv = {['/bin/x'] * 65}\n".replace("'", '"'), 2, "not right"),
    ('[verbs.Reboot]\nargv = ["/bin/true"]\n', 1, "can be called"),
    ('[verbs."a.b"]\nargv = ["/bin/true"]\n', 1, "can be called"),
    ('[verbs."../x"]\nargv = ["/bin/true"]\n', 1, "can be called"),
    (f'[verbs.{"x" * 33}]\nargv = ["/bin/true"]\n', 1, "can be called"),
    (HEAD + "shell = true\n", 7, "has no 'shell'"),
    (HEAD + 'class = "root"\n', 7, "class of verbs.second"),
    (HEAD + 'class = "propose"\n', 7, "class of verbs.second"),
    (HEAD + "class = 1\n", 7, "class of verbs.second"),
    (HEAD + "timeout_s = 0\n", 7, "timeout_s of verbs.second"),
    (HEAD + "timeout_s = 3601\n", 7, "timeout_s of verbs.second"),
    (HEAD + "timeout_s = true\n", 7, "timeout_s of verbs.second"),
    (HEAD + 'timeout_s = "5"\n', 7, "timeout_s of verbs.second"),
    (HEAD + "timeout_s = 5.0\n", 7, "timeout_s of verbs.second"),
    (HEAD + "output_bytes = -1\n", 7, "output_bytes of verbs.second"),
    (HEAD + "output_bytes = 8388609\n", 7, "output_bytes of verbs.second"),
    (HEAD + "input_bytes = 32769\n", 7, "input_bytes of verbs.second"),
    (HEAD + 'env = "HOME"\n', 7, "env of verbs.second"),
    (HEAD + 'env = ["A=B"]\n', 7, "env of verbs.second"),
    (HEAD + 'env = ["A", "A"]\n', 7, "env of verbs.second"),
    (HEAD + 'cwd = "here"\n', 7, "cwd of verbs.second"),
    (HEAD + 'user = "a b"\n', 7, "user of verbs.second"),
    (HEAD + "user = 0\n", 7, "user of verbs.second"),
    (HEAD + 'doc = "two\\nlines"\n', 7, "doc of verbs.second"),
    ("".join(f'[verbs.v{n}]\nargv = ["/bin/true"]\n' for n in range(MAX_PROGRAMS + 1)), 1, "more than 64"),
]


@pytest.mark.parametrize(("text", "line", "message"), REFUSED, ids=[f"{each[2]} {n}" for n, each in enumerate(REFUSED)])
def test_anything_else_is_refused_with_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    """A table that is silently half understood would run what nobody meant."""
    with pytest.raises(Misuse, match=message) as error:
        read(tmp_path, text)
    assert error.value.message.startswith(f"{tmp_path}/tally.toml:{line}: ")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["/bin/sh", *ACTIONS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(["argv", "class", "timeout_s", "output_bytes", "input_bytes", "env", "cwd", "user", "doc", "x"])


@given(st.dictionaries(st.sampled_from(["a", "reboot", "A", ""]), st.dictionaries(keys, values, max_size=4) | values, max_size=2) | values)
def test_whatever_a_file_holds(table: object) -> None:
    """Programs, or Misuse; nothing else comes out, and every program has an absolute path."""
    try:
        found = parse_programs(table, lambda section, key: "here:1")
    except Misuse:
        return
    assert all(program.argv[0].startswith("/") and program.name == name for name, program in found.items())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('notify_command = ["/usr/bin/notify", "a b", "$(c)"]\n', ("/usr/bin/notify", "a b", "$(c)")),
        ("notify_command = []\n", ()),
        ("", ()),
    ],
)
def test_the_program_that_is_told_of_proposals(tmp_path: Path, text: str, expected: tuple[str, ...]) -> None:
    """A list of texts in the file; in the environment one line, read as a shell reads words and expanding nothing."""
    (tmp_path / "tally.toml").write_text(text)
    assert load(home=tmp_path, env={}).notify_command == expected
    assert load(home=tmp_path, env={"TALLY_NOTIFY_COMMAND": "/bin/x 'a b' $(c)"}).notify_command == ("/bin/x", "a b", "$(c)")


@pytest.mark.parametrize(
    "text", ['notify_command = "/bin/x"\n', 'notify_command = ["x"]\n', "notify_command = [1]\n", 'notify_command = [""]\n']
)
def test_no_program_to_tell(tmp_path: Path, text: str) -> None:
    """One text is not a list, and a program has an absolute path."""
    (tmp_path / "tally.toml").write_text(text)
    with pytest.raises(Misuse, match="notify_command"):
        load(home=tmp_path, env={})
