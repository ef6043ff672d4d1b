"""A node of cardboard: it writes down what the command line asked and answers with one result of each promised shape.

The real node is tested in tests/node and by the scenes; here only the words between the two count.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from tallystick.cli.shapes import SHAPES, Result, Shape
from tallystick.errors import Refused, TallyError

NS: Final = 1_000_000_000
# Functions behind an option of a command that has a function of its own.
OPTIONS: Final = {
    "versions": "ls --versions",
    "uploads": "ls --uploads",
    "give-up": "rm --upload",
    "house-status": "status --house",
    "inbox-show": "inbox --show",
    "key ls-house": "key ls --house",
    "config-plan": "plan",
    **{f"restore-{word}": f"restore --{word}" for word in ("owner", "show", "sign", "pair")},
}
HOSTILE: Final = "evil\x1b]0;owned\x07\u202e\r\n"


def sample(shape: Shape, text: str = "text") -> dict[str, Any]:
    """One result of a shape; every text in it is `text`."""
    values: dict[str, Any] = {
        "text": text,
        "text?": text,
        "number": 7,
        "number?": 7,
        "real number": 0.25,
        "true or false": True,
        "list of text": [text, text],
        "list of number": [7, 9],
        "object": {"files": 3},
    }
    return {key: [sample(kind[0], text)] if isinstance(kind, tuple) else values[kind] for key, kind in shape.items()}


def hollow(shape: Shape) -> dict[str, Any]:
    """The emptiest result of a shape: null where allowed, no rows, nothing true."""
    values: dict[str, Any] = {"text": "x", "number": 0, "real number": 0.0, "true or false": False, "object": {}}
    values |= {"list of text": [], "list of number": []}
    return {key: [] if isinstance(kind, tuple) else None if kind.endswith("?") else values[kind] for key, kind in shape.items()}


class Cardboard:
    """Keeps `tallystick.cli.behind.Commands` by answering any name with the sample of its shape."""

    def __init__(self, make: Callable[[Shape], dict[str, Any]] = sample, *, error: TallyError | None = None, ask: bool = False) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.ask = ask
        self.make = make
        self.error = error

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(settings: object, **arguments: Any) -> Any:
            self.calls.append((name, arguments))
            if self.error is not None:
                raise self.error
            if name == "log":
                return self._entries()
            words = (
                re.sub("^(key|log|migrate|verb|witness|grant|fact|context|rights|plan)_", r"\1 ", name)
                .replace("_", "-")
                .replace("gate-eval-", "gate eval ")
            )
            result = self.make(SHAPES[OPTIONS.get(words, words)])
            if self.ask and "confirm" in arguments and not arguments["confirm"](self.make(SHAPES["inbox"])["proposals"][0]):
                raise Refused("the words were not the same", "deny it")
            if self.ask and "passphrase" in arguments:
                self.calls.append(("passphrase", {"given": arguments["passphrase"]("the key")}))
            if name in ("serve", "witness_serve"):
                arguments["ready"](result)
                return None
            if name == "quickstart":
                for step in result["steps"]:
                    arguments["step"](step)
            if name == "approve":
                result["items"] = [item | {"why": "released", "result": "done"} for item in result["items"]]
            if name == "verb_run" and self.make is sample:
                result |= {"ending": "exited", "status": 0}
            if name == "invite":
                result["expires_ns"] = 0
            return result

        return answer

    def _entries(self) -> Iterator[Result]:
        yield self.make(SHAPES["log"])
        yield self.make(SHAPES["log"])
