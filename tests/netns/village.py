"""A small internet of network namespaces: a house, a client, a stranger beside each, and a router between them.

    with Village(nat=Nat.PRESERVING, client_wall=Wall.DROP) as v:
        daemon = v.house.popen(["tally", "serve"])
        done = v.client.run(["tally", "ping", str(v.house.ip)])
        assert v.stranger.scan(v.house.ip, [51877])[51877].state == "closed"

        stranger --+                    +-- neighbour       (the neighbour shares the client's public address under NAT)
                   |                    |
        house -----+----- router -------+-- client
           198.51.100.0/24        192.168.77.0/24           documentation and private addresses: RFC 5737, RFC 1918
           2001:db8:1::/64        2001:db8:2::/64           RFC 3849

Needs root; without it the test is skipped with one line. Names carry the process id. Everything ends with the block: also on
an error in the middle of the setup, on SIGINT and SIGTERM; what a SIGKILL left behind is swept by the next village.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple, NoReturn, Self, TypeVar

from tests.support import PROJECT, need_netns, require

T = TypeVar("T")
_NETNS: Final = Path("/run/netns")
_PREFIX: Final = "tallyv"
_CLONE_NEWNET: Final = 0x40000000
_numbers = count()


class Nat(StrEnum):
    """What the router does to connections of the client's side."""

    NONE = "none"
    PRESERVING = "masquerade"
    RANDOM = "masquerade random"
    FULLY_RANDOM = "masquerade fully-random"


class Wall(StrEnum):
    """A stateful firewall on a machine: what it does with packets nobody asked for. ESTABLISHED and RELATED come in."""

    NONE = "none"
    DROP = "drop"
    REJECT_RESET = "meta l4proto tcp reject with tcp reset; drop"
    REJECT_ICMP = "reject with icmpx port-unreachable"
    REJECT_ADMIN = "reject with icmpx admin-prohibited"


class Port(NamedTuple):
    """What nmap says of a port: `state` (open, closed, filtered, open|filtered) and `reason` (syn-ack, reset, no-response)."""

    state: str
    reason: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of programs in the village: they find this project's packages and the same virtual environment."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join((str(PROJECT / "src"), str(PROJECT))), **(extra or {})}


@dataclass
class Machine:
    """One namespace: `ip` and `ip6` are its addresses on its LAN."""

    name: str
    netns: str
    ip: str
    ip6: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def command(self, argv: Sequence[str], without: Sequence[str] = ()) -> list[str]:
        """The whole command line; `without` names capabilities to take away (`net_admin`, or `all`)."""
        lost = ",".join(f"-{name}" for name in without)
        drop = [require("setpriv"), f"--bounding-set={lost}", f"--inh-caps={lost}"] if without else []
        return [require("ip"), "netns", "exec", self.netns, *drop, *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout: float = 30,
        check: bool = True,
        input: str | None = None,  # noqa: A002  # as in subprocess.run
        env: Mapping[str, str] | None = None,
        without: Sequence[str] = (),
        cwd: Path | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program here to its end, text in and out captured. With `check` a failure shows what it said."""
        command = self.command(argv, without)
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, input=input, env=environment(env), cwd=cwd, check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{self.name}: {' '.join(argv)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, without: Sequence[str] = (), **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program here; it and its children end with the village. Output is piped unless `stdout=`/`stderr=` say otherwise."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = self.command(argv, without)
        process = subprocess.Popen(command, text=True, env=environment(env), start_new_session=True, **{**pipes, **options})
        self.processes.append(process)
        return process

    def python(
        self, code: str, *args: str, timeout: float = 30, without: Sequence[str] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a piece of Python here, with `sys.argv[1:] = args`; the project can be imported."""
        return self.run([sys.executable, "-c", code, *args], timeout=timeout, without=without, check=check)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """This thread is here until the end of the block. Sockets made in it stay here for life."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net", "rb") as back, open(_NETNS / self.netns, "rb") as here:
            if libc.setns(here.fileno(), _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns to {self.netns}")
            try:
                yield
            finally:
                if libc.setns(back.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns back")

    def call(self, function: Callable[..., T], *args: Any) -> Future[T]:
        """Run a function here in a thread of its own (e.g. `v.house.call(asyncio.run, serve())`)."""
        future: Future[T] = Future()

        def work() -> None:
            try:
                with self.inside():
                    future.set_result(function(*args))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=work, name=f"{self.name}-{function.__name__}", daemon=True).start()
        return future

    def nft(self, rules: str) -> None:
        """Load nftables rules here."""
        self.run([require("nft"), "-f", "-"], input=rules)

    def sysctl(self, **values: object) -> None:
        """Set network settings here: `sysctl(net__ipv4__ip_forward=1)`."""
        self.run([require("sysctl"), "-q", "-w", *(f"{name.replace('__', '.')}={value}" for name, value in values.items())])

    def scan(
        self, target: str, ports: Sequence[int], *, udp: bool = False, source_port: int = 0, extra: Sequence[str] = ()
    ) -> dict[int, Port]:
        """What nmap here sees of ports of `target`: a SYN scan, or a UDP scan. Fast, no retries beyond one, no names looked up."""
        options = [
            "-n",
            "-Pn",
            "--reason",
            "--max-retries",
            "1",
            "--initial-rtt-timeout",
            "200ms",
            "--max-rtt-timeout",
            "300ms",
            "--host-timeout",
            "60s",
            "-oX",
            "-",
            "-sU" if udp else "-sS",
        ]
        options += ["-6"] if ":" in target else []
        options += ["-g", str(source_port)] if source_port else []
        out = self.run([require("nmap"), *options, *extra, "-p", ",".join(map(str, ports)), target], timeout=90).stdout
        found: dict[int, Port] = {}
        for port in ET.fromstring(out).iter("port"):
            state = port.find("state")
            if state is None:
                raise AssertionError("nmap named a port without a state")
            found[int(port.attrib["portid"])] = Port(state.attrib["state"], state.attrib["reason"])
        return found

    def end(self) -> None:
        """Kill what was started here, children included."""
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self.processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    with contextlib.suppress(OSError, ValueError):
                        pipe.close()
        self.processes.clear()


class Village:
    """The machines and what stands between them. Args:

    nat: what the router does with the client's side.  house_wall, client_wall: firewalls on the two machines.
    router_silent: the router drops what is meant for its own address instead of answering RST (only seen under NAT).
    delay_ms: added each way on the client's cable (a round trip takes twice that).
    house_udp: a UDP port that the house's wall lets in, as its owner would allow.
    """

    def __init__(
        self,
        *,
        nat: Nat = Nat.NONE,
        house_wall: Wall = Wall.NONE,
        client_wall: Wall = Wall.NONE,
        router_silent: bool = False,
        delay_ms: int = 0,
        house_udp: int = 51_877,
    ) -> None:
        self._nat, self._walls = nat, {"house": house_wall, "client": client_wall}
        self._router_silent, self._delay_ms, self._house_udp = router_silent, delay_ms, house_udp
        name = f"{_PREFIX}-{os.getpid()}-{next(_numbers)}"
        self.house = Machine("house", f"{name}-house", "198.51.100.10", "2001:db8:1::10")
        self.stranger = Machine("stranger", f"{name}-stranger", "198.51.100.66", "2001:db8:1::66")
        self.client = Machine("client", f"{name}-client", "192.168.77.20", "2001:db8:2::20")
        self.neighbour = Machine("neighbour", f"{name}-neighbour", "192.168.77.77", "2001:db8:2::77")
        self.router = Machine("router", f"{name}-router", "198.51.100.1", "2001:db8:1::1")
        self.machines = (self.house, self.stranger, self.client, self.neighbour, self.router)
        self._terminate: Any = None

    @property
    def client_seen_as(self) -> str:
        """The IPv4 address under which the house sees the client."""
        return self.client.ip if self._nat is Nat.NONE else self.router.ip

    def __enter__(self) -> Self:
        need_netns()
        sweep()
        if threading.current_thread() is threading.main_thread():
            self._terminate = signal.signal(signal.SIGTERM, _leave)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything down; a second Ctrl-C waits until that is done."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            for machine in self.machines:
                machine.end()
            for machine in self.machines:
                _remove(machine.netns)
            if self._terminate is not None:
                signal.signal(signal.SIGTERM, self._terminate)
                self._terminate = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _build(self) -> None:
        for machine in self.machines:
            _ip("netns", "add", machine.netns)
            # Addresses must be usable at once (no duplicate detection), and nothing here limits ICMP but the default.
            _batch(machine, ["link set lo up"])
            machine.sysctl(net__ipv6__conf__all__accept_dad=0, net__ipv6__conf__default__accept_dad=0)
        self.router.sysctl(net__ipv4__ip_forward=1, net__ipv6__conf__all__forwarding=1)
        self._lan("lan-house", (self.house, self.stranger), "198.51.100.1", "2001:db8:1::1")
        self._lan("lan-client", (self.client, self.neighbour), "192.168.77.1", "2001:db8:2::1")
        if self._nat is not Nat.NONE:
            silent = 'iifname "lan-house" ct state new drop;' if self._router_silent else ""
            self.router.nft(
                f"""table inet village {{
                    chain out {{ type nat hook postrouting priority srcnat; oifname "lan-house" {self._nat.value}; }}
                    chain through {{ type filter hook forward priority filter; iifname "lan-house" ct state new drop; }}
                    chain own {{ type filter hook input priority filter; {silent}
                    }}
                }}"""
            )
        for machine in (self.house, self.client):
            self._wall(machine, self._walls[machine.name])
        if self._delay_ms:
            self._lengthen()

    def _lan(self, bridge: str, machines: Sequence[Machine], gateway: str, gateway6: str) -> None:
        lines = [
            f"link add {bridge} type bridge mcast_snooping 0",
            f"address add {gateway}/24 dev {bridge}",
            f"address add {gateway6}/64 dev {bridge} nodad",
        ]
        lines += [f"link add to-{m.name} type veth peer name eth0 netns {m.netns}" for m in machines]
        lines += [f"link set to-{m.name} master {bridge} up" for m in machines]
        _batch(self.router, [*lines, f"link set {bridge} up"])
        for machine in machines:
            lines = [f"address add {machine.ip}/24 dev eth0", f"address add {machine.ip6}/64 dev eth0 nodad", "link set eth0 up"]
            _batch(machine, [*lines, f"route add default via {gateway}", f"route add default via {gateway6}"])

    def _lengthen(self) -> None:
        """Put a long cable between the client and its switch."""
        _batch(self.router, ["link add far type veth peer name near", "link set near master lan-client up", "link set far up"])
        _batch(self.router, ["link set to-client nomaster"])
        cable = [sys.executable, str(Path(__file__).with_name("delay.py")), "to-client", "far", str(self._delay_ms)]
        started = self.router.popen(cable)
        if started.stdout is None or started.stdout.readline() != "ready\n":
            raise AssertionError("the long cable did not start")

    def _wall(self, machine: Machine, wall: Wall) -> None:
        if wall is Wall.NONE:
            return
        own = f"udp dport {self._house_udp} accept;" if machine is self.house else ""
        machine.nft(
            f"""table inet wall {{ chain in {{ type filter hook input priority filter; iif lo accept;
                ct state established,related accept; icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert }} accept;
                {own} {wall.value}
                }}
            }}"""
        )


def sweep() -> None:
    """Remove namespaces of villages whose process is gone (it was killed)."""
    for path in _NETNS.glob(f"{_PREFIX}-*") if _NETNS.is_dir() else ():
        owner = path.name.split("-")[1]
        if owner.isdigit() and not Path("/proc", owner).exists():
            _remove(path.name)


def _remove(netns: str) -> None:
    if (_NETNS / netns).exists():
        subprocess.run([require("ip"), "netns", "del", netns], capture_output=True, timeout=30, check=False)


def _ip(*args: str) -> None:
    subprocess.run([require("ip"), *args], check=True, capture_output=True, timeout=30)


def _batch(machine: Machine, lines: Sequence[str]) -> None:
    machine.run([require("ip"), "-batch", "-"], input="\n".join(lines) + "\n")


def _leave(number: int, _: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
