"""From a signal to the code it is for: gates by priority, then the type of the body, then the handler (docs/agents.md).

    dispatcher = Dispatcher(house)
    dispatcher.gate(500, working_hours)                        # an application's own gate: after authentication, never before
    dispatcher.on("door.close", close_door, parse=read_door)   # `parse` looks at the body after every gate
    dispatcher.on("door.look", look, action="read")            # what a handler does is the application's word, not its caller's
    outcome = await dispatcher.dispatch(signal)

One gate authenticates: vector 0, at priority 700. It runs first. Nothing is registered at 700 or above, it cannot be taken out or put
off, and no code of the application sees a signal that it has not let through.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, final

from tallystick.errors import Malformed, Misuse
from tallystick.gate.signal import parse_signal
from tallystick.node.gatewords import Verdict
from tallystick.node.localhouse import LocalHouse
from tallystick.node.speaking import SignedSignal
from tallystick.rights.action import ActionClass

AUTHENTICATION: Final = 700
VECTOR: Final = 0
_ACTIONS: Final = tuple(action.value for action in ActionClass)

Check = Callable[[SignedSignal, Verdict], "str | Awaitable[str | None] | None"]
"""An application's gate: None lets the signal on, a text stops it and says why."""

Parse = Callable[[bytes], Any]
Handler = Callable[[SignedSignal, Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate, as it stands in the order. `vector`: 0 is authentication, the application's count from 1."""

    vector: int
    priority: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatched:
    """What became of a signal. `stopped_by`: the gate of the application that stopped it, and `why` (by itself: the class is not the
    handler's).  `value`: of its handler."""

    verdict: Verdict
    stopped_by: Gate | None = None
    why: str = ""
    handled: bool = False
    value: Any = field(default=None)


_FIRST: Final = Gate(vector=VECTOR, priority=AUTHENTICATION, name="authentication")


@final
class Dispatcher:
    """The gates and handlers of one program."""

    __slots__ = ("__checks", "__handlers", "__house")

    def __init__(self, house: LocalHouse) -> None:
        self.__house = house
        self.__checks: list[tuple[Gate, Check]] = []
        self.__handlers: dict[str, tuple[Handler, Parse | None, ActionClass]] = {}

    @property
    def gates(self) -> tuple[Gate, ...]:
        """In the order in which they run."""
        return (_FIRST, *(gate for gate, _ in self.__checks))

    def gate(self, priority: int, check: Check, name: str = "") -> Gate:
        """Add a gate of the application; the higher priority runs first, of equals the earlier one.

        Raises: Misuse: 700 and above belong to authentication.
        """
        if type(priority) is not int or not 0 <= priority < AUTHENTICATION:
            raise Misuse(f"an application's gate cannot stand at {priority!r}", f"priorities 0 to {AUTHENTICATION - 1} are yours")
        gate = Gate(vector=len(self.__checks) + 1, priority=priority, name=name or getattr(check, "__name__", "gate"))
        self.__checks.append((gate, check))
        self.__checks.sort(key=lambda row: -row[0].priority)
        return gate

    def on(self, verb: str, handler: Handler, *, action: str = ActionClass.WRITE, parse: Parse | None = None) -> None:
        """What is done for signals of a verb that were let through. `parse` reads the body; what it raises reaches who dispatches.

        Args: action: the class of what it does. A signal that asks for the verb as another class is let through as that class, and this
            is not that: it reaches neither gate nor handler.
        Raises: Misuse: the verb has its handler; there is no such class.
        """
        if verb in self.__handlers:
            raise Misuse(f"{verb} has its handler already")
        if action not in _ACTIONS:
            raise Misuse(f"there is no class of action {action!r}", "one of " + ", ".join(_ACTIONS))
        self.__handlers[verb] = (handler, parse, ActionClass(action))

    async def dispatch(self, signal: SignedSignal, *, deliver_to: tuple[bytes, ...] = (), wait: bool = False) -> Dispatched:
        """Authenticate, ask the application's gates, read the body, handle.

        Args: wait: where the signal is held, wait for the human, and go on if it was released.
        Raises: as `LocalHouse.admit`; Malformed: its `claims` are not those of its bytes.
            What gates, `parse` and handlers raise: the signal goes no further then.
        """
        if parse_signal(signal.raw).claims != signal.claims:
            raise Malformed("the signal says other things than its bytes", "what is judged is what was signed")
        verdict = await self.__house.admit(signal, deliver_to=deliver_to)
        found = self.__handlers.get(signal.claims.verb)
        if found is not None and signal.claims.action != found[2].value:
            return Dispatched(verdict=verdict, why=f"{signal.claims.verb} is of class {found[2].value} here")
        if verdict.held and wait and verdict.proposal is not None:
            decided = await self.__house.decision(verdict.proposal)
            if not decided.allowed:
                return Dispatched(verdict=verdict, why=decided.reason)
        elif not verdict.allowed:
            return Dispatched(verdict=verdict)
        for gate, check in self.__checks:
            said = check(signal, verdict)
            why = await said if inspect.isawaitable(said) else said
            if why is not None:
                return Dispatched(verdict=verdict, stopped_by=gate, why=str(why))
        if found is None:
            return Dispatched(verdict=verdict)
        handler, parse, _ = found
        given = signal.body if parse is None else parse(signal.body or b"")
        value = handler(signal, given)
        return Dispatched(verdict=verdict, handled=True, value=await value if inspect.isawaitable(value) else value)
