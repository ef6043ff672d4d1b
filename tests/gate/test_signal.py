"""Signals: one form, two types, audience, age; and that the first ones ever signed still verify."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.gate.opening import check_opening, parse_opening
from tallystick.gate.signal import (
    ACTIONS,
    MAX_AGE_NS,
    MAX_SIGNAL_BYTES,
    Commitments,
    EntryRef,
    ProvenSignal,
    Signal,
    base_class,
    check_age,
    check_audience,
    encode_signal,
    parse_any,
    parse_payload,
    parse_plain,
    parse_signal,
)
from tallystick.keys import KeyKind, PublicKey, sign1
from tallystick.primitives import sha256
from tallystick.rights.action import ActionClass
from tallystick.rights.verb import VERBS
from tests.gate.world import FULL, HOUSE_ID, HUMAN, MACHINE, NOW_NS, Key, proven, seed, signal, signed
from tests.support import PROJECT

FIXTURES = Path(__file__).parents[1] / "fixtures" / "signal"
SECOND = 10**9
hashes = st.binary(min_size=32, max_size=32)
uints = st.integers(0, 2**63 - 1)
references = hashes | st.builds(EntryRef, hashes, uints)
names = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,31}", fullmatch=True)
exts = st.dictionaries(names, st.binary(max_size=40), max_size=5).map(
    lambda found: tuple(sorted(found.items(), key=lambda pair: encode(pair[0])))
)


@st.composite
def signals(draw: st.DrawFn) -> Signal:
    """Any signal of version 1."""
    ext = draw(exts)
    crit = tuple(sorted(draw(st.sets(st.sampled_from([name for name, _ in ext]))))) if ext else ()
    optional = st.none() | hashes
    return Signal(
        aud=draw(hashes),
        signal_class=draw(st.from_regex(r"[a-z][a-z0-9-]{0,31}(/[a-z0-9][a-z0-9-]{0,31}){0,2}", fullmatch=True)),
        action=draw(st.sampled_from(sorted(ACTIONS))),
        verb=draw(st.from_regex(r"[a-z][a-z0-9-]{0,31}\.[a-z][a-z0-9-]{0,31}", fullmatch=True)),
        commitments=Commitments(
            target=draw(optional),
            headers=draw(optional),
            body=draw(optional),
            place=draw(optional),
            observations=tuple(draw(st.lists(hashes, max_size=16))),
        ),
        issued_at_ns=draw(uints),
        stream=draw(st.binary(min_size=16, max_size=16)),
        n=draw(uints),
        prev=tuple(draw(st.lists(references, max_size=64, unique=True))),
        challenge=draw(st.none() | st.binary(min_size=1, max_size=64)),
        token=draw(st.none() | st.binary(min_size=1, max_size=100)),
        scope=draw(st.none() | references),
        expires_ns=draw(st.none() | uints),
        sensor=draw(optional),
        ext=ext,
        crit=crit,
    )


@given(signals())
def test_what_is_signed_is_read_and_proven(claims: Signal) -> None:
    """Every signal of version 1 is written, read back equal, written again byte for byte, and proven."""
    payload = encode_signal(claims)
    assert parse_payload(payload) == claims
    assert encode_signal(parse_payload(payload)) == payload
    unproven = parse_signal(sign1(MACHINE, payload), known_ext=claims.crit)
    assert unproven.claims == claims
    assert unproven.prove(MACHINE.public).claims == claims


@pytest.mark.parametrize("key", [MACHINE, HUMAN], ids=["EdDSA", "ES256"])
def test_reference_and_structure_hash(key: Key) -> None:
    """A signal is named by the hash of its signature; two statements are told apart by the hash of what was signed."""
    raw = signed(signal(), key)
    found = parse_signal(raw).prove(key.public)
    parts: Any = decode(raw)
    protected, _, payload, signature = parts
    assert found.reference == sha256(signature)
    assert found.structure_hash == sha256(encode(["Signature1", protected, b"", payload]))
    assert (found.kid, found.raw) == (key.public.key_id, raw)


@st.composite
def plain_payloads(draw: st.DrawFn) -> bytes:
    """Payloads of the commonest shape, sometimes with a few bytes changed, put in or taken out."""
    claims = draw(signals())
    plain = replace(
        claims, prev=(), challenge=None, token=None, scope=None, expires_ns=None, sensor=None, ext=(), crit=(),
        commitments=replace(claims.commitments, observations=()),
        n=draw(st.sampled_from([0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1, 2**32]) | uints),
        issued_at_ns=draw(st.sampled_from([0, 2**32 - 1, 2**32, NOW_NS, 2**63 - 1])),
    )  # fmt: skip
    payload = bytearray(encode_signal(plain))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(payload) - 1))
        match draw(st.sampled_from(["change", "insert", "remove"])):
            case "change":
                payload[at] = draw(st.integers(0, 255))
            case "insert":
                payload.insert(at, draw(st.integers(0, 255)))
            case _:
                del payload[at]
    return bytes(payload)


@settings(max_examples=300)
@given(plain_payloads())
def test_the_fast_reader_reads_nothing_that_the_full_one_does_not(payload: bytes) -> None:
    """Whatever `parse_plain` reads, `parse_any` reads as the same signal; what is Malformed to one is never read by the other."""
    fast = parse_plain(payload)
    if fast is not None:
        assert fast == parse_any(payload)
        assert encode_signal(fast) == payload


def test_a_command_takes_the_fast_reader() -> None:
    """The commands of a session are of the commonest shape, every one of the verbs and actions."""
    for action in ActionClass:
        for verb in VERBS:
            for n in (0, 23, 24, 255, 256, 65_535, 65_536, 2**32 - 1):
                claims = replace(signal(), action=action.value, verb=verb, n=n)
                payload = encode_signal(claims)
                assert parse_plain(payload) == parse_any(payload) == claims
    assert parse_plain(encode_signal(FULL)) is None


def test_a_source_with_a_few_predecessors_takes_the_fast_reader() -> None:
    """Up to eight references to signals, and classes that inherit; an entry, a ninth or one of them twice is for the full reader."""
    references = tuple(seed(f"reference {number}") for number in range(9))
    for many in range(9):
        for kind in ("sensor", "sensor/camera", "sensor/camera/front-door"[:23]):
            claims = replace(signal(), signal_class=kind, action="propose", verb="camera.frame", prev=references[:many])
            payload = encode_signal(claims)
            assert parse_plain(payload) == parse_any(payload) == claims
    for prev in (references, (EntryRef(seed("origin"), 5),)):
        payload = encode_signal(replace(signal(), prev=prev))
        assert parse_plain(payload) is None
        assert parse_payload(payload).prev == prev
    twice = encode_signal(replace(signal(), prev=references[:2])).replace(references[1], references[0])
    assert parse_plain(twice) is None
    with pytest.raises(Malformed):
        parse_payload(twice)


@pytest.mark.parametrize("kind", ["sensor/", "sensor//a", "a/b/c/d", "/a", "sensor/-a"])
def test_a_class_of_wrong_parts_passes_neither_reader(kind: str) -> None:
    good = encode_signal(replace(signal(), signal_class="sensor/camera"))
    changed = good.replace(b"\x6dsensor/camera", bytes((0x60 + len(kind),)) + kind.encode())
    assert changed != good and parse_plain(changed) is None
    with pytest.raises(Malformed):
        parse_payload(changed)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"\x03\x67machine", b"\x03\x66machine"),
        (b"\x03\x67machine", b"\x03\x68machine"),
        (b"\x05\x6barchive.put", b"\x05\x6aarchive.put"),
        (b"\x06\xa3", b"\x06\xa2"),
        (b"\x06\xa3", b"\x06\xa4"),
        (b"\x09\x00\x0a\x80", b"\x09\x18\x00\x0a\x80"),
        (b"\x09\x00\x0a\x80", b"\x09\x19\x00\xff\x0a\x80"),
        (b"\x09\x00\x0a\x80", b"\x09\x1a\x00\x00\xff\xff\x0a\x80"),
        (b"\x07\x1b", b"\x07\x1b\x00\x00\x00\x00"),
        (b"\x0a\x80", b"\x0a\x80\n"),
    ],
)
def test_what_only_looks_plain_is_malformed(good: bytes, bad: bytes) -> None:
    """Length bytes, counts and numbers that are not in their one form pass neither reader."""
    payload = encode_signal(signal())
    assert payload.count(good) == 1
    changed = payload.replace(good, bad)
    if bad.startswith(b"\x07"):  # a time under 2^32 in eight bytes
        at = changed.index(b"\x07\x1b") + 10
        changed = changed[:at] + changed[at + 4 :]
    assert parse_plain(changed) is None
    with pytest.raises(Malformed):
        parse_payload(changed)


def test_unproven_and_proven_are_two_types() -> None:
    """Nobody makes a proven signal by hand, and another key or a changed byte proves nothing."""
    raw = signed(signal())
    unproven = parse_signal(raw)
    with pytest.raises(AssertionError):
        ProvenSignal(claims=signal(), public=MACHINE.public, reference=bytes(32), raw=raw, proof=object())
    with pytest.raises(Unproven):
        unproven.prove(HUMAN.public)
    flipped = bytearray(raw)
    flipped[-1] ^= 1
    with pytest.raises(Unproven):
        parse_signal(bytes(flipped)).prove(MACHINE.public)


@pytest.mark.parametrize("claims", [signal(), FULL], ids=["plain", "full"])
def test_every_cut_and_every_flip(claims: Signal) -> None:
    """Cut anywhere: Malformed. One bit flipped anywhere: Malformed or Unproven, never a signal."""
    raw = signed(claims)
    step = 1 if len(raw) < 1000 else 13
    for at in range(0, len(raw), step):
        with pytest.raises(Malformed):
            parse_signal(raw[:at], known_ext=("a.b", "zz-1"))
        changed = bytearray(raw)
        changed[at] ^= 1 << at % 8
        with pytest.raises((Malformed, Unproven)):
            parse_signal(bytes(changed), known_ext=("a.b", "zz-1")).prove(MACHINE.public)


def payload_with(**change: Any) -> bytes:
    """The full payload with fields changed or left out (value ...); field names are f1 to f17."""
    value = decode(encode_signal(FULL))
    assert isinstance(value, dict)
    for name, new in change.items():
        if new is ...:
            value.pop(int(name[1:]))
        else:
            value[int(name[1:])] = new
    return encode(value)


H = bytes(32)
BAD: list[tuple[int, Any]] = [
    *((n, ...) for n in range(1, 11)),
    (1, 0), (1, 2), (1, True), (1, "1"),
    (2, bytes(31)), (2, bytes(33)), (2, "x" * 32),
    (3, ""), (3, "Human"), (3, "human/"), (3, "/human"), (3, "a/b/c/d"), (3, "a" * 33), (3, "human\n"), (3, "humän"), (3, b"human"),
    (4, "delete"), (4, "READ"), (4, ""), (4, 4), (4, None), (4, ["read"]),
    (5, "archive"), (5, "archive.put.x"), (5, "archive..put"), (5, ".put"), (5, "a" * 33 + ".b"), (5, "archive.put\n"), (5, 1),
    (6, []), (6, None), (6, {0: H}), (6, {6: H}), (6, {"1": H}), (6, {1: bytes(31)}), (6, {1: None}), (6, {1: [H]}),
    (6, {5: H}), (6, {5: []}), (6, {5: [H] * 17}), (6, {5: [bytes(31)]}), (6, {5: [[H]]}), (6, {4: "x" * 32}),
    (7, -1), (7, 2**63), (7, 2**64 - 1), (7, True), (7, "0"), (7, None),
    (8, bytes(15)), (8, bytes(17)), (8, None),
    (9, -1), (9, 2**63), (9, False), (9, None),
    (10, None), (10, {}), (10, [bytes(31)]), (10, [H, H]), (10, [[H, 1], [H, 1]]), (10, [[H]]), (10, [[H, 1, 2]]), (10, [[H, -1]]),
    (10, [[bytes(31), 1]]), (10, [[1, H]]), (10, [i.to_bytes(32, "big") for i in range(65)]), (10, [True]), (10, [None]),
    (11, b""), (11, bytes(65)), (11, "x"), (11, None),
    (12, b""), (12, bytes(4097)), (12, None),
    (13, None), (13, b""), (13, bytes(31)), (13, []), (13, 1),
    (14, -1), (14, 2**63), (14, True), (14, None),
    (15, bytes(31)), (15, None),
    (16, {}), (16, []), (16, {1: b""}), (16, {"A": b""}), (16, {"": b""}), (16, {"a" * 33: b""}), (16, {"-a": b""}), (16, {"a": ""}),
    (16, {"a": bytes(4097)}), (16, {f"n{i:02}": b"" for i in range(17)}), (16, None), (16, ...),
    (17, []), (17, ["unknown"]), (17, ["zz-1", "a.b"]), (17, ["a.b", "a.b"]), (17, [1]), (17, {}), (17, None), (17, ["a.b"] * 17),
    (0, 1), (18, 1), (-1, 1),
]  # fmt: skip


@pytest.mark.parametrize(("number", "value"), BAD)
def test_other_payloads_are_malformed(number: int, value: Any) -> None:
    """Missing, further, mistyped and out-of-range fields of the payload."""
    with pytest.raises(Malformed):
        parse_payload(payload_with(**{f"f{number}": value}))


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"1": 1}, [1, 2]])
def test_other_shapes_are_malformed(value: Value) -> None:
    """A payload is a map of integers."""
    with pytest.raises(Malformed):
        parse_payload(encode(value))


def test_non_canonical_bytes_are_malformed() -> None:
    """Duplicate keys, keys out of order, long integers, indefinite lengths, tags, floats, depth bombs and trailing bytes."""
    good = encode_signal(signal())
    assert good[:3] == b"\xaa\x01\x01"
    for bad in (
        b"\xab\x01\x01" + good[1:],  # version twice
        b"\xaa\x01\x18\x01" + good[3:],  # long integer
        b"\xbf" + good[1:] + b"\xff",  # indefinite map
        b"\xd2" + good,  # tag
        b"\xaa\x01\xf9\x3c\x00" + good[3:],  # 1.0
        b"\xaa" + good[3:] + good[1:3],  # out of order
        good + b"\x00",
        b"\x81" * 20_000,
        b"\xa1\x01" * 10_000,
    ):
        with pytest.raises(Malformed):
            parse_payload(bad)
    with pytest.raises(Malformed):
        parse_signal(bytes(MAX_SIGNAL_BYTES + 1))


def test_a_critical_extension_that_is_not_known_is_refused() -> None:
    """A house that does not know what a signer calls critical does not act on the signal; other extensions pass."""
    raw = signed(FULL)
    parse_signal(raw, known_ext=("a.b", "zz-1"))
    for known in ((), ("a.b",), ("zz-1",)):
        with pytest.raises(Malformed):
            parse_signal(raw, known_ext=known)
    parse_signal(signed(signal(ext=(("future", b"x"),))))


@given(st.binary(max_size=400))
def test_junk_is_malformed(junk: bytes) -> None:
    """Whatever bytes come, only Malformed comes out."""
    for read in (parse_payload, parse_signal, parse_opening):
        try:
            read(junk)
        except Malformed:
            continue
        assert read is parse_opening
        assert junk == b"\xa0"


@pytest.mark.parametrize(
    "change",
    [
        {"aud": b""},
        {"signal_class": "Human"},
        {"action": "delete"},
        {"verb": "x"},
        {"issued_at_ns": -1},
        {"stream": b""},
        {"n": 2**63},
        {"prev": (bytes(32), bytes(32))},
        {"ext": (("b", b""), ("a", b""))},
        {"crit": ("a",)},
        {"challenge": b""},
    ],
)
def test_our_own_mistakes_are_misuse(change: dict[str, Any]) -> None:
    """A signal that no house would take is not written."""
    with pytest.raises(Misuse):
        encode_signal(signal(**change))


def test_the_actions_are_those_of_rights() -> None:
    """Gate cannot import rights; both have the same six words."""
    assert {action.value for action in ActionClass} == ACTIONS


# --- Audience and age ------------------------------------------------------------------------------------------------


def test_a_signal_is_for_one_house() -> None:
    """A signal for another house proves nothing here."""
    check_audience(proven(signal()), HOUSE_ID)
    with pytest.raises(Unproven):
        check_audience(proven(signal()), seed("another house"))


AGES = {"machine": 60, "sensor": 60, "sensor/camera": 60, "tool": 300, "skill": 300, "llm": 300, "cron": 300, "human": 600, "feed": 3600}


@pytest.mark.parametrize(("signal_class", "seconds"), [*AGES.items(), ("unheard-of", 60), ("feed/rss", 3600)])
def test_the_oldest_a_signal_may_be(signal_class: str, seconds: int) -> None:
    """Each class has its maximum age, sub-classes inherit it, an unknown class gets 60 s; the edge itself still passes."""
    found = proven(signal(signal_class=signal_class))
    check_age(found, NOW_NS + seconds * SECOND)
    with pytest.raises(Unproven):
        check_age(found, NOW_NS + seconds * SECOND + 1)
    check_age(found, NOW_NS - 60 * SECOND)
    with pytest.raises(Unproven):
        check_age(found, NOW_NS - 60 * SECOND - 1)
    assert base_class(signal_class) in MAX_AGE_NS or signal_class == "unheard-of"


def test_an_expired_signal_is_over() -> None:
    """`expires` is the first nanosecond at which it is over."""
    found = proven(signal(expires_ns=NOW_NS + 5))
    check_age(found, NOW_NS + 4)
    with pytest.raises(Unproven):
        check_age(found, NOW_NS + 5)


# --- Fixtures --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.cose")), ids=lambda path: path.stem)
def test_the_first_signals_still_verify(path: Path) -> None:
    """Signals signed by the first version are read, proven and opened for ever: formats are extended, never changed."""
    kind, raw_key, reference = path.with_suffix(".txt").read_text().splitlines()
    public = PublicKey(KeyKind(kind), bytes.fromhex(raw_key))
    found = parse_signal(path.read_bytes(), known_ext=("a.b", "zz-1")).prove(public)
    assert found.reference.hex() == reference
    check_opening(found.claims, parse_opening(path.with_suffix(".opening").read_bytes()))
    parts: Any = decode(path.read_bytes())
    assert encode_signal(found.claims) == parts[2]


def test_the_fixtures_are_there() -> None:
    """A fixture that was lost would be a promise that was lost."""
    assert {path.stem for path in FIXTURES.glob("*.cose")} == {"machine-put", "machine-get", "sensor-full", "human-statement"}


def test_the_specification_lists_these_ages() -> None:
    """docs/spec/signal.md, section 4 has exactly the maximum ages of the code."""
    text = (PROJECT / "docs/spec/signal.md").read_text().split("## 4.")[1].split("## 5.")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.endswith(" s |")]
    ages = {name.strip(): int(age[:-2].replace(",", "")) * SECOND for names, age in rows for name in names.split(",")}
    assert ages == MAX_AGE_NS
