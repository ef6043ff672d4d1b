"""POST /v1/signals: a machine hands in the signals of the sources behind it (docs/spec/gate.md, section 7)."""

from typing import TYPE_CHECKING

from tallystick.errors import Malformed, Refused
from tallystick.node.door import Answer, Call, Route, json_answer, route
from tallystick.node.gateframe import Admit, read_request

if TYPE_CHECKING:
    from tallystick.node.house import House


def gate_routes(house: "House") -> tuple[Route, ...]:
    """The rows of the table that lead to the gate."""
    room = _Room(house)
    return (route("POST", "/v1/signals", "signal.submit", room.submit),)


class _Room:
    """The handler."""

    def __init__(self, house: "House") -> None:
        self._house = house

    async def submit(self, call: Call) -> Answer:
        """A signal, carried by this pair: it is worth what its key is, and no more than the pair."""
        request = read_request(call.body)
        if not isinstance(request, Admit):
            raise Malformed("a pair hands signals in; the rest of the gate is the house's own", "see docs/spec/gate.md, section 7")
        if request.deliver_to:
            raise Refused("a pair fills no context", "the proxy of this house does")
        found = await self._house.gate.keeper.admit(request.signal, request.opening, request.body, carried=call.session.asker)
        return json_answer({name: getattr(found, name) for name in ("entry", "reduced", "proposal", "status")} | {"verdict": found.word})
