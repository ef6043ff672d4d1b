"""What an acknowledged entry costs: ours beside a bare append + fdatasync, bare SQLite and two logs of PyPI, on the same disk.

Every entry is durable before it is acknowledged. Rounds are interleaved, the ratio is taken in each, because disks have moods. Entries
have 256 bytes; the events are made beforehand, their leaves are written (encoded, hashed, projected) by us within the time.

- `append_1`: one caller who waits for each entry; the peer appends 256 bytes to a file and calls fdatasync.
- `append_64`, `append_1024`: so many callers in one event loop (uvloop, on which a house runs), each waiting for its own entry. The
  peers get groups of 64 handed to them and no callers: bare SQLite (one table, one blob, WAL, synchronous=FULL), PyPI tlog-scales
  (tiles, bundles and an Ed25519 checkpoint for each group, as its `commit` does) and PyPI pymerkle (its SQLite tree,
  `append_entries`).
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
from typing import Protocol

import uvloop

from bench.counts import QUICK, count
from bench.ledger_scene import Record, answer, origin
from tallystick.ledger import entry
from tallystick.ledger.event import Event
from tallystick.storage.sqlite import Store

ROUNDS = count(15, 1)
ONE_S = 0.25 if not QUICK else 0.02  # of each round with one caller
GROUP = 64
GROUPS = count(24, 1)  # in each round; tlog-scales gets a quarter of them


def _for(seconds: float, step: Callable[[], object]) -> float:
    """Steps per second."""
    steps, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        step()
        steps += 1
    return steps / (time.perf_counter() - start)


async def _callers(store: Store, event: Event, callers: int, each: int) -> float:
    async def one() -> None:
        for _ in range(each):
            await store.record(event)

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(callers)))
    return callers * each / (time.perf_counter() - start)


class Peer(Protocol):
    """Something that takes a group of leaves and returns when they are durable."""

    def __call__(self, leaves: list[bytes]) -> None: ...


def _bare(folder: Path) -> Peer:
    db = sqlite3.connect(folder / "bare.sqlite", isolation_level=None)
    db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE bare (idx INTEGER PRIMARY KEY, leaf BLOB)")

    def put(leaves: list[bytes]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO bare (leaf) VALUES (?)", [(leaf,) for leaf in leaves])
        db.execute("COMMIT")

    return put


def _tlog_scales(folder: Path) -> Peer:
    from tlog_scales.signing import CheckpointSigner, PlainEd25519Signer
    from tlog_scales.writer import TilesWriter

    writer = TilesWriter.create(folder / "scales", "bench")
    signers: list[CheckpointSigner] = [PlainEd25519Signer("bench", bytes(range(32)))]

    def put(leaves: list[bytes]) -> None:
        for leaf in leaves:
            writer.add_leaf(leaf)
        writer.commit(signers)

    return put


def _pymerkle(folder: Path) -> Peer:
    from pymerkle import SqliteTree

    tree = SqliteTree(str(folder / "pymerkle.sqlite"))

    def put(leaves: list[bytes]) -> None:
        tree.append_entries(leaves)

    return put


PEERS: dict[str, tuple[Callable[[Path], Peer], int]] = {
    "sqlite": (_bare, GROUPS),
    "tlog_scales": (_tlog_scales, max(1, GROUPS // 4)),
    "pymerkle": (_pymerkle, GROUPS),
}


def _groups(put: Peer, leaf: bytes, groups: int) -> float:
    """Entries per second, in groups of 64."""
    start = time.perf_counter()
    for _ in range(groups):
        put([leaf] * GROUP)
    return groups * GROUP / (time.perf_counter() - start)


def run(record: Record) -> None:
    """Measure."""
    event = answer()
    leaf = entry.encode(event)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TALLY_BENCH_DIR")) as name:
        folder = Path(name)
        raw = os.open(folder / "raw", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        peers: dict[str, tuple[Peer, int]] = {}
        for peer, (make, groups) in PEERS.items():
            try:
                peers[peer] = make(folder), groups
            except ImportError as error:
                record.missing(peer, str(error))
        rates: dict[str, list[float]] = {}

        def note(what: str, rate: float) -> None:
            rates.setdefault(what, []).append(rate)

        def raw_append() -> None:
            os.write(raw, leaf)
            os.fdatasync(raw)

        with Store.open(folder / "house.sqlite", create=True) as store:
            store.append(origin()).result(30)
            for _ in range(ROUNDS):
                note("raw", _for(ONE_S, raw_append))
                note("1", _for(ONE_S, lambda: store.append(event).result(30)))
                note("64", uvloop.run(_callers(store, event, GROUP, GROUPS)))
                for peer, (put, groups) in peers.items():
                    note(peer, _groups(put, leaf, groups))
                note("1024", uvloop.run(_callers(store, event, 1024, count(8, 1))))
        os.close(raw)

    def ratio(above: str, below: str) -> float:
        return statistics.median(a / b for a, b in zip(rates[above], rates[below], strict=True))

    record("ledger.append_1.ratio_fdatasync", ratio("1", "raw"))
    for peer in peers:
        record(f"ledger.append_64.ratio_{peer}", ratio("64", peer))
    for what in ("1", "64", "1024"):
        record(f"ledger.append_{what}.per_s", statistics.median(rates[what]))
    for peer in peers:
        record(f"ledger.append_64.{peer}_per_s", statistics.median(rates[peer]))


if __name__ == "__main__":

    class _Print:
        def __call__(self, key: str, value: float) -> None:
            print(f"{key} {value:.3f}")

        def missing(self, peer: str, reason: str) -> None:
            print(f"without {peer}: {reason}", file=sys.stderr)

    run(_Print())
