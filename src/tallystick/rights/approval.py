"""Approvals: a human key signs which held signals may be done, by one signature over 1 to 1,024 of them (docs/approvals.md).

    items = check_approval(statement, waiting={81: Waiting(...)}, now_ns=now)

What is signed names the house (the signal's audience), each proposal's entry, and, by a Merkle root, the SHA-256 of each exact
signal: one other byte anywhere is another root. The root is that of RFC 6962 2.1 over the leaves
canonical([entry, signal hash]) in ascending order of entries, so that one item can be shown to have been approved without the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from tallystick.canonical import encode
from tallystick.errors import Malformed, Misuse, Refused, Unproven
from tallystick.primitives import equal, sha256

MAX_ITEMS: Final = 1_024  # docs/spec/statements.md
HASH_BYTES: Final = 32
HELD: Final = "held"


@dataclass(frozen=True, slots=True)
class Item:
    """A proposal's entry and the SHA-256 of the whole COSE bytes of the signal that it holds."""

    entry: int
    signal_hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What the house knows of a proposal. `state`: held, or how it ended; `expires_ns`: UTC, None for never."""

    state: str
    signal_hash: bytes
    expires_ns: int | None


class Approves(Protocol):
    """What an approval's statement says (rights/statement.py)."""

    @property
    def root(self) -> bytes:
        """The Merkle root over the items."""

    @property
    def proposals(self) -> tuple[int, ...]:
        """The entries of the proposals, ascending."""

    @property
    def expires_ns(self) -> int:
        """Until when it may be handed in, UTC."""


def approval_root(items: Sequence[Item]) -> bytes:
    """The root that one signature covers, 32 bytes. Raises: Misuse: not 1 to 1,024 items in ascending order, each with its hash."""
    if not 1 <= len(items) <= MAX_ITEMS:
        raise Misuse(f"an approval is of 1 to {MAX_ITEMS} proposals", "sign the others with another")
    if any(first.entry >= second.entry for first, second in pairwise(items)):
        raise Misuse("the proposals of an approval stand in ascending order, each once")
    if any(len(item.signal_hash) != HASH_BYTES for item in items):
        raise Misuse("an item names a signal by 32 bytes")
    return _root([sha256(b"\x00", encode([item.entry, item.signal_hash])) for item in items])


def check_approval(statement: Approves, *, waiting: Mapping[int, Waiting], now_ns: int) -> tuple[Item, ...]:
    """Does a statement approve exactly what waits here?

    Args: waiting: what is known of the proposals it names.  now_ns: pair time, UTC.
    Returns: the items it approves.
    Raises: Malformed: entries not ascending, or too many.  Unproven: it is for what is no proposal, or for other bytes than those
        that wait.  Refused: it has expired, or one of the proposals has or is over; nothing of it counts then.
    """
    entries = statement.proposals
    if not 1 <= len(entries) <= MAX_ITEMS or any(first >= second for first, second in pairwise(entries)):
        raise Malformed("approval: not 1 to 1,024 proposals in ascending order")
    if statement.expires_ns <= now_ns:
        raise Refused("the approval has expired", "sign it again")
    items: list[Item] = []
    for entry in entries:
        found = waiting.get(entry)
        if found is None:
            raise Unproven(f"entry {entry} holds no proposal", "look at `tally inbox` again")
        items.append(Item(entry, found.signal_hash))
    if not equal(approval_root(items), statement.root):
        raise Unproven("the approval is for other signals than those that wait", "look at `tally inbox` again")
    for item in items:
        check_held(item.entry, waiting[item.entry], now_ns)
    return tuple(items)


def check_held(entry: int, found: Waiting, now_ns: int) -> None:
    """Raises: Refused unless the proposal still waits."""
    if found.state != HELD:
        raise Refused(f"proposal {entry} is {found.state}, not waiting", "see `tally inbox`")
    if found.expires_ns is not None and found.expires_ns <= now_ns:
        raise Refused(f"proposal {entry} has expired", "whoever wants it still asks again")


def _root(hashes: list[bytes]) -> bytes:
    # tlog/tree.py is of another floor's room; this is the definition of RFC 6962 2.1, and a test holds the two against each other.
    while len(hashes) > 1:
        # Pairing neighbours and leaving a lone last one as it is splits at the largest power of two, level by level.
        paired = [sha256(b"\x01", left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=False)]
        hashes = [*paired, hashes[-1]] if len(hashes) % 2 else paired
    return hashes[0]
