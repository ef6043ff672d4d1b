"""After a crash between any two system calls a vault is in its old state or its new one."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick.errors import Refused, TallyError, Unavailable
from tallystick.keys import HumanKey
from tallystick.vault import FileVault
from tallystick.vault.sealing import Kdf
from tests.support import abandoned
from tests.vault.disk import FailingDisk, PowerCut


@pytest.fixture(autouse=True)
def _killed() -> Iterator[None]:
    """A machine that died here holds no descriptor."""
    with abandoned():
        yield


CHEAP = Kdf(name="argon2id", salt=bytes(16), cost=(8, 1, 1))
KEEPS = ["all", "synced", "names"]
ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT]
OLD, NEW, OTHER = b"old secret " * 20, b"new " * 3, b"the other secret"


def _no_leftovers(path: Path) -> None:
    assert list(path.rglob(".*")) == []
    assert [name for name in path.rglob("*") if name.is_file() and name.stat().st_nlink != 1] == []


def _put(vault: FileVault) -> None:
    vault.put_secret("pair/one", NEW)


def _delete(vault: FileVault) -> None:
    vault.delete_secret("pair/one")


Change = Callable[[FileVault], None]
Allowed = tuple[bytes | None, ...]
CHANGES: list[tuple[str, Change, Allowed, bytes | None]] = [
    ("put over", _put, (OLD, NEW), NEW),
    ("delete", _delete, (OLD, None), None),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault with two secrets and a human key."""
    path = tmp_path_factory.mktemp("template") / "vault"
    vault = FileVault.create(path)
    vault.put_secret("pair/one", OLD)
    vault.put_secret("pair/two", OTHER)
    vault.new_human("Ada", "passphrase", kdf=CHEAP)
    return path


def _fresh(template: Path, tmp_path: Path, run: str) -> tuple[Path, Path]:
    home, shadow = tmp_path / run, tmp_path / f"{run}-shadow"
    home.mkdir()
    shadow.mkdir()
    shutil.copytree(template, home / "vault")
    return home / "vault", shadow


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("keeps", KEEPS)
@pytest.mark.parametrize(("change", "allowed", "final"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_a_secret_survives_a_crash_anywhere(
    template: Path,
    tmp_path: Path,
    change: Callable[[FileVault], object],
    allowed: tuple[bytes | None, ...],
    final: bytes | None,
    keeps: str,
    torn: bool,
) -> None:
    """A cut at each call of a replacement or deletion leaves the old secret or the new one, the rest untouched, no leftovers."""
    seen = set()
    for at in range(100):
        path, shadow = _fresh(template, tmp_path, f"cut{at}")
        disk = FailingDisk(at=at, torn=torn, shadow=shadow)
        try:
            vault = FileVault.open(path, disk=disk)
            change(vault)
        except PowerCut:
            disk.recover(keeps)
            vault = FileVault.open(path)
            secret = vault.get_secret("pair/one")
            assert secret in allowed, disk.log
            seen.add(secret)
            assert vault.get_secret("pair/two") == OTHER
            assert len(vault.humans()) == 1
            _no_leftovers(path)
            change(vault)  # and it can be done again
            assert vault.get_secret("pair/one") == final
        else:
            assert at == disk.calls
            disk.recover(keeps)
            vault = FileVault.open(path)
            assert vault.get_secret("pair/one") == final  # what was acknowledged is durable
            _no_leftovers(path)
            break
    else:
        raise AssertionError("the change never ended")
    assert at > 8
    assert seen == set(allowed)


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("keeps", KEEPS)
def test_a_human_key_appears_and_vanishes_whole(template: Path, tmp_path: Path, keeps: str, torn: bool) -> None:
    """A cut while a human key is made leaves none or one that signs; a cut while it is deleted likewise."""
    for at in range(100):
        path, shadow = _fresh(template, tmp_path, f"cut{at}")
        disk = FailingDisk(at=at, torn=torn, shadow=shadow)
        made: HumanKey | None = None
        try:
            vault = FileVault.open(path, disk=disk)
            made = vault.new_human("Bob", "other passphrase", kdf=CHEAP)
            vault.delete_human(made.key_id)
        except PowerCut:
            disk.recover(keeps)
            vault = FileVault.open(path)
            for key in vault.humans():
                signer = vault.human_signer(key.key_id, "passphrase" if key.label == "Ada" else "other passphrase")
                assert len(signer.sign(b"x")) == 64
            assert "Ada" in [key.label for key in vault.humans()]
            _no_leftovers(path)
        else:
            disk.recover(keeps)
            assert [key.label for key in FileVault.open(path).humans()] == ["Ada"]
            break
    else:
        raise AssertionError("the change never ended")


@pytest.mark.parametrize("torn", [False, True], ids=["whole", "torn"])
@pytest.mark.parametrize("keeps", KEEPS)
def test_a_vault_appears_whole_or_not_at_all(tmp_path: Path, keeps: str, torn: bool) -> None:
    """A cut at each call of `create` leaves no vault, and `create` works again, or a whole one."""
    whole = 0
    for at in range(200):
        home, shadow = tmp_path / f"cut{at}", tmp_path / f"cut{at}-shadow"
        home.mkdir()
        shadow.mkdir()
        disk = FailingDisk(at=at, torn=torn, shadow=shadow)
        try:
            made = FileVault.create(home / "vault", disk=disk)
        except PowerCut:
            disk.recover(keeps)
            if (home / "vault").exists():
                whole += 1
                vault = FileVault.open(home / "vault")
                assert len(vault.log.ml_dsa_44.sign(b"x")) == 2420
            else:
                FileVault.create(home / "vault")
            _no_leftovers(home)
        else:
            disk.recover(keeps)
            assert FileVault.open(home / "vault").machine.signing.public == made.machine.signing.public
            break
    else:
        raise AssertionError("create never ended")
    assert at > 30
    assert whole or keeps == "synced"


def test_a_crash_while_cleaning_up_after_a_crash(template: Path, tmp_path: Path) -> None:
    """The sweep of leftovers may itself be cut, as often as it likes."""
    for at in range(30):
        path, _ = _fresh(template, tmp_path, f"cut{at}")
        for name in (".new-pair+one", ".gone-pair+three"):
            (path / "secrets" / name).write_bytes(b"left over")
            (path / "secrets" / name).chmod(0o600)
        disk = FailingDisk(at=at)
        try:
            FileVault.open(path, disk=disk)
        except PowerCut:
            vault = FileVault.open(path)
            assert vault.get_secret("pair/one") == OLD
            assert vault.get_secret("pair/three") is None
            _no_leftovers(path)
        else:
            _no_leftovers(path)
            break
    else:
        raise AssertionError("the sweep never ended")
    assert at > 5


@pytest.mark.parametrize("error", ERRORS, ids=[errno.errorcode[number] for number in ERRORS])
@pytest.mark.parametrize(("change", "allowed", "final"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_an_error_of_the_disk_changes_nothing_by_half(
    template: Path,
    tmp_path: Path,
    change: Callable[[FileVault], object],
    allowed: tuple[bytes | None, ...],
    final: bytes | None,
    error: int,
) -> None:
    """An error at each call is Unavailable or Refused with a hint, the secret is the old or the new one, a later try succeeds."""
    for at in range(100):
        path, _ = _fresh(template, tmp_path, f"run{at}")
        disk = FailingDisk(at=at, error=error)
        try:
            vault = FileVault.open(path, disk=disk)
            change(vault)
        except TallyError as failure:
            assert isinstance(failure, Refused if error == errno.EACCES else Unavailable)
            assert failure.hint
            vault = FileVault.open(path)
            assert vault.get_secret("pair/one") in allowed
            assert vault.get_secret("pair/two") == OTHER
            change(vault)
            assert vault.get_secret("pair/one") == final
            _no_leftovers(path)
        else:
            assert not disk.failed
            break
    else:
        raise AssertionError("the change never ended")


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_an_error_while_a_vault_is_made(tmp_path: Path, error: int) -> None:
    """A full disk during `create` is Unavailable; no vault appears, and the next try makes one."""
    for at in range(200):
        home = tmp_path / f"run{at}"
        home.mkdir()
        disk = FailingDisk(at=at, error=error)
        try:
            FileVault.create(home / "vault", disk=disk)
        except Unavailable:
            if not (home / "vault").exists():
                FileVault.create(home / "vault")
            assert FileVault.open(home / "vault").log.ed25519.sign(b"x")
            _no_leftovers(home)
        else:
            break
    else:
        raise AssertionError("create never ended")


def test_replaced_and_deleted_bytes_are_overwritten(template: Path, tmp_path: Path) -> None:
    """Somebody who holds the old file open reads zeros after a replacement and after a deletion."""
    for run, change in (("put", _put), ("delete", _delete)):
        path, _ = _fresh(template, tmp_path, run)
        vault = FileVault.open(path)
        with open(path / "secrets" / "pair+one", "rb") as held:
            assert OLD in held.read()
            change(vault)
            held.seek(0)
            assert set(held.read()) == {0}


def test_two_processes_do_not_sweep_each_other(template: Path, tmp_path: Path) -> None:
    """A vault opened in the middle of another's write waits for it, and takes nothing away."""
    path, _ = _fresh(template, tmp_path, "two")
    writer = FileVault.open(path)
    for turn in range(8):
        child = os.fork()
        if child == 0:
            try:
                for _ in range(5):
                    FileVault.open(path)
                os._exit(0)
            finally:
                os._exit(1)
        for n in range(20):
            writer.put_secret("pair/one", b"%d-%d" % (turn, n))
        assert os.waitpid(child, 0)[1] == 0
        assert writer.get_secret("pair/one") == b"%d-19" % turn
    _no_leftovers(path)
