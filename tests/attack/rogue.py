"""A paired machine whose program is not ours: every byte inside the sealed stream is the attacker's choice.

    rogue = await Rogue.open(village.member("laptop"), village.pair_of("laptop"))
    await rogue.say(rogue.request("GET", "/v1/ping", verb="pair.ping"))
    answer = await rogue.answer()

The knock, the handshake and the frames are genuine, for without them the house hears nothing; what they carry is not.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Sequence
from typing import Final, Self

from tallystick.channel.event import Checkpoint, Confirmed, Data, End, Event, Telemetry
from tallystick.channel.frame import FrameType
from tallystick.channel.session import Session
from tallystick.gate.opening import BodyDigest
from tallystick.node.dialling import dial
from tallystick.node.machine import Machine
from tallystick.node.signing import sign_request
from tallystick.pair.pairing import Role
from tallystick.primitives import X25519KeyPair, sha256
from tallystick.storage.rows import PairRow

_HEAD: Final = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r]*\r\n(.*?)\r\n\r\n", re.DOTALL)
_LENGTH: Final = re.compile(rb"content-length: ([0-9]+)", re.IGNORECASE)


class Rogue:
    """One sealed session, driven by hand."""

    def __init__(self, machine: Machine, pair: PairRow, session: Session, sock: object) -> None:
        """Use `open`."""
        self.machine = machine
        self.pair = pair
        self.session = session
        self.sock = sock
        self.n = 0
        self.events: list[Event] = []
        self.data = bytearray()
        self.closed = False

    @classmethod
    async def open(cls, machine: Machine, pair: PairRow, *, speak: bool = True) -> Self:
        """Knock and connect; with `speak` also the first frame, and wait for its pong."""
        dialled = await dial(machine, pair)
        session = Session.of_pair(
            role=Role.CLIENT,
            handshake=dialled.handshake,
            suite=pair.suite,
            static=machine.vault.machine.static,
            ephemeral=lambda: X25519KeyPair.from_private(secrets.token_bytes(32)),
            now_ns=time.time_ns(),
        )
        rogue = cls(machine, pair, session, dialled.opened.sock)
        if speak:
            await rogue.write(session.start())
            while not any(isinstance(event, Confirmed) for event in rogue.events):
                if not await rogue.read():
                    raise ConnectionResetError("the house never confirmed")
        return rogue

    async def write(self, frames: bytes | bytearray | memoryview) -> None:
        """Bytes onto the wire as they are."""
        await asyncio.get_running_loop().sock_sendall(self.sock, frames)  # type: ignore[arg-type]

    async def frame(self, kind: FrameType, body: bytes = b"") -> None:
        """One genuine frame of any type."""
        await self.write(self.sealed(kind, body))

    def sealed(self, kind: FrameType, body: bytes = b"") -> bytes:
        """The bytes of one frame of any type; they must go out in the order in which they were made."""
        return self.session._sealer.seal(kind, body)

    async def say(self, plaintext: bytes) -> None:
        """Plaintext in data frames."""
        await self.write(self.session.send_data(plaintext))

    def request(
        self,
        method: str,
        target: str,
        *,
        verb: str,
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        upload: bool = False,
        length: int | None = None,
        now_ns: int | None = None,
    ) -> bytes:
        """A signed request as bytes. `upload`: its signal says nothing of the body.  `length`: the Content-Length to claim."""
        fields = [("host", "house"), *headers]
        signed = sign_request(
            self.machine.vault.machine.signing,
            house=self.pair.house or b"",
            stream=self.session.stream,
            n=self.n,
            now_ns=time.time_ns() if now_ns is None else now_ns,
            verb=verb,
            method=method,
            target=target,
            headers=fields,
            body=None if upload or body is None else BodyDigest(length=len(body), sha256=sha256(body)),
        )
        self.n += 1
        claimed = length if length is not None else len(body) if body is not None else None
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in (*fields, *signed.headers))]
        if claimed is not None:
            lines.append(f"content-length: {claimed}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")

    async def read(self, seconds: float = 5.0, size: int = 262_144) -> bool:
        """What arrives next, as events. False: the connection ended."""
        try:
            raw = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.sock, size), seconds)  # type: ignore[arg-type]
        except (ConnectionError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raw = b""
        if not raw:
            self.closed = True
            return False
        found = self.session.receive(raw, time.time_ns())
        if out := self.session.outgoing():
            await self.write(out)
        self.events += found
        for event in found:
            if isinstance(event, Data):
                self.data += event.data
        return True

    async def answer(self, seconds: float = 5.0) -> tuple[int, bytes]:
        """The next whole answer: status and body. Raises: ConnectionResetError when the connection ends before it."""
        while True:
            head = _HEAD.match(bytes(self.data))
            if head is not None:
                length = _LENGTH.search(head[2])
                size = int(length[1]) if length else 0
                if len(self.data) >= head.end() + size:
                    body = bytes(self.data[head.end() : head.end() + size])
                    del self.data[: head.end() + size]
                    return int(head[1]), body
            if not await self.read(seconds):
                raise ConnectionResetError("the session ended")

    async def ask(self, method: str, target: str, *, verb: str, body: bytes | None = None, **more: object) -> tuple[int, bytes]:
        """One request and its answer."""
        await self.say(self.request(method, target, verb=verb, body=body, **more))  # type: ignore[arg-type]
        return await self.answer()

    async def ended(self, seconds: float = 5.0) -> bool:
        """Whether the house closes within this time, whatever it still sends."""
        deadline = asyncio.get_running_loop().time() + seconds
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            try:
                if not await self.read(left):
                    return True
            except TimeoutError:
                return False
        return False

    def checkpoints(self) -> list[bytes]:
        """The checkpoint messages that came."""
        return [event.message for event in self.events if isinstance(event, Checkpoint)]

    def telemetry(self) -> list[bytes]:
        """The telemetry that came."""
        return [event.record for event in self.events if isinstance(event, Telemetry)]

    @property
    def said_end(self) -> bool:
        """Whether the house said `end`."""
        return any(isinstance(event, End) for event in self.events)

    def close(self) -> None:
        """Drop the connection without a word."""
        self.sock.close()  # type: ignore[attr-defined]
        self.closed = True
