"""clingo, behind a wall: the extra `[reason]` (Potassco; Gebser et al., Multi-shot ASP solving with clingo, TPLP 19, 2019).

Numbers in clingo have 32 bits. Entries, nanoseconds and millimetres have more, so none of them goes in: `Names` gives whatever is compared
for equality a small number, `Ranks` gives whatever is compared by size its place in the order. No text from outside stands in a program.
"""

from bisect import bisect_left
from collections.abc import Hashable, Iterable, Sequence

from tallystick.errors import Unavailable

try:
    import clingo
except ImportError:
    raise Unavailable("clingo is not installed, so nothing can be reasoned about", 'pip install "tallystick[reason]"') from None


class Names:
    """Small numbers for things that are equal or not."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._things: list[Hashable] = []

    def __getitem__(self, thing: Hashable) -> int:
        if thing not in self._numbers:
            self._numbers[thing] = len(self._things)
            self._things.append(thing)
        return self._numbers[thing]

    def thing(self, number: int) -> Hashable:
        """What has this number."""
        return self._things[number]


class Ranks:
    """Places in an order: two numbers compare as their ranks do. All numbers must be known beforehand."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._sorted = sorted(set(numbers))

    def __getitem__(self, number: int) -> int:
        at = bisect_left(self._sorted, number)
        if at == len(self._sorted) or self._sorted[at] != number:
            raise AssertionError("a number that was not announced")
        return at


Atom = tuple[str, *tuple[int, ...]]


def text_of(facts: Iterable[Atom]) -> str:
    """Facts as a program. Each: a word of ours and small numbers."""
    return "".join(f"{word}({','.join(map(str, arguments))}).\n" if arguments else f"{word}.\n" for word, *arguments in facts)


def grounded(rules: str, facts: Iterable[Atom]) -> clingo.Control:
    """A program that is ready to be solved. Raises: AssertionError when it is not one: it was made here."""
    control = clingo.Control(["--warn=none"], message_limit=0)
    try:
        control.add("base", [], rules + text_of(facts))
        control.ground([("base", [])])
    except RuntimeError as error:
        raise AssertionError(f"a program of ours is none: {error}") from None
    return control


def shown(control: clingo.Control) -> list[Atom]:
    """The shown atoms of the only answer. Raises: AssertionError when there is none."""
    found: list[Atom] = []
    with control.solve(yield_=True) as handle:
        model = handle.model()
        if model is None:
            raise AssertionError("a program without choices has an answer")
        for symbol in model.symbols(shown=True):
            found.append((symbol.name, *(argument.number for argument in symbol.arguments)))
    return found


def holds_with(control: clingo.Control, assumed: Sequence[Atom]) -> bool:
    """Whether there is an answer in which these atoms hold."""
    symbols = [(clingo.Function(word, [clingo.Number(each) for each in arguments]), True) for word, *arguments in assumed]
    return bool(control.solve(assumptions=symbols).satisfiable)
