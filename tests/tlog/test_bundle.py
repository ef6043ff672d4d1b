"""Entry bundles: each entry behind its length, exactly as many as the path says, and nothing after them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.errors import Malformed, Misuse
from tallystick.tlog.bundle import MAX_BUNDLE_BYTES, MAX_ENTRY_BYTES, read_bundle, write_bundle


def test_the_bytes_of_a_bundle() -> None:
    """A big-endian length of two bytes, then the entry; an empty entry has its length too."""
    assert write_bundle([b"a", b"", b"bc"]) == b"\0\1a\0\0\0\2bc"
    assert read_bundle(b"\0\1a\0\0\0\2bc", 3) == (b"a", b"", b"bc")


def test_the_largest_bundle() -> None:
    """256 entries of 65,535 bytes."""
    entries = (bytes(MAX_ENTRY_BYTES),) * 256
    data = write_bundle(entries)
    assert len(data) == MAX_BUNDLE_BYTES
    assert read_bundle(data, 256) == entries


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_a_bundle_survives(entries: list[bytes]) -> None:
    """What is written is read as it was, and under no other number of entries."""
    data = write_bundle(entries)
    assert read_bundle(data, len(entries)) == tuple(entries)
    for width in (len(entries) - 1, len(entries) + 1):
        if 1 <= width <= 256:
            with pytest.raises(Malformed):
                read_bundle(data, width)


@given(st.binary(max_size=200), st.integers(1, 8))
def test_any_bytes_are_one_bundle_or_malformed(data: bytes, width: int) -> None:
    """What is read is written as the same bytes."""
    try:
        entries = read_bundle(data, width)
    except Malformed:
        return
    assert write_bundle(entries) == data


def test_every_cut_and_every_byte_more_is_malformed() -> None:
    """No beginning of a bundle is a bundle, and nothing may follow; the message says where."""
    data = write_bundle([b"first", b"second", b"third"])
    for end in range(len(data)):
        with pytest.raises(Malformed):
            read_bundle(data[:end], 3)
    with pytest.raises(Malformed, match=f"at byte {len(data)}"):
        read_bundle(data + b"\0", 3)
    with pytest.raises(Malformed, match="entry 1 of the bundle, at byte 7"):
        read_bundle(data[:10], 3)


@pytest.mark.parametrize("entries", [[], [b""] * 257, [bytes(65_536)]])
def test_what_is_no_bundle_is_misuse(entries: list[bytes]) -> None:
    """None, too many, too long."""
    with pytest.raises(Misuse):
        write_bundle(entries)


@pytest.mark.parametrize("width", [0, -1, 257])
def test_a_width_that_no_bundle_has_is_misuse(width: int) -> None:
    """1 to 256."""
    with pytest.raises(Misuse):
        read_bundle(b"", width)
