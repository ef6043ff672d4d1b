"""What the gate tells: to a sender, to one who waits for a human, to one who asks again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tallystick.passage.admission import Admitted
from tallystick.rights.verdict import Verdict as Word

_WORDS: Final[Mapping[Word, str]] = {Word.ALLOW: "allowed", Word.HOLD: "held", Word.REFUSE: "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a sender learns. `word`: allowed, held or refused.  `entry`: where it stands; None: not believed, and only counted.

    `reduced`: confidence was low.  `proposal`: the entry that waits for a human, where it is held.
    """

    word: str
    entry: int | None = None
    reduced: bool = False
    proposal: int | None = None

    @property
    def allowed(self) -> bool:
        """It may take effect."""
        return self.word == "allowed"

    @property
    def held(self) -> bool:
        """It waits for a human."""
        return self.word == "held"

    @property
    def refused(self) -> bool:
        """It is not believed, or not allowed."""
        return self.word == "refused"


def verdict_of(admitted: Admitted) -> Verdict:
    """What the sender of a recorded signal learns."""
    proposal = None if admitted.proposal is None else admitted.proposal.index
    decision = admitted.decision
    return Verdict(word=_WORDS[decision.verdict], entry=admitted.receipt.index, reduced=decision.reduced, proposal=proposal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a proposal: `released`, or why not (denied, expired, edited, changed, void). `entry`: that ended it."""

    reason: str
    entry: int

    @property
    def allowed(self) -> bool:
        """A human said yes, and everything else still stood."""
        return self.reason == "released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechecked:
    """What would be said now of a signal that was recorded. `reason`: of the verdict, empty for allow.  `rule`, `facts`: that refused."""

    verdict: Word
    reason: str = ""
    rule: str = ""
    facts: tuple[int, ...] = ()
    why: str = ""
