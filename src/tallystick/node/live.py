"""What is known of pairs beside the ledger: last knock, address, bytes, mode. Shown by `tally status`, kept in the memory file."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from tallystick.canonical import Encodable
from tallystick.node.memory import Memory


class Counted(Protocol):
    """An open session."""

    @property
    def bytes_in(self) -> int:
        """Bytes received in sealed frames."""

    @property
    def bytes_out(self) -> int:
        """Bytes sent in sealed frames."""


@dataclass(slots=True)
class Live:
    """One pair."""

    last_knock_ns: int | None = None
    address: str | None = None
    received_bytes: int = 0
    sent_bytes: int = 0
    mode: int | None = None
    visibility: str | None = None

    def row(self) -> list[Encodable]:
        """As the memory keeps it."""
        return [self.last_knock_ns, self.address, self.received_bytes, self.sent_bytes, self.mode, self.visibility]

    def view(self, sessions: Collection[Counted]) -> dict[str, Any]:
        """As `tally status` shows it, with what is under way."""
        return {
            "last_knock_ns": self.last_knock_ns,
            "address": self.address,
            "received_bytes": self.received_bytes + sum(session.bytes_in for session in sessions),
            "sent_bytes": self.sent_bytes + sum(session.bytes_out for session in sessions),
            "sessions": len(sessions),
            "mode": self.mode,
            "visibility": self.visibility,
        }


class LiveTable:
    """All pairs of a running house."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._rows: dict[bytes, Live] = {}
        self._kept: dict[bytes, list[Encodable]] = {}

    def of(self, pair: bytes) -> Live:
        """A pair's row to write to; what the memory kept of it at first."""
        live = self._rows.get(pair)
        if live is None:
            live = self._rows[pair] = self._recall(pair)
        return live

    def known(self, pair: bytes) -> Live | None:
        """A pair's row, if there is one in this process."""
        return self._rows.get(pair)

    def seen(self, pair: bytes) -> Live:
        """A pair's row to read from."""
        return self._rows.get(pair) or self._recall(pair)

    def forget(self, pair: bytes) -> None:
        """The pair is no more."""
        self._rows.pop(pair, None)
        self._kept.pop(pair, None)

    def keep(self, now_ns: int) -> set[bytes]:
        """Write what has changed and the pair time. Returns: pairs that were forgotten meanwhile. Raises: Unavailable."""
        changed = {pair: row for pair, live in list(self._rows.items()) if (row := live.row()) != self._kept.get(pair)}
        rows: dict[str, Encodable] = {f"live/{pair.hex()}": row for pair, row in changed.items()}
        self._memory.put({"pair time": now_ns, **rows})
        self._kept.update(changed)
        return changed.keys() - self._rows.keys()

    def _recall(self, pair: bytes) -> Live:
        match self._memory.get(f"live/{pair.hex()}"):
            case [knock, address, int(received), int(sent), mode, visibility]:
                return Live(knock, address, received, sent, mode, visibility)  # type: ignore[arg-type]
        return Live()
