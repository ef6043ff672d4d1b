"""Requests as a paired machine signs them, each part of which a test can change after the signature."""

from dataclasses import dataclass, replace
from typing import Any

from tallystick.gate.headers import encode_headers, end_to_end
from tallystick.gate.opening import BodyDigest, Opening, Target, commitments_of, encode_opening, make_opening
from tallystick.gate.signal import encode_signal
from tallystick.gate.stream import StreamBook, machine_stream
from tallystick.keys import sign1
from tallystick.pair.pairing import PairType
from tallystick.passage.signal import Asker, Command, read_command
from tallystick.primitives import sha256
from tallystick.rights.verb import VERBS
from tests.gate.world import HOUSE_ID, MACHINE, NOW_NS, SALTS, Key, seed, signal

NOW = NOW_NS
HANDSHAKE = seed("handshake hash")
PAIR = seed("pairing")
BODY = b'{"upload": "u"}'
SENT = ((b"host", b"house"), (b"Content-Type", b"application/json"), (b"content-length", b"15"), (b"connection", b"keep-alive"))


def asker(cap: PairType = PairType.ADMIN, key: Key = MACHINE) -> Asker:
    """Whose session it is."""
    return Asker(house=HOUSE_ID, pair=PAIR, cap=cap, key=key.public, session=HANDSHAKE)


def book(next_n: int = 0, key: Key = MACHINE) -> StreamBook:
    """The numbers of the session."""
    return replace(StreamBook.of(machine=bytes(key.public.key_id), handshake_hash=HANDSHAKE), next_n=next_n)


@dataclass(frozen=True)
class Request:
    """A request line, its headers, and the two that carry signal and opening."""

    method: bytes
    target: bytes
    sent: tuple[tuple[bytes, bytes], ...]
    cose: bytes
    opening: bytes

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """As they come on the wire."""
        return [*self.sent, *encode_headers(self.cose, self.opening)]

    def take(self, *, who: Asker | None = None, at: StreamBook | None = None, now_ns: int = NOW) -> tuple[Command, StreamBook]:
        """What the house makes of it."""
        return read_command(who or asker(), at or book(), method=self.method, target=self.target, headers=self.headers, now_ns=now_ns)

    def read(self) -> Command:
        """The command in it."""
        return self.take()[0]


def request(
    *,
    verb: str = "archive.commit",
    method: str = "POST",
    path: str = "/v1/commit?x=1",
    sent: tuple[tuple[bytes, bytes], ...] = SENT,
    body: Any = BODY,
    key: Key = MACHINE,
    opening: Opening | None = None,
    **claims: Any,
) -> Request:
    """An honest request, unless a part or a claim is changed before it is signed. `body`: bytes, None for no body, or `UNSTATED`."""
    digest = BodyDigest(length=len(body), sha256=sha256(body)) if isinstance(body, bytes) else body
    opened = opening or make_opening(SALTS, target=Target(method=method, path=path), headers=end_to_end(sent), body=digest)
    given = {
        "verb": verb,
        "action": VERBS[verb].value if verb in VERBS else "read",
        "stream": machine_stream(HANDSHAKE),
        "n": 0,
        "commitments": commitments_of(opened)[0],
    } | claims
    return Request(
        method=method.encode(),
        target=path.encode(),
        sent=sent,
        cose=sign1(key, encode_signal(signal(opened, **given))),
        opening=encode_opening(opened),
    )
