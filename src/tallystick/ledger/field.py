"""The types of an event's fields: what a value may be, in Python and in CDDL (RFC 8610).

A type does two things and they must agree: `check` takes a value and returns it in its one form (arrays become tuples),
and `cddl` says the same to an auditor. docs/spec/events.cddl is compared with these words in tests/ledger.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.errors import Malformed

UINT_MAX: Final = 2**63 - 1  # what an SQLite integer holds
WORD: Final = "[a-z0-9]([a-z0-9._/-]{0,62}[a-z0-9])?"
_WORD: Final = re.compile(WORD + r"\Z", re.ASCII)
# A fixed list, not `str.isprintable`: that follows the Unicode version of the interpreter, and a leaf must not.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


class Type(Protocol):
    """What a field may hold."""

    def check(self, value: object) -> object:
        """The value in its one form. Raises: Malformed."""
        ...

    def cddl(self) -> str:
        """The same in CDDL."""
        ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """A byte string of `low` to `high` bytes."""

    low: int
    high: int

    def check(self, value: object) -> object:
        """Bytes of an allowed length."""
        if type(value) is not bytes or not self.low <= len(value) <= self.high:
            raise Malformed(f"not a byte string of {self.low} to {self.high} bytes")
        return value

    def cddl(self) -> str:
        """`bstr .size n`."""
        return f"bstr .size {self.low}" if self.low == self.high else f"bstr .size ({self.low}..{self.high})"


@dataclass(frozen=True, slots=True)
class Text:
    """A line for people: 1 to `high` bytes of UTF-8 without control or direction characters (CDDL cannot say the latter)."""

    high: int

    def check(self, value: object) -> object:
        """One line of text."""
        if not isinstance(value, str) or _CONTROL.search(value):
            raise Malformed("not a line of text without control characters")
        try:
            size = len(value) if value.isascii() else len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise Malformed("not a line of text: a lone surrogate") from None
        if not 1 <= size <= self.high:
            raise Malformed(f"not a text of 1 to {self.high} bytes")
        return str(value)

    def cddl(self) -> str:
        """`tstr .size (1..n)`."""
        return f"tstr .size (1..{self.high})"


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an open list: lower case, digits, dot, dash, underscore, slash; at most 64."""

    def check(self, value: object) -> object:
        """One word."""
        if not isinstance(value, str) or not _WORD.match(value):
            raise Malformed("not a word of 1 to 64 of a-z 0-9 . _ / -")
        return str(value)

    def cddl(self) -> str:
        """A regular expression."""
        return f'tstr .regexp "{WORD}"'


@dataclass(frozen=True, slots=True)
class Choice:
    """A word of a closed list."""

    words: tuple[str, ...]

    def check(self, value: object) -> object:
        """One of the words."""
        if not isinstance(value, str) or value not in self.words:
            raise Malformed(f"not one of {' '.join(self.words)}")
        return str(value)

    def cddl(self) -> str:
        """The words, quoted."""
        return " / ".join(f'"{word}"' for word in self.words)


@dataclass(frozen=True, slots=True)
class Uint:
    """A number from 0 to `high`."""

    high: int = UINT_MAX

    def check(self, value: object) -> object:
        """A number that is no truth value."""
        if type(value) is not int or not 0 <= value <= self.high:
            raise Malformed(f"not a number from 0 to {self.high}")
        return value

    def cddl(self) -> str:
        """A range."""
        return f"0..{self.high}"


@dataclass(frozen=True, slots=True)
class Flag:
    """True; a flag that is not raised is left out, so that an event has one form."""

    def check(self, value: object) -> object:
        """True only."""
        if value is not True:
            raise Malformed("a flag is true or left out")
        return value

    def cddl(self) -> str:
        """`true`."""
        return "true"


@dataclass(frozen=True, slots=True)
class Row:
    """An array of fixed places, each of its own type."""

    places: tuple[Type, ...]

    def check(self, value: object) -> object:
        """A tuple of as many values."""
        if not isinstance(value, (list, tuple)) or len(value) != len(self.places):
            raise Malformed(f"not an array of {len(self.places)}")
        return tuple(place.check(item) for place, item in zip(self.places, value, strict=True))

    def cddl(self) -> str:
        """`[a, b]`."""
        return f"[{', '.join(_group(place) for place in self.places)}]"


@dataclass(frozen=True, slots=True)
class Items:
    """An array of `low` to `high` values of one type."""

    of: Type
    low: int
    high: int

    def check(self, value: object) -> object:
        """A tuple of values."""
        if not isinstance(value, (list, tuple)) or not self.low <= len(value) <= self.high:
            raise Malformed(f"not an array of {self.low} to {self.high}")
        return tuple(self.of.check(item) for item in value)

    def cddl(self) -> str:
        """`[low*high type]`."""
        return f"[{self.low}*{self.high} {_group(self.of)}]"


@dataclass(frozen=True, slots=True)
class Table:
    """A map from words to values of one type, `low` to `high` of them."""

    of: Type
    low: int
    high: int

    def check(self, value: object) -> object:
        """A dict whose keys are words."""
        if not isinstance(value, dict) or not self.low <= len(value) <= self.high:
            raise Malformed(f"not a map of {self.low} to {self.high}")
        word = Word()
        return {str(word.check(key)): self.of.check(item) for key, item in value.items()}

    def cddl(self) -> str:
        """`{low*high tstr => type}`; that the keys are words the tools for CDDL cannot check."""
        return f"{{{self.low}*{self.high} tstr => {_group(self.of)}}}"


def _group(of: Type) -> str:
    """A choice inside an array or map needs brackets."""
    text = of.cddl()
    return f"({text})" if " / " in text and not text.startswith(("[", "{")) else text
