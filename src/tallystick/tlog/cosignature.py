"""Cosignatures (C2SP tlog-cosignature v1.1): a witness says at which time it saw a consistent checkpoint.

    0x04 Ed25519      signs  "cosignature/v1\\ntime " seconds "\\n" || the whole text of the note
    0x06 ML-DSA-44    signs  "subtree/v1\\n\\0" || u8 length, name || u64 time || u8 length, origin || u64 start || u64 end || root

Both stand in a note as u64 time || signature. The second commits to the cosigner's name, but not to extension lines. A subtree that
does not begin at 0 is signed with time 0.
"""

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from tallystick.canonical import to_decimal
from tallystick.errors import Malformed, Misuse
from tallystick.primitives import ed25519_verify, mldsa44_verify
from tallystick.tlog.checkpoint import Checkpoint, parse_text
from tallystick.tlog.note import Ed25519Verifier, Signature, SignatureType, Verifier, VerifierKey, key_id, write

MAX_TIME_S: Final = 2**63 - 1
_TIME: Final = struct.Struct(">Q")
_RANGE: Final = struct.Struct(">QQ")
_ED25519_BYTES: Final = 64
_ML_DSA_44_BYTES: Final = 2420
_SUBTREE: Final = b"subtree/v1\n\0"


def with_time(time_s: int, signature: bytes) -> bytes:
    """The bytes of a cosignature: its time, then the signature. Raises: Misuse when the time is not below 2**63."""
    if not 0 <= time_s <= MAX_TIME_S:
        raise Misuse("a cosignature's time lies between 0 and 2**63-1")
    return _TIME.pack(time_s) + signature


def ed25519_message(text: bytes, time_s: int) -> bytes:
    """What a cosignature of type 0x04 signs."""
    return b"cosignature/v1\ntime " + to_decimal(time_s).encode("ascii") + b"\n" + text


def subtree_message(name: str, time_s: int, origin: str, start: int, end: int, root: bytes) -> bytes:
    """What a cosignature of type 0x06 signs. Raises: Misuse when a name has over 255 bytes."""
    cosigner, log = name.encode("utf-8"), origin.encode("utf-8")
    if len(cosigner) > 255 or len(log) > 255:
        raise Misuse("names in a cosignature have at most 255 bytes")
    return b"".join(
        (_SUBTREE, bytes((len(cosigner),)), cosigner, _TIME.pack(time_s), bytes((len(log),)), log, _RANGE.pack(start, end), root)
    )


def _split(signature: bytes, size: int) -> tuple[int, bytes]:
    if len(signature) != _TIME.size + size:
        raise Malformed(f"a cosignature of this type has {_TIME.size + size} bytes")
    (time_s,) = _TIME.unpack_from(signature)
    if time_s > MAX_TIME_S:
        raise Malformed("a cosignature's time is below 2**63")
    return time_s, signature[_TIME.size :]


@dataclass(frozen=True, slots=True)
class Ed25519Cosigner:
    """A witness with an Ed25519 key, type 0x04."""

    key: VerifierKey

    def verify(self, text: bytes, signature: bytes) -> int | None:
        """The time of the cosignature. Raises: Malformed, Unproven."""
        time_s, raw = _split(signature, _ED25519_BYTES)
        ed25519_verify(self.key.public, raw, ed25519_message(text, time_s))
        return time_s


@dataclass(frozen=True, slots=True)
class MLDSA44Cosigner:
    """A log or a witness with an ML-DSA-44 key, type 0x06. The text must be a checkpoint's."""

    key: VerifierKey

    def verify(self, text: bytes, signature: bytes) -> int | None:
        """The time of the cosignature. Raises: Malformed, Unproven."""
        time_s, raw = _split(signature, _ML_DSA_44_BYTES)
        try:
            checkpoint = parse_text(text.decode("utf-8"))
        except UnicodeDecodeError:
            raise Malformed("a note is UTF-8") from None
        message = subtree_message(self.key.name, time_s, checkpoint.origin, 0, checkpoint.size, checkpoint.root)
        mldsa44_verify(self.key.public, raw, message)
        return time_s


def verifier(key: VerifierKey) -> Verifier:
    """What checks the signatures of a key, by its type."""
    match key.type:
        case SignatureType.ED25519:
            return Ed25519Verifier(key)
        case SignatureType.COSIGNATURE:
            return Ed25519Cosigner(key)
        case SignatureType.ML_DSA_44:
            return MLDSA44Cosigner(key)


def log_verifiers(name: str, keys: Iterable[tuple[int, bytes]]) -> list[Verifier]:
    """What checks the signatures of a log's keys.

    Args: keys: signature type and public key of each, as a ledger names them; the types are those of `SignatureType`.
    """
    return [verifier(VerifierKey(name=name, type=SignatureType(kind), public=public)) for kind, public in keys]


Sign = Callable[[bytes], bytes]


def sign_checkpoint(checkpoint: Checkpoint, *, ed25519: tuple[bytes, Sign], ml_dsa_44: tuple[bytes, Sign], time_s: int) -> bytes:
    """The signed note of a checkpoint, with both of the log's signatures, 0x01 and 0x06.

    Args: ed25519, ml_dsa_44: the public key and what signs with it (a vault's `Signer.sign`).  time_s: UNIX seconds.
    Raises: Misuse, and what the signers raise. Never call it for a size and root that contradict an earlier one.
    """
    text, name = checkpoint.text, checkpoint.origin
    public, sign = ed25519
    first = Signature(name=name, key_id=key_id(name, SignatureType.ED25519, public), signature=sign(text.encode("utf-8")))
    public, sign = ml_dsa_44
    message = subtree_message(name, time_s, checkpoint.origin, 0, checkpoint.size, checkpoint.root)
    second = Signature(name=name, key_id=key_id(name, SignatureType.ML_DSA_44, public), signature=with_time(time_s, sign(message)))
    return write(text, [first, second])


def cosign(checkpoint: Checkpoint, *, name: str, ed25519: tuple[bytes, Sign], time_s: int) -> Signature:
    """A witness's Ed25519 cosignature (0x04). The caller has checked that the checkpoint continues the last one it saw.

    Raises: Misuse, and what the signer raises.
    """
    public, sign = ed25519
    message = ed25519_message(checkpoint.text.encode("utf-8"), time_s)
    return Signature(name=name, key_id=key_id(name, SignatureType.COSIGNATURE, public), signature=with_time(time_s, sign(message)))
