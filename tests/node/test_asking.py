"""Redeeming an invite: with a real house, and with one that cuts or lies at every step (docs/spec/pairing.md)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.gate.statement import parse_bundle
from tallystick.keys import Signer
from tallystick.ledger.event import Kind
from tallystick.node.asking import Redeemed, redeem
from tallystick.node.client import HouseSession
from tallystick.node.halves import keeping, sweep, usable
from tallystick.node.machine import Machine
from tallystick.node.pairclock import PairClock
from tallystick.node.settings import load
from tallystick.pair.invite import Invite
from tallystick.pair.message import Abort as AbortMessage
from tallystick.pair.message import Reason, parse_message
from tallystick.pair.pairing import PairType, Role
from tallystick.pair.statement import PairApprove
from tallystick.passage.effect import SECRET_PREFIX, secret_name
from tallystick.storage.rows import EntryRow
from tests.node.bare_ceremony import BareCeremony, bundle_by, house_machine, no_bundle
from tests.node.village import Village, nothing, village

DAY_NS = 24 * 3600 * 10**9


def silent(words: Sequence[str], digits: str) -> None:
    """Shows nothing."""


async def ask(machine: Machine, invite: Invite, **changed: object) -> Redeemed:
    arguments: dict[str, object] = {"label": "laptop", "human": None, "show_words": silent, "wait_s": 5} | changed
    return await redeem(machine, invite, **arguments)  # type: ignore[arg-type]


def kept(machine: Machine) -> tuple[int, int]:
    """How many halves and how many secrets are kept."""
    alive = [pair for pair in machine.store.pairs() if pair.state in ("pending", "standing")]
    return len(alive), len(machine.vault.list(SECRET_PREFIX))


def run(tmp_path: Path, scene: Callable[[Village], Awaitable[None]]) -> None:
    async def play() -> None:
        async with village(tmp_path) as found:
            await scene(found)

    asyncio.run(play())


# --- With a real house -----------------------------------------------------------------------------------------------------


def test_genesis_makes_the_first_admin(tmp_path: Path) -> None:
    """The owner's machine stands as ADMIN; the statement in its ledger is signed by its own human key, and so the house's words are."""

    async def scene(found: Village) -> None:
        owner = found.member("owner")
        pair = found.pair_of("owner")
        assert (pair.stands, pair.pair_type, pair.label) == (True, PairType.ADMIN, "attic")
        row = owner.store.entry(pair.stood or 0)
        assert row is not None and row.event.blob("key") == found.human().public.key_id
        assert pair.seen is not None

    run(tmp_path, scene)


def test_both_ends_show_the_same_words(tmp_path: Path) -> None:
    """The words and digits at this end are those in the house's inbox."""

    async def scene(found: Village) -> None:
        invite = await found.invite()
        shown: list[tuple[str, ...]] = []

        def show(words: Sequence[str], digits: str) -> None:
            shown.append((*words, digits))

        redeemed = await ask(found.member("laptop"), invite, show_words=show, wait_s=0)
        row = found.machine.store.pair(redeemed.pairing_id)
        assert row is not None
        proposal = found.machine.store.entry(row.created)
        assert proposal is not None
        ext = proposal.event.get("ext")
        assert isinstance(ext, dict)
        assert shown == [(*redeemed.words, redeemed.digits)] == [(*ext["words"].decode().split(), ext["digits"].decode())]
        assert len(redeemed.words) == 4

    run(tmp_path, scene)


def test_approved_while_it_waits(tmp_path: Path) -> None:
    """The connection stays until a human has decided; then the pair stands at both ends, by a statement kept at both."""

    async def scene(found: Village) -> None:
        invite = await found.invite()
        asking = asyncio.create_task(ask(found.member("laptop"), invite))
        await found.approve(await found.waiting())
        redeemed = await asking
        assert redeemed.state == "standing" and found.pair_of("laptop").stands
        row = found.member("laptop").store.entry(found.pair_of("laptop").stood or 0)
        assert row is not None and (row.event.text("by"), row.event.text("result")) == ("peer", "unknown") and _unproven(row)

    run(tmp_path, scene)


def test_approved_after_it_left(tmp_path: Path) -> None:
    """Waiting takes no connection: the house stays silent until it has decided, and the first session then proves that it has."""

    async def scene(found: Village) -> None:
        laptop = found.member("laptop", timeout_s=1)
        redeemed = await ask(laptop, await found.invite(), wait_s=0)
        assert redeemed.state == "waiting" and found.pair_of("laptop").state == "pending"
        with pytest.raises(Unavailable):
            await HouseSession.open(laptop, found.pair_of("laptop"))
        await found.approve(redeemed.pairing_id)
        async with await HouseSession.open(laptop, found.pair_of("laptop")) as session:
            await session.get_json("/v1/ping", verb="pair.ping")
        pair = found.pair_of("laptop")
        assert pair.stands
        kinds = [row.event.kind for row in laptop.store.entries()]
        assert kinds.index(Kind.PAIRING_APPROVED) < kinds.index(Kind.SESSION)
        row = laptop.store.entry(pair.stood or 0)
        assert row is not None and row.event.text("by") == "peer"

    run(tmp_path, scene)


def test_denied_while_it_waits(tmp_path: Path) -> None:
    """A human said no: this end is told, records it, and keeps nothing."""

    async def scene(found: Village) -> None:
        asking = asyncio.create_task(ask(found.member("laptop"), await found.invite()))
        await found.deny(await found.waiting())
        with pytest.raises(Refused) as caught:
            await asking
        assert "denied" in caught.value.message
        assert kept(found.member("laptop")) == (0, 0)
        assert found.pair_of("laptop").state == "denied"

    run(tmp_path, scene)


def test_words_that_differ_burn_the_invite(tmp_path: Path) -> None:
    """A person who says no ends it at both ends; neither keeps a secret, and the invite is used up."""

    async def no(words: Sequence[str], digits: str) -> bool:
        return False

    async def scene(found: Village) -> None:
        invite = await found.invite()
        laptop = found.member("laptop", timeout_s=1)
        with pytest.raises(Refused):
            await ask(laptop, invite, show_words=no)
        assert kept(laptop) == (0, 0)
        for _ in range(200):
            if len(found.machine.vault.list(SECRET_PREFIX)) == 1:  # the owner's
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the house keeps a secret of a pairing that was refused")
        assert not found.machine.store.inbox()
        with pytest.raises(Unavailable) as caught:
            await ask(laptop, invite)
        assert "used" in caught.value.hint

    run(tmp_path, scene)


def test_an_invite_for_another_machine_is_refused(tmp_path: Path) -> None:
    """`--for KEYID`: the house ends the ceremony of any other machine, and the reason is said."""

    async def scene(found: Village) -> None:
        other = found.member("other").vault.machine.signing.public.key_id
        with pytest.raises(Refused) as caught:
            await ask(found.member("laptop"), await found.invite(yes=True, for_key=other))
        assert "another machine" in caught.value.message
        assert kept(found.member("laptop")) == (0, 0)

    run(tmp_path, scene)


def test_pairing_anew_ends_the_older_half(tmp_path: Path) -> None:
    """Severed at the house unseen, then invited again: the new pair stands, the old one ends here too, with its secret."""

    async def scene(found: Village) -> None:
        old = await found.join("laptop")
        await found.house.sever(old.pairing, by="local", reason="unspecified", tell=False)
        new = await found.join("laptop")
        laptop = found.member("laptop")
        assert new.pairing != old.pairing and new.stands
        before = laptop.store.pair(old.pairing)
        assert before is not None and before.state == "severed"
        assert laptop.vault.list(SECRET_PREFIX) == (secret_name(new.pairing),)
        async with await HouseSession.open(laptop, new) as session:
            await session.get_json("/v1/ping", verb="pair.ping")

    run(tmp_path, scene)


def test_a_half_that_nobody_approved_lapses(tmp_path: Path) -> None:
    """After its 24 hours a pending half is refused without a knock, recorded as expired, and its secret destroyed."""

    async def scene(found: Village) -> None:
        laptop = found.member("laptop")
        await ask(laptop, await found.invite(), wait_s=0)
        pair = found.pair_of("laptop")
        assert pair.expires_ns is not None
        assert (await usable(laptop, pair, pair.expires_ns - 1)).state == "pending"
        with pytest.raises(Refused):
            await usable(laptop, pair, pair.expires_ns)
        assert kept(laptop) == (0, 0)
        assert found.pair_of("laptop").state == "expired"

    run(tmp_path, scene)


def test_secrets_that_a_crash_left_are_swept(tmp_path: Path) -> None:
    """A secret without a living pair goes at the next pairing; one whose entry is being written stays, and so do those of living pairs."""

    async def scene(found: Village) -> None:
        await found.join("laptop")
        laptop = found.member("laptop")
        left, alive = secret_name(bytes(32)), secret_name(found.pair_of("laptop").pairing)
        laptop.vault.put_secret(left, b"x" * 32)
        with keeping(laptop):
            sweep(laptop)
            assert laptop.vault.list(SECRET_PREFIX) == tuple(sorted((left, alive)))
        sweep(laptop)
        assert laptop.vault.list(SECRET_PREFIX) == (alive,)
        found.machine.vault.put_secret(left, b"x" * 32)
        sweep(found.machine)
        assert left in found.machine.vault.list(SECRET_PREFIX)  # a house that runs keeps halves of its own at any time

    run(tmp_path, scene)


def test_two_processes_may_learn_at_once_that_a_half_stands(tmp_path: Path) -> None:
    """Both open their first session of a pending half: it stands once, and neither fails for the other."""

    async def scene(found: Village) -> None:
        laptop = found.member("laptop")
        redeemed = await ask(laptop, await found.invite(), wait_s=0)
        await found.approve(redeemed.pairing_id)
        pair = found.pair_of("laptop")
        sessions = await asyncio.gather(*(HouseSession.open(laptop, pair) for _ in range(3)))
        for session in sessions:
            await session.get_json("/v1/ping", verb="pair.ping")
            await session.close()
        assert [row.event.kind for row in laptop.store.entries()].count(Kind.PAIRING_APPROVED) == 1

    run(tmp_path, scene)


def test_a_human_key_belongs_to_admin_and_to_nothing_else(tmp_path: Path) -> None:
    """Too many or too few human keys is our caller's fault, before anything leaves."""

    async def scene(found: Village) -> None:
        with pytest.raises(Misuse):
            await ask(found.member("laptop"), await found.invite(), human=found.human)
        with pytest.raises(Misuse):
            await ask(found.member("laptop"), replace(await found.invite(), pair_type=PairType.ADMIN))

    run(tmp_path, scene)


# --- With a house that cuts or lies ----------------------------------------------------------------------------------------


def bare(tmp_path: Path, scene: Callable[[Machine, BareCeremony], Awaitable[None]], **turned: object) -> None:
    async def play() -> None:
        laptop = Machine.create(load({"name": "laptop", "timeout_s": 2}, home=tmp_path / "laptop", env={}), Role.CLIENT)[0]
        with laptop, house_machine(tmp_path) as attic:
            async with BareCeremony(attic, **turned).open() as house:  # type: ignore[arg-type]
                await scene(laptop, house)

    asyncio.run(play())


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_cut_before_the_proofs_leaves_nothing_or_a_half_that_waits(at: int, tmp_path: Path) -> None:
    """Cut at the welcome or the attest: nothing was stored. Cut at the house's confirm: our half waits, as the house's may."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        if at < 3:
            with pytest.raises(Unavailable):
                await ask(laptop, house.invite)
            assert kept(laptop) == (0, 0)
        else:
            with pytest.raises(Unavailable):
                await ask(laptop, house.invite)
            assert kept(laptop) == (1, 1)

    bare(tmp_path, scene, tamper=lambda number, message: None if number == at else message)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_message_that_is_not_of_the_table_aborts(at: int, tmp_path: Path) -> None:
    """One byte more at any step: aborted by us, said to the house, nothing kept."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        with pytest.raises(Refused):
            await ask(laptop, house.invite)
        assert kept(laptop) == (0, 0)
        await asyncio.wait_for(house.lost.wait(), 3)
        last = parse_message(house.heard[-1], sender=Role.CLIENT)
        assert isinstance(last, AbortMessage) and last.reason is Reason.MALFORMED

    bare(tmp_path, scene, tamper=lambda number, message: message + b"\x00" if number == at else message)


def test_a_proof_that_does_not_hold_aborts(tmp_path: Path) -> None:
    """A house whose confirm has a flipped bit does not have our secret, or not its keys: somebody is in between."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        with pytest.raises(Refused) as caught:
            await ask(laptop, house.invite)
        assert "in between" in caught.value.message
        assert kept(laptop) == (0, 0)

    bare(tmp_path, scene, tamper=lambda number, message: _flip(message, 40) if number == 3 else message)


def _flip(message: bytes, at: int) -> bytes:
    return message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :]


def test_an_invite_that_names_another_house_aborts(tmp_path: Path) -> None:
    """The house id of the invite must be the one of the welcome."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        with pytest.raises(Refused):
            await ask(laptop, replace(house.invite, house_id=bytes(32)))
        assert kept(laptop) == (0, 0)

    bare(tmp_path, scene)


def _human(machine: Machine) -> Signer:
    found = machine.vault.humans()
    key = found[0] if found else machine.vault.new_human_present("owner")
    return machine.vault.presence_signer(key.key_id, lambda _: True)


def _right(house: BareCeremony, statement: PairApprove) -> bytes:
    return bundle_by(_human(house.machine), statement, house.machine.house_id)


def _unproven(stood: EntryRow) -> bytes:
    """The statement that an entry only shows."""
    ext = stood.event.get("ext")
    assert isinstance(ext, Mapping)
    return b"".join(ext[f"unproven-statement.{number}"] for number in range(len(ext)))


def test_a_statement_by_a_key_we_do_not_know_is_kept_as_unproven(tmp_path: Path) -> None:
    """The house's human keys are not ours to know: the pair stands on the house's word; what it showed is kept, and nothing rests on it."""
    shown: list[bytes] = []

    def bundle(house: BareCeremony, right: PairApprove) -> bytes:
        shown.append(_right(house, right))
        return shown[0]

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        assert (await ask(laptop, house.invite)).state == "standing"
        row = laptop.store.pairs()[0]
        stood = laptop.store.entry(row.stood or 0)
        assert stood is not None and (stood.event.text("by"), stood.event.text("result")) == ("peer", "unknown")
        assert stood.event.get("key") is None and stood.event.get("signal") is None
        assert _unproven(stood) == shown[0]
        parse_bundle(shown[0]).prove(_human(house.machine).public)  # by whom the key is known

    bare(tmp_path, scene, bundle=bundle)


def test_a_forged_statement_takes_no_number_of_a_key_we_do_not_know(tmp_path: Path) -> None:
    """A house that signs with nobody's key gets nothing into this machine's books: no signal, no fork, no suspended key."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        assert (await ask(laptop, house.invite)).state == "standing"
        stood = laptop.store.entry(laptop.store.pairs()[0].stood or 0)
        assert stood is not None
        with pytest.raises(Unproven):
            parse_bundle(_unproven(stood)).prove(_human(house.machine).public)
        assert not laptop.store.entries(kinds=(Kind.SIGNAL_FORK, Kind.KEY_SUSPENDED))

    bare(tmp_path, scene, bundle=_forged)


def _forged(house: BareCeremony, right: PairApprove) -> bytes:
    """A right statement under the owner's name whose signature is of another key."""
    owner = _human(house.machine)

    class Forger:
        public = owner.public
        key_class = owner.key_class

        def sign(self, message: bytes) -> bytes:
            return house.machine.vault.machine.signing.sign(message)

    return bundle_by(Forger(), right, house.machine.house_id)


LIES = {
    "no bundle": no_bundle,
    "another pairing": lambda house, right: _right(house, replace(right, pairing_id=bytes(32))),
    "another type": lambda house, right: _right(house, replace(right, pair_type=PairType.USER, actions=("metadata", "read"))),
    "another key": lambda house, right: _right(house, replace(right, signing=house.machine.vault.witness.public)),
    "another log": lambda house, right: _right(house, replace(right, proposal=replace(right.proposal, origin=bytes(32)))),
    "another house": lambda house, right: bundle_by(_human(house.machine), right, bytes(32)),
    "a broken bundle": lambda house, right: _flip(_right(house, right), -1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_standing_that_cannot_be_believed_keeps_nothing(lie: str, tmp_path: Path) -> None:
    """A statement that is not one of this pairing: aborted, so that the house severs what it let stand, and nothing kept here."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        with pytest.raises((Refused, Unproven)):
            await ask(laptop, house.invite)
        assert kept(laptop) == (0, 0)
        await asyncio.wait_for(house.lost.wait(), 3)
        assert isinstance(parse_message(house.heard[-1], sender=Role.CLIENT), AbortMessage)

    bare(tmp_path, scene, bundle=LIES[lie])


def test_a_checkpoint_that_the_log_did_not_sign_keeps_nothing(tmp_path: Path) -> None:
    """The first checkpoint of a house is judged like every other: by the log keys of this very ceremony."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        with pytest.raises(Unproven):
            await ask(laptop, house.invite)
        assert kept(laptop) == (0, 0)

    bare(tmp_path, scene, bundle=_right, note=lambda note: note.replace(b"\n1\n", b"\n2\n"))


def test_our_own_signature_is_checked_when_it_comes_back(tmp_path: Path) -> None:
    """An ADMIN pairing is signed here with one key, twice: for the ceremony and for the statement that the house then shows."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        house.bundle = None
        asking = asyncio.create_task(ask(laptop, house.invite, human=lambda: _human(laptop), wait_s=0.5))
        assert (await asking).state == "waiting"
        assert len(house.submitted) == 1
        assert house.submitted[0].statement.human == _human(laptop).public

    bare(tmp_path, scene, pair_type=PairType.ADMIN)


@pytest.mark.parametrize("given", [0, 1, 2], ids=["the key does not open", "no first signature", "no second signature"])
def test_a_human_who_does_not_sign_leaves_nothing(given: int, tmp_path: Path) -> None:
    """Whoever refuses a signature ends it: before the knock, before the proof, or before the statement; nothing is kept."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        _human(laptop)
        key = laptop.vault.humans()[0].key_id
        calls = 0
        signatures = 0

        def confirm(_: str) -> bool:
            nonlocal signatures
            signatures += 1
            return signatures < given

        def human() -> Signer:
            nonlocal calls
            calls += 1
            if not given:
                raise Unproven("a wrong passphrase")
            return laptop.vault.presence_signer(key, confirm)

        with pytest.raises(TallyError):
            await ask(laptop, house.invite, human=human)
        assert calls == max(given, 1)
        assert kept(laptop) == (0, 0)
        assert bool(house.heard) is bool(given)

    bare(tmp_path, scene, pair_type=PairType.ADMIN)


@pytest.mark.parametrize("ahead_ns", [400 * DAY_NS, -400 * DAY_NS], ids=["dead clock", "clock in the future"])
def test_a_machine_with_a_dead_clock_is_paired_too(ahead_ns: int, tmp_path: Path) -> None:
    """An invite says when it expires: a machine a year off knocks with times of the invite's life, and keeps the offset that it learns."""

    async def scene(laptop: Machine, house: BareCeremony) -> None:
        redeemed = await ask(laptop, house.invite, show_words=nothing)
        assert redeemed.state == "standing"
        assert abs(PairClock(laptop.memory, redeemed.pairing_id).offset_ns - ahead_ns) < 5 * 10**9

    bare(tmp_path, scene, bundle=_right, ahead_ns=ahead_ns)
