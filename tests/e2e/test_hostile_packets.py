"""A million hostile datagrams at `tally serve`: not one byte comes back, nothing is recorded, no memory is kept, and the paired get in."""

import random
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.channel.datagram import Mode
from tests.e2e.raw import answers_to, knock_of
from tests.e2e.support import PORT, Client, House, until
from tests.netns.test_flood import FLOOD, answers, count_answers
from tests.netns.village import Village

pytestmark = pytest.mark.timeout(180)

COUNT = 1_000_000
RATE = 120_000  # a second: as much as the house can read, so that most are heard and not lost on the way
METRICS = 9_187
KEPT_BYTES = 6 << 20
POOL = 4_096


@pytest.fixture(scope="module")
def village() -> Iterator[Village]:
    """One network for both tests."""
    with Village() as made:
        yield made


def genuine(client: Client, number: int) -> list[bytes]:
    """Knocks of a paired machine, as it makes them."""
    with client.open() as machine:
        (pair,) = machine.store.pairs()
        return [knock_of(machine, pair, mode=Mode.MOMENTARY) for _ in range(number)]


def hostile(heard: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Datagrams without end: random ones of all sizes, and knocks that the house has heard, as they were, cut, longer, or changed."""
    while True:
        knock = chance.choice(heard)
        at, size = chance.randrange(len(knock)), len(knock)
        yield chance.randbytes(chance.choice((0, 1, 20, 28, 68, 107, size, 109, 156, 512, 1_400)))
        yield knock[:1] + chance.randbytes(size - 1)
        yield knock[:20] + chance.randbytes(size - 20)
        yield knock
        yield knock[:at]
        yield knock + chance.randbytes(at)
        yield bytes((*knock[:at], knock[at] ^ 1 << chance.randrange(8), *knock[at + 1 :]))


def figure(village: Village, name: str) -> int:
    """A figure of the house's metrics port."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{METRICS}/metrics", timeout=10) as answer:
            return str(answer.read(), "ascii")

    lines = village.house.call(read).result(20).splitlines()
    return int(float(next(line.split(" ")[1] for line in lines if line.startswith(name + " "))))


@pytest.mark.parametrize("prefilter", [True, False], ids=["in the kernel", "in Python"])
def test_a_million_hostile_datagrams(village: Village, tmp_path: Path, prefilter: bool) -> None:
    """Random, cut, flipped, oversized and replayed, with and without the filter in the kernel."""
    with House(tmp_path, place=village.house, prefilter=prefilter, metrics_port=METRICS) as house:
        client = house.machine("laptop", place=village.client, timeout_s=30)
        heard = genuine(client, 4)
        assert client.do(answers_to, heard, PORT, village.house.ip, 1.0, village.client.ip), "they are genuine"
        source = hostile(heard, random.Random(5))
        (tmp_path / "pool").write_text("\n".join(next(source).hex() for _ in range(POOL)) + "\n")
        count_answers(village.stranger, village.house.ip)
        program = [sys.executable, FLOOD, village.house.ip, str(PORT)]
        village.stranger.run([*program, "50000", f"@{tmp_path / 'pool'}", str(RATE)])
        until(lambda: not house.row("laptop")["sessions"], "what the genuine knocks began is over")
        before, entries, datagrams = house.resident(), len(house.log()), figure(village, "tallystick_datagrams_total")
        sender = village.stranger.popen([*program, str(COUNT), f"@{tmp_path / 'pool'}", str(RATE)])
        client.ping()
        during = sender.poll() is None
        out, _ = sender.communicate(timeout=120)
        assert during, "the ping was answered while they came"
        client.ping()
        kinds = house.kinds()[entries:]
        grown, came = house.resident() - before, figure(village, "tallystick_datagrams_total") - datagrams
        assert answers(village.stranger) == 0
        assert kinds.count("knock") == kinds.count("session") == kinds.count("signal") == 2, kinds
        assert set(kinds) <= {"knock", "session", "signal", "answer", "session-ended", "checkpoint-cosigned"}, kinds
        assert grown < KEPT_BYTES, grown
        assert came > COUNT // 20, came
        print(f"{COUNT:,} in {float(out):.1f} s, {came:,} of them came to Python; {grown // 1024} KiB more", end=" ")
