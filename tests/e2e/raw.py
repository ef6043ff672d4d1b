"""A client that sends what it likes: a real sealed session with a real house, and requests put together by hand.

The knock, the stream, the signature are the client's own code; what is wrong in a request is what a test has put there.
"""

import asyncio
import contextlib
import secrets
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from tallystick.channel.datagram import Mode
from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event, Telemetry
from tallystick.channel.knocker import Knocker
from tallystick.channel.session import Session
from tallystick.gate.headers import encode_headers, end_to_end
from tallystick.gate.opening import SALT_BYTES, BodyDigest, Opening, Target, commitments_of, encode_opening, make_opening
from tallystick.gate.signal import Signal, encode_signal
from tallystick.keys import Signer, sign1
from tallystick.net.stream import Opened
from tallystick.node.connection import Connection
from tallystick.node.dialling import Dialled, dial
from tallystick.node.machine import Machine
from tallystick.pair.pairing import Role, derive_pair_keys
from tallystick.passage.effect import secret_name
from tallystick.primitives import X25519KeyPair, sha256
from tallystick.rights.verb import VERBS
from tallystick.storage.rows import PairRow

Headers = Sequence[tuple[str, str]]
HOST: Final = ("host", "house")


def ephemeral() -> X25519KeyPair:
    """A fresh key pair."""
    return X25519KeyPair.from_private(secrets.token_bytes(32))


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request and what its signal says of it. What the signal says follows the request unless a test says otherwise."""

    method: str = "GET"
    target: str = "/v1/ping"
    verb: str = "pair.ping"
    headers: Headers = (HOST,)
    body: bytes | None = None
    upload: bool = False
    claims: dict[str, Any] = field(default_factory=dict)  # fields of the signal that a test sets
    said: dict[str, Any] = field(default_factory=dict)  # method, target, headers, body as the opening says them

    def sign(self, session: "RawSession", signer: Signer | None = None, n: int | None = None) -> list[tuple[str, str]]:
        """The two headers."""
        body = self.said.get("body", None if self.upload else self.body)
        opening: Opening = make_opening(
            secrets.token_bytes(3 * SALT_BYTES),
            target=Target(method=self.said.get("method", self.method), path=self.said.get("target", self.target)),
            headers=end_to_end([(name.encode(), value.encode()) for name, value in self.said.get("headers", self.headers)]),
            body=None if body is None else BodyDigest(length=len(body), sha256=sha256(body)),
        )
        commitments, _ = commitments_of(opening)
        claims = {
            "aud": bytes(session.pair.house or b""),
            "signal_class": "machine",
            "action": VERBS[self.verb].value if self.verb in VERBS else "metadata",
            "verb": self.verb,
            "commitments": commitments,
            "issued_at_ns": time.time_ns(),
            "stream": session.session.stream,
            "n": session.n if n is None else n,
        }
        cose = sign1(signer or session.machine.vault.machine.signing, encode_signal(Signal(**{**claims, **self.claims})))
        return [(name.decode(), value.decode()) for name, value in encode_headers(cose, encode_opening(opening))]

    def wire(self, carried: Headers) -> bytes:
        """The bytes of it."""
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*self.headers, *carried))]
        if self.body is not None:
            lines.append(f"content-length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (self.body or b"")


class RawSession:
    """A confirmed session; whatever comes is kept."""

    def __init__(self, machine: Machine, pair: PairRow, session: Session, connection: Connection) -> None:
        self.machine = machine
        self.pair = pair
        self.session = session
        self.connection = connection
        self.n = 0
        self.data = bytearray()
        self.telemetry: list[bytes] = []
        self.checkpoints: list[bytes] = []
        self.ended = False
        self.lost_as = ""
        self._news = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, machine: Machine, *, house: str = "attic") -> AsyncIterator[Self]:
        """Knock, connect, and wait until the house has proven itself."""
        pair = next(row for row in machine.store.pairs() if row.role is Role.CLIENT and row.state == "standing" and row.label == house)
        for _ in range(3):
            raw = await cls._connected(machine, pair)
            if raw.session.confirmed:
                break
            raw.connection.abort()  # two attempts of the house and ours met in the wrong moment: the client tries again too
        else:
            raise AssertionError("no connection was confirmed")
        try:
            yield raw
        finally:
            raw.connection.abort()

    @classmethod
    async def _connected(cls, machine: Machine, pair: PairRow) -> Self:
        session, opened = cls.of(machine, pair, await dial(machine, pair))
        raw = cls(machine, pair, session, Connection(session, opened, time.time_ns))
        await raw.connection.start(raw)
        raw.connection.write(session.start())
        with contextlib.suppress(TimeoutError):
            await raw.until(lambda: session.confirmed or raw.cut)
        return raw

    @staticmethod
    def of(machine: Machine, pair: PairRow, dialled: Dialled) -> tuple[Session, Opened]:
        """The sealed stream on a connection that opened."""
        session = Session.of_pair(
            role=Role.CLIENT,
            handshake=dialled.handshake,
            suite=pair.suite,
            static=machine.vault.machine.static,
            ephemeral=ephemeral,
            now_ns=time.time_ns(),
        )
        return session, dialled.opened

    async def until(self, condition: Any, seconds: float = 5.0) -> None:
        """Wait until something that came makes it so."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def send(self, request: Request, carried: Headers | None = None) -> None:
        """Sign and send."""
        self.write(request.wire(request.sign(self) if carried is None else carried))
        self.n += 1

    def write(self, plaintext: bytes) -> None:
        """Plaintext, as it is."""
        self.connection.write(self.session.send_data(plaintext))

    async def ask(self, request: Request) -> Answer:
        """Send and wait for the answer."""
        await self.send(request)
        return await self.answer()

    async def answer(self) -> Answer:
        """The next answer (bodies have a length: our house sends no others to what is asked here)."""
        await self.until(lambda: b"\r\n\r\n" in self.data or self.connection.over)
        head, _, _rest = bytes(self.data).partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        length = int(headers.get("content-length", "0"))
        await self.until(lambda: len(self.data) >= len(head) + 4 + length or self.connection.over)
        body = bytes(self.data[len(head) + 4 : len(head) + 4 + length])
        del self.data[: len(head) + 4 + length]
        return Answer(status=int(lines[0].split(" ")[1]), headers=headers, body=body)

    @property
    def cut(self) -> bool:
        """The connection is over."""
        return self.connection.over

    # --- What comes ------------------------------------------------------------------------------------------------------

    def on_event(self, event: Event) -> None:
        """Keep it."""
        match event:
            case Data(data=data):
                self.data += data
            case Telemetry(record=record):
                self.telemetry.append(record)
            case Checkpoint(message=message):
                self.checkpoints.append(message)
            case End():
                self.ended = True
            case Confirmed() | _:
                pass
        self._news.set()

    def lost(self, reason: str) -> None:
        """The connection is over."""
        self.lost_as = reason
        self._news.set()

    def pause_writing(self) -> None:
        """Small requests."""

    def resume_writing(self) -> None:
        """Small requests."""


def knock_of(machine: Machine, pair: PairRow, *, time_ns: int | None = None, port: int = 40_000, mode: Mode = Mode.OPEN) -> bytes:
    """A genuine knock of a pair, as bytes."""
    secret = machine.vault.get_secret(secret_name(pair.pairing))
    if secret is None:
        raise AssertionError("the pair's secret is gone")
    knocker = Knocker.of_pair(
        keys=derive_pair_keys(secret),
        static=machine.vault.machine.static,
        house_static=pair.static_key,
        pair_type=pair.pair_type,
        suite=pair.suite,
    )
    now_ns = time.time_ns() if time_ns is None else time_ns
    return knocker.knock(time_ns=now_ns, tcp_port=port, mode=mode, ephemeral=ephemeral()).datagram


def answers_to(datagrams: Sequence[bytes], port: int, host: str = "127.0.0.1", seconds: float = 1.0, here: str = "") -> list[bytes]:
    """Send datagrams to a house, from an address of ours that it can reach; every datagram that comes back within some time."""
    found: list[bytes] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((here or host, 0))
        for datagram in datagrams:
            udp.sendto(datagram, (host, port))
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            udp.settimeout(left)
            with contextlib.suppress(TimeoutError):
                found.append(udp.recv(2048))
    return found
