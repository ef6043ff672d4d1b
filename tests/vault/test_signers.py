"""Secrets show nothing of themselves, and are gone after use."""

import base64
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from tallystick.canonical import id_text
from tallystick.errors import Malformed, Misuse
from tallystick.keys import KeyClass, parse_sign1, sign1
from tallystick.vault import FileVault, best_vault_found, new_recovery, recovery_from_text, vaults_found
from tallystick.vault.human import HumanFile
from tallystick.vault.sealing import Kdf
from tallystick.vault.signers import OneSignature

CHEAP = Kdf(name="argon2id", salt=bytes(16), cost=(8, 1, 1))


class _Dice:
    """Entropy that remembers what it gave."""

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def __call__(self, size: int) -> bytes:
        self.given.append(bytes([0xA0 + len(self.given)]) * size)
        return self.given[-1]


def _views(secret: bytes) -> list[str]:
    """Forms in which secret bytes could leak into text."""
    return [
        secret.hex(),
        secret.hex().upper(),
        base64.b64encode(secret).decode()[:-4],
        repr(secret)[2:-1],
        str(list(secret))[1:-1],
        str(int.from_bytes(secret, "big")),
        str(int.from_bytes(secret, "little")),
    ]


def test_no_secret_is_shown_pickled_or_copied(tmp_path: Path) -> None:
    """repr, str and format of everything that holds a secret contain no key bytes; pickle and copy are Misuse."""
    dice = _Dice()
    vault = FileVault.create(tmp_path / "vault", entropy=dice)
    vault.put_secret("pair/one", b"\xee" * 32)
    sealed, present = vault.new_human("Ada", "passphrase", kdf=CHEAP), vault.new_human_present("Bob")
    holders: list[Any] = [
        vault,
        vault.machine,
        vault.machine.static,
        vault.machine.signing,
        vault.witness,
        vault.log,
        vault.log.ed25519,
        vault.log.ml_dsa_44,
        vault.human_signer(sealed.key_id, "passphrase"),
        vault.presence_signer(present.key_id, lambda _: True),
        HumanFile.new("Cy", None, scripted=False, kdf=None, entropy=dice),
        HumanFile.new("Di", "passphrase", scripted=False, kdf=CHEAP, entropy=dice),
        new_recovery(dice),
    ]
    secrets = [*dice.given, b"\xee" * 32, b"passphrase"]
    assert len(secrets) > 10
    for holder in holders:
        text = "\n".join((repr(holder), str(holder), f"{holder}", "%s %r" % (holder, holder), repr([holder]), repr({1: holder})))  # noqa: UP031
        for secret in secrets:
            assert not any(view in text for view in _views(secret)), holder
        assert "0x" not in text
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(Misuse):
                pickle.dumps(holder, protocol)
        with pytest.raises(Misuse):
            copy.deepcopy(holder)
        with pytest.raises(AttributeError):
            vars_of = holder.__dict__
            raise AssertionError(vars_of)


def test_files_do_not_hold_a_sealed_seed(tmp_path: Path) -> None:
    """A passphrase keeps the seed out of the file."""
    dice = _Dice()
    vault = FileVault.create(tmp_path / "vault", entropy=dice)
    before = len(dice.given)
    key = vault.new_human("Ada", "passphrase", kdf=CHEAP)
    (seed,) = dice.given[before:]
    assert seed not in (tmp_path / "vault" / "humans" / key.key_id.hex()).read_bytes()


def test_a_key_for_one_signature_is_wiped() -> None:
    """After a signature, at the end of a `with`, on an error and at its death the seed is zeros."""
    for end in ("sign", "with", "wipe", "error", "del"):
        seed = bytearray(range(32))
        signer = OneSignature(seed, KeyClass.FILE)
        match end:
            case "sign":
                signer.sign(b"x")
            case "with":
                with signer as same:
                    assert same is signer
            case "wipe":
                signer.wipe()
                signer.wipe()
            case "error":
                with pytest.raises(TypeError):
                    signer.sign("text")  # type: ignore[arg-type]
            case _:
                del signer
        assert seed == bytes(32), end


def test_a_seed_of_a_wrong_length_makes_no_signer() -> None:
    """Misuse, and nothing half-made that fails again when it dies."""
    with pytest.raises(Misuse):
        OneSignature(bytearray(31), KeyClass.FILE)


def test_the_recovery_key_lives_on_paper() -> None:
    """Its text gives it back, typed forgivingly; it signs once; nothing is stored."""
    key = new_recovery()
    text, public = key.paper_text(), key.public
    assert text.startswith("recovery-")
    again = recovery_from_text(text.lower().replace("-", " ").replace("0", "o"))
    assert again.public == public
    assert parse_sign1(sign1(again, b"replace-admins")).verify(public).payload == b"replace-admins"
    for used in (again.paper_text, lambda: again.sign(b"x")):
        with pytest.raises(Misuse):
            used()
    assert new_recovery().public != public
    assert new_recovery(lambda size: bytes(size)).paper_text() == new_recovery(bytes).paper_text()


def test_what_is_not_a_recovery_key() -> None:
    """A KeyId, a text with one wrong character and a text of another length are Malformed, with a hint."""
    key = new_recovery(bytes)
    text = key.paper_text()
    from_short = "recovery-" + "0" * 5
    for wrong in (str(key.public.key_id), text[:-1] + ("0" if text[-1] != "0" else "1"), text[:-4], from_short, ""):
        with pytest.raises(Malformed) as error:
            recovery_from_text(wrong)
        assert error.value.hint
    with pytest.raises(Malformed) as error:
        recovery_from_text(id_text("recovery", bytes(31)))
    assert error.value.hint


def test_the_best_vault_is_named_with_its_reason(tmp_path: Path) -> None:
    """This version uses files, and says of a TPM that it is there or not."""
    best = best_vault_found()
    assert (best.name, best.key_class, best.usable) == ("file", KeyClass.FILE, True)
    assert best.reason
    (tmp_path / "tpm").touch()
    assert "has one" in vaults_found(str(tmp_path / "tpm"))[0].reason
    assert "no " in vaults_found(str(tmp_path / "none"))[0].reason
    assert not vaults_found(str(tmp_path / "tpm"))[0].usable
