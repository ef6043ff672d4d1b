"""Openings, headers and requests: what was signed is what arrives, or it is refused."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.canonical import Encodable, decode, encode
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.gate.headers import MAX_CARRIED_CHARACTERS, check_request, encode_headers, end_to_end, parse_headers
from tallystick.gate.opening import (
    MAX_HEADERS,
    BodyDigest,
    Opened,
    Opening,
    Target,
    check_opening,
    commit,
    commitments_of,
    encode_opening,
    make_opening,
    open_request,
    open_signal,
    parse_opening,
)
from tallystick.gate.signal import Signal
from tallystick.primitives import sha256
from tests.gate.world import FULL, OPENING, SALTS, seed, signal, signed

SALT = bytes(32)
methods = st.from_regex(r"[A-Z]{1,16}", fullmatch=True)
paths = st.from_regex(r"/[!-~]{0,60}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=10) | st.binary(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
header_names = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
header_values = st.from_regex(r"([!-~]([ !-~]{0,20}[!-~])?)?", fullmatch=True)
raw_headers = st.lists(st.tuples(header_names, header_values), max_size=10).map(lambda hs: [(n.encode(), v.encode()) for n, v in hs])


@given(methods, paths, raw_headers, st.none() | st.binary(max_size=50))
def test_a_request_is_opened_as_by_hand(method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes | None) -> None:
    """The short way of a client writes the bytes and the commitments that the three steps make."""
    target, fields = Target(method=method, path=path), end_to_end(headers)
    digest = None if body is None else BodyDigest(length=len(body), sha256=sha256(body))
    opening = make_opening(SALTS, target=target, headers=fields, body=digest)
    raw, commitments = open_request(SALTS[:96], target=target, headers=fields, body=digest)
    assert (raw, (commitments, None)) == (encode_opening(opening), commitments_of(opening))


def _both(claims: Signal, raw: bytes) -> list[object]:
    """What the two ways of opening a signal say: the opening, or the kind of error."""
    said: list[object] = []
    for way in (_slowly, open_signal):
        try:
            said.append(way(claims, raw))
        except (Malformed, Unproven) as error:
            said.append(type(error))
    return said


def _slowly(claims: Signal, raw: bytes) -> tuple[Opening, bytes | None]:
    opening = parse_opening(raw)
    check_opening(claims, opening)
    return opening, None if opening.place is None else encode([opening.place.salt, opening.place.value])


@settings(max_examples=200)
@given(st.data())
def test_a_signal_is_opened_at_once_as_in_two_steps(data: st.DataObject) -> None:
    """Whatever is committed to, and whichever byte of the opening is another: one pass says what reading and checking say."""
    draw = data.draw
    given: dict[str, Any] = {}
    if draw(st.booleans()):
        given["target"] = Target(method=draw(methods), path=draw(paths))
    if draw(st.booleans()):
        given["headers"] = end_to_end(draw(raw_headers))
    if draw(st.booleans()):
        given["body"] = draw(st.none() | st.builds(BodyDigest, length=st.integers(0, 2**63 - 1), sha256=st.just(SALT)))
    for name in ("place", "sensor"):
        if draw(st.booleans()):
            given[name] = draw(values.filter(lambda value: value is not None))
    if draw(st.integers(0, 3)) == 0:
        given["observations"] = (draw(values),)
    opening = make_opening(SALTS, **given)
    claims, raw = signal(opening), encode_opening(opening)
    first, second = _both(claims, raw)
    assert first == second and isinstance(second, tuple) and second[0] == opening
    changed = bytearray(raw)
    for _ in range(draw(st.integers(1, 2))):
        changed[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    for foreign in (bytes(changed), raw + b"\0", raw[:-1], b""):
        first, second = _both(claims, foreign)
        assert first == second


@pytest.mark.parametrize(
    "given",
    [
        {"target": Target(method="get", path="/")},
        {"target": Target(method="GET", path="x")},
        {"headers": (("b", ""), ("a", ""))},
        {"headers": (("a", "x" * 8192), ("b", "x" * 8192), ("c", "x" * 8192), ("d", "x" * 8192))},
        {"body": BodyDigest(length=-1, sha256=SALT)},
        {"salts": SALTS[:95]},
    ],
)
def test_a_request_that_cannot_be_opened_is_misuse(given: dict[str, Any]) -> None:
    """What the house would refuse is not signed."""
    ask: dict[str, Any] = {"salts": SALTS[:96], "target": Target(method="GET", path="/"), "headers": (), "body": None}
    with pytest.raises(Misuse):
        open_request(**(ask | given))


@given(
    methods, paths, raw_headers, st.none() | st.binary(max_size=50), values.filter(lambda v: v is not None), st.lists(values, max_size=3)
)
def test_what_is_committed_opens(
    method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes | None, place: Encodable, seen: list[Encodable]
) -> None:
    """Any values, written and read back, open exactly the commitments made of them."""
    opening = make_opening(
        SALTS,
        target=Target(method=method, path=path),
        headers=end_to_end(headers),
        body=None if body is None else BodyDigest(length=len(body), sha256=sha256(body)),
        place=place,  # type: ignore[arg-type]
        observations=tuple(seen),  # type: ignore[arg-type]
    )
    read = parse_opening(encode_opening(opening))
    assert read == opening
    check_opening(signal(opening), read)
    assert read.read_target() == Target(method=method, path=path)
    assert read.read_headers() == end_to_end(headers)
    found = read.read_body()
    assert (found is None) == (body is None)
    check_request(read, method=method.encode(), target=path.encode(), headers=headers)


def test_a_commitment_is_tag_salt_and_canonical_value() -> None:
    """The bytes of the specification."""
    commitments, sensor = commitments_of(OPENING)
    assert commitments.target == sha256(b"tally target v1", SALTS[:32], encode(["PUT", "/v1/files/a%20b?x=1"]))
    headers = [["accept", "*/*"], ["host", "house"], ["x-two", "2"], ["x-two", "1"]]
    assert commitments.headers == sha256(b"tally headers v1", SALTS[32:64], encode(headers))
    assert commitments.body == sha256(b"tally body v1", SALTS[64:96], encode([5, sha256(b"hello")]))
    assert (commitments.place, commitments.observations, sensor) == (None, (), None)
    nothing = make_opening(SALTS, body=None)
    assert commitments_of(nothing)[0].body == sha256(b"tally body v1", SALTS[:32], encode(None))


def test_each_tag_has_its_own_domain() -> None:
    """The same value and salt under two fields are two commitments."""
    opened = Opened(salt=SALT, value="x")
    commitments, sensor = commitments_of(Opening(place=opened, observations=(opened,), sensor=opened))
    assert len({commitments.place, commitments.observations[0], sensor}) == 3
    assert commit(b"tally place v1", SALT, "x") == commitments.place
    with pytest.raises(Misuse):
        commit(b"tally place v1", bytes(31), "x")


def without(opening: Opening, name: str, instead: Opened | None = None) -> Opening:
    """The opening with one field left out or replaced."""
    change: dict[str, Any] = {name: instead}
    return replace(opening, **change)


def test_an_opening_opens_exactly_what_was_committed() -> None:
    """One field more or less is Malformed; another value or salt is Unproven."""
    full = make_opening(
        SALTS,
        target=Target(method="GET", path="/"),
        headers=(),
        body=None,
        place=["home", 3],
        observations=(b"frame 1", {"frame": 2}),
        sensor="camera 12",
    )
    check_opening(FULL, full)
    for less in ("target", "headers", "body", "place", "sensor"):
        with pytest.raises(Malformed):
            check_opening(FULL, without(full, less))
        with pytest.raises(Unproven):
            check_opening(FULL, without(full, less, replace(getattr(full, less), salt=seed("another salt"))))
    with pytest.raises(Malformed):
        check_opening(signal(), replace(OPENING, place=full.place))
    for observations in ((), full.observations[:1], full.observations * 2):
        with pytest.raises(Malformed):
            check_opening(FULL, replace(full, observations=observations))
    with pytest.raises(Unproven):
        check_opening(FULL, replace(full, observations=full.observations[::-1]))


GOOD: dict[int, Any] = {
    1: [SALT, ["GET", "/"]],
    2: [SALT, [["a", "b"]]],
    3: [SALT, [1, bytes(32)]],
    4: [SALT, 1],
    5: [[SALT, 1]],
    15: [SALT, 1],
}
TARGETS: tuple[Any, ...] = (None, [], ["GET"], ["get", "/"], ["", "/"], ["GET", ""], ["GET", "x"], ["GET", "/ "], ["GET", "/\r\n"])
SHAPES: tuple[Any, ...] = (None, [], [SALT], [SALT, 1, 2], [bytes(31), 1], ["x", 1], {})
HEADER_LISTS: tuple[Any, ...] = (None, {}, [["a"]], [["a", "b", "c"]], [["A", "b"]], [["", "b"]], [["a b", "c"]], [["a:", "b"]])
BAD: list[tuple[int, Any]] = [
    *((n, wrong) for n in (1, 2, 3, 4, 15) for wrong in SHAPES),
    *(
        (1, [SALT, wrong])
        for wrong in (None, [], ["GET"], ["get", "/"], ["", "/"], ["GET", ""], ["GET", "x"], ["GET", "/ "], ["GET", "/\r\n"])
    ),
    *((1, [SALT, ["GET", wrong]]) for wrong in ("/ä", "/" + "a" * 8192, "*", "http://x/", 1, None)),
    *((1, [SALT, wrong]) for wrong in (["G" * 17, "/"], ["GET", "/", ""])),
    *((2, [SALT, wrong]) for wrong in HEADER_LISTS),
    *((2, [SALT, [["a", wrong]]]) for wrong in (" b", "b ", "b\r\nc: d", "\x00", "\x7f", "\u0100", 1, b"b", "x" * 8193)),
    (2, [SALT, [["b", "1"], ["a", "1"]]]),
    (2, [SALT, [["a", "1"]] * (MAX_HEADERS + 1)]),
    *((3, [SALT, wrong]) for wrong in (1, [1], [1, bytes(31)], [-1, bytes(32)], [True, bytes(32)], [2**63, bytes(32)], ["1", bytes(32)])),
    *((5, wrong) for wrong in (None, [], [[SALT]], [[SALT, 1]] * 17, [SALT, 1])),
    (0, [SALT, 1]),
    (6, [SALT, 1]),
    (14, [SALT, 1]),
]


@pytest.mark.parametrize(("number", "value"), BAD)
def test_other_openings_are_malformed(number: int, value: Any) -> None:
    """Wrong salts, targets, headers, bodies and fields, whether or not a signal commits to them."""
    parse_opening(encode(GOOD))
    with pytest.raises(Malformed):
        parse_opening(encode({**GOOD, number: value}))


def test_our_own_mistakes_are_misuse() -> None:
    """Too few salts, or a value that no house would take."""
    with pytest.raises(Misuse):
        make_opening(SALTS[:63], target=Target(method="GET", path="/"), body=None)
    with pytest.raises(Misuse):
        make_opening(SALTS, target=Target(method="get", path="/"))
    with pytest.raises(Misuse):
        make_opening(SALTS, headers=(("b", ""), ("a", "")))
    with pytest.raises(Misuse):
        make_opening(SALTS, body=BodyDigest(length=-1, sha256=bytes(32)))


def test_reading_what_is_not_there_is_malformed() -> None:
    """A handler that needs target, headers or body of a signal that does not state them gets no default."""
    for read in (Opening().read_target, Opening().read_headers, Opening().read_body):
        with pytest.raises(Malformed):
            read()


# --- Headers ---------------------------------------------------------------------------------------------------------


def test_end_to_end_headers_are_all_but_those_of_one_hop() -> None:
    """Hop-by-hop, framing and Tally- headers are left out, everything else is committed: Host too."""
    headers = [
        (b"Host", b"house"), (b"X-B", b" 2\t"), (b"Connection", b"x"), (b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"5"),
        (b"TE", b"x"), (b"Trailer", b"x"), (b"Upgrade", b"x"), (b"Keep-Alive", b"x"), (b"Expect", b"100-continue"),
        (b"Proxy-Connection", b"x"), (b"Tally-Signal", b"x"), (b"TALLY-ANYTHING", b"x"), (b"x-b", b"1"), (b"Accept", b"\xe9"),
    ]  # fmt: skip
    assert end_to_end(headers) == (("accept", "é"), ("host", "house"), ("x-b", "2"), ("x-b", "1"))
    with pytest.raises(Malformed):
        end_to_end([(b"x", b"")] * (MAX_HEADERS + 1))


REQUEST = {"method": b"PUT", "target": b"/v1/files/a%20b?x=1"}
HEADERS = [(b"Host", b"house"), (b"X-Two", b"2"), (b"Accept", b"*/*"), (b"Content-Length", b"5"), (b"x-two", b"1")]


@pytest.mark.parametrize(
    "change",
    [
        {"method": b"POST"},
        {"method": b"put"},
        {"target": b"/v1/files/a%20b"},
        {"target": b"/v1/files/a%20b?x=2"},
        {"target": b"/v1/files/a b?x=1"},
        {"target": b"/v1/files/a%20b?x=1&"},
        {"target": b"http://house/v1/files/a%20b?x=1"},
        {"headers": HEADERS[1:]},
        {"headers": [*HEADERS, (b"X-Evil", b"1")]},
        {"headers": [*HEADERS, (b"x-two", b"1")]},
        {"headers": [HEADERS[0], HEADERS[4], HEADERS[2], HEADERS[1]]},
        {"headers": [(b"Host", b"other"), *HEADERS[1:]]},
    ],
)
def test_any_difference_is_malformed(change: dict[str, object]) -> None:
    """Another method, path, query, header, value or order of equal headers is not what was signed."""
    request: dict[str, object] = {**REQUEST, "headers": HEADERS}
    assert check_request(OPENING, **request).path == "/v1/files/a%20b?x=1"  # type: ignore[arg-type]
    with pytest.raises(Malformed):
        check_request(OPENING, **{**request, **change})  # type: ignore[arg-type]


def test_signal_and_opening_travel_in_two_headers() -> None:
    """Written, read back; missing, doubled, padded, unknown or oversized ones are Malformed."""
    cose, opened = signed(signal()), encode_opening(OPENING)
    carried = encode_headers(cose, opened)
    assert parse_headers([(b"Host", b"x"), *((name.upper(), value) for name, value in carried)]) == (cose, opened)
    (_, signal_text), (_, opening_text) = carried
    for bad in (
        [],
        carried[:1],
        carried[1:],
        [*carried, carried[0]],
        [*carried, (b"Tally-More", b"x")],
        [(b"tally-signal", signal_text + b"="), carried[1]],
        [(b"tally-signal", b" " + signal_text), carried[1]],
        [(b"tally-signal", b"\xff"), carried[1]],
        [carried[0], (b"tally-opening", opening_text + b"A" * MAX_CARRIED_CHARACTERS)],
    ):
        with pytest.raises(Malformed):
            parse_headers(bad)
    with pytest.raises(Misuse):
        encode_headers(cose, bytes(MAX_CARRIED_CHARACTERS))


def test_the_opening_gives_a_guesser_nothing() -> None:
    """Two signals about the same request have different commitments: salts are fresh."""
    one = make_opening(SALTS, target=Target(method="GET", path="/"))
    two = make_opening(SALTS[32:], target=Target(method="GET", path="/"))
    assert commitments_of(one)[0].target != commitments_of(two)[0].target
    assert decode(encode_opening(one))[1][1] == decode(encode_opening(two))[1][1]  # type: ignore[index]
