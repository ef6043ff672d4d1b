"""Which human key counts: a chain of statements from one that the pair knows (docs/spec/restore.md, section 5)."""

import os
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.gate.statement import sign_statement
from tallystick.keys import PublicKey
from tallystick.node.links import Chain, Link, prove_chain, read_link, restore_of, write_link
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import HouseRestore, PairSever, ReplaceAdmins, Statement, encode_statement
from tests.pair.world import CLIENT, HOUSE, Key, approval, seed

HOUSE_ID = bytes(HOUSE.signing.public.key_id)
A, B, C, THIEF, RECOVERY = (Key(name) for name in ("a", "b", "c", "thief", "recovery"))
RESTORE = HouseRestore(origin=seed("origin"), size=7, root=seed("root"), log="tallystick/x/1", seen=())


def said(by: Any, statement: Statement, house: bytes = HOUSE_ID) -> tuple[PublicKey, bytes]:
    """A link of a chain: who signed, and what."""
    raw = sign_statement(by, encode_statement(statement), house_id=house, issued_at_ns=1, stream=os.urandom(16), n=0, salt=os.urandom(32))
    return by.public, raw


def names(who: Key) -> Statement:
    """An approval of an ADMIN pairing, which makes this human key an admin."""
    return replace(approval(CLIENT, HOUSE, seed("pairing"), PairType.ADMIN), human=who.public)


def ids(*keys: Key) -> list[bytes]:
    return [bytes(key.public.key_id) for key in keys]


GOOD: list[tuple[str, list[bytes], Chain]] = [
    ("the key that signed the pairing", ids(A), (said(A, RESTORE),)),
    ("one that it made an admin", ids(A), (said(A, names(B)), said(B, RESTORE))),
    ("one further", ids(A), (said(A, names(B)), said(B, names(C)), said(C, RESTORE))),
    ("behind what is older than our key", ids(B), (said(A, names(B)), said(B, RESTORE))),
    (
        "named by the recovery key",
        ids(A, RECOVERY),
        (said(RECOVERY, ReplaceAdmins(origin=seed("o"), admins=(B.public,))), said(B, RESTORE)),
    ),
]
BAD: list[tuple[str, list[bytes], Chain]] = [
    ("nobody knows it", ids(A), (said(THIEF, RESTORE),)),
    ("nobody is known", [], (said(A, RESTORE),)),
    ("it names itself", ids(A), (said(THIEF, names(THIEF)), said(THIEF, RESTORE))),
    ("ours named somebody else", ids(A), (said(A, names(B)), said(THIEF, RESTORE))),
    ("the naming is missing", ids(A), (said(B, names(C)), said(C, RESTORE))),
    ("another statement makes no admin", ids(A), (said(A, PairSever(pairing_id=seed("p"))), said(B, RESTORE))),
    ("for another house", ids(A), (said(A, RESTORE, bytes(32)),)),
    (
        "an owner whom the recovery key replaced",
        ids(A, RECOVERY),
        (said(RECOVERY, ReplaceAdmins(origin=seed("o"), admins=(B.public,))), said(A, RESTORE)),
    ),
    ("under another's name", ids(A), ((A.public, said(THIEF, RESTORE)[1]),)),
    ("the restore is not the last", ids(A), (said(A, RESTORE), said(THIEF, RESTORE))),
    ("no restore at all", ids(A), (said(A, names(B)),)),
]


@pytest.mark.parametrize(("trusted", "chain"), [row[1:] for row in GOOD], ids=[row[0] for row in GOOD])
def test_a_key_that_counts(trusted: list[bytes], chain: Chain) -> None:
    """It opens the house for this pair."""
    assert restore_of(chain, trusted, HOUSE_ID)[1] == RESTORE
    link = Link(9, chain=chain)
    assert read_link(write_link(link)) == link


@pytest.mark.parametrize(("trusted", "chain"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_key_that_does_not(trusted: list[bytes], chain: Chain) -> None:
    """Unproven, whatever else is shown beside it."""
    with pytest.raises((Unproven, Malformed)):
        restore_of(chain, trusted, HOUSE_ID)


def test_a_signature_that_does_not_hold() -> None:
    """A known key's name over somebody's bytes."""
    key, raw = said(A, RESTORE)
    for at in (60, len(raw) // 2, len(raw) - 3):
        with pytest.raises(TallyError):
            prove_chain(((key, raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]),), ids(A), HOUSE_ID)


@pytest.mark.parametrize(
    "value",
    [
        [],
        [0, 1, b"x"],
        [1, 0, b"x"],
        [1, 4, []],
        [1, 2, []],
        [1, 2, [[b"x", b"y"]]],
        [1, 2, [[A.public.cose_key()]]],
        [1, True, b"x"],
        [True, 1, b"x"],
        [1, 1, "x"],
        [1, 2, [[A.public.cose_key(), b"x"]] * 9],
        [1, 1, b"x", 0],
    ],
)
def test_every_other_link_is_malformed(value: Any) -> None:
    """One form for each."""
    with pytest.raises(Malformed):
        read_link(encode(value))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_link_of_one_form_or_malformed(raw: bytes) -> None:
    """What is read is written as the same bytes."""
    try:
        link = read_link(raw)
    except Malformed:
        return
    assert write_link(link) == raw
