"""The floor of `pair.connect`: a knock, its answer, the TCP connection and one sealed exchange, on the same event loop, and nothing else.

No ledger, no pairs to look up, no rights, no checkpoints, no HTTP: what is left is what the protocol and Python cost, so no house that is
written in Python can be faster on this machine. The client's sockets and message 1 are made ahead, as a warm client does.

    python -m bench.peers.bare_knock SEED      serves until it is ended; its UDP port is the first line it prints
"""

import asyncio
import sys
import time
from typing import Final, Self

import uvloop

from tallystick.channel.datagram import CLIENT_SHAPES, HOUSE_SHAPES, Mode
from tallystick.channel.filter import datagrams_of
from tallystick.channel.knock import Admit, Doorkeeper
from tallystick.channel.knocker import Draft, Knocker
from tallystick.channel.session import Session
from tallystick.net import udp
from tallystick.net.address import Endpoint
from tallystick.net.dial import ClientPort
from tallystick.net.stream import OPEN_SECONDS, Opened, ready
from tallystick.net.tcp import Opening
from tallystick.node.ephemerals import Ephemerals, ephemeral
from tallystick.pair.pairing import PairType, Role, Suite, derive_pair_keys
from tallystick.primitives import X25519KeyPair, sha256

PAIRS: Final = 16  # each may knock 20 times a second
_FIRST_BYTES: Final = 4096


class _Ends:
    """The keys of both ends, from a seed that they share."""

    def __init__(self, seed: bytes) -> None:
        self.house = X25519KeyPair.from_private(sha256(seed, b"house"))
        self.client = X25519KeyPair.from_private(sha256(seed, b"client"))
        self.keys = [derive_pair_keys(sha256(seed, bytes((number,)))) for number in range(PAIRS)]


async def _confirmed(session: Session, opened: Opened) -> None:
    """Read until the other side has proven itself."""
    loop = asyncio.get_running_loop()
    while not session.confirmed:
        try:
            data = opened.sock.recv(_FIRST_BYTES)
        except BlockingIOError:
            await ready(opened.sock, loop.time() + OPEN_SECONDS, write=False)
            continue
        if not data:
            raise AssertionError("the other end hung up")
        session.receive(data, time.time_ns())


class Caller:
    """The client: one connection after the other, to a house in a process of its own."""

    def __init__(self, seed: bytes, port: int) -> None:
        ends = _Ends(seed)
        self._static = ends.client
        self._house = Endpoint.of("127.0.0.1", port)
        self._ephemerals = Ephemerals()
        self._knockers = [
            Knocker.of_pair(keys=keys, static=ends.client, house_static=ends.house.public, pair_type=PairType.INPUT, suite=Suite.AESGCM)
            for keys in ends.keys
        ]
        self._turn = 0
        self._opened: Opened | None = None
        self._ready = self._prepare()

    @classmethod
    def of(cls, seed: bytes, port: str) -> Self:
        """As the server's first line has it."""
        return cls(seed, int(port))

    def _prepare(self) -> tuple[udp.Knocker, ClientPort, Draft]:
        self._ephemerals.refill()
        sock = udp.Knocker.open(self._house, program=datagrams_of(CLIENT_SHAPES))
        port = ClientPort.bind(sock.local)
        knocker = self._knockers[self._turn % PAIRS]
        self._turn += 1
        return sock, port, knocker.draft(tcp_port=port.number, ephemeral=self._ephemerals.draw())

    async def connect(self) -> None:
        """From nothing to a connection on which both sides have proven themselves."""
        sock, port, draft = self._ready
        sent = draft.knock(time_ns=time.time_ns(), mode=Mode.OPEN)
        sock.send(sent.datagram)
        answered = None
        while answered is None:
            datagram = await sock.receive(OPEN_SECONDS)
            if datagram is None:
                raise AssertionError("the house did not answer")
            answered = sent.read(datagram)
        self._opened = await port.open(self._house.at(answered.house_port), mode=answered.mode)
        session = Session.of_pair(
            role=Role.CLIENT,
            handshake=answered.handshake,
            suite=Suite.AESGCM,
            static=self._static,
            ephemeral=ephemeral,
            now_ns=time.time_ns(),
        )
        self._opened.sock.send(session.start())
        await _confirmed(session, self._opened)

    def hang_up(self) -> None:
        """End the connection and make ready for the next."""
        if self._opened is not None:
            self._opened.close()
        self._ready[0].close()
        self._ready = self._prepare()

    def close(self) -> None:
        """Give the sockets back."""
        self._ready[0].close()
        self._ready[1].close()


async def _serve(seed: bytes) -> None:
    ends, ephemerals, tasks = _Ends(seed), Ephemerals(), set[asyncio.Task[None]]()
    loop = asyncio.get_running_loop()
    keeper = Doorkeeper(static=ends.house, now_ns=time.time_ns())
    for number, keys in enumerate(ends.keys, start=1):
        keeper.add_pair(number, keys=keys, client_static=ends.client.public, pair_type=PairType.INPUT, suite=Suite.AESGCM)
    port = udp.UdpPort.open("127.0.0.1", 0, program=datagrams_of(HOUSE_SHAPES))
    ephemerals.refill()

    async def meet(opening: Opening, session: Session, ticket: int) -> None:
        opened = await opening.opened()
        keeper.ended(ticket)
        await _confirmed(session, opened)
        opened.sock.send(session.outgoing())
        opened.settle()
        ephemerals.refill()
        await ready(opened.sock, loop.time() + OPEN_SECONDS, write=False)
        opened.close()

    def hear() -> None:
        for index, datagram in enumerate(port.receive()):
            admit = keeper.receive(datagram, ("", 0), time.time_ns())
            if isinstance(admit, Admit):
                origin = port.origin(index)
                opening = Opening(admit.mode, origin.local, origin.remote.at(admit.client_port))
                reply, handshake = admit.answer(tcp_port=opening.port, mode=admit.mode, ephemeral=ephemerals.draw())
                port.send(reply, origin)
                session = Session.of_pair(
                    role=Role.HOUSE,
                    handshake=handshake,
                    suite=Suite.AESGCM,
                    static=ends.house,
                    ephemeral=ephemeral,
                    now_ns=time.time_ns(),
                )
                task = loop.create_task(meet(opening, session, admit.ticket))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    loop.add_reader(port.fileno(), hear)
    print(port.port, flush=True)
    while True:
        keeper.tick(time.time_ns())
        await asyncio.sleep(1)


if __name__ == "__main__":
    uvloop.run(_serve(bytes.fromhex(sys.argv[1])))
