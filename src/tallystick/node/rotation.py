"""One of a machine's own keys gives way to another: what both sign (docs/spec/restore.md, section 6)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed
from tallystick.keys import KeyKind, PublicKey, parse_cose_key, pinned
from tallystick.primitives import ed25519_verify, mldsa44_verify, p256_verify
from tallystick.tlog.tree import MAX_SIZE

MAGIC: Final = "tally rotation v1"
MAX_BYTES: Final = 16_384


class Use(StrEnum):
    """Which keys. `machine`: the Noise static key and the signing key, together."""

    LOG = "log"
    MACHINE = "machine"
    WITNESS = "witness"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """Old and new public keys: log (Ed25519, ML-DSA-44), machine (X25519, signing COSE_Key), witness (Ed25519).

    `size`: the entries before this one in the ledger of the machine whose keys they are.
    """

    machine: bytes
    use: Use
    size: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]

    def message(self) -> bytes:
        """What is signed, by the old keys and by the new ones."""
        return encode([MAGIC, self.machine, self.use.value, self.size, list(self.old), list(self.new)])


def signers(use: Use, keys: tuple[bytes, ...]) -> tuple[PublicKey, ...]:
    """The keys of these that sign: a static key signs nothing. Raises: Malformed."""
    match use, keys:
        case Use.LOG, (ed25519, ml_dsa):
            return pinned(KeyKind.ED25519, ed25519), pinned(KeyKind.ML_DSA_44, ml_dsa)
        case Use.MACHINE, (static, signing):
            pinned(KeyKind.X25519, static)
            key = parse_cose_key(signing)
            if key.kind not in (KeyKind.ED25519, KeyKind.P256):
                raise Malformed("a machine signs with Ed25519 or P-256")
            return (key,)
        case Use.WITNESS, (witness,):
            return (pinned(KeyKind.ED25519, witness),)
    raise Malformed("not the keys of this use")


def write_rotation(rotation: Rotation, signatures: tuple[bytes, ...]) -> bytes:
    """The rotation with its signatures: of the old keys, then of the new ones."""
    return encode([rotation.message(), list(signatures)])


def read_rotation(raw: bytes) -> Rotation:
    """Read and check a rotation. Raises: Malformed; Unproven: not signed by the old keys and the new ones."""
    match decode(raw, max_bytes=MAX_BYTES, max_depth=2, max_items=16):
        case [bytes(message), list(signatures)]:
            pass
        case _:
            raise Malformed("not a rotation")
    match decode(message, max_bytes=MAX_BYTES, max_depth=2, max_items=16):
        case [str(magic), bytes(machine), str(word), int(size), list(old), list(new)] if magic == MAGIC and len(machine) == 32:
            pass
        case _:
            raise Malformed("not a rotation")
    if word not in set(Use) or type(size) is not int or not 0 <= size <= MAX_SIZE:
        raise Malformed("not a rotation")
    use = Use(word)
    before, after = _blobs(old), _blobs(new)
    keys = (*signers(use, before), *signers(use, after))
    made = _blobs(signatures)
    if len(made) != len(keys) or set(before) & set(after):
        raise Malformed("a rotation is signed by every old key and every new one, which differ")
    for key, signature in zip(keys, made, strict=True):
        _verify(key, signature, message)
    return Rotation(machine=machine, use=use, size=size, old=before, new=after)


def _blobs(values: object) -> tuple[bytes, ...]:
    if not isinstance(values, list) or not all(isinstance(value, bytes) for value in values):
        raise Malformed("not a rotation")
    return tuple(values)


def _verify(key: PublicKey, signature: bytes, message: bytes) -> None:
    match key.kind:
        case KeyKind.ED25519:
            ed25519_verify(key.raw, signature, message)
        case KeyKind.P256:
            p256_verify(key.raw, signature, message)
        case KeyKind.ML_DSA_44:
            mldsa44_verify(key.raw, signature, message)
        case _:
            raise AssertionError("this key does not sign")
