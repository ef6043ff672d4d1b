"""The closed list of event kinds and the fields of each: docs/spec/events.cddl as a table.

A field has one name, one number and one type wherever it stands. Numbers 1 to 15 are the header, which every event may
carry; the others belong to kinds. Numbers and types are never reused or changed; a later version only adds. What a kind
does not know yet goes into `ext` (words to bytes), which readers keep and may ignore.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from tallystick.ledger.field import UINT_MAX, Bytes, Choice, Flag, Items, Row, Table, Text, Type, Uint, Word

VERSION: Final = 1
MAX_LEAF_BYTES: Final = 65_535  # C2SP tlog-tiles, entry bundles: u16 lengths
MAX_SIGNAL_BYTES: Final = 32_768
MAX_STATEMENT_BYTES: Final = 24_576  # with its signal it stays under a leaf
MAX_NOTE_BYTES: Final = 24_576  # two of them fit into a leaf; a fork keeps the lines of the log itself, not every cosignature

ID = Bytes(32, 32)  # pairing id, key id, house id, any SHA-256
NUMBER = Uint()
ENTRY = Uint()
WORD = Word()

HEADER: Final[Mapping[str, tuple[int, Type]]] = {
    "version": (1, Uint(VERSION)),
    "kind": (2, Uint(65_535)),
    "time": (3, NUMBER),
    "actor": (4, Choice(("house", "local", "pair", "gate", "invite"))),
    "pairing": (5, ID),
    "key": (6, ID),
    "key_class": (7, WORD),
    "attestation": (8, WORD),
    "verdict": (9, Choice(("refuse", "hold", "allow"))),
    "reduced": (10, Flag()),
    "result": (11, Choice(("ok", "refused", "held", "failed", "unknown"))),
    "session": (12, ID),
    "reason": (13, WORD),
    "cause": (14, ENTRY),
    "ext": (15, Table(Bytes(0, 1024), 1, 16)),
}
"""The header. `pairing` and `key` say through which pair and by which key the event came about; whom it concerns stands in the
fields of its kind. `cause` is an earlier entry that brought it about."""

FIELDS: Final[Mapping[str, tuple[int, Type]]] = {
    # The commonest have one-byte numbers.
    "pair": (16, ID),
    "subject": (17, ID),
    "signal": (18, Bytes(1, MAX_SIGNAL_BYTES)),
    "signal_hash": (19, ID),
    "statement": (20, Bytes(1, MAX_STATEMENT_BYTES)),
    "statement_salt": (21, ID),
    "entry": (22, ENTRY),
    "invite": (23, ID),
    # Pairings and sessions
    "pair_type": (24, Choice(("ADMIN", "INPUT", "USER", "INTERFACE"))),
    "suite": (25, Text(64)),
    "role": (26, Choice(("house", "client"))),
    "label": (27, Text(63)),
    "expires": (28, NUMBER),
    "mode": (29, Uint(255)),
    "visibility": (30, WORD),
    "address": (31, ID),
    "stream": (32, Bytes(16, 16)),
    "n": (33, NUMBER),
    "knock": (34, ID),
    "transcript": (35, ID),
    "quotes": (36, Items(ID, 1, 2)),
    "genesis": (37, Flag()),
    "preapproved": (38, Flag()),
    "for_key": (39, ID),
    "by": (40, Choice(("local", "peer", "statement", "policy"))),
    "bytes_in": (41, NUMBER),
    "bytes_out": (42, NUMBER),
    "house": (43, ID),
    # Keys
    "cose_key": (48, Bytes(32, 2048)),
    "key_kind": (49, Choice(("human", "machine", "recovery", "witness", "log", "source"))),
    "classes": (50, Items(WORD, 0, 64)),
    "actions": (51, Items(Choice(("metadata", "read", "egress", "propose", "write", "admin")), 0, 6)),
    "targets": (52, Items(Text(1024), 0, 64)),
    "schedule": (53, Text(128)),
    "place": (54, ID),
    "static_key": (55, Bytes(32, 32)),
    "witness_key": (56, Bytes(32, 32)),
    "log_keys": (57, Items(Row((Uint(255), Bytes(32, 2048))), 1, 4)),
    "log_name": (58, Text(255)),
    "recovery_key": (59, Bytes(32, 2048)),
    "owner": (60, ID),
    "vault": (61, WORD),
    "revocation": (62, Choice(("retired", "compromised"))),
    "since": (63, ENTRY),
    "admin_keys": (64, Items(Bytes(32, 2048), 1, 16)),
    "successor": (65, Bytes(32, 2048)),
    "use": (66, Choice(("signing", "static", "witness", "log", "recovery"))),
    "algorithm": (67, WORD),
    # Rights
    "limits": (72, Table(NUMBER, 1, 32)),
    "token": (73, ID),
    "holder": (74, ID),
    "scope": (75, ID),
    "uses": (76, NUMBER),
    "items": (77, Items(Row((ENTRY, ID)), 1, 1024)),
    "risk": (78, WORD),
    "preconditions": (79, ID),
    "replaces": (80, ENTRY),
    # The gate
    "layer": (88, WORD),
    "outcome": (89, WORD),
    "rule": (90, WORD),
    "facts": (91, Items(ENTRY, 0, 256)),
    "confidence_ppm": (92, Uint(1_000_000)),
    "matches": (93, Items(Row((WORD, WORD, Uint(1_000_000), Uint(1_000_000), Uint(1_000_000))), 1, 64)),
    "signers": (94, Items(ID, 0, 256)),
    "context": (95, Row((ENTRY, ENTRY, ID))),
    "plan": (96, Table(Items(WORD, 1, 8), 1, 256)),
    "weakened": (97, Flag()),
    "models": (98, Table(ID, 1, 64)),
    "predicate": (99, WORD),
    "value": (100, Bytes(1, 4096)),
    "commitment": (101, ID),
    "observed": (102, NUMBER),
    "counts": (103, Table(NUMBER, 1, 256)),
    "fork": (104, Row((ENTRY, Bytes(1, MAX_SIGNAL_BYTES)))),
    "body": (105, ID),
    "template": (106, ID),
    # Effects and answers
    "effect": (112, WORD),
    "target": (113, ID),
    "status": (114, Uint(999)),
    "length": (115, NUMBER),
    "digest": (116, ID),
    # The ledger about itself
    "size": (120, NUMBER),
    "root": (121, ID),
    "origin_hash": (122, ID),
    "checkpoint": (123, Bytes(1, MAX_NOTE_BYTES)),
    "other_checkpoint": (124, Bytes(1, MAX_NOTE_BYTES)),
    "predecessor": (125, Row((ID, NUMBER, ID))),
    "seen": (126, Items(Row((ID, NUMBER, ID)), 0, 256)),
    "retention": (127, Table(NUMBER, 1, 256)),
    "first": (128, ENTRY),
    "count": (129, NUMBER),
    "software": (130, Text(64)),
    "counter": (131, NUMBER),
    "what": (132, WORD),
    "until": (133, NUMBER),
    "cosigner": (134, Text(255)),
    "erased": (135, Items(Row((ENTRY, NUMBER)), 1, 1024)),
    "depth": (136, NUMBER),
}


class Kind(IntEnum):
    """Every kind of event there is. A number is never reused."""

    ORIGIN = 1
    STARTED = 2
    STOPPED = 3
    SETTINGS = 4
    CLOCK_JUMPED = 5
    # Doors
    KNOCK = 8
    SESSION = 9
    SESSION_ENDED = 10
    DIODE_BREACH = 11
    STREAM_VOIDED = 12
    LIMITS = 13
    # Invites
    INVITE_CREATED = 16
    INVITE_REVOKED = 17
    INVITE_CONSUMED = 18
    INVITE_EXPIRED = 19
    # Pairings
    PAIRING_PROPOSED = 24
    PAIRING_APPROVED = 25
    PAIRING_DENIED = 26
    PAIRING_EXPIRED = 27
    PAIRING_BROKEN = 28
    DOWNGRADED = 29
    SEVERED = 30
    PAIRING_RESIGNED = 31
    # Keys
    KEY_INTRODUCED = 40
    KEY_REVOKED = 41
    KEY_SUSPENDED = 42
    KEY_RESUMED = 43
    SIGNAL_FORK = 44
    ADMINS_REPLACED = 45
    KEY_ROTATED = 46
    ATTESTATION = 47
    NV_COUNTER = 48
    VAULT_RESEALED = 49
    ENROLLED = 50
    # Rights
    GRANT = 56
    GRANT_WITHDRAWN = 57
    SCOPE = 58
    SCOPE_ENDED = 59
    TOKEN_ISSUED = 60
    TOKEN_REVOKED = 61
    TOKEN_USED = 62
    # Facts
    FACT_ADDED = 64
    FACT_WITHDRAWN = 65
    SIGHTING = 66
    # The gate
    SIGNAL = 72
    REFUSED = 73
    FINDING = 74
    PROPOSAL = 75
    APPROVAL = 76
    PROPOSAL_DENIED = 77
    PROPOSAL_ENDED = 78
    CONTEXT_BEGUN = 79
    CONTEXT_ENDED = 80
    PLAN = 81
    DELIVERED = 82
    # Effects
    EFFECT_BEGUN = 88
    EFFECT_DONE = 89
    EFFECT_FAILED = 90
    EFFECT_UNKNOWN = 91
    ANSWER = 92
    # The ledger about itself
    BODY_ERASED = 104
    RETENTION = 105
    CHECKPOINT_SIGNED = 106
    CHECKPOINT_COSIGNED = 107
    FORK_FOUND = 108
    RESTORED = 109
    MIGRATED = 110
    QUERY = 111
    EXPORTED = 112
    BACKED_UP = 113
    WITNESS_POLICY = 114
    MAINTAINED = 115
    ANCHORED = 116
    PRUNED = 117
    CLOSED = 118
    ARRIVED = 119


@dataclass(frozen=True, slots=True)
class Shape:
    """The fields of a kind: those it must carry and those it may. `needs` makes header fields compulsory."""

    required: tuple[str, ...]
    optional: tuple[str, ...]
    needs: tuple[str, ...]


def _shape(required: str = "", optional: str = "", needs: str = "") -> Shape:
    return Shape(tuple(required.split()), tuple(optional.split()), tuple(needs.split()))


# What a person signed: the signal, its body in clear, and the salt of the body's commitment, so that anyone can check it.
_SIGNED: Final = " signal statement statement_salt"

KINDS: Final[Mapping[Kind, Shape]] = {
    Kind.ORIGIN: _shape(
        "role house cose_key static_key witness_key log_name log_keys vault",
        "recovery_key owner predecessor checkpoint software key_kind",
    ),
    Kind.STARTED: _shape("software", "size root vault counter what"),
    Kind.STOPPED: _shape("", "what"),
    Kind.SETTINGS: _shape("digest", "what"),
    Kind.CLOCK_JUMPED: _shape("observed", "what"),
    Kind.KNOCK: _shape("knock", "pair invite mode address observed role"),
    Kind.SESSION: _shape("pair role", "knock mode visibility address stream suite pair_type", needs="session"),
    Kind.SESSION_ENDED: _shape("pair", "bytes_in bytes_out", needs="session reason"),
    Kind.DIODE_BREACH: _shape("pair what", "digest length", needs="session"),
    Kind.STREAM_VOIDED: _shape("stream", "pair signal_hash length digest", needs="session reason"),
    Kind.LIMITS: _shape("counts", "pair subject observed until"),
    Kind.INVITE_CREATED: _shape("invite pair_type expires", "label preapproved for_key" + _SIGNED),
    Kind.INVITE_REVOKED: _shape("invite", _SIGNED),
    Kind.INVITE_CONSUMED: _shape("invite", "knock address", needs="session"),
    Kind.INVITE_EXPIRED: _shape("invite"),
    Kind.PAIRING_PROPOSED: _shape(
        "pair role pair_type suite subject cose_key static_key witness_key",
        "house invite label expires transcript quotes address genesis preapproved owner log_name log_keys recovery_key" + _SIGNED,
    ),
    Kind.PAIRING_APPROVED: _shape("pair pair_type", "genesis by label" + _SIGNED),
    Kind.PAIRING_DENIED: _shape("pair", _SIGNED),
    Kind.PAIRING_EXPIRED: _shape("pair"),
    Kind.PAIRING_BROKEN: _shape("pair", "invite", needs="reason"),
    Kind.DOWNGRADED: _shape("pair pair_type", "by" + _SIGNED),
    Kind.SEVERED: _shape("pair by", _SIGNED),
    Kind.PAIRING_RESIGNED: _shape("pair pair_type", _SIGNED),
    Kind.KEY_INTRODUCED: _shape(
        "subject key_kind cose_key",
        "classes actions targets schedule place expires label pair genesis algorithm value" + _SIGNED,
    ),
    Kind.KEY_REVOKED: _shape("subject revocation", "since by" + _SIGNED),
    Kind.KEY_SUSPENDED: _shape("subject", "since" + _SIGNED, needs="reason"),
    Kind.KEY_RESUMED: _shape("subject", _SIGNED),
    Kind.SIGNAL_FORK: _shape("subject stream n fork"),
    Kind.ADMINS_REPLACED: _shape("admin_keys signal statement statement_salt", "recovery_key"),
    Kind.KEY_ROTATED: _shape("use successor", "subject log_name log_keys static_key pair entry" + _SIGNED),
    Kind.ATTESTATION: _shape("outcome", "pair subject transcript quotes digest commitment what"),
    Kind.NV_COUNTER: _shape("counter", "size root what"),
    Kind.VAULT_RESEALED: _shape("vault", "subject digest" + _SIGNED),
    Kind.ENROLLED: _shape("subject what template", "models" + _SIGNED),
    Kind.GRANT: _shape("subject", "classes actions targets schedule place expires limits pair" + _SIGNED),
    Kind.GRANT_WITHDRAWN: _shape("entry", "subject" + _SIGNED),
    Kind.SCOPE: _shape("scope subject", "actions targets expires limits uses pair" + _SIGNED),
    Kind.SCOPE_ENDED: _shape("scope", "entry" + _SIGNED, needs="reason"),
    Kind.TOKEN_ISSUED: _shape("token holder", "actions targets expires limits uses what" + _SIGNED),
    Kind.TOKEN_REVOKED: _shape("token", _SIGNED),
    Kind.TOKEN_USED: _shape("token holder", "signal_hash uses"),
    Kind.FACT_ADDED: _shape("predicate", "subject value commitment observed until" + _SIGNED),
    Kind.FACT_WITHDRAWN: _shape("entry", _SIGNED),
    Kind.SIGHTING: _shape("subject observed", "place signal_hash commitment what"),
    Kind.SIGNAL: _shape("signal", "pair context signers scope token rule facts confidence_ppm body entry depth", needs="verdict"),
    Kind.REFUSED: _shape("", "signal_hash subject pair invite length what", needs="reason"),
    Kind.FINDING: _shape("signal_hash layer outcome", "rule facts confidence_ppm matches signers commitment models signal"),
    Kind.PROPOSAL: _shape("signal_hash", "risk expires preconditions body replaces signers rule facts confidence_ppm what"),
    Kind.APPROVAL: _shape("items signal statement statement_salt", "expires scope uses"),
    Kind.PROPOSAL_DENIED: _shape("entry", _SIGNED),
    Kind.PROPOSAL_ENDED: _shape("entry", "signal_hash" + _SIGNED, needs="reason"),
    Kind.CONTEXT_BEGUN: _shape("subject", _SIGNED),
    Kind.CONTEXT_ENDED: _shape("subject context", _SIGNED),
    Kind.PLAN: _shape("plan", "weakened models" + _SIGNED),
    Kind.DELIVERED: _shape("subject signal_hash", "entry"),
    Kind.EFFECT_BEGUN: _shape("effect", "signal_hash target digest length entry" + _SIGNED),
    Kind.EFFECT_DONE: _shape("entry", "digest length status"),
    Kind.EFFECT_FAILED: _shape("entry", "status", needs="reason"),
    Kind.EFFECT_UNKNOWN: _shape("entry"),
    Kind.ANSWER: _shape("status", "signal_hash length digest entry"),
    Kind.BODY_ERASED: _shape("entry", "erased until" + _SIGNED, needs="reason"),
    Kind.RETENTION: _shape("retention", _SIGNED),
    Kind.CHECKPOINT_SIGNED: _shape("size root", "checkpoint"),
    Kind.CHECKPOINT_COSIGNED: _shape("origin_hash size root", "pair cosigner checkpoint by"),
    Kind.FORK_FOUND: _shape("origin_hash checkpoint other_checkpoint", "pair size root"),
    Kind.RESTORED: _shape("seen predecessor", "checkpoint log_name pair entry" + _SIGNED),
    Kind.MIGRATED: _shape("predecessor", "cose_key successor checkpoint static_key witness_key log_keys pair entry" + _SIGNED),
    Kind.QUERY: _shape("digest", "first count what commitment"),
    Kind.EXPORTED: _shape("first count", "digest what"),
    Kind.BACKED_UP: _shape("size root", "digest what"),
    Kind.WITNESS_POLICY: _shape("digest", "counts value weakened" + _SIGNED),
    Kind.MAINTAINED: _shape("what", "size root count"),
    Kind.ANCHORED: _shape("what digest", "size root value"),
    Kind.PRUNED: _shape("first", "retention" + _SIGNED),
    Kind.CLOSED: _shape("", "owner pair", needs="reason"),
    Kind.ARRIVED: _shape("entry value"),
}

if UINT_MAX != 2**63 - 1 or set(KINDS) != set(Kind):
    raise AssertionError("the table of events and the list of kinds differ")
