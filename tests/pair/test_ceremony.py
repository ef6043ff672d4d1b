"""The ceremony between honest machines, and what is kept when it breaks off."""

from dataclasses import replace

import pytest

from tallystick.errors import Misuse
from tallystick.keys import KeyKind
from tallystick.pair.ceremony import ClientCeremony, HouseCeremony
from tallystick.pair.message import Approve, Kind, Reason, encode_message, parse_message
from tallystick.pair.outcome import KEPT, OVER, Detached, Ended, NeedQuote, State, Step, Stood, StoreHalf
from tallystick.pair.pairing import PairType, Role, Suite, derive_pair_keys
from tallystick.pair.statement import PairSever, encode_statement
from tallystick.primitives import sha256
from tests.pair.world import (
    CK,
    CLIENT,
    FACTS,
    HOUSE,
    INVITE,
    ClientMachine,
    H,
    HouseMachine,
    Meeting,
    approval,
    bundle,
    client_ceremony,
    house_ceremony,
    seed,
    until,
)

TYPES = pytest.mark.parametrize("pair_type", list(PairType))


@TYPES
def test_two_honest_machines_come_to_stand(pair_type: PairType) -> None:
    """Both sides reach `standing` with the same pairing id, secret, words, type and suite."""
    meeting = Meeting.of(pair_type).run()
    assert meeting.client.state is State.STANDING
    assert meeting.house.state is State.STANDING
    client, house = meeting.half["client"].half, meeting.half["house"].half
    assert client.pairing_id == house.pairing_id
    assert client.pair_secret == house.pair_secret
    assert derive_pair_keys(client.pair_secret) == derive_pair_keys(house.pair_secret)
    assert client.transcript == house.transcript
    assert client.pair_type is house.pair_type is pair_type
    assert client.suite is house.suite is Suite.AESGCM
    assert meeting.client.check == meeting.house.check
    assert meeting.client.check is not None
    assert len(meeting.client.check.words) == 4
    assert (client.label, house.label) == ("attic", "camera")
    assert isinstance(meeting.last["client"], Stood)


def test_the_messages_travel_in_the_order_of_the_specification() -> None:
    """hello, welcome, open, attest, attest, confirm, confirm, standing; ADMIN adds approve before standing."""
    order = [Kind.HELLO, Kind.WELCOME, Kind.OPEN, Kind.CLIENT_ATTEST, Kind.HOUSE_ATTEST, Kind.CLIENT_CONFIRM, Kind.HOUSE_CONFIRM]
    assert _kinds(Meeting.of().run()) == [*order, Kind.STANDING]
    assert _kinds(Meeting.of(PairType.ADMIN).run()) == [*order, Kind.APPROVE, Kind.STANDING]


def _kinds(meeting: Meeting) -> list[Kind]:
    return [Kind(body[1]) for _, body in meeting.sent]


@pytest.mark.parametrize(("client_aes", "house_aes"), [(True, False), (False, True), (False, False)])
def test_the_aes_suite_needs_both(client_aes: bool, house_aes: bool) -> None:
    """Without AES hardware on both sides the pair gets ChaCha20-Poly1305."""
    client, first = client_ceremony(aes=client_aes)
    meeting = Meeting(client=client, house=house_ceremony(aes=house_aes), first=first, stand=False).run()
    assert meeting.half["client"].half.suite is meeting.half["house"].half.suite is Suite.CHACHAPOLY


def test_p256_keys_sign_as_well() -> None:
    """A machine and a human with P-256 keys (a TPM, a passkey) come to stand as well."""
    who = ClientMachine("tpm", KeyKind.P256)
    client, first = client_ceremony(who, pair_type=PairType.ADMIN)
    house = house_ceremony(pair_type=PairType.ADMIN, client=who)
    meeting = Meeting(client=client, house=house, first=first, client_keys=who).run()
    assert meeting.house.state is State.STANDING


def test_a_quote_covers_t1_and_changes_the_secret() -> None:
    """Each side is asked for a quote over the same T1; quotes enter T2, so pairing id and secret follow from them."""
    meeting = Meeting.of(quotes=(b"client quote", b"house quote")).run()
    asked = [effect for _, effect in meeting.effects if isinstance(effect, NeedQuote)]
    assert asked[0].t1 == asked[1].t1
    assert (asked[0].peer_quote, asked[1].peer_quote) == (None, b"client quote")
    half = meeting.half["client"].half
    t2 = sha256(asked[0].t1, sha256(b"client quote"), sha256(b"house quote"))
    assert half.transcript == t2
    assert half.pairing_id == sha256(b"tally pairing v1", t2)
    plain = Meeting.of().run()
    asked = [effect for _, effect in plain.effects if isinstance(effect, NeedQuote)]
    assert plain.half["client"].half.transcript == sha256(asked[0].t1, bytes(64))


@TYPES
@pytest.mark.parametrize("cut_after", range(10))
def test_cut_after_each_message(pair_type: PairType, cut_after: int) -> None:
    """A stream that ends after message n leaves nothing until the client confirmed, and a pending half after that."""
    meeting = Meeting.of(pair_type, tamper=lambda number, _, body: [body] if number < cut_after else []).run()
    for side in ("client", "house"):
        before = getattr(meeting, side)
        if before.state in OVER:
            continue
        after, step = before.cut()
        assert not step.send
        if before.state in KEPT:
            assert isinstance(step.effect, Detached)
            assert meeting.stored[side] == {step.effect.pairing_id}
            assert after.state is State.DETACHED
        else:
            assert isinstance(step.effect, Ended)
            assert step.effect.forget is None
            assert meeting.stored[side] == set()
            assert after.state is State.ABORTED
    # Nothing is stored before the house has attested, and the house stores nothing that the client has not.
    assert not meeting.stored["client"] or cut_after > Kind.HOUSE_ATTEST - 1
    assert meeting.stored["house"] <= meeting.stored["client"]


def test_a_cut_before_the_client_confirmed_leaves_the_house_nothing() -> None:
    """A client that dies before its confirm arrives leaves no half at the house: it has not even derived one to store."""
    meeting = Meeting.of(tamper=lambda number, _, body: [body] if number < 5 else []).run()
    assert meeting.house.state is State.ATTESTED
    assert meeting.stored == {"client": {meeting.half["client"].half.pairing_id}, "house": set()}
    _, step = meeting.house.cut()
    assert step.effect == Ended(reason=Reason.UNSPECIFIED, by_peer=True, forget=None)


@pytest.mark.parametrize("side", ["client", "house"])
def test_a_person_who_cancels_leaves_nothing(side: str) -> None:
    """Wrong words: whoever says so, both sides destroy their half."""
    meeting = Meeting.of(stand=False).run()
    assert meeting.stored["client"] == meeting.stored["house"] != set()
    ceremony = getattr(meeting, side)
    after, step = ceremony.cancel()
    setattr(meeting, side, after)
    for _, body in meeting.act(side, step):
        other = "house" if side == "client" else "client"
        ended, answer = getattr(meeting, other).receive(body)
        assert ended.state is State.ABORTED
        assert not meeting.act(other, answer)
    assert meeting.stored == {"client": set(), "house": set()}


def test_a_denied_proposal_is_told_and_forgotten() -> None:
    """`refuse` tells the client, and both sides destroy their half."""
    meeting = Meeting.of(stand=False).run()
    meeting.house, step = meeting.house.refuse(Reason.DENIED)
    for _, body in meeting.act("house", step):
        meeting.client, answer = meeting.client.receive(body)
        meeting.act("client", answer)
    assert meeting.client.state is meeting.house.state is State.REFUSED
    assert meeting.stored == {"client": set(), "house": set()}


def test_after_the_end_everything_is_silence() -> None:
    """A ceremony that is over answers nothing and changes no more, whatever comes."""
    meeting = Meeting.of().run()
    for side in (meeting.client, meeting.house):
        for _, body in meeting.sent:
            assert side.receive(body) == (side, Step())
        assert side.cancel() == (side, Step())
        assert side.cut() == (side, Step())


def test_the_shell_cannot_skip_a_step() -> None:
    """Each answer of the shell in a wrong state is Misuse."""
    client, first = client_ceremony()
    house = house_ceremony()
    with pytest.raises(Misuse):
        client.attested(None)
    with pytest.raises(Misuse):
        client.stored(signing=bytes(64), witness=bytes(64), human=None)
    with pytest.raises(Misuse):
        client.approve(b"")
    with pytest.raises(Misuse):
        house.welcome(kem_secret=bytes(32), kem_ciphertext=bytes(1088), nonce=bytes(32))
    with pytest.raises(Misuse):
        house.attested(None)
    with pytest.raises(Misuse):
        house.proposed(entry=1, signing=bytes(64), witness=bytes(64))
    with pytest.raises(Misuse):
        house.stand(bundle=b"x", entry=1, checkpoint=b"x")
    with pytest.raises(Misuse):
        house.refuse()
    greeted, _ = house.receive(first.send[0])
    with pytest.raises(Misuse):
        greeted.welcome(kem_secret=bytes(32), kem_ciphertext=bytes(1), nonce=bytes(32))


def test_a_human_key_belongs_to_admin_alone() -> None:
    """Without a human key there is no ADMIN pairing, and with one no other."""
    with pytest.raises(Misuse):
        _begin(PairType.ADMIN, human=False)
    with pytest.raises(Misuse):
        _begin(PairType.INPUT, human=True)
    for invite, said in ((PairType.ADMIN, PairType.INPUT), (PairType.INPUT, PairType.ADMIN)):
        _, first = client_ceremony(pair_type=said)
        ended, step = house_ceremony(pair_type=invite).receive(first.send[0])
        assert ended.state is State.ABORTED
        assert step.effect == Ended(reason=Reason.BAD_KEY, by_peer=False, forget=None)


def _begin(pair_type: PairType, *, human: bool) -> None:
    ClientCeremony.begin(
        handshake_hash=H,
        chaining_key=CK,
        client_static=CLIENT.static.public,
        house_static=HOUSE.static.public,
        pair_type=pair_type,
        invite_id=INVITE,
        house_id=None,
        signing=CLIENT.signing.public,
        witness=CLIENT.witness.public,
        human=CLIENT.human.public if human else None,
        facts=FACTS,
        label="camera",
        aes=True,
        kem_seed=bytes(64),
        nonce=bytes(32),
    )


def test_an_invite_for_one_key_takes_no_other() -> None:
    """`--for KEYID` admits the machine with that signing key; another is aborted with the reason `other key`."""
    _, first = client_ceremony()
    good, _ = house_ceremony(for_key=CLIENT.signing.public.key_id).receive(first.send[0])
    assert good.state is State.GREETED
    bad, step = house_ceremony(for_key=HOUSE.signing.public.key_id).receive(first.send[0])
    assert bad.state is State.ABORTED
    assert parse_message(step.send[0], sender=Role.HOUSE).reason is Reason.OTHER_KEY  # type: ignore[union-attr]


def test_the_house_id_of_the_invite_is_compared() -> None:
    """A house that shows another id than the invite's is not the house of the invite."""
    for house_id, state in ((bytes(HOUSE.identity.house_id), State.STANDING), (seed("another house"), State.ABORTED)):
        client, first = client_ceremony(house_id=house_id)
        assert Meeting(client=client, house=house_ceremony(), first=first).run().client.state is state


def test_secrets_have_no_repr() -> None:
    """Neither machine, half nor effect shows a secret."""
    meeting = Meeting.of(PairType.ADMIN).run()
    half = meeting.half["client"].half
    hidden = [half.pair_secret, meeting.client.kem_secret, meeting.client.kem_seed, meeting.client.nonce, meeting.client.chaining_key]
    for value in (meeting.client, meeting.house, half, meeting.half["house"], *meeting.effects):
        text = repr(value)
        for secret in hidden:
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


@pytest.mark.parametrize("machine", [ClientCeremony, HouseCeremony])
def test_every_cell_of_the_table_is_of_the_specification(machine: type[ClientCeremony | HouseCeremony]) -> None:
    """The tables have exactly the cells that docs/spec/pairing.md, section 3 has for messages of the peer."""
    cells = {(state.value, kind.__name__) for state, kind in machine.table}
    if machine is ClientCeremony:
        assert cells == {
            ("greeted", "Welcome"),
            ("attested", "Attest"),
            ("confirmed", "HouseConfirm"),
            ("proposed", "Standing"),
            ("proposed", "RefusedPairing"),
        }
    else:
        assert cells == {
            ("new", "Hello"),
            ("welcomed", "Open"),
            ("opened", "Attest"),
            ("attested", "ClientConfirm"),
            ("proposed", "Approve"),
        }


def test_what_the_client_signs_is_bound_to_role_and_key() -> None:
    """The bytes to sign differ for each role and each key, so no signature stands in for another."""
    meeting = Meeting.of(PairType.ADMIN).run()
    asks = [ask for _, ask in meeting.effects if isinstance(ask, StoreHalf)]
    messages = [message for ask in asks for message in (ask.signing, ask.witness, ask.human) if message is not None]
    assert len(messages) == len(set(messages)) == 5


def test_another_house_has_another_pairing() -> None:
    """The same client with another house, or a second time with the same one, gets another pairing id and secret."""
    one = Meeting.of().run().half["client"].half
    other_house = HouseMachine("cellar")
    client, first = client_ceremony(house=other_house)
    two = Meeting(client=client, house=house_ceremony(other_house), first=first, house_keys=other_house).run().half["client"].half
    client, first = client_ceremony(h=seed("second handshake"), salt="2")
    three = Meeting(client=client, house=house_ceremony(h=seed("second handshake")), first=first).run().half["client"].half
    assert len({one.pairing_id, two.pairing_id, three.pairing_id}) == 3
    assert len({one.pair_secret, two.pair_secret, three.pair_secret}) == 3


def test_the_shell_signs_for_a_human_exactly_when_asked() -> None:
    """Signatures come for the keys that were shown, and an own approval for this pairing alone."""
    for pair_type, human in ((PairType.INPUT, bytes(64)), (PairType.ADMIN, None)):
        meeting = Meeting.of(pair_type, tamper=until(5), stand=False).run()
        client = replace(meeting.client, state=State.DERIVED)
        with pytest.raises(Misuse):
            client.stored(signing=bytes(64), witness=bytes(64), human=human)
    meeting = Meeting.of(PairType.ADMIN, stand=False).run()
    pairing_id = meeting.half["client"].half.pairing_id
    other = approval(CLIENT, HOUSE, seed("another"), PairType.ADMIN)
    for bad in (b"junk", bundle(encode_statement(other)), bundle(encode_statement(PairSever(pairing_id=pairing_id)))):
        with pytest.raises(Misuse):
            meeting.client.approve(bad)
    _, step = meeting.client.approve(bundle(encode_statement(approval(CLIENT, HOUSE, pairing_id, PairType.ADMIN))))
    assert len(step.send) == 1


def test_a_bundle_nobody_can_read_is_a_bad_statement() -> None:
    """In `standing` at the client and in `approve` at the house."""
    meeting = Meeting.of(PairType.ADMIN, stand=False).run()
    _, step = meeting.house.stand(bundle=b"junk", entry=8, checkpoint=b"note")
    for after, answer in (
        meeting.client.receive(step.send[0]),
        meeting.house.receive(encode_message(Approve(bundle=b"junk"))),
    ):
        assert after.state is State.ABORTED
        assert isinstance(answer.effect, Ended)
        assert answer.effect.reason is Reason.BAD_STATEMENT
