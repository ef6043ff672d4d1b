"""A real house and real machines on loopback, in one event loop: real sockets, ledgers and vaults, no stand-in anywhere."""

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tallystick.canonical import encode
from tallystick.gate.statement import sign_statement
from tallystick.keys import KeyId, KeyKind, Signer, pinned
from tallystick.node.asking import Redeemed, redeem
from tallystick.node.client import HouseSession
from tallystick.node.effects import Effects
from tallystick.node.house import House
from tallystick.node.inviting import invite_at_house, make_invite
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.invite import Invite, invite_id, invite_terms, parse_invite
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import EntryRef, InviteCreate, PairApprove, PairDeny, Statement, encode_statement
from tallystick.rights.matrix import ordered_actions
from tallystick.storage.rows import PairRow


async def nothing(words: Sequence[str], digits: str) -> bool:
    """A person who finds the words right."""
    return True


@dataclass
class Village:
    """One house, as many machines as wanted, and the owner who approves."""

    folder: Path
    machine: Machine
    house: House
    machines: dict[str, Machine] = field(default_factory=dict)
    port: int = 0
    recovery: str = ""

    def member(self, name: str, **flags: object) -> Machine:
        """A machine with a home of its own."""
        if name not in self.machines:
            settings = load({"name": name, "timeout_s": 5, **flags}, home=self.folder / name, env={})
            self.machines[name] = Machine.open_or_create(settings, Role.CLIENT)
        return self.machines[name]

    async def rest(self) -> None:
        """The house stops and its ledger is closed."""
        if self.house.port:
            await self.house.stop()
            self.machine.close()
            self.house.port = 0

    async def rise(self) -> None:
        """The house starts again, on the port it had, with whatever lies in its home now."""
        self.machine = Machine.open(replace(self.machine.settings, port=self.port))
        self.house = House(self.machine)
        await self.house.start()

    async def travel(self, to: str) -> None:
        """The house stops, all of its home becomes what `keep(to)` found there, and it starts again."""
        await self.rest()
        shutil.rmtree(self.machine.home.path)
        shutil.copytree(self.folder / to, self.machine.home.path)
        await self.rise()

    async def keep(self, name: str) -> None:
        """A copy of the whole home, of a house that has stopped; then it goes on."""
        await self.rest()
        shutil.copytree(self.machine.home.path, self.folder / name)
        await self.rise()

    async def meet(self, name: str) -> int:
        """A session of this machine in which it sees a checkpoint of now; its size."""
        await asyncio.to_thread(self.house.publisher.newest, fresh=True)
        async with await HouseSession.open(self.member(name), self.pair_of(name)) as session:
            await session.get_json("/v1/ping", verb="pair.ping")
        seen = self.pair_of(name).seen
        return 0 if seen is None else seen.size

    def human(self) -> Signer:
        """The owner's human key."""
        owner = self.member("owner")
        found = owner.vault.humans()
        key = found[0] if found else owner.vault.new_human_present("owner")
        return owner.vault.presence_signer(key.key_id, lambda _: True)

    async def genesis(self) -> Redeemed:
        """The owner's machine becomes the first ADMIN, its words confirmed at the house."""
        owner = self.member("owner")
        made = await invite_at_house(
            self.machine, Effects(self.machine.store, self.machine.vault, self.house), self.addresses, {"type": "ADMIN"}, time.time_ns()
        )
        asking = asyncio.create_task(
            redeem(owner, parse_invite(made["invite"]), label="owner", human=self.human, show_words=lambda _w, _d: None, wait_s=10)
        )
        pairing = await self.waiting()
        await asyncio.sleep(0.02)  # the ceremony learns of its entry a moment after the inbox shows it
        await self.house.confirm_genesis(pairing)
        return await asking

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        return (("127.0.0.1", self.house.port),)

    async def waiting(self) -> bytes:
        """The pairing id of the first proposal that waits at the house."""
        for _ in range(1000):
            for item in self.machine.store.inbox():
                return item.identity
            await asyncio.sleep(0.01)
        raise AssertionError("nobody waits")

    async def submit(self, statement: Statement, secret: bytes | None = None) -> object:
        """The owner signs, over the owner's own session."""
        owner = self.member("owner")
        async with await HouseSession.open(owner, self.pair_of("owner")) as session:
            bundle = sign_statement(
                self.human(),
                encode_statement(statement),
                house_id=self.machine.house_id,
                issued_at_ns=time.time_ns(),
                stream=secrets.token_bytes(16),
                n=0,
                salt=secrets.token_bytes(32),
            )
            return await session.post_json("/v1/statements", encode([bundle, secret]), verb="statement.submit")

    async def invite(self, pair_type: PairType = PairType.INPUT, *, yes: bool = False, for_key: KeyId | None = None) -> Invite:
        """An invite that the owner signed."""
        terms = invite_terms(pair_type=pair_type, yes=yes, for_key=for_key)
        invite, secret = make_invite(self.machine, terms, self.addresses, time.time_ns())
        await self.submit(
            InviteCreate(invite_id=invite_id(secret), pair_type=pair_type, for_key=for_key, yes=yes, ttl_s=terms.ttl_s, label=None), secret
        )
        return invite

    async def approve(self, pairing: bytes) -> None:
        """The owner approves what waits."""
        row = self.machine.store.pair(pairing)
        assert row is not None
        await self.submit(
            PairApprove(
                pairing_id=pairing,
                proposal=EntryRef(origin=self.house.statements.origin_hash, index=row.created),
                static=row.static_key,
                signing=row.signing_key,
                witness=pinned(KeyKind.ED25519, row.witness_key),
                human=None,
                pair_type=row.pair_type,
                suite=row.suite,
                label=row.label,
                actions=ordered_actions(row.pair_type),
            )
        )

    async def deny(self, pairing: bytes) -> None:
        """The owner denies what waits."""
        row = self.machine.store.pair(pairing)
        assert row is not None
        proposal = EntryRef(origin=self.house.statements.origin_hash, index=row.created)
        await self.submit(PairDeny(pairing_id=pairing, proposal=proposal, reason="denied"))

    async def join(self, name: str, pair_type: PairType = PairType.INPUT, **flags: object) -> PairRow:
        """Invite a machine and let it in. Returns: its row of the pair."""
        invite = await self.invite(pair_type, yes=True)
        machine = self.member(name, **flags)
        await redeem(machine, invite, label=name, human=None, show_words=nothing, wait_s=10)
        return self.pair_of(name)

    def pair_of(self, name: str) -> PairRow:
        """A machine's newest half."""
        return self.member(name).store.pairs()[-1]


@contextlib.asynccontextmanager
async def village(folder: Path, *, genesis: bool = True, **flags: object) -> AsyncIterator[Village]:
    """A house that runs, with its owner unless told."""
    settings = load({"name": "attic", "address": "127.0.0.1", "port": 0, **flags}, home=folder / "attic", env={})
    machine, recovery = Machine.create(settings, Role.HOUSE)
    assert recovery is not None
    house = House(machine)
    await house.start()
    found = Village(folder, machine, house, port=house.port, recovery=recovery.paper_text())
    try:
        if genesis:
            await found.genesis()
        yield found
    finally:
        await found.rest()
        for member in found.machines.values():
            member.close()
