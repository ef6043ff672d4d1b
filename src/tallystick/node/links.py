"""Links: what leads from what a pair knows of its house to what it must know now (docs/spec/restore.md, section 5).

The house writes them from its ledger; a pair checks each with what it knew before. Which human key counts is a chain of statements that
begins with a key this pair has known from its own pairing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tallystick.canonical import Encodable, decode, encode
from tallystick.errors import Malformed, Unproven
from tallystick.gate.statement import ProvenStatement, parse_bundle
from tallystick.keys import PublicKey, parse_cose_key
from tallystick.ledger.event import Event, Kind
from tallystick.node.bundles import bundle_of
from tallystick.node.checkpointwire import MAX_LINK_BYTES, MAX_LINKS
from tallystick.node.rotation import Rotation, read_rotation
from tallystick.pair.statement import HouseMigrate, HouseRestore, PairApprove, ReplaceAdmins, Statement, parse_statement
from tallystick.storage.rows import EntryRow
from tallystick.storage.sqlite import Store
from tallystick.tlog.tree import MAX_SIZE

KINDS: Final = (Kind.KEY_ROTATED, Kind.RESTORED, Kind.MIGRATED)
MAX_CHAIN: Final = 8
_ROTATED, _RESTORED, _MIGRATED = 1, 2, 3

Chain = tuple[tuple[PublicKey, bytes], ...]


@dataclass(frozen=True, slots=True)
class Link:
    """One link: the house's entry, and a rotation or a chain of statements whose last one says what happens."""

    entry: int
    rotation: bytes | None = field(default=None, repr=False)
    chain: Chain = field(default=(), repr=False)
    moved: bool = False


def links_after(store: Store, after: int) -> tuple[Link, ...]:
    """The links of a house behind an entry, oldest first, at most as many as a message holds. Raises: Unavailable."""
    rows = [row for row in store.entries(after + 1, kinds=KINDS) if row.event.get("pair") is None]
    return tuple(_link(store, row) for row in rows[:MAX_LINKS])


def newest_link(store: Store) -> int:
    """The entry of the newest link; 0 where there is none. Raises: Unavailable."""
    rows = store.entries(kinds=KINDS, newest_first=True)
    return next((row.index for row in rows if row.event.get("pair") is None), 0)


def _link(store: Store, row: EntryRow) -> Link:
    event = row.event
    if event.kind is Kind.KEY_ROTATED:
        return Link(row.index, rotation=event.blob("statement"))
    return Link(row.index, chain=chain_of(store, event), moved=event.kind is Kind.MIGRATED)


def chain_of(store: Store, event: Event) -> Chain:
    """The statement of an entry, behind those that made its signer an admin, the oldest first. Raises: Unavailable."""
    found: list[tuple[PublicKey, bytes]] = []
    signer, statement = event.blob("key"), event
    for _ in range(MAX_CHAIN):
        row = store.key(signer)
        if row is None:
            break
        found.append((row.public, bundle_of(statement)))
        if row.introduced_by is None:
            break
        naming = next((each for each in store.entries(row.introduced, row.introduced + 4) if each.event.get("statement") is not None), None)
        if naming is None:
            break
        signer, statement = bytes(row.introduced_by), naming.event
    return tuple(reversed(found))


def write_link(link: Link) -> bytes:
    """The link in its one form."""
    if link.rotation is not None:
        return encode([link.entry, _ROTATED, link.rotation])
    chain: list[Encodable] = [[key.cose_key(), bundle] for key, bundle in link.chain]
    return encode([link.entry, _MIGRATED if link.moved else _RESTORED, chain])


def read_link(raw: bytes) -> Link:
    """Raises: Malformed."""
    match decode(raw, max_bytes=MAX_LINK_BYTES, max_depth=3, max_items=64):
        case [int(entry), int(kind), bytes(rotation)] if _is_entry(entry) and _is_entry(kind) and kind == _ROTATED:
            return Link(entry, rotation=rotation)
        case [int(entry), (2 | 3) as kind, list(rows)] if _is_entry(entry) and 1 <= len(rows) <= MAX_CHAIN:
            chain: list[tuple[PublicKey, bytes]] = []
            for row in rows:
                match row:
                    case [bytes(key), bytes(bundle)]:
                        chain.append((parse_cose_key(key), bundle))
                    case _:
                        raise Malformed("a chain is of keys and bundles")
            return Link(entry, chain=tuple(chain), moved=kind == _MIGRATED)
    raise Malformed("not a link")


def _is_entry(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_SIZE


def prove_chain(chain: Chain, trusted: Iterable[bytes], house: bytes) -> tuple[ProvenStatement, Statement, PublicKey]:
    """The last statement of a chain, when it is signed by a key that counts.

    Args: trusted: the KeyIds that this pair knows as admins or as the recovery key.  house: the house id they must be for.
    Raises: Unproven: its signer is none of them, and none of them made it one.  Malformed.
    """
    known: dict[bytes, PublicKey | None] = dict.fromkeys(trusted)
    last: tuple[ProvenStatement, Statement, PublicKey] | None = None
    for key, bundle in chain:
        last = None
        unproven = parse_bundle(bundle)
        if bytes(key.key_id) not in known or unproven.kid != key.key_id:
            continue  # an older part of the chain, or no part of it
        if unproven.signal.claims.aud != house:
            raise Unproven("a statement for another house")
        proven = unproven.prove(key)
        statement = parse_statement(proven.body)
        named = _named(statement)
        if isinstance(statement, ReplaceAdmins):
            # The recovery key names the admins anew: those from before are none any more.
            known = {bytes(key.key_id): key}
        known.update({bytes(each.key_id): each for each in named})
        last = proven, statement, key
    if last is None:
        raise Unproven(
            "the house shows a statement by a human key that this machine does not know as its admin",
            "the human key that approved this pair signs it, or the recovery key first names the new admin; else pair anew",
        )
    return last


def _named(statement: Statement) -> tuple[PublicKey, ...]:
    match statement:
        case PairApprove(human=PublicKey() as human):
            return (human,)
        case ReplaceAdmins(admins=admins):
            return admins
    return ()


def rotation_of(link: Link) -> Rotation:
    """The rotation of a link. Raises: Malformed, Unproven: it is not signed by the old and the new keys."""
    if link.rotation is None:
        raise AssertionError("a link of a rotation")
    return read_rotation(link.rotation)


def restore_of(chain: Chain, trusted: Iterable[bytes], house: bytes) -> tuple[ProvenStatement, HouseRestore, PublicKey]:
    """Raises: Unproven, Malformed."""
    proven, statement, key = prove_chain(chain, trusted, house)
    if not isinstance(statement, HouseRestore):
        raise Malformed("not the statement of a restore")
    return proven, statement, key


def migrate_of(chain: Chain, trusted: Iterable[bytes], house: bytes) -> tuple[ProvenStatement, HouseMigrate, PublicKey]:
    """Raises: Unproven, Malformed."""
    proven, statement, key = prove_chain(chain, trusted, house)
    if not isinstance(statement, HouseMigrate):
        raise Malformed("not the statement of a move")
    return proven, statement, key


def shown_bundle(event: Event) -> bytes:
    """The statement behind a pair that was kept as it was shown (passage/pairing.py, `Shown`); empty where there is none."""
    ext = event.get("ext")
    if not isinstance(ext, Mapping):
        return b""
    pieces = [ext.get(f"unproven-statement.{number}") for number in range(8)]
    return b"".join(piece for piece in pieces if isinstance(piece, bytes))


def trusted_by(store: Store, created: int, stood: int | None, pair: bytes, own: Iterable[bytes]) -> Mapping[bytes, bytes]:
    """The KeyIds that a client knows as human keys of its house's admins, or as its recovery key, each with what says so.

    Args: created, stood: entries of the proposal and the approval in the client's ledger.  own: human keys of this machine.
    """
    known: dict[bytes, bytes] = dict.fromkeys(own, b"")
    proposal = store.entry(created)
    if proposal is not None and proposal.event.get("recovery_key") is not None:
        known[bytes(parse_cose_key(proposal.event.blob("recovery_key")).key_id)] = b""
    approval = store.entry(stood) if stood is not None else None
    if approval is not None and approval.event.get("signal") is not None:
        known[approval.event.blob("key")] = approval.event.blob("signal")
    elif approval is not None and (bundle := shown_bundle(approval.event)):
        # Its key was not known then. What the house showed over the session whose words were compared is what we go by; that its
        # signature holds is checked when the key is here.
        shown = parse_bundle(bundle)
        known[bytes(shown.kid)] = shown.signal.sign1.raw
    for row in store.entries(kinds=(Kind.RESTORED, Kind.MIGRATED), pair=pair):
        if row.event.get("key") is not None:
            known[row.event.blob("key")] = b""
    return known
