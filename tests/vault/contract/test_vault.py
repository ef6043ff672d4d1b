"""What every vault promises (keys.Vault). A new kind of vault adds one line to VAULTS and must pass all of this."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse, Refused, Unproven
from tallystick.keys import KeyClass, KeyId, KeyKind, PublicKey, Vault, parse_sign1, sign1
from tallystick.primitives import X25519KeyPair, ed25519_verify, mldsa44_verify
from tallystick.vault import FileVault

PASSPHRASE = "three random words"


def _file(path: Path, fresh: bool, house: bool) -> Vault:
    return FileVault.create(path / "vault", house=house) if fresh else FileVault.open(path / "vault")


# Each makes a vault below a directory (fresh=True) or opens the one made there before.
VAULTS: dict[str, Callable[[Path, bool, bool], Vault]] = {"file": _file}


@pytest.fixture(params=sorted(VAULTS))
def make(request: pytest.FixtureRequest) -> Callable[[Path, bool, bool], Vault]:
    """The kind of vault under test."""
    return VAULTS[request.param]


@pytest.fixture
def vault(make: Callable[[Path, bool, bool], Vault], tmp_path: Path) -> Vault:
    """A fresh vault of a house."""
    return make(tmp_path, True, True)


@pytest.fixture
def again(make: Callable[[Path, bool, bool], Vault], tmp_path: Path) -> Callable[[], Vault]:
    """Opens the same vault anew, as after a restart."""
    return lambda: make(tmp_path, False, True)


def test_machine_keys_sign_and_agree(vault: Vault) -> None:
    """The machine's signing key signs statements; its static key agrees with another key; their kinds fit."""
    signing = vault.machine.signing
    assert parse_sign1(sign1(signing, b"hello")).verify(signing.public).payload == b"hello"
    assert signing.public.kind in (KeyKind.ED25519, KeyKind.P256)
    other = X25519KeyPair.from_private(bytes(range(32)))
    static = vault.machine.static
    assert static.exchange(other.public) == other.exchange(static.public)
    assert PublicKey(KeyKind.X25519, static.public).raw == static.public
    for weak in (bytes(32), b"\x01" + bytes(31), bytes(31)):
        with pytest.raises(Malformed):
            static.exchange(weak)


def test_witness_and_log_keys_sign(vault: Vault) -> None:
    """Witness and log keys make raw signatures: Ed25519, and ML-DSA-44 for the log."""
    for signer in (vault.witness, vault.log.ed25519):
        assert signer.public.kind is KeyKind.ED25519
        ed25519_verify(signer.public.raw, signer.sign(b"note"), b"note")
    assert vault.log.ml_dsa_44.public.kind is KeyKind.ML_DSA_44
    mldsa44_verify(vault.log.ml_dsa_44.public.raw, vault.log.ml_dsa_44.sign(b"note"), b"note")


def test_all_keys_are_different_keys(vault: Vault) -> None:
    """No two purposes share a key, and each says where it lives."""
    signers = [vault.machine.signing, vault.witness, vault.log.ed25519, vault.log.ml_dsa_44]
    assert len({signer.public.raw for signer in signers} | {vault.machine.static.public}) == 5
    assert {signer.key_class for signer in signers} <= set(KeyClass)
    assert vault.machine.static.key_class in KeyClass


def test_two_vaults_share_nothing(make: Callable[[Path, bool, bool], Vault], tmp_path: Path) -> None:
    """Keys are drawn anew for each vault."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    a, b = make(tmp_path / "a", True, True), make(tmp_path / "b", True, True)
    assert a.machine.signing.public != b.machine.signing.public
    assert a.machine.static.public != b.machine.static.public


def test_a_client_has_no_log(make: Callable[[Path, bool, bool], Vault], tmp_path: Path) -> None:
    """Only a house keeps log keys; asking elsewhere is Misuse, with a hint."""
    client = make(tmp_path, True, False)
    with pytest.raises(Misuse) as error:
        _ = client.log
    assert error.value.hint
    assert client.witness.sign(b"x")


def test_keys_are_the_same_after_a_restart(vault: Vault, again: Callable[[], Vault]) -> None:
    """What a vault made stays what it is."""
    reopened = again()
    assert reopened.machine.signing.public == vault.machine.signing.public
    assert reopened.machine.static.public == vault.machine.static.public
    assert reopened.witness.public == vault.witness.public
    assert reopened.log.ed25519.public == vault.log.ed25519.public
    assert reopened.log.ml_dsa_44.public == vault.log.ml_dsa_44.public


def test_secrets_are_kept_replaced_and_destroyed(vault: Vault, again: Callable[[], Vault]) -> None:
    """put, get, list and delete do what they say, across a restart."""
    assert vault.get_secret("pair/a") is None
    vault.put_secret("pair/a", b"one")
    vault.put_secret("invite/b", b"two" * 20_000)
    vault.put_secret("pair/a", b"three")
    assert again().get_secret("pair/a") == b"three"
    assert again().get_secret("invite/b") == b"two" * 20_000
    assert again().list() == ("invite/b", "pair/a")
    assert again().list("pair/") == ("pair/a",)
    assert vault.delete_secret("pair/a") is True
    assert vault.delete_secret("pair/a") is False
    assert again().get_secret("pair/a") is None
    assert again().list() == ("invite/b",)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "a/",
        "/a",
        "a/b/c",
        "..",
        "../machine.key",
        "a/..",
        ".hidden",
        "a/.b",
        "A",
        "a b",
        "a\0",
        "a\n",
        "ä",
        "a+b",
        "-a",
        "a" * 81,
        "a\\b",
    ],
)
def test_names_of_secrets_are_checked(vault: Vault, name: str) -> None:
    """A name that could be a path, hide itself or be read two ways is Misuse in every call."""
    for call in (lambda: vault.put_secret(name, b"x"), lambda: vault.get_secret(name), lambda: vault.delete_secret(name)):
        with pytest.raises(Misuse):
            call()
    assert vault.list() == ()


@pytest.mark.parametrize("size", [0, 65_001])
def test_secrets_have_a_size(vault: Vault, size: int) -> None:
    """1 to 65,000 bytes."""
    with pytest.raises(Misuse):
        vault.put_secret("a", bytes(size))
    vault.put_secret("a", bytes(65_000))
    assert vault.get_secret("a") == bytes(65_000)


def test_a_human_key_needs_its_passphrase_for_each_signature(vault: Vault, again: Callable[[], Vault]) -> None:
    """One opening, one signature; a wrong passphrase is Unproven with a hint."""
    key = vault.new_human("Ada", PASSPHRASE)
    assert (key.label, key.key_class, key.presence) == ("Ada", KeyClass.FILE, False)
    signer = again().human_signer(key.key_id, PASSPHRASE)
    assert signer.public == key.public
    assert parse_sign1(sign1(signer, b"yes")).verify(key.public).payload == b"yes"
    with pytest.raises(Misuse):
        signer.sign(b"once more")
    for wrong in ("three random word", PASSPHRASE + " ", PASSPHRASE.upper()):
        with pytest.raises(Unproven) as error:
            vault.human_signer(key.key_id, wrong)
        assert error.value.hint


def test_a_scripted_key_says_so(vault: Vault, again: Callable[[], Vault]) -> None:
    """A key whose passphrase a program holds has class file/scripted, for ever."""
    key = vault.new_human("cron", PASSPHRASE, scripted=True)
    assert key.key_class is KeyClass.FILE_SCRIPTED
    assert again().humans() == (key,)
    assert again().human_signer(key.key_id, PASSPHRASE).key_class is KeyClass.FILE_SCRIPTED


def test_presence_is_asked_for_each_signature(vault: Vault, again: Callable[[], Vault]) -> None:
    """`confirm` sees label and KeyId each time; anything but True itself is a no, and a no is Refused."""
    key = vault.new_human_present("Bob")
    assert key.presence
    asked: list[str] = []
    answers: list[object] = [True, False, None, "yes", 1, True]

    def confirm(question: str) -> bool:
        asked.append(question)
        return answers[len(asked) - 1]  # type: ignore[return-value]

    signer = again().presence_signer(key.key_id, confirm)
    for answer in answers:
        if answer is True:
            assert parse_sign1(sign1(signer, b"yes")).verify(key.public).kid == key.key_id
        else:
            with pytest.raises(Refused):
                signer.sign(b"no")
    assert len(asked) == len(answers)
    assert all("Bob" in question and str(key.key_id) in question and question.isprintable() for question in asked)


def test_the_two_locks_are_not_mixed_up(vault: Vault) -> None:
    """Presence does not open a key with a passphrase, nor a passphrase one behind presence; an unknown key is Misuse."""
    ada, bob = vault.new_human("Ada", PASSPHRASE), vault.new_human_present("Bob")
    with pytest.raises(Misuse):
        vault.presence_signer(ada.key_id, lambda _: True)
    with pytest.raises(Misuse):
        vault.human_signer(bob.key_id, PASSPHRASE)
    with pytest.raises(Misuse):
        vault.human_signer(KeyId(bytes(32)), PASSPHRASE)
    with pytest.raises(Misuse):
        vault.presence_signer(KeyId(bytes(32)), lambda _: True)


def test_human_keys_are_listed_and_destroyed(vault: Vault, again: Callable[[], Vault]) -> None:
    """By label, then KeyId; a destroyed key is gone after a restart too, and a signer of it signs nothing more."""
    keys = [vault.new_human_present(label) for label in ("Cy", "Ada", "Bob", "Ada")]
    assert again().humans() == tuple(sorted(keys, key=lambda key: (key.label, key.key_id)))
    signer = vault.presence_signer(keys[0].key_id, lambda _: True)
    assert vault.delete_human(keys[0].key_id) is True
    assert vault.delete_human(keys[0].key_id) is False
    assert keys[0] not in again().humans()
    with pytest.raises(Misuse):
        signer.sign(b"x")


@pytest.mark.parametrize("label", ["", " Ada", "Ada ", "a\nb", "a\x1b[31m", "\u202eadA", "a" * 65, "\0"])
def test_labels_are_one_printable_line(vault: Vault, label: str) -> None:
    """No control characters, escapes or direction marks in what people will read before they sign."""
    with pytest.raises(Misuse):
        vault.new_human(label, PASSPHRASE)
    with pytest.raises(Misuse):
        vault.new_human_present(label)


@pytest.mark.parametrize("passphrase", ["", "a" * 4097, "\ud800"])
def test_passphrases_that_cannot_be(vault: Vault, passphrase: str) -> None:
    """Empty, endless and broken passphrases are Misuse, when a key is made and when it is opened."""
    with pytest.raises(Misuse):
        vault.new_human("Ada", passphrase)
    key = vault.new_human("Ada", PASSPHRASE)
    with pytest.raises(Misuse):
        vault.human_signer(key.key_id, passphrase)


def test_keyboards_differ(vault: Vault) -> None:
    """An umlaut typed as one character or as two is the same passphrase."""
    key = vault.new_human("Ada", "g\u00fcrtel")
    assert vault.human_signer(key.key_id, "gu\u0308rtel").sign(b"x")


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}(/[a-z0-9][a-z0-9._-]{0,10})?", fullmatch=True)


@settings(max_examples=12)
@given(st.lists(st.tuples(NAMES, st.binary(min_size=1, max_size=50) | st.none()), max_size=8))
def test_secrets_behave_like_a_dictionary(tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bytes | None]]) -> None:
    """Any sequence of puts and deletes leaves what a dictionary would hold."""
    for kind in VAULTS:
        path = tmp_path_factory.mktemp("model")
        vault = VAULTS[kind](path, True, False)
        model: dict[str, bytes] = {}
        for name, secret in steps:
            if secret is None:
                assert vault.delete_secret(name) is (model.pop(name, None) is not None)
            else:
                vault.put_secret(name, secret)
                model[name] = secret
        reopened = VAULTS[kind](path, False, False)
        assert {name: reopened.get_secret(name) for name in reopened.list()} == model
