"""Fields of statements: what both those about pairs and those about rights are read with (docs/spec/statements.md, section 2)."""

from typing import Final

from tallystick.canonical import Value
from tallystick.errors import Malformed
from tallystick.keys import KeyKind, PublicKey, parse_cose_key
from tallystick.pair.message import LABEL_FORM

ACTIONS: Final = ("metadata", "read", "egress", "propose", "write", "admin")
INT63: Final = 2**63 - 1


def hash_of(value: Value) -> bytes:
    """32 bytes. Raises: Malformed."""
    if not isinstance(value, bytes) or len(value) != 32:
        raise Malformed("statement: 32 bytes are missing")
    return value


def whole(value: Value, least: int = 0, most: int = INT63) -> int:
    """A number in these bounds; True and False are none. Raises: Malformed."""
    if type(value) is not int or not least <= value <= most:
        raise Malformed(f"statement: a number from {least} to {most} is missing")
    return value


def signing_key(value: Value) -> PublicKey:
    """A key that signs, as a COSE_Key. Raises: Malformed."""
    if not isinstance(value, bytes) or len(value) > 128:
        raise Malformed("statement: a COSE_Key is missing")
    key = parse_cose_key(value)
    if key.kind not in (KeyKind.ED25519, KeyKind.P256):
        raise Malformed("statement: a key that signs is Ed25519 or P-256")
    return key


def label_of(value: Value) -> str:
    """A label that people read. Raises: Malformed."""
    if not isinstance(value, str) or not LABEL_FORM.fullmatch(value):
        raise Malformed("statement: a label with characters or a length we do not take")
    return value


def actions_of(value: Value) -> tuple[str, ...]:
    """Action classes in the order of the specification, none twice. Raises: Malformed."""
    if not isinstance(value, list) or value != [action for action in ACTIONS if action in value]:
        raise Malformed("statement: actions unknown, twice or out of order")
    return tuple(action for action in ACTIONS if action in value)
