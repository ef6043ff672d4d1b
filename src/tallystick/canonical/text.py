"""Numbers and bytes as text that has one form, and lists as bytes that have one form.

Python's `int()`, `b64decode()` and `splitlines()` are lenient; none of them is called on foreign bytes outside this
package. Sources: RFC 4648 3.5, 4 and 5 (base64), C2SP tlog-checkpoint (decimal without leading zeros).
"""

import binascii
import re
from typing import Final

from tallystick.errors import Malformed, Misuse

_DECIMAL: Final = re.compile(r"(?:0|[1-9][0-9]{0,19})\Z", re.ASCII)
_URL: Final = bytes.maketrans(b"+/", b"-_")
_STANDARD: Final = bytes.maketrans(b"-_+/", b"+/!!")

MAX_PARTS: Final = 4_096  # of a length-prefixed list


def decimal(text: str, *, maximum: int = 2**64 - 1) -> int:
    """Read ASCII digits without sign, space or leading zero, from 0 to `maximum` (at most 2**64-1).

    Raises: Malformed for any other text.
    """
    if not _DECIMAL.match(text):
        raise Malformed("decimal: not a number in its one form")
    number = int(text)
    if number > min(maximum, 2**64 - 1):
        raise Malformed(f"decimal: larger than {maximum}")
    return number


def to_decimal(number: int) -> str:
    """Write what `decimal` reads. Raises: Misuse when out of range."""
    if isinstance(number, bool) or not 0 <= number < 2**64:
        raise Misuse("decimal: only numbers from 0 to 2**64-1 have a form")
    return str(number)


def b64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def unb64(text: str, *, max_bytes: int = 1 << 20) -> bytes:
    """Read what `b64` writes: standard alphabet, padded, unused bits zero, no white space.

    Args: max_bytes: of the result.
    Raises: Malformed for any other text.
    """
    return _unb64(_ascii(text), max_bytes)


def b64url(data: bytes) -> str:
    """URL-safe base64 without padding (RFC 4648 5 and 3.2)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_URL).decode("ascii")


def unb64url(text: str, *, max_bytes: int = 1 << 20) -> bytes:
    """Read what `b64url` writes. Raises: Malformed for any other text. See `unb64`."""
    raw = _ascii(text)
    if b"=" in raw:
        raise Malformed("base64url: padding is not allowed")
    return _unb64(raw.translate(_STANDARD) + b"=" * (-len(raw) % 4), max_bytes)


def _ascii(text: str) -> bytes:
    if not text.isascii():
        raise Malformed("base64: not ASCII")
    return text.encode("ascii")


def _unb64(raw: bytes, max_bytes: int) -> bytes:
    if len(raw) > (max_bytes + 2) // 3 * 4:
        raise Malformed(f"base64: more than {max_bytes} bytes")
    try:
        data = binascii.a2b_base64(raw, strict_mode=True)
    except binascii.Error as error:
        raise Malformed("base64: not in its one form") from error
    # strict_mode still takes unused bits that are not zero: write it again and compare.
    if len(data) > max_bytes or binascii.b2a_base64(data, newline=False) != raw:
        raise Malformed("base64: not in its one form")
    return data


def length_prefixed(*parts: bytes) -> bytes:
    """Each part behind its length (u32, big endian): different lists never make the same bytes.

    Raises: Misuse when a part is 2**32 bytes or longer.
    """
    out: list[bytes] = []
    for part in parts:
        if len(part) >= 2**32:
            raise Misuse("length-prefixed list: part too long")
        out.append(len(part).to_bytes(4, "big"))
        out.append(part)
    return b"".join(out)


def split_length_prefixed(data: bytes, *, max_parts: int = MAX_PARTS) -> tuple[bytes, ...]:
    """Read what `length_prefixed` writes. Raises: Malformed when cut, or with more than `max_parts` parts."""
    parts: list[bytes] = []
    at = 0
    while at < len(data):
        if len(parts) == max_parts:
            raise Malformed("length-prefixed list: too many parts")
        start = at + 4
        end = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or end > len(data):
            raise Malformed("length-prefixed list: cut")
        parts.append(data[start:end])
        at = end
    return tuple(parts)
