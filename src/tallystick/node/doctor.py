"""`tally doctor`: can this computer keep the promises, and if not, what to do?

Every check tries the real thing on a thing of its own: it binds the port, syncs a file, attaches a filter. Nothing is changed and
nothing is left behind. A check ends `ok`, `warn` (works, with less) or `fail` (a promise would be broken).
"""

import asyncio
import contextlib
import ctypes
import json
import os
import platform
import resource
import shutil
import socket
import ssl
import stat
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from tallystick.errors import TallyError, Unavailable
from tallystick.net import bpf
from tallystick.net.firewall import preset
from tallystick.node import local
from tallystick.node.home import Home, check_private_directory, check_private_file, holder_of
from tallystick.node.publisher import published_size
from tallystick.node.reserve import Reserve
from tallystick.node.settings import Settings
from tallystick.storage.tilesource import TileSource

# 2026-11-01: no copy of this program was made earlier, so a clock that says less is dead.
BUILT_NS: Final = 1_793_491_200 * 1_000_000_000
TOO_LATE_YEAR: Final = 2100
CLOCK_ERROR_WARN_US: Final = 1_000_000
SYNC_TRIALS: Final = 20
SYNC_WARN_MS: Final = 50.0
# No disk that keeps its word answers a sync faster; one that does has a battery, or does not sync.
SYNC_IMPLAUSIBLE_MS: Final = 0.02
SPACE_WARN_BYTES: Final = 1 << 30
FILES_WARN: Final = 1024
COMMAND_TIMEOUT_S: Final = 5.0
_NETWORK_FS: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs", "afs", "lustre"})
_MEMORY_FS: Final = frozenset({"tmpfs", "ramfs"})
_TIMESYNC_FLAG: Final = Path("/run/systemd/timesync/synchronized")
# adjtimex(2): struct timex on 64-bit Linux; the clock is unsynchronised while STA_UNSYNC is set.
_TIMEX_BYTES: Final = 208
_TIMEX_MAXERROR_AT: Final = 24
_TIMEX_STATUS_AT: Final = 40
_STA_UNSYNC: Final = 0x0040


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: what was found, and what to do where something is wrong."""

    name: str
    state: State
    message: str
    hint: str = ""


def ok(name: str, message: str) -> Check:
    """A check that found nothing wrong."""
    return Check(name=name, state=State.OK, message=message)


def warn(name: str, message: str, hint: str) -> Check:
    """A check that found less than there could be."""
    return Check(name=name, state=State.WARN, message=message, hint=hint)


def fail(name: str, message: str, hint: str) -> Check:
    """A check that found a promise that would be broken."""
    return Check(name=name, state=State.FAIL, message=message, hint=hint)


def check_python(_: Settings) -> Check:
    """The interpreter and the library under it."""
    found = f"Python {platform.python_version()}, {ssl.OPENSSL_VERSION.split('  ')[0]}, {platform.machine()}"
    if sys.maxsize < 2**32:
        return warn("python", f"{found}: 32 bits", "works, slowly; a 64-bit system is tested")
    return ok("python", found)


def has_aes(cpuinfo: str) -> bool:
    """Whether the processor computes AES itself: the flag is called `aes` on x86 and on ARM."""
    lines = (line for line in cpuinfo.splitlines() if line.split(":")[0].strip().lower() in {"flags", "features"})
    return any("aes" in line.split(":", 1)[-1].split() for line in lines)


def check_aes(_: Settings) -> Check:
    """AES in hardware decides which suite a new pair gets."""
    try:
        cpuinfo = Path("/proc/cpuinfo").read_text("utf-8", "replace")
    except OSError:
        return warn("aes", "cannot tell whether the processor computes AES", "new pairs take ChaCha20-Poly1305")
    if has_aes(cpuinfo):
        return ok("aes", "the processor computes AES: new pairs can take the AES-GCM suite")
    return ok("aes", "no AES in this processor: new pairs take ChaCha20-Poly1305")


def check_capabilities(_: Settings) -> Check:
    """What the kernel lets this process do with its sockets, tried on sockets of its own."""
    give = "give the process CAP_NET_ADMIN (packaging/systemd does)"
    can = bpf.capabilities()
    if can.filter_tcp and can.filter_udp:
        return ok("capabilities", "socket filters on UDP and TCP: mode 1 leaves no open port")
    if not can.filter_udp:
        return warn("capabilities", "no filter on UDP sockets: junk costs more", "look for a seccomp or container rule on SO_ATTACH_FILTER")
    if can.tcp_md5:
        return warn("capabilities", "no filter on TCP sockets; mode 1 takes TCP-MD5 instead, on direct paths only", give)
    return warn("capabilities", "neither filters nor MD5 on TCP sockets: only mode 3", give)


def kernel_clock() -> tuple[bool, int] | None:
    """(synchronised, greatest error in microseconds) as the kernel sees it, or None where it cannot be asked."""
    try:
        buffer = ctypes.create_string_buffer(_TIMEX_BYTES)
        if ctypes.CDLL(None, use_errno=True).adjtimex(buffer) < 0:
            return None
    except (OSError, AttributeError):
        return None
    status = int.from_bytes(buffer.raw[_TIMEX_STATUS_AT : _TIMEX_STATUS_AT + 4], sys.byteorder)
    error_us = int.from_bytes(buffer.raw[_TIMEX_MAXERROR_AT : _TIMEX_MAXERROR_AT + 8], sys.byteorder, signed=True)
    return not status & _STA_UNSYNC, error_us


def judge_clock(now_ns: int, kernel: tuple[bool, int] | None, *, flag: bool) -> Check:
    """A sane year, and somebody who keeps the clock right."""
    year = time.gmtime(now_ns // 1_000_000_000).tm_year
    if now_ns < BUILT_NS or year >= TOO_LATE_YEAR:
        return fail("clock", f"the clock says {year}: knocks would be refused", "set it, for instance: timedatectl set-ntp true")
    if kernel is None and not flag:
        return warn("clock", "cannot tell whether the clock is kept right", "run an NTP client (systemd-timesyncd, chrony)")
    if flag or (kernel is not None and kernel[0] and kernel[1] < CLOCK_ERROR_WARN_US):
        return ok("clock", "kept right by NTP")
    return warn("clock", "nobody keeps the clock right; knocks allow 60 s of error", "run an NTP client (systemd-timesyncd, chrony)")


def check_clock(_: Settings) -> Check:
    """The clock against the age of this program, and the kernel's word on NTP."""
    return judge_clock(time.time_ns(), kernel_clock(), flag=_TIMESYNC_FLAG.exists())


def check_permissions(settings: Settings) -> Check:
    """Nobody else may look into the home: directory, vault, and every file in it."""
    home = Home(settings.home)
    if not settings.home.exists():
        return ok("permissions", f"{settings.home} is not there yet; `tally init` or `tally pair` makes it 0700")
    check_private_directory(home.path)
    count = 0
    for folder in (home.vault, home.bodies):
        if folder.is_dir():
            check_private_directory(folder)
            for path in folder.rglob("*"):
                count += 1
                if stat.S_ISDIR(path.lstat().st_mode):
                    check_private_directory(path)
                else:
                    check_private_file(path)
    return ok("permissions", f"{home.path} is yours alone ({count} private files)")


def _nearest(path: Path) -> Path:
    """The path, or its nearest ancestor that exists: before `tally init` the home does not."""
    return next(place for place in (path, *path.parents) if place.is_dir())


def file_system(path: Path, mountinfo: str) -> str:
    """The type of the file system a path lies on (proc(5), /proc/PID/mountinfo); "" where that is not told."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields = line.split()
        if "-" not in fields or len(fields) < 10:
            continue
        point = fields[4].encode().decode("unicode_escape")
        inside = path == Path(point) or Path(point) in path.parents
        # Later lines cover earlier ones on the same point.
        if inside and len(point) >= best:
            best, kind = len(point), fields[fields.index("-") + 1]
    return kind


def sync_times_ms(folder: Path) -> list[float]:
    """How long writing 4 KiB and fdatasync(2) take, one figure for each trial, sorted."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNC_TRIALS):
            os.pwrite(file.fileno(), b"\xa5" * 4096, 0)
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - started) * 1000)
    return sorted(times)


def judge_disk(kind: str, times_ms: Sequence[float]) -> Check:
    """A disk that keeps what it said it keeps, and says so in time."""
    middle = statistics.median(times_ms)
    found = f"{kind or 'unknown file system'}, a sync takes {middle:.2f} ms (worst {times_ms[-1]:.2f})"
    if kind in _NETWORK_FS or kind.startswith("fuse"):
        return warn("disk", f"{found}: locks and syncs over a network are promises of another machine", "put the home on a local disk")
    if kind in _MEMORY_FS:
        return warn("disk", f"{found}: gone at the next start", "put the home on a disk")
    if kind == "overlay":
        return warn("disk", f"{found}: the ledger dies with this container", "mount a volume for the home")
    if middle < SYNC_IMPLAUSIBLE_MS:
        return warn("disk", f"{found}: faster than a disk can be", "make sure that a sync is not ignored (hypervisor cache, eatmydata)")
    if middle > SYNC_WARN_MS:
        return warn("disk", f"{found}: every command waits for one", "a faster disk, or one that fewer others use")
    return ok("disk", found)


def check_disk(settings: Settings) -> Check:
    """Real syncs of a real file beside the ledger."""
    folder = _nearest(settings.home)
    try:
        mountinfo = Path("/proc/self/mountinfo").read_text("utf-8", "replace")
    except OSError:
        mountinfo = ""
    try:
        times = sync_times_ms(folder)
    except OSError as error:
        return fail("disk", f"cannot write in {folder}: {error.strerror}", "choose a TALLY_HOME you may write to")
    return judge_disk(file_system(folder.resolve(), mountinfo), times)


def judge_space(free: int, folder: Path, least_mib: int, *, held: bool) -> Check:
    """Room for the ledger: below the reserve a house takes no commands. `held`: the blocks kept for severances are there."""
    found = f"{free >> 20} MiB free in {folder}"
    if free < least_mib << 20:
        kept = "; what ends a pair is still recorded" if held else ", and the room held for severances is used up"
        return fail("space", f"{found}, less than the {least_mib} of reserve_mib: a house takes no commands{kept}", "make room at once")
    if free < SPACE_WARN_BYTES:
        return warn("space", found, f"make room; with less than {least_mib} MiB a house takes no commands (reserve_mib)")
    return ok("space", found)


def check_space(settings: Settings) -> Check:
    """Free space where the home lies, for a user without privileges."""
    folder = _nearest(settings.home)
    reserve = Reserve(folder, settings.reserve_mib)
    return judge_space(reserve.free(), folder, settings.reserve_mib, held=reserve.held)


def check_files(_: Settings) -> Check:
    """Every session is an open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES_WARN:
        return warn("files", f"at most {soft} open files (hard limit {hard})", "ulimit -n 65536, or LimitNOFILE= in the unit")
    return ok("files", f"at most {soft} open files")


def check_port(settings: Settings) -> Check:
    """The UDP port is free, or ours."""
    if holder := holder_of(Home(settings.home)):
        return ok("port", f"the house is running (process {holder})")
    family = socket.AF_INET6 if ":" in settings.address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((settings.address, settings.port))
    except OSError as error:
        return fail(
            "port",
            f"UDP {settings.address} port {settings.port}: {error.strerror}",
            "choose another with --port or TALLY_PORT, or `tally config`",
        )
    return ok("port", f"UDP port {settings.port} is free")


def judge_publication(entries: int, published: int, failure: str | None) -> Check:
    """A ledger whose checkpoints nobody can read is a promise to auditors that is not kept."""
    if failure:
        hint = "make room, or check the disk and the mode of tiles/; then start the house again"
        return fail("publication", f"checkpoints are not published: {failure}", hint)
    return ok("publication", f"{published} of {entries} entries are under the published checkpoint")


def check_publication(settings: Settings) -> Check:
    """What the house says of its publication; of one that does not run, whether its newest checkpoint is the published one."""
    home = Home(settings.home)
    if not home.exists():
        return ok("publication", "there is no ledger yet")
    if holder_of(home):
        with contextlib.suppress(Unavailable):
            status = asyncio.run(local.call(home.house_socket, "status", {}))
            return judge_publication(status["entries"], status["published"], status["publication"])
    source = TileSource(home.database)
    try:
        entries, signed = source.sizes()
    finally:
        source.close()
    published = published_size(home)
    if published < signed:
        return warn("publication", f"{signed} entries were signed for, {published} are published", "`tally serve` publishes the rest")
    return judge_publication(entries, published, None) if signed else ok("publication", "nothing was signed yet")


def _nft_ruleset() -> dict[str, Any] | None:
    """The kernel's packet filter rules, or None where we may not see them."""
    nft = shutil.which("nft", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin")
    if nft is None:
        return None
    try:
        done = subprocess.run([nft, "-j", "list", "ruleset"], capture_output=True, check=False, timeout=COMMAND_TIMEOUT_S)
        rules = json.loads(done.stdout) if done.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return rules if isinstance(rules, dict) else None


def drops_by_default(rules: dict[str, Any]) -> bool:
    """Whether a base chain on `input` drops what no rule accepts."""
    chains = [item["chain"] for item in rules.get("nftables", []) if isinstance(item, dict) and "chain" in item]
    return any(chain.get("hook") == "input" and chain.get("policy") == "drop" for chain in chains)


def judge_firewall(rules: dict[str, Any] | None) -> Check:
    """What a stranger who scans this computer can tell."""
    hint = "`tally doctor --firewall` prints a ruleset under which all ports look alike"
    if rules is None:
        return warn("firewall", "cannot see the packet filter (nftables, root)", hint)
    if drops_by_default(rules):
        return ok("firewall", "drops by default: to a stranger all closed ports look like this one")
    return warn("firewall", "answers for closed ports: a UDP scan shows this one as the silent among them", hint)


def check_firewall(_: Settings) -> Check:
    """The rules of the packet filter, as far as we may see them."""
    return judge_firewall(_nft_ruleset())


CHECKS: Final[Sequence[tuple[str, Callable[[Settings], Check]]]] = (
    ("python", check_python),
    ("aes", check_aes),
    ("capabilities", check_capabilities),
    ("clock", check_clock),
    ("permissions", check_permissions),
    ("disk", check_disk),
    ("space", check_space),
    ("files", check_files),
    ("port", check_port),
    ("publication", check_publication),
    ("firewall", check_firewall),
)


def examine(settings: Settings) -> dict[str, Any]:
    """All checks: `{"ok": no check failed, "checks": [{"name", "state", "message", "hint"}]}`. Raises nothing of a window."""
    checks: list[Check] = []
    for name, run in CHECKS:
        try:
            checks.append(run(settings))
        except TallyError as error:
            checks.append(fail(name, error.message, error.hint))
        except OSError as error:
            checks.append(fail(name, f"{error.filename or name}: {error.strerror}", "run as the user the house belongs to"))
    return {"ok": all(check.state is not State.FAIL for check in checks), "checks": [asdict(check) for check in checks]}


def firewall_ruleset(settings: Settings) -> str:
    """The nftables ruleset under which a stranger cannot tell the house's port from any other."""
    return preset(settings.port)
