"""New keys for a house: staged, signed by the old and the new, recorded, promoted (docs/spec/restore.md, section 6).

A crash between two steps is settled when the machine is opened next: keys that the ledger names are promoted, others are destroyed.
"""

import time
from typing import TYPE_CHECKING, Any

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.keys import Signer
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.node.rotation import Rotation, Use, read_rotation, write_rotation
from tallystick.pair.pairing import Role
from tallystick.passage.house import log_keys_of
from tallystick.storage.sqlite import Store
from tallystick.vault import FileVault

if TYPE_CHECKING:
    from tallystick.node.machine import Machine


def current_keys(vault: FileVault, use: Use) -> tuple[bytes, ...]:
    """The public keys that this machine uses now."""
    match use:
        case Use.LOG:
            return vault.log.ed25519.public.raw, vault.log.ml_dsa_44.public.raw
        case Use.MACHINE:
            return vault.machine.static.public, vault.machine.signing.public.cose_key()
        case Use.WITNESS:
            return (vault.witness.public.raw,)


def _signers(vault: FileVault, use: Use) -> tuple[Signer, ...]:
    match use:
        case Use.LOG:
            return vault.log.ed25519, vault.log.ml_dsa_44
        case Use.MACHINE:
            return (vault.machine.signing,)
        case Use.WITNESS:
            return (vault.witness,)


def rotate(machine: "Machine", use: Use) -> Receipt:
    """Give a house, which does not run, new keys. Open the machine again afterwards: what is open keeps the old ones.

    Raises: Misuse: no house.  Refused: it is closed or has moved.  Unavailable.
    """
    if machine.role is not Role.HOUSE:
        raise Misuse("only a house changes its keys in place", "a client pairs anew: sever it, and `tally pair INVITE`")
    if not machine.store.house().is_open:
        raise Refused("this house is closed", "`tally status` says why")
    vault, store = machine.vault, machine.store
    staged = vault.stage(use.value)
    signers = [signer.public for signer in staged.signers]
    new: tuple[bytes, ...] = tuple(key.raw for key in signers)
    if staged.static is not None:
        new = (staged.static.public, signers[0].cose_key())
    rotation = Rotation(machine=bytes(machine.house_id), use=use, size=store.size(), old=current_keys(vault, use), new=new)
    message = rotation.message()
    statement = write_rotation(rotation, tuple(signer.sign(message) for signer in (*_signers(vault, use), *staged.signers)))
    read_rotation(statement)
    fields: dict[str, Any] = {"statement": statement}
    match use:
        case Use.LOG:
            fields |= {"use": "log", "successor": new[0], "log_keys": log_keys_of((new[0], new[1]))}
        case Use.MACHINE:
            subject = bytes(vault.machine.signing.public.key_id)
            fields |= {"use": "signing", "subject": subject, "successor": new[1], "static_key": new[0]}
        case Use.WITNESS:
            fields |= {"use": "witness", "subject": bytes(vault.witness.public.key_id), "successor": signers[0].cose_key()}
    receipt = store.append(Event.of(Kind.KEY_ROTATED, time.time_ns(), "local", **fields)).result()[0]
    vault.promote(use.value)
    return receipt


def settle(vault: FileVault, store: Store) -> bool:
    """Finish what a crash cut short. Returns: whether the vault has other keys now. Only under the home's lock. Raises: Unavailable."""
    changed = False
    for use in Use:
        staged = vault.staged(use.value)
        if staged is None:
            continue
        rows = store.entries(kinds=(Kind.KEY_ROTATED,), newest_first=True)
        taken = any(_is_of(row.event, use, staged.signers[0].public.raw) for row in rows)
        if taken:
            vault.promote(use.value)
            changed = True
        else:
            vault.delete_secret(f"next/{use.value}")
    return changed


def _is_of(event: Event, use: Use, signing: bytes) -> bool:
    if event.get("pair") is not None or event.get("statement") is None:
        return False
    rotation = read_rotation(event.blob("statement"))
    return rotation.use is use and signing in rotation.new[-1 if use is Use.MACHINE else 0]


def forget_older(machine: "Machine") -> None:
    """Destroy the older Noise keys once every pair has followed, and so cosigned a checkpoint behind the rotation. Raises: Unavailable."""
    names = machine.vault.list("static/")
    if not names:
        return
    rows = machine.store.entries(kinds=(Kind.KEY_ROTATED,), newest_first=True)
    last = next((row.index for row in rows if row.event.text("use") == "signing" and row.event.get("pair") is None), None)
    if last is None:
        return
    pairs = [row for row in machine.store.pairs() if row.heard and row.role is Role.HOUSE and (row.stood or 0) < last]
    if all(row.cosigned_size is not None and row.cosigned_size > last for row in pairs):
        for name in names:
            machine.vault.delete_secret(name)


def finish(machine: "Machine") -> None:
    """When a machine is opened: settle a rotation that a crash cut short, unless somebody is at it. Raises: Unavailable, Refused."""
    if not machine.vault.list("next/"):
        return
    try:
        lock = machine.home.lock()
    except Unavailable:
        return  # whoever holds the home is rotating, or has opened it before us and settled it
    with lock:
        if settle(machine.vault, machine.store):
            machine.vault = FileVault.open(machine.home.vault)
