"""A house and its paired machines without sockets: real ledgers, vaults and keys in a folder; what a ceremony would have left there."""

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tallystick.gate.statement import sign_statement
from tallystick.keys import KeyId, PublicKey, Signer
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.node.settings import load
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.pair.statement import Statement, encode_statement
from tallystick.passage.effect import secret_name
from tallystick.passage.house import log_keys_of
from tallystick.storage.rows import PairRow
from tallystick.vault import FileVault
from tallystick.vault.sealing import Kdf

CHEAP = Kdf(name="argon2id", salt=bytes(16), cost=(8, 1, 1))
PASSPHRASE = "correct horse"
ACTIONS = ("metadata", "read", "egress", "propose", "write", "admin")
HOUR_NS = 3_600 * 10**9


def machine(folder: Path, name: str, role: Role) -> Machine:
    """A machine with a home of its own."""
    return Machine.create(load({"name": name}, home=folder / name, env={}), role)[0]


@dataclass
class Human:
    """A human key in a vault, opened anew for each signature."""

    vault: FileVault
    public: PublicKey

    @classmethod
    def new(cls, vault: FileVault, label: str) -> Self:
        return cls(vault, vault.new_human(label, PASSPHRASE, kdf=CHEAP).public)

    @property
    def signer(self) -> Signer:
        return self.vault.human_signer(self.public.key_id, PASSPHRASE)


@dataclass
class Estate:
    """The house, its owner's human key, and the machines by name."""

    folder: Path
    house: Machine
    recovery: str
    owner: Human
    machines: dict[str, Machine] = field(default_factory=dict)

    @classmethod
    def at(cls, folder: Path, **flags: object) -> Self:
        """A house whose owner's machine is its first ADMIN pair. `flags`: settings of the house."""
        house, recovery = Machine.create(load({"name": "attic", **flags}, home=folder / "attic", env={}), Role.HOUSE)
        assert recovery is not None
        admin = machine(folder, "owner", Role.CLIENT)
        made = cls(folder, house, recovery.paper_text(), Human.new(admin.vault, "owner"), {"owner": admin})
        house.store.append(introduced(made.owner.public, genesis=True), *made.proposed("owner", PairType.ADMIN)).result()
        made.stand("owner", genesis=True)
        return made

    def close(self) -> None:
        for each in (self.house, *self.machines.values()):
            each.close()

    # --- Pairs -----------------------------------------------------------------------------------------------------------

    def proposed(self, name: str, pair_type: PairType, **more: Any) -> tuple[Event, ...]:
        """The proposal as the house's ceremony writes it. The half's secret is in both vaults."""
        there = self.machines.setdefault(
            name, machine(self.folder, name, Role.CLIENT) if name not in self.machines else self.machines[name]
        )
        pairing, secret = secrets.token_bytes(32), secrets.token_bytes(32)
        for each in (self.house, there):
            each.vault.put_secret(secret_name(pairing), secret)
        common = {"pair": pairing, "pair_type": pair_type.value, "suite": Suite.CHACHAPOLY.value, "house": bytes(self.house.house_id)}
        keys = there.vault.machine
        event = Event.of(
            Kind.PAIRING_PROPOSED,
            time.time_ns(),
            "invite",
            role="house",
            subject=bytes(keys.signing.public.key_id),
            cose_key=keys.signing.public.cose_key(),
            static_key=keys.static.public,
            witness_key=there.vault.witness.public.raw,
            label=name,
            **(common | {"expires": time.time_ns() + HOUR_NS} | more),
        )
        house = self.house.vault
        there.store.append(
            Event.of(
                Kind.PAIRING_PROPOSED,
                time.time_ns(),
                "invite",
                role="client",
                subject=bytes(house.machine.signing.public.key_id),
                cose_key=house.machine.signing.public.cose_key(),
                static_key=house.machine.static.public,
                witness_key=house.witness.public.raw,
                label="attic",
                log_name=self.house.log_name,
                log_keys=log_keys_of((house.log.ed25519.public.raw, house.log.ml_dsa_44.public.raw)),
                **common,
            )
        ).result()
        return (event,)

    def propose(self, name: str, pair_type: PairType = PairType.INPUT, **more: Any) -> PairRow:
        """A pairing that waits at the house."""
        self.house.store.append(*self.proposed(name, pair_type, **more)).result()
        return self.at_house(name)

    def stand(self, name: str, *, genesis: bool = False) -> PairRow:
        """The newest pairing with this machine stands, at both ends."""
        row = self.at_house(name)
        given: dict[str, Any] = {"genesis": True} if genesis else {}
        for where in (self.house, self.machines[name]):
            where.store.append(
                Event.of(
                    Kind.PAIRING_APPROVED,
                    time.time_ns(),
                    "pair",
                    pair=row.pairing,
                    pair_type=row.pair_type.value,
                    key=bytes(self.owner.public.key_id),
                    **given,
                )
            ).result()
        return self.at_house(name)

    def pair(self, name: str, pair_type: PairType = PairType.INPUT) -> PairRow:
        """A standing pair; the house's row of it."""
        self.propose(name, pair_type)
        return self.stand(name)

    def at_house(self, name: str) -> PairRow:
        """The house's newest row of the pair with this machine."""
        subject = self.machines[name].vault.machine.signing.public.key_id
        return [row for row in self.house.store.pairs() if row.subject == subject][-1]

    def at_client(self, name: str) -> PairRow:
        """The machine's newest row of the pair with the house."""
        return self.machines[name].store.pairs()[-1]

    # --- Statements ------------------------------------------------------------------------------------------------------

    def signed(self, statement: Statement, *, by: Signer | None = None, house: KeyId | None = None, **more: Any) -> bytes:
        """A bundle, by the owner unless told."""
        given: dict[str, Any] = {
            "issued_at_ns": time.time_ns(),
            "stream": secrets.token_bytes(16),
            "n": 0,
            "salt": secrets.token_bytes(32),
        } | more
        return sign_statement(by or self.owner.signer, encode_statement(statement), house_id=house or self.house.house_id, **given)

    def kinds(self, since: int = 0) -> list[str]:
        """The kinds of the house's entries from an index on."""
        return [row.event.kind.name for row in self.house.store.entries(since)]


def introduced(human: PublicKey, *, genesis: bool = False, **more: Any) -> Event:
    """A human key comes in."""
    given: dict[str, Any] = {"actions": ACTIONS, "genesis": genesis or None} | more
    return Event.of(
        Kind.KEY_INTRODUCED,
        time.time_ns(),
        "pair",
        subject=bytes(human.key_id),
        key_kind="human",
        cose_key=human.cose_key(),
        classes=("human",),
        **given,
    )
