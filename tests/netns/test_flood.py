"""A million hostile datagrams: not one byte comes back, no memory is kept, and the paired still get in."""

import os
import statistics
import sys
from pathlib import Path

import pytest

from tallystick.channel.datagram import Mode
from tests.netns.opening import PORT, meet_from, serving
from tests.netns.village import Machine, Village

pytestmark = pytest.mark.timeout(180)

FLOOD = str(Path(__file__).with_name("flood.py"))


def count_answers(machine: Machine, source: str) -> None:
    """From now on count what comes from `source`, whatever it is."""
    machine.nft(f"table inet seen {{ chain in {{ type filter hook input priority raw; ip saddr {source} counter\n }}\n}}")


def answers(machine: Machine) -> int:
    """Packets counted."""
    words = machine.run(["nft", "list", "table", "inet", "seen"]).stdout.split()
    return int(words[words.index("packets") + 1])


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def test_a_million_hostile_datagrams() -> None:
    """Sizes of knocks and others, as fast as they go, without a prefilter: zero packets answered, under 4 MiB kept."""
    with Village() as v, serving(v.house):
        count_answers(v.stranger, v.house.ip)
        meet_from(v.client, v.house.ip, Mode.MOMENTARY, 5)
        v.stranger.run([sys.executable, FLOOD, v.house.ip, str(PORT), "20000", "108,156"])
        before = resident_kib()
        sender = v.stranger.popen([sys.executable, FLOOD, v.house.ip, str(PORT), "1000000", "0,1,20,68,107,108,109,108,156,512,1400"])
        during = meet_from(v.client, v.house.ip, Mode.MOMENTARY, 5, timeout=10)
        out, _ = sender.communicate(timeout=120)
        after = meet_from(v.client, v.house.ip, Mode.MOMENTARY, 5, timeout=10)
        assert answers(v.stranger) == 0
        assert resident_kib() - before < 4096
        print(
            f"flood {1_000_000 / float(out):,.0f}/s; opening p50 {statistics.median(m.milliseconds for m in during):.1f} ms during,",
            end=" ",
        )
        print(f"{statistics.median(m.milliseconds for m in after):.1f} ms after")
