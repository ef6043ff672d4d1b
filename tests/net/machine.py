"""A classic BPF machine of a few lines: the oracle for the programs of `channel.filter`.

Written from Documentation/networking/filter.rst alone. `run` takes the packet as the kernel shows it: the IP header for
loads at NET, and everything from the transport header on for the others.
"""

from collections.abc import Sequence
from typing import Final

_NET: Final = 0xFFF00000
_STEPS: Final = 4096


def load(header: bytes, payload: bytes, offset: int, size: int) -> int | None:
    """An unsigned big-endian value of the packet; None when it lies outside."""
    place, data = (offset - _NET, header + payload) if offset >= _NET else (offset, payload)
    return int.from_bytes(data[place : place + size], "big") if place + size <= len(data) else None


def run(program: Sequence[tuple[int, int, int, int]], header: bytes, payload: bytes) -> int:
    """How many bytes of the packet the program keeps; 0 drops it. Raises AssertionError on an instruction it does not know."""
    accumulator, counter = 0, 0
    for _ in range(_STEPS):
        code, jt, jf, k = program[counter]
        counter += 1
        match code:
            case 0x20 | 0x28 | 0x30:
                value = load(header, payload, k, {0x20: 4, 0x28: 2, 0x30: 1}[code])
                if value is None:
                    return 0
                accumulator = value
            case 0x80:
                accumulator = len(payload)
            case 0x54:
                accumulator &= k
            case 0x15:
                counter += jt if accumulator == k else jf
            case 0x45:
                counter += jt if accumulator & k else jf
            case 0x06:
                return k
            case _:
                raise AssertionError(f"unknown instruction {code:#x}")
    raise AssertionError("no end")
