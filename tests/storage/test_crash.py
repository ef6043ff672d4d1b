"""kill -9 at any moment: what was acknowledged is there, and what is there fits together."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

from tallystick.ledger.event import Kind
from tallystick.storage.rebuild import differences, rebuild
from tallystick.storage.sqlite import Store
from tallystick.tlog.tree import leaf_hash
from tests.storage.house import START, answer, found
from tests.support import PROJECT

KILLS = 50

# Appends for ever, from many callers, and says on stdout what was acknowledged, one line each, unbuffered.
CHILD = """
import asyncio, os, sys
from pathlib import Path
from tests.storage.house import START, answer
from tallystick.ledger.event import Event, Kind
from tallystick.storage.sqlite import Store

async def caller(store, who):
    n = 0
    while True:
        n += 1
        if who % 4 == 0:
            (begun,) = await store.record(Event.of(Kind.EFFECT_BEGUN, START + n, effect="test"))
            receipts = (begun, *await store.record(Event.of(Kind.EFFECT_DONE, START + n, entry=begun.index)))
        elif who % 4 == 1:
            receipts = await store.record(answer(n), answer(n), openings=[b"opening %d" % n * 20, b""])
        else:
            receipts = await store.record(answer(n))
        os.write(1, b"".join(b"%d %s\\n" % (r.index, r.leaf_hash.hex().encode()) for r in receipts))

async def main():
    store = Store.open(Path(sys.argv[1]))
    os.write(1, b"ready\\n")
    await asyncio.gather(*(caller(store, who) for who in range(12)))

asyncio.run(main())
"""


def test_kill_9_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """50 kills at random moments of an append loop: every receipt that was printed is proven by the reopened ledger."""
    path = tmp_path / "house.sqlite"
    with Store.open(path, create=True) as store:
        found(store)
    dice = random.Random(9)
    environment = os.environ | {"PYTHONPATH": f"{PROJECT / 'src'}:{PROJECT}"}
    acknowledged: dict[int, str] = {}
    anchor, size = (1, b""), 0
    for kill in range(KILLS):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, env=environment, cwd=PROJECT)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        lines = [child.stdout.readline() for _ in range(dice.randrange(1, 40))]
        os.kill(child.pid, signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
        child.wait()
        child.stdout.close()
        for line in lines:
            if line.endswith(b"\n"):
                index, digest = line.decode().split()
                acknowledged[int(index)] = digest
        with Store.open(path, anchors=[anchor] if anchor[1] else []) as store:
            size, root = store.head()
            assert all(index < size for index in acknowledged)
            anchor = (size, root)
            rows = {row.index: row for at in range(0, size, 10_000) for row in store.entries(at, at + 10_000, limit=10_000)}
            assert len(rows) == size
            assert all(leaf_hash(rows[index].leaf).hex() == digest for index, digest in acknowledged.items())
            if kill % 10 == 9:
                settled = len(store.open_effects())
                store.settle_open_effects(START)
                assert store.open_effects() == () and store.size() == size + settled
    assert len(acknowledged) > 50 * KILLS / 10
    with Store.open(path) as store:
        openings = [store.opening(row.index) for row in store.entries(kinds=[Kind.ANSWER], limit=10_000)]
        assert any(openings) and all(opening is None or opening.startswith(b"opening") for opening in openings)
        store.append(answer(0)).result(10)
    assert rebuild(path, tmp_path / "again.sqlite") > size
    assert differences(path, tmp_path / "again.sqlite") == ()
