"""The sealed stream, rule by rule (docs/spec/stream.md, sections 1 to 3)."""

import hashlib
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel.event import Checkpoint, Confirmed, Cut, CutReason, Data, End, Pairing, Pong, Telemetry, Voided
from tallystick.channel.frame import FrameType
from tallystick.channel.session import (
    DEAD_AFTER_NS,
    FIRST_FRAME_NS,
    PING_AFTER_NS,
    REFUSE_AFTER_FRAMES,
    STALE_AFTER_NS,
    STALE_GRACE_NS,
    Session,
    severed_record,
)
from tallystick.errors import Misuse, Unavailable
from tallystick.pair.pairing import Suite
from tests.channel.scene import NOW, SECOND, Stream, pairing_stream, seeded, stream

SEVERED = severed_record(seeded("pairing"))


def forged(sender: Session, kind: FrameType, body: bytes) -> bytes:
    """A frame that verifies but that no honest side would send."""
    return sender._sealer.seal(kind, body)


def cut(reason: CutReason) -> list[object]:
    return [Cut(reason)]


@pytest.mark.parametrize("suite", Suite)
def test_the_first_frame_is_one_empty_ping_and_its_pong(suite: Suite) -> None:
    """Client: 19 bytes. House: key confirmation, then one pong with its pair time. Client: confirmed."""
    pair = stream(suite, confirmed=False)
    first = pair.client.start()
    assert len(first) == 2 + 17
    assert pair.house.receive(first, NOW + 5) == [Confirmed()]
    pong = pair.house.outgoing()
    assert len(pong) == 2 + 25 and pair.house.outgoing() == b""
    assert pair.client.receive(pong, NOW + 9) == [Confirmed(), Pong(NOW + 5, NOW)]


def test_data_may_follow_the_first_frame_at_once() -> None:
    """No round trip is waited for."""
    pair = stream(confirmed=False)
    wire = pair.client.start() + bytes(pair.client.send_data(b"GET /"))
    assert pair.house.receive(wire, NOW) == [Confirmed(), Data(b"GET /")]


def test_the_house_never_speaks_first() -> None:
    """Before the client's first frame there is nothing it could say, not even a ping."""
    house = stream(confirmed=False).house
    assert house.outgoing() == b""
    for say in (partial(house.send_data, b"x"), house.send_end, partial(house.send_ping, NOW), partial(house.send_telemetry, b"x")):
        with pytest.raises(Misuse):
            say()
    with pytest.raises(Misuse):
        house.start()


def test_the_client_starts_once_and_first() -> None:
    """Anything before the first ping, or a second one by `start`, is our caller's fault."""
    client = stream(confirmed=False).client
    with pytest.raises(Misuse):
        client.send_data(b"x")
    client.start()
    with pytest.raises(Misuse):
        client.start()


@pytest.mark.parametrize(
    ("kind", "body"), [(FrameType.DATA, b"x"), (FrameType.PING, bytes(8)), (FrameType.END, b""), (FrameType.HANDSHAKE, bytes(48))]
)
def test_any_other_first_frame_cuts(kind: FrameType, body: bytes) -> None:
    """Verified or not: data, a pong, an end or a handshake is no first frame."""
    pair = stream(confirmed=False)
    assert pair.house.receive(forged(pair.client, kind, body), NOW) == cut(CutReason.FIRST_FRAME)
    assert not pair.house.confirmed and pair.house.outgoing() == b""


def test_a_first_frame_over_1_kib_cuts_at_its_length() -> None:
    """The house does not wait for it to arrive; 1,024 bytes are read."""
    assert stream(confirmed=False).house.receive((1025).to_bytes(2, "big"), NOW) == cut(CutReason.FIRST_FRAME)
    assert stream(confirmed=False).house.receive((1024).to_bytes(2, "big"), NOW) == []


def test_a_first_frame_by_a_stranger_cuts() -> None:
    """A connection taken over before the first frame confirms nothing."""
    house = stream(confirmed=False).house
    assert house.receive(b"\x00\x11" + bytes(17), NOW) == cut(CutReason.UNPROVEN)
    assert house.outgoing() == b"" and not house.confirmed


@pytest.mark.parametrize("side", ["client", "house"])
def test_the_first_frame_must_be_there_within_3_seconds(side: str) -> None:
    """Half-open and slow clients are cut, and so is a house that does not say a word."""
    session: Session = getattr(stream(confirmed=False), side)
    if side == "client":
        session.start()
    assert session.next_timer() == NOW + FIRST_FRAME_NS == NOW + 3 * SECOND
    assert session.handle_timer(NOW + 3 * SECOND - 1) == []
    assert session.handle_timer(NOW + 3 * SECOND) == cut(CutReason.UNCONFIRMED)
    assert session.next_timer() is None and session.finished


def test_the_house_must_answer_with_a_pong() -> None:
    """Any other first frame from the house cuts the client's side."""
    pair = stream(confirmed=False)
    pair.house.receive(pair.client.start(), NOW)
    pair.house._outgoing.clear()
    pair.house._sealer = pair.house._sealer.successor(pair.house._sealer._cipher)
    assert pair.client.receive(b"\x00\x11" + bytes(17), NOW) == cut(CutReason.UNPROVEN)


def test_data_flows_both_ways_in_order() -> None:
    """What is sent comes out, once and in order."""
    pair = stream()
    assert pair.house.receive(bytes(pair.client.send_data(b"a")) + bytes(pair.client.send_data(b"b")), NOW) == [Data(b"a"), Data(b"b")]
    assert pair.client.receive(pair.house.send_data(b"c"), NOW) == [Data(b"c")]
    assert pair.client.send_data(b"") == b""


def test_bulk_data_of_several_frames() -> None:
    """A megabyte in one call comes out as frames of at most 65,518 bytes."""
    pair = stream(Suite.AESGCM)
    data = seeded("bulk") * 32_768
    events = pair.house.receive(pair.client.send_data(data), NOW)
    assert all(isinstance(event, Data) for event in events)
    assert b"".join(event.data for event in events if isinstance(event, Data)) == data and len(events) == 17


def test_every_ping_is_answered_and_pings_that_came_together_share_a_pong() -> None:
    """The pong names the pair time of its sender; one nobody waits for is ignored."""
    pair = stream()
    pings = pair.client.send_ping(NOW + 1) + pair.client.send_ping(NOW + 2)
    assert pair.house.receive(pings, NOW + 3) == []
    assert pair.client.receive(pair.house.outgoing(), NOW + 4) == [Pong(NOW + 3, NOW + 2)]
    assert pair.client.receive(forged(pair.house, FrameType.PING, bytes(8)), NOW + 4) == []
    assert pair.client.receive(pair.house.send_ping(NOW + 5), NOW + 5) == []
    assert pair.house.receive(pair.client.outgoing(), NOW + 6) == [Pong(NOW + 5, NOW + 5)]


def test_what_the_session_has_to_say_goes_out_in_order() -> None:
    """A pong that waits goes out before the data that is sent after it, or the counters would not fit."""
    pair = stream()
    pair.house.receive(pair.client.send_ping(NOW), NOW)
    wire = pair.house.send_data(b"after")
    assert pair.client.receive(wire, NOW) == [Pong(NOW, NOW), Data(b"after")]


@pytest.mark.parametrize("side", ["client", "house"])
def test_a_silent_peer_is_pinged_and_then_cut(side: str) -> None:
    """30 s of nothing: a ping. 90 s more of nothing: cut. Anything that comes counts as life."""
    pair = stream()
    session: Session = getattr(pair, side)
    other = pair.house if side == "client" else pair.client
    assert session.next_timer() == NOW + PING_AFTER_NS
    assert session.handle_timer(NOW + PING_AFTER_NS) == []
    assert len(session.outgoing()) == 19
    assert session.receive(bytes(other.send_data(b"alive")), NOW + 40 * SECOND) == [Data(b"alive")]
    assert session.handle_timer(NOW + PING_AFTER_NS + DEAD_AFTER_NS) == []
    assert session.handle_timer(NOW + 40 * SECOND + DEAD_AFTER_NS) == cut(CutReason.SILENT)


def test_a_pong_keeps_the_session_alive() -> None:
    """Idle for an hour with pings only; both sides still speak, with keys that were renewed every 2 minutes."""
    pair = stream()
    now = NOW
    rekeys = 0
    while now < NOW + 3600 * SECOND:
        timers = [t for t in (pair.client.next_timer(), pair.house.next_timer()) if t is not None]
        assert len(timers) == 2
        now = max(now, min(timers))
        assert pair.client.handle_timer(now) == pair.house.handle_timer(now) == []
        at_client, _ = pair.settle(now)
        rekeys += sum(type(event).__name__ == "Rekeyed" for event in at_client)
    assert 28 <= rekeys <= 30
    assert pair.house.receive(pair.client.send_data(b"still here"), now) == [Data(b"still here")]


def test_end_is_the_last_message_of_a_side() -> None:
    """After it only handshakes and pings; the other direction goes on until it has ended too."""
    pair = stream()
    assert pair.house.receive(pair.client.send_end(), NOW) == [End()]
    for say in (partial(pair.client.send_data, b"x"), pair.client.send_end, partial(pair.client.send_checkpoint, b"x")):
        with pytest.raises(Misuse):
            say()
    assert pair.client.receive(pair.house.send_data(b"answer"), NOW) == [Data(b"answer")]
    assert pair.house.receive(pair.client.send_ping(NOW), NOW) == [] and pair.house.outgoing()
    before = pair.house.finished
    pair.house.send_end()
    assert (before, pair.house.finished) == (False, True)
    assert pair.house.eof() == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [(FrameType.DATA, b"x"), (FrameType.END, b""), (FrameType.CHECKPOINT, b"x"), (FrameType.TELEMETRY, SEVERED)],
)
def test_anything_else_after_end_cuts(kind: FrameType, body: bytes) -> None:
    """A side that has ended has nothing more to say."""
    pair = stream()
    pair.house.receive(pair.client.send_end(), NOW)
    assert pair.house.receive(forged(pair.client, kind, body), NOW) == cut(CutReason.AFTER_END)


def test_eof_without_end_voids() -> None:
    """Also when a frame was cut; the session is over and says so once."""
    pair = stream()
    wire = bytes(pair.client.send_data(b"unfinished"))
    pair.house.receive(wire[:-3], NOW)
    assert pair.house.eof() == [Voided(len(wire) - 3)]
    assert pair.house.eof() == [] and pair.house.finished and pair.house.receive(wire[-3:], NOW) == []
    with pytest.raises(Unavailable):
        pair.house.send_data(b"x")
    assert pair.client.eof() == [Voided(0)]


def test_eof_in_a_frame_after_end_voids() -> None:
    """Half a frame after `end` is no clean end."""
    pair = stream()
    pair.house.receive(pair.client.send_end() + b"\x00", NOW)
    assert pair.house.eof() == [Voided(1)]


def test_every_byte_flipped_cuts_or_waits() -> None:
    """Any one bit of a frame: the session is cut (or waits for a longer frame), and nothing is delivered."""
    size = len(stream().client.send_data(b"data"))
    for at in range(size):
        pair = stream()
        wire = bytearray(pair.client.send_data(b"data"))
        wire[at] ^= 0x10
        assert pair.house.receive(wire, NOW) in ([], cut(CutReason.UNPROVEN), cut(CutReason.MALFORMED))
        assert pair.house.finished or pair.house._reader.pending_bytes


def test_every_byte_cut_delivers_nothing() -> None:
    """Until the frame is whole."""
    pair = stream()
    wire = bytes(pair.client.send_data(b"data"))
    for at in range(len(wire) - 1):
        assert pair.house.receive(wire[at : at + 1], NOW) == []
    assert pair.house.receive(wire[-1:], NOW) == [Data(b"data")]


def test_a_replayed_or_swapped_frame_cuts() -> None:
    """The counters are implicit."""
    pair = stream()
    first, second = bytes(pair.client.send_data(b"1")), bytes(pair.client.send_data(b"2"))
    assert pair.house.receive(first + first, NOW) == [Data(b"1"), Cut(CutReason.UNPROVEN)]
    other = stream()
    assert other.house.receive(second, NOW) == cut(CutReason.UNPROVEN)


def test_a_reflected_frame_cuts() -> None:
    """Each direction has its own key."""
    pair = stream()
    assert pair.client.receive(pair.client.send_data(b"x"), NOW) == cut(CutReason.UNPROVEN)


def test_after_a_cut_nothing_is_read_or_sent() -> None:
    """And what was waiting to go out is dropped."""
    pair = stream()
    good = bytes(pair.client.send_data(b"never read"))
    pair.house.receive(pair.client.send_ping(NOW) + b"\x00\x00", NOW)
    assert pair.house.outgoing() == b"" and pair.house.receive(good, NOW) == [] and pair.house.eof() == []
    assert pair.house.handle_timer(NOW + 10**15) == [] and pair.house.next_timer() is None
    with pytest.raises(Unavailable):
        pair.house.send_ping(NOW)


def test_telemetry_flows_to_the_client() -> None:
    """Any record; the diode decodes it. It has 1 to 4,096 bytes."""
    pair = stream()
    assert pair.client.receive(pair.house.send_telemetry(b"\xa1"), NOW) == [Telemetry(b"\xa1")]
    for record in (b"", bytes(4097)):
        with pytest.raises(Misuse):
            pair.house.send_telemetry(record)
        other = stream()
        assert other.client.receive(forged(other.house, FrameType.TELEMETRY, record), NOW) == cut(CutReason.MALFORMED)


def test_to_the_house_only_severed_may_flow() -> None:
    """The 40 bytes that name a pairing; everything else cuts, and our own client does not send it."""
    pair = stream()
    assert len(SEVERED) == 40
    assert pair.house.receive(pair.client.send_telemetry(SEVERED), NOW) == [Telemetry(SEVERED)]
    for record in (b"\xa1", SEVERED[:-1], SEVERED + b"\0", b"\xa3\x01\x01\x02\x02\x03\x58\x20" + bytes(32), b""):
        with pytest.raises(Misuse):
            pair.client.send_telemetry(record)
        other = stream()
        assert other.house.receive(forged(other.client, FrameType.TELEMETRY, record), NOW) == cut(CutReason.DIRECTION)
    with pytest.raises(Misuse):
        severed_record(b"short")


def test_checkpoints_flow_both_ways() -> None:
    """Each side shows the newest it has."""
    pair = stream()
    assert pair.house.receive(pair.client.send_checkpoint(b"note"), NOW) == [Checkpoint(b"note")]
    assert pair.client.receive(pair.house.send_checkpoint(b"note"), NOW) == [Checkpoint(b"note")]
    with pytest.raises(Misuse):
        pair.client.send_checkpoint(b"")


def test_a_session_of_a_pair_carries_no_pairing() -> None:
    """The ceremony belongs to a pairing session."""
    pair = stream()
    with pytest.raises(Misuse):
        pair.client.send_pairing(b"hello")
    assert pair.house.receive(forged(pair.client, FrameType.PAIRING, b"hello"), NOW) == cut(CutReason.DIRECTION)


def test_a_pairing_session_carries_the_ceremony() -> None:
    """Messages both ways, pings and `end`."""
    pair = pairing_stream()
    assert pair.house.receive(pair.client.send_pairing(b"hello"), NOW) == [Pairing(b"hello")]
    assert pair.client.receive(pair.house.send_pairing(b"welcome"), NOW) == [Pairing(b"welcome")]
    assert pair.house.receive(pair.client.send_ping(NOW) + pair.client.send_end(), NOW) == [End()]


@pytest.mark.parametrize("kind", [FrameType.DATA, FrameType.HANDSHAKE, FrameType.TELEMETRY, FrameType.CHECKPOINT])
def test_a_pairing_session_carries_nothing_else(kind: FrameType) -> None:
    """Not from a newcomer, and not from a house."""
    for up in (True, False):
        pair = pairing_stream()
        sender, receiver = (pair.client, pair.house) if up else (pair.house, pair.client)
        body = SEVERED if kind is FrameType.TELEMETRY else bytes(48)
        assert receiver.receive(forged(sender, kind, body), NOW) == cut(CutReason.DIRECTION)
        with pytest.raises(Misuse):
            sender.send_data(b"x")


def test_a_pairing_session_is_not_rekeyed() -> None:
    """It waits for a person, kept alive by pings alone."""
    pair = pairing_stream()
    for minute in range(1, 60):
        now = NOW + minute * 30 * SECOND
        assert pair.client.handle_timer(now) == pair.house.handle_timer(now) == []
        at_client, at_house = pair.settle(now)
        assert all(isinstance(event, Pong) for event in at_client + at_house)


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        (FrameType.DATA, b"", CutReason.MALFORMED),
        (FrameType.END, b"x", CutReason.MALFORMED),
        (FrameType.PING, b"x", CutReason.MALFORMED),
        (FrameType.PING, bytes(9), CutReason.MALFORMED),
        (FrameType.CHECKPOINT, b"", CutReason.MALFORMED),
        (FrameType.HANDSHAKE, bytes(47), CutReason.REKEY),
    ],
)
def test_a_body_of_another_form_cuts(kind: FrameType, body: bytes, reason: CutReason) -> None:
    """One form for each type."""
    pair = stream()
    assert pair.house.receive(forged(pair.client, kind, body), NOW) == cut(reason)


def test_an_unknown_frame_type_cuts() -> None:
    """7 and above, though they verify."""
    pair = stream()
    sealed = pair.client._sealer._cipher.encrypt_with_ad(b"", b"\x07x")
    assert pair.house.receive(len(sealed).to_bytes(2, "big") + sealed, NOW) == cut(CutReason.MALFORMED)


def test_the_stream_name_comes_from_the_first_handshake() -> None:
    """SHA-256("tally stream v1" || handshake hash)[:16], the same on both sides."""
    pair = stream()
    expected = hashlib.sha256(b"tally stream v1" + pair.client.handshake_hash).digest()[:16]
    assert pair.client.stream == pair.house.stream == expected


def test_the_house_cuts_a_session_with_stale_keys() -> None:
    """180 s old: noticed. 120 s later still not replaced: cut."""
    pair = stream()
    now = NOW
    while now < NOW + STALE_AFTER_NS:
        now += 20 * SECOND
        pair.house.receive(bytes(pair.client.send_data(b"no rekey")), now) if now < NOW + 120 * SECOND else None
        pair.house.handle_timer(now)
        pair.house._received_ns = now  # the client of this test speaks and does not rekey
    assert pair.house.handle_timer(now + STALE_GRACE_NS - 1) == []
    pair.house._received_ns = now + STALE_GRACE_NS
    assert pair.house.handle_timer(now + STALE_GRACE_NS) == cut(CutReason.STALE_KEYS)


def test_a_clock_that_jumps_cuts_no_live_session() -> None:
    """A year ahead in one step: pings, a rekey, and both go on."""
    pair = stream()
    now = NOW + 365 * 86_400 * SECOND
    assert pair.house.handle_timer(now) == [] and pair.client.handle_timer(now) == []
    pair.settle(now)
    assert pair.house.receive(pair.client.send_data(b"on"), now) == [Data(b"on")]
    assert pair.house.receive(pair.client.send_data(b"back"), NOW) == [Data(b"back")]
    with pytest.raises(Misuse):
        pair.house.receive(b"", -1)


def test_too_many_frames_under_one_key_cut() -> None:
    """2^21 frames without a rekey; counters set by hand."""
    pair = stream()
    for state in (pair.client._sealer._cipher, pair.house._opener._cipher):
        state.set_nonce(REFUSE_AFTER_FRAMES)
    frame = forged(pair.client, FrameType.DATA, b"x")
    assert pair.house.receive(frame, NOW) == [Data(b"x"), Cut(CutReason.STALE_KEYS)]


@given(st.lists(st.binary(min_size=1, max_size=120), max_size=6))
def test_any_bytes_end_in_a_cut_or_wait(pieces: list[bytes]) -> None:
    """Property: foreign bytes raise nothing, deliver nothing, and make the house say nothing."""
    for pair in (stream(confirmed=False), stream()):
        for piece in pieces:
            events = pair.house.receive(piece, NOW)
            assert events in ([], *(cut(reason) for reason in CutReason))
        assert pair.house.outgoing() == b""


def test_two_streams_do_not_mix() -> None:
    """A frame of one session does not open in another of the same pair."""
    one: Stream = stream()
    other = stream(now_ns=NOW + 1)
    assert other.house.receive(one.client.send_data(b"x"), NOW + 1) == cut(CutReason.UNPROVEN)
