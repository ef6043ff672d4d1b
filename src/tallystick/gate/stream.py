"""Streams and numbers: each (key, stream, n) is taken once for ever (docs/spec/signal.md, section 5)."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, Self

from tallystick.gate.signal import STREAM_BYTES, ProvenSignal
from tallystick.primitives import sha256

MACHINE: Final = "machine"


class Numbering(StrEnum):
    """What a number says about a signal. Only `new` may go on."""

    NEW = "new"
    REPLAY = "replay"  # the same statement again
    FORK = "fork"  # another statement under a number that is taken: hold the key, alarm
    GAP = "gap"  # class machine only: not the next number of this connection, or another stream


def machine_stream(handshake_hash: bytes) -> bytes:
    """The stream of class machine over a pair: 16 bytes from the first handshake's hash of the connection."""
    return sha256(b"tally stream v1", handshake_hash)[:STREAM_BYTES]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamBook:
    """The numbers of one connection. `machine`: the KeyId of the paired machine's own key; `next_n`: its next number."""

    machine: bytes
    stream: bytes
    next_n: int = 0

    @classmethod
    def of(cls, *, machine: bytes, handshake_hash: bytes) -> Self:
        """The book of a fresh connection."""
        return cls(machine=machine, stream=machine_stream(handshake_hash))

    def take(self, signal: ProvenSignal, recorded: bytes | None) -> tuple[Self, Numbering]:
        """Judge a number; the book moves on only for a new one.

        Args: recorded: the structure hash under this (kid, stream, n), from the ledger or this connection, or None.
        """
        if recorded is not None:
            return self, Numbering.REPLAY if recorded == signal.structure_hash else Numbering.FORK
        if signal.claims.signal_class != MACHINE or signal.kid != self.machine:
            return self, Numbering.NEW
        if signal.claims.stream != self.stream or signal.claims.n != self.next_n:
            return self, Numbering.GAP
        return replace(self, next_n=self.next_n + 1), Numbering.NEW
