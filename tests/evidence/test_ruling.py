"""The rules of layer 3 and the logic program agree: on every case of the page, and on random stores."""

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tallystick.facts.rule import object_to
from tests.evidence.stores import reasoning, store
from tests.facts.test_rule import CASES, Case

STORES = 2_000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_case_of_the_rules(case: Case) -> None:
    """The cases that people wrote."""
    assert reasoning("ruling").decide(case.view) == case.says


def test_two_thousand_stores() -> None:
    """Seeded: the same today and tomorrow. Each of the seven rules speaks in at least a hundred of them and is silent in as many."""
    ruling = reasoning("ruling")
    dice, spoken = Random(2026), Counter[str]()
    for number in range(STORES):
        view = store(dice)
        found = ruling.rulings(object_to(view))
        assert ruling.decide(view) == found, f"store {number}"
        spoken.update(rule for rule, _ in found)
    assert len(spoken) == 7
    assert all(100 <= times <= STORES - 100 for times in spoken.values()), spoken


@given(st.randoms(use_true_random=False))
def test_any_store(dice: Random) -> None:
    """And others each time."""
    ruling = reasoning("ruling")
    view = store(dice)
    assert ruling.decide(view) == ruling.rulings(object_to(view))


def test_a_program_that_is_none_is_our_own_mistake() -> None:
    """A crash, not an excuse; and so is a number nobody announced, and a program without an answer."""
    solver = reasoning("solver")
    mistakes: tuple[Callable[[], object], ...] = (
        lambda: solver.grounded("this is ( none", []),
        lambda: solver.Ranks([1, 3])[2],
        lambda: solver.shown(solver.grounded(":- a.", [("a",)])),
    )
    for mistake in mistakes:
        with pytest.raises(AssertionError):
            mistake()
    big = 2**63
    assert [solver.Ranks([big, -big, 5, 5])[each] for each in (-big, 5, big)] == [0, 1, 2]


@pytest.mark.parametrize("module", ["ruling", "reasoning"])
def test_without_clingo_it_is_unavailable(module: str) -> None:
    """With a hint that says what to install; and nothing of layer 3 needs it."""
    program = (
        "import sys; sys.modules['clingo'] = None\n"
        "import tallystick.gate.deterministic\n"
        "from tallystick.errors import Unavailable\n"
        f"try:\n    import tallystick.evidence.{module}\n"
        "except Unavailable as error:\n    print(error.message, '|', error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == 'clingo is not installed, so nothing can be reasoned about | pip install "tallystick[reason]"\n'
