"""Events for the benches of the ledger."""

from typing import Protocol

from tallystick.keys.identity import KeyKind, PublicKey
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import Ed25519KeyPair, sha256

HOUSE = Ed25519KeyPair.from_private(sha256(b"bench house"))
LEAF_BYTES = 256
START_NS = 1_750_000_000_000_000_000


class Record(Protocol):
    """Where figures go (bench/run.py)."""

    def __call__(self, key: str, value: float) -> None: ...
    def missing(self, peer: str, reason: str) -> None: ...


def origin() -> Event:
    """Entry 0 of a house."""
    house = PublicKey(KeyKind.ED25519, HOUSE.public)
    witness = Ed25519KeyPair.from_private(sha256(b"bench witness")).public
    return Event.of(
        Kind.ORIGIN,
        1,
        role="house",
        house=bytes(house.key_id),
        cose_key=house.cose_key(),
        static_key=bytes(32),
        witness_key=witness,
        log_name="bench",
        log_keys=((1, HOUSE.public),),
        vault="file",
    )


def answer(*, pair: int = 0, time_ns: int = START_NS) -> Event:
    """An answer through one of many pairs; its leaf has 256 bytes."""
    ids = {name: sha256(name.encode(), pair.to_bytes(4, "big")) for name in ("pairing", "key", "session", "signal_hash", "digest")}
    event = Event.of(
        Kind.ANSWER,
        time_ns,
        "pair",
        status=200,
        key_class="file",
        attestation="none",
        result="ok",
        length=70_000,
        entry=100_000,
        cause=100_000,
        reason="read-by-its-owner",
        **ids,
    )
    if len(entry.encode(event)) != LEAF_BYTES:
        raise AssertionError(f"the leaf has {len(entry.encode(event))} bytes")
    return event
