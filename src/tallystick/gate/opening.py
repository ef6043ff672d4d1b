"""The opening: salts and clear values of what a signal commits to (docs/spec/signal.md, section 2).

It travels beside the signal and is what handlers read; the ledger keeps only the commitments, from which nothing can be
guessed once the opening is erased.
"""

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.canonical.cbor import Reader
from tallystick.errors import Malformed, Misuse, TallyError, Unproven
from tallystick.gate.signal import INT63, MAX_OBSERVATIONS, Commitments, Signal
from tallystick.primitives import equal, sha256

MAX_OPENING_BYTES: Final = 32_768
SALT_BYTES: Final = 32
MAX_HEADERS: Final = 128
TAGS: Final = {
    1: b"tally target v1",
    2: b"tally headers v1",
    3: b"tally body v1",
    4: b"tally place v1",
    5: b"tally observation v1",
    15: b"tally sensor v1",
}
_OPENED: Final = b"\x82\x58\x20"  # array of a salt of 32 bytes and a value
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_PATH: Final = re.compile(r"/[!-~]{0,8191}")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,64}")  # RFC 9110 5.6.2, lower case
# Visible octets, spaces and tabs inside; the octets as Latin-1 (RFC 9110 5.5).
_VALUE: Final = re.compile(r"(?:[!-~\x80-\xff](?:[ \t!-~\x80-\xff]{0,8190}[!-~\x80-\xff])?)?")


class Unstated(Enum):
    """The signer says nothing about the body; None says that there is none."""

    UNSTATED = "unstated"


UNSTATED: Final = Unstated.UNSTATED


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The request line's method and raw path with query."""

    method: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyDigest:
    """The body's length in bytes and its SHA-256."""

    length: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One commitment opened: the salt (32 bytes) and the clear value in canonical CBOR's types."""

    salt: bytes = field(repr=False)
    value: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What each commitment of a signal holds; None (or an empty tuple) where the signal has no such commitment."""

    target: Opened | None = None
    headers: Opened | None = None
    body: Opened | None = None
    place: Opened | None = None
    observations: tuple[Opened, ...] = ()
    sensor: Opened | None = None

    def read_target(self) -> Target:
        """Method and path. Raises: Malformed when there is none."""
        match self.target:
            case Opened(value=[str(method), str(path)]):
                return Target(method=method, path=path)
            case _:
                raise Malformed("opening: it has no target")

    def read_headers(self) -> tuple[tuple[str, str], ...]:
        """Names in lower case and values (Latin-1), sorted by name. Raises: Malformed when there are none."""
        if self.headers is None or not isinstance(self.headers.value, list):
            raise Malformed("opening: it has no headers")
        return tuple((str(pair[0]), str(pair[1])) for pair in self.headers.value if isinstance(pair, list))

    def read_body(self) -> BodyDigest | None:
        """Length and hash, None for no body. Raises: Malformed when the signer said nothing about a body."""
        match self.body:
            case Opened(value=None):
                return None
            case Opened(value=[int(length), bytes(digest)]):
                return BodyDigest(length=length, sha256=digest)
            case _:
                raise Malformed("opening: it says nothing about the body")


def commit(tag: bytes, salt: bytes, value: Encodable) -> bytes:
    """SHA-256(tag || salt || canonical CBOR of the value). Raises: Misuse when the salt is not 32 bytes."""
    if len(salt) != SALT_BYTES:
        raise Misuse("a salt has 32 bytes")
    return sha256(tag, salt, encode(value))


def make_opening(
    salts: bytes,
    *,
    target: Target | None = None,
    headers: tuple[tuple[str, str], ...] | None = None,
    body: BodyDigest | Unstated | None = UNSTATED,
    place: Value = None,
    observations: tuple[Value, ...] = (),
    sensor: Value = None,
) -> Opening:
    """Put values and salts together.

    Args: salts: fresh entropy, 32 bytes for each value given (more is left unused).  headers: of `end_to_end`.
    Raises: Misuse when a value is out of range or the salts do not suffice.
    """
    given = iter(range(0, len(salts) - SALT_BYTES + 1, SALT_BYTES))

    def opened(value: Value) -> Opened:
        at = next(given, None)
        if at is None:
            raise Misuse("each value needs 32 bytes of salt")
        return Opened(salt=salts[at : at + SALT_BYTES], value=value)

    opening = Opening(
        target=None if target is None else opened([target.method, target.path]),
        headers=None if headers is None else opened([[name, value] for name, value in headers]),
        body=None if isinstance(body, Unstated) else opened(None if body is None else [body.length, body.sha256]),
        place=None if place is None else opened(place),
        observations=tuple(opened(value) for value in observations),
        sensor=None if sensor is None else opened(sensor),
    )
    encode_opening(opening)
    return opening


def open_request(
    salts: bytes, *, target: Target, headers: tuple[tuple[str, str], ...], body: BodyDigest | None
) -> tuple[bytes, Commitments]:
    """The opening of a request, written, and what its signal commits to: `make_opening`, `encode_opening` and `commitments_of` in one.

    Each value is written once, where the three write it three times and read it again: every request of a client pays for it.
    Args: salts: fresh entropy, 96 bytes.  headers: of `end_to_end`.  body: None when there is none.
    Raises: Misuse when a value is out of range.
    """
    values: tuple[Value, Value, Value] = (
        [target.method, target.path],
        [[name, value] for name, value in headers],
        None if body is None else [body.length, body.sha256],
    )
    try:
        _check_target(values[0])
        _check_headers(values[1])
        _check_body(values[2])
    except Malformed as error:
        raise Misuse(error.message, error.hint) from None
    if len(salts) != 3 * SALT_BYTES:
        raise Misuse("three values need 96 bytes of salt")
    salt = (salts[:SALT_BYTES], salts[SALT_BYTES : 2 * SALT_BYTES], salts[2 * SALT_BYTES :])
    written = (encode(values[0]), encode(values[1]), encode(values[2]))
    raw = b"".join(
        (b"\xa3\x01", _OPENED, salt[0], written[0], b"\x02", _OPENED, salt[1], written[1], b"\x03", _OPENED, salt[2], written[2])
    )
    if len(raw) > MAX_OPENING_BYTES:
        raise Misuse(f"an opening has at most {MAX_OPENING_BYTES} bytes", "send fewer or shorter headers")
    return raw, Commitments(
        target=sha256(TAGS[1], salt[0], written[0]),
        headers=sha256(TAGS[2], salt[1], written[1]),
        body=sha256(TAGS[3], salt[2], written[2]),
    )


def commitments_of(opening: Opening) -> tuple[Commitments, bytes | None]:
    """What a signal with this opening commits to: its commitments, and the sensor's."""
    commitments = Commitments(
        target=_commitment(1, opening.target),
        headers=_commitment(2, opening.headers),
        body=_commitment(3, opening.body),
        place=_commitment(4, opening.place),
        observations=tuple(commit(TAGS[5], each.salt, each.value) for each in opening.observations),
    )
    return commitments, _commitment(15, opening.sensor)


def check_opening(claims: Signal, opening: Opening) -> None:
    """Does the opening hold exactly what the signal commits to?

    Raises: Malformed when it opens more or less than that, Unproven when a value does not hash to its commitment.
    """
    found, sensor = commitments_of(opening)
    said = claims.commitments
    pairs = [
        (found.target, said.target),
        (found.headers, said.headers),
        (found.body, said.body),
        (found.place, said.place),
        (sensor, claims.sensor),
    ]
    if len(found.observations) != len(said.observations) or any((a is None) != (b is None) for a, b in pairs):
        raise Malformed("opening: it does not open exactly what the signal commits to")
    pairs += zip(found.observations, said.observations, strict=True)
    for a, b in pairs:
        if a is not None and b is not None and not equal(a, b):
            raise Unproven("opening: a value is not the one that was signed")


def open_signal(claims: Signal, raw: bytes) -> tuple[Opening, bytes | None]:
    """`parse_opening` and `check_opening` in one pass: each value is hashed where it stands instead of being written again.

    Returns: the opening, and the bytes of its place as they stand in it, `[salt, value]`: what a sighting keeps.
    Raises: as the two; the tests hold both ways against each other.
    """
    found = None if claims.commitments.observations else _open_plain(claims, raw)
    if found is None:
        opening = parse_opening(raw)
        check_opening(claims, opening)
        place = opening.place
        return opening, None if place is None else encode([place.salt, place.value])
    return found


def _open_plain(claims: Signal, raw: bytes) -> tuple[Opening, bytes | None] | None:
    """An opening without observations that fits its signal; None for every other one, good or bad."""
    said = claims.commitments
    wanted = ((1, said.target), (2, said.headers), (3, said.body), (4, said.place), (15, claims.sensor))
    if not raw or len(raw) > MAX_OPENING_BYTES:
        return None
    left = raw[0] - 0xA0
    reader: Reader | None = None
    found: dict[int, Opened] = {}
    raw_place = None
    at = 1
    try:
        for number, commitment in wanted:
            if commitment is None:
                continue
            left -= 1
            begins = at + 4
            if raw[at] != number or raw[at + 1 : begins] != _OPENED:
                return None
            at = begins + SALT_BYTES
            value: Value
            if number == 3 and raw[at : at + 1] == b"\x82" and raw[at + 1] < 24 and raw[at + 2 : at + 4] == b"\x58\x20":
                ends = at + 36  # a short body: its length in one byte, and its hash
                value = [raw[at + 1], raw[at + 4 : ends]]
                if ends > len(raw):
                    return None
            else:
                reader = reader or Reader(raw, 2_028)
                value, ends = reader.item(at, 8)
                if number < 4:
                    _CHECKS[number](value)
                elif number == 4:
                    raw_place = raw[begins - 3 : ends]
            if sha256(TAGS[number], raw[begins:ends]) != commitment:
                return None
            found[number] = Opened(salt=raw[begins:at], value=value)
            at = ends
    except (Malformed, IndexError, UnicodeDecodeError):
        return None
    if left:
        return None
    if at != len(raw):
        return None
    get = found.get
    return Opening(target=get(1), headers=get(2), body=get(3), place=get(4), sensor=get(15)), raw_place


def encode_opening(opening: Opening) -> bytes:
    """Write an opening in its one form. Raises: Misuse when a value is out of range: it was made here."""
    fields: dict[int, Encodable] = {}
    for number, each in ((1, opening.target), (2, opening.headers), (3, opening.body), (4, opening.place), (15, opening.sensor)):
        if each is not None:
            fields[number] = [each.salt, each.value]
    if opening.observations:
        fields[5] = [[each.salt, each.value] for each in opening.observations]
    raw = encode(fields)
    try:
        parse_opening(raw)
    except TallyError as error:
        raise Misuse(error.message, error.hint) from None
    return raw


def parse_opening(raw: bytes) -> Opening:
    """Read an opening; whether it belongs to a signal is for `check_opening`. Raises: Malformed for any other bytes."""
    fields = decode(raw, max_bytes=MAX_OPENING_BYTES, max_depth=10, max_items=2_048)
    if not isinstance(fields, dict) or not fields.keys() <= TAGS.keys():
        raise Malformed("opening: not a map of fields 1 to 5 and 15")
    observations: tuple[Opened, ...] = ()
    if 5 in fields:
        listed = fields[5]
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_OBSERVATIONS:
            raise Malformed(f"opening: 1 to {MAX_OBSERVATIONS} observations")
        observations = tuple(_opened(each) for each in listed)
    opening = Opening(
        target=_opened(fields[1]) if 1 in fields else None,
        headers=_opened(fields[2]) if 2 in fields else None,
        body=_opened(fields[3]) if 3 in fields else None,
        place=_opened(fields[4]) if 4 in fields else None,
        observations=observations,
        sensor=_opened(fields[15]) if 15 in fields else None,
    )
    if opening.target is not None:
        _check_target(opening.target.value)
    if opening.headers is not None:
        _check_headers(opening.headers.value)
    if opening.body is not None:
        _check_body(opening.body.value)
    return opening


def _commitment(number: int, opened: Opened | None) -> bytes | None:
    return None if opened is None else commit(TAGS[number], opened.salt, opened.value)


def _opened(value: Value) -> Opened:
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], bytes) or len(value[0]) != SALT_BYTES:
        raise Malformed("opening: each field is a salt of 32 bytes and a value")
    return Opened(salt=value[0], value=value[1])


def _check_target(value: Value) -> None:
    match value:
        case [str(method), str(path)] if _METHOD.fullmatch(method) and _PATH.fullmatch(path):
            return
        case _:
            raise Malformed("opening: a target is a method and a path that begins with a slash")


def _check_headers(value: Value) -> None:
    if not isinstance(value, list) or len(value) > MAX_HEADERS:
        raise Malformed(f"opening: at most {MAX_HEADERS} headers")
    last = ""
    for pair in value:
        match pair:
            case [str(name), str(text)] if name >= last and _NAME.fullmatch(name) and _VALUE.fullmatch(text):
                last = name
            case _:
                raise Malformed("opening: headers are names in lower case, sorted, and values")


def _check_body(value: Value) -> None:
    match value:
        case None:
            return
        case [int(length), bytes(digest)] if not isinstance(length, bool) and 0 <= length <= INT63 and len(digest) == 32:
            return
        case _:
            raise Malformed("opening: a body is null, or a length and a hash")


_CHECKS: Final = {1: _check_target, 2: _check_headers, 3: _check_body}
