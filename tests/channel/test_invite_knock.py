"""The knock of an invite (docs/spec/knock.md, section 2)."""

import pytest

from tallystick.channel.datagram import Mode
from tallystick.channel.knock import SILENCE, Admit, Check
from tallystick.channel.knocker import Knocker, SentKnock, invite_times
from tallystick.errors import Misuse
from tallystick.noise import KeyPair
from tallystick.pair.invite import InviteKeys, invite_id, invite_keys
from tallystick.pair.pairing import PairType
from tests.channel.scene import NOW, SECOND, House, key, seeded

SECRET = seeded("invite")[:16]


def knock(
    house: House,
    keys: InviteKeys,
    time_ns: int = NOW,
    *,
    static: KeyPair | None = None,
    pair_type: PairType = PairType.INPUT,
    house_static: bytes | None = None,
) -> SentKnock:
    knocker = Knocker.of_invite(
        keys=keys, static=static or key("newcomer"), house_static=house_static or house.static.public, pair_type=pair_type
    )
    return knocker.knock(time_ns=time_ns, tcp_port=50_001, mode=Mode.OPEN, ephemeral=key("newcomer's e", time_ns))


def test_an_invite_admits_a_machine_the_house_never_saw() -> None:
    """The answer goes to whoever holds the secret; the house learns the newcomer's static key, sealed on the way."""
    house = House()
    keys = house.add_invite(SECRET)
    sent = knock(house, keys)
    assert len(sent.datagram) == 156 and key("newcomer").public not in sent.datagram
    admit = house.admits(sent.datagram)
    assert (admit.pair, admit.invite, admit.remote_static) == (None, invite_id(SECRET), key("newcomer").public)
    answer, at_house = admit.answer(tcp_port=41_000, mode=Mode.OPEN, ephemeral=key("e"))
    answered = sent.read(answer)
    assert answered is not None and len(answer) == 68
    assert answered.handshake.handshake_hash == at_house.handshake_hash
    assert answered.handshake.chaining_key == at_house.chaining_key


def test_without_an_open_invite_there_is_silence() -> None:
    """Unknown, removed (consumed, revoked) and expired invites look alike: a stranger who costs no Diffie-Hellman."""
    house = House()
    keys = invite_keys(SECRET)
    assert house.hears(knock(house, keys).datagram) is SILENCE
    house.add_invite(SECRET, expires_ns=NOW + 10)
    assert house.hears(knock(house, keys).datagram, NOW + 10) is SILENCE
    house.keeper.tick(NOW + 10)
    house.add_invite(SECRET)
    house.keeper.remove_invite(invite_id(SECRET))
    assert house.hears(knock(house, keys, NOW + 10).datagram, NOW + 10) is SILENCE
    assert house.keeper.counts[Check.TAG] == 3


def test_every_byte_of_an_invite_knock_cut_or_flipped_is_silence() -> None:
    """Nothing changes, and the genuine one is admitted after all of them."""
    house = House()
    data = knock(house, house.add_invite(SECRET)).datagram
    before = house.memory()
    for at in range(len(data)):
        assert house.hears(data[:at]) is SILENCE
        for bit in (1, 2, 0x80):
            changed = bytearray(data)
            changed[at] ^= bit
            assert house.hears(bytes(changed)) is SILENCE
    assert house.memory() == before and house.keeper.counts[Check.HANDSHAKE] == 0
    assert isinstance(house.hears(data), Admit)


def test_a_repeated_invite_knock_is_silence() -> None:
    """Accepted once; a retry is a new knock."""
    house = House()
    keys = house.add_invite(SECRET)
    data = knock(house, keys).datagram
    house.admits(data)
    assert house.hears(data) is SILENCE and house.keeper.counts[Check.REPLAY] == 1
    house.admits(knock(house, keys, NOW + 1).datagram)


@pytest.mark.parametrize("time_ns", [0, NOW - 1, NOW + 61 * SECOND, 4_102_444_800 * SECOND])
def test_an_invite_knock_has_its_time_too(time_ns: int) -> None:
    """Before the start, too far in the future, 1970 and 2100 are refused."""
    house = House()
    keys = house.add_invite(SECRET)
    assert house.hears(knock(house, keys, time_ns).datagram) is SILENCE
    assert house.keeper.counts[Check.TIME] == 1


def test_type_house_and_psk_of_the_invite_are_bound() -> None:
    """A client that believes in another type or another house, or has another psk, is refused."""
    house = House()
    keys = house.add_invite(SECRET)
    wrong = InviteKeys(tag=keys.tag, mac=keys.mac, mask=keys.mask, psk=seeded("psk"))
    for sent in (
        knock(house, keys, NOW, pair_type=PairType.ADMIN),
        knock(house, keys, NOW + 1, house_static=key("other house").public),
        knock(house, wrong, NOW + 2),
    ):
        assert house.hears(sent.datagram) is SILENCE
    assert house.keeper.counts[Check.HANDSHAKE] == 3 and house.keeper.pending == 0


class _LowOrder:
    """A key pair whose public half is a point of small order."""

    public = bytes(32)

    def exchange(self, public: bytes) -> bytes:
        """Not what Diffie-Hellman gives, but an attacker may compute what he likes."""
        return bytes(32)


def test_a_newcomer_with_a_low_order_static_key_is_silence() -> None:
    """The sealed static key is opened, is no key, and nobody is admitted."""
    house = House()
    keys = house.add_invite(SECRET)
    real = key("newcomer")

    class Forged(_LowOrder):
        def exchange(self, public: bytes) -> bytes:
            return real.exchange(public)

    assert house.hears(knock(house, keys, static=Forged()).datagram) is SILENCE
    assert house.keeper.counts[Check.HANDSHAKE] == 1


def test_an_invite_has_the_limits_of_a_pair() -> None:
    """Four pending connects, a burst of 64."""
    house = House()
    keys = house.add_invite(SECRET)
    for i in range(4):
        house.admits(knock(house, keys, NOW + i).datagram)
    assert house.hears(knock(house, keys, NOW + 9).datagram) is SILENCE
    assert house.keeper.counts[Check.PENDING] == 1


def test_a_house_holds_1024_open_invites() -> None:
    """The next one, or the same one twice, is our caller's fault."""
    house = House(pairs=0)
    for i in range(1024):
        house.add_invite(seeded("invite", i)[:16])
    with pytest.raises(Misuse):
        house.add_invite(seeded("one more")[:16])
    house.keeper.tick(NOW + 600 * SECOND)  # all have expired
    house.add_invite(seeded("one more")[:16])
    with pytest.raises(Misuse):
        house.add_invite(seeded("one more")[:16])


def test_a_pair_knock_cannot_pass_for_an_invite_knock() -> None:
    """The two have different sizes, types and tables."""
    house = House()
    house.add_invite(SECRET)
    data = house.client.knock().datagram
    assert house.hears(b"\2" + data[1:]) is SILENCE
    assert house.hears(b"\2" + data[1:] + bytes(48)) is SILENCE


def test_a_newcomer_with_a_good_clock_knocks_with_it() -> None:
    """One time, the clock's, when it can be right."""
    expires = NOW + 300 * SECOND
    assert invite_times(NOW, expires) == (NOW,)


@pytest.mark.parametrize("left_s", [1, 59, 61, 119, 121, 240, 300, 420, 540, 599])
def test_a_newcomer_with_a_dead_clock_covers_the_life_of_the_invite(left_s: int) -> None:
    """Whenever it comes, one of at most four knocks is timed so that the house accepts it."""
    expires = NOW + left_s * SECOND
    times = invite_times(0, expires)
    assert len(times) <= 4
    house = House(start_ns=NOW - 3600 * SECOND)
    keys = house.add_invite(SECRET, expires_ns=expires)
    assert any(isinstance(house.hears(knock(house, keys, time_ns).datagram, NOW), Admit) for time_ns in times)
