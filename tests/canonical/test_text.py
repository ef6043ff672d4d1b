"""Numbers and bytes as text, lists as bytes: one form each."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.canonical import b64, b64url, decimal, length_prefixed, split_length_prefixed, to_decimal, unb64, unb64url
from tallystick.errors import Malformed, Misuse


@given(st.integers(0, 2**64 - 1))
def test_decimals_round_trip(number: int) -> None:
    """What is written is read."""
    assert decimal(to_decimal(number)) == number


@pytest.mark.parametrize(
    "text",
    [
        "",
        "042",
        "00",
        "+42",
        "-1",
        "-0",
        "4_2",
        " 42",
        "42 ",
        "42\n",
        "\n42",
        "\u0664\u0662",
        "\uff14",
        "0x2a",
        "4.2",
        "1e3",
        "\u00b2",
        "18446744073709551616",
        "9" * 20,
        "9" * 21,
        "9" * 5000,
        "1" + "0" * 4300,
    ],
)
def test_lenient_decimals_are_refused(text: str) -> None:
    """Everything `int()` would forgive is Malformed, as is everything from 2^64 on."""
    with pytest.raises(Malformed):
        decimal(text)


def test_decimals_have_a_maximum() -> None:
    """The caller's limit holds, and never exceeds 2^64-1."""
    assert decimal("65535", maximum=65535) == 65535
    with pytest.raises(Malformed):
        decimal("65536", maximum=65535)
    with pytest.raises(Malformed):
        decimal("18446744073709551616", maximum=2**70)


@pytest.mark.parametrize("number", [-1, 2**64, True])
def test_numbers_without_a_form(number: int) -> None:
    """Negative, huge and boolean numbers have no decimal."""
    with pytest.raises(Misuse):
        to_decimal(number)


@given(st.binary(max_size=100))
def test_base64_round_trips(data: bytes) -> None:
    """Both alphabets round trip and agree with the standard library's writers."""
    assert b64(data) == base64.b64encode(data).decode()
    assert b64url(data) == base64.urlsafe_b64encode(data).decode().rstrip("=")
    assert unb64(b64(data)) == unb64url(b64url(data)) == data


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AA",
        "AAA",
        "AA=",
        "AAA==",
        "AA===",
        "=",
        "====",
        "AA==AA==",
        "AAAA=",
        "AAAA====",
        "AAAB=",
        "AB==",
        "A===",
        "AA==\n",
        "\nAAAA",
        "AA AA",
        "AAA\u0410",
        "A-_A",
        "AAAA\x00",
        "AA\x00=",
        "\u00e9AAA",
        "AAA\u0661",
        "AA!!",
    ],
)
def test_lenient_base64_is_refused(text: str) -> None:
    """White space, junk, missing or extra padding, the other alphabet and unused bits are Malformed."""
    with pytest.raises(Malformed):
        unb64(text)


@pytest.mark.parametrize("text", ["A", "AA==", "AA=", "AAA=", "AB", "AAB", "A+/A", "AA\n", " AA", "AAAAA", "AA!A", "AA\u00df", "="])
def test_lenient_base64url_is_refused(text: str) -> None:
    """The same for the URL alphabet, which has no padding."""
    with pytest.raises(Malformed):
        unb64url(text)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 30, 31, 32])
def test_base64_has_a_limit(size: int) -> None:
    """A result of `max_bytes` passes, one byte more does not."""
    data = bytes(size)
    assert unb64(b64(data), max_bytes=size) == unb64url(b64url(data), max_bytes=size) == data
    for text, read in ((b64(data + b"x"), unb64), (b64url(data + b"x"), unb64url)):
        with pytest.raises(Malformed):
            read(text, max_bytes=size)


@given(st.text(alphabet="ABab01+/-_= \n\u00e9", max_size=12))
def test_base64_is_exactly_its_writers_image(text: str) -> None:
    """What is read is written back as the same text."""
    for read, write in ((unb64, b64), (unb64url, b64url)):
        try:
            data = read(text)
        except Malformed:
            continue
        assert write(data) == text


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_lists_round_trip(parts: list[bytes]) -> None:
    """A length-prefixed list is read as it was written."""
    assert list(split_length_prefixed(length_prefixed(*parts))) == parts


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_different_lists_differ(left: list[bytes], right: list[bytes]) -> None:
    """No two lists share their bytes."""
    assert (left == right) == (length_prefixed(*left) == length_prefixed(*right))


@pytest.mark.parametrize("raw", ["00", "000000", "00000001", "0000000261", "ffffffff", "000000016100"])
def test_cut_lists_are_refused(raw: str) -> None:
    """A cut length or part is Malformed."""
    with pytest.raises(Malformed):
        split_length_prefixed(bytes.fromhex(raw))


def test_lists_have_a_limit() -> None:
    """The number of parts is bounded."""
    assert len(split_length_prefixed(bytes(4 * 3), max_parts=3)) == 3
    with pytest.raises(Malformed):
        split_length_prefixed(bytes(4 * 4), max_parts=3)


def test_a_part_has_a_limit() -> None:
    """A part of 4 GiB has no length prefix."""

    class Huge(bytes):
        def __len__(self) -> int:
            return 2**32

    with pytest.raises(Misuse):
        length_prefixed(Huge())
