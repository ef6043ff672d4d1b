"""Does a ledger of ten million entries append as a small one does?

The big ledger is real in every table, but made quickly (bench/ledger_grow.py). Groups of 64 are appended to it and to one of ten thousand,
in turn.

`append_10m_over_10k` compares the wall clock of such groups, syncs included; `cpu_10m_over_10k` the CPU time. Medians.
"""

import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench.counts import count
from bench.ledger_grow import BYTES_EACH, make
from bench.ledger_scene import Record, history
from tallystick.ledger.event import Event
from tallystick.storage.postings import POSTED
from tallystick.storage.sqlite import Store

BIG = count(10_000_000, 20_000)
SMALL = count(10_000, 4_000)
PAIRS = 200
GROUP = 64
ROUNDS = count(60, 1)
GROUPS = count(32, 1)  # of each ledger in a round: two full spans of postings


def _append(store: Store, events: Iterator[Event], groups: int) -> tuple[float, float]:
    """Wall clock and CPU seconds of so many groups."""
    batches = [tuple(islice(events, GROUP)) for _ in range(groups)]
    begin, cpu = time.perf_counter(), time.process_time()
    for batch in batches:
        store.append(*batch).result(60)
    return time.perf_counter() - begin, time.process_time() - cpu


def _endless() -> Iterator[Event]:
    """What happens in both ledgers: through the pairs they know."""
    dice, at = random.Random(4), 0
    while True:
        yield from history(at, 1_024, PAIRS, dice)
        at += 1_024


def run(record: Record) -> None:
    """Measure."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TALLY_BENCH_DIR")) as name:
        free = shutil.disk_usage(name).free
        if free < 2 * BIG * BYTES_EACH:
            record.missing("ledger.scale", f"{free >> 30} GiB are free where the bench writes, {2 * BIG * BYTES_EACH >> 30} are needed")
            return
        begin = time.perf_counter()
        paths = {entries: Path(name) / str(entries) / "house.sqlite" for entries in (SMALL, BIG)}
        for entries, path in paths.items():
            path.parent.mkdir()
            make(path, entries, PAIRS)
        record("ledger.scale.making_s", time.perf_counter() - begin)
        with Store.open(paths[SMALL]) as small, Store.open(paths[BIG]) as big:
            if not 0 <= BIG - big.size() < POSTED or not 0 <= SMALL - small.size() < POSTED:
                raise AssertionError(f"{small.size()} and {big.size()} entries")
            events = {store: _endless() for store in (small, big)}
            for store in (small, big):
                _append(store, events[store], 2 * GROUPS)  # caches warm
            wall: list[float] = []
            cpu: list[float] = []
            for turn in range(ROUNDS):
                order = (small, big) if turn % 2 else (big, small)
                took = {store: _append(store, events[store], GROUPS) for store in order}
                wall.append(took[big][0] / took[small][0])
                cpu.append(took[big][1] / took[small][1])
            record("ledger.scale.append_10m_over_10k", statistics.median(wall))
            record("ledger.scale.cpu_10m_over_10k", statistics.median(cpu))


if __name__ == "__main__":

    class _Print:
        def __call__(self, key: str, value: float) -> None:
            print(f"{key} {value:.3f}", flush=True)

        def missing(self, peer: str, reason: str) -> None:
            print(f"without {peer}: {reason}", file=sys.stderr)

    run(_Print())
