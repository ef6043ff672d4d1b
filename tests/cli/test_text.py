"""Numbers, times, remote paths and foreign text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.cli.log import since
from tallystick.cli.remote import Remote, byte_range, remote, same_house
from tallystick.cli.text import NS, age, clock, counted, printable, size, span, when
from tallystick.errors import Misuse


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (1024**2, "1.0 MiB"),
        (2**63, "8.0 EiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    """Powers of 1024, one decimal, never four digits before it."""
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.9, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (86_399, "23 h"), (86_400, "1 d"), (4e7, "1 y")],
)
def test_spans(seconds: float, text: str) -> None:
    """The largest unit, rounded down."""
    assert span(seconds) == text


def test_ages() -> None:
    """never, now, ago, in."""
    assert [age(then, 100 * NS) for then in (None, 100 * NS, 40 * NS, 220 * NS)] == ["never", "now", "1 min ago", "in 2 min"]
    assert (clock(599.9), clock(-1)) == ("9:59", "0:00")
    assert when(0)[:2] == "19"


@given(st.text())
def test_printable_text_is_printable(text: str) -> None:
    """Nothing a terminal obeys survives, and plain text is untouched."""
    shown = printable(text)
    assert all(char.isprintable() or char.isspace() for char in shown)
    assert "\n" not in shown
    assert "\x1b" not in shown
    if text.isascii() and text.isprintable():
        assert shown == text


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "\u202egpj.exe", "\u200b", "\x9b31m", "\u2028", "\ud800", "\x00"])
def test_what_a_terminal_obeys_is_written_out(text: str) -> None:
    """Controls (C0 and C1), bidi overrides, zero-width characters and separators are shown as escapes."""
    assert printable(text) != text
    assert "\\" in printable(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("attic:/x", Remote("attic", "/x")),
        (":/x", Remote("", "/x")),
        ("/x", Remote("", "/x")),
        ("/a:b", Remote("", "/a:b")),
        ("a.b-c_d:/x:/y", Remote("a.b-c_d", "/x:/y")),
        ("/ü/ ", Remote("", "/ü/ ")),
    ],
)
def test_remote_paths(text: str, place: Remote) -> None:
    """HOUSE:/path, :/path, /path."""
    assert remote(text) == place


@pytest.mark.parametrize(
    "text", ["", "x", "attic:", "attic:x", "-x:/y", "a b:/y", "../a:/", "a/b", "/\0", "/" + "x" * 4096, "é:/x", "a\n:/x"]
)
def test_what_is_not_a_remote_path(text: str) -> None:
    """Everything else is refused before anything is sent."""
    with pytest.raises(Misuse):
        remote(text)


def test_a_move_stays_in_one_house() -> None:
    """One of the two may be left out."""
    assert same_house(Remote("a", "/x"), Remote("", "/y")) == "a"
    assert same_house(Remote("", "/x"), Remote("a", "/y")) == "a"
    assert same_house(Remote("", "/x"), Remote("", "/y")) == ""
    with pytest.raises(Misuse):
        same_house(Remote("a", "/x"), Remote("b", "/y"))


def test_ranges() -> None:
    """Both ends included, the last may be open; nothing lenient."""
    assert byte_range("0-0") == (0, 0)
    assert byte_range("5-") == (5, None)
    for text in ("", "-", "-5", "1", "1-0", "01-2", "1 - 2", "1-2-3", "+1-2", "١-٢"):
        with pytest.raises(Misuse):
            byte_range(text)


def test_since() -> None:
    """A span back from now, or a local date and time."""
    now = 1_800_000_000 * NS
    assert now - since("10m", now) == 600 * NS
    assert now - since("7d", now) == 7 * 86_400 * NS
    assert since("2026-11-22T00:00:00", now) == since("2026-11-22", now) == since("2026-11-22T00:00", now)
    for text in ("", "0m", "m", "1w", "-1h", "1.5h", "2026-13-01", "22.11.2026", "٣h"):
        with pytest.raises(Misuse):
            since(text, now)


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [(0, "entry", "0 entries"), (1, "entry", "1 entry"), (2_048, "entry", "2,048 entries"), (1, "pair", "1 pair"), (3, "pair", "3 pairs")],
)
def test_one_is_not_several(count: int, noun: str, text: str) -> None:
    """A number agrees with what it counts."""
    assert counted(count, noun) == text
