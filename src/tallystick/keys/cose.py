"""COSE_Sign1 with exactly one encoding (RFC 9052 4.2): how every statement is signed (docs/spec/keys.md, section 3).

    84                              array of 4; no tag
       58 26 A2 01 <alg> 04 58 20 <KeyId, 32 bytes>      protected {1: alg, 4: kid}; alg 27 EdDSA, 26 ES256
       A0                           unprotected {}
       <bstr payload, at most 48 KiB>
       58 40 <signature, 64 bytes>

Everything but payload and signature is fixed by the key, so the reader compares bytes at fixed places: there is no
header to negotiate and no second encoding to think about. What is read is an `UnprovenSign1`; only its `verify` makes
the `Sign1` that functions which decide may take.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed, Misuse, Unavailable, Unproven
from tallystick.keys.identity import KeyId, KeyKind, PublicKey
from tallystick.keys.signer import Signer
from tallystick.primitives import ed25519_verify, p256_verify

MAX_PAYLOAD_BYTES: Final = 48 * 1024
SIGNATURE_BYTES: Final = 64
MAX_SIGN1_BYTES: Final = 42 + 3 + MAX_PAYLOAD_BYTES + 2 + SIGNATURE_BYTES


class Algorithm(IntEnum):
    """RFC 9053 2: the signature algorithms we write and read."""

    EDDSA = -8  # Ed25519 (RFC 8032)
    ES256 = -7  # ECDSA with P-256 and SHA-256, low s only


_KIND: Final = {Algorithm.EDDSA: KeyKind.ED25519, Algorithm.ES256: KeyKind.P256}
_ALGORITHM: Final = {kind: algorithm for algorithm, kind in _KIND.items()}

_START: Final = b"\x84\x58\x26"  # array of 4, byte string of 38 bytes
# Protected header up to the KeyId: {1: alg, 4: h'...'}
_PROTECTED: Final = {b"\xa2\x01\x27\x04\x58\x20": Algorithm.EDDSA, b"\xa2\x01\x26\x04\x58\x20": Algorithm.ES256}
_PROTECTED_OF: Final = {algorithm: head for head, algorithm in _PROTECTED.items()}
_PAYLOAD_AT: Final = 42
_SIGNATURE_HEAD: Final = b"\x58\x40"
_TAIL: Final = SIGNATURE_BYTES + len(_SIGNATURE_HEAD)

# RFC 9052 4.4: Sig_structure = ["Signature1", protected, external_aad = h'', payload]
_CONTEXT: Final = b"\x84\x6aSignature1"
_NO_AAD: Final = b"\x40"
_PROVEN: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign1:
    """A statement whose signature holds under `public`. Made by `UnprovenSign1.verify` alone."""

    public: PublicKey
    alg: Algorithm
    payload: bytes
    signature: bytes
    raw: bytes = field(repr=False)
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.proof is not _PROVEN:
            raise AssertionError("a Sign1 is made by UnprovenSign1.verify, not by hand")

    @property
    def kid(self) -> KeyId:
        """The KeyId of the key that signed."""
        return self.public.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenSign1:
    """A statement that somebody claims to have signed: well-formed, and nothing more."""

    kid: KeyId
    alg: Algorithm
    payload: bytes
    signature: bytes
    raw: bytes = field(repr=False)

    def signed_bytes(self) -> bytes:
        """The Sig_structure: what the signature covers (RFC 9052 4.4)."""
        return signed_bytes_of(self.raw)

    def check(self, public: PublicKey) -> None:
        """Check the signature under the key the caller trusts.

        Raises: Unproven when the key is another one than `kid` names, or the signature does not hold (ES256: low s only).
        """
        # By identity: an enumeration hashes its members in Python.
        kind, verify = (KeyKind.ED25519, ed25519_verify) if self.alg is Algorithm.EDDSA else (KeyKind.P256, p256_verify)
        if public.key_id != self.kid or public.kind is not kind:
            raise Unproven("COSE_Sign1: signed by another key than this")
        verify(public.raw, self.signature, signed_bytes_of(self.raw))

    def verify(self, public: PublicKey) -> Sign1:
        """`check`, and the proven value. Raises: Unproven, as `check`."""
        self.check(public)
        return Sign1(public=public, alg=self.alg, payload=self.payload, signature=self.signature, raw=self.raw, proof=_PROVEN)


def signed_bytes_of(raw: bytes) -> bytes:
    """What the signature of a COSE_Sign1 that was read covers (RFC 9052 4.4)."""
    return b"".join((_CONTEXT, raw[1:41], _NO_AAD, raw[_PAYLOAD_AT:-_TAIL]))


def sign1(signer: Signer, payload: bytes) -> bytes:
    """Sign a payload of at most 48 KiB.

    Raises: Misuse when the payload is longer or the key does not sign statements; what `Signer.sign` raises;
    Unavailable when the device returns no signature.
    """
    public = signer.public
    algorithm = _ALGORITHM.get(public.kind)
    if algorithm is None:
        raise Misuse(f"COSE_Sign1: a key of kind {public.kind} signs no statements")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise Misuse(f"COSE_Sign1: payload of {len(payload)} bytes, at most {MAX_PAYLOAD_BYTES} allowed")
    protected = b"\x58\x26" + _PROTECTED_OF[algorithm] + public.key_id
    body = encode(payload)
    signature = signer.sign(b"".join((_CONTEXT, protected, _NO_AAD, body)))
    if len(signature) != SIGNATURE_BYTES:
        raise Unavailable(f"the vault made a signature of {len(signature)} bytes instead of {SIGNATURE_BYTES}")
    return b"".join((b"\x84", protected, b"\xa0", body, _SIGNATURE_HEAD, signature))


def parse_sign1(data: bytes) -> UnprovenSign1:
    """Read the one encoding of a signed statement; check no signature.

    Raises: Malformed for any other bytes, and for a payload over 48 KiB.
    """
    if not _PAYLOAD_AT + 1 + _TAIL <= len(data) <= MAX_SIGN1_BYTES:
        raise Malformed(f"COSE_Sign1: {len(data)} bytes is too short or too long")
    data = bytes(data)
    algorithm = _PROTECTED.get(data[3:9])
    if data[:3] != _START or algorithm is None or data[41] != 0xA0 or data[-_TAIL:-SIGNATURE_BYTES] != _SIGNATURE_HEAD:
        raise Malformed("COSE_Sign1: not the one form we read", "Untagged, protected {1: alg, 4: kid}, unprotected empty, alg -8 or -7.")
    # The head of nearly every payload: a length of one or two bytes that needs as many, and reaches to the tail.
    head, short, long = data[_PAYLOAD_AT], data[_PAYLOAD_AT + 1], data[_PAYLOAD_AT + 1] << 8 | data[_PAYLOAD_AT + 2]
    if head == 0x58 and short >= 24 and len(data) == _PAYLOAD_AT + 2 + short + _TAIL:
        payload: Value = data[_PAYLOAD_AT + 2 : -_TAIL]
    elif head == 0x59 and long >= 256 and len(data) == _PAYLOAD_AT + 3 + long + _TAIL:
        payload = data[_PAYLOAD_AT + 3 : -_TAIL]
    else:
        payload = decode(data[_PAYLOAD_AT:-_TAIL])
    if not isinstance(payload, bytes):
        raise Malformed("COSE_Sign1: the payload is not a byte string")
    return UnprovenSign1(kid=KeyId(data[9:41]), alg=algorithm, payload=payload, signature=data[-SIGNATURE_BYTES:], raw=data)
