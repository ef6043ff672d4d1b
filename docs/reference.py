"""Writes the reference part of docs/cli.md from the commands, the promised shapes and the table of settings themselves.

python docs/reference.py            rewrite it
python docs/reference.py --check    exit with 1 when it is not what would be written (tests/docs, CI)
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from tallystick.cli.main import SECTIONS, tally
from tallystick.cli.shapes import SHAPES, Shape
from tallystick.node.settings import SETTINGS, Kind, Setting

PAGE: Final = Path(__file__).resolve().parent / "cli.md"
MARK: Final = "<!-- From here on written by docs/reference.py; change the code, then `make docs`. -->\n"


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Every command below, with its full name."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for child in command.list_commands(context):
        found = command.get_command(context, child)
        if found is None:
            raise AssertionError(f"{name} has no {child}")
        yield from leaves(found, f"{name} {child}".strip())


def cell(text: str) -> str:
    """Text inside a table of Markdown."""
    return text.replace("|", "\\|")


def shape_text(shape: Shape) -> str:
    """A shape on one line: {"name": text, "pairs": [{...}]}."""
    parts = [f'"{key}": ' + (f"[{shape_text(kind[0])}]" if isinstance(kind, tuple) else kind) for key, kind in shape.items()]
    return "{" + ", ".join(parts) + "}"


def command_text(name: str, command: click.Command) -> Iterator[str]:
    """The section of one command."""
    context = click.Context(command)
    arguments = [p.make_metavar(context) for p in command.params if isinstance(p, click.Argument)]
    yield f"### tally {name}\n"
    yield f"    {' '.join(['tally', name, *arguments])}\n"
    yield inspect.cleandoc(command.help or "") + "\n"
    options = [p for p in command.params if isinstance(p, click.Option) and p.name not in {"as_json", "home_"}]
    if options:
        yield "| option | meaning |\n|---|---|"
        for option in options:
            metavar = "" if option.is_flag else " " + option.make_metavar(context)
            default = f" Default: {option.default}." if option.show_default else ""
            yield f"| `{cell(', '.join(option.opts) + metavar)}` | {cell(option.help or '')}{default} |"
        yield ""
    example = getattr(command, "example", "")
    yield "\n".join(f"    {line}" for line in example.splitlines()) + "\n"
    for key in [name, *(key for key in SHAPES if key.startswith(f"{name} --"))]:
        yield f"`--json`{key.removeprefix(name) and ' with `' + key.removeprefix(name).strip() + '`'}: `{shape_text(SHAPES[key])}`\n"


def kind_text(setting: Setting) -> str:
    """The type of a setting with its bounds."""
    if setting.kind is Kind.NUMBER:
        return f"{setting.least} to {setting.most}"
    return " ".join(f"`{choice}`" for choice in setting.choices) or setting.kind.value


def reference() -> str:
    """Everything below the mark."""
    lines: list[str] = []
    for title, section in SECTIONS.items():
        lines.append(f"## {title}\n")
        for entry in section:
            found = tally.get_command(click.Context(tally), entry)
            if found is None:
                raise AssertionError(f"no command {entry}")
            for name, command in leaves(found, entry):
                lines += command_text(name, command)
    lines.append("## Settings\n")
    lines.append("| setting | variable | value | default | meaning |\n|---|---|---|---|---|")
    for setting in SETTINGS:
        default = f"`{setting.default}`" if setting.default else ""
        lines.append(f"| `{setting.name}` | `{setting.env}` | {kind_text(setting)} | {default} | {cell(setting.doc)} |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The whole page as it should be: what people wrote, then the reference."""
    written, mark, _ = PAGE.read_text("utf-8").partition(MARK)
    if not mark:
        raise AssertionError(f"{PAGE} has lost its mark")
    return written + MARK + "\n" + reference()


def main() -> int:
    """Rewrite or check the page."""
    wanted = page()
    if "--check" in sys.argv[1:]:
        return int(PAGE.read_text("utf-8") != wanted)
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
