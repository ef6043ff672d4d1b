"""Disks that are full or read-only, files that somebody touched, two houses on one home: what stands is whole, what does not is told."""

import contextlib
import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tallystick.errors import TallyError, Unavailable
from tests.e2e.support import Client, House, until
from tests.support import missing, require

MIB = 1 << 20


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own, of that size."""
    if os.geteuid() != 0:
        missing("a small disk needs root to mount it")
    path.mkdir(mode=0o700)
    options = f"size={megabytes}m,mode=0700"
    subprocess.run([require("mount"), "-t", "tmpfs", "-o", options, "tally-test", str(path)], check=True, capture_output=True, timeout=10)
    try:
        yield path
    finally:
        subprocess.run([require("umount"), "--lazy", str(path)], check=False, capture_output=True, timeout=10)


def remounted(path: Path, how: str) -> bool:
    """Remount read-only or writable. False: something on it is open for writing."""
    done = subprocess.run([require("mount"), "-o", f"remount,{how}", str(path)], check=False, capture_output=True, timeout=10)
    return done.returncode == 0


def fill(path: Path) -> Path:
    """Take what is free of a disk; remove the file to free it again."""
    ballast = path / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (MIB, 65_536, 4_096, 512, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\x55" * size)
    return ballast


# --- Who holds it, and who may read it -----------------------------------------------------------------------------------------


def test_two_houses_on_one_state(tmp_path: Path) -> None:
    """The second `tally serve` ends with exit code 4 and names the first, which does not notice."""
    with House(tmp_path) as house:
        done = house.cli("serve", code=4)
        assert f"process {house.pid} holds" in done.stderr
        assert done.stderr.splitlines()[1].startswith("hint: ")
        house.owner.ping()


def test_offline_commands_of_a_running_house(tmp_path: Path) -> None:
    """A house that was killed leaves its socket behind: commands given at it work all the same, as at a stopped one."""
    with House(tmp_path) as house:
        house.machine("laptop")
        house.kill()
        assert (house.path / "house.sock").exists()
        assert house.json("status")["running"] is False
        house.json("sever", "laptop")
        assert house.row("laptop")["state"] == "severed"
        house.serve()


def test_state_that_others_may_enter(tmp_path: Path) -> None:
    """A home, a vault or a key file with a wider mode is refused (exit code 1) with the command that mends it; mended, the house runs."""
    house = House(tmp_path).init()
    vault = house.path / "vault"
    keys = [path for path in vault.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o7777 for path in keys} == {0o600}
    assert {path.stat().st_mode & 0o7777 for path in (house.path, vault)} == {0o700}
    machine = next(path for path in keys if "machine" in path.name)
    for path, mode, command in (
        (house.path, 0o740, "serve"),
        (house.path, 0o701, "status"),
        (vault, 0o750, "serve"),
        (vault, 0o704, "invite"),
        (machine, 0o640, "serve"),
        (machine, 0o604, "status"),
    ):
        right = path.stat().st_mode & 0o7777
        path.chmod(mode)
        said = house.cli(command, code=1).stderr.splitlines()
        assert said[0].startswith("error: "), said
        assert said[1].startswith("hint: ") and f"chmod {right:o} {path}" in said[1], said
        path.chmod(right)
    with house:
        house.owner.ping()


# --- Read-only and full disks --------------------------------------------------------------------------------------------------


def test_read_only_state(tmp_path: Path) -> None:
    """On a read-only disk `tally serve` ends with exit code 4 and two lines; `tally status` still answers."""
    with small_disk(tmp_path / "disk", 64) as disk:
        with House(disk, reserve_mib=0) as house:
            house.stop()
            assert remounted(disk, "ro")
            done = house.cli("serve", code=4)
            assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "hint"]
            assert house.owner.cli("ping", code=4).stderr.startswith("error: ")
            assert remounted(disk, "rw")
            house.serve()
            house.owner.ping()


def test_a_full_archive(tmp_path: Path) -> None:
    """Without space for it a put fails Unavailable, leaves no half file, and disturbs nobody; with space again it works."""
    with small_disk(tmp_path / "files", 330) as disk, House(tmp_path, root=disk / "root") as house:
        client = house.machine("laptop")
        client.put(b"small", "small.txt")
        big = secrets.token_bytes(MIB) * 90
        error = house.fails(Unavailable, client.put, big, "big.bin")
        assert "full" in error.message or "free" in error.message, error.message
        assert client.names() == ["small.txt"]
        assert client.get("small.txt") == b"small"
        assert house.running
        subprocess.run([require("mount"), "-o", "remount,size=700m", str(disk)], check=True, capture_output=True, timeout=10)
        client.put(big, "big.bin")
        assert hashlib.sha256(client.get("big.bin")).digest() == hashlib.sha256(big).digest()


def test_a_full_ledger(tmp_path: Path) -> None:
    """Without space for its record nothing is done: commands fail Unavailable, yet a pair can be severed; with space again everything
    acknowledged is there and nothing else."""
    with small_disk(tmp_path / "disk", 64) as disk, House(disk, root=tmp_path / "root", reserve_mib=8) as house:
        client, thief = Client(tmp_path, "laptop", timeout_s=3), Client(tmp_path, "thief", timeout_s=1)  # their own disks have room
        for each in (client, thief):
            each.pairing(house.owner.invite("INPUT", label=each.name, approve=True, ttl_s=60)).wait()
        stored = []
        ballast = fill(disk)
        for number in range(200):
            try:
                client.put(b"content", f"{number}.txt")
                stored.append(f"{number}.txt")
            except TallyError as error:
                assert isinstance(error, Unavailable), error
                break
        else:
            raise AssertionError("the disk was not full")
        assert house.running
        house.sever("thief")
        house.fails(Unavailable, thief.ping)
        ballast.unlink()
        assert house.row("thief")["state"] == "severed"
        until(lambda: works(client), "it takes commands again", 20)
        assert set(stored) <= set(client.names()) <= {*stored, f"{len(stored)}.txt"}
        client.put(b"content", "after.txt")
        house.restart()
        assert client.get("after.txt") == b"content"
        open_effects(house)


def works(client: Client) -> bool:
    """Whether a ping gets through."""
    try:
        client.ping()
    except TallyError:
        return False
    return True


def open_effects(house: House) -> None:
    """Every effect that began has come to an end: done, failed or unknown."""
    begun = {entry["index"] for entry in house.log("effect-begun")}
    ended = {entry["fields"]["entry"] for kind in ("effect-done", "effect-failed", "effect-unknown") for entry in house.log(kind)}
    assert begun <= ended, sorted(begun - ended)


# --- Files that somebody touched ------------------------------------------------------------------------------------------------


def test_a_memory_file_that_is_not_the_last(tmp_path: Path) -> None:
    """The memory file is no record: with an older one, none, an empty one, or noise at the house, everyone still connects."""
    with House(tmp_path) as house:
        client = house.machine("laptop")
        memory = house.path / "memory"
        house.restart()  # written at the latest when it stops
        old = memory.read_bytes()
        client.ping()
        for content in (None, secrets.token_bytes(300), b"", old):
            house.stop()
            memory.unlink()
            if content is not None:
                memory.write_bytes(content)
                memory.chmod(0o600)
            house.serve()
            client.ping()
        house.owner.ping()


def test_an_older_memory_file_at_the_client(tmp_path: Path) -> None:
    """A machine whose memory file was put back knocks with times it may have used before: it still gets in."""
    with House(tmp_path) as house:
        client = house.machine("laptop")
        client.ping()
        shutil.copy(client.path / "memory", tmp_path / "kept")
        client.ping(3)
        shutil.copy(tmp_path / "kept", client.path / "memory")
        client.ping()


def test_a_damaged_database(tmp_path: Path) -> None:
    """A house whose database was overwritten in the middle does not start: exit code 4 or 3, two lines, no traceback."""
    with House(tmp_path) as house:
        house.stop()
        database = house.path / "house.sqlite"
        raw = bytearray(database.read_bytes())
        for at in range(4_096, len(raw), 4_096):
            raw[at : at + 64] = secrets.token_bytes(64)
        whole = database.read_bytes()
        database.write_bytes(raw)
        done = subprocess.run(
            house.argv("serve"), capture_output=True, text=True, timeout=30, env=house.environment(TALLY_PORT="0"), check=False
        )
        assert done.returncode in (3, 4, 5), done.stderr
        assert "Traceback" not in done.stderr
        database.write_bytes(whole)
        house.serve()
