"""The house's side of one invite, made of the real parts, that does what a test tells it: cut, lie, let stand what it must not."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tallystick.canonical import encode
from tallystick.channel.event import Confirmed, Event, Pairing
from tallystick.channel.knock import Admit, Doorkeeper
from tallystick.channel.session import Session
from tallystick.errors import Unavailable
from tallystick.gate.statement import sign_statement
from tallystick.keys import Signer
from tallystick.net.tcp import house_open
from tallystick.net.udp import Origin, UdpPort
from tallystick.node.connection import Connection
from tallystick.node.house import House
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.pair.ceremony import HouseCeremony
from tallystick.pair.invite import Invite, invite_id, invite_keys
from tallystick.pair.outcome import NeedQuote, NeedWelcome, Step, StoreHalf, Submitted
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import EntryRef, PairApprove, encode_statement
from tallystick.primitives import X25519KeyPair, mlkem768_encapsulate
from tallystick.rights.matrix import ordered_actions

PROPOSAL = 5
Bundle = Callable[["BareCeremony", PairApprove], bytes]


@dataclass
class BareCeremony:
    """One invite and what becomes of it."""

    machine: Machine
    pair_type: PairType = PairType.INPUT
    tamper: Callable[[int, bytes], bytes | None] = lambda number, message: message  # None: hang up instead
    bundle: Bundle | None = None  # what `standing` shows; None: nobody decides
    note: Callable[[bytes], bytes] = lambda note: note
    ahead_ns: int = 0
    heard: list[bytes] = field(default_factory=list)
    submitted: list[Submitted] = field(default_factory=list)
    lost: asyncio.Event = field(default_factory=asyncio.Event)
    ceremony: HouseCeremony | None = None
    invite: Invite = field(init=False)
    _sent: int = 0

    def clock(self) -> int:
        return time.time_ns() + self.ahead_ns

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["BareCeremony"]:
        secret = secrets.token_bytes(16)
        self._static = self.machine.vault.machine.static
        keeper = Doorkeeper(static=self._static, now_ns=self.clock() - 3600 * 10**9)
        expires_ns = self.clock() + 300 * 10**9
        keeper.add_invite(invite_id(secret), keys=invite_keys(secret), pair_type=self.pair_type, expires_ns=expires_ns)
        udp = UdpPort.open("127.0.0.1", 0)
        self.invite = Invite(
            secret=secret,
            house_static=self._static.public,
            addresses=(("127.0.0.1", udp.port),),
            pair_type=self.pair_type,
            expires_s=expires_ns // 10**9,
        )
        tasks: set[asyncio.Task[None]] = set()

        def receive() -> None:
            for index, datagram in enumerate(udp.receive()):
                outcome = keeper.receive(datagram, ("", 0), self.clock())
                if isinstance(outcome, Admit):
                    tasks.add(asyncio.ensure_future(self._admit(outcome, udp, udp.origin(index))))

        asyncio.get_running_loop().add_reader(udp.fileno(), receive)
        try:
            yield self
        finally:
            asyncio.get_running_loop().remove_reader(udp.fileno())
            udp.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _admit(self, admit: Admit, udp: UdpPort, origin: Origin) -> None:
        handshakes = []

        def answer(port: int) -> None:
            ephemeral = X25519KeyPair.from_private(secrets.token_bytes(32))
            reply, handshake = admit.answer(tcp_port=port, mode=admit.mode, ephemeral=ephemeral)
            handshakes.append(handshake)
            udp.send(reply, origin)

        with contextlib.suppress(Unavailable):
            opened = await house_open(admit.mode, origin.local, origin.remote.at(admit.client_port), on_ready=answer)
            self._handshake = handshakes[0]
            session = Session.of_invite(role=Role.HOUSE, handshake=self._handshake, now_ns=self.clock())
            self._client_static = admit.remote_static
            self._connection = Connection(session, opened, self.clock)
            await self._connection.start(_Ears(self))

    def begin(self) -> None:
        self.ceremony = HouseCeremony.begin(
            handshake_hash=self._handshake.handshake_hash,
            chaining_key=self._handshake.chaining_key,
            client_static=self._client_static,
            house_static=self._static.public,
            pair_type=self.pair_type,
            identity=House(self.machine).statements.identity(),
            for_key=None,
            aes=True,
        )

    def hears(self, message: bytes) -> None:
        assert self.ceremony is not None
        self.heard.append(message)
        self.ceremony, step = self.ceremony.receive(message)
        self.do(step)

    def do(self, step: Step) -> None:
        assert self.ceremony is not None
        for message in step.send:
            self._sent += 1
            tampered = self.tamper(self._sent, message)
            if tampered is None:
                self._connection.abort()
                return
            self._connection.write(self._connection.session.send_pairing(tampered))
        match step.effect:
            case NeedWelcome(hello=hello):
                secret, ciphertext = mlkem768_encapsulate(hello.kem_public)
                self.ceremony, after = self.ceremony.welcome(kem_secret=secret, kem_ciphertext=ciphertext, nonce=secrets.token_bytes(32))
            case NeedQuote():
                self.ceremony, after = self.ceremony.attested(None)
            case StoreHalf(signing=signing, witness=witness):
                vault = self.machine.vault
                self.ceremony, after = self.ceremony.proposed(
                    entry=PROPOSAL, signing=vault.machine.signing.sign(signing), witness=vault.witness.sign(witness)
                )
                self.do(after)
                if self.bundle is not None:
                    self._stand(self.bundle)
                return
            case Submitted() as submitted:
                self.submitted.append(submitted)
                return
            case _:
                return
        self.do(after)

    def _stand(self, bundle: Bundle) -> None:
        ceremony = self.ceremony
        assert ceremony is not None and ceremony.hello is not None and ceremony.secrets is not None and ceremony.welcome_message is not None
        right = PairApprove(
            pairing_id=ceremony.secrets.pairing_id,
            proposal=EntryRef(origin=ceremony.welcome_message.origin_hash, index=PROPOSAL),
            static=self._client_static,
            signing=ceremony.hello.signing,
            witness=ceremony.hello.witness,
            human=ceremony.hello.human,
            pair_type=self.pair_type,
            suite=ceremony.welcome_message.suite,
            label=ceremony.hello.label,
            actions=ordered_actions(self.pair_type),
        )
        note = self.note(Publisher(self.machine).newest(fresh=True).note)
        self.ceremony, step = ceremony.stand(bundle=bundle(self, right), entry=PROPOSAL + 1, checkpoint=note)
        self.do(step)


class _Ears:
    """What stands on the connection."""

    def __init__(self, house: BareCeremony) -> None:
        self._house = house

    def on_event(self, event: Event) -> None:
        match event:
            case Confirmed():
                self._house.begin()
            case Pairing(message=message):
                self._house.hears(message)

    def pause_writing(self) -> None:
        """A ceremony's few bytes fit."""

    def resume_writing(self) -> None:
        """See above."""

    def lost(self, reason: str) -> None:
        self._house.lost.set()


def bundle_by(signer: Signer, statement: PairApprove, house_id: bytes) -> bytes:
    """A statement as a human key would sign it."""
    return sign_statement(
        signer,
        encode_statement(statement),
        house_id=house_id,
        issued_at_ns=time.time_ns(),
        stream=secrets.token_bytes(16),
        n=0,
        salt=secrets.token_bytes(32),
    )


def house_machine(folder: Path) -> Machine:
    """The keys and the ledger of a house that does not run."""
    machine, _ = Machine.create(load({"name": "attic"}, home=folder / "attic", env={}), Role.HOUSE)
    return machine


def no_bundle(_: "BareCeremony", __: PairApprove) -> bytes:
    """Bytes that are no bundle."""
    return encode([1, b"", b"", b""])
