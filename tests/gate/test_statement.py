"""Human statements in their bundle: parts that belong together, signed by a key the caller trusts."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.gate.opening import BodyDigest, Target, commitments_of, encode_opening, make_opening
from tallystick.gate.statement import MAX_BODY_BYTES, ProvenStatement, parse_bundle, sign_statement
from tallystick.keys import sign1
from tallystick.pair.statement import PairSever, bundle_body, encode_statement
from tallystick.primitives import sha256
from tests.gate.world import HOUSE_ID, HUMAN, MACHINE, NOW_NS, SALTS, Key, seed, signal, signed

BODY = encode_statement(PairSever(pairing_id=seed("pairing")))


def bundle(body: bytes = BODY, key: Key = HUMAN) -> bytes:
    return sign_statement(key, body, house_id=HOUSE_ID, issued_at_ns=NOW_NS, stream=seed("s")[:16], n=3, salt=SALTS[:32])


@pytest.mark.parametrize("key", [HUMAN, MACHINE], ids=["ES256", "EdDSA"])
def test_a_statement_is_signed_read_and_proven(key: Key) -> None:
    """The bundle's signal is of class human and action admin, has the body's verb, and commits to the body alone."""
    raw = bundle(key=key)
    unproven = parse_bundle(raw)
    assert unproven.kid == key.public.key_id
    proven = unproven.prove(key.public)
    assert isinstance(proven, ProvenStatement)
    claims = proven.signal.claims
    assert (claims.signal_class, claims.action, claims.verb, claims.aud, claims.n) == ("human", "admin", "pair.sever", HOUSE_ID, 3)
    assert proven.body == BODY
    assert bundle_body(raw) == PairSever(pairing_id=seed("pairing"))
    with pytest.raises(Unproven):
        unproven.prove((MACHINE if key is HUMAN else HUMAN).public)


def test_parts_that_do_not_belong_together() -> None:
    """Another body, opening, class, action, verb or a further commitment: Malformed or Unproven before any key is asked."""
    parts: Any = decode(bundle())
    version, cose, opened, body = parts
    other = encode_statement(PairSever(pairing_id=seed("another")))
    digest = BodyDigest(length=len(BODY), sha256=sha256(BODY))
    opening = make_opening(SALTS, body=digest)
    more = make_opening(SALTS, body=digest, target=Target(method="GET", path="/"))
    nothing = make_opening(SALTS, body=None)
    base = {"signal_class": "human", "action": "admin", "verb": "pair.sever"}
    good = signed(signal(opening, **base), HUMAN)
    parse_bundle(encode([1, good, encode_opening(opening), BODY]))
    bad: list[Any] = [
        [version, cose, opened, other],
        [version, cose, encode_opening(make_opening(SALTS[32:], body=digest)), body],
        [version, cose, encode_opening(make_opening(SALTS, body=BodyDigest(length=len(other), sha256=sha256(other)))), other],
        [1, signed(signal(opening, **{**base, "signal_class": "machine"}), HUMAN), encode_opening(opening), BODY],
        [1, signed(signal(opening, **{**base, "action": "write"}), HUMAN), encode_opening(opening), BODY],
        [1, signed(signal(opening, **{**base, "verb": "pair.approve"}), HUMAN), encode_opening(opening), BODY],
        [1, signed(signal(more, **base), HUMAN), encode_opening(more), BODY],
        [1, signed(signal(nothing, **base), HUMAN), encode_opening(nothing), BODY],
        [2, good, encode_opening(opening), BODY],
        [True, good, encode_opening(opening), BODY],
        [1, good, encode_opening(opening)],
        [1, good, encode_opening(opening), BODY, b""],
        [1, b"", encode_opening(opening), BODY],
        [1, good, b"", BODY],
        [1, good, encode_opening(opening), b""],
        [1, sign1(HUMAN, b"\xa0"), encode_opening(opening), BODY],
    ]
    for each in bad:
        with pytest.raises((Malformed, Unproven)):
            parse_bundle(encode(each))
    assert commitments_of(opening)[0].body is not None


def test_a_body_without_a_verb_is_not_signed() -> None:
    """Our own mistakes are Misuse: no verb, no map, a verb no signal may have, too long."""
    for body in (
        encode({}),
        encode([]),
        encode({"verb": 1}),
        encode({"verb": "x"}),
        b"",
        encode({"verb": "a.b", "x": bytes(MAX_BODY_BYTES)}),
    ):
        with pytest.raises(Misuse):
            bundle(body)


def test_every_cut_is_malformed() -> None:
    """A bundle cut anywhere, or longer, is none."""
    raw = bundle()
    for at in range(len(raw)):
        with pytest.raises(Malformed):
            parse_bundle(raw[:at])
    with pytest.raises(Malformed):
        parse_bundle(raw + b"\x00")


@given(st.binary(max_size=200))
def test_junk_is_malformed(junk: bytes) -> None:
    """Whatever bytes come, only Malformed comes out."""
    with pytest.raises(Malformed):
        parse_bundle(junk)
