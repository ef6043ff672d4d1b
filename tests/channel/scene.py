"""A house, a client and what lies between them: bytes. Deterministic keys, time by hand."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from tallystick.channel.datagram import Mode
from tallystick.channel.handshake import Handshake
from tallystick.channel.knock import Admit, Doorkeeper, Outcome
from tallystick.channel.knocker import Knocker, SentKnock
from tallystick.channel.session import Session
from tallystick.pair.invite import InviteKeys, invite_id, invite_keys
from tallystick.pair.pairing import PairKeys, PairType, Role, Suite, derive_pair_keys
from tallystick.primitives import X25519KeyPair

SECOND: Final = 1_000_000_000
NOW: Final = 1_790_000_000 * SECOND + 37 * SECOND  # somewhere inside a window
ADDRESS: Final = ("192.0.2.7", 40_001)


def seeded(*words: object) -> bytes:
    """32 bytes that look random and are always the same."""
    return hashlib.sha256(repr(words).encode()).digest()


def key(*words: object) -> X25519KeyPair:
    """A key pair made of words."""
    return X25519KeyPair.from_private(seeded("key", *words))


def ephemerals(name: str) -> Callable[[], X25519KeyPair]:
    """Fresh key pairs, the same ones each run."""
    numbers: Iterator[int] = count()
    return lambda: key(name, next(numbers))


@dataclass
class Client:
    """A paired machine: what it knows of the pair, and its knocks."""

    number: int
    house_static: bytes
    pair_type: PairType = PairType.INPUT
    suite: Suite = Suite.CHACHAPOLY
    static: X25519KeyPair = field(init=False)
    keys: PairKeys = field(init=False)
    fresh: Callable[[], X25519KeyPair] = field(init=False)

    def __post_init__(self) -> None:
        self.static = key("client", self.number)
        self.keys = derive_pair_keys(seeded("pair secret", self.number))
        self.fresh = ephemerals(f"client {self.number}")

    def knocker(self, **changed: object) -> Knocker:
        """The knocker of the pair; `changed` replaces what it should not."""
        arguments: dict[str, object] = {
            "keys": self.keys,
            "static": self.static,
            "house_static": self.house_static,
            "pair_type": self.pair_type,
            "suite": self.suite,
        }
        return Knocker.of_pair(**(arguments | changed))  # type: ignore[arg-type]

    def knock(self, time_ns: int = NOW, *, tcp_port: int = 50_001, mode: Mode = Mode.OPEN) -> SentKnock:
        return self.knocker().knock(time_ns=time_ns, tcp_port=tcp_port, mode=mode, ephemeral=self.fresh())


@dataclass
class House:
    """A doorkeeper, its key, and as many clients as asked for."""

    pairs: int = 1
    start_ns: int = NOW
    suite: Suite = Suite.CHACHAPOLY
    static: X25519KeyPair = field(init=False)
    keeper: Doorkeeper = field(init=False)
    clients: list[Client] = field(init=False)

    def __post_init__(self) -> None:
        self.static = key("house")
        self.keeper = Doorkeeper(static=self.static, now_ns=self.start_ns)
        self.clients = [Client(number, self.static.public, suite=self.suite) for number in range(1, self.pairs + 1)]
        for client in self.clients:
            self.add(client)

    @property
    def client(self) -> Client:
        return self.clients[0]

    def add(self, client: Client, next_counter: int = 0) -> None:
        self.keeper.add_pair(
            client.number,
            keys=client.keys,
            client_static=client.static.public,
            pair_type=client.pair_type,
            suite=client.suite,
            next_counter=next_counter,
        )

    def hears(self, datagram: bytes, now_ns: int = NOW) -> Outcome:
        return self.keeper.receive(datagram, ADDRESS, now_ns)

    def admits(self, datagram: bytes, now_ns: int = NOW) -> Admit:
        """The knock must hold."""
        outcome = self.hears(datagram, now_ns)
        assert isinstance(outcome, Admit), (outcome, self.keeper.counts)
        return outcome

    def add_invite(self, secret: bytes, *, pair_type: PairType = PairType.INPUT, expires_ns: int = NOW + 600 * SECOND) -> InviteKeys:
        keys = invite_keys(secret)
        self.keeper.add_invite(invite_id(secret), keys=keys, pair_type=pair_type, expires_ns=expires_ns)
        return keys

    def memory(self) -> tuple[object, ...]:
        """Everything a datagram could change, but the counters and the cache of prepared handshakes."""
        keeper = self.keeper
        activities = [*keeper._active.items(), *((tag, invite.activity) for tag, invite in keeper._invites.items())]
        return (
            dict(keeper._pairs),
            list(keeper._order),
            dict(keeper._questions),
            dict(keeper._counters),
            list(keeper._invites),
            [
                (name, list(a.replay._order), sorted(a.replay._macs), a.replay.floor_ns, a.pending, a.last_ns, a._scheduled_ns)
                for name, a in activities
            ],
            [(ticket, deadline) for ticket, (_, deadline) in keeper._pending._tickets.items()],
            keeper.now_ns,
        )


def handshakes(house: House, client: Client | None = None, now_ns: int = NOW) -> tuple[Handshake, Handshake]:
    """A knock and its answer: the client's and the house's side of the handshake."""
    client = client or house.client
    sent = client.knock(now_ns)
    admit = house.admits(sent.datagram, now_ns)
    answer, at_house = admit.answer(tcp_port=41_000, mode=admit.mode, ephemeral=key("house ephemeral", now_ns, client.number))
    house.keeper.ended(admit.ticket)
    answered = sent.read(answer)
    assert answered is not None
    return answered.handshake, at_house


@dataclass
class Stream:
    """Two sessions and the two pipes between them."""

    client: Session
    house: Session

    def settle(self, now_ns: int) -> tuple[list[object], list[object]]:
        """Carry what both have to say until neither has; the events at the client and at the house."""
        at_client: list[object] = []
        at_house: list[object] = []
        for _ in range(20):
            up, down = self.client.outgoing(), self.house.outgoing()
            if not up and not down:
                return at_client, at_house
            at_house += self.house.receive(up, now_ns)
            at_client += self.client.receive(down, now_ns)
        raise AssertionError("they never stop talking")


def stream(suite: Suite = Suite.CHACHAPOLY, *, confirmed: bool = True, now_ns: int = NOW) -> Stream:
    """A session of a pair, both sides."""
    house = House(suite=suite, start_ns=now_ns)
    at_client, at_house = handshakes(house, now_ns=now_ns)
    pair = Stream(
        Session.of_pair(
            role=Role.CLIENT, handshake=at_client, suite=suite, static=house.client.static, ephemeral=ephemerals("c"), now_ns=now_ns
        ),
        Session.of_pair(role=Role.HOUSE, handshake=at_house, suite=suite, static=house.static, ephemeral=ephemerals("h"), now_ns=now_ns),
    )
    if confirmed:
        pair.house.receive(pair.client.start(), now_ns)
        pair.client.receive(pair.house.outgoing(), now_ns)
        assert pair.client.confirmed and pair.house.confirmed
    return pair


def pairing_stream(*, confirmed: bool = True, now_ns: int = NOW) -> Stream:
    """A pairing session, both sides."""
    house = House(pairs=0, start_ns=now_ns)
    keys = house.add_invite(seeded("invite")[:16])
    knocker = Knocker.of_invite(keys=keys, static=key("newcomer"), house_static=house.static.public, pair_type=PairType.INPUT)
    sent = knocker.knock(time_ns=now_ns, tcp_port=50_001, mode=Mode.OPEN, ephemeral=key("newcomer's ephemeral"))
    answer, at_house = house.admits(sent.datagram, now_ns).answer(tcp_port=41_000, mode=Mode.OPEN, ephemeral=key("house ephemeral"))
    answered = sent.read(answer)
    assert answered is not None
    pair = Stream(
        Session.of_invite(role=Role.CLIENT, handshake=answered.handshake, now_ns=now_ns),
        Session.of_invite(role=Role.HOUSE, handshake=at_house, now_ns=now_ns),
    )
    if confirmed:
        pair.house.receive(pair.client.start(), now_ns)
        pair.client.receive(pair.house.outgoing(), now_ns)
    return pair
