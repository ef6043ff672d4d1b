"""Human statements at a house: which key, over which pair, about exactly which pairing; once."""

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.statement import parse_bundle
from tallystick.keys import KeyId, KeyKind, PublicKey, pinned
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Receipt
from tallystick.node.bundles import bundle_of
from tallystick.node.effects import Effects
from tallystick.node.statements import Statements
from tallystick.pair.invite import invite_id
from tallystick.pair.pairing import PairType, Suite
from tallystick.pair.statement import (
    EntryRef,
    InviteCreate,
    InviteRevoke,
    PairApprove,
    PairDeny,
    PairDowngrade,
    PairSever,
    ReplaceAdmins,
    Statement,
)
from tallystick.passage.effect import invite_name, secret_name
from tallystick.passage.signal import Asker
from tallystick.primitives import Ed25519KeyPair, X25519KeyPair, sha256
from tallystick.rights.matrix import ordered_actions
from tallystick.storage.rows import PairRow
from tallystick.vault import recovery_from_text
from tests.node.estate import Estate, Human, introduced, machine

SECOND = 10**9
SECRET = bytes(range(16))


@dataclass
class Written:
    """Doors that write down what was asked of them."""

    asked: list[tuple[str, bytes]] = field(default_factory=list)

    async def open_pair(self, pair: bytes) -> None:
        self.asked.append(("open", pair))

    async def close_pair(self, pair: bytes, *, tell: bool) -> None:
        self.asked.append(("close and tell" if tell else "close", pair))

    async def narrow_pair(self, pair: bytes) -> None:
        self.asked.append(("narrow", pair))

    async def open_invite(self, invite: bytes) -> None:
        self.asked.append(("listen", invite))

    async def close_invite(self, invite: bytes) -> None:
        self.asked.append(("unlisten", invite))

    async def recheck_pairs(self) -> None:
        self.asked.append(("recheck", b""))


@dataclass
class Desk:
    """The house's statements, its doors, and what waiting ceremonies were told."""

    estate: Estate
    doors: Written = field(default_factory=Written)
    told: list[tuple[str, bytes]] = field(default_factory=list)
    now_ns: Callable[[], int] = time.time_ns
    failing: TallyError | None = None

    def __post_init__(self) -> None:
        house = self.estate.house
        self.statements = Statements(house, Effects(house.store, house.vault, self.doors), lambda: self.now_ns(), self._stood, self._ended)

    async def _stood(self, pair: bytes, receipt: Receipt) -> None:
        self.told.append(("stood", pair))
        if self.failing is not None:
            raise self.failing

    async def _ended(self, pair: bytes) -> None:
        self.told.append(("ended", pair))

    def carried(self, by: str = "owner", cap: PairType | None = None) -> Asker:
        row = self.estate.at_house(by)
        return Asker(
            house=self.estate.house.house_id, pair=row.pairing, cap=cap or row.effective, key=row.signing_key, session=sha256(b"session")
        )

    def submit(self, bundle: bytes, *, secret: bytes | None = None, by: str = "owner", cap: PairType | None = None) -> dict[str, Any]:
        """Over the door, carried by this pair."""
        answer: dict[str, Any] = run(self.statements.submit(encode([bundle, secret]), self.carried(by, cap)))
        return answer

    def say(self, statement: Statement, *, secret: bytes | None = None, by: str = "owner", **signing: Any) -> dict[str, Any]:
        """Signed by the owner unless told, and submitted."""
        return self.submit(self.estate.signed(statement, **signing), secret=secret, by=by)

    def refuses(
        self,
        error: type[TallyError] | tuple[type[TallyError], ...],
        statement: Statement,
        *,
        secret: bytes | None = None,
        by: str = "owner",
        **signing: Any,
    ) -> str:
        """The statement is refused with this error and nothing of it is kept; the message."""
        before, asked = self.estate.house.store.size(), list(self.doors.asked)
        with pytest.raises(error) as caught:
            self.say(statement, secret=secret, by=by, **signing)
        assert self.estate.house.store.size() == before
        assert self.doors.asked == asked
        return caught.value.message


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Estate.at(tmp_path)
    yield Desk(made)
    made.close()


def approval(desk: Desk, row: PairRow, human: PublicKey | None = None) -> PairApprove:
    """What approves exactly this pairing."""
    return PairApprove(
        pairing_id=row.pairing,
        proposal=EntryRef(origin=desk.statements.origin_hash, index=row.created),
        static=row.static_key,
        signing=row.signing_key,
        witness=pinned(KeyKind.ED25519, row.witness_key),
        human=human,
        pair_type=row.pair_type,
        suite=row.suite,
        label="laptop",
        actions=ordered_actions(row.pair_type),
    )


def invitation(pair_type: PairType = PairType.INPUT, **more: Any) -> InviteCreate:
    given: dict[str, Any] = {"for_key": None, "yes": False, "ttl_s": 600, "label": None} | more
    return InviteCreate(invite_id=invite_id(SECRET), pair_type=pair_type, **given)


# --- What each verb does -----------------------------------------------------------------------------------------------------


def test_an_approval_lets_a_pair_stand(desk: Desk) -> None:
    """Recorded with statement, salt and signer; the pair is heard; the ceremony that waits is told; the bundle can be shown again."""
    row = desk.estate.propose("laptop")
    bundle = desk.estate.signed(approval(desk, row))
    answer = desk.submit(bundle)
    assert answer["verb"] == "pair.approve"
    assert desk.estate.at_house("laptop").stands
    assert desk.doors.asked == [("open", row.pairing)]
    assert desk.told == [("stood", row.pairing)]
    entry = desk.estate.house.store.entry(answer["entry"])
    assert entry is not None
    assert (entry.event.actor, entry.event.blob("key")) == ("pair", bytes(desk.estate.owner.public.key_id))
    assert entry.event.blob("pairing") == desk.estate.at_house("owner").pairing
    assert bundle_of(entry.event) == bundle
    parse_bundle(bundle_of(entry.event)).prove(desk.estate.owner.public)


def test_a_label_that_is_taken_gets_a_number(desk: Desk) -> None:
    """Two pairs are never called the same."""
    for name in ("one", "two"):
        desk.say(approval(desk, desk.estate.propose(name)))
    assert [desk.estate.at_house(name).label for name in ("one", "two")] == ["laptop", "laptop-2"]


def test_an_admin_pairing_brings_its_human_key(desk: Desk) -> None:
    """The second owner's key comes in with the pairing, in one transaction, signed for by the first."""
    second = Human.new(desk.estate.owner.vault, "second").public
    row = desk.estate.propose("laptop", PairType.ADMIN, ext={"human": second.cose_key()})
    desk.say(approval(desk, row, second))
    key = desk.estate.house.store.key(second.key_id)
    assert key is not None
    assert (key.kind, key.stands, "admin" in key.actions) == ("human", True, True)
    assert key.introduced_by == desk.estate.owner.public.key_id


def test_an_owners_further_machine_brings_no_new_key(desk: Desk) -> None:
    """The human key is an admin's already: it is not introduced twice."""
    row = desk.estate.propose("laptop", PairType.ADMIN, ext={"human": desk.estate.owner.public.cose_key()})
    before = len(desk.estate.house.store.keys())
    desk.say(approval(desk, row, desk.estate.owner.public))
    assert len(desk.estate.house.store.keys()) == before + 1  # the machine's own


def test_a_machine_that_cannot_be_told_stands_all_the_same(desk: Desk) -> None:
    """What was decided is in the ledger; the owner is not told that it failed."""
    desk.failing = Unavailable("the machine has gone")
    assert desk.say(approval(desk, desk.estate.propose("laptop")))["verb"] == "pair.approve"
    assert desk.estate.at_house("laptop").stands


def test_a_denial_ends_a_proposal_and_its_secret(desk: Desk) -> None:
    """Recorded, the secret destroyed, the ceremony told."""
    row = desk.estate.propose("laptop")
    desk.say(
        PairDeny(pairing_id=row.pairing, proposal=EntryRef(origin=desk.statements.origin_hash, index=row.created), reason="wrong-words")
    )
    assert desk.estate.at_house("laptop").state == "denied"
    assert desk.estate.house.vault.get_secret(secret_name(row.pairing)) is None
    assert desk.told == [("ended", row.pairing)]


def test_a_severance_is_recorded_silent_and_destroyed(desk: Desk) -> None:
    """By `statement`, with the reason that was signed."""
    row = desk.estate.pair("laptop")
    answer = desk.say(PairSever(pairing_id=row.pairing, reason="stolen"))
    assert desk.estate.at_house("laptop").state == "severed"
    assert desk.doors.asked == [("close and tell", row.pairing)]
    assert desk.estate.house.vault.get_secret(secret_name(row.pairing)) is None
    entry = desk.estate.house.store.entry(answer["entry"])
    assert entry is not None
    assert (entry.event.text("by"), entry.event.text("reason")) == ("statement", "stolen")


def test_an_owner_may_sever_the_pair_that_carries_the_word(desk: Desk) -> None:
    """Also the last one: nothing asks twice."""
    row = desk.estate.at_house("owner")
    desk.say(PairSever(pairing_id=row.pairing))
    assert desk.estate.at_house("owner").state == "severed"


def test_a_downgrade_narrows_step_by_step(desk: Desk) -> None:
    """And never widens."""
    row = desk.estate.pair("laptop")
    for pair_type in (PairType.USER, PairType.INTERFACE):
        desk.say(PairDowngrade(pairing_id=row.pairing, pair_type=pair_type))
        assert desk.estate.at_house("laptop").effective is pair_type
    assert desk.doors.asked == [("narrow", row.pairing)] * 2
    for pair_type in PairType:
        desk.refuses(Refused, PairDowngrade(pairing_id=row.pairing, pair_type=pair_type))


def test_an_invite_is_kept_recorded_and_heard(desk: Desk) -> None:
    """The secret goes to the vault and nowhere else."""
    answer = desk.say(invitation(label="camera"), secret=SECRET)
    invite = desk.estate.house.store.invite(invite_id(SECRET))
    assert invite is not None
    assert (invite.state, invite.label, invite.created) == ("open", "camera", answer["entry"])
    assert invite.expires_ns - invite.created_ns == 600 * SECOND
    assert desk.estate.house.vault.get_secret(invite_name(invite.invite)) == SECRET
    assert desk.doors.asked == [("listen", invite.invite)]
    assert all(SECRET not in row.leaf for row in desk.estate.house.store.entries())


def test_an_invite_for_one_key_is_for_that_key(desk: Desk) -> None:
    """The KeyId that was signed is the one in the ledger."""
    key = KeyId(sha256(b"somebody"))
    desk.say(invitation(for_key=key, yes=True), secret=SECRET)
    invite = desk.estate.house.store.invite(invite_id(SECRET))
    assert invite is not None
    assert (invite.for_key, invite.preapproved) == (key, True)


def test_an_invite_can_be_revoked_once(desk: Desk) -> None:
    """Its secret goes with it."""
    desk.say(invitation(), secret=SECRET)
    desk.say(InviteRevoke(invite_id=invite_id(SECRET)))
    assert desk.estate.house.vault.get_secret(invite_name(invite_id(SECRET))) is None
    assert desk.doors.asked[-1] == ("unlisten", invite_id(SECRET))
    desk.refuses(Refused, InviteRevoke(invite_id=invite_id(SECRET)))
    desk.refuses(Refused, InviteRevoke(invite_id=sha256(b"none")))


# --- Who may sign, and what carries it ---------------------------------------------------------------------------------------


def test_a_stranger_signs_nothing(desk: Desk) -> None:
    """A key that the ledger has never seen."""
    row = desk.estate.propose("laptop")
    stranger = Human.new(desk.estate.owner.vault, "stranger")
    with pytest.raises(Unproven):
        desk.submit(desk.estate.signed(approval(desk, row), by=stranger.signer))
    assert desk.estate.at_house("laptop").state == "pending"


def test_a_machines_key_signs_no_human_statement(desk: Desk) -> None:
    """Not the ADMIN machine's own key, not the house's."""
    row = desk.estate.pair("laptop")
    for key in (desk.estate.machines["owner"].vault.machine.signing, desk.estate.house.vault.machine.signing):
        with pytest.raises(Unproven):
            desk.submit(desk.estate.signed(PairSever(pairing_id=row.pairing), by=key))


@pytest.mark.parametrize("actions", [(), ("metadata", "read", "egress", "propose", "write")])
def test_a_human_key_without_admin_signs_nothing_here(desk: Desk, actions: tuple[str, ...]) -> None:
    """Every verb of a statement is of class admin."""
    other = Human.new(desk.estate.owner.vault, "other")
    desk.estate.house.store.append(introduced(other.public, actions=actions, key=bytes(desk.estate.owner.public.key_id))).result()
    row = desk.estate.pair("laptop")
    with pytest.raises(Unproven):
        desk.submit(desk.estate.signed(PairSever(pairing_id=row.pairing), by=other.signer))


def test_a_key_that_has_expired_signs_nothing(desk: Desk) -> None:
    """Good until its last nanosecond, by pair time."""
    other = Human.new(desk.estate.owner.vault, "other")
    expires = time.time_ns() + 3600 * SECOND
    event = introduced(other.public, expires=expires, key=bytes(desk.estate.owner.public.key_id))
    desk.estate.house.store.append(event).result()
    row = desk.estate.pair("laptop")
    for now_ns, good in ((expires, False), (expires + SECOND, False), (expires - 1, True)):
        desk.now_ns = lambda now_ns=now_ns: now_ns  # type: ignore[misc]
        bundle = desk.estate.signed(PairSever(pairing_id=row.pairing), by=other.signer, issued_at_ns=now_ns)
        if good:
            desk.submit(bundle)
        else:
            with pytest.raises(Unproven):
                desk.submit(bundle)


@pytest.mark.parametrize("how", ["retired", "compromised"])
def test_a_key_that_was_revoked_signs_nothing(desk: Desk, how: str) -> None:
    """From its entry on."""
    other = Human.new(desk.estate.owner.vault, "other")
    owner = bytes(desk.estate.owner.public.key_id)
    revoked = Event.of(Kind.KEY_REVOKED, time.time_ns(), "pair", key=owner, subject=bytes(other.public.key_id), revocation=how)
    desk.estate.house.store.append(introduced(other.public, key=owner), revoked).result()
    with pytest.raises(Unproven):
        desk.submit(desk.estate.signed(invitation(), by=other.signer), secret=SECRET)


@pytest.mark.parametrize("cap", [PairType.INPUT, PairType.USER, PairType.INTERFACE])
def test_only_an_admin_pair_carries_a_statement(desk: Desk, cap: PairType) -> None:
    """The owner's own good signature over a lesser pair: refused. And nothing is told of the key."""
    row = desk.estate.pair("laptop", cap)
    for bundle in (
        desk.estate.signed(PairSever(pairing_id=row.pairing)),
        desk.estate.signed(PairSever(pairing_id=row.pairing), by=Human.new(desk.estate.owner.vault, "stranger").signer),
    ):
        with pytest.raises(Refused) as caught:
            desk.submit(bundle, by="laptop")
        assert cap.value in caught.value.message
    assert desk.estate.at_house("laptop").stands


def test_an_admin_pair_that_was_narrowed_carries_none(desk: Desk) -> None:
    """The type as it is now counts, not the one that was signed."""
    row = desk.estate.pair("laptop")
    with pytest.raises(Refused):
        desk.submit(desk.estate.signed(PairSever(pairing_id=row.pairing)), cap=PairType.USER)


# --- Which house, when, how often --------------------------------------------------------------------------------------------


def test_a_statement_is_for_one_house(desk: Desk) -> None:
    """Signed for another house id."""
    row = desk.estate.pair("laptop")
    desk.refuses(Unproven, PairSever(pairing_id=row.pairing), house=KeyId(sha256(b"another house")))


@pytest.mark.parametrize("seconds", [-601, 61])
def test_a_statement_has_its_time(desk: Desk, seconds: int) -> None:
    """Ten minutes old at most, a minute ahead at most, by pair time."""
    row = desk.estate.pair("laptop")
    now = time.time_ns()
    desk.now_ns = lambda: now
    desk.refuses(Unproven, PairSever(pairing_id=row.pairing), issued_at_ns=now + seconds * SECOND)


def test_a_statement_counts_once(desk: Desk) -> None:
    """The same bundle again, also where the ledger's other rules would let it: its number is used."""
    row = desk.estate.pair("laptop")
    stream = secrets.token_bytes(16)
    first = desk.estate.signed(PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER), stream=stream)
    desk.submit(first)
    before = desk.estate.house.store.size()
    with pytest.raises(Refused):
        desk.submit(first)
    assert desk.estate.house.store.size() == before


def test_two_statements_under_one_number_hold_the_key(desk: Desk) -> None:
    """A fork: refused, recorded as what it is, and the key signs nothing more until a human has looked."""
    row = desk.estate.pair("laptop")
    stream = secrets.token_bytes(16)
    desk.submit(desk.estate.signed(PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER), stream=stream))
    with pytest.raises(Unproven):
        desk.submit(desk.estate.signed(PairDowngrade(pairing_id=row.pairing, pair_type=PairType.INTERFACE), stream=stream))
    assert desk.estate.kinds()[-1] == "SIGNAL_FORK"
    assert desk.estate.at_house("laptop").effective is PairType.USER
    desk.refuses(Unproven, PairSever(pairing_id=row.pairing))


# --- Exactly what was proposed -----------------------------------------------------------------------------------------------

OTHER_KEY = PublicKey(KeyKind.ED25519, Ed25519KeyPair.from_private(sha256(b"another key")).public)
ELSEWHERE: list[tuple[str, Callable[[PairApprove], PairApprove]]] = [
    ("another entry", lambda s: replace(s, proposal=replace(s.proposal, index=s.proposal.index - 1))),
    ("another log", lambda s: replace(s, proposal=replace(s.proposal, origin=sha256(b"another log")))),
    ("another static key", lambda s: replace(s, static=X25519KeyPair.from_private(sha256(b"another")).public)),
    ("another signing key", lambda s: replace(s, signing=OTHER_KEY)),
    ("another witness key", lambda s: replace(s, witness=OTHER_KEY)),
    ("a wider type", lambda s: replace(s, pair_type=PairType.ADMIN, human=OTHER_KEY, actions=ordered_actions(PairType.ADMIN))),
    ("a narrower type", lambda s: replace(s, pair_type=PairType.USER, actions=ordered_actions(PairType.USER))),
    ("another suite", lambda s: replace(s, suite=Suite.AESGCM)),
    ("fewer actions", lambda s: replace(s, actions=s.actions[:-1])),
    ("more actions", lambda s: replace(s, actions=ordered_actions(PairType.ADMIN))),
    ("no actions", lambda s: replace(s, actions=())),
]


@pytest.mark.parametrize("change", [row[1] for row in ELSEWHERE], ids=[row[0] for row in ELSEWHERE])
def test_an_approval_names_what_was_proposed(desk: Desk, change: Callable[[PairApprove], PairApprove]) -> None:
    """Keys, type, suite, actions and entry are those of the proposal, or it is none of it."""
    row = desk.estate.propose("laptop")
    desk.refuses(Unproven, change(approval(desk, row)))
    assert desk.estate.at_house("laptop").state == "pending"
    desk.say(approval(desk, row))


def test_an_admin_approval_names_the_human_key_that_was_shown(desk: Desk) -> None:
    """Another human key than the one in the ceremony does not come in by the way."""
    shown, other = (Human.new(desk.estate.owner.vault, name).public for name in ("shown", "other"))
    row = desk.estate.propose("laptop", PairType.ADMIN, ext={"human": shown.cose_key()})
    desk.refuses(Unproven, approval(desk, row, other))
    assert desk.estate.house.store.key(other.key_id) is None


@pytest.mark.parametrize(
    "ref", [lambda desk, row: (desk.statements.origin_hash, row.created + 1), lambda desk, row: (sha256(b"another log"), row.created)]
)
def test_a_denial_names_what_was_proposed(desk: Desk, ref: Callable[[Desk, PairRow], tuple[bytes, int]]) -> None:
    """Entry and log."""
    row = desk.estate.propose("laptop")
    origin, index = ref(desk, row)
    desk.refuses(Unproven, PairDeny(pairing_id=row.pairing, proposal=EntryRef(origin=origin, index=index), reason="denied"))


def test_what_does_not_wait_is_not_decided(desk: Desk) -> None:
    """Standing, severed, or never there."""
    row = desk.estate.pair("laptop")
    desk.refuses(Refused, approval(desk, row))
    desk.refuses(Refused, replace(approval(desk, row), pairing_id=sha256(b"none")))
    desk.say(PairSever(pairing_id=row.pairing))
    desk.refuses(Refused, approval(desk, row))
    desk.refuses(Refused, PairSever(pairing_id=row.pairing))
    desk.refuses(Refused, PairSever(pairing_id=sha256(b"none")))
    desk.refuses(Refused, PairDowngrade(pairing_id=row.pairing, pair_type=PairType.USER))
    desk.refuses(Refused, PairDowngrade(pairing_id=sha256(b"none"), pair_type=PairType.USER))


def test_a_proposal_that_has_lapsed_is_not_approved(desk: Desk) -> None:
    """24 hours, by the time at which it is approved."""
    row = desk.estate.propose("laptop", expires=time.time_ns() + SECOND)
    later = time.time_ns() + 2 * SECOND
    desk.now_ns = lambda: later
    desk.refuses(Refused, approval(desk, row))


def test_a_severance_says_nothing_about_a_later_pairing(desk: Desk) -> None:
    """The machine was severed and paired anew: the old statement's pairing id is another one."""
    old = desk.estate.pair("laptop")
    desk.say(PairSever(pairing_id=old.pairing))
    there = Event.of(Kind.SEVERED, time.time_ns(), "pair", pair=old.pairing, by="peer", reason="severed")
    desk.estate.machines["laptop"].store.append(there).result()
    new = desk.estate.pair("laptop")
    assert new.pairing != old.pairing
    desk.refuses(Refused, PairSever(pairing_id=old.pairing))
    assert desk.estate.at_house("laptop").stands


# --- Invites -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [bytes(16), SECRET[:-1], SECRET + b"\x00", b""])
def test_an_invites_secret_is_its_own(desk: Desk, secret: bytes) -> None:
    """Another secret, or one of another length: nothing is kept."""
    desk.refuses((Malformed, Misuse), invitation(), secret=secret)
    assert desk.estate.house.vault.list("invite/") == ()


def test_a_secret_comes_with_an_invite_only(desk: Desk) -> None:
    """An invite without its secret, and a secret beside anything else, are Malformed."""
    row = desk.estate.pair("laptop")
    desk.refuses(Malformed, invitation())
    desk.refuses(Malformed, PairSever(pairing_id=row.pairing), secret=SECRET)


@pytest.mark.parametrize(
    "terms",
    [
        {"pair_type": PairType.ADMIN, "yes": True},
        {"yes": True, "ttl_s": 121},
        {"pair_type": PairType.ADMIN, "yes": True, "for_key": KeyId(bytes(32))},
    ],
    ids=str,
)
def test_terms_that_no_invite_has_are_refused(desk: Desk, terms: dict[str, Any]) -> None:
    """Never ADMIN beforehand; without a key two minutes at most. A signature changes nothing about that."""
    desk.refuses(Misuse, invitation(**terms), secret=SECRET)
    assert desk.estate.house.vault.list("invite/") == ()


def test_an_invite_exists_once(desk: Desk) -> None:
    """The same secret again, signed anew: refused, and the first invite's secret stays."""
    desk.say(invitation(), secret=SECRET)
    desk.refuses(Refused, invitation(), secret=SECRET)
    assert desk.estate.house.vault.get_secret(invite_name(invite_id(SECRET))) == SECRET


def test_two_at_once_with_one_secret_make_one_invite(desk: Desk) -> None:
    """One is refused, and takes nothing of the other with it."""
    bundles = [desk.estate.signed(invitation()) for _ in range(4)]

    async def scene() -> list[object]:
        works = (desk.statements.submit(encode([bundle, SECRET]), desk.carried()) for bundle in bundles)
        return list(await asyncio.gather(*works, return_exceptions=True))

    outcomes = run(scene())
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Refused", "Refused", "Refused", "dict"]
    assert desk.estate.house.vault.get_secret(invite_name(invite_id(SECRET))) == SECRET
    assert desk.estate.kinds().count("INVITE_CREATED") == 1


# --- The recovery key --------------------------------------------------------------------------------------------------------


def replacing(desk: Desk, *admins: PublicKey, origin: bytes = b"") -> ReplaceAdmins:
    return ReplaceAdmins(origin=origin or desk.statements.origin_hash, admins=admins or (OTHER_KEY,))


def here(desk: Desk, bundle: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = run(desk.statements.submit_here(bundle))
    return answer


def test_the_recovery_key_replaces_the_admins(desk: Desk) -> None:
    """Given at the house: the new keys have admin, the old ones never again; the entry comes from `local`."""
    new = Human.new(desk.estate.owner.vault, "new")
    bundle = desk.estate.signed(replacing(desk, new.public), by=recovery_from_text(desk.estate.recovery))
    answer = here(desk, bundle)
    store = desk.estate.house.store
    old_key, new_key, entry = store.key(desk.estate.owner.public.key_id), store.key(new.public.key_id), store.entry(answer["entry"])
    assert old_key is not None and new_key is not None and entry is not None
    assert (old_key.state, new_key.stands, "admin" in new_key.actions) == ("replaced", True, True)
    assert entry.event.actor == "local"
    desk.refuses(Unproven, invitation(), secret=SECRET)
    desk.submit(desk.estate.signed(invitation(), by=new.signer), secret=SECRET)
    with pytest.raises(Refused):
        here(desk, bundle)


def test_no_other_key_replaces_the_admins(desk: Desk) -> None:
    """Not an admin's, not a stranger's, not another house's recovery key."""
    stranger = Human.new(desk.estate.owner.vault, "stranger")
    for signer in (desk.estate.owner.signer, stranger.signer, desk.estate.house.vault.machine.signing, desk.estate.house.vault.witness):
        with pytest.raises(Unproven):
            here(desk, desk.estate.signed(replacing(desk), by=signer))
    assert "ADMINS_REPLACED" not in desk.estate.kinds()


def test_the_recovery_key_signs_nothing_else(desk: Desk) -> None:
    """It lets nobody in and severs nothing."""
    row = desk.estate.pair("laptop")
    for statement, secret in ((PairSever(pairing_id=row.pairing), None), (invitation(), SECRET)):
        bundle = desk.estate.signed(statement, by=recovery_from_text(desk.estate.recovery))
        with pytest.raises(Unproven):
            desk.submit(bundle, secret=secret)
        with pytest.raises(Misuse):
            here(desk, bundle)


def test_its_statement_is_taken_at_the_house_only(desk: Desk) -> None:
    """Over a pair it is refused, whoever carries it."""
    with pytest.raises(Refused, match="at the house"):
        desk.submit(desk.estate.signed(replacing(desk), by=recovery_from_text(desk.estate.recovery)))


def test_it_is_for_one_log_and_one_house(desk: Desk) -> None:
    """Another log's origin, another house's id."""
    for statement, house in ((replacing(desk, origin=sha256(b"another")), None), (replacing(desk), KeyId(bytes(32)))):
        with pytest.raises(Unproven):
            here(desk, desk.estate.signed(statement, by=recovery_from_text(desk.estate.recovery), house=house))


# --- Bytes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw", [b"", b"\x00", encode([]), encode([b"x"]), encode([b"x", None, None]), encode(["x", None]), encode([b"x", "y"]), encode({1: 2})]
)
def test_what_is_no_submission_is_malformed(desk: Desk, raw: bytes) -> None:
    """A bundle and a secret or null, and nothing else."""
    with pytest.raises(Malformed):
        run(desk.statements.submit(raw, desk.carried()))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_of_a_bundle_is_believed(desk: Desk, data: st.DataObject) -> None:
    """Any bit of a good bundle: Malformed or Unproven, and nothing is recorded."""
    if not hasattr(desk, "good"):
        row = desk.estate.propose("laptop")
        desk.good = desk.estate.signed(approval(desk, row))  # type: ignore[attr-defined]
    good: bytes = desk.good  # type: ignore[attr-defined]
    at, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 7))
    before = desk.estate.house.store.size()
    with pytest.raises((Malformed, Unproven)):
        desk.submit(good[:at] + bytes((good[at] ^ 1 << bit,)) + good[at + 1 :])
    assert desk.estate.house.store.size() == before


def test_a_disk_that_fails_decides_nothing(desk: Desk, tmp_path: Path) -> None:
    """A ledger that is closed: Unavailable; no door opens, no secret goes."""
    row = desk.estate.pair("laptop")
    statement = desk.estate.signed(PairSever(pairing_id=row.pairing))
    other = machine(tmp_path / "elsewhere", "other", desk.estate.house.role)
    other.close()
    desk.statements = Statements(
        desk.estate.house, Effects(other.store, desk.estate.house.vault, desk.doors), time.time_ns, desk._stood, desk._ended
    )
    with pytest.raises(Unavailable):
        desk.submit(statement)
    assert desk.doors.asked == []
    assert desk.estate.house.vault.get_secret(secret_name(row.pairing)) is not None
