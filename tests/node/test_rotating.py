"""A house's own keys give way to others: signed by both, followed by every pair, and what the old ones signed stays good."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import decode, encode
from tallystick.errors import Malformed, Misuse, TallyError, Unavailable, Unproven
from tallystick.keys import Signer
from tallystick.ledger.event import Kind
from tallystick.node import commands
from tallystick.node.client import HouseSession
from tallystick.node.machine import Machine
from tallystick.node.rotating import current_keys, rotate
from tallystick.node.rotation import Rotation, Use, read_rotation, write_rotation
from tallystick.node.settings import load
from tallystick.primitives import Ed25519KeyPair
from tallystick.storage.rebuild import differences, rebuild
from tallystick.tlog.checkpoint import read_checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import verifier
from tallystick.tlog.note import SignatureType, VerifierKey
from tests.node.estate import Estate
from tests.node.test_checkpoints import meet
from tests.node.village import Village, village


async def turn(found: Village, use: Use) -> None:
    """The house stops, gets new keys, and starts again."""
    await found.rest()
    commands.key_rotate(found.machine.settings, use=use.value)
    await found.rise()


async def visit(found: Village, name: str) -> int:
    """Sessions until one has brought a checkpoint under the newest keys; its size."""
    for _ in range(50):
        await asyncio.to_thread(found.house.publisher.newest, fresh=True)
        async with await HouseSession.open(found.member(name), found.pair_of(name)) as session:
            await session.get_json("/v1/ping", verb="pair.ping")
        row = found.pair_of(name)
        last = found.machine.store.entries(kinds=(Kind.KEY_ROTATED,), newest_first=True, limit=1)[0].index
        if row.followed == last and row.seen is not None and row.seen.size > last:
            return row.seen.size
    raise AssertionError("it never followed")


def test_pairs_follow_every_kind_of_rotation(tmp_path: Path) -> None:
    """Log, machine and witness, one after the other and all at once while a pair was away: it follows in its next session."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.join("phone")
            await found.meet("laptop")
            old = {use: current_keys(found.machine.vault, use) for use in Use}
            note = found.pair_of("laptop").seen
            assert note is not None
            for use in Use:
                await turn(found, use)
                assert current_keys(found.machine.vault, use) != old[use]
                await visit(found, "laptop")
            row = found.pair_of("laptop")
            now = {use: current_keys(found.machine.vault, use) for use in Use}
            assert row.log_keys == tuple(zip((1, 6), now[Use.LOG], strict=True))
            assert (row.static_key, row.signing_key.cose_key()) == now[Use.MACHINE]
            assert (row.witness_key,) == now[Use.WITNESS]
            # The phone comes back and knows nothing of it: its knock is for the old Noise key.
            assert found.pair_of("phone").static_key == old[Use.MACHINE][0]
            await visit(found, "phone")
            assert found.pair_of("phone").static_key == now[Use.MACHINE][0]
            await visit(found, "owner")
            # Everybody has followed: the old Noise key is destroyed with the next start.
            assert found.machine.vault.list("static/") != ()
            await found.rest()
            await found.rise()
            assert found.machine.vault.list("static/") == ()
            await visit(found, "phone")
            # Entries name every key that ever signed, so an old checkpoint verifies by them.
            keys = [found.machine.log_keys_ever()[-1]][0]
            log = [verifier(VerifierKey(name=found.machine.log_name, type=SignatureType(kind), public=key)) for kind, key in keys]
            assert verify_checkpoint(note.note, log=log).checkpoint.size == note.size
            # New machines pair with the new keys.
            await found.join("tablet")
            assert await found.meet("tablet") > 0
            for name in ("attic", "laptop", "phone"):
                database = tmp_path / name / "house.sqlite"
                rebuild(database, tmp_path / f"{name}.again")
                assert differences(database, tmp_path / f"{name}.again") == ()

    asyncio.run(scene())


@pytest.mark.parametrize("use", list(Use))
@pytest.mark.parametrize("at", ["staged", "recorded"])
def test_a_crash_in_between_is_settled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use: Use, at: str) -> None:
    """Before the entry the old keys stay and the staged ones are destroyed; after it the new ones are promoted at the next start."""
    estate = Estate.at(tmp_path)
    house = estate.house
    settings, before = house.settings, current_keys(house.vault, use)
    dies = RuntimeError("the power goes")

    def fail(*_: object, **__: object) -> None:
        raise dies

    target, name = (house.store, "append") if at == "staged" else (type(house.vault), "promote")
    monkeypatch.setattr(target, name, fail)
    with pytest.raises(RuntimeError), house.home.lock():
        rotate(house, use)
    monkeypatch.undo()
    estate.close()
    with Machine.open(settings) as again:
        assert again.vault.list("next/") == ()
        changed = current_keys(again.vault, use) != before
        assert changed == (at == "recorded")
        if use is Use.LOG:
            assert tuple(key for _, key in again.store.house().log_keys) == current_keys(again.vault, use)


def test_it_takes_the_house_alone(tmp_path: Path) -> None:
    """A house that runs keeps its keys in memory, so it must be stopped; a client pairs anew instead."""
    estate = Estate.at(tmp_path)
    with estate.house.home.lock(), pytest.raises(Unavailable):
        commands.key_rotate(estate.house.settings, use="log")
    with pytest.raises(Misuse):
        commands.key_rotate(load({"name": "owner"}, home=tmp_path / "owner", env={}), use="machine")
    estate.close()


def test_a_checkpoint_of_the_new_key_is_signed_at_once(tmp_path: Path) -> None:
    """The newest note of before, however young, is no answer to a pair that has followed."""
    estate = Estate.at(tmp_path)
    estate.pair("laptop")
    meet(estate)
    with estate.house.home.lock():
        rotate(estate.house, Use.LOG)
    settings = estate.house.settings
    estate.close()
    from tallystick.node.publisher import Publisher

    with Machine.open(settings) as again:
        note = Publisher(again).newest().note
        keys = [
            verifier(VerifierKey(name=again.log_name, type=SignatureType(kind), public=key)) for kind, key in again.store.house().log_keys
        ]
        assert verify_checkpoint(note, log=keys).checkpoint == read_checkpoint(note)[0]


def signed(rotation: Rotation, *signers: Signer | Ed25519KeyPair) -> bytes:
    return write_rotation(rotation, tuple(signer.sign(rotation.message()) for signer in signers))


def test_a_rotation_is_signed_by_the_old_and_the_new(tmp_path: Path) -> None:
    """A signature less, one more, in another order, by another key, over another message: refused."""
    old, new, other = (Ed25519KeyPair.from_private(bytes((seed,)) * 32) for seed in (1, 2, 3))
    good = Rotation(machine=bytes(32), use=Use.WITNESS, size=7, old=(old.public,), new=(new.public,))
    assert read_rotation(signed(good, old, new)) == good
    for signers in ((old,), (new,), (new, old), (old, other), (other, new), (old, new, new)):
        with pytest.raises((Malformed, Unproven)):
            read_rotation(signed(good, *signers))
    message = signed(good, old, new)
    for changed in (replace(good, size=8), replace(good, machine=bytes(31) + b"\1"), replace(good, use=Use.MACHINE)):
        value = decode(message, max_depth=2)
        assert isinstance(value, list)
        with pytest.raises((Malformed, Unproven)):
            read_rotation(encode([changed.message(), value[1]]))
    with pytest.raises(Malformed):
        read_rotation(signed(replace(good, new=(old.public,)), old, old))
    with pytest.raises(Malformed):
        read_rotation(signed(replace(good, new=(bytes(32),)), old, new))


@given(st.binary(max_size=200))
def test_any_bytes_are_no_rotation(raw: bytes) -> None:
    """Malformed or Unproven, and never another error."""
    with pytest.raises(TallyError):
        read_rotation(raw)
