"""Passphrases: both functions, their costs, and an independent reading of the specification."""

import os
from collections.abc import Callable

import pytest
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Unavailable, Unproven
from tallystick.keys import parse_cose_key
from tallystick.primitives import ed25519_public
from tallystick.vault import sealing
from tallystick.vault.human import HumanFile
from tallystick.vault.sealing import DEFAULT_COST, Kdf, seal, unseal, wipe

SALT = bytes(range(16))
ARGON = Kdf(name="argon2id", salt=SALT, cost=(64, 2, 2))
SCRYPT = Kdf(name="scrypt", salt=SALT, cost=(16, 2, 1))
BOTH = pytest.mark.parametrize("kdf", [ARGON, SCRYPT], ids=["argon2id", "scrypt"])
SEED = bytes(range(32))


@BOTH
@given(passphrase=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30), header=st.binary(max_size=30))
@settings(max_examples=10)
def test_what_is_sealed_is_opened(kdf: Kdf, passphrase: str, header: bytes) -> None:
    """A seed sealed by a passphrase is opened by it, and by it only, with its header only."""
    sealed = seal(SEED, passphrase, kdf, header)
    assert len(sealed) == 48
    assert SEED not in sealed
    assert unseal(sealed, passphrase, kdf, header) == SEED
    for wrong, ad in ((passphrase + "x", header), (passphrase, header + b"x")):
        with pytest.raises(Unproven):
            unseal(sealed, wrong, kdf, ad)


@BOTH
def test_every_altered_byte_is_unproven(kdf: Kdf) -> None:
    """No flipped bit opens, and no other length is tried."""
    sealed = seal(SEED, "p", kdf, b"h")
    for at in range(len(sealed)):
        with pytest.raises(Unproven):
            unseal(sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :], "p", kdf, b"h")
    for length in (0, 16, 47, 49):
        with pytest.raises(Malformed):
            unseal(sealed[:length].ljust(length, b"\0"), "p", kdf, b"h")


@pytest.mark.parametrize("name", ["argon2id", "scrypt"])
def test_the_file_is_what_the_specification_says(name: str) -> None:
    """Written from docs/spec/vault.md alone: kdf, key, nonce of zeros, header as associated data."""
    kdf = Kdf(name=name, salt=SALT, cost=(64, 2, 2) if name == "argon2id" else (16, 2, 1))
    body = HumanFile.new("Ada", "g\u00fcrtel", scripted=True, kdf=kdf, entropy=lambda size: bytes([7]) * size).body()
    public, label, key_class, lock, fields, sealed = (body[n] for n in range(1, 7))
    assert (label, key_class, lock) == ("Ada", "file/scripted", "passphrase")
    assert isinstance(public, bytes)
    assert isinstance(sealed, bytes)
    assert isinstance(fields, list)
    function, salt, a, b, c = fields
    passphrase = "g\u00fcrtel".encode()
    if function == "argon2id":
        key = Argon2id(salt=salt, length=32, memory_cost=a, iterations=b, lanes=c).derive(passphrase)
    else:
        key = Scrypt(salt=salt, length=32, n=a, r=b, p=c).derive(passphrase)
    header = encode({n: body[n] for n in range(1, 6)})
    seed = ChaCha20Poly1305(key).decrypt(bytes(12), sealed, header)
    assert seed == bytes([7]) * 32
    assert parse_cose_key(public).raw == ed25519_public(seed)
    with pytest.raises(InvalidTag):
        ChaCha20Poly1305(key).decrypt(bytes(12), sealed, encode({n: body[n] if n != 3 else "file" for n in range(1, 6)}))


def test_new_keys_get_the_best_function_and_a_fresh_salt() -> None:
    """argon2id at RFC 9106's second recommended cost; scrypt at 32 MiB where the library lacks it."""
    first, second = Kdf.new(os.urandom), Kdf.new(os.urandom)
    assert (first.name, first.cost) == ("argon2id", (65_536, 3, 4))
    assert first.salt != second.salt
    assert DEFAULT_COST["scrypt"] == (32_768, 8, 1)
    assert len(Kdf(name="scrypt", salt=SALT, cost=DEFAULT_COST["scrypt"]).derive(b"p")) == 32
    assert Kdf.read(first.fields()) == first  # type: ignore[arg-type]


class _Lacking:
    """What the library does when it is built on an OpenSSL without argon2id."""

    def __init__(self, **_: object) -> None:
        raise UnsupportedAlgorithm("argon2id")


def test_a_library_without_argon2id(monkeypatch: pytest.MonkeyPatch) -> None:
    """New keys get scrypt; keys sealed with argon2id elsewhere are Unavailable here, with a hint."""
    monkeypatch.setattr(sealing, "Argon2id", _Lacking)
    assert Kdf.new(os.urandom).name == "scrypt"
    with pytest.raises(Unavailable) as error:
        ARGON.derive(b"p")
    assert "OpenSSL" in error.value.hint


def _memory(**_: object) -> object:
    raise MemoryError("out of memory")


def test_no_memory_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that cannot run here is Unavailable, never a foreign exception."""
    with pytest.raises(Unavailable):
        Kdf(name="scrypt", salt=SALT, cost=(3, 1, 1)).derive(b"p")  # n is no power of two
    monkeypatch.setattr(sealing, "Argon2id", _memory)
    with pytest.raises(Unavailable, match="out of memory"):
        ARGON.derive(b"p")


@pytest.mark.parametrize("passphrase", ["", "\ud800", "a" * 4097])
def test_passphrases_that_cannot_be(passphrase: str) -> None:
    """Empty, broken and endless passphrases are Misuse."""
    for call in _calls(passphrase):
        with pytest.raises(Misuse):
            call()


def _calls(passphrase: str) -> list[Callable[[], object]]:
    return [lambda: seal(SEED, passphrase, SCRYPT, b""), lambda: unseal(bytes(48), passphrase, SCRYPT, b"")]


def test_wiping() -> None:
    """Wiped means zeros, at the same length."""
    secret = bytearray(SEED)
    wipe(secret)
    assert secret == bytes(32)
