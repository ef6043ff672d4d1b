"""Names a stranger may choose (docs/spec/archive.md, section 1).

A `SafePath` is a path below the archive's root that only the check can make: constructing one is checking one, so no
caller can forget it. The check alone does not keep a path inside the root (a symlink could lead out of it): `tree` opens
it segment by segment and follows none. What the check does is leave each file exactly one spelling, and no spelling that a
person or another program could take for something else.
"""

import re
import unicodedata
from dataclasses import dataclass
from typing import Final, Self

from tallystick.errors import Malformed

MAX_SEGMENT_BYTES: Final = 255  # NAME_MAX, limits.h
MAX_PATH_BYTES: Final = 4096  # PATH_MAX, limits.h; ours never reaches the kernel whole, the limit is for people
MAX_DEPTH: Final = 64
RESERVED: Final = ".tally"  # our own names in the root; kept free at every depth

# Confusables of "/" and "\" (Unicode UTS 39, confusables.txt) that are punctuation or symbols. Letters of living scripts
# that merely look alike (U+30CE, U+4E3F) stay allowed: they are in people's names.
_SLASHES: Final = frozenset("\u1735\u2041\u2044\u2215\u2571\u27cb\u29f8\U0001d23a\u3033\u2216\u2572\u27cd\u29f5\u29f9\U0001d20f\U0001d23b")
# ZERO WIDTH (NON-)JOINER: needed by Persian, Indic scripts and emoji. All other format characters are refused.
_JOINERS: Final = "\u200c\u200d"
_CATEGORIES: Final = {
    "Cc": "a control character",
    "Cf": "an invisible format character",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
_UNRESERVED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")  # RFC 3986 2.3
_ESCAPE: Final = re.compile(rb"%([0-9A-F]{2})")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9_.\- ]{0,254}")  # what needs no closer look


def _look(char: str) -> str | None:
    """What is wrong with one character, or None."""
    if char in "/\\" or char in _SLASHES:
        return "a separator or its look-alike"
    if char in _JOINERS:
        return None
    wrong = _CATEGORIES.get(unicodedata.category(char))
    if wrong is not None:
        return wrong
    if ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF:
        return "a code point that is no character"
    if ord(char) > 0x7F:
        folded = unicodedata.normalize("NFKC", char)
        if "/" in folded or "\\" in folded or folded in (".", ".."):
            return "a look-alike of a dot or a separator"
    return None


def _check_segment(segment: str) -> None:
    if _PLAIN.fullmatch(segment):
        return
    if segment in ("", ".", ".."):
        raise Malformed("the path has an empty, '.' or '..' segment", "write it as plain names divided by single slashes")
    for char in segment:
        wrong = _look(char)
        if wrong is not None:
            raise Malformed(f"the name contains {wrong} (U+{ord(char):04X})", "rename the file")
    if len(segment.encode()) > MAX_SEGMENT_BYTES:
        raise Malformed(f"a name is longer than {MAX_SEGMENT_BYTES} bytes", "shorten the name")
    if not unicodedata.is_normalized("NFC", segment):
        raise Malformed("the name is not in Unicode normal form C", "macOS writes form D: normalise the name to NFC")
    # HFS+ and APFS ignore joiners and case: what they would take for our own directory is ours too (CVE-2014-9390 in git).
    bare = segment.translate({ord(joiner): None for joiner in _JOINERS})
    if unicodedata.normalize("NFKC", bare).casefold().startswith(RESERVED):
        raise Malformed(f"names that begin with {RESERVED!r} are reserved", "rename the file")


@dataclass(frozen=True, slots=True)
class SafePath:
    """A path below the root, checked. `str()` is its one form.

    Raises: Malformed, from the constructor, for every text that is not such a path.
    """

    text: str

    def __post_init__(self) -> None:
        if len(self.text) > MAX_PATH_BYTES or len(self.text.encode(errors="surrogatepass")) > MAX_PATH_BYTES:
            raise Malformed(f"the path is longer than {MAX_PATH_BYTES} bytes", "use a shorter path")
        segments = self.text.split("/")
        if len(segments) > MAX_DEPTH:
            raise Malformed(f"the path is deeper than {MAX_DEPTH} directories", "use a flatter path")
        for segment in segments:
            _check_segment(segment)

    def __str__(self) -> str:
        return self.text

    @property
    def segments(self) -> tuple[str, ...]:
        """The names from the root down; never empty."""
        return tuple(self.text.split("/"))

    @property
    def name(self) -> str:
        """The last segment."""
        return self.text.rpartition("/")[2]

    def below(self, other: "SafePath") -> bool:
        """Whether this path lies inside the directory `other`."""
        return self.text.startswith(other.text + "/")

    def join(self, name: str) -> "SafePath":
        """The path of `name` in this directory. Raises: Malformed."""
        return SafePath(f"{self.text}/{name}")

    def quoted(self) -> str:
        """The one percent-encoded form for a request target: RFC 3986 unreserved characters and "/" as they are."""
        return quote(self.text)

    @classmethod
    def from_quoted(cls, quoted: str) -> Self:
        """Read the form `quoted` writes; any other spelling is Malformed (decode, encode again, compare)."""
        if len(quoted) > 3 * MAX_PATH_BYTES or not quoted.isascii():
            raise Malformed("the path in the request target is too long or not ASCII")
        raw = _ESCAPE.sub(lambda match: bytes((int(match[1], 16),)), quoted.encode("ascii"))
        try:
            path = cls(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise Malformed("the path is not UTF-8") from error
        if path.quoted() != quoted:
            raise Malformed("the path is not in its one percent-encoded form", "encode all but A-Z a-z 0-9 - . _ ~ / as %XX")
        return path


def quote(text: str) -> str:
    """Percent-encode UTF-8 text, "/" left alone (RFC 3986 2.1, upper-case digits)."""
    return "".join(chr(byte) if byte in _UNRESERVED or byte == 0x2F else f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


def is_safe_name(name: str) -> bool:
    """Whether one directory entry, as the disk spells it, is a name the archive shows."""
    if "/" in name:
        return False
    try:
        _check_segment(name)
    except Malformed:
        return False
    return True
