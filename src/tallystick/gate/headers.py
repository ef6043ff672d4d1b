"""Signals over HTTP: which headers are committed to, and the two that carry signal and opening (docs/spec/signal.md, 2 and 3)."""

from collections.abc import Sequence
from typing import Final

from tallystick.canonical import b64url, unb64url
from tallystick.errors import Malformed, Misuse
from tallystick.gate.opening import MAX_HEADERS, MAX_OPENING_BYTES, Opening, Target
from tallystick.gate.signal import MAX_SIGNAL_BYTES

SIGNAL_HEADER: Final = b"tally-signal"
OPENING_HEADER: Final = b"tally-opening"
MAX_CARRIED_CHARACTERS: Final = 14_336  # both values together; a whole head is at most 16 KiB

# Headers of one hop (RFC 9110 7.6.1) and of framing. Content-Length is covered by the body commitment where it is known.
NOT_COMMITTED: Final = frozenset(
    (
        b"connection",
        b"transfer-encoding",
        b"content-length",
        b"te",
        b"trailer",
        b"upgrade",
        b"keep-alive",
        b"expect",
        b"proxy-connection",
    )
)
_OURS: Final = b"tally-"

RawHeaders = Sequence[tuple[bytes, bytes]]


def end_to_end(headers: RawHeaders) -> tuple[tuple[str, str], ...]:
    """The headers a signal commits to: lower-case names, stripped values, sorted by name, equal names in their order.

    Raises: Malformed when there are more than 128.
    """
    kept = [(name.lower(), value.strip(b" \t")) for name, value in headers]
    kept = [(name, value) for name, value in kept if name not in NOT_COMMITTED and not name.startswith(_OURS)]
    if len(kept) > MAX_HEADERS:
        raise Malformed(f"more than {MAX_HEADERS} headers")
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in sorted(kept, key=_by_name))


def encode_headers(signal: bytes, opening: bytes) -> list[tuple[bytes, bytes]]:
    """The two headers that carry a signal and its opening. Raises: Misuse when they are too long for a request's head."""
    carried = [(SIGNAL_HEADER, b64url(signal).encode("ascii")), (OPENING_HEADER, b64url(opening).encode("ascii"))]
    if sum(len(value) for _, value in carried) > MAX_CARRIED_CHARACTERS:
        raise Misuse("signal and opening are too long for a request's head", "Send fewer headers or predecessors.")
    return carried


def parse_headers(headers: RawHeaders) -> tuple[bytes, bytes]:
    """The raw signal and the raw opening of a request's headers.

    Raises: Malformed when one is missing, twice, too long, not base64url, or another `Tally-` header is there.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        lower = name.lower()
        if lower.startswith(_OURS):
            if lower not in (SIGNAL_HEADER, OPENING_HEADER) or lower in found:
                raise Malformed("an unknown Tally- header, or one twice")
            found[lower] = value
    if len(found) != 2:
        raise Malformed("the request carries no signal", "Every command needs Tally-Signal and Tally-Opening.")
    if sum(len(value) for value in found.values()) > MAX_CARRIED_CHARACTERS:
        raise Malformed("signal and opening are too long for a request's head")
    return (
        unb64url(found[SIGNAL_HEADER].decode("latin-1"), max_bytes=MAX_SIGNAL_BYTES),
        unb64url(found[OPENING_HEADER].decode("latin-1"), max_bytes=MAX_OPENING_BYTES),
    )


def check_request(opening: Opening, *, method: bytes, target: bytes, headers: RawHeaders) -> Target:
    """Is the request that arrived the one that was signed?

    Args: method, target, headers: as on the wire; target is the raw path with query.
    Returns: the opening's target: what handlers read.
    Raises: Malformed for any difference.
    """
    signed = opening.read_target()
    if signed.method.encode("ascii") != method or signed.path.encode("ascii") != target:
        raise Malformed("the request line is not the one that was signed")
    if opening.read_headers() != end_to_end(headers):
        raise Malformed("the headers are not those that were signed")
    return signed


def _by_name(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0]
