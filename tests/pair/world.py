"""Machines with real keys, and an honest shell that does what the ceremony asks for."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from tallystick.canonical import encode
from tallystick.keys import KeyClass, KeyKind, PublicKey
from tallystick.pair.ceremony import ClientCeremony, HouseCeremony, HouseIdentity
from tallystick.pair.message import HostFacts
from tallystick.pair.outcome import NeedQuote, NeedWelcome, Proposed, State, Step, Stood, StoreHalf, Submitted
from tallystick.pair.pairing import PairType, Suite
from tallystick.pair.statement import EntryRef, PairApprove, encode_statement
from tallystick.primitives import (
    Ed25519KeyPair,
    MLDSA44KeyPair,
    P256KeyPair,
    X25519KeyPair,
    mlkem768_encapsulate,
    sha256,
)
from tallystick.rights.matrix import ordered_actions


def seed(name: str) -> bytes:
    """32 bytes that only depend on the name."""
    return sha256(b"test seed", name.encode())


class Key:
    """A signing key in memory."""

    key_class = KeyClass.FILE

    def __init__(self, name: str, kind: KeyKind = KeyKind.ED25519) -> None:
        self.pair: Ed25519KeyPair | P256KeyPair
        self.pair = P256KeyPair.from_private(seed(name)) if kind is KeyKind.P256 else Ed25519KeyPair.from_private(seed(name))
        self.public = PublicKey(kind, self.pair.public)

    def sign(self, message: bytes) -> bytes:
        return self.pair.sign(message)


FACTS = HostFacts(name="camera-pi", os="linux", arch="aarch64", version="0.1.0", key_class=KeyClass.FILE)


class ClientMachine:
    """The keys of a machine that asks to be paired."""

    def __init__(self, name: str = "client", kind: KeyKind = KeyKind.ED25519) -> None:
        self.name = name
        self.static = X25519KeyPair.from_private(seed(name + " static"))
        self.signing = Key(name + " signing", kind)
        self.witness = Key(name + " witness")
        self.human = Key(name + " human", kind)


class HouseMachine:
    """The keys of a house."""

    def __init__(self, name: str = "house") -> None:
        self.name = name
        self.static = X25519KeyPair.from_private(seed(name + " static"))
        self.signing = Key(name + " signing")
        self.witness = Key(name + " witness")
        self.identity = HouseIdentity(
            house_id=self.signing.public.key_id,
            signing=self.signing.public,
            witness=self.witness.public,
            log=Key(name + " log").public,
            log_pq=PublicKey(KeyKind.ML_DSA_44, MLDSA44KeyPair.from_private(seed(name + " log pq")).public),
            log_name="house.example/log",
            recovery=Key(name + " recovery").public,
            origin_hash=seed(name + " origin"),
            label="attic",
        )


CLIENT = ClientMachine()
HOUSE = HouseMachine()
H = seed("handshake hash")
CK = seed("chaining key")
INVITE = seed("invite id")


def client_ceremony(
    who: ClientMachine = CLIENT,
    *,
    pair_type: PairType = PairType.INPUT,
    h: bytes = H,
    ck: bytes = CK,
    aes: bool = True,
    salt: str = "",
    house: HouseMachine = HOUSE,
    house_id: bytes | None = None,
) -> tuple[ClientCeremony, Step]:
    return ClientCeremony.begin(
        handshake_hash=h,
        chaining_key=ck,
        client_static=who.static.public,
        house_static=house.static.public,
        pair_type=pair_type,
        invite_id=INVITE,
        house_id=house_id,
        signing=who.signing.public,
        witness=who.witness.public,
        human=who.human.public if pair_type is PairType.ADMIN else None,
        facts=FACTS,
        label="camera",
        aes=aes,
        kem_seed=seed("kem" + salt) * 2,
        nonce=seed("n_c" + salt),
    )


def house_ceremony(
    who: HouseMachine = HOUSE,
    *,
    pair_type: PairType = PairType.INPUT,
    h: bytes = H,
    ck: bytes = CK,
    aes: bool = True,
    for_key: bytes | None = None,
    client: ClientMachine = CLIENT,
) -> HouseCeremony:
    return HouseCeremony.begin(
        handshake_hash=h,
        chaining_key=ck,
        client_static=client.static.public,
        house_static=who.static.public,
        pair_type=pair_type,
        identity=who.identity,
        for_key=for_key,
        aes=aes,
    )


def bundle(body: bytes) -> bytes:
    """A bundle whose signal nobody looks at here: pair does not know the gate."""
    return encode([1, b"cose", b"opening", body])


def approval(client: ClientMachine, house: HouseMachine, pairing_id: bytes, pair_type: PairType, suite_aes: bool = True) -> PairApprove:
    return PairApprove(
        pairing_id=pairing_id,
        proposal=EntryRef(origin=house.identity.origin_hash, index=7),
        static=client.static.public,
        signing=client.signing.public,
        witness=client.witness.public,
        human=client.human.public if pair_type is PairType.ADMIN else None,
        pair_type=pair_type,
        suite=Suite.AESGCM if suite_aes else Suite.CHACHAPOLY,
        label="camera",
        actions=ordered_actions(pair_type),
    )


Tamper = Callable[[int, str, bytes], list[bytes]]


def honest(_: int, __: str, body: bytes) -> list[bytes]:
    return [body]


def until(stop: int) -> Tamper:
    """Deliver the first messages only."""
    return lambda number, _, body: [body] if number < stop else []


@dataclass
class Meeting:
    """Two ceremonies and a wire between them. `tamper(number, direction, body)` says what arrives instead of a message."""

    client: ClientCeremony
    house: HouseCeremony
    first: Step
    client_keys: ClientMachine = CLIENT
    house_keys: HouseMachine = HOUSE
    tamper: Tamper = honest
    salt: str = ""
    quotes: tuple[bytes | None, bytes | None] = (None, None)
    stand: bool = True
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    effects: list[tuple[str, object]] = field(default_factory=list)
    stored: dict[str, set[bytes]] = field(default_factory=lambda: {"client": set(), "house": set()})

    @classmethod
    def of(cls, pair_type: PairType = PairType.INPUT, **rest: object) -> "Meeting":
        client, first = client_ceremony(pair_type=pair_type)
        return replace(cls(client=client, house=house_ceremony(pair_type=pair_type), first=first), **rest)  # type: ignore[arg-type]

    def run(self) -> "Meeting":
        queue = [("c2h", body) for body in self.first.send]
        while queue:
            way, body = queue.pop(0)
            number = len(self.sent)
            self.sent.append((way, body))
            for arrived in self.tamper(number, way, body):
                if way == "c2h":
                    self.house, step = self.house.receive(arrived)
                    queue += self.act("house", step)
                else:
                    self.client, step = self.client.receive(arrived)
                    queue += self.act("client", step)
        return self

    def act(self, side: str, step: Step) -> list[tuple[str, bytes]]:
        """Send what a step sends, do what it asks for, and return what goes onto the wire."""
        way = "c2h" if side == "client" else "h2c"
        out = [(way, body) for body in step.send]
        effect = step.effect
        if effect is None:
            return out
        self.effects.append((side, effect))
        keys = self.client_keys if side == "client" else self.house_keys
        match effect:
            case NeedWelcome(hello=hello):
                secret, ciphertext = mlkem768_encapsulate(hello.kem_public)
                self.house, next_step = self.house.welcome(kem_secret=secret, kem_ciphertext=ciphertext, nonce=seed("n_h" + self.salt))
                return out + self.act("house", next_step)
            case NeedQuote() if side == "client":
                self.client, next_step = self.client.attested(self.quotes[0])
                return out + self.act("client", next_step)
            case NeedQuote():
                self.house, next_step = self.house.attested(self.quotes[1])
                return out + self.act("house", next_step)
            case StoreHalf() as ask if side == "client":
                self.stored["client"].add(ask.half.pairing_id)
                human = None if ask.human is None else self.client_keys.human.sign(ask.human)
                self.client, next_step = self.client.stored(
                    signing=keys.signing.sign(ask.signing), witness=keys.witness.sign(ask.witness), human=human
                )
                return out + self.act("client", next_step)
            case StoreHalf() as ask:
                self.stored["house"].add(ask.half.pairing_id)
                self.house, next_step = self.house.proposed(
                    entry=7, signing=keys.signing.sign(ask.signing), witness=keys.witness.sign(ask.witness)
                )
                return out + self.act("house", next_step)
            case Proposed() if self.stand:
                pairing_id = next(iter(self.stored["client"]))
                body = encode_statement(approval(self.client_keys, self.house_keys, pairing_id, self.client.pair_type))
                if self.client.pair_type is PairType.ADMIN:
                    self.client, next_step = self.client.approve(bundle(body))
                    return out + self.act("client", next_step)
                if self.house.state is State.PROPOSED:
                    self.house, next_step = self.house.stand(bundle=bundle(body), entry=8, checkpoint=b"note")
                    return out + self.act("house", next_step)
            case Submitted(bundle=submitted):
                self.house, next_step = self.house.stand(bundle=submitted, entry=8, checkpoint=b"note")
                return out + self.act("house", next_step)
            case Stood() | Proposed():
                pass
            case _:
                forget = getattr(effect, "forget", None)
                if forget is not None:
                    self.stored[side].discard(forget)
        return out

    @property
    def half(self) -> dict[str, StoreHalf]:
        return {side: effect for side, effect in self.effects if isinstance(effect, StoreHalf)}

    @property
    def last(self) -> dict[str, object]:
        return dict(self.effects)
