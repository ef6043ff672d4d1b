"""The eleven messages of the ceremony: their one encoding and their limits (docs/spec/pairing.md, section 2).

Parsing proves nothing about who sent what: it says that the bytes are of the table, that keys may be pinned, and that
names are of a charset that a terminal can show.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, TypeAlias, TypeVar

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.keys import KeyClass, KeyKind, PublicKey, parse_cose_key, pinned
from tallystick.pair.pairing import PairType, Role, Suite

CEREMONY_VERSION: Final = 1
MLKEM_PUBLIC_BYTES: Final = 1_184  # FIPS 203, table 3
MLKEM_CIPHERTEXT_BYTES: Final = 1_088
_MLKEM_Q: Final = 3_329  # FIPS 203, 2.4
MAX_QUOTE_BYTES: Final = 60_000
MAX_BUNDLE_BYTES: Final = 49_152  # docs/spec/statements.md, section 1
MAX_CHECKPOINT_BYTES: Final = 10_000
MAX_ENTRY_INDEX: Final = 2**63 - 1

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_WORD: Final = re.compile(r"[A-Za-z0-9._+~-]{1,32}")
LABEL_FORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOG_NAME: Final = re.compile(r"[!-*,-~]{1,255}")


class Kind(IntEnum):
    """The first element of each message."""

    HELLO = 1
    WELCOME = 2
    OPEN = 3
    CLIENT_ATTEST = 4
    HOUSE_ATTEST = 5
    CLIENT_CONFIRM = 6
    HOUSE_CONFIRM = 7
    APPROVE = 8
    STANDING = 9
    REFUSED = 10
    ABORT = 11


# Bytes of a whole message.
MAX_MESSAGE_BYTES: Final = {
    Kind.HELLO: 2_048,
    Kind.WELCOME: 4_096,
    Kind.OPEN: 64,
    Kind.CLIENT_ATTEST: 60_016,
    Kind.HOUSE_ATTEST: 60_016,
    Kind.CLIENT_CONFIRM: 512,
    Kind.HOUSE_CONFIRM: 512,
    Kind.APPROVE: 49_168,
    Kind.STANDING: 60_016,
    Kind.REFUSED: 16,
    Kind.ABORT: 16,
}
_BOTH: Final = frozenset(Role)
_SENDERS: Final = {
    Kind.HELLO: frozenset((Role.CLIENT,)),
    Kind.WELCOME: frozenset((Role.HOUSE,)),
    Kind.OPEN: frozenset((Role.CLIENT,)),
    Kind.CLIENT_ATTEST: frozenset((Role.CLIENT,)),
    Kind.HOUSE_ATTEST: frozenset((Role.HOUSE,)),
    Kind.CLIENT_CONFIRM: frozenset((Role.CLIENT,)),
    Kind.HOUSE_CONFIRM: frozenset((Role.HOUSE,)),
    Kind.APPROVE: frozenset((Role.CLIENT,)),
    Kind.STANDING: frozenset((Role.HOUSE,)),
    Kind.REFUSED: frozenset((Role.HOUSE,)),
    Kind.ABORT: _BOTH,
}


class Reason(IntEnum):
    """Why a ceremony ended without a pair."""

    MALFORMED = 1
    OUT_OF_ORDER = 2
    BAD_KEY = 3
    WRONG_TYPE = 4
    BAD_COMMITMENT = 5
    BAD_CONFIRMATION = 6
    BAD_STATEMENT = 7
    OTHER_KEY = 8
    CANCELLED = 9
    DENIED = 10
    EXPIRED = 11
    ATTESTATION = 12
    UNAVAILABLE = 13
    UNSPECIFIED = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class HostFacts:
    """What a machine says of itself: claims, shown as claims, never used to decide."""

    name: str
    os: str
    arch: str
    version: str
    key_class: KeyClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The client's keys, facts and commitment. `human`: given exactly for an ADMIN pairing."""

    kem_public: bytes = field(repr=False)
    signing: PublicKey
    witness: PublicKey
    human: PublicKey | None
    facts: HostFacts
    label: str
    commit: bytes
    aes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The house's keys and its nonce. `log`: Ed25519; `log_pq`: ML-DSA-44."""

    kem_ciphertext: bytes = field(repr=False)
    house_id: bytes
    signing: PublicKey
    witness: PublicKey
    log: PublicKey
    log_pq: PublicKey
    log_name: str
    recovery: PublicKey
    origin_hash: bytes
    nonce: bytes
    pair_type: PairType
    suite: Suite
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """The client opens its commitment."""

    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Attest:
    """A quote over T1, or none."""

    sender: Role
    quote: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfirm:
    """The client proves the pair secret and its keys."""

    mac: bytes
    signing: bytes
    witness: bytes
    human: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseConfirm:
    """The house proves the pair secret and its keys; `proposal` is the entry where the pairing waits for a human."""

    mac: bytes
    signing: bytes
    witness: bytes
    proposal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approve:
    """The client's own human key signed the pairing (genesis). `bundle`: docs/spec/statements.md, section 1."""

    bundle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The pair stands: the statement that says so, its entry, and a checkpoint (signed note)."""

    bundle: bytes = field(repr=False)
    entry: int
    checkpoint: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedPairing:
    """A person or a rule said no."""

    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Abort:
    """One side stops; nothing is kept."""

    reason: Reason


Message: TypeAlias = Hello | Welcome | Open | Attest | ClientConfirm | HouseConfirm | Approve | Standing | RefusedPairing | Abort


def kind_of(message: Message) -> Kind:
    """The kind of a message."""
    match message:
        case Attest(sender=sender):
            return Kind.CLIENT_ATTEST if sender is Role.CLIENT else Kind.HOUSE_ATTEST
        case Hello():
            return Kind.HELLO
        case Welcome():
            return Kind.WELCOME
        case Open():
            return Kind.OPEN
        case ClientConfirm():
            return Kind.CLIENT_CONFIRM
        case HouseConfirm():
            return Kind.HOUSE_CONFIRM
        case Approve():
            return Kind.APPROVE
        case Standing():
            return Kind.STANDING
        case RefusedPairing():
            return Kind.REFUSED
        case Abort():
            return Kind.ABORT


def encode_message(message: Message) -> bytes:
    """Write a message in its one form. Raises: Misuse when a field is out of range: it was made here."""
    kind = kind_of(message)
    raw = encode([kind.value, *_fields(message)])
    sender = next(iter(_SENDERS[kind]))
    try:
        parse_message(raw, sender=sender)
    except TallyError as error:
        raise Misuse(f"cannot send this pairing message: {error.message}") from None
    return raw


def parse_message(raw: bytes, *, sender: Role) -> Message:
    """Read a message that `sender` sent. Raises: Malformed when it is of another form, too long, or not theirs to send."""
    value = decode(raw, max_depth=2, max_items=64)
    if not isinstance(value, list) or not value or type(value[0]) is not int or value[0] not in _READERS:
        raise Malformed("pairing: not a message of the ceremony")
    kind = Kind(value[0])
    if sender not in _SENDERS[kind]:
        raise Malformed(f"pairing: a {sender.value} never sends message {kind.value}")
    if len(raw) > MAX_MESSAGE_BYTES[kind]:
        raise Malformed(f"pairing: message {kind.value} has {len(raw)} bytes, at most {MAX_MESSAGE_BYTES[kind]} allowed")
    count, read = _READERS[kind]
    if len(value) != count + 1:
        raise Malformed(f"pairing: message {kind.value} has {count} fields after its kind")
    return read(value[1:])


def _fields(message: Message) -> list[Encodable]:
    match message:
        case Hello() as m:
            facts = [m.facts.name, m.facts.os, m.facts.arch, m.facts.version, m.facts.key_class.value]
            human = None if m.human is None else m.human.cose_key()
            return [CEREMONY_VERSION, m.kem_public, m.signing.cose_key(), m.witness.raw, human, facts, m.label, m.commit, m.aes]
        case Welcome() as m:
            keys: list[Encodable] = [
                m.house_id,
                m.signing.cose_key(),
                m.witness.raw,
                [m.log.raw, m.log_pq.raw],
                m.log_name,
                m.recovery.cose_key(),
            ]
            return [CEREMONY_VERSION, m.kem_ciphertext, *keys, m.origin_hash, m.nonce, m.pair_type.value, m.suite.value, m.label]
        case Open(nonce=nonce):
            return [nonce]
        case Attest(quote=quote):
            return [quote]
        case ClientConfirm() as m:
            return [m.mac, m.signing, m.witness, m.human]
        case HouseConfirm() as m:
            return [m.mac, m.signing, m.witness, m.proposal]
        case Approve(bundle=bundle):
            return [bundle]
        case Standing() as m:
            return [m.bundle, m.entry, m.checkpoint]
        case RefusedPairing(reason=reason) | Abort(reason=reason):
            return [reason.value]


def _hello(v: list[Value]) -> Hello:
    _version(v[0])
    hello = Hello(
        kem_public=_kem_public(v[1]),
        signing=_signing_key(v[2]),
        witness=pinned(KeyKind.ED25519, _octets(v[3], 32, 32)),
        human=None if v[4] is None else _signing_key(v[4]),
        facts=_facts(v[5]),
        label=_text(v[6], LABEL_FORM, "label"),
        commit=_octets(v[7], 32, 32),
        aes=_flag(v[8]),
    )
    _all_different(hello.signing, hello.witness, hello.human)
    return hello


def _welcome(v: list[Value]) -> Welcome:
    _version(v[0])
    logs = v[5]
    if not isinstance(logs, list) or len(logs) != 2:
        raise Malformed("pairing: two log keys")
    welcome = Welcome(
        kem_ciphertext=_octets(v[1], MLKEM_CIPHERTEXT_BYTES, MLKEM_CIPHERTEXT_BYTES),
        house_id=_octets(v[2], 32, 32),
        signing=_signing_key(v[3]),
        witness=pinned(KeyKind.ED25519, _octets(v[4], 32, 32)),
        log=pinned(KeyKind.ED25519, _octets(logs[0], 32, 32)),
        log_pq=pinned(KeyKind.ML_DSA_44, _octets(logs[1], 1312, 1312)),
        log_name=_text(v[6], _LOG_NAME, "log name"),
        recovery=_signing_key(v[7]),
        origin_hash=_octets(v[8], 32, 32),
        nonce=_octets(v[9], 32, 32),
        pair_type=_one_of(PairType, v[10]),
        suite=_one_of(Suite, v[11]),
        label=_text(v[12], LABEL_FORM, "label"),
    )
    if welcome.recovery.kind is not KeyKind.ED25519:
        raise Malformed("pairing: a recovery key is an Ed25519 key")
    _all_different(welcome.signing, welcome.witness, welcome.log, welcome.recovery)
    return welcome


def _attest(sender: Role) -> Callable[[list[Value]], Attest]:
    return lambda v: Attest(sender=sender, quote=None if v[0] is None else _octets(v[0], 1, MAX_QUOTE_BYTES))


def _client_confirm(v: list[Value]) -> ClientConfirm:
    human = None if v[3] is None else _octets(v[3], 64, 64)
    return ClientConfirm(mac=_octets(v[0], 32, 32), signing=_octets(v[1], 64, 64), witness=_octets(v[2], 64, 64), human=human)


def _house_confirm(v: list[Value]) -> HouseConfirm:
    signing, witness = _octets(v[1], 64, 64), _octets(v[2], 64, 64)
    return HouseConfirm(mac=_octets(v[0], 32, 32), signing=signing, witness=witness, proposal=_index(v[3]))


def _standing(v: list[Value]) -> Standing:
    return Standing(bundle=_octets(v[0], 1, MAX_BUNDLE_BYTES), entry=_index(v[1]), checkpoint=_octets(v[2], 1, MAX_CHECKPOINT_BYTES))


_READERS: Final[dict[int, tuple[int, Callable[[list[Value]], Message]]]] = {
    Kind.HELLO: (9, _hello),
    Kind.WELCOME: (13, _welcome),
    Kind.OPEN: (1, lambda v: Open(nonce=_octets(v[0], 32, 32))),
    Kind.CLIENT_ATTEST: (1, _attest(Role.CLIENT)),
    Kind.HOUSE_ATTEST: (1, _attest(Role.HOUSE)),
    Kind.CLIENT_CONFIRM: (4, _client_confirm),
    Kind.HOUSE_CONFIRM: (4, _house_confirm),
    Kind.APPROVE: (1, lambda v: Approve(bundle=_octets(v[0], 1, MAX_BUNDLE_BYTES))),
    Kind.STANDING: (3, _standing),
    Kind.REFUSED: (1, lambda v: RefusedPairing(reason=_reason(v[0]))),
    Kind.ABORT: (1, lambda v: Abort(reason=_reason(v[0]))),
}


def check_label(text: str) -> str:
    """A label that may name a machine: 1 to 63 characters. Raises: Misuse for any other text."""
    if not LABEL_FORM.fullmatch(text):
        raise Misuse("a name has 1 to 63 letters, digits, dots, dashes and underscores", "It begins with a letter or digit.")
    return text


def _version(value: Value) -> None:
    if type(value) is not int or value != CEREMONY_VERSION:
        raise Malformed("pairing: a version that is not known here", "Update tallystick on both machines.")


def _octets(value: Value, least: int, most: int) -> bytes:
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise Malformed(f"pairing: a byte string of {least} to {most} bytes is missing")
    return value


def _kem_public(value: Value) -> bytes:
    """An ML-KEM-768 key: 768 reduced coefficients of 12 bits, little endian, and a seed (FIPS 203 7.2, modulus check).

    Checked here, so that the shell's encapsulation cannot fail on a stranger's bytes.
    """
    key = _octets(value, MLKEM_PUBLIC_BYTES, MLKEM_PUBLIC_BYTES)
    for at in range(0, MLKEM_PUBLIC_BYTES - 32, 3):
        low, middle, high = key[at : at + 3]
        if (low | (middle & 15) << 8) >= _MLKEM_Q or (middle >> 4 | high << 4) >= _MLKEM_Q:
            raise Malformed("pairing: an ML-KEM-768 key with a coefficient that is not reduced")
    return key


def _index(value: Value) -> int:
    if type(value) is not int or not 0 <= value <= MAX_ENTRY_INDEX:
        raise Malformed("pairing: an entry index is missing")
    return value


def _flag(value: Value) -> bool:
    if not isinstance(value, bool):
        raise Malformed("pairing: a flag is missing")
    return value


def _text(value: Value, form: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not form.fullmatch(value):
        raise Malformed(f"pairing: a {what} with characters or a length we do not take")
    return value


def _reason(value: Value) -> Reason:
    if type(value) is not int or value not in Reason.__members__.values():
        raise Malformed("pairing: a reason code that is not known here")
    return Reason(value)


_Choice = TypeVar("_Choice", PairType, Suite, KeyClass)


def _one_of(choices: type[_Choice], value: Value) -> _Choice:
    for choice in choices:
        if choice.value == value:
            return choice
    raise Malformed(f"pairing: unknown {choices.__name__}")


def _facts(value: Value) -> HostFacts:
    if not isinstance(value, list) or len(value) != 5:
        raise Malformed("pairing: five host facts")
    return HostFacts(
        name=_text(value[0], _NAME, "host name"),
        os=_text(value[1], _WORD, "system's name"),
        arch=_text(value[2], _WORD, "architecture"),
        version=_text(value[3], _WORD, "version"),
        key_class=_one_of(KeyClass, value[4]),
    )


def _signing_key(value: Value) -> PublicKey:
    key = parse_cose_key(_octets(value, 1, 128))
    if key.kind not in (KeyKind.ED25519, KeyKind.P256):
        raise Malformed("pairing: a key that signs is Ed25519 or P-256")
    return key


def _all_different(*keys: PublicKey | None) -> None:
    given = [key.key_id for key in keys if key is not None]
    if len(set(given)) != len(given):
        raise Malformed("pairing: one key for two uses")
