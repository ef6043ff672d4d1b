"""What an acknowledged entry costs: ours beside a bare append + fdatasync and beside bare SQLite, in the same run on the same disk.

Every entry is durable before it is acknowledged. Rounds are interleaved and the medians compared, because disks have moods. Entries
are about 256 bytes; the events are made beforehand, their leaves are written (encoded, hashed, projected) by us within the time.
"""

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.counts import QUICK, count
from tallystick.keys.identity import KeyKind, PublicKey
from tallystick.ledger import entry
from tallystick.ledger.event import Event, Kind
from tallystick.primitives import Ed25519KeyPair, sha256
from tallystick.storage.sqlite import Store

ROUNDS = count(5, 1)
ONE_S = 0.6 if not QUICK else 0.05  # of each round with one caller
CALLERS = 64
EACH = count(60, 2)  # entries of each of the 64 callers in a round


def _origin() -> Event:
    house = PublicKey(KeyKind.ED25519, Ed25519KeyPair.from_private(sha256(b"bench house")).public)
    witness = Ed25519KeyPair.from_private(sha256(b"bench witness")).public
    return Event.of(
        Kind.ORIGIN,
        1,
        role="house",
        house=bytes(house.key_id),
        cose_key=house.cose_key(),
        static_key=bytes(32),
        witness_key=witness,
        log_name="bench",
        log_keys=((1, bytes(32)),),
        vault="file",
    )


def _event() -> Event:
    """An answer; its leaf has about 256 bytes."""
    names = ("pairing", "key", "session", "signal_hash", "digest")
    ids = {name: sha256(name.encode()) for name in names}
    return Event.of(
        Kind.ANSWER, 1_750_000_000_000_000_000, "pair", status=200, key_class="file", attestation="none", result="ok", length=70_000, **ids
    )


def _for(seconds: float, step: Callable[[], object]) -> float:
    """Steps per second."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        count += 1
    return count / (time.perf_counter() - start)


async def _callers(store: Store, event: Event, callers: int, each: int) -> float:
    async def one() -> None:
        for _ in range(each):
            await store.record(event)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(callers)))
    return callers * each / (time.perf_counter() - start)


def _sqlite_groups(db: sqlite3.Connection, leaf: bytes, groups: int) -> float:
    """Bare inserts in groups of 64, each group a transaction."""
    start = time.perf_counter()
    for _ in range(groups):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO bare (leaf) VALUES (?)", [(leaf,)] * CALLERS)
        db.execute("COMMIT")
    return groups * CALLERS / (time.perf_counter() - start)


def run(record: Callable[[str, float], None]) -> None:
    """Measure."""
    event = _event()
    leaf = entry.encode(event)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TALLY_BENCH_DIR")) as folder:
        raw = os.open(Path(folder) / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        db = sqlite3.connect(Path(folder) / "bare.sqlite", isolation_level=None)
        db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE bare (idx INTEGER PRIMARY KEY, leaf BLOB)")
        ones: list[float] = []
        raws: list[float] = []
        many: dict[int, list[float]] = {CALLERS: [], 1024: []}
        bare: list[float] = []

        def raw_append() -> None:
            os.write(raw, leaf)
            os.fdatasync(raw)

        with Store.open(Path(folder) / "house.sqlite", create=True) as store:
            store.append(_origin()).result(30)
            for _ in range(ROUNDS):
                raws.append(_for(ONE_S, raw_append))
                ones.append(_for(ONE_S, lambda: store.append(event).result(30)))
                bare.append(_sqlite_groups(db, leaf, EACH))
                many[CALLERS].append(asyncio.run(_callers(store, event, CALLERS, EACH)))
                many[1024].append(asyncio.run(_callers(store, event, 1024, 8)))
            size = store.size()
            start = time.perf_counter()
            for index in range(0, size, max(1, size // 200)):
                store.inclusion(index, size)
            proofs = time.perf_counter() - start
        os.close(raw)
        db.close()
    record("ledger.append_1.ratio_fdatasync", statistics.median(ones) / statistics.median(raws))
    record("ledger.append_64.ratio_sqlite", statistics.median(many[CALLERS]) / statistics.median(bare))
    record("ledger.append_1.per_s", statistics.median(ones))
    record("ledger.append_64.per_s", statistics.median(many[CALLERS]))
    record("ledger.append_1024.per_s", statistics.median(many[1024]))
    record("ledger.prove.ms", proofs / 200 * 1000)


if __name__ == "__main__":
    run(lambda key, value: print(key, round(value, 3), file=sys.stdout))
