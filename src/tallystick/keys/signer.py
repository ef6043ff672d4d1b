"""What a vault offers: keys that sign and agree without showing themselves. The core asks; a window answers.

Files, a TPM, a PKCS#11 token or a FIDO2 key all keep these promises (tests/vault/contract holds them to it). Nothing
here says where a private key lies, except `key_class`, which is recorded and shown wherever the key is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, Protocol

from tallystick.errors import Misuse
from tallystick.keys.identity import KeyId, PublicKey


class KeyClass(StrEnum):
    """Where a private key lives, best first."""

    RESIDENT = "resident"  # made in hardware, never leaves it
    SEALED = "sealed"  # on disk, opened by hardware only
    FILE = "file"  # on disk; a human key also needs a passphrase or presence for each signature
    FILE_SCRIPTED = "file/scripted"  # as `file`, but a program holds the passphrase


class Signer(Protocol):
    """A private key that signs."""

    @property
    def public(self) -> PublicKey:
        """Its public half."""

    @property
    def key_class(self) -> KeyClass:
        """Where the private half lives."""

    def sign(self, message: bytes) -> bytes:
        """The raw signature: 64 bytes (Ed25519; P-256 as r || s with low s), 2,420 bytes for ML-DSA-44.

        Raises: Refused when a human said no, Unavailable when the device is gone, Misuse after the key was wiped.
        """


class Agreement(Protocol):
    """A private X25519 key that agrees; also the `KeyPair` that noise/ asks for."""

    @property
    def public(self) -> bytes:
        """Its public half, raw, 32 bytes."""

    @property
    def key_class(self) -> KeyClass:
        """Where the private half lives."""

    def exchange(self, public: bytes) -> bytes:
        """The shared secret, 32 bytes. Raises: Malformed for a public key of small order or wrong length."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineKeys:
    """The keys of a host: `static` is its Noise key, `signing` signs its signals; the house id is `signing`'s KeyId."""

    static: Agreement
    signing: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKeys:
    """The keys of a house's log: every checkpoint carries a signature of each."""

    ed25519: Signer
    ml_dsa_44: Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanKey:
    """What a vault shows of a human key without opening it."""

    public: PublicKey
    key_class: KeyClass
    label: str
    presence: bool  # True: a confirmation for each signature; False: a passphrase for each signature

    @property
    def key_id(self) -> KeyId:
        """The KeyId of the public half."""
        return self.public.key_id


class Vault(Protocol):
    """Where private keys and shared secrets live. One process at a time writes to it; each change is all or nothing."""

    @property
    def machine(self) -> MachineKeys:
        """The keys of this host."""

    @property
    def witness(self) -> Signer:
        """The Ed25519 key with which this host cosigns other houses' checkpoints."""

    @property
    def log(self) -> LogKeys:
        """The log's keys. Raises: Misuse when this machine is not a house."""

    def put_secret(self, name: str, secret: bytes) -> None:
        """Keep 1 to 65,000 bytes under a name; durable on return. An older secret of that name is destroyed."""

    def get_secret(self, name: str) -> bytes | None:
        """The secret, or None when there is none."""

    def delete_secret(self, name: str) -> bool:
        """Destroy a secret; gone for good on return. False when there was none."""

    def list(self, prefix: str = "") -> tuple[str, ...]:
        """The names of the secrets, sorted."""

    def new_human(self, label: str, passphrase: str, *, scripted: bool = False) -> HumanKey:
        """Make a human key that needs this passphrase for each signature."""

    def new_human_present(self, label: str) -> HumanKey:
        """Make a human key that needs somebody's confirmation for each signature."""

    def humans(self) -> tuple[HumanKey, ...]:
        """The human keys in this vault, by label, then KeyId."""

    def human_signer(self, key_id: KeyId, passphrase: str) -> Signer:
        """Open a human key for one signature. Raises: Unproven for a wrong passphrase, Misuse when there is no such key."""

    def presence_signer(self, key_id: KeyId, confirm: Callable[[str], bool]) -> Signer:
        """A signer that asks `confirm` (one line of text) before each signature. Raises: Misuse when there is no such key."""

    def delete_human(self, key_id: KeyId) -> bool:
        """Destroy a human key. False when there was none."""


class Guarded:
    """What holds a secret shows nothing of it: no repr, no pickle, no copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raises: Misuse, always."""
        raise Misuse(f"{type(self).__name__} holds a secret: it is neither pickled nor copied")
