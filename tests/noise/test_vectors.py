"""Foreign conversations, spoken again byte for byte: both sides of every vector, handshake and transport."""

import pytest

from tallystick.noise import HandshakeState
from tests.noise.vectors import Vector, noise_vectors


def speak(vector: Vector) -> None:
    """Both sides write what the vector says and read what the other wrote; both end with the same hash."""
    sides = [
        HandshakeState.initialize(vector.name, initiator=number == 0, prologue=side.prologue, s=side.s, rs=side.rs, psks=side.psks)
        for number, side in enumerate(vector.sides)
    ]
    messages = iter(vector.messages)
    while not sides[0].finished:
        payload, ciphertext = next(messages)
        writer = 0 if sides[0].writes_next else 1
        ephemeral = vector.sides[writer].ephemeral if sides[writer].needs_ephemeral else None
        message, sides[writer] = sides[writer].write_message(payload, ephemeral=ephemeral)
        assert message == ciphertext
        read, sides[1 - writer] = sides[1 - writer].read_message(message)
        assert read == payload
    assert sides[1].finished
    assert sides[0].handshake_hash == sides[1].handshake_hash
    assert sides[0].chaining_key == sides[1].chaining_key
    if vector.handshake_hash is not None:
        assert sides[0].handshake_hash == vector.handshake_hash

    initiator, responder = sides[0].split(), sides[1].split()
    one_way = sum(letter in "NKXI" for letter in vector.name.split("_")[1]) == 1
    transport = list(messages)
    for number, (payload, ciphertext) in enumerate(transport, start=len(vector.messages) - len(transport)):
        direction = 0 if one_way else number % 2
        sender, receiver = (initiator, responder) if direction == 0 else (responder, initiator)
        assert sender[direction].encrypt_with_ad(b"", payload) == ciphertext
        assert receiver[direction].decrypt_with_ad(b"", ciphertext) == payload


@pytest.mark.parametrize(("file", "count", "patterns"), [("cacophony.txt", 944, 59), ("snow.txt", 408, 51)])
def test_every_foreign_conversation(file: str, count: int, patterns: int) -> None:
    """All 944 cacophony and 408 snow vectors: every message, every handshake hash, every transport message."""
    spoken, names = 0, set()
    for vector in noise_vectors(file):
        try:
            speak(vector)
        except AssertionError as error:
            raise AssertionError(f"{vector.name}: {error}") from error
        spoken += 1
        names.add(vector.name.split("_")[1])
    assert (spoken, len(names)) == (count, patterns)
