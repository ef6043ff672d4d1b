"""The bodies of human statements: exact keys, exact values, one form; and the rules of genesis, severance and downgrade."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed, Misuse, Refused
from tallystick.keys import KeyId, KeyKind, PublicKey
from tallystick.pair.field import ACTIONS
from tallystick.pair.genesis import check_genesis
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import (
    DENY_REASONS,
    SEVER_REASONS,
    VERBS,
    BodyErase,
    EntryRef,
    HouseMigrate,
    HouseRestore,
    InviteCreate,
    InviteRevoke,
    KeyResume,
    PairApprove,
    PairDeny,
    PairDowngrade,
    PairResign,
    PairSever,
    ReplaceAdmins,
    Statement,
    bundle_body,
    encode_statement,
    parse_statement,
)
from tests.pair.world import CLIENT, HOUSE, Key, approval, bundle, seed

ID = seed("pairing")
ENTRY = EntryRef(origin=seed("origin"), index=7)
EXAMPLES: dict[str, Statement] = {
    "approve": approval(CLIENT, HOUSE, ID, PairType.INPUT),
    "approve admin": approval(CLIENT, HOUSE, ID, PairType.ADMIN),
    "deny": PairDeny(pairing_id=ID, proposal=ENTRY, reason="wrong-words"),
    "sever": PairSever(pairing_id=ID),
    "downgrade": PairDowngrade(pairing_id=ID, pair_type=PairType.USER),
    "invite": InviteCreate(
        invite_id=ID, pair_type=PairType.INPUT, for_key=CLIENT.signing.public.key_id, yes=True, ttl_s=600, label="camera"
    ),
    "invite plain": InviteCreate(invite_id=ID, pair_type=PairType.USER, for_key=None, yes=False, ttl_s=1, label=None),
    "revoke": InviteRevoke(invite_id=ID),
    "restore": HouseRestore(origin=ID, size=7, root=seed("root"), log="tallystick/x/1", seen=((ID, 9, seed("lost")),)),
    "restore unseen": HouseRestore(origin=ID, size=1, root=seed("root"), log="x", seen=()),
    "resign": PairResign(pairing_id=ID, pair_type=PairType.INPUT),
    "resume": KeyResume(key=CLIENT.signing.public.key_id),
    "erase": BodyErase(entry=7, erased=((9, 3), (20, 1)), reason="asked-by-owner"),
    "erase one": BodyErase(entry=0, erased=(), reason="asked"),
    "migrate": HouseMigrate(
        origin=ID,
        static=CLIENT.static.public,
        signing=CLIENT.signing.public,
        witness=CLIENT.witness.public,
        log=(HOUSE.identity.log.raw, HOUSE.identity.log_pq.raw),
        addresses=(("attic.example", 51877), ("::1", 1)),
    ),
    "admins": ReplaceAdmins(origin=seed("origin"), admins=(Key("a").public, Key("b", KeyKind.P256).public)),
}
ENTRIES = [("entry", 0), ("entry", 601), ("erased", None)]
EACH = pytest.mark.parametrize("name", EXAMPLES)


@EACH
def test_a_statement_has_one_form(name: str) -> None:
    """Written, read, written: the same bytes; cut anywhere or with a byte more: Malformed."""
    statement = EXAMPLES[name]
    raw = encode_statement(statement)
    assert parse_statement(raw) == statement
    assert bundle_body(bundle(raw)) == statement
    value = decode(raw)
    assert isinstance(value, dict)
    assert (value["v"], value["verb"]) == (1, VERBS[type(statement)])
    for at in range(len(raw)):
        with pytest.raises(Malformed):
            parse_statement(raw[:at])
    with pytest.raises(Malformed):
        parse_statement(raw + b"\x00")


@EACH
def test_fields_are_exactly_those_of_the_verb(name: str) -> None:
    """A missing field, a further one, another version or another verb's name: Malformed."""
    value = decode(encode_statement(EXAMPLES[name]))
    assert isinstance(value, dict)
    for key in value:
        less = {k: v for k, v in value.items() if k != key}
        with pytest.raises(Malformed):
            parse_statement(encode(less))
    changes: list[tuple[int | str, Value]] = [("more", 1), ("v", 2), ("v", True), ("verb", "pair.enlarge"), ("verb", None), (1, 1)]
    for added, wrong in changes:
        with pytest.raises(Malformed):
            parse_statement(encode({**value, added: wrong}))
    for verb in VERBS.values():
        if verb != value["verb"]:
            with pytest.raises(Malformed):
                parse_statement(encode({**value, "verb": verb}))


@EACH
def test_every_field_has_its_type_and_range(name: str) -> None:
    """Junk in any field is Malformed, or it is another statement that was allowed there."""
    value = decode(encode_statement(EXAMPLES[name]))
    assert isinstance(value, dict)
    junk: list[Value] = [None, True, -1, 0, 601, 2**63, "", "\x1b", "ADMIN ", b"", bytes(31), bytes(33), [], {}, ["metadata", "metadata"]]
    for key, good in value.items():
        for wrong in junk:
            if wrong == good and type(wrong) is type(good):
                continue
            raw = encode({**value, key: wrong})
            try:
                read = parse_statement(raw)
            except Malformed:
                continue
            assert encode_statement(read) == raw
            assert (key, wrong) in [("for", None), ("label", None), ("yes", True), ("actions", []), ("size", 601), ("seen", []), *ENTRIES]


WRONG: list[tuple[str, dict[int | str, Any]]] = [
    ("erase", {"erased": [[1, 0]]}),
    ("erase", {"erased": [[1, 1, 1]]}),
    ("erase", {"erased": [[1, 1]] * 33}),
    ("erase", {"reason": "Not a word"}),
    ("approve", {"static": bytes(32)}),
    ("approve", {"signing": encode({1: 1, -1: 6, -2: bytes(32)})}),
    ("approve", {"signing": HOUSE.identity.log_pq.cose_key()}),
    ("approve", {"signing": PublicKey(KeyKind.X25519, CLIENT.static.public).cose_key()}),
    ("approve", {"witness": bytes(32)}),
    ("approve", {"human": CLIENT.human.public.cose_key()}),
    ("approve admin", {"human": None}),
    ("approve", {"actions": ["read", "metadata"]}),
    ("approve", {"actions": ["metadata", "everything"]}),
    ("approve", {"actions": "metadata"}),
    ("approve", {"suite": "Noise_NN_25519_ChaChaPoly_BLAKE2s"}),
    ("approve", {"type": "input"}),
    ("approve", {"label": "a/b"}),
    ("approve", {"proposal": [bytes(32)]}),
    ("approve", {"proposal": [bytes(32), -1]}),
    ("approve", {"proposal": [bytes(32), 2**63]}),
    ("deny", {"reason": "because"}),
    ("sever", {"reason": "denied"}),
    ("invite", {"ttl": 0}),
    ("invite", {"ttl": 601}),
    ("invite", {"yes": 1}),
    ("admins", {"admins": []}),
    ("restore", {"size": 0}),
    ("restore", {"log": "a b"}),
    ("restore", {"log": "a+b"}),
    ("restore", {"seen": [[bytes(32), 1]]}),
    ("restore", {"seen": [[bytes(32), 1, bytes(32)]] * 65}),
    ("migrate", {"static": bytes(32)}),
    ("migrate", {"log": [bytes(32), bytes(1312)]}),
    ("migrate", {"addresses": []}),
    ("migrate", {"addresses": [["a", 1]] * 5}),
    ("migrate", {"addresses": [["a b", 1]]}),
    ("migrate", {"addresses": [["a", 0]]}),
    ("admins", {"admins": [Key("a").public.cose_key()] * 2}),
    ("admins", {"admins": [Key(str(i)).public.cose_key() for i in range(9)]}),
]


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_what_a_statement_may_not_say(name: str, change: dict[int | str, Value]) -> None:
    """Unsafe keys, unknown words, numbers out of range, a human key outside ADMIN, one admin twice."""
    value = decode(encode_statement(EXAMPLES[name]))
    assert isinstance(value, dict)
    with pytest.raises(Malformed):
        parse_statement(encode({**value, **change}))


def test_our_own_mistakes_are_misuse() -> None:
    """A statement that no reader would take is not written."""
    good = approval(CLIENT, HOUSE, ID, PairType.INPUT)
    for bad in (
        replace(good, label=""),
        replace(good, human=CLIENT.human.public),
        replace(good, pairing_id=b""),
        replace(good, actions=("write", "read")),
        replace(good, actions=["metadata"]),  # type: ignore[arg-type]
        replace(good, signing=HOUSE.identity.log_pq),
        PairSever(pairing_id=ID, reason="whim"),
        InviteCreate(invite_id=ID, pair_type=PairType.USER, for_key=None, yes=False, ttl_s=601, label=None),
        ReplaceAdmins(origin=ID, admins=()),
    ):
        with pytest.raises(Misuse):
            encode_statement(bad)


@given(st.binary(max_size=300))
def test_junk_is_malformed(junk: bytes) -> None:
    """Whatever bytes come, only Malformed comes out."""
    for read in (parse_statement, bundle_body):
        with pytest.raises(Malformed):
            read(junk)


def test_bundles_of_another_shape_are_malformed() -> None:
    """Version 1, three byte strings, nothing else."""
    body = encode_statement(PairSever(pairing_id=ID))
    for value in ([2, b"", b"", body], [True, b"", b"", body], [1, b"", body], [1, b"", b"", body, b""], [1, "", b"", body], {1: body}):
        with pytest.raises(Malformed):
            bundle_body(encode(value))  # type: ignore[arg-type]


def test_the_words_are_those_of_the_specification() -> None:
    """Reasons and actions are closed lists."""
    assert ACTIONS == ("metadata", "read", "egress", "propose", "write", "admin")
    assert DENY_REASONS == ("denied", "wrong-words", "unknown-machine", "expired")
    assert SEVER_REASONS == ("unspecified", "lost", "stolen", "retired", "compromised")


# --- Genesis ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("owner", [None, "owner", "other"])
@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("signer", ["owner", "other"])
@pytest.mark.parametrize("pair_type", list(PairType))
def test_the_one_way_to_the_first_human_key(owner: str | None, words: bool, signer: str, pair_type: PairType) -> None:
    """ADMIN, signed by the key it names, which is the owner's; or, where none was named, confirmed at the house."""
    ids = {"owner": CLIENT.human.public.key_id, "other": HOUSE.signing.public.key_id}
    statement: PairApprove = approval(CLIENT, HOUSE, ID, pair_type)
    named: KeyId | None = None if owner is None else ids[owner]
    allowed = pair_type is PairType.ADMIN and signer == "owner" and (owner == "owner" or (owner is None and words))
    if allowed:
        check_genesis(statement, signer=ids[signer], owner=named, words_confirmed=words)
    else:
        with pytest.raises(Refused):
            check_genesis(statement, signer=ids[signer], owner=named, words_confirmed=words)
