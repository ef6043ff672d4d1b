"""A signal: who claims what, by which class, asking which action, after which predecessors (docs/spec/signal.md, signal.cddl).

    unproven = parse_signal(cose)          # well-formed bytes of the one form, believed by nobody
    signal = unproven.prove(public_key)    # signed by this key; only now a function that decides may take it
    check_audience(signal, house_id); check_age(signal, now_ns)

Payload v1 is frozen: later versions add to `ext`. What is committed (target, headers, body, place, observations) is in the
opening that travels beside (gate/opening.py).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Misuse, TallyError, Unproven
from tallystick.keys import KeyId, PublicKey, UnprovenSign1, parse_sign1
from tallystick.keys.cose import signed_bytes_of
from tallystick.primitives import sha256

# Specification constants (docs/spec/signal.cddl).
SIGNAL_VERSION: Final = 1
MAX_SIGNAL_BYTES: Final = 16_384
MAX_PREV: Final = 64
MAX_EXT: Final = 16
MAX_OBSERVATIONS: Final = 16
STREAM_BYTES: Final = 16
INT63: Final = 2**63 - 1
ACTIONS: Final = frozenset(("metadata", "read", "egress", "propose", "write", "admin"))
_CLASS: Final = re.compile(r"[a-z][a-z0-9-]{0,31}(/[a-z0-9][a-z0-9-]{0,31}){0,2}")
_VERB: Final = re.compile(r"[a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31}")
_EXT: Final = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")

# Age (docs/spec/signal.md, section 4), in nanoseconds.
_SECOND: Final = 10**9
MAX_AHEAD_NS: Final = 60 * _SECOND
MAX_AGE_NS: Final = {
    "machine": 60 * _SECOND,
    "sensor": 60 * _SECOND,
    "tool": 300 * _SECOND,
    "skill": 300 * _SECOND,
    "llm": 300 * _SECOND,
    "cron": 300 * _SECOND,
    "human": 600 * _SECOND,
    "feed": 3_600 * _SECOND,
}
UNKNOWN_CLASS_AGE_NS: Final = 60 * _SECOND

# The one encoding of a payload with the required fields only, no observations and at most 8 predecessors, all of them signals: nearly
# every command, and nearly every signal of a source. The expression leaves the lengths of class, verb and predecessors, the parts of a
# class and the shortest form of numbers to the code that uses it.
_PLAIN: Final = re.compile(
    rb"\xaa\x01\x01\x02\x58\x20(.{32})\x03([\x61-\x77])([a-z][a-z0-9/-]{0,22})"
    rb"\x04(?:\x64(read)|\x65(write|admin)|\x66(egress)|\x67(propose)|\x68(metadata))"
    rb"\x05([\x63-\x77])([a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31})"
    rb"\x06([\xa0-\xa4])(?:\x01\x58\x20(.{32}))?(?:\x02\x58\x20(.{32}))?(?:\x03\x58\x20(.{32}))?(?:\x04\x58\x20(.{32}))?"
    rb"\x07\x1b([\x00-\x7f].{7})\x08\x50(.{16})\x09([\x00-\x17]|\x18[\x18-\xff]|\x19.{2}|\x1a.{4})\x0a"
    rb"([\x80-\x88])((?:\x58\x20.{32}){0,8})",
    re.DOTALL,
)
_NOTHING: Final = (None,) * 5
_SPELT: Final = {action.encode(): action for action in ACTIONS}
_WRITTEN: Final = (b"\x01\x58\x20", b"\x02\x58\x20", b"\x03\x58\x20", b"\x04\x58\x20")  # key and head of each commitment
_PROVEN: Final = object()
_REQUIRED: Final = frozenset(range(1, 11))
_OPTIONAL: Final = frozenset(range(11, 18))


@dataclass(frozen=True, slots=True)
class EntryRef:
    """A predecessor that is an entry of a log: the hash of its origin (32 bytes) and the index."""

    origin: bytes
    index: int


# SHA-256 of a predecessor's signature, or an entry.
Reference: TypeAlias = bytes | EntryRef


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitments:
    """What the signer commits to, each SHA-256(tag || salt || value); None: the signer says nothing about it."""

    target: bytes | None = None
    headers: bytes | None = None
    body: bytes | None = None
    place: bytes | None = None
    observations: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """The payload, version 1. As a value it proves nothing: see `UnprovenSignal` and `ProvenSignal`.

    `aud`: house id.  `issued_at_ns`, `expires_ns`: UTC, nanoseconds since 1970.  `stream`: 16 bytes, `n`: number in it.
    """

    aud: bytes
    signal_class: str
    action: str
    verb: str
    commitments: Commitments
    issued_at_ns: int
    stream: bytes
    n: int
    prev: tuple[Reference, ...] = ()
    challenge: bytes | None = None
    token: bytes | None = None
    scope: Reference | None = None
    expires_ns: int | None = None
    sensor: bytes | None = None
    ext: tuple[tuple[str, bytes], ...] = ()
    crit: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenSignal:
    """A signal whose signature holds under `public`. Made by `UnprovenSignal.prove` alone."""

    claims: Signal
    public: PublicKey
    reference: bytes
    raw: bytes = field(repr=False)
    proof: object = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.proof is not _PROVEN:
            raise AssertionError("a ProvenSignal is made by UnprovenSignal.prove, not by hand")

    @property
    def kid(self) -> KeyId:
        """The KeyId of the key that signed."""
        return self.public.key_id

    @property
    def structure_hash(self) -> bytes:
        """SHA-256 of what was signed: two of them under one number are a fork."""
        return sha256(signed_bytes_of(self.raw))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprovenSignal:
    """A signal that somebody claims `kid` has signed: well-formed, and nothing more."""

    claims: Signal
    sign1: UnprovenSign1 = field(repr=False)

    @property
    def kid(self) -> KeyId:
        """The key it claims to be signed by: which key to look up."""
        return self.sign1.kid

    def prove(self, public: PublicKey) -> ProvenSignal:
        """Check the signature under a key that the caller trusts. Raises: Unproven when it does not hold."""
        sign1 = self.sign1
        sign1.check(public)
        return ProvenSignal(claims=self.claims, public=public, reference=sha256(sign1.signature), raw=sign1.raw, proof=_PROVEN)


def parse_signal(data: bytes, *, known_ext: Collection[str] = ()) -> UnprovenSignal:
    """Read a COSE_Sign1 with a payload of version 1; check no signature.

    Args: known_ext: the names in `ext` that this house knows.
    Raises: Malformed for any other bytes, and for a critical extension that is not known.
    """
    if len(data) > MAX_SIGNAL_BYTES:
        raise Malformed(f"signal: {len(data)} bytes, at most {MAX_SIGNAL_BYTES} allowed")
    sign1 = parse_sign1(data)
    claims = parse_payload(sign1.payload)
    for name in claims.crit:
        if name not in known_ext:
            raise Malformed(f"signal: the critical extension {name} is not known here", "Update tallystick at the house.")
    return UnprovenSignal(claims=claims, sign1=sign1)


def parse_payload(payload: bytes) -> Signal:
    """Read a payload of version 1. Raises: Malformed for any other bytes."""
    return parse_plain(payload) or parse_any(payload)


def parse_plain(payload: bytes) -> Signal | None:
    """The commonest shape in one pass, a third of the time of `parse_any`; None for every other shape, good or bad.

    Measured: reading a command's payload was a fifth of what the gate costs. The tests hold both readers against each other.
    """
    found = _PLAIN.fullmatch(payload)
    if found is None:
        return None
    (
        aud, kind_head, kind, read, other, egress, propose, metadata, verb_head, verb,
        count, target, headers, body, place, issued_at, stream, n, links, references,
    ) = found.groups()  # fmt: skip
    said = (target is not None) + (headers is not None) + (body is not None) + (place is not None)
    issued_at_ns = int.from_bytes(issued_at, "big")
    number = int.from_bytes(n[1:], "big") if len(n) > 1 else n[0]
    # A length byte that is not the text's, a count that is not the map's, a number in more bytes than it needs.
    if (
        kind_head[0] - 0x60 != len(kind)
        or verb_head[0] - 0x60 != len(verb)
        or count[0] - 0xA0 != said
        or issued_at_ns < 2**32
        or (len(n) == 3 and number < 256)
        or (len(n) == 5 and number < 65_536)
        or len(references) != 34 * (links[0] - 0x80)
        or (b"/" in kind and not _CLASS.fullmatch(str(kind, "ascii")))
    ):
        return None
    prev: tuple[Reference, ...] = ()
    if references:
        prev = tuple([references[at : at + 32] for at in range(2, len(references), 34)])
        if len(set(prev)) != len(prev):
            return None
    return Signal(
        aud=aud,
        signal_class=str(kind, "ascii"),
        action=_SPELT[read or other or egress or propose or metadata],
        verb=str(verb, "ascii"),
        commitments=Commitments(target=target, headers=headers, body=body, place=place),
        issued_at_ns=issued_at_ns,
        stream=stream,
        n=number,
        prev=prev,
    )


def parse_any(payload: bytes) -> Signal:
    """Every payload of version 1. Raises: Malformed for any other bytes."""
    fields = decode(payload, max_bytes=MAX_SIGNAL_BYTES, max_depth=4, max_items=512)
    if not isinstance(fields, dict) or not fields.keys() >= _REQUIRED or not fields.keys() - _REQUIRED <= _OPTIONAL:
        raise Malformed("signal: a field is missing, or one that version 1 does not have")
    if fields[1] != SIGNAL_VERSION or fields[1] is True:
        raise Malformed("signal: a version that is not known here", "Update tallystick at the house.")
    aud, kind, action, verb, stream = fields[2], fields[3], fields[4], fields[5], fields[8]
    if not isinstance(aud, bytes) or len(aud) != 32:
        raise Malformed("signal: the audience is a house id of 32 bytes")
    if not isinstance(kind, str) or not _CLASS.fullmatch(kind):
        raise Malformed("signal: not a class")
    if not isinstance(action, str) or action not in ACTIONS:
        raise Malformed("signal: not one of the six actions")
    if not isinstance(verb, str) or not _VERB.fullmatch(verb):
        raise Malformed("signal: not a verb")
    if not isinstance(stream, bytes) or len(stream) != STREAM_BYTES:
        raise Malformed("signal: a stream is named by 16 bytes")
    ext = _ext(fields[16]) if 16 in fields else ()
    return Signal(
        aud=aud,
        signal_class=kind,
        action=action,
        verb=verb,
        commitments=_commitments(fields[6]),
        issued_at_ns=_uint(fields[7]),
        stream=stream,
        n=_uint(fields[9]),
        prev=_prev(fields[10]),
        challenge=_octets(fields[11], 64) if 11 in fields else None,
        token=_octets(fields[12], 4_096) if 12 in fields else None,
        scope=_reference(fields[13]) if 13 in fields else None,
        expires_ns=_uint(fields[14]) if 14 in fields else None,
        sensor=_hash(fields[15]) if 15 in fields else None,
        ext=ext,
        crit=_crit(fields[17], ext) if 17 in fields else (),
    )


def encode_signal(signal: Signal) -> bytes:
    """Write the payload in its one form. Raises: Misuse when a field is out of range: it was made here."""
    payload = _write_plain(signal) or _write_any(signal)
    try:
        if parse_payload(payload) != signal:
            raise Misuse("signal: a field is not in its one form")
    except TallyError as error:
        raise Misuse(error.message, error.hint) from None
    return payload


def _write_plain(signal: Signal) -> bytes | None:
    """The commonest shape (see `parse_plain`) without a map of its fields; None for every other shape."""
    said = signal.commitments
    if (
        signal.prev
        or said.observations
        or signal.ext
        or signal.crit
        or (signal.challenge, signal.token, signal.scope, signal.expires_ns, signal.sensor) != _NOTHING
    ):
        return None
    commitments = [
        (number, value) for number, value in zip(_WRITTEN, (said.target, said.headers, said.body, said.place), strict=True) if value
    ]
    return b"".join(
        (
            b"\xaa\x01\x01\x02",
            encode(signal.aud),
            b"\x03",
            encode(signal.signal_class),
            b"\x04",
            encode(signal.action),
            b"\x05",
            encode(signal.verb),
            b"\x06",
            bytes((0xA0 | len(commitments),)),
            *[part for number, value in commitments for part in (number, value)],
            b"\x07",
            encode(signal.issued_at_ns),
            b"\x08",
            encode(signal.stream),
            b"\x09",
            encode(signal.n),
            b"\x0a\x80",
        )
    )


def _write_any(signal: Signal) -> bytes:
    commitments: dict[int, Encodable] = {
        number: value
        for number, value in (
            (1, signal.commitments.target),
            (2, signal.commitments.headers),
            (3, signal.commitments.body),
            (4, signal.commitments.place),
            (5, list(signal.commitments.observations) or None),
        )
        if value is not None
    }
    fields: dict[int, Encodable] = {
        1: SIGNAL_VERSION,
        2: signal.aud,
        3: signal.signal_class,
        4: signal.action,
        5: signal.verb,
        6: commitments,
        7: signal.issued_at_ns,
        8: signal.stream,
        9: signal.n,
        10: [_write_reference(reference) for reference in signal.prev],
    }
    optional: dict[int, Encodable] = {
        11: signal.challenge,
        12: signal.token,
        13: None if signal.scope is None else _write_reference(signal.scope),
        14: signal.expires_ns,
        15: signal.sensor,
        16: dict(signal.ext) or None,
        17: list(signal.crit) or None,
    }
    return encode(fields | {number: value for number, value in optional.items() if value is not None})


def base_class(signal_class: str) -> str:
    """The class from which a sub-class inherits: `sensor` of `sensor/camera`."""
    return signal_class.partition("/")[0]


def check_audience(signal: ProvenSignal, house_id: bytes) -> None:
    """Raises: Unproven when the signal is for another house."""
    if signal.claims.aud != house_id:
        raise Unproven("signal: signed for another house", "Pair with this house; a signal is good for one house only.")


def check_age(signal: ProvenSignal, now_ns: int) -> None:
    """Raises: Unproven when the signal is too old for its class, more than 60 s ahead, or expired. `now_ns`: pair time, UTC."""
    claims = signal.claims
    oldest = MAX_AGE_NS.get(base_class(claims.signal_class), UNKNOWN_CLASS_AGE_NS)
    if now_ns - claims.issued_at_ns > oldest:
        raise Unproven("signal: too old for its class", "Check the clock of the machine that signed it.")
    if claims.issued_at_ns - now_ns > MAX_AHEAD_NS:
        raise Unproven("signal: issued in the future", "Check the clock of the machine that signed it.")
    if claims.expires_ns is not None and claims.expires_ns <= now_ns:
        raise Unproven("signal: expired")


def _uint(value: Value) -> int:
    if type(value) is not int or not 0 <= value <= INT63:
        raise Malformed("signal: a number from 0 to 2^63-1 is missing")
    return value


def _hash(value: Value) -> bytes:
    if not isinstance(value, bytes) or len(value) != 32:
        raise Malformed("signal: 32 bytes are missing")
    return value


def _octets(value: Value, most: int) -> bytes:
    if not isinstance(value, bytes) or not 1 <= len(value) <= most:
        raise Malformed(f"signal: 1 to {most} bytes are missing")
    return value


def _commitments(value: Value) -> Commitments:
    if not isinstance(value, dict) or not value.keys() <= {1, 2, 3, 4, 5}:
        raise Malformed("signal: commitments are a map of fields 1 to 5")
    observations: tuple[bytes, ...] = ()
    for number, commitment in value.items():
        if number == 5:
            if not isinstance(commitment, list) or not 1 <= len(commitment) <= MAX_OBSERVATIONS:
                raise Malformed(f"signal: 1 to {MAX_OBSERVATIONS} observations")
            observations = tuple(_hash(each) for each in commitment)
        elif not isinstance(commitment, bytes) or len(commitment) != 32:
            raise Malformed("signal: a commitment has 32 bytes")
    get = value.get
    return Commitments(target=get(1), headers=get(2), body=get(3), place=get(4), observations=observations)  # type: ignore[arg-type]


def _reference(value: Value) -> Reference:
    if isinstance(value, bytes):
        if len(value) != 32:
            raise Malformed("signal: a reference has 32 bytes")
        return value
    if not isinstance(value, list) or len(value) != 2:
        raise Malformed("signal: a reference is a hash or an entry")
    return EntryRef(_hash(value[0]), _uint(value[1]))


def _write_reference(reference: Reference) -> Encodable:
    return [reference.origin, reference.index] if isinstance(reference, EntryRef) else reference


def _prev(value: Value) -> tuple[Reference, ...]:
    if value == []:
        return ()
    if not isinstance(value, list) or len(value) > MAX_PREV:
        raise Malformed(f"signal: at most {MAX_PREV} predecessors")
    prev = tuple(_reference(each) for each in value)
    if len(set(prev)) != len(prev):
        raise Malformed("signal: one predecessor twice")
    return prev


def _ext(value: Value) -> tuple[tuple[str, bytes], ...]:
    if not isinstance(value, dict) or not 1 <= len(value) <= MAX_EXT:
        raise Malformed(f"signal: 1 to {MAX_EXT} extensions")
    pairs: list[tuple[str, bytes]] = []
    for name, content in value.items():
        if not isinstance(name, str) or not _EXT.fullmatch(name) or not isinstance(content, bytes) or len(content) > 4_096:
            raise Malformed("signal: an extension is a name and at most 4096 bytes")
        pairs.append((name, content))
    return tuple(pairs)


def _crit(value: Value, ext: tuple[tuple[str, bytes], ...]) -> tuple[str, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_EXT:
        raise Malformed("signal: critical names are a list")
    present = {name for name, _ in ext}
    names = tuple(name for name in value if isinstance(name, str) and name in present)
    if len(names) != len(value) or list(names) != sorted(set(names)):
        raise Malformed("signal: critical names are names of extensions, ascending")
    return names
