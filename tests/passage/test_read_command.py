"""Reading a request: the signal is proven and is this request's, or the session is cut. Most rows are refusals."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, TallyError, Unproven
from tallystick.gate.opening import UNSTATED, BodyDigest, Opening, Target, encode_opening, make_opening
from tallystick.passage.signal import read_command
from tallystick.primitives import sha256
from tests.gate.world import HUMAN, MACHINE, SALTS, Key, seed
from tests.passage.request import BODY, NOW, SENT, Request, asker, book, request

SECOND = 10**9


def test_an_honest_request_is_read_as_it_was_signed() -> None:
    """Target, end-to-end headers and body come from the opening; the book counts the signal."""
    command, after = request().take()
    assert command.target == Target(method="POST", path="/v1/commit?x=1")
    assert command.headers == (("content-type", "application/json"), ("host", "house"))
    assert command.body == BodyDigest(length=len(BODY), sha256=sha256(BODY))
    assert (command.verb, after) == ("archive.commit", book(1))


def test_a_request_without_a_body_says_so() -> None:
    """Null is a statement: there is no body."""
    assert request(body=None).read().body is None


@pytest.mark.parametrize("n", [0, 1, 23, 24, 255, 256, 65_536])
def test_numbers_count_from_zero(n: int) -> None:
    """The next number, whatever the length of its encoding."""
    assert request(n=n).take(at=book(n))[1].next_n == n + 1


OTHER = Key("another machine")

# What was changed, the request, and which error it must be. Each changes one thing of the honest request.
CHANGED: list[tuple[str, Callable[[], Request], type[TallyError]]] = [
    ("method", lambda: replace(request(), method=b"PUT"), Malformed),
    ("method in lower case", lambda: replace(request(), method=b"post"), Malformed),
    ("path", lambda: replace(request(), target=b"/v1/commit2?x=1"), Malformed),
    ("path, percent-encoded", lambda: replace(request(), target=b"/v1/c%6fmmit?x=1"), Malformed),
    ("query", lambda: replace(request(), target=b"/v1/commit?x=2"), Malformed),
    ("query gone", lambda: replace(request(), target=b"/v1/commit"), Malformed),
    ("empty query", lambda: replace(request(path="/v1/commit"), target=b"/v1/commit?"), Malformed),
    ("a header's value", lambda: replace(request(), sent=((b"host", b"other"), *SENT[1:])), Malformed),
    ("a header more", lambda: replace(request(), sent=(*SENT, (b"x", b"1"))), Malformed),
    ("a header less", lambda: replace(request(), sent=SENT[1:]), Malformed),
    ("a header twice", lambda: replace(request(), sent=(SENT[0], *SENT)), Malformed),
    ("another opening", lambda: replace(request(), opening=request(path="/v1/move").opening), Unproven),
    ("another salt", lambda: replace(request(), opening=_resalted()), Unproven),
    ("opening without a body", lambda: replace(request(), opening=request(body=UNSTATED).opening), Malformed),
    ("no opening", lambda: replace(request(), opening=b""), Malformed),
    ("opening with rest", lambda: replace(request(), opening=request().opening + b"\x00"), Malformed),
    ("the signature", lambda: replace(request(), cose=_flipped(request().cose, -1)), Unproven),
    ("the payload", lambda: replace(request(), cose=_flipped(request().cose, 120)), Unproven),
    ("no signal", lambda: replace(request(), cose=b""), Malformed),
    ("a signal cut short", lambda: replace(request(), cose=request().cose[:-1]), Malformed),
    ("another key", lambda: request(key=OTHER), Unproven),
    ("a human key", lambda: request(key=HUMAN), Unproven),
    ("class human", lambda: request(signal_class="human"), Unproven),
    ("class machine/sub", lambda: request(signal_class="machine/sub"), Unproven),
    ("class sensor", lambda: request(signal_class="sensor/camera"), Unproven),
    ("another house", lambda: request(aud=seed("another house")), Unproven),
    ("61 s old", lambda: request(issued_at_ns=NOW - 61 * SECOND), Unproven),
    ("61 s ahead", lambda: request(issued_at_ns=NOW + 61 * SECOND), Unproven),
    ("expired", lambda: request(expires_ns=NOW), Unproven),
    ("another stream", lambda: request(stream=seed("another session")[:16]), Unproven),
    ("one number too far", lambda: request(n=1), Unproven),
    ("unknown verb", lambda: request(verb="archive.burn"), Malformed),
    ("a smaller action", lambda: request(verb="archive.commit", action="read"), Malformed),
    ("a larger action", lambda: request(verb="archive.get", action="write"), Malformed),
    ("nothing said of the body", lambda: request(body=UNSTATED), Malformed),
    ("nothing said of the target", lambda: request(opening=_opening(target=None)), Malformed),
    ("nothing said of the headers", lambda: request(opening=_opening(headers=None)), Malformed),
]


@pytest.mark.parametrize(("made", "error"), [row[1:] for row in CHANGED], ids=[row[0] for row in CHANGED])
def test_any_difference_cuts_the_session(made: Callable[[], Request], error: type[TallyError]) -> None:
    """One thing of the request is not as it was signed, or not as it must be: Malformed or Unproven, and no command comes of it."""
    with pytest.raises(error):
        made().take()


@pytest.mark.parametrize("seconds", [-60, 0, 60])
def test_a_minute_either_way_is_in_time(seconds: int) -> None:
    """Exactly 60 s old or 60 s ahead is still good."""
    request(issued_at_ns=NOW + seconds * SECOND).take()


def test_a_number_counts_once() -> None:
    """The same request again, or an older number, is not the next one."""
    one = request(n=4)
    _, after = one.take(at=book(4))
    for number in (after, book(0), book(6)):
        with pytest.raises(Unproven):
            one.take(at=number)


def test_a_session_takes_its_own_pairs_key_only() -> None:
    """Another paired machine's honest signal is nobody's here, though it is good in its own session."""
    other = request(key=OTHER)
    assert other.take(who=asker(key=OTHER), at=book(key=OTHER))
    with pytest.raises(Unproven):
        other.take()
    with pytest.raises(Unproven):
        request().take(who=asker(key=OTHER), at=book(key=OTHER))


HEADERS: list[tuple[str, Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]]] = [
    ("no signal", lambda all_: [each for each in all_ if each[0] != b"tally-signal"]),
    ("no opening", lambda all_: [each for each in all_ if each[0] != b"tally-opening"]),
    ("signal twice", lambda all_: [*all_, next(each for each in all_ if each[0] == b"tally-signal")]),
    ("signal twice, one in capitals", lambda all_: [*all_, (b"TALLY-SIGNAL", b"AA")]),
    ("an unknown header of ours", lambda all_: [*all_, (b"tally-pair", b"1")]),
    ("padded", lambda all_: [(name, value + b"=" if name == b"tally-signal" else value) for name, value in all_]),
    ("standard alphabet", lambda all_: [(name, b"+/+/" if name == b"tally-signal" else value) for name, value in all_]),
    ("not ASCII", lambda all_: [(name, b"\xff\xfe" if name == b"tally-opening" else value) for name, value in all_]),
    ("too long", lambda all_: [(name, value * 20 if name == b"tally-opening" else value) for name, value in all_]),
]


@pytest.mark.parametrize("change", [row[1] for row in HEADERS], ids=[row[0] for row in HEADERS])
def test_signal_and_opening_come_exactly_once(change: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]]) -> None:
    """Two headers, each once, base64url without padding; any other header of ours is Malformed."""
    made = request()
    with pytest.raises(Malformed):
        read_command(asker(), book(), method=made.method, target=made.target, headers=change(made.headers), now_ns=NOW)


@given(st.data())
def test_no_flipped_byte_is_read(data: st.DataObject) -> None:
    """Flip any bit of signal or opening: Malformed or Unproven, never another command and never another error."""
    made = request()
    part = data.draw(st.sampled_from(["cose", "opening"]))
    raw = getattr(made, part)
    at, bit = data.draw(st.integers(0, len(raw) - 1)), data.draw(st.integers(0, 7))
    broken = replace(made, **{part: raw[:at] + bytes((raw[at] ^ 1 << bit,)) + raw[at + 1 :]})
    with pytest.raises((Malformed, Unproven)):
        broken.take()


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_junk_is_no_command(cose: bytes, opening: bytes) -> None:
    """Any bytes in the two headers: Malformed or Unproven."""
    with pytest.raises((Malformed, Unproven)):
        replace(request(), cose=cose, opening=opening).take()


def _flipped(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


def _resalted() -> bytes:
    digest = BodyDigest(length=len(BODY), sha256=sha256(BODY))
    headers = request().read().headers
    return encode_opening(make_opening(SALTS[32:], target=Target(method="POST", path="/v1/commit?x=1"), headers=headers, body=digest))


def _opening(**change: object) -> Opening:
    given = {"target": Target(method="POST", path="/v1/commit?x=1"), "headers": (("host", "house"),), "body": None} | change
    return make_opening(SALTS, **given)  # type: ignore[arg-type]


def test_the_key_of_these_tests_is_the_machines_own() -> None:
    """What is changed above is changed against a request that is good."""
    assert request().read().signal.kid == MACHINE.public.key_id
