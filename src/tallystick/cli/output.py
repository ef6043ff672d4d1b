"""Answers: JSON for programs, plain aligned columns for pipes, tables for people.

A result is a mapping of a promised shape (shapes.py). `emit` prints it: with --json as one line of ASCII JSON, otherwise through the
command's own rendering, which sees only an `Out`.
"""

import json
import sys
from collections.abc import Callable, Sequence
from typing import Final

import click

from tallystick.cli.shapes import SHAPES, Result, check
from tallystick.cli.text import printable

MAX_COLUMN: Final = 60


class Out:
    """Where a rendering writes. Foreign text is made printable here, at the last step, so no command can forget it."""

    def __init__(self, *, rich: bool | None = None) -> None:
        self._rich = sys.stdout.isatty() if rich is None else rich

    @property
    def for_people(self) -> bool:
        """Whether standard output is a terminal."""
        return self._rich

    def line(self, text: str = "") -> None:
        """One line."""
        click.echo(printable(text))

    def text(self, ours: str) -> None:
        """Lines of our own making (a script, a ruleset), as they are."""
        click.echo(ours.rstrip("\n"))

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Names and values in two columns, empty values left out."""
        width = max((len(name) for name, value in rows if value), default=0)
        for name, value in rows:
            if value:
                self.line(f"{name:<{width}}  {value}")

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """A table; `empty` is the sentence shown instead of one without rows."""
        cells = [[printable(cell) for cell in row] for row in rows]
        if not cells:
            self.line(empty)
        elif self._rich:
            _rich_table(headers, cells)
        else:
            widths = [min(MAX_COLUMN, max(len(row[i]) for row in [list(headers), *cells])) for i in range(len(headers))]
            for row in [list(headers), *cells]:
                click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _rich_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        # Text, not str: rich reads [brackets] in a str as its own markup.
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def emit(command: str, result: Result, *, as_json: bool, render: Callable[[Result, Out], None]) -> None:
    """Check the result against its promised shape, then print it one way or the other."""
    check(SHAPES[command], result, command)
    if as_json:
        click.echo(json.dumps(result, ensure_ascii=True, separators=(",", ":"), default=str))
    else:
        render(result, Out())
