"""Names a stranger may choose, and those he may not."""

import os
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse
from tallystick.service.names import MAX_DEPTH, SafePath, is_safe_name, quote
from tallystick.service.ranges import ByteRange, parse_range, whole

GOOD = [
    "a",
    "a/b/c",
    "...",
    "a..b",
    "..a",
    ".hidden",
    ".tall",
    "with space",
    "a'b\"c",
    "semi;colon",
    "-rf",
    "~",
    "%41",
    "a:b",
    "ü",
    "日本語/ファイル.txt",
    "ノ",
    "丿",
    "½",
    "…",
    "👩\u200d👩\u200d👧",
    "می\u200cخواهم",
    "עברית",
    "x" * 255,
    "/".join("d" * 60 for _ in range(60)),
]


@pytest.mark.parametrize("text", GOOD)
def test_ordinary_names_of_every_script_are_safe(text: str) -> None:
    """What people call their files is allowed, and has exactly one percent-encoded form."""
    path = SafePath(text)
    assert str(path) == "/".join(path.segments) == text
    assert SafePath.from_quoted(path.quoted()) == path


BAD = {
    "empty": "",
    "root": "/",
    "absolute": "/etc/passwd",
    "dot": ".",
    "dot dot": "..",
    "dot in the middle": "a/./b",
    "up": "a/../../b",
    "up at the end": "a/..",
    "double slash": "a//b",
    "slash at the end": "a/",
    "NUL": "a\0b",
    "NUL after an extension": "a.txt\0.jpg",
    "newline": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "escape": "a\x1b[31mb",
    "DEL": "a\x7fb",
    "C1 control": "a\x9bb",
    "backslash": "a\\b",
    "backslash up": "..\\..\\b",
    "division slash": "a\u2215b",
    "fraction slash": "a\u2044b",
    "full-width solidus": "a\uff0fb",
    "big solidus": "a\u29f8b",
    "set minus": "a\u2216b",
    "full-width reverse solidus": "a\uff3cb",
    "small reverse solidus": "a\ufe68b",
    "big reverse solidus": "a\u29f9b",
    "box diagonal": "a\u2571b",
    "account of": "\u2100",
    "one dot leader": "\u2024",
    "two dot leader": "\u2025",
    "full-width dots": "\uff0e\uff0e",
    "vertical two dot leader": "\ufe30",
    "right-to-left override": "a\u202egnp.exe",
    "left-to-right isolate": "a\u2066b\u2069",
    "right-to-left mark": "a\u200fb",
    "Arabic letter mark": "a\u061cb",
    "zero width space": "a\u200bb",
    "word joiner": "a\u2060b",
    "byte order mark": "\ufeffa",
    "soft hyphen": "a\u00adb",
    "tag character": "a\U000e0041b",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "lone surrogate": "a\ud800b",
    "surrogate escape": "a\udcffb",
    "noncharacter": "a\uffffb",
    "another noncharacter": "a\ufdd0b",
    "form D": "u\u0308",
    "form D deep": "a/e\u0301/b",
    "Hangul in form D": "\u1112\u1161\u11ab",
    "Kelvin sign": "\u212a",
    "ours": ".tally",
    "ours below": "a/.tally/known",
    "ours in capitals": ".TALLY",
    "ours and more": ".tally-backup",
    "ours with a joiner": ".tal\u200cly",
    "ours in full width": ".\uff54ally",
    "ours with long s": ".tally".replace("l", "\u217c"),
    "256 bytes": "x" * 256,
    "256 bytes of UTF-8": "ü" * 128,
    "too long": "/".join("d" * 200 for _ in range(21)),
    "too deep": "/".join("d" for _ in range(MAX_DEPTH + 1)),
}


@pytest.mark.parametrize("name", BAD)
def test_everything_that_could_be_taken_for_something_else_is_malformed(name: str) -> None:
    """The constructor is the check: no SafePath of these exists, alone or inside a longer path."""
    with pytest.raises(Malformed) as seen:
        SafePath(BAD[name])
    assert "\n" not in seen.value.message + seen.value.hint
    assert seen.value.message.isprintable()
    if "/" not in BAD[name]:
        assert not is_safe_name(BAD[name])
        with pytest.raises(Malformed):
            SafePath(f"a/{BAD[name]}/b")


@pytest.mark.parametrize(
    "quoted",
    [
        "%61",
        "a%2fb",
        "a%2Fb",
        "%2e%2e/a",
        "..%2Fa",
        "a%00b",
        "a b",
        "ü",
        "a+b%2",
        "%zz",
        "a%FFb",
        "%C0%AF",
        "%c3%bc",
        "a?b",
        "a#b",
        "%ED%A0%80",
        "a" * 13_000,
    ],
)
def test_a_path_has_one_percent_encoded_form(quoted: str) -> None:
    """Any other spelling of a path, good or bad, is Malformed."""
    with pytest.raises(Malformed):
        SafePath.from_quoted(quoted)


def test_a_full_stop_of_the_unicode_database() -> None:
    """No character that folds to a separator or to dots (NFKC) passes, in the Unicode of this Python."""
    for code in range(0x110000):
        char = chr(code)
        folded = unicodedata.normalize("NFKC", char) if not 0xD800 <= code < 0xE000 else ""
        if char != "." and ("/" in folded or "\\" in folded or folded in (".", "..")):
            assert not is_safe_name(f"a{char}"), hex(code)


@given(st.one_of(st.text(max_size=40), st.text(alphabet="./\\a\0\u2215\u202e%ü", max_size=20)))
def test_what_is_safe_stays_below_any_root(text: str) -> None:
    """Any text: Malformed, or a path whose realpath lies below the root, whose form is one, and whose names are shown."""
    try:
        path = SafePath(text)
    except Malformed:
        return
    root = "/some/root"
    assert os.path.realpath(os.path.join(root, text)) == os.path.join(root, *path.segments)
    assert os.path.normpath(text) == text
    assert SafePath.from_quoted(path.quoted()) == path
    assert all(is_safe_name(segment) for segment in path.segments)
    assert unicodedata.normalize("NFC", text) == text
    assert Path(text).parts == path.segments


@given(st.one_of(st.text(max_size=60), st.text(alphabet="%0123456789abcdefABCDEF./aü", max_size=30)))
def test_reading_the_quoted_form_never_raises_anything_else(text: str) -> None:
    """Any text: Malformed, or a path that is written exactly so."""
    try:
        path = SafePath.from_quoted(text)
    except Malformed:
        return
    assert path.quoted() == text == quote(str(path))


def test_below_is_by_segment() -> None:
    """`ab` is not below `a`."""
    assert SafePath("a/b").below(SafePath("a"))
    assert not SafePath("ab").below(SafePath("a"))
    assert not SafePath("a").below(SafePath("a"))
    assert SafePath("a").join("b") == SafePath("a/b")
    assert SafePath("a/b").name == "b"
    with pytest.raises(Malformed):
        SafePath("a").join("../b")


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=3-7", 10, (3, 8)),
        ("bytes=3-99", 10, (3, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-99", 10, (0, 10)),
        ("bytes=9-9", 10, (9, 10)),
        ("bytes=0-999999999999999999", 10, (0, 10)),
    ],
)
def test_ranges_mean_what_rfc_9110_says(header: str, size: int, expected: tuple[int, int]) -> None:
    """First and last byte are included; a suffix counts from the end; too much is cut."""
    span = parse_range(header, size)
    assert (span.start, span.stop) == expected
    assert span.content_range == f"bytes {expected[0]}-{expected[1] - 1}/{size}"
    assert span.length == expected[1] - expected[0]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=5-4",
        "bytes= 0-1",
        "bytes=0-1,3-4",
        "Bytes=0-1",
        "lines=0-1",
        "bytes=00-1",
        "bytes=+0-1",
        "bytes=0-1 ",
        "bytes=0x0-1",
        "bytes=٠-١",
        "bytes=1_0-20",
        "bytes=0-1\n",
        "bytes=0-9999999999999999999",
    ],
)
def test_a_range_that_is_none_is_malformed(header: str) -> None:
    """A client that asked for a part must not get the whole by mistake."""
    with pytest.raises(Malformed):
        parse_range(header, 100)


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)])
def test_a_range_without_a_byte_is_misuse(header: str, size: int) -> None:
    """416: the range is well formed, the file is shorter."""
    with pytest.raises(Misuse):
        parse_range(header, size)


@given(st.text(alphabet="bytes=0123456789-, ", max_size=20), st.integers(0, 1 << 60))
def test_a_parsed_range_lies_in_the_file(header: str, size: int) -> None:
    """Whatever the header: Malformed, Misuse, or at least one byte of the file."""
    try:
        span = parse_range(header, size)
    except (Malformed, Misuse):
        return
    assert 0 <= span.start < span.stop <= size


def test_the_whole_of_an_empty_file_is_empty() -> None:
    """A get without a range works for a file of no bytes."""
    assert whole(0) == ByteRange(start=0, stop=0, size=0)
    assert whole(0).length == 0
