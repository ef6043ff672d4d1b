"""What programs that died leave behind: no erased word lives on in it, and none of it finds its way into a machine that comes back."""

import contextlib
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import apsw
import pytest

from tallystick.errors import Refused, Unavailable
from tallystick.ledger.event import Event, Kind
from tallystick.node import restoring
from tallystick.node.backup import write_backup
from tallystick.node.erasing import erase
from tallystick.node.machine import Machine
from tallystick.node.restoring import restore
from tallystick.node.settings import load
from tallystick.storage.leftovers import COPY, KEYS, REBUILT, copying
from tests.node.estate import Estate
from tests.node.test_backup import opened, quiet, seal
from tests.node.test_checkpoints import grow

WORD = b"/v1/files/love-letter.txt"


@pytest.fixture
def estate(tmp_path: Path) -> Any:
    made = Estate.at(tmp_path)
    made.pair("laptop")
    yield made
    made.close()


def planted(estate: Estate) -> int:
    """An entry with an opening, and its path in the index of targets, in clear."""
    entry = estate.house.store.append(Event.of(Kind.STOPPED, 1, what="body"), openings=[b"opening of " + WORD]).result()[0].index
    with contextlib.closing(apsw.Connection(str(estate.house.home.database))) as db:
        db.set_busy_timeout(1_000)
        db.execute("INSERT INTO targets VALUES (?, ?)", (entry, WORD.decode()))
    return entry


def found(folder: Path, word: bytes) -> list[str]:
    """The files below a folder that hold these bytes."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and word in path.read_bytes())


def left_by_the_dead(estate: Estate) -> None:
    """What `tally backup` and `tally rebuild` leave when they are killed."""
    home = estate.house.home
    estate.house.store._book.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    for name in (COPY, f"{COPY}-journal", f"{home.database.name}{REBUILT}", f"{home.database.name}{REBUILT}-wal"):
        shutil.copy(home.database, home.path / name)
    shutil.copy(home.bodies / "keys.bin", home.path / KEYS)


def test_an_erasure_reaches_what_a_killed_program_left(estate: Estate) -> None:
    """A copy of the ledger that a killed backup or rebuild left goes with the erasure, before that is told as done."""
    entry, home = planted(estate), estate.house.home
    left_by_the_dead(estate)
    assert len(found(home.path, WORD)) >= 4
    erase(estate.house.store, [entry], 1, "local", "asked")
    assert found(home.path, WORD) == []
    assert not [path for path in home.path.iterdir() if path.name.startswith(".backup") or REBUILT in path.name]


def test_a_start_reaches_it_too(estate: Estate) -> None:
    """Nothing of it is there after the next start, whoever erased what before."""
    planted(estate)
    left_by_the_dead(estate)
    estate.house.close()
    with Machine.open(estate.house.settings) as again:
        assert found(again.home.path, WORD) == ["house.sqlite"]


def test_a_backup_that_is_being_written_is_left_alone(estate: Estate) -> None:
    """Its copy is not pulled away by an erasure; and a second backup waits for its end, or there would be two that are neither."""
    entry, home = planted(estate), estate.house.home
    with copying(home.path):
        (home.path / COPY).write_bytes(b"in use")
        erase(estate.house.store, [entry], 1, "local", "asked")
        assert (home.path / COPY).read_bytes() == b"in use"
        with pytest.raises(Unavailable, match="another backup"):
            write_backup(estate.house, estate.folder / "second", seal, quiet)
    write_backup(estate.house, estate.folder / "second", seal, quiet)
    assert not (home.path / COPY).exists()


def test_what_is_erased_during_a_backup_is_not_in_it(estate: Estate) -> None:
    """Neither its opening nor its path: erased after the ledger was copied and before its bodies were, it is gone from the copy."""
    entry = planted(estate)

    def late(write: Any) -> Any:
        erase(estate.house.store, [entry], 1, "local", "asked")
        return seal(write)

    write_backup(estate.house, estate.folder / "backup", late, quiet)
    restore(estate.folder / "backup", estate.folder / "again", opened, estate.owner.public.key_id, quiet)
    assert found(estate.folder / "again", WORD) == []


def test_no_foreign_log_gets_into_a_ledger_that_comes_back(estate: Estate) -> None:
    """A write-ahead log that lies in the home from a ledger that is gone is not taken for the restored one's."""
    house = estate.house
    write_backup(house, estate.folder / "backup", seal, quiet)
    grow(house, 30)
    home = estate.folder / "again"
    home.mkdir(mode=0o700)
    for ending in ("-wal", "-shm"):
        shutil.copy(f"{house.home.database}{ending}", home / f"house.sqlite{ending}")
    assert (home / "house.sqlite-wal").stat().st_size > 0
    restore(estate.folder / "backup", home, opened, estate.owner.public.key_id, quiet)
    with Machine.open(load({"name": "again"}, home=home, env={})) as again:
        assert not again.store.house().is_open
        with contextlib.closing(apsw.Connection(str(again.home.database))) as db:
            assert db.execute("PRAGMA integrity_check").get == "ok"


def test_two_restores_into_one_home(estate: Estate) -> None:
    """The second one is refused and leaves the first one's files alone."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    home, owner = estate.folder / "again", estate.owner.public.key_id
    said: list[str] = []

    def meanwhile(done: int, total: int | None) -> None:
        if not said:
            with pytest.raises(Unavailable, match="another restore") as refused:
                restore(estate.folder / "backup", home, opened, owner, quiet)
            said.append(refused.value.message)

    restore(estate.folder / "backup", home, opened, owner, meanwhile)
    assert said
    Machine.open(load({"name": "again"}, home=home, env={})).close()


@pytest.mark.parametrize("call", ["rename", "fsync", "mkdir"])
def test_a_restore_that_died_is_made_again(estate: Estate, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Killed at any of these calls it leaves a home into which the next restore goes, as if nothing had been; failed, an empty one."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    real, owner = getattr(os, call), estate.owner.public.key_id

    class Killed(BaseException):
        """Nothing is tidied up behind it."""

    for nth in range(1, 100):
        home, left = estate.folder / f"{call}{nth}", [nth]

        def dies(*args: Any, left: list[int] = left, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, call, dies)
        monkeypatch.setattr(restoring, "_take_back", lambda home: None)
        monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
        with contextlib.suppress(Killed):
            restore(estate.folder / "backup", home, opened, owner, quiet)
        monkeypatch.undo()
        if left[0] > 0:
            return
        if not (home / "vault").exists():
            restore(estate.folder / "backup", home, opened, owner, quiet)
        with Machine.open(load({"name": "again"}, home=home, env={})) as again:
            assert not again.store.house().is_open
    raise AssertionError("it never came to its end")


def test_bodies_that_are_left_of_a_machine_are_not_trodden_on(estate: Estate) -> None:
    """Whoever lost ledger and vault may still want the bodies: a restore says so and touches nothing."""
    write_backup(estate.house, estate.folder / "backup", seal, quiet)
    home = estate.folder / "again"
    (home / "bodies").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    content = secrets.token_bytes(64)
    (home / "bodies" / "000000.seg").write_bytes(content)
    with pytest.raises(Refused, match="bodies of another ledger"):
        restore(estate.folder / "backup", home, opened, estate.owner.public.key_id, quiet)
    assert (home / "bodies" / "000000.seg").read_bytes() == content and os.listdir(home) == ["bodies"]
