"""Entry bundles (C2SP tlog-tiles v0.1.0, Log entries): the entries of one tile of level 0, each behind its length.

    u16 length || entry || u16 length || entry || ...       big endian; 256 of them, fewer at the right edge

How many there are is said by the bundle's path, not by its bytes: what follows the last one is Malformed.
"""

import struct
from collections.abc import Sequence
from typing import Final

from tallystick.errors import Malformed, Misuse
from tallystick.tlog.tile import TILE_WIDTH

MAX_ENTRY_BYTES: Final = 65_535
LENGTH_BYTES: Final = 2
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (LENGTH_BYTES + MAX_ENTRY_BYTES)

_LENGTH: Final = struct.Struct(">H")


def write_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of a bundle. Raises: Misuse: no entry, over 256 of them, or one of over 65,535 bytes."""
    if not 1 <= len(entries) <= TILE_WIDTH or max(map(len, entries)) > MAX_ENTRY_BYTES:
        raise Misuse(f"a bundle has 1 to {TILE_WIDTH} entries of at most {MAX_ENTRY_BYTES} bytes")
    pack = _LENGTH.pack
    return b"".join([part for entry in entries for part in (pack(len(entry)), entry)])


def read_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """The entries of a bundle of `width`. Raises: Malformed, naming the entry and the byte where it goes wrong; Misuse."""
    if not 1 <= width <= TILE_WIDTH:
        raise Misuse(f"a bundle has 1 to {TILE_WIDTH} entries")
    entries: list[bytes] = []
    at, end = 0, len(data)
    for n in range(width):
        start = at + LENGTH_BYTES
        if start > end:
            raise Malformed(f"the bundle ends at byte {end}, before its entry {n} of {width}")
        stop = start + (data[at] << 8 | data[at + 1])
        if stop > end:
            raise Malformed(f"entry {n} of the bundle, at byte {at}, is cut short")
        entries.append(data[start:stop])
        at = stop
    if at != end:
        raise Malformed(f"the bundle goes on after its {width} entries, at byte {at}")
    return tuple(entries)
