"""The ceremony after a real handshake of an invite: what the invite says is bound by Noise before the first message."""

from dataclasses import dataclass, replace

import pytest

from tallystick.errors import Malformed, Unproven
from tallystick.noise import HandshakeState
from tallystick.pair.ceremony import ClientCeremony, HouseCeremony
from tallystick.pair.invite import INVITE_PROTOCOL, Invite, invite_id, invite_keys, invite_prologue, invite_text, parse_invite
from tallystick.pair.outcome import State
from tallystick.pair.pairing import PairType
from tallystick.primitives import X25519KeyPair
from tests.pair.world import CLIENT, FACTS, HOUSE, HouseMachine, Meeting, client_ceremony, house_ceremony, seed

INVITE = Invite(
    secret=seed("invite")[:16],
    house_static=HOUSE.static.public,
    addresses=(("127.0.0.1", 51877),),
    pair_type=PairType.INPUT,
    expires_s=1_795_000_000,
)


@dataclass(frozen=True, kw_only=True)
class Shaken:
    """A finished handshake of both sides."""

    client: HandshakeState
    house: HandshakeState


def shake(client: Invite, house: Invite, *, name: str = "") -> Shaken:
    """Both messages of IKpsk1; each side believes its own invite."""
    states = []
    for invite, initiator in ((client, True), (house, False)):
        states.append(
            HandshakeState.initialize(
                INVITE_PROTOCOL,
                initiator=initiator,
                prologue=invite_prologue(house_static=invite.house_static, pair_type=invite.pair_type),
                s=CLIENT.static if initiator else HOUSE.static,
                rs=invite.house_static if initiator else None,
                psks=(invite_keys(invite.secret).psk,),
            )
        )
    one, two = states
    message, one = one.write_message(b"", ephemeral=X25519KeyPair.from_private(seed(name + "e1")))
    _, two = two.read_message(message)
    message, two = two.write_message(b"", ephemeral=X25519KeyPair.from_private(seed(name + "e2")))
    _, one = one.read_message(message)
    return Shaken(client=one, house=two)


def ceremonies(shaken: Shaken) -> Meeting:
    client, first = ClientCeremony.begin(
        handshake_hash=shaken.client.handshake_hash,
        chaining_key=shaken.client.chaining_key,
        client_static=CLIENT.static.public,
        house_static=HOUSE.static.public,
        pair_type=PairType.INPUT,
        invite_id=invite_id(INVITE.secret),
        house_id=INVITE.house_id,
        signing=CLIENT.signing.public,
        witness=CLIENT.witness.public,
        human=None,
        facts=FACTS,
        label="camera",
        aes=True,
        kem_seed=seed("kem") * 2,
        nonce=seed("n_c"),
    )
    house = HouseCeremony.begin(
        handshake_hash=shaken.house.handshake_hash,
        chaining_key=shaken.house.chaining_key,
        client_static=shaken.house.remote_static or b"",
        house_static=HOUSE.static.public,
        pair_type=PairType.INPUT,
        identity=HOUSE.identity,
        for_key=None,
        aes=True,
    )
    return Meeting(client=client, house=house, first=first)


def test_an_invite_becomes_a_pair() -> None:
    """From the text of the invite to a pair that stands on both sides."""
    invite = parse_invite(invite_text(INVITE).upper())
    meeting = ceremonies(shake(invite, INVITE)).run()
    assert meeting.client.state is meeting.house.state is State.STANDING
    assert meeting.client.check == meeting.house.check


@pytest.mark.parametrize(
    "change",
    [{"pair_type": PairType.ADMIN}, {"pair_type": PairType.USER}, {"secret": bytes(16)}, {"house_static": HouseMachine("x").static.public}],
    ids=["wider", "narrower", "secret", "house"],
)
def test_a_changed_invite_fails_in_the_handshake(change: dict[str, object]) -> None:
    """A string with another type, secret or house key does not even get a message 2."""
    with pytest.raises((Unproven, Malformed)):
        shake(replace(INVITE, **change), INVITE)  # type: ignore[arg-type]


def test_messages_of_one_handshake_mean_nothing_in_another() -> None:
    """Whoever carries the ceremony's messages from one handshake of the same invite to another gets no pair."""
    left, right = shake(INVITE, INVITE, name="left"), shake(INVITE, INVITE, name="right")
    crossed = replace(ceremonies(left), house=ceremonies(right).house).run()
    assert crossed.client.check != crossed.house.check
    assert State.STANDING not in (crossed.client.state, crossed.house.state)


def test_a_pairing_secret_needs_handshake_and_kem() -> None:
    """Same messages, another chaining key: another secret, so a broken KEM or a broken DH alone gives nothing away."""
    client, first = client_ceremony()
    meeting = Meeting(client=client, house=house_ceremony(), first=first).run()
    secret = meeting.half["client"].half.pair_secret
    assert replace(meeting.client, chaining_key=seed("other"))._secrets().pair_secret != secret
    assert replace(meeting.client, kem_secret=seed("other"))._secrets().pair_secret != secret
