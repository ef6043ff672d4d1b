"""Signed notes (C2SP signed-note v1.0.0): a text, a blank line, and lines of signatures.

    This is the text.
    It ends with a newline.

    — example.com/foo 4LBUDz...base64 of (4-byte key id || signature)

    note = parse(data)                      # UnprovenNote: well-formed, nothing more
    proven = note.verify([verifier])        # Note: the signatures that hold under keys the caller knows

A signature under an unknown key is passed over; a wrong one under a known key refuses the whole note. The reader takes exactly
what the writer makes: one blank line before the signatures, standard padded base64, no control characters, UTF-8.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Final, Protocol

from tallystick.canonical import b64, unb64
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.primitives import ed25519_public_is_safe, ed25519_verify, sha256

MAX_NOTE_BYTES: Final = 1_000_000  # golang.org/x/mod/sumdb/note stops there as well
MAX_SIGNATURES: Final = 100
MAX_SIGNATURE_BYTES: Final = 8_192
MAX_NAME_BYTES: Final = 255
KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014 "
# Characters with the property White_Space (Unicode 16, PropList.txt): a fixed list, whatever the interpreter's version.
_CONTROL: Final = bytes(byte for byte in range(0x20) if byte != 0x0A)
_SPACES: Final = frozenset("\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000") | {chr(c) for c in range(0x2000, 0x200B)}


class UnknownSignerError(Unproven):
    """A note that no key we know has signed: it proves nothing, neither for its log nor against it."""


class SignatureType(IntEnum):
    """signed-note, Signature types."""

    ED25519 = 0x01
    COSIGNATURE = 0x04  # Ed25519 cosignature/v1, with a time
    ML_DSA_44 = 0x06  # ML-DSA-44 (sub)tree cosignature, with a time


@lru_cache(maxsize=1024)
def check_name(name: str) -> str:
    """A key name: not empty, no white space, no plus. Raises: Malformed, and only what is a name is kept."""
    if not name or "+" in name or not _SPACES.isdisjoint(name) or min(name) < " " or len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise Malformed(f"not a key name: {name[:64]!r}")
    return name


def key_id(name: str, signature_type: int, public: bytes) -> bytes:
    """The 4 bytes that stand before a signature: SHA-256(name || LF || type || public key)."""
    return sha256(name.encode("utf-8"), b"\n", bytes((signature_type,)), public)[:KEY_ID_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A name and a public key: what `name+hex key id+base64(type || key)` says."""

    name: str
    type: SignatureType
    public: bytes

    @property
    def key_id(self) -> bytes:
        """4 bytes."""
        return _key_id(self)

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64(bytes((self.type,)) + self.public)}"


@lru_cache(maxsize=1024)
def _key_id(key: VerifierKey) -> bytes:
    """Kept: the same few keys are looked up for every note."""
    return key_id(key.name, key.type, key.public)


PUBLIC_BYTES: Final[Mapping[SignatureType, int]] = {
    SignatureType.ED25519: 32,
    SignatureType.COSIGNATURE: 32,
    SignatureType.ML_DSA_44: 1312,
}


def parse_verifier_key(text: str) -> VerifierKey:
    """Read a vkey. Raises: Malformed: it is of another form or type, its key id is not its own, or anybody could sign for it.

    A key of small order, or one that is not in its one form, is refused here, where keys are pinned; the library would take it.
    """
    parts = text.split("+", 2)
    if len(parts) != 3:
        raise Malformed("a verifier key has three parts: name, key id, key")
    raw = unb64(parts[2], max_bytes=2048)
    if not raw or raw[0] not in PUBLIC_BYTES:
        raise Malformed("a verifier key of a type we do not know")
    key = VerifierKey(name=check_name(parts[0]), type=SignatureType(raw[0]), public=raw[1:])
    if len(key.public) != PUBLIC_BYTES[key.type]:
        raise Malformed(f"a key of type {key.type:#04x} has {PUBLIC_BYTES[key.type]} bytes")
    if key.type is not SignatureType.ML_DSA_44 and not ed25519_public_is_safe(key.public):
        raise Malformed("a verifier key of small order, or not in its one form: anybody could sign for it")
    if key.key_id.hex() != parts[1]:
        raise Malformed("a verifier key whose key id is not its own")
    return key


class Verifier(Protocol):
    """One key that notes may be signed with."""

    @property
    def key(self) -> VerifierKey:
        """Its name, type and bytes."""
        ...

    def verify(self, text: bytes, signature: bytes) -> int | None:
        """Check a signature over a note's text; the time in it (UNIX seconds), if its type has one. Raises: Malformed, Unproven."""
        ...


@dataclass(frozen=True, slots=True)
class Ed25519Verifier:
    """Type 0x01: the signature covers the text itself."""

    key: VerifierKey

    def verify(self, text: bytes, signature: bytes) -> int | None:
        """Raises: Malformed, Unproven. Never a time."""
        ed25519_verify(self.key.public, signature, text)
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One line: the key's name and id, and the bytes after the id."""

    name: str
    key_id: bytes
    signature: bytes = field(repr=False)

    def line(self) -> str:
        """The line with its newline."""
        return f"{_DASH}{self.name} {b64(self.key_id + self.signature)}\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A signature that holds, and when it was made if it says so."""

    key: VerifierKey
    time_s: int | None
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note with at least one signature that holds. Made by `UnprovenNote.verify` alone."""

    text: str
    proven: tuple[Proven, ...]
    unknown: tuple[Signature, ...]

    def by(self, key: VerifierKey) -> Proven | None:
        """The signature of a key, if it is among those that hold."""
        return next((found for found in self.proven if found.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenNote:
    """A well-formed note: who says they signed it."""

    text: str
    signatures: tuple[Signature, ...]

    def verify(self, verifiers: Sequence[Verifier]) -> Note:
        """Check the signatures of the keys we know.

        Raises: Unproven when one of them is wrong, UnknownSignerError when there is none, Misuse when two keys share name and id.
        """
        known = {(verifier.key.name, verifier.key.key_id): verifier for verifier in verifiers}
        if len(known) != len(verifiers):
            raise Misuse("two verifier keys share their name and key id")
        text = self.text.encode("utf-8")
        proven: dict[tuple[str, bytes], Proven] = {}
        unknown: list[Signature] = []
        for signature in self.signatures:
            who = (signature.name, signature.key_id)
            verifier = known.get(who)
            if verifier is None:
                unknown.append(signature)
                continue
            if who in proven:
                continue  # C2SP: more than one signature of a key may stand there; the first counts
            try:
                time_s = verifier.verify(text, signature.signature)
            except (Malformed, Unproven):
                raise Unproven(f"the note's signature by {signature.name} does not hold") from None
            proven[who] = Proven(key=verifier.key, time_s=time_s, signature=signature)
        if not proven:
            raise UnknownSignerError("the note is signed by nobody we know")
        return Note(text=self.text, proven=tuple(proven.values()), unknown=tuple(unknown))

    def to_bytes(self) -> bytes:
        """The note as it is sent."""
        return write(self.text, self.signatures)


def write(text: str, signatures: Sequence[Signature]) -> bytes:
    """Put text and signatures together. Raises: Misuse when the result could not be read."""
    data = (text + "\n" + "".join(signature.line() for signature in signatures)).encode("utf-8", "surrogatepass")
    try:
        parse(data)
    except Malformed as error:
        raise Misuse(f"this note cannot be read: {error}") from None
    return data


def parse(data: bytes) -> UnprovenNote:
    """Read a note; check no signature. Raises: Malformed."""
    if len(data) > MAX_NOTE_BYTES:
        raise Malformed(f"a note has at most {MAX_NOTE_BYTES} bytes")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("a note is UTF-8") from None
    if len(data.translate(None, _CONTROL)) != len(data):
        raise Malformed("a note has no control characters but newlines")
    at = whole.rfind("\n\n")
    if at < 0 or not whole.endswith("\n"):
        raise Malformed("a note has a blank line and ends with a newline")
    lines = whole[at + 2 :].split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise Malformed(f"a note has 1 to {MAX_SIGNATURES} signatures")
    return UnprovenNote(text=whole[: at + 1], signatures=tuple(map(parse_signature, lines)))


def parse_signature(line: str) -> Signature:
    """Read one line, without its newline. Raises: Malformed."""
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2:
        raise Malformed("a signature line is: em dash, space, name, space, base64")
    raw = unb64(parts[1], max_bytes=MAX_SIGNATURE_BYTES)
    if len(raw) <= KEY_ID_BYTES:
        raise Malformed("a signature is longer than its key id")
    return Signature(name=check_name(parts[0]), key_id=raw[:KEY_ID_BYTES], signature=raw[KEY_ID_BYTES:])
