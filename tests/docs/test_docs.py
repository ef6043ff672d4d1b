"""The documentation is complete and its links hold."""

import re
import shlex
from pathlib import Path

import click
import pytest

from tallystick.cli.errors import CRASH, INTERRUPTED, kind_of
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tests.support import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
GUIDES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?)\s*$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def anchor(heading: str) -> str:
    """The anchor a heading gets where Markdown is shown: lower case, no punctuation, blanks as dashes."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Links inside the project name a file that exists, and a heading in it where they name one."""
    text = FENCE.sub("", page.read_text("utf-8"))
    for target in LINK.findall(text):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert file.is_relative_to(PROJECT), f"{page.name}: {target} leaves the project"
        if fragment and file.suffix == ".md":
            assert fragment in {anchor(heading) for heading in HEADING.findall(file.read_text("utf-8"))}, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_page_has_one_title(page: Path) -> None:
    """A page begins with its title."""
    assert page.read_text("utf-8").startswith("# ")


def test_the_reference_is_what_the_code_says() -> None:
    """docs/cli.md names every command, option, JSON shape and setting, because docs/reference.py wrote it from them."""
    from docs.reference import PAGE, page

    assert PAGE.read_text("utf-8") == page(), "run `make docs`"


@pytest.mark.parametrize("error", [Refused, Misuse, Unproven, Unavailable, Malformed])
def test_every_error_is_documented(error: type[TallyError]) -> None:
    """docs/cli.md has a row for each of the five errors, with its exit code and its name in JSON."""
    assert f"| {error.exit_code} | `{kind_of(error('x'))}` |" in (PROJECT / "docs" / "cli.md").read_text("utf-8")


def test_the_other_exit_codes_are_documented() -> None:
    """Done, a defect, an interruption."""
    text = (PROJECT / "docs" / "cli.md").read_text("utf-8")
    for code in (0, CRASH, INTERRUPTED):
        assert f"| {code} | |" in text


def test_every_command_of_the_readme_exists() -> None:
    """Each `tally ...` and `make ...` line of README and docs is a command this program, or the Makefile, has."""
    from tallystick.cli.main import ENTRIES

    targets = set(re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for page in GUIDES:
        text = page.read_text("utf-8")
        commands = set(re.findall(r"(?:^    |`|sudo )(?:\S+/)?tally ([a-z]+)", text, re.MULTILINE))
        assert commands <= set(ENTRIES), page.name
        assert set(re.findall(r"(?:^    |`)make ([a-z]+)", text, re.MULTILINE)) <= targets, page.name


def quoted(page: Path) -> list[tuple[str, bool]]:
    """Every `tally ...` that a page shows, and whether it stands whole on a line of its own."""
    text = page.read_text("utf-8")
    lines = [(line, True) for line in re.findall(r"^    (?:\w+\$ +)?tally ((?:[^\n]|\\\n)+)$", text, re.MULTILINE)]
    return lines + [(words, False) for words in re.findall(r"`tally ([^`\n]+)`", text)]


@pytest.mark.parametrize("page", [page for page in GUIDES if page.name != "cli.md"], ids=lambda page: page.name)  # that one is generated
def test_every_command_line_can_be_given(page: Path) -> None:
    """Each command line has the arguments and options that its command takes; what is named within a sentence may be cut short."""
    from tallystick.cli.main import tally

    for line, whole in quoted(page):
        words = shlex.split(re.split(r" && | [|>&] | \d*[<>]\S|\.\.\.| &$", line + " ")[0], comments=True)
        context: click.Context = tally.make_context("tally", words)
        try:
            while isinstance(context.command, click.Group) and (rest := [*context._protected_args, *context.args]):
                name, command, rest = context.command.resolve_command(context, rest)
                assert command is not None, line
                context = command.make_context(name, rest, parent=context)
        except (click.BadParameter, click.BadOptionUsage) as error:
            assert not whole, f"{line}: {error.format_message()}"
        except click.UsageError as error:
            raise AssertionError(f"{line}: {error.format_message()}") from None


def test_every_page_is_in_the_index() -> None:
    """docs/index.md leads to every guide and every page of the specification."""
    folder = PROJECT / "docs"
    linked = {(folder / target).resolve() for target in LINK.findall((folder / "index.md").read_text("utf-8"))}
    assert {*folder.glob("*.md"), *folder.glob("spec/*"), folder / "adr" / "README.md"} - linked == {folder / "index.md"}


def test_every_decision_is_in_the_list() -> None:
    """docs/adr/README.md names each record, and numbers are not used twice."""
    folder = PROJECT / "docs" / "adr"
    records = sorted(path.name for path in folder.glob("[0-9]*.md"))
    listed = re.findall(r"^\| \[\d{4}\]\(([^)]+)\)", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert listed == records
    assert len({name[:4] for name in records}) == len(records)
    for name in records:
        text = (folder / name).read_text("utf-8")
        assert text.startswith(f"# {name[:4]}: ")
        assert "**Refused.**" in text
