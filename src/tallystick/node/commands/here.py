"""At this machine: its own house, if one runs on this state directory."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterator
from typing import Any, TypeVar

import uvloop

from tallystick.node import local
from tallystick.node.home import Home, holder_of
from tallystick.node.machine import Machine
from tallystick.node.settings import Settings
from tallystick.pair.pairing import Role

_T = TypeVar("_T")


def run(work: Coroutine[Any, Any, _T]) -> _T:
    """Run a command's asynchronous part to its end."""
    return uvloop.run(work)


def pulled(items: AsyncGenerator[_T, None]) -> Iterator[_T]:
    """What comes, one after the other, for a command that is not asynchronous."""

    async def next_one() -> _T:
        return await anext(items)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            while True:
                try:
                    item = runner.run(next_one())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            runner.run(items.aclose())


def ask_house(settings: Settings, verb: str, **args: Any) -> Any:
    """Ask the house that runs on this state directory. Raises: Unavailable: none does."""
    return run(local.call(Home(settings.home).house_socket, verb, args))


def is_running(settings: Settings) -> bool:
    """Whether a house answers on this state directory's socket. One that was killed leaves its socket behind, and not its lock."""
    home = Home(settings.home)
    return home.house_socket.exists() and holder_of(home) != 0


def at_the_house(settings: Settings) -> bool:
    """Whether this home is a house's own. Raises: Misuse: there is no machine."""
    if is_running(settings):
        return True  # only a house listens there; on a full disk its ledger can be opened by nobody else
    with Machine.open(settings) as machine:
        return machine.role is Role.HOUSE
