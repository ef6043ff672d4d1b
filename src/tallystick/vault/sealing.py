"""Seals a key with a passphrase: argon2id (RFC 9106) or scrypt (RFC 7914), then ChaCha20-Poly1305 (RFC 8439).

The derived key seals one message under one fresh salt, so its nonce is twelve zeros (as age does). Everything else in
the file is associated data: nobody without the passphrase changes a label, a class or a cost.

argon2id is written wherever the crypto library has it, scrypt elsewhere; both are read. Costs stand in the file and are
bounded on reading, or a hostile file would take the machine's memory.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from tallystick.canonical import Value
from tallystick.errors import Malformed, Misuse, Unavailable, Unproven
from tallystick.primitives import chacha20poly1305, scrypt

Entropy = Callable[[int], bytes]

SALT_BYTES: Final = 16
SEED_BYTES: Final = 32
MAX_PASSPHRASE_BYTES: Final = 4096
_KEY_BYTES: Final = 32
_NONCE: Final = bytes(12)

ARGON2ID: Final = "argon2id"
SCRYPT: Final = "scrypt"

# RFC 9106 4, second recommended option: 64 MiB, 3 passes, 4 lanes. scrypt: 32 MiB.
DEFAULT_COST: Final = {ARGON2ID: (65_536, 3, 4), SCRYPT: (1 << 15, 8, 1)}
# Bounds on reading: (argon2id memory in KiB, passes, lanes), (scrypt n, r, p); both at most 1 GiB.
MAX_COST: Final = {ARGON2ID: (1 << 20, 16, 16), SCRYPT: (1 << 20, 8, 16)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kdf:
    """How a passphrase becomes a key. Cost: (memory in KiB, passes, lanes) or (n, r, p)."""

    name: str
    salt: bytes
    cost: tuple[int, int, int]

    def fields(self) -> list[str | bytes | int]:
        """What stands in the file."""
        return [self.name, self.salt, *self.cost]

    @classmethod
    def read(cls, fields: Value) -> Self:
        """Raises: Malformed unless it is a function we know, with a cost we are ready to pay."""
        match fields:
            case [str(name), bytes(salt), int(a), int(b), int(c)] if name in MAX_COST and len(salt) == SALT_BYTES:
                least = (8 * c, 1, 1) if name == ARGON2ID else (2, 1, 1)
                bounds = zip((a, b, c), least, MAX_COST[name], strict=True)
                if all(type(value) is int and low <= value <= high for value, low, high in bounds):
                    return cls(name=name, salt=salt, cost=(a, b, c))
        raise Malformed("sealed key: not a passphrase function or cost we accept")

    @classmethod
    def new(cls, entropy: Entropy) -> Self:
        """The best function this machine has, with a fresh salt."""
        name = ARGON2ID if argon2id_available() else SCRYPT
        return cls(name=name, salt=entropy(SALT_BYTES), cost=DEFAULT_COST[name])

    def derive(self, passphrase: bytes) -> bytearray:
        """The key, 32 bytes, to be wiped after use. Raises: Unavailable when this machine lacks the function or the memory."""
        try:
            if self.name == SCRYPT:
                n, r, p = self.cost
                return bytearray(scrypt(passphrase, self.salt, n, r, p, _KEY_BYTES))
            memory, passes, lanes = self.cost
            key = bytearray(_KEY_BYTES)
            Argon2id(salt=self.salt, length=_KEY_BYTES, iterations=passes, lanes=lanes, memory_cost=memory).derive_into(passphrase, key)
        except UnsupportedAlgorithm as error:
            raise Unavailable("this machine's crypto library has no argon2id", "Install OpenSSL 3.2 or newer.") from error
        except (MemoryError, ValueError, Misuse) as error:
            raise Unavailable(
                f"{self.name} could not run: {str(error) or 'not enough memory'}", "Free some memory and try again."
            ) from error
        return key


def argon2id_available() -> bool:
    """Whether the crypto library has argon2id (OpenSSL 3.2 and newer)."""
    try:
        Argon2id(salt=bytes(SALT_BYTES), length=_KEY_BYTES, iterations=1, lanes=1, memory_cost=8)
    except UnsupportedAlgorithm:
        return False
    return True


def passphrase_bytes(passphrase: str) -> bytes:
    """UTF-8 of the passphrase in NFC: keyboards differ in how they write an umlaut. Raises: Misuse when empty or too long."""
    try:
        raw = unicodedata.normalize("NFC", passphrase).encode()
    except UnicodeEncodeError as error:
        raise Misuse("the passphrase holds characters that are no text") from error
    if not 1 <= len(raw) <= MAX_PASSPHRASE_BYTES:
        raise Misuse(f"a passphrase has 1 to {MAX_PASSPHRASE_BYTES} bytes", "Several random words make a good one.")
    return raw


def seal(seed: bytes | bytearray, passphrase: str, kdf: Kdf, header: bytes) -> bytes:
    """The sealed seed, 48 bytes, bound to the header."""
    key = kdf.derive(passphrase_bytes(passphrase))
    try:
        return chacha20poly1305(cast(bytes, key)).encrypt(_NONCE, seed, header)
    finally:
        wipe(key)


def unseal(sealed: bytes, passphrase: str, kdf: Kdf, header: bytes) -> bytearray:
    """The seed, to be wiped after use. Raises: Unproven for a wrong passphrase or an altered file."""
    if len(sealed) != SEED_BYTES + 16:
        raise Malformed("sealed key: of the wrong length")
    seed = bytearray(SEED_BYTES)
    key = kdf.derive(passphrase_bytes(passphrase))
    try:
        chacha20poly1305(cast(bytes, key)).decrypt_into(_NONCE, sealed, header, seed)
    except Unproven as error:
        raise Unproven("the passphrase does not open this key", "Check caps lock and keyboard layout, then try again.") from error
    finally:
        wipe(key)
    return seed


def wipe(secret: bytearray) -> None:
    """Zeros over a secret. Copies that Python or the library made elsewhere are out of reach."""
    secret[:] = bytes(len(secret))
