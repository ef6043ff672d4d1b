"""The inbox's part of a running house: named programs, what is held and released, and who is told of what waits."""

import logging
from typing import TYPE_CHECKING, Final

from tallystick.errors import TallyError
from tallystick.node.door import Route
from tallystick.node.notify import Notifier
from tallystick.node.programs import Runner, program_routes
from tallystick.node.proposals import proposal_routes
from tallystick.node.release import Releases
from tallystick.rights.action import ActionClass
from tallystick.rights.verb import VERBS, is_named

if TYPE_CHECKING:
    from tallystick.node.house import House

REST_S: Final = 4.0  # a program that is told to end has two seconds

log = logging.getLogger("tallystick")


class Deciding:
    """`open` to `close`."""

    def __init__(self, house: "House") -> None:
        settings = house.machine.settings
        self._house = house
        self.runner = Runner(settings.programs)
        self.notifier = Notifier(house.machine, settings.notify_command, settings.notify_url)
        self.releases: Releases | None = None

    def routes(self) -> tuple[Route, ...]:
        """Its rows of the door's table."""
        return (*program_routes(self._house), *proposal_routes(self._house))

    async def open(self) -> None:
        """After the gate was opened: take its questions and what humans decide, and settle what a crash left. Raises: Unavailable."""
        house = self._house
        keeper = house.gate.keeper
        self.releases = keeper.releases = house.statements.gate.decisions = Releases(house, keeper)
        keeper.actions_of = self._action_of
        if not house.closing.reason:
            await self.releases.settle()
        house.spawn(self.notifier.run())

    def _action_of(self, verb: str) -> ActionClass | None:
        # A program that nobody named has no class of anybody's: its verb is refused by every one of them but admin's.
        return (self.runner.action_of(verb) or ActionClass.ADMIN) if is_named(verb) else VERBS.get(verb)

    async def lapse(self) -> None:
        """Now and then: what has waited too long is over."""
        if self.releases is not None and not self._house.closing.reason:
            try:
                await self.releases.lapse()
            except TallyError as error:
                log.warning("what has waited too long waits on", extra={"reason": error.message})

    async def close(self) -> None:
        """Start nothing more, and end what runs: what becomes of it is recorded."""
        self.runner.programs.stop()
        if self.releases is not None:
            await self.releases.rest(REST_S)
