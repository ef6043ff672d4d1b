"""Disks that fail: a failed sync stops the house, a full disk does not, and nothing acknowledged is lost."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from tallystick.errors import TallyError, Unavailable
from tallystick.ledger.receipt import Receipt
from tallystick.storage.sqlite import Store
from tallystick.tlog.tree import leaf_hash
from tests.storage.faulty import FaultyVFS, Plan
from tests.storage.house import answer, found

_names = itertools.count()


@contextmanager
def broken(path: Path, plan: Plan, stopped: list[TallyError]) -> Iterator[Store]:
    vfs = FaultyVFS(f"faulty{next(_names)}", plan)
    try:
        with Store.open(path, vfs=vfs.vfs_name, stopped=stopped.append) as store:
            yield store
    finally:
        vfs.unregister()


def house(path: Path) -> None:
    with Store.open(path, create=True) as store:
        found(store)


def push(store: Store, count: int) -> tuple[list[Receipt], list[Unavailable]]:
    acknowledged: list[Receipt] = []
    failed: list[Unavailable] = []
    for n in range(count):
        try:
            acknowledged += store.append(answer(n)).result(10)
        except Unavailable as error:
            failed.append(error)
    return acknowledged, failed


def check(path: Path, acknowledged: list[Receipt]) -> int:
    with Store.open(path) as store:
        for receipt in acknowledged:
            row = store.entry(receipt.index)
            assert row is not None and leaf_hash(row.leaf) == receipt.leaf_hash
        store.append(answer(99)).result(10)
        return store.size()


@pytest.mark.parametrize("for_good", [True, False])
@pytest.mark.parametrize("after", [0, 1, 5])
def test_a_failed_sync_stops_the_house(tmp_path: Path, after: int, for_good: bool) -> None:
    """After one failed sync of the log everything is Unavailable, also when the disk would work again; it is never tried again."""
    path = tmp_path / "house.sqlite"
    house(path)
    plan = Plan("sync", "-wal", after, apsw.IOError, for_good)
    stopped: list[TallyError] = []
    with broken(path, plan, stopped) as store:
        acknowledged, failed = push(store, 20)
        assert len(acknowledged) <= after and len(failed) == 20 - len(acknowledged)
        assert plan.failed == 1 and len(stopped) == 1 and store.failure is stopped[0]
        with pytest.raises(Unavailable, match="disk failed"):
            store.append(answer(1))
    check(path, acknowledged)


@pytest.mark.parametrize("after", [0, 3, 10])
def test_a_failed_write_stops_the_house(tmp_path: Path, after: int) -> None:
    """An error of a write is an error of the disk."""
    path = tmp_path / "house.sqlite"
    house(path)
    stopped: list[TallyError] = []
    with broken(path, Plan("write", "-wal", after, apsw.IOError), stopped) as store:
        acknowledged, failed = push(store, 20)
        assert failed and len(stopped) == 1
    check(path, acknowledged)


@pytest.mark.parametrize("after", [0, 4, 9])
def test_a_full_disk_fails_the_group_and_nothing_else(tmp_path: Path, after: int) -> None:
    """Without space the caller hears so; nothing is half done; with space again the house goes on without a restart."""
    path = tmp_path / "house.sqlite"
    house(path)
    plan = Plan("write", "-wal", after, apsw.FullError)
    stopped: list[TallyError] = []
    with broken(path, plan, stopped) as store:
        acknowledged, failed = push(store, 10)
        assert failed and all("full" in error.message for error in failed) and not stopped
        assert store.size() == 2 + len(acknowledged)
        plan.after = 1 << 30
        more, none = push(store, 5)
        assert len(more) == 5 and none == []
        assert [receipt.index for receipt in more] == list(range(2 + len(acknowledged), 7 + len(acknowledged)))
    assert check(path, acknowledged + more) == 8 + len(acknowledged)


def test_a_full_disk_for_real(tmp_path: Path) -> None:
    """A database at its page limit (SQLite's own `disk is full`) refuses a group whole and takes smaller ones."""
    path = tmp_path / "house.sqlite"
    house(path)
    with Store.open(path) as store:
        pages = store._book.db.pragma("page_count")
        assert isinstance(pages, int)
        store._book.db.pragma("max_page_count", pages + 2)
        with pytest.raises(Unavailable, match="full"):
            store.append(*(answer(n, ext={"x": bytes(1000)}) for n in range(200))).result(10)
        assert store.size() == 2
        store.append(answer(1)).result(10)
        assert store.size() == 3


def test_an_error_while_bringing_the_log_home_stops_the_house(tmp_path: Path) -> None:
    """SQLite hides errors of its automatic checkpoints; ours stop the house, and nothing acknowledged is lost."""
    path = tmp_path / "house.sqlite"
    house(path)
    stopped: list[TallyError] = []
    acknowledged: list[Receipt] = []
    with broken(path, Plan("sync", "house.sqlite", 0, apsw.IOError), stopped) as store:
        for _ in range(60):
            try:
                acknowledged += store.append(*(answer(n, ext={"x": bytes(1000)}) for n in range(400))).result(20)
            except Unavailable:
                break
        assert stopped
    assert acknowledged
    check(path, acknowledged)


def test_a_body_that_cannot_be_stored_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the opening finds no place its entry is not recorded either; a full disk does not stop the house."""
    path = tmp_path / "house.sqlite"
    house(path)
    with Store.open(path) as store:
        bodies = store._book.bodies
        assert bodies is not None

        def full(*_: object) -> tuple[int, ...]:
            raise Unavailable("the body store failed") from OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(bodies, "write", full)
            with pytest.raises(Unavailable):
                store.append(answer(1), openings=[b"x"]).result(10)
            assert store.size() == 2 and store.failure is None
        (receipt,) = store.append(answer(1), openings=[b"x"]).result(10)
        assert store.opening(receipt.index) == b"x"

        def broken_disk(*_: object) -> tuple[int, ...]:
            raise Unavailable("the body store failed") from OSError(5, "Input/output error")

        with monkeypatch.context() as patch:
            patch.setattr(bodies, "write", broken_disk)
            with pytest.raises(Unavailable):
                store.append(answer(1), openings=[b"x"]).result(10)
        with pytest.raises(Unavailable):
            store.append(answer(1))
    check(path, [receipt])


def test_our_own_mistake_stops_the_house_and_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that is none of the five reaches its callers as it is; nothing is kept and nothing goes on as if it had not been."""
    path = tmp_path / "house.sqlite"
    house(path)
    stopped: list[TallyError] = []
    with Store.open(path, stopped=stopped.append) as store:

        def mistake() -> None:
            raise AssertionError("bad arithmetic")

        with monkeypatch.context() as patch:
            patch.setattr(store._book, "_store_entries", mistake)
            with pytest.raises(AssertionError, match="bad arithmetic"):
                store.append(answer(1)).result(10)
        with pytest.raises(Unavailable, match="internal error"):
            store.append(answer(1))
        assert store.size() == 2 and len(stopped) == 1
    check(path, [])


def test_a_read_only_state_is_unavailable(tmp_path: Path) -> None:
    """A folder that cannot be written to, or that is not there, is Unavailable with a hint, never a traceback."""
    path = tmp_path / "house.sqlite"
    house(path)
    vfs = FaultyVFS("denied", Plan("write", "house.sqlite-wal", 0, apsw.ReadOnlyError))
    try:
        with Store.open(path, vfs=vfs.vfs_name) as store:
            with pytest.raises(Unavailable, match="cannot be written") as caught:
                store.append(answer(1)).result(10)
            assert caught.value.hint
    finally:
        vfs.unregister()
    check(path, [])
