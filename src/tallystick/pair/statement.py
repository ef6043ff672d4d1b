"""The bodies of human statements about pairs, invites and admin keys (docs/spec/statements.md).

A body says what a human key signs; the signature is a signal of class `human` around it (gate/statement.py). Pair and
gate do not know each other, so nothing here believes a signature and nothing there knows what a pair is.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Misuse, TallyError
from tallystick.keys import KeyId, KeyKind, PublicKey, pinned
from tallystick.pair.field import actions_of, hash_of, label_of, signing_key, whole
from tallystick.pair.invite import HOST_FORM
from tallystick.pair.message import MAX_BUNDLE_BYTES, MAX_ENTRY_INDEX
from tallystick.pair.pairing import PairType, Suite

MAX_STATEMENT_BYTES: Final = 16_384
STATEMENT_VERSION: Final = 1
MAX_ADMINS: Final = 8
DENY_REASONS: Final = ("denied", "wrong-words", "unknown-machine", "expired")
SEVER_REASONS: Final = ("unspecified", "lost", "stolen", "retired", "compromised")
MAX_ERASED: Final = 32
_MAX_TTL_S: Final = 600
_REASON: Final = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,62}[a-z0-9])?")
MAX_SEEN: Final = 64
MAX_ADDRESSES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryRef:
    """An entry of a log: the hash of its origin (32 bytes) and the index."""

    origin: bytes
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PairApprove:
    """The pairing stands, and the machine's signing key has `actions` for class machine. `human`: ADMIN only, becomes an admin."""

    pairing_id: bytes
    proposal: EntryRef
    static: bytes
    signing: PublicKey
    witness: PublicKey
    human: PublicKey | None
    pair_type: PairType
    suite: Suite
    label: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDeny:
    """The proposed pairing does not come to be."""

    pairing_id: bytes
    proposal: EntryRef
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSever:
    """The pairing ends. It names the pairing, so it says nothing about a later one of the same machine."""

    pairing_id: bytes
    reason: str = "unspecified"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDowngrade:
    """The pair may do less from now on."""

    pairing_id: bytes
    pair_type: PairType


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteCreate:
    """An invite exists; with `yes` it stands for the approval of the one pairing it leads to."""

    invite_id: bytes
    pair_type: PairType
    for_key: KeyId | None
    yes: bool
    ttl_s: int
    label: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteRevoke:
    """An invite is void."""

    invite_id: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceAdmins:
    """The recovery key's one statement: these are the admin human keys of the log with this origin, and no others."""

    origin: bytes
    admins: tuple[PublicKey, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseRestore:
    """The house opens again: the tree of `size` entries with this root goes on under the name `log` (docs/spec/restore.md, section 4).

    `origin`: SHA-256 of its name until now.  `seen`: the newest checkpoints that its pairs showed: origin hash, size, root.
    """

    origin: bytes
    size: int
    root: bytes
    log: str
    seen: tuple[tuple[bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PairResign:
    """After a restore a person stands by the pair again."""

    pairing_id: bytes
    pair_type: PairType


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyResume:
    """A suspended key stands again."""

    key: KeyId


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyErase:
    """The openings of an entry, and of further entries (first, count), are destroyed."""

    entry: int
    erased: tuple[tuple[int, int], ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseMigrate:
    """The house moves to the machine with these keys (docs/spec/restore.md, section 7). `log`: Ed25519 and ML-DSA-44."""

    origin: bytes
    static: bytes
    signing: PublicKey
    witness: PublicKey
    log: tuple[bytes, bytes]
    addresses: tuple[tuple[str, int], ...]


Statement: TypeAlias = (
    PairApprove
    | PairDeny
    | PairSever
    | PairDowngrade
    | InviteCreate
    | InviteRevoke
    | ReplaceAdmins
    | HouseRestore
    | PairResign
    | KeyResume
    | BodyErase
    | HouseMigrate
)

VERBS: Final[dict[type[Statement], str]] = {
    PairApprove: "pair.approve",
    PairDeny: "pair.deny",
    PairSever: "pair.sever",
    PairDowngrade: "pair.downgrade",
    InviteCreate: "invite.create",
    InviteRevoke: "invite.revoke",
    ReplaceAdmins: "key.replace-admins",
    HouseRestore: "house.restore",
    PairResign: "pair.resign",
    KeyResume: "key.resume",
    BodyErase: "body.erase",
    HouseMigrate: "house.migrate",
}


def encode_statement(statement: Statement) -> bytes:
    """Write a body in its one form. Raises: Misuse when a field is out of range: it was made here."""
    raw = encode({"v": STATEMENT_VERSION, "verb": VERBS[type(statement)], **_fields(statement)})
    try:
        if parse_statement(raw) != statement:
            raise Misuse("statement: a field is not in its one form")
    except TallyError as error:
        raise Misuse(error.message, error.hint) from None
    return raw


def parse_statement(raw: bytes) -> Statement:
    """Read a body. Raises: Malformed for an unknown verb, a missing or further field, or a value out of range."""
    value = decode(raw, max_bytes=MAX_STATEMENT_BYTES, max_depth=3, max_items=512)
    if not isinstance(value, dict):
        raise Malformed("statement: not a map")
    form = dict(value)
    version, verb = form.pop("v", None), form.pop("verb", None)
    if type(version) is not int or version != STATEMENT_VERSION:
        raise Malformed("statement: a version that is not known here")
    match form:
        case {
            "pairing": pairing, "proposal": proposal, "static": static, "signing": signing, "witness": witness, "human": human,
            "type": kind, "suite": suite, "label": label, "actions": actions, **rest,
        } if verb == "pair.approve" and not rest:  # fmt: skip
            return _approve(
                PairApprove(
                    pairing_id=hash_of(pairing),
                    proposal=_entry(proposal),
                    static=pinned(KeyKind.X25519, hash_of(static)).raw,
                    signing=signing_key(signing),
                    witness=pinned(KeyKind.ED25519, hash_of(witness)),
                    human=None if human is None else signing_key(human),
                    pair_type=_one_of(PairType, kind),
                    suite=_one_of(Suite, suite),
                    label=label_of(label),
                    actions=actions_of(actions),
                )
            )
        case {"pairing": pairing, "proposal": proposal, "reason": reason, **rest} if verb == "pair.deny" and not rest:
            return PairDeny(pairing_id=hash_of(pairing), proposal=_entry(proposal), reason=_word(reason, DENY_REASONS))
        case {"pairing": pairing, "reason": reason, **rest} if verb == "pair.sever" and not rest:
            return PairSever(pairing_id=hash_of(pairing), reason=_word(reason, SEVER_REASONS))
        case {"pairing": pairing, "type": kind, **rest} if verb == "pair.downgrade" and not rest:
            return PairDowngrade(pairing_id=hash_of(pairing), pair_type=_one_of(PairType, kind))
        case {"invite": invite, "type": kind, "for": key, "yes": bool(yes), "ttl": ttl, "label": label, **rest} if (
            verb == "invite.create" and not rest
        ):
            return InviteCreate(
                invite_id=hash_of(invite),
                pair_type=_one_of(PairType, kind),
                for_key=None if key is None else KeyId(hash_of(key)),
                yes=yes,
                ttl_s=whole(ttl, 1, _MAX_TTL_S),
                label=None if label is None else label_of(label),
            )
        case {"invite": invite, **rest} if verb == "invite.revoke" and not rest:
            return InviteRevoke(invite_id=hash_of(invite))
        case {"origin": origin, "admins": list(admins), **rest} if verb == "key.replace-admins" and not rest:
            if not 1 <= len(admins) <= MAX_ADMINS:
                raise Malformed(f"statement: 1 to {MAX_ADMINS} admin keys")
            keys = tuple(signing_key(key) for key in admins)
            if len({key.key_id for key in keys}) != len(keys):
                raise Malformed("statement: one admin key twice")
            return ReplaceAdmins(origin=hash_of(origin), admins=keys)
        case {"origin": origin, "size": size, "root": root, "log": log, "seen": list(seen), **rest} if verb == "house.restore" and not rest:
            if len(seen) > MAX_SEEN:
                raise Malformed(f"statement: at most {MAX_SEEN} checkpoints")
            return HouseRestore(
                origin=hash_of(origin),
                size=whole(size, 1, MAX_ENTRY_INDEX),
                root=hash_of(root),
                log=_log_name(log),
                seen=tuple(_checkpoint(each) for each in seen),
            )
        case {"pairing": pairing, "as": kind, **rest} if verb == "pair.resign" and not rest:
            return PairResign(pairing_id=hash_of(pairing), pair_type=_one_of(PairType, kind))
        case {"key": key, **rest} if verb == "key.resume" and not rest:
            return KeyResume(key=KeyId(hash_of(key)))
        case {"entry": entry, "erased": None | list() as erased, "reason": reason, **rest} if verb == "body.erase" and not rest:
            if not isinstance(reason, str) or not _REASON.fullmatch(reason):
                raise Malformed("statement: a reason is a word")
            return BodyErase(entry=whole(entry, 0, MAX_ENTRY_INDEX), erased=_ranges(erased), reason=reason)
        case {
            "origin": origin, "static": static, "signing": signing, "witness": witness, "log": [bytes(ed25519), bytes(ml_dsa)],
            "addresses": list(addresses), **rest,
        } if verb == "house.migrate" and not rest:  # fmt: skip
            if not 1 <= len(addresses) <= MAX_ADDRESSES:
                raise Malformed(f"statement: 1 to {MAX_ADDRESSES} addresses")
            return HouseMigrate(
                origin=hash_of(origin),
                static=pinned(KeyKind.X25519, hash_of(static)).raw,
                signing=signing_key(signing),
                witness=pinned(KeyKind.ED25519, hash_of(witness)),
                log=(pinned(KeyKind.ED25519, hash_of(ed25519)).raw, pinned(KeyKind.ML_DSA_44, ml_dsa).raw),
                addresses=tuple(_address(each) for each in addresses),
            )
        case _:
            raise Malformed("statement: not a statement of this version")


def bundle_body(bundle: bytes) -> Statement:
    """What a bundle claims to state (docs/spec/statements.md, section 1); nothing is proven by reading it.

    Raises: Malformed when the bundle or its body is of another form.
    """
    match decode(bundle, max_bytes=MAX_BUNDLE_BYTES, max_depth=1, max_items=8):
        case [int(version), bytes(), bytes(), bytes(body)] if version is not True and version == 1:
            return parse_statement(body)
        case _:
            raise Malformed("statement: not a bundle of signal, opening and body")


def _fields(statement: Statement) -> dict[str, Encodable]:
    match statement:
        case PairApprove() as s:
            return {
                "pairing": s.pairing_id,
                "proposal": [s.proposal.origin, s.proposal.index],
                "static": s.static,
                "signing": s.signing.cose_key(),
                "witness": s.witness.raw,
                "human": None if s.human is None else s.human.cose_key(),
                "type": s.pair_type.value,
                "suite": s.suite.value,
                "label": s.label,
                "actions": list(s.actions),
            }
        case PairDeny() as s:
            return {"pairing": s.pairing_id, "proposal": [s.proposal.origin, s.proposal.index], "reason": s.reason}
        case PairSever() as s:
            return {"pairing": s.pairing_id, "reason": s.reason}
        case PairDowngrade() as s:
            return {"pairing": s.pairing_id, "type": s.pair_type.value}
        case InviteCreate() as s:
            key = None if s.for_key is None else bytes(s.for_key)
            return {"invite": s.invite_id, "type": s.pair_type.value, "for": key, "yes": s.yes, "ttl": s.ttl_s, "label": s.label}
        case InviteRevoke() as s:
            return {"invite": s.invite_id}
        case ReplaceAdmins() as s:
            return {"origin": s.origin, "admins": [key.cose_key() for key in s.admins]}
        case HouseRestore() as s:
            return {"origin": s.origin, "size": s.size, "root": s.root, "log": s.log, "seen": [list(each) for each in s.seen]}
        case PairResign() as s:
            return {"pairing": s.pairing_id, "as": s.pair_type.value}
        case KeyResume() as s:
            return {"key": bytes(s.key)}
        case BodyErase() as s:
            return {"entry": s.entry, "erased": [list(each) for each in s.erased] or None, "reason": s.reason}
        case HouseMigrate() as s:
            return {
                "origin": s.origin,
                "static": s.static,
                "signing": s.signing.cose_key(),
                "witness": s.witness.raw,
                "log": list(s.log),
                "addresses": [list(each) for each in s.addresses],
            }


def _approve(statement: PairApprove) -> PairApprove:
    if (statement.human is not None) != (statement.pair_type is PairType.ADMIN):
        raise Malformed("statement: a human key is named exactly for an ADMIN pairing")
    return statement


def _log_name(value: Value) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= 255 or not all("!" <= each <= "~" and each != "+" for each in value):
        raise Malformed("statement: the name of a log is missing")
    return value


def _checkpoint(value: Value) -> tuple[bytes, int, bytes]:
    if not isinstance(value, list) or len(value) != 3:
        raise Malformed("statement: a checkpoint is an origin hash, a size and a root")
    return hash_of(value[0]), whole(value[1], 0, MAX_ENTRY_INDEX), hash_of(value[2])


def _address(value: Value) -> tuple[str, int]:
    match value:
        case [str(host), int(port)] if HOST_FORM.fullmatch(host) and type(port) is int and 1 <= port <= 65_535:
            return host, port
    raise Malformed("statement: an address is a host and a port")


def _entry(value: Value) -> EntryRef:
    if not isinstance(value, list) or len(value) != 2:
        raise Malformed("statement: an entry is an origin hash and an index")
    return EntryRef(origin=hash_of(value[0]), index=whole(value[1], 0, MAX_ENTRY_INDEX))


def _ranges(value: list[Value] | None) -> tuple[tuple[int, int], ...]:
    """First entry and count, rising."""
    if value is None:
        return ()
    if not 1 <= len(value) <= MAX_ERASED:
        raise Malformed(f"statement: 1 to {MAX_ERASED} ranges of entries, or null")
    found = []
    for each in value:
        if not isinstance(each, list) or len(each) != 2:
            raise Malformed("statement: a range is its first entry and a count")
        found.append((whole(each[0], 0, MAX_ENTRY_INDEX), whole(each[1], 1, MAX_ENTRY_INDEX)))
    return tuple(found)


def _word(value: Value, words: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in words:
        raise Malformed(f"statement: one of {', '.join(words)} is missing")
    return value


_Choice = TypeVar("_Choice", PairType, Suite)


def _one_of(choices: type[_Choice], value: Value) -> _Choice:
    for choice in choices:
        if choice.value == value:
            return choice
    raise Malformed(f"statement: unknown {choices.__name__}")
