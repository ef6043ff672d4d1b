"""A house that comes back from a backup, or was rolled back, is opened by the human key that was named at it, and by nothing else."""

import asyncio
import os
import secrets
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tallystick.errors import Refused, TallyError, Unavailable, Unproven
from tallystick.gate.statement import sign_statement
from tallystick.keys import KeyId, Signer
from tallystick.ledger.event import Kind
from tallystick.node.asking import redeem
from tallystick.node.backup import write_backup
from tallystick.node.checkpointwire import Closed, Submit, Told, write_message
from tallystick.node.client import HouseSession
from tallystick.node.closing import closed_event
from tallystick.node.machine import Machine
from tallystick.node.restoring import restore
from tallystick.node.terms import read_terms
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import HouseRestore, PairResign, PairSever, ReplaceAdmins, Statement, encode_statement
from tallystick.primitives import sha256
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.rules.house import RESTORING
from tallystick.vault import recovery_from_text
from tallystick.vault.stream import SealedReader, SealedWriter
from tests.node.estate import introduced
from tests.node.test_backup import CHEAP, WORDS
from tests.node.test_closing import kept, refused
from tests.node.village import Village, nothing, village


def quiet(done: int, total: int | None) -> None:
    """No bar."""


async def keep(found: Village, name: str = "backup") -> None:
    """A backup of the house while it runs."""
    await asyncio.to_thread(found.house.publisher.newest, fresh=True)
    seal = lambda write: SealedWriter.for_passphrase(write, WORDS, os.urandom, CHEAP)  # noqa: E731
    await asyncio.to_thread(write_backup, found.machine, found.folder / name, seal, quiet)


async def bring_back(found: Village, name: str = "backup", owner: KeyId | None = None) -> None:
    """The disk is lost; the backup is restored into an empty home, and the house is served."""
    await found.rest()
    shutil.rmtree(found.machine.home.path)
    who = owner or found.human().public.key_id
    opened = lambda read: SealedReader(read, passphrase=lambda: WORDS)  # noqa: E731
    await asyncio.to_thread(restore, found.folder / name, found.machine.home.path, opened, who, quiet)
    await found.rise()


def bundle(found: Village, statement: Statement, signer: Signer | None = None) -> bytes:
    return sign_statement(
        signer or found.human(),
        encode_statement(statement),
        house_id=found.machine.house_id,
        issued_at_ns=time.time_ns(),
        stream=secrets.token_bytes(16),
        n=0,
        salt=secrets.token_bytes(32),
    )


async def terms(found: Village, name: str = "owner") -> HouseRestore | None:
    """What the closed house says it takes."""
    async with await HouseSession.open(found.member(name), found.pair_of(name), patient=True) as session:
        told = await session.told()
        assert isinstance(told, Closed)
        return None if told.terms is None else read_terms(told.terms)[1]


async def carry(found: Village, raw: bytes, name: str = "owner") -> int:
    """Some machine hands a statement to the house."""
    async with await HouseSession.open(found.member(name), found.pair_of(name), patient=True) as session:
        return await session.submit_alone(raw)


async def reopen(found: Village) -> None:
    """The owner signs what the house asks for, and the own pair."""
    wanted = await terms(found)
    assert wanted is not None
    await carry(found, bundle(found, wanted))
    row = found.pair_of("owner")
    await carry(found, bundle(found, PairResign(pairing_id=row.pairing, pair_type=row.effective)))


def test_a_restored_house_is_opened_by_its_owner_and_its_pairs_follow(tmp_path: Path) -> None:
    """Closed after the restore; the owner signs; each pair that is signed again goes on under the new name, with its evidence kept."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.join("phone")
            await found.meet("phone")
            await keep(found)
            await found.meet("laptop")
            lost = await found.meet("laptop")
            await bring_back(found)
            assert "restored from a backup" in await refused(found, "laptop")
            wanted = await terms(found)
            assert wanted is not None and wanted.log == found.machine.log_name + "/1"
            assert [size for _, size, _ in wanted.seen] == [lost]
            await reopen(found)
            assert found.house.healthy() and found.machine.log_name == wanted.log
            assert await found.meet("owner") > wanted.size
            # Those that nobody signed again get nothing but the news.
            assert "nobody has signed" in await refused(found, "laptop")
            assert found.pair_of("laptop").log_name == wanted.log
            await found.submit(PairResign(pairing_id=found.pair_of("laptop").pairing, pair_type=PairType.INPUT))
            assert await found.meet("laptop") > 0
            assert "nobody has signed" in await refused(found, "phone")
            # The lost checkpoint stays in both ledgers.
            assert kept(found.machine)[0].number("size") == lost
            notes = [row.event.number("size") for row in found.member("laptop").store.entries(kinds=(Kind.CHECKPOINT_COSIGNED,))]
            assert lost in notes
            # And the next one goes on from there.
            before = await found.meet("laptop")
            assert await found.meet("laptop") > before
            await found.rest()
            rebuild(found.machine.home.database, tmp_path / "again.sqlite")
            assert differences(found.machine.home.database, tmp_path / "again.sqlite") == ()
            laptop = found.member("laptop").home.database
            rebuild(laptop, tmp_path / "laptop.sqlite")
            assert differences(laptop, tmp_path / "laptop.sqlite") == ()

    asyncio.run(scene())


def test_a_severed_machine_with_its_old_state_gets_no_service(tmp_path: Path) -> None:
    """It kept its whole state, the backup knows its pair as standing: not one command is taken before or after the house opens."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("thief")
            await keep(found)
            thief = found.member("thief")
            copy = tmp_path / "copy"
            thief.close()
            shutil.copytree(thief.home.path, copy)
            found.machines.pop("thief")
            await found.submit(PairSever(pairing_id=found.pair_of("thief").pairing))
            found.machines.pop("thief").close()
            shutil.rmtree(tmp_path / "thief")
            shutil.copytree(copy, tmp_path / "thief")
            await bring_back(found)
            assert "restored from a backup" in await refused(found, "thief")
            row = found.pair_of("thief")
            own = bundle(found, PairResign(pairing_id=row.pairing, pair_type=row.effective), found.member("thief").vault.machine.signing)
            with pytest.raises(TallyError):
                await carry(found, own, "thief")
            await reopen(found)
            assert "nobody has signed" in await refused(found, "thief")
            closed = found.machine.store.entries(kinds=(Kind.CLOSED,))[0].index
            assert Kind.SIGNAL not in {each.event.kind for each in found.machine.store.entries(closed, pair=row.pairing)}
            assert found.machine.store.pair(row.pairing).state == "restored"  # type: ignore[union-attr]

    asyncio.run(scene())


def test_only_the_named_human_key_opens_it(tmp_path: Path) -> None:
    """Terms go to ADMIN pairs alone; other keys, other terms, old terms and other houses' terms are refused, and the house stays closed."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            other = found.member("laptop").vault.new_human_present("other")
            stranger = found.member("laptop").vault.presence_signer(other.key_id, lambda _: True)
            await keep(found)
            await bring_back(found)
            assert await terms(found, "laptop") is None
            wanted = await terms(found)
            assert wanted is not None
            with pytest.raises(Unproven):
                await carry(found, bundle(found, wanted, stranger), "laptop")
            for wrong in (
                replace(wanted, size=wanted.size - 1),
                replace(wanted, root=bytes(32)),
                replace(wanted, log=wanted.log[:-1] + "2"),
                replace(wanted, origin=bytes(32)),
                replace(wanted, seen=((bytes(32), 1, bytes(32)),)),
            ):
                with pytest.raises(Unproven):
                    await carry(found, bundle(found, wrong))
            with pytest.raises(Refused):
                await carry(found, bundle(found, PairSever(pairing_id=found.pair_of("laptop").pairing)))
            assert not found.machine.store.house().is_open
            # Any pair may carry the owner's word.
            await carry(found, bundle(found, wanted), "laptop")
            assert found.machine.store.house().is_open
            with pytest.raises(Refused):
                await carry(found, bundle(found, wanted))

    asyncio.run(scene())


def test_a_house_that_was_rolled_back_opens_in_the_same_way(tmp_path: Path) -> None:
    """The home of last week came back without `tally restore`: nothing opens it until somebody at the house names the owner."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.keep("last week")
            size = await found.meet("laptop")
            await found.travel("last week")
            assert "rolled back" in await refused(found, "laptop")
            assert await terms(found) is None
            await found.machine.store.record(closed_event(RESTORING, bytes(found.human().public.key_id)))
            wanted = await terms(found)
            assert wanted is not None and (bytes(sha256(found.machine.log_name.encode())), size) == (wanted.seen[0][0], wanted.seen[0][1])
            await reopen(found)
            assert await found.meet("owner") > 0

    asyncio.run(scene())


def test_restored_twice_from_one_backup_no_name_is_used_twice(tmp_path: Path) -> None:
    """The second time somebody shows the name of the first: the house takes a later one, and its pairs follow from either."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await keep(found)
            await bring_back(found)
            await reopen(found)
            await found.submit(PairResign(pairing_id=found.pair_of("laptop").pairing, pair_type=PairType.INPUT))
            await found.meet("laptop")
            await found.meet("owner")
            await bring_back(found)
            await refused(found, "laptop")
            await reopen(found)
            assert found.machine.log_name.endswith("/2")
            await found.submit(PairResign(pairing_id=found.pair_of("laptop").pairing, pair_type=PairType.INPUT))
            assert await found.meet("laptop") > 0 and await found.meet("owner") > 0
            assert found.pair_of("laptop").log_name == found.machine.log_name

    asyncio.run(scene())


def test_the_recovery_key_names_another_owner_and_pairs_believe_it(tmp_path: Path) -> None:
    """The owner's key is lost as well: `replace-admins` at the closed house, then the new key opens it; pairs know the recovery key."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await keep(found)
            old = found.human().public.key_id
            await bring_back(found, owner=old)
            heir = found.member("laptop").vault.new_human_present("heir")
            signer = found.member("laptop").vault.presence_signer(heir.key_id, lambda _: True)
            origin = sha256(found.machine.log_name.encode())
            recovery = recovery_from_text(found.recovery)
            await found.house.statements.submit_here(bundle(found, ReplaceAdmins(origin=origin, admins=(heir.public,)), recovery))
            wanted = await terms(found)
            assert wanted is not None
            with pytest.raises(Unproven):
                await carry(found, bundle(found, wanted))  # the old owner
            await found.machine.store.record(closed_event(RESTORING, bytes(heir.key_id)))
            await carry(found, bundle(found, wanted, signer))
            await carry(found, bundle(found, PairResign(pairing_id=found.pair_of("laptop").pairing, pair_type=PairType.INPUT), signer))
            assert await found.meet("laptop") > 0
            assert found.pair_of("laptop").log_name == wanted.log

    asyncio.run(scene())


def test_a_pair_follows_no_statement_of_a_key_it_does_not_know(tmp_path: Path) -> None:
    """A thief of the house who made an admin key of its own there: its `restored` is refused by every pair, which stays where it was."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.meet("laptop")
            name = found.pair_of("laptop").log_name
            own = found.machine.vault.new_human_present("thief")
            signer = found.machine.vault.presence_signer(own.key_id, lambda _: True)
            await found.rest()
            # The thief writes into the stolen ledger what the rules of a running house would never let in by a statement.
            owner = found.human().public.key_id
            with Machine.open(found.machine.settings) as stolen:
                stolen.store.append(introduced(own.public, key=bytes(owner))).result()
                stolen.store.append(closed_event(RESTORING, bytes(own.key_id))).result()
            await found.rise()
            wanted = await terms(found)
            assert wanted is not None
            await carry(found, bundle(found, wanted, signer))
            await carry(found, bundle(found, PairResign(pairing_id=found.pair_of("laptop").pairing, pair_type=PairType.INPUT), signer))
            session = await HouseSession.open(found.member("laptop"), found.pair_of("laptop"))
            with pytest.raises((Unproven, Unavailable)):
                for _ in range(100):
                    await session.get_json("/v1/ping", verb="pair.ping")
                    await asyncio.sleep(0.01)
            with pytest.raises(Unproven):
                await session.close()
                raise Unproven("it was over already")
            assert found.pair_of("laptop").log_name == name

    asyncio.run(scene())


def test_statements_are_for_the_door_of_a_closed_house_only(tmp_path: Path) -> None:
    """An open house takes no restore; and what is no bundle at all is told as an error, not as silence."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            wanted = HouseRestore(origin=bytes(32), size=1, root=bytes(32), log="x/1", seen=())
            with pytest.raises(Refused):
                await carry(found, bundle(found, wanted))
            async with await HouseSession.open(found.member("owner"), found.pair_of("owner"), patient=True) as session:
                session.stream.say(write_message(Submit(b"x")))
                queue = session.stream.patient
                assert queue is not None
                told = await asyncio.wait_for(queue.get(), 5)
                assert isinstance(told, Told) and told.kind == "malformed"
            with pytest.raises(TallyError):
                await found.submit(wanted)

    asyncio.run(scene())


def test_no_invite_and_no_approval_comes_back(tmp_path: Path) -> None:
    """An invite that was open and a pairing that waited at the backup: void, though somebody kept what it takes to use them."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            invite = await found.invite(yes=True)
            waiting = await found.invite()
            asking = asyncio.create_task(
                redeem(found.member("patient"), waiting, label="patient", human=None, show_words=nothing, wait_s=1)
            )
            pairing = await found.waiting()
            await keep(found)
            await asking
            await bring_back(found)
            with pytest.raises(TallyError):
                await redeem(found.member("late"), invite, label="late", human=None, show_words=nothing, wait_s=2)
            await reopen(found)
            assert {row.state for row in found.machine.store.invites()} == {"consumed", "void"}
            row = found.machine.store.pair(pairing)
            assert row is not None and row.state == "broken" and found.machine.store.inbox() == ()
            with pytest.raises(Refused):
                await found.approve(pairing)
            with pytest.raises(TallyError):
                await redeem(found.member("late"), invite, label="late", human=None, show_words=nothing, wait_s=2)
            assert not [pair for pair in found.machine.store.pairs() if pair.label in ("late", "patient") and pair.heard]

    asyncio.run(scene())
