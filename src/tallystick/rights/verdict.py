"""The verdict: refuse < hold < allow, the least of everything that has a say, with the reasons (DESIGN section 8)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Verdict(IntEnum):
    """What happens with a signal. `hold` waits for a human."""

    REFUSE = 0
    HOLD = 1
    ALLOW = 2

    @property
    def word(self) -> str:
        """The word of the ledger and the command line."""
        return self.name.lower()


class Source(StrEnum):
    """Who has a say."""

    CAP = "cap"  # the type of the pair
    KEY = "key"  # the matrix row of a key in the provenance
    SCOPE = "scope"  # a human approved it in advance
    HUMAN = "human"  # admin needs a human's signature
    LAYER = "layer"  # a binary layer of the gate
    CONFIDENCE = "confidence"  # the probabilistic layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One voice. `subject`: the type, the key's short text or the layer; `why`: one line, no clear values of the request."""

    source: Source
    subject: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The least of all voices. `reduced`: confidence was low, so only metadata and read were open. `scope`: the one it took."""

    verdict: Verdict
    reduced: bool
    reasons: tuple[Reason, ...]
    scope: bytes | None = None

    @property
    def deciding(self) -> tuple[Reason, ...]:
        """The reasons that brought the verdict down to where it is."""
        return tuple(reason for reason in self.reasons if reason.verdict is self.verdict)


def least(reasons: Iterable[Reason], *, reduced: bool, scope: bytes | None = None) -> Judgement:
    """Conclude. Nobody who has a say is outvoted; where nobody has one the answer is no."""
    voices = tuple(reasons)
    verdict = Verdict.ALLOW if voices else Verdict.REFUSE
    for voice in voices:
        if voice.verdict < verdict:
            verdict = voice.verdict
    return Judgement(verdict=verdict, reduced=reduced, reasons=voices, scope=scope)
