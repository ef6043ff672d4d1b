"""Private files: who may touch them, what damage looks like, and bytes that must open for ever."""

import functools
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tallystick.canonical import encode
from tallystick.errors import Misuse, Refused, TallyError, Unavailable
from tallystick.keys import parse_sign1, sign1
from tallystick.primitives import sha256
from tallystick.vault import FileVault
from tallystick.vault.container import MAGIC, pack, unpack
from tallystick.vault.human import HumanFile
from tallystick.vault.private import Disk, PrivateDirectory, check_private, exists
from tallystick.vault.sealing import Kdf

FIXTURES = Path(__file__).parent / "fixtures"
CHEAP = Kdf(name="argon2id", salt=bytes(16), cost=(8, 1, 1))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a vault with one secret, one sealed and one present human key stands."""
    vault = FileVault.create(tmp_path / "vault")
    vault.put_secret("pair/one", b"a secret")
    vault.new_human("Ada", "passphrase", kdf=CHEAP)
    vault.new_human_present("Bob")
    return tmp_path / "vault"


def _files(path: Path) -> list[Path]:
    return [name for name in sorted(path.rglob("*")) if name.is_file()]


def _directories(path: Path) -> list[Path]:
    return [path, *[name for name in sorted(path.rglob("*")) if name.is_dir()]]


def _use(path: Path) -> None:
    """Touch everything in a vault."""
    vault = FileVault.open(path)
    vault.get_secret("pair/one")
    vault.humans()


def test_modes_do_not_depend_on_umask(tmp_path: Path) -> None:
    """Files are 0600 and directories 0700, whatever the umask allows."""
    before = os.umask(0)
    try:
        FileVault.create(tmp_path / "vault").put_secret("a", b"x")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(name.stat().st_mode) for name in _files(tmp_path / "vault")} == {0o600}
    assert {stat.S_IMODE(name.stat().st_mode) for name in _directories(tmp_path / "vault")} == {0o700}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o601, 0o777])
def test_wider_files_are_refused(path: Path, mode: int) -> None:
    """Each file of the vault, one at a time, readable or writable by others: Refused, and the hint mends it."""
    for name in _files(path):
        name.chmod(mode)
        with pytest.raises(Refused, match="open to others") as error:
            _use(path)
        assert f"chmod 600 {name}" in error.value.hint
        name.chmod(0o600)
        _use(path)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o710, 0o777, 0o1777])
def test_wider_directories_are_refused(path: Path, mode: int) -> None:
    """The same for each directory."""
    for name in _directories(path):
        name.chmod(mode)
        with pytest.raises(Refused, match="open to others") as error:
            _use(path)
        assert f"chmod 700 {name}" in error.value.hint
        name.chmod(0o700)
        _use(path)


def test_narrower_is_welcome(path: Path) -> None:
    """0400 in 0500 is nobody else's business."""
    (path / "witness.key").chmod(0o400)
    _use(path)


def test_files_of_somebody_else_are_refused(path: Path) -> None:
    """Another owner is Refused even with mode 0600: whoever owns a file reads it."""
    status = os.lstat(path / "witness.key")
    foreign = os.stat_result((status.st_mode, 0, 0, 1, os.geteuid() + 1, 0, 0, 0, 0, 0))
    with pytest.raises(Refused, match="belongs to user") as error:
        check_private(path / "witness.key", foreign, directory=False)
    assert ("chown" if os.geteuid() else "sudo -u") in error.value.hint
    if os.geteuid() == 0:
        for name in _files(path) + _directories(path):
            os.chown(name, 12345, -1)
            with pytest.raises(Refused, match="belongs to user"):
                _use(path)
            os.chown(name, 0, -1)
    _use(path)


def test_links_are_refused(path: Path, tmp_path: Path) -> None:
    """A symbolic link in place of a file or directory, and a file with a second name, are Refused."""
    for name in _files(path):
        name.rename(tmp_path / "moved")
        name.symlink_to(tmp_path / "moved")
        with pytest.raises(Refused, match="symbolic link"):
            _use(path)
        name.unlink()
        (tmp_path / "moved").rename(name)
        os.link(name, tmp_path / "second")
        with pytest.raises(Refused, match="hard link"):
            _use(path)
        (tmp_path / "second").unlink()
    for directory in _directories(path):
        directory.rename(tmp_path / "moved")
        directory.symlink_to(tmp_path / "moved")
        with pytest.raises(Refused):
            _use(path)
        directory.unlink()
        (tmp_path / "moved").rename(directory)
    _use(path)


def test_strange_files_are_refused(path: Path) -> None:
    """A directory, a pipe or a file in the wrong place does not hang or fool the vault."""
    secret = path / "secrets" / "pair+one"
    secret.unlink()
    os.mkfifo(secret, 0o600)
    with pytest.raises(Refused, match="plain file"):
        _use(path)
    secret.unlink()
    secret.mkdir(0o700)
    with pytest.raises(Refused, match="plain file"):
        _use(path)
    secret.rmdir()
    (path / "humans").rename(path / "elsewhere")
    (path / "humans").touch(0o600)
    with pytest.raises(Refused, match="not a directory"):
        _use(path)


def test_a_link_is_not_written_through(path: Path, tmp_path: Path) -> None:
    """Neither a replacement nor a deletion touches what a link points to."""
    (tmp_path / "victim").write_bytes(b"precious")
    secret = path / "secrets" / "pair+one"
    secret.unlink()
    secret.symlink_to(tmp_path / "victim")
    vault = FileVault.open(path)
    for call in (lambda: vault.put_secret("pair/one", b"x"), lambda: vault.delete_secret("pair/one")):
        with pytest.raises(Refused):
            call()
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_nothing_is_made_over_something(path: Path, tmp_path: Path) -> None:
    """`create` over a vault, a file, an empty directory or a dangling link is Refused; the vault there is as it was."""
    before = FileVault.open(path).machine.signing.public
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("vault", "file", "empty", "link"):
        with pytest.raises(Refused, match="already stands"):
            FileVault.create(tmp_path / name)
    assert FileVault.open(path).machine.signing.public == before


def test_no_vault_no_parent_no_path(tmp_path: Path) -> None:
    """A missing vault or parent is Unavailable; a path that cannot be one is Misuse."""
    with pytest.raises(Unavailable, match="no vault") as error:
        FileVault.open(tmp_path / "vault")
    assert "tally init" in error.value.hint
    with pytest.raises(Unavailable):
        FileVault.create(tmp_path / "no" / "vault")
    for call in (FileVault.open, FileVault.create):
        with pytest.raises(Misuse):
            call(tmp_path / "a\0b")
    with pytest.raises(Misuse):
        FileVault.create("/")
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        FileVault.open(tmp_path / "file" / "vault")
    with pytest.raises(Unavailable):
        exists(tmp_path / ("a" * 300))


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path, as text, is taken from where we stand."""
    monkeypatch.chdir(tmp_path)
    FileVault.create("vault").put_secret("a", b"x")
    assert FileVault.open("vault").get_secret("a") == b"x"


def test_every_damaged_byte_is_noticed(path: Path) -> None:
    """A flipped bit or a cut anywhere in any file is Unavailable, and the message names the file."""
    for name in _files(path):
        whole = name.read_bytes()
        for at in range(0, len(whole), 7):
            for damaged in (whole[:at], whole[:at] + bytes((whole[at] ^ 1,)) + whole[at + 1 :]):
                name.write_bytes(damaged)
                with pytest.raises(Unavailable, match=r"damaged|longer") as error:
                    _use(path)
                assert name.name.replace("+", "/") in str(error.value)
                assert error.value.hint
        name.write_bytes(whole)
    _use(path)


def test_missing_files_are_missed(path: Path) -> None:
    """A vault without its machine or witness key is Unavailable: keys are never made anew in place."""
    for name in ("machine.key", "witness.key"):
        whole = (path / name).read_bytes()
        (path / name).unlink()
        with pytest.raises(Unavailable, match="missing"):
            FileVault.open(path)
        (path / name).write_bytes(whole)
        (path / name).chmod(0o600)
    (path / "humans").rmdir() if not os.listdir(path / "humans") else (path / "humans").rename(path / "gone")
    with pytest.raises(Unavailable):
        FileVault.open(path)


def test_swapped_files_are_noticed(path: Path) -> None:
    """A secret under another's name, and one machine file in place of another, are Unavailable."""
    vault = FileVault.open(path)
    vault.put_secret("pair/two", b"another")
    (path / "secrets" / "pair+two").rename(path / "secrets" / "pair+one")
    with pytest.raises(Unavailable, match="in truth secret pair/two"):
        vault.get_secret("pair/one")
    (path / "log.key").rename(path / "machine.key")
    with pytest.raises(Unavailable, match=r"in truth machine log\.key"):
        FileVault.open(path)


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)


SEED = bytes(32)
WRONG_BODIES = [
    ("machine.key", "machine", [SEED]),
    ("machine.key", "machine", [SEED, SEED, SEED]),
    ("machine.key", "machine", [SEED, bytes(31)]),
    ("machine.key", "machine", [bytes(33), SEED]),
    ("machine.key", "machine", [SEED, "a" * 32]),
    ("machine.key", "machine", ["a" * 32, SEED]),
    ("machine.key", "machine", {1: SEED, 2: SEED}),
    ("witness.key", "machine", []),
    ("log.key", "machine", None),
    ("secrets/pair+one", "secret", "text"),
    ("secrets/pair+one", "secret", [b"x"]),
]


@pytest.mark.parametrize(("name", "kind", "body"), WRONG_BODIES)
def test_well_formed_nonsense_is_damage(path: Path, name: str, kind: str, body: object) -> None:
    """A right hash over a wrong body is Unavailable too."""
    inner = name.split("/")[-1].replace("+", "/")
    _put(path / name, pack(kind, inner, body))  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="damaged"):
        _use(path)


def test_human_files_that_cannot_be(path: Path) -> None:
    """A human key's file with fields that do not fit is damage, each time and one by one."""
    key = next(key for key in FileVault.open(path).humans() if key.presence)
    file = path / "humans" / key.key_id.hex()
    good: Any = unpack(file.read_bytes(), "human", file.name)
    assert isinstance(good, dict)
    other = next(name for name in _files(path / "humans") if name != file)
    sealed: Any = unpack(other.read_bytes(), "human", other.name)
    assert isinstance(sealed, dict)
    x25519 = FileVault.open(path).machine.static.public
    wrong: list[Any] = [
        None,
        {**good, 7: 1},
        {k: v for k, v in good.items() if k != 6},
        {**good, 1: b""},
        {**good, 1: encode({1: 1, -1: 4, -2: x25519})},
        {**good, 1: sealed[1]},
        {**good, 3: "resident"},
        {**good, 3: "nonsense"},
        {**good, 4: "nothing"},
        {**good, 4: "passphrase"},
        {**good, 5: sealed[5]},
        {**good, 6: bytes(31)},
        {**good, 6: sealed[6]},
        {**sealed, 1: good[1], 6: good[6]},
        {**sealed, 1: good[1], 5: None},
        {**sealed, 1: good[1], 5: ["md5", bytes(16), 1, 1, 1]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(15), 8, 1, 1]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(16), 7, 1, 1]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(16), (1 << 20) + 1, 1, 1]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(16), 8, 17, 1]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(16), 1024, 1, 17]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(16), 8, 1, True]},
        {**sealed, 1: good[1], 5: ["argon2id", bytes(16), 8, 1]},
        {**sealed, 1: good[1], 5: ["scrypt", bytes(16), 1 << 21, 8, 1]},
        {**sealed, 1: good[1], 5: ["scrypt", bytes(16), 2, 9, 1]},
        {**sealed, 1: good[1], 5: ["scrypt", bytes(16), 2, 1, 17]},
        {**sealed, 1: good[1], 5: ["scrypt", bytes(16), 1, 1, 1]},
    ]
    for body in wrong:
        _put(file, pack("human", file.name, body))
        with pytest.raises(Unavailable, match="damaged"):
            FileVault.open(path).humans()


def test_a_bare_seed_of_another_key_is_damage(path: Path) -> None:
    """Behind presence the seed must be the one of the key it claims; the error is Unavailable and nothing is signed."""
    vault = FileVault.open(path)
    key = next(key for key in vault.humans() if key.presence)
    file = path / "humans" / key.key_id.hex()
    body = unpack(file.read_bytes(), "human", file.name)
    assert isinstance(body, dict)
    _put(file, pack("human", file.name, {**body, 6: bytes(32)}))
    with pytest.raises(Unavailable, match="damaged"):
        vault.presence_signer(key.key_id, lambda _: True).sign(b"x")


def test_newer_files_say_so() -> None:
    """A higher version asks for an update instead of crying damage; version `true`, 0 and other magics are damage."""
    for version, body, says in ((2, [1, 2, 3], "newer version"), (True, [], "damaged"), (0, [], "damaged"), (1, [], "damaged")):
        content = encode([MAGIC, version, *body]) if version == 2 else encode([MAGIC, version, "secret", "x", *body])
        with pytest.raises(Unavailable, match=says):
            unpack(content + sha256(content), "secret", "x")
    content = encode(["something else", 1, "secret", "x", b""])
    with pytest.raises(Unavailable, match="damaged"):
        unpack(content + sha256(content), "secret", "x")
    with pytest.raises(Unavailable, match="damaged"):
        unpack(b"\xff" + sha256(b"\xff"), "secret", "x")


def test_huge_files_are_not_read_for_ever(path: Path) -> None:
    """A file over 128 KiB is no vault file."""
    _put(path / "secrets" / "pair+one", bytes((1 << 17) + 1))
    with pytest.raises(Unavailable, match="longer"):
        FileVault.open(path).get_secret("pair/one")


def test_foreign_files_among_the_secrets_are_not_listed(path: Path) -> None:
    """Something that is no name of a secret is not shown as one."""
    _put(path / "secrets" / "README.TXT", b"hello")
    assert FileVault.open(path).list() == ("pair/one",)


def test_the_process_may_lose_its_rights(path: Path) -> None:
    """A vanished directory is Unavailable, not a foreign exception."""
    vault = FileVault.open(path)
    (path / "secrets").rename(path / "elsewhere")
    for call in (lambda: vault.put_secret("a", b"x"), lambda: vault.delete_secret("a"), vault.list):
        with pytest.raises(TallyError):
            call()
    assert vault.get_secret("a") is None


def test_a_directory_has_a_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More files than the limit are Unavailable, not an endless list."""
    monkeypatch.setattr("tallystick.vault.private.MAX_FILES", 3)
    directory = PrivateDirectory(path / "secrets", Disk())
    for n in range(2):
        directory.write(f"more-{n}", b"x")
    assert len(directory.names()) == 3
    directory.write("more-2", b"x")
    with pytest.raises(Unavailable, match="more than 3"):
        directory.names()


def _take(dice: Iterator[bytes], size: int) -> bytes:
    return next(dice)[:size]


def test_entropy_is_an_argument(tmp_path: Path) -> None:
    """The same entropy makes the same keys: nothing else is drawn."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    vaults = []
    for name in ("a", "b"):
        dice = (bytes([n]) * 99 for n in range(100))
        vaults.append(FileVault.create(tmp_path / name / "vault", entropy=functools.partial(_take, dice)))
    a, b = vaults
    assert a.machine.signing.public == b.machine.signing.public
    assert a.log.ml_dsa_44.public == b.log.ml_dsa_44.public
    assert a.new_human_present("Ada") == b.new_human_present("Ada")


def test_the_frozen_vault_opens(tmp_path: Path) -> None:
    """A vault written by version 1 opens for ever: these bytes, these keys, these passphrases (docs/spec/vault.md)."""
    path = tmp_path / "vault"
    for directory in (path, path / "secrets", path / "humans"):
        directory.mkdir(mode=0o700)
    for line in (FIXTURES / "vault-v1.txt").read_text().splitlines():
        name, data = line.split()
        _put(path / name, bytes.fromhex(data))
    vault = FileVault.open(path)
    assert str(vault.machine.signing.public.key_id).startswith("key-")
    assert vault.machine.signing.public.key_id.hex() == "475f36df3153fea2620acf3ce77488635f9b7457e33faa8ef47d959b33e436d5"
    assert vault.get_secret("pair/one") == b"a frozen secret"
    assert [(key.label, str(key.key_class), key.presence) for key in vault.humans()] == [
        ("argon2id", "file", False),
        ("presence", "file", True),
        ("scrypt", "file/scripted", False),
    ]
    for key in vault.humans():
        signer = vault.presence_signer(key.key_id, lambda _: True) if key.presence else vault.human_signer(key.key_id, "frozen passphrase")
        assert parse_sign1(sign1(signer, b"still here")).verify(key.public).payload == b"still here"


def test_strange_leftovers_are_swept(path: Path, tmp_path: Path) -> None:
    """A link or pipe under a temporary name is removed; what it points to is not touched, nobody waits for it."""
    (tmp_path / "victim").write_bytes(b"precious")
    (path / "secrets" / ".new-pair+one").symlink_to(tmp_path / "victim")
    os.mkfifo(path / "secrets" / ".gone-pair+one", 0o600)
    FileVault.open(path)
    assert os.listdir(path / "secrets") == ["pair+one"]
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_a_pipe_in_place_of_a_secret_makes_nobody_wait(path: Path) -> None:
    """A replacement or deletion of a pipe fails at once."""
    vault = FileVault.open(path)
    secret = path / "secrets" / "pair+one"
    secret.unlink()
    os.mkfifo(secret, 0o600)
    for call in (lambda: vault.put_secret("pair/one", b"x"), lambda: vault.delete_secret("pair/one")):
        with pytest.raises((Refused, Unavailable)):
            call()


def test_a_sealed_key_has_no_bare_seed(path: Path) -> None:
    """The file of a key with a passphrase is not opened as one behind presence."""
    key = next(key for key in FileVault.open(path).humans() if not key.presence)
    file = HumanFile.read(unpack((path / "humans" / key.key_id.hex()).read_bytes(), "human", key.key_id.hex()))
    with pytest.raises(Misuse):
        file.open_present()
