"""The list of commands, and the one place where an outcome becomes an exit code.

A command's module is imported when the command is called, not before: `tally --help` reads only this table.
"""

import importlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import click

from tallystick import __version__
from tallystick.cli.errors import CRASH, INTERRUPTED, from_click, from_os, report
from tallystick.errors import TallyError

if TYPE_CHECKING:
    from tallystick.cli.behind import Commands


COMPLETE: Final = "_TALLY_COMPLETE"
"""The variable by which a shell's completion script asks for words."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a command lives (module of this package, attribute) and its line in `tally --help`."""

    module: str
    attribute: str
    short: str


SECTIONS: Final[Mapping[str, Mapping[str, Entry]]] = {
    "A house": {
        "init": Entry("house", "init", "Make this computer a house."),
        "serve": Entry("house", "serve", "Run the house."),
        "invite": Entry("house", "invite", "Let one other machine ask to pair."),
        "inbox": Entry("inbox", "inbox", "Show who and what waits for a human."),
        "approve": Entry("inbox", "approve", "Sign that a pairing stands, or that held signals may go."),
        "deny": Entry("inbox", "deny", "Turn a pairing or a held signal away."),
        "edit": Entry("inbox", "edit", "Ask for something else in the place of a held signal."),
    },
    "A pair": {
        "pair": Entry("pairing", "pair", "Pair this machine with a house."),
        "status": Entry("house", "status", "Show this machine and its pairs."),
        "ping": Entry("pairing", "ping", "Knock at a house and time its answer."),
        "whois": Entry("pairing", "whois", "Tell who a name, key or address is."),
        "downgrade": Entry("pairing", "downgrade", "Narrow what a pair may do."),
        "sever": Entry("pairing", "sever", "End a pair: cut, recorded, and silent from then on."),
    },
    "What a house does": {
        "put": Entry("files", "put", "Store a file in a house."),
        "get": Entry("files", "get", "Fetch a file from a house."),
        "ls": Entry("files", "ls", "List a folder of a house."),
        "rm": Entry("files", "rm", "Remove a file from a house."),
        "mv": Entry("files", "mv", "Rename a file in a house."),
        "verb": Entry("verb", "verb", "Run a program that the house's owner named."),
    },
    "Who may what": {
        "grant": Entry("granting", "grant", "Sign a source key into existence, or one more row for it."),
        "grant withdraw": Entry("granting", "withdraw", "Take a row or an advance approval back."),
        "context": Entry("context", "context", "Begin and end what is behind a model, tool or skill."),
        "fact": Entry("fact", "fact", "State, list and withdraw facts."),
        "rights": Entry("rights", "rights", "Show who may what, and why."),
        "plan": Entry("rights", "plan", "Show which layers judge which class."),
        "plan set": Entry("rights", "plan_set", "Sign other layers for a class."),
        "gate": Entry("gate", "gate", "Measure the layers of the gate on public data."),
    },
    "The record": {
        "emit": Entry("emitting", "emit_signal", "Hand a signal of a source to the gate."),
        "log": Entry("log", "log", "List what happened."),
        "explain": Entry("explain", "explain", "Tell how a signal came about, signer by signer."),
        "log prove": Entry("record", "prove", "Write the proof that an entry is in the log."),
        "log check": Entry("record", "check", "Check such a proof."),
        "log export": Entry("record", "export", "Write evidence: entries and all that proves them."),
        "verify": Entry("record", "verify", "Verify a ledger, its files, its state and its witnesses."),
        "rebuild": Entry("record", "rebuild", "Make the database anew from its entries."),
        "erase": Entry("erasing", "erase", "Forget what entries only commit to."),
        "witness": Entry("witness", "witness", "Be a witness of logs, and see who witnesses this one."),
    },
    "Backup": {
        "backup": Entry("backup", "backup", "Write this machine into one sealed file."),
        "restore": Entry("backup", "restore", "Bring a machine back, and open a closed house again."),
        "migrate": Entry("migrate", "migrate", "Move a house to another machine."),
    },
    "This machine": {
        "key": Entry("key", "key", "Make, show and revoke keys."),
        "config": Entry("machine", "config", "Show each setting and where it came from."),
        "doctor": Entry("machine", "doctor", "Test this computer and say what to do."),
        "completion": Entry("machine", "completion", "Print the completion script of a shell."),
        "quickstart": Entry("machine", "quickstart", "Watch a house and four machines pair, work and be severed."),
    },
}

ENTRIES: Final[Mapping[str, Entry]] = {name: entry for section in SECTIONS.values() for name, entry in section.items()}


class Tally(click.Group):
    """`tally`, with its commands loaded one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of the help."""
        return list(ENTRIES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        entry = ENTRIES.get(cmd_name)
        if entry is None:
            return None
        found = getattr(importlib.import_module(f"tallystick.cli.{entry.module}"), entry.attribute)
        if not isinstance(found, click.Command):
            raise AssertionError(f"{entry.module}.{entry.attribute} is not a command")
        return found

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """`log prove` is a command of its own beside `log`, whose argument may be a house."""
        name = " ".join(args[:2])
        if name in ENTRIES:
            return name, self.get_command(ctx, name), args[2:]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section, from the table alone."""
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, entry.short) for name, entry in section.items()])


def _keep_home(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.meta["tallystick.home"] = value


@click.command(cls=Tally, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}, no_args_is_help=True)
@click.version_option(__version__, message="tally %(version)s")
@click.option("--home", metavar="DIR", expose_value=False, callback=_keep_home, help="Where this machine keeps its state (TALLY_HOME).")
def tally() -> None:
    """Pair machines by hand, believe only what is proven, and keep a record nobody can change unseen.

    Remote paths are HOUSE:/path; the only house may be left out. Every command has --json and an example in its --help.
    """


def _invoke(args: Sequence[str], commands: "Commands | None") -> object:
    """What click's own `main` does, without its exits: it would turn a reader that left into exit code 1."""
    if instruction := os.environ.get(COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(tally, {}, "tally", COMPLETE, instruction)
    with tally.make_context("tally", list(args), obj=commands) as context:
        return tally.invoke(context)


def run(args: Sequence[str], commands: "Commands | None" = None) -> int:
    """Run one command line and return its exit code; errors are reported on stderr in two lines.

    Args: commands: what does the work; by default `tallystick.node.commands`, imported when a command asks for it.
    """
    as_json = "--json" in args
    try:
        outcome = _invoke(args, commands)
    except click.exceptions.Exit as done:
        return done.exit_code
    except TallyError as error:
        return report(error, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return report(from_click(error), as_json=as_json)
    except (click.Abort, KeyboardInterrupt, EOFError):
        click.echo("", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output left (`tally log | head`): nothing is wrong, and nothing more can be said there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return report(from_os(error), as_json=as_json)
    except Exception:
        traceback.print_exc()
        return CRASH
    return outcome if isinstance(outcome, int) else 0
