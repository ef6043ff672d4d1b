"""The table `[verbs.NAME]` of tally.toml: which programs a house runs by name (docs/verbs.md).

    [verbs.reboot]
    argv = ["/usr/bin/systemctl", "reboot"]
    doc = "Restart this machine"

As strict as the rest of the file: a key that is not here, or a value of another type or out of its bounds, is refused with its line.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from tallystick.errors import Misuse
from tallystick.rights.action import ActionClass
from tallystick.service.program import Program

SECTION: Final = "verbs"
MAX_PROGRAMS: Final = 64
MAX_ARGUMENTS: Final = 64
MAX_ARGUMENT_BYTES: Final = 4_096
MAX_TIMEOUT_S: Final = 3_600
MAX_OUTPUT_BYTES: Final = 8_388_608
MAX_INPUT_BYTES: Final = 32_768  # with the owner's statement it fits into a request of the door
MAX_ENV: Final = 32
# To propose is not to do: a program that runs does something.
ACTIONS: Final = tuple(action.value for action in ActionClass if action is not ActionClass.PROPOSE)
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)  # docs/spec/signal.cddl, the second word of a verb
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_USER: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}", re.ASCII)

Where = Callable[[str, str], str]
"""`file:line` of a key in a section of the file; of the section's head for no key."""


def _argv(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ARGUMENTS:
        return None
    words = tuple(word for word in value if isinstance(word, str) and len(word.encode()) <= MAX_ARGUMENT_BYTES and "\0" not in word)
    return words if len(words) == len(value) and words[0].startswith("/") else None


def _number(least: int, most: int) -> Callable[[object], int | None]:
    return lambda value: value if type(value) is int and least <= value <= most else None


def _names(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > MAX_ENV:
        return None
    names = tuple(name for name in value if isinstance(name, str) and _VARIABLE.fullmatch(name))
    return names if len(names) == len(value) == len(set(names)) else None


def _text(form: Callable[[str], object]) -> Callable[[object], str | None]:
    return lambda value: value if isinstance(value, str) and form(value) else None


# Key of the table -> field of the program, reader (None: not that), and what it is, in the words of a hint.
_KEYS: Final[Mapping[str, tuple[str, Callable[[object], Any], str]]] = {
    "argv": ("argv", _argv, f"a list of 1 to {MAX_ARGUMENTS} texts, the first the absolute path of the program"),
    "class": ("action", lambda value: ActionClass(value) if value in ACTIONS else None, "one of " + ", ".join(ACTIONS)),
    "timeout_s": ("timeout_s", _number(1, MAX_TIMEOUT_S), f"a whole number from 1 to {MAX_TIMEOUT_S}"),
    "output_bytes": ("output_bytes", _number(0, MAX_OUTPUT_BYTES), f"a whole number from 0 to {MAX_OUTPUT_BYTES}"),
    "input_bytes": ("input_bytes", _number(0, MAX_INPUT_BYTES), f"a whole number from 0 to {MAX_INPUT_BYTES}"),
    "env": ("env", _names, f"a list of at most {MAX_ENV} names of variables, none twice"),
    "cwd": ("cwd", _text(lambda text: text.startswith("/") and "\0" not in text and len(text) <= 4_096), "an absolute path"),
    "user": ("user", _text(_USER.fullmatch), "the name of a user of this machine"),
    "doc": ("doc", _text(lambda text: text.isprintable() and len(text) <= 255), "at most 255 printable characters"),
}


def parse_programs(table: object, where: Where) -> dict[str, Program]:
    """The programs in the table `verbs`, by name, in the order of the file.

    Raises: Misuse: with file and line, for what is not a program.
    """
    if not isinstance(table, dict):
        raise Misuse(f"{where(SECTION, '')}: verbs is no table", "write a table for each program: [verbs.NAME]")
    if len(table) > MAX_PROGRAMS:
        raise Misuse(f"{where(SECTION, '')}: more than {MAX_PROGRAMS} programs", "keep those that are called for")
    return {name: _program(name, row, where) for name, row in table.items()}


def _program(name: str, row: object, where: Where) -> Program:
    section = f"{SECTION}.{name}"
    if not _NAME.fullmatch(name):
        raise Misuse(f"{where(section, '')}: no program can be called {name[:60]!r}", "lower case, digits and dashes, at most 32")
    if not isinstance(row, dict):
        raise Misuse(f"{where(SECTION, name)}: {section} is no table", f'write [{section}] and below it argv = ["/path/of/program"]')
    found: dict[str, Any] = {}
    for key, value in row.items():
        known = _KEYS.get(key)
        if known is None:
            raise Misuse(f"{where(section, key)}: a program has no {key[:60]!r}", "it has " + ", ".join(_KEYS))
        field, read, meaning = known
        found[field] = read(value)
        if found[field] is None:
            raise Misuse(f"{where(section, key)}: {key} of {section} is not right", f"{key} is {meaning}")
    if "argv" not in found:
        raise Misuse(f"{where(section, '')}: {section} names no program", f"argv is {_KEYS['argv'][2]}")
    return Program(name=name, **found)
