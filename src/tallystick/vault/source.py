"""Source keys that this machine keeps: cameras, cron jobs, feeds, agents that run here (docs/spec/vault.md, section 6).

A source signs by itself, at night too, so its key has no passphrase: it lies among the vault's secrets, one file for each key.
"""

from dataclasses import dataclass, field
from typing import Final, Self

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed
from tallystick.keys.identity import KeyId, KeyKind, PublicKey
from tallystick.primitives import Ed25519KeyPair, ed25519_public
from tallystick.vault.container import damaged
from tallystick.vault.human import check_label
from tallystick.vault.sealing import SEED_BYTES, Entropy
from tallystick.vault.signers import FileSigner

PREFIX: Final = "source/"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKey:
    """A source key in this machine's vault. `created_ns`: UTC."""

    public: PublicKey
    label: str
    created_ns: int
    seed: bytes = field(repr=False)

    @classmethod
    def new(cls, label: str, *, entropy: Entropy, now_ns: int) -> Self:
        """Make a key. Raises: Misuse for a label that cannot be."""
        check_label(label)
        seed = entropy(SEED_BYTES)
        return cls(public=PublicKey(KeyKind.ED25519, ed25519_public(seed)), label=label, created_ns=now_ns, seed=seed)

    @classmethod
    def read(cls, name: str, secret: bytes) -> Self:
        """What `write` wrote under this name. Raises: Unavailable: it is damaged."""
        try:
            match decode(secret, max_bytes=1024, max_depth=1, max_items=8):
                case [int(version), bytes(seed), str(label), int(created_ns)] if (
                    version is not True and version == _VERSION and len(seed) == SEED_BYTES and created_ns >= 0
                ):
                    key = cls(public=PublicKey(KeyKind.ED25519, ed25519_public(seed)), label=label, created_ns=created_ns, seed=seed)
                    if key.name == name:
                        return key
        except Malformed:
            pass
        raise damaged(name)

    @property
    def key_id(self) -> KeyId:
        """Its KeyId."""
        return self.public.key_id

    @property
    def name(self) -> str:
        """Under which the vault keeps it."""
        return f"{PREFIX}{self.key_id.hex()}"

    def write(self) -> bytes:
        """As the vault keeps it."""
        return encode([_VERSION, self.seed, self.label, self.created_ns])

    def signer(self) -> FileSigner:
        """Signs, as often as wanted."""
        return FileSigner(KeyKind.ED25519, Ed25519KeyPair.from_private(self.seed))
