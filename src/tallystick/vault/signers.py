"""Signers whose private key lies in this process's memory for a while: from a file, a passphrase, or a sheet of paper."""

from collections.abc import Callable
from typing import Protocol, Self, cast

from tallystick.errors import Misuse, Refused
from tallystick.keys.identity import KeyKind, PublicKey
from tallystick.keys.signer import Guarded, KeyClass
from tallystick.primitives import X25519KeyPair, ed25519_public, ed25519_sign, sha256
from tallystick.vault.sealing import wipe


class _SigningPair(Protocol):
    @property
    def public(self) -> bytes: ...

    def sign(self, message: bytes) -> bytes: ...


class FileSigner(Guarded):
    """A machine's signing key, loaded for as long as the process lives."""

    __slots__ = ("_pair", "key_class", "public")

    def __init__(self, kind: KeyKind, pair: _SigningPair) -> None:
        self._pair = pair
        self.public = PublicKey(kind, pair.public)
        self.key_class = KeyClass.FILE

    def sign(self, message: bytes) -> bytes:
        """The raw signature."""
        return self._pair.sign(message)


class FileAgreement(Guarded):
    """A machine's Noise key, loaded for as long as the process lives."""

    __slots__ = ("_pair", "key_class", "public", "public_key")

    def __init__(self, private: bytes) -> None:
        self._pair = X25519KeyPair.from_private(private)
        self.public = self._pair.public
        self.public_key = PublicKey(KeyKind.X25519, self.public)
        self.key_class = KeyClass.FILE

    def exchange(self, public: bytes) -> bytes:
        """The shared secret, 32 bytes. Raises: Malformed for a public key of small order or wrong length."""
        return self._pair.exchange(public)


class OneSignature(Guarded):
    """An Ed25519 key opened for one signature and wiped after it, or at the end of a `with`, whichever comes first."""

    __slots__ = ("_seed", "key_class", "public")

    def __init__(self, seed: bytearray, key_class: KeyClass) -> None:
        """Takes the seed over: nobody else may keep it."""
        self._seed: bytearray | None = seed
        self.public = PublicKey(KeyKind.ED25519, ed25519_public(cast(bytes, seed)))
        self.key_class = key_class

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes; the first is the last. Raises: Misuse when the key is wiped already."""
        seed = self._open()
        try:
            return ed25519_sign(cast(bytes, seed), message)
        finally:
            self.wipe()

    def wipe(self) -> None:
        """Zeros over the seed."""
        if self._seed is not None:
            wipe(self._seed)
            self._seed = None

    def _open(self) -> bytearray:
        if self._seed is None:
            raise Misuse("this key was wiped after its one signature", "Open it again for the next statement.")
        return self._seed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wipe()

    def __del__(self) -> None:
        if getattr(self, "_seed", None) is not None:
            self.wipe()


class PresenceSigner(Guarded):
    """A human key without a passphrase: somebody at the terminal confirms each signature."""

    __slots__ = ("_confirm", "_load", "key_class", "label", "public")

    def __init__(self, *, public: PublicKey, label: str, load: Callable[[], OneSignature], confirm: Callable[[str], bool]) -> None:
        """`load` reads the key anew for each signature; `confirm` shows one line and waits for yes or no."""
        self.public = public
        self.label = label
        self.key_class = KeyClass.FILE
        self._load = load
        self._confirm = confirm

    def sign(self, message: bytes) -> bytes:
        """The signature, 64 bytes. Raises: Refused unless `confirm` returned True itself."""
        question = f"Sign with {self.label} ({self.public.key_id})? SHA-256 of the statement: {sha256(message).hex()}"
        if self._confirm(question) is not True:
            raise Refused("not confirmed: nothing was signed", "Answer yes at the terminal to sign.")
        with self._load() as key:
            return key.sign(message)
