"""Deterministic CBOR: one form per value, and nothing else is read."""

import itertools
import time
from collections import OrderedDict
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Encodable, Value, decode, encode
from tallystick.errors import Malformed, Misuse

INTEGERS = st.integers(-(2**63), 2**64 - 1)
KEYS = INTEGERS | st.text(max_size=12)
LEAVES = INTEGERS | st.binary(max_size=40) | st.text(max_size=20) | st.booleans() | st.none()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20)

# RFC 8949 Appendix A, the examples of types we have.
APPENDIX_A: list[tuple[Encodable, str]] = [
    (0, "00"),
    (1, "01"),
    (10, "0a"),
    (23, "17"),
    (24, "1818"),
    (25, "1819"),
    (100, "1864"),
    (1000, "1903e8"),
    (1000000, "1a000f4240"),
    (1000000000000, "1b000000e8d4a51000"),
    (18446744073709551615, "1bffffffffffffffff"),
    (-1, "20"),
    (-10, "29"),
    (-100, "3863"),
    (-1000, "3903e7"),
    (False, "f4"),
    (True, "f5"),
    (None, "f6"),
    (b"", "40"),
    (bytes.fromhex("01020304"), "4401020304"),
    ("", "60"),
    ("a", "6161"),
    ("IETF", "6449455446"),
    ('"\\', "62225c"),
    ("\u00fc", "62c3bc"),
    ("\u6c34", "63e6b0b4"),
    ("\U00010151", "64f0908591"),
    ([], "80"),
    ([1, 2, 3], "83010203"),
    ([1, [2, 3], [4, 5]], "8301820203820405"),
    (list(range(1, 26)), "98190102030405060708090a0b0c0d0e0f101112131415161718181819"),
    ({}, "a0"),
    ({1: 2, 3: 4}, "a201020304"),
    ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    (["a", {"b": "c"}], "826161a161626163"),
    ({"a": "A", "b": "B", "c": "C", "d": "D", "e": "E"}, "a56161614161626142616361436164614461656145"),
]


@pytest.mark.parametrize(("value", "expected"), APPENDIX_A, ids=[form for _, form in APPENDIX_A])
def test_examples_of_the_rfc(value: Encodable, expected: str) -> None:
    """RFC 8949 Appendix A holds in both directions."""
    assert encode(value).hex() == expected
    assert decode(bytes.fromhex(expected)) == value


@pytest.mark.parametrize("n", [23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**63 - 1])
def test_arguments_are_shortest_at_every_border(n: int) -> None:
    """Integers take 1, 2, 3, 5 or 9 bytes, the fewest that hold them, positive and negative."""
    width = next(size for size, limit in ((1, 24), (2, 2**8), (3, 2**16), (5, 2**32), (9, 2**64)) if n < limit)
    assert len(encode(n)) == len(encode(-1 - n)) == width
    assert decode(encode(n)) == n
    assert decode(encode(-1 - n)) == -1 - n


def test_map_keys_stand_in_bytewise_order() -> None:
    """RFC 8949 4.2.1: 10, 100, -1, then text, by the bytes of the encoded key, whatever the insertion order."""
    form = "a5" + "0a00" + "186401" + "2002" + "617a03" + "62616104"
    fields: list[tuple[int | str, int]] = [(10, 0), (100, 1), (-1, 2), ("z", 3), ("aa", 4)]
    for order in itertools.permutations(fields):
        assert encode(dict(order)).hex() == form
    assert decode(bytes.fromhex(form)) == {10: 0, 100: 1, -1: 2, "z": 3, "aa": 4}


def test_kinds_of_our_own_are_written_as_what_they_are() -> None:
    """Tuples, enumerations, subclasses of bytes and other mappings have the form of the plain value."""

    class Number(IntEnum):
        ONE = 1

    class Word(StrEnum):
        A = "a"

    class Raw(bytes):
        pass

    assert encode((Number.ONE, Word.A, Raw(b"x"))) == encode([1, "a", b"x"])
    assert encode(OrderedDict[str, int]({Word.A: Number.ONE})) == encode(MappingProxyType({"a": 1})) == encode({"a": 1})


NOT_WRITTEN: list[tuple[str, Any]] = [
    ("a float", 1.0),
    ("a set", {1}),
    ("an object", object()),
    ("a bytearray", bytearray(b"x")),
    ("a memoryview", memoryview(b"x")),
    ("2^64", 2**64),
    ("below -2^63", -(2**63) - 1),
    ("a boolean key", {True: 1}),
    ("a bytes key", {b"a": 1}),
    ("a null key", {None: 1}),
    ("a tuple key", {(1,): 1}),
    ("a key of 2^64", {2**64: 1}),
    ("a lone surrogate", "\ud800"),
    ("a lone surrogate in a key", {"\udfff": 1}),
    ("a float deep inside", [{"a": [1, {2: 0.5}]}]),
]


@pytest.mark.parametrize(("_", "value"), NOT_WRITTEN, ids=[name for name, _ in NOT_WRITTEN])
def test_a_value_without_a_form_is_misuse(_: str, value: Any) -> None:
    """The writer refuses what the reader could not read."""
    with pytest.raises(Misuse):
        encode(value)


REFUSED = [
    ("nothing", ""),
    ("0 in two bytes", "1800"),
    ("23 in two bytes", "1817"),
    ("24 in three bytes", "190018"),
    ("255 in three bytes", "1900ff"),
    ("65535 in five bytes", "1a0000ffff"),
    ("2^32-1 in nine bytes", "1b00000000ffffffff"),
    ("-24 in two bytes", "3817"),
    ("-256 in three bytes", "3900ff"),
    ("-2^63-1", "3b8000000000000000"),
    ("-2^64", "3bffffffffffffffff"),
    ("byte string, long length", "580161"),
    ("text, long length", "780161"),
    ("text, 2-byte length", "79000161"),
    ("array, long count", "980100"),
    ("map, long count", "b8010000"),
    ("indefinite byte string", "5f4161ff"),
    ("indefinite text", "7f6161ff"),
    ("indefinite array", "9f01ff"),
    ("indefinite map", "bf0101ff"),
    ("break alone", "ff"),
    ("indefinite integer", "1f"),
    ("indefinite negative", "3f"),
    ("reserved 28", "1c"),
    ("reserved 29 in bytes", "5d"),
    ("reserved 30 in map", "be"),
    ("undefined", "f7"),
    ("simple 0", "e0"),
    ("simple 19", "f3"),
    ("simple 32", "f820"),
    ("simple 255", "f8ff"),
    ("true in two bytes", "f815"),
    ("half float 1.0", "f93c00"),
    ("single float", "fa3f800000"),
    ("double float", "fb3ff0000000000000"),
    ("half NaN", "f97e00"),
    ("tag 0", "c06161"),
    ("bignum", "c249010000000000000000"),
    ("negative bignum", "c349010000000000000000"),
    ("self-described CBOR", "d9d9f700"),
    ("tag 18, COSE_Sign1", "d28440a04040"),
    ("tag of a key", "a1c06100"),
    ("two values", "0000"),
    ("a value and a break", "00ff"),
    ("cut integer, 1 byte", "18"),
    ("cut integer, 2 bytes", "1901"),
    ("cut integer, 4 bytes", "1a010000"),
    ("cut integer, 8 bytes", "1b01000000000000"),
    ("cut byte string", "4261"),
    ("cut text", "6261"),
    ("cut array", "8201"),
    ("cut map before key", "a20102"),
    ("cut map before value", "a101"),
    ("byte string of 2^64-1", "5bffffffffffffffff61"),
    ("array of 2^64-1", "9bffffffffffffffff01"),
    ("map of 2^63", "bb800000000000000001"),
    ("array longer than its bytes", "9903e800"),
    ("key twice", "a20100020100"[2:] + "00"),
    ("keys 1, 1", "a201000100"),
    ("keys 2, 1", "a202000100"),
    ("keys -1, 100", "a22000186400"),
    ("keys a, 1", "a26161000100"),
    ("keys b, a", "a2616200616100"),
    ("keys aa, b (length comes first)", "a262616100616200"),
    ("keys a, a", "a2616100616100"),
    ("key in long form", "a1180100"),
    ("byte string key", "a1416100"),
    ("array key", "a18000"),
    ("map key", "a1a000"),
    ("true key", "a1f500"),
    ("null key", "a1f600"),
    ("not UTF-8", "61ff"),
    ("overlong UTF-8", "62c080"),
    ("UTF-8 surrogate", "63eda080"),
    ("UTF-8 above U+10FFFF", "64f4908080"),
    ("cut UTF-8", "61c3"),
    ("key not UTF-8", "a161ff00"),
    ("17 arrays", "81" * 17 + "00"),
    ("a depth bomb of arrays", "81" * 60000),
    ("a depth bomb of maps", "a100" * 30000),
    ("a depth bomb of tags", "c0" * 60000),
]


@pytest.mark.parametrize("form", [form for _, form in REFUSED], ids=[name for name, _ in REFUSED])
def test_refused(form: str) -> None:
    """Every other way to write a value, and everything that is no value of ours, is Malformed."""
    with pytest.raises(Malformed):
        decode(bytes.fromhex(form))


def test_limits_are_limits() -> None:
    """Bytes, depth and items pass at their limit and not one beyond."""
    assert decode(b"\x81" * 16 + b"\x00")
    assert encode(decode(b"\x81" * 16 + b"\x00"))
    deep: list[Any] = []
    for _ in range(16):
        deep = [deep]
    with pytest.raises(Misuse):
        encode(deep)
    with pytest.raises(Misuse):
        encode({1: {2: {3: 4}}}, max_depth=2)
    assert decode(encode([0] * 4096))
    with pytest.raises(Malformed):
        decode(encode([0] * 4097))
    assert decode(encode(dict.fromkeys(range(2048), 0)))
    with pytest.raises(Malformed):
        decode(encode(dict.fromkeys(range(2049), 0)))
    assert decode(encode([[0] * 5] * 3), max_items=18)
    with pytest.raises(Malformed):
        decode(encode([[0] * 5] * 3), max_items=17)
    assert decode(encode(bytes(65532)))
    with pytest.raises(Malformed):
        decode(encode(bytes(65533)))
    with pytest.raises(Malformed):
        decode(b"\x81\x00", max_depth=0)


def test_buffers_are_read_like_bytes() -> None:
    """A bytearray or memoryview gives the same value, and the value holds bytes of its own."""
    data = bytearray(encode([b"abc", 1]))
    value = decode(memoryview(data))  # type: ignore[arg-type]
    data[:] = bytes(len(data))
    assert value == [b"abc", 1]
    assert isinstance(value, list)
    assert type(value[0]) is bytes


@given(VALUES)
def test_what_is_written_is_read(value: Any) -> None:
    """decode(encode(v)) == v, types included."""
    again = decode(encode(value))
    assert again == value
    assert encode(again) == encode(value)


@given(VALUES)
def test_a_foreign_reader_reads_ours(value: Any) -> None:
    """PyPI cbor2 reads what we write."""
    assert cbor2.loads(encode(value)) == value


def _foreign_form(value: Any) -> bytes:
    """cbor2's bytes for leaves; containers put together here, keys sorted as RFC 8949 says (cbor2 sorts as RFC 7049 did)."""
    if isinstance(value, list):
        return bytes(cbor2.dumps([None] * len(value))[: -len(value) or None]) + b"".join(map(_foreign_form, value))
    if isinstance(value, dict):
        head = cbor2.dumps(dict.fromkeys(range(len(value))), canonical=True)[: 1 if len(value) < 24 else 2]
        return bytes(head) + b"".join(k + _foreign_form(v) for k, v in sorted((cbor2.dumps(k), v) for k, v in value.items()))
    return bytes(cbor2.dumps(value, canonical=True))


@given(VALUES)
def test_a_foreign_writer_writes_the_same(value: Any) -> None:
    """PyPI cbor2 makes the same bytes for every leaf, and for every whole value whose keys are of one kind."""
    assert _foreign_form(value) == encode(value)


@given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=30), inner, max_size=6)))
def test_cbor2_canonical_agrees_on_text_keys(value: Any) -> None:
    """With text keys RFC 7049's order is RFC 8949's, and cbor2's canonical mode gives our bytes whole."""
    assert cbor2.dumps(value, canonical=True) == encode(value)


def _reference(data: bytes) -> bool:
    """Decode leniently with cbor2, encode again, compare: the other way to be strict."""
    try:
        value = cbor2.loads(data)
        return encode(value) == data
    except Exception:
        return False


def _ours(data: bytes) -> bool:
    try:
        value = decode(data)
    except Malformed:
        return False
    assert encode(value) == data
    return True


def test_every_input_of_up_to_two_bytes() -> None:
    """All 65,793 shortest inputs: we accept exactly those that decode-encode-compare with cbor2 accepts."""
    inputs = [b"", *(bytes((a,)) for a in range(256)), *(bytes(pair) for pair in itertools.product(range(256), repeat=2))]
    assert [data for data in inputs if _ours(data) != _reference(data)] == []


@given(VALUES, st.data())
def test_whatever_is_accepted_is_its_own_re_encoding(value: Any, data: st.DataObject) -> None:
    """Flip, cut and insert bytes: what the reader still takes, the writer writes back byte by byte; cbor2 agrees."""
    raw = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        match data.draw(st.sampled_from(["flip", "cut", "insert"])):
            case "flip" if at < len(raw):
                raw[at] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[at:]
            case _:
                raw[at:at] = data.draw(st.binary(min_size=1, max_size=3))
    mutated = bytes(raw)
    assert _ours(mutated) == _reference(mutated)


@given(st.binary(max_size=200))
def test_noise_is_malformed_or_canonical(data: bytes) -> None:
    """No bytes raise anything but Malformed."""
    _ours(data)


def test_every_cut_of_a_signal_is_refused() -> None:
    """No proper prefix of a value is a value."""
    raw = encode(_signal())
    for end in range(len(raw)):
        with pytest.raises(Malformed):
            decode(raw[:end])


def _signal() -> dict[int, Encodable]:
    digest = bytes(range(32))
    return {
        1: 1, 2: digest, 3: "machine", 4: "write", 5: "archive.put", 6: dict.fromkeys(range(1, 4), digest), 7: 1_790_000_000_000_000_000,
        8: bytes(16), 9: 70_000, 10: [digest, [digest, 5]], 11: bytes(16), 14: 1_790_000_000_000_000_000, 16: {"a": b"xy"},
    }  # fmt: skip


def test_a_signal_costs_little() -> None:
    """A signal of some 350 bytes is written and read in tens of microseconds (CPU; the bound leaves room for coverage)."""
    value = _signal()
    raw = encode(value)
    assert 300 < len(raw) < 400
    assert _cost(encode, value) < 400e-6
    assert _cost(decode, raw) < 400e-6


def _cost(function: Any, argument: Encodable | Value) -> float:
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        for _ in range(200):
            function(argument)
        best = min(best, (time.process_time() - start) / 200)
    return best
