"""What all commands share: --json, --home, an example, and the settings that the flags of a command stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import click

from tallystick.cli.behind import Commands, load
from tallystick.node import settings as table
from tallystick.node.settings import Kind, Settings

PAIR_TYPES: Final = ("ADMIN", "INPUT", "USER", "INTERFACE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How this command line was called."""

    as_json: bool
    home: str | None
    given: Commands | None = None

    @property
    def behind(self) -> Commands:
        """The functions that do the work; loaded on use."""
        return self.given or load()

    def settings(self, **flags: object) -> Settings:
        """The effective settings, with the flags of this command on top; None means a flag was not given."""
        return table.load(flags, home=self.home)


class Command(click.Command):
    """A command with an example in its help."""

    def __init__(self, *args: Any, example: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The example, word for word: click would wrap it."""
        with formatter.section("Example"):
            for line in self.example.splitlines():
                formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


def command(name: str, *, example: str) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command. It gets a `Call` first, then its own arguments and options.

    Args: name: as in `tally NAME`.  example: at least one whole command line, as typed.
    """

    def decorate(function: Callable[..., Any]) -> Command:
        def invoke(**values: Any) -> Any:
            context = click.get_current_context()
            home = values.pop("home_") or context.meta.get("tallystick.home")
            return function(Call(as_json=values.pop("as_json"), home=home, given=context.obj), **values)

        invoke.__doc__ = function.__doc__
        parameters = list(reversed(getattr(function, "__click_params__", [])))
        parameters += [
            click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON object (docs/cli.md tells its shape)."),
            click.Option(["--home", "home_"], metavar="DIR", help="Where this machine keeps its state (TALLY_HOME)."),
        ]
        help_text = function.__doc__ or ""
        return Command(
            name=name,
            callback=invoke,
            params=parameters,
            help=help_text,
            example=example,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        )

    return decorate


def setting(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option for a row of the table of settings; None when it is not given, so that the other sources count."""
    row = table.TABLE[name]
    metavar = {Kind.NUMBER: "N", Kind.PATH: "PATH", Kind.CHOICE: "|".join(row.choices)}.get(row.kind, "TEXT")
    return click.option("--" + name.replace("_", "-"), name, default=None, metavar=metavar, help=row.doc)


def pair_type() -> click.Choice[str]:
    """The four types, in any case."""
    return click.Choice(PAIR_TYPES, case_sensitive=False)


def passphrase_fd(function: Callable[..., Any]) -> Callable[..., Any]:
    """--passphrase-fd, for scripts."""
    return click.option(
        "--passphrase-fd",
        type=click.IntRange(0, 65_535),
        metavar="N",
        help="Read the passphrase from this descriptor (class file/scripted).",
    )(function)
