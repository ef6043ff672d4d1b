"""The parts that talk with a person: passphrases, words, a QR code, a countdown and a progress bar."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

from tallystick.cli.shapes import Result
from tallystick.cli.text import clock, printable, size
from tallystick.errors import Misuse, Unavailable

MAX_PASSPHRASE_BYTES: Final = 1024
PROGRESS_EVERY_S: Final = 0.1


def read_passphrase(descriptor: int) -> bytes:
    """One line from a file descriptor, without its newline.

    Raises: Misuse: nothing there, or more than 1024 bytes. Unavailable: the descriptor is not open for reading.
    """
    data = b""
    try:
        while b"\n" not in data and len(data) <= MAX_PASSPHRASE_BYTES:
            chunk = os.read(descriptor, 1)
            if not chunk:
                break
            data += chunk
    except OSError as error:
        raise Unavailable(
            f"cannot read file descriptor {descriptor}: {error.strerror}", "open it first: 3<passphrase --passphrase-fd 3"
        ) from error
    line = data.split(b"\n")[0]
    if not line:
        raise Misuse(f"there is no passphrase on file descriptor {descriptor}", "write one line into it")
    if len(line) > MAX_PASSPHRASE_BYTES:
        raise Misuse(f"the passphrase is longer than {MAX_PASSPHRASE_BYTES} bytes", "choose a shorter one")
    return line


def passphrase_asker(descriptor: int | None, *, new: bool = False) -> Callable[[str], bytes]:
    """Asks for a passphrase: from the descriptor if there is one, else hidden on the terminal, twice for a new key."""

    def ask(what: str) -> bytes:
        if descriptor is not None:
            return read_passphrase(descriptor)
        if not sys.stdin.isatty():
            raise Misuse(f"a passphrase is needed for {printable(what)}, and there is no terminal", "give it with --passphrase-fd N")
        text: str = click.prompt(f"Passphrase for {printable(what)}", hide_input=True, confirmation_prompt=new, err=True)
        return text.encode("utf-8", "surrogateescape")

    return ask


def show_words(words: Sequence[str], digits: str) -> None:
    """The words of a ceremony, on stderr so that --json stays one object."""
    click.echo("Compare with the other end:", err=True)
    click.echo(f"    {printable(' '.join(words))}    {printable(digits)}", err=True)
    click.echo("The same there? Then approve it there. If not, deny it: somebody is in between.", err=True)


def confirmer(words: str | None) -> Callable[[Result], bool]:
    """Asks whether the other end shows the same words; `words`, as typed by a script or a person, answers in advance."""

    def confirm(proposal: Result) -> bool:
        shown = [word.lower() for word in proposal["words"]]
        if words is not None:
            given = words.lower().replace("-", " ").split()
            if given != shown:
                raise Misuse("the words given are not the words of this proposal", "if the other end shows those: `tally deny` it, now")
            return True
        if not sys.stdin.isatty():
            raise Misuse("nobody is here to compare the words", 'give them: --words "WORD WORD WORD WORD"')
        click.echo(
            f"{printable(proposal['label'])} wants to pair as {printable(proposal['type'])} ({printable(proposal['key_class'])} key)",
            err=True,
        )
        click.echo(f"    {printable(' '.join(proposal['words']))}    {printable(proposal['digits'])}", err=True)
        return click.confirm("Does the other end show the same words?", default=False, err=True)

    return confirm


def qr_lines(text: str) -> list[str]:
    """A QR code in half blocks, dark on light whatever the colours of the terminal (segno, error level L)."""
    import segno

    rows = [[bool(cell) for cell in row] for row in segno.make(text, error="l", micro=False).matrix_iter(border=2)]
    if len(rows) % 2:
        rows.append([False] * len(rows[0]))
    # Inverted: a terminal draws characters in its bright colour more often than not, and readers take both.
    blocks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    return ["".join(blocks[upper, lower] for upper, lower in zip(rows[i], rows[i + 1], strict=True)) for i in range(0, len(rows), 2)]


def count_down(until_ns: int) -> None:
    """Show what is left of an invite until it is over or Enter or Ctrl-C is pressed; only on a terminal."""
    if not (sys.stderr.isatty() and sys.stdin.isatty()):
        return
    try:
        while (left := (until_ns - time.time_ns()) / 1_000_000_000) > 0:
            click.echo(f"\rexpires in {clock(left)}  (Enter: leave; the invite stays open) ", nl=False, err=True)
            if select.select([sys.stdin], [], [], min(1.0, left))[0]:
                sys.stdin.readline()
                return
        click.echo("\rexpired" + " " * 50, err=True)
    except KeyboardInterrupt:
        click.echo("", err=True)


@contextmanager
def live_line(*, show: bool) -> Iterator[Callable[[Callable[[], str], bool], None]]:
    """A line on stderr that is written over itself, a few times a second and when it is the last. Silent where stderr is no terminal."""
    if not (show and sys.stderr.isatty()):
        yield lambda line, is_last: None
        return
    last = 0.0

    def write(line: Callable[[], str], is_last: bool) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < PROGRESS_EVERY_S and not is_last:
            return
        last = now
        click.echo("\r\x1b[K" + line(), nl=False, err=True)

    try:
        yield write
    finally:
        if last:
            click.echo("", err=True)


@contextmanager
def progress(title: str, *, show: bool) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on stderr: percent, bytes, rate and what is left. Silent where stderr is no terminal."""
    started = time.monotonic()
    with live_line(show=show) as write:
        yield lambda done, total: write(lambda: progress_line(title, done, total, time.monotonic() - started), done == total)


def progress_line(title: str, done: int, total: int | None, seconds: float) -> str:
    """`name  42 %  1.0 MiB of 2.4 MiB  3.1 MiB/s  0:07 left`"""
    rate = done / seconds if seconds > 0 else 0.0
    parts = [printable(title)]
    if total:
        parts += [f"{100 * done // total} %", f"{size(done)} of {size(total)}"]
    else:
        parts.append(size(done))
    parts.append(f"{size(int(rate))}/s")
    if total and rate > 0:
        parts.append(f"{clock((total - done) / rate)} left")
    return "  ".join(parts)
