"""Bytes as text for people: Crockford's base32 in groups of five, with six check characters.

    key-61J9K-...-3ZQ4K-PC0       prefix, then data and check characters, dashes for the eye only

The check is Bech32m's BCH code over GF(32) (BIP 350), computed over the prefix and the data. It finds every error in up
to four characters of a text shorter than 90 (BIP 173), so every wrong character and every swap of two neighbours, and
misses other errors once in 2**30; Bech32m also finds characters that were added or lost at the end, which Bech32 does
not. The alphabet is Crockford's, not Bech32's: it has no I, L, O and U, so look-alikes can be read for what was meant.
(One check character per group, as Syncthing's Luhn mod 32, was refused: it misses swaps and costs as many characters.)

Sources: BIP 173 and BIP 350 (checksum), Douglas Crockford, Base 32 (alphabet and look-alikes).
"""

import re
from typing import Final

from tallystick.errors import Malformed, Misuse

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUES: Final = {symbol: i for i, letter in enumerate(_ALPHABET) for symbol in (letter, letter.lower())} | {
    "O": 0, "o": 0, "I": 1, "i": 1, "L": 1, "l": 1,
}  # fmt: skip
# White space, hyphens and dashes (U+2010 to U+2015, U+2212) carry nothing, whatever an editor made of them.
_IGNORED: Final = frozenset(" \t\r\n\u00a0-\u2010\u2011\u2012\u2013\u2014\u2015\u2212")

_GROUP: Final = 5
_CHECK: Final = 6
_BECH32M: Final = 0x2BC830A3  # BIP 350
_GENERATOR: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)  # BIP 173

_PREFIX: Final = re.compile(r"[a-z][a-z0-9]{0,15}\Z")
_MAX_RAW: Final = 64  # bytes; see MAX_TEXT for the code's reach
MAX_TEXT: Final = 512  # characters of a text worth reading


def _polymod(values: list[int]) -> int:
    """The remainder of BIP 173's checksum."""
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for i in range(5):
            if top >> i & 1:
                check ^= _GENERATOR[i]
    return check


def _expand(prefix: str) -> list[int]:
    """BIP 173: the prefix's high bits, a zero, its low bits."""
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _check_prefix(prefix: str) -> None:
    if not _PREFIX.match(prefix):
        raise Misuse("id: a prefix is 1 to 16 lower-case letters and digits")


def id_text(prefix: str, raw: bytes) -> str:
    """Write 1 to 64 bytes as text with check characters (32 bytes: 58 characters in 12 groups).

    Raises: Misuse for a prefix or length out of range.
    """
    _check_prefix(prefix)
    if not 1 <= len(raw) <= _MAX_RAW:
        raise Misuse(f"id: 1 to {_MAX_RAW} bytes")
    length = (len(raw) * 8 + 4) // 5
    number = int.from_bytes(raw, "big") << length * 5 - len(raw) * 8
    values = [number >> 5 * i & 31 for i in reversed(range(length))]
    check = _polymod(_expand(prefix) + values + [0] * _CHECK) ^ _BECH32M
    values += [check >> 5 * i & 31 for i in reversed(range(_CHECK))]
    text = "".join(_ALPHABET[v] for v in values)
    return "-".join([prefix, *(text[i : i + _GROUP] for i in range(0, len(text), _GROUP))])


def parse_id(text: str, prefix: str) -> bytes:
    """Read what `id_text` wrote and a person typed: any case, any spaces and dashes, O for 0, I and L for 1.

    Raises: Malformed when the prefix is another one, a character cannot be meant, or the check does not hold.
    """
    _check_prefix(prefix)
    if len(text) > MAX_TEXT:
        raise Malformed("id: far too long", "Copy the whole ID again and nothing else.")
    bare = "".join(c for c in text if c not in _IGNORED)
    start = bare[: len(prefix)]
    if not start.isascii() or start.lower() != prefix:  # lower() alone would take the Kelvin sign for a k
        raise Malformed(f"id: does not begin with {prefix}-", f"Paste the whole ID, from {prefix}- to its last group.")
    values: list[int] = []
    for character in bare[len(prefix) :]:
        if character not in _VALUES:
            raise Malformed("id: a character that no ID contains", "IDs use digits and letters without I, L, O and U.")
        values.append(_VALUES[character])
    length = len(values) - _CHECK
    size = length * 5 // 8
    if not 1 <= size <= _MAX_RAW or (size * 8 + 4) // 5 != length:
        raise Malformed("id: too short or too long", "Copy the whole ID again; a group may be missing.")
    if _polymod(_expand(prefix) + values) != _BECH32M:
        raise Malformed("id: the check characters do not match", "One or more characters are wrong; compare it group by group.")
    number = 0
    for value in values[:length]:
        number = number << 5 | value
    unused = length * 5 - size * 8
    if number & (1 << unused) - 1:
        raise Malformed("id: not in its one form")
    return (number >> unused).to_bytes(size, "big")
