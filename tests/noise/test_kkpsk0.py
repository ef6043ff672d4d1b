"""KKpsk0, written out, says byte for byte what the interpreter of patterns says."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.noise import MAX_MESSAGE_BYTES, HandshakeState, Initiator, Responder
from tallystick.primitives import X448KeyPair, X25519KeyPair

CHACHA: Final = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s"
AES: Final = "Noise_KKpsk0_25519_AESGCM_BLAKE2s"
CLIENT, HOUSE, E_CLIENT, E_HOUSE = (X25519KeyPair.from_private(bytes([number]) * 32) for number in (0x31, 0x32, 0x33, 0x34))
KEY: Final = st.binary(min_size=32, max_size=32)


def sides(name: str, psk: bytes = bytes(32), prologue: bytes = b"tally") -> tuple[HandshakeState, HandshakeState]:
    return (
        HandshakeState.initialize(name, initiator=True, prologue=prologue, s=CLIENT, rs=HOUSE.public, psks=(psk,)),
        HandshakeState.initialize(name, initiator=False, prologue=prologue, s=HOUSE, rs=CLIENT.public, psks=(psk,)),
    )


def of(state: HandshakeState) -> Responder:
    responder = Responder.of(state)
    assert responder is not None
    return responder


def asking(state: HandshakeState) -> Initiator:
    initiator = Initiator.of(state)
    assert initiator is not None
    return initiator


@settings(max_examples=60)
@given(st.sampled_from((CHACHA, AES)), KEY, st.binary(max_size=80), st.binary(max_size=80), st.binary(max_size=80), KEY, KEY)
def test_it_equals_the_general_state(
    name: str, psk: bytes, prologue: bytes, first: bytes, second: bytes, e_client: bytes, e_house: bytes
) -> None:
    """Payload, message 2, handshake hash, chaining key and both transport keys are the same."""
    client, house = sides(name, psk, prologue)
    same_knock, asked = asking(client).write_message(first, ephemeral=X25519KeyPair.from_private(e_client))
    knock, client = client.write_message(first, ephemeral=X25519KeyPair.from_private(e_client))
    assert knock == same_knock
    payload, general = house.read_message(knock)
    same_payload, answering = of(house).read_message(knock)
    assert payload == same_payload == first
    assert answering.remote_static == CLIENT.public
    fresh = X25519KeyPair.from_private(e_house)
    message, done = general.write_message(second, ephemeral=fresh)
    same_message, finished = answering.write_message(second, ephemeral=fresh)
    assert message == same_message
    read, known = client.read_message(same_message)
    same_read, same_known = asked.read_message(same_message)
    assert read == same_read == second
    for written, interpreted in ((finished, done), (same_known, known)):
        assert written.handshake_hash == interpreted.handshake_hash
        assert written.chaining_key == interpreted.chaining_key
        assert (written.finished, written.initiator, written.remote_static) == (True, interpreted.initiator, interpreted.remote_static)
        for ours, theirs in zip(written.split(), interpreted.split(), strict=True):
            assert ours.encrypt_with_ad(b"ad", b"words") == theirs.encrypt_with_ad(b"ad", b"words")


def test_forgeries_cost_nothing() -> None:
    """After every bit of the knock was flipped once, the genuine one is read from the same value, again and again."""
    client, house = sides(CHACHA)
    knock, _ = client.write_message(bytes(16), ephemeral=E_CLIENT)
    responder = of(house)
    for bit in range(8 * len(knock)):
        forged = bytearray(knock)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Unproven, Malformed)):
            responder.read_message(bytes(forged))
    answers = {responder.read_message(knock)[1].write_message(b"", ephemeral=E_HOUSE)[0] for _ in range(3)}
    assert len(answers) == 1


def test_forged_answers_cost_nothing() -> None:
    """The same at the client: the genuine answer is read from the same value after every bit of it was flipped, and every cut."""
    client, house = sides(CHACHA)
    knock, asked = asking(client).write_message(bytes(16), ephemeral=E_CLIENT)
    answer, finished = of(house).read_message(knock)[1].write_message(bytes(16), ephemeral=E_HOUSE)
    for bit in range(8 * len(answer)):
        forged = bytearray(answer)
        forged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Unproven, Malformed)):
            asked.read_message(bytes(forged))
    for wrong in [*(answer[:size] for size in range(len(answer))), bytes(MAX_MESSAGE_BYTES + 1), bytes(48)]:
        with pytest.raises((Unproven, Malformed) if 48 <= len(wrong) < len(answer) else Malformed):
            asked.read_message(wrong)
    assert asked.read_message(answer)[1].handshake_hash == finished.handshake_hash


def test_what_is_no_message_is_malformed() -> None:
    """Every cut, everything too long, and public keys of small order; as the general state has it."""
    client, house = sides(CHACHA)
    knock, _ = client.write_message(b"", ephemeral=E_CLIENT)
    responder = of(house)
    for wrong in [*(knock[:size] for size in range(len(knock))), bytes(MAX_MESSAGE_BYTES + 1), bytes(48), b"\x01" + bytes(47)]:
        with pytest.raises(Malformed):
            responder.read_message(wrong)
        with pytest.raises(Malformed):
            house.read_message(wrong)


def test_what_cannot_be_written_is_misuse() -> None:
    """A payload beyond 65,535 bytes in all, and an ephemeral key of another curve."""
    client, house = sides(CHACHA)
    knock, _ = client.write_message(b"", ephemeral=E_CLIENT)
    _, answering = of(house).read_message(knock)
    longest = MAX_MESSAGE_BYTES - 32 - 16
    assert len(answering.write_message(bytes(longest), ephemeral=E_HOUSE)[0]) == MAX_MESSAGE_BYTES
    with pytest.raises(Misuse):
        answering.write_message(bytes(longest + 1), ephemeral=E_HOUSE)
    with pytest.raises(Misuse):
        answering.write_message(b"", ephemeral=X448KeyPair.from_private(bytes(56)))
    assert len(asking(client).write_message(bytes(longest), ephemeral=E_CLIENT)[0]) == MAX_MESSAGE_BYTES
    with pytest.raises(Misuse):
        asking(client).write_message(bytes(longest + 1), ephemeral=E_CLIENT)
    with pytest.raises(Misuse):
        asking(client).write_message(b"", ephemeral=X448KeyPair.from_private(bytes(56)))


def test_only_its_own_state_is_taken() -> None:
    """Neither the other side's, nor one that has read, nor any other protocol."""
    client, house = sides(CHACHA)
    knock, sent = client.write_message(b"", ephemeral=E_CLIENT)
    assert Responder.of(client) is None
    assert Initiator.of(house) is None
    assert Initiator.of(sent) is None
    assert Responder.of(house.read_message(knock)[1]) is None
    for name, psks in (("Noise_KKpsk2_25519_ChaChaPoly_BLAKE2s", (bytes(32),)), ("Noise_KK_25519_ChaChaPoly_BLAKE2s", ())):
        assert Responder.of(HandshakeState.initialize(name, initiator=False, s=HOUSE, rs=CLIENT.public, psks=psks)) is None
        assert Initiator.of(HandshakeState.initialize(name, initiator=True, s=CLIENT, rs=HOUSE.public, psks=psks)) is None
    name = "Noise_KKpsk0_25519_ChaChaPoly_SHA256"
    assert Responder.of(HandshakeState.initialize(name, initiator=False, s=HOUSE, rs=CLIENT.public, psks=(bytes(32),))) is None
