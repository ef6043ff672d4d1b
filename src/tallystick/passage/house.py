"""The house's own way: opened again after a restore, its pairs and keys signed again one by one, moved to another machine."""

from tallystick.keys import KeyId
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import BodyErase, HouseMigrate, HouseRestore
from tallystick.passage.effect import Narrow, Passage, Record
from tallystick.passage.pairing import Signed, actor_of
from tallystick.tlog.note import SignatureType


def restored(statement: HouseRestore, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A human opens the house again; everything that stood in it waits to be signed again."""
    event = Event.of(
        Kind.RESTORED,
        now_ns,
        actor_of(signed),
        seen=statement.seen,
        predecessor=(statement.origin, statement.size, statement.root),
        log_name=statement.log,
        **signed.fields(),
    )
    (receipt,) = yield Record((event,))
    opening: Receipt = receipt
    return opening


def resigned(*, pair: bytes, pair_type: PairType, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A pair stands again. Its session of this moment has no door; its next one has."""
    event = Event.of(Kind.PAIRING_RESIGNED, now_ns, actor_of(signed), pair=pair, pair_type=pair_type.value, **signed.fields())
    (receipt,) = yield Record((event,))
    yield Narrow(pair, receipt)
    standing: Receipt = receipt
    return standing


def resumed(key: KeyId, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """A suspended key stands again."""
    (receipt,) = yield Record((Event.of(Kind.KEY_RESUMED, now_ns, actor_of(signed), subject=bytes(key), **signed.fields()),))
    resumption: Receipt = receipt
    return resumption


def erased(statement: BodyErase, *, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """Openings are destroyed; the receipt says that nothing of them is left."""
    event = Event.of(
        Kind.BODY_ERASED,
        now_ns,
        actor_of(signed),
        entry=statement.entry,
        erased=statement.erased or None,
        reason=statement.reason,
        **signed.fields(),
    )
    (receipt,) = yield Record((event,))
    erasure: Receipt = receipt
    return erasure


def migrated(statement: HouseMigrate, *, size: int, root: bytes, signed: Signed, now_ns: int) -> Passage[Receipt]:
    """The last entry of this copy: from here on only the machine it names may go on."""
    event = Event.of(
        Kind.MIGRATED,
        now_ns,
        actor_of(signed),
        predecessor=(statement.origin, size, root),
        successor=statement.signing.cose_key(),
        static_key=statement.static,
        witness_key=statement.witness.raw,
        log_keys=log_keys_of(statement.log),
        **signed.fields(),
    )
    (receipt,) = yield Record((event,))
    farewell: Receipt = receipt
    return farewell


def log_keys_of(keys: tuple[bytes, bytes]) -> tuple[tuple[int, bytes], ...]:
    """Ed25519 and ML-DSA-44 as the ledger names them (C2SP signature types)."""
    return ((int(SignatureType.ED25519), keys[0]), (int(SignatureType.ML_DSA_44), keys[1]))
