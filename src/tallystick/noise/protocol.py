"""Protocol names (Noise 8) and the functions they name (Noise 12).

`Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s` names a pattern, a Diffie-Hellman function, a cipher and a hash. Beside the
eight algorithms of the specification there is `P256` as snow has it: public keys travel as uncompressed points (65
bytes), the result is the x coordinate. It is there because no TPM has Curve25519.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from struct import Struct
from typing import Final

from tallystick import primitives
from tallystick.errors import Misuse
from tallystick.noise.pattern import Pattern, pattern_of
from tallystick.primitives import Aead, Hash

MAX_NAME_BYTES: Final = 255  # Noise 8


@dataclass(frozen=True, slots=True)
class Cipher:
    """A cipher function: how a key becomes a cipher and a counter its 12-byte nonce (Noise 12.3, 12.4)."""

    name: str
    keyed: Callable[[bytes], Aead]
    nonce: Callable[[int], bytes]


CHACHAPOLY: Final = Cipher("ChaChaPoly", primitives.chacha20poly1305, Struct("<4xQ").pack)
AESGCM: Final = Cipher("AESGCM", primitives.aesgcm, Struct(">4xQ").pack)

PUBLIC_BYTES: Final[Mapping[str, int]] = {"25519": 32, "448": 56, "P256": 65}
CIPHERS: Final[Mapping[str, Cipher]] = {cipher.name: cipher for cipher in (CHACHAPOLY, AESGCM)}
HASHES: Final[Mapping[str, Hash]] = {
    function.name: function for function in (primitives.SHA256, primitives.SHA512, primitives.BLAKE2S, primitives.BLAKE2B)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """A parsed protocol name. `public_bytes` is DHLEN: the length of a public key on the wire."""

    name: str
    pattern: Pattern
    dh: str
    public_bytes: int
    cipher: Cipher
    hash: Hash

    @staticmethod
    def parse(name: str) -> "Protocol":
        """Read a protocol name. Raises: Misuse when any part of it is unknown or not in its one form."""
        sections = name.split("_")
        if len(name) > MAX_NAME_BYTES or len(sections) != 5 or sections[0] != "Noise":
            raise Misuse(f"not a Noise protocol name: {name[:MAX_NAME_BYTES]!r}")
        _, pattern, dh, cipher, function = sections
        if dh not in PUBLIC_BYTES or cipher not in CIPHERS or function not in HASHES:
            raise Misuse(f"unknown algorithm in the Noise protocol name {name!r}")
        return Protocol(
            name=name,
            pattern=pattern_of(pattern),
            dh=dh,
            public_bytes=PUBLIC_BYTES[dh],
            cipher=CIPHERS[cipher],
            hash=HASHES[function],
        )
