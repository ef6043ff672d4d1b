"""The mathematics: hashes, key agreement, signatures, sealed bytes. The one file of the core that imports `cryptography` and `nacl`.

Every function takes and returns bytes of one stated length. What a peer sent and is no key, point or length raises
`Malformed`; a tag or signature that does not hold raises `Unproven`; an argument of ours that cannot be right raises
`Misuse`. No exception of the library escapes.

Private keys come in as bytes; nothing here draws randomness, but where the standards put it inside the algorithm:
`mlkem768_encapsulate` and ML-DSA signing (hedged, FIPS 204 3.4) let the library ask the system.

OpenSSL accepts public keys that nobody may pin, of small order and in a second encoding: ask `..._public_is_safe` before.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol, Self

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa, mlkem, x448
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nacl.bindings import crypto_scalarmult, crypto_scalarmult_base, crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError
from nacl.exceptions import RuntimeError as SodiumError

from tallystick.errors import Malformed, Misuse, Unproven

Buffer = bytes | bytearray | memoryview

AEAD_KEY_BYTES: Final = 32
AEAD_NONCE_BYTES: Final = 12
AEAD_TAG_BYTES: Final = 16
SCRYPT_MAX_MEMORY_BYTES: Final = 1 << 30

# --- Hashes, HMAC, HKDF ----------------------------------------------------------------------------------------------


def sha256(*parts: Buffer) -> bytes:
    """SHA-256 (FIPS 180-4) of the parts, one after another; 32 bytes. The caller sees to it that the parts cannot shift."""
    return hashlib.sha256(b"".join(parts)).digest()


def hmac_sha256(key: bytes, data: Buffer) -> bytes:
    """HMAC with SHA-256 (RFC 2104); 32 bytes."""
    return hmac.digest(key, data, "sha256")


def hkdf_extract_sha256(salt: bytes, ikm: bytes) -> bytes:
    """HKDF-Extract (RFC 5869 2.2) with SHA-256; 32 bytes. An empty salt counts as 32 zero bytes."""
    return hmac.digest(salt, ikm, "sha256")


def hkdf_expand_sha256(prk: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869 2.3) with SHA-256. Raises: Misuse when `length` is not 0 to 8,160 bytes."""
    if not 0 <= length <= 255 * 32:
        raise Misuse(f"HKDF with SHA-256 gives at most 8160 bytes, not {length}")
    block, output = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = hmac.digest(prk, b"%b%b%c" % (block, info, counter), "sha256")
        output += block
    return output[:length]


def hkdf_sha256(salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF (RFC 5869) with SHA-256. Raises: Misuse when `length` is not 0 to 8,160 bytes."""
    return hkdf_expand_sha256(hkdf_extract_sha256(salt, ikm), info, length)


def blake2s_keyed(key: bytes, data: Buffer, size: int) -> bytes:
    """Keyed BLAKE2s (RFC 7693 2.9) of `size` bytes. Raises: Misuse when the key is not 1-32 or the size not 1-32 bytes."""
    if not 1 <= len(key) <= 32 or not 1 <= size <= 32:
        raise Misuse(f"keyed BLAKE2s takes a key of 1-32 bytes and gives 1-32 bytes, not {len(key)} and {size}")
    return hashlib.blake2s(data, digest_size=size, key=key).digest()


def equal(a: Buffer, b: Buffer) -> bool:
    """Are the two the same bytes? In a time that depends on their lengths only."""
    return hmac.compare_digest(a, b)


class _HashState(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...
    def copy(self) -> Self: ...


_IPAD: Final = bytes(octet ^ 0x36 for octet in range(256))
_OPAD: Final = bytes(octet ^ 0x5C for octet in range(256))


@dataclass(frozen=True, slots=True)
class Hash:
    """A hash function and the constructions Noise builds from it (Noise 4.3).

    HMAC is written out (RFC 2104), with keys padded by `bytes.translate`: half the cost of `hmac.digest`, two dozen in a handshake.
    """

    name: str
    size: int
    block_bytes: int
    new: Callable[[bytes], _HashState]

    def hmac(self, key: bytes, data: bytes) -> bytes:
        """HMAC-HASH(key, data); `size` bytes. The key is not longer than a block: in Noise it has `size` bytes."""
        new = self.new
        key = key.ljust(self.block_bytes, b"\0")
        return new(key.translate(_OPAD) + new(key.translate(_IPAD) + data).digest()).digest()

    def hkdf(self, chaining_key: bytes, ikm: bytes, outputs: int) -> tuple[bytes, ...]:
        """HKDF(chaining_key, ikm, 2 or 3) of Noise 4.3: RFC 5869 with an empty info; each output has `size` bytes."""
        temp_key = self.hmac(chaining_key, ikm)
        results = [self.hmac(temp_key, b"\x01")]
        for number in range(2, outputs + 1):
            results.append(self.hmac(temp_key, b"%b%c" % (results[-1], number)))
        return tuple(results)


SHA256: Final = Hash("SHA256", 32, 64, hashlib.sha256)
SHA512: Final = Hash("SHA512", 64, 128, hashlib.sha512)
BLAKE2S: Final = Hash("BLAKE2s", 32, 64, hashlib.blake2s)
BLAKE2B: Final = Hash("BLAKE2b", 64, 128, hashlib.blake2b)

# --- Passphrases -----------------------------------------------------------------------------------------------------


def scrypt(passphrase: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    """scrypt (RFC 7914). `n` is a power of two; memory is 128 * n * r bytes.

    Raises: Misuse when the parameters are not allowed by the RFC or need more than 1 GiB.
    """
    if n < 2 or n & (n - 1) or r < 1 or not 1 <= p <= 64 or not 1 <= length <= 1024 or 128 * n * r > SCRYPT_MAX_MEMORY_BYTES:
        raise Misuse(f"scrypt cannot run with n={n} r={r} p={p} length={length}")
    return hashlib.scrypt(passphrase, salt=salt, n=n, r=r, p=p, dklen=length, maxmem=128 * r * (n + p + 2) + (1 << 20))


# --- Key agreement: three classes of one shape, which noise.handshakestate asks for as its `KeyPair` ------------------


class _KeyPair:
    __slots__ = ("public",)
    public: bytes

    def __repr__(self) -> str:
        return f"{type(self).__name__}(public={self.public.hex()[:130]})"


class X25519KeyPair(_KeyPair):
    """A key pair of X25519 (RFC 7748 5): 32 bytes private, 32 bytes public."""

    __slots__ = ("_private",)

    def __init__(self, private: bytes) -> None:
        self._private = private
        self.public = crypto_scalarmult_base(private)

    @classmethod
    def from_private(cls, private: bytes) -> Self:
        """The pair of a 32-byte private key; any 32 bytes will do. Raises: Misuse when it has another length."""
        return cls(bytes(_sized(private, 32, "an X25519 private key")))

    def exchange(self, public: bytes) -> bytes:
        """The shared secret, 32 bytes. Raises: Malformed when `public` is not 32 bytes or the result would be all zero."""
        if len(public) != 32:  # the library would read on
            raise Malformed("an X25519 public key has 32 bytes")
        try:
            return crypto_scalarmult(self._private, public)
        except SodiumError:
            raise Malformed("an X25519 public key of small order") from None


class X448KeyPair(_KeyPair):
    """A key pair of X448 (RFC 7748 5): 56 bytes private, 56 bytes public."""

    __slots__ = ("_private",)

    def __init__(self, private: x448.X448PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def from_private(cls, private: bytes) -> Self:
        """The pair of a 56-byte private key; any 56 bytes will do. Raises: Misuse when it has another length."""
        return cls(x448.X448PrivateKey.from_private_bytes(_sized(private, 56, "an X448 private key")))

    def exchange(self, public: bytes) -> bytes:
        """The shared secret, 56 bytes. Raises: Malformed when `public` is not 56 bytes or the result would be all zero."""
        try:
            return self._private.exchange(x448.X448PublicKey.from_public_bytes(public))
        except ValueError:
            raise Malformed("an X448 public key of small order or wrong length") from None


_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # SEC 2, 2.4.2
_P256: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()
_ES256: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)  # RFC 6979: no randomness to get wrong


class P256KeyPair(_KeyPair):
    """A key pair of P-256 (FIPS 186-5, SP 800-186): 32 bytes private, 65 bytes public (SEC 1 2.3.3, uncompressed)."""

    __slots__ = ("_private",)

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    @classmethod
    def from_private(cls, private: bytes) -> Self:
        """The pair of a 32-byte big-endian scalar. Raises: Misuse when it is not from 1 to the group order minus 1."""
        scalar = int.from_bytes(_sized(private, 32, "a P-256 private key"), "big")
        if not 1 <= scalar < _P256_ORDER:
            raise Misuse("a P-256 private key lies between 1 and the order of the group")
        return cls(ec.derive_private_key(scalar, _P256))

    def exchange(self, public: bytes) -> bytes:
        """The x coordinate of the shared point, 32 bytes. Raises: Malformed when `public` is no uncompressed point."""
        return self._private.exchange(_ECDH, _p256_point(public))

    def sign(self, message: Buffer) -> bytes:
        """ECDSA with SHA-256, nonce by RFC 6979, low s; 64 bytes r || s."""
        r, s = decode_dss_signature(self._private.sign(message, _ES256))
        return r.to_bytes(32, "big") + min(s, _P256_ORDER - s).to_bytes(32, "big")


def _p256_point(public: bytes) -> ec.EllipticCurvePublicKey:
    if len(public) != 65 or public[0] != 4:
        raise Malformed("a P-256 public key is 65 bytes, an uncompressed point")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_P256, public)
    except ValueError:
        raise Malformed("the point does not lie on P-256") from None


# --- Which public keys may be pinned ---------------------------------------------------------------------------------

_FIELD: Final = 2**255 - 19  # RFC 7748 4.1
_EDWARDS_D: Final = -121665 * pow(121666, -1, _FIELD) % _FIELD  # RFC 8032 5.1
# The eight points whose order divides 8 have these y coordinates: order 1, 2, 4 (both), 8 (d y^4 + 2 y^2 = 1, two and two).
_ORDER_8_Y: Final = 0x5FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER_Y: Final = frozenset((1, _FIELD - 1, 0, _ORDER_8_Y, _FIELD - _ORDER_8_Y))
# u = (1 + y) / (1 - y) of the same points, and -1, of order 4 on the twist. The point at infinity has no encoding.
_SMALL_ORDER_U: Final = frozenset((1 + y) * pow(1 - y, -1, _FIELD) % _FIELD for y in _SMALL_ORDER_Y - {1}) | {_FIELD - 1}


def ed25519_public_is_safe(public: bytes) -> bool:
    """May this key be pinned? Only the one encoding (RFC 8032 5.1.3) of a point on the curve that is not of small order."""
    if len(public) != 32:
        return False
    y = int.from_bytes(public, "little") & ((1 << 255) - 1)
    if y >= _FIELD or y in _SMALL_ORDER_Y:
        return False
    # x^2 = (y^2 - 1) / (d y^2 + 1) has a root; x = 0 (where the sign bit would be a second encoding) is y = +-1, gone above.
    square = (y * y - 1) * pow(_EDWARDS_D * y * y + 1, -1, _FIELD)
    return pow(square, (_FIELD - 1) // 2, _FIELD) == 1


def x25519_public_is_safe(public: bytes) -> bool:
    """May this key be pinned? Only a canonical u coordinate (RFC 7748 5 also takes others) that is not of small order."""
    if len(public) != 32:
        return False
    u = int.from_bytes(public, "little")
    return u < _FIELD and u not in _SMALL_ORDER_U


# --- Signatures ------------------------------------------------------------------------------------------------------


class Ed25519KeyPair(_KeyPair):
    """A signing key of Ed25519 (RFC 8032 5.1): 32 bytes seed, 32 bytes public."""

    __slots__ = ("_secret",)

    def __init__(self, public: bytes, secret: bytes) -> None:
        self.public = public
        self._secret = secret  # seed || public: a pair that does not belong together would give the key away, so it is made below only

    @classmethod
    def from_private(cls, seed: bytes) -> Self:
        """The pair of a 32-byte seed. Raises: Misuse when it has another length."""
        return cls(*crypto_sign_seed_keypair(bytes(_sized(seed, 32, "an Ed25519 seed"))))

    def sign(self, message: Buffer) -> bytes:
        """The signature, 64 bytes."""
        return crypto_sign(bytes(message), self._secret)[:64]


def ed25519_public(seed: bytes) -> bytes:
    """The 32-byte public key of a 32-byte seed. Raises: Misuse when the seed has another length."""
    return Ed25519KeyPair.from_private(seed).public


def ed25519_sign(seed: bytes, message: Buffer) -> bytes:
    """The 64-byte signature. For many signatures keep an `Ed25519KeyPair`. Raises: Misuse as `ed25519_public`."""
    return Ed25519KeyPair.from_private(seed).sign(message)


def ed25519_verify_openssl(public: bytes, signature: bytes, message: Buffer) -> None:
    """The check without a cofactor, as OpenSSL makes it. Raises: Unproven when the signature does not hold."""
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Unproven("the Ed25519 signature does not hold") from None


def ed25519_verify_sodium(public: bytes, signature: bytes, message: Buffer) -> None:
    """The check as libsodium makes it, in 0.6 of OpenSSL's time. Raises: Unproven when the signature does not hold."""
    try:
        crypto_sign_open(b"".join((signature, message)), bytes(public))
    except BadSignatureError:
        raise Unproven("the Ed25519 signature does not hold") from None


# libsodium 1.0.20 takes nothing that OpenSSL refuses. Later ones multiply by the cofactor (docs/adr/0016), and would take what an auditor
# with OpenSSL does not: a point of small order added to R, as in this signature (CCTV ed25519 267). With such a library OpenSSL judges.
_A: Final = bytes.fromhex("ef75b20e7540e3dff77404193652ba2bd13df99c1508eee1515e27ae25f28076")
_R: Final = bytes.fromhex("36684ea91032ba5b1dbab2d02f4debc74c3327f2b3802e2e4d371aa42b12b56b")
_S: Final = bytes.fromhex("2d471882773a677af1e3824e757a33f8ddf7bbeaf3d28a09595eb8daa0d74a03")


def ed25519_judge(sodium: Callable[[bytes, bytes, Buffer], None]) -> Callable[[bytes, bytes, Buffer], None]:
    """Who checks signatures: libsodium, if it is one of the strict ones."""
    try:
        sodium(_A, _R + _S, b"ed25519vectors 3")
    except Unproven:
        return sodium
    return ed25519_verify_openssl


_ed25519_verify: Final = ed25519_judge(ed25519_verify_sodium)


def ed25519_verify(public: bytes, signature: bytes, message: Buffer) -> None:
    """Raises: Unproven when the signature does not hold, Malformed when key or signature have a wrong length."""
    if len(public) != 32 or len(signature) != 64:
        raise Malformed("an Ed25519 key has 32 bytes, its signature 64")
    _ed25519_verify(public, signature, message)


def p256_verify(public: bytes, signature: bytes, message: Buffer) -> None:
    """Check ECDSA with SHA-256. Only low s is taken, so that one statement has one signature (SEC 1 4.1.4; BIP 146 for low s).

    Raises: Unproven when the signature does not hold, Malformed when key or signature are of the wrong shape.
    """
    if len(signature) != 64:
        raise Malformed("a P-256 signature has 64 bytes, r and s")
    point = _p256_point(public)
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (1 <= r < _P256_ORDER and 1 <= s <= _P256_ORDER // 2):
        raise Unproven("the P-256 signature is out of range: r from 1, s from 1 to half the order")
    try:
        point.verify(encode_dss_signature(r, s), message, _ES256)
    except InvalidSignature:
        raise Unproven("the P-256 signature does not hold") from None


class MLDSA44KeyPair(_KeyPair):
    """A signing key of ML-DSA-44 (FIPS 204): 32 bytes seed, 1,312 bytes public; empty context, hedged."""

    __slots__ = ("_private",)

    def __init__(self, private: mldsa.MLDSA44PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def from_private(cls, seed: bytes) -> Self:
        """The pair of a 32-byte seed. Raises: Misuse when it has another length."""
        return cls(mldsa.MLDSA44PrivateKey.from_seed_bytes(_sized(seed, 32, "an ML-DSA-44 seed")))

    def sign(self, message: Buffer) -> bytes:
        """The signature, 2,420 bytes."""
        return self._private.sign(message)


@lru_cache(256)
def _mldsa44_key(public: bytes) -> mldsa.MLDSA44PublicKey:
    return mldsa.MLDSA44PublicKey.from_public_bytes(public)


def mldsa44_verify(public: bytes, signature: bytes, message: Buffer) -> None:
    """Raises: Unproven when the signature does not hold, Malformed when key or signature have a wrong length."""
    if len(public) != 1312 or len(signature) != 2420:
        raise Malformed("an ML-DSA-44 key has 1312 bytes, its signature 2420")
    try:
        _mldsa44_key(bytes(public)).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Unproven("the ML-DSA-44 signature does not hold") from None


# --- Key encapsulation -----------------------------------------------------------------------------------------------


def mlkem768_public(seed: bytes) -> bytes:
    """The 1,184-byte encapsulation key of a 64-byte seed d || z (FIPS 203 7.1). Raises: Misuse when it has another length."""
    return _mlkem768(seed).public_key().public_bytes_raw()


def mlkem768_encapsulate(public: bytes) -> tuple[bytes, bytes]:
    """A shared secret (32 bytes) and the ciphertext (1,088 bytes) that carries it. Draws 32 bytes from the system.

    Raises: Malformed when `public` is not 1,184 bytes or fails the modulus check of FIPS 203 7.2.
    """
    try:
        return mlkem.MLKEM768PublicKey.from_public_bytes(public).encapsulate()
    except ValueError:
        raise Malformed("an ML-KEM-768 public key is 1184 bytes of reduced coefficients") from None


def mlkem768_decapsulate(seed: bytes, ciphertext: bytes) -> bytes:
    """The shared secret, 32 bytes; of a wrong ciphertext another one (implicit rejection).

    Raises: Malformed when the ciphertext is not 1,088 bytes, Misuse when the seed is not 64.
    """
    if len(ciphertext) != 1088:
        raise Malformed("an ML-KEM-768 ciphertext has 1088 bytes")
    return _mlkem768(seed).decapsulate(ciphertext)


def _mlkem768(seed: bytes) -> mlkem.MLKEM768PrivateKey:
    return mlkem.MLKEM768PrivateKey.from_seed_bytes(_sized(seed, 64, "an ML-KEM-768 seed"))


# --- Sealed bytes ----------------------------------------------------------------------------------------------------


class Aead:
    """A cipher with its key: seals and opens bytes with 12-byte nonces; the tag of 16 bytes ends the ciphertext."""

    __slots__ = ("_cipher",)

    def __init__(self, cipher: aead.ChaCha20Poly1305 | aead.AESGCM) -> None:
        self._cipher = cipher

    def encrypt(self, nonce: bytes, data: Buffer, ad: Buffer) -> bytes:
        """The ciphertext and tag, 16 bytes longer than `data`. Raises: Misuse when the nonce is not 12 bytes."""
        if len(nonce) != AEAD_NONCE_BYTES:
            raise Misuse("a nonce has 12 bytes")
        return self._cipher.encrypt(nonce, data, ad)

    def decrypt(self, nonce: bytes, data: Buffer, ad: Buffer) -> bytes:
        """The plaintext. Raises: Unproven when the tag does not hold, Malformed when there is none, Misuse for the nonce."""
        if len(nonce) != AEAD_NONCE_BYTES:
            raise Misuse("a nonce has 12 bytes")
        try:
            return self._cipher.decrypt(nonce, data, ad)
        except InvalidTag:
            raise _not_opened(len(data)) from None

    def encrypt_into(self, nonce: bytes, data: Buffer, ad: Buffer, target: bytearray | memoryview) -> int:
        """Seal into `target` of exactly len(data) + 16 bytes; returns that. Raises: Misuse for nonce or target."""
        if len(nonce) != AEAD_NONCE_BYTES or len(target) != len(data) + AEAD_TAG_BYTES:
            raise Misuse("a nonce has 12 bytes, the target of a ciphertext 16 more than the plaintext")
        return self._cipher.encrypt_into(nonce, data, ad, target)

    def decrypt_into(self, nonce: bytes, data: Buffer, ad: Buffer, target: bytearray | memoryview) -> int:
        """Open into `target` of exactly len(data) - 16 bytes; returns that. After an error the target is all zero.

        Raises: Unproven when the tag does not hold, Malformed when there is none, Misuse for nonce or target.
        """
        if len(nonce) != AEAD_NONCE_BYTES or len(target) != max(len(data) - AEAD_TAG_BYTES, 0):
            raise Misuse("a nonce has 12 bytes, the target of a plaintext 16 less than the ciphertext")
        try:
            return self._cipher.decrypt_into(nonce, data, ad, target)
        except InvalidTag:
            target[:] = bytes(len(target))  # the library leaves the unproven plaintext there
            raise _not_opened(len(data)) from None


def chacha20poly1305(key: bytes) -> Aead:
    """ChaCha20-Poly1305 (RFC 8439). Raises: Misuse when the key is not 32 bytes."""
    if len(key) != AEAD_KEY_BYTES:
        raise Misuse(f"a ChaCha20-Poly1305 key has {AEAD_KEY_BYTES} bytes, not {len(key)}")
    return Aead(aead.ChaCha20Poly1305(key))


def aesgcm(key: bytes) -> Aead:
    """AES-256-GCM (SP 800-38D). Raises: Misuse when the key is not 32 bytes."""
    if len(key) != AEAD_KEY_BYTES:  # the library would also take AES-128 and AES-192 keys
        raise Misuse(f"an AES-256-GCM key has {AEAD_KEY_BYTES} bytes, not {len(key)}")
    return Aead(aead.AESGCM(key))


def _not_opened(length: int) -> Malformed | Unproven:
    if length < AEAD_TAG_BYTES:
        return Malformed("sealed bytes shorter than their tag")
    return Unproven("the sealed bytes do not open: another key, another order, or altered")


def _sized(data: bytes, size: int, what: str) -> bytes:
    if len(data) != size:
        raise Misuse(f"{what} has {size} bytes, not {len(data)}")
    return data
