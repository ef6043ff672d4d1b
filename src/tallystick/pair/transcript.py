"""What both sides saw, and the secrets and words that follow from it (docs/spec/pairing.md, sections 4 and 5)."""

from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import length_prefixed
from tallystick.errors import Malformed, Unproven
from tallystick.keys import KeyKind, PublicKey
from tallystick.pair.pairing import Role
from tallystick.pair.words import digits_of, words_of
from tallystick.primitives import (
    ed25519_verify,
    equal,
    hkdf_expand_sha256,
    hkdf_extract_sha256,
    hkdf_sha256,
    hmac_sha256,
    p256_verify,
    sha256,
)

NO_QUOTE: Final = bytes(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What two people compare: four words, or twelve digits that say a little more."""

    words: tuple[str, ...]
    digits: str

    def __str__(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What the transcript comes down to: T2, the pairing id, and the one secret of the pair (32 bytes each)."""

    t2: bytes
    pairing_id: bytes
    pair_secret: bytes = field(repr=False)


def commitment(nonce: bytes) -> bytes:
    """The client's commitment to its nonce."""
    return sha256(nonce)


def check_words(*, handshake_hash: bytes, client_nonce: bytes, house_nonce: bytes) -> Check:
    """The words and digits of a ceremony. Source: docs/spec/pairing.md, section 5."""
    prk = hkdf_extract_sha256(handshake_hash, client_nonce + house_nonce)
    return Check(
        words=words_of(hkdf_expand_sha256(prk, b"tally words v1", 4)),
        digits=digits_of(hkdf_expand_sha256(prk, b"tally digits v1", 16)),
    )


def first_transcript(*, handshake_hash: bytes, hello: bytes, welcome: bytes, opened: bytes) -> bytes:
    """T1: the handshake hash and the three raw messages before attestation; each quote covers it."""
    return sha256(length_prefixed(handshake_hash, hello, welcome, opened))


def derive_secrets(*, t1: bytes, client_quote: bytes | None, house_quote: bytes | None, chaining_key: bytes, kem_secret: bytes) -> Secrets:
    """T2 over T1 and both quotes; the pair secret over the final Noise chaining key and the ML-KEM secret."""
    quotes = [NO_QUOTE if quote is None else sha256(quote) for quote in (client_quote, house_quote)]
    t2 = sha256(t1, *quotes)
    return Secrets(
        t2=t2,
        pairing_id=sha256(b"tally pairing v1", t2),
        pair_secret=hkdf_sha256(t2, chaining_key + kem_secret, b"tally pair secret v1", 32),
    )


def confirmation(secrets: Secrets, role: Role) -> bytes:
    """The MAC by which a side proves that it knows the pair secret, 32 bytes."""
    key = hkdf_expand_sha256(secrets.pair_secret, b"tally pair v1 confirm " + role.value.encode("ascii"), 32)
    return hmac_sha256(key, secrets.t2)


def check_confirmation(secrets: Secrets, role: Role, mac: bytes) -> None:
    """Raises: Unproven when the MAC is not that side's."""
    if not equal(confirmation(secrets, role), mac):
        raise Unproven("pairing: the other side does not have the same secret")


def signed_bytes(secrets: Secrets, role: Role, use: str) -> bytes:
    """What the `signing`, `witness` and `human` keys of a side sign over T2."""
    return b"tally pair confirm v1 %b %b\x00%b" % (role.value.encode("ascii"), use.encode("ascii"), secrets.t2)


def check_signature(key: PublicKey, signature: bytes, message: bytes) -> None:
    """Check a raw signature of a key of the ceremony. Raises: Unproven when it does not hold."""
    verify = {KeyKind.ED25519: ed25519_verify, KeyKind.P256: p256_verify}.get(key.kind)
    if verify is None:
        raise Unproven("pairing: a key of this kind confirms nothing")
    try:
        verify(key.raw, signature, message)
    except Malformed as error:
        raise Unproven(error.message) from None
