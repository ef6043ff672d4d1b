"""Named programs, really run: what they get, what they say, how they end, and what cannot be done with them."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.service import verbs
from tallystick.service.program import Program
from tallystick.service.verbs import MAX_RUNNING, Ended, Ending, Programs, check_named

SH = "/bin/sh"


def program(*argv: str, **other: object) -> Program:
    return Program(**{"name": "try", "argv": argv, "timeout_s": 20, **other})  # type: ignore[arg-type]


def shell(script: str, **other: object) -> Program:
    """A script that the owner wrote: the only way to a shell."""
    return program(SH, "-c", script, **other)


def run(what: Program, given: bytes | None = None, environment: Mapping[str, str] | None = None) -> tuple[Ended, bytes, bytes]:
    """A run to its end, and what it said on both outputs."""
    said: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    run = Programs({what.name: what}, environment or {}).begin(what, given)
    ended = run.follow(lambda number, chunk: said[number].extend(chunk))
    return ended, bytes(said[1]), bytes(said[2])


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def until(what: "object", seconds: float = 10) -> None:
    """Waits until it is so; how long it took does not matter."""
    deadline = time.monotonic() + seconds
    while not what():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def test_what_it_says_and_how_it_ends() -> None:
    """Both outputs apart, and the status it ended with."""
    assert run(shell("echo out; echo err >&2; exit 7")) == (
        Ended(ending=Ending.EXITED, status=7, said_bytes=8, dropped_bytes=0),
        b"out\n",
        b"err\n",
    )
    ended, _, _ = run(program("/bin/true"))
    assert ended.ok
    assert not run(shell("exit 1"))[0].ok


def test_a_signal_that_ends_it_is_said_as_shells_say_it() -> None:
    """128 and its number."""
    ended, _, _ = run(shell("kill -SEGV $$"))
    assert (ended.ending, ended.status, ended.ok) == (Ending.KILLED, 128 + signal.SIGSEGV, False)


@given(st.lists(st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20), max_size=5))
@settings(max_examples=25, deadline=None)
def test_arguments_arrive_as_they_stand(words: list[str]) -> None:
    """No shell reads them: not `;`, not `$()`, not a blank, not a line break."""
    code = "import sys; sys.stdout.buffer.write(b'\\0'.join(map(__import__('os').fsencode, sys.argv[1:])))"
    _, out, _ = run(program(sys.executable, "-Sc", code, *words))
    assert out == b"\0".join(os.fsencode(word) for word in words)


@pytest.mark.parametrize("given", [b"; touch /tmp/owned", b"$(reboot)", b"\n`id`\n", b"--help", bytes(range(256))])
def test_input_is_input(given: bytes) -> None:
    """What a caller gives comes in as standard input, byte for byte, and nowhere else."""
    ended, out, err = run(program("/bin/cat", input_bytes=1000), given)
    assert (ended.ok, out, err) == (True, given, b"")


def test_without_input_there_is_none() -> None:
    """Not the house's own, not a terminal: it reads an end at once."""
    assert run(program("/bin/cat"))[1] == b""
    assert run(shell("test -t 0; echo $?"))[1] == b"1\n"


def test_input_that_the_owner_did_not_allow() -> None:
    """None unless he said so, and not more than he said."""
    with pytest.raises(Misuse):
        run(program("/bin/cat"), b"x")
    with pytest.raises(Misuse):
        run(program("/bin/cat", input_bytes=3), b"four")


def test_input_that_it_never_reads() -> None:
    """Blocks nothing."""
    assert run(program("/bin/true", input_bytes=65_536), bytes(65_536))[0].ok


def test_it_gets_the_listed_environment_and_no_other() -> None:
    """A path, a language, and what the owner lists; of the house's secrets nothing."""
    environment = {"SHOWN": "a b", "HIDDEN": "secret", "LD_PRELOAD": "/evil.so"}
    _, out, _ = run(program("/usr/bin/env", env=("SHOWN", "ABSENT")), None, environment)
    assert sorted(out.decode().split("\n")[:-1]) == ["LANG=C.UTF-8", "PATH=" + verbs.ENVIRONMENT["PATH"], "SHOWN=a b"]


def test_it_inherits_no_descriptor(tmp_path: Path) -> None:
    """Of files and sockets that the house has open it gets none."""
    with (tmp_path / "vault").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        _, out, _ = run(program("/bin/ls", "/proc/self/fd"))
    assert set(out.split()) <= {b"0", b"1", b"2", b"3"}  # the last is ls's own


def test_where_it_runs(tmp_path: Path) -> None:
    """In the root, unless the owner names a folder."""
    assert run(program("/bin/pwd"))[1] == b"/\n"
    assert run(program("/bin/pwd", cwd=str(tmp_path)))[1] == f"{tmp_path}\n".encode()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_who_it_runs_as() -> None:
    """User, group and the groups of that user; none of the house's."""
    _, out, _ = run(program("/usr/bin/id", user="nobody"))
    assert b"(nobody)" in out
    assert b"(root)" not in out


@pytest.mark.parametrize(
    "what",
    [
        program("/no/such/program"),
        program("/etc/passwd"),
        program("/bin/true", cwd="/no/such/folder"),
        program("/bin/true", user="nobody-of-this-name"),
    ],
)
def test_what_cannot_be_started(what: Program) -> None:
    """Says so, and takes no place among those that run."""
    programs = Programs({"try": what}, {})
    for _ in range(MAX_RUNNING + 1):
        with pytest.raises(Unavailable, match=r"cannot be started|no user"):
            programs.begin(what, None)


def test_a_flood_is_heard_to_its_bound() -> None:
    """More than it may say: what is beyond is counted and dropped, nothing fills up, and the program goes on to its own end."""
    ended, out, err = run(shell("head -c 30000000 /dev/zero; echo done >&2; exit 3", output_bytes=1000))
    assert (ended.ending, ended.status) == (Ending.EXITED, 3)
    assert len(out) + len(err) == 1000
    assert (ended.said_bytes, ended.dropped_bytes) == (30_000_005, 29_999_005)


def test_a_flood_without_end_ends_with_its_time() -> None:
    """`yes` is stopped by the clock, and what was heard is its bound."""
    ended, out, _ = run(program("/usr/bin/yes", timeout_s=1, output_bytes=4096))
    assert (ended.ending, len(out)) == (Ending.TIMEOUT, 4096)
    assert ended.dropped_bytes == ended.said_bytes - 4096 > 0


def test_nothing_it_says_is_heard_where_nothing_may_be() -> None:
    """A bound of 0."""
    assert run(shell("echo secret", output_bytes=0))[1:] == (b"", b"")


def test_its_time_is_over(tmp_path: Path) -> None:
    """It is asked to end, and so are its children; one that does as it is told may say a last word."""
    script = "trap 'echo bye; exit 0' TERM; (sleep 1000; touch late) & echo $! > child; sleep 1000 & wait"
    ended, out, _ = run(shell(script, timeout_s=1, cwd=str(tmp_path)))
    assert (ended.ending, out, ended.ok) == (Ending.TIMEOUT, b"bye\n", False)
    child = int((tmp_path / "child").read_text())
    until(lambda: not alive(child))


def test_one_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM is ignored by all of its group: then SIGKILL."""
    monkeypatch.setattr(verbs, "GRACE_S", 0.3)
    script = "trap '' TERM; (trap '' TERM; sleep 1000) & echo $! > child; while :; do sleep 1; done"
    ended, _, _ = run(shell(script, timeout_s=1, cwd=str(tmp_path)))
    assert (ended.ending, ended.status) == (Ending.TIMEOUT, 128 + signal.SIGKILL)
    child = int((tmp_path / "child").read_text())
    until(lambda: not alive(child))


def test_what_it_leaves_behind_in_its_group_is_killed(tmp_path: Path) -> None:
    """The leader ends at once and leaves a child that holds its output open: neither waits for it nor lets it live."""
    ended, out, _ = run(shell("sleep 1000 & echo $!", timeout_s=20))
    assert ended.ok
    until(lambda: not alive(int(out)))


def test_what_detaches_itself_stays(tmp_path: Path) -> None:
    """A daemon in a session of its own is the program's to leave; the run does not wait for it, though it holds the output open."""
    ended, out, _ = run(shell("setsid sleep 1000 & sleep 0.2; echo $!", timeout_s=20))
    assert ended.ok
    assert alive(int(out))
    os.kill(int(out), signal.SIGKILL)


def test_no_more_than_a_few_at_once() -> None:
    """Who comes when all places are taken is told so; a place is free again when its run has ended."""
    what = shell("read line; echo $line", input_bytes=10)
    slow = program("/bin/sleep", "1000")
    programs = Programs({"try": what}, {})
    runs = [programs.begin(slow, None) for _ in range(MAX_RUNNING)]
    with pytest.raises(Unavailable, match="run already"):
        programs.begin(what, None)
    runs[0].stop()
    assert runs[0].follow(lambda *_: None).ending is Ending.STOPPED
    said = bytearray()
    assert programs.begin(what, b"hello\n").follow(lambda _, chunk: said.extend(chunk)).ok
    assert said == b"hello\n"
    programs.stop()
    assert {each.follow(lambda *_: None).ending for each in runs[1:]} == {Ending.STOPPED}
    with pytest.raises(Unavailable, match="closing"):
        programs.begin(what, None)


def test_a_house_that_stops_ends_what_runs() -> None:
    """While it is followed in another thread, as a house does."""
    slow = program("/bin/sleep", "1000", timeout_s=3000)
    programs = Programs({"try": slow}, {})
    run, ended = programs.begin(slow, None), []
    thread = threading.Thread(target=lambda: ended.append(run.follow(lambda *_: None)))
    thread.start()
    programs.stop()
    thread.join(20)
    assert [each.ending for each in ended] == [Ending.STOPPED]


def test_a_name_that_stands_for_nothing() -> None:
    """Refused."""
    programs = Programs({"try": program("/bin/true")}, {})
    assert [each.name for each in programs.all()] == ["try"]
    assert check_named(programs.get("try")).verb == "verb.try"
    with pytest.raises(Refused):
        check_named(programs.get("other"))
