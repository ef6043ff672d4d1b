"""How a pair ends or narrows: by naming the pairing, never the machine (docs/spec/pairing.md, section 7)."""

from collections.abc import Iterable
from typing import Final

from tallystick.errors import Refused
from tallystick.pair.pairing import PairType

# Widest first. Each next type may do strictly less than the one before it.
WIDTH: Final = (PairType.ADMIN, PairType.INPUT, PairType.USER, PairType.INTERFACE)


def severs(severed_pairing_id: bytes, pairing_id: bytes) -> bool:
    """Does a severance end this pairing? A machine paired anew has another pairing id, so an old severance does not."""
    return severed_pairing_id == pairing_id


def narrow(current: PairType, wanted: PairType) -> PairType:
    """The type after a downgrade. Raises: Refused when it would not be narrower than what the pair has now."""
    if WIDTH.index(wanted) <= WIDTH.index(current):
        raise Refused(
            f"the pair is {current.value}: {wanted.value} would not be narrower",
            "A downgrade only narrows; for more, sever and pair again with `tally invite --type`.",
        )
    return wanted


def narrowest(pair_type: PairType, downgrades: Iterable[PairType]) -> PairType:
    """What a pair is worth after these downgrades: the narrowest of all, whatever order they came in."""
    return max((pair_type, *downgrades), key=WIDTH.index)
