"""A house moves: the new machine has keys of its own, the old one is over with its last entry, pairs follow (docs/spec/restore.md, 7)."""

import asyncio
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unproven
from tallystick.keys import KeyKind, pinned
from tallystick.ledger.event import Event, Kind
from tallystick.node import commands
from tallystick.node.backup import write_backup
from tallystick.node.client import HouseSession
from tallystick.node.house import House
from tallystick.node.machine import Machine
from tallystick.node.moving import Ticket, read_ticket, receive
from tallystick.node.settings import Settings, load
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import HouseMigrate
from tallystick.primitives import sha256
from tallystick.storage.rebuild import differences, rebuild
from tallystick.vault import FileVault
from tallystick.vault.stream import SealedWriter
from tests.node.test_reopening import bundle, carry, quiet
from tests.node.village import Village, village


def new_home(found: Village, name: str = "cellar") -> Settings:
    return load({"name": name, "address": "127.0.0.1", "port": 0, "advertise": "127.0.0.1:1"}, home=found.folder / name, env={})


def ticket(found: Village, name: str = "cellar", port: int = 1) -> Ticket:
    """A machine that waits; where it will be."""
    settings = replace(new_home(found, name), advertise=f"127.0.0.1:{port}")
    commands.migrate_ticket(settings, target=found.folder / f"{name}.ticket")
    return read_ticket((found.folder / f"{name}.ticket").read_text())


def moves(found: Village, to: Ticket) -> HouseMigrate:
    return HouseMigrate(
        origin=sha256(found.machine.log_name.encode()),
        static=to.static,
        signing=to.signing,
        witness=pinned(KeyKind.ED25519, to.witness),
        log=to.log,
        addresses=to.addresses,
    )


async def send(found: Village, name: str = "copy") -> Path:
    await asyncio.to_thread(found.house.publisher.newest, fresh=True)
    static = found.machine.store.entries(kinds=(Kind.MIGRATED,))[0].event.blob("static_key")
    seal = lambda write: SealedWriter.for_machine(write, static, os.urandom)  # noqa: E731
    await asyncio.to_thread(lambda: write_backup(found.machine, found.folder / name, seal, quiet, own_keys=False))
    return found.folder / name


async def lands(found: Village, copy: Path, name: str = "cellar", port: int = 0) -> House:
    """The new machine takes the house and serves."""
    settings = replace(new_home(found, name), port=port)
    await asyncio.to_thread(receive, copy, settings.home, FileVault.open(settings.home / "vault"), quiet)
    machine = Machine.open(settings)
    house = House(machine)
    await house.start()
    return house


def free_port() -> int:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def test_a_house_moves_and_its_pairs_follow(tmp_path: Path) -> None:
    """The owner signs, the old machine takes no command from then on and tells each pair where to go; there it has new keys and goes on."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            await found.meet("laptop")
            port = free_port()
            to = ticket(found, port=port)
            before = found.pair_of("laptop")
            entry = await carry(found, bundle(found, moves(found, to)))
            assert found.machine.store.house().state == "moved" and entry == found.machine.store.size() - 1
            house = await lands(found, await send(found), port=port)
            try:
                # The first session with the old machine only tells; nothing more is recorded there.
                for _ in range(100):
                    if found.pair_of("laptop").static_key == to.static:
                        break
                    with pytest.raises(TallyError):
                        async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")) as session:
                            for _ in range(100):
                                await session.get_json("/v1/ping", verb="pair.ping")
                                await asyncio.sleep(0.01)
                after = found.pair_of("laptop")
                assert after.static_key == to.static != before.static_key
                assert (after.signing_key, after.witness_key, after.house) == (to.signing, to.witness, before.house)
                assert found.machine.store.size() == entry + 1
                async with await HouseSession.open(found.member("laptop"), after) as session:
                    assert (await session.get_json("/v1/status", verb="house.status"))["label"] == "laptop"
                seen = None
                for _ in range(100):
                    seen = found.pair_of("laptop").seen
                    if seen is not None and seen.size > entry + 1:
                        break
                    await asyncio.to_thread(house.publisher.newest, fresh=True)
                    async with await HouseSession.open(found.member("laptop"), found.pair_of("laptop")):
                        pass
                assert seen is not None and seen.size > entry + 1
                assert house.machine.log_name == found.machine.log_name and house.machine.house_id == found.machine.house_id
                laptop = found.member("laptop").home.database
                rebuild(laptop, tmp_path / "laptop.sqlite")
                assert differences(laptop, tmp_path / "laptop.sqlite") == ()
                # The old one stays what it is, also after a restart.
                await found.rest()
                await found.rise()
                assert found.machine.store.size() == entry + 1 and found.house.closing.moved
            finally:
                await house.stop()
                house.machine.close()

    asyncio.run(scene())


def test_only_its_own_machine_takes_the_copy(tmp_path: Path) -> None:
    """Another ticket, another copy, a changed one, one of a house that has not moved: nothing is put in place; and it is taken once."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            await found.join("laptop")
            to, other = ticket(found), ticket(found, "other")
            with pytest.raises(Unproven):
                wrong = replace(moves(found, to), origin=bytes(32))
                await carry(found, bundle(found, wrong))
            laptop = found.member("laptop").vault.new_human_present("nobody")
            stranger = found.member("laptop").vault.presence_signer(laptop.key_id, lambda _: True)
            with pytest.raises(Unproven):
                await carry(found, bundle(found, moves(found, to), stranger))
            with pytest.raises(Refused):
                await carry(found, bundle(found, moves(found, to)), "laptop")
            assert found.machine.store.house().is_open

            def seal(static: bytes) -> Any:
                return lambda write: SealedWriter.for_machine(write, static, os.urandom)

            await asyncio.to_thread(lambda: write_backup(found.machine, tmp_path / "early", seal(to.static), quiet, own_keys=False))
            with pytest.raises(Refused, match="has not moved"):
                receive(tmp_path / "early", tmp_path / "cellar", FileVault.open(tmp_path / "cellar" / "vault"), quiet)
            await carry(found, bundle(found, moves(found, to)))
            copy = await send(found)
            with pytest.raises(Unproven):
                receive(copy, tmp_path / "other", FileVault.open(tmp_path / "other" / "vault"), quiet)
            await asyncio.to_thread(lambda: write_backup(found.machine, tmp_path / "stolen", seal(other.static), quiet, own_keys=False))
            with pytest.raises(Refused, match="another machine"):
                receive(tmp_path / "stolen", tmp_path / "other", FileVault.open(tmp_path / "other" / "vault"), quiet)
            data = copy.read_bytes()
            (tmp_path / "bad").write_bytes(data[: len(data) // 2] + bytes((data[len(data) // 2] ^ 1,)) + data[len(data) // 2 + 1 :])
            cellar = FileVault.open(tmp_path / "cellar" / "vault")
            with pytest.raises((Malformed, Unproven)):
                receive(tmp_path / "bad", tmp_path / "cellar", cellar, quiet)
            assert not (tmp_path / "cellar" / "house.sqlite").exists()
            receive(copy, tmp_path / "cellar", cellar, quiet)
            with pytest.raises(Refused):
                receive(copy, tmp_path / "cellar", cellar, quiet)
            with pytest.raises(Misuse):
                commands.migrate_receive(load({}, home=tmp_path / "empty", env={}), source=copy, progress=quiet)

    asyncio.run(scene())


@pytest.mark.parametrize("at", ["ticket", "migrated", "sent", "received"])
def test_whenever_it_dies_one_house_at_most_is_open(tmp_path: Path, at: str) -> None:
    """The power goes after each step; what stands on both disks is opened again: never two that take commands, and the move can go on."""

    async def scene() -> None:
        async with village(tmp_path) as found:
            to = ticket(found)
            if at != "ticket":
                await carry(found, bundle(found, moves(found, to)))
            if at in ("sent", "received"):
                await send(found)
            if at == "received":
                receive(tmp_path / "copy", tmp_path / "cellar", FileVault.open(tmp_path / "cellar" / "vault"), quiet)
            await found.rest()
            shutil.copytree(tmp_path / "attic", tmp_path / "attic after")
            homes = [tmp_path / "attic after", tmp_path / "cellar"]
            taking = 0
            for home in homes:
                if not (home / "house.sqlite").exists():
                    continue
                with Machine.open(load({}, home=home, env={})) as machine:
                    command = Event.of(Kind.INVITE_CREATED, 1, "local", invite=bytes(32), pair_type=PairType.INPUT.value, expires=2)
                    try:
                        machine.store.append(command).result()
                        taking += 1
                    except Refused:
                        pass
            assert taking == (0 if at in ("migrated", "sent") else 1)
            await found.rise()
            if at == "migrated":
                await send(found)
            if at in ("migrated", "sent"):
                receive(tmp_path / "copy", tmp_path / "cellar", FileVault.open(tmp_path / "cellar" / "vault"), quiet)
                with Machine.open(load({}, home=tmp_path / "cellar", env={})) as machine:
                    assert machine.store.house().is_open

    asyncio.run(scene())


def test_a_ticket_is_signed_by_its_machine(tmp_path: Path) -> None:
    """Any byte of it changed, cut or forged: Malformed or Unproven. Made again for the same home it is the same machine."""

    async def scene() -> None:
        async with village(tmp_path, genesis=False) as found:
            good = ticket(found)
            text = (tmp_path / "cellar.ticket").read_text()
            body = text.splitlines()[1:-1]
            wrong: list[Any] = ["", "x", text[: len(text) // 2], "\n".join(body), text.replace("TICKET", "TOKEN")]
            for line in (0, len(body) // 2, len(body) - 1):
                for place in (0, 20):
                    changed = body[line][:place] + ("A" if body[line][place] != "A" else "B") + body[line][place + 1 :]
                    wrong.append(text.replace(body[line], changed))
            for each in wrong:
                with pytest.raises((Malformed, Unproven)):
                    read_ticket(each)
            os.unlink(tmp_path / "cellar.ticket")
            assert ticket(found) == good
            with pytest.raises(Refused):
                ticket(found)
            with pytest.raises(Refused):
                commands.migrate_ticket(found.machine.settings, target=tmp_path / "t")

    asyncio.run(scene())
