"""Who is that: one KeyId per key, one encoding per key, and no key that proves nothing."""

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Encodable, encode
from tallystick.errors import Malformed, Misuse
from tallystick.keys import KeyId, KeyKind, PublicKey, parse_cose_key, pinned
from tallystick.primitives import MLDSA44KeyPair, P256KeyPair, X25519KeyPair, ed25519_public, sha256
from tests.support import vectors

SEED = bytes(range(32))
ED25519 = PublicKey(KeyKind.ED25519, ed25519_public(SEED))
P256 = PublicKey(KeyKind.P256, P256KeyPair.from_private(SEED).public)
X25519 = PublicKey(KeyKind.X25519, X25519KeyPair.from_private(SEED).public)
ML_DSA_44 = PublicKey(KeyKind.ML_DSA_44, MLDSA44KeyPair.from_private(SEED).public)
KEYS = [ED25519, P256, X25519, ML_DSA_44]
FIELD = 2**255 - 19


def test_the_thumbprint_of_rfc_9679() -> None:
    """RFC 9679 section 6: the example key has this SHA-256 thumbprint."""
    point = (
        "65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c"
    )
    key = PublicKey(KeyKind.P256, b"\x04" + bytes.fromhex(point))
    assert key.key_id.hex() == "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"


@pytest.mark.parametrize(
    ("key", "fields"),
    [
        (ED25519, {1: 1, -1: 6, -2: ED25519.raw}),
        (X25519, {1: 1, -1: 4, -2: X25519.raw}),
        (P256, {1: 2, -1: 1, -2: P256.raw[1:33], -3: P256.raw[33:]}),
        (ML_DSA_44, {1: 7, 3: -48, -1: ML_DSA_44.raw}),
    ],
    ids=[str(key.kind) for key in KEYS],
)
def test_a_key_id_is_the_hash_of_the_required_fields(key: PublicKey, fields: dict[int, Encodable]) -> None:
    """KeyId = SHA-256 over the COSE_Key with its required fields, which reads back as the same key."""
    assert key.cose_key() == encode(fields)
    assert key.key_id == sha256(encode(fields))
    assert parse_cose_key(key.cose_key()) == key


def test_the_same_bytes_of_another_kind_are_another_key() -> None:
    """An X25519 key never has the KeyId of an Ed25519 key."""
    raw = next(raw for raw in (sha256(bytes([i])) for i in range(99)) if _accepted(KeyKind.ED25519, raw) and _accepted(KeyKind.X25519, raw))
    ed25519, x25519 = PublicKey(KeyKind.ED25519, raw), PublicKey(KeyKind.X25519, raw)
    assert ed25519 != x25519
    assert ed25519.key_id != x25519.key_id


def test_key_ids_are_read_as_people_type_them() -> None:
    """`str()` gives the text, `parse` takes it back in any case and spacing, and says what is wrong otherwise."""
    key_id = ED25519.key_id
    assert str(key_id).startswith("key-")
    assert f"{key_id}" == str(key_id)
    assert KeyId.parse(str(key_id).lower().replace("-", " ")) == key_id
    assert repr(key_id) == f"KeyId({key_id.hex()})"
    with pytest.raises(Malformed):
        KeyId.parse(str(key_id)[:-1])


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_id_has_32_bytes(size: int) -> None:
    """Nothing shorter or longer is a KeyId."""
    with pytest.raises(Malformed):
        KeyId(bytes(size))


def test_keys_are_values() -> None:
    """Equal bytes are equal keys; they hash alike, and nobody alters them."""
    again = PublicKey(KeyKind.ED25519, bytes(ED25519.raw))
    assert again == ED25519
    assert len({again, ED25519}) == 1
    with pytest.raises(AttributeError):
        ED25519.raw = bytes(32)  # type: ignore[misc]


@pytest.mark.parametrize("key", KEYS, ids=[str(key.kind) for key in KEYS])
def test_keys_of_a_wrong_length_are_refused(key: PublicKey) -> None:
    """One byte less or more is no key."""
    for raw in (b"", key.raw[:-1], key.raw + b"\0"):
        with pytest.raises(Malformed):
            pinned(key.kind, raw)


def _accepted(kind: KeyKind, raw: bytes) -> bool:
    try:
        return pinned(kind, raw).raw == raw
    except Malformed:
        return False


def test_all_cctv_keys() -> None:
    """C2SP/CCTV, 914 cases: no key of small order and no non-canonical key is pinned; every other key is."""
    cases: list[dict[str, Any]] = json.loads(vectors("ed25519", "cctv.json").read_text())
    assert len(cases) == 914
    refused = 0
    for case in cases:
        weak = bool({"low_order_A", "non_canonical_A"} & set(case["flags"] or ()))
        assert _accepted(KeyKind.ED25519, bytes.fromhex(case["key"])) is not weak, case["number"]
        refused += weak
    assert refused >= 526


def test_x25519_keys_of_wycheproof() -> None:
    """Wycheproof x25519: no low-order or non-canonical public key is pinned."""
    groups = json.loads(vectors("wycheproof", "x25519_test.json").read_text())["testGroups"]
    refused = 0
    for case in (case for group in groups for case in group["tests"]):
        raw = bytes.fromhex(case["public"])
        weak = bool({"LowOrderPublic", "SmallPublicKey", "NonCanonicalPublic", "ZeroSharedSecret"} & set(case["flags"]))
        weak |= int.from_bytes(raw, "little") >= FIELD
        assert _accepted(KeyKind.X25519, raw) is (not weak and case["result"] != "invalid"), case["tcId"]
        refused += weak
    assert refused >= 44


@pytest.mark.parametrize("u", [0, 1, FIELD - 1, FIELD, FIELD + 1, FIELD + 2, 2**255 - 1, 2**255, 2**255 + 9, 2**256 - 1])
def test_weak_x25519_keys(u: int) -> None:
    """0, 1, -1, everything from p on and everything with the top bit is refused."""
    assert not _accepted(KeyKind.X25519, u.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "u",
    [
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    ],
)
def test_x25519_points_of_order_8(u: str) -> None:
    """The two points of order 8 (RFC 7748 6.1; cr.yp.to/ecdh) are refused."""
    assert not _accepted(KeyKind.X25519, bytes.fromhex(u))


@given(st.binary(min_size=32, max_size=32))
def test_p256_keys_lie_on_their_curve(private: bytes) -> None:
    """A real key is pinned; with any coordinate changed, compressed, or in another frame it is not; as the library says."""
    try:
        public = P256KeyPair.from_private(private).public
    except Misuse:
        return
    assert _accepted(KeyKind.P256, public)
    mirrored = public[:33] + ((2**256 - 2**224 + 2**192 + 2**96 - 1) - int.from_bytes(public[33:], "big")).to_bytes(32, "big")
    assert _accepted(KeyKind.P256, mirrored)
    for at in (1, 32, 33, 64):
        altered = bytearray(public)
        altered[at] ^= 1
        assert not _accepted(KeyKind.P256, bytes(altered))
        with pytest.raises(ValueError):
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), bytes(altered))
    for head in (0, 2, 3, 5, 6, 7):
        assert not _accepted(KeyKind.P256, bytes((head,)) + public[1:])
    assert not _accepted(KeyKind.P256, public[:33])


def test_p256_coordinates_are_reduced() -> None:
    """x + p names the same point and is refused; so is the point at zero, which is not on the curve."""
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    small = next(x for x in range(1, 99) if _square(x))
    y = pow(_right(small), (p + 1) // 4, p)
    assert _accepted(KeyKind.P256, b"\x04" + small.to_bytes(32, "big") + y.to_bytes(32, "big"))
    assert not _accepted(KeyKind.P256, b"\x04" + (small + p).to_bytes(32, "big") + y.to_bytes(32, "big"))
    assert not _accepted(KeyKind.P256, b"\x04" + bytes(64))
    assert not _accepted(KeyKind.P256, b"\x04" + b"\xff" * 64)


def _right(x: int) -> int:
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    return (x**3 - 3 * x + 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B) % p


def _square(x: int) -> bool:
    p = 2**256 - 2**224 + 2**192 + 2**96 - 1
    return pow(_right(x), (p - 1) // 2, p) == 1


NOT_COSE_KEYS: list[tuple[str, Any]] = [
    ("no map", [1, 2]),
    ("empty", {}),
    ("another curve", {1: 1, -1: 7, -2: ED25519.raw}),
    ("X448", {1: 1, -1: 5, -2: bytes(56)}),
    ("symmetric", {1: 4, -1: bytes(32)}),
    ("a kid as well", {1: 1, 2: b"me", -1: 6, -2: ED25519.raw}),
    ("an alg as well", {1: 1, 3: -8, -1: 6, -2: ED25519.raw}),
    ("a private part", {1: 1, -1: 6, -2: ED25519.raw, -4: SEED}),
    ("an extra field, X25519", {1: 1, -1: 4, -2: X25519.raw, "x": 1}),
    ("an extra field, P-256", {1: 2, -1: 1, -2: P256.raw[1:33], -3: P256.raw[33:], -4: SEED}),
    ("an extra field, ML-DSA", {1: 7, 3: -48, -1: ML_DSA_44.raw, -2: SEED}),
    ("true for 1", {1: True, -1: 6, -2: ED25519.raw}),
    ("text for bytes", {1: 1, -1: 6, -2: "a" * 32}),
    ("a short key", {1: 1, -1: 6, -2: ED25519.raw[:31]}),
    ("a key of small order", {1: 1, -1: 6, -2: bytes(32)}),
    ("compressed y", {1: 2, -1: 1, -2: P256.raw[1:33], -3: True}),
    ("coordinates of 31 and 33 bytes", {1: 2, -1: 1, -2: P256.raw[1:32], -3: P256.raw[32:]}),
    ("ML-DSA-65", {1: 7, 3: -49, -1: ML_DSA_44.raw}),
    ("text labels", {"1": 1, "-1": 6, "-2": ED25519.raw}),
]


@pytest.mark.parametrize(("_", "fields"), NOT_COSE_KEYS, ids=[name for name, _ in NOT_COSE_KEYS])
def test_other_cose_keys_are_refused(_: str, fields: Any) -> None:
    """A COSE_Key has its required fields and no others, or it is Malformed."""
    with pytest.raises(Malformed):
        parse_cose_key(encode(fields))


@given(st.sampled_from(KEYS), st.data())
def test_altered_cose_keys(key: PublicKey, data: st.DataObject) -> None:
    """A flipped or cut COSE_Key is Malformed or another key, never the same one twice."""
    raw = bytearray(key.cose_key())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Malformed):
        assert parse_cose_key(bytes(raw)) != key
    with pytest.raises(Malformed):
        parse_cose_key(key.cose_key()[:at])
