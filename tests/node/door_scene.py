"""Paired machines at the door of a real house, without a socket: HTTP over pipes, signed requests, a real ledger and archive."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tallystick.gate.opening import BodyDigest
from tallystick.gate.stream import StreamBook
from tallystick.ledger.event import Event, Kind
from tallystick.node.door import Door, Route
from tallystick.node.effects import Effects, NoDoors
from tallystick.node.house import House
from tallystick.node.http import HttpServer, ServerStream
from tallystick.node.httpclient import HttpClient
from tallystick.node.signing import sign_request
from tallystick.pair.pairing import PairType
from tallystick.passage.signal import Asker
from tallystick.primitives import sha256
from tests.node.estate import Estate
from tests.node.http_scene import Pipe

CONTENT = b"what is kept"


@dataclass(eq=False)
class Ear:
    """A session as the door sees it: whose it is, its numbers, and what became of it."""

    asker: Asker
    book: StreamBook
    under_way: bytes | None = None
    recorded: bool = True
    cuts: list[str] = field(default_factory=list)
    was_under_way: list[bytes | None] = field(default_factory=list)
    stream: ServerStream | None = None

    @property
    def over(self) -> bool:
        return bool(self.cuts)

    def cut(self, reason: str) -> None:
        self.was_under_way.append(self.under_way)
        self.cuts.append(reason)

    def tell_severed(self) -> None:
        self.cut("severed")


@dataclass
class Said:
    """An answer."""

    status: int
    entry: int | None
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> tuple[int, str]:
        return self.status, self.json["error"]["kind"]


@dataclass
class Visit:
    """A paired machine at the door: signs requests and reads answers."""

    estate: Estate
    name: str
    ear: Ear
    client: HttpClient
    n: int = 0

    async def ask(
        self,
        method: str,
        target: str,
        verb: str,
        body: bytes | AsyncIterator[bytes] | None = None,
        *,
        upload: bool = False,
        signed_body: bytes | None = None,
        sent: tuple[str, str] | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        skip: int = 0,
        issued_at_ns: int | None = None,
        action: str | None = None,
    ) -> Said:
        """`signed_body`: signed instead of the body that is sent; `sent`: method and target sent instead of those that were signed."""
        content = signed_body if signed_body is not None else body
        digest = None if upload or not isinstance(content, bytes) else BodyDigest(length=len(content), sha256=sha256(content))
        fields = [("host", "house"), *headers]
        signed = sign_request(
            self.estate.machines[self.name].vault.machine.signing,
            house=bytes(self.estate.house.house_id),
            stream=self.ear.book.stream,
            n=self.n + skip,
            now_ns=issued_at_ns or time.time_ns(),
            verb=verb,
            method=method,
            target=target,
            headers=fields,
            body=digest,
            action=action,
        )
        method, target = sent or (method, target)
        response = await self.client.request(method, target, [*fields, *signed.headers], body)
        self.n += 1
        return Said(response.status, response.entry, dict(response.headers), await response.read(1 << 26))

    async def put(self, path: str, content: bytes = CONTENT) -> Said:
        """Store a file: the stream, then its closing signal."""
        begun = await self.ask("PUT", f"/v1/files/{path}", "archive.put", content, upload=True)
        assert begun.status == 202
        return await self.commit(begun.json["upload"], path, content)

    async def commit(self, upload: str, path: str, content: bytes = CONTENT) -> Said:
        closing = {"upload": upload, "path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        return await self.ask("POST", "/v1/commit", "archive.commit", json.dumps(closing).encode())


@dataclass
class Scene:
    """A house that runs, and who comes to its door."""

    estate: Estate
    house: House
    application: Any = None

    def visit(self, name: str) -> Visit:
        """A session of the owner, or of a machine that is called as its pair's type."""
        if name not in self.estate.machines:
            self.estate.pair(name, PairType(name.upper()))
        row = self.estate.at_house(name)
        session = sha256(b"session", name.encode(), time.time_ns().to_bytes(8))
        asker = Asker(house=bytes(self.estate.house.house_id), pair=row.pairing, cap=row.effective, key=row.signing_key, session=session)
        ear = Ear(asker, StreamBook.of(machine=bytes(row.subject), handshake_hash=session))
        below_client, below_house = Pipe(), Pipe()
        below_client.other, below_house.other = below_house, below_client
        client = below_client.above = HttpClient(below_client)
        server = HttpServer(self.application) if self.application is not None else self.house.http
        ear.stream = below_house.above = server.open(below_house, ear)
        return Visit(self.estate, name, ear, client)

    def kinds(self, since: int) -> list[str]:
        return self.estate.kinds(since)

    def event(self, index: int | None) -> Event:
        assert index is not None
        row = self.estate.house.store.entry(index)
        assert row is not None
        return row.event


@asynccontextmanager
async def scene(folder: Path, *routes: Route) -> AsyncIterator[Scene]:
    """The house of an estate; with routes of the test's own, or all of the house's."""
    estate = Estate.at(folder, address="127.0.0.1", port=0)
    house = House(estate.house)
    await house.start()
    application = Door(Effects(estate.house.store, estate.house.vault, NoDoors()), routes, house.clock) if routes else None
    try:
        yield Scene(estate, house, application)
    finally:
        await house.stop()
        estate.close()


NAME_OF = {PairType.ADMIN: "owner", PairType.INPUT: "input", PairType.USER: "user", PairType.INTERFACE: "interface"}


def play(folder: Path, act: Callable[[Scene], Awaitable[Any]], *routes: Route) -> Any:
    async def run() -> Any:
        async with scene(folder, *routes) as here:
            return await act(here)

    return asyncio.run(run())


async def settled(here: Scene) -> None:
    """What joins a later group is written when the next one is."""
    await here.estate.house.store.record(Event.of(Kind.STOPPED, time.time_ns(), what="ordered"))
