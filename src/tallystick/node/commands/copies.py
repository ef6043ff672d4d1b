"""backup, restore: a machine in one sealed file, and back (docs/spec/restore.md, docs/house.md)."""

import os
import time
from pathlib import Path
from typing import Any

from tallystick.errors import Misuse, Refused
from tallystick.keys import KeyId
from tallystick.ledger.event import Kind
from tallystick.node.backup import Progress, write_backup
from tallystick.node.closing import closed_event
from tallystick.node.commands.here import ask_house, is_running
from tallystick.node.commands.where import Passphrase, text_of
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.restoring import restore as put_back
from tallystick.node.settings import Settings
from tallystick.pair.pairing import Role
from tallystick.storage.rules.house import RESTORING
from tallystick.vault.stream import SealedReader, SealedWriter

MIN_PASSPHRASE = 8


def backup(settings: Settings, *, target: Path, passphrase: Passphrase, progress: Progress) -> dict[str, Any]:
    """Everything of this machine but the archive's files, sealed under a passphrase, in one file; while it runs or not.

    Raises: Misuse: too short a passphrase.  Refused: the file exists.  Unavailable.
    """
    words = text_of(passphrase("this backup"))
    if len(words) < MIN_PASSPHRASE:
        raise Misuse(f"a passphrase has at least {MIN_PASSPHRASE} characters", "take several words, and keep them away from the backup")
    began = time.monotonic()
    with Machine.open(settings) as machine:
        if machine.role is Role.HOUSE and machine.store.house().is_open:
            sign_newest(settings, machine)  # what the backup holds is under a checkpoint that lies in it
        made = write_backup(machine, target, lambda write: SealedWriter.for_passphrase(write, words, os.urandom), progress)
        entry = None
        if machine.store.house().state != "moved":
            entry = machine.record_local(Kind.BACKED_UP, size=made.size, root=made.root, digest=made.digest).index
    return {
        "file": str(target),
        "bytes": made.length,
        "sha256": made.digest.hex(),
        "entries": made.size,
        "root": made.root.hex(),
        "entry": entry,
        "seconds": time.monotonic() - began,
    }


def sign_newest(settings: Settings, machine: Machine) -> None:
    """The newest checkpoint covers everything there is now. Raises: Unavailable, Refused."""
    if is_running(settings):
        ask_house(settings, "checkpoint")
        return
    with machine.home.lock():
        publisher = Publisher(machine)
        try:
            publisher.newest(fresh=True)
        finally:
            publisher.stop()


def restore(settings: Settings, *, source: Path, owner: str | None, passphrase: Passphrase, progress: Progress) -> dict[str, Any]:
    """Put a backup into an empty home. A house is closed in it until `owner` opens it."""

    def opened(read: Any) -> SealedReader:
        return SealedReader(read, passphrase=lambda: text_of(passphrase("this backup")))

    return put_back(source, settings.home, opened, None if owner is None else KeyId.parse(owner), progress)


def restore_owner(settings: Settings, *, owner: str) -> dict[str, Any]:
    """At a closed house: name the human key that may open it again. Raises: Misuse: no house.  Refused: it is open, or no such key."""
    key = KeyId.parse(owner)
    with Machine.open(settings) as machine:
        house = machine.store.house()
        if machine.role is not Role.HOUSE:
            raise Misuse("this machine is not a house", "give the command at the house itself")
        if house.state != "closed":
            raise Refused(f"this house is {house.state}: there is nothing to open again", "`tally status` shows it")
        row = machine.store.key(bytes(key))
        if row is None or row.kind != "human" or not row.stands or "admin" not in row.actions:
            raise Refused("this key is no human key with admin here", "the recovery key makes one: `tally key replace-admins`")
        if not is_running(settings):
            with machine.home.lock():
                entry = machine.store.append(closed_event(RESTORING, bytes(key))).result()[0].index
        else:
            entry = machine.store.append(closed_event(RESTORING, bytes(key))).result()[0].index
        return {"owner": str(key), "entry": entry, "entries": house.size}
