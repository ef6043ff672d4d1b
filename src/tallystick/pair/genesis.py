"""The one way to the first human key of a house (docs/spec/pairing.md, section 6)."""

from tallystick.errors import Refused
from tallystick.keys import KeyId
from tallystick.pair.pairing import PairType
from tallystick.pair.statement import PairApprove


def check_genesis(statement: PairApprove, *, signer: KeyId, owner: KeyId | None, words_confirmed: bool) -> None:
    """May this statement be the first of a house that has no human key?

    Args: signer: the key that its proven signature is by.  owner: of `tally init --owner`, or None.
        words_confirmed: somebody compared the words on the house's own terminal.
    Raises: Refused when it may not.
    """
    if statement.pair_type is not PairType.ADMIN or statement.human is None:
        raise Refused("the first pairing of a house is ADMIN", "Use `tally invite --type ADMIN`.")
    if signer != statement.human.key_id:
        raise Refused("the first pairing is signed by the owner's own human key", "Run `tally pair` on the owner's machine.")
    if owner is not None and signer != owner:
        raise Refused("the house was made for another owner", "`tally status` shows the KeyId given with --owner.")
    if owner is None and not words_confirmed:
        raise Refused("the words have not been confirmed at the house", "Compare them and confirm on the house's own terminal.")
