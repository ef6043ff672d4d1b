"""Fresh keys inside the stream (docs/spec/stream.md, section 4)."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel.event import Cut, CutReason, Data, Pong, Rekeyed
from tallystick.channel.frame import FrameType
from tallystick.channel.rekey import TRANSITIONS, Input, Phase
from tallystick.channel.session import REKEY_AFTER_FRAMES, REKEY_AFTER_NS, Session
from tallystick.pair.pairing import Role, Suite
from tests.channel.scene import NOW, SECOND, Stream, key, stream

LATER = NOW + REKEY_AFTER_NS


def asked(pair: Stream) -> bytes:
    """The client's message 1."""
    assert pair.client.handle_timer(LATER) == []
    return pair.client.outgoing()


def but_pongs(events: Sequence[object]) -> list[object]:
    return [event for event in events if not isinstance(event, Pong)]


@pytest.mark.parametrize("suite", Suite)
def test_the_client_rekeys_after_2_minutes(suite: Suite) -> None:
    """Three handshake frames, and both directions have new keys that differ from the old ones."""
    pair = stream(suite)
    pair.house.receive(pair.client.send_ping(LATER - 1), LATER - 1)
    pair.client.receive(pair.house.outgoing(), LATER - 1)
    assert pair.client.next_timer() == LATER
    assert pair.client.handle_timer(LATER - 1) == [] and pair.client.outgoing() == b""
    old = pair.client._sealer, pair.house._sealer
    message_1 = asked(pair)
    assert len(message_1) == 2 + 1 + 48 + 16
    assert pair.house.receive(message_1, LATER) == []
    assert pair.client.receive(pair.house.outgoing(), LATER) == [Rekeyed(1)]
    switch = pair.client.outgoing()
    assert len(switch) == 2 + 17
    assert pair.house.receive(switch, LATER) == [Rekeyed(1)]
    assert pair.client._sealer is not old[0] and pair.house._sealer is not old[1]
    assert pair.client._sealer.count == pair.house._sealer.count == 0
    assert pair.house.receive(pair.client.send_data(b"new"), LATER) == [Data(b"new")]
    assert pair.client.receive(pair.house.send_data(b"new"), LATER) == [Data(b"new")]


def test_frames_in_flight_are_never_lost() -> None:
    """The switch-over, step by step, with data of both sides on the way at each step."""
    pair = stream()
    client, house = pair.client, pair.house
    up, down = [asked(pair)], []
    up.append(bytes(client.send_data(b"c1")))  # after message 1, old key
    down.append(bytes(house.send_data(b"h1")))  # before message 1 arrives, old key
    assert house.receive(b"".join(up), LATER) == [Data(b"c1")]
    down.append(bytes(house.send_data(b"h2")))  # message 2 goes first, then this under the new key
    up = [bytes(client.send_data(b"c2"))]  # still the old key
    assert but_pongs(client.receive(b"".join(down), LATER)) == [Data(b"h1"), Rekeyed(1), Data(b"h2")]
    up.append(bytes(client.send_data(b"c3")))  # the switch goes first, then this under the new key
    assert house.receive(b"".join(up), LATER) == [Data(b"c2"), Rekeyed(1), Data(b"c3")]


@given(st.integers(0, 2**32), st.sampled_from(Suite))
def test_heavy_interleaving_loses_nothing(seed: int, suite: Suite) -> None:
    """Property: both sides send all the time over pipes of random delay and cutting, through many rekeys; all arrives in order."""
    dice = random.Random(seed)
    pair = stream(suite)
    now = NOW
    pipes: dict[str, bytearray] = {"up": bytearray(), "down": bytearray()}
    sent: dict[str, bytes] = {"up": b"", "down": b""}
    got: dict[str, bytes] = {"up": b"", "down": b""}
    rekeys = {"up": 0, "down": 0}
    sides: dict[str, tuple[Session, Session]] = {"up": (pair.client, pair.house), "down": (pair.house, pair.client)}
    for _ in range(600):
        now += dice.randrange(SECOND)
        way = dice.choice(("up", "down"))
        sender, receiver = sides[way]
        match dice.randrange(4):
            case 0:
                data = dice.randbytes(dice.randrange(1, 90))
                sent[way] += data
                pipes[way] += sender.send_data(data)
            case 1:
                assert sender.handle_timer(now) == []
                pipes[way] += sender.outgoing()
            case _:
                size = dice.randrange(len(pipes[way]) + 1)
                piece, pipes[way] = bytes(pipes[way][:size]), pipes[way][size:]
                for event in receiver.receive(piece, now):
                    match event:
                        case Data(data):
                            got[way] += data
                        case Rekeyed():
                            rekeys[way] += 1
                        case other:
                            assert isinstance(other, Pong)
    for _ in range(10):
        for way, (sender, receiver) in sides.items():
            wire = bytes(pipes[way]) + sender.outgoing()
            pipes[way] = bytearray()
            for event in receiver.receive(wire, now):
                if isinstance(event, Data):
                    got[way] += event.data
                elif isinstance(event, Rekeyed):
                    rekeys[way] += 1
    assert got == sent and rekeys["up"] == rekeys["down"] >= 1


def test_a_rekey_after_2_to_the_20_frames() -> None:
    """By frames of either direction, without any time passing; also in the middle of a bulk upload nobody answers."""
    for way in ("up", "down", "bulk"):
        pair = stream()
        states = {
            "up": (pair.client._sealer, pair.house._opener),
            "down": (pair.house._sealer, pair.client._opener),
            "bulk": (pair.client._sealer, pair.house._opener),
        }[way]
        for state in states:
            state._cipher.set_nonce(REKEY_AFTER_FRAMES - 1)
        at_house: list[object] = []
        if way == "down":
            assert pair.client.receive(pair.house.send_data(b"x"), NOW) == [Data(b"x")]
        else:
            if way == "bulk":
                pair.house.receive(b"", NOW)
                pair.client._outgoing.append(pair.client._sealer.seal(FrameType.PING, b""))
            at_house += pair.house.receive(pair.client.send_data(b"x"), NOW)
            assert at_house == [Data(b"x")]
        at_client, more = pair.settle(NOW)
        assert Rekeyed(1) in at_client and Rekeyed(1) in more


def test_new_keys_need_the_old_ones() -> None:
    """Whoever has both static keys but not the link cannot answer: the psk of the rekey hangs on all handshakes before."""
    pair = stream()
    chain = pair.house._chain
    assert chain is not None
    wrong = type(chain)(link=bytes(32), handshake_hash=chain.handshake_hash)
    pair.house._chain = wrong
    assert pair.house.receive(asked(pair), LATER) == [Cut(CutReason.REKEY)]


def test_new_keys_need_the_static_keys() -> None:
    """Whoever has the session's keys but not the machine's static key cannot answer."""
    pair = stream()
    keys = pair.house._keys
    assert keys is not None
    pair.house._keys = type(keys)(suite=keys.suite, static=key("thief"), remote_static=keys.remote_static, ephemeral=keys.ephemeral)
    assert pair.house.receive(asked(pair), LATER) == [Cut(CutReason.REKEY)]


def test_links_hang_on_each_other() -> None:
    """Both sides agree on the link after each of several rekeys, and no two are equal."""
    pair = stream()
    links = set()
    now = NOW
    for number in range(1, 6):
        now += REKEY_AFTER_NS
        pair.client.handle_timer(now)
        at_client, at_house = pair.settle(now)
        assert Rekeyed(number) in at_client and Rekeyed(number) in at_house
        assert pair.client._chain is not None and pair.client._chain == pair.house._chain
        links.add(pair.client._chain.link)
    assert len(links) == 5


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("what", [Input.MESSAGE, Input.SWITCH])
def test_every_missing_cell_cuts(role: Role, phase: Phase, what: Input) -> None:
    """A handshake frame that the table does not have at this point ends the session."""
    if (role, phase, what) in TRANSITIONS or (role, phase) in ((Role.CLIENT, Phase.ANSWERED), (Role.HOUSE, Phase.ASKED)):
        return
    pair = stream()
    if phase is not Phase.STEADY:
        message_1 = asked(pair)
        if phase is Phase.ANSWERED:
            pair.house.receive(message_1, LATER)
    sender, receiver = (pair.house, pair.client) if role is Role.CLIENT else (pair.client, pair.house)
    frame = sender._sealer.seal(FrameType.HANDSHAKE, bytes(48) if what is Input.MESSAGE else b"")
    assert receiver.receive(frame, LATER) == [Cut(CutReason.REKEY)]


def test_every_byte_of_message_1_flipped_cuts() -> None:
    """A Noise message that verifies as a frame but not as a handshake ends the session."""
    for at in range(48):
        pair = stream()
        keys, chain = pair.client._keys, pair.client._chain
        assert keys is not None and chain is not None
        genuine, _ = pair.client._state(keys, chain).write_message(b"", ephemeral=key("e"))
        message = bytearray(genuine)
        message[at] ^= 1
        frame = pair.client._sealer.seal(FrameType.HANDSHAKE, bytes(message))
        assert pair.house.receive(frame, LATER) == [Cut(CutReason.REKEY)]


def test_every_byte_of_message_2_flipped_cuts() -> None:
    """The client does not go on with a house that cannot finish the handshake."""
    for at in range(48):
        pair = stream()
        asked(pair)
        message = bytearray(48)
        message[at] = 9
        frame = pair.house._sealer.seal(FrameType.HANDSHAKE, bytes(message))
        assert pair.client.receive(frame, LATER) == [Cut(CutReason.REKEY)]


def test_a_pairs_session_survives_a_day_of_rekeys() -> None:
    """720 rekeys in a row with a word each way between them."""
    pair = stream(Suite.AESGCM)
    now = NOW
    for number in range(1, 721):
        now += REKEY_AFTER_NS
        assert pair.client.handle_timer(now) == pair.house.handle_timer(now) == []
        at_client, at_house = pair.settle(now)
        assert Rekeyed(number) in at_client and Rekeyed(number) in at_house
        assert pair.house.receive(pair.client.send_data(b"up"), now) == [Data(b"up")]
        assert pair.client.receive(pair.house.send_data(b"down"), now) == [Data(b"down")]
