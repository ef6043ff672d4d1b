"""A machine: its home, its keys, its ledger. Made once; opened by every command. This file and `build` choose the windows."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tallystick import __version__
from tallystick.channel.knocker import Knocker
from tallystick.errors import Misuse, Refused
from tallystick.keys import KeyId
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.node.ephemerals import Ephemerals
from tallystick.node.home import Home, holder_of
from tallystick.node.memory import Memory
from tallystick.node.reserve import Reserve
from tallystick.node.settings import Settings
from tallystick.node.spares import Spares
from tallystick.pair.pairing import PairKeys, Role
from tallystick.storage.sqlite import Store
from tallystick.vault import FileVault, RecoveryKey, best_vault_found, new_recovery


def log_name_of(house: bytes) -> str:
    """The origin line of a machine's log: a name without a scheme that says whose it is (c2sp.org/tlog-checkpoint)."""
    return f"tallystick/{house.hex()}"


@dataclass(slots=True)
class Machine:
    """An open machine. Close it, or use it in a `with`."""

    settings: Settings
    home: Home
    vault: FileVault
    store: Store
    memory: Memory
    role: Role
    house_id: KeyId
    reserve: Reserve
    knockers: dict[bytes, tuple[PairKeys, Knocker]] = field(default_factory=dict, repr=False)
    """By pairing id, what this process has already made of a pair's secret to knock with (node/dialling.py)."""
    ephemerals: Ephemerals = field(default_factory=lambda: Ephemerals(2), repr=False)
    """For the next knocks: drawn when a session ends."""
    spares: Spares = field(default_factory=Spares, repr=False)
    """Sockets and a drawn-up knock for each pair that may knock again soon."""

    @classmethod
    def create(cls, settings: Settings, role: Role, *, owner: KeyId | None = None) -> tuple[Self, RecoveryKey | None]:
        """Make a machine in `settings.home`. A house gets a recovery key: show it once, then let it go.

        Raises: Refused: something stands there already.  Unavailable: no disk.
        """
        from tallystick.passage.house import log_keys_of  # made once, opened by every command: those need not load it

        home = Home.create(settings.home)
        # A database without its origin is one that an earlier creation left when it died; it holds nothing yet.
        unfinished = home.database.exists()
        if unfinished:
            with Store.open(home.database, shared=True) as left:
                if left.size():
                    raise Refused(f"a machine already lives in {home.path}", "use it, or choose another --home; nothing is made over it")
        vault = FileVault.open(home.vault) if home.vault.exists() else FileVault.create(home.vault)
        recovery = new_recovery() if role is Role.HOUSE else None
        signing = vault.machine.signing.public
        event = Event.of(
            Kind.ORIGIN,
            time.time_ns(),
            "local",
            role=role.value,
            house=bytes(signing.key_id),
            cose_key=signing.cose_key(),
            static_key=vault.machine.static.public,
            witness_key=vault.witness.public.raw,
            log_name=log_name_of(signing.key_id),
            log_keys=log_keys_of((vault.log.ed25519.public.raw, vault.log.ml_dsa_44.public.raw)),
            vault=best_vault_found().name,
            key_class=vault.machine.signing.key_class.value,
            recovery_key=None if recovery is None else recovery.public.cose_key(),
            owner=None if owner is None else bytes(owner),
            software=f"tallystick {__version__}",
        )
        store = Store.open(home.database, create=not unfinished, shared=True)
        try:
            store.append(event).result()
            machine = cls._of(settings, home, vault, store)
        except BaseException:
            store.close()
            raise
        return machine, recovery

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The machine in `settings.home`. Raises: Misuse: there is none.  Refused: others may look inside.  Unavailable."""
        home = Home.open(settings.home)
        vault = FileVault.open(home.vault)
        store = Store.open(home.database, shared=True, sweep=not holder_of(home))  # a house that runs has tidied up
        try:
            machine = cls._of(settings, home, vault, store)
            if vault.list("next/"):
                from tallystick.node.rotating import finish  # a rotation that was cut short is rare: no command loads this for nothing

                finish(machine)
        except BaseException:
            store.close()
            raise
        return machine

    @classmethod
    def open_or_create(cls, settings: Settings, role: Role) -> Self:
        """The machine that lives there; where none does, a new one of this role (a client needs no `init`)."""
        if Home(settings.home).exists():
            return cls.open(settings)
        return cls.create(settings, role)[0]

    @classmethod
    def _of(cls, settings: Settings, home: Home, vault: FileVault, store: Store) -> Self:
        first = store.entry(0)
        if first is None:
            raise Misuse(f"the ledger in {home.path} has no origin", "its creation was cut short: run `tally init` again")
        origin = first.event
        return cls(
            settings=settings,
            home=home,
            vault=vault,
            store=store,
            memory=Memory(home.path / "memory"),
            role=Role(origin.text("role")),
            house_id=KeyId(origin.blob("house")),
            reserve=Reserve(home.path, settings.reserve_mib),
        )

    @property
    def log_name(self) -> str:
        """The name under which this machine's checkpoints are signed now (docs/spec/restore.md, section 4). Raises: Unavailable."""
        return self.store.house().log_name

    def log_keys_ever(self) -> tuple[tuple[tuple[int, bytes], ...], ...]:
        """The keys that this machine's log has been signed with, the newest first. Raises: Unavailable."""
        found = [self.store.house().log_keys]
        for row in self.store.entries(kinds=(Kind.KEY_ROTATED, Kind.MIGRATED), newest_first=True):
            if row.event.get("pair") is None and row.event.get("log_keys") is not None:
                found.append(row.event.get("log_keys"))  # type: ignore[arg-type]
        first = self.store.entry(0)
        if first is not None:
            found.append(first.event.get("log_keys"))  # type: ignore[arg-type]
        return tuple(dict.fromkeys(found))

    @property
    def owner(self) -> bytes | None:
        """The KeyId named by `tally init --owner`, if any."""
        first = self.store.entry(0)
        return (first.event.blob("owner") or None) if first is not None else None

    def record_local(self, kind: Kind, **fields: object) -> Receipt:
        """Record something that was done at this machine itself. Raises: Unavailable, Refused."""
        event = Event.checked(kind, time.time_ns(), "local", {name: value for name, value in fields.items() if value is not None})
        return self.store.append(event).result()[0]

    def close(self) -> None:
        """Write what is queued and close the ledger."""
        self.spares.close()
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
