"""The few places of a signal that the ledger itself needs: who, which stream and number, what it asks (docs/spec/signal.cddl).

The gate judges signals; the ledger only has to know them again. It reads the payload's numbered fields 3 class, 4 action,
5 verb, 8 stream and 9 number, and checks neither signature nor meaning.
"""

import re
from dataclasses import dataclass
from typing import Final

from tallystick import canonical
from tallystick.errors import Malformed
from tallystick.keys.cose import parse_sign1
from tallystick.ledger.field import UINT_MAX
from tallystick.primitives import sha256

_CLASS, _ACTION, _VERB, _STREAM, _N = 3, 4, 5, 8, 9
STREAM_BYTES: Final = 16

# The payload of nearly every command: ten fields, short words, hashes of 32 bytes, no predecessor. Only its one form matches, but for
# the head of each word, which `_read_plain` compares. A group of entries reads each of its signals, so this pays.
_PLAIN: Final = re.compile(
    rb"\xaa\x01\x01\x02\x58\x20.{32}\x03([\x61-\x77])([ -~]{1,23})\x04([\x61-\x77])([ -~]{1,23})\x05([\x61-\x77])([ -~]{1,23})"
    rb"\x06(?:\xa0|\xa1[\x01-\x04]\x58\x20.{32}|\xa2\x01\x58\x20.{32}\x02\x58\x20.{32}"
    rb"|\xa3\x01\x58\x20.{32}\x02\x58\x20.{32}\x03\x58\x20.{32})"
    rb"\x07\x1b[\x01-\x7f].{7}\x08\x50(.{16})\x09([\x00-\x17]|\x18[\x18-\xff]|\x19[\x01-\xff].)\x0a\x80",
    re.DOTALL,
)


_Fields = tuple[bytes, int, str, str, str]  # stream, number, class, action, verb


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalMark:
    """What tells one signal from another. `signed` is SHA-256 of its Sig_structure: two signatures of one statement agree in it."""

    key: bytes
    stream: bytes
    n: int
    signal_class: str
    action: str
    verb: str
    signature_hash: bytes
    signed: bytes


def read_mark(cose: bytes) -> SignalMark:
    """The marks of a signal as it stands in a leaf. Raises: Malformed when it is no COSE_Sign1 over a payload with these fields."""
    sign1 = parse_sign1(cose)
    stream, n, *words = _read_plain(sign1.payload) or _read_any(sign1.payload)
    return SignalMark(
        key=bytes(sign1.kid),
        stream=stream,
        n=n,
        signal_class=words[0],
        action=words[1],
        verb=words[2],
        signature_hash=sha256(sign1.signature),
        signed=sha256(sign1.signed_bytes()),
    )


def _read_plain(raw: bytes) -> _Fields | None:
    """The commonest payload in one pass; None for every other one, good or bad. The tests compare it with `_read_any`."""
    found = _PLAIN.fullmatch(raw)
    if found is None:
        return None
    class_head, signal_class, action_head, action, verb_head, verb, stream, n = found.groups()
    if class_head[0] - 0x60 != len(signal_class) or action_head[0] - 0x60 != len(action) or verb_head[0] - 0x60 != len(verb):
        return None
    number = n[0] if len(n) == 1 else int.from_bytes(n[1:], "big")
    return stream, number, signal_class.decode("ascii"), action.decode("ascii"), verb.decode("ascii")


def _read_any(raw: bytes) -> _Fields:
    """Any payload. Raises: Malformed."""
    payload = canonical.decode(raw)
    if not isinstance(payload, dict):
        raise Malformed("a signal's payload is a map")
    stream, n = payload.get(_STREAM), payload.get(_N)
    words = [payload.get(number) for number in (_CLASS, _ACTION, _VERB)]
    if not isinstance(stream, bytes) or len(stream) != STREAM_BYTES:
        raise Malformed(f"a signal's stream has {STREAM_BYTES} bytes")
    if type(n) is not int or not 0 <= n <= UINT_MAX:
        raise Malformed("a signal's number lies between 0 and 2**63-1")
    if not all(isinstance(word, str) and 0 < len(word) <= 64 for word in words):
        raise Malformed("a signal names its class, action and verb")
    return stream, n, str(words[0]), str(words[1]), str(words[2])
