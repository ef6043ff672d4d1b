"""A long file sealed in chunks: a backup under a passphrase, or a house's copy for one machine (docs/spec/restore.md, section 8).

    tallystick backup v1 LF || u32 length || header || chunks of ChaCha20-Poly1305, 65,536 bytes each, the last one shorter or full

This is the STREAM of age (Hoang, Reyhanitabar, Rogaway, Vizár 2015): the nonce counts the chunks and marks the last one, so none can be
dropped, swapped or cut off. The key depends on the header.
"""

from collections.abc import Callable
from typing import Final

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import X25519KeyPair, chacha20poly1305, hkdf_sha256, sha256
from tallystick.vault.sealing import Entropy, Kdf, passphrase_bytes

MAGIC: Final = b"tallystick backup v1\n"
VERSION: Final = 1
CHUNK_BYTES: Final = 65_536
MAX_HEADER_BYTES: Final = 1_024
_TAG_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
_INFO: Final = b"tally backup v1"

Write = Callable[[bytes], object]
Read = Callable[[int], bytes]
Agree = Callable[[bytes], bytes]
"""The shared secret of our static key and a public one (`MachineKeys.static.exchange`)."""


class SealedWriter:
    """Seals what is written to it. `finish` is the end; a file without it is refused by the reader."""

    def __init__(self, write: Write, header: bytes, secret: bytes) -> None:
        """Use `for_passphrase` or `for_machine`."""
        self._write = write
        self._aead = chacha20poly1305(hkdf_sha256(sha256(header), secret, _INFO, 32))
        self._pending = bytearray()
        self._count = 0
        write(MAGIC + len(header).to_bytes(_LENGTH_BYTES, "big") + header)

    @classmethod
    def for_passphrase(cls, write: Write, passphrase: str, entropy: Entropy, kdf: Kdf | None = None) -> "SealedWriter":
        """Whoever knows the passphrase may read it. Raises: Misuse, Unavailable."""
        kdf = kdf or Kdf.new(entropy)
        return cls(write, encode([VERSION, kdf.fields()]), bytes(kdf.derive(passphrase_bytes(passphrase))))

    @classmethod
    def for_machine(cls, write: Write, static: bytes, entropy: Entropy) -> "SealedWriter":
        """Only the machine with this X25519 key may read it. Raises: Malformed: a key of small order."""
        ephemeral = X25519KeyPair.from_private(entropy(32))
        return cls(write, encode([VERSION, ephemeral.public]), ephemeral.exchange(static) + static)

    def write(self, data: bytes) -> None:
        """Any number of bytes."""
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:  # the last chunk is only known at the end
            self._seal(bytes(self._pending[:CHUNK_BYTES]), last=False)
            del self._pending[:CHUNK_BYTES]

    def finish(self) -> None:
        """Seal what is left and mark it as the end."""
        self._seal(bytes(self._pending), last=True)
        self._pending.clear()

    def _seal(self, chunk: bytes, *, last: bool) -> None:
        self._write(self._aead.encrypt(_nonce(self._count, last=last), chunk, b""))
        self._count += 1


class SealedReader:
    """Opens what a `SealedWriter` sealed. Nothing is given out that has not been verified."""

    def __init__(self, read: Read, *, passphrase: Callable[[], str] | None = None, static: tuple[bytes, Agree] | None = None) -> None:
        """`read(n)`: up to n bytes, fewer only at the end.  `passphrase`: asked when the file is sealed under one.

        Args: static: this machine's X25519 public key and what agrees with it.
        Raises: Malformed: no such file.  Misuse: it is sealed in another way.  Unproven: the wrong passphrase or machine.
        """
        self._read = read
        if _exactly(read, len(MAGIC)) != MAGIC:
            raise Malformed("this is no file that tallystick sealed", "`tally backup` or `tally migrate send` writes one")
        length = int.from_bytes(_exactly(read, _LENGTH_BYTES), "big")
        if length > MAX_HEADER_BYTES:
            raise Malformed("the backup's header is too long")
        header = _exactly(read, length)
        secret = self._secret(header, passphrase, static)
        self._aead = chacha20poly1305(hkdf_sha256(sha256(header), secret, _INFO, 32))
        self._count = 0
        self._ahead = read(CHUNK_BYTES + _TAG_BYTES)
        self._opened = bytearray()
        self._ended = False
        try:
            self._next()
        except Unproven:
            what = "the passphrase does not open this backup" if passphrase is not None else "this copy is not sealed for this machine"
            raise Unproven(what, "or its first bytes were changed") from None

    def _secret(self, header: bytes, passphrase: Callable[[], str] | None, static: tuple[bytes, Agree] | None) -> bytes:
        match decode(header, max_bytes=MAX_HEADER_BYTES, max_depth=2, max_items=16):
            case [1, [*kdf]] if passphrase is not None:
                return bytes(Kdf.read(kdf).derive(passphrase_bytes(passphrase())))
            case [1, bytes(ephemeral)] if static is not None and len(ephemeral) == 32:
                public, agree = static
                return agree(ephemeral) + public
            case [1, list()]:
                raise Misuse("this is a backup under a passphrase", "`tally restore FILE` takes it")
            case [1, bytes()]:
                raise Misuse("this is a house's copy for the machine it moves to", "`tally migrate receive FILE` takes it there")
        raise Malformed("a backup of a version that is not known here", "a newer tallystick may read it")

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes. Raises: Malformed: the end comes sooner.  Unproven: a byte was changed."""
        parts: list[bytes] = []
        while count:
            if not self._opened:
                if self._ended:
                    raise Malformed("the backup ends too early", "it was not written to its end")
                self._next()
                continue
            part = bytes(self._opened[:count])
            del self._opened[: len(part)]
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def at_end(self) -> bool:
        """Whether nothing is left. Raises: Unproven."""
        while not self._opened and not self._ended:
            self._next()
        return not self._opened

    def _next(self) -> None:
        chunk, self._ahead = self._ahead, self._read(CHUNK_BYTES + _TAG_BYTES)
        last = not self._ahead
        try:
            self._opened += self._aead.decrypt(_nonce(self._count, last=last), chunk, b"")
        except (Malformed, Unproven):
            at = len(MAGIC) + self._count * (CHUNK_BYTES + _TAG_BYTES)
            raise Unproven(f"the backup was changed or cut off near byte {at}", "use another copy of it") from None
        self._count += 1
        self._ended = last


def _nonce(count: int, *, last: bool) -> bytes:
    return count.to_bytes(11, "big") + bytes((last,))


def _exactly(read: Read, count: int) -> bytes:
    data = read(count)
    if len(data) != count:
        raise Malformed("this is no file that tallystick sealed", "`tally backup` or `tally migrate send` writes one")
    return data
