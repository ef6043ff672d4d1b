"""Rows of the matrix: what a human key signed that a key may do, refined by class, target, schedule and time (DESIGN section 8).

A key has the row it was introduced with and one more for each standing grant. A row allows what its every refinement lets through:
the class of the signal, the action, the target, the schedule, the time. Rows only add to each other; none of them takes away.

    Grant(entry=40, classes=("sensor",), actions=frozenset((ActionClass.WRITE,)), targets=("PUT /v1/files/cam/*",))

A target is `METHOD path` for what is asked over a pair, or the text that an application gives it. Rows are matched against targets
with exact text, or, where a pattern ends in `*`, with what stands before it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tallystick.rights.action import ActionClass, Actions

Within: TypeAlias = Callable[[str, int], bool]
"""Whether a moment (UTC, nanoseconds) is inside a schedule; facts/schedule.py has it."""
ANY: Final = "*"


def covers_class(granted: str, wanted: str) -> bool:
    """Whether a class word includes another: `sensor` includes `sensor` and `sensor/camera`, not `sensors`."""
    return wanted == granted or (wanted.startswith(granted) and wanted[len(granted)] == "/")


def covers_target(pattern: str, target: str) -> bool:
    """Whether a pattern includes a target: the same text, or everything that begins with what stands before a last `*`."""
    return target.startswith(pattern[:-1]) if pattern.endswith(ANY) else target == pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A row of the matrix. `entry`: that brought it.  `classes`, `targets`: none means all.  `schedule`: a cron expression or empty."""

    entry: int = 0
    classes: tuple[str, ...] = ()
    actions: Actions
    targets: tuple[str, ...] = ()
    schedule: str = ""
    expires_ns: int | None = None
    # Prepared: the exact words, and the beginnings of the others.
    _classes: tuple[frozenset[str], tuple[str, ...]] = field(init=False, repr=False, compare=False)
    _targets: tuple[frozenset[str], tuple[str, ...]] = field(init=False, repr=False, compare=False)
    timed: bool = field(init=False, repr=False, compare=False)
    """Whether the time has a say."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "timed", bool(self.schedule) or self.expires_ns is not None)
        exact = frozenset(each for each in self.targets if not each.endswith(ANY))
        object.__setattr__(self, "_targets", (exact, tuple(each[:-1] for each in self.targets if each.endswith(ANY))))
        object.__setattr__(self, "_classes", (frozenset(self.classes), tuple(each + "/" for each in self.classes)))

    @property
    def plain(self) -> bool:
        """Whether class and action alone decide."""
        return not self.targets and not self.timed

    def takes_class(self, signal_class: str | None) -> bool:
        """`signal_class`: None for a key that is only behind a signal: whatever it signed, it signed as what it may be."""
        if not self.classes or signal_class is None:
            return True
        exact, beginnings = self._classes
        return signal_class in exact or signal_class.startswith(beginnings)

    def stands(self, signal_class: str | None, now_ns: int | None, within: Within | None) -> bool:
        """Whether the row is in force at this moment for this class.

        The schedule binds only the signer (`signal_class` is given): what a key signed in its hours may be used after them. A row with a
        schedule or an end is in force for nobody who cannot tell the time.
        """
        if not self.takes_class(signal_class):
            return False
        if self.expires_ns is not None and (now_ns is None or now_ns >= self.expires_ns):
            return False
        return not self.schedule or signal_class is None or (within is not None and now_ns is not None and within(self.schedule, now_ns))

    def takes_target(self, target: str | None) -> bool:
        """`target`: None where nobody knows it: then only a row for every target lets it through."""
        if not self.targets:
            return True
        exact, beginnings = self._targets
        return target is not None and (target in exact or target.startswith(beginnings))

    def allows(
        self, action: ActionClass, *, signal_class: str | None, target: str | None, now_ns: int | None, within: Within | None = None
    ) -> bool:
        """Whether this row lets exactly this through."""
        return action in self.actions and self.takes_target(target) and self.stands(signal_class, now_ns, within)

    def misses(
        self, action: ActionClass, *, signal_class: str | None, target: str | None, now_ns: int | None, within: Within | None = None
    ) -> str:
        """The first refinement that does not let it through: class, action, target, expired, schedule; empty where it `allows`."""
        if not self.takes_class(signal_class):
            return "class"
        if action not in self.actions:
            return "action"
        if not self.takes_target(target):
            return "target"
        if self.expires_ns is not None and (now_ns is None or now_ns >= self.expires_ns):
            return "expired"
        return "" if self.stands(signal_class, now_ns, within) else "schedule"
