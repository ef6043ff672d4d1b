"""The few places of a signal that the ledger itself needs: who, which stream and number, what it asks (docs/spec/signal.cddl).

The gate judges signals; the ledger only has to know them again. It reads the payload's numbered fields 3 class, 4 action,
5 verb, 8 stream and 9 number, and checks neither signature nor meaning.
"""

from dataclasses import dataclass
from typing import Final

from tallystick import canonical
from tallystick.errors import Malformed
from tallystick.keys.cose import parse_sign1
from tallystick.ledger.field import UINT_MAX
from tallystick.primitives import sha256

_CLASS, _ACTION, _VERB, _STREAM, _N = 3, 4, 5, 8, 9
STREAM_BYTES: Final = 16


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
    payload = canonical.decode(sign1.payload)
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
    return SignalMark(
        key=bytes(sign1.kid),
        stream=stream,
        n=n,
        signal_class=str(words[0]),
        action=str(words[1]),
        verb=str(words[2]),
        signature_hash=sha256(sign1.signature),
        signed=sha256(sign1.signed_bytes()),
    )
