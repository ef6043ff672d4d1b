"""One sealed file from which a whole machine comes back: consistent, whole or not there at all (docs/spec/restore.md, section 8)."""

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Refused, TallyError, Unavailable, Unproven
from tallystick.ledger.event import Event, Kind
from tallystick.node import commands
from tallystick.node.backup import write_backup
from tallystick.node.home import Home
from tallystick.node.machine import Machine
from tallystick.node.restoring import restore
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.passage.effect import invite_name
from tallystick.primitives import X25519KeyPair
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tallystick.vault.sealing import Kdf
from tallystick.vault.stream import CHUNK_BYTES, MAGIC, SealedReader, SealedWriter
from tests.node.estate import Estate, machine
from tests.node.test_checkpoints import grow

WORDS = "correct horse battery"
CHEAP = Kdf(name="argon2id", salt=bytes(16), cost=(8, 1, 1))


def seal(write: Any) -> SealedWriter:
    return SealedWriter.for_passphrase(write, WORDS, os.urandom, CHEAP)


def opened(read: Any) -> SealedReader:
    return SealedReader(read, passphrase=lambda: WORDS)


def quiet(done: int, total: int | None) -> None:
    """No bar."""


@pytest.fixture
def estate(tmp_path: Path) -> Any:
    made = Estate.at(tmp_path)
    made.pair("laptop")
    yield made
    made.close()


def put_back(estate: Estate, file: Path, name: str = "again") -> Machine:
    """The backup in a home of its own, opened."""
    owner = estate.owner.public.key_id
    restore(file, estate.folder / name, opened, owner, quiet)
    return Machine.open(load({"name": name}, home=estate.folder / name, env={}))


def test_a_machine_comes_back_as_it_was(estate: Estate) -> None:
    """Entries, state, bodies, keys, secrets of pairs; not the secrets of open invites; and a house is closed in it."""
    house = estate.house
    receipt = house.store.append(Event.of(Kind.STOPPED, 1, what="body"), openings=[b"clear value"]).result()[0]
    house.vault.put_secret(invite_name(bytes(32)), b"open invite")
    house.memory.put({"pair time": 7})
    file = estate.folder / "backup"
    made = write_backup(house, file, seal, quiet)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and made.length == file.stat().st_size
    assert {path.name for path in house.home.path.iterdir() if path.name.startswith(".backup")} == set()
    with put_back(estate, file) as again:
        assert again.house_id == house.house_id and again.store.root_at(made.size) == made.root == house.store.root_at(made.size)
        assert again.store.opening(receipt.index) == b"clear value"
        assert again.memory.get("pair time") == 7
        assert again.vault.list() == tuple(name for name in house.vault.list() if not name.startswith("invite/"))
        assert again.vault.machine.static.public == house.vault.machine.static.public
        state = again.store.house()
        assert (state.state, state.why, state.owner, state.size) == ("closed", "restoring", estate.owner.public.key_id, made.size)
        rebuild(again.home.database, estate.folder / "rebuilt.sqlite")
        assert differences(again.home.database, estate.folder / "rebuilt.sqlite") == ()
        for path in (again.home.path, again.home.vault, again.home.bodies):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert not (again.home.path / ".restoring").exists()


def test_nothing_readable_lies_in_it(estate: Estate) -> None:
    """Neither labels nor keys nor secrets nor bodies: the file is sealed as a whole."""
    estate.house.store.append(Event.of(Kind.STOPPED, 1, what="body"), openings=[b"clear value " * 5]).result()
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    data = (estate.folder / "backup").read_bytes()
    for planted in (b"laptop", b"clear value", b"SQLite", b"vault", b"manifest", bytes(estate.house.house_id)):
        assert planted not in data


def test_it_is_of_one_moment(estate: Estate) -> None:
    """While entries and bodies are written and erased, a backup is the ledger of one moment, and every body in it opens."""

    async def busy(stop: asyncio.Event) -> None:
        while not stop.is_set():
            receipts = await estate.house.store.record(
                *(Event.of(Kind.STOPPED, 1, what="x") for _ in range(5)), openings=[os.urandom(700)] * 5
            )
            await estate.house.store.record(Event.of(Kind.BODY_ERASED, 1, entry=receipts[2].index, reason="asked"))

    async def scene() -> None:
        stop = asyncio.Event()
        task = asyncio.create_task(busy(stop))
        for number in range(4):
            await asyncio.to_thread(write_backup, estate.house, estate.folder / f"b{number}", seal, quiet)
        stop.set()
        await task

    asyncio.run(scene())
    for number in range(4):
        with put_back(estate, estate.folder / f"b{number}", f"again{number}") as again:
            for index in range(again.store.size()):
                again.store.opening(index)
            rebuild(again.home.database, estate.folder / f"r{number}.sqlite")
            assert differences(again.home.database, estate.folder / f"r{number}.sqlite") == ()


def test_every_damage_is_found_and_nothing_is_put_in_place(estate: Estate) -> None:
    """Cut off anywhere, any byte changed, chunks dropped, swapped or doubled, bytes behind the end, another passphrase."""
    file = estate.folder / "backup"
    write_backup(estate.house, file, seal, quiet)
    data = file.read_bytes()
    whole = CHUNK_BYTES + 16
    start = len(data) % whole
    wrong = [data[:at] for at in (0, 10, 40, start, len(data) - whole, len(data) - 1)]
    wrong += [data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :] for at in (0, 22, 30, 60, start + 99, len(data) // 2, len(data) - 1)]
    wrong += [data + b"x", data + data[-whole:], data[: start + whole] + data[start + 2 * whole :]]
    wrong += [data[:start] + data[start + whole : start + 2 * whole] + data[start : start + whole] + data[start + 2 * whole :]]
    owner, home = estate.owner.public.key_id, estate.folder / "again"
    for number, bad in enumerate(wrong):
        file.write_bytes(bad)
        with pytest.raises((Malformed, Unproven, Misuse)):
            restore(file, home, opened, owner, quiet)
        assert list(home.iterdir()) == [], number
    file.write_bytes(data)
    with pytest.raises(Unproven, match="passphrase"):
        restore(file, home, lambda read: SealedReader(read, passphrase=lambda: "another one"), owner, quiet)
    with pytest.raises(Misuse, match="passphrase"):
        restore(file, home, lambda read: SealedReader(read, static=(bytes(32), lambda _: bytes(32))), owner, quiet)
    with pytest.raises(Misuse):
        restore(estate.folder / "nothing", home, opened, owner, quiet)


def test_a_house_needs_an_owner_who_was_one(estate: Estate) -> None:
    """Whoever restores says which human key opens the house again, and it was one with admin; the error lists those there were."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    for owner in (None, estate.house.house_id):
        with pytest.raises(Misuse) as caught:
            restore(estate.folder / "backup", estate.folder / "again", opened, owner, quiet)
        assert str(estate.owner.public.key_id) in caught.value.hint
        assert list((estate.folder / "again").iterdir()) == []


def test_nothing_is_written_over_anything(estate: Estate) -> None:
    """Neither a file by a backup nor a machine by a restore."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    before = (estate.folder / "backup").read_bytes()
    with pytest.raises(Refused):
        write_backup(estate.house, estate.folder / "backup", seal, quiet)
    assert (estate.folder / "backup").read_bytes() == before
    with pytest.raises(Refused):
        restore(estate.folder / "backup", estate.house.home.path, opened, estate.owner.public.key_id, quiet)


def test_a_client_is_restored_open(estate: Estate) -> None:
    """A machine that is nobody's house has no owner and is not closed; its pairs are as they were."""
    write_backup(estate.machines["laptop"], estate.folder / "backup", seal, quiet)
    result = restore(estate.folder / "backup", estate.folder / "again", opened, None, quiet)
    assert result["role"] == "client"
    with Store.open(estate.folder / "again" / "house.sqlite") as store:
        assert store.house().is_open and store.pairs()[-1].stands


def test_the_command_signs_first_and_records_itself(tmp_path: Path) -> None:
    """`tally backup`: the newest checkpoint in the backup covers all of it; the entry names size, root and the file's hash."""
    made = Estate.at(tmp_path)
    made.close()
    settings = made.house.settings
    told = commands.backup(settings, target=tmp_path / "backup", passphrase=lambda _: WORDS.encode(), progress=quiet)
    with Machine.open(settings) as again:
        entry = again.store.entry(told["entry"])
        assert entry is not None and entry.event.kind is Kind.BACKED_UP
        assert (entry.event.number("size"), entry.event.blob("digest").hex()) == (told["entries"], told["sha256"])
    back = commands.restore(
        load({"name": "again"}, home=tmp_path / "again", env={}),
        source=tmp_path / "backup",
        owner=str(made.owner.public.key_id),
        passphrase=lambda _: WORDS.encode(),
        progress=quiet,
    )
    assert back["entries"] == told["entries"]
    with Store.open(tmp_path / "again" / "house.sqlite") as store:
        newest = store.latest_checkpoint()
        assert newest is not None and newest.size == told["entries"]
    with pytest.raises(Misuse):
        commands.backup(settings, target=tmp_path / "other", passphrase=lambda _: b"short", progress=quiet)


def test_a_copy_for_one_machine_opens_there_alone(tmp_path: Path) -> None:
    """Sealed to a static key it takes that key, and no passphrase."""
    alone = machine(tmp_path, "alone", Role.HOUSE)
    new = X25519KeyPair.from_private(os.urandom(32))
    write_backup(alone, tmp_path / "copy", lambda write: SealedWriter.for_machine(write, new.public, os.urandom), quiet)
    data = (tmp_path / "copy").open("rb")
    assert not SealedReader(data.read, static=(new.public, new.exchange)).at_end()
    other = X25519KeyPair.from_private(os.urandom(32))
    for static in ((other.public, other.exchange), (new.public, other.exchange)):
        data.seek(0)
        with pytest.raises(Unproven, match="not sealed for this machine"):
            SealedReader(data.read, static=static)
    data.seek(0)
    with pytest.raises(Misuse):
        SealedReader(data.read, passphrase=lambda: WORDS)
    data.close()
    alone.close()


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(0, 3 * CHUNK_BYTES), max_size=4), step=st.integers(1, 2 * CHUNK_BYTES))
def test_what_is_sealed_is_read_in_any_steps(sizes: list[int], step: int) -> None:
    """Whatever the sizes of writes and reads, also exactly at the ends of chunks, the bytes are the same."""
    out = bytearray()
    writer = SealedWriter.for_passphrase(out.extend, WORDS, os.urandom, CHEAP)
    parts = [os.urandom(size) for size in sizes]
    for part in parts:
        writer.write(part)
    writer.finish()
    place = 0

    def read(count: int) -> bytes:
        nonlocal place
        place += count
        return bytes(out[place - count : place])

    reader = SealedReader(read, passphrase=lambda: WORDS)
    left, found = sum(sizes), bytearray()
    while left:
        found += reader.read(min(step, left))
        left -= min(step, left)
    assert found == b"".join(parts) and reader.at_end()
    with pytest.raises(Malformed):
        reader.read(1)


@given(data=st.binary(max_size=300))
def test_any_bytes_are_no_backup(data: bytes) -> None:
    """Malformed, Unproven, Misuse or Unavailable; never another error."""
    for raw in (data, MAGIC + data, MAGIC + len(data).to_bytes(4, "big") + data):
        place = 0

        def read(count: int, raw: bytes = raw) -> bytes:
            nonlocal place
            place += count
            return raw[place - count : place]

        with pytest.raises(TallyError):
            SealedReader(read, passphrase=lambda: WORDS)


def test_a_grown_ledger_does_not_change_the_backup(estate: Estate) -> None:
    """What comes later is not in it."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    size = estate.house.store.size()
    grow(estate.house, 30)
    with put_back(estate, estate.folder / "backup") as again:
        assert again.store.size() == size + 1  # and the entry that closes it


@pytest.mark.parametrize("call", ["rename", "fsync", "open", "mkdir"])
def test_a_restore_that_dies_leaves_no_open_house(estate: Estate, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An error at each of its calls in turn: no machine lives there, or one that is closed; and the next attempt succeeds or refuses."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    real, owner = getattr(os, call), estate.owner.public.key_id
    for nth in range(1, 120):
        home, left = estate.folder / f"{call}{nth}", [nth]

        def fails(*args: Any, left: list[int] = left, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise OSError(errno.EIO, "the disk fails")
            return real(*args, **kwargs)

        monkeypatch.setattr(os, call, fails)
        try:
            restore(estate.folder / "backup", home, opened, owner, quiet)
        except TallyError:
            pass
        finally:
            monkeypatch.undo()
        if Home(home).exists():
            with Machine.open(load({}, home=home, env={})) as machine:
                assert not machine.store.house().is_open
        if left[0] > 0:
            return  # it has fewer calls than that
    raise AssertionError(f"it never came to its end without an error of {call}")


@pytest.mark.parametrize("call", ["fsync", "link", "open"])
def test_a_backup_that_dies_leaves_nothing(estate: Estate, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """An error at any of these calls: no file under its name, none beside it, and the house goes on."""

    def fails(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, call, fails)
    if call == "link":
        monkeypatch.setattr(os, "rename", fails)
    with pytest.raises(Unavailable):
        write_backup(estate.house, estate.folder / "backup", seal, quiet)
    monkeypatch.undo()
    assert not [path for path in estate.folder.iterdir() if "backup" in path.name]
    assert not [path for path in estate.house.home.path.iterdir() if path.name.startswith(".backup")]
    grow(estate.house)
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
