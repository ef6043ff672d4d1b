"""What tests need from outside the project, found or skipped with one clear line.

`TALLYSTICK_REQUIRE=all` (as in CI) turns every such skip into a failure: a test that silently did not run proves nothing.
"""

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

import pytest

PROJECT: Final = Path(__file__).resolve().parent.parent


def missing(what: str) -> NoReturn:
    """Skip the running test with one line, or fail it when everything is required."""
    if os.environ.get("TALLYSTICK_REQUIRE") == "all":
        pytest.fail(f"{what}, and TALLYSTICK_REQUIRE=all", pytrace=False)
    pytest.skip(what)


def vectors(*parts: str) -> Path:
    """The path of foreign test vectors: `$TALLYSTICK_VECTORS`, else `../shared/vectors` beside the project."""
    root = Path(os.environ.get("TALLYSTICK_VECTORS") or PROJECT.parent / "shared" / "vectors")
    path = root.joinpath(*parts)
    if not path.exists():
        missing(f"test vectors not found: {'/'.join(parts)} (set TALLYSTICK_VECTORS)")
    return path


def require(program: str) -> str:
    """The absolute path of a program of the system; sbin folders are searched too."""
    search = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))
    found = shutil.which(program, path=search)
    if found is None:
        missing(f"program not found: {program}")
    return found


@functools.cache
def _can_make_netns() -> bool:
    name = f"tally-probe-{os.getpid()}"
    ip = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if ip is None or os.geteuid() != 0:
        return False
    if subprocess.run([ip, "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return False
    subprocess.run([ip, "netns", "del", name], capture_output=True, check=False)
    return True


def netns_available() -> bool:
    """Whether this process can make network namespaces. Tests say `need_netns()` instead, which skips or fails."""
    return _can_make_netns()


def need_netns() -> None:
    """Skip (or fail, when everything is required) unless network namespaces can be made."""
    if not netns_available():
        missing("network namespaces cannot be made (needs root and iproute2)")


@contextlib.contextmanager
def abandoned() -> Iterator[None]:
    """What a simulated crash leaves open is closed afterwards, as the kernel closes what a killed process had open."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    for name in set(os.listdir("/proc/self/fd")) - before:
        with contextlib.suppress(OSError):
            os.close(int(name))
