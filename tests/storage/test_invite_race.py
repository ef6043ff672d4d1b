"""An invite is used once, however many try at the same moment: tasks, threads, processes."""

import asyncio
import multiprocessing
import threading
from pathlib import Path

from tallystick.errors import Refused
from tallystick.primitives import sha256
from tallystick.storage.sqlite import Store
from tests.storage.house import found, invite_consumed, invite_created

REDEEMERS = 64


def invites(store: Store, rounds: int) -> list[bytes]:
    tags = [sha256(b"round %d" % n) for n in range(rounds)]
    found(store)
    for at in range(0, rounds, 100):
        store.append(*(invite_created(tag) for tag in tags[at : at + 100])).result(30)
    return tags


def test_64_redeemers_1000_rounds_one_winner_each(tmp_path: Path) -> None:
    """64 tasks redeem one invite at once, 1,000 times over: one receipt each time, 63 refusals, one entry."""

    async def race(store: Store, tag: bytes) -> list[int]:
        events = [invite_consumed(tag, session=sha256(b"%d" % who)) for who in range(REDEEMERS)]
        results = await asyncio.gather(*map(store.record, events), return_exceptions=True)
        assert all(isinstance(result, (tuple, Refused)) for result in results)
        return [who for who, result in enumerate(results) if isinstance(result, tuple)]

    async def main(store: Store, tags: list[bytes]) -> list[list[int]]:
        return [await race(store, tag) for tag in tags]

    with Store.open(tmp_path / "house.sqlite", create=True) as store:
        tags = invites(store, 1000)
        before = store.size()
        winners = asyncio.run(main(store, tags))
        assert [len(who) for who in winners] == [1] * 1000
        assert store.size() == before + 1000
        for tag, (who,) in zip(tags, winners, strict=True):
            row = store.invite(tag)
            assert row is not None and row.state == "consumed" and row.session == sha256(b"%d" % who)


def test_64_threads(tmp_path: Path) -> None:
    """64 threads leave a barrier together, 50 times over: one winner each time."""
    rounds = 50
    won: list[list[int]] = [[] for _ in range(REDEEMERS)]
    barrier = threading.Barrier(REDEEMERS, timeout=60)
    with Store.open(tmp_path / "house.sqlite", create=True) as store:
        tags = invites(store, rounds)

        def redeem(who: int) -> None:
            for number, tag in enumerate(tags):
                barrier.wait()
                try:
                    store.append(invite_consumed(tag, session=sha256(b"%d" % who))).result(60)
                    won[who].append(number)
                except Refused:
                    pass

        threads = [threading.Thread(target=redeem, args=(who,)) for who in range(REDEEMERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(number for numbers in won for number in numbers) == list(range(rounds))


def _process(path: Path, tags: list[bytes], who: int, out: "multiprocessing.Queue[list[int]]") -> None:
    won: list[int] = []
    with Store.open(path, shared=True) as store:
        for number, tag in enumerate(tags):
            try:
                store.append(invite_consumed(tag, session=sha256(b"%d" % who))).result(60)
                won.append(number)
            except Refused:
                pass
    out.put(won)


def test_four_processes(tmp_path: Path) -> None:
    """Four processes share one database: one winner for each invite, and one tree."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        tags = invites(store, 60)
        before = store.size()
    context = multiprocessing.get_context("spawn")
    out: multiprocessing.Queue[list[int]] = context.Queue()
    processes = [context.Process(target=_process, args=(path, tags, who, out)) for who in range(4)]
    for process in processes:
        process.start()
    won = [number for _ in processes for number in out.get(timeout=90)]
    for process in processes:
        process.join()
    assert sorted(won) == list(range(60))
    with Store.open(path) as store:
        assert store.size() == before + 60
        assert store.root_at(store.size()) == store.root()
