"""Hashes, HMAC, HKDF, scrypt: foreign vectors first, then the edges."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick import primitives
from tallystick.errors import Misuse
from tests.primitives.wycheproof import cases


def test_hkdf_agrees_with_wycheproof() -> None:
    """HKDF-SHA-256 gives what RFC 5869 says, and never more than 255 blocks."""
    for case in cases("hkdf_sha256"):
        arguments = (case.octets("salt"), case.octets("ikm"), case.octets("info"), case.fields["size"])
        if case.expected == "valid":
            assert primitives.hkdf_sha256(*arguments) == case.octets("okm"), case.number
        else:
            with pytest.raises(Misuse):
                primitives.hkdf_sha256(*arguments)


@pytest.mark.parametrize("length", [-1, 8161])
def test_hkdf_expand_refuses_lengths_outside_the_rfc(length: int) -> None:
    """HKDF-Expand gives 0 to 8,160 bytes."""
    with pytest.raises(Misuse):
        primitives.hkdf_expand_sha256(bytes(32), b"", length)


def test_sha256_joins_its_parts() -> None:
    """sha256 of parts is sha256 of their concatenation (FIPS 180-4, `abc`)."""
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert primitives.sha256(b"a", memoryview(b"b"), bytearray(b"c")).hex() == expected
    assert primitives.sha256() == hashlib.sha256().digest()


def test_hmac_sha256_agrees_with_rfc_4231() -> None:
    """RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert primitives.hmac_sha256(b"Jefe", b"what do ya want for nothing?").hex() == expected


def test_keyed_blake2s_agrees_with_the_reference() -> None:
    """The first keyed answer of the BLAKE2 reference (blake2s KAT: key 00..1f, empty input)."""
    expected = "48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49"
    assert primitives.blake2s_keyed(bytes(range(32)), b"", 32).hex() == expected


@pytest.mark.parametrize(("key_bytes", "size"), [(0, 16), (33, 16), (32, 0), (32, 33)])
def test_keyed_blake2s_has_bounds(key_bytes: int, size: int) -> None:
    """No empty key (that would be a plain hash), none over 32 bytes; 1 to 32 bytes come out."""
    with pytest.raises(Misuse):
        primitives.blake2s_keyed(bytes(key_bytes), b"", size)


@pytest.mark.parametrize("function", [primitives.SHA256, primitives.SHA512, primitives.BLAKE2S, primitives.BLAKE2B])
@given(data=st.data())
def test_noise_hmac_and_hkdf_agree_with_the_standard_library(function: primitives.Hash, data: st.DataObject) -> None:
    """HMAC, written out from RFC 2104, and HKDF with two and three outputs equal the standard library's."""
    chaining_key = data.draw(st.binary(min_size=function.size, max_size=function.size))
    ikm = data.draw(st.binary(max_size=200))

    def mac(key: bytes, message: bytes) -> bytes:
        return hmac.new(key, message, function.name.lower()).digest()

    temp = mac(chaining_key, ikm)
    first = mac(temp, b"\x01")
    second = mac(temp, first + b"\x02")
    third = mac(temp, second + b"\x03")
    assert function.hmac(chaining_key, ikm) == temp
    assert function.hkdf(chaining_key, ikm, 2) == (first, second)
    assert function.hkdf(chaining_key, ikm, 3) == (first, second, third)
    assert function.new(ikm).digest() == hashlib.new(function.name.lower(), ikm).digest()


def test_scrypt_agrees_with_rfc_7914() -> None:
    """RFC 7914 12, second vector."""
    expected = (
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
    )
    assert primitives.scrypt(b"password", b"NaCl", 1024, 8, 16, 64).hex() == expected


@pytest.mark.parametrize(
    ("n", "r", "p", "length"),
    [
        (1, 8, 1, 32),
        (1000, 8, 1, 32),
        (0, 8, 1, 32),
        (1 << 20, 9, 1, 32),
        (16, 0, 1, 32),
        (16, 1, 0, 32),
        (16, 1, 65, 32),
        (16, 1, 1, 0),
        (2, 1, 1, 1025),
    ],
)
def test_scrypt_has_bounds(n: int, r: int, p: int, length: int) -> None:
    """n is a power of two, memory stays under 1 GiB, nothing is zero."""
    with pytest.raises(Misuse):
        primitives.scrypt(b"passphrase", b"salt", n, r, p, length)


def test_equal_compares_bytes() -> None:
    """Same bytes are equal, whatever holds them; another length is not."""
    assert primitives.equal(b"tally", bytearray(b"tally"))
    assert not primitives.equal(b"tally", b"tallx")
    assert not primitives.equal(b"tally", b"tall")
