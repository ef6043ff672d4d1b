"""What the gate tells: to a sender, to one who waits for a human, to one who asks again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.gate.crypto import Unbelieved
from tallystick.gate.opening import Opening
from tallystick.gate.signal import ProvenSignal
from tallystick.passage.admission import Admitted
from tallystick.rights.verdict import Verdict as Word

_WORDS: Final[Mapping[Word, str]] = {Word.ALLOW: "allowed", Word.HOLD: "held", Word.REFUSE: "refused"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a sender learns. `word`: allowed, held or refused.  `entry`: where it stands; None: not believed, and only counted.

    `reduced`: confidence was low.  `proposal`: the entry that waits for a human, where it is held.  `status`: what became of it, where it
    asked for something that the house does itself: as HTTP says it, or the exit status of a program; None: it is yours to do.
    """

    word: str
    entry: int | None = None
    reduced: bool = False
    proposal: int | None = None
    status: int | None = None

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


def verdict_of(admitted: Admitted, done: "Ended | None" = None) -> Verdict:
    """What the sender of a recorded signal learns. `done`: what the house did by it."""
    proposal = None if admitted.proposal is None else admitted.proposal.index
    decision, status = admitted.decision, None if done is None else done.status
    return Verdict(word=_WORDS[decision.verdict], entry=admitted.receipt.index, reduced=decision.reduced, proposal=proposal, status=status)


class Forked(Unbelieved):
    """Another statement under a number that is taken: the ledger keeps both and suspends the key."""

    def __init__(self, signal: ProvenSignal) -> None:
        super().__init__("replay", "another signal has its number")
        self.signal = signal


class Ended(Protocol):
    """What became of something the house did."""

    @property
    def status(self) -> int:
        """As HTTP says it, or the exit status of a program."""


class Releases(Protocol):
    """What the house itself does by verbs of its own (node/release.py)."""

    async def preconditions(self, verb: str, opening: Opening, body: bytes | None) -> bytes | None:
        """What a release must find unchanged, as a commitment of 32 bytes; None for verbs that are not the house's."""

    async def perform(self, entry: int, verb: str, reference: bytes, opening: Opening, body: bytes | None) -> Ended | None:
        """Do what a signal asks that was allowed at once; None for verbs that are not the house's. Raises: Unavailable."""


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
