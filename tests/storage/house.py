"""A small cast for storage tests: real keys from fixed seeds, signals with real encodings, and the events of a house's life."""

from dataclasses import dataclass
from typing import Any, Final

from tallystick.canonical import encode
from tallystick.keys.cose import sign1
from tallystick.keys.identity import KeyId, KeyKind, PublicKey
from tallystick.keys.signer import KeyClass
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import Ed25519KeyPair, sha256
from tallystick.storage.sqlite import Store

SECOND: Final = 1_000_000_000
START: Final = 1_750_000_000 * SECOND
SUITE: Final = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s"


@dataclass(frozen=True)
class Key:
    """A signer whose private half is the hash of a name."""

    pair: Ed25519KeyPair
    public: PublicKey
    key_class: KeyClass = KeyClass.FILE

    @classmethod
    def named(cls, name: str) -> "Key":
        pair = Ed25519KeyPair.from_private(sha256(b"tally test key", name.encode()))
        return cls(pair, PublicKey(KeyKind.ED25519, pair.public))

    @property
    def id(self) -> KeyId:
        return self.public.key_id

    def sign(self, message: bytes) -> bytes:
        return self.pair.sign(message)


HOUSE, WITNESS, RECOVERY, OWNER, OTHER = (Key.named(name) for name in ("house", "witness", "recovery", "owner", "other"))


def signal(key: Key, n: int, *, stream: bytes = bytes(16), verb: str = "archive.get", action: str = "read", salt: bytes = b"") -> bytes:
    """A signed payload v1 with the fields the ledger reads; `salt` makes another statement of the same number."""
    payload: dict[int, Any] = {
        1: 1,
        2: bytes(HOUSE.id),
        3: "machine",
        4: action,
        5: verb,
        6: {1: sha256(salt)},
        7: START,
        8: stream,
        9: n,
        10: [],
    }
    return sign1(key, encode(payload))


def origin(**more: Any) -> Event:
    fields: dict[str, Any] = {
        "role": "house",
        "house": bytes(HOUSE.id),
        "cose_key": HOUSE.public.cose_key(),
        "static_key": sha256(b"static"),
        "witness_key": WITNESS.pair.public,
        "log_name": "tally.test/house",
        "log_keys": ((1, sha256(b"log")),),
        "vault": "file",
        "recovery_key": RECOVERY.public.cose_key(),
    }
    return Event.of(Kind.ORIGIN, START, **(fields | more))


def owner_introduced(time_ns: int = START + 1) -> Event:
    return Event.of(
        Kind.KEY_INTRODUCED,
        time_ns,
        "invite",
        subject=bytes(OWNER.id),
        key_kind="human",
        cose_key=OWNER.public.cose_key(),
        classes=("human",),
        actions=("metadata", "read", "egress", "propose", "write", "admin"),
        label="owner",
        genesis=True,
    )


def invite_created(tag: bytes, *, pair_type: str = "INPUT", time_ns: int = START + 2, lives_ns: int = 600 * SECOND, **more: Any) -> Event:
    return Event.of(Kind.INVITE_CREATED, time_ns, "local", invite=tag, pair_type=pair_type, expires=time_ns + lives_ns, **more)


def invite_consumed(tag: bytes, *, time_ns: int = START + 3, session: bytes = bytes(32)) -> Event:
    return Event.of(Kind.INVITE_CONSUMED, time_ns, "invite", invite=tag, session=session)


def proposed(
    machine: Key, pairing: bytes, *, pair_type: str = "INPUT", time_ns: int = START + 4, role: str = "house", **more: Any
) -> Event:
    return Event.of(
        Kind.PAIRING_PROPOSED,
        time_ns,
        "invite",
        pair=pairing,
        role=role,
        pair_type=pair_type,
        suite=SUITE,
        subject=bytes(machine.id),
        cose_key=machine.public.cose_key(),
        static_key=sha256(b"static", machine.pair.public),
        witness_key=Key.named("witness of " + machine.id.hex()).pair.public,
        **more,
    )


def approved(pairing: bytes, *, pair_type: str = "INPUT", time_ns: int = START + 5, by: Key = OWNER, **more: Any) -> Event:
    return Event.of(Kind.PAIRING_APPROVED, time_ns, "pair", pair=pairing, pair_type=pair_type, key=bytes(by.id), **more)


def severed(pairing: bytes, *, time_ns: int = START + 6) -> Event:
    return Event.of(Kind.SEVERED, time_ns, "local", pair=pairing, by="local")


def answer(n: int, **more: Any) -> Event:
    return Event.of(Kind.ANSWER, START + n, "house", status=200, length=n, **more)


def found(store: Store) -> None:
    """A house with its owner."""
    store.append(origin(), owner_introduced()).result(10)


def paired(store: Store, machine: Key, name: str, *, pair_type: str = "INPUT") -> bytes:
    """A standing pair; its pairing id."""
    tag, pairing = sha256(b"invite", name.encode()), sha256(b"pairing", name.encode())
    store.append(invite_created(tag, pair_type=pair_type, label=name)).result(10)
    store.append(invite_consumed(tag)).result(10)
    store.append(proposed(machine, pairing, pair_type=pair_type, invite=tag, label=name)).result(10)
    store.append(approved(pairing, pair_type=pair_type)).result(10)
    return pairing
