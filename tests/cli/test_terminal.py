"""The parts that talk with a person: prompts, words, QR, progress, on a real pseudo-terminal."""

import os
import pty
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tallystick.cli.terminal import confirmer, passphrase_asker, progress_line, qr_lines, read_passphrase
from tallystick.errors import Misuse, Unavailable
from tests.support import PROJECT

PROPOSAL = {
    "words": ["snapline", "pedigree", "Ringbolt", "bifocals"],
    "digits": "123456",
    "label": "laptop",
    "type": "INPUT",
    "key_class": "file",
}


def pipe(data: bytes) -> int:
    reader, writer = os.pipe()
    os.write(writer, data)
    os.close(writer)
    return reader


def on_a_terminal(args: Sequence[str], answers: Sequence[tuple[str, str]] = (), *, until_s: float = 30) -> tuple[str, int]:
    """Run the command line with the cardboard node on a pseudo-terminal; type each answer when its prompt has come."""
    pid, master = pty.fork()
    if pid == 0:  # pragma: no cover  # the child
        code = "import sys; from tests.cli.cardboard import Cardboard; from tallystick.cli.main import run\n"
        code += "sys.exit(run(sys.argv[1:], Cardboard(ask=True)))"
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell that runs the tests in the background ignores it for all of them
        env = {"PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}", "TERM": "xterm", "COLUMNS": "100", "HOME": "/none", "PATH": "/usr/bin:/bin"}
        os.execve(sys.executable, [sys.executable, "-c", code, *args], env)
    seen, waiting, read, end = b"", list(answers), 0, time.monotonic() + until_s
    while time.monotonic() < end:
        # Each prompt counts once: what is typed before its prompt stands is thrown away by getpass.
        if waiting and (at := seen.find(waiting[0][0].encode(), read)) >= 0:
            read = at + len(waiting[0][0].encode())
            os.write(master, waiting.pop(0)[1].encode())
        if not select.select([master], [], [], 0.2)[0]:
            continue
        try:
            chunk = os.read(master, 65536)
        except OSError:
            break
        if not chunk:
            break
        seen += chunk
    os.close(master)
    _, status = os.waitpid(pid, 0)
    return seen.decode("utf-8", "replace"), os.waitstatus_to_exitcode(status)


def test_a_passphrase_is_one_line() -> None:
    """Without its newline; what follows stays unread for the next prompt."""
    descriptor = pipe(b"correct horse\nnext\n")
    assert [read_passphrase(descriptor), read_passphrase(descriptor)] == [b"correct horse", b"next"]
    os.close(descriptor)


@pytest.mark.parametrize("data", [b"", b"\n", b"x" * 1025])
def test_a_passphrase_that_is_none_is_refused(data: bytes) -> None:
    """Nothing, an empty line, more than 1024 bytes."""
    descriptor = pipe(data)
    with pytest.raises(Misuse):
        read_passphrase(descriptor)
    os.close(descriptor)


def test_a_descriptor_that_is_not_open_is_unavailable() -> None:
    """The hint shows how to open one."""
    descriptor = pipe(b"")
    os.close(descriptor)
    with pytest.raises(Unavailable):
        read_passphrase(descriptor)


def test_without_a_terminal_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script gets an error, not a prompt that hangs."""
    with Path(os.devnull).open() as nowhere:
        monkeypatch.setattr(sys, "stdin", nowhere)
        with pytest.raises(Misuse, match="no terminal"):
            passphrase_asker(None)("a key")
        with pytest.raises(Misuse, match="nobody is here"):
            confirmer(None)(PROPOSAL)


@pytest.mark.parametrize(
    "text", ["snapline pedigree ringbolt bifocals", "SNAPLINE-pedigree-ringbolt-bifocals", "  snapline pedigree  ringbolt bifocals"]
)
def test_words_given_beforehand_are_compared(text: str) -> None:
    """Case, dashes and blanks do not count."""
    assert confirmer(text)(PROPOSAL)


@pytest.mark.parametrize(
    "text", ["", "snapline", "pedigree snapline ringbolt bifocals", "snapline pedigree ringbolt bifocals zulu", "123456"]
)
def test_wrong_words_are_refused(text: str) -> None:
    """Order and number count: a difference is somebody in between."""
    with pytest.raises(Misuse, match="not the words"):
        confirmer(text)(PROPOSAL)


def test_progress_tells_percent_bytes_rate_and_rest() -> None:
    """With and without a known size; no division by zero."""
    assert progress_line("x", 512, 1024, 1.0) == "x  50 %  512 B of 1.0 KiB  512 B/s  0:01 left"
    assert progress_line("x", 2048, None, 2.0) == "x  2.0 KiB  1.0 KiB/s"
    assert progress_line("\x1b", 0, 0, 0.0) == "\\x1b  0 B  0 B/s"


def test_the_qr_code_is_square_and_framed() -> None:
    """Two modules a line, a quiet zone around, and the three corners of the finder pattern."""
    lines = qr_lines("TALLY1" + "A" * 87)
    width = len(lines[0])
    assert {len(line) for line in lines} == {width}
    assert len(lines) == (width + 1) // 2
    assert set(lines[0]) == {"█"}
    assert {char for line in lines for char in line} <= set("█▀▄ ")


def test_a_terminal_gets_tables() -> None:
    """On a terminal rich draws the table; foreign [brackets] are text, not markup."""
    shown, code = on_a_terminal(["status"])
    assert code == 0
    assert "LAST KNOCK" in shown
    assert "─" in shown


def test_an_invite_shows_a_qr_code_and_leaves_when_it_is_over() -> None:
    """The QR code and the string; the countdown of an invite that is over ends at once."""
    shown, code = on_a_terminal(["invite"], [("Passphrase", "secret\n")])
    assert code == 0
    assert "▀" in shown
    assert "tally pair text" in shown
    assert "expired" in shown


def test_ctrl_c_exits_with_130() -> None:
    """Interrupting a prompt is not a crash."""
    shown, code = on_a_terminal(["key", "new"], [("Passphrase", "\x03")])
    assert code == 130
    assert "Traceback" not in shown


def test_a_new_passphrase_is_asked_twice_and_not_shown() -> None:
    """Two different ones are asked again; none appears on the screen."""
    typed = [("Passphrase", "secret one\n"), ("Repeat", "secret two\n"), ("Passphrase", "secret one\n"), ("Repeat", "secret one\n")]
    shown, code = on_a_terminal(["key", "new"], typed)
    assert code == 0
    assert "secret" not in shown


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_words_are_confirmed_by_hand(answer: str, code: int) -> None:
    """Only a typed yes confirms; Enter alone does not."""
    shown, left = on_a_terminal(["approve", "7"], [("same words?", answer), ("Passphrase", "secret\n")])
    assert left == code
    assert ("is paired as" in shown) == (code == 0)
