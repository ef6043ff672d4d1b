"""Remote paths and byte ranges as people type them (the rules of the archive itself are in docs/spec/archive.md)."""

import re
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Misuse

MAX_PATH_BYTES: Final = 4096
_REMOTE: Final = re.compile(r"(?:(?P<house>[A-Za-z0-9][A-Za-z0-9._-]{0,62})?:)?(?P<path>/.*)", re.DOTALL)
_RANGE: Final = re.compile(r"(0|[1-9][0-9]{0,18})-((?:0|[1-9][0-9]{0,18})?)")


@dataclass(frozen=True, slots=True)
class Remote:
    """A place in a house; an empty house means the only one."""

    house: str
    path: str

    def __str__(self) -> str:
        return f"{self.house}:{self.path}"


def remote(text: str) -> Remote:
    """`HOUSE:/path`, `:/path` or `/path`. Raises: Misuse: anything else."""
    match = _REMOTE.fullmatch(text)
    if match is None:
        raise Misuse(f"{text[:80]!r} is not a remote path", "write HOUSE:/path, or /path where there is only one house")
    path = match["path"]
    if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES:
        raise Misuse("the remote path holds a zero byte or is longer than 4096 bytes", "choose a shorter path")
    return Remote(match["house"] or "", path)


def same_house(source: Remote, target: Remote) -> str:
    """The house of both ends of a move. Raises: Misuse: they are not the same."""
    named = {house for house in (source.house, target.house) if house}
    if len(named) > 1:
        raise Misuse("a move stays within one house", "use `tally get` and `tally put` between houses")
    return named.pop() if named else ""


def byte_range(text: str) -> tuple[int, int | None]:
    """`FIRST-LAST` (both included) or `FIRST-`. Raises: Misuse: anything else, or a range that ends before it begins."""
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Misuse(f"{text[:40]!r} is not a range of bytes", "write FIRST-LAST or FIRST-, counted from 0")
    first, last = int(match[1]), int(match[2]) if match[2] else None
    if last is not None and last < first:
        raise Misuse(f"the range {text} ends before it begins", "write FIRST-LAST or FIRST-, counted from 0")
    return first, last
