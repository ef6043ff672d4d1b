"""The three kernel filters, run in a small interpreter: what is kept, and above all what is dropped."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.channel.filter import KEEP, MAX_INSTRUCTIONS, Instruction, Shape, assemble, datagrams_of, no_reset, only_from
from tallystick.errors import Misuse
from tests.net.machine import run

SHAPES = (Shape(1, 148), Shape(2, 148), Shape(3, 64))
HOME, STRANGER = bytes([192, 0, 2, 7]), bytes([192, 0, 2, 8])
HOME6, STRANGER6 = bytes.fromhex("20010db8000000000000000000000007"), bytes.fromhex("20010db8000000010000000000000007")


def ipv4(source: bytes, *, options: bytes = b"") -> bytes:
    first = 0x40 | (20 + len(options)) // 4
    return struct.pack(">BBHHHBBH", first, 0, 0, 0, 0, 64, 6, 0) + source + bytes([198, 51, 100, 1]) + options


def ipv6(source: bytes) -> bytes:
    return struct.pack(">IHBB", 0x6000_0000, 0, 6, 64) + source + bytes(16)


def tcp(port: int, flags: int) -> bytes:
    return struct.pack(">HHIIBBHHH", port, 443, 1, 2, 0x50, flags, 1024, 0, 0)


def udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 5, 6, 8 + len(payload), 0) + payload


def test_a_datagram_of_a_known_kind_and_size_is_kept_whole() -> None:
    """Every shape passes, uncut."""
    for shape in SHAPES:
        assert run(datagrams_of(SHAPES), b"", udp(bytes([shape.kind]) + bytes(shape.size - 1))) == KEEP


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", bytes(148), b"\x03" + bytes(147), b"\x01" + bytes(63), b"\x01" + bytes(148), b"\x01" + bytes(146)]
)
def test_a_datagram_of_another_kind_or_size_is_dropped(payload: bytes) -> None:
    """Empty, one byte short, one byte long, a right size with the type of another."""
    assert run(datagrams_of(SHAPES), b"", udp(payload)) == 0


@given(st.binary(max_size=200))
def test_the_filter_says_what_the_shapes_say(payload: bytes) -> None:
    """For any payload the program agrees with the sentence it was written from."""
    wanted = bool(payload) and (payload[0], len(payload)) in SHAPES
    assert (run(datagrams_of(SHAPES), b"", udp(payload)) == KEEP) is wanted


@pytest.mark.parametrize("flags", range(256))
def test_only_resets_are_dropped(flags: int) -> None:
    """Mode 1: RST, alone or with anything else, is dropped; every other segment passes."""
    assert run(no_reset(), ipv4(HOME), tcp(1, flags)) == (0 if flags & 4 else KEEP)


def test_a_segment_too_short_for_flags_is_dropped() -> None:
    """A load outside the packet ends the program."""
    assert run(no_reset(), ipv4(HOME), tcp(1, 2)[:13]) == 0


@pytest.mark.parametrize("header", [ipv4(HOME), ipv4(HOME, options=bytes(8))])
def test_one_ipv4_source_is_admitted(header: bytes) -> None:
    """The listener hears the address of the knock, whatever its port when none is demanded, with or without IP options."""
    assert run(only_from(HOME), header, tcp(40_001, 2)) == KEEP
    assert run(only_from(HOME, 40_001), header, tcp(40_001, 2)) == KEEP
    assert run(only_from(HOME, 40_001), header, tcp(40_002, 2)) == 0


def test_other_sources_are_dropped() -> None:
    """Another address, another family, another word of the address: silence."""
    assert run(only_from(HOME), ipv4(STRANGER), tcp(1, 2)) == 0
    assert run(only_from(HOME6), ipv6(STRANGER6), tcp(1, 2)) == 0
    assert run(only_from(HOME6), ipv4(HOME), tcp(1, 2)) == 0
    assert run(only_from(HOME), ipv6(HOME6), tcp(1, 2)) == 0


@given(st.integers(0, 127))
def test_each_bit_of_an_ipv6_source_counts(bit: int) -> None:
    """One flipped bit of 128 makes a stranger."""
    value = int.from_bytes(HOME6, "big") ^ 1 << bit
    assert run(only_from(HOME6, 9), ipv6(HOME6), tcp(9, 2)) == KEEP
    assert run(only_from(HOME6, 9), ipv6(value.to_bytes(16, "big")), tcp(9, 2)) == 0


@given(st.integers(0, 31))
def test_each_bit_of_an_ipv4_source_counts(bit: int) -> None:
    """One flipped bit of 32 makes a stranger."""
    value = int.from_bytes(HOME, "big") ^ 1 << bit
    assert run(only_from(HOME), ipv4(value.to_bytes(4, "big")), tcp(9, 2)) == 0


def test_programs_are_arrays_of_eight_byte_instructions() -> None:
    """The kernel reads u16 code, u8 jt, u8 jf, u32 k."""
    for program in (datagrams_of(SHAPES), no_reset(), only_from(HOME6, 1)):
        raw = assemble(program)
        assert [tuple(step) for step in program] == list(struct.iter_unpack("=HBBI", raw))


@pytest.mark.parametrize("program", [(), (Instruction(6, 0, 0, 0),) * (MAX_INSTRUCTIONS + 1)])
def test_a_program_the_kernel_would_not_take_is_misuse(program: tuple[Instruction, ...]) -> None:
    """Empty or too long."""
    with pytest.raises(Misuse):
        assemble(program)


@pytest.mark.parametrize(
    "shapes", [(), (Shape(256, 10),), (Shape(-1, 10),), (Shape(1, 0),), (Shape(1, 65_508),), tuple(Shape(1, n) for n in range(1, 1000))]
)
def test_impossible_shapes_are_misuse(shapes: tuple[Shape, ...]) -> None:
    """No shape, a type that is no byte, a size no datagram has, more shapes than fit."""
    with pytest.raises(Misuse):
        datagrams_of(shapes)


@pytest.mark.parametrize(("address", "port"), [(b"", None), (bytes(5), None), (HOME, 0), (HOME, 65_536), (HOME6, -1)])
def test_impossible_sources_are_misuse(address: bytes, port: int | None) -> None:
    """An address of another length, a port that does not exist."""
    with pytest.raises(Misuse):
        only_from(address, port)
