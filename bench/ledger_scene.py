"""Events for the benches of the ledger."""

import random
from functools import lru_cache
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


def _ids(pair: int, *names: str) -> dict[str, bytes]:
    return {name: sha256(name.encode(), pair.to_bytes(4, "big")) for name in names}


def answer(*, pair: int = 0, time_ns: int = START_NS) -> Event:
    """An answer through one of many pairs; its leaf has 256 bytes."""
    event = Event.of(
        Kind.ANSWER,
        time_ns,
        "pair",
        status=200,
        key_class="file",
        attestation="none",
        result="ok",
        length=70_000,
        reason="read-by-the-owner-of-the-key",
        **_ids(pair, "pairing", "key", "session", "signal_hash", "digest"),
    )
    if len(entry.encode(event)) != LEAF_BYTES:
        raise AssertionError(f"the leaf has {len(entry.encode(event))} bytes")
    return event


def refusal(*, pair: int = 0, time_ns: int = START_NS) -> Event:
    """A refusal through one of many pairs."""
    ids = _ids(pair, "pairing", "key", "session", "signal_hash")
    return Event.of(Kind.REFUSED, time_ns, "pair", verdict="refuse", key_class="file", reason="not-within-the-rights-of-the-pair", **ids)


def history(first: int, count: int, pairs: int, dice: random.Random) -> list[Event]:
    """What happens at a busy house, a millisecond apart: nine answers to a refusal, through many pairs."""
    kinds = _templates(pairs)
    events: list[Event] = []
    for at in range(first, first + count):
        event = kinds[dice.randrange(10) == 0][dice.randrange(pairs)]
        events.append(Event(kind=event.kind, time_ns=START_NS + at * 1_000_000, actor=event.actor, fields=event.fields))
    return events


@lru_cache
def _templates(pairs: int) -> tuple[list[Event], list[Event]]:
    return [answer(pair=pair) for pair in range(pairs)], [refusal(pair=pair) for pair in range(pairs)]
