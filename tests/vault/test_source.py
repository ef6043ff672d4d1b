"""Source keys in the vault: they sign without a passphrase, from a private file, and a swapped or rotten one is noticed."""

import stat
from pathlib import Path

import pytest

from tallystick.errors import Misuse, Refused, Unavailable
from tallystick.keys import parse_sign1, sign1
from tallystick.vault import FileVault
from tallystick.vault.copying import make_vault, vault_files
from tallystick.vault.source import SourceKey


def test_a_source_key_is_kept_and_signs(tmp_path: Path) -> None:
    """Made once, found again by another process, signs any number of times; its file is 0600 below a folder of 0700."""
    made = FileVault.create(tmp_path / "vault", house=False).new_source("front-door", now_ns=7)
    (found,) = FileVault.open(tmp_path / "vault").sources()
    assert (found, found.label, found.created_ns) == (made, "front-door", 7)
    signer = found.signer()
    for payload in (b"one", b"two"):
        assert parse_sign1(sign1(signer, payload)).verify(made.public).payload == payload
    file = tmp_path / "vault" / "secrets" / f"source+{made.key_id.hex()}"
    assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)
    assert made.seed.hex() not in repr(made)


def test_two_of_one_name_would_be_mistaken_for_each_other(tmp_path: Path) -> None:
    """Refused; a label that cannot be is Misuse; both leave nothing behind."""
    vault = FileVault.create(tmp_path / "vault", house=False)
    vault.new_source("front-door", now_ns=7)
    with pytest.raises(Refused):
        vault.new_source("front-door", now_ns=8)
    for label in ("", " x", "a\x1bb", "x" * 65):
        with pytest.raises(Misuse):
            vault.new_source(label, now_ns=8)
    assert [key.label for key in vault.sources()] == ["front-door"]


def test_a_swapped_or_rotten_file_is_noticed(tmp_path: Path) -> None:
    """One key under another's name, a field of another type, a longer list: Unavailable."""
    vault = FileVault.create(tmp_path / "vault", house=False)
    one, two = vault.new_source("one", now_ns=7), vault.new_source("two", now_ns=8)
    with pytest.raises(Unavailable):
        SourceKey.read(one.name, two.write())
    for rotten in (b"", b"\xf6", one.write()[:-1], one.write() + b"\x00", one.write().replace(b"\x84\x01", b"\x84\x02")):
        with pytest.raises(Unavailable):
            SourceKey.read(one.name, rotten)
    vault.put_secret(one.name, two.write())
    with pytest.raises(Unavailable):
        vault.sources()


def test_a_backup_holds_them(tmp_path: Path) -> None:
    """A vault made of another's files has its source keys."""
    vault = FileVault.create(tmp_path / "vault", house=False)
    made = vault.new_source("front-door", now_ns=7)
    make_vault(tmp_path / "again", vault_files(tmp_path / "vault"))
    assert FileVault.open(tmp_path / "again").sources() == (made,)
