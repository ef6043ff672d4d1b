"""The bytes of a vault file, version 1 (docs/spec/vault.md, section 3).

    ["tallystick vault", 1, kind, name, body]      deterministic CBOR
    SHA-256 of the above, 32 bytes                 finds torn and rotten files, not attackers

Kind and name stand inside, so a file that was renamed or swapped for another is noticed.
"""

from typing import Final

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Unavailable
from tallystick.primitives import equal, sha256

MAGIC: Final = "tallystick vault"
VERSION: Final = 1
_CHECK_BYTES: Final = 32
_MAX_BYTES: Final = 1 << 17


def pack(kind: str, name: str, body: Encodable) -> bytes:
    """Write a vault file."""
    content = encode([MAGIC, VERSION, kind, name, body])
    return content + sha256(content)


def unpack(data: bytes, kind: str, name: str) -> Value:
    """Read the body of the vault file that should be of this kind and name.

    Raises: Unavailable when it is damaged, another file, or made by a newer version.
    """
    content, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
    if not equal(sha256(content), check):
        raise damaged(name)
    try:
        fields = decode(content, max_bytes=_MAX_BYTES)
    except Malformed as error:
        raise damaged(name) from error
    match fields:
        case [str(magic), int(version), *_] if magic == MAGIC and version > VERSION:
            raise Unavailable(f"vault file {name} was made by a newer version ({version})", "Update tallystick on this machine.")
        case [str(magic), int(version), str(its_kind), str(its_name), body] if (magic, version) == (MAGIC, VERSION) and version is not True:
            if (its_kind, its_name) != (kind, name):
                raise Unavailable(f"vault file {name} is in truth {its_kind} {its_name}", "It was renamed: restore the vault.")
            return body
        case _:
            raise damaged(name)


def damaged(name: str) -> Unavailable:
    """What to say of a file whose bytes cannot be right."""
    return Unavailable(f"vault file {name} is damaged", "Restore it from a backup; nothing else in the vault is touched.")
