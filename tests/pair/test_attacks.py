"""Attacks on the ceremony: every one ends in an abort with nothing kept, or in words that differ."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import Value, decode, encode
from tallystick.errors import Malformed, Misuse, Unproven
from tallystick.keys import KeyKind, PublicKey
from tallystick.pair.invite import INVITE_PROTOCOL
from tallystick.pair.message import (
    MAX_MESSAGE_BYTES,
    Abort,
    Approve,
    ClientConfirm,
    Hello,
    Kind,
    Message,
    Reason,
    check_label,
    encode_message,
    parse_message,
)
from tallystick.pair.outcome import Ended, State, Step
from tallystick.pair.pairing import PairType, Role, Suite
from tallystick.pair.statement import InviteCreate, PairApprove, PairSever, Statement, encode_statement
from tallystick.pair.transcript import check_signature, check_words
from tallystick.primitives import mlkem768_encapsulate
from tests.pair.world import (
    CK,
    CLIENT,
    HOUSE,
    INVITE,
    ClientMachine,
    HouseMachine,
    Key,
    Meeting,
    Tamper,
    approval,
    bundle,
    client_ceremony,
    house_ceremony,
    seed,
    until,
)

MALLORY = ClientMachine("mallory")
MALLORY_HOUSE = HouseMachine("mallory house")


def nothing_is_kept(meeting: Meeting) -> None:
    """Both sides have ended (the one that hears nothing more is cut), no pair stands and no half is stored."""
    for side in ("client", "house"):
        ceremony = getattr(meeting, side)
        assert ceremony.state is not State.STANDING
        if ceremony.state is not State.ABORTED:
            after, step = ceremony.cancel()
            setattr(meeting, side, after)
            meeting.act(side, step)
    assert meeting.stored == {"client": set(), "house": set()}


def rewrite(kind: Kind, change: dict[str, Any]) -> Tamper:
    """Change fields of one message on its way."""

    def tamper(_: int, way: str, body: bytes) -> list[bytes]:
        sender = Role.CLIENT if way == "c2h" else Role.HOUSE
        message: Any = parse_message(body, sender=sender)
        if body[1] != kind:
            return [body]
        return [encode_message(replace(message, **change))]

    return tamper


# --- The one in the middle -------------------------------------------------------------------------------------------


def test_a_man_in_the_middle_gets_other_words() -> None:
    """Two handshakes have two hashes: whatever nonces Mallory picks, in 300 tries the words never agree (expected: 1 in 2^32)."""
    for attempt in range(300):
        n = [seed(f"{attempt} {i}") for i in range(4)]
        left = check_words(handshake_hash=seed(f"{attempt} left"), client_nonce=n[0], house_nonce=n[1])
        right = check_words(handshake_hash=seed(f"{attempt} right"), client_nonce=n[2], house_nonce=n[3])
        same_nonces = check_words(handshake_hash=seed(f"{attempt} right"), client_nonce=n[0], house_nonce=n[1])
        assert left.words != right.words
        assert left.words != same_nonces.words
        assert left.digits != right.digits


def test_mallory_with_the_whole_invite_is_seen_by_the_words() -> None:
    """Mallory replaced the invite and plays house to the client and client to the house: both ceremonies go on, the words differ."""
    client, first = client_ceremony(house=MALLORY_HOUSE, h=seed("h left"), ck=seed("ck left"))
    left = Meeting(
        client=client,
        house=house_ceremony(MALLORY_HOUSE, h=seed("h left"), ck=seed("ck left")),
        first=first,
        house_keys=MALLORY_HOUSE,
        stand=False,
    ).run()
    client, first = client_ceremony(MALLORY, h=seed("h right"), ck=CK)
    right = Meeting(
        client=client, house=house_ceremony(h=seed("h right"), ck=CK, client=MALLORY), first=first, client_keys=MALLORY, stand=False
    ).run()
    assert left.client.state is State.PROPOSED
    assert right.house.state is State.PROPOSED
    assert left.client.check != right.house.check
    # The human at the house denies: nothing is left there, and Mallory's half at the client lapses.
    right.house, step = right.house.cancel()
    right.act("house", step)
    assert right.stored["house"] == set()


def test_a_relay_that_mixes_two_handshakes_fails() -> None:
    """Messages carried from one handshake into another: both sides see the commitment hold but the confirmation fail."""
    client, first = client_ceremony(h=seed("h left"))
    meeting = Meeting(client=client, house=house_ceremony(h=seed("h right")), first=first, stand=False).run()
    assert meeting.client.check != meeting.house.check
    assert isinstance(meeting.last["house"], Ended)
    assert meeting.last["house"].reason is Reason.BAD_CONFIRMATION
    nothing_is_kept(meeting)


@pytest.mark.parametrize("what", ["chaining_key", "kem_secret"])
def test_both_sides_must_have_the_same_secrets(what: str) -> None:
    """Another chaining key or ML-KEM secret on one side: the confirmation does not verify, whatever was signed."""
    client, first = client_ceremony()
    house = house_ceremony()
    if what == "chaining_key":
        house = replace(house, chaining_key=seed("another"))
    meeting = Meeting(client=client, house=house, first=first, stand=False)
    if what == "kem_secret":
        meeting.tamper = rewrite(Kind.WELCOME, {"kem_ciphertext": bytes(1088)})
    meeting.run()
    nothing_is_kept(meeting)


def test_the_client_commits_before_it_sees_and_opens_after() -> None:
    """Before the welcome nothing the client sends contains its nonce; the house's nonce is fixed before the client's is known."""
    client, first = client_ceremony()
    assert all(client.nonce not in body for body in first.send)
    # A house that wants to see n_c before it chooses n_h gets nothing: there is no message by which to ask for it.
    for kind in (Kind.HOUSE_ATTEST, Kind.HOUSE_CONFIRM, Kind.STANDING):
        body = next(body for _, body in Meeting.of().run().sent if body[1] == kind)
        ended, step = client.receive(body)
        assert ended.state is State.ABORTED
        assert all(client.nonce not in out for out in step.send)


def test_the_house_needs_the_commitment_opened_before_anything_else() -> None:
    """A client that skips or changes its opening is aborted: it cannot choose its nonce after it saw the house's."""
    meeting = Meeting.of(tamper=rewrite(Kind.OPEN, {"nonce": seed("chosen afterwards")}), stand=False).run()
    assert isinstance(meeting.last["house"], Ended)
    assert meeting.last["house"].reason is Reason.BAD_COMMITMENT
    nothing_is_kept(meeting)
    skipped = Meeting.of(tamper=lambda n, _, body: [] if body[1] == Kind.OPEN else [body], stand=False).run()
    assert isinstance(skipped.last["house"], Ended)
    assert skipped.last["house"].reason is Reason.OUT_OF_ORDER
    nothing_is_kept(skipped)


# --- Substitution ----------------------------------------------------------------------------------------------------

SUBSTITUTED: dict[str, tuple[Kind, dict[str, Any]]] = {
    "client kem key": (Kind.HELLO, {"kem_public": None}),
    "client signing key": (Kind.HELLO, {"signing": MALLORY.signing.public}),
    "client witness key": (Kind.HELLO, {"witness": MALLORY.witness.public}),
    "human key": (Kind.HELLO, {"human": MALLORY.human.public}),
    "commitment": (Kind.HELLO, {"commit": seed("another commitment")}),
    "client label": (Kind.HELLO, {"label": "printer"}),
    "aes": (Kind.HELLO, {"aes": False}),
    "kem ciphertext": (Kind.WELCOME, {"kem_ciphertext": bytes(1088)}),
    "house id": (Kind.WELCOME, {"house_id": seed("another house")}),
    "house signing key": (Kind.WELCOME, {"signing": MALLORY.signing.public}),
    "house witness key": (Kind.WELCOME, {"witness": MALLORY.witness.public}),
    "log key": (Kind.WELCOME, {"log": MALLORY_HOUSE.identity.log}),
    "second log key": (Kind.WELCOME, {"log_pq": MALLORY_HOUSE.identity.log_pq}),
    "log name": (Kind.WELCOME, {"log_name": "elsewhere.example/log"}),
    "recovery key": (Kind.WELCOME, {"recovery": Key("mallory recovery").public}),
    "origin": (Kind.WELCOME, {"origin_hash": seed("another origin")}),
    "n_h": (Kind.WELCOME, {"nonce": seed("another nonce")}),
    "type": (Kind.WELCOME, {"pair_type": PairType.INTERFACE}),
    "suite": (Kind.WELCOME, {"suite": Suite.CHACHAPOLY}),
    "house label": (Kind.WELCOME, {"label": "basement"}),
    "n_c": (Kind.OPEN, {"nonce": seed("another nonce")}),
    "client quote": (Kind.CLIENT_ATTEST, {"quote": b"a quote"}),
    "house quote": (Kind.HOUSE_ATTEST, {"quote": b"a quote"}),
    "client mac": (Kind.CLIENT_CONFIRM, {"mac": bytes(32)}),
    "client signature": (Kind.CLIENT_CONFIRM, {"signing": bytes(64)}),
    "client witness signature": (Kind.CLIENT_CONFIRM, {"witness": bytes(64)}),
    "human signature": (Kind.CLIENT_CONFIRM, {"human": bytes(64)}),
    "no human signature": (Kind.CLIENT_CONFIRM, {"human": None}),
    "house mac": (Kind.HOUSE_CONFIRM, {"mac": bytes(32)}),
    "house signature": (Kind.HOUSE_CONFIRM, {"signing": bytes(64)}),
    "house witness signature": (Kind.HOUSE_CONFIRM, {"witness": bytes(64)}),
}


@pytest.mark.parametrize("what", SUBSTITUTED)
def test_whatever_is_substituted_nothing_comes_of_it(what: str) -> None:
    """One field of one message replaced on its way: the ceremony fails before anything stands, and nothing is kept."""
    kind, change = SUBSTITUTED[what]
    if what == "client kem key":
        change = {"kem_public": parse_hello(client_ceremony(salt="mallory")[1].send[0]).kem_public}
    meeting = Meeting.of(PairType.ADMIN, tamper=rewrite(kind, change)).run()
    reasons = {effect.reason for _, effect in meeting.effects if isinstance(effect, Ended)}
    assert reasons <= {Reason.BAD_CONFIRMATION, Reason.WRONG_TYPE, Reason.BAD_COMMITMENT, Reason.BAD_KEY}
    assert reasons
    nothing_is_kept(meeting)


def parse_hello(body: bytes) -> Hello:
    message = parse_message(body, sender=Role.CLIENT)
    assert isinstance(message, Hello)
    return message


def test_aes_is_not_forced_upon_a_client_without_it() -> None:
    """A house that answers AESGCM to a client without AES hardware is refused."""
    client, first = client_ceremony(aes=False)
    meeting = Meeting(client=client, house=house_ceremony(), first=first, tamper=rewrite(Kind.WELCOME, {"suite": Suite.AESGCM})).run()
    assert meeting.last["client"] == Ended(reason=Reason.WRONG_TYPE, by_peer=False, forget=None)
    nothing_is_kept(meeting)


def _statements() -> dict[str, Statement]:
    base = approval(CLIENT, HOUSE, bytes(32), PairType.INPUT)
    return {
        "another pairing": base,
        "another verb": PairSever(pairing_id=bytes(32)),
        "another invite": InviteCreate(invite_id=seed("other"), pair_type=PairType.INPUT, for_key=None, yes=True, ttl_s=60, label=None),
        "an invite that approves nothing": InviteCreate(
            invite_id=INVITE, pair_type=PairType.INPUT, for_key=None, yes=False, ttl_s=60, label=None
        ),
        "an invite of another type": InviteCreate(invite_id=INVITE, pair_type=PairType.USER, for_key=None, yes=True, ttl_s=60, label=None),
    }


@pytest.mark.parametrize("what", _statements())
def test_a_statement_about_something_else_does_not_make_a_pair(what: str) -> None:
    """The client compares the statement with its own transcript before it believes that the pair stands."""
    meeting = Meeting.of(stand=False).run()
    meeting.house, step = meeting.house.stand(bundle=bundle(encode_statement(_statements()[what])), entry=9, checkpoint=b"note")
    meeting.client, answer = meeting.client.receive(step.send[0])
    meeting.act("client", answer)
    assert isinstance(answer.effect, Ended)
    assert answer.effect.reason is Reason.BAD_STATEMENT
    assert meeting.stored["client"] == set()


APPROVAL_CHANGES: dict[str, dict[str, Any]] = {
    "pairing": {"pairing_id": seed("x")},
    "static": {"static": MALLORY.static.public},
    "signing": {"signing": MALLORY.signing.public},
    "witness": {"witness": MALLORY.witness.public},
    "suite": {"suite": Suite.CHACHAPOLY},
    "type": {"pair_type": PairType.USER},
}


@pytest.mark.parametrize("what", APPROVAL_CHANGES)
def test_an_approval_names_exactly_what_was_exchanged(what: str) -> None:
    """One changed field in the approval, and the client aborts."""
    meeting = Meeting.of(stand=False).run()
    good = approval(CLIENT, HOUSE, meeting.half["client"].half.pairing_id, PairType.INPUT)
    bad: PairApprove = replace(good, **APPROVAL_CHANGES[what])
    _, step = meeting.house.stand(bundle=bundle(encode_statement(bad)), entry=9, checkpoint=b"note")
    ended, _ = meeting.client.receive(step.send[0])
    assert ended.state is State.ABORTED
    _, step = meeting.house.stand(bundle=bundle(encode_statement(good)), entry=9, checkpoint=b"note")
    stood, _ = meeting.client.receive(step.send[0])
    assert stood.state is State.STANDING


def test_a_pre_approved_invite_makes_a_pair_without_another_statement() -> None:
    """With `--yes` the invite's own statement takes the approval's place."""
    meeting = Meeting.of(stand=False).run()
    body = encode_statement(InviteCreate(invite_id=INVITE, pair_type=PairType.INPUT, for_key=None, yes=True, ttl_s=60, label=None))
    _, step = meeting.house.stand(bundle=bundle(body), entry=9, checkpoint=b"note")
    stood, _ = meeting.client.receive(step.send[0])
    assert stood.state is State.STANDING


def test_only_an_admin_client_approves_itself() -> None:
    """A client that is not to be ADMIN and sends its own approval is out of line."""
    meeting = Meeting.of(stand=False).run()
    body = encode_statement(approval(CLIENT, HOUSE, meeting.half["client"].half.pairing_id, PairType.INPUT))
    ended, step = meeting.house.receive(encode_message(Approve(bundle=bundle(body))))
    assert ended.state is State.ABORTED
    assert isinstance(step.effect, Ended)
    assert step.effect.reason is Reason.BAD_STATEMENT


# --- Replay, order, size ---------------------------------------------------------------------------------------------


def test_every_other_message_in_every_state_aborts() -> None:
    """Replayed, duplicated, reordered: in each state of each machine every message outside its cell ends the ceremony with nothing kept."""
    good = Meeting.of(PairType.ADMIN).run()
    other = Meeting.of(PairType.ADMIN, salt="other")
    client, first = client_ceremony(pair_type=PairType.ADMIN, salt="other")
    other.client, other.first = client, first
    other.run()
    bodies = [body for _, body in good.sent + other.sent]
    for stop in range(10):
        meeting = Meeting.of(PairType.ADMIN, tamper=until(stop)).run()
        for side in ("client", "house"):
            ceremony = getattr(meeting, side)
            if ceremony.state is State.STANDING:
                continue
            for body in bodies:
                after, step = ceremony.receive(body)
                if after.state is not State.ABORTED:
                    # The one message that belongs here (the same, or another honest run's before anything binds them).
                    kinds = {kind for state, kind in ceremony.table if state is ceremony.state}
                    assert type(parse_message(body, sender=ceremony.peer)) in kinds
                    continue
                assert isinstance(step.effect, Ended)
                assert all(decode(out)[0] == Kind.ABORT for out in step.send)  # type: ignore[index]


@pytest.mark.parametrize("number", range(8))
def test_a_message_twice_aborts(number: int) -> None:
    """A message delivered twice is out of order the second time."""
    meeting = Meeting.of(tamper=lambda n, _, body: [body, body] if n == number else [body]).run()
    if number == 7:  # standing ends the client's ceremony: the second one meets silence
        assert meeting.client.state is State.STANDING
        return
    assert State.ABORTED in (meeting.client.state, meeting.house.state)
    nothing_is_kept(meeting)


def test_an_abort_after_standing_severs() -> None:
    """A client that does not believe the statement aborts; the house, where the pair stood already, is told to sever it."""
    meeting = Meeting.of().run()
    after, step = meeting.house.receive(encode_message(Abort(reason=Reason.BAD_STATEMENT)))
    assert after.state is State.ABORTED
    assert not step.send
    assert step.effect == Ended(reason=Reason.BAD_STATEMENT, by_peer=True, forget=meeting.half["house"].half.pairing_id)
    assert meeting.house.receive(b"junk") == (meeting.house, Step())


@pytest.mark.parametrize("number", range(8))
def test_messages_of_another_run_are_worth_nothing(number: int) -> None:
    """A message recorded in an earlier ceremony between the same machines, put in place of the real one, leads to no pair."""
    old = [body for _, body in Meeting.of().run().sent]
    client, first = client_ceremony(salt="fresh", h=seed("fresh"), ck=seed("fresh"))
    meeting = Meeting(
        client=client,
        house=house_ceremony(h=seed("fresh"), ck=seed("fresh")),
        first=first,
        salt="fresh",
        tamper=lambda n, _, body: [old[n]] if n == number else [body],
    ).run()
    if number in (3, 4):  # attestations without quotes are the same bytes in every ceremony
        assert meeting.client.state is State.STANDING
        return
    assert meeting.client.state is not State.STANDING
    if number != 7:
        nothing_is_kept(meeting)


@pytest.mark.parametrize("kind", list(Kind))
def test_oversized_messages_abort(kind: Kind) -> None:
    """One byte more than the kind's limit, or a whole frame of junk, ends the ceremony."""
    for sender, ceremony in ((Role.HOUSE, client_ceremony()[0]), (Role.CLIENT, house_ceremony())):
        body = encode([kind.value, bytes(MAX_MESSAGE_BYTES[kind])])
        with pytest.raises(Malformed):
            parse_message(body, sender=sender)
        after, _ = ceremony.receive(body)
        assert after.state is State.ABORTED


@given(st.binary(max_size=200))
def test_junk_aborts_and_raises_nothing(junk: bytes) -> None:
    """Whatever bytes come, `receive` raises nothing, and the ceremony ends with nothing kept."""
    for ceremony in (client_ceremony()[0], house_ceremony()):
        after, step = ceremony.receive(junk)
        assert after.state is State.ABORTED
        assert isinstance(step.effect, Ended)
        assert step.effect.forget is None


@given(st.data())
def test_one_flipped_bit_anywhere_is_fatal(data: st.DataObject) -> None:
    """A bit flipped in any message before `standing` never leads to a pair that stands."""
    number = data.draw(st.integers(0, 6))

    def flip(n: int, _: str, body: bytes) -> list[bytes]:
        if n != number:
            return [body]
        at = data.draw(st.integers(0, len(body) * 8 - 1))
        if n == 6 and at >= (len(body) - 1) * 8:  # the proposal's number: bound by the approval, not by the confirmation
            return []
        changed = bytearray(body)
        changed[at // 8] ^= 1 << at % 8
        return [bytes(changed)]

    meeting = Meeting.of(tamper=flip).run()
    assert meeting.client.state is not State.STANDING


# --- Messages --------------------------------------------------------------------------------------------------------


def _examples() -> list[tuple[str, bytes]]:
    meeting = Meeting.of(PairType.ADMIN, quotes=(b"q" * 100, None)).run()
    extra = [("h2c", encode_message(Abort(reason=Reason.CANCELLED))), ("h2c", encode([10, 10]))]
    return meeting.sent + extra


@pytest.mark.parametrize("place", range(11))
def test_messages_have_one_form(place: int) -> None:
    """Each message is read, written again byte for byte, refused when it is the other side's to send, cut or longer."""
    way, body = _examples()[place]
    sender, other = (Role.CLIENT, Role.HOUSE) if way == "c2h" else (Role.HOUSE, Role.CLIENT)
    message: Message = parse_message(body, sender=sender)
    assert encode_message(message) == body
    if not isinstance(message, Abort):
        with pytest.raises(Malformed):
            parse_message(body, sender=other)
    for bad in (body + b"\x00", *(body[:n] for n in range(len(body)) if n < 64 or n % 97 == 0)):
        with pytest.raises(Malformed):
            parse_message(bad, sender=sender)
    value = decode(body)
    assert isinstance(value, list)
    junks: tuple[Value, ...] = (None, True, -1, 2**63, "", "\x1b[2J", b"", b"x" * 33, [], {})
    for at in range(len(value)):
        for junk in junks:
            wrong: list[Value] = [*value]
            wrong[at] = junk
            if wrong == value or encode(wrong) == body:
                continue
            try:
                parse_message(encode(wrong), sender=sender)
            except Malformed:
                continue
            allowed = isinstance(message, (Hello, ClientConfirm)) and junk is None  # no human key, no human signature
            allowed |= body[1] in (Kind.CLIENT_ATTEST, Kind.HOUSE_ATTEST) and (junk is None or isinstance(junk, bytes))
            allowed |= body[1] in (Kind.APPROVE, Kind.STANDING) and isinstance(junk, bytes)
            allowed |= isinstance(message, Hello) and junk is True
            assert allowed, (body[1], at, junk)


NAMES = ["", "a" * 65, "a b", "a\nb", "\x1b[31m", "ä", "a/b", "a:b", "‮", "a\x00"]


@pytest.mark.parametrize("name", NAMES)
def test_names_a_terminal_cannot_trust_are_malformed(name: str) -> None:
    """Labels and facts with control characters, spaces, separators or look-alikes never reach a screen."""
    body = client_ceremony()[1].send[0]
    value = decode(body)
    assert isinstance(value, list)
    for place in (6, 7):
        wrong: list[Value] = [*value]
        wrong[place] = [name, "linux", "arm", "1", "file"] if place == 6 else name
        with pytest.raises(Malformed):
            parse_message(encode(wrong), sender=Role.CLIENT)


def test_keys_that_must_not_be_pinned_are_malformed() -> None:
    """Small-order, non-canonical and repeated keys are refused when the message is read."""
    hello = parse_hello(client_ceremony()[1].send[0])
    value = decode(encode_message(hello))
    assert isinstance(value, list)
    small = bytes(32)
    for place, bad in ((4, small), (4, hello.signing.raw), (3, encode({1: 1, -1: 6, -2: small})), (3, X25519_KEY.cose_key())):
        wrong: list[Value] = [*value]
        wrong[place] = bad
        with pytest.raises(Malformed):
            parse_message(encode(wrong), sender=Role.CLIENT)


def test_a_kem_key_that_is_not_reduced_is_malformed() -> None:
    """FIPS 203's modulus check is made when the hello is read, so no stranger's bytes fail in the house's shell."""
    body = client_ceremony()[1].send[0]
    value = decode(body)
    assert isinstance(value, list)
    key = value[2]
    assert isinstance(key, bytes)
    for bad in (b"\xff" * 1184, b"\x01\x0d" + key[2:], key[:1149] + b"\x00\x10\xd0" + key[1152:]):
        value[2] = bad
        with pytest.raises(Malformed):
            mlkem768_encapsulate(bad)
        with pytest.raises(Malformed):
            parse_message(encode(value), sender=Role.CLIENT)
    value[2] = b"\x00\x0d\xd0" + key[3:]  # 3328 twice: the largest that is reduced
    parse_message(encode(value), sender=Role.CLIENT)


def test_a_welcome_has_two_log_keys_and_a_recovery_key_that_signs() -> None:
    """Ed25519 for recovery; one log key or three are Malformed."""
    body = Meeting.of().run().sent[1][1]
    value = decode(body)
    assert isinstance(value, list)
    bad: list[tuple[int, Value]] = [(8, Key("p", KeyKind.P256).public.cose_key()), (8, HOUSE.identity.log_pq.cose_key()), (6, [bytes(32)])]
    for place, wrong in bad:
        with pytest.raises(Malformed):
            parse_message(encode([*value[:place], wrong, *value[place + 1 :]]), sender=Role.HOUSE)


def test_names_we_take_ourselves() -> None:
    """`check_label` is what a person's choice of a name goes through."""
    assert check_label("attic-2.home") == "attic-2.home"
    for bad in (*NAMES, "-a", ".a"):
        with pytest.raises(Misuse):
            check_label(bad)


def test_a_key_that_cannot_sign_confirms_nothing() -> None:
    """Neither an X25519 key nor a signature of a wrong length passes."""
    for key, signature in ((X25519_KEY, bytes(64)), (CLIENT.signing.public, bytes(63))):
        with pytest.raises(Unproven):
            check_signature(key, signature, b"message")


X25519_KEY = PublicKey(KeyKind.X25519, CLIENT.static.public)


def test_the_invites_protocol_keeps_the_house_silent() -> None:
    """The handshake of an invite is IK with psk1: without the secret not even message 1 decrypts."""
    assert INVITE_PROTOCOL == "Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s"
