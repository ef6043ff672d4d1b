"""A house moves to another machine: the ticket that waits for it, and the copy, checked before it lives there (docs/spec/restore.md, 7)."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tallystick.canonical import b64, decode, encode, unb64
from tallystick.errors import Malformed, Misuse, Refused, Unavailable, Unproven
from tallystick.gate.statement import parse_bundle
from tallystick.keys import KeyKind, PublicKey, parse_cose_key, pinned, sign1
from tallystick.ledger.event import Event, Kind
from tallystick.node.backup import DATABASE, Progress
from tallystick.node.bundles import bundle_of
from tallystick.node.restoring import move_in, unpacked
from tallystick.pair.pairing import Role
from tallystick.passage.house import log_keys_of
from tallystick.primitives import ed25519_verify, p256_verify
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tallystick.tlog.checkpoint import verify_checkpoint
from tallystick.tlog.cosignature import log_verifiers
from tallystick.vault import FileVault
from tallystick.vault.container import unpack
from tallystick.vault.stream import SealedReader

MAGIC: Final = "tally ticket v1"
ARRIVAL: Final = "tally arrival v1"
HEAD: Final = "-----BEGIN TALLY TICKET-----"
TAIL: Final = "-----END TALLY TICKET-----"
MAX_TICKET_BYTES: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """The machine that waits for a house: its public keys, and where it will be."""

    static: bytes
    signing: PublicKey
    witness: bytes
    log: tuple[bytes, bytes]
    addresses: tuple[tuple[str, int], ...]

    @classmethod
    def of(cls, vault: FileVault, addresses: tuple[tuple[str, int], ...]) -> "Ticket":
        """The ticket of the machine with these keys."""
        keys = vault.machine
        return cls(
            static=keys.static.public,
            signing=keys.signing.public,
            witness=vault.witness.public.raw,
            log=(vault.log.ed25519.public.raw, vault.log.ml_dsa_44.public.raw),
            addresses=addresses,
        )

    def _message(self) -> bytes:
        return encode(
            [MAGIC, self.static, self.signing.cose_key(), self.witness, list(self.log), [list(address) for address in self.addresses]]
        )

    def write(self, sign: Callable[[bytes], bytes]) -> str:
        """The ticket as a text file. `sign`: with the machine's signing key."""
        message = self._message()
        text = b64(encode([message, sign(message)]))
        return "\n".join([HEAD, *(text[at : at + 76] for at in range(0, len(text), 76)), TAIL, ""])


def read_ticket(text: str) -> Ticket:
    """Raises: Malformed: no ticket.  Unproven: not signed by the machine it is of."""
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(text) > 2 * MAX_TICKET_BYTES or len(lines) < 3 or (lines[0], lines[-1]) != (HEAD, TAIL):
        raise Malformed("this is no ticket", "`tally migrate ticket FILE` on the new machine writes one")
    match decode(unb64("".join(lines[1:-1]), max_bytes=MAX_TICKET_BYTES), max_bytes=MAX_TICKET_BYTES, max_depth=1, max_items=4):
        case [bytes(message), bytes(signature)]:
            pass
        case _:
            raise Malformed("this is no ticket")
    match decode(message, max_bytes=MAX_TICKET_BYTES, max_depth=3, max_items=64):
        case [str(magic), bytes(static), bytes(signing), bytes(witness), [bytes(log), bytes(log_pq)], list(rows)] if magic == MAGIC:
            key = parse_cose_key(signing)
            addresses: list[tuple[str, int]] = []
            for row in rows:
                match row:
                    case [str(host), int(port)]:
                        addresses.append((host, port))
                    case _:
                        raise Malformed("this is no ticket")
            (p256_verify if key.kind is KeyKind.P256 else ed25519_verify)(key.raw, signature, message)
            return Ticket(
                static=pinned(KeyKind.X25519, static).raw,
                signing=key,
                witness=pinned(KeyKind.ED25519, witness).raw,
                log=(pinned(KeyKind.ED25519, log).raw, pinned(KeyKind.ML_DSA_44, log_pq).raw),
                addresses=tuple(addresses),
            )
    raise Malformed("a ticket of a version that is not known here")


def receive(source: Path, home: Path, vault: FileVault, progress: Progress) -> dict[str, Any]:
    """Take a house's copy into the home whose ticket it moved to. It is checked as a whole; then the house is open here.

    Raises: Refused: it moved elsewhere, or a house lives here.  Malformed, Unproven: not whole, or not what was signed.  Unavailable.
    """

    def opened(read: Any) -> SealedReader:
        return SealedReader(read, static=(vault.machine.static.public, vault.machine.static.exchange))

    with unpacked(source, home, opened, progress, waiting=True) as (staging, manifest, files):
        if manifest.role is not Role.HOUSE:
            raise Misuse("this is no copy of a house")
        with Store.open(staging / DATABASE) as store:
            if store.head() != (manifest.size, manifest.root):
                raise Malformed("the ledger in the copy is not the one it names", "have it sent again")
            entry = manifest.size - 1
            _check_moved_here(store, entry, vault)
        again = staging / "again.sqlite"
        rebuild(staging / DATABASE, again)
        if found := differences(staging / DATABASE, again):
            raise Unproven(f"the state in the copy does not follow from its entries: {found[0][:200]}", "have it sent again")
        os.unlink(again)
        for name, data in files:
            folder, _, file = name.partition("/")
            if folder != "secrets":
                raise Malformed("the copy brings keys that it may not bring")
            secret = unpack(data, "secret", file.replace("+", "/"))
            if not isinstance(secret, bytes):
                raise Malformed("the copy brings no secret where one should be")
            vault.put_secret(file.replace("+", "/"), secret)
        with Store.open(staging / DATABASE) as store:
            statement = encode([ARRIVAL, manifest.house, entry, manifest.root])
            event = Event.of(Kind.ARRIVED, manifest.time_ns, "local", entry=entry, value=sign1(vault.machine.signing, statement))
            receipt = store.append(event).result()[0]
        move_in(staging, home)
        return {"home": str(home), "house": manifest.house.hex(), "entries": manifest.size, "entry": receipt.index}


def _check_moved_here(store: Store, entry: int, vault: FileVault) -> None:
    """The last entry is the human's word that the house moves to this machine, under the old log's last checkpoint."""
    row, house = store.entry(entry), store.house()
    if row is None or row.event.kind is not Kind.MIGRATED or house.state != "moved":
        raise Refused("this house has not moved yet", "`tally migrate to TICKET` on its owner's machine moves it")
    event, mine = row.event, Ticket.of(vault, ())
    named = (event.blob("static_key"), event.blob("successor"), event.blob("witness_key"), event.get("log_keys"))
    if named != (mine.static, mine.signing.cose_key(), mine.witness, log_keys_of(mine.log)):
        raise Refused("this house has moved to another machine", "the ticket that its owner signed is not of this home")
    signer = store.key(event.blob("key"))
    if signer is None:
        raise Unproven("nobody signed that this house moves")
    parse_bundle(bundle_of(event)).prove(signer.public)
    newest = store.latest_checkpoint()
    if newest is None or newest.size != entry + 1:
        raise Unavailable("the copy holds no checkpoint of its last entry", "`tally migrate send` again, with a house that runs")
    before = next(
        (
            each.event.get("log_keys")
            for each in reversed(store.entries(0, entry, kinds=(Kind.ORIGIN, Kind.KEY_ROTATED, Kind.MIGRATED)))
            if each.event.get("log_keys") is not None and each.event.get("pair") is None
        ),
        (),
    )
    keys = before if isinstance(before, tuple) else ()
    verify_checkpoint(newest.note, log=log_verifiers(house.log_name, keys), origin=house.log_name)
