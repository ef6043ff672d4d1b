"""HandshakeState: a state is a value, a failed message costs nothing, and every wrong byte is refused."""

import re
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.noise import MAX_MESSAGE_BYTES, PATTERNS, HandshakeState, KeyPair, pattern_of
from tallystick.primitives import P256KeyPair, X448KeyPair, X25519KeyPair
from tests.noise.vectors import key_pair

KNOCK: Final = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s"
PROLOGUE: Final = b"tally"
SIZES: Final = {"25519": 32, "448": 56, "P256": 32}


def keys_for(name: str) -> list[KeyPair]:
    """Static and ephemeral of the initiator, static and ephemeral of the responder."""
    size = SIZES[name.split("_")[2]]
    return [key_pair(name, bytes([number]) * size) for number in (0x31, 0x32, 0x33, 0x34)]


def begin(name: str, **changes: Any) -> list[HandshakeState]:
    """Both sides of a handshake, with all keys the pattern asks for; `changes` go to the responder."""
    pattern = pattern_of(name.split("_")[1])
    keys = keys_for(name)
    psks = tuple(bytes([number]) * 32 for number in range(pattern.psk_count))
    sides = []
    for initiator in (True, False):
        pre, other_pre = pattern.initiator_pre, pattern.responder_pre
        static, _, other_static, _ = keys
        if not initiator:
            pre, other_pre, static, other_static = other_pre, pre, other_static, static
        sends_static = any("s" in message for message in pattern.messages[0 if initiator else 1 :: 2])
        arguments: dict[str, Any] = {
            "prologue": PROLOGUE,
            "s": static if "s" in pre or sends_static else None,
            "rs": other_static.public if "s" in other_pre else None,
            "psks": psks,
        }
        sides.append(HandshakeState.initialize(name, initiator=initiator, **(arguments if initiator else arguments | changes)))
    return sides


def write(state: HandshakeState, payload: bytes = b"", keys: list[KeyPair] | None = None) -> tuple[bytes, HandshakeState]:
    """Write with the ephemeral key pair of the side, if the message takes one."""
    pairs = keys or keys_for(state_name(state))
    ephemeral = pairs[1 if state.initiator else 3]
    return state.write_message(payload, ephemeral=ephemeral if state.needs_ephemeral else None)


def state_name(state: HandshakeState) -> str:
    match = re.match(r"HandshakeState\((\S+),", repr(state))
    if match is None:
        raise AssertionError(repr(state))
    return match[1]


NAMES: Final = sorted({*PATTERNS, "XXpsk3", "KKpsk0", "IKpsk1", "NNpsk0+psk2", "Xpsk1"})


@pytest.mark.parametrize("pattern", NAMES)
@given(payloads=st.lists(st.binary(max_size=64), min_size=5, max_size=5))
def test_both_sides_reach_the_same_end(pattern: str, payloads: list[bytes]) -> None:
    """Whatever the payloads, each side reads what the other wrote and both hold the same hash and keys."""
    name = f"Noise_{pattern}_25519_ChaChaPoly_BLAKE2s"
    sides = begin(name)
    keys = keys_for(name)
    for number, payload in enumerate(payloads[: len(pattern_of(pattern).messages)]):
        message, sides[number % 2] = write(sides[number % 2], payload, keys)
        read, sides[1 - number % 2] = sides[1 - number % 2].read_message(message)
        assert read == payload
    assert sides[0].finished
    assert sides[0].handshake_hash == sides[1].handshake_hash
    assert sides[0].chaining_key == sides[1].chaining_key
    ours, theirs = sides[0].split(), sides[1].split()
    assert theirs[0].decrypt_with_ad(b"", ours[0].encrypt_with_ad(b"", b"up")) == b"up"
    if pattern_of(pattern).one_way:
        for state in (ours[1], theirs[1]):
            with pytest.raises(Misuse):
                state.encrypt_with_ad(b"", b"")
    else:
        assert ours[1].decrypt_with_ad(b"", theirs[1].encrypt_with_ad(b"", b"down")) == b"down"


@pytest.mark.parametrize("pattern", ["KKpsk0", "XX", "IKpsk1", "X", "X1X1"])
@pytest.mark.parametrize("suite", ["25519_ChaChaPoly_BLAKE2s", "P256_AESGCM_SHA256"])
def test_every_byte_cut_and_flipped(pattern: str, suite: str) -> None:
    """Each message cut at each byte, each byte flipped, a byte added: refused, or found out by the next messages.

    The genuine message is read from the same state after all of it.
    """
    name = f"Noise_{pattern}_{suite}"
    sides = begin(name)
    keys = keys_for(name)
    number = 0
    while not sides[0].finished:
        writer, reader = number % 2, 1 - number % 2
        message, sides[writer] = write(sides[writer], b"payload", keys)
        forgeries = [message[:cut] for cut in range(len(message))] + [message + b"\0"]
        forgeries += [message[:at] + bytes([message[at] ^ bit]) + message[at + 1 :] for at in range(len(message)) for bit in (1, 0x80)]
        for forged in forgeries:
            try:
                _, deceived = sides[reader].read_message(forged)
            except (Malformed, Unproven):
                continue
            # Nothing in a message without a key is protected; the two sides have parted and never agree again.
            assert number == 0
            assert pattern not in ("KKpsk0", "IKpsk1", "X")
            with pytest.raises((Malformed, Unproven)):
                sides[writer].read_message(write(deceived, b"", keys)[0])
        read, sides[reader] = sides[reader].read_message(message)
        assert read == b"payload"
        number += 1
    assert sides[0].handshake_hash == sides[1].handshake_hash


def test_a_state_is_a_value() -> None:
    """A prepared state answers any number of knocks, each on its own; writing and reading leave it as it was."""
    initiator, responder = begin(KNOCK)
    size = len(write(initiator)[0])
    for number in range(5):
        fresh = X25519KeyPair.from_private(bytes([number + 1]) * 32)
        knock, waiting = initiator.write_message(b"%d" % number, ephemeral=fresh)
        assert len(knock) == size + 1
        with pytest.raises(Unproven):
            responder.read_message(knock[:-1] + bytes([knock[-1] ^ 1]))
        payload, answering = responder.read_message(knock)
        assert payload == b"%d" % number
        answer, answered = write(answering)
        for _ in range(3):
            with pytest.raises(Unproven):
                waiting.read_message(answer[:32] + bytes(len(answer) - 32))
        assert waiting.read_message(answer)[1].handshake_hash == answered.handshake_hash
        assert not waiting.finished
        assert initiator.writes_next
        assert not responder.writes_next


class CountingKeyPair:
    """A key pair that counts what is asked of it, as one in a slow chip would be glad of."""

    def __init__(self, private: bytes) -> None:
        self._pair = X25519KeyPair.from_private(private)
        self.public = self._pair.public
        self.asked: list[bytes] = []

    def exchange(self, public: bytes) -> bytes:
        self.asked.append(public)
        return self._pair.exchange(public)


def test_the_static_keys_meet_once_per_pair() -> None:
    """The static-static result is computed when the state is made; a knock then asks the static key for one more."""
    client, house = CountingKeyPair(b"\x01" * 32), CountingKeyPair(b"\x02" * 32)
    psks = (bytes(32),)
    initiator = HandshakeState.initialize(KNOCK, initiator=True, s=client, rs=house.public, psks=psks)
    responder = HandshakeState.initialize(KNOCK, initiator=False, s=house, rs=client.public, psks=psks)
    assert (client.asked, house.asked) == ([house.public], [client.public])
    for number in (3, 4, 5):
        ephemeral = X25519KeyPair.from_private(bytes([number]) * 32)
        knock, _ = initiator.write_message(b"", ephemeral=ephemeral)
        responder.read_message(knock)
        assert house.asked[1:] == [X25519KeyPair.from_private(bytes([n]) * 32).public for n in range(3, number + 1)]
    assert client.asked == [house.public]


@pytest.mark.parametrize(
    "changes",
    [
        {"psks": (b"\x07" * 32,)},
        {"prologue": b"tallystick"},
        {"prologue": b""},
        {"s": X25519KeyPair.from_private(b"\x08" * 32)},
        {"rs": X25519KeyPair.from_private(b"\x08" * 32).public},
    ],
    ids=["psk", "prologue", "no prologue", "static key", "remote static key"],
)
def test_sides_that_differ_never_agree(changes: dict[str, Any]) -> None:
    """Another psk, prologue or static key on one side: the first message does not open."""
    initiator, responder = begin(KNOCK, **changes)
    with pytest.raises(Unproven):
        responder.read_message(write(initiator)[0])


def test_sides_with_another_protocol_never_agree() -> None:
    """The protocol name is hashed in first: another cipher of the same sizes does not open."""
    initiator, _ = begin(KNOCK)
    _, responder = begin("Noise_KKpsk0_25519_AESGCM_BLAKE2s")
    with pytest.raises(Unproven):
        responder.read_message(write(initiator)[0])


LOW_ORDER: Final = {
    "25519": [bytes(32), bytes([1, *bytes(31)]), (2**255 - 20).to_bytes(32, "little"), (2**255 - 19).to_bytes(32, "little")],
    "448": [bytes(56), bytes([1, *bytes(55)])],
    "P256": [bytes(65), b"\x04" + bytes(64), b"\x02" + bytes(64)],
}


@pytest.mark.parametrize("dh", LOW_ORDER)
@pytest.mark.parametrize("pattern", ["KKpsk0", "XX", "NK"])
def test_low_order_points_are_refused(pattern: str, dh: str) -> None:
    """An ephemeral key that gives an all-zero or no result is Malformed as soon as it is used."""
    name = f"Noise_{pattern}_{dh}_ChaChaPoly_SHA256"
    initiator, responder = begin(name)
    message, _ = write(initiator)
    size = len(keys_for(name)[0].public)
    for point in LOW_ORDER[dh]:
        with pytest.raises(Malformed):
            write(responder.read_message(point + message[size:])[1])
    for rs in LOW_ORDER[dh]:
        if pattern == "KKpsk0":
            with pytest.raises(Malformed):
                begin(name, rs=rs)


def test_a_message_has_at_most_65535_bytes() -> None:
    """A payload that fills a message to 65,535 bytes travels; one more is Misuse here and Malformed there (Noise 3)."""
    for name in (KNOCK, "Noise_NN_25519_ChaChaPoly_BLAKE2s"):
        initiator, responder = begin(name)
        overhead = len(write(initiator)[0])
        most = bytes(MAX_MESSAGE_BYTES - overhead)
        message, _ = write(initiator, most)
        assert len(message) == MAX_MESSAGE_BYTES
        assert responder.read_message(message)[0] == most
        with pytest.raises(Misuse):
            write(initiator, most + b"\0")
        with pytest.raises(Malformed):
            responder.read_message(message + b"\0")


@given(data=st.binary(max_size=300))
@pytest.mark.parametrize("pattern", ["KKpsk0", "XX", "IK", "N"])
def test_no_bytes_raise_anything_else(pattern: str, data: bytes) -> None:
    """Whatever a stranger sends, reading raises Malformed or Unproven and nothing else."""
    _, responder = begin(f"Noise_{pattern}_25519_ChaChaPoly_BLAKE2s")
    try:
        payload, _ = responder.read_message(data)
    except (Malformed, Unproven):
        return
    assert pattern == "XX"  # whose first message is public and unprotected
    assert data[32:] == payload


def test_turns_are_kept() -> None:
    """Nobody reads in his turn to write, writes in the other's, or goes on after the end."""
    initiator, responder = begin(KNOCK)
    with pytest.raises(Misuse):
        initiator.read_message(bytes(48))
    with pytest.raises(Misuse):
        responder.write_message(b"")
    message, initiator = write(initiator)
    with pytest.raises(Misuse):
        initiator.write_message(b"")
    _, responder = responder.read_message(message)
    message, responder = write(responder)
    _, initiator = initiator.read_message(message)
    for state in (initiator, responder):
        assert state.finished
        assert not state.writes_next
        assert not state.needs_ephemeral
        with pytest.raises(Misuse):
            state.write_message(b"")
        with pytest.raises(Misuse):
            state.read_message(b"")


def test_results_wait_for_the_end() -> None:
    """Hash, chaining key and cipher states of an unfinished handshake prove nothing and are not handed out."""
    asked: list[Callable[[HandshakeState], object]] = [
        lambda state: state.handshake_hash,
        lambda state: state.chaining_key,
        lambda state: state.split(),
    ]
    for state in begin(KNOCK):
        for ask in asked:
            with pytest.raises(Misuse):
                ask(state)


def test_keys_become_known_as_they_arrive() -> None:
    """XX: the ephemeral key is known after the first message, the static keys after theirs."""
    name = "Noise_XX_25519_ChaChaPoly_BLAKE2s"
    keys = keys_for(name)
    initiator, responder = begin(name)
    assert (responder.remote_ephemeral, responder.remote_static, initiator.remote_static) == (None, None, None)
    message, initiator = write(initiator)
    _, responder = responder.read_message(message)
    assert (responder.remote_ephemeral, responder.remote_static) == (keys[1].public, None)
    message, responder = write(responder)
    _, initiator = initiator.read_message(message)
    assert (initiator.remote_ephemeral, initiator.remote_static) == (keys[3].public, keys[2].public)
    message, initiator = write(initiator)
    _, responder = responder.read_message(message)
    assert responder.remote_static == keys[0].public


PAIR: Final = X25519KeyPair.from_private(b"\x05" * 32)
WRONG_DH: Final = (X448KeyPair.from_private(b"\x05" * 56), P256KeyPair.from_private(b"\x05" * 32))


@pytest.mark.parametrize(
    "arguments",
    [
        {"s": None},
        {"rs": None},
        {"e": PAIR},
        {"re": PAIR.public},
        {"psks": ()},
        {"psks": (bytes(32), bytes(32))},
        {"psks": (bytes(31),)},
        {"psks": (bytes(33),)},
        {"rs": PAIR.public[:31]},
        {"rs": PAIR.public + b"\0"},
        {"s": WRONG_DH[0]},
        {"s": WRONG_DH[1]},
        {"name": "Noise_KK_25519_ChaChaPoly_BLAKE2s"},
        {"name": "Noise_NNpsk0_25519_ChaChaPoly_BLAKE2s"},
        {"name": "Noise_XXfallback+psk0_25519_ChaChaPoly_BLAKE2s"},
        {"name": "KKpsk0"},
    ],
)
@pytest.mark.parametrize("initiator", [True, False])
def test_a_handshake_is_given_what_it_needs_and_no_more(arguments: dict[str, Any], initiator: bool) -> None:
    """A key missing, not asked for, or of another length is our own mistake."""
    given_: dict[str, Any] = {"name": KNOCK, "initiator": initiator, "s": PAIR, "rs": PAIR.public, "psks": (bytes(32),)}
    HandshakeState.initialize(**given_)
    with pytest.raises(Misuse):
        HandshakeState.initialize(**(given_ | arguments))


def test_an_ephemeral_is_given_where_one_is_written() -> None:
    """Missing, not asked for, or of another curve: our own mistake."""
    initiator, responder = begin("Noise_XX_25519_ChaChaPoly_BLAKE2s")
    with pytest.raises(Misuse):
        initiator.write_message(b"")
    for wrong in WRONG_DH:
        with pytest.raises(Misuse):
            initiator.write_message(b"", ephemeral=wrong)
    message, initiator = write(initiator)
    _, responder = responder.read_message(message)
    message, responder = write(responder)
    _, initiator = initiator.read_message(message)
    assert not initiator.needs_ephemeral
    with pytest.raises(Misuse):
        initiator.write_message(b"", ephemeral=PAIR)


@pytest.mark.parametrize("modifier", ["fallback+psk0", "fallback+psk1", "fallback+psk2", "fallback+psk0+psk2"])
def test_fallback_with_a_psk_agrees_with_itself(modifier: str) -> None:
    """XXfallback+psk0 is a name the specification gives as an example; Alice's early `e` is mixed into the key too (9.2)."""
    name = f"Noise_XX{modifier}_25519_ChaChaPoly_BLAKE2s"
    alice_s, alice_e, bob_s, bob_e = keys_for(name)
    psks = (bytes(32),) * pattern_of(f"XX{modifier}").psk_count
    bob = HandshakeState.initialize(name, initiator=True, s=bob_s, re=alice_e.public, psks=psks)
    alice = HandshakeState.initialize(name, initiator=False, s=alice_s, e=alice_e, psks=psks)
    message, bob = bob.write_message(b"sorry", ephemeral=bob_e)
    payload, alice = alice.read_message(message)
    assert payload == b"sorry"
    message, alice = alice.write_message(b"never mind")
    payload, bob = bob.read_message(message)
    assert payload == b"never mind"
    assert alice.handshake_hash == bob.handshake_hash


def test_noise_pipes() -> None:
    """IK to a house whose key changed: Bob cannot read it, falls back with Alice's ephemeral key, and both agree (10.4)."""
    suite = "25519_ChaChaPoly_BLAKE2s"
    alice_s, alice_e, bob_s, bob_e = keys_for(f"Noise_XX_{suite}")
    old = X25519KeyPair.from_private(b"\x09" * 32)
    alice = HandshakeState.initialize(f"Noise_IK_{suite}", initiator=True, s=alice_s, rs=old.public)
    bob = HandshakeState.initialize(f"Noise_IK_{suite}", initiator=False, s=bob_s)
    message, _ = alice.write_message(b"", ephemeral=alice_e)
    with pytest.raises(Unproven):
        bob.read_message(message)
    bob = HandshakeState.initialize(f"Noise_XXfallback_{suite}", initiator=True, s=bob_s, re=message[:32])
    alice = HandshakeState.initialize(f"Noise_XXfallback_{suite}", initiator=False, s=alice_s, e=alice_e)
    message, bob = bob.write_message(b"", ephemeral=bob_e)
    _, alice = alice.read_message(message)
    message, alice = alice.write_message(b"")
    _, bob = bob.read_message(message)
    assert alice.handshake_hash == bob.handshake_hash
    assert (alice.remote_static, bob.remote_static) == (bob_s.public, alice_s.public)


def test_a_state_shows_no_secret() -> None:
    """The repr names protocol, role and messages to come; no key and no hash."""
    initiator, responder = begin(KNOCK)
    assert repr(initiator) == f"HandshakeState({KNOCK}, initiator, 2 messages to come)"
    assert "responder" in repr(responder)
