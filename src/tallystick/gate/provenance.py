"""Provenance: who is behind a signal, from the rows of its predecessors (docs/spec/gate.md, section 4).

The house knows every predecessor before it takes a successor, so the graph has no cycle and needs no walk: each row carries all that
is behind it. `link` adds one step.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from tallystick.errors import Refused
from tallystick.gate.signal import EntryRef, Reference

MAX_SIGNERS: Final = 256
MAX_DEPTH: Final = 4_096
UNKNOWN: Final = bytes(32)
"""Stands among the signers for a predecessor that did not pass the house."""

COMPLETED: Final = frozenset(("skill", "tool", "llm"))
"""Classes whose predecessors the house completes: without a context they have the unknown one."""


class Unlinked(Refused):
    """A signal whose provenance does not hold. `word`: the ledger's reason, `unknown-predecessor` or `limits`."""

    def __init__(self, word: str, message: str) -> None:
        super().__init__(message, "Name only signals that this house has recorded.")
        self.word = word


class Predecessor(Protocol):
    """What the house recorded of a signal. `signers`: all other keys behind it, ascending."""

    @property
    def key(self) -> bytes:
        """Who signed it."""

    @property
    def signers(self) -> Sequence[bytes]:
        """Who is behind it."""

    @property
    def depth(self) -> int:
        """How many steps its longest chain has."""


class Link(NamedTuple):
    """All that is behind a signal; a tuple, because one is made for every signal.

    `signers`: the other keys, ascending; `UNKNOWN` among them for what nobody recorded.
    """

    signers: tuple[bytes, ...] = ()
    depth: int = 0

    @property
    def unknown(self) -> bool:
        """Whether something behind it did not pass the house."""
        return bool(self.signers) and self.signers[0] == UNKNOWN


NOTHING: Final = Link()
OUT_OF_NOWHERE: Final = Link((UNKNOWN,), 1)
"""What is behind a skill, tool or model whose inputs did not pass the house."""


def check_reference(reference: Reference, *, origin: bytes, size: int) -> None:
    """Can this reference be one of a predecessor? A hash can; an entry only of this log and below its size. Raises: Unlinked."""
    if isinstance(reference, EntryRef):
        if reference.origin != origin:
            raise Unlinked("unknown-predecessor", "a predecessor is an entry of another log")
        if reference.index >= size:
            raise Unlinked("unknown-predecessor", "a predecessor is an entry that is not written yet")


def link(own: bytes, found: Iterable[Predecessor | None], house: bytes, *further: Link) -> Link:
    """One step further: the keys behind a signal of `own`.

    Args: found: the rows of all it names in `prev`; None: the house has no such signal.  house: the house's own key: its findings
        are links and no signers.  further: what else is behind it: its context.
    Raises: Unlinked.
    """
    rows = tuple(found)
    if len(rows) == 1 and not further and rows[0] is not None and not rows[0].signers and rows[0].depth < MAX_DEPTH:
        key = rows[0].key  # nearly every signal of a source: after the one before it
        return Link((), rows[0].depth + 1) if key in (own, house) else Link((key,), rows[0].depth + 1)
    signers: set[bytes] = set()
    depth = 0
    for row in rows:
        if row is None:
            raise Unlinked("unknown-predecessor", "a predecessor is not in this ledger")
        signers.add(row.key)
        signers.update(row.signers)
        if row.depth >= depth:
            depth = row.depth + 1
    for each in further:
        signers.update(each.signers)
        if each.depth > depth:
            depth = each.depth
    signers.discard(own)
    signers.discard(house)
    if len(signers) > MAX_SIGNERS:
        raise Unlinked("limits", f"more than {MAX_SIGNERS} keys are behind it")
    if depth > MAX_DEPTH:
        raise Unlinked("limits", f"its chain is longer than {MAX_DEPTH} signals")
    return Link(tuple(sorted(signers)), depth)
