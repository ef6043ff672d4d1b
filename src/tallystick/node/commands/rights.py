"""key show, key ls --house, fact ls, rights, plan: what a house knows of keys, at the house itself or over an ADMIN pair."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from tallystick.keys import KeyId
from tallystick.node import rightsanswers as answers
from tallystick.node.client import HouseSession
from tallystick.node.commands.here import at_the_house, run
from tallystick.node.commands.where import the_house
from tallystick.node.home import Home
from tallystick.node.machine import Machine
from tallystick.node.rightsview import facts_view, key_view, keys_view
from tallystick.node.rightswhy import matrix_view, plan_view, why_view
from tallystick.node.settings import Settings
from tallystick.pair.pairing import Role

_T = TypeVar("_T")


def _read(settings: Settings, house: str, target: str, verb: str, kind: type[_T], here: Callable[[Machine], Any]) -> dict[str, Any]:
    """Ask the house this home belongs to, or, with a name or on another machine, the house it is paired with."""
    if not house and at_the_house(settings):
        with Machine.open(settings) as machine:
            return {"house": settings.name, **here(machine)}
    with Machine.open(settings) as machine:
        row = the_house(machine, house)

        async def ask() -> dict[str, Any]:
            async with await HouseSession.open(machine, row) as session:
                found: Any = await session.get_json(target, verb=verb, kind=kind)
                return {"house": row.label, **found}

        return run(ask())


def _own(machine: Machine) -> KeyId:
    return machine.vault.machine.signing.public.key_id


def key_show(settings: Settings, *, key: str, house: str) -> dict[str, Any]:
    """All that the house knows of a key."""
    target = f"/v1/keys?{urlencode({'key': key})}"
    return _read(settings, house, target, "house.keys", answers.KeyDetail, lambda machine: key_view(machine.store, key))


def key_ls_house(settings: Settings, *, house: str) -> dict[str, Any]:
    """Every key of the house, and what a revocation has suspended."""
    return _read(settings, house, "/v1/keys", "house.keys", answers.Keys, lambda machine: keys_view(machine.store))


def fact_ls(settings: Settings, *, key: str, predicate: str, every: bool, house: str) -> dict[str, Any]:
    """Facts, newest first."""
    query = {name: value for name, value in {"key": key, "predicate": predicate, "all": "1" if every else ""}.items() if value}
    target = f"/v1/facts?{urlencode(query)}" if query else "/v1/facts"
    return _read(settings, house, target, "house.facts", answers.Facts, lambda machine: facts_view(machine.store, query))


def rights_ls(settings: Settings, *, house: str) -> dict[str, Any]:
    """The matrix."""
    return _read(
        settings,
        house,
        "/v1/rights",
        "house.rights",
        answers.Matrix,
        lambda machine: matrix_view(machine.store, _own(machine), time.time_ns()),
    )


def rights_why(settings: Settings, *, query: Mapping[str, str], house: str) -> dict[str, Any]:
    """Why a key may do something, or not. `query`: key, action, and what is given of class, target, verb, signal."""
    asked = {name: value for name, value in query.items() if value}

    def here(machine: Machine) -> dict[str, Any]:
        return why_view(machine.store, _own(machine), asked, time.time_ns())

    return _read(settings, house, f"/v1/rights/why?{urlencode(asked)}", "house.rights", answers.Why, here)


def plan(settings: Settings, *, house: str) -> dict[str, Any]:
    """Which layers judge which class, and why."""
    return _read(settings, house, "/v1/plan", "house.plan", answers.Plan, lambda machine: plan_view(machine.store, settings))


def config_plan(settings: Settings) -> dict[str, Any]:
    """The plan of this home's own house; of nothing where no house lives here."""
    if not Home(settings.home).exists():
        return {"house": "", "entry": None, "classes": [], "plan": {}}
    with Machine.open(settings) as machine:
        if machine.role is not Role.HOUSE:
            return {"house": "", "entry": None, "classes": [], "plan": {}}
        return {"house": settings.name, **plan_view(machine.store, settings)}
