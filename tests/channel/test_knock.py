"""The knock of a pair, clause by clause (docs/spec/knock.md, section 8)."""

import struct

import pytest

from tallystick.channel import datagram as wire
from tallystick.channel.datagram import Mode
from tallystick.channel.knock import SILENCE, Address, Admit, Check, Doorkeeper, Silence
from tallystick.channel.limits import PENDING_ALL
from tallystick.errors import Misuse
from tallystick.pair.pairing import PairType, Suite, derive_pair_keys
from tallystick.primitives import blake2s_keyed
from tests.channel.scene import ADDRESS, NOW, SECOND, Client, House, ephemerals, handshakes, key, seeded

WINDOW = 120 * SECOND


def remade(client: Client, datagram: bytes) -> bytes:
    """The datagram with a MAC that fits again: what only a holder of the pair's keys can send."""
    body = datagram[:-16]
    return body + blake2s_keyed(client.keys.to_house.mac, body, 16)


@pytest.mark.parametrize("suite", Suite)
def test_a_knock_of_a_pair_is_answered_and_both_have_the_same_keys(suite: Suite) -> None:
    """Tag, MAC, time and Noise message hold: one answer, and both sides arrive at one handshake hash."""
    house = House(suite=suite)
    sent = house.client.knock(tcp_port=50_123, mode=Mode.FILTERED)
    admit = house.admits(sent.datagram)
    assert (admit.pair, admit.invite, admit.client_port, admit.mode, admit.address) == (1, None, 50_123, Mode.FILTERED, ADDRESS)
    assert admit.remote_static == house.client.static.public and admit.time_ns == NOW
    answer, at_house = admit.answer(tcp_port=41_000, mode=Mode.OPEN, ephemeral=key("e"))
    answered = sent.read(answer)
    assert answered is not None and (answered.house_port, answered.mode) == (41_000, Mode.OPEN)
    assert answered.handshake.handshake_hash == at_house.handshake_hash
    assert answered.handshake.chaining_key == at_house.chaining_key
    send, receive = answered.handshake.transport()[0], at_house.transport()[1]
    assert receive.decrypt_with_ad(b"", send.encrypt_with_ad(b"", b"x")) == b"x"


def test_the_bytes_of_a_knock() -> None:
    """Header, tag of the window, masked time, Noise message 1, MAC: 108 bytes, each where the table says."""
    house = House()
    keys = house.client.keys.to_house
    data = house.client.knock(mode=Mode.MOMENTARY).datagram
    assert len(data) == 108 and data[:4] == bytes((1, 1, 3, 0))
    assert data[4:20] == blake2s_keyed(keys.tag, struct.pack(">Q", NOW // WINDOW), 16)
    mask = blake2s_keyed(keys.mask, data[28:60], 8)
    assert bytes(a ^ b for a, b in zip(data[20:28], mask, strict=True)) == struct.pack(">Q", NOW)
    assert data[92:] == blake2s_keyed(keys.mac, data[:92], 16)


def test_no_static_key_and_no_time_travels_in_the_clear() -> None:
    """An observer of two knocks sees neither static key nor the time, and nothing but header and tag twice."""
    house = House()
    first, second = house.client.knock(NOW).datagram, house.client.knock(NOW + 1).datagram
    for secret in (house.client.static.public, house.static.public, struct.pack(">Q", NOW)):
        assert secret not in first
    assert first[:20] == second[:20] and first[20:28] != second[20:28] and first[28:60] != second[28:60]


def test_the_answer_is_not_longer_than_the_knock() -> None:
    """Nobody can use the house to send more than he spent."""
    house = House()
    answer, _ = house.admits(house.client.knock().datagram).answer(tcp_port=1, mode=Mode.OPEN, ephemeral=key("e"))
    assert len(answer) == wire.ANSWER_BYTES == 68 < wire.KNOCK_BYTES
    assert answer[:4] == bytes((4, 1, 0, 0))


def test_every_byte_cut_is_silence() -> None:
    """A knock shorter by any number of bytes, or one byte longer, changes nothing."""
    house = House()
    data = house.client.knock().datagram
    before = house.memory()
    for end in range(len(data)):
        assert house.hears(data[:end]) is SILENCE
    assert house.hears(data + b"\0") is SILENCE
    assert house.memory() == before
    assert isinstance(house.hears(data), Admit)


def test_every_byte_flipped_is_silence() -> None:
    """A knock with any one bit of any byte changed is refused before Diffie-Hellman and changes nothing."""
    house = House()
    data = house.client.knock().datagram
    before = house.memory()
    for at in range(len(data)):
        for bit in (1, 2, 0x80):
            changed = bytearray(data)
            changed[at] ^= bit
            assert house.hears(bytes(changed)) is SILENCE
    assert house.memory() == before
    counts = house.keeper.counts
    assert counts[Check.HANDSHAKE] == counts[Check.PAYLOAD] == 0
    # One of the twelve headers is one: mode 1 made mode 3. The MAC covers it.
    assert (counts[Check.SHAPE], counts[Check.TAG], counts[Check.MAC]) == (3 * 4 - 1, 3 * 16, 3 * 88 + 1)
    assert isinstance(house.hears(data), Admit)


def test_every_byte_flipped_behind_a_fresh_mac_is_silence() -> None:
    """Even with the pair's MAC key a changed Noise message admits nobody."""
    house = House()
    data = house.client.knock().datagram
    for at in range(28, 92):
        changed = bytearray(data)
        changed[at] ^= 0x40
        assert house.hears(remade(house.client, bytes(changed)), NOW + at * SECOND // 10) is SILENCE
    counts = house.keeper.counts
    assert counts[Check.MAC] == 0 and counts[Check.TIME] + counts[Check.HANDSHAKE] + counts[Check.RATE] == 64
    assert house.keeper.pending == 0


@pytest.mark.parametrize(
    "header",
    [
        bytes((1, 1, 0, 0)),
        bytes((1, 1, 4, 0)),
        bytes((1, 1, 1, 1)),
        bytes((1, 0, 1, 0)),
        bytes((1, 2, 1, 0)),
        bytes((2, 1, 1, 0)),
        bytes(4),
    ],
)
def test_an_unknown_header_is_silence(header: bytes) -> None:
    """Another version, no mode, a fourth byte that is not zero, or the type of another size, even with a MAC that fits."""
    house = House()
    assert house.hears(remade(house.client, header + house.client.knock().datagram[4:])) is SILENCE
    assert house.keeper.counts[Check.SHAPE] == 1


def test_a_stranger_who_knows_every_public_key_costs_no_diffie_hellman() -> None:
    """Without the pair secret there is no tag, and it ends at the tag."""
    house = House()
    stranger = Client(1, house.static.public)
    stranger.keys = derive_pair_keys(seeded("another secret"))
    assert house.hears(stranger.knock().datagram) is SILENCE
    assert house.keeper.counts[Check.TAG] == 1 and house.keeper.counts[Check.HANDSHAKE] == 0


def test_a_tag_seen_on_the_wire_helps_nobody() -> None:
    """A stranger who copies a tag of the running window ends at the MAC."""
    house = House()
    data = house.client.knock().datagram
    assert house.hears(data[:20] + seeded("junk") * 2 + data[84:92] + seeded("mac")[:16]) is SILENCE
    assert house.keeper.counts[Check.MAC] == 1 and house.keeper.counts[Check.HANDSHAKE] == 0


def test_a_tag_serves_in_the_windows_before_and_after_only() -> None:
    """Windows -1, 0 and +1 are open; -2 and +2 are not."""
    begin = NOW // WINDOW * WINDOW
    for step, found in ((-2, False), (-1, True), (0, True), (1, True), (2, False)):
        house = House(start_ns=begin - 10 * WINDOW)
        house.keeper.tick(begin)
        house.hears(house.client.knock(begin + step * WINDOW).datagram, begin)
        assert house.keeper.counts[Check.TAG] == (0 if found else 1), step


def test_the_tag_names_the_window_of_the_time() -> None:
    """A knock whose tag is of one window and whose time is of another is refused."""
    house = House(start_ns=NOW - 10 * WINDOW)
    house.keeper.tick(NOW)
    data = house.client.knock(NOW).datagram
    other = wire.window_tag(house.client.keys.to_house.tag, NOW // WINDOW - 1)
    assert house.hears(remade(house.client, data[:4] + other + data[20:])) is SILENCE
    assert house.keeper.counts[Check.TIME] == 1


@pytest.mark.parametrize(("ahead_ns", "admitted"), [(60 * SECOND, True), (60 * SECOND + 1, False), (119 * SECOND, False)])
def test_at_most_60_seconds_in_the_future(ahead_ns: int, admitted: bool) -> None:
    """A time 60 s ahead of pair time is accepted, one nanosecond more is not."""
    house = House()
    assert isinstance(house.hears(house.client.knock(NOW + ahead_ns).datagram), Admit) is admitted
    assert house.keeper.counts[Check.TIME] == (0 if admitted else 1)


def test_a_knock_from_the_year_2100_burns_nothing() -> None:
    """A client whose clock was in 2100 is refused, and admitted again when the clock is right (CVE-2021-46873)."""
    house = House()
    assert house.hears(house.client.knock(4_102_444_800 * SECOND).datagram) is SILENCE
    assert house.hears(house.client.knock(2**64 - 1).datagram) is SILENCE
    assert isinstance(house.hears(house.client.knock(NOW).datagram), Admit)


def test_an_old_knock_is_refused() -> None:
    """A knock kept back until its windows are over meets silence."""
    house = House(start_ns=NOW - 10 * WINDOW)
    data = house.client.knock(NOW).datagram
    later = (NOW // WINDOW + 2) * WINDOW
    assert house.hears(data, later) is SILENCE
    other = House(start_ns=NOW - 10 * WINDOW)
    assert isinstance(other.hears(data, later - 1), Admit)


def test_a_repeated_knock_is_silence() -> None:
    """The same datagram a second time, from any address, gets nothing."""
    house = House()
    data = house.client.knock().datagram
    house.admits(data)
    before = house.memory()
    for now_ns in (NOW, NOW, NOW):
        assert house.keeper.receive(data, ("198.51.100.1", 9), now_ns) is SILENCE
    assert house.memory() == before and house.keeper.counts[Check.REPLAY] == 3


def test_a_draft_is_good_for_one_knock() -> None:
    """Drawn up ahead, it lacks time and mode only; a second knock would use its ephemeral key again."""
    house = House()
    draft = house.client.knocker().draft(tcp_port=50_001, ephemeral=key("e"))
    with pytest.raises(Misuse):
        draft.knock(time_ns=-1, mode=Mode.OPEN)
    sent = draft.knock(time_ns=NOW, mode=Mode.FILTERED)
    same = house.client.knocker().knock(time_ns=NOW, tcp_port=50_001, mode=Mode.FILTERED, ephemeral=key("e"))
    assert sent.datagram == same.datagram
    with pytest.raises(Misuse):
        draft.knock(time_ns=NOW + 1, mode=Mode.FILTERED)
    assert house.admits(sent.datagram).mode is Mode.FILTERED


def test_a_retry_is_a_new_knock() -> None:
    """Another ephemeral and a later time: both knocks are admitted."""
    house = House()
    first, second = house.client.knock(NOW), house.client.knock(NOW + 1)
    assert first.datagram[28:60] != second.datagram[28:60]
    assert house.admits(first.datagram).ticket != house.admits(second.datagram).ticket


def test_after_a_restart_knocks_from_before_the_start_are_refused() -> None:
    """What was accepted before the restart cannot be replayed after it, for its time lies before the start."""
    house = House()
    old = house.client.knock(NOW).datagram
    house.admits(old)
    restarted = House(start_ns=NOW + 1)
    assert restarted.hears(old, NOW + 1) is SILENCE
    assert restarted.keeper.counts[Check.TIME] == 1
    assert isinstance(restarted.hears(restarted.client.knock(NOW + 1).datagram, NOW + 1), Admit)


def test_pair_time_never_goes_backwards() -> None:
    """A system clock set back does not open an old window again."""
    house = House(start_ns=NOW - 10 * WINDOW)
    data = house.client.knock(NOW).datagram
    house.hears(b"", NOW + 3 * WINDOW)
    assert house.hears(data, NOW) is SILENCE
    assert house.keeper.now_ns == NOW + 3 * WINDOW


def test_a_memory_that_overflowed_refuses_everything_up_to_the_floor() -> None:
    """257 knocks are accepted; the first left the memory, its time is the floor, and its replay is still refused."""
    house = House()
    step = 50_000_000
    knocks = [house.client.knock(NOW + i * step).datagram for i in range(257)]
    for i, data in enumerate(knocks):
        house.keeper.ended(house.admits(data, NOW + i * step).ticket)
    now = NOW + 257 * step
    for data in knocks:
        assert house.hears(data, now) is SILENCE
    assert house.hears(house.client.knock(NOW).datagram, now) is SILENCE  # never seen, but at the floor
    assert house.keeper.counts[Check.REPLAY] == 258
    assert isinstance(house.hears(house.client.knock(now).datagram, now), Admit)


def test_the_rate_is_20_a_second_with_a_burst_of_64() -> None:
    """64 at once, then one each 50 ms; what was refused for the rate may come again."""
    house = House()
    admitted = 0
    for i in range(80):
        outcome = house.hears(house.client.knock(NOW + i).datagram)
        if isinstance(outcome, Admit):
            admitted += 1
            house.keeper.ended(outcome.ticket)
    assert admitted == 64 and house.keeper.counts[Check.RATE] == 16
    late = house.client.knock(NOW + 1000).datagram
    assert house.hears(late, NOW + SECOND // 20 - 1) is SILENCE
    assert isinstance(house.hears(late, NOW + SECOND // 20), Admit)


def test_a_pair_over_its_limits_does_not_affect_others() -> None:
    """One pair floods with genuine knocks; its neighbour is admitted."""
    house = House(pairs=2)
    for i in range(200):
        house.hears(house.clients[0].knock(NOW + i).datagram)
    assert isinstance(house.hears(house.clients[1].knock().datagram), Admit)


def test_four_pending_connects_for_each_pair() -> None:
    """The fifth waits until one has ended, or until 3 s are over."""
    house = House()
    tickets = [house.admits(house.client.knock(NOW + i).datagram).ticket for i in range(4)]
    fifth = house.client.knock(NOW + 5).datagram
    assert house.hears(fifth) is SILENCE and house.keeper.counts[Check.PENDING] == 1
    house.keeper.ended(tickets[0])
    house.keeper.ended(tickets[0])  # twice does nothing
    assert isinstance(house.hears(fifth), Admit)
    sixth = house.client.knock(NOW + 6).datagram
    assert house.hears(sixth, NOW + 3 * SECOND - 1) is SILENCE
    assert isinstance(house.hears(sixth, NOW + 3 * SECOND), Admit)


def test_256_pending_connects_in_all() -> None:
    """64 pairs with four each fill the house; one more pair waits."""
    house = House(pairs=PENDING_ALL // 4 + 1)
    for client in house.clients[:-1]:
        for i in range(4):
            house.admits(client.knock(NOW + i).datagram)
    assert house.keeper.pending == PENDING_ALL
    last = house.clients[-1].knock().datagram
    assert house.hears(last) is SILENCE
    house.keeper.tick(NOW + 3 * SECOND)
    assert house.keeper.pending == 0
    assert isinstance(house.hears(last, NOW + 3 * SECOND), Admit)


def test_a_removed_pair_is_a_stranger_at_once() -> None:
    """After the severance the same client gets nothing, not even a Diffie-Hellman; others do."""
    house = House(pairs=2)
    first, second = house.clients
    house.admits(first.knock().datagram)
    house.keeper.remove_pair(1)
    house.keeper.remove_pair(1)
    assert house.hears(first.knock(NOW + 1).datagram) is SILENCE
    assert house.keeper.counts[Check.TAG] == 1 and len(house.keeper) == 1
    assert isinstance(house.hears(second.knock().datagram), Admit)


def test_a_severed_machine_can_be_paired_anew() -> None:
    """New secret, new number: admitted; the old secret stays dead."""
    house = House()
    old = house.client
    house.keeper.remove_pair(1)
    anew = Client(2, house.static.public)
    anew.static = old.static
    house.add(anew)
    assert house.hears(old.knock().datagram) is SILENCE
    assert house.admits(anew.knock().datagram).pair == 2


def test_a_pair_added_late_is_found_in_every_window() -> None:
    """Windows that are filled already, and those that come, know the newcomer."""
    house = House()
    house.keeper.tick(NOW)
    late = Client(9, house.static.public)
    house.add(late)
    for step in range(4):
        now_ns = NOW + step * WINDOW
        assert house.admits(late.knock(now_ns).datagram, now_ns).pair == 9


def test_the_psk_is_needed() -> None:
    """Right tag and MAC keys, wrong psk: the Noise message does not open."""
    house = House()
    keys = house.client.keys
    wrong = type(keys)(psk=seeded("psk"), to_house=keys.to_house, to_client=keys.to_client)
    sent = house.client.knocker(keys=wrong).knock(time_ns=NOW, tcp_port=1, mode=Mode.OPEN, ephemeral=key("e"))
    assert house.hears(sent.datagram) is SILENCE
    assert house.keeper.counts[Check.HANDSHAKE] == 1


@pytest.mark.parametrize("other", [PairType.ADMIN, PairType.USER, PairType.INTERFACE])
def test_the_pair_type_is_in_the_prologue(other: PairType) -> None:
    """Both must mean the type of the pairing statement."""
    house = House()
    sent = house.client.knocker(pair_type=other).knock(time_ns=NOW, tcp_port=1, mode=Mode.OPEN, ephemeral=key("e"))
    assert house.hears(sent.datagram) is SILENCE and house.keeper.counts[Check.HANDSHAKE] == 1


def test_the_suite_is_not_negotiated() -> None:
    """A knock with the other suite is refused."""
    house = House()
    sent = house.client.knocker(suite=Suite.AESGCM).knock(time_ns=NOW, tcp_port=1, mode=Mode.OPEN, ephemeral=key("e"))
    assert house.hears(sent.datagram) is SILENCE and house.keeper.counts[Check.HANDSHAKE] == 1


def test_the_roles_are_in_the_prologue() -> None:
    """A house cannot be made to take its own key for the client's, nor the client for a house."""
    house = House()
    client = house.client
    mirrored = Doorkeeper(static=client.static, now_ns=NOW)
    mirrored.add_pair(1, keys=client.keys, client_static=house.static.public, pair_type=client.pair_type, suite=client.suite)
    assert mirrored.receive(client.knock().datagram, ADDRESS, NOW) is SILENCE
    assert mirrored.counts[Check.HANDSHAKE] == 1


def test_another_static_key_is_refused() -> None:
    """The pair secret alone, with another machine's static key, opens nothing; neither does another house's key."""
    house = House()
    for changed in ({"static": key("thief")}, {"house_static": key("other house").public}):
        sent = house.client.knocker(**changed).knock(time_ns=NOW, tcp_port=1, mode=Mode.OPEN, ephemeral=key("e", *changed))
        assert house.hears(sent.datagram) is SILENCE
    assert house.keeper.counts[Check.HANDSHAKE] == 2


LOW_ORDER = [
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_low_order_ephemeral_is_silence(point: bytes) -> None:
    """A paired client that sends a point of small order gets nothing."""
    house = House()
    client = house.client
    mask = client.keys.to_house.mask
    data = house.client.knock().datagram
    body = data[:20] + wire.mask_time(mask, point, NOW) + point + data[60:]
    assert house.hears(remade(client, body)) is SILENCE
    assert house.keeper.counts[Check.HANDSHAKE] == 1 and house.keeper.pending == 0


@pytest.mark.parametrize("payload", [b"", bytes(16), b"\x12\x34" + bytes(13) + b"\1", b"\x12\x34" + bytes(15)])
def test_a_payload_of_another_form_is_refused(payload: bytes) -> None:
    """Port 0, bytes that are not zero, and another length are refused after the Noise message opened."""
    house = House()
    client = house.client
    message, _ = client.knocker()._state.write_message(payload, ephemeral=key("e"))
    keys = client.keys.to_house
    data = wire.build_knock(
        header=bytes((1, 1, 1, 0)),
        tag=wire.window_tag(keys.tag, NOW // WINDOW),
        mask_key=keys.mask,
        mac_key=keys.mac,
        time_ns=NOW,
        noise=message,
    )
    assert house.hears(data) is SILENCE
    assert house.keeper.counts[Check.PAYLOAD if len(data) == 108 else Check.SHAPE] == 1


def test_forged_answers_do_not_keep_the_client_from_the_genuine_one() -> None:
    """Cut, flipped and random answers are ignored; then the genuine one is read."""
    house = House()
    sent = house.client.knock()
    answer, _ = house.admits(sent.datagram).answer(tcp_port=41_000, mode=Mode.OPEN, ephemeral=key("e"))
    for at in range(len(answer)):
        changed = bytearray(answer)
        changed[at] ^= 1
        assert sent.read(bytes(changed)) is None
        assert sent.read(answer[:at]) is None
    for point in LOW_ORDER:
        assert sent.read(answer[:4] + point + answer[36:]) is None
    assert sent.read(answer + b"\0") is None
    assert sent.read(answer) is not None


def test_an_answer_belongs_to_one_knock() -> None:
    """The answer to one knock does not open for another of the same client."""
    house = House()
    first, second = house.client.knock(NOW), house.client.knock(NOW + 1)
    answer, _ = house.admits(first.datagram).answer(tcp_port=41_000, mode=Mode.OPEN, ephemeral=key("e"))
    assert second.read(answer) is None and first.read(answer) is not None


def test_several_connections_of_one_pair_have_different_keys() -> None:
    """Knocks at the same time make separate handshakes."""
    house = House()
    hashes = {handshakes(house, now_ns=NOW + i)[0].handshake_hash for i in range(4)}
    assert len(hashes) == 4


def test_a_client_roams() -> None:
    """The address is nothing the house pins: the next knock may come from anywhere."""
    house = House()
    addresses: list[Address] = [("192.0.2.1", 1), ("2001:db8::1", 2, 0, 0), ("203.0.113.9", 3)]
    for i, address in enumerate(addresses):
        outcome = house.keeper.receive(house.client.knock(NOW + i).datagram, address, NOW)
        assert isinstance(outcome, Admit) and outcome.address == address


def test_misuse_of_the_doorkeeper_is_named() -> None:
    """A number twice, out of range, or an unsafe client key is our caller's fault."""
    house = House()
    with pytest.raises(Misuse):
        house.add(house.client)
    for number in (0, 2**32):
        with pytest.raises(Misuse):
            house.add(Client(number, house.static.public))
    with pytest.raises(Misuse):
        house.keeper.add_pair(5, keys=house.client.keys, client_static=bytes(32), pair_type=PairType.INPUT, suite=Suite.CHACHAPOLY)
    with pytest.raises(Misuse):
        house.client.knock(tcp_port=0)
    with pytest.raises(Misuse):
        house.client.knock(2**64)


def test_silence_is_one_value() -> None:
    """There is one Silence, and nothing in it."""
    assert Silence() == SILENCE and repr(SILENCE) == "Silence()"


def test_ephemerals_of_the_scene_differ() -> None:
    """The scene itself never uses an ephemeral twice."""
    fresh = ephemerals("x")
    assert fresh().public != fresh().public
