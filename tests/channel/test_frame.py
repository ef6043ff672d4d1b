"""Frames on the wire (docs/spec/stream.md, section 2)."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel.frame import (
    MAX_BODY_BYTES,
    MAX_CIPHERTEXT_BYTES,
    FrameReader,
    FrameType,
    Opener,
    Sealer,
)
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.noise import CipherState
from tallystick.noise.protocol import AESGCM, CHACHAPOLY, Cipher
from tests.channel.scene import seeded

KEY = seeded("frame")


def both(cipher: Cipher = CHACHAPOLY) -> tuple[Sealer, Opener]:
    return Sealer(CipherState(cipher, KEY)), Opener(CipherState(cipher, KEY))


def opened(opener: Opener, wire: bytes | bytearray, reader: FrameReader | None = None) -> list[tuple[FrameType, bytes]]:
    return [opener.open(ciphertext) for ciphertext in (reader or FrameReader()).feed(wire)]


@pytest.mark.parametrize("cipher", [CHACHAPOLY, AESGCM], ids=lambda cipher: cipher.name)
@pytest.mark.parametrize("kind", FrameType)
def test_a_frame_is_a_length_and_a_ciphertext_with_the_type_first(kind: FrameType, cipher: Cipher) -> None:
    """2 bytes of length, then what a cipher state opens to type and body."""
    sealer, opener = both(cipher)
    wire = sealer.seal(kind, b"body")
    assert wire[:2] == (1 + 4 + 16).to_bytes(2, "big") and len(wire) == 2 + 21
    assert CipherState(cipher, KEY).decrypt_with_ad(b"", wire[2:]) == bytes((kind,)) + b"body"
    assert opened(opener, wire) == [(kind, b"body")]


def test_the_types_have_their_numbers() -> None:
    """0 data, 1 handshake, 2 end, 3 ping, 4 telemetry, 5 pairing, 6 checkpoint."""
    assert [kind.name for kind in FrameType] == ["DATA", "HANDSHAKE", "END", "PING", "TELEMETRY", "PAIRING", "CHECKPOINT"]
    assert list(FrameType) == [*range(7)]


@pytest.mark.parametrize("kind", [7, 8, 127, 255])
def test_an_unknown_type_is_malformed(kind: int) -> None:
    """Even when it verifies."""
    sealed = CipherState(CHACHAPOLY, KEY).encrypt_with_ad(b"", bytes((kind,)) + b"x")
    with pytest.raises(Malformed):
        both()[1].open(sealed)


def test_a_frame_without_a_type_is_malformed() -> None:
    """A tag over nothing has no first byte."""
    with pytest.raises(Malformed):
        both()[1].open(CipherState(CHACHAPOLY, KEY).encrypt_with_ad(b"", b""))


def test_counters_are_implicit() -> None:
    """A frame left out, repeated or swapped does not open."""
    sealer, _ = both()
    first, second = sealer.seal(FrameType.DATA, b"1"), sealer.seal(FrameType.DATA, b"2")
    for order in ((second,), (first, first), (second, first)):
        with pytest.raises(Unproven):
            opened(both()[1], b"".join(order))
    assert sealer.count == 2


def test_every_byte_flipped_does_not_open() -> None:
    """Length or ciphertext: nothing comes out but an error or the wait for more."""
    wire = both()[0].seal(FrameType.DATA, b"some data")
    for at in range(len(wire)):
        changed = bytearray(wire)
        changed[at] ^= 1
        with contextlib.suppress(Malformed, Unproven):
            assert opened(both()[1], changed) == []


def test_every_byte_cut_waits_for_more() -> None:
    """A frame is delivered when it is whole, whatever pieces it came in."""
    wire = both()[0].seal(FrameType.DATA, b"some data")
    for at in range(len(wire)):
        opener, reader = both()[1], FrameReader()
        assert opened(opener, wire[:at], reader) == [] and reader.pending_bytes == at
        assert opened(opener, wire[at:], reader) == [(FrameType.DATA, b"some data")] and reader.pending_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from(FrameType), st.binary(max_size=200)), max_size=12),
    st.lists(st.integers(1, 90), min_size=1, max_size=40),
)
def test_frames_survive_any_cutting(frames: list[tuple[FrameType, bytes]], pieces: list[int]) -> None:
    """Property: what was sealed comes out, in order, however the stream was cut."""
    sealer, opener = both()
    wire = b"".join(sealer.seal(kind, body) for kind, body in frames)
    reader, seen, at, turn = FrameReader(), [], 0, 0
    while at < len(wire):
        size = pieces[turn % len(pieces)]
        buffer = bytearray(wire[at : at + size])
        seen += opened(opener, buffer, reader)
        buffer[:] = bytes(len(buffer))  # the caller may reuse it at once
        at, turn = at + size, turn + 1
    assert seen == frames and reader.pending_bytes == 0


@given(st.binary(max_size=400))
def test_any_bytes_are_frames_or_malformed(data: bytes) -> None:
    """Property: a reader yields ciphertexts of 17 bytes and more, or raises Malformed, and keeps less than one frame."""
    reader = FrameReader()
    try:
        for ciphertext in reader.feed(data):
            assert 17 <= len(ciphertext) <= MAX_CIPHERTEXT_BYTES
    except Malformed:
        return
    assert reader.pending_bytes <= len(data)


@pytest.mark.parametrize("length", [0, 1, 16])
def test_a_length_below_17_is_malformed(length: int) -> None:
    """There is no type in so short a ciphertext. Judged at the length."""
    with pytest.raises(Malformed):
        list(FrameReader().feed(length.to_bytes(2, "big")))


@pytest.mark.parametrize("pieces", [(b"\x04\x01",), (b"\x04", b"\x01")])
def test_the_limit_is_judged_at_the_length(pieces: tuple[bytes, ...]) -> None:
    """Nothing of a frame over the limit is kept."""
    reader = FrameReader(1024)
    with pytest.raises(Malformed):
        for piece in pieces:
            list(reader.feed(piece))


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES - 1, MAX_BODY_BYTES, MAX_BODY_BYTES + 1, 2 * MAX_BODY_BYTES, 300_000])
def test_data_is_cut_into_as_few_frames_as_it_takes(size: int) -> None:
    """Whole frames of 64 KiB and the rest; no data makes no frame."""
    sealer, opener = both(AESGCM)
    data = (seeded("data") * (size // 32 + 1))[:size]
    frames = opened(opener, sealer.seal_data(memoryview(data)))
    assert len(frames) == -(-size // MAX_BODY_BYTES) and all(kind is FrameType.DATA for kind, _ in frames)
    assert b"".join(body for _, body in frames) == data


def test_a_body_that_does_not_fit_is_misuse() -> None:
    """Only data is cut into frames."""
    with pytest.raises(Misuse):
        both()[0].seal(FrameType.PAIRING, bytes(MAX_BODY_BYTES + 1))
    assert len(both()[0].seal(FrameType.PAIRING, bytes(MAX_BODY_BYTES))) == 2 + MAX_CIPHERTEXT_BYTES


def test_the_next_key_starts_at_zero_with_the_same_scratch() -> None:
    """A successor counts anew."""
    sealer, _ = both()
    sealer.seal(FrameType.PING, b"")
    after = sealer.successor(CipherState(AESGCM, seeded("next")))
    assert after.count == 0
    assert opened(Opener(CipherState(AESGCM, seeded("next"))), after.seal_data(b"x")) == [(FrameType.DATA, b"x")]


def test_big_frames_in_a_row_share_their_buffers_and_stay_apart() -> None:
    """What one frame delivered is not touched by the next."""
    sealer, opener = both(AESGCM)
    pieces = [seeded("piece", i) * 1000 for i in range(3)]
    delivered = [opened(opener, sealer.seal_data(piece))[0][1] for piece in pieces]
    assert delivered == pieces
    with pytest.raises(Malformed):
        opener.open(bytes(MAX_CIPHERTEXT_BYTES + 1))
