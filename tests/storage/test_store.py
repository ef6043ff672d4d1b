"""The store: receipts, groups, refusals before the queue, opening and what stops it from opening."""

import asyncio
import os
import shutil
import sqlite3
import stat
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.ledger import entry
from tallystick.ledger.append import Tree
from tallystick.ledger.event import Event, Kind
from tallystick.ledger.receipt import Grade, Receipt
from tallystick.storage import schema
from tallystick.storage.connection import connect
from tallystick.storage.sqlite import Store
from tallystick.storage.writer import MAX_QUEUED
from tallystick.tlog.proof import verify_consistency, verify_inclusion
from tallystick.tlog.tree import EMPTY_ROOT, leaf_hash, root_of
from tests.storage.house import START, answer, found, origin, owner_introduced


def test_a_receipt_proves_its_entry(store: Store) -> None:
    """A receipt names index, leaf hash and size; with them the entry is provably in the tree."""
    first, second = store.append(answer(1), answer(2)).result(10)
    assert (first.index, second.index, first.grade, first.tree_size) == (2, 3, Grade.RECORDED, 4)
    row = store.entry(first.index)
    assert row is not None and row.event == answer(1) and leaf_hash(row.leaf) == first.leaf_hash
    size, root = store.head()
    verify_inclusion(index=2, size=size, leaf=first.leaf_hash, root=root, proof=store.inclusion(2, size))


def test_one_refusal_takes_nobody_else_down(store: Store) -> None:
    """Requests of one group stand or fall alone, and the indexes of those that stand have no gap."""

    async def main() -> list[object]:
        good = [store.record(answer(n)) for n in range(5)]
        bad = [store.record(answer(n), origin()) for n in range(5)]
        return list(await asyncio.gather(*good, *bad, store.record(answer(9)), return_exceptions=True))

    results = asyncio.run(main())
    receipts = [result[0] for result in results if isinstance(result, tuple)]
    assert sorted(receipt.index for receipt in receipts) == [2, 3, 4, 5, 6, 7]
    assert sum(isinstance(result, Refused) for result in results) == 5
    for receipt in receipts:
        assert isinstance(receipt, Receipt)
        row = store.entry(receipt.index)
        assert row is not None and leaf_hash(row.leaf) == receipt.leaf_hash


def test_proofs_across_tiles(store: Store) -> None:
    """Inclusion and consistency hold at every kind of size: inside, at and beyond full tiles."""
    for at in range(0, 700, 100):
        store.append(*(answer(n) for n in range(at, at + 100))).result(10)
    size, root = store.head()
    leaves = [leaf_hash(row.leaf) for row in store.entries(limit=10_000)]
    assert size == len(leaves) == 702 and root == root_of(leaves)
    for old in (1, 2, 255, 256, 257, 511, 512, 513, 700, 702):
        assert store.root_at(old) == root_of(leaves[:old])
        proof = store.consistency(old, size)
        verify_consistency(old=old, new=size, old_root=root_of(leaves[:old]), new_root=root, proof=proof)
        verify_inclusion(index=old - 1, size=size, leaf=leaves[old - 1], root=root, proof=store.inclusion(old - 1, size))
    assert store.root_at(0) == EMPTY_ROOT
    for call in (lambda: store.inclusion(702, 702), lambda: store.inclusion(0, 703), lambda: store.root_at(703)):
        with pytest.raises(Misuse):
            call()


def test_a_tile_of_tiles(tmp_path: Path) -> None:
    """65,536 entries make a full tile at level 1, and proofs go through it."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
        futures = [store.append(*(answer(n) for n in range(4096))) for _ in range(17)]
        hashes: list[bytes] = [leaf_hash(row.leaf) for row in store.entries(0, 2)]
        for future in futures:
            hashes += [receipt.leaf_hash for receipt in future.result(60)]
        size, root = store.head()
        assert size == len(hashes) == 17 * 4096 + 2 and root == Tree().append(hashes).root()
        for index in (0, 65_535, 65_536, size - 1):
            verify_inclusion(index=index, size=size, leaf=hashes[index], root=root, proof=store.inclusion(index, size))
        for old in (1000, 65_536, 65_537):
            assert store.root_at(old) == Tree().append(hashes[:old]).root()
    with Store.open(path, anchors=((65_536, Tree().append(hashes[:65_536]).root()),)) as store:
        assert store.head() == (size, root)


def test_what_is_too_much_is_misuse(store: Store) -> None:
    """No event, too many events, an opening too few, an opening too large: refused before the queue."""
    with pytest.raises(Misuse):
        store.append()
    with pytest.raises(Misuse):
        store.append(*[answer(0)] * 4097)
    with pytest.raises(Misuse):
        store.append(answer(0), openings=[b"a", b"b"])
    with pytest.raises(Misuse):
        store.append(answer(0), openings=[bytes(1 << 20) + b"x"])
    with pytest.raises(Misuse):
        store.append(*[answer(0)] * 5, openings=[bytes(1 << 20)] * 5)


def test_back_pressure_is_unavailable(store: Store) -> None:
    """With 65,536 entries waiting, the next is refused at once and the waiting ones still come through."""
    hold = connect(store.path, write=True)
    hold.execute("BEGIN IMMEDIATE")
    futures: list[Future[tuple[Receipt, ...]]] = []
    try:
        event = answer(0)
        with pytest.raises(Unavailable, match="waiting for the disk"):
            for _ in range(MAX_QUEUED // 4096 + 3):
                futures.append(store.append(*[event] * 4096))
    finally:
        hold.execute("ROLLBACK")
        hold.close()
    assert len(futures) >= MAX_QUEUED // 4096
    assert all(len(future.result(60)) == 4096 for future in futures)


def test_a_cancelled_wait_undoes_nothing(store: Store) -> None:
    """Who stops waiting has still appended, and others of the group are not disturbed."""

    async def main() -> int:
        tasks = [asyncio.ensure_future(store.record(answer(n))) for n in range(20)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(result, tuple) for result in results)

    assert asyncio.run(main()) == 19
    assert store.append(answer(1)).result(10)[0].index == 22


def test_a_loop_that_is_gone_disturbs_nobody(store: Store) -> None:
    """A caller whose event loop ended before the commit is passed over."""
    loop = asyncio.new_event_loop()
    hold = connect(store.path, write=True)
    hold.execute("BEGIN IMMEDIATE")
    task = loop.create_task(store.record(answer(1)))
    loop.run_until_complete(asyncio.sleep(0))
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    hold.execute("ROLLBACK")
    hold.close()
    assert store.append(answer(2)).result(10)[0].index == 3


def test_closing_writes_what_is_queued(tmp_path: Path) -> None:
    """`close` loses nothing; afterwards everything is Unavailable, and closing again does no harm."""
    path = tmp_path / "house.sqlite"
    store = Store.open(path, create=True)
    found(store)
    futures = [store.append(answer(n)) for n in range(100)]
    store.close()
    store.close()
    assert all(future.result(0) for future in futures)
    for call in (lambda: store.append(answer(1)), store.size, store.pairs):
        with pytest.raises(Unavailable):
            call()
    assert isinstance(store.failure, Unavailable)
    with Store.open(path) as again:
        assert again.size() == 102 and again.failure is None


def test_what_nobody_waits_for_joins_the_next_group(store: Store) -> None:
    """It is recorded before what is recorded after it, in the same transaction; alone it waits a moment; closing writes it."""
    store.later(answer(1), answer(2))
    (third,) = store.append(answer(3)).result(10)
    assert (third.index, third.tree_size) == (4, 5)
    for n in range(4, 9):
        store.later(answer(n))
    until = time.monotonic() + 10
    while store.size() < 10 and time.monotonic() < until:
        time.sleep(0.01)
    assert [row.event for row in store.entries(2, 10)] == [answer(n) for n in range(1, 9)]
    store.later(answer(9))
    store.close()
    with Store.open(store.path) as again:
        assert again.size() == 11


def test_a_ledger_is_never_made_anew(tmp_path: Path) -> None:
    """Creating over a ledger is refused; opening nothing is Unavailable; neither changes a byte."""
    path = tmp_path / "house.sqlite"
    with pytest.raises(Unavailable):
        Store.open(path)
    with Store.open(path, create=True) as store:
        found(store)
    with pytest.raises(Refused):
        Store.open(path, create=True)
    with Store.open(path) as store:
        assert store.size() == 2
    with pytest.raises(Unavailable):
        Store.open(tmp_path / "nowhere" / "house.sqlite", create=True)


def test_one_house_at_a_time(tmp_path: Path) -> None:
    """A ledger that is open alone opens for nobody else; shared, only for others that share."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True):
        for shared in (False, True):
            with pytest.raises(Unavailable, match="open already"):
                Store.open(path, shared=shared)
    with Store.open(path, shared=True) as one, Store.open(path, shared=True) as two:
        found(one)
        indexes = [store.append(answer(n)).result(10)[0].index for n in range(20) for store in (one, two)]
        assert indexes == list(range(2, 42)) and one.head() == two.head()
        with pytest.raises(Unavailable):
            Store.open(path)


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    """Database, lock and bodies are 0600, the folder of the bodies 0700, whatever the umask."""
    before = os.umask(0)
    try:
        with Store.open(tmp_path / "house.sqlite", create=True) as store:
            store.append(origin(), openings=[b"x"]).result(10)
            for path in tmp_path.rglob("*"):
                assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    finally:
        os.umask(before)


def test_a_rolled_back_ledger_does_not_open(tmp_path: Path) -> None:
    """A database that lacks what was signed, or holds something else, stops at the start."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
        store.append(*(answer(n) for n in range(10))).result(10)
    shutil.copy(path, tmp_path / "old")
    with Store.open(path) as store:
        store.append(answer(11)).result(10)
        size, root = store.head()
        with pytest.raises(Refused):
            store.put_checkpoint(size + 1, root, b"note", START)
        with pytest.raises(Refused):
            store.put_checkpoint(size, bytes(32), b"note", START)
        store.put_checkpoint(size - 1, store.root_at(size - 1), b"note", START)
        store.put_checkpoint(size, root, b"note", START)
        store.put_checkpoint(size, root, b"note with cosignatures", START + 1)
        latest = store.latest_checkpoint()
        assert latest is not None and (latest.size, latest.note) == (size, b"note with cosignatures")
        assert store.append(answer(12)).result(10)[0].index == size
    Store.open(path, anchors=[(size, root)]).close()
    with pytest.raises(Refused, match="signed at"):
        Store.open(path, anchors=[(size, bytes(32))])
    for leftover in tmp_path.glob("house.sqlite-*"):
        leftover.unlink()
    shutil.copy(tmp_path / "old", path)
    with pytest.raises(Refused, match="were signed"):
        Store.open(path, anchors=[(size, root)])
    Store.open(path).close()  # without an anchor nobody can tell


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE entries SET leaf = x'a0' WHERE idx = 700",
        "UPDATE entries SET leaf = x'a0' WHERE idx = 100",
        "UPDATE tiles SET hashes = zeroblob(8192)",
        "UPDATE tiles SET root = zeroblob(32)",
        "DELETE FROM tiles",
        "DELETE FROM entries WHERE idx = 500",
        "INSERT INTO entries SELECT idx + 1, leaf, time_ns, kind, NULL, NULL, NULL, NULL, NULL, NULL FROM entries WHERE idx = 801",
        "UPDATE tree SET root = zeroblob(32)",
        "UPDATE tree SET size = size - 1",
        "UPDATE tree SET edge = x''",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 1",
    ],
)
def test_a_damaged_tail_does_not_open(tmp_path: Path, sql: str) -> None:
    """What does not fit together near the end is found at the start and named."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
        store.append(*(answer(n) for n in range(800))).result(10)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute(sql)
    db.close()
    with pytest.raises(Unavailable):
        Store.open(path)


def test_what_is_no_database_is_unavailable(tmp_path: Path) -> None:
    """Junk, an empty file and another program's database do not open and are not touched."""
    path = tmp_path / "house.sqlite"
    for junk in (b"", b"junk" * 2000):
        path.write_bytes(junk)
        with pytest.raises(Unavailable):
            Store.open(path)
    path.unlink()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 3")
    db.close()
    with pytest.raises(Unavailable, match="not a tallystick ledger"):
        Store.open(path)


def test_migrations_run_in_order(tmp_path: Path) -> None:
    """An older schema is brought up step by step; a step without SQL asks for a rebuild."""
    path = tmp_path / "house.sqlite"
    Store.open(path, create=True).close()
    db = connect(path, write=True)
    try:
        steps = (schema.Migration(version=3, sql="CREATE TABLE two (x)"), schema.Migration(version=4, sql="CREATE TABLE three (x)"))
        assert not schema.needs_rebuild(db, steps, newest=4)
        assert schema.version_of(db) == 4 and db.table_exists(None, "two") and db.table_exists(None, "three")
        assert schema.needs_rebuild(db, (*steps, schema.Migration(version=5)), newest=5)
        with pytest.raises(Unavailable, match="knows 2"):
            schema.needs_rebuild(db)
    finally:
        db.close()


def test_readers_in_many_threads(store: Store) -> None:
    """Readers and writers in many threads see whole groups, and always what was acknowledged to them."""
    wrong: list[object] = []

    def work(who: int) -> None:
        try:
            for n in range(20):
                (receipt,) = store.append(answer(n)).result(30)
                row = store.entry(receipt.index)
                size, root = store.head()
                if row is None or size <= receipt.index or store.root_at(size) != root:
                    wrong.append((who, n))
        except TallyError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and store.size() == 162


def test_a_moment_is_one_moment(store: Store) -> None:
    """Within `moment` the answers do not change, whatever is appended meanwhile."""
    with store.moment():
        before = store.head()
        store.append(answer(1)).result(10)
        assert store.head() == before
    assert store.size() == before[0] + 1


def test_events_of_a_refused_origin_leave_an_empty_ledger(empty: Store) -> None:
    """A ledger whose first request was refused is still empty and may begin."""
    with pytest.raises(Refused):
        empty.append(owner_introduced()).result(10)
    assert empty.head() == (0, EMPTY_ROOT)
    assert empty.append(origin()).result(10)[0].index == 0


def test_a_leaf_too_long_is_misuse(store: Store) -> None:
    """An event that does not fit into a leaf is refused by name, before the queue."""
    ext = {f"x{n}": bytes(1024) for n in range(16)}
    fork = Event.of(Kind.FORK_FOUND, START, origin_hash=bytes(32), checkpoint=bytes(24_576), other_checkpoint=bytes(24_576))
    assert len(entry.encode(fork)) < 65_536  # two whole checkpoints fit
    long = Event.of(Kind.KEY_RESUMED, START, subject=bytes(32), signal=bytes(32_768), statement=bytes(24_576), ext=ext)
    with pytest.raises(Misuse):
        store.append(long)
