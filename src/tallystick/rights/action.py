"""Action classes: what a signal asks for. A set, not an order (DESIGN section 2)."""

from enum import StrEnum
from typing import TypeAlias


class ActionClass(StrEnum):
    """The six classes of action. `egress` is a read that makes data leave the house."""

    METADATA = "metadata"
    READ = "read"
    EGRESS = "egress"
    PROPOSE = "propose"
    WRITE = "write"
    ADMIN = "admin"


Actions: TypeAlias = frozenset[ActionClass]
