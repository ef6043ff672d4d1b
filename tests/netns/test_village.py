"""The village itself: it separates, it delays, it cleans up whatever happens."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.netns.village import Nat, Village, Wall, environment, sweep
from tests.support import PROJECT, need_netns

pytestmark = pytest.mark.timeout(60)

NETNS = Path("/run/netns")


def of(pid: int) -> list[str]:
    return [path.name for path in NETNS.glob(f"tallyv-{pid}-*")]


def test_everybody_reaches_everybody() -> None:
    """Without NAT and walls all machines are reachable over IPv4 and IPv6."""
    with Village() as v:
        for machine in (v.stranger, v.client, v.neighbour):
            for host in (v.house.ip, v.house.ip6):
                machine.run(["ping", "-c1", "-W2", host])


def test_nat_hides_the_client() -> None:
    """Behind NAT the client reaches the house under the router's address, and the house cannot begin."""
    with Village(nat=Nat.PRESERVING) as v:
        v.client.run(["ping", "-c1", "-W2", v.house.ip])
        assert v.client_seen_as == v.router.ip
        assert v.house.run(["ping", "-c1", "-W1", v.client.ip], check=False).returncode != 0


def test_a_wall_lets_answers_in_and_nothing_else() -> None:
    """Pings out are answered, pings in are not."""
    with Village(house_wall=Wall.DROP) as v:
        v.house.run(["ping", "-c1", "-W2", v.client.ip])
        assert v.client.run(["ping", "-c1", "-W1", v.house.ip], check=False).returncode != 0


def test_a_long_cable_takes_its_time() -> None:
    """With 20 ms each way a ping takes 40 ms."""
    with Village(delay_ms=20) as v:
        v.client.run(["ping", "-c1", "-W2", v.house.ip])
        start = time.monotonic()
        v.client.run(["ping", "-c1", "-W2", v.house.ip])
        assert time.monotonic() - start >= 0.04


def test_code_runs_inside() -> None:
    """`run`, `python`, `call` and `inside` all see the machine's own addresses, and leave this thread where it was."""
    here = Path("/proc/thread-self/ns/net").readlink()
    with Village() as v:
        assert v.house.ip in v.house.run(["ip", "address"]).stdout
        assert v.house.python("import sys; print(sys.argv[1])", "word").stdout == "word\n"
        there = v.house.call(lambda: Path("/proc/thread-self/ns/net").readlink()).result(5)
        with v.house.inside():
            assert Path("/proc/thread-self/ns/net").readlink() == there != here
        assert Path("/proc/thread-self/ns/net").readlink() == here
        with pytest.raises(AssertionError, match="ended with 3"):
            v.house.python("raise SystemExit(3)")


def test_nothing_is_left() -> None:
    """After the block, also after an error in it, no namespace and no process of the village exists."""
    with pytest.raises(ZeroDivisionError):
        with Village() as v:
            sleeper = v.house.popen(["sh", "-c", "sleep 100 & wait"])
            raise ZeroDivisionError
    assert sleeper.poll() is not None
    assert of(os.getpid()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_a_signal(number: signal.Signals) -> None:
    """SIGINT and SIGTERM take the village down too."""
    need_netns()
    code = "import time\nfrom tests.netns.village import Village\nwith Village():\n    print('up', flush=True)\n    time.sleep(60)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
        cwd=PROJECT,
        # A shell that runs the tests in the background ignores SIGINT for all of them.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        assert len(of(child.pid)) == 5
        child.send_signal(number)
        assert child.wait(20) != 0
    assert of(child.pid) == []


def test_what_a_kill_left_is_swept() -> None:
    """Namespaces of a killed process go with the next village; those of the living stay."""
    need_netns()
    code = "import os\nfrom tests.netns.village import Village\nVillage().__enter__()\nos.kill(os.getpid(), 9)\n"
    child = subprocess.run([sys.executable, "-c", code], env=environment(), cwd=PROJECT, check=False)
    assert child.returncode == -signal.SIGKILL
    with Village():
        mine = of(os.getpid())
        sweep()
        assert of(os.getpid()) == mine
    assert not [path for path in NETNS.glob("tallyv-*") if not Path("/proc", path.name.split("-")[1]).exists()]
