"""Who is that: a public key, and the KeyId that names it (docs/spec/keys.md).

A KeyId is the COSE Key Thumbprint of the key: SHA-256 over the required fields of its COSE_Key in deterministic CBOR
(RFC 9679). It depends on the key alone. Grants and revocations name KeyIds, never certificates or signature bytes, so
no re-encoding of a statement makes a revoked key a new one.

A `PublicKey` can only be made of a key that may be pinned: one encoding per key, on its curve, not of small order. The
library below accepts others; a house must not, because a signature under a key of small order proves nothing.
"""

import functools
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self

from tallystick.canonical import Encodable, decode, encode, id_text, parse_id
from tallystick.errors import Malformed
from tallystick.primitives import ed25519_public_is_safe, sha256, x25519_public_is_safe

KEY_ID_BYTES: Final = 32
KEY_ID_PREFIX: Final = "key"

# RFC 9052 7.1 and RFC 9053 7: labels and values of COSE_Key.
_KTY, _ALG, _CRV, _X, _Y = 1, 3, -1, -2, -3
_OKP, _EC2 = 1, 2
_CRV_P256, _CRV_X25519, _CRV_ED25519 = 1, 4, 6
# ML-DSA for JOSE and COSE (draft-ietf-cose-dilithium): key type AKP, algorithm ML-DSA-44, label `pub`.
_AKP, _ML_DSA_44, _PUB = 7, -48, -1

# SP 800-186 3.2.1.3, P-256: y^2 = x^3 - 3x + b modulo p.
_P256_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_P256_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B


class KeyKind(StrEnum):
    """What a key is for: Ed25519 and P-256 sign, X25519 agrees, ML-DSA-44 signs checkpoints."""

    ED25519 = "ed25519"
    P256 = "p256"
    X25519 = "x25519"
    ML_DSA_44 = "ml-dsa-44"


# Bytes of a raw public key: RFC 8032 5.1.5; SEC 1 2.3.3, uncompressed; RFC 7748 5; FIPS 204 table 2.
PUBLIC_BYTES: Final = {KeyKind.ED25519: 32, KeyKind.P256: 65, KeyKind.X25519: 32, KeyKind.ML_DSA_44: 1312}


class KeyId(bytes):
    """The 32 bytes that name a key. `str()` gives the text with check characters that people read and type."""

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Raises: Malformed when it is not 32 bytes."""
        if len(raw) != KEY_ID_BYTES:
            raise Malformed(f"a KeyId has {KEY_ID_BYTES} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a person typed or pasted. Raises: Malformed, with a hint, when it is no KeyId."""
        return cls(parse_id(text, KEY_ID_PREFIX))

    def __str__(self) -> str:
        return id_text(KEY_ID_PREFIX, self)

    def __repr__(self) -> str:
        return f"KeyId({self.hex()})"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key that may be pinned, in its one raw form; two are equal when kind and bytes are.

    `raw`: Ed25519 and X25519 32 bytes, P-256 65 bytes (uncompressed point), ML-DSA-44 1,312 bytes.
    Raises: Malformed for any other bytes, see `pinned`.
    """

    kind: KeyKind
    raw: bytes = field(repr=False)
    key_id: KeyId = field(init=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.raw) != PUBLIC_BYTES[self.kind]:
            raise Malformed(f"a public key of kind {self.kind} has {PUBLIC_BYTES[self.kind]} bytes, not {len(self.raw)}")
        if not _may_be_pinned(self.kind, self.raw):
            raise Malformed(f"this {self.kind} public key is not safe: of small order, not canonical or not on its curve")
        object.__setattr__(self, "key_id", KeyId(sha256(self.cose_key())))

    def cose_key(self) -> bytes:
        """The COSE_Key with the required fields only, in deterministic CBOR: what the thumbprint hashes (RFC 9679 4)."""
        return encode(self._fields())

    def _fields(self) -> dict[int, Encodable]:
        match self.kind:
            case KeyKind.ED25519:
                return {_KTY: _OKP, _CRV: _CRV_ED25519, _X: self.raw}
            case KeyKind.X25519:
                return {_KTY: _OKP, _CRV: _CRV_X25519, _X: self.raw}
            case KeyKind.P256:
                return {_KTY: _EC2, _CRV: _CRV_P256, _X: self.raw[1:33], _Y: self.raw[33:]}
            case KeyKind.ML_DSA_44:
                return {_KTY: _AKP, _ALG: _ML_DSA_44, _PUB: self.raw}


def pinned(kind: KeyKind, raw: bytes) -> PublicKey:
    """A key that came from outside and is about to be trusted.

    Raises: Malformed when it has a wrong length, is of small order, is a second encoding, or is off its curve.
    """
    return PublicKey(kind, raw)


def parse_cose_key(data: bytes) -> PublicKey:
    """Read what `PublicKey.cose_key` writes, and nothing else (no further fields, no compressed points).

    Raises: Malformed as `pinned`, and for any other bytes.
    """
    fields = decode(data, max_bytes=2048, max_depth=1, max_items=16)
    match fields:
        case {1: 1, -1: 6, -2: bytes(raw), **rest} if not rest:
            key = PublicKey(KeyKind.ED25519, raw)
        case {1: 1, -1: 4, -2: bytes(raw), **rest} if not rest:
            key = PublicKey(KeyKind.X25519, raw)
        case {1: 2, -1: 1, -2: bytes(x), -3: bytes(y), **rest} if not rest:
            key = PublicKey(KeyKind.P256, b"\x04" + x + y)
        case {1: 7, 3: -48, -1: bytes(raw), **rest} if not rest:
            key = PublicKey(KeyKind.ML_DSA_44, raw)
        case _:
            raise Malformed("COSE_Key: not a key of a kind we know, or more than its required fields")
    # `True == 1` in a pattern, and x and y could share their 64 bytes unequally: write it again and compare.
    if key.cose_key() != data:
        raise Malformed("COSE_Key: not in its one form")
    return key


@functools.lru_cache(maxsize=1024)  # two exponentiations for Ed25519, 80 us; a house meets the same keys again and again
def _may_be_pinned(kind: KeyKind, raw: bytes) -> bool:
    match kind:
        case KeyKind.ED25519:
            return ed25519_public_is_safe(raw)
        case KeyKind.X25519:
            return x25519_public_is_safe(raw)
        case KeyKind.P256:
            # The cofactor is 1: a point on the curve that is not infinity (which has no uncompressed form) is in the group.
            x, y = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
            on_curve = (x * x * x - 3 * x + _P256_B - y * y) % _P256_P == 0
            return raw[0] == 4 and x < _P256_P and y < _P256_P and on_curve
        case KeyKind.ML_DSA_44:
            return True  # FIPS 204 5.2: any 1,312 bytes decode to one public key, and encode to the same bytes
