"""How a pair comes to stand over real sockets, and everything that must not bring one about (DESIGN 5.1 to 5.4)."""

import asyncio
import secrets
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable
from tallystick.node import commands
from tallystick.node.asking import Redeemed, redeem
from tallystick.node.client import HouseSession
from tallystick.node.commands.where import open_human, submit, the_house
from tallystick.node.machine import Machine
from tallystick.pair.invite import invite_id, invite_text, parse_invite
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import InviteRevoke
from tests.e2e.support import SILENCE_S, Client, House, Pairing, killed_in_the_end, passphrase, until

TYPES = ("ADMIN", "INPUT", "USER", "INTERFACE")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house with its owner, for the tests that leave it as it was."""
    with House(tmp_path_factory.mktemp("pairing")) as made:
        yield made


def nothing_at(client: Client) -> bool:
    """No half, no secret of one."""
    return client.pairs() == [] and client.secrets() == []


def nothing_waits(house: House, label: str) -> bool:
    """The house has no pair of that label, waiting or standing."""
    return not [row for row in house.pairs() if row["label"] == label and row["state"] in ("waiting", "standing")] and not house.inbox()


# --- Genesis ------------------------------------------------------------------------------------------------------------------


def test_genesis_by_confirmed_words(tmp_path: Path) -> None:
    """Both ends show the same four words; confirmed at the house, the first ADMIN stands, and this is recorded as genesis."""
    with House(tmp_path, owned=False) as house:
        under_way = house.owner.pairing(house.invite())
        words = under_way.shown()
        waiting = until(house.inbox, "the owner waits")
        assert [row["words"] for row in waiting] == [words]
        assert waiting[0]["type"] == "ADMIN"
        assert not under_way.over
        house.approve("owner", words)
        assert under_way.wait()["state"] == "standing"
        assert [entry["fields"].get("genesis") for entry in house.log("pairing-approved")] == [True]
        assert [entry["fields"]["key_kind"] for entry in house.log("key-introduced")] == ["human"]
        assert house.owner.ping()["house"] == "attic"


def test_genesis_by_a_named_owner(tmp_path: Path) -> None:
    """`tally init --owner KEYID`: that key's signature suffices, nobody confirms words at the house."""
    house = House(tmp_path, owned=False)
    key = commands.key_new(house.owner.settings(), label="owner", passphrase=passphrase, scripted=True)["key"]
    house.init(owner=key)
    with house:
        assert house.owner.pairing(house.invite()).wait()["state"] == "standing"
        assert house.owner.inbox() == []


def test_a_wrong_owner_is_refused(tmp_path: Path) -> None:
    """Another key than the named owner's never becomes the first ADMIN, whatever is confirmed at the house."""
    house = House(tmp_path, owned=False)
    key = commands.key_new(house.owner.settings(), label="owner", passphrase=passphrase, scripted=True)["key"]
    house.init(owner=key)
    with house:
        thief = house.client("thief")
        error = house.fails(Refused, thief.pairing(house.invite("thief")).wait)
        assert "statement of approval" in error.message
        assert nothing_at(thief)
        until(lambda: nothing_waits(house, "thief"), "the house has forgotten the thief")
        assert house.owner.pairing(house.invite()).wait()["state"] == "standing"


def test_before_genesis_only_admin(tmp_path: Path) -> None:
    """Before genesis the house makes no other invite than ADMIN, approves none beforehand, and the word of no key counts."""
    with House(tmp_path, owned=False) as house:
        at_house = {"label": "x", "for_key": None, "ttl_s": None, "passphrase": passphrase}
        for kind in TYPES[1:]:
            house.fails(Misuse, commands.invite, house.settings(), pair_type=kind, approve=False, **at_house)
        house.fails(Misuse, commands.invite, house.settings(), pair_type="ADMIN", approve=True, **at_house)


def test_after_genesis_the_house_itself_invites_nobody(house: House) -> None:
    """With an owner, invites are signed by a human key on an ADMIN machine; the house's own terminal makes none and confirms none."""
    house.fails(Misuse, house.invite, "second")
    house.json("invite", code=2)


# --- Words --------------------------------------------------------------------------------------------------------------------


def test_wrong_words_at_genesis(tmp_path: Path) -> None:
    """Words that differ at genesis: denied, the invite burnt, nothing kept at either end; a new invite works."""
    with House(tmp_path, owned=False) as house:
        invite = house.invite()
        under_way = house.owner.pairing(invite)
        under_way.shown()
        until(house.inbox, "the owner waits")
        house.fails(Refused, house.approve, "owner", ["other"] * 4)
        assert "denied" in house.fails(Refused, under_way.wait).message
        assert nothing_at(house.owner)
        assert nothing_waits(house, "owner")
        assert house.secrets() == []
        house.owner.flags["timeout_s"] = SILENCE_S
        house.fails(Unavailable, house.owner.pairing(invite).wait)
        house.owner.flags["timeout_s"] = 10
        house.genesis(house.owner)


def test_wrong_words_later(house: House) -> None:
    """Words that differ: the owner's denial is signed and recorded, the invite burnt, nothing kept at either end."""
    client = house.client("wrong-words", timeout_s=SILENCE_S)
    before = house.secrets()
    invite = house.owner.invite("INPUT", label=client.name)
    under_way = client.pairing(invite)
    under_way.shown()
    house.fails(Refused, house.owner.approve, client.name, ["other"] * 4)
    house.fails(Refused, under_way.wait)
    assert nothing_at(client)
    assert nothing_waits(house, client.name)
    assert house.secrets() == before
    assert house.log("pairing-denied")[-1]["fields"]["reason"] == "wrong-words"
    house.fails(Unavailable, client.pairing(invite).wait)


def test_the_words_are_the_same_at_both_ends_and_new_each_time(house: House) -> None:
    """Each pairing of one machine shows other words, the same in the inbox."""
    client = house.client("twice")
    seen = set()
    for _ in range(2):
        under_way = client.pairing(house.owner.invite("USER", label=client.name))
        words = under_way.shown()
        assert [row["words"] for row in house.owner.inbox()] == [words]
        house.owner.deny(client.name)
        house.fails(Refused, under_way.wait)
        seen.add(tuple(words))
    assert len(seen) == 2


def test_a_machine_stands_once(house: House) -> None:
    """Paired anew while its older pair stands, a machine waits, also where it was approved beforehand: the older pair is severed first."""
    client = house.machine("again", "USER")
    for approved in (False, True):
        under_way = client.pairing(house.owner.invite("INPUT", label="anew", approve=approved, ttl_s=60))
        words = under_way.shown()
        until(house.owner.inbox, "it waits")
        assert "already paired" in house.fails(Refused, house.owner.approve, "anew").message
        older = next(row["name"] for row in house.pairs() if row["label"] in ("again", "anew") and row["state"] == "standing")
        house.sever(older)
        house.owner.approve("anew", words)
        assert under_way.wait()["state"] == "standing"
        assert [row["type"] for row in client.pairs() if row["state"] == "standing"] == ["INPUT"]
        client.ping()


def test_the_machine_that_cancels(house: House) -> None:
    """When the person at the machine says that the words differ, the pairing is over at both ends."""
    client = house.client("canceller").made()
    invite = parse_invite(house.owner.invite("INPUT", label=client.name))

    async def differs() -> bool:
        return False

    async def cancel() -> None:
        with client.open() as machine:
            await redeem(machine, invite, label=client.name, human=None, show_words=lambda words, digits: differs(), wait_s=20)

    house.fails(Refused, asyncio.run, cancel())
    assert nothing_at(client)
    until(lambda: nothing_waits(house, client.name), "the house has forgotten it")


# --- Invites ------------------------------------------------------------------------------------------------------------------


def test_an_invite_works_once(house: House) -> None:
    """A used invite meets silence, for the machine that used it and for any other."""
    first, second = house.client("first", timeout_s=SILENCE_S), house.client("second", timeout_s=SILENCE_S)
    invite = house.owner.invite("INPUT", label="first", approve=True, ttl_s=60)
    assert first.pairing(invite).wait()["state"] == "standing"
    for client in (second, first):
        assert "invite" in house.fails(Unavailable, client.pairing(invite).wait).hint
    assert nothing_at(second)
    first.ping()


def test_an_expired_invite_meets_silence(house: House) -> None:
    """After its time an invite gets no answer, and the ledger says why."""
    client = house.client("late", timeout_s=SILENCE_S)
    invite = house.owner.invite("INPUT", label=client.name, approve=True, ttl_s=1)
    time.sleep(1.1)
    house.fails(Unavailable, client.pairing(invite).wait)
    assert nothing_at(client)
    identity = invite_id(parse_invite(invite).secret).hex()
    until(lambda: identity in [entry["fields"]["invite"] for entry in house.log("invite-expired")], "its end is recorded", 15)
    until(lambda: not [name for name in house.secrets() if name.endswith(identity)], "its secret is gone")


def revoke(house: House, invite: str) -> None:
    """Sign an `invite.revoke` on the owner's machine."""
    owner = house.owner
    with owner.open() as machine:
        row = the_house(machine, "")

        async def work() -> None:
            async with await HouseSession.open(machine, row) as session:
                statement = InviteRevoke(invite_id=invite_id(parse_invite(invite).secret))
                await submit(session, row, open_human(machine, passphrase), statement)

        asyncio.run(work())


def test_a_revoked_invite_meets_silence(house: House) -> None:
    """A revoked invite gets no answer, and cannot be revoked twice."""
    client = house.client("unwanted", timeout_s=SILENCE_S)
    invite = house.owner.invite("INPUT", label=client.name, approve=True, ttl_s=60)
    revoke(house, invite)
    house.fails(Unavailable, client.pairing(invite).wait)
    assert nothing_at(client)
    house.fails(Refused, revoke, house, invite)


def test_an_invite_that_was_changed_on_its_way(house: House) -> None:
    """Another type, another house's key or another secret in the string: silence, and the genuine one still works."""
    client = house.client("changed", timeout_s=1)
    text = house.owner.invite("USER", label=client.name, approve=True, ttl_s=60)
    invite = parse_invite(text)
    with client.made().open() as machine:
        other_static = machine.vault.machine.static.public
    for changed in (
        replace(invite, pair_type=PairType.INPUT),
        replace(invite, house_static=other_static),
        replace(invite, secret=secrets.token_bytes(16)),
    ):
        house.fails(Unavailable, client.pairing(invite_text(changed)).wait)
    house.fails(Malformed, client.pairing(text[:-1] + ("0" if text[-1] != "0" else "1")).wait)
    assert nothing_at(client)
    assert client.pairing(text).wait()["type"] == "USER"


def test_an_invite_for_one_key(house: House) -> None:
    """`--for KEYID`: another machine is refused and burns it; the named one needs no approval with `--yes`."""
    named, other = house.client("named").made(), house.client("other").made()
    invite = house.owner.invite("INPUT", label="named", approve=True, for_key=named.key)
    assert "another machine" in house.fails(Refused, other.pairing(invite).wait).message
    assert nothing_at(other)
    named.flags["timeout_s"] = SILENCE_S
    house.fails(Unavailable, named.pairing(invite).wait)
    named.flags["timeout_s"] = 10
    assert named.pairing(house.owner.invite("INPUT", label="named", approve=True, for_key=named.key)).wait()["state"] == "standing"
    assert house.log("pairing-approved")[-1]["fields"]["by"] == "policy"


def test_the_rules_of_yes(house: House) -> None:
    """`--yes` is never ADMIN and lives two minutes at most unless it is for one key."""
    owner = house.owner
    house.fails(Misuse, owner.invite, "ADMIN", approve=True)
    house.fails(Misuse, owner.invite, "INPUT", approve=True, ttl_s=121)
    owner.invite("INPUT", approve=True, ttl_s=121, for_key=owner.key)
    assert parse_invite(owner.invite("INPUT", approve=True)).expires_s - time.time() <= 121


def test_the_two_commands_as_programs(house: House) -> None:
    """`tally invite`, `tally pair`, `tally inbox` and `tally approve --words` as a script calls them, with their exit codes."""
    client = house.client("scripted")
    invite = house.owner.json("invite", "--type", "USER", "--label", "scripted", secret=True)["invite"]
    with killed_in_the_end(
        client.program("tallystick", "pair", "--home", str(client.path), "--json", "--label", "scripted", invite)
    ) as process:
        waiting = until(house.owner.inbox, "it waits")
        listed = house.owner.json("inbox")["proposals"]
        assert [row["id"] for row in listed] == [row["id"] for row in waiting]
        house.owner.json("approve", listed[0]["id"], "--words", "these are not it", secret=True, code=2)
        approved = house.owner.json("approve", listed[0]["id"], "--words", " ".join(listed[0]["words"]), secret=True)
        assert approved["type"] == "USER"
        out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert " ".join(listed[0]["words"]) in out
    assert client.json("ping")["house"] == "attic"
    client.json("rm", "/nothing", code=1)


# --- Races --------------------------------------------------------------------------------------------------------------------


def test_64_redeemers_have_one_winner(house: House) -> None:
    """64 redeemers of one invite at once, over real sockets: exactly one pair stands, nobody else keeps anything; again and again."""
    clients = [house.client(f"racer{number}", timeout_s=2).made() for number in range(8)]

    async def race(text: str) -> list[Redeemed | BaseException]:
        machines = [Machine.open(client.settings()) for client in clients for _ in range(8)]
        invite = parse_invite(text)
        try:
            runs = [redeem(each, invite, label="racer", human=None, show_words=lambda words, digits: None, wait_s=20) for each in machines]
            return list(await asyncio.gather(*runs, return_exceptions=True))
        finally:
            for machine in machines:
                machine.close()

    for _ in range(3):
        before = len(house.log("pairing-approved"))
        ends = asyncio.run(race(house.owner.invite("INPUT", label="racer", approve=True, ttl_s=60)))
        winners = [end for end in ends if isinstance(end, Redeemed)]
        assert [end.state for end in winners] == ["standing"]
        assert all(isinstance(end, Redeemed | Unavailable | Refused) for end in ends), ends
        assert len(house.log("pairing-approved")) == before + 1
        standing = [row for client in clients for row in client.pairs() if row["state"] == "standing"]
        assert winners[0].pairing_id.hex() in [row["pairing"] for row in standing]
        assert not [row for client in clients for row in client.pairs() if row["state"] == "waiting"]
        assert house.inbox() == []
        house.sever(winners[0].pairing_id.hex())


# --- Approval -----------------------------------------------------------------------------------------------------------------


def test_a_second_admin(house: House) -> None:
    """A second ADMIN is approved by the first; its human key then approves others."""
    second = house.machine("second-admin", "ADMIN")
    client = house.client("friend")
    under_way = client.pairing(second.invite("USER", label=client.name))
    second.approve(client.name, under_way.shown())
    assert under_way.wait()["state"] == "standing"
    approvals = house.log("pairing-approved")
    assert approvals[-1]["key"] != approvals[0]["key"]


def test_an_admin_without_an_approval_is_nothing(house: House) -> None:
    """An ADMIN pairing whose client signed for itself waits all the same: after genesis only a standing admin key lets it stand."""
    client = house.client("usurper")
    under_way = client.pairing(house.owner.invite("ADMIN", label=client.name), wait_s=2)
    assert under_way.wait()["state"] == "waiting"
    assert [row["state"] for row in house.pairs() if row["label"] == client.name] == ["waiting"]
    client.flags["timeout_s"] = 1
    house.fails(Unavailable, client.ping)
    house.owner.deny(client.name)
    assert nothing_waits(house, client.name)


def test_deny(house: House) -> None:
    """A denied machine is told so and keeps nothing, nor does the house; it may be invited again."""
    client = house.client("denied")
    under_way = client.pairing(house.owner.invite("INPUT", label=client.name))
    under_way.shown()
    house.owner.deny(client.name)
    assert "denied" in house.fails(Refused, under_way.wait).message
    assert nothing_at(client)
    assert nothing_waits(house, client.name)
    under_way = client.pairing(house.owner.invite("INPUT", label=client.name))
    house.owner.approve(client.name, under_way.shown())
    assert under_way.wait()["state"] == "standing"


def test_an_approval_may_come_when_nobody_waits_any_more(house: House) -> None:
    """The machine has left with its half: after the approval its next knock is heard, and its half stands."""
    client = house.client("patient")
    left = client.pairing(house.owner.invite("INPUT", label=client.name), wait_s=1).wait()
    assert left["state"] == "waiting"
    client.flags["timeout_s"] = 1
    house.fails(Unavailable, client.ping)
    client.flags["timeout_s"] = 10
    house.owner.approve(client.name, left["words"])
    client.ping()
    assert [row["state"] for row in client.pairs()] == ["standing"]


def test_deny_wins_or_approve_wins(house: House) -> None:
    """Approve and deny of one proposal at once: one of them happens, the other is refused, and both ends agree."""
    for number in range(3):
        client = house.client(f"torn{number}")
        under_way = client.pairing(house.owner.invite("INPUT", label=client.name))
        under_way.shown()

        async def both(name: str) -> list[object]:
            works = [asyncio.to_thread(house.owner.approve, name), asyncio.to_thread(house.owner.deny, name)]
            return list(await asyncio.gather(*works, return_exceptions=True))

        ends = asyncio.run(both(client.name))
        assert len([end for end in ends if isinstance(end, dict)]) == 1, ends
        assert all(isinstance(end, dict | TallyError) for end in ends), ends
        outcome: Pairing = under_way
        if isinstance(ends[0], dict):
            assert outcome.wait()["state"] == "standing"
            client.ping()
        else:
            house.fails(Refused, outcome.wait)
            assert nothing_at(client)
