"""How usual is this signal for its key? A profile for each key, and what it knows of its peers (docs/evaluation.md).

    score = profile.score(words)          # nothing changes
    score = profile.observe(words)        # the same, and it was seen; every 100 signals a window closes
    profile.approve([words, ...])         # a human has said that these were the key's own

A signal is a tuple of words, each a number made by `word` of a channel and a text: clear values cannot be read back. Naive Bayes compares
how probable a word is for this key, smoothed towards its peers, with how probable it is for them; the n-th time a word stands in a window
counts sqrt(n)-sqrt(n-1), for people and programs repeat themselves. Over windows a filter with two states (the key itself, somebody else)
carries what was believed. How far the key's own windows have spread lately moves what counts as unusual: a rolling calibration.

A window is learned when it passed: what was known before shrinks by 3 %, so one window never moves a profile by more than that. One that
did not pass teaches nothing until a human approves it. All is whole numbers (millionths), the same on every machine.
"""

import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

from tallystick.errors import Malformed, Misuse

CHANNELS: Final = ("class", "verb", "target", "part", "hour", "size", "rate", "behind")
WINDOW: Final = 100  # signals; the block of the literature on masquerades
MIN_SIGNALS: Final = 200  # DESIGN 8.4: below it abstains
MAX_WORDS: Final = 320  # of a profile; the rarest go first
MAX_WINDOW_WORDS: Final = 128
MAX_SIGNAL_WORDS: Final = 16
MAX_HISTORY: Final = 32  # windows of the rolling calibration
MIN_HISTORY: Final = 8
UNIT: Final = 1_000_000
KEEP_PERCENT: Final = 97  # of what was known, when a window is learned
# Fixed on the first 5,000 commands of the users in the Schonlau data, by injecting users into each other: docs/evaluation.md.
SMOOTHING: Final = 20.0  # learned words' worth of peers in every profile
PEER_SMOOTHING: Final = 1.0
VOCABULARY: Final = 1_024  # words that might be
MARGIN: Final = 0.25
BEGIN: Final = 0.01  # that somebody else takes over at a window, and goes on: as the authors of the data injected them
GO_ON: Final = 0.8
THRESHOLD: Final = 12 * UNIT  # log odds of somebody else, in millionths
REVIEWED_THRESHOLD: Final = 4 * UNIT  # the same where a human looks at every flagged window
APPROVED_WEIGHT: Final = 3  # an approved window counts as three
SPREAD: Final = 4 * UNIT  # log odds between a confidence of 50 % and 73 %
_MAX_ODDS: Final = 30 * UNIT
_GAIN: Final = tuple(math.sqrt(n + 1) - math.sqrt(n) for n in range(WINDOW))
_LEARNED: Final = tuple(round(math.sqrt(n) * UNIT) for n in range(WINDOW + 1))
_WORD_BITS: Final = 29
_MAGIC: Final = b"tally behaviour1"
_HEAD: Final = struct.Struct(">16sQQiqHHHHQB")
_ROW: Final = struct.Struct(">IQ")
_SEEN: Final = struct.Struct(">IH")
_PAST: Final = struct.Struct(">q")
MAX_COUNT: Final = 2**40
MAX_SUM: Final = 2**53
MAX_BYTES: Final = _HEAD.size + MAX_WORDS * _ROW.size + MAX_WINDOW_WORDS * _SEEN.size + MAX_HISTORY * _PAST.size

Words = Sequence[int]


@lru_cache(maxsize=8_192)
def word(channel: str, text: str) -> int:
    """The number of a word: 3 bits of channel, 29 of a checksum. Raises: Misuse for no channel of ours."""
    try:
        place = CHANNELS.index(channel)
    except ValueError:
        raise Misuse(f"no channel is called {channel[:40]!r}", ", ".join(CHANNELS)) from None
    return place << _WORD_BITS | zlib.crc32(text.encode("utf-8", "surrogatepass")) >> 3


@dataclass(frozen=True, slots=True)
class Score:
    """How usual. `odds`: log odds of somebody else, millionths; `low`: under the threshold; `abstains`: too little is known of the key."""

    odds: int
    abstains: bool
    closed: bool = False

    @property
    def low(self) -> bool:
        """Whether it is too unusual. Not while it abstains."""
        return self.odds > THRESHOLD and not self.abstains

    @property
    def confidence_ppm(self) -> int:
        """Parts per million that the key is itself; 500,000 at the threshold."""
        return round(UNIT / (1 + math.exp(max(-40.0, min(40.0, (self.odds - THRESHOLD) / SPREAD)))))


@dataclass(slots=True)
class Peers:
    """What all keys of a house are like together: the sum of their profiles. One for all profiles."""

    counts: dict[int, int] = field(default_factory=dict)
    totals: list[int] = field(default_factory=lambda: [0] * len(CHANNELS))

    def copy(self) -> "Peers":
        """As they are now; what changes then does not change here."""
        return Peers(dict(self.counts), list(self.totals))

    def move(self, each: int, by: int) -> None:
        """A profile has changed by so much at a word."""
        count = self.counts.get(each, 0) + by
        if count < 0:
            raise AssertionError("peers know less than one of them")
        if count:
            self.counts[each] = count
        else:
            self.counts.pop(each, None)
        self.totals[each >> _WORD_BITS] += by


class Profile:
    """Of one key. At most 65,536 bytes of memory."""

    __slots__ = (
        "_last",
        "_peers",
        "counts",
        "history",
        "odds",
        "passed",
        "seen",
        "sum",
        "totals",
        "upto",
        "window",
        "window_signals",
        "windows",
    )

    def __init__(self, peers: Peers) -> None:
        """`peers`: of all profiles of this house; this one's own part is left out of what it is compared with."""
        self._peers = peers
        self._last: tuple[Words, int] | None = None  # what was weighed last, if nothing was seen since
        self.counts: dict[int, int] = {}
        self.totals = [0] * len(CHANNELS)
        self.window: dict[int, int] = {}
        self.window_signals = 0
        self.sum = 0
        self.odds = _logit(BEGIN)
        self.history: list[int] = []
        self.seen = 0
        self.upto = 0  # the first entry of the ledger it does not know
        self.windows = 0  # looked at, of the last 64
        self.passed = 0  # one bit for each of them, the newest lowest

    @property
    def abstains(self) -> bool:
        """Whether too little was seen of this key to judge it."""
        return self.seen < MIN_SIGNALS

    @property
    def coverage_ppm(self) -> int | None:
        """The share of the last windows (at most 64) that passed; None while it has judged none."""
        return None if not self.windows else self.passed.bit_count() * UNIT // self.windows

    def score(self, words: Words) -> Score:
        """How usual this signal is, after those of its window. Raises: Misuse: too many words."""
        return self._score(self.sum + self._weigh(words), self.window_signals + 1)

    def observe(self, words: Words, *, learn: bool = True, threshold: int = THRESHOLD) -> Score:
        """It was seen. `learn`: it took effect; what was held or refused only counts as evidence.

        `threshold`: of a window that is learned, in log odds. Raises: Misuse: too many words.
        """
        abstains = self.abstains
        self._take(words, learn=learn)
        score = Score(self._score(self.sum, self.window_signals).odds, abstains)
        if self.window_signals < WINDOW:
            return score
        self._close(score, score.odds > threshold)
        return Score(score.odds, score.abstains, closed=True)

    def approve(self, signals: Iterable[Words]) -> None:
        """A human has approved these, one by one: they are learned fully, and the filter believes that the key is itself."""
        found: dict[int, int] = {}
        for words in signals:
            for each in words:
                if each in found or len(found) < MAX_WINDOW_WORDS:
                    found[each] = min(found.get(each, 0) + 1, WINDOW)
        self._learn(found, APPROVED_WEIGHT)
        self.odds = _logit(BEGIN)

    def deny(self) -> None:
        """A human has said that this was not the key's own: until windows say otherwise, somebody else has it."""
        self.odds = -_logit(BEGIN)

    def train(self, signals: Iterable[Words]) -> None:
        """What is known to be the key's own, one window at most: learned whatever it looks like. Raises: Misuse: more than a window."""
        taken = list(signals)
        if len(taken) > WINDOW:
            raise Misuse(f"a window has at most {WINDOW} signals")
        self._clear()
        for words in taken:
            self._take(words)
        self._learned()
        self.odds = _logit(BEGIN)

    # --- Arithmetic ------------------------------------------------------------------------------------------------------

    def _weigh(self, words: Words) -> int:
        if self._last is not None and self._last[0] is words:
            return self._last[1]
        if len(words) > MAX_SIGNAL_WORDS:
            raise Misuse(f"a signal has at most {MAX_SIGNAL_WORDS} words")
        counts, totals, window = self.counts, self.totals, self.window
        peers, peer_totals = self._peers.counts, self._peers.totals
        found, log = 0.0, math.log
        for each in words:
            channel, mine = each >> _WORD_BITS, counts.get(each, 0)
            own, others = totals[channel], peer_totals[channel]
            usual = (peers.get(each, 0) - mine + PEER_SMOOTHING * UNIT) / (others - own + PEER_SMOOTHING * VOCABULARY * UNIT)
            own_usual = (mine + SMOOTHING * UNIT * usual) / (own + SMOOTHING * UNIT)
            found += _GAIN[min(window.get(each, 0), WINDOW - 1)] * log(usual / own_usual)
        weighed = round(found / math.sqrt(len(words)) * UNIT) if words else 0
        self._last = (words, weighed) if isinstance(words, tuple) else None
        return weighed

    def _score(self, total: int, signals: int) -> Score:
        margin = self._margin() * signals // WINDOW
        odds = max(-_MAX_ODDS, min(_MAX_ODDS, _predicted(self.odds) + total - margin))
        return Score(odds, self.abstains)

    def _margin(self) -> int:
        """How much more unusual than nothing this key's own windows lately were."""
        past = self.history
        if len(past) < MIN_HISTORY:
            return 0
        mean = sum(past) // len(past)
        spread = math.isqrt(sum((each - mean) ** 2 for each in past) // len(past))
        return max(0, round(MARGIN * (mean + 2 * spread)))

    def _take(self, words: Words, *, learn: bool = True) -> None:
        self.sum = max(-MAX_SUM, min(MAX_SUM, self.sum + self._weigh(words)))
        self._last = None
        window = self.window
        if learn:
            for each in words:
                if each in window or len(window) < MAX_WINDOW_WORDS:
                    window[each] = min(window.get(each, 0) + 1, WINDOW)
        self.window_signals += 1
        self.seen += 1

    def _close(self, score: Score, low: bool) -> None:
        if score.abstains:
            self._learned()
            return
        self.odds = score.odds
        self.passed = (self.passed << 1 | (not low)) & (2**64 - 1)
        self.windows = min(self.windows + 1, 64)
        if low:
            self._clear()
        else:
            self._learned()

    def _learned(self) -> None:
        if self.counts:
            self.history = [*self.history, self.sum][-MAX_HISTORY:]
        self._learn(self.window, 1)
        self._clear()

    def _clear(self) -> None:
        self.window = {}
        self.window_signals = self.sum = 0

    def _learn(self, found: dict[int, int], weight: int) -> None:
        if not found:
            return
        before = self.counts
        after = {each: kept for each, count in before.items() if (kept := count * KEEP_PERCENT // 100) >= UNIT // 100}
        for each, times in found.items():
            after[each] = min(after.get(each, 0) + weight * _LEARNED[times], MAX_COUNT)
        if len(after) > MAX_WORDS:
            newest = sorted(after, key=lambda each: (-after[each], each))[:MAX_WORDS]
            after = {each: after[each] for each in newest}
        self._replace(after)

    def _replace(self, after: dict[int, int]) -> None:
        peers, totals = self._peers, [0] * len(CHANNELS)
        for each, count in self.counts.items():
            if each not in after:
                peers.move(each, -count)
        for each, count in after.items():
            totals[each >> _WORD_BITS] += count
            if by := count - self.counts.get(each, 0):
                peers.move(each, by)
        self.counts, self.totals, self._last = after, totals, None

    def forget(self) -> None:
        """Everything: what is left is a new key."""
        self._replace({})
        self.__init__(self._peers)  # type: ignore[misc]

    # --- One form --------------------------------------------------------------------------------------------------------

    def encode(self) -> bytes:
        """The one form of a profile, at most `MAX_BYTES`."""
        sizes = (self.window_signals, len(self.counts), len(self.window), len(self.history))
        head = _HEAD.pack(_MAGIC, self.seen, self.upto, self.odds, self.sum, *sizes, self.passed, self.windows)
        rows = b"".join(_ROW.pack(*each) for each in sorted(self.counts.items()))
        window = b"".join(_SEEN.pack(*each) for each in sorted(self.window.items()))
        return head + rows + window + b"".join(map(_PAST.pack, self.history))


def parse(raw: bytes, peers: Peers) -> Profile:
    """A profile from its one form; its peers know it from then on. Raises: Malformed for any other bytes; `peers` are as before."""
    if not _HEAD.size <= len(raw) <= MAX_BYTES:
        raise Malformed("behaviour: not of a length a profile can have")
    magic, seen, upto, odds, total, signals, rows, words, past, passed, windows = _HEAD.unpack_from(raw)
    if magic != _MAGIC or rows > MAX_WORDS or words > MAX_WINDOW_WORDS or past > MAX_HISTORY or signals >= WINDOW or windows > 64:
        raise Malformed("behaviour: not a profile of this version")
    end_rows = _HEAD.size + rows * _ROW.size
    end_words = end_rows + words * _SEEN.size
    if len(raw) != end_words + past * _PAST.size:
        raise Malformed("behaviour: a profile that is cut or goes on")
    counts = list(_ROW.iter_unpack(raw[_HEAD.size : end_rows]))
    window = list(_SEEN.iter_unpack(raw[end_rows:end_words]))
    history = [each for (each,) in _PAST.iter_unpack(raw[end_words:])]
    if not (_rising(counts) and _rising(window) and abs(odds) <= _MAX_ODDS and passed >> windows == 0 and seen >= signals):
        raise Malformed("behaviour: not the one form of a profile")
    if any(not 0 < count <= MAX_COUNT for _, count in counts) or any(
        not 0 < times <= max(signals, 1) * MAX_SIGNAL_WORDS for _, times in window
    ):
        raise Malformed("behaviour: a count no profile has")
    if any(times > WINDOW for _, times in window) or any(abs(each) > MAX_SUM for each in (total, *history)):
        raise Malformed("behaviour: a number no profile has")
    profile = Profile(peers)
    profile.seen, profile.upto, profile.odds, profile.sum, profile.window_signals = seen, upto, odds, total, signals
    profile.window, profile.history, profile.passed, profile.windows = dict(window), history, passed, windows
    profile._replace(dict(counts))
    return profile


def _rising(rows: Sequence[tuple[int, int]]) -> bool:
    return all(one[0] < other[0] for one, other in pairwise(rows))


def _logit(probability: float) -> int:
    return round(math.log(probability / (1 - probability)) * UNIT)


def _predicted(odds: int) -> int:
    """One window later: somebody else may have begun, or stopped."""
    other = 1 / (1 + math.exp(-odds / UNIT))
    return _logit(other * GO_ON + (1 - other) * BEGIN)
