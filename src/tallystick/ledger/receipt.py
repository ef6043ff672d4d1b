"""Receipts: what a caller holds once its event is in the ledger.

Grade *recorded*: the entry is durable in the house's database. Grade *included*: a signed checkpoint covers it.
"""

from dataclasses import dataclass
from enum import StrEnum


class Grade(StrEnum):
    """How much a receipt promises."""

    RECORDED = "recorded"
    INCLUDED = "included"


@dataclass(slots=True, unsafe_hash=True)
class Receipt:
    """The entry's place. `tree_size` is the size of the tree after the group that brought it, or of the checkpoint.

    Not `frozen`, though nothing is ever assigned: freezing costs a microsecond, and one is made for each entry.
    """

    index: int
    leaf_hash: bytes
    grade: Grade
    tree_size: int
