"""The file of a human key: its public half in clear, its seed sealed by a passphrase or bare behind presence.

    {1: COSE_Key, 2: label, 3: key class, 4: lock, 5: passphrase function, 6: seed}      docs/spec/vault.md, section 5

Fields 1 to 5 are the header; it is the associated data of the sealed seed.
"""

from dataclasses import dataclass
from typing import Final, Self

from tallystick.canonical import Encodable, Value, encode
from tallystick.errors import Malformed, Misuse
from tallystick.keys.identity import KeyKind, PublicKey, parse_cose_key
from tallystick.keys.signer import Guarded, HumanKey, KeyClass
from tallystick.primitives import ed25519_public
from tallystick.vault.container import damaged
from tallystick.vault.sealing import SEED_BYTES, Entropy, Kdf, seal, unseal
from tallystick.vault.signers import OneSignature

PASSPHRASE: Final = "passphrase"
PRESENCE: Final = "presence"
MAX_LABEL_CHARACTERS: Final = 64
_CLASSES: Final = (KeyClass.FILE, KeyClass.FILE_SCRIPTED)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class HumanFile(Guarded):
    """A human key as it lies in its file."""

    key: HumanKey
    kdf: Kdf | None
    seed: bytes  # sealed, 48 bytes; bare, 32, behind presence

    @classmethod
    def new(cls, label: str, passphrase: str | None, *, scripted: bool, kdf: Kdf | None, entropy: Entropy) -> Self:
        """Make a key; `kdf` goes with a passphrase. Raises: Misuse for a label or passphrase that cannot be."""
        check_label(label)
        seed = entropy(SEED_BYTES)
        public = PublicKey(KeyKind.ED25519, ed25519_public(seed))
        key_class = KeyClass.FILE_SCRIPTED if scripted else KeyClass.FILE
        key = HumanKey(public=public, key_class=key_class, label=label, presence=passphrase is None)
        if passphrase is None or kdf is None:
            return cls(key=key, kdf=None, seed=seed)
        return cls(key=key, kdf=kdf, seed=seal(seed, passphrase, kdf, encode(_header(key, kdf))))

    @classmethod
    def read(cls, body: Value) -> Self:
        """Raises: Malformed when it is not the body of a human key's file."""
        match body:
            case {1: bytes(cose_key), 2: str(label), 3: str(its_class), 4: str(lock), 5: kdf_fields, 6: bytes(seed), **rest} if not rest:
                public = parse_cose_key(cose_key)
                if public.kind is not KeyKind.ED25519 or its_class not in _CLASSES or lock not in (PASSPHRASE, PRESENCE):
                    raise Malformed("human key: fields that do not fit together")
                kdf = Kdf.read(kdf_fields) if lock == PASSPHRASE else None
                if (kdf is None and kdf_fields is not None) or len(seed) != (SEED_BYTES if kdf is None else SEED_BYTES + 16):
                    raise Malformed("human key: fields that do not fit together")
                key = HumanKey(public=public, key_class=KeyClass(its_class), label=label, presence=kdf is None)
                return cls(key=key, kdf=kdf, seed=seed)
        raise Malformed("human key: not its file")

    def body(self) -> dict[int, Encodable]:
        """What stands in the file."""
        return {**_header(self.key, self.kdf), 6: self.seed}

    def open(self, passphrase: str) -> OneSignature:
        """Raises: Unproven for a wrong passphrase, Misuse when the key is locked by presence, Unavailable when damaged."""
        if self.kdf is None:
            raise Misuse("this human key has no passphrase", "It asks for your presence at a terminal instead.")
        seed = unseal(self.seed, passphrase, self.kdf, encode(_header(self.key, self.kdf)))
        return self._opened(seed)

    def open_present(self) -> OneSignature:
        """The key behind presence, after somebody confirmed. Raises: Misuse when it has a passphrase, Unavailable when damaged."""
        if self.kdf is not None:
            raise Misuse("this human key has a passphrase", "Give the passphrase; presence does not open it.")
        return self._opened(bytearray(self.seed))

    def _opened(self, seed: bytearray) -> OneSignature:
        signer = OneSignature(seed, self.key.key_class)
        if signer.public != self.key.public:
            signer.wipe()
            raise damaged(self.key.key_id.hex())
        return signer


def _header(key: HumanKey, kdf: Kdf | None) -> dict[int, Encodable]:
    lock = PRESENCE if kdf is None else PASSPHRASE
    return {1: key.public.cose_key(), 2: key.label, 3: str(key.key_class), 4: lock, 5: None if kdf is None else kdf.fields()}


def check_label(label: str) -> None:
    """Raises: Misuse unless it is one line of 1 to 64 printable characters."""
    if not 1 <= len(label) <= MAX_LABEL_CHARACTERS or not label.isprintable() or label != label.strip():
        raise Misuse(f"a label is one line of 1 to {MAX_LABEL_CHARACTERS} printable characters, without spaces around it")
