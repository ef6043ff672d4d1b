"""What an auditor pays, and what publishing costs whoever appends (docs/spec/tiles.md, docs/verify.md).

- `publish.p99_ratio`: 16 callers append; p99 of their waiting in a house whose publisher runs (each second tiles, bundles, both signatures,
  all synced) over p99 without it. Windows of 2 s alternate, the median of their ratios counts.
- `verify`: from the published files alone (`entries_per_s`): every leaf is decoded and hashed, every tile compared, the root held against
  the signed checkpoint. `home_per_s`: the whole home, where besides the state is made again from the entries and compared row for row.
  A house of 200,000 entries; wall clock, on as many cores as there are.
- `query`: a page of 100 of one pair's refusals, newest first, in a ledger of a million entries (bench/ledger_grow.py). Of some
  pairs there are too few, and all they did is looked through.
- `inclusion`: the check of one proof in a tree of 1,024 leaves. `checkpoint_verify`: a note is read and the Ed25519 signature of the log
  checked, which C2SP demands; `both_us`: the ML-DSA-44 signature as well, which our pairs demand; `floor_us`: the two checks of the library
  alone. CPU time.
"""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.counts import QUICK, count
from bench.ledger_grow import make
from bench.ledger_scene import START_NS, Record, answer, history
from tallystick.ledger.event import Event, Kind
from tallystick.node.machine import Machine
from tallystick.node.publisher import Publisher
from tallystick.node.settings import load
from tallystick.pair.pairing import Role
from tallystick.primitives import Ed25519KeyPair, MLDSA44KeyPair, ed25519_verify, mldsa44_verify, sha256
from tallystick.storage.audit.home import verify_home
from tallystick.storage.audit.log import LogAudit
from tallystick.storage.audit.pool import Pool, workers_for
from tallystick.storage.audit.published import Published
from tallystick.storage.audit.report import Report
from tallystick.storage.sqlite import Store
from tallystick.tlog.checkpoint import Checkpoint, verify_checkpoint
from tallystick.tlog.cosignature import sign_checkpoint, verifier
from tallystick.tlog.note import SignatureType, VerifierKey
from tallystick.tlog.proof import inclusion_proof, verify_inclusion
from tallystick.tlog.tree import leaf_hash, perfect_root, root_of

ENTRIES = count(200_000, 2_000)
MILLION = count(1_000_000, 8_192)
PAIRS = 200
GROUP = 4_096
CALLERS = 16
WINDOWS = count(5, 1)  # of each kind
WINDOW_S = 2.0 if not QUICK else 0.05
QUERIES = count(300, 3)
LEAVES = 1_024


def _fill(store: Store, entries: int) -> None:
    """Append through the front door, in groups as large as they may be."""
    dice = random.Random(1)
    done = store.size()
    while done < entries:
        group = history(done, min(GROUP, entries - done), PAIRS, dice)
        store.append(*group).result(60)
        done += len(group)


async def _waiting(store: Store, event: Event, seconds: float) -> list[float]:
    """How long each append of many callers waited, sorted."""
    waits: list[float] = []
    stop = time.perf_counter() + seconds

    async def one() -> None:
        while (begun := time.perf_counter()) < stop:
            await store.record(event)
            waits.append(time.perf_counter() - begun)

    await asyncio.gather(*(one() for _ in range(CALLERS)))
    return sorted(waits)


def _p99(waits: list[float]) -> float:
    return waits[len(waits) * 99 // 100]


def _publish(record: Record, machine: Machine) -> None:
    event = answer(time_ns=START_NS + ENTRIES * 1_000_000)
    ratios: list[float] = []
    for _ in range(WINDOWS):
        quiet = _p99(asyncio.run(_waiting(machine.store, event, WINDOW_S)))
        publisher = Publisher(machine)
        publisher.publish()  # what the quiet window left
        publisher.start()
        ratios.append(_p99(asyncio.run(_waiting(machine.store, event, WINDOW_S))) / quiet)
        publisher.stop()
        machine.store.when_grown(None)
    record("ledger.publish.p99_ratio", statistics.median(ratios))


def _verify(record: Record, home: Path) -> None:
    """As a command does: in a process without other threads, which may use every core."""
    report = Report(since=0)
    published = Published(home / "tiles", "tiles/")
    begin = time.perf_counter()
    with Pool(workers_for(ENTRIES)) as pool:
        LogAudit(report=report, database=None, published=published).run(pool)
    seconds = time.perf_counter() - begin
    if report.findings or report.size < ENTRIES:
        raise AssertionError(f"{report.size} entries, {report.findings[:3]}")
    record("ledger.verify.entries_per_s", report.size / seconds)
    begin = time.perf_counter()
    report = verify_home(home, judge=lambda event, opening: "")
    if report.findings:
        raise AssertionError(f"{report.findings[:3]}")
    record("ledger.verify.home_per_s", report.size / (time.perf_counter() - begin))


def _query(record: Record, folder: Path) -> None:
    dice = random.Random(2)
    seconds: list[float] = []
    found = 0
    make(folder / "house.sqlite", MILLION, PAIRS)
    with Store.open(folder / "house.sqlite") as store:
        for _ in range(QUERIES):
            pair = sha256(b"pairing", dice.randrange(PAIRS).to_bytes(4, "big"))
            begin = time.perf_counter()
            rows = store.entries(pair=pair, kinds=(Kind.REFUSED,), newest_first=True, limit=100)
            seconds.append(time.perf_counter() - begin)
            found += len(rows)
    if found < QUERIES:
        raise AssertionError("the pages were empty")
    record("ledger.query.p50_ms", statistics.median(seconds) * 1000)


def _cost_us(step: Callable[[], object]) -> float:
    """CPU microseconds of one step, in the least disturbed of many rounds."""
    best = float("inf")
    for _ in range(count(60, 1)):
        begin = time.process_time()
        for _ in range(count(200, 2)):
            step()
        best = min(best, (time.process_time() - begin) / count(200, 2))
    return best * 1e6


def _proofs(record: Record) -> None:
    hashes = [leaf_hash(number.to_bytes(4, "big")) for number in range(LEAVES)]
    root, index = root_of(hashes), 337
    proof = inclusion_proof(index, LEAVES, lambda level, n: perfect_root(hashes[n << level : n + 1 << level]))
    record("ledger.inclusion.us", _cost_us(lambda: verify_inclusion(index=index, size=LEAVES, leaf=hashes[index], root=root, proof=proof)))

    name = "example.com/log"
    first, second = Ed25519KeyPair.from_private(bytes(32)), MLDSA44KeyPair.from_private(bytes(32))
    checkpoint = Checkpoint(origin=name, size=LEAVES, root=root)
    signed = sign_checkpoint(
        checkpoint, ed25519=(first.public, first.sign), ml_dsa_44=(second.public, second.sign), time_s=START_NS // 10**9
    )
    keys = [(SignatureType.ED25519, first.public), (SignatureType.ML_DSA_44, second.public)]
    both = [verifier(VerifierKey(name=name, type=kind, public=public)) for kind, public in keys]
    message = checkpoint.text.encode()
    signatures = first.sign(message), second.sign(message)

    def floor() -> None:
        ed25519_verify(first.public, signatures[0], message)
        mldsa44_verify(second.public, signatures[1], message)

    record("ledger.checkpoint_verify.us", _cost_us(lambda: verify_checkpoint(signed, log=both[:1])))
    record("ledger.checkpoint_verify.both_us", _cost_us(lambda: verify_checkpoint(signed, log=both)))
    record("ledger.checkpoint_verify.floor_us", _cost_us(floor))


def run(record: Record) -> None:
    """Measure."""
    _proofs(record)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TALLY_BENCH_DIR")) as name:
        _query(record, Path(name))
    with tempfile.TemporaryDirectory(dir=os.environ.get("TALLY_BENCH_DIR")) as name:
        machine, _ = Machine.create(load({}, home=Path(name) / "house", env={}), Role.HOUSE)
        try:
            _fill(machine.store, ENTRIES)
            Publisher(machine).publish()
            _publish(record, machine)
            Publisher(machine).publish()
        finally:
            machine.close()
        _verify(record, Path(name) / "house")


if __name__ == "__main__":

    class _Print:
        def __call__(self, key: str, value: float) -> None:
            print(f"{key} {value:.3f}", flush=True)

        def missing(self, peer: str, reason: str) -> None:
            print(f"without {peer}: {reason}", file=sys.stderr)

    run(_Print())
