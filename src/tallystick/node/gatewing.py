"""The gate's part of a running house: the gatekeeper, gate.sock, contexts, and what is told of them."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from tallystick.gate.plan import Settled
from tallystick.ledger.event import Event
from tallystick.node.contexts import Contexts
from tallystick.node.effects import Effects
from tallystick.node.gatehouse import open_gate
from tallystick.node.gatekeeper import Gatekeeper
from tallystick.node.gatesocket import GateServer
from tallystick.node.machine import Machine

log = logging.getLogger("tallystick")


class GateWing:
    """`open` to `close`; between them `keeper` judges."""

    def __init__(self, machine: Machine, effects: Effects, clock: Callable[[], int]) -> None:
        """`clock`: pair time, UTC nanoseconds."""
        self._machine = machine
        self._effects = effects
        self._clock = clock
        self._keeper: Gatekeeper | None = None
        self._server: GateServer | None = None
        self.contexts = Contexts(machine.store, clock)
        self.settled: Settled | None = None

    @property
    def keeper(self) -> Gatekeeper:
        """The gatekeeper of the house that runs."""
        if self._keeper is None:
            raise AssertionError("the gate is not open")
        return self._keeper

    async def open(self) -> None:
        """Settle the plan, read the owner's rules, open the socket. Raises: Misuse, Malformed: a setting or a rule.  Unavailable."""
        gate = await asyncio.to_thread(open_gate, self._machine, self._effects, self._clock)
        self._keeper, self.settled = gate.keeper, gate.settled
        settings = self._machine.settings
        reserve = self._machine.reserve
        self._server = GateServer(settings.gate_socket, gate.keeper, self.contexts, settings.gate_group, lambda: reserve.low)
        await self._server.start()

    async def close(self) -> None:
        """No further signal is taken."""
        if self._server is not None:
            await self._server.stop()
            self._server = None

    def events(self, *, all_of_them: bool = False) -> tuple[Event, ...]:
        """What was counted instead of recorded."""
        return () if self._keeper is None else self._keeper.rates.events(all_of_them=all_of_them)

    def figures(self) -> Mapping[str, float]:
        """For the metrics port."""
        keeper, programs = self._keeper, 0 if self._server is None else self._server.connections
        if keeper is None:
            return dict.fromkeys(("gate_allowed", "gate_held", "gate_refused", "gate_unknown", "gate_limited", "gate_programs"), 0)
        return {**keeper.counts, "gate_unknown": keeper.rates.unknown, "gate_limited": keeper.rates.limited, "gate_programs": programs}

    def plan_json(self) -> dict[str, object]:
        """For `tally status`: the plan in force, and for which classes a weaker one is configured and not taken."""
        settled = self.settled
        words = {name: list(layers) for name, layers in self.keeper.plan.words().items()}
        return {"plan": words, "plan_not_taken": [] if settled is None else list(settled.not_taken)}
