"""Which layers judge which class, as the owner writes it: AUTH_LAYERS_* in the environment, or `[auth_layers]` in tally.toml.

    AUTH_LAYERS_DEFAULT=crypto,deterministic        [auth_layers]
    AUTH_LAYERS_SENSOR_CAMERA=crypto                default = "crypto,deterministic"
                                                    "sensor/camera" = "crypto"

An underscore in a variable's name parts a class from what it inherits from; a class with a dash is named in the file. The environment
wins. What is written here may strengthen the plan of the record, never weaken it (node/planning.py).
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from tallystick.errors import Misuse

SECTION: Final = "auth_layers"
VARIABLE: Final = "AUTH_LAYERS_"
_NAME: Final = re.compile(r"[A-Z][A-Z0-9]{0,31}(_[A-Z0-9]{1,32}){0,2}", re.ASCII)

Where = Callable[[str, str], str]
"""`file:line` of a key in a section of the file; of the section's head for no key."""

Written = dict[str, tuple[str, str]]
"""By class (or `default`): the layers as they were written, and where."""


def read_section(table: object, where: Where) -> Written:
    """The layers in the file's table. Raises: Misuse: with file and line, for what is not a class or not its layers."""
    if not isinstance(table, dict):
        raise Misuse(f"{where(SECTION, '')}: {SECTION} is no table", 'write [auth_layers] and below it default = "crypto,deterministic"')
    found: Written = {}
    for name, text in table.items():
        place = where(SECTION, name)
        if not isinstance(text, str):
            raise Misuse(f"{place}: {name} has the wrong type", 'layers are a text: "crypto,deterministic"')
        found[name] = (text, place)
        _check(name, text, place)
    return found


def read_variables(env: Mapping[str, str]) -> Written:
    """The layers among the variables. Raises: Misuse: with the variable, for what is not a class or not its layers."""
    found: Written = {}
    for variable, text in env.items():
        if not variable.startswith(VARIABLE):
            continue
        name = variable.removeprefix(VARIABLE)
        if not _NAME.fullmatch(name):
            raise Misuse(f"{variable[:80]} names no class", "AUTH_LAYERS_DEFAULT, or a class: AUTH_LAYERS_SENSOR_CAMERA for sensor/camera")
        signal_class = name.lower().replace("_", "/")
        found[signal_class] = (text, variable)
        _check(signal_class, text, variable)
    return found


def _check(name: str, text: str, where: str) -> None:
    from tallystick.gate.plan import read_plan  # most machines write no plan: no command loads the gate for nothing

    try:
        read_plan({name: text})
    except Misuse as error:
        raise Misuse(f"{where}: {error.message}", error.hint) from None
