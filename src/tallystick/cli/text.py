"""How numbers, times and foreign text look on a terminal.

Names, labels and paths come from other machines. A terminal obeys escape sequences, so no text of theirs reaches it
with a control, format or line-separating character inside: `printable` shows those as \\x1b, \\u202e and so on.
"""

import time
import unicodedata
from typing import Final

NS: Final = 1_000_000_000
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_SPANS: Final = ((86_400 * 365, "y"), (86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# Control, format (bidi overrides, zero-width), surrogate, private use, unassigned, line and paragraph separators.
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def printable(text: str) -> str:
    """The text with everything a terminal might obey, or an eye might miss, written out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def size(count: int) -> str:
    """Bytes as people read them: 0 B, 1023 B, 1.0 KiB, 2.5 GiB."""
    amount, unit = float(count), 0
    # 1023.95 KiB would be written 1024.0 KiB: the next unit begins where rounding says so.
    while amount >= (1024 if unit == 0 else 1023.95) and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"


def counted(count: int, noun: str) -> str:
    """A number and what it counts: 1 entry, 2,048 entries."""
    several = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else several}"


def span(seconds: float) -> str:
    """A duration in its largest unit, rounded down: 59 s, 3 min, 2 h, 5 d, 1 y."""
    for length, unit in _SPANS:
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return "0 s"


def age(then_ns: int | None, now_ns: int) -> str:
    """How long ago: `never`, `now`, `3 min ago`, and `in 3 min` for what is to come."""
    if then_ns is None:
        return "never"
    seconds = (now_ns - then_ns) / NS
    if abs(seconds) < 1:
        return "now"
    # What is to come is rounded up by a second: an invite of ten minutes, shown at once, is not one of nine.
    return f"{span(seconds)} ago" if seconds > 0 else f"in {span(1 - seconds)}"


def when(time_ns: int) -> str:
    """A moment in local time, to the second: 2026-11-22 07:08:09."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_ns // NS))


def clock(seconds: float) -> str:
    """What is left of a countdown: 9:59."""
    whole = max(0, int(seconds))
    return f"{whole // 60}:{whole % 60:02d}"
