"""migrate ticket, to, send, receive: a house moves to another machine (docs/spec/restore.md, section 7; docs/house.md)."""

import os
from pathlib import Path
from typing import Any

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.keys import KeyKind, pinned
from tallystick.ledger.event import Kind
from tallystick.net.address import split
from tallystick.node.backup import Progress, write_backup
from tallystick.node.client import HouseSession
from tallystick.node.commands.copies import sign_newest
from tallystick.node.commands.here import run
from tallystick.node.commands.where import Passphrase, bundle_for, open_human, the_house
from tallystick.node.home import Home
from tallystick.node.host import own_address
from tallystick.node.machine import Machine
from tallystick.node.moving import Ticket, read_ticket, receive
from tallystick.node.settings import DEFAULT_PORT, Settings
from tallystick.pair.pairing import Role
from tallystick.pair.statement import HouseMigrate
from tallystick.primitives import sha256
from tallystick.vault import FileVault
from tallystick.vault.stream import SealedWriter


def migrate_ticket(settings: Settings, *, target: Path) -> dict[str, Any]:
    """On the new machine, in an empty home: make its own keys, and the ticket that a house moves to.

    Raises: Refused: a machine lives here.  Unavailable.
    """
    home = Home.create(settings.home)
    if home.database.exists():
        raise Refused(f"a machine already lives in {home.path}", "choose an empty --home")
    vault = FileVault.open(home.vault) if home.vault.exists() else FileVault.create(home.vault)
    port = settings.port or DEFAULT_PORT
    address = split(settings.advertise, port) if settings.advertise else (own_address(settings.address), port)
    text = Ticket.of(vault, (address,)).write(vault.machine.signing.sign)
    try:
        with target.open("x", encoding="ascii") as file:
            file.write(text)
    except FileExistsError:
        raise Refused(f"{target} exists", "choose another name") from None
    except OSError as error:
        raise Unavailable(f"cannot write {target}: {error.strerror}") from error
    return {
        "home": str(home.path),
        "ticket": str(target),
        "key": str(vault.machine.signing.public.key_id),
        "address": f"{address[0]}:{address[1]}",
    }


def migrate_to(settings: Settings, *, ticket: Path, house: str, passphrase: Passphrase) -> dict[str, Any]:
    """On the owner's machine: sign that the house moves to the machine of this ticket. It takes no command from then on."""
    try:
        wanted = read_ticket(ticket.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise Misuse(f"cannot read {ticket}: {error.strerror}", "`tally migrate ticket FILE` on the new machine writes it") from error
    with Machine.open(settings) as machine:
        row = the_house(machine, house)
        signer = open_human(machine, passphrase)
        statement = HouseMigrate(
            origin=sha256(row.log_name.encode()),
            static=wanted.static,
            signing=wanted.signing,
            witness=pinned(KeyKind.ED25519, wanted.witness),
            log=wanted.log,
            addresses=wanted.addresses,
        )

        async def ask() -> int:
            async with await HouseSession.open(machine, row, patient=True) as session:
                return await session.submit_alone(bundle_for(session, row, signer, statement))

        return {"house": row.label, "key": str(wanted.signing.key_id), "entry": run(ask())}


def migrate_send(settings: Settings, *, target: Path, progress: Progress) -> dict[str, Any]:
    """On the old machine: the copy of the house, which only the machine that it moved to can open; as often as wanted."""
    with Machine.open(settings) as machine:
        house = machine.store.house()
        if machine.role is not Role.HOUSE or house.state != "moved":
            raise Refused("this house has not moved", "`tally migrate to TICKET` on its owner's machine moves it")
        sign_newest(settings, machine)
        event = machine.store.entries(kinds=(Kind.MIGRATED,), newest_first=True, limit=1)[0].event
        static = event.blob("static_key")
        made = write_backup(machine, target, lambda write: SealedWriter.for_machine(write, static, os.urandom), progress, own_keys=False)
        return {"file": str(target), "bytes": made.length, "sha256": made.digest.hex(), "entries": made.size}


def migrate_receive(settings: Settings, *, source: Path, progress: Progress) -> dict[str, Any]:
    """On the new machine: check the copy, take it, and open the house here."""
    home = Home.create(settings.home)
    if not home.vault.exists():
        raise Misuse("this home has no ticket", "`tally migrate ticket FILE` makes it, and its owner signs that the house moves to it")
    return receive(source, home.path, FileVault.open(home.vault), progress)
