"""Pair time at the house: never backwards, never standing still (docs/spec/knock.md, section 4)."""

from hypothesis import given
from hypothesis import strategies as st

from tallystick.node.houseclock import STEP_NS, HouseClock, steady_ns

SECOND = 10**9
NOW = 1_790_000_000 * SECOND
CENTURY = 100 * 365 * 86_400 * SECOND


class Clocks:
    """A system clock that anybody may set and a steady one."""

    def __init__(self) -> None:
        self.system_ns = NOW
        self.steady_ns = 5 * SECOND

    def of(self, stored_ns: int = 0) -> HouseClock:
        """A house's clock that reads these two."""
        return HouseClock(stored_ns, system=lambda: self.system_ns, steady=lambda: self.steady_ns)

    def wait(self, ns: int) -> None:
        """Time passes for both."""
        self.system_ns += ns
        self.steady_ns += ns


def test_it_is_the_system_clock() -> None:
    """While nobody sets the system clock, pair time is what it says."""
    clocks = Clocks()
    clock = clocks.of()
    for passed in (0, 1, 999, SECOND, 86_400 * SECOND):
        clocks.wait(passed)
        assert clock.now_ns() == clocks.system_ns
    assert clock.jump_ns() == 0


def test_it_starts_with_what_was_stored() -> None:
    """After a restart pair time goes on from the latest that was stored, and moves."""
    clocks = Clocks()
    clock = clocks.of(NOW + CENTURY)
    assert clock.now_ns() == NOW + CENTURY
    clocks.wait(8 * SECOND)
    assert clock.now_ns() == NOW + CENTURY + 7 * SECOND


def test_a_step_back_is_made_up_for() -> None:
    """Set back by a second, pair time runs a little slower for eight seconds and is the system clock again."""
    clocks = Clocks()
    clock = clocks.of()
    clocks.system_ns -= SECOND
    assert clock.now_ns() == NOW
    clocks.wait(4 * SECOND)
    assert clock.now_ns() == NOW + 7 * SECOND // 2
    clocks.wait(4 * SECOND)
    assert clock.now_ns() == clocks.system_ns == NOW + 7 * SECOND


def test_to_2100_and_back() -> None:
    """A clock that was a century ahead for a moment leaves a pair time that moves on from there."""
    clocks = Clocks()
    clock = clocks.of()
    clocks.system_ns += CENTURY
    assert clock.now_ns() == NOW + CENTURY
    assert clock.jump_ns() == CENTURY
    clocks.system_ns -= CENTURY
    assert clock.now_ns() == NOW + CENTURY
    assert clock.jump_ns() == -CENTURY
    assert clock.jump_ns() == 0
    clocks.wait(80 * SECOND)
    assert clock.now_ns() == NOW + CENTURY + 70 * SECOND


def test_small_steps_are_no_jumps() -> None:
    """What network time does in small steps is not told."""
    clocks = Clocks()
    clock = clocks.of()
    for step in (STEP_NS, -STEP_NS, -STEP_NS):
        clocks.system_ns += step
        clocks.wait(SECOND)
        assert clock.jump_ns() == 0


@given(st.lists(st.tuples(st.integers(-CENTURY, CENTURY), st.integers(0, 3_600 * SECOND)), max_size=20))
def test_whatever_is_done_to_the_system_clock(steps: list[tuple[int, int]]) -> None:
    """Never backwards, never behind the system clock, and at least seven eighths of the time that passes goes by."""
    clocks = Clocks()
    clock = clocks.of()
    before = clock.now_ns()
    for step, passed in steps:
        clocks.system_ns = max(clocks.system_ns + step, 0)
        clocks.wait(passed)
        now = clock.now_ns()
        assert now >= max(before + passed - passed // 8, clocks.system_ns)
        before = now


def test_the_real_clocks() -> None:
    """Two looks at the real ones do not go backwards."""
    clock = HouseClock()
    first, steady = clock.now_ns(), steady_ns()
    assert clock.now_ns() >= first
    assert steady_ns() >= steady
