"""OpenSSH as it is installed: `ssh` to an `sshd` of its own on 127.0.0.1, Ed25519 keys on both sides, running `true`."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

READY_S: Final = 10.0
_NEEDED: Final = ("ssh", "sshd", "ssh-keygen")


class CannotRunError(Exception):
    """This peer cannot run here; the message says why."""


def _program(name: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise CannotRunError(f"no {name}")
    return found


@contextmanager
def running(folder: Path) -> Iterator[list[str]]:
    """An sshd in `folder`; yields the command that logs in and runs `true`. Raises: CannotRunError."""
    ssh, sshd, keygen = (_program(name) for name in _NEEDED)
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    host = (folder / "host.pub").read_text("ascii")
    (folder / "known").write_text(f"[127.0.0.1]:{port} {host}", encoding="ascii")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\nPidFile none\n"
        "UsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nStrictModes no\nPermitRootLogin prohibit-password\n"
        "PrintMotd no\nUseDNS no\nMaxStartups 100:30:200\n",
        encoding="ascii",
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks its unprivileged half in
    with (folder / "sshd.log").open("wb") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", str(folder / "sshd_config")], stdout=log, stderr=log)
    options = ("BatchMode=yes", f"UserKnownHostsFile={folder}/known", "GlobalKnownHostsFile=none", "IdentitiesOnly=yes", "LogLevel=ERROR")
    login = [ssh, "-F", "none", "-i", str(folder / "user"), "-p", str(port)]
    for option in options:
        login += ["-o", option]
    login += [f"{getpass.getuser()}@127.0.0.1", "true"]
    try:
        _wait(server, port, folder / "sshd.log")
        tried = subprocess.run(login, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=READY_S)
        if tried.returncode:
            raise CannotRunError(f"the login failed: {tried.stderr.strip()[:200]}")
        yield login
    finally:
        server.terminate()
        server.wait(READY_S)


def _wait(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise CannotRunError(f"sshd ended: {log.read_text('utf-8', 'replace').strip()[:200]}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    raise CannotRunError("sshd does not listen")
