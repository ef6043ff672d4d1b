"""How paths of the archive are written in request targets."""

import unicodedata
from urllib.parse import quote

from tallystick.errors import Misuse


def plain(path: str) -> str:
    """A path as the archive spells it: below the root, in Unicode normal form C (macOS writes form D)."""
    return unicodedata.normalize("NFC", path.removeprefix("/"))


def target_of(route: str, path: str, *, root: bool = False) -> str:
    """The request target of a path. Raises: Misuse: it names no file."""
    named = plain(path).rstrip("/") if root else plain(path)
    if not named and not root:
        raise Misuse("the path names no file", "write it from the root of the archive, as in papers/report.pdf")
    return f"{route}/{quote(named, safe='/')}" if named else route
